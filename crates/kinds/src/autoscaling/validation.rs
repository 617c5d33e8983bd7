//! What may be wrong with an autoscaler, in upstream's words.

use meta::Quantity;
use meta::field::{Error, Errors, Path};
use meta::names;
use serde_json::Value;

use crate::core::pod::resource_name;
use crate::field::{items, number, text};

/// The sources of metrics in the order in which upstream looks at them: the field, and what the type calls it.
const SOURCES: [(&str, &str); 5] = [
    ("object", "Object"),
    ("external", "External"),
    ("pods", "Pods"),
    ("resource", "Resource"),
    ("containerResource", "ContainerResource"),
];

/// What is wrong with an autoscaler; `old` is the one before an update.
pub(super) fn check(object: &Value, old: Option<&Value>) -> Errors {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let mut errors = Errors::new();
    let (min, max) = (number(spec, "/minReplicas"), number(spec, "/maxReplicas").unwrap_or(0));
    let from_zero = old.is_some_and(|old| old["spec"]["minReplicas"] == 0);
    let least = i64::from(!from_zero);
    if let Some(min) = min.filter(|min| *min < least) {
        let why = format!("must be greater than or equal to {least}");
        errors.push(Error::invalid(&path.child("minReplicas"), min, &why));
    }
    let at = path.child("maxReplicas");
    match max {
        0 => errors.push(Error::required(&at, "must be set and greater than 0")),
        ..0 => errors.push(Error::invalid(&at, max, "must be greater than or equal to 1")),
        _ => {}
    }
    if min.is_some_and(|min| max < min) {
        errors.push(Error::invalid(&at, max, "must be greater than or equal to `minReplicas`"));
    }
    let (target, at) = (&spec["scaleTargetRef"], path.child("scaleTargetRef"));
    errors.extend(reference(target, &at));
    let same = old.is_some_and(|old| {
        let before = &old["spec"]["scaleTargetRef"];
        before["kind"] == target["kind"] && before["apiVersion"] == target["apiVersion"]
    });
    let (version, core) = (text(target, "/apiVersion"), text(target, "/kind") == "ReplicationController");
    if !same && !core && !version.contains('/') {
        errors.push(Error::invalid(&at.child("apiVersion"), version, "apiVersion must specify API group"));
    }
    errors.extend(metrics(spec, min, &path.child("metrics")));
    for direction in ["scaleUp", "scaleDown"] {
        let rules = &spec["behavior"][direction];
        if !rules.is_null() {
            errors.extend(scaling(rules, &path.child("behavior").child(direction)));
        }
    }
    errors
}

fn reference(target: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    for part in ["kind", "name"] {
        let (value, at) = (text(target, &format!("/{part}")), path.child(part));
        if value.is_empty() {
            errors.push(Error::required(&at, ""));
        }
        errors.extend(names::path_segment(value).iter().map(|rule| Error::invalid(&at, value, rule)));
    }
    errors
}

fn metrics(spec: &Value, min: Option<i64>, path: &Path) -> Errors {
    let given = items(spec, "/metrics");
    let mut errors = Errors::new();
    for (index, one) in given.iter().enumerate() {
        errors.extend(metric(one, &path.index(index)));
    }
    let foreign = given.iter().any(|one| matches!(text(one, "/type"), "Object" | "External"));
    if min == Some(0) && !foreign {
        let why = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.push(Error::forbidden(path, why));
    }
    errors
}

fn metric(metric: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let (kind, at) = (text(metric, "/type"), path.child("type"));
    if kind.is_empty() {
        errors.push(Error::required(&at, "must specify a metric source type"));
    }
    let expected = SOURCES.iter().find(|(_, own)| *own == kind).map(|(field, _)| *field);
    let unknown = || Error::not_supported(&at, kind, &SOURCES.map(|(_, own)| own));
    if expected.is_none() {
        errors.push(unknown());
    }
    let present: Vec<&str> =
        SOURCES.iter().map(|(field, _)| *field).filter(|field| !metric[*field].is_null()).collect();
    if let Some(first) = present.first() {
        errors.extend(source(first, &metric[*first], &path.child(first)));
    }
    match expected {
        Some(field) if metric[field].is_null() => {
            let why = "must populate information for the given metric source";
            errors.push(Error::required(&path.child(field), why));
        }
        Some(_) => {}
        None => errors.push(unknown()),
    }
    if present.len() != 1 {
        let others = present.iter().filter(|field| Some(**field) != expected);
        let why = "must populate the given metric source only";
        errors.extend(others.map(|field| Error::forbidden(&path.child(field), why)));
    }
    errors
}

fn source(kind: &str, source: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let at = path.child("target");
    match kind {
        "resource" | "containerResource" => {
            let name = text(source, "/name");
            if name.is_empty() {
                errors.push(Error::required(&path.child("name"), "must specify a resource name"));
            } else if kind == "containerResource" {
                errors.extend(resource_name(name, true, &path.child("name")));
            }
            if kind == "containerResource" {
                let (name, at) = (text(source, "/container"), path.child("container"));
                if name.is_empty() {
                    errors.push(Error::required(&at, "must specify a container"));
                } else {
                    errors.extend(names::label(name).iter().map(|rule| Error::invalid(&at, name, rule)));
                }
            }
        }
        _ => {
            if kind == "object" {
                errors.extend(reference(&source["describedObject"], &path.child("describedObject")));
            }
            let (name, at) = (text(source, "/metric/name"), path.child("metric").child("name"));
            if name.is_empty() {
                errors.push(Error::required(&at, "must specify a metric name"));
            }
            errors.extend(names::path_segment(name).iter().map(|rule| Error::invalid(&at, name, rule)));
        }
    }
    errors.extend(target(&source["target"], &at));
    let has = |field: &str| !source["target"][field].is_null();
    let (value, average) = (has("value"), has("averageValue"));
    let why = match kind {
        "resource" | "containerResource" if !has("averageUtilization") && !average => {
            let why = "must set either a target raw value or a target utilization";
            errors.push(Error::required(&at.child("averageUtilization"), why));
            None
        }
        "resource" | "containerResource" if has("averageUtilization") && average => {
            let why = "may not set both a target raw value and a target utilization";
            errors.push(Error::forbidden(&at.child("averageValue"), why));
            None
        }
        "external" if value && average => {
            let why = "may not set both a target value for metric and a per-pod target";
            errors.push(Error::forbidden(&at.child("value"), why));
            None
        }
        "object" if !value && !average => Some("must set either a target value or averageValue"),
        "external" if !value && !average => Some("must set either a target value for metric or a per-pod target"),
        "pods" if !average => Some("must specify a positive target averageValue"),
        _ => None,
    };
    errors.extend(why.map(|why| Error::required(&at.child("averageValue"), why)));
    errors
}

fn target(target: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let (kind, at) = (text(target, "/type"), path.child("type"));
    if kind.is_empty() {
        errors.push(Error::required(&at, "must specify a metric target type"));
    }
    if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        errors.push(Error::invalid(&at, kind, "must be either Utilization, Value, or AverageValue"));
    }
    for field in ["value", "averageValue"] {
        let amount = text(target, &format!("/{field}"));
        let positive = |amount: Quantity| !amount.is_negative() && !amount.is_zero();
        if amount.parse::<Quantity>().is_ok_and(|amount| !positive(amount)) {
            errors.push(Error::invalid(&path.child(field), amount, "must be positive"));
        }
    }
    if let Some(share) = number(target, "/averageUtilization").filter(|share| *share < 1) {
        errors.push(Error::invalid(&path.child("averageUtilization"), share, "must be greater than 0"));
    }
    errors
}

/// The rules of one direction.
fn scaling(rules: &Value, path: &Path) -> Errors {
    const WINDOW: i64 = 3600;
    const PERIOD: i64 = 1800;
    let mut errors = Errors::new();
    let at = path.child("stabilizationWindowSeconds");
    match number(rules, "/stabilizationWindowSeconds") {
        Some(window @ ..0) => errors.push(Error::invalid(&at, window, "must be greater than or equal to zero")),
        Some(window) if window > WINDOW => {
            errors.push(Error::invalid(&at, window, &format!("must be less than or equal to {WINDOW}")));
        }
        Some(_) | None => {}
    }
    let known = ["Disabled", "Max", "Min"];
    let select = rules.get("selectPolicy").and_then(Value::as_str).filter(|policy| !known.contains(policy));
    errors.extend(select.map(|policy| Error::not_supported(&path.child("selectPolicy"), policy, &known)));
    let (policies, at) = (items(rules, "/policies"), path.child("policies"));
    if policies.is_empty() {
        errors.push(Error::required(&at, "must specify at least one Policy"));
    }
    for (index, policy) in policies.iter().enumerate() {
        let at = at.index(index);
        let kind = text(policy, "/type");
        if !matches!(kind, "Pods" | "Percent") {
            errors.push(Error::not_supported(&at.child("type"), kind, &["Percent", "Pods"]));
        }
        for field in ["value", "periodSeconds"] {
            let amount = number(policy, &format!("/{field}")).unwrap_or(0);
            if amount <= 0 {
                errors.push(Error::invalid(&at.child(field), amount, "must be greater than zero"));
            }
            if field == "periodSeconds" && amount > PERIOD {
                errors.push(Error::invalid(
                    &at.child(field),
                    amount,
                    &format!("must be less than or equal to {PERIOD}"),
                ));
            }
        }
    }
    let tolerance = text(rules, "/tolerance");
    if tolerance.parse::<Quantity>().is_ok_and(|tolerance| tolerance.is_negative()) {
        errors.push(Error::invalid(&path.child("tolerance"), tolerance, "must be greater than or equal to 0"));
    }
    errors
}
