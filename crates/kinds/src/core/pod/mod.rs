//! Pod.

mod change;
mod defaults;
mod resize;
mod row;
mod validation;

use meta::field::{Error, Errors, Path};
use serde_json::{Value, json};

use crate::field::{self, items, number, text};
use crate::plain::{AGE, NAME, column, wide};
use crate::resource::{Column, Part, Rules, Settings, keep_other_part};

pub(crate) use defaults::default_template;
pub(crate) use validation::{
    container_resources, label_selector, may_overcommit, node_selector, resource_name, tolerations, validate_template,
    volume_source,
};

pub(crate) const COLUMNS: &[Column] = &[
    NAME,
    column("Ready", "string"),
    column("Status", "string"),
    column("Restarts", "string"),
    AGE,
    wide("IP"),
    wide("Node"),
    wide("Nominated Node"),
    wide("Readiness Gates"),
];

/// The lists of containers in a pod's spec.
pub(crate) const CONTAINERS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

pub(crate) struct Pod;

impl Rules for Pod {
    fn default(&self, object: &mut Value) {
        defaults::default_pod(object);
    }

    fn prepare_create(&self, object: &mut Value) {
        object["metadata"]["generation"] = json!(1);
        object["status"] = json!({"phase": "Pending", "qosClass": qos(object)});
    }

    fn validate(&self, object: &Value, settings: &Settings) -> Errors {
        let mut errors = validation::pod(object, settings);
        if !items(object, "/spec/ephemeralContainers").is_empty() {
            let path = Path::new("spec").child("ephemeralContainers");
            errors.push(Error::forbidden(&path, "cannot be set on create"));
        }
        errors
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part<'_>) {
        match part {
            Part::Main | Part::Status => keep_other_part(new, old, part),
            Part::Other(name) => change::keep_all_but(new, old, name),
        }
        if part != Part::Status {
            field::count_generation(new, old);
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, part: Part<'_>, settings: &Settings) -> Errors {
        let mut errors = match part {
            Part::Main => change::check(new, old),
            Part::Other("ephemeralcontainers") => change::check_ephemeral(new, old),
            Part::Other("resize") => resize::check(new, old),
            Part::Status | Part::Other(_) => Errors::new(),
        };
        if part != Part::Status {
            errors.extend(validation::pod(new, settings));
        }
        errors
    }

    fn selectable(&self) -> &'static [&'static str] {
        &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ]
    }

    fn fields(&self, object: &Value) -> Vec<(String, String)> {
        let value = |name: &str| match name {
            "spec.hostNetwork" => object["spec"]["hostNetwork"].as_bool().unwrap_or(false).to_string(),
            name => text(object, &format!("/{}", name.replace('.', "/"))).to_owned(),
        };
        self.selectable().iter().map(|name| ((*name).to_owned(), value(name))).collect()
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        row::of(object, now)
    }

    fn grace_period(&self, object: &Value) -> Option<i64> {
        // Compat: what never ran, or runs no more, needs no time to end.
        let unbound = text(object, "/spec/nodeName").is_empty();
        let finished = matches!(text(object, "/status/phase"), "Succeeded" | "Failed");
        let period = number(object, "/spec/terminationGracePeriodSeconds").unwrap_or(30);
        Some(if unbound || finished { 0 } else { period })
    }
}

/// The quality of service class: `Guaranteed`, `Burstable` or `BestEffort`.
pub fn qos(pod: &Value) -> &'static str {
    // Compat: what the pod says of itself as a whole counts instead of what its containers say.
    let spec = &pod["spec"];
    let parts: Vec<&Value> = match is_set(&spec["resources"]) {
        true => vec![spec],
        false => CONTAINERS[..2].iter().flat_map(|list| items(spec, &format!("/{list}"))).collect(),
    };
    let (mut any, mut guaranteed) = (false, true);
    for part in parts {
        for resource in ["cpu", "memory"] {
            let amount = |list: &str| part["resources"][list][resource].as_str().filter(|amount| !is_zero(amount));
            let (request, limit) = (amount("requests"), amount("limits"));
            any |= request.is_some() || limit.is_some();
            let equal = |(request, limit): (&str, &str)| request.parse::<meta::Quantity>().ok() == limit.parse().ok();
            guaranteed &= limit.is_some() && request.or(limit).zip(limit).is_some_and(equal);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// Whether a pod asks for something as a whole.
fn is_set(resources: &Value) -> bool {
    let amounts = ["requests", "limits"].iter().filter_map(|list| resources[*list].as_object());
    amounts.flatten().any(|(name, _)| matches!(name.as_str(), "cpu" | "memory") || name.starts_with("hugepages-"))
}

fn is_zero(amount: &str) -> bool {
    amount.parse::<meta::Quantity>().is_ok_and(meta::Quantity::is_zero)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qos_classes_follow_requests_and_limits() {
        let check = |resources: Value, expected: &str| {
            let pod = json!({"spec": {"containers": [{"resources": resources}]}});
            assert_eq!(qos(&pod), expected, "{pod}");
        };
        check(json!({}), "BestEffort");
        check(json!({"requests": {"cpu": "0"}}), "BestEffort");
        check(json!({"requests": {"cpu": "1"}}), "Burstable");
        check(json!({"limits": {"cpu": "1", "memory": "1Gi"}}), "Guaranteed");
        check(json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m"}}), "Guaranteed");
        check(json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}), "Burstable");
        let whole = json!({"limits": {"cpu": "1", "memory": "1Gi"}});
        let container = json!({"resources": {"requests": {"cpu": "500m"}}});
        assert_eq!(qos(&json!({"spec": {"resources": whole, "containers": [container]}})), "Guaranteed");
    }
}
