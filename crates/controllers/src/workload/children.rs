//! Making and deleting an owner's pods, with the events that tell of it.

use std::sync::Arc;

use client::{Informer, ReconcileError, Subject};
use futures::future::join_all;
use meta::{ApiError, Call, DeleteOptions, Gvr, Object, Preconditions, Reason, Reply, ResourcePath};
use serde_json::{Value, json};

use super::Tools;
use super::document::{controller_reference, map};

/// At most this many pods are made or deleted at a time.
pub(crate) const BURST: usize = 500;

/// A pod as a template wants it, without a name.
pub(crate) fn from_template(owner: &Object, template: &Value) -> Value {
    let mut metadata = json!({"namespace": owner.metadata.namespace, "ownerReferences": [controller_reference(owner)]});
    for field in ["labels", "annotations"] {
        metadata[field] = Value::Object(map(template, &format!("/metadata/{field}")));
    }
    if let Some(finalizers) = template.pointer("/metadata/finalizers").filter(|all| !all.is_null()) {
        metadata["finalizers"] = finalizers.clone();
    }
    json!({"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": template["spec"]})
}

/// How events spell what happened to a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wording {
    Plain,
    /// With the owner, of this kind.
    Named(&'static str),
}

impl Wording {
    fn done(self, verb: &str, past: &str, pod: &str, owner: &str) -> String {
        match self {
            Self::Plain => format!("{past} pod: {pod}"),
            Self::Named(kind) => format!("{verb} Pod {pod} in {kind} {owner} successful"),
        }
    }

    fn failed(self, verb: &str, error: &ApiError, pod: &str, owner: &str) -> String {
        match self {
            Self::Plain if verb == "create" => format!("Error creating: {error}"),
            Self::Plain => format!("Error deleting: {error}"),
            Self::Named(kind) => format!("{verb} Pod {pod} in {kind} {owner} failed error: {error}"),
        }
    }
}

/// An owner's pods.
pub(crate) struct Children<'a> {
    pub(crate) tools: &'a Tools,
    pub(crate) owner: &'a Arc<Object>,
    pub(crate) pods: &'a Informer,
    pub(crate) wording: Wording,
}

fn pods() -> Gvr {
    Gvr::new("", "v1", "pods")
}

impl Children<'_> {
    /// Makes pods: one, then two at a time, then four, and so on, so that a failure that all would share is met once.
    pub(crate) async fn create_all(&self, wanted: Vec<Value>) -> Result<(), ReconcileError> {
        let (mut batch, mut left) = (1, wanted.as_slice());
        while !left.is_empty() {
            let (now, later) = left.split_at(batch.min(left.len()));
            let made = join_all(now.iter().map(|pod| self.create(pod.clone()))).await;
            made.into_iter().collect::<Result<Vec<()>, _>>()?;
            (batch, left) = (batch * 2, later);
        }
        Ok(())
    }

    /// Makes a pod.
    pub(crate) async fn create(&self, pod: Value) -> Result<(), ReconcileError> {
        let (subject, owner) = (Subject::of(self.owner), &self.owner.metadata.name);
        let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        match self.tools.client.create(&pods(), &self.owner.metadata.namespace, pod).await {
            Ok(made) => {
                let message = self.wording.done("create", "Created", &made.metadata.name, owner);
                self.tools.recorder.normal(&subject, "SuccessfulCreate", message);
                self.pods.catch_up(made.revision).await;
                Ok(())
            }
            // Compat: a namespace that ends takes no pods, and needs none.
            Err(error) if is_ending(&error) => Ok(()),
            Err(error) => {
                self.tools.recorder.warning(
                    &subject,
                    "FailedCreate",
                    self.wording.failed("create", &error, &name, owner),
                );
                Err(error.into())
            }
        }
    }

    /// Deletes pods, all at once.
    pub(crate) async fn delete_all(&self, unwanted: &[Arc<Object>]) -> Result<(), ReconcileError> {
        let done = join_all(unwanted.iter().map(|pod| self.delete(pod))).await;
        done.into_iter().collect()
    }

    /// Deletes a pod.
    pub(crate) async fn delete(&self, pod: &Object) -> Result<(), ReconcileError> {
        let (metadata, subject, owner) = (&pod.metadata, Subject::of(self.owner), &self.owner.metadata.name);
        let path = ResourcePath::object(pods(), &metadata.namespace, &metadata.name);
        let preconditions = Preconditions { uid: Some(metadata.uid.clone()), ..Preconditions::default() };
        let options = DeleteOptions { preconditions, ..DeleteOptions::default() };
        match self.tools.client.call(&path, Call::Delete(options)).await {
            Ok(reply) => {
                let message = self.wording.done("delete", "Deleted", &metadata.name, owner);
                self.tools.recorder.normal(&subject, "SuccessfulDelete", message);
                if let Reply::Object { object, .. } = reply {
                    self.pods.catch_up(object.revision).await;
                }
                Ok(())
            }
            Err(error) if matches!(error.reason, Reason::NotFound | Reason::Conflict) => Ok(()),
            Err(error) => {
                let message = self.wording.failed("delete", &error, &metadata.name, owner);
                self.tools.recorder.warning(&subject, "FailedDelete", message);
                Err(error.into())
            }
        }
    }
}

/// Whether a call failed since its namespace is being deleted.
pub(crate) fn is_ending(error: &ApiError) -> bool {
    error.reason == Reason::Forbidden && error.to_string().contains("because it is being terminated")
}
