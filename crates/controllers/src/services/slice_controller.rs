//! EndpointSlices of services that choose pods.

use std::collections::BTreeMap;

use async_trait::async_trait;
use client::{Client, Controller, Informer, Outcome, ReconcileError, Source};
use meta::Object;
use serde_json::{Map, Value, json};

use super::members::{Members, can_serve, host_name, is_ready, is_terminating, selector, target_port};
use super::slices::{self, Frame, Groups, HEADLESS, MANAGED_BY, SERVICE_NAME};
use super::triggers::Triggers;
use super::{items, text};

const MANAGER: &str = "endpointslice-controller.k8s.io";
/// Upstream's default.
const CAPACITY: usize = 100;
const ZONE: &str = "topology.kubernetes.io/zone";

pub(crate) struct Slices {
    pub(crate) client: Client,
    pub(crate) services: Informer,
    pub(crate) pods: Informer,
    pub(crate) slices: Informer,
    pub(crate) nodes: Informer,
    pub(crate) members: Members,
    pub(crate) triggers: Triggers,
}

/// The endpoints of a service, by the ports they have.
fn groups(service: &Value, pods: &[Value], zones: &BTreeMap<String, String>) -> Groups {
    let mut groups = Groups::new();
    for pod in pods.iter().filter(|pod| can_serve(pod) && text(pod, "/status/podIP").contains('.')) {
        let port = |port: &Value| {
            let mut own = json!({
                "name": text(port, "/name"), "port": target_port(pod, port)?, "protocol": port["protocol"],
            });
            if !port["appProtocol"].is_null() {
                own["appProtocol"] = port["appProtocol"].clone();
            }
            Some(own)
        };
        let ports = items(service, "/spec/ports").iter().filter_map(port).collect();
        slices::add(&mut groups, ports, endpoint(service, pod, zones));
    }
    groups
}

fn endpoint(service: &Value, pod: &Value, zones: &BTreeMap<String, String>) -> Value {
    let (ready, terminating) = (is_ready(pod), is_terminating(pod));
    let published = service["spec"]["publishNotReadyAddresses"] == true || (ready && !terminating);
    let node = text(pod, "/spec/nodeName");
    let mut endpoint = json!({
        "addresses": [text(pod, "/status/podIP")],
        "conditions": {"ready": published, "serving": ready, "terminating": terminating},
        "nodeName": node,
        "targetRef": {
            "kind": "Pod", "namespace": pod["metadata"]["namespace"], "name": pod["metadata"]["name"],
            "uid": pod["metadata"]["uid"],
        },
    });
    if let Some(name) = host_name(pod, service) {
        endpoint["hostname"] = json!(name);
    }
    let zone = zones.get(node).filter(|zone| !zone.is_empty());
    if let Some(zone) = zone {
        endpoint["zone"] = json!(zone);
    }
    let near = text(service, "/spec/trafficDistribution");
    if published && !near.is_empty() {
        if let Some(zone) = zone {
            endpoint["hints"]["forZones"] = json!([{"name": zone}]);
        }
        if near == "PreferSameNode" {
            endpoint["hints"]["forNodes"] = json!([{"name": node}]);
        }
    }
    endpoint
}

fn frame(service: &Value, trigger: Option<String>) -> Frame {
    let own = |key: &String| key != SERVICE_NAME && key != MANAGED_BY && key != HEADLESS;
    let labels = service.pointer("/metadata/labels").and_then(Value::as_object).into_iter().flatten();
    let mut labels: Map<String, Value> =
        labels.filter(|(key, _)| own(key)).map(|(key, value)| (key.clone(), value.clone())).collect();
    labels.insert(SERVICE_NAME.to_owned(), service["metadata"]["name"].clone());
    labels.insert(MANAGED_BY.to_owned(), json!(MANAGER));
    if text(service, "/spec/clusterIP") == "None" {
        labels.insert(HEADLESS.to_owned(), json!(""));
    }
    Frame {
        name: text(service, "/metadata/name").to_owned(),
        namespace: text(service, "/metadata/namespace").to_owned(),
        labels,
        annotations: Map::new(),
        owner: json!({
            "apiVersion": "v1", "kind": "Service", "name": service["metadata"]["name"], "uid": service["metadata"]["uid"],
            "controller": true, "blockOwnerDeletion": true,
        }),
        trigger,
        capacity: CAPACITY,
        placeholder: true,
    }
}

#[async_trait]
impl Controller for Slices {
    fn name(&self) -> &'static str {
        "endpointslice"
    }

    fn sources(&self) -> Vec<Source> {
        let itself = |object: &Object| vec![object.metadata.key()];
        vec![
            Source { informer: self.services.clone(), keys: itself },
            Source { informer: self.slices.clone(), keys: slices::service_of },
            Source { informer: self.nodes.clone(), keys: |_| Vec::new() },
            // See `keys`.
            Source { informer: self.pods.clone(), keys: |_| Vec::new() },
        ]
    }

    fn keys(&self, source: &Source, object: &Object) -> Vec<String> {
        let of_pods = source.informer.gvr() == self.pods.gvr();
        if of_pods { self.members.concerned(object, &self.pods, &self.services) } else { (source.keys)(object) }
    }

    async fn reconcile(&self, key: &str) -> Result<Outcome, ReconcileError> {
        let Some((namespace, name)) = key.split_once('/') else { return Ok(Outcome::default()) };
        let existing = slices::of(&self.slices, namespace, name, MANAGER);
        let service = self.services.get(key).filter(|service| !service.metadata.is_terminating());
        let actions = match service.map(|service| service.value()) {
            None => {
                self.members.forget(key);
                self.triggers.forget(key);
                existing.into_iter().map(slices::Action::Delete).collect()
            }
            Some(service) => {
                if selector(&service).is_none() || text(&service, "/spec/type") == "ExternalName" {
                    return Ok(Outcome::default());
                }
                let pods: Vec<Value> =
                    self.members.of(key, &service, &self.pods).iter().map(|pod| pod.value()).collect();
                let zone = |node: &Object| node.metadata.labels.get(ZONE).cloned().unwrap_or_default();
                let zones = self.nodes.list().iter().map(|node| (node.metadata.name.clone(), zone(node))).collect();
                let trigger = self.triggers.of(key, &service, &pods);
                slices::plan(&frame(&service, trigger), groups(&service, &pods, &zones), &existing)
            }
        };
        slices::apply(&self.client, &self.slices, actions).await?;
        Ok(Outcome::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_tell_how_pods_are() {
        let check = |service: Value, ready: bool, ending: bool, expected: Value| {
            let service = json!({"metadata": {"name": "web"}, "spec": service});
            let mut pod = json!({
                "metadata": {"name": "a", "namespace": "b", "uid": "u"},
                "spec": {"nodeName": "n", "containers": [{"ports": [{"name": "http", "containerPort": 8080}]}]},
                "status": {"podIP": "10.0.0.1", "phase": "Running",
                    "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
            });
            if ending {
                pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            }
            let zones = BTreeMap::from([("n".to_owned(), "z".to_owned())]);
            let (ports, endpoints) = groups(&service, &[pod], &zones).into_values().next().expect("a group");
            let conditions = &endpoints[0]["conditions"];
            let found = json!([
                conditions["ready"],
                conditions["serving"],
                conditions["terminating"],
                ports,
                endpoints[0]["hints"]
            ]);
            assert_eq!(found, expected);
        };
        let port = json!([{"name": "", "port": 8080, "protocol": "TCP"}]);
        let named = json!({"ports": [{"port": 80, "targetPort": "http", "protocol": "TCP"}]});
        check(named.clone(), true, false, json!([true, true, false, port, null]));
        check(named.clone(), false, false, json!([false, false, false, port, null]));
        check(named.clone(), true, true, json!([false, true, true, port, null]));
        let mut near = named.clone();
        near["trafficDistribution"] = json!("PreferClose");
        check(near, true, false, json!([true, true, false, port, {"forZones": [{"name": "z"}]}]));
        let mut open = named;
        open["publishNotReadyAddresses"] = json!(true);
        check(open, false, false, json!([true, false, false, port, null]));
        check(
            json!({"ports": [{"port": 80, "targetPort": "x", "protocol": "TCP"}]}),
            true,
            false,
            json!([true, true, false, [], null]),
        );
    }
}
