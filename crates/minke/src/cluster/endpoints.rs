//! Who stands behind the services that the cluster itself provides: the API, and the names of services.

use std::net::{IpAddr, SocketAddr};

use meta::{ApiError, Call, Gvr, Reason, ResourcePath, UserInfo, WriteOptions};
use registry::Registry;
use serde_json::{Value, json};

/// A service whose endpoints are no pods.
pub(super) struct Provided {
    pub(super) namespace: &'static str,
    pub(super) name: &'static str,
    /// Its ports: names and protocols.
    pub(super) ports: &'static [(&'static str, &'static str)],
}

pub(super) const API: Provided = Provided { namespace: "default", name: "kubernetes", ports: &[("https", "TCP")] };

pub(super) const DNS: Provided =
    Provided { namespace: "kube-system", name: "kube-dns", ports: &[("dns", "UDP"), ("dns-tcp", "TCP")] };

/// Publishes that `address` stands behind a service, as Endpoints and as EndpointSlice.
pub(super) async fn publish(registry: &Registry, service: &Provided, address: SocketAddr) -> Result<(), ApiError> {
    if address.ip().is_loopback() || address.is_ipv6() {
        // Nobody else can reach it there, and the API refuses to say so.
        return Ok(());
    }
    let Provided { namespace, name, .. } = service;
    let port = |(name, protocol): &(&str, &str)| json!({"name": name, "port": address.port(), "protocol": protocol});
    let ports: Vec<Value> = service.ports.iter().map(port).collect();
    let endpoints = json!({
        "kind": "Endpoints", "apiVersion": "v1",
        "metadata": {
            "name": name, "namespace": namespace, "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [{"addresses": [{"ip": address.ip()}], "ports": ports}],
    });
    let slice = json!({
        "kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1",
        "metadata": {"name": name, "namespace": namespace, "labels": {"kubernetes.io/service-name": name}},
        "addressType": family(address.ip()), "ports": ports,
        "endpoints": [{"addresses": [address.ip()], "conditions": {"ready": true}}],
    });
    put(registry, Gvr::new("", "v1", "endpoints"), endpoints, "subsets").await?;
    put(registry, Gvr::new("discovery.k8s.io", "v1", "endpointslices"), slice, "endpoints").await
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// Makes an object, or brings the one that is there up to date.
async fn put(registry: &Registry, gvr: Gvr, object: Value, content: &str) -> Result<(), ApiError> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
    let user = UserInfo::new("system:apiserver", &["system:masters"]);
    let options = WriteOptions::default;
    if let Some(found) = registry.get_cached(&gvr, namespace, name) {
        let found = found.value();
        if found[content] == object[content] && found["ports"] == object["ports"] {
            return Ok(());
        }
        let path = ResourcePath::object(gvr, namespace, name);
        return registry.call(&user, &path, Call::Update { object, options: options() }).await.map(drop);
    }
    let path = ResourcePath::collection(gvr, namespace);
    match registry.call(&user, &path, Call::Create { object, options: options() }).await {
        Err(error) if error.reason != Reason::AlreadyExists => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}
