//! PodSecurity: pods keep to the Pod Security Standards that the labels of their namespace ask for.

mod checks;
mod policy;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use meta::{ApiError, Object};
use registry::{Admission, Attributes, Operation, Reader, Request};
use serde_json::Value;

use self::checks::{Breach, found};
use self::policy::{Policy, Standard};
use crate::fields::{forbidden, items, text};

/// The plugin.
pub(crate) struct PodSecurity;

/// How many pods of a namespace are looked at when its labels change.
const MOST: usize = 3000;

/// Kinds that make pods, by group and resource, and where their templates are.
const WORKLOADS: [(&str, &str, &str); 8] = [
    ("", "podtemplates", "/template"),
    ("", "replicationcontrollers", "/spec/template"),
    ("apps", "daemonsets", "/spec/template"),
    ("apps", "deployments", "/spec/template"),
    ("apps", "replicasets", "/spec/template"),
    ("apps", "statefulsets", "/spec/template"),
    ("batch", "cronjobs", "/spec/jobTemplate/spec/template"),
    ("batch", "jobs", "/spec/template"),
];

fn template_of(attributes: &Attributes) -> Option<&'static str> {
    let is = |(group, resource, _): &&(&str, &str, &str)| {
        attributes.resource.group == *group && attributes.resource.resource == *resource
    };
    WORKLOADS.iter().find(is).map(|(_, _, pointer)| *pointer)
}

#[async_trait]
impl Admission for PodSecurity {
    fn name(&self) -> &'static str {
        "PodSecurity"
    }

    fn handles(&self, attributes: &Attributes) -> bool {
        let writes = matches!(attributes.operation, Operation::Create | Operation::Update);
        let whole = attributes.subresource.is_empty();
        let pods = attributes.is_core("pods")
            || attributes.is_core("pods/ephemeralcontainers")
            || attributes.is_core("pods/resize");
        writes && (pods || (whole && (attributes.is_core("namespaces") || template_of(attributes).is_some())))
    }

    async fn validate(&self, request: &Request<'_>, reader: &dyn Reader) -> Result<(), ApiError> {
        if request.attributes.is_core("namespaces") {
            return of_namespace(request, reader);
        }
        let Some(namespace) = reader.get("", "namespaces", "", &request.attributes.namespace) else { return Ok(()) };
        if namespace.metadata.labels.is_empty() {
            return Ok(());
        }
        let (policy, errors) = Policy::of(&serde_json::json!(namespace.metadata.labels));
        if policy.is_open() && errors.is_empty() {
            return Ok(());
        }
        match template_of(&request.attributes) {
            Some(pointer) => {
                if let Some(template) = request.object.pointer(pointer) {
                    warn(request, policy.warn, &template["metadata"], &template["spec"]);
                }
                Ok(())
            }
            None => of_pod(request, policy),
        }
    }
}

fn of_pod(request: &Request<'_>, policy: Policy) -> Result<(), ApiError> {
    let pod = &request.object;
    if request.old.is_some_and(|old| !is_significant(&pod["spec"], &old["spec"])) {
        return Ok(());
    }
    let breaches = found(policy.enforce, &pod["metadata"], &pod["spec"]);
    if !breaches.is_empty() {
        return Err(forbidden(request, &format!("violates PodSecurity \"{}\": {}", policy.enforce, told(&breaches))));
    }
    warn(request, policy.warn, &pod["metadata"], &pod["spec"]);
    Ok(())
}

fn warn(request: &Request<'_>, standard: Standard, metadata: &Value, spec: &Value) {
    let breaches = found(standard, metadata, spec);
    if !breaches.is_empty() {
        request.tell(format!("would violate PodSecurity \"{standard}\": {}", told(&breaches)));
    }
}

fn told(breaches: &[Breach]) -> String {
    breaches.iter().map(Breach::told).collect::<Vec<_>>().join(", ")
}

/// Whether an update may break a standard that the pod kept before: containers that came, or other images.
fn is_significant(new: &Value, old: &Value) -> bool {
    let images = |spec: &Value, list: &str| -> Vec<String> {
        items(spec, list).map(|container| text(container, "/image").to_owned()).collect()
    };
    let changed = ["/containers", "/initContainers"].iter().any(|list| images(new, list) != images(old, list));
    let known = |container: &Value| {
        let same = |own: &Value| own["name"] == container["name"] && own["image"] == container["image"];
        items(old, "/ephemeralContainers").any(same)
    };
    changed || !items(new, "/ephemeralContainers").all(known)
}

fn of_namespace(request: &Request<'_>, reader: &dyn Reader) -> Result<(), ApiError> {
    let (policy, errors) = Policy::of(&request.object["metadata"]["labels"]);
    let before = request.old.map(|old| Policy::of(&old["metadata"]["labels"]));
    let known = before.as_ref().is_some_and(|(_, before)| *before == errors);
    if !errors.is_empty() && !known {
        return Err(ApiError::invalid(&request.attributes.kind, text(&request.object, "/metadata/name"), &errors));
    }
    if let Some((before, _)) = before
        && policy.enforce.is_stricter_than(before.enforce)
    {
        let name = text(&request.object, "/metadata/name");
        warn_of_pods(name, policy.enforce, &reader.list("", "pods", name))
            .into_iter()
            .for_each(|one| request.tell(one));
    }
    Ok(())
}

/// What is told of the pods that a namespace has already: one of each controller first.
fn warn_of_pods(namespace: &str, standard: Standard, pods: &[Arc<Object>]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let (mut first, mut others) = (Vec::new(), Vec::new());
    for pod in pods {
        let again = pod.metadata.controller().is_some_and(|owner| !seen.insert(owner.uid.clone()));
        if again { others.push(pod) } else { first.push(pod) }
    }
    first.extend(others);
    let mut broken: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for pod in first.iter().take(MOST) {
        let value = pod.value();
        let reasons: Vec<String> =
            found(standard, &value["metadata"], &value["spec"]).into_iter().map(|breach| breach.reason).collect();
        if !reasons.is_empty() {
            broken.entry(reasons.join(", ")).or_default().push(&pod.metadata.name);
        }
    }
    let mut warnings = Vec::new();
    if first.len() > MOST {
        let all = first.len();
        warnings.push(format!(
            "new PodSecurity enforce level only checked against the first {MOST} of {all} existing pods"
        ));
    }
    if !broken.is_empty() {
        let text = format!(
            "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level \"{standard}\""
        );
        warnings.push(text);
    }
    let mut each: Vec<String> = broken
        .into_iter()
        .map(|(reasons, names)| {
            let name = names.iter().min().copied().unwrap_or_default();
            match names.len() - 1 {
                0 => format!("{name}: {reasons}"),
                1 => format!("{name} (and 1 other pod): {reasons}"),
                more => format!("{name} (and {more} other pods): {reasons}"),
            }
        })
        .collect();
    each.sort();
    warnings.extend(each);
    warnings
}

#[cfg(test)]
mod tests;
