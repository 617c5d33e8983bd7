//! One request sent on over a connection of its own, with the streams joined where both sides upgrade.
//!
//! Redirects are never followed, and a connection is never used twice.

use std::io;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderName, UPGRADE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::response::Body;

/// Why a request didn't get through; shown to its sender.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// An extension of answers that came from elsewhere: they go to the client as they are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Relayed;

/// A connection to whoever answers.
pub(crate) trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// Sends a request on. `ours` is the sender's side of an upgrade: once the answer is one, bytes go both ways.
pub(crate) async fn send(
    stream: Box<dyn Connection>,
    onward: Request<Body>,
    ours: Option<OnUpgrade>,
) -> Result<Response<Body>, Failure> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the answer's body, or with the streams after an upgrade.
    tokio::spawn(connection.with_upgrades());
    let mut answer = sender.send_request(onward).await?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        let Some(ours) = ours else { return Err("invalid upgrade response: status code 101".into()) };
        let theirs = hyper::upgrade::on(&mut answer);
        tokio::spawn(async move {
            let (Ok(theirs), Ok(ours)) = (theirs.await, ours.await) else { return };
            // Whoever closes first ends both directions.
            let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(theirs), &mut TokioIo::new(ours)).await;
        });
    }
    let (mut parts, body) = answer.into_parts();
    parts.extensions.insert(Relayed);
    Ok(Response::from_parts(parts, body.map_err(io::Error::other).boxed_unsync()))
}

/// No body.
pub(crate) fn empty() -> Body {
    Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync()
}

/// Whether the request wants to speak another protocol from here on.
pub(crate) fn is_upgrade(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    headers.contains_key(UPGRADE) && values.any(|value| value.to_ascii_lowercase().contains("upgrade"))
}

/// Takes away what is meant for one connection only; an upgrade's own headers stay where `upgrading`.
pub(crate) fn drop_hop_by_hop(headers: &mut HeaderMap, upgrading: bool) {
    const HOP_BY_HOP: [&str; 8] = [
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "connection",
    ];
    let protocol = headers.get(UPGRADE).cloned().filter(|_| upgrading);
    let listed: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in listed {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    headers.remove(UPGRADE);
    if let Some(protocol) = protocol {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, protocol);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_one_connection_go_no_further() {
        let check = |upgrading: bool, expected: &[&str]| {
            let mut headers = HeaderMap::new();
            for (name, value) in [
                ("connection", "Upgrade, X-Private"),
                ("upgrade", "websocket"),
                ("x-private", "1"),
                ("te", "trailers"),
                ("accept", "*/*"),
            ] {
                headers.insert(name, HeaderValue::from_static(value));
            }
            assert!(is_upgrade(&headers));
            drop_hop_by_hop(&mut headers, upgrading);
            let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
            names.sort_unstable();
            assert_eq!(names, expected);
        };
        check(true, &["accept", "connection", "upgrade"]);
        check(false, &["accept"]);
    }
}
