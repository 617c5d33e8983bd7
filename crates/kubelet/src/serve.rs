//! The kubelet's HTTPS port: health, the logs of containers, and streams into them. Anyone may connect; every request has to pass
//! [`access`] first.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use auth::tls::Peer;
use bytes::Bytes;
use container::{ContainerState, ExecConfig, Runtime};
use futures::StreamExt;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use jiff::{SignedDuration, Timestamp};
use meta::{ApiError, Object, Reason, format_time};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::access;
use crate::kubelet::Shared;
use crate::logs::{self, LogOptions, StreamFilter};
use crate::pods::Instance;
use crate::stream::Wanted;
use crate::summary::{resource_metrics, summary};
use crate::usage;

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// Serves for as long as it is polled.
pub(crate) async fn run(shared: Arc<Shared>, listener: TcpListener) {
    let acceptor = TlsAcceptor::from(Arc::clone(&shared.config.tls));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(Arc::clone(&shared), acceptor.clone(), stream));
                }
                Err(error) => {
                    tracing::warn!(%error, "accept a connection to the kubelet");
                    // For example out of files: some connection has to end first.
                    let _ = connections.join_next().await;
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

async fn connection(shared: Arc<Shared>, acceptor: TlsAcceptor, stream: TcpStream) {
    let stream = match acceptor.accept(stream).await {
        Ok(stream) => stream,
        Err(error) => return tracing::debug!(%error, "TLS with a client of the kubelet"),
    };
    let peer = match stream.get_ref().1.peer_certificates() {
        Some(chain) => shared.config.peers.peer(chain, shared.config.clock.now()),
        None => Peer::Nobody,
    };
    let service = service_fn(move |request| {
        let (shared, peer) = (Arc::clone(&shared), peer.clone());
        async move { Ok::<_, Infallible>(admit(&shared, &peer, request).await) }
    });
    let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    if let Err(error) = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "serve a client of the kubelet");
    }
}

fn text(status: StatusCode, message: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(message.into()).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

/// A failure as a `Status`, which the API server hands on as it is.
fn refuse(error: &ApiError) -> Response<Body> {
    let status = StatusCode::from_u16(error.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    typed("application/json", text(status, error.to_status().to_value().to_string()))
}

fn typed(media_type: &'static str, mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert("content-type", http::HeaderValue::from_static(media_type));
    response
}

/// Whether the pod has a container of that name.
fn declares(pod: &Object, container: &str) -> bool {
    let value = pod.value();
    let mut lists = ["containers", "initContainers", "ephemeralContainers"].into_iter();
    lists.any(|list| value["spec"][list].as_array().is_some_and(|all| all.iter().any(|one| one["name"] == container)))
}

async fn admit(shared: &Arc<Shared>, peer: &Peer, request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    match access::check(&shared.config.client, &shared.config.node_name, peer, &parts).await {
        Ok(()) => answer(shared, Request::from_parts(parts, body)).await,
        Err((status, why)) => text(status, why),
    }
}

async fn answer(shared: &Arc<Shared>, request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    if let ["containerLogs" | "exec" | "attach" | "portForward", ..] = parts.as_slice() {
        // After a restart of the kubelet its pods are found one by one: none of them is missing, it is only not seen yet.
        shared.pods.complete().await;
    }
    match parts.as_slice() {
        ["healthz"] => text(StatusCode::OK, "ok"),
        ["stats", "summary"] => {
            let value = summary(shared, &usage::take(shared).await);
            typed("application/json", text(StatusCode::OK, value.to_string()))
        }
        ["metrics", "resource"] => {
            let metrics = resource_metrics(&usage::take(shared).await);
            typed("text/plain; version=0.0.4; charset=utf-8", text(StatusCode::OK, metrics))
        }
        ["containerLogs", namespace, pod, container] => {
            let query = request.uri().query().unwrap_or_default();
            let query: BTreeMap<String, String> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
            container_logs(shared, namespace, pod, container, &query)
        }
        [verb @ ("exec" | "attach"), namespace, pod, container] => {
            let (verb, names) = ((*verb).to_owned(), [*namespace, *pod, *container]);
            streams(shared, &verb, names, request)
        }
        ["portForward", namespace, pod] => {
            let (namespace, pod) = ((*namespace).to_owned(), (*pod).to_owned());
            forward(shared, &namespace, &pod, request).unwrap_or_else(|error| refuse(&error))
        }
        _ => text(StatusCode::NOT_FOUND, "404 page not found\n"),
    }
}

/// Connections to ports inside a pod.
fn forward(
    shared: &Shared,
    namespace: &str,
    pod: &str,
    request: Request<Incoming>,
) -> Result<Response<Body>, ApiError> {
    let handle = shared.pods.get(namespace, pod);
    let handle = handle.ok_or_else(|| ApiError::new(Reason::NotFound, "pod does not exist"))?;
    let missing = || ApiError::internal(format!("pod {pod}_{namespace} has no sandbox"));
    let path = handle.netns.as_ref().ok_or_else(missing)?;
    let network = net::Namespace::open(path);
    let network = network.map_err(|error| ApiError::internal(format!("open the network of pod {pod}: {error}")))?;
    let response = crate::port_forward::upgrade(&handle.uid, network, request)?;
    Ok(response.map(|()| Full::new(Bytes::new()).map_err(|never| match never {}).boxed_unsync()))
}

/// A stream into the running instance of a container.
fn streams(
    shared: &Arc<Shared>,
    verb: &str,
    [namespace, pod, container]: [&str; 3],
    request: Request<Incoming>,
) -> Response<Body> {
    let Some(handle) = shared.pods.get(namespace, pod) else {
        return refuse(&ApiError::new(Reason::NotFound, "pod does not exist"));
    };
    let current = handle.containers.get(container).and_then(|known| known.current.clone());
    let Some(current) = current.filter(|current| {
        let status = shared.config.runtime.status(&current.id);
        status.is_some_and(|status| matches!(status.state, ContainerState::Running { .. }))
    }) else {
        // Compat: upstream's code for this is 500.
        return refuse(&ApiError::new(Reason::InternalError, format!("container not found ({container:?})")));
    };
    let query = request.uri().query().unwrap_or_default().to_owned();
    let pairs: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let flag = |name: &str| pairs.iter().any(|(key, value)| key == name && is_true(value));
    let (stdin, stdout, stderr, tty) = (flag("input"), flag("output"), flag("error"), flag("tty"));
    let wanted = if verb == "exec" {
        let command = pairs.iter().filter(|(key, _)| key == "command").map(|(_, value)| value.clone()).collect();
        // A terminal has no standard error of its own.
        let stderr = stderr && !tty;
        Wanted::Exec(ExecConfig { command, tty, stdin, stdout, stderr, ..ExecConfig::default() })
    } else {
        Wanted::Attach { stdin, stdout, stderr: stderr && !tty }
    };
    match crate::stream::upgrade(Arc::clone(&shared.config.runtime), current.id, wanted, request) {
        Ok(response) => response.map(|()| Full::new(Bytes::new()).map_err(|never| match never {}).boxed_unsync()),
        Err(error) => refuse(&error),
    }
}

fn container_logs(
    shared: &Arc<Shared>,
    namespace: &str,
    pod: &str,
    container: &str,
    query: &BTreeMap<String, String>,
) -> Response<Body> {
    let Some(handle) = shared.pods.get(namespace, pod) else {
        return refuse(&ApiError::new(Reason::NotFound, format!("pod {pod:?} does not exist")));
    };
    let known = handle.containers.get(container).cloned();
    if known.is_none() && !declares(&handle.object, container) {
        let message = format!("container {container:?} not found in pod {pod:?}");
        return refuse(&ApiError::new(Reason::NotFound, message));
    }
    let known = known.unwrap_or_default();
    let options = match options(shared, query) {
        Ok(options) => options,
        Err(error) => return refuse(&error),
    };
    let instance = if query.get("previous").is_some_and(|value| is_true(value)) {
        let missing = || format!("previous terminated container {container:?} in pod {pod:?} not found");
        known.previous.ok_or_else(missing)
    } else {
        let status = known.current.as_ref().and_then(|current| shared.config.runtime.status(&current.id));
        // What is made but not started has no log yet: until then it is the log of the instance before it.
        let started = status.is_none_or(|status| status.state != ContainerState::Created);
        let waiting = || {
            let reason = known.waiting.as_ref().map(|(reason, _)| reason.as_str());
            format!("container {container:?} in pod {pod:?} is waiting to start: {}", why_waiting(reason))
        };
        known.current.clone().filter(|_| started).or_else(|| known.previous.clone()).ok_or_else(waiting)
    };
    match instance {
        Ok(instance) => stream(shared, instance, options),
        Err(message) => refuse(&ApiError::bad_request(message)),
    }
}

// Compat: the texts of upstream's kubelet for the most common reasons.
fn why_waiting(reason: Option<&str>) -> &str {
    match reason {
        None => "ContainerCreating",
        Some("ErrImagePull") => "image can't be pulled",
        Some("ImagePullBackOff") => "trying and failing to pull image",
        Some(other) => other,
    }
}

fn is_true(value: &str) -> bool {
    value == "true" || value == "1"
}

fn filter(stream: Option<&str>) -> Result<StreamFilter, ApiError> {
    match stream {
        None | Some("" | "All") => Ok(StreamFilter::All),
        Some("Stdout") => Ok(StreamFilter::Stdout),
        Some("Stderr") => Ok(StreamFilter::Stderr),
        Some(other) => Err(ApiError::bad_request(format!("invalid stream type {other:?}"))),
    }
}

fn options(shared: &Shared, query: &BTreeMap<String, String>) -> Result<LogOptions, ApiError> {
    let number = |name: &str| query.get(name).and_then(|value| value.parse().ok());
    let flag = |name: &str| query.get(name).is_some_and(|value| is_true(value));
    let seconds: Option<u64> = number("sinceSeconds");
    let since = seconds.and_then(|seconds| i64::try_from(seconds).ok()).and_then(|seconds| {
        let since: Option<Timestamp> = shared.config.clock.now().checked_sub(SignedDuration::from_secs(seconds)).ok();
        since.map(format_time)
    });
    Ok(LogOptions {
        follow: flag("follow"),
        tail: number("tailLines"),
        since: since.or_else(|| query.get("sinceTime").cloned()),
        limit_bytes: number("limitBytes"),
        timestamps: flag("timestamps"),
        stream: filter(query.get("stream").map(String::as_str))?,
    })
}

fn stream(shared: &Arc<Shared>, instance: Instance, options: LogOptions) -> Response<Body> {
    let runtime = Arc::clone(&shared.config.runtime);
    let lines = logs::read(instance.log_path, options, async move { ended(&*runtime, &instance.id).await });
    let body = StreamBody::new(lines.map(|line| line.map(Frame::data)));
    let mut response = Response::new(BodyExt::boxed_unsync(body));
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("text/plain"));
    response
}

/// Resolves when a container writes nothing more.
async fn ended(runtime: &dyn Runtime, id: &str) {
    let mut events = runtime.events();
    while runtime.status(id).is_some_and(|status| matches!(status.state, ContainerState::Running { .. })) {
        if let Err(broadcast::error::RecvError::Closed) = events.recv().await {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_named_as_in_the_api() {
        let check = |name: Option<&str>, expected: Result<StreamFilter, &str>| {
            assert_eq!(
                filter(name).as_ref().map_err(|error| error.message.as_str()),
                expected.as_ref().map_err(|text| *text)
            );
        };
        check(None, Ok(StreamFilter::All));
        check(Some("Stderr"), Ok(StreamFilter::Stderr));
        check(Some("stdout"), Err("invalid stream type \"stdout\""));
    }
}
