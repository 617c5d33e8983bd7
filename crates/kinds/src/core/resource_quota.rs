//! ResourceQuota.

use std::collections::BTreeSet;

use meta::field::{Error, Errors, Path};
use meta::names;
use serde_json::{Value, json};

use crate::age;
use crate::field::{fields, items, text};
use crate::plain::{AGE, NAME, column, name};
use crate::resource::{Column, Part, Rules, Settings, keep_other_part};

pub(crate) const COLUMNS: &[Column] = &[NAME, column("Request", "string"), column("Limit", "string"), AGE];

/// What of pods is computed with.
const COMPUTE: [&str; 6] = ["cpu", "limits.cpu", "limits.memory", "memory", "requests.cpu", "requests.memory"];

/// What is counted in whole numbers.
const WHOLE: [&str; 9] = [
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
];

/// The other names without a domain.
const STORAGE: [&str; 4] =
    ["ephemeral-storage", "limits.ephemeral-storage", "requests.ephemeral-storage", "requests.storage"];

pub(crate) struct ResourceQuota;

impl Rules for ResourceQuota {
    fn prepare_create(&self, object: &mut Value) {
        object["status"] = json!({});
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part<'_>) {
        keep_other_part(new, old, part);
    }

    fn validate(&self, object: &Value, _: &Settings) -> Errors {
        let path = Path::new("spec");
        let mut errors = limits(&object["spec"]["hard"], &path.child("hard"));
        errors.extend(scopes(&object["spec"], &path));
        if object["spec"]["scopeSelector"].is_object() {
            errors.extend(selector(&object["spec"], &path.child("scopeSelector").child("matchExpressions")));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, part: Part<'_>, settings: &Settings) -> Errors {
        if part == Part::Status {
            let path = Path::new("status");
            let mut errors = limits(&new["status"]["hard"], &path.child("hard"));
            errors.extend(limits(&new["status"]["used"], &path.child("used")));
            return errors;
        }
        let mut errors = self.validate(new, settings);
        let set = |quota: &Value| -> BTreeSet<String> {
            items(&quota["spec"], "/scopes").iter().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        if set(new) != set(old) {
            let scopes = new["spec"]["scopes"].clone();
            errors.push(Error::invalid(&Path::new("spec").child("scopes"), scopes, "field is immutable"));
        }
        errors
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        let (hard, used) = (&object["status"]["hard"], &object["status"]["used"]);
        let pair = |resource: &str| {
            let used = used[resource].as_str().unwrap_or("0");
            format!("{resource}: {used}/{}", hard[resource].as_str().unwrap_or("0"))
        };
        let of = |limits: bool| {
            let names =
                fields(hard).map(|(name, _)| name.as_str()).filter(|name| name.starts_with("limits.") == limits);
            names.map(pair).collect::<Vec<_>>().join(", ")
        };
        vec![name(object), of(false).into(), of(true).into(), age::of(object, now)]
    }
}

fn is_standard(name: &str) -> bool {
    COMPUTE.contains(&name)
        || WHOLE.contains(&name)
        || STORAGE.contains(&name)
        || name.starts_with("hugepages-")
        || name.starts_with("requests.hugepages-")
}

fn limits(amounts: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    for (name, amount) in fields(amounts) {
        let at = path.key(name);
        let broken = names::qualified(name);
        errors.extend(broken.iter().map(|rule| Error::invalid(&at, name.as_str(), rule)));
        if broken.is_empty() && !name.contains('/') && !is_standard(name) {
            let general = "must be a standard resource type or fully qualified";
            let [general, quota] =
                [general, "must be a standard resource for quota"].map(|why| Error::invalid(&at, name.as_str(), why));
            errors.extend([general, quota]);
        }
        let text = amount.as_str().map_or_else(|| amount.to_string(), str::to_owned);
        let Ok(quantity) = text.parse::<meta::Quantity>() else { continue };
        if quantity.is_negative() {
            errors.push(Error::invalid(&at, text.as_str(), "must be greater than or equal to 0"));
        }
        let whole = WHOLE.contains(&name.as_str()) || (name.contains('/') && !name.contains("kubernetes.io/"));
        if whole && quantity.milli_value() % 1000 != 0 && !name.starts_with("requests.") {
            errors.push(Error::invalid(&at, text.as_str(), "must be an integer"));
        }
    }
    errors
}

fn is_scope(scope: &str) -> bool {
    matches!(
        scope,
        "Terminating"
            | "NotTerminating"
            | "BestEffort"
            | "NotBestEffort"
            | "PriorityClass"
            | "CrossNamespacePodAffinity"
            | "VolumeAttributesClass"
    )
}

/// Whether something can be counted for the objects of a scope alone.
fn suits(scope: &str, resource: &str) -> bool {
    let of_pods = resource == "pods" || COMPUTE.contains(&resource);
    match scope {
        "BestEffort" => resource == "pods",
        "VolumeAttributesClass" => matches!(resource, "persistentvolumeclaims" | "requests.storage"),
        scope if is_scope(scope) => of_pods,
        _ => true,
    }
}

fn contradict(scopes: &BTreeSet<&str>) -> usize {
    let both = |one: &str, other: &str| scopes.contains(one) && scopes.contains(other);
    usize::from(both("BestEffort", "NotBestEffort")) + usize::from(both("Terminating", "NotTerminating"))
}

/// What is wrong with each scope, and with all together; `shown` is what the user wrote.
fn scopes(spec: &Value, path: &Path) -> Errors {
    let at = path.child("scopes");
    let shown = || spec["scopes"].clone();
    let mut errors = Errors::new();
    let list: Vec<&str> = items(spec, "/scopes").iter().filter_map(Value::as_str).collect();
    for scope in &list {
        if !is_scope(scope) {
            errors.push(Error::invalid(&at, shown(), "unsupported scope"));
        }
        let strange = fields(&spec["hard"]).filter(|(name, _)| is_standard(name) && !suits(scope, name));
        errors.extend(strange.map(|_| Error::invalid(&at, shown(), "unsupported scope applied to resource")));
    }
    let pairs = contradict(&list.into_iter().collect());
    errors.extend((0..pairs).map(|_| Error::invalid(&at, shown(), "conflicting scopes")));
    errors
}

fn selector(spec: &Value, path: &Path) -> Errors {
    const ALWAYS_EXISTS: &str = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, \
                                 ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or \
                                 ResourceQuotaScopeCrossNamespacePodAffinity";
    let mut errors = Errors::new();
    let expressions = items(spec, "/scopeSelector/matchExpressions");
    for expression in expressions {
        let (scope, operator) = (text(expression, "/scopeName"), text(expression, "/operator"));
        let values = items(expression, "/values");
        if !is_scope(scope) {
            errors.push(Error::invalid(&path.child("scopeName"), scope, "unsupported scope"));
        }
        let strange = fields(&spec["hard"]).filter(|(name, _)| is_standard(name) && !suits(scope, name));
        let unsuited = || Error::invalid(path, spec["scopeSelector"].clone(), "unsupported scope applied to resource");
        errors.extend(strange.map(|_| unsuited()));
        if !matches!(scope, "PriorityClass" | "VolumeAttributesClass") && is_scope(scope) && operator != "Exists" {
            errors.push(Error::invalid(&path.child("operator"), operator, ALWAYS_EXISTS));
        }
        match (operator, values.is_empty()) {
            ("In" | "NotIn", true) => {
                let why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                errors.push(Error::required(&path.child("values"), why));
            }
            ("Exists" | "DoesNotExist", false) => {
                let why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                errors.push(Error::invalid(&path.child("values"), json!(values), why));
            }
            ("In" | "NotIn" | "Exists" | "DoesNotExist", _) => {}
            _ => errors.push(Error::invalid(&path.child("operator"), operator, "not a valid selector operator")),
        }
    }
    let pairs = contradict(&expressions.iter().map(|expression| text(expression, "/scopeName")).collect());
    errors.extend((0..pairs).map(|_| Error::invalid(path, spec["scopes"].clone(), "conflicting scopes")));
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_checked() {
        let check = |spec: Value, expected: &[&str]| {
            let found = ResourceQuota.validate(&json!({"spec": spec}), &Settings { allow_privileged: true });
            let found: Vec<String> = found.iter().map(|error| error.path.to_string()).collect();
            assert_eq!(found, expected, "{spec}");
        };
        check(json!({"hard": {"cpu": "1", "pods": "3", "count/things.example.com": "2"}}), &[]);
        check(json!({"hard": {"pods": "-1"}}), &["spec.hard[pods]"]);
        check(json!({"hard": {"pods": "500m"}}), &["spec.hard[pods]"]);
        check(json!({"hard": {"nonsense": "1"}}), &["spec.hard[nonsense]", "spec.hard[nonsense]"]);
        check(json!({"hard": {"pods": "1"}, "scopes": ["BestEffort", "NotBestEffort"]}), &["spec.scopes"]);
        check(json!({"hard": {"secrets": "1"}, "scopes": ["Terminating"]}), &["spec.scopes"]);
        let expression = json!({"scopeName": "PriorityClass", "operator": "In", "values": []});
        let selector = json!({"hard": {"pods": "1"}, "scopeSelector": {"matchExpressions": [expression]}});
        check(selector, &["spec.scopeSelector.matchExpressions.values"]);
    }

    #[test]
    fn the_row_tells_used_and_hard() {
        let status = json!({"hard": {"cpu": "2", "limits.cpu": "4"}, "used": {"cpu": "1", "limits.cpu": "0"}});
        let object = json!({"metadata": {"name": "q"}, "status": status});
        let row = ResourceQuota.row(&object, 0);
        assert_eq!(row[1..3], [json!("cpu: 1/2"), json!("limits.cpu: 0/4")]);
    }
}
