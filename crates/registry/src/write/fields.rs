//! Reading and writing the fields of documents that the registry itself cares for.

use serde_json::{Map, Value, json};

/// The text at a path like `/metadata/name`; empty where there is none.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The object's metadata, made where it is missing.
pub(crate) fn metadata(object: &mut Value) -> &mut Map<String, Value> {
    child(object, "metadata")
}

/// The structure at a field of the object, made where it is missing.
pub(crate) fn child<'a>(object: &'a mut Value, field: &str) -> &'a mut Map<String, Value> {
    if !object.is_object() {
        *object = json!({});
    }
    let fields = object.as_object_mut().expect("it is a structure, or was made one");
    let child = fields.entry(field).or_insert_with(|| json!({}));
    if !child.is_object() {
        *child = json!({});
    }
    child.as_object_mut().expect("it is a structure, or was made one")
}

/// Sets a field, or removes it.
pub(crate) fn put(fields: &mut Map<String, Value>, name: &str, value: Option<Value>) {
    match value {
        Some(value) => fields.insert(name.to_owned(), value),
        None => fields.remove(name),
    };
}

/// The texts of a list like `/metadata/finalizers`.
pub(crate) fn texts(object: &Value, pointer: &str) -> Vec<String> {
    let list = object.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Sets the finalizers; none at all removes the field.
pub(crate) fn set_finalizers(object: &mut Value, finalizers: &[String]) {
    put(metadata(object), "finalizers", (!finalizers.is_empty()).then(|| json!(finalizers)));
}
