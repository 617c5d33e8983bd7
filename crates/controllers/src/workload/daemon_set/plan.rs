//! Decides which nodes get or lose a pod of a DaemonSet, and what its status says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use meta::Object;
use serde_json::{Value, json};

use super::HASH;
use super::nodes::{Fit, target};
use crate::workload::document::{number, scaled, set_count, text};
use crate::workload::history::kept_conditions;
use crate::workload::pod::Pod;

/// Why a pod that failed is replaced.
pub(super) const FAILED: &str = "FailedDaemonPod";

/// What there is.
pub(super) struct State<'a> {
    pub(super) set: &'a Value,
    pub(super) pods: &'a [Pod],
    pub(super) nodes: BTreeMap<String, Fit>,
    /// Nodes where a failed pod stays for now, each with how much longer.
    pub(super) resting: BTreeMap<String, Duration>,
    /// The hash of the newest template.
    pub(super) hash: &'a str,
    pub(super) now: Timestamp,
}

#[derive(Debug)]
pub(super) enum Action {
    /// Makes a pod for a node.
    Create(String),
    Delete(Arc<Object>),
    /// Deletes a pod that has ended, and says so.
    Replace {
        pod: Arc<Object>,
        node: String,
        reason: &'static str,
        message: String,
    },
}

impl State<'_> {
    /// The pods of each node, the oldest first.
    fn by_node(&self) -> BTreeMap<String, Vec<&Pod>> {
        let mut nodes: BTreeMap<String, Vec<&Pod>> = BTreeMap::new();
        for pod in self.pods {
            let node = if pod.node.is_empty() { target(&pod.object.value()) } else { pod.node.clone() };
            nodes.entry(node).or_default().push(pod);
        }
        for pods in nodes.values_mut() {
            pods.sort_by_key(|pod| (pod.node.is_empty(), !pod.ready, pod.object.metadata.creation_timestamp.clone()));
        }
        nodes
    }

    fn is_available(&self, pod: &Pod) -> bool {
        pod.is_available(number(self.set, "/spec/minReadySeconds"), self.now)
    }

    fn is_new(&self, pod: &Pod) -> bool {
        pod.label(HASH) == self.hash
    }

    /// (maxSurge, maxUnavailable) of a rolling update.
    fn limits(&self) -> (i64, i64) {
        let desired = i64::try_from(self.nodes.values().filter(|fit| fit.runs).count()).unwrap_or(0);
        let rolling = &self.set["spec"]["updateStrategy"]["rollingUpdate"];
        let surge = scaled(&rolling["maxSurge"], desired, true);
        let unavailable = scaled(&rolling["maxUnavailable"], desired, true);
        (surge, if surge == 0 { unavailable.max(1) } else { unavailable })
    }

    fn is_rolling(&self) -> bool {
        text(self.set, "/spec/updateStrategy/type") == "RollingUpdate"
    }
}

/// What to do now.
pub(super) fn plan(state: &State<'_>) -> Vec<Action> {
    let by_node = state.by_node();
    let mut actions = manage(state, &by_node);
    if state.is_rolling() {
        let (surge, unavailable) = state.limits();
        actions.extend(if surge > 0 { swap(state, &by_node, surge) } else { replace(state, &by_node, unavailable) });
    }
    // What goes for two reasons goes once.
    let mut seen = std::collections::BTreeSet::new();
    actions.retain(|action| match action {
        Action::Delete(pod) | Action::Replace { pod, .. } => seen.insert(pod.metadata.uid.clone()),
        Action::Create(_) => true,
    });
    actions
}

/// One pod where one belongs, none where none may be.
fn manage(state: &State<'_>, by_node: &BTreeMap<String, Vec<&Pod>>) -> Vec<Action> {
    let mut actions = Vec::new();
    let none = Vec::new();
    for (node, fit) in &state.nodes {
        let pods = by_node.get(node).unwrap_or(&none);
        if !fit.stays {
            let going = pods.iter().filter(|pod| !pod.is_terminating());
            actions.extend(going.map(|pod| Action::Delete(Arc::clone(&pod.object))));
            continue;
        }
        if pods.is_empty() && fit.runs {
            actions.push(Action::Create(node.clone()));
        }
        let (ended, alive): (Vec<&Pod>, Vec<&Pod>) =
            pods.iter().filter(|pod| !pod.is_terminating()).partition(|pod| pod.is_finished());
        for pod in ended {
            if pod.phase == "Failed" && state.resting.contains_key(node) {
                continue;
            }
            let (reason, word) =
                if pod.phase == "Failed" { (FAILED, "failed") } else { ("SucceededDaemonPod", "succeeded") };
            let effort = if pod.phase == "Failed" { "will try to kill it" } else { "will try to delete it" };
            let message = format!("Found {word} daemon pod {} on node {node}, {effort}", pod.object.metadata.key());
            let (pod, node) = (Arc::clone(&pod.object), node.clone());
            actions.push(Action::Replace { pod, node, reason, message });
        }
        let surging = state.is_rolling() && state.limits().0 > 0;
        for new in [true, false] {
            // With a surge, a new pod may stand beside the old one for a while.
            let rivals: Vec<&&Pod> = alive.iter().filter(|pod| !surging || state.is_new(pod) == new).collect();
            actions.extend(rivals.iter().skip(1).map(|pod| Action::Delete(Arc::clone(&pod.object))));
            if !surging {
                break;
            }
        }
    }
    // Pods of nodes that are gone are the pod collector's; pods bound to one that never was are ours.
    let lost = by_node.iter().filter(|(node, _)| !state.nodes.contains_key(*node)).flat_map(|(_, pods)| pods);
    let lost = lost.filter(|pod| pod.node.is_empty() && !pod.is_terminating());
    actions.extend(lost.map(|pod| Action::Delete(Arc::clone(&pod.object))));
    actions
}

/// The pod of the newest template and that of an older one, of those that are not ending.
fn pair<'a>(state: &State<'_>, pods: &[&'a Pod]) -> (Option<&'a Pod>, Option<&'a Pod>) {
    let find = |new: bool| pods.iter().find(|pod| pod.is_active() && state.is_new(pod) == new).copied();
    (find(true), find(false))
}

/// Deletes old pods, so that new ones take their places, within the number that may be missing.
fn replace(state: &State<'_>, by_node: &BTreeMap<String, Vec<&Pod>>, limit: i64) -> Vec<Action> {
    let (mut missing, mut at_once, mut candidates) = (0, Vec::new(), Vec::new());
    for (node, _) in state.nodes.iter().filter(|(_, fit)| fit.runs) {
        let pods = by_node.get(node).map(Vec::as_slice).unwrap_or_default();
        match pair(state, pods) {
            (None, Some(old)) if state.is_available(old) => candidates.push(old),
            (None, Some(old)) => {
                missing += 1;
                at_once.push(old);
            }
            (Some(new), None) if state.is_available(new) => {}
            _ => missing += 1,
        }
    }
    let room = usize::try_from(limit - missing).unwrap_or(0);
    let going = at_once.into_iter().chain(candidates.into_iter().take(room));
    going.map(|pod| Action::Delete(Arc::clone(&pod.object))).collect()
}

/// Makes new pods beside old ones, within the surge, and deletes each old one whose successor is there.
fn swap(state: &State<'_>, by_node: &BTreeMap<String, Vec<&Pod>>, limit: i64) -> Vec<Action> {
    let (mut actions, mut surging, mut candidates) = (Vec::new(), 0, Vec::new());
    for (node, _) in state.nodes.iter().filter(|(_, fit)| fit.runs) {
        let pods = by_node.get(node).map(Vec::as_slice).unwrap_or_default();
        match pair(state, pods) {
            (Some(new), Some(old)) if state.is_available(new) => actions.push(Action::Delete(Arc::clone(&old.object))),
            (Some(_), Some(_)) => surging += 1,
            (None, Some(old)) if state.is_available(old) => candidates.push(node),
            (None, Some(_)) => actions.push(Action::Create(node.clone())),
            (_, None) => {}
        }
    }
    let room = usize::try_from(limit - surging).unwrap_or(0);
    actions.extend(candidates.into_iter().take(room).map(|node| Action::Create(node.clone())));
    actions
}

/// The set's status.
pub(super) fn status(state: &State<'_>, collisions: i64) -> Value {
    let by_node = state.by_node();
    let (mut desired, mut current, mut wrong, mut ready, mut available, mut updated) = (0, 0, 0, 0, 0, 0);
    for (node, fit) in &state.nodes {
        let pods = by_node.get(node).map(Vec::as_slice).unwrap_or_default();
        if !fit.runs {
            wrong += i64::from(!pods.is_empty());
            continue;
        }
        desired += 1;
        let Some(pod) = pods.first() else { continue };
        current += 1;
        ready += i64::from(pod.ready);
        available += i64::from(state.is_available(pod));
        updated += i64::from(pods.iter().any(|pod| state.is_new(pod)));
    }
    let mut status = json!({"desiredNumberScheduled": desired, "currentNumberScheduled": current,
        "numberMisscheduled": wrong, "numberReady": ready});
    set_count(&mut status, "observedGeneration", number(state.set, "/metadata/generation"));
    set_count(&mut status, "updatedNumberScheduled", updated);
    set_count(&mut status, "numberAvailable", available);
    set_count(&mut status, "numberUnavailable", desired - available);
    if collisions > 0 || state.set["status"]["collisionCount"].is_i64() {
        status["collisionCount"] = json!(collisions);
    }
    if let Some(conditions) = kept_conditions(state.set) {
        status["conditions"] = conditions;
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(node: &str, hash: &str, phase: &str) -> Pod {
        let ready = if phase == "Running" { "True" } else { "False" };
        let name = format!("{node}-{hash}");
        let value = json!({"kind": "Pod", "apiVersion": "v1",
            "metadata": {"name": name, "uid": name, "labels": {HASH: hash}}, "spec": {"nodeName": node},
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]}});
        Pod::of(Arc::new(Object::from_value(&value).expect("a pod")))
    }

    fn check(rolling: Value, pods: &[Pod], expected: &str) {
        check_resting(rolling, pods, &[], expected);
    }

    fn check_resting(rolling: Value, pods: &[Pod], resting: &[&str], expected: &str) {
        let set = json!({"spec": {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling}}});
        let fit = |runs: bool, stays: bool| Fit { runs, stays };
        let nodes = [("a", fit(true, true)), ("b", fit(true, true)), ("c", fit(false, false)), ("d", fit(false, true))];
        let nodes = nodes.into_iter().map(|(name, fit)| (name.to_owned(), fit)).collect();
        let now = meta::parse_time("2026-01-01T00:00:00Z").expect("a time");
        let word = |action: &Action| match action {
            Action::Create(node) => format!("+{node}"),
            Action::Delete(pod) => format!("-{}", pod.metadata.name),
            Action::Replace { pod, reason, .. } => format!("{reason} {}", pod.metadata.name),
        };
        let resting = resting.iter().map(|node| ((*node).to_owned(), Duration::from_secs(1))).collect();
        let state = State { set: &set, pods, nodes, resting, hash: "new", now };
        assert_eq!(plan(&state).iter().map(word).collect::<Vec<_>>().join(" "), expected);
    }

    #[test]
    fn nodes_get_what_they_should() {
        let one = || json!({"maxUnavailable": 1, "maxSurge": 0});
        let running = |node: &str, hash: &str| pod(node, hash, "Running");
        check(one(), &[], "+a +b");
        check(one(), &[running("a", "new"), running("b", "new"), running("c", "new"), running("d", "new")], "-c-new");
        check(one(), &[pod("a", "new", "Failed"), running("b", "new")], "FailedDaemonPod a-new");
        check_resting(one(), &[pod("a", "new", "Failed"), running("b", "new")], &["a"], "");
        check(one(), &[running("a", "old"), running("b", "old")], "-a-old");
        check(one(), &[running("b", "old")], "+a");
        check(one(), &[pod("a", "old", "Pending"), running("b", "old")], "-a-old");
    }

    #[test]
    fn a_surge_makes_the_new_pod_first() {
        let surge = || json!({"maxUnavailable": 0, "maxSurge": 1});
        let running = |node: &str, hash: &str| pod(node, hash, "Running");
        check(surge(), &[running("a", "old"), running("b", "old")], "+a");
        check(surge(), &[running("a", "old"), running("b", "old"), pod("a", "new", "Pending")], "");
        check(surge(), &[running("a", "old"), running("b", "old"), running("a", "new")], "-a-old +b");
    }
}
