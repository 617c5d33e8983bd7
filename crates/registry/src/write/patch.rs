//! Patches, and the managers of fields.

use bytes::Bytes;
use meta::field::{Error, Path};
use meta::{ApiError, FieldValidation, Gvk, PatchType, Reason, WriteOptions, format_time};
use schema::Schemas;
use serde_json::Value;

use super::fields::text;
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
        let told;
        let mut shown = None;
        match form {
            PatchType::Json => {
                let read = JsonPatch::read(patch)?;
                told = read.told;
                json_patch::patch(&mut new, &read.patch).map_err(|_| refused())?;
            }
            PatchType::Merge => {
                let context = |why| ApiError::bad_request(format!("error decoding patch: {why}"));
                json_patch::merge(&mut new, &structure(patch).map_err(context)?);
                told = schema::duplicates(patch);
            }
            PatchType::StrategicMerge if self.row.custom.is_some() => return Err(no_strategic_merge()),
            PatchType::StrategicMerge => {
                let schemas = Schemas::builtin();
                let patch_value = structure(patch).map_err(ApiError::bad_request)?;
                told = schema::duplicates(patch);
                shown = Some(as_go_shows(&patch_value));
                strategic::merge(schemas, schemas.of(&self.row.gvk()), &mut new, patch_value);
            }
            PatchType::Apply => return self.applied(Some(before), patch, options),
        }
        let shown = shown.unwrap_or_else(|| new.to_string());
        self.check_patched_kind(&new, &shown)?;
        self.decoded(new, shown, told, options.field_validation)
    }

    /// Compat: a patch that makes another kind of an object is refused as one that can't be decoded.
    fn check_patched_kind(&self, new: &Value, shown: &str) -> Result<(), ApiError> {
        let (gvk, text) = (self.row.gvk(), |name: &str| new.get(name).and_then(Value::as_str).unwrap_or_default());
        let (kind, version) = (text("kind"), text("apiVersion"));
        if self.row.custom.is_some() || (kind == gvk.kind && version == gvk.api_version()) {
            return Ok(());
        }
        let why =
            format!("no kind {kind:?} is registered for version {version:?} in scheme \"pkg/runtime/scheme.go:111\"");
        Err(invalid_patch(shown.to_owned(), &why))
    }

    /// Prunes a patched document by its type; `told` is what the patch itself has twice or without meaning.
    fn decoded(
        &self,
        value: Value,
        shown: String,
        told: Vec<String>,
        validation: FieldValidation,
    ) -> Result<Wanted, ApiError> {
        let (value, errors) = match self.typed(value) {
            Ok(typed) => typed,
            Err(why) => return Err(invalid_patch(shown, &why)),
        };
        let errors: Vec<String> = told.into_iter().chain(errors).collect();
        match validation {
            FieldValidation::Strict if !errors.is_empty() => {
                Err(invalid_patch(shown, &format!("strict decoding error: {}", errors.join(", "))))
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
        let context = |why| {
            ApiError::bad_request(format!("error decoding YAML: error unmarshaling JSON: while decoding JSON: {why}"))
        };
        let given = &mut structure(patch).map_err(context)?;
        if given.pointer("/metadata/managedFields").is_some() {
            return Err(ApiError::bad_request("metadata.managedFields must be nil"));
        }
        self.check_applied_kind(given)?;
        self.check_declared(given)?;
        self.check_name(given)?;
        self.place(given)?;
        let now = format_time(self.registry.clock.now());
        let applied =
            self.writing(&now, options, |writing| writing.apply(before.unwrap_or(&Value::Null), given, options.force))?;
        let shown = applied.to_string();
        let mut wanted = self.decoded(applied, shown, Vec::new(), options.field_validation)?;
        self.row.rules().default(&mut wanted.value);
        Ok(wanted)
    }

    /// What is applied says itself what it is.
    fn check_applied_kind(&self, given: &Value) -> Result<(), ApiError> {
        let (kind, version) = (text(given, "/kind"), text(given, "/apiVersion"));
        let gvk = self.row.gvk();
        if kind == gvk.kind && version == gvk.api_version() {
            return Ok(());
        }
        let version = if version.contains('/') { version.to_owned() } else { format!("/{version}") };
        Err(ApiError::bad_request(format!("invalid object type: {version}, Kind={kind}")))
    }

    /// Compat: what is applied may only have fields that the schema names, whatever the validation.
    fn check_declared(&self, given: &Value) -> Result<(), ApiError> {
        let errors = match &self.row.custom {
            Some(custom) => custom.decode_value(given.clone()).errors,
            None => {
                let schemas = Schemas::builtin();
                let Some(ty) = schemas.of(&self.row.gvk()) else { return Ok(()) };
                // What has another type is told when the whole object is decoded.
                schema::decode_value(schemas, ty, given.clone()).map(|decoded| decoded.errors).unwrap_or_default()
            }
        };
        let name =
            |error: &String| error.split('"').nth(1).map(|path| format!(".{path}: field not declared in schema"));
        let unknown: Vec<String> =
            errors.iter().filter(|error| error.starts_with("unknown")).filter_map(name).collect();
        let list = match unknown.as_slice() {
            [] => return Ok(()),
            [one] => one.clone(),
            many => format!("errors:\n  {}", many.join("\n  ")),
        };
        let (namespace, gvk) = (text(given, "/metadata/namespace"), self.row.gvk());
        let version = if gvk.group.is_empty() { format!("/{}", gvk.version) } else { gvk.api_version() };
        let text = format!(
            "failed to create typed patch object ({namespace}/{}; {version}, Kind={}): {list}",
            self.name, gvk.kind
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

/// A JSON patch that was read.
struct JsonPatch {
    patch: json_patch::Patch,
    /// What it has twice, or without meaning.
    told: Vec<String>,
}

impl JsonPatch {
    /// Operations that a patch may have.
    const MAX: usize = 10_000;

    fn read(bytes: &Bytes) -> Result<Self, ApiError> {
        let bad = |why: String| ApiError::bad_request(format!("error decoding patch: {why}"));
        let value = parse(bytes).map_err(bad)?;
        let Value::Array(operations) = &value else {
            let target = "Go value of type []handlers.jsonPatchOp";
            return Err(bad(format!("json: cannot unmarshal {} into {target}", schema::go_kind(&value))));
        };
        if operations.len() > Self::MAX {
            let text = format!(
                "Request entity too large: The allowed maximum operations in a JSON patch is {}, got {}",
                Self::MAX,
                operations.len()
            );
            return Err(ApiError::new(Reason::RequestEntityTooLarge, text));
        }
        let mut told: Vec<String> =
            schema::duplicates(bytes).into_iter().map(|error| format!("json patch {error}")).collect();
        for (index, operation) in operations.iter().enumerate() {
            let names = operation.as_object().into_iter().flat_map(|fields| fields.keys());
            let unknown = names.filter(|name| !matches!(name.as_str(), "op" | "path" | "from" | "value"));
            told.extend(unknown.map(|name| format!("json patch unknown field \"[{index}].{name}\"")));
        }
        Ok(Self { patch: serde_json::from_value(value).map_err(|_| refused())?, told })
    }
}

fn parse(bytes: &Bytes) -> Result<Value, String> {
    serde_json::from_slice(bytes).map_err(|error| schema::json_error(bytes).unwrap_or_else(|| error.to_string()))
}

/// A document that must be a structure.
fn structure(bytes: &Bytes) -> Result<Value, String> {
    match parse(bytes)? {
        value @ Value::Object(_) => Ok(value),
        Value::Null => Ok(Value::Object(serde_json::Map::new())),
        other => Err(format!(
            "json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            schema::go_kind(&other)
        )),
    }
}

/// A document as Go prints it: `map[a:1 b:[x y]]`.
fn as_go_shows(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(list) => format!("[{}]", list.iter().map(as_go_shows).collect::<Vec<_>>().join(" ")),
        Value::Object(fields) => {
            let sorted: std::collections::BTreeMap<_, _> = fields.iter().collect();
            let fields: Vec<String> =
                sorted.into_iter().map(|(name, value)| format!("{name}:{}", as_go_shows(value))).collect();
            format!("map[{}]", fields.join(" "))
        }
    }
}

fn invalid_patch(shown: String, why: &str) -> ApiError {
    let error = Error::invalid(&Path::new("patch"), shown, why);
    ApiError::invalid(&Gvk::new("", "", ""), "", &[error])
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
