//! Former templates of a workload, kept as ControllerRevisions: what `kubectl rollout history` shows and `undo` goes back to.

use std::collections::BTreeSet;
use std::sync::Arc;

use client::{Client, Informer, ReconcileError};
use meta::{DeleteOptions, Object, Reason};
use serde_json::{Value, json};

use super::document::{controller_reference, hash, items, map, normal, number};

/// A revision of a template.
#[derive(Clone, Debug)]
pub(crate) struct Revision {
    pub(crate) object: Arc<Object>,
    pub(crate) value: Value,
}

impl Revision {
    fn of(object: Arc<Object>) -> Self {
        Self { value: object.value(), object }
    }

    pub(crate) fn name(&self) -> &str {
        &self.object.metadata.name
    }

    pub(crate) fn number(&self) -> i64 {
        number(&self.value, "/revision")
    }

    /// The template it keeps.
    pub(crate) fn template(&self) -> Value {
        let mut template = self.value["data"]["spec"]["template"].clone();
        if let Some(fields) = template.as_object_mut() {
            fields.remove("$patch");
        }
        template
    }
}

/// Where revisions of an owner are kept.
pub(crate) struct History<'a> {
    pub(crate) client: &'a Client,
    pub(crate) owner: &'a Arc<Object>,
    pub(crate) revisions: &'a Informer,
    /// The label that bears a revision's hash.
    pub(crate) label: &'static str,
}

impl History<'_> {
    /// All of them, the oldest first.
    pub(crate) fn list(&self) -> Vec<Revision> {
        let all = self.revisions.controlled_by(&self.owner.metadata.uid);
        let mut all: Vec<Revision> = all.into_iter().map(Revision::of).collect();
        all.sort_by_key(|revision| (revision.number(), revision.name().to_owned()));
        all
    }

    /// The revision of the owner's template, made or moved to the front if need be, and how many names collided so far.
    pub(crate) async fn newest(&self, value: &Value, collisions: i64) -> Result<(Revision, i64), ReconcileError> {
        let mut template = value["spec"]["template"].clone();
        template["$patch"] = json!("replace");
        let data = json!({"spec": {"template": template}});
        let all = self.list();
        let last = all.last().map_or(0, Revision::number);
        let same = |revision: &&Revision| normal(&revision.value["data"]) == normal(&data);
        match all.iter().rev().find(same) {
            Some(found) if found.number() == last => Ok((found.clone(), collisions)),
            Some(found) => {
                let mut changed = found.value.clone();
                changed["revision"] = json!(last + 1);
                let written = self.client.update(self.revisions.gvr(), changed).await?;
                self.revisions.catch_up(written.revision).await;
                Ok((Revision::of(written), collisions))
            }
            None => self.create(value, data, last + 1, collisions).await,
        }
    }

    async fn create(
        &self,
        value: &Value,
        data: Value,
        number: i64,
        mut collisions: i64,
    ) -> Result<(Revision, i64), ReconcileError> {
        let metadata = &self.owner.metadata;
        loop {
            let hash = hash(&data, Some(collisions));
            let mut labels = map(value, "/spec/template/metadata/labels");
            labels.insert(self.label.to_owned(), json!(hash));
            let name = format!("{}-{hash}", metadata.name);
            let revision = json!({
                "kind": "ControllerRevision", "apiVersion": "apps/v1",
                "metadata": {"name": name, "namespace": metadata.namespace, "labels": labels,
                    "annotations": value["metadata"]["annotations"],
                    "ownerReferences": [controller_reference(self.owner)]},
                "data": data, "revision": number,
            });
            match self.client.create(self.revisions.gvr(), &metadata.namespace, revision).await {
                Ok(made) => {
                    self.revisions.catch_up(made.revision).await;
                    return Ok((Revision::of(made), collisions));
                }
                Err(error) if error.reason == Reason::AlreadyExists => {
                    let there = self.client.get(self.revisions.gvr(), &metadata.namespace, &name).await?;
                    let own = there.metadata.controller().is_some_and(|owner| owner.uid == metadata.uid);
                    if own && normal(&there.value()["data"]) == normal(&data) {
                        return Ok((Revision::of(there), collisions));
                    }
                    collisions += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Lets the oldest go beyond the limit, but none that is in use.
    pub(crate) async fn truncate(&self, value: &Value, in_use: &BTreeSet<String>) -> Result<(), ReconcileError> {
        let limit = usize::try_from(value["spec"]["revisionHistoryLimit"].as_i64().unwrap_or(10)).unwrap_or(0);
        let hash = |revision: &Revision| revision.object.metadata.labels.get(self.label).cloned().unwrap_or_default();
        let all = self.list();
        let idle: Vec<&Revision> = all
            .iter()
            .filter(|revision| !in_use.contains(revision.name()) && !in_use.contains(&hash(revision)))
            .collect();
        for revision in idle.iter().take(idle.len().saturating_sub(limit)) {
            match self.client.delete_exactly(self.revisions.gvr(), &revision.object, DeleteOptions::default()).await {
                Err(error) if error.reason != Reason::NotFound => return Err(error.into()),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }
}

/// The conditions of a status, or nothing.
pub(crate) fn kept_conditions(value: &Value) -> Option<Value> {
    let list = items(value, "/status/conditions");
    (!list.is_empty()).then(|| json!(list))
}
