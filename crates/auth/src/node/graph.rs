//! Which objects each node has to do with, through the pods bound to it.
//!
//! Fed with Pods and PersistentVolumeClaims as they change.

use std::collections::{HashMap, HashSet};
use std::sync::{PoisonError, RwLock};

use meta::{Object, ObjectError};
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

struct BoundPod {
    node: String,
    names: Names,
}

#[derive(Default)]
struct State {
    /// By namespace, then name.
    pods: HashMap<String, HashMap<String, BoundPod>>,
    /// By namespace and name: the volume that a claim is bound to.
    claims: HashMap<(String, String), String>,
}

/// The graph.
#[derive(Default)]
pub struct Graph(RwLock<State>);

impl Graph {
    /// Takes in a Pod or PersistentVolumeClaim as it is now. Other kinds are ignored.
    pub fn put(&self, object: &Object) -> Result<(), ObjectError> {
        let (namespace, name) = (object.metadata.namespace.clone(), object.metadata.name.clone());
        match object.kind() {
            "Pod" => {
                let pod: Value = object.view()?;
                let node = text(&pod, "/spec/nodeName");
                let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
                if node.is_empty() {
                    state.remove_pod(&namespace, &name);
                } else {
                    let mut names = references(&pod);
                    names.insert((Kind::Pod, name.clone()));
                    let bound = BoundPod { node: node.to_owned(), names };
                    state.pods.entry(namespace).or_default().insert(name, bound);
                }
            }
            "PersistentVolumeClaim" => {
                let claim: Value = object.view()?;
                let volume = text(&claim, "/spec/volumeName").to_owned();
                let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
                state.claims.insert((namespace, name), volume);
            }
            _ => {}
        }
        Ok(())
    }

    /// Forgets an object that is gone.
    pub fn remove(&self, object: &Object) {
        let (namespace, name) = (&object.metadata.namespace, &object.metadata.name);
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match object.kind() {
            "Pod" => state.remove_pod(namespace, name),
            "PersistentVolumeClaim" => {
                state.claims.remove(&(namespace.clone(), name.clone()));
            }
            _ => {}
        }
    }

    /// Whether a pod on `node` refers to that object.
    pub(super) fn reaches(&self, node: &str, kind: Kind, namespace: &str, name: &str) -> bool {
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        state.reaches(node, namespace, &(kind, name.to_owned()))
    }

    /// Whether a pod on `node` uses a claim that is bound to that volume.
    pub(super) fn reaches_volume(&self, node: &str, volume: &str) -> bool {
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let claims = state.claims.iter().filter(|(_, bound)| *bound == volume);
        claims.into_iter().any(|((namespace, claim), _)| state.reaches(node, namespace, &(Kind::Claim, claim.clone())))
    }
}

impl State {
    fn remove_pod(&mut self, namespace: &str, name: &str) {
        if let Some(pods) = self.pods.get_mut(namespace) {
            pods.remove(name);
            if pods.is_empty() {
                self.pods.remove(namespace);
            }
        }
    }

    fn reaches(&self, node: &str, namespace: &str, name: &(Kind, String)) -> bool {
        let pods = self.pods.get(namespace);
        pods.is_some_and(|pods| pods.values().any(|pod| pod.node == node && pod.names.contains(name)))
    }
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
