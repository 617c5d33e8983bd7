//! Keeps the indexes of authorizers, of the aggregator and of flows up to date with what is stored.

use std::sync::Arc;

use futures::StreamExt;
use meta::{Gvr, Object, ResourcePath, WatchEvent, WatchOptions};
use registry::Registry;

use crate::aggregation::{API_SERVICES, Aggregator};
use crate::door::DoorConfig;
use crate::fairness::{self, Flows};

const RBAC: &str = "rbac.authorization.k8s.io";

/// Loads what is there, and follows it from then on. The tasks end with the registry.
pub(crate) fn start(config: &DoorConfig, aggregator: &Arc<Aggregator>, flows: &Arc<Flows>) {
    for resource in ["roles", "clusterroles", "rolebindings", "clusterrolebindings"] {
        let rbac = Arc::clone(&config.rbac);
        let load = |object: &Object| rbac.put(object).map_err(|error| error.to_string());
        let revision = load_all(&config.registry, &Gvr::new(RBAC, "v1", resource), load);
        let rbac = Arc::clone(&config.rbac);
        follow(&config.registry, Gvr::new(RBAC, "v1", resource), revision, move |event| rbac.apply(event));
    }
    let registry = Arc::downgrade(&config.registry);
    config.graph.look_at(move |namespace| {
        let snapshot = registry.upgrade().and_then(|registry| registry.snapshot(&Gvr::new("", "v1", "pods")));
        snapshot.map(|pods| pods.in_namespace(namespace)).unwrap_or_default()
    });
    for resource in ["pods", "persistentvolumeclaims"] {
        let graph = Arc::clone(&config.graph);
        let load = |object: &Object| graph.put(object).map_err(|error| error.to_string());
        let revision = load_all(&config.registry, &Gvr::new("", "v1", resource), load);
        let graph = Arc::clone(&config.graph);
        follow(&config.registry, Gvr::new("", "v1", resource), revision, move |event| graph.apply(event));
    }
    let (group, version, resource) = API_SERVICES;
    let services = Gvr::new(group, version, resource);
    let revision = load_all(&config.registry, &services, |object| {
        aggregator.put(object);
        Ok(())
    });
    let aggregator = Arc::clone(aggregator);
    follow(&config.registry, services, revision, move |event| aggregator.apply(event));
    for resource in [fairness::LEVELS, fairness::SCHEMAS] {
        let gvr = fairness::gvr(resource);
        let revision = load_all(&config.registry, &gvr, |object| {
            flows.put(object);
            Ok(())
        });
        let flows = Arc::clone(flows);
        follow(&config.registry, gvr, revision, move |event| flows.apply(event));
    }
}

fn load_all(registry: &Registry, gvr: &Gvr, load: impl Fn(&Object) -> Result<(), String>) -> u64 {
    let Some(snapshot) = registry.snapshot(gvr) else { return 0 };
    for object in snapshot.iter() {
        if let Err(error) = load(object) {
            tracing::error!(resource = %gvr.qualified(), name = object.metadata.key(), error, "an object can't be understood");
        }
    }
    snapshot.revision()
}

fn follow(registry: &Arc<Registry>, gvr: Gvr, revision: u64, apply: impl Fn(&WatchEvent) + Send + 'static) {
    let path = ResourcePath::collection(gvr.clone(), "");
    let options = WatchOptions { resource_version: revision.to_string(), ..WatchOptions::default() };
    match registry.watch(&path, options) {
        Ok(mut events) => {
            tokio::spawn(async move {
                while let Some(Ok(event)) = events.next().await {
                    apply(&event);
                }
            });
        }
        Err(error) => tracing::error!(resource = %gvr.qualified(), %error, "an index can't follow its objects"),
    }
}
