//! The measuring client: plain HTTP/1.1 over TLS to any Kubernetes API, so that a figure holds nothing of a client
//! library.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::access::{self, Access};

/// No call and no wait of a measurement takes longer.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A runtime of one thread: it stays in the namespace of the thread that makes it.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")
}

/// Whether the API at an address says that it is ready.
pub(crate) async fn ready(address: &str) -> bool {
    let access = Access { address: address.to_owned(), tls: Arc::new(access::anonymous()), token: None };
    let Ok(mut api) = Api::connect(&access).await else { return false };
    let answer = api.send(Method::GET, "/readyz", None).await;
    answer.is_ok_and(|answer| answer.status().is_success())
}

/// One connection.
pub(crate) struct Api {
    sender: SendRequest<Full<Bytes>>,
    access: Access,
}

impl Api {
    pub(crate) async fn connect(access: &Access) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(&access.address).await.context("connect to the API")?;
        stream.set_nodelay(true)?;
        let host = access.address.rsplit_once(':').map_or(access.address.as_str(), |(host, _)| host);
        let name = match host.parse::<IpAddr>() {
            Ok(address) => ServerName::from(address),
            Err(_) => ServerName::try_from(host.to_owned()).context("the API's name")?,
        };
        let stream = TlsConnector::from(Arc::clone(&access.tls)).connect(name, stream).await.context("start TLS")?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.context("start HTTP")?;
        tokio::spawn(connection);
        Ok(Self { sender, access: access.clone() })
    }

    /// A further connection to the same API.
    pub(crate) async fn another(&self) -> anyhow::Result<Self> {
        Self::connect(&self.access).await
    }

    async fn send(&mut self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Response<Incoming>> {
        let mut request = Request::builder().method(method).uri(path).header("host", &self.access.address);
        request = request.header("accept", "application/json").header("content-type", "application/json");
        if let Some(token) = &self.access.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let answer = self.sender.send_request(request.body(Full::new(body))?);
        tokio::time::timeout(LIMIT, answer).await.with_context(|| format!("no answer: {path}"))?.context("call the API")
    }

    /// Calls, and wants success.
    pub(crate) async fn call(&mut self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let (status, value) = self.try_call(method, path, body).await?;
        ensure!(status.is_success(), "{path}: {status}: {value}");
        Ok(value)
    }

    /// Calls; the answer may be a refusal.
    pub(crate) async fn try_call(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<(StatusCode, Value)> {
        let answer = self.send(method, path, body).await?;
        let status = answer.status();
        let bytes = answer.into_body().collect().await.context("read an answer")?.to_bytes();
        Ok((status, serde_json::from_slice(&bytes).unwrap_or_default()))
    }

    /// Watches on this connection.
    pub(crate) async fn watch(mut self, path: &str) -> anyhow::Result<Watch> {
        let answer = self.send(Method::GET, path, None).await?;
        ensure!(answer.status().is_success(), "watch {path}: {}", answer.status());
        Ok(Watch { _api: self, body: answer.into_body(), buffer: Vec::new() })
    }
}

/// A stream of events.
pub(crate) struct Watch {
    _api: Api,
    body: Incoming,
    buffer: Vec<u8>,
}

impl Watch {
    /// The next event.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return serde_json::from_slice(&line).context("understand an event");
            }
            let frame = tokio::time::timeout(LIMIT, self.body.frame()).await.context("no event came")?;
            let frame = frame.context("the watch ended")?.context("read a watch")?;
            self.buffer.extend_from_slice(&frame.into_data().unwrap_or_default());
        }
    }

    /// Reads until an event of this object satisfies a condition.
    pub(crate) async fn until(&mut self, names: &[String], fits: fn(&Value) -> bool) -> anyhow::Result<()> {
        let mut open: Vec<&str> = names.iter().map(String::as_str).collect();
        while !open.is_empty() {
            let event = self.next().await?;
            let name = event["object"]["metadata"]["name"].as_str().unwrap_or_default();
            if fits(&event) {
                open.retain(|wanted| *wanted != name);
            }
        }
        Ok(())
    }
}
