//! A Deployment's status and its conditions.

use std::time::Duration;

use jiff::Timestamp;
use meta::{format_time, parse_time};
use serde_json::{Value, json};

use super::availability::{is_complete, max_unavailable, replicas, sum};
use crate::workload::conditions::{condition, find, remove, set};
use crate::workload::document::{items, number, set_count, text};

/// No deadline at all.
const NEVER: i64 = i32::MAX as i64;

/// What the sets say together.
fn counts(deployment: &Value, newest: Option<&Value>, all: &[&Value]) -> Value {
    let mut status = deployment["status"].clone();
    if !status.is_object() {
        status = json!({});
    }
    let available = sum(all, "/status/availableReplicas");
    let total: i64 = all.iter().map(|set| replicas(set)).sum();
    set_count(&mut status, "observedGeneration", number(deployment, "/metadata/generation"));
    set_count(&mut status, "replicas", sum(all, "/status/replicas"));
    set_count(&mut status, "updatedReplicas", newest.map_or(0, |set| number(set, "/status/replicas")));
    set_count(&mut status, "readyReplicas", sum(all, "/status/readyReplicas"));
    set_count(&mut status, "availableReplicas", available);
    set_count(&mut status, "unavailableReplicas", (total - available).max(0));
    let known = all.iter().all(|set| set["status"]["terminatingReplicas"].is_i64());
    status["terminatingReplicas"] = if known { json!(sum(all, "/status/terminatingReplicas")) } else { Value::Null };
    status
}

fn availability(deployment: &Value, status: &Value, now: &str) -> Value {
    if number(status, "/availableReplicas") >= replicas(deployment) - max_unavailable(deployment) {
        condition("Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.", now)
    } else {
        let message = "Deployment does not have minimum availability.";
        condition("Available", "False", "MinimumReplicasUnavailable", message, now)
    }
}

/// The deadline in seconds, where there is one.
fn deadline(deployment: &Value) -> Option<i64> {
    deployment["spec"]["progressDeadlineSeconds"].as_i64().filter(|seconds| *seconds != NEVER)
}

/// The status as it is; `rolling` says whether a rollout is under way, whose progress is then judged too.
pub(super) fn status(
    deployment: &Value,
    newest: Option<&Value>,
    all: &[&Value],
    rolling: bool,
    now: Timestamp,
) -> Value {
    let at = format_time(now);
    let mut status = counts(deployment, newest, all);
    let mut list = items(deployment, "/status/conditions").to_vec();
    set(&mut list, availability(deployment, &status, &at));
    pause(deployment, &mut list, &at);
    if rolling {
        progress(deployment, newest, &status, &mut list, now);
        let failures = newest.into_iter().chain(all.iter().copied());
        let failed = failures.flat_map(|set| items(set, "/status/conditions")).find(|c| c["type"] == "ReplicaFailure");
        match failed {
            Some(failed) => {
                let (reason, message) = (text(failed, "/reason"), text(failed, "/message"));
                set(&mut list, condition("ReplicaFailure", text(failed, "/status"), reason, message, &at));
            }
            None => remove(&mut list, "ReplicaFailure"),
        }
    }
    status["conditions"] = json!(list);
    status
}

fn pause(deployment: &Value, list: &mut Vec<Value>, now: &str) {
    if deadline(deployment).is_none() {
        return;
    }
    let reason = find(list, "Progressing").map(|progress| text(progress, "/reason").to_owned()).unwrap_or_default();
    let paused = deployment["spec"]["paused"] == true;
    // A deadline that has passed is news that a pause does not take back.
    if reason == "ProgressDeadlineExceeded" {
        return;
    }
    if paused && reason != "DeploymentPaused" {
        set(list, condition("Progressing", "Unknown", "DeploymentPaused", "Deployment is paused", now));
    } else if !paused && reason == "DeploymentPaused" {
        set(list, condition("Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed", now));
    }
}

fn progress(deployment: &Value, newest: Option<&Value>, status: &Value, list: &mut Vec<Value>, now: Timestamp) {
    let Some(deadline) = deadline(deployment) else { return remove(list, "Progressing") };
    let current = find(list, "Progressing").cloned();
    let reason = current.as_ref().map(|current| text(current, "/reason")).unwrap_or_default();
    if number(status, "/replicas") == number(status, "/updatedReplicas") && reason == "NewReplicaSetAvailable" {
        return;
    }
    let subject = match newest {
        Some(set) => format!("ReplicaSet {:?}", text(set, "/metadata/name")),
        None => format!("Deployment {:?}", text(deployment, "/metadata/name")),
    };
    let at = format_time(now);
    // Without its newest set a deployment has not come anywhere yet.
    if newest.is_some() && is_complete(deployment, status) {
        let message = format!("{subject} has successfully progressed.");
        set(list, condition("Progressing", "True", "NewReplicaSetAvailable", &message, &at));
    } else if has_progressed(&deployment["status"], status) {
        let message = format!("{subject} is progressing.");
        let mut fresh = condition("Progressing", "True", "ReplicaSetUpdated", &message, &at);
        if let Some(current) = current.as_ref().filter(|current| current["status"] == "True") {
            fresh["lastTransitionTime"] = current["lastTransitionTime"].clone();
        }
        remove(list, "Progressing");
        list.push(fresh);
    } else if current.as_ref().and_then(|current| overdue(current, deadline)).is_some_and(|due| due <= now.as_second())
    {
        let message = format!("{subject} has timed out progressing.");
        set(list, condition("Progressing", "False", "ProgressDeadlineExceeded", &message, &at));
    }
}

fn has_progressed(old: &Value, new: &Value) -> bool {
    let old_pods = |status: &Value| number(status, "/replicas") - number(status, "/updatedReplicas");
    let more = |field: &str| number(new, field) > number(old, field);
    more("/updatedReplicas") || old_pods(new) < old_pods(old) || more("/readyReplicas") || more("/availableReplicas")
}

/// When a rollout in this state is overdue, in seconds since 1970. What is complete or paused is never overdue.
fn overdue(progress: &Value, deadline: i64) -> Option<i64> {
    match text(progress, "/reason") {
        "NewReplicaSetAvailable" | "DeploymentPaused" => None,
        "ProgressDeadlineExceeded" => Some(0),
        _ => parse_time(text(progress, "/lastUpdateTime")).map(|since| since.as_second() + deadline),
    }
}

/// When to look again, so that a rollout that hangs is found overdue.
pub(super) fn check_again(deployment: &Value, status: &Value, now: Timestamp) -> Option<Duration> {
    let progress = find(items(status, "/conditions"), "Progressing")?;
    let due = overdue(progress, deadline(deployment)?).filter(|due| *due > 0)?;
    if is_complete(deployment, status) {
        return None;
    }
    u64::try_from(due - now.as_second() + 1).ok().map(Duration::from_secs)
}

/// Notes that a set was made or found, where nothing was noted of progress, or something new is made.
pub(super) fn note_set(deployment: &mut Value, reason: &str, message: &str, now: &str) {
    if deadline(deployment).is_none() {
        return;
    }
    let mut list = items(deployment, "/status/conditions").to_vec();
    set(&mut list, condition("Progressing", "True", reason, message, now));
    deployment["status"]["conditions"] = json!(list);
}

/// The status after the newest set could not be made.
pub(super) fn create_failed(deployment: &Value, message: &str, now: &str) -> Value {
    let mut status = deployment["status"].clone();
    let mut list = items(deployment, "/status/conditions").to_vec();
    if deadline(deployment).is_some() {
        set(&mut list, condition("Progressing", "False", "ReplicaSetCreateError", message, now));
    }
    status["conditions"] = json!(list);
    status
}
