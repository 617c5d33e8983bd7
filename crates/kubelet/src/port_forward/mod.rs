//! `port-forward`: connections from a client's machine to a port inside a pod. Each is a pair of streams, `data` and `error`, in one
//! connection that is SPDY itself, SPDY inside the messages of a WebSocket, or a WebSocket with two channels for each port.

mod channels;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::{Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use meta::ApiError;
use net::Namespace;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::spdy::{self, Reader, Stream, Writer};

const PROTOCOL: &str = "portforward.k8s.io";
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
const CHANNELS: &str = "v4.channel.k8s.io";
const VERSION_HEADER: &str = "x-stream-protocol-version";

/// How the client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    /// SPDY on the connection itself.
    Plain,
    /// SPDY in a WebSocket's messages.
    Tunnel,
    /// The channels of a WebSocket, for ports that stand in the query.
    Channels,
}

impl Transport {
    fn of(headers: &HeaderMap) -> Option<Self> {
        let offers = |name: &str, wanted: &str| {
            let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
            values.flat_map(|value| value.split(',')).any(|offer| offer.trim().eq_ignore_ascii_case(wanted))
        };
        if offers("upgrade", "websocket") {
            let key = headers.contains_key("sec-websocket-key");
            let known = [(TUNNEL, Self::Tunnel), (CHANNELS, Self::Channels)];
            let mut offered = known.into_iter().filter(|(name, _)| offers("sec-websocket-protocol", name));
            return offered.next().filter(|_| key).map(|(_, transport)| transport);
        }
        (offers("upgrade", "SPDY/3.1") && offers(VERSION_HEADER, PROTOCOL)).then_some(Self::Plain)
    }

    fn accept(self, request: &HeaderMap) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        match self {
            Self::Plain => {
                headers.insert(UPGRADE, HeaderValue::from_static("SPDY/3.1"));
                headers.insert(VERSION_HEADER, HeaderValue::from_static(PROTOCOL));
            }
            Self::Tunnel | Self::Channels => {
                let protocol = if self == Self::Tunnel { TUNNEL } else { CHANNELS };
                headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert("sec-websocket-protocol", HeaderValue::from_static(protocol));
                let key = request.get("sec-websocket-key").map(HeaderValue::as_bytes).unwrap_or_default();
                if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key)) {
                    headers.insert("sec-websocket-accept", accept);
                }
            }
        }
        headers
    }
}

/// Answers the handshake and goes on in a task of its own, which ends with the client's connection.
pub(crate) fn upgrade(pod: &str, network: Namespace, request: Request<Incoming>) -> Result<Response<()>, ApiError> {
    let Some(transport) = Transport::of(request.headers()) else {
        let text = format!(
            "unable to upgrade: SPDY/3.1 with {PROTOCOL}, or a WebSocket with {TUNNEL} or {CHANNELS}, is needed"
        );
        return Err(ApiError::bad_request(text));
    };
    let ports = match transport {
        Transport::Channels => channels::ports(request.uri().query().unwrap_or_default())?,
        Transport::Plain | Transport::Tunnel => Vec::new(),
    };
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = transport.accept(request.headers());
    let pod = pod.to_owned();
    tokio::spawn(async move {
        let served = match hyper::upgrade::on(request).await {
            Ok(upgraded) => match transport {
                Transport::Plain => serve(TokioIo::new(upgraded), &pod, network).await,
                Transport::Tunnel => tunnel(web_socket(upgraded).await, &pod, network).await,
                Transport::Channels => channels::serve(web_socket(upgraded).await, &ports, &pod, network).await,
            },
            Err(error) => Err(io::Error::other(error)),
        };
        if let Err(error) = served {
            tracing::debug!(pod, %error, "forward ports");
        }
    });
    Ok(response)
}

async fn web_socket(upgraded: Upgraded) -> WebSocketStream<TokioIo<Upgraded>> {
    WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await
}

/// Serves SPDY inside a WebSocket.
async fn tunnel<S>(socket: WebSocketStream<S>, pod: &str, network: Namespace) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let (mut from_spdy, mut to_spdy) = tokio::io::split(theirs);
    let (mut sink, mut messages) = socket.split();
    let inward = async {
        while let Some(Ok(message)) = messages.next().await {
            match message {
                Message::Binary(bytes) => to_spdy.write_all(&bytes).await?,
                Message::Close(_) => break,
                Message::Text(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
        to_spdy.shutdown().await
    };
    let outward = async {
        let mut buffer = BytesMut::with_capacity(32 << 10);
        while from_spdy.read_buf(&mut buffer).await? > 0 {
            sink.send(Message::Binary(buffer.split().freeze())).await.map_err(io::Error::other)?;
        }
        sink.close().await.map_err(io::Error::other)
    };
    tokio::try_join!(inward, outward, serve(ours, pod, network)).map(drop)
}

/// Serves one client: a pair of streams for each connection that it wants.
async fn serve<S>(socket: S, pod: &str, network: Namespace) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (streams, receiving, sending) = spdy::open(socket);
    let work = async {
        tokio::select! {
            () = pair(streams, pod, &network) => Ok(()),
            received = receiving => received,
        }
    };
    tokio::try_join!(work, sending).map(drop)
}

/// Forwards each pair of streams as it gets whole, and owns the connections into the pod.
async fn pair(mut streams: mpsc::Receiver<Stream>, pod: &str, network: &Namespace) {
    let mut halves: HashMap<String, Stream> = HashMap::new();
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            stream = streams.recv() => match stream {
                Some(stream) => stream,
                None => return,
            },
        };
        let header = |name: &str| stream.headers.get(name).cloned().unwrap_or_default();
        let (kind, id, port) = (header("streamtype"), header("requestid"), header("port"));
        let Some(other) = halves.remove(&id) else {
            halves.insert(id, stream);
            continue;
        };
        let (data, error) = if kind == "data" { (stream, other) } else { (other, stream) };
        connections.spawn(forward(data, error.writer, port, pod.to_owned(), network.clone()));
    }
}

async fn forward(data: Stream, error: Writer, port: String, pod: String, network: Namespace) {
    if let Err(why) = connect_and_copy(data, &port, &network).await {
        let text = format!("error forwarding port {port} to pod {pod}: {why}");
        error.write(Bytes::from(text)).await;
    }
    error.finish().await;
}

async fn connect_and_copy(data: Stream, port: &str, network: &Namespace) -> Result<(), String> {
    let Stream { reader, writer, .. } = data;
    let number = port.parse().ok().filter(|number: &u16| *number > 0);
    let connected = match number {
        Some(number) => connect(number, network).await,
        None => Err(format!("unable to parse {port:?} as a port")),
    };
    match connected {
        Ok(socket) => {
            copy(socket, reader, writer).await;
            Ok(())
        }
        Err(why) => {
            writer.finish().await;
            Err(why)
        }
    }
}

/// The pod's own `localhost`, in the first family that answers.
async fn connect(port: u16, network: &Namespace) -> Result<TcpStream, String> {
    let mut failures = String::new();
    for (family, address) in [("IPv4", IpAddr::V4(Ipv4Addr::LOCALHOST)), ("IPv6", IpAddr::V6(Ipv6Addr::LOCALHOST))] {
        match network.connect(SocketAddr::new(address, port)).await {
            Ok(socket) => return Ok(socket),
            Err(error) => failures.push_str(&format!(" {family}: {error}")),
        }
    }
    Err(format!("failed to connect to localhost:{port} inside the pod,{failures}"))
}

/// Copies both ways until the pod's side has ended, or both have.
async fn copy(socket: TcpStream, mut reader: Reader, writer: Writer) {
    let (mut from_pod, mut to_pod) = socket.into_split();
    let outward = async move {
        let mut buffer = BytesMut::with_capacity(32 << 10);
        while let Ok(1..) = from_pod.read_buf(&mut buffer).await {
            if !writer.write(buffer.split().freeze()).await {
                return;
            }
            buffer.reserve(32 << 10);
        }
        writer.finish().await;
    };
    let inward = async move {
        while let Some(bytes) = reader.next().await {
            if to_pod.write_all(&bytes).await.is_err() {
                return;
            }
        }
        // The client has ended its side; the answer may still come.
        let _ = to_pod.shutdown().await;
    };
    let mut inward = std::pin::pin!(inward);
    tokio::select! {
        () = outward => {}
        () = async { inward.as_mut().await; std::future::pending().await } => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transports_are_told_by_headers() {
        let check = |pairs: &[(&'static str, &'static str)], expected: Option<Transport>| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, HeaderValue::from_static(value));
            }
            assert_eq!(Transport::of(&headers), expected, "{pairs:?}");
        };
        let spdy = ("upgrade", "SPDY/3.1");
        let socket = ("upgrade", "websocket");
        let key = ("sec-websocket-key", "eA==");
        check(&[], None);
        check(&[spdy, (VERSION_HEADER, PROTOCOL)], Some(Transport::Plain));
        check(&[spdy, (VERSION_HEADER, "v4.channel.k8s.io")], None);
        check(&[socket, key, ("sec-websocket-protocol", TUNNEL)], Some(Transport::Tunnel));
        check(&[socket, ("sec-websocket-protocol", TUNNEL)], None);
        check(&[socket, key, ("sec-websocket-protocol", "v4.channel.k8s.io")], Some(Transport::Channels));
        check(&[socket, key, ("sec-websocket-protocol", "v5.channel.k8s.io")], None);
    }
}
