//! Empties namespaces that are being deleted, then lets them go.
//!
//! Compat: pods go first (KEP-5080), so that nothing they need to end well is taken from them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use client::{Client, Controller, Informer, Outcome, ReconcileError, Source};
use meta::{
    ApiError, Call, Clock, DeleteOptions, Gvr, ListOptions, Object, Propagation, Reason, ResourcePath, format_time,
};
use serde_json::{Value, json};

use crate::conditions;

/// How soon what is left is looked at again where nobody tells of its end.
const AGAIN: Duration = Duration::from_secs(1);

pub(crate) struct Namespaces {
    pub(crate) client: Client,
    pub(crate) clock: Arc<dyn Clock>,
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

/// What a look at a terminating namespace found.
#[derive(Debug, Default)]
struct Remains {
    /// How many objects are left, by resource.
    objects: BTreeMap<String, usize>,
    /// How many of them wait, by finalizer.
    finalizers: BTreeMap<String, usize>,
    failures: Vec<String>,
}

impl Remains {
    fn take(&mut self, gvr: &Gvr, left: Result<Vec<Arc<Object>>, ApiError>) {
        match left {
            Ok(left) => {
                if !left.is_empty() {
                    self.objects.insert(format!("{}.{}", gvr.resource, gvr.group), left.len());
                }
                for finalizer in left.iter().flat_map(|object| &object.metadata.finalizers) {
                    *self.finalizers.entry(finalizer.clone()).or_default() += 1;
                }
            }
            // A custom resource may have gone since it was listed.
            Err(error) if matches!(error.reason, Reason::NotFound | Reason::MethodNotAllowed) => {}
            Err(error) => self.failures.push(error.to_string()),
        }
    }

    fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.failures.is_empty()
    }

    /// The conditions that tell it, with upstream's words.
    fn tell(&self, conditions: &mut Vec<Value>, now: &str) {
        let counted = |counts: &BTreeMap<String, usize>, word: &str| {
            let parts: Vec<_> =
                counts.iter().map(|(of, count)| format!("{of} {word} {count} resource instances")).collect();
            parts.join(", ")
        };
        let failed = (!self.failures.is_empty()).then(|| {
            let (count, failures) = (self.failures.len(), self.failures.join(", "));
            format!("Failed to delete all resource types, {count} remaining: {failures}")
        });
        let objects = (!self.objects.is_empty())
            .then(|| format!("Some resources are remaining: {}", counted(&self.objects, "has")));
        let finalizers = (!self.finalizers.is_empty()).then(|| {
            format!("Some content in the namespace has finalizers remaining: {}", counted(&self.finalizers, "in"))
        });
        for (kind, found, reason, fine, words) in [
            (
                "NamespaceDeletionDiscoveryFailure",
                None,
                "",
                "ResourcesDiscovered",
                "All resources successfully discovered",
            ),
            (
                "NamespaceDeletionGroupVersionParsingFailure",
                None,
                "",
                "ParsedGroupVersions",
                "All legacy kube types successfully parsed",
            ),
            (
                "NamespaceDeletionContentFailure",
                failed,
                "ContentDeletionFailed",
                "ContentDeleted",
                "All content successfully deleted, may be waiting on finalization",
            ),
            (
                "NamespaceContentRemaining",
                objects,
                "SomeResourcesRemain",
                "ContentRemoved",
                "All content successfully removed",
            ),
            (
                "NamespaceFinalizersRemaining",
                finalizers,
                "SomeFinalizersRemain",
                "ContentHasNoFinalizers",
                "All content-preserving finalizers finished",
            ),
        ] {
            match found {
                Some(message) => conditions::set(conditions, (kind, true, reason, &message), now),
                None => conditions::set(conditions, (kind, false, fine, words), now),
            }
        }
    }
}

impl Namespaces {
    /// Asks for the deletion of everything of one resource; what is left.
    async fn empty(&self, gvr: &Gvr, namespace: &str) -> Result<Vec<Arc<Object>>, ApiError> {
        let list = |options| async { Ok::<_, ApiError>(self.client.list(gvr, namespace, options).await?.items) };
        if list(ListOptions { limit: 1, ..ListOptions::default() }).await?.is_empty() {
            return Ok(Vec::new());
        }
        let path = ResourcePath::collection(gvr.clone(), namespace);
        let options = DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
        self.client.call(&path, Call::DeleteCollection(ListOptions::default(), options)).await?;
        list(ListOptions::default()).await
    }

    /// Empties a namespace of its pods and, once none is left, of everything else.
    async fn clear(&self, namespace: &str) -> Remains {
        let mut remains = Remains::default();
        remains.take(&pods(), self.empty(&pods(), namespace).await);
        if !remains.is_empty() {
            return remains;
        }
        for gvr in (self.resources)().iter().filter(|gvr| **gvr != pods()) {
            remains.take(gvr, self.empty(gvr, namespace).await);
        }
        remains
    }

    /// Writes the conditions where they changed; the namespace as it is then.
    async fn tell(&self, namespace: &Value, remains: &Remains) -> Result<Value, ApiError> {
        let mut conditions = namespace["status"]["conditions"].as_array().cloned().unwrap_or_default();
        remains.tell(&mut conditions, &format_time(self.clock.now()));
        let conditions = json!(conditions);
        if conditions == namespace["status"]["conditions"] {
            return Ok(namespace.clone());
        }
        let mut changed = namespace.clone();
        changed["status"]["conditions"] = conditions;
        Ok(self.client.update_status(&namespaces(), changed).await?.value())
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
        let remains = self.clear(key).await;
        let mut namespace = match self.tell(&object.value(), &remains).await {
            Err(error) if error.reason == Reason::NotFound => return Ok(Outcome::default()),
            told => told?,
        };
        if !remains.failures.is_empty() {
            return Err(ReconcileError::Other(remains.failures.join(", ")));
        }
        if !remains.is_empty() {
            return Ok(Outcome { again_after: Some(AGAIN), wrote: 0 });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_tell_what_is_left() {
        let check = |remains: Remains, expected: [(&str, &str); 3]| {
            let mut conditions = Vec::new();
            remains.tell(&mut conditions, "now");
            assert_eq!(conditions.len(), 5, "each condition is told from the first look on");
            for (condition, (status, message)) in conditions[2..].iter().zip(expected) {
                assert_eq!(
                    (condition["status"].as_str(), condition["message"].as_str()),
                    (Some(status), Some(message))
                );
            }
        };
        let deleted = ("False", "All content successfully deleted, may be waiting on finalization");
        let removed = ("False", "All content successfully removed");
        let finished = ("False", "All content-preserving finalizers finished");
        check(Remains::default(), [deleted, removed, finished]);
        let pods = BTreeMap::from([("pods.".to_owned(), 1)]);
        let finalizers = BTreeMap::from([("example.com/f".to_owned(), 1)]);
        check(
            Remains { objects: pods, finalizers, failures: Vec::new() },
            [
                deleted,
                ("True", "Some resources are remaining: pods. has 1 resource instances"),
                (
                    "True",
                    "Some content in the namespace has finalizers remaining: example.com/f in 1 resource instances",
                ),
            ],
        );
        let failed = ("True", "Failed to delete all resource types, 1 remaining: no");
        check(Remains { failures: vec!["no".to_owned()], ..Remains::default() }, [failed, removed, finished]);
    }
}
