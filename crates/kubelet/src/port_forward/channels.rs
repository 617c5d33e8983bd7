//! Ports over the channels of a WebSocket: for the port at place `n`, channel `2n` is data and `2n + 1` errors. Each channel begins with
//! the port's number in two bytes, little endian.

use std::io;

use bytes::{Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use meta::ApiError;
use net::Namespace;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// How many messages wait for a port, or for the client.
const QUEUE: usize = 16;

/// The ports of a query, in their order.
pub(super) fn ports(query: &str) -> Result<Vec<u16>, ApiError> {
    let values = url::form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "port");
    let mut ports = Vec::new();
    for (_, value) in values.collect::<Vec<_>>() {
        for text in value.split(',') {
            let port: Option<u16> = text.parse().ok().filter(|port| *port > 0);
            ports.push(port.ok_or_else(|| ApiError::bad_request(format!("invalid port {text:?}")))?);
        }
    }
    if ports.is_empty() || ports.len() > 127 {
        return Err(ApiError::bad_request("query parameter \"port\" is required"));
    }
    Ok(ports)
}

/// Serves one client until it leaves.
pub(super) async fn serve<S>(socket: WebSocketStream<S>, ports: &[u16], pod: &str, network: Namespace) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sink, mut messages) = socket.split();
    let (out, mut frames) = mpsc::channel(QUEUE);
    let (mut inputs, mut connections) = (Vec::new(), JoinSet::new());
    for (place, port) in (0_u8..).zip(ports.iter().copied()) {
        let (input, received) = mpsc::channel(QUEUE);
        inputs.push(input);
        let channel = Channel { data: 2 * place, out: out.clone() };
        connections.spawn(forward(channel, received, port, pod.to_owned(), network.clone()));
    }
    drop(out);
    let inward = async {
        while let Some(Ok(message)) = messages.next().await {
            match message {
                Message::Binary(bytes) => deliver(&inputs, bytes).await,
                Message::Close(_) => return,
                Message::Text(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    };
    let outward = async {
        while let Some(frame) = frames.recv().await {
            sink.send(Message::Binary(frame)).await.map_err(io::Error::other)?;
        }
        sink.close().await.map_err(io::Error::other)
    };
    tokio::select! {
        () = inward => Ok(()),
        sent = outward => sent,
    }
}

async fn deliver(inputs: &[mpsc::Sender<Bytes>], mut message: Bytes) {
    if message.is_empty() {
        return;
    }
    let channel = message.split_to(1)[0];
    // What comes on a channel for errors has no meaning.
    if let Some(input) = inputs.get(usize::from(channel / 2)).filter(|_| channel.is_multiple_of(2)) {
        // The port's connection may have ended.
        let _ = input.send(message).await;
    }
}

/// The two channels of a port, towards the client.
struct Channel {
    data: u8,
    out: mpsc::Sender<Bytes>,
}

impl Channel {
    async fn send(&self, channel: u8, bytes: &[u8]) -> bool {
        let mut frame = BytesMut::with_capacity(bytes.len() + 1);
        frame.extend_from_slice(&[channel]);
        frame.extend_from_slice(bytes);
        self.out.send(frame.freeze()).await.is_ok()
    }
}

async fn forward(channel: Channel, mut input: mpsc::Receiver<Bytes>, port: u16, pod: String, network: Namespace) {
    for number in [channel.data, channel.data + 1] {
        channel.send(number, &port.to_le_bytes()).await;
    }
    let socket = match super::connect(port, &network).await {
        Ok(socket) => socket,
        Err(why) => {
            let text = format!("error forwarding port {port} to pod {pod}: {why}");
            channel.send(channel.data + 1, text.as_bytes()).await;
            return;
        }
    };
    let (mut from_pod, mut to_pod) = socket.into_split();
    let outward = async {
        let mut buffer = vec![0; 32 << 10];
        while let Ok(length @ 1..) = from_pod.read(&mut buffer).await {
            if !channel.send(channel.data, buffer.get(..length).unwrap_or_default()).await {
                return;
            }
        }
    };
    let inward = async {
        while let Some(bytes) = input.recv().await {
            if to_pod.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = outward => {}
        () = inward => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_stand_in_the_query() {
        let check = |query: &str, expected: Option<&[u16]>| {
            assert_eq!(ports(query).ok().as_deref(), expected, "{query}");
        };
        check("port=80", Some(&[80]));
        check("port=80&port=443", Some(&[80, 443]));
        check("port=80,443", Some(&[80, 443]));
        check("", None);
        check("port=0", None);
        check("port=x", None);
    }
}
