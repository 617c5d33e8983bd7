//! How many pods of a kind may be missing.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// So long an eviction has to become a deletion.
const DELETION: SignedDuration = SignedDuration::from_secs(120);

/// What is found.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    pub(super) status: PodDisruptionBudgetStatus,
    /// Names of pods whose eviction came to nothing.
    pub(super) expired: Vec<String>,
    pub(super) again_after: Option<SignedDuration>,
}

/// A part of a whole, rounded up.
fn scaled(value: &IntOrString, whole: i64) -> i64 {
    match value {
        IntOrString::Int(number) => i64::from(*number),
        IntOrString::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            (percent * whole).div_euclid(100) + i64::from((percent * whole).rem_euclid(100) != 0)
        }
    }
}

/// Whether the budget is a part of what the pods' controllers want.
pub(super) fn needs_scale(budget: &PodDisruptionBudget) -> bool {
    let spec = budget.spec.as_ref();
    let percent = matches!(spec.and_then(|spec| spec.min_available.as_ref()), Some(IntOrString::String(_)));
    percent || spec.is_some_and(|spec| spec.max_unavailable.is_some())
}

/// Decides; `pods` are those that the budget is about, `scale` how many their controllers want together.
pub(super) fn plan(budget: &PodDisruptionBudget, pods: &[Pod], scale: i64, now: Timestamp) -> Plan {
    let mut plan = Plan { status: budget.status.clone().unwrap_or_default(), ..Plan::default() };
    let spec = budget.spec.clone().unwrap_or_default();
    let (expected, desired) = match (&spec.max_unavailable, &spec.min_available) {
        (Some(most), _) => (scale, (scale - scaled(most, scale)).max(0)),
        (None, Some(least @ IntOrString::String(_))) => (scale, scaled(least, scale)),
        (None, Some(least @ IntOrString::Int(_))) => (count(pods.len()), scaled(least, 0)),
        (None, None) => (count(pods.len()), 1),
    };
    let name = |pod: &Pod| pod.metadata.name.clone().unwrap_or_default();
    let mut disrupted = plan.status.disrupted_pods.take().unwrap_or_default();
    disrupted.retain(|own, since| {
        let living = pods.iter().any(|pod| name(pod) == *own && pod.metadata.deletion_timestamp.is_none());
        let end = since.0 + DELETION;
        if living && end <= now {
            plan.expired.push(own.clone());
        }
        if living && end > now {
            let left = end.duration_since(now);
            plan.again_after = Some(plan.again_after.map_or(left, |other| other.min(left)));
        }
        living && end > now
    });
    let healthy = pods.iter().filter(|pod| {
        pod.metadata.deletion_timestamp.is_none() && is_ready(pod) && !disrupted.contains_key(&name(pod))
    });
    let healthy = count(healthy.count());
    let allowed = if expected > 0 { (healthy - desired).max(0) } else { 0 };
    let small = |number: i64| i32::try_from(number).unwrap_or(i32::MAX);
    plan.status.current_healthy = Some(small(healthy));
    plan.status.desired_healthy = Some(small(desired));
    plan.status.expected_pods = Some(small(expected));
    plan.status.disruptions_allowed = Some(small(allowed));
    plan.status.observed_generation = budget.metadata.generation;
    plan.status.disrupted_pods = Some(disrupted).filter(|pods| !pods.is_empty());
    tell(&mut plan.status, allowed, budget.metadata.generation, now);
    plan
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|own| own.type_ == "Ready" && own.status == "True")
}

fn tell(status: &mut PodDisruptionBudgetStatus, allowed: i64, generation: Option<i64>, now: Timestamp) {
    let (value, reason) = if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    let conditions = status.conditions.get_or_insert_default();
    let at = Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
    let old = conditions.iter_mut().find(|own| own.type_ == "DisruptionAllowed");
    match old {
        Some(old) => {
            if old.status != value {
                old.last_transition_time = at;
            }
            (old.status, old.reason, old.observed_generation) = (value.to_owned(), reason.to_owned(), generation);
        }
        None => conditions.push(Condition {
            type_: "DisruptionAllowed".to_owned(),
            status: value.to_owned(),
            reason: reason.to_owned(),
            message: String::new(),
            last_transition_time: at,
            observed_generation: generation,
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pods(ready: usize, unready: usize) -> Vec<Pod> {
        let pod = |index: usize| {
            let status = if index < ready { "True" } else { "False" };
            let conditions = json!([{"type": "Ready", "status": status}]);
            serde_json::from_value(
                json!({"metadata": {"name": format!("p{index}")}, "status": {"conditions": conditions}}),
            )
            .expect("a pod")
        };
        (0..ready + unready).map(pod).collect()
    }

    #[test]
    fn budgets_leave_what_is_healthy_beyond_the_wanted() {
        let check = |spec: Value, status: Value, expected: [i32; 4]| {
            let budget = json!({"metadata": {"generation": 1}, "spec": spec, "status": status});
            let budget = serde_json::from_value(budget).expect("a budget");
            let now = "2026-01-01T00:05:00Z".parse().expect("a time");
            let found = plan(&budget, &pods(3, 1), 5, now).status;
            let numbers =
                [found.disruptions_allowed, found.current_healthy, found.desired_healthy, found.expected_pods];
            assert_eq!(numbers.map(Option::unwrap_or_default), expected, "{spec}");
        };
        check(json!({"minAvailable": 2}), json!({}), [1, 3, 2, 4]);
        check(json!({"minAvailable": "50%"}), json!({}), [0, 3, 3, 5]);
        check(json!({"maxUnavailable": 3}), json!({}), [1, 3, 2, 5]);
        check(json!({"maxUnavailable": "10%"}), json!({}), [0, 3, 4, 5]);
        check(json!({}), json!({}), [2, 3, 1, 4]);
        check(json!({"minAvailable": 2}), json!({"disruptedPods": {"p0": "2026-01-01T00:04:00Z"}}), [0, 2, 2, 4]);
        check(json!({"minAvailable": 2}), json!({"disruptedPods": {"p0": "2026-01-01T00:01:00Z"}}), [1, 3, 2, 4]);
    }
}
