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
            PatchType::StrategicMerge if self.row.custom.is_some() => return Err(no_strategic_merge()),
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
        let invalid = |shown: String, why: &str| {
            let error = Error::invalid(&Path::new("patch"), shown, why);
            ApiError::invalid(&Gvk::new("", "", ""), "", &[error])
        };
        let json = value.to_string();
        let (value, errors) =
            self.typed(value).map_err(|why| invalid(String::from_utf8_lossy(patch).into_owned(), &why))?;
        match validation {
            FieldValidation::Strict if !errors.is_empty() => {
                Err(invalid(json, &format!("strict decoding error: {}", errors.join(", "))))
            }
            FieldValidation::Strict | FieldValidation::Ignore => Ok(Wanted { value, warnings: Vec::new() }),
            FieldValidation::Warn => Ok(Wanted { value, warnings: errors }),
        }
    }

    /// A document as its type has it, and what that doesn't know; the error is for people.
    pub(super) fn typed(&self, value: Value) -> Result<(Value, Vec<String>), String> {
        let json = value.to_string();
        if let Some(custom) = &self.row.custom {
            let decoded = custom.decode(json.as_bytes())?;
            return Ok((decoded.value, decoded.errors));
        }
        let schemas = Schemas::builtin();
        let Some(ty) = schemas.of(&self.row.gvk()) else { return Ok((value, Vec::new())) };
        let decoded = schema::decode(schemas, ty, json.as_bytes()).map_err(|error| error.to_string())?;
        Ok((decoded.value, decoded.errors))
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
        self.check_declared(given)?;
        let now = format_time(self.registry.clock.now());
        let applied =
            self.writing(&now, options, |writing| writing.apply(before.unwrap_or(&Value::Null), given, options.force))?;
        let mut wanted = self.decoded(applied, patch, options.field_validation)?;
        self.row.rules().default(&mut wanted.value);
        Ok(wanted)
    }

    /// Compat: what is applied may only have fields that the schema of a custom resource names, whatever the validation.
    fn check_declared(&self, given: &Value) -> Result<(), ApiError> {
        let Some(custom) = &self.row.custom else { return Ok(()) };
        let decoded = custom.decode_value(given.clone());
        let name =
            |error: &String| error.split('"').nth(1).map(|path| format!(".{path}: field not declared in schema"));
        let unknown: Vec<String> =
            decoded.errors.iter().filter(|error| error.starts_with("unknown")).filter_map(name).collect();
        let list = match unknown.as_slice() {
            [] => return Ok(()),
            [one] => one.clone(),
            many => format!("errors:\n  {}", many.join("\n  ")),
        };
        let (namespace, gvk) = (self.namespace, self.row.gvk());
        let text = format!(
            "failed to create typed patch object ({namespace}/{}; {}, Kind={}): {list}",
            self.name,
            gvk.api_version(),
            gvk.kind
        );
        Err(ApiError { code: Some(500), ..ApiError::new(Reason::Unknown, text) })
    }

    /// Notes who set which fields; nobody, where the writer has no name.
    pub(super) fn own_fields(&self, before: Option<&Value>, new: &mut Value, options: &WriteOptions) {
        if !options.field_manager.is_empty() {
            let now = format_time(self.registry.clock.now());
            self.writing(&now, options, |writing| writing.update(before.unwrap_or(&Value::Null), new));
        }
    }

    fn writing<T>(&self, now: &str, options: &WriteOptions, act: impl FnOnce(&Writing<'_>) -> T) -> T {
        let gvk = self.row.gvk();
        let (schemas, ty) = match &self.row.custom {
            Some(custom) => (custom.types().0, Some(custom.types().1)),
            None => (Schemas::builtin(), Schemas::builtin().of(&gvk)),
        };
        act(&Writing {
            schemas,
            ty,
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

/// Compat: how lists of custom resources merge is only known to server-side apply.
fn no_strategic_merge() -> ApiError {
    let text = "the body of the request was in an unknown format - accepted media types include: \
                application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
    ApiError::new(Reason::UnsupportedMediaType, text)
}

/// A patch that doesn't fit the object.
fn refused() -> ApiError {
    ApiError::new(Reason::Invalid, "the server rejected our request due to an error in our request")
}
