//! HorizontalPodAutoscaler: one kind in two versions, stored as autoscaling/v2.
//!
//! Compat: v1 knows one target, the CPU's utilization; the other metrics stand in an annotation there.

mod validation;

use meta::field::{Errors, Path};
use serde_json::{Value, json};

use crate::age;
use crate::apps::template::not_negative;
use crate::field::{self, text};
use crate::plain::{AGE, NAME, STATUS, column, name, resource};
use crate::resource::{Column, Part, Resource, Rules, Settings};

/// The group's resources; the preferred version first.
pub(crate) fn all() -> Vec<Resource> {
    let row = |version, rules| Resource {
        version,
        rules,
        short_names: &["hpa"],
        categories: &["all"],
        subresources: &[STATUS],
        columns: COLUMNS,
        ..resource("autoscaling", "HorizontalPodAutoscaler", "horizontalpodautoscalers", "horizontalpodautoscaler")
    };
    vec![row("v2", &Autoscaler::V2), row("v1", &Autoscaler::V1)]
}

const COLUMNS: &[Column] = &[
    NAME,
    column("Reference", "string"),
    column("Targets", "string"),
    column("MinPods", "string"),
    column("MaxPods", "string"),
    column("Replicas", "string"),
    AGE,
];

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";

/// The rules of one of the two versions.
struct Autoscaler {
    old: bool,
}

impl Autoscaler {
    const V1: Self = Self { old: true };
    const V2: Self = Self { old: false };
}

fn cpu(utilization: &Value) -> Value {
    let target = json!({"type": "Utilization", "averageUtilization": utilization});
    json!({"type": "Resource", "resource": {"name": "cpu", "target": target}})
}

/// The utilization that a metric of v2 says for the CPU, if it is that.
fn utilization(metric: &Value) -> Option<&Value> {
    let is_cpu = metric["type"] == "Resource" && metric["resource"]["name"] == "cpu";
    metric.pointer("/resource/target/averageUtilization").filter(|value| is_cpu && !value.is_null())
}

/// Takes a field out of the desired state.
fn take(object: &mut Value, field: &str) -> Option<Value> {
    object["spec"].as_object_mut().and_then(|spec| spec.remove(field))
}

impl Rules for Autoscaler {
    fn default(&self, object: &mut Value) {
        let spec = &mut object["spec"];
        field::default(spec, "minReplicas", 1);
        let empty = |list: &Value| list.as_array().is_none_or(Vec::is_empty);
        if !self.old && empty(&spec["metrics"]) {
            spec["metrics"] = json!([cpu(&json!(80))]);
        }
    }

    fn to_stored(&self, object: &mut Value) {
        if !self.old {
            return;
        }
        object["apiVersion"] = json!("autoscaling/v2");
        let mut metrics: Vec<Value> = Vec::new();
        if let Some(target) = take(object, "targetCPUUtilizationPercentage").filter(Value::is_number) {
            metrics.push(cpu(&target));
        }
        let annotations = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
        let others = annotations.and_then(|all| all.remove(METRICS));
        let others: Option<Vec<Value>> =
            others.as_ref().and_then(Value::as_str).and_then(|text| serde_json::from_str(text).ok());
        metrics.extend(others.unwrap_or_default());
        object["spec"]["metrics"] = json!(metrics);
    }

    fn stored_version(&self) -> Option<&'static str> {
        self.old.then_some("v2")
    }

    fn in_own_form(&self, object: &mut Value) {
        if !self.old {
            return;
        }
        object["apiVersion"] = json!("autoscaling/v1");
        if let Some(status) = object.get_mut("status").filter(|status| status.is_object()) {
            field::remove(status, "currentMetrics");
            field::default(status, "currentReplicas", 0);
        }
        let Some(Value::Array(mut metrics)) = take(object, "metrics") else { return };
        if let Some(place) = metrics.iter().position(|metric| utilization(metric).is_some()) {
            let metric = metrics.remove(place);
            object["spec"]["targetCPUUtilizationPercentage"] = utilization(&metric).cloned().unwrap_or_default();
        }
        if !metrics.is_empty() {
            field::child(&mut object["metadata"], "annotations")[METRICS] = json!(json!(metrics).to_string());
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        object["status"] = json!({"currentMetrics": null, "desiredReplicas": 0});
    }

    fn validate(&self, object: &Value, _: &Settings) -> Errors {
        let mut object = object.clone();
        self.to_stored(&mut object);
        validation::check(&object, None)
    }

    fn validate_update(&self, new: &Value, old: &Value, part: Part<'_>, _: &Settings) -> Errors {
        if part == Part::Status {
            return not_negative(&new["status"], &["currentReplicas", "desiredReplicas"], &Path::new("status"));
        }
        let mut new = new.clone();
        self.to_stored(&mut new);
        validation::check(&new, Some(old))
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        let reference =
            format!("{}/{}", text(object, "/spec/scaleTargetRef/kind"), text(object, "/spec/scaleTargetRef/name"));
        let metrics = object["spec"]["metrics"].as_array().into_iter().flatten();
        let wanted = metrics.filter_map(utilization).chain(object.pointer("/spec/targetCPUUtilizationPercentage"));
        let targets: Vec<String> = wanted.map(|target| format!("cpu: <unknown>/{target}%")).collect();
        let targets = if targets.is_empty() { "<none>".to_owned() } else { targets.join(", ") };
        let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64).unwrap_or_default();
        vec![
            name(object),
            reference.into(),
            targets.into(),
            number("/spec/minReplicas").to_string().into(),
            number("/spec/maxReplicas").into(),
            number("/status/currentReplicas").into(),
            age::of(object, now),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_versions_are_one_autoscaler() {
        let check = |spec: Value, metrics: Value| {
            let old = json!({"apiVersion": "autoscaling/v1", "metadata": {"annotations": {}}, "spec": spec});
            let mut object = old.clone();
            Autoscaler::V1.to_stored(&mut object);
            assert_eq!((&object["apiVersion"], &object["spec"]["metrics"]), (&json!("autoscaling/v2"), &metrics));
            Autoscaler::V1.in_own_form(&mut object);
            assert_eq!(object, old);
        };
        check(json!({"maxReplicas": 3}), json!([]));
        check(json!({"maxReplicas": 3, "targetCPUUtilizationPercentage": 50}), json!([cpu(&json!(50))]));
    }

    #[test]
    fn metrics_that_v1_does_not_know_are_kept() {
        let memory = json!({"type": "Resource", "resource": {"name": "memory"}});
        let new =
            json!({"apiVersion": "autoscaling/v2", "metadata": {"annotations": {}}, "spec": {"metrics": [memory]}});
        let mut object = new.clone();
        Autoscaler::V1.in_own_form(&mut object);
        assert!(object["spec"]["metrics"].is_null() && object["metadata"]["annotations"][METRICS].is_string());
        Autoscaler::V1.to_stored(&mut object);
        assert_eq!(object, new);
    }
}
