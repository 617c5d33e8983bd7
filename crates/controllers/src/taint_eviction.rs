//! Deletes pods from nodes whose NoExecute taints they don't tolerate, or tolerate only for a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use client::{Client, Controller, Informer, Outcome, ReconcileError, Recorder, Source, Subject};
use meta::{Clock, DeleteOptions, Object, Reason, Toleration};
use serde_json::Value;

use crate::disrupted::Disruption;

const MARK: Disruption = Disruption {
    reason: "DeletionByTaintManager",
    message: "Taint manager: deleting due to NoExecute taint",
    failed: false,
};

pub(crate) struct TaintEviction {
    pub(crate) client: Client,
    pub(crate) recorder: Recorder,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) nodes: Informer,
    pub(crate) pods: Informer,
    /// Since when pods, by UID, bear with their node's taints.
    pub(crate) bearing: Mutex<HashMap<String, Instant>>,
}

/// How long a pod bears with taints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bears {
    Forever,
    /// Not at all, if this is nothing.
    For(Duration),
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Compat: with several tolerations the shortest counts; a taint without any means at once.
fn plan(pod: &Value, node: &Value) -> Bears {
    let taints = list(node, "/spec/taints").iter().filter(|taint| taint["effect"] == "NoExecute");
    let mut shortest = None;
    for taint in taints {
        let mut tolerations = list(pod, "/spec/tolerations")
            .iter()
            .filter(|toleration| Toleration::from(*toleration).covers(taint.into()))
            .peekable();
        if tolerations.peek().is_none() {
            return Bears::For(Duration::ZERO);
        }
        let limits = tolerations.filter_map(|toleration| toleration["tolerationSeconds"].as_i64());
        let limit = limits.min().map(|seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
        shortest = [shortest, limit].into_iter().flatten().min();
    }
    shortest.map_or(Bears::Forever, Bears::For)
}

impl TaintEviction {
    async fn evict(&self, pod: &Arc<Object>) -> Result<(), ReconcileError> {
        let message = format!("Marking for deletion Pod {}", pod.metadata.key());
        self.recorder.normal(&Subject::of(pod), "TaintManagerEviction", message);
        let marked = MARK.tell(&self.client, pod, &*self.clock).await;
        let done = match marked {
            Ok(()) => self.client.delete_exactly(self.pods.gvr(), pod, DeleteOptions::default()).await,
            Err(error) => Err(error),
        };
        match done {
            Err(error) if error.reason != Reason::NotFound => Err(error.into()),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

#[async_trait]
impl Controller for TaintEviction {
    fn name(&self) -> &'static str {
        "taint-eviction"
    }

    fn sources(&self) -> Vec<Source> {
        vec![
            Source { informer: self.pods.clone(), keys: |object| vec![object.metadata.key()] },
            Source { informer: self.nodes.clone(), keys: |_| Vec::new() },
        ]
    }

    fn keys(&self, source: &Source, object: &Object) -> Vec<String> {
        if source.informer.gvr() != self.nodes.gvr() {
            return (source.keys)(object);
        }
        let pods = self.pods.list();
        let there = pods.iter().filter(|pod| pod.field("spec.nodeName") == Some(&object.metadata.name));
        there.map(|pod| pod.metadata.key()).collect()
    }

    async fn reconcile(&self, key: &str) -> Result<Outcome, ReconcileError> {
        let Some(pod) = self.pods.get(key).filter(|pod| !pod.metadata.is_terminating()) else {
            return Ok(Outcome::default());
        };
        let Some(node) = pod.field("spec.nodeName").and_then(|node| self.nodes.get(node)) else {
            return Ok(Outcome::default());
        };
        let (uid, now) = (&pod.metadata.uid, self.clock.instant());
        let bears = plan(&pod.value(), &node.value());
        let left = {
            let mut bearing = self.bearing.lock().expect("no holder of this lock can panic");
            match bears {
                Bears::Forever => {
                    if bearing.remove(uid).is_some() {
                        let message = format!("Cancelling deletion of Pod {key}");
                        self.recorder.normal(&Subject::of(&pod), "TaintManagerEviction", message);
                    }
                    return Ok(Outcome::default());
                }
                Bears::For(limit) => {
                    let since = *bearing.entry(uid.clone()).or_insert(now);
                    limit.saturating_sub(now.saturating_duration_since(since))
                }
            }
        };
        if !left.is_zero() {
            return Ok(Outcome { again_after: Some(left), ..Outcome::default() });
        }
        self.evict(&pod).await?;
        self.bearing.lock().expect("no holder of this lock can panic").remove(uid);
        Ok(Outcome::default())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_shortest_toleration_counts() {
        let check = |tolerations: Value, expected: Bears| {
            let taints =
                json!([{"key": "a", "value": "b", "effect": "NoExecute"}, {"key": "c", "effect": "NoSchedule"}]);
            let (pod, node) = (json!({"spec": {"tolerations": tolerations}}), json!({"spec": {"taints": taints}}));
            assert_eq!(plan(&pod, &node), expected, "{pod}");
        };
        let seconds = |seconds| Bears::For(Duration::from_secs(seconds));
        check(json!([]), seconds(0));
        check(json!([{"key": "a", "value": "x"}]), seconds(0));
        check(json!([{"key": "a", "value": "b", "effect": "NoExecute"}]), Bears::Forever);
        check(json!([{"operator": "Exists"}]), Bears::Forever);
        let short = json!({"key": "a", "operator": "Exists", "tolerationSeconds": 5});
        check(json!([short, {"operator": "Exists", "tolerationSeconds": 9}]), seconds(5));
    }
}
