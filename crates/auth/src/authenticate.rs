//! Who is asking: certificate, token, or nobody.

use std::sync::Arc;

use meta::{ApiError, UserInfo};

use crate::bootstrap_token::BootstrapTokens;
use crate::tls::Peer;
use crate::token::{Tokens, Verified};

/// Finds the user behind a request.
pub struct Authenticator {
    tokens: Arc<Tokens>,
    bootstrap: BootstrapTokens,
    anonymous: Arc<UserInfo>,
}

impl Authenticator {
    /// Knows the tokens; certificates are judged once a connection.
    pub fn new(tokens: Arc<Tokens>, bootstrap: BootstrapTokens) -> Self {
        Self { tokens, bootstrap, anonymous: Arc::new(UserInfo::anonymous()) }
    }

    /// The tokens it knows.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// The user behind a request with this `Authorization` header.
    pub fn request(&self, peer: &Peer, authorization: Option<&str>) -> Result<Arc<UserInfo>, ApiError> {
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
        // Compat: whoever brings no credentials is somebody, whom authorization lets see next to nothing.
        match peer {
            Peer::Nobody => Ok(Arc::clone(&self.anonymous)),
            Peer::Known(_) | Peer::Refused => Err(ApiError::unauthorized()),
        }
    }

    /// Who a token stands for, for any of these audiences.
    pub fn token(&self, token: &str, audiences: &[String]) -> Result<Verified, String> {
        if let Some(judged) = self.tokens.verify(token, audiences) {
            return judged;
        }
        let user = self.bootstrap.verify(token).unwrap_or_else(|| Err("invalid bearer token".to_owned()))?;
        // Compat: what names no audience is meant for the API's own.
        let meant = self.tokens.audiences();
        let audiences: Vec<String> = audiences.iter().filter(|wanted| meant.contains(wanted)).cloned().collect();
        if audiences.is_empty() {
            return Err("bootstrap tokens are for the API alone".to_owned());
        }
        Ok(Verified { user: Arc::new(user), audiences })
    }
}

/// The token in an `Authorization` header.
pub fn bearer(authorization: &str) -> Option<&str> {
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
        let bootstrap = BootstrapTokens::new(Arc::new(OneAccount), Arc::clone(&clock) as _);
        let tokens = Arc::new(Tokens::new(signer, "https://x", Arc::new(OneAccount), clock));
        let serviceaccount = Reference { name: "bot".into(), uid: "u".into() };
        let bound = Bound { namespace: "ns".into(), serviceaccount, ..Bound::default() };
        let token = tokens.mint(bound, tokens.audiences(), 600).expect("a token");
        let authenticator = Authenticator::new(tokens, bootstrap);
        let check = |peer: &Peer, header: Option<&str>, expected: &str| {
            let found = authenticator.request(peer, header);
            let found = found.map_or_else(|error| error.message, |user| user.name.clone());
            assert_eq!(found, expected, "{peer:?} {header:?}");
        };
        let ann = Peer::Known(Arc::new(UserInfo::new("ann", &[])));
        let bot = "system:serviceaccount:ns:bot";
        let (good, odd) = (format!("Bearer {token}"), format!("bearer   {token}"));
        check(&ann, None, "ann");
        check(&ann, Some("Bearer x"), "ann");
        check(&Peer::Nobody, Some(&good), bot);
        check(&Peer::Refused, Some(&odd), bot);
        check(&Peer::Nobody, Some("Bearer x"), "Unauthorized");
        check(&Peer::Nobody, Some("Basic eDp5"), "system:anonymous");
        check(&Peer::Nobody, None, "system:anonymous");
        check(&Peer::Refused, None, "Unauthorized");
    }
}
