//! OpenAPI: one document of version 2 for everything, one of version 3 for each group and version. Made when they are asked for,
//! from the table of what is served and the types' own table; a tag made from the same facts tells when they change.

mod custom;
mod descriptions;
mod dialect;
mod merged;
mod paths;
mod protobuf;
mod types;

use std::sync::Arc;

use http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH, LOCATION, VARY};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use kinds::Resource;
use meta::{ApiError, GroupVersion, Reason};
use registry::Resources;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use self::dialect::Dialect;
use crate::aggregation::{Aggregator, Learned};
use crate::query::Query;
use crate::response::{Body, whole};

/// The answer to an OpenAPI path, if it is one.
pub(crate) fn answer(
    resources: &Resources,
    aggregator: &Aggregator,
    path: &str,
    (query, headers): (Option<&str>, &HeaderMap),
) -> Option<Result<Response<Body>, ApiError>> {
    let remotes = aggregator.remotes();
    let is_own =
        |row: &&Resource| remotes.is_empty() || !remotes.contains_key(&GroupVersion::new(row.group, row.version));
    let rows: Vec<&Resource> = resources.iter().filter(is_own).collect();
    let others: Vec<Arc<Learned>> = remotes.keys().filter_map(|gv| aggregator.learned(gv)).collect();
    if path == "/openapi/v2" {
        let whole = || merged::documents(document(Dialect::V2, &rows), &others);
        let tag = merged::tag(tag(&rows), &others);
        return Some(encoding(headers).map(|encoding| tagged(headers, &tag, encoding, whole)));
    }
    let wanted = path.strip_prefix("/openapi/v3")?.trim_matches('/');
    if wanted.is_empty() {
        let tag = merged::tag(tag(&rows), &others);
        return Some(Ok(tagged(headers, &tag, Encoding::Json, || merged::indexes(index(&rows), &others))));
    }
    let rows: Vec<&Resource> = rows.into_iter().filter(|row| prefix(row) == wanted).collect();
    if rows.is_empty() {
        return None;
    }
    let tag = tag(&rows);
    let hash = Query::parse(query).get("hash").map(str::to_owned).filter(|hash| !hash.is_empty());
    if hash.as_ref().is_some_and(|hash| *hash != tag) {
        return Some(Ok(moved(&location(wanted, &tag))));
    }
    let mut response = tagged(headers, &tag, Encoding::Json, || document(Dialect::V3, &rows));
    if hash.is_some() {
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
    }
    Some(Ok(response))
}

/// How a document goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Json,
    Protobuf,
}

/// The encoding of version 2 that a client likes best.
fn encoding(headers: &HeaderMap) -> Result<Encoding, ApiError> {
    let accept = headers.get_all(http::header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let types: Vec<&str> =
        accept.flat_map(|value| value.split(',')).map(|one| one.split(';').next().unwrap_or_default().trim()).collect();
    let known = types.iter().find_map(|one| match *one {
        "" | "*/*" | "application/*" | "application/json" => Some(Encoding::Json),
        protobuf::MEDIA_TYPE => Some(Encoding::Protobuf),
        _ => None,
    });
    if types.is_empty() {
        return Ok(Encoding::Json);
    }
    let text = format!("only the following media types are accepted: application/json, {}", protobuf::MEDIA_TYPE);
    known.ok_or_else(|| ApiError::new(Reason::NotAcceptable, text))
}

fn tagged(headers: &HeaderMap, tag: &str, encoding: Encoding, document: impl FnOnce() -> Value) -> Response<Body> {
    let known = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let same = known.split(',').any(|one| one.trim().trim_start_matches("W/").trim_matches('"') == tag);
    let mut response = if same {
        whole(StatusCode::NOT_MODIFIED, "application/json", Vec::new())
    } else {
        match encoding {
            Encoding::Json => {
                whole(StatusCode::OK, "application/json", serde_json::to_vec(&document()).unwrap_or_default())
            }
            Encoding::Protobuf => whole(StatusCode::OK, protobuf::CONTENT_TYPE, protobuf::encode(&document())),
        }
    };
    if let Ok(value) = HeaderValue::from_str(&format!("{tag:?}")) {
        response.headers_mut().insert(ETAG, value);
    }
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    response
}

fn moved(to: &str) -> Response<Body> {
    let mut response = whole(StatusCode::MOVED_PERMANENTLY, "application/json", Vec::new());
    if let Ok(value) = HeaderValue::from_str(to) {
        response.headers_mut().insert(LOCATION, value);
    }
    response
}

fn location(prefix: &str, tag: &str) -> String {
    format!("/openapi/v3/{prefix}?hash={tag}")
}

fn prefix(row: &Resource) -> String {
    let gv = GroupVersion::new(row.group, row.version);
    if row.group.is_empty() { format!("api/{gv}") } else { format!("apis/{gv}") }
}

/// A text that changes whenever the documents of these resources do.
fn tag(rows: &[&Resource]) -> String {
    let mut hash = Sha256::new();
    hash.update(env!("CARGO_PKG_VERSION"));
    hash.update(descriptions::checksum());
    for row in rows {
        hash.update(format!("{}|{}|{}|", row.gvr(), row.kind, row.subresources.len()));
        if let Some(custom) = &row.custom {
            hash.update(format!("{}|{}|", custom.uid, custom.schema));
        }
    }
    hex::encode_upper(&hash.finalize()[..16])
}

fn index(rows: &[&Resource]) -> Value {
    let mut paths = Map::new();
    let mut begin = 0;
    let mut sorted = rows.to_vec();
    sorted.sort_by_key(|row| prefix(row));
    while let Some(first) = sorted.get(begin) {
        let prefix = prefix(first);
        let own = sorted[begin..].iter().take_while(|row| self::prefix(row) == prefix).count();
        let tag = tag(&sorted[begin..begin + own]);
        paths.insert(prefix.clone(), json!({"serverRelativeURL": location(&prefix, &tag)}));
        begin += own;
    }
    json!({"paths": paths})
}

fn document(dialect: Dialect, rows: &[&Resource]) -> Value {
    let mut definitions = types::Definitions::new(dialect);
    let mut all = Map::new();
    for row in rows {
        paths::add(&mut all, dialect, row, &mut definitions);
    }
    let info = json!({"title": "Kubernetes", "version": "v1.36.3"});
    match dialect {
        Dialect::V2 => json!({
            "swagger": "2.0", "info": info, "paths": all, "definitions": definitions.finish(),
            "securityDefinitions": {"BearerToken": {
                "description": "Bearer Token authentication", "type": "apiKey", "name": "authorization", "in": "header"}},
            "security": [{"BearerToken": []}],
        }),
        Dialect::V3 => json!({
            "openapi": "3.0.0", "info": info, "paths": all,
            "components": {"schemas": definitions.finish(), "securitySchemes": {"BearerToken": {
                "description": "Bearer Token authentication", "type": "apiKey", "name": "authorization", "in": "header"}}},
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Every reference in a document, and what it has.
    fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn documents_are_whole() {
        let resources = Resources::builtin();
        let rows: Vec<&Resource> = resources.iter().collect();
        for (dialect, at, lead) in [
            (Dialect::V2, "/definitions", "#/definitions/"),
            (Dialect::V3, "/components/schemas", "#/components/schemas/"),
        ] {
            let document = document(dialect, &rows);
            let schemas = document.pointer(at).and_then(Value::as_object).expect("schemas");
            let mut found = BTreeSet::new();
            references(&document, &mut found);
            for reference in &found {
                let name = reference.strip_prefix(lead).expect("a reference to a schema");
                assert!(schemas.contains_key(name), "{name}");
            }
            assert!(found.len() > 100 && schemas.contains_key("io.k8s.api.core.v1.PodSpec"));
        }
    }

    #[test]
    fn types_tell_what_clients_merge_by() {
        let resources = Resources::builtin();
        let rows: Vec<&Resource> = resources.iter().filter(|row| prefix(row) == "api/v1").collect();
        let document = document(Dialect::V3, &rows);
        let schema = |name: &str| document["components"]["schemas"][name].clone();
        let containers = &schema("io.k8s.api.core.v1.PodSpec")["properties"]["containers"];
        assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
        assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
        assert_eq!(containers["items"]["allOf"][0]["$ref"], "#/components/schemas/io.k8s.api.core.v1.Container");
        assert_eq!(containers["items"]["default"], json!({}));
        assert_eq!(schema("io.k8s.api.core.v1.ContainerPort")["properties"]["containerPort"]["default"], 0);
        assert_eq!(schema("io.k8s.api.core.v1.Taint")["required"], json!(["key", "effect"]));
        assert_eq!(schema("io.k8s.api.core.v1.PodList")["properties"]["items"].get("x-kubernetes-list-type"), None);
        let pod = schema("io.k8s.api.core.v1.Pod");
        assert_eq!(pod["x-kubernetes-group-version-kind"], json!([{"group": "", "version": "v1", "kind": "Pod"}]));
        let patch = &document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"];
        let parameters = patch["parameters"].as_array().expect("parameters");
        assert!(parameters.iter().any(|parameter| parameter["name"] == "fieldValidation"));
    }

    #[test]
    fn what_is_known_is_not_sent_again() {
        let resources = Resources::builtin();
        let status = |path: &str, query: Option<&str>, known: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(known) = known {
                headers.insert(IF_NONE_MATCH, known.parse().expect("a header"));
            }
            let nobody = Aggregator::nobody();
            let response = answer(&resources, &nobody, path, (query, &headers))?.expect("an answer");
            let tag = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok()).unwrap_or_default().to_owned();
            Some((response.status().as_u16(), tag))
        };
        let (code, tag) = status("/openapi/v2", None, None).expect("a document");
        assert_eq!(code, 200);
        assert_eq!(status("/openapi/v2", None, Some(&tag)).map(|(code, _)| code), Some(304));
        assert_eq!(status("/openapi/v3/apis/apps/v1", Some("hash=x"), None).map(|(code, _)| code), Some(301));
        assert_eq!(status("/openapi/v3/apis/nonsense/v1", None, None), None);
    }
}
