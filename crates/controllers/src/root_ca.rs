//! Publishes the cluster's authority to every namespace, as the config map `kube-root-ca.crt`.

use async_trait::async_trait;
use client::{Client, Controller, Informer, Outcome, ReconcileError, Source};
use meta::{FieldSelector, Gvr, LabelSelector, Reason};
use serde_json::{Value, json};

const NAME: &str = "kube-root-ca.crt";

pub(crate) struct RootCa {
    pub(crate) client: Client,
    pub(crate) namespaces: Informer,
    pub(crate) published: Informer,
    pub(crate) authority: String,
}

fn config_maps() -> Gvr {
    Gvr::new("", "v1", "configmaps")
}

/// The config maps of this name, wherever they are.
pub(crate) fn published(reader: &Client) -> Informer {
    let named = FieldSelector::equal("metadata.name", NAME);
    Informer::selected(reader.clone(), config_maps(), LabelSelector::default(), named)
}

impl RootCa {
    fn wanted(&self, namespace: &str) -> Value {
        json!({
            "kind": "ConfigMap", "apiVersion": "v1",
            "metadata": {"name": NAME, "namespace": namespace, "annotations": {
                "kubernetes.io/description": "Contains a CA bundle that can be used to verify the kube-apiserver when using \
                                              internal endpoints such as the internal service IP or \
                                              kubernetes.default.svc. No other usage is guaranteed across distributions of \
                                              Kubernetes clusters.",
            }},
            "data": {"ca.crt": self.authority},
        })
    }
}

#[async_trait]
impl Controller for RootCa {
    fn name(&self) -> &'static str {
        "root-ca"
    }

    fn sources(&self) -> Vec<Source> {
        vec![
            Source { informer: self.namespaces.clone(), keys: |object| vec![object.metadata.name.clone()] },
            Source { informer: self.published.clone(), keys: |object| vec![object.metadata.namespace.clone()] },
        ]
    }

    async fn reconcile(&self, key: &str) -> Result<Outcome, ReconcileError> {
        let alive = self.namespaces.get(key).is_some_and(|namespace| !namespace.metadata.is_terminating());
        if !alive {
            return Ok(Outcome::default());
        }
        let wanted = self.wanted(key);
        let written = match self.published.get(&format!("{key}/{NAME}")) {
            Some(found) if found.value()["data"] == wanted["data"] => return Ok(Outcome::default()),
            Some(_) => self.client.update(&config_maps(), wanted).await,
            None => self.client.create(&config_maps(), key, wanted).await,
        };
        match written {
            Ok(object) => Ok(Outcome { wrote: object.revision, ..Outcome::default() }),
            Err(error) if error.reason == Reason::AlreadyExists => Ok(Outcome::default()),
            Err(error) => Err(error.into()),
        }
    }
}
