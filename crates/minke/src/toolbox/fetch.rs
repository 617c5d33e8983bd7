//! `fetch [--every SECONDS] SOURCE FILE`: copies content into a file, whole or not at all; again and again if asked.
//!
//! SOURCE is `http://HOST:PORT/PATH`, or `clock` for a page with the current time: content that changes.

use std::fs;
use std::io::Write;
use std::time::Duration;

use anyhow::Context;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use meta::{Clock, SystemClock, format_time};
use tokio::net::TcpStream;

use super::show::{runtime, terminated};

const USAGE: &str = "usage: fetch [--every SECONDS] SOURCE FILE";

pub(super) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let (every, source, file) = match arguments {
        [option, seconds, source, file] if option == "--every" => {
            (Some(Duration::from_secs_f64(seconds.parse().context(USAGE)?)), source, file)
        }
        [source, file] => (None, source, file),
        _ => anyhow::bail!(USAGE),
    };
    runtime()?.block_on(async {
        let mut terminate = terminated()?;
        loop {
            let content = content(source).await?;
            let draft = format!("{file}.new");
            fs::write(&draft, &content)
                .and_then(|()| fs::rename(&draft, file))
                .with_context(|| format!("write {file}"))?;
            writeln!(std::io::stdout(), "fetched {} bytes from {source}", content.len())?;
            let Some(every) = every else { return Ok(()) };
            tokio::select! {
                () = tokio::time::sleep(every) => {}
                _ = terminate.recv() => return Ok(()),
            }
        }
    })
}

async fn content(source: &str) -> anyhow::Result<Bytes> {
    if source == "clock" {
        let now = format_time(SystemClock.now());
        return Ok(format!("<html><body><h1>Hello from a pod</h1><p>Fetched at {now}.</p></body></html>\n").into());
    }
    let (host, path) = source.strip_prefix("http://").context(USAGE)?.split_once('/').context(USAGE)?;
    let connect = || format!("connect to {host}");
    let stream = TcpStream::connect(host).await.with_context(connect)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.with_context(connect)?;
    let request = Request::get(format!("/{path}")).header("host", host).body(Empty::<Bytes>::new())?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        anyhow::ensure!(response.status().is_success(), "{source} answers {}", response.status());
        Ok(response.into_body().collect().await?.to_bytes())
    };
    tokio::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        ended = connection => { ended.with_context(connect)?; exchange.await }
    }
}
