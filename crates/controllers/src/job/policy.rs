//! Policies of jobs: what a pod's failure means, and when a job is a success early.

use k8s_openapi::api::batch::v1::{
    PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule, SuccessPolicy,
};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use super::indexes::Indexes;

/// What a failure means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It counts towards the limit.
    Count,
    /// It counts for nothing.
    Ignore,
    /// It ends its index.
    FailIndex,
    /// It ends the job, for this reason.
    FailJob(String),
}

/// What a pod's failure means.
pub(super) fn judge(policy: Option<&PodFailurePolicy>, pod: &Pod) -> Verdict {
    for (index, rule) in policy.iter().flat_map(|policy| &policy.rules).enumerate() {
        let Some(why) = matches(rule, pod) else { continue };
        let text = format!("{why} matching {} rule at index {index}", rule.action);
        return match rule.action.as_str() {
            "Ignore" => Verdict::Ignore,
            "FailIndex" => Verdict::FailIndex,
            "FailJob" => Verdict::FailJob(text),
            _ => Verdict::Count,
        };
    }
    Verdict::Count
}

/// Why a rule is about a pod, if it is.
fn matches(rule: &PodFailurePolicyRule, pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    if let Some(wanted) = &rule.on_exit_codes {
        let all = status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten());
        let (container, code) = all.filter_map(|own| Some((own, exit_code(own, wanted)?))).next()?;
        let container = &container.name;
        return Some(format!("Container {container} for pod {namespace}/{name} failed with exit code {code}"));
    }
    let conditions = status.conditions.iter().flatten();
    let patterns = rule.on_pod_conditions.as_deref().unwrap_or_default();
    let found = conditions.into_iter().find(|own| {
        patterns.iter().any(|wanted| {
            let status = wanted.status.as_deref().filter(|status| !status.is_empty()).unwrap_or("True");
            wanted.type_ == own.type_ && status == own.status
        })
    })?;
    Some(format!("Pod {namespace}/{name} has condition {}", found.type_))
}

/// The exit code of a failed container that is meant.
fn exit_code(container: &ContainerStatus, wanted: &PodFailurePolicyOnExitCodesRequirement) -> Option<i32> {
    let code = container.state.as_ref()?.terminated.as_ref()?.exit_code;
    let named = wanted.container_name.as_ref().is_none_or(|name| *name == container.name);
    let meant = match wanted.operator.as_str() {
        "In" => wanted.values.contains(&code),
        "NotIn" => !wanted.values.contains(&code),
        _ => false,
    };
    (named && code != 0 && meant).then_some(code)
}

/// Whether enough indexes succeeded, and by which rule.
pub(super) fn succeeded(policy: Option<&SuccessPolicy>, completions: usize, done: &Indexes) -> Option<String> {
    if done.total() == 0 {
        return None;
    }
    let rules = policy.iter().flat_map(|policy| &policy.rules).enumerate();
    for (index, rule) in rules {
        let count = rule.succeeded_count.and_then(|count| usize::try_from(count).ok());
        let met = match &rule.succeeded_indexes {
            Some(wanted) => {
                let wanted = Indexes::parse(wanted, completions);
                let common = wanted.common(done);
                wanted.total() > 0 && (common == wanted.total() || count.is_some_and(|count| common >= count))
            }
            None => count.is_some_and(|count| done.total() >= count),
        };
        if met {
            return Some(format!("Matched rules at index {index}"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn failures_mean_what_the_first_matching_rule_says() {
        let pod = json!({"metadata": {"name": "p", "namespace": "n"}, "status": {
            "conditions": [{"type": "DisruptionTarget", "status": "True"}],
            "containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"terminated": {"exitCode": 3}}}]}});
        let pod: Pod = serde_json::from_value(pod).expect("a pod");
        let check = |rules: Value, expected: Verdict| {
            let policy = serde_json::from_value(json!({"rules": rules})).expect("a policy");
            assert_eq!(judge(Some(&policy), &pod), expected);
        };
        let codes = |operator: &str, values: &[i32]| json!({"operator": operator, "values": values});
        check(json!([]), Verdict::Count);
        let text = "Container c for pod n/p failed with exit code 3 matching FailJob rule at index 1".to_owned();
        let ignore = json!({"action": "Ignore", "onExitCodes": codes("In", &[4])});
        check(json!([ignore, {"action": "FailJob", "onExitCodes": codes("NotIn", &[4])}]), Verdict::FailJob(text));
        check(json!([{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]), Verdict::Ignore);
        check(json!([{"action": "FailIndex", "onExitCodes": codes("In", &[3])}]), Verdict::FailIndex);
    }

    #[test]
    fn a_job_may_succeed_early() {
        let check = |rule: Value, done: &str, expected: bool| {
            let policy = serde_json::from_value(json!({"rules": [rule]})).expect("a policy");
            assert_eq!(succeeded(Some(&policy), 10, &Indexes::parse(done, 10)).is_some(), expected, "{done}");
        };
        check(json!({"succeededIndexes": "0-2"}), "0,2", false);
        check(json!({"succeededIndexes": "0-2"}), "0-2,5", true);
        check(json!({"succeededIndexes": "0-2", "succeededCount": 1}), "2", true);
        check(json!({"succeededCount": 2}), "7,9", true);
        check(json!({"succeededCount": 2}), "7", false);
    }
}
