//! Which EndpointSlices there should be, and how to get there with few changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use client::{Client, Informer};
use meta::{DeleteOptions, Gvr, Object, Reason};
use serde_json::{Map, Value, json};

use super::{ends_with_namespace, items, text, triggers};

pub(super) const SERVICE_NAME: &str = "kubernetes.io/service-name";
pub(super) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
pub(super) const HEADLESS: &str = "service.kubernetes.io/headless";
/// How long a write may take to come back; then the state is looked at as it is.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn gvr() -> Gvr {
    Gvr::new("discovery.k8s.io", "v1", "endpointslices")
}

/// Endpoints by the ports they have.
pub(super) type Groups = BTreeMap<String, (Value, Vec<Value>)>;

/// Puts an endpoint to those of the same ports.
pub(super) fn add(groups: &mut Groups, ports: Vec<Value>, endpoint: Value) {
    let ports = Value::Array(ports);
    groups.entry(ports.to_string()).or_insert_with(|| (ports, Vec::new())).1.push(endpoint);
}

/// What all slices of a service share.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// The name of the service.
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) labels: Map<String, Value>,
    /// Those that the slices must have; others may have more.
    pub(super) annotations: Map<String, Value>,
    pub(super) owner: Value,
    /// When that happened which is the reason for changes.
    pub(super) trigger: Option<String>,
    /// At most so many endpoints a slice.
    pub(super) capacity: usize,
    /// Whether there is a slice even without endpoints.
    pub(super) placeholder: bool,
}

/// A change of slices.
#[derive(Clone, Debug)]
pub(super) enum Action {
    Create(Value),
    Update(Value),
    Delete(Arc<Object>),
}

/// The changes that make the slices hold these endpoints. An endpoint stays in its slice, and what is new fills slices up.
pub(super) fn plan(frame: &Frame, mut groups: Groups, existing: &[Arc<Object>]) -> Vec<Action> {
    let mut actions = Vec::new();
    let mut kept = 0;
    let mut empty = Vec::new();
    for (object, ports, mut endpoints) in staying(&mut groups, existing) {
        let before = object.value();
        let wanted = groups.get_mut(&ports.to_string()).map(|(_, wanted)| wanted);
        let room = frame.capacity.saturating_sub(endpoints.len());
        endpoints.extend(wanted.into_iter().flat_map(|wanted| wanted.drain(..room.min(wanted.len()))));
        if endpoints.is_empty() {
            empty.push(object);
            continue;
        }
        kept += 1;
        let mut after = before.clone();
        fill(&mut after, frame, &ports, endpoints);
        if after != before {
            actions.push(Action::Update(after));
        }
    }
    for (ports, rest) in groups.into_values() {
        for part in rest.chunks(frame.capacity) {
            kept += 1;
            // A slice that lost everything takes what has no place, before a new one is made.
            let mut slice = empty.pop().map_or_else(|| new(frame), |object| object.value());
            let is_new = text(&slice, "/metadata/uid").is_empty();
            fill(&mut slice, frame, &ports, part.to_vec());
            actions.push(if is_new { Action::Create(slice) } else { Action::Update(slice) });
        }
    }
    if kept == 0 && frame.placeholder {
        actions.extend(placeholder(frame, &mut empty));
    }
    for action in &mut actions {
        if let Action::Create(slice) | Action::Update(slice) = action {
            triggers::stamp(slice, frame.trigger.as_deref());
        }
    }
    actions.extend(empty.into_iter().map(|object| Action::Delete(object.clone())));
    actions
}

/// The slices with their ports and with those of their endpoints that stay, which are taken out of the groups.
fn staying<'a>(groups: &mut Groups, existing: &'a [Arc<Object>]) -> Vec<(&'a Arc<Object>, Value, Vec<Value>)> {
    let stays = |object: &'a Arc<Object>| {
        let slice = object.value();
        let ports = Value::Array(items(&slice, "/ports").to_vec());
        let mut endpoints = Vec::new();
        if let Some((_, wanted)) = groups.get_mut(&ports.to_string()) {
            for old in items(&slice, "/endpoints") {
                if let Some(at) = wanted.iter().position(|new| identity(new) == identity(old)) {
                    endpoints.push(wanted.remove(at));
                }
            }
        }
        (object, ports, endpoints)
    };
    existing.iter().map(stays).collect()
}

fn placeholder(frame: &Frame, empty: &mut Vec<&Arc<Object>>) -> Option<Action> {
    let Some(object) = empty.pop() else {
        let mut slice = new(frame);
        fill(&mut slice, frame, &json!([]), Vec::new());
        return Some(Action::Create(slice));
    };
    let (before, mut after) = (object.value(), object.value());
    fill(&mut after, frame, &json!([]), Vec::new());
    let list = |slice: &Value, name: &str| items(slice, name).to_vec();
    let same = before["metadata"] == after["metadata"]
        && list(&before, "/endpoints").is_empty()
        && list(&before, "/ports").is_empty();
    (!same).then_some(Action::Update(after))
}

/// What makes two endpoints the same, whatever else changed.
fn identity(endpoint: &Value) -> (&Value, &Value) {
    (&endpoint["addresses"], &endpoint["targetRef"]["uid"])
}

fn new(frame: &Frame) -> Value {
    json!({
        "kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1", "addressType": "IPv4",
        "metadata": {
            "generateName": format!("{}-", frame.name), "namespace": frame.namespace, "ownerReferences": [frame.owner],
        },
    })
}

fn fill(slice: &mut Value, frame: &Frame, ports: &Value, endpoints: Vec<Value>) {
    slice["metadata"]["labels"] = Value::Object(frame.labels.clone());
    for (key, value) in &frame.annotations {
        slice["metadata"]["annotations"][key] = value.clone();
    }
    slice["ports"] = ports.clone();
    slice["endpoints"] = Value::Array(endpoints);
}

/// Carries a plan out, and returns when the informer has seen it.
pub(super) async fn apply(client: &Client, slices: &Informer, actions: Vec<Action>) -> Result<(), meta::ApiError> {
    let mut newest = 0;
    for action in actions {
        let done = match action {
            Action::Create(slice) => {
                let namespace = text(&slice, "/metadata/namespace").to_owned();
                match client.create(&gvr(), &namespace, slice).await {
                    // Everything goes with the namespace.
                    Err(error) if ends_with_namespace(&error) => continue,
                    other => other.map(|object| object.revision),
                }
            }
            Action::Update(slice) => client.update(&gvr(), slice).await.map(|object| object.revision),
            Action::Delete(object) => match client.delete_exactly(&gvr(), &object, DeleteOptions::default()).await {
                Err(error) if error.reason != Reason::NotFound => Err(error),
                Ok(()) | Err(_) => Ok(0),
            },
        };
        newest = newest.max(done?);
    }
    // The next look at these slices must see them as they were just written.
    if tokio::time::timeout(PATIENCE, slices.wait_for(newest)).await.is_err() {
        tracing::debug!(newest, "endpoint slices lag behind an own write");
    }
    Ok(())
}

/// The slices of a service that one controller has made.
pub(super) fn of(slices: &Informer, namespace: &str, service: &str, manager: &str) -> Vec<Arc<Object>> {
    slices.find(namespace, |slice| {
        let label = |name: &str| slice.metadata.labels.get(name).map(String::as_str);
        label(SERVICE_NAME) == Some(service) && label(MANAGED_BY) == Some(manager) && !slice.metadata.is_terminating()
    })
}

/// The service of a slice, as a key.
pub(super) fn service_of(slice: &Object) -> Vec<String> {
    let name = slice.metadata.labels.get(SERVICE_NAME);
    name.map(|name| format!("{}/{name}", slice.metadata.namespace)).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Frame {
        let labels = Map::from_iter([(SERVICE_NAME.to_owned(), json!("web"))]);
        Frame {
            name: "web".to_owned(),
            namespace: "default".to_owned(),
            labels,
            annotations: Map::new(),
            owner: json!({"kind": "Service", "name": "web", "uid": "u"}),
            trigger: None,
            capacity: 3,
            placeholder: true,
        }
    }

    fn groups(addresses: &[&str]) -> Groups {
        let mut groups = Groups::new();
        for address in addresses {
            add(&mut groups, vec![json!({"name": "", "port": 80})], json!({"addresses": [address]}));
        }
        groups
    }

    /// Carries actions out on a list of slices.
    fn carry_out(mut slices: Vec<Arc<Object>>, actions: Vec<Action>) -> Vec<Arc<Object>> {
        for action in actions {
            match action {
                Action::Create(mut slice) => {
                    let name = format!("web-{}", slices.len());
                    slice["metadata"]["name"] = json!(name);
                    slice["metadata"]["uid"] = json!(name);
                    slices.push(Arc::new(Object::from_value(&slice).expect("an object")));
                }
                Action::Update(slice) => {
                    let object = Arc::new(Object::from_value(&slice).expect("an object"));
                    slices.retain(|old| old.metadata.uid != object.metadata.uid);
                    slices.push(object);
                }
                Action::Delete(object) => slices.retain(|old| old.metadata.uid != object.metadata.uid),
            }
        }
        slices
    }

    #[test]
    fn slices_follow_endpoints_with_few_changes() {
        let mut slices = Vec::new();
        let mut check = |addresses: &[&str], changes: usize, sizes: &[usize]| {
            let actions = plan(&frame(), groups(addresses), &slices);
            assert_eq!(actions.len(), changes, "{addresses:?}: {actions:?}");
            slices = carry_out(std::mem::take(&mut slices), actions);
            assert!(plan(&frame(), groups(addresses), &slices).is_empty(), "twice changes nothing");
            let mut found: Vec<usize> = slices.iter().map(|slice| items(&slice.value(), "/endpoints").len()).collect();
            found.sort_unstable();
            assert_eq!(found, sizes);
        };
        check(&[], 1, &[0]);
        check(&["a"], 1, &[1]);
        check(&["a", "b", "c", "d"], 2, &[1, 3]);
        check(&["a", "c", "d", "e"], 1, &[1, 3]);
        check(&["a", "d"], 1, &[1, 1]);
        check(&["a"], 1, &[1]);
        check(&[], 1, &[0]);
    }
}
