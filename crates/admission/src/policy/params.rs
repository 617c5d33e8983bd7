//! The parameters of a binding.

use meta::{Gvk, LabelSelector};
use registry::{Reader, Request};
use serde_json::Value;

use super::read::Bound;
use crate::fields::text;

/// What a policy runs with: nothing, or one object after another. The error is for people.
pub(super) fn params(bound: &Bound, request: &Request<'_>, reader: &dyn Reader) -> Result<Vec<Option<Value>>, String> {
    let (kind, reference) = (&bound.policy.spec["paramKind"], &bound.binding_spec["paramRef"]);
    if !kind.is_object() {
        return Ok(vec![None]);
    }
    if !reference.is_object() {
        // Compat: a policy that knows parameters may run without any.
        return Ok(vec![None]);
    }
    let gv = meta::GroupVersion::parse(text(kind, "/apiVersion")).unwrap_or_default();
    let gvk = Gvk::new(gv.group, gv.version, text(kind, "/kind"));
    let Some((resource, namespaced)) = reader.resource_of(&gvk) else {
        return Err(format!("failed to find resource referenced by paramKind: '{gvk}'"));
    };
    let own = text(reference, "/namespace");
    let namespace = match (namespaced, own) {
        (false, _) => "",
        (true, "") => request.attributes.namespace.as_str(),
        (true, own) => own,
    };
    if namespaced && namespace.is_empty() {
        return Err("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources".to_owned());
    }
    let found: Vec<Value> = match text(reference, "/name") {
        "" => {
            let selector = LabelSelector::from_value(&reference["selector"]).map_err(|error| error.to_string())?;
            let all = reader.list(&resource.group, &resource.resource, namespace).into_iter();
            all.filter(|object| selector.matches(&object.metadata.labels)).map(|object| object.value()).collect()
        }
        name => {
            let object = reader.get(&resource.group, &resource.resource, namespace, name);
            object.map(|object| object.value()).into_iter().collect()
        }
    };
    if found.is_empty() && reference["parameterNotFoundAction"] == "Deny" {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".to_owned());
    }
    Ok(found.into_iter().map(Some).collect())
}
