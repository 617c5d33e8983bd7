//! From a request's parts to the call that it makes.

use http::Method;
use http::header::USER_AGENT;
use http::request::Parts;
use kinds::custom::Custom;
use meta::{ApiError, Call, FieldValidation, Gvk, PatchType, ResourcePath};

use crate::body;
use crate::options::Writing;
use crate::query::Query;
use crate::yaml;

/// A request whose body was read.
pub(crate) struct Asked<'a> {
    pub(crate) parts: &'a Parts,
    pub(crate) query: &'a Query,
    pub(crate) bytes: &'a bytes::Bytes,
    /// The kind that a body should be of.
    pub(crate) expected: Gvk,
    /// What a definition says of the body, unless a subresource speaks another kind.
    pub(crate) custom: Option<&'a Custom>,
}

/// The kind that a body should be of.
pub(crate) fn expected(row: &kinds::Resource, path: &ResourcePath) -> Gvk {
    let subresource = path.subresource.as_deref().and_then(|name| row.subresource(name));
    match subresource.and_then(|subresource| subresource.kind) {
        Some((group, version, kind)) => Gvk::new(group, version, kind),
        None => row.gvk(),
    }
}

/// What a definition says of the body, unless a subresource speaks another kind.
pub(crate) fn custom<'a>(row: &'a kinds::Resource, path: &ResourcePath) -> Option<&'a Custom> {
    let other =
        path.subresource.as_deref().and_then(|name| row.subresource(name)).is_some_and(|own| own.kind.is_some());
    row.custom.as_deref().filter(|_| !other)
}

impl Asked<'_> {
    /// The call that the request makes, and what its sender should be warned of.
    pub(crate) fn call(&self, path: &ResourcePath) -> Result<(Call, Vec<String>), ApiError> {
        let agent = self.parts.headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or("unknown");
        let plain = |call| Ok((call, Vec::new()));
        match (&self.parts.method, path.name.is_some()) {
            (&Method::GET, true) => {
                let resource_version = self.query.get("resourceVersion").unwrap_or_default().to_owned();
                plain(Call::Get { resource_version })
            }
            (&Method::GET, false) => plain(Call::List(self.query.list()?)),
            (&Method::POST, _) => {
                let options = self.query.write(agent, Writing::Create)?;
                let decoded = self.decode(options.field_validation)?;
                Ok((Call::Create { object: decoded.value, options }, decoded.warnings))
            }
            (&Method::PUT, true) => {
                let options = self.query.write(agent, Writing::Update)?;
                let decoded = self.decode(options.field_validation)?;
                Ok((Call::Update { object: decoded.value, options }, decoded.warnings))
            }
            (&Method::PATCH, true) => self.patch(agent),
            (&Method::DELETE, true) => plain(Call::Delete(self.query.delete(&self.delete_options()?)?)),
            (&Method::DELETE, false) => {
                let options = self.query.delete(&self.delete_options()?)?;
                plain(Call::DeleteCollection(self.query.list()?, options))
            }
            (method, _) => Err(ApiError::method_not_supported(&path.gvr, &method.as_str().to_ascii_lowercase())),
        }
    }

    fn patch(&self, agent: &str) -> Result<(Call, Vec<String>), ApiError> {
        let form = body::patch_type(&self.parts.headers, self.custom.is_some())?;
        let writing = if form == PatchType::Apply { Writing::Apply } else { Writing::Patch };
        let options = self.query.write(agent, writing)?;
        let patch = match form {
            PatchType::Apply => body::yaml_to_json(self.bytes)?.into(),
            PatchType::Json | PatchType::Merge | PatchType::StrategicMerge => self.bytes.clone(),
        };
        let warnings = self.duplicates(form, options.field_validation)?;
        Ok((Call::Patch { form, patch, options }, warnings))
    }

    /// What an applied document says twice.
    fn duplicates(&self, form: PatchType, validation: FieldValidation) -> Result<Vec<String>, ApiError> {
        if form != PatchType::Apply || validation == FieldValidation::Ignore {
            return Ok(Vec::new());
        }
        match (yaml::duplicate(self.bytes), validation) {
            (Some(text), FieldValidation::Strict) => {
                let text = format!("error strict decoding YAML: error converting YAML to JSON: {text}");
                Err(ApiError::bad_request(text))
            }
            (found, _) => Ok(found.into_iter().map(|text| text.replace("yaml: unmarshal errors:\n  ", "")).collect()),
        }
    }

    fn decode(&self, validation: FieldValidation) -> Result<body::Decoded, ApiError> {
        body::decode(&self.parts.headers, self.bytes, &self.expected, self.custom, validation)
    }

    fn delete_options(&self) -> Result<serde_json::Value, ApiError> {
        if self.bytes.is_empty() {
            return Ok(serde_json::Value::Null);
        }
        body::decode_options(&self.parts.headers, self.bytes)
    }
}
