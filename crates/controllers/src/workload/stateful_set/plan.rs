//! Decides the next step of a StatefulSet: which pods come and go, in which order, and of which revision.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use meta::Object;
use serde_json::{Value, json};

use super::identity::{REVISION, ordinal};
use crate::workload::document::{number, set_count, text};
use crate::workload::history::{Revision, kept_conditions};
use crate::workload::pod::Pod;

/// What there is.
pub(super) struct State<'a> {
    pub(super) set: &'a Value,
    pub(super) pods: &'a [Pod],
    pub(super) current: &'a Revision,
    pub(super) update: &'a Revision,
    pub(super) collisions: i64,
    pub(super) now: Timestamp,
}

#[derive(Debug)]
pub(super) enum Action {
    Create(i64),
    EnsureClaims(i64),
    Delete(Arc<Object>),
}

impl State<'_> {
    fn start(&self) -> i64 {
        number(self.set, "/spec/ordinals/start")
    }

    fn wanted(&self) -> i64 {
        self.set["spec"]["replicas"].as_i64().unwrap_or(1)
    }

    fn is_rolling(&self) -> bool {
        text(self.set, "/spec/updateStrategy/type") == "RollingUpdate"
    }

    fn is_ready(pod: &Pod) -> bool {
        pod.phase == "Running" && pod.ready
    }

    fn is_available(&self, pod: &Pod) -> bool {
        Self::is_ready(pod) && pod.is_available(number(self.set, "/spec/minReadySeconds"), self.now)
    }

    fn is_healthy(&self, pod: &Pod) -> bool {
        self.is_available(pod) && !pod.is_terminating()
    }

    /// Whether a pod is one of those that are wanted.
    pub(super) fn has(&self, pod: &Pod) -> bool {
        let ordinal = ordinal(text(self.set, "/metadata/name"), pod.name());
        ordinal.is_some_and(|ordinal| (self.start()..self.start() + self.wanted()).contains(&ordinal))
    }

    fn by_ordinal(&self) -> BTreeMap<i64, &Pod> {
        let set = text(self.set, "/metadata/name");
        self.pods.iter().filter_map(|pod| Some((ordinal(set, pod.name())?, pod))).collect()
    }
}

/// The revision that a new pod is made of: below the partition it stays the current one.
pub(super) fn revision_for<'a>(state: &'a State<'_>, ordinal: i64) -> &'a Revision {
    let rolling = &state.set["spec"]["updateStrategy"]["rollingUpdate"];
    let kept = match rolling["partition"].as_i64() {
        Some(partition) => partition,
        None if rolling.is_null() => number(state.set, "/status/currentReplicas"),
        None => 0,
    };
    if state.is_rolling() && ordinal < state.start() + kept { state.current } else { state.update }
}

/// The next step.
pub(super) fn plan(state: &State<'_>) -> Vec<Action> {
    let ordered = text(state.set, "/spec/podManagementPolicy") != "Parallel";
    let pods = state.by_ordinal();
    let range = state.start()..state.start() + state.wanted();
    let mut actions = Vec::new();
    let mut settled = true;
    for ordinal in range.clone() {
        let step = replica(state, pods.get(&ordinal).copied(), ordinal, ordered);
        let waits = step.waits;
        actions.extend(step.action);
        if waits && ordered {
            return actions;
        }
        settled &= !waits;
    }
    if !settled {
        return actions;
    }
    let unhealthy = pods.iter().find(|(_, pod)| !state.is_healthy(pod)).map(|(ordinal, _)| *ordinal);
    for (ordinal, pod) in pods.iter().rev().filter(|(ordinal, _)| !range.contains(ordinal)) {
        if pod.is_terminating() {
            if ordered {
                return actions;
            }
            continue;
        }
        if ordered && !state.is_available(pod) && unhealthy != Some(*ordinal) {
            return actions;
        }
        actions.push(Action::Delete(Arc::clone(&pod.object)));
        if ordered {
            return actions;
        }
    }
    actions.extend(roll(state, &pods));
    actions
}

struct Step {
    action: Option<Action>,
    /// Whether later pods must wait for this one.
    waits: bool,
}

fn replica(state: &State<'_>, pod: Option<&Pod>, ordinal: i64, ordered: bool) -> Step {
    let Some(pod) = pod else { return Step { action: Some(Action::Create(ordinal)), waits: ordered } };
    if pod.is_finished() {
        let delete = || Action::Delete(Arc::clone(&pod.object));
        return Step { action: (!pod.is_terminating()).then(delete), waits: true };
    }
    let action = (pod.phase == "Pending").then_some(Action::EnsureClaims(ordinal));
    Step { action, waits: ordered && (pod.is_terminating() || !state.is_available(pod)) }
}

/// A step of a rolling update: from the last pod down, one at a time.
fn roll(state: &State<'_>, pods: &BTreeMap<i64, &Pod>) -> Option<Action> {
    if !state.is_rolling() {
        return None;
    }
    let partition = state.start() + number(state.set, "/spec/updateStrategy/rollingUpdate/partition");
    for (_, pod) in pods.range(partition..).rev().filter(|(n, _)| **n < state.start() + state.wanted()) {
        if pod.label(REVISION) != state.update.name() && !pod.is_terminating() {
            return Some(Action::Delete(Arc::clone(&pod.object)));
        }
        if !state.is_healthy(pod) {
            return None;
        }
    }
    None
}

/// The set's status.
pub(super) fn status(state: &State<'_>) -> Value {
    let count = |test: &dyn Fn(&&Pod) -> bool| i64::try_from(state.pods.iter().filter(test).count()).unwrap_or(0);
    let of = |revision: &Revision| {
        count(&|pod: &&Pod| !pod.is_terminating() && !pod.phase.is_empty() && pod.label(REVISION) == revision.name())
    };
    let replicas = count(&|pod: &&Pod| !pod.phase.is_empty());
    let ready = count(&|pod: &&Pod| State::is_ready(pod));
    let (updated, wanted) = (of(state.update), state.wanted());
    let complete = state.is_rolling() && updated == wanted && replicas == wanted && ready == wanted;
    let current = if complete { state.update } else { state.current };
    let mut status = json!({
        "replicas": replicas,
        "availableReplicas": count(&|pod: &&Pod| state.is_available(pod)),
        "currentRevision": current.name(),
        "updateRevision": state.update.name(),
        "collisionCount": state.collisions,
    });
    set_count(&mut status, "observedGeneration", number(state.set, "/metadata/generation"));
    set_count(&mut status, "readyReplicas", ready);
    set_count(&mut status, "currentReplicas", of(current));
    set_count(&mut status, "updatedReplicas", updated);
    if let Some(conditions) = kept_conditions(state.set) {
        status["conditions"] = conditions;
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: &Value) -> Arc<Object> {
        Arc::new(Object::from_value(value).expect("an object"))
    }

    fn revision(name: &str) -> Revision {
        let value = json!({"kind": "ControllerRevision", "apiVersion": "apps/v1", "metadata": {"name": name}});
        Revision { object: object(&value), value }
    }

    /// A pod of an ordinal; `state` is `ready`, `pending`, `failed` or `ending`, `of` its revision.
    fn pod(ordinal: i64, state: &str, of: &str) -> Pod {
        let phase = match state {
            "pending" => "Pending",
            "failed" => "Failed",
            _ => "Running",
        };
        let ready = if phase == "Running" { "True" } else { "False" };
        let mut value = json!({"kind": "Pod", "apiVersion": "v1",
            "metadata": {"name": format!("s-{ordinal}"), "labels": {REVISION: of}},
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]}});
        if state == "ending" {
            value["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        Pod::of(object(&value))
    }

    fn check(policy: &str, wanted: i64, pods: &[Pod], expected: &str) {
        let set = json!({"metadata": {"name": "s"}, "spec": {"replicas": wanted, "podManagementPolicy": policy,
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}}});
        let (current, update) = (revision("old"), revision("new"));
        let now = meta::parse_time("2026-01-01T00:00:00Z").expect("a time");
        let state = State { set: &set, pods, current: &current, update: &update, collisions: 0, now };
        let word = |action: &Action| match action {
            Action::Create(ordinal) => format!("+{ordinal}"),
            Action::EnsureClaims(ordinal) => format!("~{ordinal}"),
            Action::Delete(pod) => format!("-{}", pod.metadata.name),
        };
        assert_eq!(plan(&state).iter().map(word).collect::<Vec<_>>().join(" "), expected);
    }

    #[test]
    fn pods_come_and_go_in_order() {
        let ready = |ordinal| pod(ordinal, "ready", "new");
        check("OrderedReady", 3, &[], "+0");
        check("OrderedReady", 3, &[pod(0, "pending", "new")], "~0");
        check("OrderedReady", 3, &[ready(0)], "+1");
        check("OrderedReady", 3, &[pod(0, "failed", "new")], "-s-0");
        check("OrderedReady", 1, &[ready(0), ready(1), ready(2)], "-s-2");
        check("OrderedReady", 1, &[ready(0), ready(1), pod(2, "ending", "new")], "");
        check("OrderedReady", 0, &[pod(0, "pending", "new"), ready(1)], "-s-1");
        check("Parallel", 3, &[], "+0 +1 +2");
        check("Parallel", 1, &[ready(0), ready(1), ready(2)], "-s-2 -s-1");
    }

    #[test]
    fn updates_go_from_the_last_pod_down() {
        let (old, new) = (|ordinal| pod(ordinal, "ready", "old"), |ordinal| pod(ordinal, "ready", "new"));
        check("OrderedReady", 3, &[old(0), old(1), old(2)], "-s-2");
        check("OrderedReady", 3, &[old(0), old(1), new(2)], "-s-1");
        check("OrderedReady", 3, &[old(0), old(1), pod(2, "ending", "old")], "");
        check("OrderedReady", 2, &[new(0), new(1)], "");
    }
}
