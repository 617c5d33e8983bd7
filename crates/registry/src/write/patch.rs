//! Patches, and the managers of fields.

use bytes::Bytes;
use meta::{ApiError, PatchType, WriteOptions};
use serde_json::Value;

use super::Writer;

impl Writer<'_> {
    /// The object after a patch, decoded as an object that comes in.
    pub(super) fn patched(
        &self,
        before: &Value,
        form: PatchType,
        patch: &Bytes,
        _options: &WriteOptions,
    ) -> Result<Value, ApiError> {
        let patch: Value = serde_json::from_slice(patch)
            .map_err(|error| ApiError::bad_request(format!("error decoding patch: {error}")))?;
        let mut new = before.clone();
        match form {
            PatchType::Merge | PatchType::StrategicMerge => merge(&mut new, patch),
            PatchType::Json | PatchType::Apply => return Err(ApiError::bad_request("unsupported patch")),
        }
        Ok(new)
    }

    /// The object after a server-side apply.
    pub(super) fn applied(
        &self,
        _before: Option<&Value>,
        _patch: &Bytes,
        _options: &WriteOptions,
    ) -> Result<Value, ApiError> {
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
