//! Pods of one kind are spread over nodes, zones, and whatever else labels say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{BEST, Events, Plugin, Prepared, Refusal};
use crate::cluster::Cluster;
use crate::node::NodeInfo;
use crate::pod::{PodInfo, Spread};
use crate::selectors::{Labels, tolerated};

pub(crate) struct PodTopologySpread;

const HOSTNAME: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";
const REFUSED: &str = "node(s) didn't match pod topology spread constraints";

/// How many pods there are for each value of the constraint's label.
type Counts = BTreeMap<String, i64>;

/// Who counts as one of a kind.
enum Kind<'a> {
    Constraint(&'a Spread),
    /// Compat: without constraints of its own, a pod is spread among those of its controller, if it is one that keeps a number of
    /// pods, and of its services.
    Default {
        owner: Option<&'a str>,
        services: &'a Labels,
    },
}

/// Controllers that keep a number of pods.
const KEEPERS: [&str; 3] = ["ReplicationController", "ReplicaSet", "StatefulSet"];

impl Kind<'_> {
    fn count(&self, pod: &PodInfo, node: &NodeInfo) -> i64 {
        let like =
            |other: &&Arc<PodInfo>| other.namespace() == pod.namespace() && !other.is_terminating() && self.has(other);
        i64::try_from(node.pods().filter(like).count()).unwrap_or(i64::MAX)
    }

    fn has(&self, other: &PodInfo) -> bool {
        match self {
            Self::Constraint(spread) => {
                spread.selector.as_ref().is_some_and(|selector| selector.matches(other.labels()))
            }
            Self::Default { owner, services } => {
                let own = |uid: &str| other.object.metadata.controller().is_some_and(|owner| owner.uid == uid);
                owner.is_none_or(own) && services.iter().all(|(key, value)| other.labels().get(key) == Some(value))
            }
        }
    }
}

/// Whether pods on this node count.
fn counts(spread: &Spread, pod: &PodInfo, node: &NodeInfo) -> bool {
    let hard = |taint: &&crate::node::Taint| taint.effect != "PreferNoSchedule";
    let taints = || node.taints.iter().filter(hard).all(|taint| tolerated(&pod.tolerations, taint));
    (!spread.honour_affinity || pod.accepts(&node.name, &node.labels)) && (!spread.honour_taints || taints())
}

fn has_all(node: &NodeInfo, spreads: &[&Spread]) -> bool {
    spreads.iter().all(|spread| node.labels.contains_key(&spread.topology_key))
}

fn judge(pod: &PodInfo, node: &NodeInfo, spreads: &[(&Spread, Counts)]) -> Option<Refusal> {
    for (spread, counts) in spreads {
        let Some(value) = node.labels.get(&spread.topology_key) else {
            return Refusal::lasting(&format!("{REFUSED} (missing required label)"));
        };
        let few = counts.len() < spread.min_domains;
        let least = if few { 0 } else { counts.values().copied().min().unwrap_or(0) };
        let own = i64::from(Kind::Constraint(spread).has(pod));
        if counts.get(value).copied().unwrap_or(0) + own - least > spread.max_skew {
            return Refusal::resolvable(REFUSED);
        }
    }
    None
}

impl Plugin for PodTopologySpread {
    fn events(&self) -> Events {
        let nodes = Events::NODE_ADDED.or(Events::NODE_LABELS).or(Events::NODE_TAINTS);
        nodes.or(Events::POD_GONE).or(Events::POD_ASSIGNED)
    }

    fn filter<'a>(&self, pod: &'a PodInfo, cluster: &'a Cluster) -> Prepared<'a> {
        let required: Vec<&Spread> = pod.spread.iter().filter(|spread| spread.required).collect();
        if required.is_empty() {
            return Prepared::Skip;
        }
        let mut spreads: Vec<(&Spread, Counts)> = required.iter().map(|spread| (*spread, Counts::new())).collect();
        for node in cluster.known().filter(|node| has_all(node, &required)) {
            for (spread, found) in spreads.iter_mut().filter(|(spread, _)| counts(spread, pod, node)) {
                let value = node.labels.get(&spread.topology_key).cloned().unwrap_or_default();
                *found.entry(value).or_default() += Kind::Constraint(spread).count(pod, node);
            }
        }
        Prepared::Filter(Box::new(move |node| judge(pod, node, &spreads)))
    }

    fn weight(&self) -> i64 {
        2
    }

    fn score(&self, pod: &PodInfo, cluster: &Cluster, nodes: &[Arc<NodeInfo>]) -> Option<Vec<i64>> {
        let defaults = [default_spread(HOSTNAME, 3), default_spread(ZONE, 5)];
        let keeper = pod.object.metadata.controller().filter(|owner| KEEPERS.contains(&owner.kind.as_str()));
        let owner = keeper.map(|owner| owner.uid.as_str());
        let services = if pod.spread.is_empty() { cluster.served_by(pod) } else { Labels::new() };
        let wanted: Vec<(&Spread, Kind<'_>)> = if !pod.spread.is_empty() {
            let soft = pod.spread.iter().filter(|spread| !spread.required);
            soft.map(|spread| (spread, Kind::Constraint(spread))).collect()
        } else if owner.is_some() || !services.is_empty() {
            defaults.iter().map(|spread| (spread, Kind::Default { owner, services: &services })).collect()
        } else {
            Vec::new()
        };
        if wanted.is_empty() {
            return None;
        }
        let strict = !pod.spread.is_empty();
        Some(soft_scores(pod, cluster, nodes, &wanted, strict))
    }
}

fn default_spread(topology_key: &str, max_skew: i64) -> Spread {
    Spread {
        max_skew,
        topology_key: topology_key.to_owned(),
        required: false,
        selector: None,
        min_domains: 1,
        honour_affinity: true,
        honour_taints: false,
    }
}

/// Fewer pods of the kind are better; labels with many values weigh more. `strict`: nodes without all labels are worst.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "small counts")]
fn soft_scores(
    pod: &PodInfo,
    cluster: &Cluster,
    nodes: &[Arc<NodeInfo>],
    wanted: &[(&Spread, Kind<'_>)],
    strict: bool,
) -> Vec<i64> {
    let spreads: Vec<&Spread> = wanted.iter().map(|(spread, _)| *spread).collect();
    let ignored = |node: &NodeInfo| strict && !has_all(node, &spreads);
    let mut sums: Vec<f64> = vec![0.0; nodes.len()];
    for (spread, kind) in wanted {
        let value = |node: &NodeInfo| node.labels.get(&spread.topology_key).cloned();
        let domains: BTreeSet<String> =
            nodes.iter().filter(|node| !ignored(node)).filter_map(|node| value(node)).collect();
        let mut found: Counts = domains.iter().map(|domain| (domain.clone(), 0)).collect();
        for node in cluster.known().filter(|node| !ignored(node) && counts(spread, pod, node)) {
            if let Some(count) = value(node).and_then(|value| found.get_mut(&value)) {
                *count += kind.count(pod, node);
            }
        }
        let weight = ((domains.len() + 2) as f64).ln();
        for (node, sum) in nodes.iter().zip(&mut sums) {
            if let Some(count) = value(node).and_then(|value| found.get(&value)) {
                *sum += *count as f64 * weight + (spread.max_skew - 1) as f64;
            }
        }
    }
    let rounded: Vec<Option<i64>> =
        nodes.iter().zip(sums).map(|(node, sum)| (!ignored(node)).then(|| sum.round() as i64)).collect();
    let known = || rounded.iter().flatten().copied();
    let (least, most) = (known().min().unwrap_or(0), known().max().unwrap_or(0));
    let scale = |score: Option<i64>| match score {
        None => 0,
        Some(_) if most == 0 => BEST,
        Some(score) => BEST * (most + least - score) / most,
    };
    rounded.into_iter().map(scale).collect()
}
