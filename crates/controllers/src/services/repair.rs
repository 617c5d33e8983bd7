//! IPAddresses that somebody removed while their service lives are made again.

use async_trait::async_trait;
use client::{Client, Controller, Informer, Outcome, ReconcileError, Source};
use meta::{Object, Reason};
use serde_json::{Value, json};

use super::{items, networking, text};

pub(crate) struct Repair {
    /// The server's own: who else makes addresses.
    pub(crate) client: Client,
    pub(crate) services: Informer,
    pub(crate) addresses: Informer,
}

/// The service that an address belongs to, as a key.
fn service_of(address: &Object) -> Vec<String> {
    let value = address.value();
    let parent = |field: &str| text(&value, &format!("/spec/parentRef/{field}")).to_owned();
    let of_service = parent("group").is_empty() && parent("resource") == "services";
    of_service.then(|| format!("{}/{}", parent("namespace"), parent("name"))).into_iter().collect()
}

fn address(ip: &str, service: &Object) -> Value {
    json!({
        "kind": "IPAddress", "apiVersion": "networking.k8s.io/v1",
        "metadata": {"name": ip, "labels": {
            "ipaddress.kubernetes.io/ip-family": if ip.contains(':') { "IPv6" } else { "IPv4" },
            "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
        }},
        "spec": {"parentRef": {
            "group": "", "resource": "services", "namespace": service.metadata.namespace, "name": service.metadata.name,
        }},
    })
}

#[async_trait]
impl Controller for Repair {
    fn name(&self) -> &'static str {
        "service-ip-addresses"
    }

    fn sources(&self) -> Vec<Source> {
        vec![
            Source { informer: self.addresses.clone(), keys: service_of },
            Source { informer: self.services.clone(), keys: |_| Vec::new() },
        ]
    }

    async fn reconcile(&self, key: &str) -> Result<Outcome, ReconcileError> {
        let Some(service) = self.services.get(key) else { return Ok(Outcome::default()) };
        let value = service.value();
        let ips = items(&value, "/spec/clusterIPs").iter().filter_map(Value::as_str).filter(|ip| *ip != "None");
        for ip in ips.filter(|ip| self.addresses.get(ip).is_none()) {
            match self.client.create(&networking("ipaddresses"), "", address(ip, &service)).await {
                Err(error) if error.reason != Reason::AlreadyExists => return Err(error.into()),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(Outcome::default())
    }
}
