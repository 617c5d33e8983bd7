//! Where names come from.

use std::net::IpAddr;

use client::Informer;
use meta::Object;
use serde_json::Value;

use crate::proxy::text;

/// What a zone is answered from.
pub(crate) trait Directory: Send + Sync {
    /// A service.
    fn service(&self, namespace: &str, name: &str) -> Option<Value>;
    /// Its slices.
    fn slices(&self, namespace: &str, name: &str) -> Vec<Value>;
    /// Whether the namespace has services.
    fn has_services(&self, namespace: &str) -> bool;
    /// The service that has this cluster IP.
    fn service_at(&self, address: IpAddr) -> Option<Value>;
    /// Slices that may hold this address.
    fn slices_with(&self, address: IpAddr) -> Vec<Value>;
}

const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The API's objects.
pub(crate) struct Cluster {
    pub(crate) services: Informer,
    pub(crate) slices: Informer,
}

impl Directory for Cluster {
    fn service(&self, namespace: &str, name: &str) -> Option<Value> {
        self.services.get(&format!("{namespace}/{name}")).map(|service| service.value())
    }

    fn slices(&self, namespace: &str, name: &str) -> Vec<Value> {
        let is_own = |slice: &Object| slice.metadata.labels.get(SERVICE_NAME).is_some_and(|own| own == name);
        self.slices.find(namespace, is_own).iter().map(|slice| slice.value()).collect()
    }

    fn has_services(&self, namespace: &str) -> bool {
        !self.services.in_namespace(namespace).is_empty()
    }

    fn service_at(&self, address: IpAddr) -> Option<Value> {
        let wanted = address.to_string();
        let services = self.services.list();
        let quoted = format!("\"{wanted}\"");
        let mut found = services.iter().filter(|service| holds(service.json(), &quoted)).map(|service| service.value());
        found.find(|service| text(service, "/spec/clusterIP") == wanted)
    }

    fn slices_with(&self, address: IpAddr) -> Vec<Value> {
        let quoted = format!("\"{address}\"");
        let slices = self.slices.list();
        slices.iter().filter(|slice| holds(slice.json(), &quoted)).map(|slice| slice.value()).collect()
    }
}

/// Whether the text is somewhere in the bytes: most objects need not be read for that.
fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}
