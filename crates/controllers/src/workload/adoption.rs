//! Which objects are an owner's: those it controls that its selector still chooses, and orphans that it chooses.

use std::sync::Arc;

use client::{Client, Informer, ReconcileError};
use meta::{Gvr, LabelSelector, Metadata, Object, PatchType, Reason, ResourcePath, WriteOptions};
use serde_json::{Value, json};

use super::document::controller_reference;

/// What an object is to an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    Own,
    Adopt,
    Release,
    Foreign,
}

fn claim(owner: &Metadata, selector: &LabelSelector, object: &Metadata) -> Claim {
    let chosen = selector.matches(&object.labels);
    match object.controller() {
        Some(controller) if controller.uid != owner.uid => Claim::Foreign,
        Some(_) if chosen => Claim::Own,
        Some(_) if owner.is_terminating() => Claim::Foreign,
        Some(_) => Claim::Release,
        None if chosen && !owner.is_terminating() && !object.is_terminating() => Claim::Adopt,
        None => Claim::Foreign,
    }
}

/// An owner in search of what is its own.
pub(crate) struct Adopter<'a> {
    pub(crate) client: &'a Client,
    pub(crate) owner: &'a Arc<Object>,
    pub(crate) resource: &'a Gvr,
    pub(crate) selector: &'a LabelSelector,
}

impl Adopter<'_> {
    /// The owner's objects of a collection; adopts and releases on the way. `may_adopt` says which orphans it wants.
    pub(crate) async fn claim(
        &self,
        collection: &Informer,
        may_adopt: impl Fn(&Object) -> bool + Send,
    ) -> Result<Vec<Arc<Object>>, ReconcileError> {
        let mut own = Vec::new();
        for object in collection.in_namespace(&self.owner.metadata.namespace) {
            match claim(&self.owner.metadata, self.selector, &object.metadata) {
                Claim::Own => own.push(object),
                Claim::Adopt if may_adopt(&object) => {
                    self.check_alive().await?;
                    let reference = controller_reference(self.owner);
                    own.extend(self.refer(collection, &object, reference).await?);
                }
                Claim::Release => {
                    let gone = json!({"$patch": "delete", "uid": self.owner.metadata.uid});
                    self.refer(collection, &object, gone).await?;
                }
                Claim::Adopt | Claim::Foreign => {}
            }
        }
        Ok(own)
    }

    /// Before it adopts, an owner makes sure that it is still there, and not a newer one of the same name.
    async fn check_alive(&self) -> Result<(), ReconcileError> {
        let metadata = &self.owner.metadata;
        let fresh = self.client.get(self.resource, &metadata.namespace, &metadata.name).await?;
        if fresh.metadata.uid != metadata.uid || fresh.metadata.is_terminating() {
            return Err(ReconcileError::Other(format!("{} is gone and adopts nothing", metadata.key())));
        }
        Ok(())
    }

    async fn refer(
        &self,
        collection: &Informer,
        object: &Object,
        reference: Value,
    ) -> Result<Option<Arc<Object>>, ReconcileError> {
        let metadata = &object.metadata;
        let path = ResourcePath::object(collection.gvr().clone(), &metadata.namespace, &metadata.name);
        let patch = json!({"metadata": {"uid": metadata.uid, "ownerReferences": [reference]}});
        match self.client.patch(&path, PatchType::StrategicMerge, &patch, WriteOptions::default()).await {
            Ok(object) => {
                collection.catch_up(object.revision).await;
                Ok(Some(object))
            }
            Err(error) if matches!(error.reason, Reason::NotFound | Reason::Invalid | Reason::Conflict) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_and_selectors_decide() {
        let owner: Metadata = serde_json::from_value(json!({"name": "o", "uid": "o"})).expect("metadata");
        let selector = LabelSelector::parse("app=a").expect("a selector");
        let check = |object: Value, expected: Claim| {
            let object: Metadata = serde_json::from_value(object).expect("metadata");
            assert_eq!(claim(&owner, &selector, &object), expected, "{object:?}");
        };
        let by = |uid: &str| json!([{"uid": uid, "controller": true}]);
        check(json!({"labels": {"app": "a"}, "ownerReferences": by("o")}), Claim::Own);
        check(json!({"labels": {"app": "a"}, "ownerReferences": by("x")}), Claim::Foreign);
        check(json!({"labels": {"app": "b"}, "ownerReferences": by("o")}), Claim::Release);
        check(json!({"labels": {"app": "a"}}), Claim::Adopt);
        check(json!({"labels": {"app": "a"}, "deletionTimestamp": "2026-01-01T00:00:00Z"}), Claim::Foreign);
        check(json!({"labels": {"app": "b"}}), Claim::Foreign);
    }
}
