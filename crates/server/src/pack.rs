//! Large answers are packed for clients that can unpack them.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, HeaderValue, VARY};
use http::{HeaderMap, Response, StatusCode};
use http_body::Body as _;
use http_body_util::{BodyExt, Full};

use crate::response::Body;

/// Compat: upstream packs what is larger than this.
const LARGE: u64 = 128 << 10;

/// Whether a client unpacks gzip.
pub(crate) fn is_wanted(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let mut choices = values.flat_map(|value| value.split(','));
    choices.any(|choice| {
        let mut parts = choice.split(';').map(str::trim);
        parts.next() == Some("gzip") && !parts.any(|part| matches!(part, "q=0" | "q=0.0"))
    })
}

/// The answer, packed if it is large and all there.
pub(crate) async fn packed(response: Response<Body>) -> Response<Body> {
    let size = response.body().size_hint().exact().unwrap_or(0);
    let fits = response.status() == StatusCode::OK && !response.headers().contains_key(CONTENT_ENCODING);
    if size <= LARGE || !fits {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(collected) = body.collect().await else {
        return Response::from_parts(parts, Body::new(Full::default().map_err(|never| match never {})));
    };
    let bytes = collected.to_bytes();
    let whole = bytes.clone();
    let gzip = tokio::task::spawn_blocking(move || gzip(&bytes)).await.ok().flatten();
    let body = match gzip {
        Some(gzip) => {
            parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            parts.headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
            parts.headers.remove(CONTENT_LENGTH);
            gzip
        }
        None => whole,
    };
    Response::from_parts(parts, Full::new(body).map_err(|never| match never {}).boxed_unsync())
}

fn gzip(bytes: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::response::whole;

    #[test]
    fn clients_say_whether_they_unpack() {
        let check = |accept: &'static str, expected: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(accept));
            assert_eq!(is_wanted(&headers), expected, "{accept}");
        };
        check("gzip", true);
        check("deflate, gzip;q=0.5", true);
        check("gzip;q=0", false);
        check("identity", false);
    }

    #[tokio::test]
    async fn only_large_answers_are_packed() {
        let check = async |size: usize, expected: bool| {
            let response = packed(whole(StatusCode::OK, "application/json", vec![b'a'; size])).await;
            assert_eq!(response.headers().contains_key(CONTENT_ENCODING), expected, "{size}");
            let sent = response.into_body().collect().await.expect("a body").to_bytes().len();
            assert_eq!(sent < size, expected);
        };
        check(100, false).await;
        check(200_000, true).await;
    }
}
