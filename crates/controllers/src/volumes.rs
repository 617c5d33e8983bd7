//! Binds claims to persistent volumes, and makes volumes of the built-in class on the node's own disk.
//!
//! A claim is bound to the smallest volume that fits. A claim of the built-in class gets a volume of its own, made when
//! the first pod that uses it has a node; it goes with its claim if its reclaim policy says so.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use client::{Client, Controller, Informer, Outcome, ReconcileError, Source};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use meta::{DeleteOptions, Gvr, Object, Quantity, Reason};
use serde_json::{Value, json};

/// The provisioner's name, as storage classes give it.
pub const PROVISIONER: &str = "minke.dev/local";

/// Which node a claim's first pod is on; the scheduler says so.
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";

pub(crate) struct Volumes {
    pub(crate) client: Client,
    pub(crate) claims: Informer,
    pub(crate) volumes: Informer,
    pub(crate) classes: Informer,
    pub(crate) pods: Informer,
    pub(crate) folder: PathBuf,
}

fn claims() -> Gvr {
    Gvr::new("", "v1", "persistentvolumeclaims")
}

fn volumes() -> Gvr {
    Gvr::new("", "v1", "persistentvolumes")
}

/// What is to be done for a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    Nothing,
    /// Bind the claim to this volume.
    Bind(String),
    /// Make a volume on this node, then bind.
    Provision(String),
}

/// Decides for a claim that isn't bound.
fn plan(claim: &PersistentVolumeClaim, volumes: &[PersistentVolume], provisioned: bool) -> Action {
    let spec = claim.spec.clone().unwrap_or_default();
    let uid = claim.metadata.uid.as_deref();
    let wanted = spec.resources.as_ref().and_then(|resources| amount(resources.requests.as_ref()));
    let mine = |volume: &&PersistentVolume| {
        let reference = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
        reference.is_some_and(|reference| {
            let named = reference.name == claim.metadata.name && reference.namespace == claim.metadata.namespace;
            named && (reference.uid.is_none() || reference.uid.as_deref() == uid)
        })
    };
    let fits = |volume: &&PersistentVolume| {
        let own = volume.spec.clone().unwrap_or_default();
        let chosen = spec.volume_name.as_ref().is_none_or(|name| Some(name) == volume.metadata.name.as_ref());
        let class = own.storage_class_name.unwrap_or_default() == spec.storage_class_name.clone().unwrap_or_default();
        let modes =
            spec.access_modes.iter().flatten().all(|mode| own.access_modes.iter().flatten().any(|own| own == mode));
        let large = amount(own.capacity.as_ref()) >= wanted;
        own.claim_ref.is_none() && chosen && class && modes && large
    };
    let size = |volume: &&PersistentVolume| amount(volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref()));
    let found = volumes.iter().find(mine).or_else(|| volumes.iter().filter(fits).min_by_key(size));
    if let Some(name) = found.and_then(|volume| volume.metadata.name.clone()) {
        return Action::Bind(name);
    }
    let node = claim.metadata.annotations.as_ref().and_then(|annotations| annotations.get(SELECTED_NODE));
    match node {
        Some(node) if provisioned => Action::Provision(node.clone()),
        _ => Action::Nothing,
    }
}

type Amounts = std::collections::BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>;

fn amount(amounts: Option<&Amounts>) -> Option<Quantity> {
    amounts?.get("storage")?.0.parse().ok()
}

impl Volumes {
    /// Lets something go that is being deleted, once nobody uses it: a claim no pod, a volume no claim.
    async fn release(&self, object: &Arc<Object>) -> Result<Outcome, ReconcileError> {
        let mut value = object.value();
        let is_claim = object.kind() == "PersistentVolumeClaim";
        let used = if is_claim {
            let pods = self.pods.in_namespace(&object.metadata.namespace);
            let finished = |pod: &Object| matches!(pod.field("status.phase"), Some("Succeeded" | "Failed"));
            pods.iter().any(|pod| !finished(pod) && claims_of(pod).contains(&object.metadata.key()))
        } else {
            value["status"]["phase"] == "Bound"
        };
        let (gvr, ours) = if is_claim {
            (claims(), "kubernetes.io/pvc-protection")
        } else {
            (volumes(), "kubernetes.io/pv-protection")
        };
        if used || !object.metadata.finalizers.iter().any(|name| name == ours) {
            return Ok(Outcome::default());
        }
        let others: Vec<&String> = object.metadata.finalizers.iter().filter(|name| *name != ours).collect();
        value["metadata"]["finalizers"] = json!(others);
        self.client.update(&gvr, value).await?;
        Ok(Outcome::default())
    }

    async fn reconcile_claim(&self, object: &Arc<Object>) -> Result<Outcome, ReconcileError> {
        let claim: PersistentVolumeClaim = object.view()?;
        if claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound") {
            return Ok(Outcome::default());
        }
        let class = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.clone()).unwrap_or_default();
        let provisioner = self.classes.get(&class).map(|class| class.value()["provisioner"].clone());
        let known = self.volumes.list().iter().map(|volume| volume.view()).collect::<Result<Vec<_>, _>>()?;
        match plan(&claim, &known, provisioner == Some(json!(PROVISIONER))) {
            Action::Nothing => Ok(Outcome::default()),
            Action::Bind(name) => self.bind(&object.value(), &name).await,
            Action::Provision(node) => {
                let volume = self.volume(&object.value(), &class, &node);
                let name = volume["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                match self.client.create(&volumes(), "", volume).await {
                    Err(error) if error.reason != Reason::AlreadyExists => Err(error.into()),
                    Ok(_) | Err(_) => self.bind(&object.value(), &name).await,
                }
            }
        }
    }

    fn volume(&self, claim: &Value, class: &str, node: &str) -> Value {
        let text = |name: &str| claim["metadata"][name].as_str().unwrap_or_default();
        let name = format!("pvc-{}", text("uid"));
        json!({
            "kind": "PersistentVolume", "apiVersion": "v1",
            "metadata": {"name": name, "annotations": {PROVISIONED_BY: PROVISIONER}},
            "spec": {
                "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"]},
                "accessModes": claim["spec"]["accessModes"],
                "persistentVolumeReclaimPolicy": "Delete",
                "storageClassName": class,
                "volumeMode": "Filesystem",
                "hostPath": {"path": self.folder.join(&name), "type": "DirectoryOrCreate"},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                    {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]}},
                "claimRef": reference(claim),
            },
        })
    }

    /// Binds both ways: the volume names the claim first, so that two claims never get one volume.
    async fn bind(&self, claim: &Value, name: &str) -> Result<Outcome, ReconcileError> {
        let mut volume = self.client.get(&volumes(), "", name).await?.value();
        if volume["spec"]["claimRef"]["uid"] != claim["metadata"]["uid"] {
            volume["spec"]["claimRef"] = reference(claim);
            volume = self.client.update(&volumes(), volume).await?.value();
        }
        if volume["status"]["phase"] != "Bound" {
            volume["status"] = json!({"phase": "Bound"});
            self.client.update_status(&volumes(), volume.clone()).await?;
        }
        let mut claim = claim.clone();
        if claim["spec"]["volumeName"] != name {
            claim["spec"]["volumeName"] = json!(name);
            claim["metadata"]["annotations"]["pv.kubernetes.io/bind-completed"] = json!("yes");
            claim["metadata"]["annotations"]["pv.kubernetes.io/bound-by-controller"] = json!("yes");
            claim = self.client.update(&claims(), claim).await?.value();
        }
        claim["status"] = json!({"phase": "Bound", "accessModes": volume["spec"]["accessModes"], "capacity": volume["spec"]["capacity"]});
        let written = self.client.update_status(&claims(), claim).await?;
        Ok(Outcome { wrote: written.revision, ..Outcome::default() })
    }

    async fn reconcile_volume(&self, object: &Arc<Object>) -> Result<Outcome, ReconcileError> {
        let mut volume = object.value();
        let owner = &volume["spec"]["claimRef"];
        let (namespace, name) =
            (owner["namespace"].as_str().unwrap_or_default(), owner["name"].as_str().unwrap_or_default());
        let phase = volume["status"]["phase"].as_str().unwrap_or_default().to_owned();
        let alive = self
            .claims
            .get(&format!("{namespace}/{name}"))
            .is_some_and(|claim| owner["uid"].is_null() || owner["uid"] == claim.metadata.uid.as_str());
        let wanted = match (owner.is_null(), alive, phase.as_str()) {
            (true, _, _) => "Available",
            (false, false, "Bound" | "Released") => "Released",
            (false, _, _) => return Ok(Outcome::default()),
        };
        let ours = volume["metadata"]["annotations"][PROVISIONED_BY] == PROVISIONER;
        // The collection may be behind: before anything is given up, the claim itself is asked for.
        if wanted == "Released" && self.claim_lives(namespace, name, &owner["uid"]).await? {
            return Ok(Outcome { again_after: Some(std::time::Duration::from_secs(1)), ..Outcome::default() });
        }
        if phase == wanted
            && wanted == "Released"
            && volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete"
            && ours
        {
            self.remove(object)?;
            self.client.delete_exactly(&volumes(), object, DeleteOptions::default()).await?;
            return Ok(Outcome::default());
        }
        if phase == wanted {
            return Ok(Outcome::default());
        }
        volume["status"] = json!({"phase": wanted});
        let written = self.client.update_status(&volumes(), volume).await?;
        Ok(Outcome { wrote: written.revision, ..Outcome::default() })
    }

    async fn claim_lives(&self, namespace: &str, name: &str, uid: &Value) -> Result<bool, ReconcileError> {
        match self.client.get(&claims(), namespace, name).await {
            Ok(claim) => Ok(uid.is_null() || *uid == claim.metadata.uid.as_str()),
            Err(error) if error.reason == Reason::NotFound => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes what a volume of ours holds. Only folders that we named are ours.
    fn remove(&self, volume: &Object) -> Result<(), ReconcileError> {
        let folder = self.folder.join(&volume.metadata.name);
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(ReconcileError::Other(format!("remove {}: {error}", folder.display())))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// Whether it is a volume that some claim has, as far as its phase tells: it is released before it goes.
fn is_bound_volume(object: &Object) -> bool {
    object.kind() == "PersistentVolume" && object.value()["status"]["phase"] == "Bound"
}

/// The claims that a pod names.
fn claims_of(pod: &Object) -> Vec<String> {
    let value = pod.value();
    let volumes = value["spec"]["volumes"].as_array().into_iter().flatten();
    let names = volumes.filter_map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str());
    names.map(|name| format!("{}/{name}", pod.metadata.namespace)).collect()
}

fn reference(claim: &Value) -> Value {
    let metadata = &claim["metadata"];
    json!({
        "kind": "PersistentVolumeClaim", "apiVersion": "v1", "namespace": metadata["namespace"],
        "name": metadata["name"], "uid": metadata["uid"],
    })
}

#[async_trait]
impl Controller for Volumes {
    fn name(&self) -> &'static str {
        "persistent-volume-binder"
    }

    fn sources(&self) -> Vec<Source> {
        // A volume also concerns the claim it may be bound to, and a claim the volume it was bound to.
        let of_volume = |object: &Object| {
            let value = object.value();
            let owner = &value["spec"]["claimRef"];
            let claim = owner["name"]
                .as_str()
                .map(|name| format!("{}/{name}", owner["namespace"].as_str().unwrap_or_default()));
            std::iter::once(object.metadata.name.clone()).chain(claim).collect()
        };
        let of_claim = |object: &Object| {
            let volume = object.value()["spec"]["volumeName"].as_str().map(str::to_owned);
            std::iter::once(object.metadata.key()).chain(volume).collect()
        };
        vec![
            Source { informer: self.volumes.clone(), keys: of_volume },
            Source { informer: self.claims.clone(), keys: of_claim },
            Source { informer: self.classes.clone(), keys: |_| Vec::new() },
            Source { informer: self.pods.clone(), keys: claims_of },
        ]
    }

    async fn reconcile(&self, key: &str) -> Result<Outcome, ReconcileError> {
        let found = if key.contains('/') { self.claims.get(key) } else { self.volumes.get(key) };
        match found {
            Some(object) if object.metadata.is_terminating() && !is_bound_volume(&object) => {
                self.release(&object).await
            }
            Some(object) if key.contains('/') => self.reconcile_claim(&object).await,
            Some(object) => self.reconcile_volume(&object).await,
            None => Ok(Outcome::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(annotations: Value, size: &str) -> PersistentVolumeClaim {
        serde_json::from_value(json!({
            "metadata": {"name": "c", "namespace": "n", "uid": "u", "annotations": annotations},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, "storageClassName": "k"},
        }))
        .expect("a claim")
    }

    fn volume(name: &str, size: &str, owner: Value) -> PersistentVolume {
        serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": size}, "storageClassName": "k", "claimRef": owner},
        }))
        .expect("a volume")
    }

    #[test]
    fn a_claim_gets_the_smallest_volume_that_fits() {
        let free = Value::Null;
        let other = json!({"name": "x", "namespace": "n", "uid": "v"});
        let own = json!({"name": "c", "namespace": "n"});
        let check = |claim: PersistentVolumeClaim, known: &[PersistentVolume], expected: Action| {
            assert_eq!(plan(&claim, known, true), expected);
        };
        let many =
            [volume("small", "1Gi", free.clone()), volume("large", "9Gi", free.clone()), volume("fit", "5Gi", free)];
        check(claim(json!({}), "4Gi"), &many, Action::Bind("fit".into()));
        check(claim(json!({}), "10Gi"), &many, Action::Nothing);
        check(claim(json!({}), "1Gi"), &[volume("taken", "1Gi", other)], Action::Nothing);
        check(claim(json!({}), "9Gi"), &[volume("mine", "1Gi", own)], Action::Bind("mine".into()));
        check(claim(json!({SELECTED_NODE: "a"}), "1Gi"), &[], Action::Provision("a".into()));
    }
}
