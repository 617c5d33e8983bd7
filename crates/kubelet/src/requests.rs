//! HTTP requests to containers, for probes and hooks. Certificates are not checked: who answers is the pod's own.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};

/// As much of a body is kept.
const MAX_BODY: usize = 10 << 10;
/// Upstream follows so many redirects to the same host.
const MAX_REDIRECTS: usize = 10;

/// A GET request.
#[derive(Clone, Debug)]
pub(crate) struct Get {
    pub(crate) address: SocketAddr,
    pub(crate) tls: bool,
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) agent: String,
}

impl Get {
    fn url(&self) -> String {
        format!("{}://{}{}", if self.tls { "https" } else { "http" }, self.address, self.path)
    }
}

/// Sends the request; gives status and the beginning of the body. The error is a text as Go's client has it.
pub(crate) async fn get(namespace: &net::Namespace, request: &Get, timeout: Duration) -> Result<(u16, String), String> {
    let failed = |why: String| format!("Get \"{}\": {why}", request.url());
    let answer = tokio::time::timeout(timeout, follow(namespace, request)).await;
    answer
        .unwrap_or_else(
            |_| Err("context deadline exceeded (Client.Timeout exceeded while awaiting headers)".to_owned()),
        )
        .map_err(failed)
}

async fn follow(namespace: &net::Namespace, request: &Get) -> Result<(u16, String), String> {
    let mut request = request.clone();
    for _ in 0..MAX_REDIRECTS {
        let (status, location, body) = once(namespace, &request).await?;
        let next = location.filter(|_| (300..400).contains(&status)).and_then(|text| text.parse::<Uri>().ok());
        let Some(next) = next else { return Ok((status, body)) };
        // A redirect to another host counts as success, without being followed.
        if next.host().is_some_and(|host| host != request.address.ip().to_string()) {
            return Ok((status, body));
        }
        if let Some(port) = next.port_u16() {
            request.address.set_port(port);
        }
        request.path = next.path_and_query().map(ToString::to_string).unwrap_or_else(|| "/".to_owned());
    }
    Err("stopped after 10 redirects".to_owned())
}

async fn once(namespace: &net::Namespace, request: &Get) -> Result<(u16, Option<String>, String), String> {
    let dial = |error: std::io::Error| format!("dial tcp {}: connect: {}", request.address, go_text(&error));
    let stream = namespace.connect(request.address).await.map_err(dial)?;
    if request.tls {
        let name = ServerName::IpAddress(request.address.ip().into());
        let connector = tokio_rustls::TlsConnector::from(client::trusting_tls());
        let stream = connector.connect(name, stream).await.map_err(|error| error.to_string())?;
        exchange(stream, request).await
    } else {
        exchange(stream, request).await
    }
}

async fn exchange<S>(stream: S, request: &Get) -> Result<(u16, Option<String>, String), String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let text = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(text)?;
    let mut built = Request::get(request.path.as_str()).header("Host", &request.host);
    let has = |name: &str| request.headers.iter().any(|(header, _)| header.eq_ignore_ascii_case(name));
    if !has("User-Agent") {
        built = built.header("User-Agent", &request.agent);
    }
    if !has("Accept") {
        built = built.header("Accept", "*/*");
    }
    built = built.header("Connection", "close");
    for (name, value) in request.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("host")) {
        built = built.header(name, value);
    }
    let built = built.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    let answer = async {
        let response = sender.send_request(built).await.map_err(text)?;
        let status = response.status().as_u16();
        let location = response.headers().get("Location").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
        let body = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned()).unwrap_or_default();
        Ok((status, location, body))
    };
    tokio::pin!(answer);
    tokio::pin!(connection);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        ended = &mut connection => match ended {
            // The connection may end together with the answer.
            Ok(()) => answer.await,
            Err(error) => Err(error.to_string()),
        },
    }
}

/// The kernel's errors as Go's programs print them.
pub(crate) fn go_text(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        std::io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
        std::io::ErrorKind::HostUnreachable => "no route to host".to_owned(),
        std::io::ErrorKind::NetworkUnreachable => "network is unreachable".to_owned(),
        std::io::ErrorKind::ConnectionReset => "connection reset by peer".to_owned(),
        _ => error.to_string(),
    }
}
