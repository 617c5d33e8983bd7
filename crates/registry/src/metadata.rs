//! What is wrong with an object's metadata.

use kinds::Resource;
use meta::field::{Error, Errors, Path};
use serde_json::Value;

/// Of a new object.
pub(crate) fn validate(object: &Value, row: &Resource) -> Errors {
    let path = Path::new("metadata").child("name");
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let mut errors = if name.is_empty() {
        vec![Error::required(&path, "name or generateName is required")]
    } else {
        row.rules().validate_name(name).iter().map(|rule| Error::invalid(&path, name, rule)).collect()
    };
    errors.extend(kinds::metadata::validate(object));
    errors.extend(finalizers(object, row));
    errors
}

/// Of a change.
pub(crate) fn validate_update(new: &Value, old: &Value, row: &Resource) -> Errors {
    let mut errors = kinds::metadata::validate_update(new, old);
    errors.extend(finalizers(new, row));
    errors
}

fn finalizers(object: &Value, row: &Resource) -> Errors {
    if row.custom.is_some() { Errors::new() } else { kinds::metadata::own_finalizers(object, row.group) }
}
