//! `proxy` of pods, services and nodes: a request goes on to them, and their answer comes back with links that lead through
//! the proxy again.

mod links;
mod location;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::read::{DeflateDecoder, GzDecoder};
use flate2::write::{DeflateEncoder, GzEncoder};
use http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderValue, LOCATION, TRANSFER_ENCODING,
};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use meta::{ApiError, Reason, ResourcePath, Verb};
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use self::links::Links;
use self::location::{Location, Security, locate, unreachable};
use crate::door::Door;
use crate::onward::{self, Connection};
use crate::response::{self, Body};

/// How long a backend has to take the connection.
const DIAL: Duration = Duration::from_secs(30);

/// A page larger than this comes with the links that it has.
const PAGE: usize = 16 << 20;

/// The client's address, as an extension of its requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client(pub(crate) SocketAddr);

/// Whether a path is a proxy's.
pub(crate) fn is_proxied(path: &ResourcePath) -> bool {
    let proxied = matches!(path.gvr.resource.as_str(), "pods" | "services" | "nodes");
    path.gvr.group.is_empty() && proxied && path.subresource.as_deref() == Some("proxy")
}

/// The verb that a method of a proxied request needs.
pub(crate) fn verb(method: &Method) -> Result<Verb, ApiError> {
    match *method {
        Method::GET | Method::HEAD | Method::OPTIONS => Ok(Verb::Get),
        Method::POST => Ok(Verb::Create),
        Method::PUT => Ok(Verb::Update),
        Method::PATCH => Ok(Verb::Patch),
        Method::DELETE => Ok(Verb::Delete),
        _ => {
            let text = "the server does not allow this method on the requested resource";
            Err(ApiError::new(Reason::MethodNotAllowed, text))
        }
    }
}

/// Sends a request on, and brings back its answer.
pub(crate) async fn proxy(
    door: &Door,
    path: &ResourcePath,
    request: Request<Incoming>,
) -> Result<Response<Body>, ApiError> {
    let (namespace, id) = (path.namespace.as_deref().unwrap_or_default(), path.name.as_deref().unwrap_or_default());
    let location = locate(door, &path.gvr.resource, namespace, id)?;
    let (prefix, rest) = split(request.uri().path(), path.namespace.is_some());
    let (prefix, rest) = (prefix.to_owned(), rest.to_owned());
    let upgrading = onward::is_upgrade(request.headers());
    if rest.is_empty() && !upgrading && matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(to_root(&prefix, request.uri().query()));
    }
    let (host, asked) = (host(&request), request.method().clone());
    let mut answer = send(door, location, request, &prefix, &rest).await?;
    let backend = location.address.to_string();
    let links = Links { prefix: &prefix, backend: &backend, host: &host };
    if let Some(target) = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok()) {
        if let Some(Ok(new)) = links.rewrite(target).map(|new| HeaderValue::from_str(&new)) {
            answer.headers_mut().insert(LOCATION, new);
        }
        return Ok(answer);
    }
    if asked == Method::HEAD || !is_page(answer.headers()) {
        return Ok(answer);
    }
    rewritten(answer, &links).await
}

/// Compat: a proxy's root is a folder, or relative links of its page would lead astray.
fn to_root(prefix: &str, query: Option<&str>) -> Response<Body> {
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let mut response = response::whole(StatusCode::MOVED_PERMANENTLY, "text/plain", Bytes::new());
    response.headers_mut().remove(CONTENT_TYPE);
    if let Ok(value) = HeaderValue::from_str(&format!("{prefix}/{query}")) {
        response.headers_mut().insert(LOCATION, value);
    }
    response
}

/// The path up to `proxy`, and what follows it, as they were sent.
fn split(path: &str, namespaced: bool) -> (&str, &str) {
    // "/api/v1/namespaces/NS/pods/NAME/proxy" and "/api/v1/nodes/NAME/proxy".
    let parts = if namespaced { 7 } else { 5 };
    let end = path.match_indices('/').nth(parts).map_or(path.len(), |(at, _)| at);
    path.split_at(end)
}

fn host(request: &Request<Incoming>) -> String {
    let header = request.headers().get(HOST).and_then(|value| value.to_str().ok());
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    header.or(authority).unwrap_or_default().to_owned()
}

async fn send(
    door: &Door,
    location: Location,
    mut request: Request<Incoming>,
    prefix: &str,
    rest: &str,
) -> Result<Response<Body>, ApiError> {
    let upgrading = onward::is_upgrade(request.headers());
    let ours = upgrading.then(|| hyper::upgrade::on(&mut request));
    let host = host(&request);
    let client = request.extensions().get::<Client>().copied();
    let (parts, body) = request.into_parts();
    let rest = if rest.is_empty() { "/" } else { rest };
    let query = parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let body = if upgrading { onward::empty() } else { body.map_err(std::io::Error::other).boxed_unsync() };
    let mut onward = Request::builder().method(parts.method).uri(format!("{rest}{query}"));
    if let Some(headers) = onward.headers_mut() {
        *headers = headers_on(parts.headers, &host, &format!("{prefix}{rest}"), client, upgrading);
    }
    let onward = onward.body(body).map_err(|error| unreachable(&error.to_string()))?;
    let stream = connect(door, location).await.map_err(|error| unreachable(&error))?;
    let mut answer = onward::send(stream, onward, ours).await.map_err(|error| unreachable(&error.to_string()))?;
    let status = answer.status();
    if upgrading && status != StatusCode::SWITCHING_PROTOCOLS && status.as_u16() < 400 {
        return Err(ApiError::internal(format!("invalid upgrade response: status code {}", status.as_u16())));
    }
    onward::drop_hop_by_hop(answer.headers_mut(), status == StatusCode::SWITCHING_PROTOCOLS);
    Ok(answer)
}

/// The headers that go on: without credentials, with where the request came from.
pub(crate) fn headers_on(
    mut headers: HeaderMap,
    host: &str,
    uri: &str,
    client: Option<Client>,
    upgrading: bool,
) -> HeaderMap {
    onward::drop_hop_by_hop(&mut headers, upgrading);
    headers.remove(AUTHORIZATION);
    let secret: Vec<_> = headers.keys().filter(|name| name.as_str().starts_with("impersonate-")).cloned().collect();
    for name in secret {
        headers.remove(name);
    }
    let before = headers.get("x-forwarded-for").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let from = client.map(|Client(address)| address.ip().to_canonical().to_string());
    let chain: Vec<String> = before.into_iter().chain(from).collect();
    for (name, value) in [("x-forwarded-for", chain.join(", ")), ("x-forwarded-uri", uri.to_owned())] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    if let Ok(value) = HeaderValue::from_str(host) {
        headers.insert(HOST, value);
    }
    headers
}

async fn connect(door: &Door, location: Location) -> Result<Box<dyn Connection>, String> {
    let address = location.address;
    let failed = |error: &dyn std::fmt::Display| format!("dial tcp {address}: {error}");
    let stream = tokio::time::timeout(DIAL, door.config.dial.dial(address)).await;
    let stream = stream.map_err(|_| failed(&"i/o timeout"))?.map_err(|error| failed(&go_text(&error)))?;
    let tls = match location.security {
        Security::Plain => return Ok(Box::new(stream)),
        Security::Trusting => client::trusting_tls(),
        Security::Kubelet => Arc::clone(&door.config.kubelet_tls),
    };
    let server = ServerName::IpAddress(address.ip().into());
    let stream = TlsConnector::from(tls).connect(server, stream).await.map_err(|error| failed(&error))?;
    Ok(Box::new(stream))
}

/// The kernel's errors in upstream's words.
pub(crate) fn go_text(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        std::io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        std::io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        std::io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
        _ => error.to_string(),
    }
}

fn is_page(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
    let media_type = text(CONTENT_TYPE).split(';').next().unwrap_or_default().trim();
    media_type == "text/html" && matches!(text(CONTENT_ENCODING), "" | "gzip" | "deflate")
}

/// The page with its links rewritten.
async fn rewritten(answer: Response<Body>, links: &Links<'_>) -> Result<Response<Body>, ApiError> {
    let (mut parts, body) = answer.into_parts();
    let page = Limited::new(body, PAGE).collect().await.map_err(|error| unreachable(&error.to_string()))?.to_bytes();
    let encoding = parts.headers.get(CONTENT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let new = recoded(&page, encoding, links).unwrap_or(page);
    parts.headers.remove(TRANSFER_ENCODING);
    parts.headers.insert(CONTENT_LENGTH, new.len().into());
    Ok(Response::from_parts(parts, Full::new(new).map_err(|never| match never {}).boxed_unsync()))
}

/// `None` for a page that can't be read; it goes on as it is.
fn recoded(page: &[u8], encoding: &str, links: &Links<'_>) -> Option<Bytes> {
    let limit = PAGE as u64;
    let mut html = String::new();
    match encoding {
        "gzip" => GzDecoder::new(page).take(limit).read_to_string(&mut html).ok()?,
        "deflate" => DeflateDecoder::new(page).take(limit).read_to_string(&mut html).ok()?,
        _ => {
            html.push_str(std::str::from_utf8(page).ok()?);
            html.len()
        }
    };
    let html = links.page(&html).into_bytes();
    let encoded = match encoding {
        "gzip" => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&html).and_then(|()| encoder.finish()).ok()?
        }
        "deflate" => {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&html).and_then(|()| encoder.finish()).ok()?
        }
        _ => html,
    };
    Some(encoded.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_a_proxy_is_kept_as_it_was_sent() {
        let check = |path: &str, namespaced: bool, rest: &str| assert_eq!(split(path, namespaced).1, rest, "{path}");
        check("/api/v1/namespaces/a/pods/b:80/proxy", true, "");
        check("/api/v1/namespaces/a/pods/b:80/proxy/", true, "/");
        check("/api/v1/namespaces/a/pods/b:80/proxy/x%2Fy//z/", true, "/x%2Fy//z/");
        check("/api/v1/nodes/b/proxy/logs/", false, "/logs/");
    }

    #[test]
    fn credentials_stay_behind() {
        let mut headers = HeaderMap::new();
        for name in ["authorization", "impersonate-user", "accept", "x-forwarded-for"] {
            headers.insert(name, HeaderValue::from_static("a"));
        }
        let client = Client("10.0.0.9:1".parse().expect("an address"));
        let headers = headers_on(headers, "api", "/p/proxy/x", Some(client), false);
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        assert_eq!((text("authorization"), text("impersonate-user"), text("accept")), (None, None, Some("a")));
        assert_eq!((text("x-forwarded-for"), text("x-forwarded-uri")), (Some("a, 10.0.0.9"), Some("/p/proxy/x")));
        assert_eq!(text("host"), Some("api"));
    }

    #[test]
    fn packed_pages_are_rewritten_too() {
        let links = Links { prefix: "/p", backend: "b", host: "h" };
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(b"<a href='/x'>").expect("memory takes it");
        let packed = encoder.finish().expect("memory takes it");
        let new = recoded(&packed, "gzip", &links).expect("a page");
        let mut html = String::new();
        GzDecoder::new(&new[..]).read_to_string(&mut html).expect("a page");
        assert_eq!(html, "<a href='/p/x'>");
    }
}
