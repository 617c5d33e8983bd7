//! What decides where a pod goes: each plugin refuses nodes, or likes some better than others, or both.
//!
//! One file each, and one line in [`all`]. A plugin is pure. It also says which happenings may make a pod fit that it refused.

mod balance;
mod fit;
mod images;
mod inter_pod;
mod limits;
mod node_affinity;
mod ports;
mod spread;
mod taints;
mod unschedulable;
pub(crate) mod volumes;
mod zone;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::cluster::Cluster;
use crate::node::NodeInfo;
use crate::pod::PodInfo;

/// The highest score.
pub(crate) const BEST: i64 = 100;

/// Happenings, as a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Events(pub(crate) u16);

impl Events {
    pub(crate) const NODE_ADDED: Self = Self(1);
    pub(crate) const NODE_LABELS: Self = Self(1 << 1);
    pub(crate) const NODE_TAINTS: Self = Self(1 << 2);
    pub(crate) const NODE_ALLOCATABLE: Self = Self(1 << 3);
    pub(crate) const POD_GONE: Self = Self(1 << 4);
    pub(crate) const POD_ASSIGNED: Self = Self(1 << 5);
    pub(crate) const VOLUMES: Self = Self(1 << 6);
    pub(crate) const NAMESPACE: Self = Self(1 << 7);

    pub(crate) const fn or(self, more: Self) -> Self {
        Self(self.0 | more.0)
    }

    pub(crate) const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Why a node can't take a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// In upstream's words.
    pub(crate) reasons: Vec<String>,
    /// Whether the absence of other pods could change it.
    pub(crate) resolvable: bool,
}

impl Refusal {
    pub(crate) fn resolvable(reason: &str) -> Option<Self> {
        Some(Self { reasons: vec![reason.to_owned()], resolvable: true })
    }

    pub(crate) fn lasting(reason: &str) -> Option<Self> {
        Some(Self { reasons: vec![reason.to_owned()], resolvable: false })
    }
}

/// Why a node can't take the pod; `None` if it can.
pub(crate) type Filter<'a> = Box<dyn Fn(&NodeInfo) -> Option<Refusal> + 'a>;

/// What a plugin says of a pod before it looks at nodes.
pub(crate) enum Prepared<'a> {
    /// It has nothing to do with the pod.
    Skip,
    /// It may refuse nodes.
    Filter(Filter<'a>),
    /// No node can take it, for this reason.
    Refuse(String),
}

/// A plugin.
pub(crate) trait Plugin: Send + Sync {
    /// What may make a pod fit that this plugin refused.
    fn events(&self) -> Events {
        Events::default()
    }

    /// The only nodes that can take a pod, where it is clear without looking at any, and what upstream calls this plugin.
    fn only<'a>(&self, _pod: &'a PodInfo) -> Option<(&'static str, BTreeSet<&'a str>)> {
        None
    }

    /// How a pod's nodes are chosen.
    fn filter<'a>(&self, _pod: &'a PodInfo, _cluster: &'a Cluster) -> Prepared<'a> {
        Prepared::Skip
    }

    /// How much the scores weigh.
    fn weight(&self) -> i64 {
        1
    }

    /// How good each node is, from 0 to [`BEST`]; `None` where it makes no difference.
    fn score(&self, _pod: &PodInfo, _cluster: &Cluster, _nodes: &[Arc<NodeInfo>]) -> Option<Vec<i64>> {
        None
    }
}

/// All plugins, in upstream's order.
pub(crate) fn all() -> &'static [&'static dyn Plugin] {
    &[
        &unschedulable::NodeUnschedulable,
        &taints::TaintToleration,
        &node_affinity::NodeAffinity,
        &ports::NodePorts,
        &fit::NodeResourcesFit,
        &volumes::VolumeRestrictions,
        &limits::NodeVolumeLimits,
        &volumes::VolumeBinding,
        &zone::VolumeZone,
        &spread::PodTopologySpread,
        &inter_pod::InterPodAffinity,
        &balance::NodeResourcesBalancedAllocation,
        &images::ImageLocality,
    ]
}

/// Scales scores so that the highest is the best there is; reversed, the highest becomes the worst.
fn normalize(mut scores: Vec<i64>, reverse: bool) -> Vec<i64> {
    let highest = scores.iter().copied().max().unwrap_or(0);
    for score in &mut scores {
        let scaled = if highest == 0 { 0 } else { *score * BEST / highest };
        *score = if reverse { BEST - scaled } else { scaled };
    }
    scores
}
