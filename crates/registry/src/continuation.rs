//! Continue tokens, in upstream's form: base64 of `{"v":"meta.k8s.io/v1","rv":7,"start":"default/a\u0000"}`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use meta::ApiError;
use serde::{Deserialize, Serialize};

const VERSION: &str = "meta.k8s.io/v1";

/// Where a list goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Continuation {
    /// The revision of the first page; `None` goes on with what is there now.
    pub(crate) revision: Option<u64>,
    /// The first key of the page, relative to the list's own prefix.
    pub(crate) start: String,
}

#[derive(Serialize, Deserialize)]
struct Token {
    v: String,
    #[serde(default)]
    rv: i64,
    #[serde(default)]
    start: String,
}

impl Continuation {
    /// The token that clients send back.
    pub(crate) fn encode(&self) -> String {
        let rv = self.revision.map_or(-1, |revision| i64::try_from(revision).unwrap_or(i64::MAX));
        let token = Token { v: VERSION.to_owned(), rv, start: self.start.clone() };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).expect("a token is plain JSON"))
    }

    /// Reads a token.
    pub(crate) fn decode(token: &str) -> Result<Self, ApiError> {
        let invalid =
            |why: &str| ApiError::bad_request(format!("invalid continue token: continue key is not valid{why}"));
        let bytes =
            URL_SAFE_NO_PAD.decode(token.trim_end_matches('=')).map_err(|error| invalid(&format!(": {error}")))?;
        let token: Token = serde_json::from_slice(&bytes).map_err(|error| {
            let why = schema::json_error(&bytes).unwrap_or_else(|| error.to_string());
            invalid(&format!(": {why}"))
        })?;
        if token.v != VERSION {
            return Err(invalid(&format!(": server does not recognize this encoded version {}", token.v)));
        }
        if token.rv == 0 {
            return Err(invalid(&format!(": incorrect encoded start resourceVersion (version {VERSION})")));
        }
        if token.start.is_empty() {
            return Err(invalid(&format!(": encoded start key empty (version {VERSION})")));
        }
        if token.start.split('/').any(|part| part == "..") {
            return Err(invalid(&format!(": {}", token.start)));
        }
        Ok(Self { revision: u64::try_from(token.rv).ok(), start: token.start })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_upstreams_and_come_back() {
        for (revision, start) in [(Some(7), "default/a\0"), (None, "x")] {
            let token = Continuation { revision, start: start.to_owned() };
            assert_eq!(Continuation::decode(&token.encode()), Ok(token));
        }
        let upstream = URL_SAFE_NO_PAD.encode(r#"{"v":"meta.k8s.io/v1","rv":7,"start":"a"}"#);
        assert_eq!(Continuation::decode(&upstream).map(|token| token.encode()), Ok(upstream));
        for (text, why) in [
            ("{}", "invalid continue token: continue key is not valid: missing field"),
            (
                r#"{"v":"v2","rv":1,"start":"a"}"#,
                "invalid continue token: continue key is not valid: server does not recognize this encoded version v2",
            ),
            (
                r#"{"v":"meta.k8s.io/v1","rv":1,"start":"../a"}"#,
                "invalid continue token: continue key is not valid: ../a",
            ),
        ] {
            let error = Continuation::decode(&URL_SAFE_NO_PAD.encode(text)).expect_err(text);
            assert!(error.message.starts_with(why), "{error}");
        }
    }
}
