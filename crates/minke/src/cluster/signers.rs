//! The cluster's signers of certificates: a request's document, and the authority that signs it.

use std::sync::Arc;
use std::time::Duration;

use auth::pki::{Pki, SigningRequest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use meta::Clock;
use serde_json::Value;

/// Signs with the cluster's authority.
pub(super) fn sign(pki: &Arc<Pki>, clock: &Arc<dyn Clock>) -> controllers::Sign {
    let (pki, clock) = (Arc::clone(pki), Arc::clone(clock));
    Arc::new(move |spec| {
        let request = request(spec)?;
        let signed = pki.cluster.sign(&request, clock.now())?;
        Some(signed.map(|pem| STANDARD.encode(pem)))
    })
}

fn request(spec: &Value) -> Option<SigningRequest> {
    let text = |field: &str| spec[field].as_str().unwrap_or_default();
    let usages = spec["usages"].as_array().into_iter().flatten();
    Some(SigningRequest {
        signer: text("signerName").to_owned(),
        pem: String::from_utf8(STANDARD.decode(text("request")).ok()?).ok()?,
        usages: usages.filter_map(Value::as_str).map(str::to_owned).collect(),
        expiration: spec["expirationSeconds"].as_u64().map(Duration::from_secs),
    })
}
