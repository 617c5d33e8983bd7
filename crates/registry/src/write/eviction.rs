//! Evictions: deletions that disruption budgets may refuse.

use kinds::Resource;
use meta::{
    ApiError, Cause, DeleteOptions, Gvr, LabelSelector, Object, Preconditions, Propagation, Reason, Reply, Status,
    StatusDetails, WriteOptions, format_time,
};
use serde_json::{Value, json};
use std::sync::Arc;
use store::{Expect, Revision};

use super::fields::{child, text};
use super::{Failure, Writer};
use crate::cache::Storage;

/// So often it is tried again when a budget changes meanwhile.
const ATTEMPTS: usize = 16;

/// So many evictions may be under way before the budget's controller has seen them.
const UNSEEN: usize = 2000;

const REFUSED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

/// Whether a pod may go now.
#[derive(Debug)]
enum Verdict {
    /// It may, and counts for no budget.
    Free,
    /// It may, and the budget becomes this.
    Charged(Value),
    /// It may not.
    Refused(ApiError),
}

/// `429`, with what the budget says.
fn refuse(retry_after_seconds: i32, why: String) -> Verdict {
    let mut error = ApiError::new(Reason::TooManyRequests, REFUSED);
    let cause = Cause { reason: "DisruptionBudget".to_owned(), message: why, field: String::new() };
    error.details =
        Some(Box::new(StatusDetails { causes: vec![cause], retry_after_seconds, ..StatusDetails::default() }));
    Verdict::Refused(error)
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|own| own["type"] == "Ready" && own["status"] == "True")
}

/// Decides by the one budget that is about a pod.
fn judge(pod: &Value, budget: &Value, now: &str) -> Verdict {
    let name = text(budget, "/metadata/name");
    let number = |field: &str| budget["status"][field].as_i64().unwrap_or(0);
    let (healthy, desired) = (number("currentHealthy"), number("desiredHealthy"));
    let policy = text(budget, "/spec/unhealthyPodEvictionPolicy");
    // A pod that is not ready counts for no budget, unless too few others are.
    if !is_ready(pod) && (policy == "AlwaysAllow" || (healthy >= desired && desired > 0)) {
        return Verdict::Free;
    }
    if number("observedGeneration") < budget["metadata"]["generation"].as_i64().unwrap_or(0) {
        return refuse(10, format!("The disruption budget {name} is still being processed by the server."));
    }
    let disrupted = budget["status"]["disruptedPods"].as_object().map_or(0, serde_json::Map::len);
    let gvr = Gvr::new("policy", "v1", "poddisruptionbudgets");
    if disrupted > UNSEEN {
        let why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        return Verdict::Refused(ApiError::forbidden(&gvr, name, why));
    }
    let allowed = number("disruptionsAllowed");
    if allowed < 0 {
        return Verdict::Refused(ApiError::forbidden(&gvr, name, "pdb disruptions allowed is negative"));
    }
    if allowed == 0 {
        return refuse(
            0,
            format!("The disruption budget {name} needs {desired} healthy pods and has {healthy} currently"),
        );
    }
    let mut charged = budget.clone();
    let status = child(&mut charged, "status");
    status.insert("disruptionsAllowed".to_owned(), json!(allowed - 1));
    let pods = status.entry("disruptedPods").or_insert_with(|| json!({}));
    if pods.is_null() {
        *pods = json!({});
    }
    pods[text(pod, "/metadata/name")] = json!(now);
    if allowed == 1
        && let Some(conditions) = status.get_mut("conditions").and_then(Value::as_array_mut)
    {
        for own in conditions.iter_mut().filter(|own| own["type"] == "DisruptionAllowed" && own["status"] == "True") {
            own["status"] = json!("False");
            own["reason"] = json!("InsufficientPods");
            own["lastTransitionTime"] = json!(now);
        }
    }
    Verdict::Charged(charged)
}

/// Whether a pod ends without anybody missing it.
fn is_idle(pod: &Value) -> bool {
    let phase = text(pod, "/status/phase");
    matches!(phase, "Succeeded" | "Failed" | "Pending") || pod["metadata"]["deletionTimestamp"].is_string()
}

impl Writer<'_> {
    /// Evicts the pod: deletes it as the Eviction says, if its disruption budget allows. `budgets` is where those are.
    pub(crate) async fn evict(
        &self,
        eviction: &Value,
        options: &WriteOptions,
        budgets: (&Resource, &Arc<Storage>),
    ) -> Result<Reply, ApiError> {
        let own = text(eviction, "/metadata/name");
        if !own.is_empty() && own != self.name {
            return Err(ApiError::bad_request("name in URL does not match name in Eviction object"));
        }
        let delete = wishes(eviction, options);
        let pod = self.storage.get(&self.key(self.name)).ok_or_else(|| self.not_found(self.name))?;
        let writer = Writer { row: budgets.0, storage: budgets.1, subresource: "status", ..*self };
        writer.charge(&pod, delete.dry_run).await?;
        if !delete.dry_run {
            self.mark_evicted().await?;
        }
        self.delete_named(self.name, &delete).await?;
        Ok(Reply::Status(Status { code: 201, ..Status::success(None) }))
    }

    /// Takes a disruption from the budget of a pod, where there is one.
    async fn charge(&self, pod: &Object, dry_run: bool) -> Result<(), ApiError> {
        let value = pod.value();
        if is_idle(&value) {
            return Ok(());
        }
        for _ in 0..ATTEMPTS {
            let found = self.budgets_of(pod);
            let [budget] = found.as_slice() else {
                let text =
                    "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
                return if found.is_empty() { Ok(()) } else { Err(ApiError::internal(text)) };
            };
            let now = format_time(self.registry.clock.now());
            let charged = match judge(&value, &budget.value(), &now) {
                Verdict::Free => return Ok(()),
                Verdict::Refused(error) => return Err(error),
                Verdict::Charged(_) if dry_run => return Ok(()),
                Verdict::Charged(charged) => charged,
            };
            let expect = Expect::Revision(Revision(budget.revision));
            match self.put(self.key(&budget.metadata.name), &charged, expect).await {
                Ok(_) => return Ok(()),
                Err(Failure::Api(error)) => return Err(error),
                Err(Failure::Stale | Failure::Taken) => {}
            }
        }
        let Verdict::Refused(error) = refuse(10, "couldn't update PodDisruptionBudget due to conflicts".to_owned())
        else {
            return Ok(());
        };
        Err(error)
    }

    fn budgets_of(&self, pod: &Object) -> Vec<Arc<Object>> {
        let (map, _) = self.storage.newest();
        let prefix = self.storage.key(self.namespace, "").to_string();
        let about = |budget: &Object| {
            let selector = &budget.value()["spec"]["selector"];
            let selector = if selector.is_null() { None } else { LabelSelector::from_value(selector).ok() };
            selector.is_some_and(|selector| selector.matches(&pod.metadata.labels))
        };
        map.beneath(&prefix).map(|(_, budget)| Arc::clone(budget)).filter(|budget| about(budget)).collect()
    }

    /// Says in the pod's status that it goes because of an eviction.
    async fn mark_evicted(&self) -> Result<(), ApiError> {
        for _ in 0..ATTEMPTS {
            let Some(old) = self.storage.get(&self.key(self.name)) else { return Ok(()) };
            let mut pod = old.value();
            let condition = json!({
                "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
                "message": "Eviction API: evicting", "lastProbeTime": null,
                "lastTransitionTime": format_time(self.registry.clock.now()),
                "observedGeneration": old.metadata.generation,
            });
            let conditions = child(&mut pod, "status").entry("conditions").or_insert_with(|| json!([]));
            if conditions.is_null() {
                *conditions = json!([]);
            }
            let Some(list) = conditions.as_array_mut() else { return Ok(()) };
            list.retain(|own| own["type"] != "DisruptionTarget");
            list.push(condition);
            match self.put(self.key(self.name), &pod, Expect::Revision(Revision(old.revision))).await {
                Ok(_) => return Ok(()),
                Err(Failure::Api(error)) => return Err(error),
                Err(Failure::Stale | Failure::Taken) => {}
            }
        }
        Ok(())
    }
}

/// How the Eviction wants the pod deleted.
fn wishes(eviction: &Value, options: &WriteOptions) -> DeleteOptions {
    let wishes = eviction.get("deleteOptions");
    let wish = |field: &str| wishes.and_then(|wishes| wishes.get(field));
    let preconditions = wish("preconditions").map_or_else(Preconditions::default, |own| Preconditions {
        uid: own.get("uid").and_then(Value::as_str).map(str::to_owned),
        resource_version: own.get("resourceVersion").and_then(Value::as_str).map(str::to_owned),
    });
    let propagation = wish("propagationPolicy").and_then(Value::as_str).and_then(|policy| match policy {
        "Orphan" => Some(Propagation::Orphan),
        "Foreground" => Some(Propagation::Foreground),
        "Background" => Some(Propagation::Background),
        _ => None,
    });
    DeleteOptions {
        grace_period_seconds: wish("gracePeriodSeconds").and_then(Value::as_i64),
        preconditions,
        propagation,
        dry_run: options.dry_run || wish("dryRun").and_then(Value::as_array).is_some_and(|list| !list.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_refuse_what_would_break_them() {
        let check = |ready: &str, policy: &str, status: Value, expected: &str| {
            let pod =
                json!({"metadata": {"name": "p"}, "status": {"conditions": [{"type": "Ready", "status": ready}]}});
            let budget = json!({"metadata": {"name": "b", "generation": 1},
                "spec": {"unhealthyPodEvictionPolicy": policy}, "status": status});
            let found = match judge(&pod, &budget, "2026-01-01T00:00:00Z") {
                Verdict::Free => "free".to_owned(),
                Verdict::Charged(budget) => budget["status"]["disruptionsAllowed"].to_string(),
                Verdict::Refused(error) => error.details.map(|own| own.causes[0].message.clone()).unwrap_or_default(),
            };
            assert_eq!(found, expected);
        };
        let status = |allowed: i64| json!({"observedGeneration": 1, "disruptionsAllowed": allowed, "desiredHealthy": 2, "currentHealthy": 1});
        check("True", "", status(1), "0");
        check("True", "", status(0), "The disruption budget b needs 2 healthy pods and has 1 currently");
        check("True", "", json!({}), "The disruption budget b is still being processed by the server.");
        check("False", "", status(0), "The disruption budget b needs 2 healthy pods and has 1 currently");
        check("False", "AlwaysAllow", status(0), "free");
    }
}
