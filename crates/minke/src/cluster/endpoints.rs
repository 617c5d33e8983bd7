//! Who stands behind the services that the cluster itself provides: the API, and the names of services. And that they stay as
//! they are, as do other objects that are the cluster's own.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use client::{Client, Controller, Informer, Outcome, ReconcileError, Source};
use meta::{ApiError, Call, FieldSelector, Gvr, LabelSelector, Reason, ResourcePath, UserInfo, WriteOptions};
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

/// What says that `address` stands behind a service: Endpoints and an EndpointSlice. Nothing, where nobody else can reach it.
pub(super) fn objects(service: &Provided, address: SocketAddr) -> Vec<(Gvr, Value)> {
    if address.ip().is_loopback() {
        return Vec::new();
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
    vec![(core("endpoints"), endpoints), (slices(), slice)]
}

fn core(resource: &str) -> Gvr {
    Gvr::new("", "v1", resource)
}

fn slices() -> Gvr {
    Gvr::new("discovery.k8s.io", "v1", "endpointslices")
}

/// Keeps services that the cluster provides, what stands behind them, and what it tells of itself, as they are.
pub(super) struct Keeper {
    registry: Arc<Registry>,
    objects: Vec<(Gvr, Value)>,
    sources: Vec<Informer>,
}

impl Keeper {
    /// Makes what isn't there yet. `objects` are services, Endpoints, EndpointSlices and the ConfigMap
    /// of authentication.
    pub(super) async fn open(
        registry: &Arc<Registry>,
        objects: Vec<(Gvr, Value)>,
        client: &Client,
    ) -> Result<Self, ApiError> {
        for (gvr, object) in &objects {
            put(registry, gvr, object).await?;
        }
        let collections = [core("services"), core("endpoints"), slices()];
        let mut sources = collections.map(|gvr| Informer::new(client.clone(), gvr)).to_vec();
        let fields = FieldSelector::equal("metadata.name", super::bootstrap::AUTHENTICATION);
        sources.push(Informer::selected(client.clone(), core("configmaps"), LabelSelector::default(), fields));
        Ok(Self { registry: Arc::clone(registry), objects, sources })
    }
}

#[async_trait]
impl Controller for Keeper {
    fn name(&self) -> &'static str {
        "provided-services"
    }

    fn sources(&self) -> Vec<Source> {
        let source = |informer: &Informer| Source { informer: informer.clone(), keys: |own| vec![own.metadata.key()] };
        self.sources.iter().map(source).collect()
    }

    async fn reconcile(&self, key: &str) -> Result<Outcome, ReconcileError> {
        for (gvr, object) in &self.objects {
            if format!("{}/{}", text(object, "/metadata/namespace"), text(object, "/metadata/name")) == key {
                put(&self.registry, gvr, object).await?;
            }
        }
        Ok(Outcome::default())
    }
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// Makes an object, or brings what it says of endpoints, or its data, up to date.
async fn put(registry: &Registry, gvr: &Gvr, object: &Value) -> Result<(), ApiError> {
    let (namespace, name) = (text(object, "/metadata/namespace"), text(object, "/metadata/name"));
    let user = UserInfo::new("system:apiserver", &["system:masters"]);
    let (object, options) = (object.clone(), WriteOptions::default());
    if let Some(found) = registry.get_cached(gvr, namespace, name) {
        let found = found.value();
        let told = ["subsets", "endpoints", "ports", "data"];
        if told.iter().all(|field| found.get(*field) == object.get(*field)) {
            return Ok(());
        }
        let path = ResourcePath::object(gvr.clone(), namespace, name);
        return registry.call(&user, &path, Call::Update { object, options }).await.map(drop);
    }
    let path = ResourcePath::collection(gvr.clone(), namespace);
    match registry.call(&user, &path, Call::Create { object, options }).await {
        Err(error) if error.reason != Reason::AlreadyExists => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}
