//! What a pod's node answers: logs, and streams into containers. Relayed to the kubelet, byte for byte after an upgrade.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::header::{CONNECTION, HOST, UPGRADE};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use meta::{ApiError, Object, Reason, ResourcePath};
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio_rustls::TlsConnector;

use crate::door::Door;
use crate::query::Query;
use crate::response::Body;
use crate::{log_socket, onward};

/// Whether a subresource of pods is the kubelet's to answer.
pub(crate) fn is_relayed(path: &ResourcePath) -> bool {
    let pods = path.gvr.group.is_empty() && path.gvr.resource == "pods";
    pods && matches!(path.subresource.as_deref(), Some("log" | "exec" | "attach" | "portforward"))
}

/// Relays a request about a pod to its kubelet.
pub(crate) async fn relay(
    door: &Door,
    path: &ResourcePath,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, ApiError> {
    let (namespace, name) = (path.namespace.as_deref().unwrap_or_default(), path.name.as_deref().unwrap_or_default());
    let pod = door.cached("pods", namespace, name)?;
    let query = Query::parse(request.uri().query());
    let subresource = path.subresource.as_deref().unwrap_or_default();
    let target = if subresource == "portforward" {
        format!("/portForward/{namespace}/{name}?{}", port_query(&query))
    } else {
        let container = container(&pod, &query)?;
        match subresource {
            "log" => format!("/containerLogs/{namespace}/{name}/{container}?{}", log_query(&query)),
            verb => format!("/{verb}/{namespace}/{name}/{container}?{}", stream_query(&query)),
        }
    };
    let (node, address) = kubelet(door, &pod)?;
    let unreachable = |error: &dyn std::fmt::Display| {
        ApiError::internal(format!("error dialing the kubelet of node {node} at {address}: {error}"))
    };
    let stream = door.config.dial.dial(address).await.map_err(|error| unreachable(&error))?;
    let connector = TlsConnector::from(Arc::clone(&door.config.kubelet_tls));
    let server = ServerName::IpAddress(address.ip().into());
    let stream = connector.connect(server, stream).await.map_err(|error| unreachable(&error))?;
    let socket = subresource == "log" && log_socket::is_wanted(request.headers());
    let upgrading = !socket && request.headers().contains_key(UPGRADE);
    let onward = onward_request(&request, &target, address, upgrading).map_err(|error| unreachable(&error))?;
    let upgrade = hyper::upgrade::on(&mut request);
    if socket {
        let answer = onward::send(Box::new(stream), onward, None).await.map_err(|error| unreachable(&error))?;
        let fine = answer.status() == StatusCode::OK;
        return if fine { log_socket::answer(request.headers(), upgrade, answer.into_body()) } else { Ok(answer) };
    }
    let ours = upgrading.then_some(upgrade);
    onward::send(Box::new(stream), onward, ours).await.map_err(|error| unreachable(&error))
}

fn onward_request(
    request: &Request<Incoming>,
    target: &str,
    address: SocketAddr,
    upgrading: bool,
) -> Result<Request<Body>, http::Error> {
    let mut onward = Request::builder().method(request.method().clone()).uri(target).header(HOST, address.to_string());
    for (name, value) in request.headers() {
        let text = name.as_str();
        let streams = text.starts_with("sec-websocket") || text.starts_with("x-stream");
        if upgrading && (name == UPGRADE || name == CONNECTION || streams) {
            onward = onward.header(name, value);
        }
    }
    onward.body(onward::empty())
}

/// What a client asks of a stream, as admission sees it; `None` for what is only read.
pub(crate) fn options(path: &ResourcePath, query: Option<&str>) -> Option<Value> {
    let kind = match path.subresource.as_deref()? {
        "exec" => "PodExecOptions",
        "attach" => "PodAttachOptions",
        "portforward" => "PodPortForwardOptions",
        _ => return None,
    };
    let query = Query::parse(query);
    let mut options = serde_json::json!({"kind": kind, "apiVersion": "v1"});
    for name in ["stdin", "stdout", "stderr", "tty"].into_iter().filter(|name| query.flag(name)) {
        options[name] = Value::Bool(true);
    }
    if let Some(container) = query.get("container") {
        options["container"] = container.into();
    }
    let command: Vec<&str> = query.all("command").collect();
    if !command.is_empty() {
        options["command"] = command.into();
    }
    Some(options)
}

fn log_query(query: &Query) -> String {
    const NAMES: [&str; 8] =
        ["follow", "previous", "sinceSeconds", "sinceTime", "timestamps", "tailLines", "limitBytes", "stream"];
    let mut text = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in NAMES.iter().filter_map(|name| Some((name, query.get(name)?))) {
        text.append_pair(name, value);
    }
    text.finish()
}

// Compat: the kubelet's word is `port`.
fn port_query(query: &Query) -> String {
    let mut text = url::form_urlencoded::Serializer::new(String::new());
    for ports in query.all("ports") {
        text.append_pair("port", ports);
    }
    text.finish()
}

// Compat: the kubelet's names of the streams differ from the API's.
fn stream_query(query: &Query) -> String {
    let mut text = url::form_urlencoded::Serializer::new(String::new());
    for command in query.all("command") {
        text.append_pair("command", command);
    }
    for (own, kubelet) in [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")] {
        if query.flag(own) {
            text.append_pair(kubelet, "1");
        }
    }
    text.finish()
}

/// The container that a request is about: the one it names, or the only one there is.
fn container(pod: &Object, query: &Query) -> Result<String, ApiError> {
    let value = pod.value();
    let name = &pod.metadata.name;
    let names = |list: &str| -> Vec<String> {
        let items = value["spec"][list].as_array().into_iter().flatten();
        items.filter_map(|item| item["name"].as_str().map(str::to_owned)).collect()
    };
    let all = ["initContainers", "containers", "ephemeralContainers"].map(names);
    if let Some(wanted) = query.get("container").filter(|wanted| !wanted.is_empty()) {
        let known = all.iter().flatten().any(|known| known == wanted);
        let unknown = || ApiError::bad_request(format!("container {wanted} is not valid for pod {name}"));
        return known.then(|| wanted.to_owned()).ok_or_else(unknown);
    }
    match all[1].as_slice() {
        [only] => Ok(only.clone()),
        several => {
            let default = &value["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"];
            if let Some(chosen) = default.as_str().filter(|chosen| several.iter().any(|known| known == chosen)) {
                return Ok(chosen.to_owned());
            }
            let init = if all[0].is_empty() {
                String::new()
            } else {
                format!(" or one of the init containers: [{}]", all[0].join(" "))
            };
            let text = format!(
                "a container name must be specified for pod {name}, choose one of: [{}]{init}",
                several.join(" ")
            );
            Err(ApiError::bad_request(text))
        }
    }
}

/// The address of the kubelet that has the pod.
fn kubelet(door: &Door, pod: &Object) -> Result<(String, SocketAddr), ApiError> {
    let value = pod.value();
    let node = value["spec"]["nodeName"].as_str().unwrap_or_default().to_owned();
    if node.is_empty() {
        let text = format!("pod {} does not have a host assigned", pod.metadata.name);
        return Err(ApiError::bad_request(text));
    }
    let address = kubelet_address(door, &node)?;
    Ok((node, address))
}

/// The address of a node's kubelet.
pub(crate) fn kubelet_address(door: &Door, node: &str) -> Result<SocketAddr, ApiError> {
    let object = door.cached("nodes", "", node)?.value();
    let addresses = object["status"]["addresses"].as_array().into_iter().flatten();
    let internal =
        addresses.filter(|address| address["type"] == "InternalIP").find_map(|address| address["address"].as_str());
    let address: Option<IpAddr> = internal.and_then(|text| text.parse().ok());
    let port = object.pointer("/status/daemonEndpoints/kubeletEndpoint/Port").and_then(Value::as_u64);
    let port = u16::try_from(port.unwrap_or(10250)).unwrap_or(10250);
    let unknown = || ApiError::new(Reason::ServiceUnavailable, format!("node {node} has no address yet"));
    Ok(SocketAddr::new(address.ok_or_else(unknown)?, port))
}
