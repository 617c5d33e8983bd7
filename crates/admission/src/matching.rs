//! Which writes a webhook or a policy looks at: by operation, resource and selectors.

use meta::{ApiError, LabelSelector};
use registry::{Attributes, Operation, Reader, Request};
use serde_json::Value;

use crate::fields::{items, text};

/// The group whose objects no webhook and no policy may hold up.
const OWN_GROUP: &str = "admissionregistration.k8s.io";

/// The operation's name in rules.
pub(crate) fn operation(operation: Operation) -> &'static str {
    match operation {
        Operation::Create => "CREATE",
        Operation::Update => "UPDATE",
        Operation::Delete => "DELETE",
        Operation::Connect => "CONNECT",
    }
}

/// Whether nobody may interfere with such a write: webhooks and policies themselves, and reviews.
pub(crate) fn is_exempt(attributes: &Attributes) -> bool {
    let resource = attributes.resource.resource.as_str();
    let group = attributes.resource.group.as_str();
    (group == OWN_GROUP
        && matches!(
            resource,
            "validatingwebhookconfigurations"
                | "mutatingwebhookconfigurations"
                | "validatingadmissionpolicies"
                | "validatingadmissionpolicybindings"
                | "mutatingadmissionpolicies"
                | "mutatingadmissionpolicybindings"
        ))
        || matches!(group, "authentication.k8s.io" | "authorization.k8s.io")
}

/// Whether one of the rules is about the write.
pub(crate) fn rules_match(rules: &Value, attributes: &Attributes, equivalent: bool) -> bool {
    rules.as_array().into_iter().flatten().any(|rule| rule_matches(rule, attributes, equivalent))
}

fn rule_matches(rule: &Value, attributes: &Attributes, equivalent: bool) -> bool {
    let any = |list: &str, own: &str| items(rule, list).any(|value| value == "*" || value == own);
    let names = || items(rule, "/resourceNames").any(|name| name == attributes.name.as_str());
    let named = rule["resourceNames"].as_array().is_none_or(Vec::is_empty) || names();
    let scope = match text(rule, "/scope") {
        // Compat: a namespace's own objects count as cluster-scoped, though requests for them carry its name.
        "Namespaced" => !attributes.namespace.is_empty() && !attributes.is_core("namespaces"),
        "Cluster" => attributes.namespace.is_empty() || attributes.is_core("namespaces"),
        _ => true,
    };
    named
        && scope
        && any("/operations", operation(attributes.operation))
        && any("/apiGroups", &attributes.resource.group)
        && (equivalent || any("/apiVersions", &attributes.resource.version))
        && items(rule, "/resources").filter_map(Value::as_str).any(|resource| resource_matches(resource, attributes))
}

fn resource_matches(rule: &str, attributes: &Attributes) -> bool {
    let (resource, subresource) = rule.split_once('/').unwrap_or((rule, ""));
    let is = |rule: &str, own: &str| rule == "*" || rule == own;
    is(resource, &attributes.resource.resource) && is(subresource, &attributes.subresource)
}

/// Whether the selectors of a webhook or a policy let the write through.
pub(crate) fn selectors_match(matching: &Value, request: &Request<'_>, reader: &dyn Reader) -> Result<bool, ApiError> {
    let selector = |name: &str| {
        let value = matching.get(name).filter(|value| value.is_object());
        value.map(LabelSelector::from_value).transpose().map_err(ApiError::internal)
    };
    if let Some(selector) = selector("namespaceSelector")?.filter(|selector| !selector.is_everything())
        && let Some(labels) = namespace_labels(request, reader)?
        && !selector.matches(&labels)
    {
        return Ok(false);
    }
    let Some(selector) = selector("objectSelector")?.filter(|selector| !selector.is_everything()) else {
        return Ok(true);
    };
    let objects = [Some(&request.object), request.old];
    Ok(objects
        .into_iter()
        .flatten()
        .filter(|object| object.is_object())
        .any(|object| selector.matches(&labels(object))))
}

fn labels(object: &Value) -> std::collections::BTreeMap<String, String> {
    let labels = object.pointer("/metadata/labels").and_then(Value::as_object).into_iter().flatten();
    labels.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

/// The labels of the namespace that a write is in; of a namespace its own. `None` for what is in none.
fn namespace_labels(
    request: &Request<'_>,
    reader: &dyn Reader,
) -> Result<Option<std::collections::BTreeMap<String, String>>, ApiError> {
    let attributes = &request.attributes;
    if attributes.is_core("namespaces") && request.object.is_object() {
        return Ok(Some(labels(&request.object)));
    }
    let name = if attributes.is_core("namespaces") { &attributes.name } else { &attributes.namespace };
    if name.is_empty() {
        return Ok(None);
    }
    match reader.get("", "namespaces", "", name) {
        Some(namespace) => Ok(Some(namespace.metadata.labels.clone())),
        None => Err(ApiError::not_found(&meta::Gvr::new("", "v1", "namespaces"), name)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::Cluster;

    #[test]
    fn rules_choose_writes() {
        let cluster = Cluster::new([]);
        let rule = |groups: Value, resources: Value, scope: &str| json!([{"operations": ["CREATE"], "apiGroups": groups, "apiVersions": ["v1"], "resources": resources, "scope": scope}]);
        let mut attach = cluster.create("pods", "a", json!({})).attributes;
        attach.subresource = "attach".to_owned();
        let pod = cluster.create("pods", "a", json!({})).attributes;
        for (rules, attributes, expected) in [
            (rule(json!([""]), json!(["pods"]), "*"), &pod, true),
            (rule(json!(["*"]), json!(["*"]), "Namespaced"), &pod, true),
            (rule(json!(["*"]), json!(["*"]), "Cluster"), &pod, false),
            (rule(json!(["apps"]), json!(["*"]), "*"), &pod, false),
            (rule(json!([""]), json!(["*"]), "*"), &attach, false),
            (rule(json!([""]), json!(["*/*"]), "*"), &attach, true),
            (rule(json!([""]), json!(["pods/*"]), "*"), &pod, true),
        ] {
            assert_eq!(rules_match(&rules, attributes, false), expected, "{rules}");
        }
    }
}
