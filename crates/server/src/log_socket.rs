//! A log over a WebSocket: a message for each piece, as bytes or in base64.

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::{SinkExt, StreamExt};
use http::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use meta::ApiError;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::onward;
use crate::response::Body;

/// How messages carry bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Bytes,
    Base64,
}

impl Form {
    /// The first protocol that the client offers and the server knows, with its name. None at all means bytes.
    fn of(headers: &HeaderMap) -> Option<(Self, Option<&'static str>)> {
        let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
        let mut offered = offered.flat_map(|value| value.split(',')).map(str::trim).peekable();
        if offered.peek().is_none() {
            return Some((Self::Bytes, None));
        }
        offered.find_map(|name| match name {
            "binary.k8s.io" => Some((Self::Bytes, Some("binary.k8s.io"))),
            "base64.binary.k8s.io" => Some((Self::Base64, Some("base64.binary.k8s.io"))),
            _ => None,
        })
    }

    fn message(self, bytes: &[u8]) -> Message {
        match self {
            Self::Bytes => Message::binary(bytes.to_vec()),
            Self::Base64 => Message::text(STANDARD.encode(bytes)),
        }
    }
}

/// Whether a request wants a WebSocket.
pub(crate) fn is_wanted(headers: &HeaderMap) -> bool {
    let protocol = headers.get(UPGRADE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    onward::is_upgrade(headers) && protocol.eq_ignore_ascii_case("websocket")
}

/// Answers with a WebSocket that carries the log; it ends with the log, or when the client closes it.
pub(crate) fn answer(headers: &HeaderMap, upgrade: OnUpgrade, log: Body) -> Result<Response<Body>, ApiError> {
    let key = headers.get(SEC_WEBSOCKET_KEY).ok_or_else(|| ApiError::bad_request("the WebSocket has no key"))?;
    let (form, protocol) =
        Form::of(headers).ok_or_else(|| ApiError::bad_request("no protocol of the WebSocket is known"))?;
    let mut response = Response::new(onward::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answer = response.headers_mut();
    answer.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.insert(UPGRADE, HeaderValue::from_static("websocket"));
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes())).map_err(ApiError::internal)?;
    answer.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(protocol) = protocol {
        answer.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    }
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
        if let Err(error) = carry(socket, form, log).await {
            tracing::debug!(%error, "a log's WebSocket ended");
        }
    });
    Ok(response)
}

async fn carry(
    socket: WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>,
    form: Form,
    mut log: Body,
) -> Result<(), tungstenite::Error> {
    let (mut out, mut back) = socket.split();
    // Compat: an empty message shows that the stream is open.
    out.send(form.message(&[])).await?;
    loop {
        tokio::select! {
            frame = log.frame() => match frame {
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        out.send(form.message(&bytes)).await?;
                    }
                }
                Some(Err(error)) => return Err(io::Error::other(error).into()),
                None => return out.send(Message::Close(None)).await,
            },
            // What a client sends means nothing; that it closes does.
            message = back.next() => if !matches!(message, Some(Ok(_))) { return Ok(()) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_known_protocol_is_spoken() {
        let check = |offered: Option<&'static str>, expected: Option<(Form, Option<&'static str>)>| {
            let mut headers = HeaderMap::new();
            if let Some(offered) = offered {
                headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(offered));
            }
            assert_eq!(Form::of(&headers), expected, "{offered:?}");
        };
        check(None, Some((Form::Bytes, None)));
        check(Some("binary.k8s.io"), Some((Form::Bytes, Some("binary.k8s.io"))));
        check(Some("x, base64.binary.k8s.io"), Some((Form::Base64, Some("base64.binary.k8s.io"))));
        check(Some("x"), None);
        assert_eq!(Form::Base64.message(b"a"), Message::text("YQ=="));
    }
}
