//! Calling a webhook: its address, TLS, one POST. Redirects are never followed.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rand::seq::IndexedRandom;
use registry::Reader;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio_rustls::TlsConnector;

use crate::fields::text;
use crate::reach::{Dial, ServicePort, trusting};

/// Bytes that an answer may have.
const LIMIT: usize = 3 << 20;

/// Calls webhooks.
#[derive(Clone)]
pub struct Caller {
    dial: Arc<dyn Dial>,
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Caller")
    }
}

/// Where a webhook is.
struct Target {
    /// What certificates name.
    host: String,
    port: u16,
    path: String,
    addresses: Vec<SocketAddr>,
}

impl Caller {
    /// One that connects so.
    pub fn new(dial: Arc<dyn Dial>) -> Self {
        Self { dial }
    }

    /// Posts a review to a `clientConfig`, and answers what comes back; the error is for people.
    pub(crate) async fn post(
        &self,
        config: &Value,
        review: &Value,
        timeout: Duration,
        reader: &dyn Reader,
    ) -> Result<Value, String> {
        let seconds = timeout.as_secs();
        let (host, port, path) = place(config)?;
        let shown = format!("https://{host}:{port}{path}?timeout={seconds}s");
        let shown =
            if config["url"].is_string() { format!("{}?timeout={seconds}s", text(config, "/url")) } else { shown };
        let call = async {
            let addresses = self.addresses(config, &host, port, reader).await?;
            let target = Target { host, port, path: format!("{path}?timeout={seconds}s"), addresses };
            self.exchange(&target, config, review).await
        };
        match tokio::time::timeout(timeout, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(why)) => Err(format!("Post {shown:?}: {why}")),
            Err(_) => Err(format!("Post {shown:?}: context deadline exceeded")),
        }
    }

    async fn addresses(
        &self,
        config: &Value,
        host: &str,
        port: u16,
        reader: &dyn Reader,
    ) -> Result<Vec<SocketAddr>, String> {
        if config["service"].is_object() {
            return ServicePort::read(&config["service"]).addresses(&*self.dial, reader).await;
        }
        if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let found = self.dial.resolve(host, port).await;
        found.map_err(|error| format!("dial tcp: lookup {host}: {error}"))
    }

    async fn exchange(&self, target: &Target, config: &Value, review: &Value) -> Result<Value, String> {
        let address = target.addresses.choose(&mut rand::rng()).ok_or("no address")?;
        let stream = self.dial.dial(*address).await.map_err(|error| format!("dial tcp {address}: {error}"))?;
        let tls = TlsConnector::from(Arc::new(trusting(text(config, "/caBundle"))?.with_no_client_auth()));
        let name =
            ServerName::try_from(target.host.trim_matches(['[', ']']).to_owned()).map_err(|error| error.to_string())?;
        let stream = tls.connect(name, stream).await.map_err(|error| format!("tls: {error}"))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        let body = serde_json::to_vec(review).map_err(|error| error.to_string())?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(&target.path)
            .header(http::header::HOST, format!("{}:{}", target.host, target.port))
            .header(http::header::CONTENT_TYPE, "application/json")
            .header(http::header::ACCEPT, "application/json, */*")
            .header(http::header::USER_AGENT, "kube-apiserver-admission")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| error.to_string())?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
            let status = response.status();
            let body = Limited::new(response.into_body(), LIMIT).collect().await.map_err(|error| error.to_string())?;
            Ok::<_, String>((status, body.to_bytes()))
        };
        let (status, body) = tokio::select! {
            answer = answer => answer?,
            // The connection only ends first when it breaks.
            ended = connection => return Err(ended.err().map_or_else(|| "EOF".to_owned(), |error| error.to_string())),
        };
        if status != StatusCode::OK {
            let why = String::from_utf8_lossy(&body[..body.len().min(256)]).trim().to_owned();
            return Err(if why.is_empty() { format!("the server answered {status}") } else { why });
        }
        serde_json::from_slice(&body).map_err(|error| format!("decode the answer: {error}"))
    }
}

/// Host, port and path of a `clientConfig`.
fn place(config: &Value) -> Result<(String, u16, String), String> {
    let service = &config["service"];
    if service.is_object() {
        let port = ServicePort::read(service);
        let path = text(service, "/path");
        let slash = if path.starts_with('/') { "" } else { "/" };
        return Ok((port.host(), port.port, format!("{slash}{path}")));
    }
    let rest = text(config, "/url").strip_prefix("https://").ok_or("the URL's scheme is not https")?;
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let (host, port) = match authority.rsplit_once(':').filter(|(_, port)| !port.contains(']')) {
        Some((host, port)) => (host, port.parse().map_err(|_| "the URL's port is no number".to_owned())?),
        None => (authority, 443),
    };
    let path = if path.is_empty() { "/" } else { path };
    Ok((host.to_owned(), port, path.to_owned()))
}
