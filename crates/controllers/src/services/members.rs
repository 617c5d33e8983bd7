//! Which pods belong to which services.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use client::Informer;
use meta::Object;
use serde_json::Value;

use super::{items, text};

/// Remembers for each pod the services that chose it, so that those it leaves are told as well.
#[derive(Debug, Default)]
pub(crate) struct Members(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    chosen: HashMap<String, BTreeSet<String>>,
    /// Selectors by service, each with the revision that it was read at: a pod's change must not read all services again.
    selectors: HashMap<String, (u64, Option<Selector>)>,
}

type Selector = Vec<(String, String)>;

impl Members {
    /// The services that a change of a pod concerns: those that choose it now, and those that did.
    pub(super) fn concerned(&self, pod: &Object, pods: &Informer, services: &Informer) -> Vec<String> {
        let gone = pods.get(&pod.metadata.key()).is_none();
        let mut memory = self.lock();
        let services = services.in_namespace(&pod.metadata.namespace);
        let chosen: BTreeSet<String> = services
            .iter()
            .filter(|service| memory.chooses(service, pod))
            .map(|service| service.metadata.key())
            .collect();
        let before = if chosen.is_empty() || gone {
            memory.chosen.remove(&pod.metadata.key()).unwrap_or_default()
        } else {
            memory.chosen.insert(pod.metadata.key(), chosen.clone()).unwrap_or_default()
        };
        chosen.union(&before).cloned().collect()
    }

    /// The pods that a service chooses.
    pub(super) fn of(&self, key: &str, service: &Value, pods: &Informer) -> Vec<Arc<Object>> {
        let Some(selector) = selector(service) else { return Vec::new() };
        let chosen = pods.find(text(service, "/metadata/namespace"), |pod| chooses(&selector, pod));
        let mut memory = self.lock();
        for pod in &chosen {
            memory.chosen.entry(pod.metadata.key()).or_default().insert(key.to_owned());
        }
        chosen
    }

    /// Nothing is to be known of a service that is gone.
    pub(super) fn forget(&self, key: &str) {
        self.lock().selectors.remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn chooses(&mut self, service: &Object, pod: &Object) -> bool {
        let known = self.selectors.entry(service.metadata.key()).or_insert((0, None));
        if known.0 != service.revision {
            *known = (service.revision, selector(&service.value()));
        }
        known.1.as_ref().is_some_and(|selector| chooses(selector, pod))
    }
}

/// A service's selector; `None` for a service that others find endpoints for.
pub(super) fn selector(service: &Value) -> Option<Selector> {
    let map = service.pointer("/spec/selector")?.as_object()?;
    let pairs = map.iter().map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()));
    Some(pairs.collect()).filter(|pairs: &Selector| !pairs.is_empty())
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
