//! Revisions: which ReplicaSet has the newest template, its number, and what is noted on both sides.

use serde_json::{Map, Value, json};

use super::availability::{max_surge, replicas};
use crate::workload::document::{hash, map, normal, text};

pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MAXIMUM: &str = "deployment.kubernetes.io/max-replicas";
pub(super) const HASH: &str = "pod-template-hash";

/// Annotations of a Deployment that say nothing about its ReplicaSets.
const OWN: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    DESIRED,
    MAXIMUM,
    "deprecated.deployment.rollback.to",
];

fn without_hash(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(HASH);
    }
    normal(&template)
}

/// Whether a ReplicaSet is of the Deployment's template.
pub(super) fn is_newest(deployment: &Value, set: &Value) -> bool {
    without_hash(&deployment["spec"]["template"]) == without_hash(&set["spec"]["template"])
}

pub(super) fn revision(value: &Value) -> i64 {
    map(value, "/metadata/annotations")
        .get(REVISION)
        .and_then(Value::as_str)
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

/// The number in an annotation.
pub(super) fn noted(set: &Value, annotation: &str) -> Option<i64> {
    map(set, "/metadata/annotations").get(annotation)?.as_str()?.parse().ok()
}

/// Notes the sizes that proportional scaling needs.
pub(super) fn note_sizes(deployment: &Value, set: &mut Value) {
    let mut annotations = map(set, "/metadata/annotations");
    annotations.insert(DESIRED.into(), json!(replicas(deployment).to_string()));
    annotations.insert(MAXIMUM.into(), json!((replicas(deployment) + max_surge(deployment)).to_string()));
    set["metadata"]["annotations"] = json!(annotations);
}

/// Notes the revision and the Deployment's annotations on its newest ReplicaSet. A higher number that is there stays; a
/// former one goes into the history.
pub(super) fn note_revision(deployment: &Value, set: &mut Value, number: i64) {
    let mut annotations = map(set, "/metadata/annotations");
    for (name, value) in map(deployment, "/metadata/annotations") {
        if !OWN.contains(&name.as_str()) {
            annotations.insert(name, value);
        }
    }
    let former = revision(set);
    if former < number {
        if former > 0 {
            let history = annotations.get(HISTORY).and_then(Value::as_str).unwrap_or_default();
            let history = if history.is_empty() { former.to_string() } else { format!("{history},{former}") };
            annotations.insert(HISTORY.into(), json!(history));
        }
        annotations.insert(REVISION.into(), json!(number.to_string()));
    }
    set["metadata"]["annotations"] = json!(annotations);
}

/// The ReplicaSet of the Deployment's template, yet to be made.
pub(super) fn new_set(deployment: &Value, reference: Value, size: i64, number: i64) -> Value {
    let mut template = deployment["spec"]["template"].clone();
    let hash = hash(&template, deployment["status"]["collisionCount"].as_i64());
    let mut labels = map(&template, "/metadata/labels");
    labels.insert(HASH.into(), json!(hash));
    if !template["metadata"].is_object() {
        template["metadata"] = json!({});
    }
    template["metadata"]["labels"] = json!(labels.clone());
    let mut selector = deployment["spec"]["selector"].clone();
    let mut chosen: Map<String, Value> = map(&selector, "/matchLabels");
    chosen.insert(HASH.into(), json!(hash));
    selector["matchLabels"] = json!(chosen);
    let mut set = json!({
        "kind": "ReplicaSet", "apiVersion": "apps/v1",
        "metadata": {
            "name": format!("{}-{hash}", text(deployment, "/metadata/name")),
            "namespace": deployment["metadata"]["namespace"], "labels": labels, "ownerReferences": [reference],
        },
        "spec": {"replicas": size, "selector": selector, "template": template},
    });
    if let Some(seconds) = deployment["spec"]["minReadySeconds"].as_i64().filter(|seconds| *seconds > 0) {
        set["spec"]["minReadySeconds"] = json!(seconds);
    }
    note_revision(deployment, &mut set, number);
    note_sizes(deployment, &mut set);
    set
}
