//! JSON for people: indented where `pretty` asks for it, or where the client is a browser, curl or wget.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, Response};
use http_body::Body as _;
use http_body_util::{BodyExt, Full};

use crate::query::Query;
use crate::response::Body;

const PEOPLE: [&str; 3] = ["curl", "Wget", "Mozilla/5.0"];

/// Whether somebody will read the answer.
pub(crate) fn is_wanted(query: Option<&str>, headers: &HeaderMap) -> bool {
    match Query::parse(query).get("pretty") {
        Some(value) => !matches!(value, "0" | "false"),
        None => {
            let agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
            PEOPLE.iter().any(|name| agent.starts_with(name))
        }
    }
}

/// The answer, indented if it is JSON that is all there.
pub(crate) async fn indented(response: Response<Body>) -> Response<Body> {
    let is_json = response.headers().get(CONTENT_TYPE).is_some_and(|value| value == "application/json");
    if !is_json || response.body().size_hint().exact().is_none() {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let bytes = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, Full::new(Bytes::from(indent(&bytes))).map_err(|never| match never {}).boxed_unsync())
}

/// Compat: as Go indents, by two spaces, without an end of the last line.
fn indent(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() * 2);
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    let line = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.extend(std::iter::repeat_n(b' ', depth * 2));
    };
    let mut bytes = json.trim_ascii().iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if in_text {
            out.push(byte);
            in_text = escaped || byte != b'"';
            escaped = byte == b'\\' && !escaped;
            continue;
        }
        match byte {
            b'{' | b'[' => {
                out.push(byte);
                let empty = bytes.peek().is_some_and(|next| matches!(next, b'}' | b']'));
                if empty {
                    out.extend(bytes.next());
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                line(&mut out, depth);
            }
            b':' => out.extend(b": "),
            byte if byte.is_ascii_whitespace() => {}
            byte => {
                in_text = byte == b'"';
                out.push(byte);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn people_are_known_by_their_programs() {
        let check = |query: Option<&str>, agent: &'static str, expected: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(USER_AGENT, HeaderValue::from_static(agent));
            assert_eq!(is_wanted(query, &headers), expected, "{query:?} {agent}");
        };
        check(None, "curl/8.0", true);
        check(None, "kubectl/v1.36.3", false);
        check(Some("pretty=0"), "curl/8.0", false);
        check(Some("pretty=true"), "kubectl/v1.36.3", true);
    }

    #[test]
    fn texts_stay_as_they_are() {
        let check =
            |json: &str, expected: &str| assert_eq!(String::from_utf8_lossy(&indent(json.as_bytes())), expected);
        check(
            r#"{"a":{},"b":[1,"x:{\"y\\"],"c":[]}"#,
            "{\n  \"a\": {},\n  \"b\": [\n    1,\n    \"x:{\\\"y\\\\\"\n  ],\n  \"c\": []\n}",
        );
        check("{ \"a\" : 1 }\n", "{\n  \"a\": 1\n}");
    }
}
