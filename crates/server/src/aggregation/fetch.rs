//! What an aggregated server says of itself: the resources it serves, and their documents.

use std::time::Duration;

use http::header::{ACCEPT, HOST};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Limited};
use serde_json::{Map, Value, json};

use super::forward::{aggregator, connect, identify};
use super::remote::Remote;
use crate::door::Door;
use crate::onward;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes that a document may have.
const LIMIT: usize = 32 << 20;

/// What a server serves.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Learned {
    /// `APIResourceList.resources`.
    pub(crate) resources: Vec<Value>,
    /// Its own part of an OpenAPI document of version 2: `paths` and `definitions`.
    pub(crate) openapi: Value,
    /// Its entry of the index of version 3.
    pub(crate) openapi_index: Map<String, Value>,
}

impl Learned {
    /// Its resources as aggregated discovery has them.
    pub(crate) fn aggregated(&self, remote: &Remote) -> Vec<Value> {
        aggregated(&self.resources, &remote.gv.group, &remote.gv.version)
    }
}

/// Asks a server what it serves; the error is for people.
pub(super) async fn resources(door: &Door, remote: &Remote) -> Result<Vec<Value>, String> {
    let path = remote.prefix();
    let shown = format!("https://{}:{}{path}", remote.service.host(), remote.service.port);
    let failing = |why: String| format!("failing or missing response from {shown}: {why}");
    let list = get(door, remote, &path).await.map_err(|why| match why {
        Failed::Status(code) => failing(format!("bad status from {shown}: {code}")),
        Failed::Other(why) => failing(format!("Get {shown:?}: {why}")),
    })?;
    Ok(list["resources"].as_array().cloned().unwrap_or_default())
}

/// Asks for its documents; one without them is none the worse.
pub(super) async fn documents(door: &Door, remote: &Remote) -> (Value, Map<String, Value>) {
    let prefix = remote.prefix();
    let index = get(door, remote, "/openapi/v3").await.unwrap_or_default();
    let own = index["paths"].as_object().into_iter().flatten();
    let own = own.filter(|(path, _)| prefix.trim_start_matches('/') == path.as_str());
    let index = own.map(|(path, entry)| (path.clone(), entry.clone())).collect();
    let whole = get(door, remote, "/openapi/v2").await.unwrap_or_default();
    let paths = whole["paths"].as_object().into_iter().flatten();
    let of_group = |path: &str| path.strip_prefix(&prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let paths: Map<String, Value> =
        paths.filter(|(path, _)| of_group(path)).map(|(path, item)| (path.clone(), item.clone())).collect();
    if paths.is_empty() {
        return (Value::Null, index);
    }
    (json!({"paths": paths, "definitions": whole["definitions"]}), index)
}

/// Why there is no document.
#[derive(Debug)]
enum Failed {
    Status(u16),
    Other(String),
}

async fn get(door: &Door, remote: &Remote, path: &str) -> Result<Value, Failed> {
    let other = |error: &dyn std::fmt::Display| Failed::Other(error.to_string());
    let exchange = async {
        let mut headers = HeaderMap::new();
        identify(&mut headers, &aggregator());
        let host = format!("{}:{}", remote.service.host(), remote.service.port);
        let mut request = Request::get(path)
            .header(HOST, host)
            .header(ACCEPT, "application/json")
            .body(onward::empty())
            .map_err(|error| other(&error))?;
        request.headers_mut().extend(headers);
        let stream = connect(door, remote).await.map_err(|error| other(&error))?;
        let answer = onward::send(stream, request, None).await.map_err(|error| other(&error))?;
        if !answer.status().is_success() {
            return Err(Failed::Status(answer.status().as_u16()));
        }
        let body = Limited::new(answer.into_body(), LIMIT).collect().await.map_err(|error| other(&error))?;
        Ok(serde_json::from_slice(&body.to_bytes()).unwrap_or_default())
    };
    let within = tokio::time::timeout(PATIENCE, exchange).await;
    within.unwrap_or_else(|_| Err(Failed::Other("context deadline exceeded".to_owned())))
}

/// A list of resources and subresources as a tree of them.
fn aggregated(resources: &[Value], group: &str, version: &str) -> Vec<Value> {
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    let kind = |entry: &Value| {
        let or = |field: &str, other: &str| {
            Some(text(entry, field)).filter(|own| !own.is_empty()).unwrap_or(other.to_owned())
        };
        json!({"group": or("group", group), "version": or("version", version), "kind": text(entry, "kind")})
    };
    let whole = resources.iter().filter(|entry| !text(entry, "name").contains('/'));
    let shown = whole.map(|entry| {
        let name = text(entry, "name");
        let mut shown = json!({
            "resource": name, "responseKind": kind(entry), "singularResource": entry["singularName"],
            "scope": if entry["namespaced"] == true { "Namespaced" } else { "Cluster" }, "verbs": entry["verbs"],
        });
        for field in ["shortNames", "categories"].into_iter().filter(|field| !entry[*field].is_null()) {
            shown[field] = entry[field].clone();
        }
        let beneath = resources.iter().filter_map(|entry| {
            let whole = text(entry, "name");
            let (_, sub) = whole.split_once('/').filter(|(parent, _)| *parent == name)?;
            Some(json!({"subresource": sub, "responseKind": kind(entry), "verbs": entry["verbs"]}))
        });
        let beneath: Vec<Value> = beneath.collect();
        if !beneath.is_empty() {
            shown["subresources"] = beneath.into();
        }
        shown
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_become_trees() {
        let list = [
            json!({"name": "things", "singularName": "thing", "namespaced": true, "kind": "Thing", "verbs": ["get"], "shortNames": ["th"]}),
            json!({"name": "things/scale", "namespaced": true, "kind": "Scale", "group": "autoscaling", "version": "v1", "verbs": ["get"]}),
        ];
        let expected = json!([{
            "resource": "things", "singularResource": "thing", "scope": "Namespaced", "verbs": ["get"], "shortNames": ["th"],
            "responseKind": {"group": "example.com", "version": "v1", "kind": "Thing"},
            "subresources": [{
                "subresource": "scale", "verbs": ["get"],
                "responseKind": {"group": "autoscaling", "version": "v1", "kind": "Scale"},
            }],
        }]);
        assert_eq!(Value::from(aggregated(&list, "example.com", "v1")), expected);
    }
}
