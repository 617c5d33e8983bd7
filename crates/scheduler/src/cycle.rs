//! One pod's choice among the nodes.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Pod};
use meta::Quantity;

use crate::fit::{Candidate, free, reasons, requests};

/// What becomes of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// It goes to this node.
    Node(String),
    /// No node fits; the text tells users why.
    None(String),
}

/// The best node for a pod: of those that fit the one with the most left. Pods that have a node count where they are.
pub fn choose(pod: &Pod, nodes: Vec<Node>, pods: &[Pod]) -> Choice {
    let total = nodes.len();
    let mut refused: BTreeMap<String, usize> = BTreeMap::new();
    let mut best: Option<(i64, String)> = None;
    for node in nodes {
        let name = node.metadata.name.clone().unwrap_or_default();
        let there = |other: &&Pod| other.spec.as_ref().and_then(|spec| spec.node_name.as_ref()) == Some(&name);
        let candidate = Candidate { pods: pods.iter().filter(there).cloned().collect(), node };
        let why = reasons(pod, &candidate);
        if why.is_empty() {
            let score = score(pod, &candidate);
            if best.as_ref().is_none_or(|(highest, _)| score > *highest) {
                best = Some((score, name));
            }
        }
        why.into_iter().for_each(|reason| *refused.entry(reason).or_default() += 1);
    }
    match best {
        Some((_, name)) => Choice::Node(name),
        None if total == 0 => Choice::None("no nodes available to schedule pods".to_owned()),
        None => {
            let list: Vec<String> = refused.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
            Choice::None(format!("0/{total} nodes are available: {}.", list.join(", ")))
        }
    }
}

/// The share of CPU and memory that would be left, in percent, together.
fn score(pod: &Pod, candidate: &Candidate) -> i64 {
    let (free, wanted) = (free(candidate), requests(pod));
    let allocatable = candidate.node.status.as_ref().and_then(|status| status.allocatable.clone()).unwrap_or_default();
    let share = |name: &str| {
        let all = allocatable.get(name).and_then(|amount| amount.0.parse::<Quantity>().ok()).unwrap_or(Quantity::ZERO);
        let left =
            free.get(name).copied().unwrap_or(Quantity::ZERO) - wanted.get(name).copied().unwrap_or(Quantity::ZERO);
        if all.is_zero() { 0 } else { i128::from(left.milli_value()) * 100 / i128::from(all.milli_value().max(1)) }
    };
    i64::try_from(share("cpu") + share("memory")).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(name: &str, cpu: &str, spec: Value) -> Node {
        let amounts = json!({"cpu": cpu, "memory": "8Gi", "pods": "2"});
        let value = json!({"metadata": {"name": name, "labels": {"disk": name}}, "spec": spec, "status": {"allocatable": amounts}});
        serde_json::from_value(value).expect("a node")
    }

    fn pod(cpu: &str, spec: Value) -> Pod {
        let mut value = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}});
        value["spec"].as_object_mut().expect("a spec").extend(spec.as_object().cloned().expect("fields"));
        serde_json::from_value(value).expect("a pod")
    }

    #[test]
    fn the_emptiest_node_that_fits_is_chosen() {
        let taint = json!({"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]});
        let nodes = || vec![node("a", "2", json!({})), node("b", "4", json!({})), node("c", "9", taint.clone())];
        let there = |name: &str| pod("1", json!({"nodeName": name}));
        let check = |pod: Pod, pods: &[Pod], expected: Choice| assert_eq!(choose(&pod, nodes(), pods), expected);
        let on = |name: &str| Choice::Node(name.to_owned());
        check(pod("1", json!({})), &[], on("b"));
        check(pod("1", json!({})), &[there("b"), there("b")], on("a"));
        check(pod("1", json!({"nodeSelector": {"disk": "a"}})), &[], on("a"));
        check(pod("1", json!({"tolerations": [{"operator": "Exists"}]})), &[], on("c"));
        let text = "0/3 nodes are available: 2 Insufficient cpu, 1 node(s) had untolerated taint(s) {k: v}.";
        check(pod("5", json!({})), &[], Choice::None(text.to_owned()));
        assert_eq!(
            choose(&pod("1", json!({})), Vec::new(), &[]),
            Choice::None("no nodes available to schedule pods".to_owned())
        );
    }
}
