//! Which objects each node has to do with, through the pods bound to it.
//!
//! Fed with Pods and PersistentVolumeClaims as they change.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use meta::{Object, ObjectError, WatchEvent, WatchKind};
use serde_json::Value;

/// What a pod refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Pod,
    Secret,
    ConfigMap,
    ServiceAccount,
    Claim,
    ResourceClaim,
}

type Names = HashSet<(Kind, String)>;

/// Namespace and name.
type Key = (String, String);

#[derive(Default)]
struct State {
    /// What the pods of each node refer to, by the pod's namespace and name.
    nodes: HashMap<String, HashMap<Key, Names>>,
    /// Where each pod is.
    places: HashMap<Key, String>,
    /// The volume that each claim is bound to.
    claims: HashMap<Key, String>,
}

/// The pods of a namespace as they are now.
type Newest = Box<dyn Fn(&str) -> Vec<Arc<Object>> + Send + Sync>;

/// The graph.
#[derive(Default)]
pub struct Graph {
    state: RwLock<State>,
    newest: OnceLock<Newest>,
}

impl Graph {
    /// Where a relation is looked for that isn't in the graph: a node may hear of its pod before the graph does. Only the first call counts.
    pub fn look_at(&self, newest: impl Fn(&str) -> Vec<Arc<Object>> + Send + Sync + 'static) {
        let _ = self.newest.set(Box::new(newest));
    }

    /// Takes in a Pod or PersistentVolumeClaim as it is now. Other kinds are ignored.
    pub fn put(&self, object: &Object) -> Result<(), ObjectError> {
        let key = key(object);
        match object.kind() {
            "Pod" => {
                let pod: Value = object.view()?;
                let node = text(&pod, "/spec/nodeName");
                let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
                state.remove_pod(&key);
                if !node.is_empty() {
                    let mut names = references(&pod);
                    names.insert((Kind::Pod, key.1.clone()));
                    state.places.insert(key.clone(), node.to_owned());
                    state.nodes.entry(node.to_owned()).or_default().insert(key, names);
                }
            }
            "PersistentVolumeClaim" => {
                let claim: Value = object.view()?;
                let volume = text(&claim, "/spec/volumeName").to_owned();
                self.state.write().unwrap_or_else(PoisonError::into_inner).claims.insert(key, volume);
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes in what a watch tells. An object that cannot be read counts as absent.
    pub fn apply(&self, event: &WatchEvent) {
        match event.kind {
            WatchKind::Added | WatchKind::Modified => {
                if let Err(error) = self.put(&event.object) {
                    tracing::warn!(%error, object = event.object.metadata.key(), "reading what a pod refers to");
                    self.remove(&event.object);
                }
            }
            WatchKind::Deleted => self.remove(&event.object),
            WatchKind::Bookmark => {}
        }
    }

    /// Forgets an object that is gone.
    pub fn remove(&self, object: &Object) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        match object.kind() {
            "Pod" => state.remove_pod(&key(object)),
            "PersistentVolumeClaim" => {
                state.claims.remove(&key(object));
            }
            _ => {}
        }
    }

    /// Whether a pod on `node` refers to that object.
    pub(super) fn reaches(&self, node: &str, kind: Kind, namespace: &str, name: &str) -> bool {
        let wanted = (kind, name.to_owned());
        if self.state.read().unwrap_or_else(PoisonError::into_inner).reaches(node, namespace, &wanted) {
            return true;
        }
        let Some(newest) = self.newest.get() else { return false };
        let refers = |pod: &Arc<Object>| {
            let is_itself = kind == Kind::Pod && pod.metadata.name == name;
            let on_node = |pod: &Value| text(pod, "/spec/nodeName") == node;
            pod.view().is_ok_and(|pod: Value| on_node(&pod) && (is_itself || references(&pod).contains(&wanted)))
        };
        newest(namespace).iter().any(refers)
    }

    /// Whether a pod on `node` uses a claim that is bound to that volume.
    pub(super) fn reaches_volume(&self, node: &str, volume: &str) -> bool {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let claims = state.claims.iter().filter(|(_, bound)| *bound == volume);
        claims.into_iter().any(|((namespace, claim), _)| state.reaches(node, namespace, &(Kind::Claim, claim.clone())))
    }
}

impl State {
    fn remove_pod(&mut self, key: &Key) {
        let Some(node) = self.places.remove(key) else { return };
        if let Some(pods) = self.nodes.get_mut(&node) {
            pods.remove(key);
            if pods.is_empty() {
                self.nodes.remove(&node);
            }
        }
    }

    fn reaches(&self, node: &str, namespace: &str, name: &(Kind, String)) -> bool {
        let pods = self.nodes.get(node).into_iter().flatten();
        pods.into_iter().any(|(key, names)| key.0 == namespace && names.contains(name))
    }
}

fn key(object: &Object) -> Key {
    (object.metadata.namespace.clone(), object.metadata.name.clone())
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// Everything of its namespace that a pod refers to.
fn references(pod: &Value) -> Names {
    let mut names = Names::new();
    let mut add = |kind: Kind, name: &str| {
        if !name.is_empty() {
            names.insert((kind, name.to_owned()));
        }
    };
    // Mirror pods refer to nothing: who can write them on a node could otherwise name any secret.
    if pod.pointer("/metadata/annotations/kubernetes.io~1config.mirror").is_some() {
        return names;
    }
    let account = text(pod, "/spec/serviceAccountName");
    add(Kind::ServiceAccount, account);
    for secret in list(pod, "/spec/imagePullSecrets") {
        add(Kind::Secret, text(secret, "/name"));
    }
    for containers in ["/spec/containers", "/spec/initContainers", "/spec/ephemeralContainers"] {
        for container in list(pod, containers) {
            for from in list(container, "/envFrom") {
                add(Kind::Secret, text(from, "/secretRef/name"));
                add(Kind::ConfigMap, text(from, "/configMapRef/name"));
            }
            for from in list(container, "/env") {
                add(Kind::Secret, text(from, "/valueFrom/secretKeyRef/name"));
                add(Kind::ConfigMap, text(from, "/valueFrom/configMapKeyRef/name"));
            }
        }
    }
    for volume in list(pod, "/spec/volumes") {
        add_volume(pod, volume, &mut add);
    }
    for claim in list(pod, "/status/resourceClaimStatuses") {
        add(Kind::ResourceClaim, text(claim, "/resourceClaimName"));
    }
    for claim in list(pod, "/spec/resourceClaims") {
        add(Kind::ResourceClaim, text(claim, "/resourceClaimName"));
    }
    names
}

fn add_volume(pod: &Value, volume: &Value, add: &mut impl FnMut(Kind, &str)) {
    const SECRETS: [&str; 10] = [
        "/secret/secretName",
        "/azureFile/secretName",
        "/cephfs/secretRef/name",
        "/cinder/secretRef/name",
        "/flexVolume/secretRef/name",
        "/iscsi/secretRef/name",
        "/rbd/secretRef/name",
        "/scaleIO/secretRef/name",
        "/storageos/secretRef/name",
        "/csi/nodePublishSecretRef/name",
    ];
    SECRETS.iter().for_each(|secret| add(Kind::Secret, text(volume, secret)));
    add(Kind::ConfigMap, text(volume, "/configMap/name"));
    add(Kind::Claim, text(volume, "/persistentVolumeClaim/claimName"));
    if volume.pointer("/ephemeral").is_some() {
        add(Kind::Claim, &format!("{}-{}", text(pod, "/metadata/name"), text(volume, "/name")));
    }
    for source in list(volume, "/projected/sources") {
        add(Kind::Secret, text(source, "/secret/name"));
        add(Kind::ConfigMap, text(source, "/configMap/name"));
    }
}
