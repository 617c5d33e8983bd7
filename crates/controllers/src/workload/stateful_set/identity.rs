//! What tells a StatefulSet's pods apart: name, claims, labels.

use meta::Object;
use serde_json::{Value, json};

use super::claim_templates;
use crate::workload::children::from_template;
use crate::workload::document::{items, map, text};
use crate::workload::history::Revision;

/// The label that names a pod's revision.
pub(super) const REVISION: &str = "controller-revision-hash";

/// The number in the name of a pod, if it is one of the set's.
pub(super) fn ordinal(set: &str, pod: &str) -> Option<i64> {
    pod.strip_prefix(set)?.strip_prefix('-')?.parse().ok().filter(|ordinal| *ordinal >= 0)
}

fn claim_name(template: &Value, set: &Value, ordinal: i64) -> String {
    format!("{}-{}-{ordinal}", text(template, "/metadata/name"), text(set, "/metadata/name"))
}

/// The claims of a pod.
pub(super) fn claims(set: &Value, ordinal: i64) -> Vec<Value> {
    let claim = |template: &Value| {
        let mut claim = template.clone();
        let mut labels = map(template, "/metadata/labels");
        labels.extend(map(set, "/spec/selector/matchLabels"));
        claim["kind"] = json!("PersistentVolumeClaim");
        claim["apiVersion"] = json!("v1");
        claim["metadata"]["name"] = json!(claim_name(template, set, ordinal));
        claim["metadata"]["namespace"] = set["metadata"]["namespace"].clone();
        claim["metadata"]["labels"] = json!(labels);
        claim
    };
    claim_templates(set).iter().map(claim).collect()
}

/// A pod of this revision.
pub(super) fn pod(owner: &Object, set: &Value, revision: &Revision, ordinal: i64) -> Value {
    let mut pod = from_template(owner, &revision.template());
    let name = format!("{}-{ordinal}", owner.metadata.name);
    pod["metadata"]["name"] = json!(name);
    let labels = &mut pod["metadata"]["labels"];
    labels["statefulset.kubernetes.io/pod-name"] = json!(name);
    labels["apps.kubernetes.io/pod-index"] = json!(ordinal.to_string());
    labels[REVISION] = json!(revision.name());
    pod["spec"]["hostname"] = json!(name);
    let service = text(set, "/spec/serviceName");
    if !service.is_empty() {
        pod["spec"]["subdomain"] = json!(service);
    }
    let templates = claim_templates(set);
    let named = |volume: &&Value| !templates.iter().any(|claim| claim["metadata"]["name"] == volume["name"]);
    let others: Vec<Value> = items(&pod, "/spec/volumes").iter().filter(named).cloned().collect();
    let volume = |template: &Value| {
        let claim = claim_name(template, set, ordinal);
        json!({"name": template["metadata"]["name"], "persistentVolumeClaim": {"claimName": claim}})
    };
    let volumes: Vec<Value> = templates.iter().map(volume).chain(others).collect();
    if !volumes.is_empty() {
        pod["spec"]["volumes"] = json!(volumes);
    }
    pod
}
