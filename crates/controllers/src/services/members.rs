//! Which pods belong to which services.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use client::Informer;
use meta::Object;
use serde_json::Value;

use super::{items, text};

/// Remembers for each pod the services that chose it, so that those it leaves are told as well.
#[derive(Debug, Default)]
pub(crate) struct Members(Mutex<HashMap<String, BTreeSet<String>>>);

impl Members {
    /// The services that a change of a pod concerns: those that choose it now, and those that did.
    pub(super) fn concerned(&self, pod: &Object, services: &Informer) -> Vec<String> {
        let namespace = &pod.metadata.namespace;
        let chosen: BTreeSet<String> = services
            .in_namespace(namespace)
            .iter()
            .filter(|service| selector(&service.value()).is_some_and(|selector| chooses(&selector, pod)))
            .map(|service| service.metadata.key())
            .collect();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = if chosen.is_empty() {
            all.remove(&pod.metadata.key()).unwrap_or_default()
        } else {
            all.insert(pod.metadata.key(), chosen.clone()).unwrap_or_default()
        };
        chosen.union(&before).cloned().collect()
    }

    /// The pods that a service chooses.
    pub(super) fn of(&self, key: &str, service: &Value, pods: &Informer) -> Vec<Arc<Object>> {
        let Some(selector) = selector(service) else { return Vec::new() };
        let mut chosen = pods.in_namespace(text(service, "/metadata/namespace"));
        chosen.retain(|pod| chooses(&selector, pod));
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for pod in &chosen {
            all.entry(pod.metadata.key()).or_default().insert(key.to_owned());
        }
        chosen
    }
}

/// A service's selector; `None` for a service that others find endpoints for.
pub(super) fn selector(service: &Value) -> Option<Vec<(String, String)>> {
    let map = service.pointer("/spec/selector")?.as_object()?;
    let pairs = map.iter().map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()));
    Some(pairs.collect()).filter(|pairs: &Vec<_>| !pairs.is_empty())
}

fn chooses(selector: &[(String, String)], pod: &Object) -> bool {
    selector.iter().all(|(key, value)| pod.metadata.labels.get(key) == Some(value))
}

/// Whether a pod can stand behind a service: it has an address and its end has not come.
pub(super) fn can_serve(pod: &Value) -> bool {
    !text(pod, "/status/podIP").is_empty() && !matches!(text(pod, "/status/phase"), "Failed" | "Succeeded")
}

pub(super) fn is_ready(pod: &Value) -> bool {
    items(pod, "/status/conditions")
        .iter()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

pub(super) fn is_terminating(pod: &Value) -> bool {
    !text(pod, "/metadata/deletionTimestamp").is_empty()
}

/// The number that a service's port has in a pod.
pub(super) fn target_port(pod: &Value, port: &Value) -> Option<i64> {
    let name = match &port["targetPort"] {
        Value::String(name) if !name.is_empty() => name,
        Value::Number(number) => return number.as_i64(),
        _ => return port["port"].as_i64(),
    };
    let always = |container: &&Value| container["restartPolicy"] == "Always";
    let sidecars = items(pod, "/spec/initContainers").iter().filter(always);
    let containers = items(pod, "/spec/containers").iter().chain(sidecars);
    let protocol =
        |own: &Value| if text(own, "/protocol").is_empty() { "TCP" } else { text(own, "/protocol") }.to_owned();
    let matches = |own: &&Value| own["name"] == **name && protocol(own) == protocol(port);
    containers.flat_map(|container| items(container, "/ports")).find(matches)?["containerPort"].as_i64()
}

/// The host name that a pod has within its service, if it has one.
pub(super) fn host_name(pod: &Value, service: &Value) -> Option<String> {
    let (name, domain) = (text(pod, "/spec/hostname"), text(pod, "/spec/subdomain"));
    (!name.is_empty() && domain == text(service, "/metadata/name")).then(|| name.to_owned())
}
