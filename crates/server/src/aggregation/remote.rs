//! One server that answers in our place.

use std::sync::Arc;

use admission::{ServicePort, trusting};
use meta::GroupVersion;
use rustls::ClientConfig;
use rustls::client::ResolvesClientCert;
use serde_json::Value;

use super::priority::Priority;

/// Where an APIService leads.
pub(crate) struct Remote {
    /// What it serves.
    pub(crate) gv: GroupVersion,
    /// Where it stands among others in discovery.
    pub(crate) priority: Priority,
    /// Whether it answered when it was last asked.
    pub(crate) available: bool,
    /// The service that it is behind.
    pub(super) service: ServicePort,
    /// How it is spoken to, or why it cannot be.
    pub(super) tls: Result<Arc<ClientConfig>, String>,
    trust: Trust,
}

/// What the connection is protected by.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Trust {
    authority: String,
    insecure: bool,
}

impl Remote {
    /// Reads an APIService; `None` for a local one. The TLS settings of what was `known` are kept while they are the same:
    /// sessions are resumed from them.
    pub(super) fn read(
        service: &Value,
        known: Option<&Self>,
        certificate: &Arc<dyn ResolvesClientCert>,
    ) -> Option<Self> {
        let spec = &service["spec"];
        if !spec["service"].is_object() {
            return None;
        }
        let trust = Trust {
            authority: spec["caBundle"].as_str().unwrap_or_default().to_owned(),
            insecure: spec["insecureSkipTLSVerify"] == true,
        };
        let tls = match known.filter(|known| known.trust == trust) {
            Some(known) => known.tls.clone(),
            None => trust.tls(certificate).map(Arc::new),
        };
        let mut conditions = service["status"]["conditions"].as_array().into_iter().flatten();
        let available = conditions.any(|own| own["type"] == "Available" && own["status"] == "True");
        let number = |field: &str| spec[field].as_i64().unwrap_or_default();
        Some(Self {
            gv: super::served(service),
            priority: Priority { group: number("groupPriorityMinimum"), version: number("versionPriority") },
            available,
            service: ServicePort::read(&spec["service"]),
            tls,
            trust,
        })
    }

    /// The name of its APIService.
    pub(crate) fn name(&self) -> String {
        format!("{}.{}", self.gv.version, self.gv.group)
    }

    /// The path beneath which it answers.
    pub(crate) fn prefix(&self) -> String {
        if self.gv.group.is_empty() { format!("/api/{}", self.gv) } else { format!("/apis/{}", self.gv) }
    }
}

impl Trust {
    fn tls(&self, certificate: &Arc<dyn ResolvesClientCert>) -> Result<ClientConfig, String> {
        if self.insecure {
            return Ok(client::trusting_tls_as(Arc::clone(certificate)));
        }
        Ok(trusting(&self.authority)?.with_client_cert_resolver(Arc::clone(certificate)))
    }
}
