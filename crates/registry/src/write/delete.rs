//! Deletions, of one object and of collections.

use std::sync::Arc;

use futures::stream::{self, StreamExt};
use meta::{ApiError, DeleteOptions, Object, ObjectList, Reply, Status, StatusDetails};
use serde_json::Value;
use store::{Expect, Revision};

use super::deletion::{Deletion, plan, plan_namespace};
use super::fields::texts;
use super::{Failure, Writer, unstored};
use crate::cache::at_revision;

/// So often a deletion that doesn't name a revision is tried again.
const ATTEMPTS: usize = 16;

/// How many deletions of a collection are under way at once: they share commits.
const PARALLEL: usize = 64;

/// Whose deletion answers the object; others answer a status.
const ANSWER_OBJECT: &[(&str, &str)] = &[
    ("", "namespaces"),
    ("", "persistentvolumeclaims"),
    ("", "persistentvolumes"),
    ("", "pods"),
    ("", "podtemplates"),
    ("", "resourcequotas"),
    ("", "serviceaccounts"),
    ("", "services"),
    ("resource.k8s.io", "deviceclasses"),
    ("resource.k8s.io", "resourceclaims"),
    ("resource.k8s.io", "resourceclaimtemplates"),
    ("resource.k8s.io", "resourceslices"),
    ("storage.k8s.io", "csidrivers"),
    ("storage.k8s.io", "csinodes"),
    ("storage.k8s.io", "storageclasses"),
    ("storage.k8s.io", "volumeattachments"),
    ("storage.k8s.io", "volumeattributesclasses"),
];

/// What became of a deletion.
pub(super) struct Deleted {
    /// The object, at the revision of what happened.
    pub(super) object: Arc<Object>,
    /// Whether it is gone.
    pub(super) gone: bool,
}

impl Writer<'_> {
    /// Deletes the object.
    pub(crate) async fn delete(&self, options: &DeleteOptions) -> Result<Reply, ApiError> {
        let deleted = self.delete_named(self.name, options).await?;
        if deleted.gone && !ANSWER_OBJECT.contains(&(self.row.group, self.row.plural)) {
            let details = StatusDetails {
                name: self.name.to_owned(),
                group: self.row.group.to_owned(),
                kind: self.row.plural.to_owned(),
                uid: deleted.object.metadata.uid.clone(),
                ..StatusDetails::default()
            };
            return Ok(Reply::Status(Status::success(Some(details))));
        }
        let warnings = self.row.rules().delete_warnings(options);
        Ok(Reply::Object { object: deleted.object, created: false, warnings })
    }

    /// Deletes all of these objects, and answers them.
    pub(crate) async fn delete_all(&self, list: ObjectList, options: &DeleteOptions) -> Result<Reply, ApiError> {
        let deletions = list.items.into_iter().map(|object| async move {
            let writer = Writer { namespace: &object.metadata.namespace, name: &object.metadata.name, ..*self };
            match writer.delete_named(writer.name, options).await {
                Ok(deleted) => Ok(Some(deleted.object)),
                Err(error) if error.code() == 404 => Ok(None),
                Err(error) => Err(error),
            }
        });
        let results: Vec<_> = stream::iter(deletions).buffered(PARALLEL).collect().await;
        let items: Result<Vec<_>, ApiError> = results.into_iter().filter_map(Result::transpose).collect();
        Ok(Reply::List(ObjectList { revision: self.registry.cache.revision(), items: items?, ..ObjectList::default() }))
    }

    pub(super) async fn delete_named(&self, name: &str, options: &DeleteOptions) -> Result<Deleted, ApiError> {
        for _ in 0..ATTEMPTS {
            let old = self.storage.get(&self.key(name)).ok_or_else(|| self.not_found(name))?;
            match self.attempt_delete(&old, options).await {
                Ok(deleted) => return Ok(deleted),
                Err(Failure::Api(error)) => return Err(error),
                Err(Failure::Stale | Failure::Taken) => {}
            }
        }
        Err(ApiError::modified(&self.row.gvr(), name))
    }

    async fn attempt_delete(&self, old: &Arc<Object>, options: &DeleteOptions) -> Result<Deleted, Failure> {
        self.check_preconditions(old, options)?;
        let value = self.registry.document(self.row, old).await?;
        let name = &old.metadata.name;
        self.admit_deletion(&value, name, options).await?;
        let mut value = value;
        if !old.metadata.is_terminating() {
            self.row.rules().prepare_delete(&mut value, &meta::format_time(self.registry.clock.now()));
        }
        match self.plan(&value, options) {
            Deletion::Pending => Ok(Deleted { object: old.clone(), gone: false }),
            Deletion::Remove if options.dry_run => Ok(Deleted { object: old.clone(), gone: true }),
            Deletion::Remove => {
                let revision = self.remove(self.key(name), &value, old.revision).await?;
                Ok(Deleted { object: Arc::new(at_revision(old, revision.0)), gone: true })
            }
            Deletion::Mark(marked) if options.dry_run => Ok(Deleted { object: unstored(self, &marked)?, gone: false }),
            Deletion::Mark(marked) => {
                let expect = Expect::Revision(Revision(old.revision));
                Ok(Deleted { object: self.put(self.key(name), &marked, expect).await?, gone: false })
            }
        }
    }

    fn plan(&self, object: &Value, options: &DeleteOptions) -> Deletion {
        let now = self.registry.clock.now();
        let held = self.row.storage == ("", "namespaces") && !texts(object, "/spec/finalizers").is_empty();
        if held { plan_namespace(object, options, now) } else { plan(object, self.row.rules(), options, now) }
    }

    fn check_preconditions(&self, old: &Object, options: &DeleteOptions) -> Result<(), ApiError> {
        let conflict = |field: &str, wanted: &str, own: &str, maybe: &str| {
            let why = format!(
                "the {field} in the precondition ({wanted}) does not match the {field} in record ({own}). The object might \
                 have been {maybe}"
            );
            // Compat: upstream names the kind here where other conflicts name the resource.
            let mut gvr = self.row.gvr();
            gvr.resource = self.row.kind.to_owned();
            Err(ApiError::conflict(&gvr, &old.metadata.name, &why))
        };
        if let Some(uid) = options.preconditions.uid.as_deref().filter(|uid| *uid != old.metadata.uid) {
            return conflict("UID", uid, &old.metadata.uid, "deleted and then recreated");
        }
        let own = old.resource_version();
        if let Some(wanted) = options.preconditions.resource_version.as_deref().filter(|wanted| *wanted != own) {
            return conflict("ResourceVersion", wanted, &own, "modified");
        }
        Ok(())
    }
}
