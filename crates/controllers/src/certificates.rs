//! Signs approved requests for certificates.

use std::sync::Arc;

use async_trait::async_trait;
use client::{Client, Controller, Informer, Outcome, ReconcileError, Source};
use meta::{Clock, format_time};
use serde_json::{Value, json};

/// Signs a request's `spec`, base64 PEM: `None` where another signer is meant; an error says why it is refused.
pub type Sign = Arc<dyn Fn(&Value) -> Option<Result<String, String>> + Send + Sync>;

/// The controller.
pub(crate) struct Certificates {
    pub(crate) client: Client,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) requests: Informer,
    pub(crate) sign: Sign,
}

/// Whether a request waits for its certificate.
fn waits(request: &Value) -> bool {
    let has = |kind: &str| {
        let conditions = request["status"]["conditions"].as_array().into_iter().flatten();
        conditions.into_iter().any(|condition| condition["type"] == kind && condition["status"] == "True")
    };
    let certificate = request["status"]["certificate"].as_str().unwrap_or_default();
    has("Approved") && !has("Denied") && !has("Failed") && certificate.is_empty()
}

/// The request with what became of it.
fn settled(mut request: Value, outcome: Result<String, String>, now: &str) -> Value {
    match outcome {
        Ok(certificate) => request["status"]["certificate"] = json!(certificate),
        Err(why) => {
            let failed = json!({"type": "Failed", "status": "True", "reason": "SignerValidationFailure", "message": why,
                "lastUpdateTime": now});
            match request["status"]["conditions"].as_array_mut() {
                Some(conditions) => conditions.push(failed),
                None => request["status"]["conditions"] = json!([failed]),
            }
        }
    }
    request
}

#[async_trait]
impl Controller for Certificates {
    fn name(&self) -> &'static str {
        "certificate-signing"
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source { informer: self.requests.clone(), keys: |request| vec![request.metadata.key()] }]
    }

    async fn reconcile(&self, key: &str) -> Result<Outcome, ReconcileError> {
        let Some(object) = self.requests.get(key) else { return Ok(Outcome::default()) };
        let request = object.value();
        let Some(outcome) = waits(&request).then(|| (self.sign)(&request["spec"])).flatten() else {
            return Ok(Outcome::default());
        };
        let settled = settled(request, outcome, &format_time(self.clock.now()));
        let written = self.client.update_status(self.requests.gvr(), settled).await?;
        Ok(Outcome { wrote: written.revision, ..Outcome::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_approved_requests_are_signed_and_once() {
        let check = |status: Value, expected: bool| assert_eq!(waits(&json!({"status": status})), expected, "{status}");
        let condition = |kind: &str| json!({"type": kind, "status": "True"});
        check(json!({}), false);
        check(json!({"conditions": [condition("Approved")]}), true);
        check(json!({"conditions": [condition("Approved"), condition("Failed")]}), false);
        check(json!({"conditions": [condition("Denied")]}), false);
        check(json!({"conditions": [condition("Approved")], "certificate": "YQ=="}), false);
    }

    #[test]
    fn a_refusal_is_a_condition() {
        let request = json!({"status": {"conditions": [{"type": "Approved", "status": "True"}]}});
        let refused = settled(request.clone(), Err("no".to_owned()), "now");
        assert_eq!(refused["status"]["conditions"][1]["reason"], "SignerValidationFailure");
        assert!(!waits(&refused));
        assert_eq!(settled(request, Ok("YQ==".to_owned()), "now")["status"]["certificate"], "YQ==");
    }
}
