//! Which nodes a DaemonSet's pods are meant for, and how a pod is bound to its own.

use std::collections::BTreeMap;

use meta::{LabelSelector, Toleration};
use serde_json::{Value, json};

use crate::workload::document::{items, map, text};

/// Troubles of a node that a daemon's pod bears, as (taint, effect).
const BORNE: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];

const NO_NETWORK: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");

/// What a node is to a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fit {
    /// A pod belongs there.
    pub(super) runs: bool,
    /// A pod that is there may stay.
    pub(super) stays: bool,
}

fn tolerations(spec: &Value) -> Vec<Value> {
    let network = (spec["hostNetwork"] == true).then_some(NO_NETWORK);
    let own = BORNE.into_iter().chain(network);
    let own = own.map(|(key, effect)| json!({"key": key, "operator": "Exists", "effect": effect}));
    let mut all = items(spec, "/tolerations").to_vec();
    all.extend(own.filter(|new| !items(spec, "/tolerations").contains(new)));
    all
}

/// Every node by its name.
pub(super) fn fits(set: &Value, nodes: &[Value]) -> BTreeMap<String, Fit> {
    let spec = &set["spec"]["template"]["spec"];
    let tolerations = tolerations(spec);
    nodes.iter().map(|node| (text(node, "/metadata/name").to_owned(), fit(spec, &tolerations, node))).collect()
}

fn fit(spec: &Value, tolerations: &[Value], node: &Value) -> Fit {
    let name = text(node, "/metadata/name");
    let named = text(spec, "/nodeName");
    let labels: BTreeMap<String, String> = map(node, "/metadata/labels")
        .into_iter()
        .map(|(key, value)| (key, value.as_str().unwrap_or_default().to_owned()))
        .collect();
    let chosen = LabelSelector::from_value(&json!({"matchLabels": spec["nodeSelector"]})).unwrap_or_default();
    let required = &spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    let affine =
        required.is_null() || items(required, "/nodeSelectorTerms").iter().any(|term| term_fits(term, name, &labels));
    if !(named.is_empty() || named == name) || !chosen.matches(&labels) || !affine {
        return Fit { runs: false, stays: false };
    }
    let borne = |taint: &&Value| !tolerations.iter().any(|own| Toleration::from(own).covers((*taint).into()));
    let untolerated: Vec<&Value> = items(node, "/spec/taints").iter().filter(borne).collect();
    let refuses = |effect: &str| untolerated.iter().any(|taint| taint["effect"] == effect);
    Fit { runs: !refuses("NoExecute") && !refuses("NoSchedule"), stays: !refuses("NoExecute") }
}

fn term_fits(term: &Value, name: &str, labels: &BTreeMap<String, String>) -> bool {
    let (expressions, fields) = (items(term, "/matchExpressions"), items(term, "/matchFields"));
    let selected = |list: &[Value], own: &BTreeMap<String, String>| {
        LabelSelector::from_value(&json!({"matchExpressions": list})).is_ok_and(|selector| selector.matches(own))
    };
    let identity = BTreeMap::from([("metadata.name".to_owned(), name.to_owned())]);
    (!expressions.is_empty() || !fields.is_empty()) && selected(expressions, labels) && selected(fields, &identity)
}

/// Binds a pod's spec to a node through its affinity, so that the scheduler places it as any other.
pub(super) fn pin(spec: &mut Value, node: &str) {
    spec["tolerations"] = json!(tolerations(spec));
    if !spec["affinity"].is_object() {
        spec["affinity"] = json!({});
    }
    if !spec["affinity"]["nodeAffinity"].is_object() {
        spec["affinity"]["nodeAffinity"] = json!({});
    }
    spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] = json!({
        "nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]});
}

/// The node that a pod is on, or is bound to.
pub(super) fn target(pod: &Value) -> String {
    let own = text(pod, "/spec/nodeName");
    if !own.is_empty() {
        return own.to_owned();
    }
    let pointer = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
    let fields = items(pod, pointer).iter().flat_map(|term| items(term, "/matchFields"));
    let mut names = fields.filter(|field| field["key"] == "metadata.name").map(|field| text(field, "/values/0"));
    names.next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(spec: Value, node: Value, runs: bool, stays: bool) {
        let set = json!({"spec": {"template": {"spec": spec}}});
        let mut node = node;
        node["metadata"]["name"] = json!("n");
        assert_eq!(fits(&set, &[node]).get("n"), Some(&Fit { runs, stays }), "{spec}");
    }

    #[test]
    fn labels_and_taints_decide() {
        let taint = |key: &str, effect: &str| json!({"spec": {"taints": [{"key": key, "effect": effect}]}});
        check(json!({}), json!({}), true, true);
        check(json!({"nodeSelector": {"a": "b"}}), json!({}), false, false);
        check(json!({"nodeSelector": {"a": "b"}}), json!({"metadata": {"labels": {"a": "b"}}}), true, true);
        check(json!({"nodeName": "other"}), json!({}), false, false);
        check(json!({}), taint("x", "NoSchedule"), false, true);
        check(json!({}), taint("x", "NoExecute"), false, false);
        check(json!({"tolerations": [{"operator": "Exists"}]}), taint("x", "NoExecute"), true, true);
        check(json!({}), taint("node.kubernetes.io/not-ready", "NoExecute"), true, true);
        let mut spec = json!({});
        pin(&mut spec, "n");
        check(spec.clone(), json!({}), true, true);
        assert_eq!(target(&json!({"spec": spec})), "n");
    }
}
