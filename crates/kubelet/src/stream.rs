//! `exec` and `attach`, over SPDY or over WebSockets: the subprotocols `channel.k8s.io`, `v4.channel.k8s.io` and `v5.channel.k8s.io`, in
//! which the first byte of each message names its stream.

use std::sync::Arc;

use bytes::Bytes;
use container::{ExitStatus, Input, Output, Resizer, Runtime, Session};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use meta::{ApiError, Reason};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::spdy_stream;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// In `v5`: the stream named by the second byte has ended.
const CLOSE: u8 = 255;

/// What the two sides have agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    /// The end is told by closing, a failure by its text.
    V1,
    /// The end is told by a `Status`.
    V4,
    /// As `V4`, and the client can end standard input.
    V5,
}

impl Protocol {
    fn from_name(name: &str) -> Option<Self> {
        match name {
            "channel.k8s.io" => Some(Self::V1),
            "v4.channel.k8s.io" => Some(Self::V4),
            "v5.channel.k8s.io" => Some(Self::V5),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::V1 => "channel.k8s.io",
            Self::V4 => "v4.channel.k8s.io",
            Self::V5 => "v5.channel.k8s.io",
        }
    }

    /// The message that tells how a process ended, if there is anything to tell.
    fn last_message(self, status: &Value) -> Option<Message> {
        match self {
            Self::V1 if status["status"] == "Success" => None,
            Self::V1 => Some(message(ERROR, status["message"].as_str().unwrap_or_default().as_bytes())),
            Self::V4 | Self::V5 => Some(message(ERROR, status.to_string().as_bytes())),
        }
    }
}

/// The first of the offered subprotocols that we speak, and whether any was offered: without an offer it is `V1`.
fn negotiate(headers: &HeaderMap) -> Option<(Protocol, bool)> {
    let values = headers.get_all("sec-websocket-protocol").iter().filter_map(|value| value.to_str().ok());
    let mut offers = values.flat_map(|value| value.split(',')).map(str::trim).peekable();
    if offers.peek().is_none() {
        return Some((Protocol::V1, false));
    }
    offers.find_map(Protocol::from_name).map(|protocol| (protocol, true))
}

/// What is to be streamed.
pub(crate) enum Wanted {
    /// A new process.
    Exec(container::ExecConfig),
    /// The main process.
    Attach { stdin: bool, stdout: bool, stderr: bool },
}

/// Answers the handshake and goes on in a task of its own, which ends with the process or the connection.
pub(crate) fn upgrade(
    runtime: Arc<dyn Runtime>,
    id: String,
    wanted: Wanted,
    request: Request<Incoming>,
) -> Result<Response<()>, ApiError> {
    if let Some(version) = spdy_stream::Version::of(request.headers()) {
        return upgrade_to_spdy(runtime, id, wanted, version, request);
    }
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let key = header("sec-websocket-key").to_owned();
    let agreed = negotiate(request.headers()).filter(|_| !key.is_empty());
    let Some((protocol, offered)) = agreed else {
        let text =
            "unable to upgrade: a WebSocket with the subprotocol channel.k8s.io, v4 or v5.channel.k8s.io is needed";
        return Err(ApiError::bad_request(text));
    };
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert("connection", HeaderValue::from_static("Upgrade"));
    headers.insert("upgrade", HeaderValue::from_static("websocket"));
    if offered {
        headers.insert("sec-websocket-protocol", HeaderValue::from_static(protocol.name()));
    }
    if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
        headers.insert("sec-websocket-accept", accept);
    }
    tokio::spawn(async move {
        match hyper::upgrade::on(request).await {
            Ok(upgraded) => {
                let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
                serve(&*runtime, &id, wanted, protocol, socket).await;
            }
            Err(error) => tracing::debug!(%error, "upgrade a connection to a WebSocket"),
        }
    });
    Ok(response)
}

fn upgrade_to_spdy(
    runtime: Arc<dyn Runtime>,
    id: String,
    wanted: Wanted,
    version: Option<spdy_stream::Version>,
    request: Request<Incoming>,
) -> Result<Response<()>, ApiError> {
    let text = "unable to upgrade: SPDY/3.1 with v4.channel.k8s.io, v3 or v2.channel.k8s.io is needed";
    let version = version.ok_or_else(|| ApiError::new(Reason::Forbidden, text))?;
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    version.accept(response.headers_mut());
    tokio::spawn(async move {
        match hyper::upgrade::on(request).await {
            Ok(upgraded) => spdy_stream::serve(&*runtime, &id, wanted, version, TokioIo::new(upgraded)).await,
            Err(error) => tracing::debug!(%error, "upgrade a connection to SPDY"),
        }
    });
    Ok(response)
}

impl Wanted {
    /// Which of standard input, output and error it has.
    pub(crate) fn streams(&self) -> [bool; 3] {
        match self {
            Self::Exec(config) => [config.stdin, config.stdout, config.stderr],
            Self::Attach { stdin, stdout, stderr } => [*stdin, *stdout, *stderr],
        }
    }

    /// The first output stream there is.
    fn first_output(&self) -> u8 {
        let [_, stdout, stderr] = self.streams();
        match (stdout, stderr) {
            (true, _) => STDOUT,
            (false, true) => STDERR,
            (false, false) => ERROR,
        }
    }
}

async fn serve<S>(runtime: &dyn Runtime, id: &str, wanted: Wanted, protocol: Protocol, socket: WebSocketStream<S>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut writer, reader) = socket.split();
    // Compat: an empty message tells clients that the streams are there. A client that has left shows in what follows.
    let _ = writer.send(message(wanted.first_output(), &[])).await;
    let (session, doing) = match wanted {
        Wanted::Exec(config) => (runtime.exec(id, config).await, "error executing command in container"),
        Wanted::Attach { stdin, stdout, stderr } => {
            (runtime.attach(id, stdin, stdout, stderr).await, "error attaching to container")
        }
    };
    let status = match session {
        Ok(session) => stream(session, &mut writer, reader).await,
        Err(error) => failure(&format!("{doing}: {error}")),
    };
    if let Some(last) = protocol.last_message(&status) {
        // The client may have left.
        let _ = writer.send(last).await;
    }
    let normal = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    let _ = writer.send(Message::Close(Some(normal))).await;
    let _ = writer.close().await;
}

fn message(channel: u8, data: &[u8]) -> Message {
    let mut frame = Vec::with_capacity(data.len() + 1);
    frame.push(channel);
    frame.extend_from_slice(data);
    Message::Binary(Bytes::from(frame))
}

/// Copies until the process has ended and everything it wrote is sent.
async fn stream<S>(
    session: Session,
    writer: &mut SplitSink<WebSocketStream<S>, Message>,
    reader: SplitStream<WebSocketStream<S>>,
) -> Value
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Session { stdin, stdout, stderr, resizer, exit } = session;
    let (sender, mut frames) = mpsc::channel(16);
    let output = async {
        let streams = async { tokio::join!(copy(STDOUT, stdout, &sender), copy(STDERR, stderr, &sender)) };
        streams.await;
        drop(sender);
    };
    let write = async {
        while let Some(frame) = frames.recv().await {
            if writer.send(frame).await.is_err() {
                return;
            }
        }
    };
    let input = receive(reader, stdin, resizer);
    let all = async { tokio::join!(output, write, exit).2 };
    tokio::select! {
        exit = all => match exit {
            Ok(status) => success_or_code(status),
            Err(error) => failure(&error.to_string()),
        },
        () = input => failure("the client left"),
    }
}

async fn copy(channel: u8, source: Option<Output>, frames: &mpsc::Sender<Message>) {
    let Some(mut source) = source else { return };
    let mut buffer = vec![0; 32 << 10];
    while let Ok(length @ 1..) = source.read(&mut buffer).await {
        let Some(data) = buffer.get(..length) else { return };
        if frames.send(message(channel, data)).await.is_err() {
            return;
        }
    }
}

/// Takes input and sizes in until the client leaves.
async fn receive<S>(mut reader: SplitStream<WebSocketStream<S>>, mut stdin: Option<Input>, resizer: Option<Resizer>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(Ok(received)) = reader.next().await {
        let data = match received {
            Message::Binary(data) => data,
            Message::Text(text) => Bytes::from(text),
            Message::Close(_) => return,
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
        };
        match data.split_first() {
            Some((&STDIN, data)) => {
                let written = match &mut stdin {
                    Some(stdin) => stdin.write_all(data).await.and(stdin.flush().await),
                    None => Ok(()),
                };
                if written.is_err() {
                    stdin = None;
                }
            }
            Some((&CLOSE, [STDIN])) => stdin = None,
            Some((&RESIZE, data)) => resize(resizer.as_ref(), data),
            Some(_) | None => {}
        }
    }
}

pub(crate) fn resize(resizer: Option<&Resizer>, data: &[u8]) {
    if let (Some(resizer), Some((columns, rows))) = (resizer, size(data))
        && let Err(error) = resizer.resize(columns, rows)
    {
        tracing::debug!(%error, "resize a terminal");
    }
}

/// Columns and rows.
fn size(data: &[u8]) -> Option<(u16, u16)> {
    let size: Value = serde_json::from_slice(data).ok()?;
    let number = |name: &str| size[name].as_u64().and_then(|number| u16::try_from(number).ok());
    Some((number("Width")?, number("Height")?))
}

pub(crate) fn success_or_code(status: ExitStatus) -> Value {
    if status.code == 0 {
        return json!({"metadata": {}, "status": "Success"});
    }
    let code = status.code.to_string();
    json!({
        "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "message": format!("command terminated with non-zero exit code: exit status {code}"),
        "details": {"causes": [{"reason": "ExitCode", "message": code}]},
    })
}

pub(crate) fn failure(message: &str) -> Value {
    json!({
        "metadata": {}, "status": "Failure", "reason": "InternalError", "code": 500,
        "message": format!("Internal error occurred: {message}"),
        "details": {"causes": [{"message": message}]},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_offer_we_speak_is_taken() {
        let check = |offers: &[&'static str], expected: Option<(Protocol, bool)>| {
            let mut headers = HeaderMap::new();
            for offer in offers {
                headers.append("sec-websocket-protocol", HeaderValue::from_static(offer));
            }
            assert_eq!(negotiate(&headers), expected, "{offers:?}");
        };
        check(&[], Some((Protocol::V1, false)));
        check(&["channel.k8s.io"], Some((Protocol::V1, true)));
        check(&["v5.channel.k8s.io"], Some((Protocol::V5, true)));
        check(&["base64.channel.k8s.io, v4.channel.k8s.io,channel.k8s.io"], Some((Protocol::V4, true)));
        check(&["v9.channel.k8s.io", "v5.channel.k8s.io"], Some((Protocol::V5, true)));
        check(&["binary.k8s.io"], None);
    }

    #[test]
    fn the_last_message_tells_how_it_ended() {
        let check = |protocol: Protocol, status: Value, expected: Option<&str>| {
            let data = protocol.last_message(&status).map(Message::into_data);
            let text = data.as_ref().map(|data| {
                assert_eq!(data[0], ERROR);
                std::str::from_utf8(&data[1..]).expect("text")
            });
            assert_eq!(text, expected);
        };
        let ended = |code| success_or_code(ExitStatus { code, signal: None });
        check(Protocol::V1, ended(0), None);
        check(Protocol::V1, ended(3), Some("command terminated with non-zero exit code: exit status 3"));
        check(Protocol::V4, ended(0), Some(r#"{"metadata":{},"status":"Success"}"#));
        let status = ended(3);
        check(Protocol::V5, status.clone(), Some(&status.to_string()));
        assert_eq!(status["details"]["causes"][0], json!({"reason": "ExitCode", "message": "3"}));
        check(Protocol::V1, failure("no"), Some("Internal error occurred: no"));
    }

    #[test]
    fn frames_carry_their_channel() {
        assert_eq!(message(STDOUT, b"hi").into_data().as_ref(), b"\x01hi");
        assert_eq!(message(STDERR, b"").into_data().as_ref(), b"\x02");
        assert_eq!(size(br#"{"Width":80,"Height":24}"#), Some((80, 24)));
        for wrong in ["", "[]", r#"{"Width":80}"#, r#"{"Width":65536,"Height":1}"#] {
            assert_eq!(size(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn the_end_tells_the_exit_code() {
        let end = |code| success_or_code(ExitStatus { code, signal: None });
        assert_eq!(end(0)["status"], "Success");
        assert_eq!(end(3)["details"]["causes"][0]["message"], "3");
        assert_eq!(end(3)["message"], "command terminated with non-zero exit code: exit status 3");
    }

    async fn exec(command: &str, protocol: Protocol) -> Vec<Vec<u8>> {
        let runtime = container::fake::Fake::new().on_exec(|_, config| {
            let code = if config.command == ["false"] { 1 } else { 0 };
            Ok((code, "hello".to_owned()))
        });
        let sandbox = container::SandboxConfig { id: "s".to_owned(), ..container::SandboxConfig::default() };
        runtime.run_sandbox(sandbox).await.expect("a sandbox");
        let config = container::ContainerConfig {
            id: "c".to_owned(),
            sandbox_id: "s".to_owned(),
            ..container::ContainerConfig::default()
        };
        runtime.create_container(config).await.expect("a container");
        runtime.start_container("c").await.expect("it starts");
        let (ours, theirs) = tokio::io::duplex(4096);
        let server = WebSocketStream::from_raw_socket(ours, Role::Server, None).await;
        let client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
        let config = container::ExecConfig { command: vec![command.to_owned()], stdout: true, ..Default::default() };
        let received = client.filter_map(async |received| match received {
            Ok(Message::Binary(data)) => Some(data.to_vec()),
            _ => None,
        });
        tokio::join!(serve(&runtime, "c", Wanted::Exec(config), protocol, server), received.collect()).1
    }

    #[tokio::test]
    async fn a_client_sees_output_then_the_end() {
        let all = exec("true", Protocol::V1).await;
        assert_eq!(all, [b"\x01".to_vec(), b"\x01hello".to_vec()]);
        let all = exec("true", Protocol::V5).await;
        assert_eq!(all.last().expect("a status"), b"\x03{\"metadata\":{},\"status\":\"Success\"}");
        let all = exec("false", Protocol::V1).await;
        assert_eq!(all.last().expect("a text"), b"\x03command terminated with non-zero exit code: exit status 1");
    }
}
