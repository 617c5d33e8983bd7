//! Which objects a quota with scopes is about.

use serde_json::Value;

use super::Counted;
use crate::core::pod::qos;
use crate::field::{items, text};

/// Whether a quota's scopes let an object in: all of them must.
pub(super) fn matches(quota: &Value, resource: Counted<'_>, object: &Value) -> bool {
    let plain = items(&quota["spec"], "/scopes").iter().filter_map(Value::as_str);
    let mut scopes = plain.map(|scope| (scope, "Exists", &[][..]));
    let expressions = items(&quota["spec"], "/scopeSelector/matchExpressions").iter();
    let mut selected = expressions.map(|expression| {
        (text(expression, "/scopeName"), text(expression, "/operator"), items(expression, "/values"))
    });
    let fits = |(scope, operator, values): (&str, &str, &[Value])| fits(scope, operator, values, resource, object);
    scopes.all(fits) && selected.all(fits)
}

fn fits(scope: &str, operator: &str, values: &[Value], resource: Counted<'_>, object: &Value) -> bool {
    let is_terminating = || object["spec"]["activeDeadlineSeconds"].as_i64().is_some_and(|seconds| seconds >= 0);
    match (resource, scope) {
        (("", "pods"), "Terminating") => is_terminating(),
        (("", "pods"), "NotTerminating") => !is_terminating(),
        (("", "pods"), "BestEffort") => qos(object) == "BestEffort",
        (("", "pods"), "NotBestEffort") => qos(object) != "BestEffort",
        (("", "pods"), "PriorityClass") => {
            let class = text(object, "/spec/priorityClassName");
            chosen(operator, values, &[class])
        }
        (("", "pods"), "CrossNamespacePodAffinity") => looks_elsewhere(object),
        (("", "persistentvolumeclaims"), "VolumeAttributesClass") => {
            let names = [
                text(object, "/spec/volumeAttributesClassName"),
                text(object, "/status/currentVolumeAttributesClassName"),
                text(object, "/status/modifyVolumeStatus/targetVolumeAttributesClassName"),
            ];
            chosen(operator, values, &names)
        }
        // Other objects have no scopes: a quota with one is not about them.
        _ => false,
    }
}

/// Whether one of an object's names, of which empty ones are none, is chosen as a label's value would be.
fn chosen(operator: &str, values: &[Value], names: &[&str]) -> bool {
    let mut names = names.iter().filter(|name| !name.is_empty()).peekable();
    let any = names.peek().is_some();
    let mut listed = || names.any(|name| values.iter().any(|value| value == name));
    match operator {
        "Exists" => any,
        "DoesNotExist" => !any,
        "In" => listed(),
        "NotIn" => !listed(),
        _ => false,
    }
}

/// Whether a pod's affinity is about pods of other namespaces.
fn looks_elsewhere(pod: &Value) -> bool {
    let elsewhere = |term: &Value| !items(term, "/namespaces").is_empty() || term["namespaceSelector"].is_object();
    ["podAffinity", "podAntiAffinity"].iter().map(|name| &pod["spec"]["affinity"][name]).any(|affinity| {
        items(affinity, "/requiredDuringSchedulingIgnoredDuringExecution").iter().any(elsewhere)
            || items(affinity, "/preferredDuringSchedulingIgnoredDuringExecution")
                .iter()
                .any(|term| elsewhere(&term["podAffinityTerm"]))
    })
}
