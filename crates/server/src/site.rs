//! Paths that are no resources: health, version, discovery, documents.

use http::{HeaderMap, Response, StatusCode};
use meta::ApiError;
use registry::Resources;
use serde_json::json;

use crate::door::Door;
use crate::negotiate::Encoding;
use crate::response::{Body, document, page_not_found};
use crate::{discovery, health, openapi, telemetry};

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
        "/metrics" => return Ok(telemetry::answer(door)),
        "/version" => return Ok(document(StatusCode::OK, Encoding::Json, &version())),
        "/.well-known/openid-configuration" => {
            let value = door.config.tokens.openid_configuration(&door.config.address);
            return Ok(document(StatusCode::OK, Encoding::Json, &value));
        }
        "/openid/v1/jwks" => return Ok(document(StatusCode::OK, Encoding::Json, &door.config.tokens.jwks())),
        _ => {}
    }
    let resources = door.config.registry.resources();
    if let Some(answer) = openapi::answer(&resources, &door.aggregator, trimmed, (query, headers)) {
        return answer;
    }
    let served = discovery::Served::new(&resources, &door.aggregator);
    match served.answer(&door.config.address, trimmed, headers) {
        Some(answer) => Ok(answer),
        None if is_of_group(&resources, trimmed) => Err(ApiError::no_such_resource()),
        None => Ok(page_not_found()),
    }
}

/// Compat: beneath a group that is served, what isn't there is refused by a Status; elsewhere by a page.
pub(crate) fn is_of_group(resources: &Resources, path: &str) -> bool {
    let mut parts = path.trim_matches('/').split('/');
    match (parts.next(), parts.next()) {
        (Some("api"), _) => true,
        (Some("apis"), Some(group)) => resources.iter().any(|row| row.group == group),
        _ => false,
    }
}

/// Whether a path can only be read; the others ask nothing of the method.
pub(crate) fn is_read_only(path: &str) -> bool {
    let path = path.trim_end_matches('/');
    path == "/version" || path.starts_with("/api/") || path.starts_with("/apis/")
}

fn version() -> serde_json::Value {
    json!({
        "major": "1", "minor": "36", "gitVersion": "v1.36.3", "gitCommit": "", "gitTreeState": "clean", "buildDate": "",
        "goVersion": "", "compiler": "rustc", "platform": "linux/amd64",
        "emulationMajor": "1", "emulationMinor": "36", "minCompatibilityMajor": "1", "minCompatibilityMinor": "35",
    })
}
