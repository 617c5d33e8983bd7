//! Calling a webhook: its address, TLS, one POST. Redirects are never followed.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rand::seq::IndexedRandom;
use registry::Reader;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::fields::{items, text};

/// Bytes that an answer may have.
const LIMIT: usize = 3 << 20;

/// Opens connections from the network that the API server is in.
#[async_trait]
pub trait Dial: Send + Sync + 'static {
    /// A connection to an address.
    async fn dial(&self, address: SocketAddr) -> io::Result<TcpStream>;

    /// The addresses of a name.
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

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
            return endpoints(&config["service"], port, reader);
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
        let tls = TlsConnector::from(Arc::new(trust(text(config, "/caBundle"))?));
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
        let host = format!("{}.{}.svc", text(service, "/name"), text(service, "/namespace"));
        let port = service["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(443);
        let path = text(service, "/path");
        let slash = if path.starts_with('/') { "" } else { "/" };
        return Ok((host, port, format!("{slash}{path}")));
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

/// The ready endpoints of a service's port: dialled directly, so that no proxy's rules need to have come yet.
fn endpoints(reference: &Value, port: u16, reader: &dyn Reader) -> Result<Vec<SocketAddr>, String> {
    let (namespace, name) = (text(reference, "/namespace"), text(reference, "/name"));
    let service = reader.get("", "services", namespace, name).ok_or_else(|| format!("service {name:?} not found"))?;
    let service = service.value();
    let wanted = items(&service, "/spec/ports").find(|own| own["port"] == port);
    let wanted = wanted.ok_or_else(|| format!("no service port {port} found for service {name:?}"))?;
    let port_name = text(wanted, "/name");
    let mut found = Vec::new();
    for slice in reader.list("discovery.k8s.io", "endpointslices", namespace) {
        if slice.metadata.labels.get("kubernetes.io/service-name").map(String::as_str) != Some(name) {
            continue;
        }
        let slice = slice.value();
        let port =
            items(&slice, "/ports").find(|own| text(own, "/name") == port_name).and_then(|own| own["port"].as_u64());
        let Some(port) = port.and_then(|port| u16::try_from(port).ok()) else { continue };
        let ready = items(&slice, "/endpoints").filter(|endpoint| endpoint["conditions"]["ready"] != false);
        let addresses = ready.flat_map(|endpoint| items(endpoint, "/addresses")).filter_map(Value::as_str);
        found.extend(addresses.filter_map(|address| Some(SocketAddr::new(address.parse().ok()?, port))));
    }
    if found.is_empty() { Err(format!("no endpoints available for service {name:?}")) } else { Ok(found) }
}

/// TLS that trusts only this authority, base64 of PEM.
fn trust(authority: &str) -> Result<ClientConfig, String> {
    let pem = STANDARD.decode(authority).map_err(|error| format!("decode the caBundle: {error}"))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| format!("read the caBundle: {error}"))?;
        roots.add(certificate).map_err(|error| format!("trust the caBundle: {error}"))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(config.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth())
}
