//! What the scheduler keeps of a node, with the pods that are there.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use meta::{Object, ObjectError};

use crate::amounts::Amounts;
use crate::pod::PodInfo;
use crate::selectors::Labels;

/// What keeps pods away that don't tolerate it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Taint {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) effect: String,
}

/// A node as plugins see it.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeInfo {
    pub(crate) name: String,
    pub(crate) labels: Labels,
    pub(crate) taints: Vec<Taint>,
    pub(crate) unschedulable: bool,
    pub(crate) allocatable: Amounts,
    /// Sizes in bytes of images that are there, by each of their names.
    pub(crate) images: BTreeMap<String, i64>,
    /// By UID.
    pods: BTreeMap<String, Arc<PodInfo>>,
    pub(crate) requested: Amounts,
    pub(crate) likely: Amounts,
}

impl NodeInfo {
    pub(crate) fn read(object: &Object) -> Result<Self, ObjectError> {
        let node: Node = object.view()?;
        let spec = node.spec.unwrap_or_default();
        let status = node.status.unwrap_or_default();
        let taint = |taint: k8s_openapi::api::core::v1::Taint| Taint {
            key: taint.key,
            value: taint.value.unwrap_or_default(),
            effect: taint.effect,
        };
        let images = status.images.into_iter().flatten().flat_map(|image| {
            let size = image.size_bytes.unwrap_or(0);
            image.names.into_iter().flatten().map(move |name| (name, size))
        });
        Ok(Self {
            name: object.metadata.name.clone(),
            labels: object.metadata.labels.clone(),
            taints: spec.taints.into_iter().flatten().map(taint).collect(),
            unschedulable: spec.unschedulable.unwrap_or(false),
            allocatable: Amounts::read(status.allocatable.as_ref()),
            images: images.collect(),
            ..Self::default()
        })
    }

    pub(crate) fn pods(&self) -> impl Iterator<Item = &Arc<PodInfo>> {
        self.pods.values()
    }

    pub(crate) fn count(&self) -> usize {
        self.pods.len()
    }

    pub(crate) fn add(&mut self, pod: Arc<PodInfo>) {
        self.remove(pod.uid());
        self.requested.add(&pod.requests);
        self.likely.add(&pod.likely);
        self.pods.insert(pod.uid().to_owned(), pod);
    }

    pub(crate) fn remove(&mut self, uid: &str) {
        if let Some(pod) = self.pods.remove(uid) {
            self.requested.subtract(&pod.requests);
            self.likely.subtract(&pod.likely);
        }
    }

    /// Takes over what is there from an older reading of the same node.
    pub(crate) fn keep_pods(&mut self, old: &Self) {
        self.pods.clone_from(&old.pods);
        self.requested = old.requested.clone();
        self.likely = old.likely.clone();
    }
}
