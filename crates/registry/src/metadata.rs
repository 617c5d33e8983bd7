//! What is wrong with an object's metadata.

use kinds::Resource;
use meta::field::{Error, Errors, Path};
use serde_json::Value;

/// Of a new object.
pub(crate) fn validate(object: &Value, row: &Resource) -> Errors {
    let path = Path::new("metadata").child("name");
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let mut errors = generate_name(object, row);
    if name.is_empty() {
        errors.push(Error::required(&path, "name or generateName is required"));
    } else {
        errors.extend(row.rules().validate_name(name).iter().map(|rule| Error::invalid(&path, name, rule)));
    }
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

/// What names are made of may end with a dash.
fn generate_name(object: &Value, row: &Resource) -> Errors {
    let base = object.pointer("/metadata/generateName").and_then(Value::as_str).unwrap_or_default();
    if base.is_empty() {
        return Errors::new();
    }
    let whole = base.strip_suffix('-').filter(|rest| !rest.is_empty()).map(|rest| format!("{rest}a"));
    let path = Path::new("metadata").child("generateName");
    let wrong = row.rules().validate_name(whole.as_deref().unwrap_or(base));
    wrong.iter().map(|rule| Error::invalid(&path, base, rule)).collect()
}

fn finalizers(object: &Value, row: &Resource) -> Errors {
    if row.custom.is_some() { Errors::new() } else { kinds::metadata::own_finalizers(object, row.group) }
}
