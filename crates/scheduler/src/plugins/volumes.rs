//! Volumes by claim: bound ones must be reachable from the node, others are bound once the node is known.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use meta::Quantity;

use super::{Events, Plugin, Prepared, Refusal};
use crate::cluster::{Cluster, Volumes};
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::selectors::{NodeTerm, selector};

/// The annotation by which a provisioner learns of the node.
pub(crate) const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const BOUND: &str = "pv.kubernetes.io/bind-completed";
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

/// What is to be done for a claim before its pod can be bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// This claim gets this volume.
    Use(String, String),
    /// A volume is made for this claim.
    Provision(String),
}

pub(crate) struct VolumeBinding;

impl Plugin for VolumeBinding {
    fn events(&self) -> Events {
        Events::VOLUMES.or(Events::NODE_ADDED).or(Events::NODE_LABELS).or(Events::POD_GONE)
    }

    fn filter<'a>(&self, pod: &'a PodInfo, cluster: &'a Cluster) -> Prepared<'a> {
        if pod.claims.is_empty() {
            return Prepared::Skip;
        }
        match claims(pod, &cluster.volumes) {
            Err(why) => Prepared::Refuse(why),
            Ok(claims) => Prepared::Filter(Box::new(move |node| steps(&claims, &cluster.volumes, node).err())),
        }
    }
}

/// What is to be done for a pod's claims when it goes to a node.
pub(crate) fn decide(pod: &PodInfo, cluster: &Cluster, node: &NodeInfo) -> Vec<Step> {
    let claims = claims(pod, &cluster.volumes).unwrap_or_default();
    steps(&claims, &cluster.volumes, node).unwrap_or_default()
}

/// The pod's claims, or why no node can take it.
fn claims<'a>(pod: &PodInfo, volumes: &'a Volumes) -> Result<Vec<&'a PersistentVolumeClaim>, String> {
    let mut found = Vec::new();
    let mut immediate = false;
    for wanted in &pod.claims {
        let name = &wanted.name;
        let Some(claim) = volumes.claims.get(&format!("{}/{name}", pod.namespace())) else {
            return Err(if wanted.ephemeral {
                format!("waiting for ephemeral volume controller to create the persistentvolumeclaim {name:?}")
            } else {
                format!("persistentvolumeclaim {name:?} not found")
            });
        };
        if wanted.ephemeral && !is_own(claim, pod) {
            let (space, pod) = (pod.namespace(), &pod.object.metadata.name);
            return Err(format!("PVC {space}/{name} was not created for pod {space}/{pod} (pod is not owner)"));
        }
        if claim.metadata.deletion_timestamp.is_some() {
            return Err(format!("persistentvolumeclaim {name:?} is being deleted"));
        }
        if claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Lost") {
            let volume = volume_name(claim);
            return Err(format!("persistentvolumeclaim {name:?} bound to non-existent persistentvolume {volume:?}"));
        }
        let later = waits(claim, volumes) && volume_name(claim).is_empty();
        immediate |= !later && !is_bound(claim);
        found.push(&**claim);
    }
    if immediate { Err("pod has unbound immediate PersistentVolumeClaims".to_owned()) } else { Ok(found) }
}

/// Whether a claim was made for this pod's ephemeral volume.
fn is_own(claim: &PersistentVolumeClaim, pod: &PodInfo) -> bool {
    let mut owners = claim.metadata.owner_references.iter().flatten();
    owners.any(|owner| owner.controller == Some(true) && owner.uid == pod.uid())
}

fn volume_name(claim: &PersistentVolumeClaim) -> &str {
    claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).unwrap_or_default()
}

fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    let annotated = claim.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(BOUND));
    !volume_name(claim).is_empty() && annotated
}

fn class<'a>(claim: &PersistentVolumeClaim, volumes: &'a Volumes) -> Option<&'a StorageClass> {
    let name = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_ref())?;
    volumes.classes.get(name).map(|class| &**class)
}

/// Whether the claim is bound only once its pod has a node.
fn waits(claim: &PersistentVolumeClaim, volumes: &Volumes) -> bool {
    class(claim, volumes).and_then(|class| class.volume_binding_mode.as_deref()) == Some("WaitForFirstConsumer")
}

fn steps(claims: &[&PersistentVolumeClaim], volumes: &Volumes, node: &NodeInfo) -> Result<Vec<Step>, Refusal> {
    let refuse = |reason: &str| Refusal { reasons: vec![reason.to_owned()], resolvable: false };
    let (mut steps, mut taken) = (Vec::new(), BTreeSet::new());
    for claim in claims {
        if is_bound(claim) {
            let Some(volume) = volumes.volumes.get(volume_name(claim)) else {
                return Err(refuse("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"));
            };
            if !reachable(volume, node) {
                return Err(refuse("node(s) didn't match PersistentVolume's node affinity"));
            }
            continue;
        }
        match step(claim, volumes, node, &taken) {
            Some(step) => {
                if let Step::Use(_, volume) = &step {
                    taken.insert(volume.clone());
                }
                steps.push(step);
            }
            None => return Err(refuse("node(s) didn't find available persistent volumes to bind")),
        }
    }
    Ok(steps)
}

fn step(claim: &PersistentVolumeClaim, volumes: &Volumes, node: &NodeInfo, taken: &BTreeSet<String>) -> Option<Step> {
    let name = claim.metadata.name.clone().unwrap_or_default();
    let selected = claim.metadata.annotations.as_ref().and_then(|all| all.get(SELECTED_NODE));
    if let Some(selected) = selected {
        return (*selected == node.name).then_some(Step::Provision(name));
    }
    let free = |volume: &&std::sync::Arc<PersistentVolume>| {
        let new = volume.metadata.name.as_ref().is_some_and(|own| !taken.contains(own));
        new && suits(claim, volume) && reachable(volume, node)
    };
    if let Some(volume) = volumes.volumes.values().filter(free).min_by_key(|volume| capacity(volume)) {
        return Some(Step::Use(name, volume.metadata.name.clone().unwrap_or_default()));
    }
    let class = class(claim, volumes)?;
    (class.provisioner != NO_PROVISIONER && allowed(class, node)).then_some(Step::Provision(name))
}

fn capacity(volume: &PersistentVolume) -> Option<Quantity> {
    volume.spec.as_ref()?.capacity.as_ref()?.get("storage")?.0.parse().ok()
}

/// Whether a volume is free, or kept for the claim, and is what it asks for.
fn suits(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> bool {
    let (Some(wanted), Some(own)) = (&claim.spec, &volume.spec) else { return false };
    let free = match &own.claim_ref {
        Some(owner) => owner.name == claim.metadata.name && owner.namespace == claim.metadata.namespace,
        None => volume.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Available"),
    };
    let size = wanted.resources.as_ref().and_then(|resources| resources.requests.as_ref()?.get("storage"));
    let size: Quantity = size.and_then(|size| size.0.parse().ok()).unwrap_or(Quantity::ZERO);
    let modes =
        wanted.access_modes.iter().flatten().all(|mode| own.access_modes.iter().flatten().any(|own| own == mode));
    let class = |name: &Option<String>| name.clone().unwrap_or_default();
    let labels = volume.metadata.labels.clone().unwrap_or_default();
    let selected = wanted.selector.is_none()
        || selector(wanted.selector.as_ref()).is_some_and(|selector| selector.matches(&labels));
    let mode = |mode: &Option<String>| mode.clone().unwrap_or_else(|| "Filesystem".to_owned());
    free && modes
        && selected
        && class(&own.storage_class_name) == class(&wanted.storage_class_name)
        && mode(&own.volume_mode) == mode(&wanted.volume_mode)
        && capacity(volume).is_some_and(|capacity| capacity >= size)
        && volume.metadata.deletion_timestamp.is_none()
}

/// Whether a volume can be reached from a node.
fn reachable(volume: &PersistentVolume, node: &NodeInfo) -> bool {
    let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref());
    let required = affinity.and_then(|affinity| affinity.required.as_ref());
    required.is_none_or(|required| NodeTerm::all(required).iter().any(|term| term.matches(&node.name, &node.labels)))
}

/// Whether volumes of a class may be made for a node.
fn allowed(class: &StorageClass, node: &NodeInfo) -> bool {
    let Some(terms) = class.allowed_topologies.as_ref().filter(|terms| !terms.is_empty()) else { return true };
    terms.iter().any(|term| {
        term.match_label_expressions
            .iter()
            .flatten()
            .all(|wanted| node.labels.get(&wanted.key).is_some_and(|own| wanted.values.contains(own)))
    })
}

pub(crate) struct VolumeRestrictions;

impl Plugin for VolumeRestrictions {
    fn events(&self) -> Events {
        Events::POD_GONE.or(Events::VOLUMES).or(Events::NODE_ADDED)
    }

    fn filter<'a>(&self, pod: &'a PodInfo, cluster: &'a Cluster) -> Prepared<'a> {
        let single: BTreeSet<&str> =
            pod.claims.iter().map(|claim| claim.name.as_str()).filter(|name| is_single(pod, name, cluster)).collect();
        if single.is_empty() {
            return Prepared::Skip;
        }
        let uses = |other: &PodInfo| {
            other.namespace() == pod.namespace()
                && other.claims.iter().any(|claim| single.contains(claim.name.as_str()))
        };
        if !cluster.known().any(|node| node.pods().any(|other| uses(other))) {
            return Prepared::Skip;
        }
        let why = "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by \
                   another pod";
        Prepared::Filter(Box::new(move |_| Refusal::resolvable(why)))
    }
}

/// Whether a claim is for one pod alone.
fn is_single(pod: &PodInfo, claim: &str, cluster: &Cluster) -> bool {
    let claim = cluster.volumes.claims.get(&format!("{}/{claim}", pod.namespace()));
    let spec = claim.and_then(|claim| claim.spec.as_ref());
    spec.and_then(|spec| spec.access_modes.as_ref())
        .is_some_and(|modes| modes.iter().any(|mode| mode == "ReadWriteOncePod"))
}
