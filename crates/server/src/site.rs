//! Paths that are no resources: health, version, discovery, documents.

use http::{HeaderMap, Response, StatusCode};
use meta::ApiError;
use serde_json::json;

use crate::door::Door;
use crate::negotiate::Encoding;
use crate::response::{Body, document};
use crate::{discovery, health, openapi};

/// The answer to a path.
pub(crate) fn answer(
    door: &Door,
    path: &str,
    query: Option<&str>,
    headers: &HeaderMap,
) -> Result<Response<Body>, ApiError> {
    let trimmed = path.trim_end_matches('/');
    if let Some(answer) = health::answer(trimmed, query) {
        return answer;
    }
    match trimmed {
        "/version" => return Ok(document(StatusCode::OK, Encoding::Json, &version())),
        "/.well-known/openid-configuration" => {
            let value = door.config.tokens.openid_configuration(&door.config.address);
            return Ok(document(StatusCode::OK, Encoding::Json, &value));
        }
        "/openid/v1/jwks" => return Ok(document(StatusCode::OK, Encoding::Json, &door.config.tokens.jwks())),
        _ => {}
    }
    let resources = door.config.registry.resources();
    if let Some(answer) = openapi::answer(&resources, trimmed, query, headers) {
        return answer;
    }
    discovery::answer(&resources, &door.config.address, trimmed, headers).ok_or_else(ApiError::no_such_resource)
}

fn version() -> serde_json::Value {
    json!({
        "major": "1", "minor": "36", "gitVersion": "v1.36.3", "gitCommit": "", "gitTreeState": "clean", "buildDate": "",
        "goVersion": "", "compiler": "rustc", "platform": "linux/amd64",
        "emulationMajor": "1", "emulationMinor": "36", "minCompatibilityMajor": "1", "minCompatibilityMinor": "35",
    })
}
