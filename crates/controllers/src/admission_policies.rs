//! Validating admission policies: tells that their expressions were looked at.
//!
//! Types that an expression gets wrong are told when it is written, by the API server; what it refers to in objects of a kind is
//! only known as it runs, so there is nothing to warn of here.

use async_trait::async_trait;
use client::{Client, Controller, Informer, Outcome, ReconcileError, Source};
use meta::{Gvr, Reason};
use serde_json::{Value, json};

pub(crate) struct AdmissionPolicies {
    pub(crate) client: Client,
    pub(crate) policies: Informer,
}

/// Where policies are.
pub(crate) fn policies() -> Gvr {
    Gvr::new("admissionregistration.k8s.io", "v1", "validatingadmissionpolicies")
}

/// The status that a policy should have.
fn settled(policy: &Value) -> Value {
    let mut status = policy["status"].clone();
    status["observedGeneration"] = policy["metadata"]["generation"].clone();
    if !status["typeChecking"].is_object() {
        status["typeChecking"] = json!({});
    }
    status
}

#[async_trait]
impl Controller for AdmissionPolicies {
    fn name(&self) -> &'static str {
        "validatingadmissionpolicy-status"
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source { informer: self.policies.clone(), keys: |object| vec![object.metadata.name.clone()] }]
    }

    async fn reconcile(&self, key: &str) -> Result<Outcome, ReconcileError> {
        let Some(object) = self.policies.get(key) else { return Ok(Outcome::default()) };
        let mut policy = object.value();
        let status = settled(&policy);
        if status == policy["status"] {
            return Ok(Outcome::default());
        }
        policy["status"] = status;
        match self.client.update_status(&policies(), policy).await {
            Ok(object) => Ok(Outcome { again_after: None, wrote: object.revision }),
            Err(error) if error.reason == Reason::NotFound => Ok(Outcome::default()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_looked_at_once_for_each_generation() {
        let mut policy = json!({"metadata": {"generation": 2}, "status": {}});
        policy["status"] = settled(&policy);
        assert_eq!(policy["status"], json!({"observedGeneration": 2, "typeChecking": {}}));
        assert_eq!(settled(&policy), policy["status"]);
    }
}
