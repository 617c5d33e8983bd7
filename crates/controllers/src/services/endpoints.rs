//! Endpoints of services that choose pods.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use client::{Client, Controller, Informer, Outcome, ReconcileError, Source};
use meta::{DeleteOptions, Object, Reason};
use serde_json::{Map, Value, json};

use super::members::{Members, can_serve, host_name, is_ready, is_terminating, selector, target_port};
use super::slices::HEADLESS;
use super::triggers::{self, Triggers};
use super::{core, ends_with_namespace, items, text};

/// Upstream's limit of addresses.
const CAPACITY: usize = 1000;
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";

pub(crate) struct EndpointsController {
    pub(crate) client: Client,
    pub(crate) services: Informer,
    pub(crate) pods: Informer,
    pub(crate) endpoints: Informer,
    pub(crate) members: Members,
    pub(crate) triggers: Triggers,
}

/// An address with whether it is ready.
type Place = (String, bool);

/// The subsets of a service's pods, addresses with the same ports together; and whether some were left out.
fn subsets(service: &Value, pods: &[Value]) -> (Value, bool) {
    let open = service["spec"]["publishNotReadyAddresses"] == true;
    let mut pods: Vec<&Value> = pods.iter().filter(|pod| can_serve(pod) && (open || !is_terminating(pod))).collect();
    let truncated = pods.len() > CAPACITY;
    if truncated {
        pods.sort_by_key(|pod| !is_ready(pod));
        pods.truncate(CAPACITY);
    }
    let mut ports_of: BTreeMap<Place, BTreeSet<String>> = BTreeMap::new();
    for pod in pods {
        let place = (address(pod, service).to_string(), open || is_ready(pod));
        let ports = items(service, "/spec/ports").iter().filter_map(|port| {
            let mut own = json!({"port": target_port(pod, port)?, "protocol": port["protocol"]});
            for field in
                ["name", "appProtocol"].into_iter().filter(|field| !text(port, &format!("/{field}")).is_empty())
            {
                own[field] = port[field].clone();
            }
            Some(own.to_string())
        });
        let ports: BTreeSet<String> = ports.collect();
        if !ports.is_empty() || items(service, "/spec/ports").is_empty() {
            ports_of.entry(place).or_default().extend(ports);
        }
    }
    let mut together: BTreeMap<BTreeSet<String>, Vec<Place>> = BTreeMap::new();
    for (place, ports) in ports_of {
        together.entry(ports).or_default().push(place);
    }
    let subset = |(ports, places): (BTreeSet<String>, Vec<Place>)| {
        let parse = |text: &String| serde_json::from_str::<Value>(text).unwrap_or_default();
        let list = |ready: bool| -> Vec<Value> {
            places.iter().filter(|(_, own)| *own == ready).map(|(address, _)| parse(address)).collect()
        };
        let mut subset = Map::new();
        for (name, list) in [("addresses", list(true)), ("notReadyAddresses", list(false))] {
            if !list.is_empty() {
                subset.insert(name.to_owned(), Value::Array(list));
            }
        }
        if !ports.is_empty() {
            subset.insert("ports".to_owned(), ports.iter().map(parse).collect());
        }
        Value::Object(subset)
    };
    (together.into_iter().map(subset).collect(), truncated)
}

fn address(pod: &Value, service: &Value) -> Value {
    let mut address = json!({
        "ip": text(pod, "/status/podIP"), "nodeName": pod["spec"]["nodeName"],
        "targetRef": {
            "kind": "Pod", "namespace": pod["metadata"]["namespace"], "name": pod["metadata"]["name"],
            "uid": pod["metadata"]["uid"],
        },
    });
    if let Some(name) = host_name(pod, service) {
        address["hostname"] = json!(name);
    }
    address
}

/// The object as it should be.
fn wanted(service: &Value, pods: &[Value], before: Option<&Value>) -> Value {
    let (subsets, truncated) = subsets(service, pods);
    let mut labels = service.pointer("/metadata/labels").and_then(Value::as_object).cloned().unwrap_or_default();
    labels.remove(HEADLESS);
    if text(service, "/spec/clusterIP") == "None" {
        labels.insert(HEADLESS.to_owned(), json!(""));
    }
    labels.insert(MANAGED_BY.to_owned(), json!("endpoint-controller"));
    let mut wanted = before.cloned().unwrap_or_else(|| {
        json!({"kind": "Endpoints", "apiVersion": "v1", "metadata": {
            "name": service["metadata"]["name"], "namespace": service["metadata"]["namespace"],
        }})
    });
    wanted["metadata"]["labels"] = Value::Object(labels);
    if truncated {
        wanted["metadata"]["annotations"][OVER_CAPACITY] = json!("truncated");
    } else if let Some(Value::Object(annotations)) = wanted.pointer_mut("/metadata/annotations") {
        annotations.remove(OVER_CAPACITY);
    }
    if subsets != Value::Array(items(&wanted, "/subsets").to_vec()) {
        wanted["subsets"] = subsets;
    }
    wanted
}

#[async_trait]
impl Controller for EndpointsController {
    fn name(&self) -> &'static str {
        "endpoints"
    }

    fn sources(&self) -> Vec<Source> {
        let itself = |object: &Object| vec![object.metadata.key()];
        vec![
            Source { informer: self.services.clone(), keys: itself },
            Source { informer: self.endpoints.clone(), keys: itself },
            // See `keys`.
            Source { informer: self.pods.clone(), keys: |_| Vec::new() },
        ]
    }

    fn keys(&self, source: &Source, object: &Object) -> Vec<String> {
        let of_pods = source.informer.gvr() == self.pods.gvr();
        if of_pods { self.members.concerned(object, &self.pods, &self.services) } else { (source.keys)(object) }
    }

    async fn reconcile(&self, key: &str) -> Result<Outcome, ReconcileError> {
        let existing = self.endpoints.get(key);
        let Some(service) = self.services.get(key).map(|service| service.value()) else {
            self.members.forget(key);
            self.triggers.forget(key);
            let own = existing.filter(|object| object.metadata.labels.contains_key(MANAGED_BY));
            if let Some(object) = own {
                match self.client.delete_exactly(&core("endpoints"), &object, DeleteOptions::default()).await {
                    Err(error) if error.reason != Reason::NotFound => return Err(error.into()),
                    Ok(()) | Err(_) => {}
                }
            }
            return Ok(Outcome::default());
        };
        if selector(&service).is_none() {
            return Ok(Outcome::default());
        }
        let pods: Vec<Value> = self.members.of(key, &service, &self.pods).iter().map(|pod| pod.value()).collect();
        let before = existing.as_ref().map(|object| object.value());
        let mut wanted = wanted(&service, &pods, before.as_ref());
        let trigger = self.triggers.of(key, &service, &pods);
        if before.as_ref() == Some(&wanted) {
            return Ok(Outcome::default());
        }
        triggers::stamp(&mut wanted, trigger.as_deref());
        let written = match before {
            Some(_) => self.client.update(&core("endpoints"), wanted).await,
            None => self.client.create(&core("endpoints"), text(&service, "/metadata/namespace"), wanted).await,
        };
        match written {
            Err(error) if ends_with_namespace(&error) => {}
            other => {
                let revision = other?.revision;
                self.endpoints.wait_for(revision).await;
            }
        }
        Ok(Outcome::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_with_the_same_ports_stand_together() {
        let pod = |ip: &str, ready: &str, port: i64| {
            json!({
                "metadata": {"name": ip, "namespace": "b", "uid": ip},
                "spec": {"nodeName": "n", "containers": [{"ports": [{"name": "http", "containerPort": port, "protocol": "TCP"}]}]},
                "status": {"podIP": ip, "phase": "Running", "conditions": [{"type": "Ready", "status": ready}]},
            })
        };
        let service = json!({"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80, "targetPort": "http", "protocol": "TCP"}]}});
        let pods = [pod("10.0.0.1", "True", 80), pod("10.0.0.2", "False", 80), pod("10.0.0.3", "True", 81)];
        let (subsets, _) = subsets(&service, &pods);
        let shape: Vec<Value> = items(&subsets, "")
            .iter()
            .map(|subset| {
                let ips = |list: &str| items(subset, list).iter().map(|own| own["ip"].clone()).collect::<Vec<_>>();
                json!([ips("/addresses"), ips("/notReadyAddresses"), subset["ports"][0]["port"]])
            })
            .collect();
        assert_eq!(json!(shape), json!([[["10.0.0.1"], ["10.0.0.2"], 80], [["10.0.0.3"], [], 81]]));
    }
}
