//! Who is asking: certificate, token, or nobody.

use std::sync::Arc;

use meta::{ApiError, UserInfo};

use crate::tls::Peer;
use crate::token::{Tokens, Verified};

/// Where callers without credentials may go. Compat: KEP-4633; upstream's default lets them authenticate everywhere and
/// leaves the refusal to authorization.
const ANONYMOUS_PATHS: [&str; 5] = ["/livez", "/readyz", "/healthz", "/version", "/version/"];

/// Finds the user behind a request.
pub struct Authenticator {
    tokens: Arc<Tokens>,
    anonymous: Arc<UserInfo>,
}

impl Authenticator {
    /// Knows the tokens; certificates are judged once a connection.
    pub fn new(tokens: Arc<Tokens>) -> Self {
        Self { tokens, anonymous: Arc::new(UserInfo::anonymous()) }
    }

    /// The tokens it knows.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// The user behind a request for `path` with this `Authorization` header.
    pub fn request(&self, peer: &Peer, authorization: Option<&str>, path: &str) -> Result<Arc<UserInfo>, ApiError> {
        if let Peer::Known(user) = peer {
            return Ok(Arc::clone(user));
        }
        if let Some(token) = authorization.and_then(bearer) {
            return match self.token(token, self.tokens.audiences()) {
                Ok(verified) => Ok(verified.user),
                Err(error) => {
                    tracing::debug!(error, "a token does not count");
                    Err(ApiError::unauthorized())
                }
            };
        }
        let may_be_anonymous = matches!(peer, Peer::Nobody) && ANONYMOUS_PATHS.contains(&path);
        if may_be_anonymous { Ok(Arc::clone(&self.anonymous)) } else { Err(ApiError::unauthorized()) }
    }

    /// Who a token stands for, for any of these audiences.
    pub fn token(&self, token: &str, audiences: &[String]) -> Result<Verified, String> {
        self.tokens.verify(token, audiences).unwrap_or_else(|| Err("invalid bearer token".to_owned()))
    }
}

/// The token in an `Authorization` header.
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.trim().split_once(' ')?;
    let token = token.trim_start();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use meta::{Object, TestClock};

    use super::*;
    use crate::objects::Objects;
    use crate::token::{Bound, Reference, Signer};

    struct OneAccount;

    impl Objects for OneAccount {
        fn get(&self, resource: &str, _namespace: &str, name: &str) -> Option<Arc<Object>> {
            let account = serde_json::json!({"kind": "ServiceAccount", "metadata": {"name": name, "uid": "u"}});
            (resource == "serviceaccounts").then(|| Arc::new(Object::from_value(&account).expect("an object")))
        }
    }

    #[test]
    fn everybody_is_found_or_refused() {
        let signer = Signer::new(&rcgen::KeyPair::generate().expect("a key")).expect("it signs");
        let clock = Arc::new(TestClock::at(jiff::Timestamp::UNIX_EPOCH));
        let tokens = Arc::new(Tokens::new(signer, "https://x", Arc::new(OneAccount), clock));
        let serviceaccount = Reference { name: "bot".into(), uid: "u".into() };
        let bound = Bound { namespace: "ns".into(), serviceaccount, ..Bound::default() };
        let token = tokens.mint(bound, tokens.audiences(), 600).expect("a token");
        let authenticator = Authenticator::new(tokens);
        let check = |peer: &Peer, header: Option<&str>, path: &str, expected: &str| {
            let found = authenticator.request(peer, header, path);
            let found = found.map_or_else(|error| error.message, |user| user.name.clone());
            assert_eq!(found, expected, "{peer:?} {header:?} {path}");
        };
        let ann = Peer::Known(Arc::new(UserInfo::new("ann", &[])));
        let bot = "system:serviceaccount:ns:bot";
        let (good, odd) = (format!("Bearer {token}"), format!("bearer   {token}"));
        check(&ann, None, "/api", "ann");
        check(&ann, Some("Bearer x"), "/api", "ann");
        check(&Peer::Nobody, Some(&good), "/api", bot);
        check(&Peer::Refused, Some(&odd), "/api", bot);
        check(&Peer::Nobody, Some("Bearer x"), "/healthz", "Unauthorized");
        check(&Peer::Nobody, Some("Basic eDp5"), "/api", "Unauthorized");
        check(&Peer::Nobody, None, "/api", "Unauthorized");
        check(&Peer::Nobody, None, "/healthz", "system:anonymous");
        check(&Peer::Nobody, None, "/version", "system:anonymous");
        check(&Peer::Nobody, None, "/healthz/etcd", "Unauthorized");
        check(&Peer::Refused, None, "/healthz", "Unauthorized");
    }
}
