//! Decides how many pods a set makes or deletes, which go first, and what its status says.

use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use meta::{Object, format_time, parse_time};
use serde_json::{Value, json};

use crate::workload::children::BURST;
use crate::workload::conditions;
use crate::workload::document::{items, map, number, set_count};
use crate::workload::pod::Pod;

#[derive(Debug)]
pub(super) enum Action {
    Nothing,
    Create(usize),
    Delete(Vec<Arc<Object>>),
}

/// What to do for a set with these pods, which are all neither finished nor ending.
pub(super) fn plan(wanted: i64, active: &[Pod], relatives: impl FnOnce() -> Vec<Pod>, now: Timestamp) -> Action {
    let wanted = usize::try_from(wanted).unwrap_or(0);
    match active.len().cmp(&wanted) {
        Ordering::Equal => Action::Nothing,
        Ordering::Less => Action::Create(wanted - active.len()),
        Ordering::Greater => {
            let count = (active.len() - wanted).min(BURST);
            let relatives = if wanted == 0 { Vec::new() } else { relatives() };
            Action::Delete(ranked(active, &relatives, now).into_iter().take(count).collect())
        }
    }
}

/// The pods in the order in which they go.
///
/// Compat: upstream's `ActivePodsWithRanks`. Ages count by their order of magnitude, so that it is not always the newest.
fn ranked(active: &[Pod], relatives: &[Pod], now: Timestamp) -> Vec<Arc<Object>> {
    let mut crowd: HashMap<&str, usize> = HashMap::new();
    relatives.iter().for_each(|pod| *crowd.entry(pod.node.as_str()).or_default() += 1);
    let phase = |pod: &Pod| match pod.phase.as_str() {
        "Pending" => 0,
        "Unknown" => 1,
        _ => 2,
    };
    let magnitude = |since: Option<Timestamp>| {
        let age = since.map_or(i64::MAX, |since| (now.as_second() - since.as_second()).max(0));
        if age == 0 { 0 } else { age.ilog2() + 1 }
    };
    let rank = |pod: &Pod| {
        let doubled = crowd.get(pod.node.as_str()).copied().unwrap_or(0);
        let ready_since = if pod.ready { magnitude(pod.ready_since) } else { 0 };
        let created = magnitude(parse_time(&pod.object.metadata.creation_timestamp));
        (
            (!pod.node.is_empty(), phase(pod), pod.ready, pod.deletion_cost),
            (Reverse(doubled), ready_since, Reverse(pod.restarts), created),
            pod.object.metadata.uid.clone(),
        )
    };
    let mut sorted: Vec<&Pod> = active.iter().collect();
    sorted.sort_by_cached_key(|pod| rank(pod));
    sorted.into_iter().map(|pod| Arc::clone(&pod.object)).collect()
}

/// The set's status. `failure` tells why pods could not be made or deleted.
pub(super) fn status(
    set: &Value,
    active: &[Pod],
    terminating: Option<usize>,
    failure: Option<&str>,
    now: Timestamp,
) -> Value {
    let labels = map(set, "/spec/template/metadata/labels");
    let labelled =
        |pod: &&Pod| labels.iter().all(|(key, value)| value.as_str().is_some_and(|value| pod.label(key) == value));
    let min_ready = number(set, "/spec/minReadySeconds");
    let count = |test: &dyn Fn(&&Pod) -> bool| i64::try_from(active.iter().filter(test).count()).unwrap_or(i64::MAX);
    let mut status = set["status"].clone();
    status["replicas"] = json!(active.len());
    set_count(&mut status, "fullyLabeledReplicas", count(&labelled));
    set_count(&mut status, "readyReplicas", count(&|pod: &&Pod| pod.ready));
    set_count(&mut status, "availableReplicas", count(&|pod: &&Pod| pod.is_available(min_ready, now)));
    set_count(&mut status, "observedGeneration", number(set, "/metadata/generation"));
    if let Some(terminating) = terminating {
        status["terminatingReplicas"] = json!(terminating);
    }
    let mut list = items(set, "/status/conditions").to_vec();
    let known = conditions::find(&list, "ReplicaFailure").is_some();
    match failure {
        Some(message) if !known => {
            let short = i64::try_from(active.len()).unwrap_or(i64::MAX) < number(set, "/spec/replicas");
            let reason = if short { "FailedCreate" } else { "FailedDelete" };
            list.push(json!({"type": "ReplicaFailure", "status": "True", "reason": reason, "message": message,
                "lastTransitionTime": format_time(now)}));
        }
        None => conditions::remove(&mut list, "ReplicaFailure"),
        Some(_) => {}
    }
    if list.is_empty() {
        status.as_object_mut().map(|fields| fields.remove("conditions"));
    } else {
        status["conditions"] = json!(list);
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-01-01T01:00:00Z";

    fn pod(name: &str, node: &str, phase: &str, ready: &str, annotations: Value) -> Pod {
        let value = json!({"kind": "Pod", "apiVersion": "v1",
            "metadata": {"name": name, "namespace": "n", "uid": name, "labels": {"a": "b"}, "annotations": annotations,
                "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"nodeName": node},
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready,
                "lastTransitionTime": "2026-01-01T00:59:55Z"}]}});
        Pod::of(Arc::new(Object::from_value(&value).expect("a pod")))
    }

    fn now() -> Timestamp {
        parse_time(NOW).expect("a time")
    }

    #[test]
    fn counts_are_brought_to_what_is_wanted() {
        let pods = || {
            vec![
                pod("ready", "x", "Running", "True", json!({})),
                pod("dear", "x", "Running", "True", json!({"controller.kubernetes.io/pod-deletion-cost": "9"})),
                pod("unready", "x", "Running", "False", json!({})),
                pod("pending", "x", "Pending", "False", json!({})),
                pod("unbound", "", "Pending", "False", json!({})),
            ]
        };
        let check = |wanted: i64, expected: &[&str]| match plan(wanted, &pods(), pods, now()) {
            Action::Nothing => assert_eq!(wanted, 5),
            Action::Create(count) => assert_eq!(count + 5, usize::try_from(wanted).expect("a count")),
            Action::Delete(gone) => {
                let names: Vec<&str> = gone.iter().map(|pod| pod.metadata.name.as_str()).collect();
                assert_eq!(names, expected);
            }
        };
        check(7, &[]);
        check(5, &[]);
        check(4, &["unbound"]);
        check(1, &["unbound", "pending", "unready", "ready"]);
        check(0, &["unbound", "pending", "unready", "ready", "dear"]);
    }

    #[test]
    fn the_status_counts() {
        let set = json!({"metadata": {"generation": 3}, "spec": {"replicas": 2, "minReadySeconds": 10,
            "template": {"metadata": {"labels": {"a": "b"}}}}, "status": {"replicas": 0}});
        let check = |failure: Option<&str>, expected: Value| {
            let active = [pod("a", "x", "Running", "True", json!({}))];
            assert_eq!(status(&set, &active, Some(1), failure, now()), expected);
        };
        let counts = json!({"replicas": 1, "fullyLabeledReplicas": 1, "readyReplicas": 1, "observedGeneration": 3,
            "terminatingReplicas": 1});
        check(None, counts.clone());
        let mut failed = counts;
        failed["conditions"] = json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate",
            "message": "no", "lastTransitionTime": NOW}]);
        check(Some("no"), failed);
    }
}
