//! The conditions of a pod that the kubelet owns.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::lifecycle::{Role, roles};
use crate::status::PodFacts;

/// What the kubelet says of one condition.
struct Verdict {
    kind: &'static str,
    holds: bool,
    reason: &'static str,
    message: String,
}

impl Verdict {
    fn new(kind: &'static str, holds: bool) -> Self {
        Self { kind, holds, reason: "", message: String::new() }
    }

    fn because(kind: &'static str, reason: &'static str, message: String) -> Self {
        Self { kind, holds: false, reason, message }
    }
}

/// All conditions of a pod: the kubelet's, then those of others as they were.
pub(crate) fn conditions(
    pod: &Pod,
    phase: &str,
    statuses: &[ContainerStatus],
    facts: &PodFacts,
    now: Timestamp,
) -> Vec<PodCondition> {
    let old: &[PodCondition] = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let ready = containers_ready(pod, phase, statuses);
    let mine = [
        Verdict::new("PodReadyToStartContainers", facts.has_sandbox),
        initialized(pod, phase, statuses),
        pod_ready(pod, old, &ready),
        ready,
    ];
    let generation = pod.metadata.generation;
    let mut conditions: Vec<_> = mine.into_iter().map(|verdict| merge(verdict, old, generation, now)).collect();
    conditions.extend(facts.resizing.conditions(pod, now));
    if let Some(message) = &facts.disrupted {
        let verdict = Verdict {
            reason: "TerminationByKubelet",
            message: message.clone(),
            ..Verdict::new("DisruptionTarget", true)
        };
        conditions.push(merge(verdict, old, generation, now));
    }
    let others = old.iter().filter(|condition| !condition.type_.starts_with("PodResize"));
    for condition in others {
        if !conditions.iter().any(|mine| mine.type_ == condition.type_) {
            conditions.push(condition.clone());
        }
    }
    if !conditions.iter().any(|condition| condition.type_ == "PodScheduled") {
        conditions.push(merge(Verdict::new("PodScheduled", true), old, generation, now));
    }
    conditions
}

fn merge(verdict: Verdict, old: &[PodCondition], generation: Option<i64>, now: Timestamp) -> PodCondition {
    let status = if verdict.holds { "True" } else { "False" };
    let before = old.iter().find(|condition| condition.type_ == verdict.kind && condition.status == status);
    PodCondition {
        type_: verdict.kind.to_owned(),
        status: status.to_owned(),
        reason: (!verdict.reason.is_empty()).then(|| verdict.reason.to_owned()),
        message: (!verdict.message.is_empty()).then_some(verdict.message),
        last_probe_time: None,
        last_transition_time: before.and_then(|before| before.last_transition_time.clone()).or(Some(Time(now))),
        observed_generation: generation,
    }
}

fn status_of<'a>(statuses: &'a [ContainerStatus], name: &str) -> Option<&'a ContainerStatus> {
    statuses.iter().find(|status| status.name == name)
}

/// Names as Go prints a slice.
fn list(names: &[String]) -> String {
    format!("[{}]", names.join(" "))
}

fn messages(unknown: &[String], what: &str, named: &[String]) -> String {
    let mut parts = Vec::new();
    if !unknown.is_empty() {
        parts.push(format!("containers with unknown status: {}", list(unknown)));
    }
    if !named.is_empty() {
        parts.push(format!("containers with {what} status: {}", list(named)));
    }
    parts.join(", ")
}

fn containers_ready(pod: &Pod, phase: &str, statuses: &[ContainerStatus]) -> Verdict {
    const KIND: &str = "ContainersReady";
    let (mut unknown, mut unready) = (Vec::new(), Vec::new());
    for (role, container) in roles(pod) {
        if !matches!(role, Role::Sidecar | Role::Main) {
            continue;
        }
        match status_of(statuses, &container.name) {
            None => unknown.push(container.name),
            Some(status) if !status.ready => unready.push(container.name),
            Some(_) => {}
        }
    }
    if phase == "Succeeded" && unknown.is_empty() {
        return Verdict::because(KIND, "PodCompleted", String::new());
    }
    if phase == "Failed" {
        return Verdict::because(KIND, "PodFailed", String::new());
    }
    let message = messages(&unknown, "unready", &unready);
    if message.is_empty() { Verdict::new(KIND, true) } else { Verdict::because(KIND, "ContainersNotReady", message) }
}

fn pod_ready(pod: &Pod, old: &[PodCondition], containers: &Verdict) -> Verdict {
    const KIND: &str = "Ready";
    if !containers.holds {
        return Verdict::because(KIND, containers.reason, containers.message.clone());
    }
    let gates = pod.spec.as_ref().and_then(|spec| spec.readiness_gates.as_deref()).unwrap_or_default();
    let closed: Vec<_> = gates
        .iter()
        .filter_map(|gate| match old.iter().find(|condition| condition.type_ == gate.condition_type) {
            None => Some(format!(
                "corresponding condition of pod readiness gate \"{}\" does not exist.",
                gate.condition_type
            )),
            Some(condition) if condition.status != "True" => Some(format!(
                "the status of pod readiness gate \"{}\" is not \"True\", but {}",
                gate.condition_type, condition.status
            )),
            Some(_) => None,
        })
        .collect();
    if closed.is_empty() {
        Verdict::new(KIND, true)
    } else {
        Verdict::because(KIND, "ReadinessGatesNotReady", closed.join(", "))
    }
}

fn initialized(pod: &Pod, phase: &str, statuses: &[ContainerStatus]) -> Verdict {
    const KIND: &str = "Initialized";
    let (mut unknown, mut incomplete) = (Vec::new(), Vec::new());
    let mut began = false;
    for (role, container) in roles(pod) {
        let status = status_of(statuses, &container.name);
        match (role, status) {
            (Role::Init | Role::Sidecar, None) => unknown.push(container.name),
            (Role::Init, Some(status)) if !status.ready => incomplete.push(container.name),
            (Role::Sidecar, Some(status)) if status.started != Some(true) => incomplete.push(container.name),
            (Role::Main, Some(status)) => began |= was_started(status),
            (Role::Init | Role::Sidecar | Role::Main | Role::Ephemeral, _) => {}
        }
    }
    if phase == "Succeeded" && unknown.is_empty() {
        return Verdict { reason: "PodCompleted", ..Verdict::new(KIND, true) };
    }
    let message = messages(&unknown, "incomplete", &incomplete);
    // Compat: what was initialized once stays so, whatever sidecars do later.
    if began || message.is_empty() {
        Verdict::new(KIND, true)
    } else {
        Verdict::because(KIND, "ContainersNotInitialized", message)
    }
}

/// Whether a container ever ran.
pub(crate) fn was_started(status: &ContainerStatus) -> bool {
    let began = |state: &Option<k8s_openapi::api::core::v1::ContainerState>| {
        state.as_ref().is_some_and(|state| state.running.is_some() || state.terminated.is_some())
    };
    began(&status.state) || began(&status.last_state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(pod: serde_json::Value, phase: &str, statuses: serde_json::Value, expected: &[&str]) {
        let mut pod: Pod = serde_json::from_value(pod).unwrap();
        pod.metadata.generation = Some(1);
        let statuses: Vec<ContainerStatus> = serde_json::from_value(statuses).unwrap();
        let facts = PodFacts { has_sandbox: true, ..PodFacts::default() };
        let conditions = conditions(&pod, phase, &statuses, &facts, Timestamp::UNIX_EPOCH);
        let text: Vec<_> = conditions
            .iter()
            .map(|c| {
                let (reason, message) = (c.reason.as_deref().unwrap_or(""), c.message.as_deref().unwrap_or(""));
                format!("{}={} {reason} {message}", c.type_, c.status).trim_end().to_owned()
            })
            .collect();
        assert_eq!(text, expected);
    }

    fn container(name: &str, ready: bool) -> serde_json::Value {
        json!({"name": name, "ready": ready, "image": "", "imageID": "", "restartCount": 0})
    }

    #[test]
    fn texts_are_upstreams() {
        let pod = json!({"metadata": {}, "spec": {"containers": [{"name": "a"}, {"name": "b"}]}});
        check(
            pod.clone(),
            "Running",
            json!([container("a", true), container("b", false)]),
            &[
                "PodReadyToStartContainers=True",
                "Initialized=True",
                "Ready=False ContainersNotReady containers with unready status: [b]",
                "ContainersReady=False ContainersNotReady containers with unready status: [b]",
                "PodScheduled=True",
            ],
        );
        check(
            pod,
            "Succeeded",
            json!([container("a", false), container("b", false)]),
            &[
                "PodReadyToStartContainers=True",
                "Initialized=True PodCompleted",
                "Ready=False PodCompleted",
                "ContainersReady=False PodCompleted",
                "PodScheduled=True",
            ],
        );
    }

    #[test]
    fn gates_and_init_containers() {
        let gated = json!({"metadata": {}, "spec": {"containers": [{"name": "a"}],
            "initContainers": [{"name": "i"}], "readinessGates": [{"conditionType": "g"}]}});
        check(
            gated,
            "Pending",
            json!([container("a", true), container("i", false)]),
            &[
                "PodReadyToStartContainers=True",
                "Initialized=False ContainersNotInitialized containers with incomplete status: [i]",
                "Ready=False ReadinessGatesNotReady corresponding condition of pod readiness gate \"g\" does not exist.",
                "ContainersReady=True",
                "PodScheduled=True",
            ],
        );
    }
}
