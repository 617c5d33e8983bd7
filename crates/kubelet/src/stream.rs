//! `exec` and `attach` over WebSockets: the subprotocols `v4.channel.k8s.io` and `v5.channel.k8s.io`, in which the first
//! byte of each message names its stream.

use std::sync::Arc;

use bytes::Bytes;
use container::{ExitStatus, Input, Output, Resizer, Runtime, Session};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// In `v5`: the stream named by the second byte has ended.
const CLOSE: u8 = 255;
/// The subprotocols we speak, the best first.
const PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];

type Socket = WebSocketStream<TokioIo<Upgraded>>;

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
) -> Result<Response<()>, (StatusCode, String)> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let key = header("sec-websocket-key").to_owned();
    let offered: Vec<&str> = header("sec-websocket-protocol").split(',').map(str::trim).collect();
    let protocol = PROTOCOLS.into_iter().find(|known| offered.contains(known));
    let Some(protocol) = protocol.filter(|_| !key.is_empty()) else {
        let text = "unable to upgrade: a WebSocket with the subprotocol v4 or v5.channel.k8s.io is needed";
        return Err((StatusCode::BAD_REQUEST, text.to_owned()));
    };
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert("connection", HeaderValue::from_static("Upgrade"));
    headers.insert("upgrade", HeaderValue::from_static("websocket"));
    headers.insert("sec-websocket-protocol", HeaderValue::from_static(protocol));
    if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
        headers.insert("sec-websocket-accept", accept);
    }
    tokio::spawn(async move {
        match hyper::upgrade::on(request).await {
            Ok(upgraded) => {
                let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
                serve(&*runtime, &id, wanted, socket).await;
            }
            Err(error) => tracing::debug!(%error, "upgrade a connection to a WebSocket"),
        }
    });
    Ok(response)
}

async fn serve(runtime: &dyn Runtime, id: &str, wanted: Wanted, socket: Socket) {
    let (mut writer, reader) = socket.split();
    let session = match wanted {
        Wanted::Exec(config) => runtime.exec(id, config).await,
        Wanted::Attach { stdin, stdout, stderr } => runtime.attach(id, stdin, stdout, stderr).await,
    };
    let status = match session {
        Ok(session) => stream(session, &mut writer, reader).await,
        Err(error) => failure(&error.to_string()),
    };
    // The client may have left.
    let _ = writer.send(message(ERROR, status.to_string().as_bytes())).await;
    let _ = writer.close().await;
}

fn message(channel: u8, data: &[u8]) -> Message {
    let mut frame = Vec::with_capacity(data.len() + 1);
    frame.push(channel);
    frame.extend_from_slice(data);
    Message::Binary(Bytes::from(frame))
}

/// Copies until the process has ended and everything it wrote is sent.
async fn stream(session: Session, writer: &mut SplitSink<Socket, Message>, reader: SplitStream<Socket>) -> Value {
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
async fn receive(mut reader: SplitStream<Socket>, mut stdin: Option<Input>, resizer: Option<Resizer>) {
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

fn resize(resizer: Option<&Resizer>, data: &[u8]) {
    let size: Value = serde_json::from_slice(data).unwrap_or_default();
    let number = |name: &str| size[name].as_u64().and_then(|number| u16::try_from(number).ok());
    if let (Some(resizer), Some(columns), Some(rows)) = (resizer, number("Width"), number("Height"))
        && let Err(error) = resizer.resize(columns, rows)
    {
        tracing::debug!(%error, "resize a terminal");
    }
}

fn success_or_code(status: ExitStatus) -> Value {
    if status.code == 0 {
        return json!({"metadata": {}, "status": "Success"});
    }
    let code = status.code.to_string();
    json!({
        "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "message": format!("command terminated with exit code {code}"),
        "details": {"causes": [{"reason": "ExitCode", "message": code}]},
    })
}

fn failure(message: &str) -> Value {
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
    fn the_end_tells_the_exit_code() {
        let end = |code| success_or_code(ExitStatus { code, signal: None });
        assert_eq!(end(0)["status"], "Success");
        assert_eq!(end(3)["details"]["causes"][0]["message"], "3");
        assert_eq!(end(3)["message"], "command terminated with exit code 3");
    }
}
