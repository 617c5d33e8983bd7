//! What is wrong with metadata.

use meta::field::{Error, Errors, Path};
use serde_json::Value;

/// Of any object.
pub(crate) fn validate(object: &Value, _namespaced: bool) -> Errors {
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    if name.is_empty() {
        let path = Path::new("metadata").child("name");
        return vec![Error::required(&path, "name or generateName is required")];
    }
    Errors::new()
}

/// Of an update.
pub(crate) fn validate_update(_new: &Value, _old: &Value) -> Errors {
    Errors::new()
}
