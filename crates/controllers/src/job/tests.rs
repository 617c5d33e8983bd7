//! Jobs as tables: a spec, the pods there are, and what happens.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::backoff::Failures;
use super::facts::FINALIZER;
use super::plan::{Plan, plan};

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().expect("a time")
}

fn pod(phase: &str, more: Value) -> Pod {
    let mut pod = json!({
        "metadata": {"name": "p", "namespace": "n", "uid": format!("u-{phase}"), "finalizers": [FINALIZER],
            "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"containers": []}, "status": {"phase": phase},
    });
    for (field, value) in more.as_object().cloned().unwrap_or_default() {
        pod["metadata"][field] = value;
    }
    serde_json::from_value(pod).expect("a pod")
}

fn at(index: usize, phase: &str) -> Pod {
    let annotations = json!({"batch.kubernetes.io/job-completion-index": index.to_string()});
    pod(phase, json!({"uid": format!("u{index}"), "annotations": annotations}))
}

fn of(spec: Value, status: Value, pods: &[Pod]) -> Plan {
    let mut whole = json!({"template": {"spec": {"containers": [], "restartPolicy": "Never"}}, "selector": {}});
    whole.as_object_mut().expect("a spec").extend(spec.as_object().cloned().unwrap_or_default());
    let job: Job =
        serde_json::from_value(json!({"metadata": {"name": "j"}, "spec": whole, "status": status})).expect("a job");
    plan(&job, pods, Failures::default(), now())
}

/// How many pods are made, ended, discarded and let go, and how the job ends.
fn check(spec: Value, pods: &[Pod], counts: [usize; 4], end: &str) {
    let found = of(spec.clone(), json!({}), pods);
    let numbers = [found.create.len(), found.delete.len(), found.discard.len(), found.release.len()];
    let reason = found.end.and_then(|end| end.reason).unwrap_or_default();
    assert_eq!((numbers, reason.as_str()), (counts, end), "{spec}");
}

#[test]
fn pods_are_made_until_enough_succeeded() {
    let spec = |more: Value| {
        let mut spec = json!({"parallelism": 2, "completions": 3, "backoffLimit": 6});
        spec.as_object_mut().expect("a spec").extend(more.as_object().cloned().unwrap_or_default());
        spec
    };
    check(spec(json!({})), &[], [2, 0, 0, 0], "");
    check(spec(json!({})), &[pod("Running", json!({}))], [1, 0, 0, 0], "");
    check(spec(json!({})), &[pod("Succeeded", json!({})), pod("Running", json!({}))], [1, 0, 0, 1], "");
    let three =
        [pod("Succeeded", json!({"uid": "a"})), pod("Succeeded", json!({"uid": "b"})), pod("Succeeded", json!({}))];
    check(spec(json!({})), &three, [0, 0, 0, 3], "CompletionsReached");
    check(spec(json!({"suspend": true})), &[pod("Running", json!({}))], [0, 0, 1, 0], "");
    check(
        spec(json!({"parallelism": 1})),
        &[pod("Running", json!({"uid": "a"})), pod("Running", json!({}))],
        [0, 0, 1, 0],
        "",
    );
    check(json!({"parallelism": 2}), &[pod("Succeeded", json!({})), pod("Running", json!({}))], [0, 0, 0, 1], "");
    check(json!({"parallelism": 2}), &[pod("Succeeded", json!({}))], [0, 0, 0, 1], "CompletionsReached");
}

#[test]
fn too_many_failures_end_a_job() {
    let spec = json!({"parallelism": 2, "completions": 2, "backoffLimit": 0});
    check(spec, &[pod("Failed", json!({})), pod("Running", json!({}))], [0, 1, 0, 2], "BackoffLimitExceeded");
    let spec = json!({"parallelism": 1, "completions": 1, "backoffLimit": 1});
    check(spec, &[pod("Failed", json!({}))], [1, 0, 0, 1], "");
    let rule = json!({"rules": [{"action": "Ignore", "onPodConditions": [{"type": "x"}]}]});
    let spec = json!({"parallelism": 1, "completions": 1, "backoffLimit": 0, "podFailurePolicy": rule});
    check(spec, &[pod("Failed", json!({}))], [0, 0, 0, 1], "BackoffLimitExceeded");
    let found = of(json!({"activeDeadlineSeconds": 10}), json!({"startTime": "2026-01-01T00:59:00Z"}), &[]);
    assert_eq!(found.end.and_then(|end| end.reason).as_deref(), Some("DeadlineExceeded"));
}

#[test]
fn pods_on_their_way_out_are_replaced_as_the_policy_says() {
    let going = pod("Running", json!({"deletionTimestamp": "2026-01-01T00:59:50Z", "deletionGracePeriodSeconds": 600}));
    let spec = json!({"parallelism": 1, "completions": 1, "backoffLimit": 6});
    check(spec, std::slice::from_ref(&going), [1, 0, 0, 1], "");
    let spec = json!({"parallelism": 1, "completions": 1, "backoffLimit": 6, "podReplacementPolicy": "Failed"});
    check(spec, &[going], [0, 0, 0, 0], "");
}

#[test]
fn each_index_succeeds_once() {
    let spec = || json!({"parallelism": 3, "completions": 3, "backoffLimit": 6, "completionMode": "Indexed"});
    let found = of(spec(), json!({}), &[at(1, "Running")]);
    let made: Vec<Option<usize>> = found.create.iter().map(|creation| creation.index).collect();
    assert_eq!(made, [Some(0), Some(2)]);
    let found = of(spec(), json!({"completedIndexes": "0", "succeeded": 1}), &[at(1, "Succeeded"), at(2, "Succeeded")]);
    assert_eq!(found.status.completed_indexes.as_deref(), Some("0-2"));
    assert_eq!(found.end.and_then(|end| end.reason).as_deref(), Some("CompletionsReached"));
    check(spec(), &[at(0, "Running"), at(0, "Running"), at(1, "Running")], [0, 0, 1, 0], "");
}

#[test]
fn indexes_fail_by_themselves() {
    let spec = || {
        json!({"parallelism": 2, "completions": 2, "completionMode": "Indexed", "backoffLimit": 100,
            "backoffLimitPerIndex": 0})
    };
    let found = of(spec(), json!({}), &[at(0, "Failed"), at(1, "Running")]);
    assert_eq!(
        (found.status.failed_indexes.as_deref(), found.create.len(), found.end.is_some()),
        (Some("0"), 0, false)
    );
    let found = of(spec(), json!({}), &[at(0, "Failed"), at(1, "Succeeded")]);
    assert_eq!(found.end.and_then(|end| end.reason).as_deref(), Some("FailedIndexes"));
    let mut spec = spec();
    spec["backoffLimitPerIndex"] = json!(1);
    let found = of(spec, json!({}), &[at(0, "Failed"), at(1, "Running")]);
    assert_eq!((found.create.len(), found.release.len()), (1, 0), "it stays until its index has another pod");
    assert_eq!(found.create[0].failures, Some((1, 0)));
}

#[test]
fn a_job_tells_when_it_is_suspended() {
    let found = of(json!({"suspend": true}), json!({}), &[]);
    let condition = &found.status.conditions.clone().unwrap_or_default()[0];
    assert_eq!((condition.type_.as_str(), condition.status.as_str()), ("Suspended", "True"));
    assert!(found.status.start_time.is_none());
    let found = of(json!({"suspend": false, "parallelism": 1}), json!(found.status), &[]);
    let condition = &found.status.conditions.clone().unwrap_or_default()[0];
    assert_eq!((condition.status.as_str(), condition.reason.as_deref()), ("False", Some("JobResumed")));
    assert_eq!((found.create.len(), found.events.len()), (1, 1));
}
