//! What the scheduler keeps of a pod: read once per revision, small.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    Affinity, Container, Pod, PodAffinityTerm, PodSpec, Toleration, TopologySpreadConstraint, Volume,
    WeightedPodAffinityTerm,
};
use meta::{LabelSelector, Object, ObjectError, Operator};

use crate::amounts::{Amounts, likely, requests};
use crate::selectors::{Labels, NodeTerm, PodTerm, narrow, selector};

/// A port of the node that a pod takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) address: String,
    pub(crate) protocol: String,
    pub(crate) number: i32,
}

impl Port {
    /// Whether both can't be on one node: an address that is all addresses meets every other.
    pub(crate) fn conflicts(&self, other: &Self) -> bool {
        const ALL: &str = "0.0.0.0";
        let meet = self.address == other.address || self.address == ALL || other.address == ALL;
        self.number == other.number && self.protocol == other.protocol && meet
    }
}

/// How a pod wants its like to be spread.
#[derive(Clone, Debug)]
pub(crate) struct Spread {
    pub(crate) max_skew: i64,
    pub(crate) topology_key: String,
    pub(crate) required: bool,
    pub(crate) selector: Option<LabelSelector>,
    pub(crate) min_domains: usize,
    pub(crate) honour_affinity: bool,
    pub(crate) honour_taints: bool,
}

/// A volume by claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) name: String,
    /// Whether the pod brings the claim: somebody makes it from the pod.
    pub(crate) ephemeral: bool,
}

/// What it wants of nodes by their labels.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeWishes {
    pub(crate) selector: Labels,
    /// `None`: any node.
    pub(crate) required: Option<Vec<NodeTerm>>,
    pub(crate) preferred: Vec<(i64, NodeTerm)>,
}

impl NodeWishes {
    /// The only nodes that will do, if they are named.
    pub(crate) fn named(&self) -> Option<BTreeSet<&str>> {
        let terms = self.required.as_ref().filter(|terms| !terms.is_empty())?;
        terms.iter().map(NodeTerm::names).try_fold(BTreeSet::new(), |all, names| Some(&all | &names?))
    }
}

/// What it wants of other pods.
#[derive(Clone, Debug, Default)]
pub(crate) struct PodWishes {
    pub(crate) near: Vec<PodTerm>,
    pub(crate) far: Vec<PodTerm>,
    /// Weights below zero are for pods to be kept away from.
    pub(crate) preferred: Vec<(i64, PodTerm)>,
}

/// A pod as plugins see it.
#[derive(Clone, Debug)]
pub(crate) struct PodInfo {
    pub(crate) object: Arc<Object>,
    /// Empty while it has none.
    pub(crate) node: String,
    /// Where room was made for it.
    pub(crate) nominated: String,
    pub(crate) priority: i32,
    pub(crate) may_preempt: bool,
    pub(crate) gates: Vec<String>,
    /// Whether it ends because a more important one needs the room.
    pub(crate) preempted: bool,
    pub(crate) start: String,
    pub(crate) requests: Amounts,
    pub(crate) likely: Amounts,
    pub(crate) ports: Vec<Port>,
    pub(crate) tolerations: Vec<Toleration>,
    pub(crate) nodes: NodeWishes,
    pub(crate) pods: PodWishes,
    pub(crate) spread: Vec<Spread>,
    pub(crate) claims: Vec<Claim>,
    pub(crate) images: Vec<String>,
}

impl PodInfo {
    pub(crate) fn read(object: &Arc<Object>) -> Result<Self, ObjectError> {
        let pod: Pod = object.view()?;
        let empty = PodSpec::default();
        let spec = pod.spec.as_ref().unwrap_or(&empty);
        let status = pod.status.as_ref();
        let conditions = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
        let preempted =
            |reason: Option<&str>| object.metadata.is_terminating() && reason == Some("PreemptionByScheduler");
        Ok(Self {
            node: spec.node_name.clone().unwrap_or_default(),
            nominated: status.and_then(|status| status.nominated_node_name.clone()).unwrap_or_default(),
            priority: spec.priority.unwrap_or(0),
            may_preempt: spec.preemption_policy.as_deref() != Some("Never"),
            gates: spec.scheduling_gates.iter().flatten().map(|gate| gate.name.clone()).collect(),
            preempted: conditions.into_iter().any(|condition| preempted(condition.reason.as_deref())),
            start: status.and_then(|status| status.start_time.as_ref()).map(|at| at.0.to_string()).unwrap_or_default(),
            requests: requests(&pod),
            likely: likely(&pod),
            ports: ports(spec),
            tolerations: spec.tolerations.clone().unwrap_or_default(),
            nodes: node_wishes(spec),
            pods: pod_wishes(spec.affinity.as_ref(), object),
            spread: spec.topology_spread_constraints.iter().flatten().map(|own| spread(own, object)).collect(),
            claims: claims(spec, &object.metadata.name),
            images: containers(spec).filter_map(|container| container.image.clone()).collect(),
            object: Arc::clone(object),
        })
    }

    pub(crate) fn key(&self) -> String {
        self.object.metadata.key()
    }

    pub(crate) fn uid(&self) -> &str {
        &self.object.metadata.uid
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.object.metadata.namespace
    }

    pub(crate) fn labels(&self) -> &Labels {
        &self.object.metadata.labels
    }

    pub(crate) fn is_terminating(&self) -> bool {
        self.object.metadata.is_terminating()
    }

    /// Whether the required of what it wants of nodes holds.
    pub(crate) fn accepts(&self, name: &str, labels: &Labels) -> bool {
        let simple = self.nodes.selector.iter().all(|(key, value)| labels.get(key) == Some(value));
        let required = self.nodes.required.as_ref();
        simple && required.is_none_or(|terms| terms.iter().any(|term| term.matches(name, labels)))
    }
}

fn containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.init_containers.iter().flatten().chain(&spec.containers)
}

fn ports(spec: &PodSpec) -> Vec<Port> {
    let is_sidecar = |container: &&Container| container.restart_policy.as_deref() == Some("Always");
    let running = spec.containers.iter().chain(spec.init_containers.iter().flatten().filter(is_sidecar));
    let ports = running.flat_map(|container| container.ports.iter().flatten());
    let taken = ports.filter_map(|port| {
        let or = |text: &Option<String>, default: &str| match text.as_deref() {
            None | Some("") => default.to_owned(),
            Some(text) => text.to_owned(),
        };
        let number = port.host_port.filter(|number| *number > 0)?;
        Some(Port { address: or(&port.host_ip, "0.0.0.0"), protocol: or(&port.protocol, "TCP"), number })
    });
    taken.collect()
}

fn node_wishes(spec: &PodSpec) -> NodeWishes {
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|own| own.required_during_scheduling_ignored_during_execution.as_ref());
    let preferred = affinity.and_then(|own| own.preferred_during_scheduling_ignored_during_execution.as_ref());
    NodeWishes {
        selector: spec.node_selector.clone().unwrap_or_default(),
        required: required.map(NodeTerm::all),
        preferred: preferred
            .into_iter()
            .flatten()
            .map(|term| (i64::from(term.weight), NodeTerm::new(&term.preference)))
            .collect(),
    }
}

fn pod_wishes(affinity: Option<&Affinity>, object: &Object) -> PodWishes {
    let read = |term: &PodAffinityTerm| PodTerm::new(term, &object.metadata.namespace, &object.metadata.labels);
    let near = affinity.and_then(|own| own.pod_affinity.as_ref());
    let far = affinity.and_then(|own| own.pod_anti_affinity.as_ref());
    let near_terms = near.and_then(|own| own.required_during_scheduling_ignored_during_execution.as_ref());
    let far_terms = far.and_then(|own| own.required_during_scheduling_ignored_during_execution.as_ref());
    let liked = near.and_then(|own| own.preferred_during_scheduling_ignored_during_execution.as_ref());
    let disliked = far.and_then(|own| own.preferred_during_scheduling_ignored_during_execution.as_ref());
    let weighted =
        |term: &WeightedPodAffinityTerm, sign: i64| (sign * i64::from(term.weight), read(&term.pod_affinity_term));
    let liked = liked.into_iter().flatten().map(|term| weighted(term, 1));
    PodWishes {
        near: near_terms.into_iter().flatten().map(read).collect(),
        far: far_terms.into_iter().flatten().map(read).collect(),
        preferred: liked.chain(disliked.into_iter().flatten().map(|term| weighted(term, -1))).collect(),
    }
}

fn spread(own: &TopologySpreadConstraint, object: &Object) -> Spread {
    let mut wanted = selector(own.label_selector.as_ref());
    let keys = own.match_label_keys.as_deref().unwrap_or_default();
    narrow(&mut wanted, keys, &object.metadata.labels, Operator::In);
    Spread {
        max_skew: i64::from(own.max_skew),
        topology_key: own.topology_key.clone(),
        required: own.when_unsatisfiable == "DoNotSchedule",
        selector: wanted,
        min_domains: own.min_domains.and_then(|least| usize::try_from(least).ok()).unwrap_or(1),
        honour_affinity: own.node_affinity_policy.as_deref() != Some("Ignore"),
        honour_taints: own.node_taints_policy.as_deref() == Some("Honor"),
    }
}

fn claims(spec: &PodSpec, pod: &str) -> Vec<Claim> {
    let claim = |volume: &Volume| {
        if let Some(source) = &volume.persistent_volume_claim {
            return Some(Claim { name: source.claim_name.clone(), ephemeral: false });
        }
        volume.ephemeral.as_ref().map(|_| Claim { name: format!("{pod}-{}", volume.name), ephemeral: true })
    };
    spec.volumes.iter().flatten().filter_map(claim).collect()
}
