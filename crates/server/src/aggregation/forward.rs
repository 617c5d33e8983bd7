//! Requests that an aggregated server answers: they go on in the name of their user, and its answer comes back as it is.

use std::sync::Arc;
use std::time::Duration;

use http::header::LOCATION;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use meta::UserInfo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rand::seq::IndexedRandom;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use super::remote::Remote;
use crate::door::Door;
use crate::onward::{self, Connection, Failure};
use crate::proxy::{self, Client};
use crate::response::{Body, page};

/// How long the server has to take the connection.
const DIAL: Duration = Duration::from_secs(30);

/// What the keys of a user's further facts are written without. Compat: the signs that header names may have stay, `%` apart.
const KEY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'*')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// Sends a request on, and brings back the answer. Compat: what goes wrong here is told as plain text.
pub(crate) async fn forward(
    door: &Door,
    remote: &Remote,
    user: &UserInfo,
    mut request: Request<Incoming>,
) -> Response<Body> {
    if !remote.available {
        return page(StatusCode::SERVICE_UNAVAILABLE, "service unavailable");
    }
    let upgrading = onward::is_upgrade(request.headers());
    let ours = upgrading.then(|| hyper::upgrade::on(&mut request));
    let client = request.extensions().get::<Client>().copied();
    let (parts, body) = request.into_parts();
    let (path, target) = (parts.uri.path(), parts.uri.path_and_query().map_or("/", |target| target.as_str()));
    let host = format!("{}:{}", remote.service.host(), remote.service.port);
    let mut headers = proxy::headers_on(parts.headers, &host, path, client, upgrading);
    identify(&mut headers, user);
    let body = if upgrading { onward::empty() } else { body.map_err(std::io::Error::other).boxed_unsync() };
    let onward = Request::builder().method(parts.method).uri(target).body(body);
    let sent = async {
        let mut onward = onward?;
        *onward.headers_mut() = headers;
        onward::send(connect(door, remote).await?, onward, ours).await
    };
    match sent.await {
        Ok(answer) => came_back(answer),
        Err(error) => {
            tracing::debug!(service = %host, error, "an aggregated server can't be reached");
            page(StatusCode::SERVICE_UNAVAILABLE, &error.to_string())
        }
    }
}

fn came_back(mut answer: Response<Body>) -> Response<Body> {
    if answer.status().is_redirection() && answer.headers().contains_key(LOCATION) {
        let text = "the backend attempted to redirect this request, which is not permitted";
        return page(StatusCode::BAD_GATEWAY, text);
    }
    let switched = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
    onward::drop_hop_by_hop(answer.headers_mut(), switched);
    answer
}

/// Opens a connection to the server.
pub(super) async fn connect(door: &Door, remote: &Remote) -> Result<Box<dyn Connection>, Failure> {
    let dial = &*door.config.dial;
    let addresses = remote.service.addresses(dial, &*door.config.registry).await?;
    let address = addresses.choose(&mut rand::rng()).ok_or("no address")?;
    let tls = remote.tls.clone()?;
    let stream = tokio::time::timeout(DIAL, dial.dial(*address)).await;
    let failed = |error: &dyn std::fmt::Display| format!("dial tcp {address}: {error}");
    let stream = stream.map_err(|_| failed(&"i/o timeout"))?.map_err(|error| failed(&proxy::go_text(&error)))?;
    let name = ServerName::try_from(remote.service.host())?;
    let stream = TlsConnector::from(tls).connect(name, stream).await;
    Ok(Box::new(stream.map_err(|error| format!("tls: {error}"))?))
}

/// Says in whose name a request comes, and takes away what its sender said of that.
pub(super) fn identify(headers: &mut HeaderMap, user: &UserInfo) {
    let claimed: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("x-remote-")).cloned().collect();
    for name in claimed {
        headers.remove(name);
    }
    let extra = user.extra.iter().flat_map(|(key, values)| {
        let name = format!("x-remote-extra-{}", utf8_percent_encode(&key.to_lowercase(), KEY));
        values.iter().map(move |value| (name.clone(), value.as_str()))
    });
    let uid = Some(user.uid.as_str()).filter(|uid| !uid.is_empty());
    let own = [("x-remote-user".to_owned(), user.name.as_str())].into_iter();
    let own = own.chain(uid.map(|uid| ("x-remote-uid".to_owned(), uid)));
    let own = own.chain(user.groups.iter().map(|group| ("x-remote-group".to_owned(), group.as_str()))).chain(extra);
    for (name, value) in own {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(value.as_bytes())) {
            headers.append(name, value);
        }
    }
}

/// The user that we ask as, for ourselves.
pub(super) fn aggregator() -> Arc<UserInfo> {
    let groups = vec!["system:masters".to_owned()];
    Arc::new(UserInfo { name: "system:kube-aggregator".to_owned(), groups, ..UserInfo::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_told_and_nobody_can_pretend() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("x-remote-user", "root"), ("x-remote-extra-a", "b"), ("accept", "*/*")] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let mut user = UserInfo::new("ann", &["dev"]);
        user.uid = "1".to_owned();
        user.extra.insert("example.com/Key%".to_owned(), vec!["x".to_owned(), "y".to_owned()]);
        identify(&mut headers, &user);
        let all = |name: &str| {
            let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
            values.collect::<Vec<_>>().join(",")
        };
        let check = |name: &str, expected: &str| assert_eq!(all(name), expected, "{name}");
        check("x-remote-user", "ann");
        check("x-remote-uid", "1");
        check("x-remote-group", "dev,system:authenticated");
        check("x-remote-extra-example.com%2fkey%25", "x,y");
        check("x-remote-extra-a", "");
        check("accept", "*/*");
    }

    #[test]
    fn redirects_go_nowhere() {
        let mut answer = page(StatusCode::FOUND, "");
        answer.headers_mut().insert(LOCATION, HeaderValue::from_static("https://elsewhere"));
        assert_eq!(came_back(answer).status(), StatusCode::BAD_GATEWAY);
    }
}
