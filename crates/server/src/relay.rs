//! What a pod's node answers: logs, and streams into containers. Relayed to the kubelet, byte for byte after an upgrade.
//!
//! Redirects are never followed, and a connection that failed to upgrade is closed, not reused.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONNECTION, HOST, UPGRADE};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use meta::{ApiError, Object, Reason, ResourcePath};
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::door::Door;
use crate::query::Query;
use crate::response::Body;

/// Opens connections towards nodes, from the network that they are in.
#[async_trait]
pub trait Dial: Send + Sync + 'static {
    /// A connection to an address.
    async fn dial(&self, address: SocketAddr) -> io::Result<TcpStream>;
}

/// Whether a subresource of pods is the kubelet's to answer.
pub(crate) fn is_relayed(path: &ResourcePath) -> bool {
    let pods = path.gvr.group.is_empty() && path.gvr.resource == "pods";
    pods && matches!(path.subresource.as_deref(), Some("log" | "exec" | "attach" | "portforward"))
}

/// Relays a request about a pod to its kubelet.
pub(crate) async fn relay(
    door: &Door,
    path: &ResourcePath,
    request: Request<Incoming>,
) -> Result<Response<Body>, ApiError> {
    let (namespace, name) = (path.namespace.as_deref().unwrap_or_default(), path.name.as_deref().unwrap_or_default());
    let pod = door.cached("pods", namespace, name)?;
    let query = Query::parse(request.uri().query());
    let subresource = path.subresource.as_deref().unwrap_or_default();
    let target = if subresource == "portforward" {
        format!("/portForward/{namespace}/{name}")
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
    exchange(stream, &target, address, request).await.map_err(|error| unreachable(&error))
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
    let object = door.cached("nodes", "", &node)?.value();
    let addresses = object["status"]["addresses"].as_array().into_iter().flatten();
    let internal =
        addresses.filter(|address| address["type"] == "InternalIP").find_map(|address| address["address"].as_str());
    let address: Option<IpAddr> = internal.and_then(|text| text.parse().ok());
    let port = object.pointer("/status/daemonEndpoints/kubeletEndpoint/Port").and_then(Value::as_u64);
    let port = u16::try_from(port.unwrap_or(10250)).unwrap_or(10250);
    let unknown = || ApiError::new(Reason::ServiceUnavailable, format!("node {node} has no address yet"));
    Ok((node.clone(), SocketAddr::new(address.ok_or_else(unknown)?, port)))
}

async fn exchange(
    stream: tokio_rustls::client::TlsStream<TcpStream>,
    target: &str,
    address: SocketAddr,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the answer's body, or with the streams after an upgrade.
    tokio::spawn(connection.with_upgrades());
    let mut onward = Request::builder().method(request.method().clone()).uri(target).header(HOST, address.to_string());
    let upgrading = request.headers().contains_key(UPGRADE);
    for (name, value) in request.headers() {
        let name_text = name.as_str();
        if upgrading
            && (name == UPGRADE
                || name == CONNECTION
                || name_text.starts_with("sec-websocket")
                || name_text.starts_with("x-stream"))
        {
            onward = onward.header(name, value);
        }
    }
    let mut answer = sender.send_request(onward.body(Empty::<Bytes>::new())?).await?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS && upgrading {
        let (theirs, ours) = (hyper::upgrade::on(&mut answer), hyper::upgrade::on(&mut request));
        tokio::spawn(async move {
            let (Ok(theirs), Ok(ours)) = (theirs.await, ours.await) else { return };
            // Whoever closes first ends both directions.
            let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(theirs), &mut TokioIo::new(ours)).await;
        });
    }
    let (parts, body) = answer.into_parts();
    Ok(Response::from_parts(parts, body.map_err(io::Error::other).boxed_unsync()))
}
