//! Patches, and the managers of fields.

use bytes::Bytes;
use meta::field::{Error, Path};
use meta::{ApiError, FieldValidation, Gvk, PatchType, Reason, WriteOptions, format_time};
use schema::Schemas;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::managed::Writing;
use super::{Writer, strategic};

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
        let mut new = before.clone();
        match form {
            PatchType::Json => {
                json_patch::patch(&mut new, &parse::<json_patch::Patch>(patch)?).map_err(|_| refused())?
            }
            PatchType::Merge => json_patch::merge(&mut new, &parse(patch)?),
            PatchType::StrategicMerge => {
                let schemas = Schemas::builtin();
                strategic::merge(schemas, schemas.of(&self.row.gvk()), &mut new, parse(patch)?);
            }
            PatchType::Apply => return self.applied(Some(before), patch, options),
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
        before: Option<&Value>,
        patch: &Bytes,
        options: &WriteOptions,
    ) -> Result<Wanted, ApiError> {
        if options.field_manager.is_empty() {
            let error = Error::required(&Path::new("fieldManager"), "is required for apply patch");
            return Err(ApiError::invalid(&Gvk::new("meta.k8s.io", "", "PatchOptions"), "", &[error]));
        }
        // As it was sent: what a decoder fills in is not what the writer wants.
        let given = &mut parse::<Value>(patch)?;
        if given.pointer("/metadata/managedFields").is_some() {
            return Err(ApiError::bad_request("metadata.managedFields must be nil"));
        }
        self.check_kind(given)?;
        self.check_name(given)?;
        self.place(given)?;
        let now = format_time(self.registry.clock.now());
        let applied =
            self.writing(&now, options, |writing| writing.apply(before.unwrap_or(&Value::Null), given, options.force))?;
        let mut wanted = self.decoded(applied, patch, options.field_validation)?;
        self.row.rules().default(&mut wanted.value);
        Ok(wanted)
    }

    /// Notes who set which fields; nobody, where the writer has no name.
    pub(super) fn own_fields(&self, before: Option<&Value>, new: &mut Value, options: &WriteOptions) {
        if !options.field_manager.is_empty() {
            let now = format_time(self.registry.clock.now());
            self.writing(&now, options, |writing| writing.update(before.unwrap_or(&Value::Null), new));
        }
    }

    fn writing<T>(&self, now: &str, options: &WriteOptions, act: impl FnOnce(&Writing<'_>) -> T) -> T {
        let schemas = Schemas::builtin();
        let gvk = self.row.gvk();
        act(&Writing {
            schemas,
            ty: schemas.of(&gvk),
            manager: &options.field_manager,
            api_version: &gvk.api_version(),
            subresource: self.subresource,
            has_status: self.row.subresource("status").is_some(),
            now,
        })
    }
}

fn parse<T: DeserializeOwned>(patch: &Bytes) -> Result<T, ApiError> {
    serde_json::from_slice(patch).map_err(|error| ApiError::bad_request(format!("error decoding patch: {error}")))
}

/// A patch that doesn't fit the object.
fn refused() -> ApiError {
    ApiError::new(Reason::Invalid, "the server rejected our request due to an error in our request")
}
