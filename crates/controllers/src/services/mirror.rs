//! EndpointSlices of Endpoints that somebody else keeps, for services that choose no pods.

use async_trait::async_trait;
use client::{Client, Controller, Informer, Outcome, ReconcileError, Source};
use meta::Object;
use serde_json::{Map, Value, json};

use super::members::selector;
use super::slices::{self, Frame, Groups, MANAGED_BY, SERVICE_NAME};
use super::triggers::LAST_CHANGE;
use super::{items, text};

const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// Upstream's limits: of a slice, and of addresses of a subset that are mirrored.
const CAPACITY: usize = 1000;
/// Annotations that say something of the Endpoints object only.
const OWN: [&str; 2] = ["kubectl.kubernetes.io/last-applied-configuration", LAST_CHANGE];

pub(crate) struct Mirror {
    pub(crate) client: Client,
    pub(crate) services: Informer,
    pub(crate) endpoints: Informer,
    pub(crate) slices: Informer,
}

fn groups(endpoints: &Value) -> Groups {
    let mut groups = Groups::new();
    for subset in items(endpoints, "/subsets") {
        let port = |port: &Value| {
            let mut own = json!({"name": text(port, "/name"), "port": port["port"], "protocol": port["protocol"]});
            if !port["appProtocol"].is_null() {
                own["appProtocol"] = port["appProtocol"].clone();
            }
            own
        };
        let ports: Vec<Value> = items(subset, "/ports").iter().map(port).collect();
        let ready = items(subset, "/addresses").iter().map(|address| (address, true));
        let others = items(subset, "/notReadyAddresses").iter().map(|address| (address, false));
        let ipv4 = |(address, _): &(&Value, bool)| !text(address, "/ip").contains(':');
        for (address, ready) in ready.chain(others).filter(ipv4).take(CAPACITY) {
            let mut endpoint = json!({"addresses": [address["ip"]], "conditions": {"ready": ready}});
            for field in ["hostname", "nodeName", "targetRef"].into_iter().filter(|field| !address[*field].is_null()) {
                endpoint[field] = address[field].clone();
            }
            slices::add(&mut groups, ports.clone(), endpoint);
        }
    }
    groups
}

fn frame(endpoints: &Value) -> Frame {
    let copy = |pointer: &str| endpoints.pointer(pointer).and_then(Value::as_object).cloned().unwrap_or_default();
    let mut labels = copy("/metadata/labels");
    labels.insert(SERVICE_NAME.to_owned(), endpoints["metadata"]["name"].clone());
    labels.insert(MANAGED_BY.to_owned(), json!(MANAGER));
    let annotations: Map<String, Value> =
        copy("/metadata/annotations").into_iter().filter(|(key, _)| !OWN.contains(&key.as_str())).collect();
    Frame {
        name: text(endpoints, "/metadata/name").to_owned(),
        namespace: text(endpoints, "/metadata/namespace").to_owned(),
        labels,
        annotations,
        owner: json!({
            "apiVersion": "v1", "kind": "Endpoints", "name": endpoints["metadata"]["name"],
            "uid": endpoints["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true,
        }),
        trigger: None,
        capacity: CAPACITY,
        placeholder: false,
    }
}

/// Whether these Endpoints are to be mirrored, as far as they themselves say.
fn wants_mirror(endpoints: &Value) -> bool {
    let has = |pointer: &str, key: &str| endpoints.pointer(pointer).and_then(|map| map.get(key)).cloned();
    has("/metadata/labels", SKIP) != Some(json!("true")) && has("/metadata/annotations", LEADER).is_none()
}

#[async_trait]
impl Controller for Mirror {
    fn name(&self) -> &'static str {
        "endpointslice-mirroring"
    }

    fn sources(&self) -> Vec<Source> {
        let itself = |object: &Object| vec![object.metadata.key()];
        vec![
            Source { informer: self.services.clone(), keys: itself },
            Source { informer: self.endpoints.clone(), keys: itself },
            Source { informer: self.slices.clone(), keys: slices::service_of },
        ]
    }

    async fn reconcile(&self, key: &str) -> Result<Outcome, ReconcileError> {
        let Some((namespace, name)) = key.split_once('/') else { return Ok(Outcome::default()) };
        let existing = slices::of(&self.slices, namespace, name, MANAGER);
        let service = self.services.get(key).map(|service| service.value());
        let chosen = service.as_ref().is_none_or(|service| selector(service).is_some());
        let endpoints = self.endpoints.get(key).filter(|object| !object.metadata.is_terminating());
        let endpoints = endpoints.map(|object| object.value()).filter(|endpoints| !chosen && wants_mirror(endpoints));
        let actions = match endpoints {
            None => existing.into_iter().map(slices::Action::Delete).collect(),
            Some(endpoints) => slices::plan(&frame(&endpoints), groups(&endpoints), &existing),
        };
        slices::apply(&self.client, &self.slices, actions).await?;
        Ok(Outcome::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subsets_become_groups() {
        let endpoints = json!({"metadata": {"name": "a"}, "subsets": [
            {"addresses": [{"ip": "10.0.0.1"}], "notReadyAddresses": [{"ip": "10.0.0.2"}], "ports": [{"port": 80, "protocol": "TCP"}]},
            {"addresses": [{"ip": "2001:db8::1"}], "ports": [{"port": 81, "protocol": "TCP"}]},
        ]});
        let groups: Vec<_> = groups(&endpoints).into_values().collect();
        assert_eq!(groups.len(), 1);
        assert_eq!(
            json!(groups[0].1),
            json!([
                {"addresses": ["10.0.0.1"], "conditions": {"ready": true}},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
            ])
        );
        assert!(wants_mirror(&endpoints));
        assert!(!wants_mirror(&json!({"metadata": {"labels": {SKIP: "true"}}})));
    }
}
