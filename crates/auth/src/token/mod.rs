//! Service-account tokens: signed, verified, and bound to objects that must still be there.

mod claims;
mod request;
mod signer;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use meta::{Clock, Object, UserInfo};
use serde_json::Value;

pub use claims::{Bound, Claims, Reference};
pub use request::TokenRequest;
pub use signer::{Signer, SignerError};

use crate::certificate::CREDENTIAL_ID;
use crate::objects::Objects;

/// Clocks may differ so much.
const LEEWAY: SignedDuration = SignedDuration::from_secs(60);

/// So many verified signatures are remembered.
const REMEMBERED: usize = 4096;

/// A token that counts.
#[derive(Clone, Debug)]
pub struct Verified {
    /// Who it stands for.
    pub user: Arc<UserInfo>,
    /// Those of the wanted audiences that it is meant for.
    pub audiences: Vec<String>,
}

/// A token whose signature holds.
struct Known {
    claims: Claims,
    user: Arc<UserInfo>,
}

/// Issues and verifies tokens.
pub struct Tokens {
    signer: Signer,
    issuer: String,
    audiences: Vec<String>,
    objects: Arc<dyn Objects>,
    clock: Arc<dyn Clock>,
    known: Mutex<HashMap<Box<str>, Arc<Known>>>,
}

impl Tokens {
    /// `issuer` is a URL, for example `https://kubernetes.default.svc.cluster.local`, and the API's own audience.
    pub fn new(signer: Signer, issuer: &str, objects: Arc<dyn Objects>, clock: Arc<dyn Clock>) -> Self {
        let known = Mutex::new(HashMap::new());
        Self { signer, issuer: issuer.to_owned(), audiences: vec![issuer.to_owned()], objects, clock, known }
    }

    /// Who the API's own tokens are meant for.
    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// The document at `/openid/v1/jwks`.
    pub fn jwks(&self) -> Value {
        self.signer.jwks()
    }

    /// The document at `/.well-known/openid-configuration`; `address` is the server's host and port for others.
    pub fn openid_configuration(&self, address: &str) -> Value {
        serde_json::json!({
            "issuer": self.issuer,
            "jwks_uri": format!("https://{address}/openid/v1/jwks"),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        })
    }

    /// Checks a token for any of these audiences. `None` if it is none of ours; the error says why it does not count.
    pub fn verify(&self, token: &str, audiences: &[String]) -> Option<Result<Verified, String>> {
        if self.remembered(token).is_none() && !self.issued(token) {
            return None;
        }
        Some(self.check(token, audiences))
    }

    fn check(&self, token: &str, wanted: &[String]) -> Result<Verified, String> {
        let known = match self.remembered(token) {
            Some(known) => known,
            None => self.remember(token)?,
        };
        let own = &known.claims.aud;
        let audiences: Vec<String> = wanted.iter().filter(|wanted| own.contains(wanted)).cloned().collect();
        if audiences.is_empty() {
            return Err(format!("token audiences {own:?} is invalid for the target audiences {wanted:?}"));
        }
        known.claims.check_time(self.clock.now())?;
        self.check_objects(&known.claims.bound)?;
        Ok(Verified { user: Arc::clone(&known.user), audiences })
    }

    /// Whether it claims to be ours, before anything is verified.
    fn issued(&self, token: &str) -> bool {
        signer::unverified::<Claims>(token).is_some_and(|claims| claims.iss == self.issuer)
    }

    fn remembered(&self, token: &str) -> Option<Arc<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(token).cloned()
    }

    fn remember(&self, token: &str) -> Result<Arc<Known>, String> {
        let claims: Claims = self.signer.verify(token)?;
        let known = Arc::new(Known { user: Arc::new(claims.user()), claims });
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= REMEMBERED {
            all.clear();
        }
        all.insert(token.into(), Arc::clone(&known));
        Ok(known)
    }

    fn check_objects(&self, bound: &Bound) -> Result<(), String> {
        let Bound { namespace, serviceaccount, pod, secret, node } = bound;
        let account = self.objects.get("serviceaccounts", namespace, &serviceaccount.name);
        let account = account.ok_or_else(|| format!("serviceaccounts {:?} not found", serviceaccount.name))?;
        if account.metadata.uid != serviceaccount.uid {
            let (is, was) = (&account.metadata.uid, &serviceaccount.uid);
            return Err(format!("service account UID ({is}) does not match claim ({was})"));
        }
        if self.is_gone(&account) {
            return Err(format!("service account {namespace}/{} has been deleted", serviceaccount.name));
        }
        // The node of a token that is bound to a pod is only told, not checked.
        let node = node.as_ref().filter(|_| pod.is_none());
        let bound = [
            ("secrets", "secret", "service account secret", namespace.as_str(), secret.as_ref()),
            ("pods", "pod", "service account pod", namespace, pod.as_ref()),
            ("nodes", "node", "service account node", "", node),
        ];
        for (resource, kind, what, namespace, reference) in bound {
            let Some(reference) = reference else { continue };
            let invalidated = || "service account token has been invalidated".to_owned();
            let object = self.objects.get(resource, namespace, &reference.name).ok_or_else(invalidated)?;
            if object.metadata.uid != reference.uid {
                let (is, was) = (&object.metadata.uid, &reference.uid);
                let kind = if kind == "secret" { "secret".to_owned() } else { capital(kind) };
                return Err(format!("{kind} UID ({is}) does not match {what} ref claim ({was})"));
            }
            if self.is_gone(&object) {
                return Err(invalidated());
            }
        }
        Ok(())
    }

    /// Whether its deletion, grace period included, is over.
    fn is_gone(&self, object: &Object) -> bool {
        let deleted = object.metadata.deletion_timestamp.as_deref().and_then(meta::parse_time);
        deleted.is_some_and(|deleted| deleted + LEEWAY < self.clock.now())
    }
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

impl Claims {
    fn check_time(&self, now: Timestamp) -> Result<(), String> {
        let (soon, lately) = ((now + LEEWAY).as_second(), (now - LEEWAY).as_second());
        if soon < self.nbf {
            return Err("service account token is not valid yet".to_owned());
        }
        if lately > self.exp {
            return Err("service account token has expired".to_owned());
        }
        if soon < self.iat {
            return Err("service account token is issued in the future".to_owned());
        }
        Ok(())
    }

    fn user(&self) -> UserInfo {
        let Bound { namespace, serviceaccount, pod, node, .. } = &self.bound;
        let mut extra = BTreeMap::new();
        let mut tell = |name: &str, value: &str| {
            if !value.is_empty() {
                extra.insert(name.to_owned(), vec![value.to_owned()]);
            }
        };
        if !self.jti.is_empty() {
            tell(CREDENTIAL_ID, &format!("JTI={}", self.jti));
        }
        if let Some(pod) = pod {
            tell("authentication.kubernetes.io/pod-name", &pod.name);
            tell("authentication.kubernetes.io/pod-uid", &pod.uid);
        }
        if let Some(node) = node {
            tell("authentication.kubernetes.io/node-name", &node.name);
            tell("authentication.kubernetes.io/node-uid", &node.uid);
        }
        let account = UserInfo::service_account(namespace, &serviceaccount.name);
        UserInfo { uid: serviceaccount.uid.clone(), extra, ..account }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
