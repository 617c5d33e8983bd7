//! Reading and writing documents, and refusing them.

use meta::ApiError;
use registry::Request;
use serde_json::{Map, Value, json};

/// The text at a path like `/spec/nodeName`; empty where there is none.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The entries of a list like `/spec/volumes`.
pub(crate) fn items<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    object.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// The structure at a field, made where it is missing.
pub(crate) fn child<'a>(object: &'a mut Value, field: &str) -> &'a mut Map<String, Value> {
    let child = entry(object, field, json!({}));
    if !child.is_object() {
        *child = json!({});
    }
    child.as_object_mut().expect("it is a structure, or was made one")
}

/// The list at a field, made where it is missing.
pub(crate) fn list<'a>(object: &'a mut Value, field: &str) -> &'a mut Vec<Value> {
    let child = entry(object, field, json!([]));
    if !child.is_array() {
        *child = json!([]);
    }
    child.as_array_mut().expect("it is a list, or was made one")
}

fn entry<'a>(object: &'a mut Value, field: &str, default: Value) -> &'a mut Value {
    if !object.is_object() {
        *object = json!({});
    }
    object.as_object_mut().expect("it is a structure, or was made one").entry(field).or_insert(default)
}

/// `pods "x" is forbidden: …`.
pub(crate) fn forbidden(request: &Request<'_>, why: &str) -> ApiError {
    let attributes = &request.attributes;
    let names =
        [&attributes.name, text(&request.object, "/metadata/name"), text(&request.object, "/metadata/generateName")];
    let name = names.into_iter().find(|name| !name.is_empty()).unwrap_or("Unknown");
    ApiError::forbidden(&attributes.resource, name, why)
}
