//! `exec` and `attach` over SPDY, as clients spoke before WebSockets: the client opens a stream for each of standard input, output and
//! error, one for errors, and one for the sizes of its terminal.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use container::{Input, Output, Resizer, Runtime, Session};
use http::{HeaderMap, HeaderValue};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::spdy::{self, Reader, Stream, Writer};
use crate::stream::{Wanted, failure, resize, success_or_code};

const VERSION_HEADER: &str = "x-stream-protocol-version";
/// Compat: how long upstream waits for the client to open its streams.
const OPENING: Duration = Duration::from_secs(30);

/// What the two sides have agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// A failure is told by its text. The first three differ in nothing else that we do.
    Text(&'static str),
    /// The end is told by a `Status`.
    V4,
}

impl Version {
    fn from_name(name: &str) -> Option<Self> {
        match name {
            "v4.channel.k8s.io" => Some(Self::V4),
            "v3.channel.k8s.io" => Some(Self::Text("v3.channel.k8s.io")),
            "v2.channel.k8s.io" => Some(Self::Text("v2.channel.k8s.io")),
            _ => None,
        }
    }

    /// The first version of a request for SPDY that we speak; the first `None` if it is no such request.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Option<Self>> {
        let upgrade = headers.get(http::header::UPGRADE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !upgrade.eq_ignore_ascii_case("SPDY/3.1") {
            return None;
        }
        let values = headers.get_all(VERSION_HEADER).iter().filter_map(|value| value.to_str().ok());
        Some(values.flat_map(|value| value.split(',')).find_map(|name| Self::from_name(name.trim())))
    }

    /// The headers of the answer.
    pub(crate) fn accept(self, headers: &mut HeaderMap) {
        let name = match self {
            Self::V4 => "v4.channel.k8s.io",
            Self::Text(name) => name,
        };
        headers.insert(http::header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(http::header::UPGRADE, HeaderValue::from_static("SPDY/3.1"));
        headers.insert(VERSION_HEADER, HeaderValue::from_static(name));
    }

    /// What the error stream says at the end; empty for nothing.
    fn last_words(self, status: &Value) -> Bytes {
        match self {
            Self::V4 => status.to_string().into(),
            Self::Text(_) if status["status"] == "Success" => Bytes::new(),
            Self::Text(_) => status["message"].as_str().unwrap_or_default().to_owned().into(),
        }
    }
}

/// Serves one client until the process or the connection ends.
pub(crate) async fn serve<S>(runtime: &dyn Runtime, id: &str, wanted: Wanted, version: Version, socket: S)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (streams, receiving, sending) = spdy::open(socket);
    let work = async {
        tokio::select! {
            () = session(runtime, id, wanted, version, streams) => Ok(()),
            received = receiving => received,
        }
    };
    if let Err(error) = tokio::try_join!(work, sending) {
        tracing::debug!(container = id, %error, "stream over SPDY");
    }
}

async fn session(
    runtime: &dyn Runtime,
    id: &str,
    wanted: Wanted,
    version: Version,
    mut streams: mpsc::Receiver<Stream>,
) {
    let Ok(Some(mut opened)) = tokio::time::timeout(OPENING, open(&wanted, &mut streams)).await else { return };
    let Some(errors) = opened.remove("error") else { return };
    let (session, doing) = match wanted {
        Wanted::Exec(config) => (runtime.exec(id, config).await, "error executing command in container"),
        Wanted::Attach { stdin, stdout, stderr } => {
            (runtime.attach(id, stdin, stdout, stderr).await, "error attaching to container")
        }
    };
    let status = match session {
        Ok(session) => copy_all(session, opened, streams).await,
        Err(error) => failure(&format!("{doing}: {error}")),
    };
    let words = version.last_words(&status);
    if !words.is_empty() {
        // The client may have left.
        let _ = errors.writer.write(words).await;
    }
    errors.writer.finish().await;
}

/// The streams that the client has to open, by what they are for; perhaps one more for sizes among them.
async fn open(wanted: &Wanted, streams: &mut mpsc::Receiver<Stream>) -> Option<HashMap<String, Stream>> {
    let [stdin, stdout, stderr] = wanted.streams();
    let names = [("error", true), ("stdin", stdin), ("stdout", stdout), ("stderr", stderr)];
    let mut opened = HashMap::new();
    while names.iter().any(|(name, needed)| *needed && !opened.contains_key(*name)) {
        let stream = streams.recv().await?;
        let kind = stream.headers.get("streamtype").cloned().unwrap_or_default();
        opened.insert(kind, stream);
    }
    Some(opened)
}

/// Copies until the process has ended and everything it wrote is sent.
async fn copy_all(session: Session, mut opened: HashMap<String, Stream>, later: mpsc::Receiver<Stream>) -> Value {
    let Session { stdin, stdout, stderr, resizer, exit } = session;
    let mut take = |name: &str| opened.remove(name);
    let input = take("stdin").map(|stream| stream.reader);
    let sizes = take("resize").map(|stream| stream.reader);
    let (out, err) = (take("stdout").map(|stream| stream.writer), take("stderr").map(|stream| stream.writer));
    let all = async { tokio::join!(send(stdout, out), send(stderr, err), exit).2 };
    let inward = async {
        tokio::join!(receive(input, stdin), follow_sizes(sizes, later, resizer.as_ref()));
        // The process goes on without input.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        exit = all => match exit {
            Ok(status) => success_or_code(status),
            Err(error) => failure(&error.to_string()),
        },
        () = inward => failure("the client left"),
    }
}

async fn send(source: Option<Output>, target: Option<Writer>) {
    let (Some(mut source), Some(target)) = (source, target) else { return };
    let mut buffer = vec![0; 32 << 10];
    while let Ok(length @ 1..) = source.read(&mut buffer).await {
        let Some(data) = buffer.get(..length) else { return };
        if !target.write(Bytes::copy_from_slice(data)).await {
            return;
        }
    }
    target.finish().await;
}

async fn receive(source: Option<Reader>, target: Option<Input>) {
    let (Some(mut source), Some(mut target)) = (source, target) else { return };
    while let Some(data) = source.next().await {
        if target.write_all(&data).await.and(target.flush().await).is_err() {
            return;
        }
    }
}

/// Sizes come as lines of JSON, on a stream that may be opened after the others.
async fn follow_sizes(known: Option<Reader>, mut later: mpsc::Receiver<Stream>, resizer: Option<&Resizer>) {
    let mut sizes = known;
    while sizes.is_none() {
        let Some(stream) = later.recv().await else { return };
        let is_resize = stream.headers.get("streamtype").is_some_and(|kind| kind == "resize");
        sizes = is_resize.then_some(stream.reader);
    }
    let Some(mut sizes) = sizes else { return };
    let mut received = Vec::new();
    while let Some(data) = sizes.next().await {
        received.extend_from_slice(&data);
        while let Some(end) = received.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = received.drain(..=end).collect();
            resize(resizer, &line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_that_was_offered_first_is_taken() {
        let check = |pairs: &[(&'static str, &'static str)], expected: Option<Option<Version>>| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, HeaderValue::from_static(value));
            }
            assert_eq!(Version::of(&headers), expected, "{pairs:?}");
        };
        check(&[("upgrade", "websocket")], None);
        let spdy = ("upgrade", "SPDY/3.1");
        check(&[spdy], Some(None));
        check(&[spdy, (VERSION_HEADER, "v9, v4.channel.k8s.io")], Some(Some(Version::V4)));
        let old = (VERSION_HEADER, "v2.channel.k8s.io");
        check(&[spdy, old], Some(Some(Version::Text("v2.channel.k8s.io"))));
    }

    #[test]
    fn old_clients_get_a_text() {
        let failed = failure("no");
        assert_eq!(Version::Text("v2.channel.k8s.io").last_words(&failed), "Internal error occurred: no");
        assert_eq!(Version::V4.last_words(&failed), failed.to_string());
    }
}
