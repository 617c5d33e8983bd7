//! Removes pods that nobody else will: of nodes that are gone, of deletions before any node had them, and ended ones beyond a
//! number.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use client::{Client, Controller, Informer, Outcome, ReconcileError, Source};
use meta::{Clock, DeleteOptions, Object, Reason};

use crate::disrupted::Disruption;

/// How long a node is missing before its pods go: it may be on its way.
const QUARANTINE: Duration = Duration::from_secs(40);

const MARK: Disruption =
    Disruption { reason: "DeletionByPodGC", message: "PodGC: node no longer exists", failed: true };

/// How many pods that have ended are kept.
const ENDED: usize = 12_500;

/// The key under which ended pods are counted.
const COUNT: &str = "";

pub(crate) struct PodGarbage {
    pub(crate) client: Client,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) nodes: Informer,
    pub(crate) pods: Informer,
    /// Since when nodes that pods name are missing.
    pub(crate) missing: Mutex<HashMap<String, Instant>>,
}

fn is_ended(pod: &Object) -> bool {
    matches!(pod.field("status.phase"), Some("Succeeded" | "Failed"))
}

impl PodGarbage {
    async fn remove(&self, pod: &Arc<Object>) -> Result<(), ReconcileError> {
        let options = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
        match self.client.delete_exactly(self.pods.gvr(), pod, options).await {
            Err(error) if error.reason != Reason::NotFound => Err(error.into()),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Says that a pod failed with its node, so that whoever owns it counts it.
    async fn fail(&self, pod: &Arc<Object>) -> Result<(), ReconcileError> {
        if is_ended(pod) {
            return Ok(());
        }
        match MARK.tell(&self.client, pod, &*self.clock).await {
            Err(error) if error.reason != Reason::NotFound => Err(error.into()),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    async fn bound(&self, pod: &Arc<Object>, node: &str) -> Result<Outcome, ReconcileError> {
        if self.nodes.get(node).is_some() {
            self.missing.lock().expect("no holder of this lock can panic").remove(node);
            return Ok(Outcome::default());
        }
        let now = self.clock.instant();
        let since =
            *self.missing.lock().expect("no holder of this lock can panic").entry(node.to_owned()).or_insert(now);
        let left = QUARANTINE.saturating_sub(now.saturating_duration_since(since));
        if !left.is_zero() {
            return Ok(Outcome { again_after: Some(left), ..Outcome::default() });
        }
        match self.client.get(self.nodes.gvr(), "", node).await {
            Ok(_) => Ok(Outcome::default()),
            Err(error) if error.reason == Reason::NotFound => {
                self.fail(pod).await?;
                self.remove(pod).await?;
                Ok(Outcome::default())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn limit_ended(&self) -> Result<(), ReconcileError> {
        let mut ended: Vec<Arc<Object>> = self.pods.list().into_iter().filter(|pod| is_ended(pod)).collect();
        let excess = ended.len().saturating_sub(ENDED);
        ended.sort_by(|a, b| a.metadata.creation_timestamp.cmp(&b.metadata.creation_timestamp));
        for pod in ended.iter().take(excess) {
            self.remove(pod).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Controller for PodGarbage {
    fn name(&self) -> &'static str {
        "pod-garbage-collector"
    }

    fn sources(&self) -> Vec<Source> {
        let of_pod = |pod: &Object| {
            let count = is_ended(pod).then(|| COUNT.to_owned());
            std::iter::once(pod.metadata.key()).chain(count).collect()
        };
        vec![
            Source { informer: self.pods.clone(), keys: of_pod },
            Source { informer: self.nodes.clone(), keys: |_| Vec::new() },
        ]
    }

    fn keys(&self, source: &Source, object: &Object) -> Vec<String> {
        if source.informer.gvr() != self.nodes.gvr() {
            return (source.keys)(object);
        }
        if self.nodes.get(&object.metadata.name).is_some() {
            return Vec::new();
        }
        let pods = self.pods.list();
        let there = pods.iter().filter(|pod| pod.field("spec.nodeName") == Some(&object.metadata.name));
        there.map(|pod| pod.metadata.key()).collect()
    }

    async fn reconcile(&self, key: &str) -> Result<Outcome, ReconcileError> {
        if key == COUNT {
            self.limit_ended().await?;
            return Ok(Outcome::default());
        }
        let Some(pod) = self.pods.get(key) else { return Ok(Outcome::default()) };
        match pod.field("spec.nodeName").unwrap_or_default() {
            "" if pod.metadata.is_terminating() => {
                self.remove(&pod).await?;
                Ok(Outcome::default())
            }
            "" => Ok(Outcome::default()),
            node => self.bound(&pod, node).await,
        }
    }
}
