//! `metrics.k8s.io`: what nodes and pods use now. Nothing of it is stored: each question is put to the nodes' kubelets.
//!
//! Whoever registers an APIService for the group with a service of its own answers in our place.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::join_all;
use http::header::HOST;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use meta::{ApiError, Gvr, Object, Quantity, ResourcePath, Verb};
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio_rustls::TlsConnector;

use crate::door::Door;
use crate::negotiate::Encoding;
use crate::onward;
use crate::query::Query;
use crate::relay::kubelet_address;
use crate::response::{Body, document};

/// The group.
pub(crate) const GROUP: &str = "metrics.k8s.io";
/// Its version.
pub(crate) const VERSION: &str = "v1beta1";

/// What the group has: plural, kind, and whether it lies in namespaces.
const RESOURCES: [(&str, &str, bool); 2] = [("nodes", "NodeMetrics", false), ("pods", "PodMetrics", true)];

/// Whether a path is one of the group's.
pub(crate) fn is_metrics(path: &ResourcePath) -> bool {
    path.gvr.group == GROUP && path.gvr.version == VERSION
}

/// The verb of a request; the group can only be read.
pub(crate) fn verb(method: &Method, path: &ResourcePath) -> Result<Verb, ApiError> {
    match (method, &path.name) {
        (&Method::GET, Some(_)) => Ok(Verb::Get),
        (&Method::GET, None) => Ok(Verb::List),
        _ => Err(ApiError::method_not_supported(&path.gvr, &method.as_str().to_ascii_lowercase())),
    }
}

/// The group's resources as a list of discovery has them.
pub(crate) fn resources() -> Vec<Value> {
    let one = |(plural, kind, namespaced): &(&str, &str, bool)| json!({"name": plural, "singularName": "", "namespaced": namespaced, "kind": kind, "verbs": ["get", "list"]});
    RESOURCES.iter().map(one).collect()
}

/// The same in aggregated discovery.
pub(crate) fn aggregated_resources() -> Vec<Value> {
    let one = |(plural, kind, namespaced): &(&str, &str, bool)| {
        json!({
            "resource": plural, "singularResource": "", "verbs": ["get", "list"],
            "responseKind": {"group": GROUP, "version": VERSION, "kind": kind},
            "scope": if *namespaced { "Namespaced" } else { "Cluster" },
        })
    };
    RESOURCES.iter().map(one).collect()
}

/// Answers a request.
pub(crate) async fn answer(
    door: &Door,
    path: &ResourcePath,
    request: &Request<Incoming>,
) -> Result<Response<Body>, ApiError> {
    let (_, kind, _) =
        RESOURCES.iter().find(|(plural, ..)| *plural == path.gvr.resource).ok_or_else(ApiError::no_such_resource)?;
    let selected = Query::parse(request.uri().query()).list()?;
    let objects = objects(door, path)?;
    let wanted = |object: &Arc<Object>| {
        path.name.as_ref().is_none_or(|name| object.metadata.name == *name)
            && selected.labels.matches(&object.metadata.labels)
            && selected.fields.matches(object)
    };
    let objects: Vec<_> = objects.into_iter().filter(wanted).collect();
    let usages = usages(door, &objects).await;
    let measured =
        |object: &Arc<Object>| if *kind == "NodeMetrics" { node(object, &usages) } else { pod(object, &usages) };
    let mut items: Vec<Value> = objects.iter().filter_map(measured).collect();
    let value = if let Some(name) = &path.name {
        let mut one = items.pop().ok_or_else(|| ApiError::not_found(&path.gvr, name))?;
        one["kind"] = json!(kind);
        one["apiVersion"] = json!(format!("{GROUP}/{VERSION}"));
        one
    } else {
        json!({"kind": format!("{kind}List"), "apiVersion": format!("{GROUP}/{VERSION}"), "metadata": {}, "items": items})
    };
    Ok(document(StatusCode::OK, Encoding::Json, &value))
}

fn objects(door: &Door, path: &ResourcePath) -> Result<Vec<Arc<Object>>, ApiError> {
    let gvr = Gvr::new("", "v1", path.gvr.resource.as_str());
    let snapshot = door.config.registry.snapshot(&gvr).ok_or_else(ApiError::no_such_resource)?;
    Ok(match path.namespace.as_deref() {
        Some(namespace) => snapshot.in_namespace(namespace),
        None => snapshot.iter().cloned().collect(),
    })
}

/// What the kubelets of these nodes, or of these pods' nodes, say; of one that cannot be reached, nothing.
async fn usages(door: &Door, objects: &[Arc<Object>]) -> BTreeMap<String, Value> {
    let name = |object: &Arc<Object>| {
        let value = object.value();
        let node = value["spec"]["nodeName"].as_str().map(str::to_owned);
        if object.metadata.namespace.is_empty() { Some(object.metadata.name.clone()) } else { node }
    };
    let mut nodes: Vec<String> = objects.iter().filter_map(name).collect();
    nodes.sort();
    nodes.dedup();
    let answers = nodes.into_iter().map(async |node| match summary(door, &node).await {
        Ok(summary) => Some((node, summary)),
        Err(error) => {
            tracing::debug!(%node, %error, "ask a node for what it uses");
            None
        }
    });
    join_all(answers).await.into_iter().flatten().collect()
}

async fn summary(door: &Door, node: &str) -> Result<Value, onward::Failure> {
    let address = kubelet_address(door, node).map_err(|error| error.to_string())?;
    let stream = door.config.dial.dial(address).await?;
    let connector = TlsConnector::from(Arc::clone(&door.config.kubelet_tls));
    let stream = connector.connect(ServerName::IpAddress(address.ip().into()), stream).await?;
    let request = Request::get("/stats/summary").header(HOST, address.to_string()).body(onward::empty())?;
    let answer = onward::send(Box::new(stream), request, None).await?;
    let body = answer.into_body().collect().await?.to_bytes();
    Ok(serde_json::from_slice(&body)?)
}

fn amounts(usage: &Value) -> Value {
    let cpu = usage["cpu"]["usageNanoCores"].as_u64().unwrap_or_default();
    let memory = usage["memory"]["workingSetBytes"].as_u64().unwrap_or_default();
    let memory = Quantity::bytes(i64::try_from(memory >> 10 << 10).unwrap_or(i64::MAX));
    json!({"cpu": format!("{cpu}n"), "memory": memory.to_string()})
}

fn metrics(object: &Object, summary: &Value) -> Value {
    let metadata = &object.metadata;
    let mut own = json!({"name": metadata.name, "creationTimestamp": summary["node"]["cpu"]["time"]});
    if !metadata.namespace.is_empty() {
        own["namespace"] = json!(metadata.namespace);
    }
    if !metadata.labels.is_empty() {
        own["labels"] = json!(metadata.labels);
    }
    let window = format!("{:.3}s", summary["window"].as_f64().unwrap_or_default());
    json!({"metadata": own, "timestamp": summary["node"]["cpu"]["time"], "window": window})
}

fn node(object: &Arc<Object>, summaries: &BTreeMap<String, Value>) -> Option<Value> {
    let summary = summaries.get(&object.metadata.name)?;
    let mut metrics = metrics(object, summary);
    metrics["usage"] = amounts(&summary["node"]);
    Some(metrics)
}

fn pod(object: &Arc<Object>, summaries: &BTreeMap<String, Value>) -> Option<Value> {
    let value = object.value();
    let summary = summaries.get(value["spec"]["nodeName"].as_str()?)?;
    let own = summary["pods"].as_array()?.iter().find(|pod| pod["podRef"]["uid"] == object.metadata.uid.as_str())?;
    let containers = own["containers"].as_array().filter(|containers| !containers.is_empty())?;
    let usage = |container: &Value| json!({"name": container["name"], "usage": amounts(container)});
    let mut metrics = metrics(object, summary);
    metrics["containers"] = containers.iter().map(usage).collect();
    Some(metrics)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_as_quantities() {
        let usage = json!({"cpu": {"usageNanoCores": 1_500_000}, "memory": {"workingSetBytes": (5 << 20) + 7}});
        assert_eq!(amounts(&usage), json!({"cpu": "1500000n", "memory": "5Mi"}));
    }
}
