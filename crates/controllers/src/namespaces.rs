//! Empties namespaces that are being deleted, then lets them go.
//!
//! Compat: pods go first (KEP-5080), so that nothing they need to end well is taken from them.

use std::sync::Arc;

use async_trait::async_trait;
use client::{Client, Controller, Informer, Outcome, ReconcileError, Source};
use meta::{Call, DeleteOptions, Gvr, ListOptions, Object, Propagation, Reason, ResourcePath};
use serde_json::{Value, json};

pub(crate) struct Namespaces {
    pub(crate) client: Client,
    pub(crate) namespaces: Informer,
    pub(crate) pods: Informer,
    pub(crate) resources: Arc<dyn Fn() -> Vec<Gvr> + Send + Sync>,
}

fn pods() -> Gvr {
    Gvr::new("", "v1", "pods")
}

fn namespaces() -> Gvr {
    Gvr::new("", "v1", "namespaces")
}

impl Namespaces {
    /// Asks for the deletion of everything of one resource; how much is left.
    async fn empty(&self, gvr: &Gvr, namespace: &str) -> Result<usize, ReconcileError> {
        let count =
            |options| async { Ok::<_, ReconcileError>(self.client.list(gvr, namespace, options).await?.items.len()) };
        if count(ListOptions { limit: 1, ..ListOptions::default() }).await? == 0 {
            return Ok(0);
        }
        let path = ResourcePath::collection(gvr.clone(), namespace);
        let options = DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
        self.client.call(&path, Call::DeleteCollection(ListOptions::default(), options)).await?;
        count(ListOptions::default()).await
    }

    /// Empties a namespace; what is left, in words, if something is.
    async fn clear(&self, namespace: &str) -> Result<Option<String>, ReconcileError> {
        let left = self.empty(&pods(), namespace).await?;
        if left > 0 {
            return Ok(Some(format!("Some resources are remaining: pods. has {left} resource instances")));
        }
        let mut remaining = Vec::new();
        for gvr in (self.resources)().iter().filter(|gvr| **gvr != pods()) {
            let left = self.empty(gvr, namespace).await?;
            if left > 0 {
                remaining.push(format!("{}. has {left} resource instances", gvr.qualified()));
            }
        }
        Ok((!remaining.is_empty()).then(|| format!("Some resources are remaining: {}", remaining.join(", "))))
    }

    async fn tell(&self, namespace: &Value, remaining: &str) -> Result<(), ReconcileError> {
        let condition = json!({
            "type": "NamespaceContentRemaining", "status": "True", "reason": "SomeResourcesRemain", "message": remaining,
            "lastTransitionTime": namespace["metadata"]["deletionTimestamp"],
        });
        let mut changed = namespace.clone();
        changed["status"]["conditions"] = json!([condition]);
        if changed["status"] != namespace["status"] {
            self.client.update_status(&namespaces(), changed).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Controller for Namespaces {
    fn name(&self) -> &'static str {
        "namespace"
    }

    fn sources(&self) -> Vec<Source> {
        let of_pod = |object: &Object| vec![object.metadata.namespace.clone()];
        vec![
            Source { informer: self.namespaces.clone(), keys: |object| vec![object.metadata.name.clone()] },
            Source { informer: self.pods.clone(), keys: of_pod },
        ]
    }

    async fn reconcile(&self, key: &str) -> Result<Outcome, ReconcileError> {
        let Some(object) = self.namespaces.get(key).filter(|object| object.metadata.is_terminating()) else {
            return Ok(Outcome::default());
        };
        let mut namespace = object.value();
        if let Some(remaining) = self.clear(key).await? {
            self.tell(&namespace, &remaining).await?;
            return Ok(Outcome { again_after: Some(std::time::Duration::from_secs(1)), wrote: 0 });
        }
        let finalizers = namespace["spec"]["finalizers"].as_array().cloned().unwrap_or_default();
        let others: Vec<Value> = finalizers.into_iter().filter(|name| name != "kubernetes").collect();
        namespace["spec"]["finalizers"] = json!(others);
        if let Some(metadata) = namespace["metadata"].as_object_mut() {
            metadata.remove("resourceVersion");
        }
        let path = ResourcePath::object(namespaces(), "", key).subresource("finalize");
        match self.client.update_at(&path, namespace).await {
            Err(error) if error.reason != Reason::NotFound => Err(error.into()),
            Ok(_) | Err(_) => Ok(Outcome::default()),
        }
    }
}
