//! Gives every namespace its service account `default`.

use async_trait::async_trait;
use client::{Client, Controller, Informer, Outcome, ReconcileError, Source};
use meta::{Gvr, Reason};
use serde_json::json;

pub(crate) struct ServiceAccounts {
    pub(crate) client: Client,
    pub(crate) namespaces: Informer,
    pub(crate) accounts: Informer,
}

fn accounts() -> Gvr {
    Gvr::new("", "v1", "serviceaccounts")
}

#[async_trait]
impl Controller for ServiceAccounts {
    fn name(&self) -> &'static str {
        "service-account"
    }

    fn sources(&self) -> Vec<Source> {
        vec![
            Source { informer: self.namespaces.clone(), keys: |object| vec![object.metadata.name.clone()] },
            Source { informer: self.accounts.clone(), keys: |object| vec![object.metadata.namespace.clone()] },
        ]
    }

    async fn reconcile(&self, key: &str) -> Result<Outcome, ReconcileError> {
        let alive = self.namespaces.get(key).is_some_and(|namespace| !namespace.metadata.is_terminating());
        if !alive || self.accounts.get(&format!("{key}/default")).is_some() {
            return Ok(Outcome::default());
        }
        let account =
            json!({"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "default", "namespace": key}});
        match self.client.create(&accounts(), key, account).await {
            Ok(made) => Ok(Outcome { wrote: made.revision, ..Outcome::default() }),
            Err(error) if error.reason == Reason::AlreadyExists => Ok(Outcome::default()),
            Err(error) => Err(error.into()),
        }
    }
}
