//! The cluster as a cycle sees it: nodes with their pods, namespaces, volumes. Cheap to clone, so that preemption can try
//! what would be without some pods.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;

use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::selectors::Labels;

/// Claims, volumes and classes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Volumes {
    /// By `namespace/name`.
    pub(crate) claims: BTreeMap<String, Arc<PersistentVolumeClaim>>,
    pub(crate) volumes: BTreeMap<String, Arc<PersistentVolume>>,
    pub(crate) classes: BTreeMap<String, Arc<StorageClass>>,
    /// How many volumes of each CSI driver a node takes, by the node's name.
    pub(crate) limits: BTreeMap<String, BTreeMap<String, i64>>,
}

/// The cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cluster {
    pub(crate) nodes: BTreeMap<String, Arc<NodeInfo>>,
    /// The labels of each namespace.
    pub(crate) namespaces: BTreeMap<String, Labels>,
    pub(crate) volumes: Volumes,
    /// What services select, by `namespace/name`.
    pub(crate) services: Arc<BTreeMap<String, Labels>>,
    /// Pods for which room was made, by UID: they wait until it is free.
    pub(crate) nominated: BTreeMap<String, Arc<PodInfo>>,
}

impl Cluster {
    /// Puts a pod on a node; one that isn't known (yet) is made up, so that nothing is forgotten.
    pub(crate) fn add(&mut self, pod: Arc<PodInfo>, node: &str) {
        let node = self.nodes.entry(node.to_owned()).or_default();
        Arc::make_mut(node).add(pod);
    }

    /// Takes a pod off a node.
    pub(crate) fn remove(&mut self, uid: &str, node: &str) {
        if let Some(node) = self.nodes.get_mut(node) {
            Arc::make_mut(node).remove(uid);
        }
    }

    /// The labels by which services select a pod, all together; empty if none does.
    pub(crate) fn served_by(&self, pod: &PodInfo) -> Labels {
        let prefix = format!("{}/", pod.namespace());
        let here = self.services.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix));
        let selects = |labels: &&Labels| labels.iter().all(|(key, value)| pod.labels().get(key) == Some(value));
        here.map(|(_, labels)| labels).filter(selects).flat_map(Clone::clone).collect()
    }

    /// The nodes that exist; of others there are only pods.
    pub(crate) fn known(&self) -> impl Iterator<Item = &Arc<NodeInfo>> {
        self.nodes.values().filter(|node| !node.name.is_empty())
    }
}
