//! Bodies of requests: read up to a limit, and decoded.

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use kinds::custom::Custom;
use meta::{ApiError, FieldValidation, GroupVersion, Gvk, PatchType, Reason};
use schema::{DecodeError, Schemas, proto};
use serde::Deserialize;
use serde_json::Value;

use crate::negotiate::PROTOBUF;
use crate::yaml;

/// Bytes that a body may have.
const LIMIT: usize = 3 << 20;

/// Reads all of it.
pub(crate) async fn read(body: Incoming) -> Result<Bytes, ApiError> {
    match Limited::new(body, LIMIT).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let text = format!("Request entity too large: limit is {LIMIT}");
            Err(ApiError::new(Reason::RequestEntityTooLarge, text))
        }
        Err(error) => Err(ApiError::bad_request(format!("unable to read the request body: {error}"))),
    }
}

/// The media type without its parameters.
pub(crate) fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

/// The form of a patch.
pub(crate) fn patch_type(headers: &HeaderMap, custom: bool) -> Result<PatchType, ApiError> {
    match media_type(headers) {
        "application/json-patch+json" => Ok(PatchType::Json),
        "application/merge-patch+json" => Ok(PatchType::Merge),
        "application/strategic-merge-patch+json" => Ok(PatchType::StrategicMerge),
        "application/apply-patch+yaml" => Ok(PatchType::Apply),
        _ if custom => {
            let text = "the body of the request was in an unknown format - accepted media types include: \
                        application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
            Err(ApiError::new(Reason::UnsupportedMediaType, text))
        }
        _ => Err(ApiError::new(Reason::UnsupportedMediaType, "415: Unsupported Media Type")),
    }
}

/// An object, and what the client should be warned of.
pub(crate) struct Decoded {
    pub(crate) value: Value,
    pub(crate) warnings: Vec<String>,
}

/// Decodes an object that should be of this kind.
pub(crate) fn decode(
    headers: &HeaderMap,
    bytes: &[u8],
    expected: &Gvk,
    custom: Option<&Custom>,
    validation: FieldValidation,
) -> Result<Decoded, ApiError> {
    let wanted = Wanted { bytes, expected, custom, validation };
    match media_type(headers) {
        PROTOBUF if custom.is_none() => {
            let value = proto::decode_object(Schemas::builtin(), bytes, Some(expected));
            let value = value.map_err(|error| wanted.unrecognized(&error.to_string()))?;
            Ok(Decoded { value, warnings: Vec::new() })
        }
        "" | "application/json" => wanted.check(bytes, Vec::new()),
        "application/yaml" => {
            let json = json_of_yaml(bytes).map_err(|why| wanted.unrecognized(&why))?;
            wanted.check(&json, yaml::duplicate(bytes).into_iter().collect())
        }
        _ => Err(unknown_format(custom.is_none())),
    }
}

/// Decodes the options of a deletion, which have no type of their own to be told about.
pub(crate) fn decode_options(headers: &HeaderMap, bytes: &[u8]) -> Result<Value, ApiError> {
    let kind = Gvk::new("", "v1", "DeleteOptions");
    let plain = |why: String| ApiError::bad_request(why);
    if media_type(headers) == PROTOBUF {
        return proto::decode_object(Schemas::builtin(), bytes, Some(&kind)).map_err(|error| plain(error.to_string()));
    }
    let json =
        if media_type(headers) == "application/yaml" { json_of_yaml(bytes).map_err(plain)? } else { bytes.to_vec() };
    let header = Header::read(&json).map_err(plain)?;
    if !matches!(header.kind.as_str(), "" | "DeleteOptions") {
        return Err(plain(header.not_registered()));
    }
    let Some(ty) = Schemas::builtin().of(&kind) else { return Ok(Value::Null) };
    schema::decode(Schemas::builtin(), ty, &json).map(|decoded| decoded.value).map_err(|error| plain(error.to_string()))
}

fn unknown_format(protobuf: bool) -> ApiError {
    let own = if protobuf { format!(", {PROTOBUF}") } else { String::new() };
    let text = format!(
        "the body of the request was in an unknown format - accepted media types include: application/json, \
         application/yaml{own}"
    );
    ApiError::new(Reason::UnsupportedMediaType, text)
}

/// JSON from YAML that is applied.
pub(crate) fn yaml_to_json(bytes: &[u8]) -> Result<Vec<u8>, ApiError> {
    json_of_yaml(bytes)
        .map_err(|why| ApiError::bad_request(format!("error decoding YAML: error converting YAML to JSON: {why}")))
}

fn json_of_yaml(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let value: Value = serde_yaml_ng::from_slice(bytes).map_err(|error| {
        let text = error.to_string();
        format!("yaml: {}", text.rsplit_once(" at line ").map_or(text.as_str(), |(why, _)| why))
    })?;
    serde_json::to_vec(&value).map_err(|error| error.to_string())
}

/// What a document says of its own type.
struct Header {
    api_version: String,
    kind: String,
}

impl Header {
    fn read(json: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Given {
            #[serde(default, rename = "apiVersion")]
            api_version: Option<String>,
            #[serde(default)]
            kind: Option<String>,
        }
        match serde_json::from_slice::<Option<Given>>(json) {
            Ok(given) => {
                let (api_version, kind) = given.map_or((None, None), |given| (given.api_version, given.kind));
                Ok(Self { api_version: api_version.unwrap_or_default(), kind: kind.unwrap_or_default() })
            }
            Err(error) => {
                let context = "couldn't get version/kind; json parse error";
                Err(format!("{context}: {}", schema::json_error(json).unwrap_or_else(|| mistyped(json, &error))))
            }
        }
    }

    fn not_registered(&self) -> String {
        let Self { kind, api_version } = self;
        format!("no kind {kind:?} is registered for version {api_version:?} in scheme \"pkg/runtime/scheme.go:111\"")
    }
}

/// Go's words for a document that is no structure.
fn mistyped(json: &[u8], error: &serde_json::Error) -> String {
    const TARGET: &str = "Go value of type struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \
                          \"json:\\\"kind,omitempty\\\"\" }";
    match json.trim_ascii_start().first() {
        Some(b'[') => format!("json: cannot unmarshal array into {TARGET}"),
        Some(b'"') => format!("json: cannot unmarshal string into {TARGET}"),
        Some(b't' | b'f') => format!("json: cannot unmarshal bool into {TARGET}"),
        Some(b'-' | b'0'..=b'9') => format!("json: cannot unmarshal number into {TARGET}"),
        _ => error.to_string(),
    }
}

/// A body, and what should be in it.
struct Wanted<'a> {
    bytes: &'a [u8],
    expected: &'a Gvk,
    custom: Option<&'a Custom>,
    validation: FieldValidation,
}

impl Wanted<'_> {
    /// A document whose type can't be told.
    fn unrecognized(&self, why: &str) -> ApiError {
        const SHOWN: usize = 30;
        let head = &self.bytes[..self.bytes.len().min(SHOWN)];
        let mut shown = match head {
            [] => "<empty>".to_owned(),
            [b'{', ..] => String::from_utf8_lossy(head).into_owned(),
            other => other.iter().map(|byte| format!("{byte:02x}")).collect(),
        };
        if self.bytes.len() > SHOWN {
            shown.push_str(" ...");
        }
        let kind = &self.expected.kind;
        ApiError::bad_request(format!("the object provided is unrecognized (must be of type {kind}): {why} ({shown})"))
    }

    fn check(&self, json: &[u8], duplicates: Vec<String>) -> Result<Decoded, ApiError> {
        let expected = self.expected;
        let (value, own) = match (self.custom, Schemas::builtin().of(expected)) {
            (Some(custom), _) => {
                let decoded = custom.decode(json).map_err(ApiError::bad_request)?;
                (decoded.value, decoded.errors)
            }
            (None, Some(kind)) => {
                self.check_header(&Header::read(json).map_err(|why| self.unrecognized(&why))?)?;
                let decoded = schema::decode(Schemas::builtin(), kind, json).map_err(|error| match error {
                    DecodeError::Syntax(text) => self.unrecognized(&schema::json_error(json).unwrap_or(text)),
                    other => unreadable(expected, &other.to_string()),
                })?;
                (decoded.value, decoded.errors)
            }
            (None, None) => {
                let value = serde_json::from_slice(json).map_err(|error| unreadable(expected, &error.to_string()))?;
                (value, Vec::new())
            }
        };
        let errors: Vec<String> = duplicates.into_iter().chain(own).collect();
        match self.validation {
            FieldValidation::Ignore => Ok(Decoded { value, warnings: Vec::new() }),
            FieldValidation::Strict if !errors.is_empty() => {
                Err(unreadable(expected, &format!("strict decoding error: {}", errors.join(", "))))
            }
            FieldValidation::Warn | FieldValidation::Strict => Ok(Decoded { value, warnings: errors }),
        }
    }

    /// Refuses another type than the endpoint's.
    fn check_header(&self, header: &Header) -> Result<(), ApiError> {
        let expected = self.expected;
        let right = |given: &str, own: &str| given.is_empty() || given == own;
        if right(&header.kind, &expected.kind) && right(&header.api_version, &expected.api_version()) {
            return Ok(());
        }
        let kind = if header.kind.is_empty() { &expected.kind } else { &header.kind };
        let own = expected.api_version();
        let api_version = if header.api_version.is_empty() { &own } else { &header.api_version };
        let Some(gv) = GroupVersion::parse(api_version) else {
            return Err(self.unrecognized(&format!("unexpected GroupVersion string: {api_version}")));
        };
        let given = Gvk::new(gv.group, gv.version, kind);
        let package = |gvk: &Gvk| match gvk.group.split('.').next() {
            None | Some("") => "core".to_owned(),
            Some(first) => first.to_owned(),
        };
        let why = if Schemas::builtin().of(&given).is_none() {
            Header { api_version: api_version.clone(), kind: kind.clone() }.not_registered()
        } else if given.kind == expected.kind {
            let text =
                format!("the API version in the data ({api_version}) does not match the expected API version ({own})");
            return Err(ApiError::bad_request(text));
        } else {
            format!(
                "converting ({}.{}) to ({}.{}): unknown conversion",
                given.version,
                given.kind,
                package(expected),
                expected.kind
            )
        };
        let text =
            format!("{} in version {:?} cannot be handled as a {}: {why}", given.kind, given.version, expected.kind);
        Err(ApiError::bad_request(text))
    }
}

fn unreadable(expected: &Gvk, why: &str) -> ApiError {
    let kind = &expected.kind;
    ApiError::bad_request(format!("{kind} in version {:?} cannot be handled as a {kind}: {why}", expected.version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_object_is_refused_in_upstreams_words() {
        let check = |body: &str, expected: &str| {
            let kind = Gvk::new("", "v1", "ConfigMap");
            let error = decode(&HeaderMap::new(), body.as_bytes(), &kind, None, FieldValidation::Warn);
            assert_eq!(error.map(|_| ()).expect_err(body).message, expected);
        };
        let unrecognized =
            |why: &str| format!("the object provided is unrecognized (must be of type ConfigMap): {why}");
        check("", &unrecognized("couldn't get version/kind; json parse error: unexpected end of JSON input (<empty>)"));
        check("{", &unrecognized("couldn't get version/kind; json parse error: unexpected end of JSON input ({)"));
        check(
            r#"{"apiVersion":"x/y/z","kind":"ConfigMap"}"#,
            &unrecognized(r#"unexpected GroupVersion string: x/y/z ({"apiVersion":"x/y/z","kind":" ...)"#),
        );
        check(
            r#"{"apiVersion":"v1","kind":"Secret"}"#,
            "Secret in version \"v1\" cannot be handled as a ConfigMap: converting (v1.Secret) to (core.ConfigMap): unknown \
             conversion",
        );
        check(
            r#"{"apiVersion":"v2","kind":"ConfigMap"}"#,
            "ConfigMap in version \"v2\" cannot be handled as a ConfigMap: no kind \"ConfigMap\" is registered for version \
             \"v2\" in scheme \"pkg/runtime/scheme.go:111\"",
        );
    }
}
