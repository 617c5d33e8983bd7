//! OpenAPI v3 documents, as far as clients need them to know that the server validates fields.

use http::{Response, StatusCode};
use kinds::Resource;
use meta::GroupVersion;
use registry::Resources;
use serde_json::{Map, Value, json};

use crate::negotiate::Encoding;
use crate::response::{Body, document};

/// The answer to an OpenAPI path, if it is one.
pub(crate) fn answer(resources: &Resources, path: &str) -> Option<Response<Body>> {
    let rest = path.strip_prefix("/openapi/v3")?.trim_matches('/');
    let value = if rest.is_empty() { index(resources) } else { group_version(resources, rest)? };
    Some(document(StatusCode::OK, Encoding::Json, &value))
}

fn prefix(row: &Resource) -> String {
    let gv = GroupVersion::new(row.group, row.version);
    if row.group.is_empty() { format!("api/{gv}") } else { format!("apis/{gv}") }
}

fn index(resources: &Resources) -> Value {
    let mut paths = Map::new();
    for row in resources.iter() {
        let prefix = prefix(row);
        let version = env!("CARGO_PKG_VERSION");
        paths.insert(prefix.clone(), json!({"serverRelativeURL": format!("/openapi/v3/{prefix}?hash={version}")}));
    }
    json!({"paths": paths})
}

fn group_version(resources: &Resources, wanted: &str) -> Option<Value> {
    let mut paths = Map::new();
    for row in resources.iter().filter(|row| prefix(row) == wanted && row.verbs.contains(&"patch")) {
        let scope = if row.namespaced { "namespaces/{namespace}/" } else { "" };
        let parameters = ["dryRun", "fieldManager", "fieldValidation", "force"]
            .map(|name| json!({"name": name, "in": "query", "schema": {"type": "string"}}));
        let operation = json!({
            "parameters": parameters,
            "responses": {"200": {"description": "OK"}},
            "x-kubernetes-action": "patch",
            "x-kubernetes-group-version-kind": {"group": row.group, "version": row.version, "kind": row.kind},
        });
        paths.insert(format!("/{wanted}/{scope}{}/{{name}}", row.plural), json!({"patch": operation}));
    }
    let found = resources.iter().any(|row| prefix(row) == wanted);
    found.then(|| {
        json!({
            "openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1.36.3"},
            "paths": paths, "components": {"schemas": {}},
        })
    })
}
