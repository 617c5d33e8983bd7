//! Updates and patches: one attempt after another on the newest state, until one goes through.

use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use kinds::Part;
use meta::field::{Error, Path};
use meta::{ApiError, Object, PatchType, Reply, WriteOptions, format_time};
use serde_json::{Value, json};
use store::{Expect, Revision};

use super::fields::{metadata, put, text, texts};
use super::patch::Wanted;
use super::{Failure, Writer, unstored};
use crate::admission::{Operation, Request};
use crate::cache::at_revision;

/// So often a write that doesn't name a revision is tried again.
const ATTEMPTS: usize = 16;

/// What an update makes of an object.
pub(crate) enum Source {
    /// This, whatever it was.
    Replace(Value),
    /// This change of it.
    Patch(PatchType, Bytes),
}

/// Which kinds are made by an update where they are missing.
const CREATE_ON_UPDATE: &[(&str, &str)] = &[
    ("", "endpoints"),
    ("", "events"),
    ("", "limitranges"),
    ("", "services"),
    ("coordination.k8s.io", "leases"),
    ("node.k8s.io", "runtimeclasses"),
    ("rbac.authorization.k8s.io", "clusterrolebindings"),
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("rbac.authorization.k8s.io", "rolebindings"),
    ("rbac.authorization.k8s.io", "roles"),
];

/// Which kinds are only replaced by those who say what they have seen.
const NEEDS_REVISION: &[(&str, &str)] = &[
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicybindings"),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("apiregistration.k8s.io", "apiservices"),
    ("coordination.k8s.io", "leases"),
    ("node.k8s.io", "runtimeclasses"),
    ("policy", "poddisruptionbudgets"),
    ("storage.k8s.io", "csidrivers"),
    ("storage.k8s.io", "csinodes"),
    ("storage.k8s.io", "csistoragecapacities"),
    ("storage.k8s.io", "volumeattachments"),
];

impl Writer<'_> {
    /// Changes an object.
    pub(crate) async fn update(&self, source: Source, options: &WriteOptions) -> Result<Reply, ApiError> {
        if let Source::Replace(object) = &source {
            self.check_name(object)?;
        }
        for _ in 0..ATTEMPTS {
            let Some(old) = self.storage.get(&self.key(self.name)) else {
                return self.update_missing(source, options).await;
            };
            match self.attempt(&old, &source, options).await {
                Ok(reply) => return Ok(reply),
                Err(Failure::Api(error)) => return Err(error),
                Err(Failure::Stale) if names_revision(&source) => break,
                Err(Failure::Stale | Failure::Taken) => {}
            }
        }
        Err(ApiError::modified(&self.row.gvr(), self.name))
    }

    async fn update_missing(&self, source: Source, options: &WriteOptions) -> Result<Reply, ApiError> {
        let may_create = CREATE_ON_UPDATE.contains(&(self.row.group, self.row.plural)) && self.subresource.is_empty();
        match source {
            Source::Replace(object) if may_create => self.create(object, options).await,
            Source::Patch(PatchType::Apply, patch) if self.subresource.is_empty() => {
                let wanted = self.applied(None, &patch, options)?;
                let uid = text(&wanted.value, "/metadata/uid");
                if !uid.is_empty() {
                    let why = format!(
                        "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
                    );
                    return Err(ApiError::conflict(&self.row.gvr(), self.name, &why));
                }
                self.create_managed(wanted, options).await
            }
            Source::Replace(_) | Source::Patch(..) => Err(self.not_found(self.name)),
        }
    }

    async fn attempt(&self, old: &Arc<Object>, source: &Source, options: &WriteOptions) -> Result<Reply, Failure> {
        let before = self.registry.document(self.row, old).await?;
        let Wanted { value: new, warnings } = self.wanted(&before, source, options)?;
        self.check_revision(old, &new, source)?;
        let attributes = self.attributes(Operation::Update, self.name, options.dry_run);
        let mut request = Request { warnings, ..Request::new(attributes, new, Some(&before)) };
        if self.mutate(&mut request).await? {
            self.row.rules().default(&mut request.object);
        }
        self.prepare(&mut request.object, &before)?;
        let mut claims = self.claim(&mut request.object, Some(&before)).await?;
        self.validate_change(&request.object, &before)?;
        self.admit(&request).await?;
        self.charge_quotas(&request.object, Some(&before), &mut claims)?;
        let new = &request.object;
        let object = if *new == before {
            old.clone()
        } else if options.dry_run {
            unstored(self, new)?
        } else if self.row_is_released(new, &before) {
            let revision = self.remove(self.key(self.name), &before, old.revision).await?;
            Arc::new(at_revision(old, revision.0))
        } else {
            let expect = Expect::Revision(Revision(old.revision));
            self.put_with(self.key(self.name), new, expect, &claims).await?
        };
        request.warnings.append(request.told.get_mut().unwrap_or_else(PoisonError::into_inner));
        request.warnings.extend(self.row.rules().warnings(&request.object, Some(&before)));
        Ok(Reply::Object { object, created: false, warnings: request.warnings })
    }

    /// The object as the client wants it, with defaults and the managers of its fields.
    fn wanted(&self, before: &Value, source: &Source, options: &WriteOptions) -> Result<Wanted, ApiError> {
        let mut wanted = match source {
            Source::Patch(PatchType::Apply, patch) => return self.applied(Some(before), patch, options),
            Source::Patch(form, patch) => self.patched(before, *form, patch, options)?,
            Source::Replace(object) => Wanted { value: object.clone(), warnings: Vec::new() },
        };
        let new = &mut wanted.value;
        self.check_kind(new)?;
        self.check_name(new)?;
        self.place(new)?;
        self.row.rules().default(new);
        self.own_fields(Some(before), new, options);
        Ok(wanted)
    }

    pub(super) fn check_name(&self, object: &Value) -> Result<(), ApiError> {
        let name = text(object, "/metadata/name");
        if name.is_empty() {
            let text = format!(
                "the name of the object ({} based on URL) was undeterminable: name must be provided",
                self.name
            );
            return Err(ApiError::bad_request(text));
        }
        if name != self.name {
            let text = format!("the name of the object ({name}) does not match the name on the URL ({})", self.name);
            return Err(ApiError::bad_request(text));
        }
        Ok(())
    }

    fn check_revision(&self, old: &Object, new: &Value, source: &Source) -> Result<(), ApiError> {
        let gvr = self.row.gvr();
        let uid = text(new, "/metadata/uid");
        if !uid.is_empty() && uid != old.metadata.uid {
            let own = &old.metadata.uid;
            if matches!(source, Source::Patch(..)) {
                let error = Error::invalid(&Path::new("metadata").child("uid"), uid, "field is immutable");
                return Err(ApiError::invalid(&self.row.told_kind(), self.name, &[error]));
            }
            let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {own}");
            return Err(ApiError::conflict(&gvr, self.name, &why));
        }
        let revision = text(new, "/metadata/resourceVersion");
        if !matches!(revision, "" | "0") {
            return if revision == old.resource_version() { Ok(()) } else { Err(ApiError::modified(&gvr, self.name)) };
        }
        let replaces = matches!(source, Source::Replace(_));
        if replaces && NEEDS_REVISION.contains(&(self.row.group, self.row.plural)) {
            let path = Path::new("metadata").child("resourceVersion");
            let error = Error::invalid(&path, 0, "must be specified for an update");
            return Err(ApiError::invalid(&self.row.told_kind(), self.name, &[error]));
        }
        Ok(())
    }

    /// Puts back what this endpoint may not change.
    fn prepare(&self, new: &mut Value, before: &Value) -> Result<(), ApiError> {
        let carry = |new: &mut Value, fields: &[&str]| {
            for field in fields {
                let own = before.get("metadata").and_then(|metadata| metadata.get(*field)).cloned();
                put(metadata(new), field, own);
            }
        };
        carry(new, &["generation", "resourceVersion"]);
        if self.subresource == "finalize" {
            finalize(new, before);
        } else {
            self.row.rules().prepare_update(new, before, self.part());
            self.row.rules().stamp_update(new, before, &format_time(self.registry.clock.now()));
        }
        // Compat: what says who and since when never changes; a deletion under way is not taken back.
        carry(new, &["resourceVersion", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"]);
        if let Some(Value::Array(finalizers)) = new.pointer("/metadata/finalizers")
            && finalizers.is_empty()
        {
            metadata(new).remove("finalizers");
        }
        Ok(())
    }

    fn part(&self) -> Part<'_> {
        match self.subresource {
            "" => Part::Main,
            "status" => Part::Status,
            other => Part::Other(other),
        }
    }

    fn validate_change(&self, new: &Value, before: &Value) -> Result<(), ApiError> {
        let mut errors = crate::metadata::validate_update(new, before, self.row);
        errors.extend(self.row.rules().validate_update(new, before, self.part(), &self.registry.settings));
        if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid(&self.row.told_kind(), self.name, &errors)) }
    }

    /// Whether this update takes away the last thing that kept a deleted object.
    fn row_is_released(&self, new: &Value, before: &Value) -> bool {
        let held = !texts(new, "/metadata/finalizers").is_empty()
            || (self.row.storage == ("", "namespaces") && !texts(new, "/spec/finalizers").is_empty());
        let period = before.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64).unwrap_or(0);
        before.pointer("/metadata/deletionTimestamp").is_some() && period == 0 && !held
    }
}

fn names_revision(source: &Source) -> bool {
    match source {
        Source::Replace(object) => !matches!(text(object, "/metadata/resourceVersion"), "" | "0"),
        Source::Patch(..) => false,
    }
}

/// A namespace's `finalize` changes only `spec.finalizers`.
fn finalize(new: &mut Value, before: &Value) {
    let finalizers = new.pointer("/spec/finalizers").cloned();
    let managed = new.pointer("/metadata/managedFields").cloned();
    *new = before.clone();
    put(super::fields::child(new, "spec"), "finalizers", finalizers.filter(|list| *list != json!([])));
    put(metadata(new), "managedFields", managed);
}
