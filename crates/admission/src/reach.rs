//! Reaching servers that the API server calls: the ready endpoints behind a service's port, and TLS that trusts one authority.
//! For webhooks and for aggregated API servers alike.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use registry::Reader;
use rustls::client::WantsClientCert;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;

use crate::fields::{items, text};

/// Opens connections from the network that the API server is in.
#[async_trait]
pub trait Dial: Send + Sync + 'static {
    /// A connection to an address.
    async fn dial(&self, address: SocketAddr) -> io::Result<TcpStream>;

    /// The addresses of a name.
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// A port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// The service's namespace.
    pub namespace: String,
    /// The service's name.
    pub name: String,
    /// The port, by its number.
    pub port: u16,
}

impl ServicePort {
    /// Reads a reference: `namespace`, `name` and `port`, which is 443 unless it says another.
    pub fn read(reference: &Value) -> Self {
        let port = reference["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(443);
        Self { namespace: text(reference, "/namespace").to_owned(), name: text(reference, "/name").to_owned(), port }
    }

    /// The name that the server's certificate has.
    pub fn host(&self) -> String {
        format!("{}.{}.svc", self.name, self.namespace)
    }

    /// The addresses that answer for it: its ready endpoints, dialled directly, so that no proxy's rules need to have come
    /// yet; or those of the name that the service stands for.
    pub async fn addresses(&self, dial: &dyn Dial, reader: &dyn Reader) -> Result<Vec<SocketAddr>, String> {
        let Self { namespace, name, port } = self;
        let service = reader.get("", "services", namespace, name);
        let service = service.ok_or_else(|| format!("service {name:?} not found"))?.value();
        if text(&service, "/spec/type") == "ExternalName" {
            let host = text(&service, "/spec/externalName");
            let found = dial.resolve(host, *port).await;
            return found.map_err(|error| format!("dial tcp: lookup {host}: {error}"));
        }
        let wanted = items(&service, "/spec/ports").find(|own| own["port"] == *port);
        let wanted = wanted.ok_or_else(|| format!("no service port {port} found for service {name:?}"))?;
        let found = endpoints(&self.slices(reader), text(wanted, "/name"));
        if found.is_empty() { Err(format!("no endpoints available for service {name:?}")) } else { Ok(found) }
    }

    /// The EndpointSlices of the service.
    pub fn slices(&self, reader: &dyn Reader) -> Vec<Value> {
        let all = reader.list("discovery.k8s.io", "endpointslices", &self.namespace);
        let of_service = |labels: &std::collections::BTreeMap<String, String>| {
            labels.get("kubernetes.io/service-name").is_some_and(|own| *own == self.name)
        };
        all.iter().filter(|slice| of_service(&slice.metadata.labels)).map(|slice| slice.value()).collect()
    }
}

/// The ready endpoints at a named port.
fn endpoints(slices: &[Value], port_name: &str) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for slice in slices {
        let port =
            items(slice, "/ports").find(|own| text(own, "/name") == port_name).and_then(|own| own["port"].as_u64());
        let Some(port) = port.and_then(|port| u16::try_from(port).ok()) else { continue };
        let ready = items(slice, "/endpoints").filter(|endpoint| endpoint["conditions"]["ready"] != false);
        let addresses = ready.flat_map(|endpoint| items(endpoint, "/addresses")).filter_map(Value::as_str);
        found.extend(addresses.filter_map(|address| Some(SocketAddr::new(address.parse().ok()?, port))));
    }
    found
}

/// TLS that trusts only this authority, base64 of PEM; whether the client shows a certificate is still open.
pub fn trusting(authority: &str) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, String> {
    let pem = STANDARD.decode(authority).map_err(|error| format!("decode the caBundle: {error}"))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| format!("read the caBundle: {error}"))?;
        roots.add(certificate).map_err(|error| format!("trust the caBundle: {error}"))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(config.map_err(|error| error.to_string())?.with_root_certificates(roots))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ready_endpoints_of_the_port_are_found() {
        let slices = [
            json!({
                "ports": [{"name": "https", "port": 8443}, {"name": "admin", "port": 9}],
                "endpoints": [
                    {"addresses": ["10.0.0.1"]}, {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
                ],
            }),
            json!({"ports": null, "endpoints": null}),
        ];
        assert_eq!(endpoints(&slices, "https"), ["10.0.0.1:8443".parse().expect("an address")]);
        assert_eq!(endpoints(&slices, "other"), []);
        let read = ServicePort::read(&json!({"namespace": "a", "name": "b"}));
        assert_eq!((read.host().as_str(), read.port), ("b.a.svc", 443));
    }
}
