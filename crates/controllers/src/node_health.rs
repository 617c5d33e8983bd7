//! Notices nodes that went silent: their conditions become unknown, and their pods count as ready no more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use client::{Client, Controller, Informer, Outcome, ReconcileError, Recorder, Source, Subject};
use meta::{Clock, Object, format_time};
use serde_json::{Value, json};

/// How long a node may be silent.
///
/// Compat: upstream's `nodeMonitorGracePeriod`.
const GRACE: Duration = Duration::from_secs(50);

/// The conditions that only the node itself can tell.
const TOLD: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

pub(crate) struct NodeHealth {
    pub(crate) client: Client,
    pub(crate) recorder: Recorder,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) nodes: Informer,
    pub(crate) leases: Informer,
    pub(crate) pods: Informer,
    /// What each node said last, and when that was heard here: nodes' own clocks may be wrong.
    pub(crate) heard: Mutex<HashMap<String, (String, Instant)>>,
}

impl NodeHealth {
    /// How long a node has been silent.
    fn silence(&self, node: &Object) -> Duration {
        let name = &node.metadata.name;
        let lease = self.leases.get(&format!("kube-node-lease/{name}")).map(|lease| lease.resource_version());
        let said = format!("{} {}", lease.unwrap_or_default(), heartbeats(&node.value()));
        let now = self.clock.instant();
        let mut heard = self.heard.lock().expect("no holder of this lock can panic");
        let last = heard.entry(name.clone()).or_insert_with(|| (said.clone(), now));
        if last.0 != said {
            *last = (said, now);
        }
        now.saturating_duration_since(last.1)
    }

    async fn mark_pods(&self, node: &str) -> Result<(), ReconcileError> {
        let there = |pod: &&Arc<Object>| pod.field("spec.nodeName") == Some(node);
        for pod in self.pods.list().iter().filter(there) {
            let Some(changed) = not_ready(&pod.value(), &format_time(self.clock.now())) else { continue };
            self.recorder.warning(&Subject::of(pod), "NodeNotReady", "Node is not ready");
            match self.client.update_status(self.pods.gvr(), changed).await {
                Err(error) if error.reason != meta::Reason::NotFound => return Err(error.into()),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }
}

/// What a node's own conditions say of the time.
fn heartbeats(node: &Value) -> String {
    let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
    let known = conditions.filter(|condition| condition["status"] != "Unknown");
    known.filter_map(|condition| condition["lastHeartbeatTime"].as_str()).max().unwrap_or_default().to_owned()
}

/// The node with what only it can tell unknown; `None` if it is already.
fn unknown(node: &Value, now: &str) -> Option<Value> {
    let mut changed = node.clone();
    let mut conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
    for kind in TOLD {
        let condition = conditions.iter_mut().find(|condition| condition["type"] == kind);
        match condition {
            Some(condition) if condition["status"] == "Unknown" => {}
            Some(condition) => {
                condition["status"] = json!("Unknown");
                condition["reason"] = json!("NodeStatusUnknown");
                condition["message"] = json!("Kubelet stopped posting node status.");
                condition["lastTransitionTime"] = json!(now);
            }
            None => conditions.push(json!({
                "type": kind, "status": "Unknown", "reason": "NodeStatusNeverUpdated",
                "message": "Kubelet never posted node status.",
                "lastHeartbeatTime": node["metadata"]["creationTimestamp"], "lastTransitionTime": now,
            })),
        }
    }
    changed["status"]["conditions"] = json!(conditions);
    (changed["status"] != node["status"]).then_some(changed)
}

/// The pod, ready no more; `None` if it isn't anyway.
fn not_ready(pod: &Value, now: &str) -> Option<Value> {
    let mut changed = pod.clone();
    let conditions = changed["status"]["conditions"].as_array_mut()?;
    let ready =
        conditions.iter_mut().find(|condition| condition["type"] == "Ready" && condition["status"] == "True")?;
    ready["status"] = json!("False");
    ready["reason"] = json!("NodeNotReady");
    ready["lastTransitionTime"] = json!(now);
    Some(changed)
}

fn is_silent(node: &Value) -> bool {
    let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "Unknown")
}

#[async_trait]
impl Controller for NodeHealth {
    fn name(&self) -> &'static str {
        "node-health"
    }

    fn sources(&self) -> Vec<Source> {
        let of_name = |object: &Object| vec![object.metadata.name.clone()];
        vec![
            Source { informer: self.nodes.clone(), keys: of_name },
            Source { informer: self.leases.clone(), keys: of_name },
            Source { informer: self.pods.clone(), keys: |_| Vec::new() },
        ]
    }

    async fn reconcile(&self, key: &str) -> Result<Outcome, ReconcileError> {
        let Some(node) = self.nodes.get(key) else {
            self.heard.lock().expect("no holder of this lock can panic").remove(key);
            return Ok(Outcome::default());
        };
        let silence = self.silence(&node);
        if silence < GRACE {
            let rest = GRACE - silence + Duration::from_secs(1);
            return Ok(Outcome { again_after: Some(rest), ..Outcome::default() });
        }
        let value = node.value();
        if let Some(changed) = unknown(&value, &format_time(self.clock.now())) {
            let message = format!("Node {key} status is now: NodeNotReady");
            self.recorder.normal(&Subject::of(&node), "NodeNotReady", message);
            let written = self.client.update_status(self.nodes.gvr(), changed).await?;
            self.nodes.catch_up(written.revision).await;
        }
        if is_silent(&value) {
            self.mark_pods(key).await?;
        }
        Ok(Outcome { again_after: Some(Duration::from_secs(5)), ..Outcome::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_node_is_unknown_once() {
        let node = json!({"metadata": {"name": "n"}, "status": {"conditions": [
            {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": "2026-01-01T00:00:00Z"}]}});
        let changed = unknown(&node, "2026-01-01T00:01:00Z").expect("a change");
        let reasons: Vec<&str> = changed["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|condition| condition["reason"].as_str())
            .collect();
        assert_eq!(reasons[..2], ["NodeStatusUnknown", "NodeStatusNeverUpdated"]);
        assert!(is_silent(&changed));
        assert_eq!(unknown(&changed, "2026-01-01T00:02:00Z"), None);
    }

    #[test]
    fn pods_of_a_silent_node_are_not_ready() {
        let pod = |status: &str| json!({"status": {"conditions": [{"type": "Ready", "status": status}]}});
        let changed = not_ready(&pod("True"), "2026-01-01T00:00:00Z").expect("a change");
        assert_eq!(changed["status"]["conditions"][0]["reason"], "NodeNotReady");
        assert_eq!(not_ready(&pod("False"), "2026-01-01T00:00:00Z"), None);
    }
}
