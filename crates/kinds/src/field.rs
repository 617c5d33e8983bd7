//! Short ways to look into a document.

use serde_json::{Map, Value, json};

/// The text at a JSON pointer; empty if there is none.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The number at a JSON pointer.
pub(crate) fn number(object: &Value, pointer: &str) -> Option<i64> {
    object.pointer(pointer).and_then(Value::as_i64)
}

/// The items of the list at a JSON pointer.
pub(crate) fn items<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The items of a list field, to be changed.
pub(crate) fn items_mut<'a>(object: &'a mut Value, field: &str) -> std::slice::IterMut<'a, Value> {
    object.get_mut(field).and_then(Value::as_array_mut).map(|items| items.iter_mut()).unwrap_or_default()
}

/// Sets a field that isn't set.
pub(crate) fn default(object: &mut Value, field: &str, value: impl Into<Value>) {
    if let Some(fields) = object.as_object_mut() {
        let slot = fields.entry(field).or_insert(Value::Null);
        if slot.is_null() {
            *slot = value.into();
        }
    }
}

/// The child object of a field, made if it isn't there.
pub(crate) fn child<'a>(object: &'a mut Value, field: &str) -> &'a mut Value {
    default(object, field, json!({}));
    &mut object[field]
}

/// The fields of an object.
pub(crate) fn fields(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().into_iter().flat_map(Map::iter)
}

/// Removes a field.
pub(crate) fn remove(object: &mut Value, field: &str) {
    if let Some(fields) = object.as_object_mut() {
        fields.remove(field);
    }
}

/// Whether everything but metadata and status is equal: the desired state.
pub(crate) fn same_desired_state(new: &Value, old: &Value) -> bool {
    let part = |object: &Value| -> Vec<(String, Value)> {
        let other = |name: &str| name != "metadata" && name != "status";
        fields(object).filter(|(name, _)| other(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    part(new) == part(old)
}

/// Counts `metadata.generation` up when the desired state changed, and keeps it otherwise.
pub(crate) fn count_generation(new: &mut Value, old: &Value) {
    let generation = number(old, "/metadata/generation").unwrap_or(0);
    let step = i64::from(!same_desired_state(new, old));
    new["metadata"]["generation"] = json!(generation + step);
}
