//! `serve DIR PORT`: serves a folder's files over HTTP.

use std::convert::Infallible;
use std::fs;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::{Component, Path, PathBuf};

use anyhow::Context;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::show::{runtime, terminated};

pub(super) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let [folder, port] = arguments else { anyhow::bail!("usage: serve DIR PORT") };
    let port: u16 = port.parse().context("usage: serve DIR PORT")?;
    runtime()?.block_on(async {
        let mut terminate = terminated()?;
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await.with_context(|| format!("listen on port {port}"))?;
        writeln!(std::io::stdout(), "serving {folder} on port {port}")?;
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let folder = PathBuf::from(folder);
                    let (stream, _) = accepted.context("accept a connection")?;
                    connections.spawn(async move {
                        let answer = service_fn(move |request| { let folder = folder.clone(); async move { Ok::<_, Infallible>(answer(&folder, &request)) } });
                        // A client that goes away in the middle is its own matter.
                        let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
                    });
                }
                Some(_) = connections.join_next() => {}
                _ = terminate.recv() => return Ok(()),
            }
        }
    })
}

fn answer(folder: &Path, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let (status, body) = match file(folder, request.uri().path()) {
        Some(content) => (StatusCode::OK, Bytes::from(content)),
        None => (StatusCode::NOT_FOUND, Bytes::from_static(b"not found\n")),
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response
}

fn file(folder: &Path, path: &str) -> Option<Vec<u8>> {
    let relative = Path::new(path.trim_start_matches('/'));
    if !relative.components().all(|part| matches!(part, Component::Normal(_))) {
        return None;
    }
    let full = folder.join(relative);
    fs::read(if full.is_dir() { full.join("index.html") } else { full }).ok()
}
