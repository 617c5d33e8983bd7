//! Bodies of requests: read up to a limit, and decoded.

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use kinds::custom::Custom;
use meta::{ApiError, FieldValidation, Gvk, PatchType, Reason};
use schema::{DecodeError, Schemas, proto};
use serde_json::Value;

use crate::negotiate::PROTOBUF;

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
pub(crate) fn patch_type(headers: &HeaderMap) -> Result<PatchType, ApiError> {
    match media_type(headers) {
        "application/json-patch+json" => Ok(PatchType::Json),
        "application/merge-patch+json" => Ok(PatchType::Merge),
        "application/strategic-merge-patch+json" => Ok(PatchType::StrategicMerge),
        "application/apply-patch+yaml" => Ok(PatchType::Apply),
        other => {
            let text = format!(
                "the body of the request was in an unknown format - accepted media types include: \
                 application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml, \
                 application/strategic-merge-patch+json (got {other:?})"
            );
            Err(ApiError::new(Reason::UnsupportedMediaType, text))
        }
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
    match media_type(headers) {
        PROTOBUF => {
            let value = proto::decode_object(Schemas::builtin(), bytes, Some(expected));
            let value = value.map_err(|error| ApiError::bad_request(error.to_string()))?;
            Ok(Decoded { value, warnings: Vec::new() })
        }
        "" | "application/json" | "text/plain" | "*/*" => check(bytes, expected, custom, validation),
        "application/yaml" => check(&yaml_to_json(bytes)?, expected, custom, validation),
        other => {
            let text = format!(
                "the body of the request was in an unknown format - accepted media types include: application/json, \
                 application/yaml, {PROTOBUF} (got {other:?})"
            );
            Err(ApiError::new(Reason::UnsupportedMediaType, text))
        }
    }
}

/// JSON from YAML.
pub(crate) fn yaml_to_json(bytes: &[u8]) -> Result<Vec<u8>, ApiError> {
    let value: Value = serde_yaml_ng::from_slice(bytes)
        .map_err(|error| ApiError::bad_request(format!("error converting YAML to JSON: {error}")))?;
    serde_json::to_vec(&value).map_err(ApiError::internal)
}

fn check(
    json: &[u8],
    expected: &Gvk,
    custom: Option<&Custom>,
    validation: FieldValidation,
) -> Result<Decoded, ApiError> {
    let (value, errors) = match (custom, Schemas::builtin().of(expected)) {
        (Some(custom), _) => {
            let decoded = custom.decode(json).map_err(ApiError::bad_request)?;
            (decoded.value, decoded.errors)
        }
        (None, Some(kind)) => {
            let decoded = schema::decode(Schemas::builtin(), kind, json).map_err(|error| match error {
                DecodeError::Syntax(text) => ApiError::bad_request(text),
                other => unreadable(expected, &other.to_string()),
            })?;
            (decoded.value, decoded.errors)
        }
        (None, None) => {
            let value = serde_json::from_slice(json).map_err(|error| unreadable(expected, &error.to_string()))?;
            (value, Vec::new())
        }
    };
    match validation {
        FieldValidation::Ignore => Ok(Decoded { value, warnings: Vec::new() }),
        FieldValidation::Strict if !errors.is_empty() => {
            Err(unreadable(expected, &format!("strict decoding error: {}", errors.join(", "))))
        }
        FieldValidation::Warn | FieldValidation::Strict => Ok(Decoded { value, warnings: errors }),
    }
}

fn unreadable(expected: &Gvk, why: &str) -> ApiError {
    let kind = &expected.kind;
    ApiError::bad_request(format!("{kind} in version {:?} cannot be handled as a {kind}: {why}", expected.version))
}
