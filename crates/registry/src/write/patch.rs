//! Patches, and the managers of fields.

use bytes::Bytes;
use meta::field::{Error, Path};
use meta::{ApiError, FieldValidation, Gvk, PatchType, WriteOptions};
use schema::Schemas;
use serde_json::Value;

use super::Writer;

/// A document that came in, and what the client should be warned of.
pub(super) struct Wanted {
    pub(super) value: Value,
    pub(super) warnings: Vec<String>,
}

impl Writer<'_> {
    /// The object after a patch, decoded as an object that comes in.
    pub(super) fn patched(
        &self,
        before: &Value,
        form: PatchType,
        patch: &Bytes,
        options: &WriteOptions,
    ) -> Result<Wanted, ApiError> {
        let document: Value = serde_json::from_slice(patch)
            .map_err(|error| ApiError::bad_request(format!("error decoding patch: {error}")))?;
        let mut new = before.clone();
        match form {
            PatchType::Merge | PatchType::StrategicMerge => merge(&mut new, document),
            PatchType::Json | PatchType::Apply => return Err(ApiError::bad_request("unsupported patch")),
        }
        self.decoded(new, patch, options.field_validation)
    }

    /// Prunes a patched document by its type.
    fn decoded(&self, value: Value, patch: &Bytes, validation: FieldValidation) -> Result<Wanted, ApiError> {
        let schemas = Schemas::builtin();
        let Some(ty) = schemas.of(&self.row.gvk()) else { return Ok(Wanted { value, warnings: Vec::new() }) };
        let invalid = |shown: String, why: &str| {
            let error = Error::invalid(&Path::new("patch"), shown, why);
            ApiError::invalid(&Gvk::new("", "", ""), "", &[error])
        };
        let json = value.to_string();
        let decoded = schema::decode(schemas, ty, json.as_bytes())
            .map_err(|error| invalid(String::from_utf8_lossy(patch).into_owned(), &error.to_string()))?;
        match validation {
            FieldValidation::Strict if !decoded.errors.is_empty() => {
                Err(invalid(json, &format!("strict decoding error: {}", decoded.errors.join(", "))))
            }
            FieldValidation::Strict | FieldValidation::Ignore => {
                Ok(Wanted { value: decoded.value, warnings: Vec::new() })
            }
            FieldValidation::Warn => Ok(Wanted { value: decoded.value, warnings: decoded.errors }),
        }
    }

    /// The object after a server-side apply.
    pub(super) fn applied(
        &self,
        _before: Option<&Value>,
        _patch: &Bytes,
        _options: &WriteOptions,
    ) -> Result<Wanted, ApiError> {
        Err(ApiError::bad_request("unsupported patch"))
    }

    /// Notes who set which fields.
    pub(super) fn own_fields(
        &self,
        _before: Option<&Value>,
        _new: &mut Value,
        _options: &WriteOptions,
    ) -> Result<(), ApiError> {
        Ok(())
    }
}

fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Some(fields) = target.as_object_mut() else { return };
    for (name, value) in patch {
        if value.is_null() {
            fields.remove(&name);
        } else {
            merge(fields.entry(name).or_insert(Value::Null), value);
        }
    }
}
