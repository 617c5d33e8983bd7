//! Where names come from.

use std::net::IpAddr;

use client::Informer;
use serde_json::Value;

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

/// The API's objects, found by [`crate::objects::words_of_service`] and [`crate::objects::words_of_slice`].
pub(crate) struct Cluster {
    pub(crate) services: Informer,
    pub(crate) slices: Informer,
}

impl Directory for Cluster {
    fn service(&self, namespace: &str, name: &str) -> Option<Value> {
        self.services.get(&format!("{namespace}/{name}")).map(|service| service.value())
    }

    fn slices(&self, namespace: &str, name: &str) -> Vec<Value> {
        let slices = self.slices.with_word(&format!("{namespace}/{name}"));
        slices.iter().map(|slice| slice.value()).collect()
    }

    fn has_services(&self, namespace: &str) -> bool {
        self.services.has_any_in(namespace)
    }

    fn service_at(&self, address: IpAddr) -> Option<Value> {
        self.services.with_word(&address.to_string()).first().map(|service| service.value())
    }

    fn slices_with(&self, address: IpAddr) -> Vec<Value> {
        self.slices.with_word(&address.to_string()).iter().map(|slice| slice.value()).collect()
    }
}
