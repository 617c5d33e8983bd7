//! The row of a pod in `kubectl get`.

use serde_json::{Value, json};

use crate::age;
use crate::field::{items, number, text};
use crate::plain::{cell, name};

/// The cells.
pub(super) fn of(pod: &Value, now: i64) -> Vec<Value> {
    let summary = Summary::of(pod, now);
    let gates = items(pod, "/spec/readinessGates");
    let passed = gates.iter().filter(|gate| has_condition(pod, text(gate, "/conditionType"))).count();
    let gates_cell = if gates.is_empty() { "<none>".to_owned() } else { format!("{passed}/{}", gates.len()) };
    vec![
        name(pod),
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.status.into(),
        summary.restarts.into(),
        age::of(pod, now),
        cell(pod, "/status/podIP", "<none>"),
        cell(pod, "/spec/nodeName", "<none>"),
        cell(pod, "/status/nominatedNodeName", "<none>"),
        json!(gates_cell),
    ]
}

struct Summary {
    status: String,
    ready: usize,
    total: usize,
    restarts: String,
}

fn has_condition(pod: &Value, kind: &str) -> bool {
    let conditions = items(pod, "/status/conditions").iter();
    conditions
        .filter(|condition| text(condition, "/type") == kind)
        .any(|condition| text(condition, "/status") == "True")
}

/// What a container's state says if it says anything: its reason, or how it ended.
fn word(container: &Value) -> Option<String> {
    let state = &container["state"];
    let waiting = text(state, "/waiting/reason");
    if !waiting.is_empty() {
        return Some(waiting.to_owned());
    }
    let ended = state.get("terminated")?;
    match (text(ended, "/reason"), number(ended, "/signal").filter(|signal| *signal != 0)) {
        ("", Some(signal)) => Some(format!("Signal:{signal}")),
        ("", None) => Some(format!("ExitCode:{}", number(ended, "/exitCode").unwrap_or(0))),
        (reason, _) => Some(reason.to_owned()),
    }
}

fn is_sidecar(pod: &Value, name: &str) -> bool {
    let own = |container: &&Value| text(container, "/name") == name;
    items(pod, "/spec/initContainers").iter().find(own).is_some_and(|c| text(c, "/restartPolicy") == "Always")
}

impl Summary {
    // Compat: the order of these rules is upstream's printer's.
    fn of(pod: &Value, now: i64) -> Self {
        let mut counter = Restarts::default();
        let mut status = [text(pod, "/status/reason"), text(pod, "/status/phase")]
            .into_iter()
            .find(|word| !word.is_empty())
            .unwrap_or_default()
            .to_owned();
        if items(pod, "/status/conditions")
            .iter()
            .any(|c| text(c, "/type") == "PodScheduled" && text(c, "/reason") == "SchedulingGated")
        {
            status = "SchedulingGated".to_owned();
        }
        let sidecars =
            items(pod, "/spec/initContainers").iter().filter(|c| text(c, "/restartPolicy") == "Always").count();
        let total = items(pod, "/spec/containers").len() + sidecars;
        let mut ready = 0;
        let initializing = Self::init(pod, &mut status, &mut ready, &mut counter);
        if !initializing || has_condition(pod, "Initialized") {
            Self::main(pod, &mut status, &mut ready, &mut counter);
        }
        if !text(pod, "/metadata/deletionTimestamp").is_empty() {
            let finished = matches!(text(pod, "/status/phase"), "Succeeded" | "Failed");
            if text(pod, "/status/reason") == "NodeLost" {
                status = "Unknown".to_owned();
            } else if !finished {
                status = "Terminating".to_owned();
            }
        }
        Self { status, ready, total, restarts: counter.show(now) }
    }

    /// Looks at init containers; whether the pod still waits for one.
    fn init(pod: &Value, status: &mut String, ready: &mut usize, counter: &mut Restarts) -> bool {
        let count = items(pod, "/spec/initContainers").len();
        for (index, container) in items(pod, "/status/initContainerStatuses").iter().enumerate() {
            counter.count(container);
            let sidecar = is_sidecar(pod, text(container, "/name"));
            if sidecar && container["started"] == true {
                *ready += usize::from(container["ready"] == true);
                continue;
            }
            if let Some(ended) = container["state"].get("terminated") {
                if number(ended, "/exitCode") == Some(0) {
                    continue;
                }
                *status = format!("Init:{}", word(container).unwrap_or_default());
                return true;
            }
            *status = match text(container, "/state/waiting/reason") {
                "" | "PodInitializing" => format!("Init:{index}/{count}"),
                reason => format!("Init:{reason}"),
            };
            return true;
        }
        false
    }

    fn main(pod: &Value, status: &mut String, ready: &mut usize, counter: &mut Restarts) {
        let mut running = false;
        for container in items(pod, "/status/containerStatuses").iter().rev() {
            counter.count(container);
            if let Some(word) = word(container) {
                *status = word;
            } else if container["ready"] == true && container["state"].get("running").is_some() {
                running = true;
                *ready += 1;
            }
        }
        // One that runs beside one that completed: the pod is not completed.
        if status == "Completed" && running {
            *status = if has_condition(pod, "Ready") { "Running" } else { "NotReady" }.to_owned();
        }
    }
}

#[derive(Default)]
struct Restarts {
    count: i64,
    last: Option<String>,
}

impl Restarts {
    fn count(&mut self, container: &Value) {
        self.count += number(container, "/restartCount").unwrap_or(0);
        let ended = text(container, "/lastState/terminated/finishedAt");
        if !ended.is_empty() && self.last.as_deref().is_none_or(|last| last < ended) {
            self.last = Some(ended.to_owned());
        }
    }

    fn show(&self, now: i64) -> String {
        match &self.last {
            Some(last) if self.count > 0 => format!("{} ({} ago)", self.count, age::since(Some(last), now)),
            _ => self.count.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_tells_what_the_pod_waits_for() {
        let check = |pod: Value, expected: [&str; 3]| {
            let row = of(&pod, 1_000_000);
            assert_eq!([&row[1], &row[2], &row[3]].map(|cell| cell.as_str().unwrap_or_default()), expected, "{pod}");
        };
        let spec = json!({"containers": [{"name": "a"}], "initContainers": [{"name": "i"}]});
        check(json!({"spec": spec, "status": {"phase": "Pending"}}), ["0/1", "Pending", "0"]);
        let init = json!([{"name": "i", "state": {"waiting": {"reason": "PodInitializing"}}}]);
        check(
            json!({"spec": spec, "status": {"phase": "Pending", "initContainerStatuses": init}}),
            ["0/1", "Init:0/1", "0"],
        );
        let running = json!([{"name": "a", "ready": true, "state": {"running": {}}}]);
        check(
            json!({"spec": spec, "status": {"phase": "Running", "containerStatuses": running}}),
            ["1/1", "Running", "0"],
        );
        let crashing = json!([{"name": "a", "restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                               "lastState": {"terminated": {"finishedAt": "1970-01-12T13:46:30Z"}}}]);
        check(
            json!({"spec": spec, "status": {"phase": "Running", "containerStatuses": crashing}}),
            ["0/1", "CrashLoopBackOff", "2 (10s ago)"],
        );
        let done = json!([{"name": "a", "state": {"terminated": {"reason": "Completed", "exitCode": 0}}}]);
        check(
            json!({"spec": spec, "status": {"phase": "Succeeded", "containerStatuses": done}}),
            ["0/1", "Completed", "0"],
        );
        let leaving = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": spec, "status": {"phase": "Running", "containerStatuses": running}});
        check(leaving, ["1/1", "Terminating", "0"]);
    }
}
