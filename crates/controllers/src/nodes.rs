//! Keeps nodes' taints in step with their conditions: only a node that is ready gets pods.

use std::sync::Arc;

use async_trait::async_trait;
use client::{Client, Controller, Informer, Outcome, ReconcileError, Source};
use meta::{Clock, Gvr, format_time};
use serde_json::{Value, json};

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

/// Conditions with the taint that each brings while it is true.
const PRESSURES: [(&str, &str); 4] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
];

pub(crate) struct Nodes {
    pub(crate) client: Client,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) nodes: Informer,
}

/// The taints that a node should have, those of others kept.
///
/// Compat: upstream's node lifecycle says of its own since when they are there.
fn plan(node: &Value, now: &str) -> Vec<Value> {
    let status = |kind: &str| {
        let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
        conditions.filter(|condition| condition["type"] == kind).find_map(|condition| condition["status"].as_str())
    };
    let ours = |key: &Value| {
        let pressure = PRESSURES.iter().any(|(_, taint)| key == taint);
        pressure || key == NOT_READY || key == UNREACHABLE || key == "node.kubernetes.io/unschedulable"
    };
    let current = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    let kept = |key: &str, effect: &str| {
        current.iter().find(|taint| taint["key"] == key && taint["effect"] == effect).cloned()
    };
    let mut taints: Vec<Value> = current.iter().filter(|taint| !ours(&taint["key"])).cloned().collect();
    // A taint that is there already keeps the time since when it is.
    let mut add = |key: &str, effect: &str| {
        let new = || json!({"key": key, "effect": effect, "timeAdded": now});
        taints.push(kept(key, effect).unwrap_or_else(new))
    };
    match status("Ready") {
        Some("True") => {}
        Some("False") => ["NoSchedule", "NoExecute"].iter().for_each(|effect| add(NOT_READY, effect)),
        Some(_) => ["NoSchedule", "NoExecute"].iter().for_each(|effect| add(UNREACHABLE, effect)),
        None => add(NOT_READY, "NoSchedule"),
    }
    for (condition, taint) in PRESSURES {
        if status(condition) == Some("True") {
            add(taint, "NoSchedule");
        }
    }
    if node["spec"]["unschedulable"] == true {
        add("node.kubernetes.io/unschedulable", "NoSchedule");
    }
    taints
}

#[async_trait]
impl Controller for Nodes {
    fn name(&self) -> &'static str {
        "node-lifecycle"
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source { informer: self.nodes.clone(), keys: |object| vec![object.metadata.name.clone()] }]
    }

    async fn reconcile(&self, key: &str) -> Result<Outcome, ReconcileError> {
        let Some(object) = self.nodes.get(key) else { return Ok(Outcome::default()) };
        let mut node = object.value();
        let taints = plan(&node, &format_time(self.clock.now()));
        if node["spec"]["taints"].as_array().cloned().unwrap_or_default() == taints {
            return Ok(Outcome::default());
        }
        node["spec"]["taints"] = json!(taints);
        let written = self.client.update(&Gvr::new("", "v1", "nodes"), node).await?;
        Ok(Outcome { wrote: written.revision, ..Outcome::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taints_follow_conditions() {
        let check = |ready: Option<&str>, taints: Value, expected: &[&str]| {
            let conditions: Vec<Value> =
                ready.iter().map(|status| json!({"type": "Ready", "status": status})).collect();
            let node = json!({"spec": {"taints": taints}, "status": {"conditions": conditions}});
            let found: Vec<String> = plan(&node, "2026-01-01T00:00:00Z")
                .iter()
                .map(|taint| taint["effect"].as_str().unwrap_or_default().to_owned())
                .collect();
            assert_eq!(found, expected, "{node}");
        };
        let not_ready = json!([{"key": NOT_READY, "effect": "NoSchedule"}]);
        check(Some("True"), not_ready.clone(), &[]);
        check(Some("True"), json!([{"key": "mine", "effect": "NoExecute"}]), &["NoExecute"]);
        check(Some("False"), json!([]), &["NoSchedule", "NoExecute"]);
        check(None, not_ready, &["NoSchedule"]);
    }
}
