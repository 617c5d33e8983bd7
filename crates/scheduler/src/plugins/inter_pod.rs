//! Affinity to other pods, and away from them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{BEST, Events, Plugin, Prepared, Refusal};
use crate::cluster::Cluster;
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::selectors::PodTerm;

pub(crate) struct InterPodAffinity;

/// A label of nodes with one of its values: everything that is together there.
type Place<'a> = (&'a str, &'a str);

fn place<'a>(term: &'a PodTerm, node: &'a NodeInfo) -> Option<Place<'a>> {
    node.labels.get(&term.topology_key).map(|value| (term.topology_key.as_str(), value.as_str()))
}

/// What is known before nodes are looked at.
struct State<'a> {
    /// Where pods are that refuse this one.
    refused: BTreeSet<Place<'a>>,
    /// Where pods are that it refuses.
    far: BTreeSet<Place<'a>>,
    /// Where pods are that it wants to be near.
    near: BTreeSet<Place<'a>>,
    /// Whether it is the first of its kind: then it needs nobody.
    first: bool,
}

impl<'a> State<'a> {
    fn new(pod: &'a PodInfo, cluster: &'a Cluster) -> Self {
        let mut state = Self { refused: BTreeSet::new(), far: BTreeSet::new(), near: BTreeSet::new(), first: false };
        let means =
            |term: &PodTerm, other: &PodInfo| term.matches(other.namespace(), other.labels(), &cluster.namespaces);
        for node in cluster.known() {
            for other in node.pods() {
                let refusing = other.pods.far.iter().filter(|term| means(term, pod));
                state.refused.extend(refusing.filter_map(|term| place(term, node)));
                let far = pod.pods.far.iter().filter(|term| means(term, other));
                state.far.extend(far.filter_map(|term| place(term, node)));
                // Compat: a pod counts only if all terms mean it.
                if !pod.pods.near.is_empty() && pod.pods.near.iter().all(|term| means(term, other)) {
                    state.near.extend(pod.pods.near.iter().filter_map(|term| place(term, node)));
                }
            }
        }
        state.first = state.near.is_empty() && pod.pods.near.iter().all(|term| means(term, pod));
        state
    }

    fn judge(&self, pod: &PodInfo, node: &NodeInfo) -> Option<Refusal> {
        let near = pod
            .pods
            .near
            .iter()
            .all(|term| place(term, node).is_some_and(|place| self.first || self.near.contains(&place)));
        if !near {
            return Refusal::lasting("node(s) didn't match pod affinity rules");
        }
        let meets = |places: &BTreeSet<Place<'_>>| {
            places.iter().any(|(key, value)| node.labels.get(*key).is_some_and(|own| own == value))
        };
        if meets(&self.far) {
            return Refusal::resolvable("node(s) didn't match pod anti-affinity rules");
        }
        if meets(&self.refused) {
            return Refusal::resolvable("node(s) didn't satisfy existing pods anti-affinity rules");
        }
        None
    }
}

impl Plugin for InterPodAffinity {
    fn events(&self) -> Events {
        let nodes = Events::NODE_ADDED.or(Events::NODE_LABELS);
        nodes.or(Events::POD_GONE).or(Events::POD_ASSIGNED).or(Events::NAMESPACE)
    }

    fn filter<'a>(&self, pod: &'a PodInfo, cluster: &'a Cluster) -> Prepared<'a> {
        let state = State::new(pod, cluster);
        if pod.pods.near.is_empty() && state.far.is_empty() && state.refused.is_empty() {
            return Prepared::Skip;
        }
        Prepared::Filter(Box::new(move |node| state.judge(pod, node)))
    }

    fn weight(&self) -> i64 {
        2
    }

    fn score(&self, pod: &PodInfo, cluster: &Cluster, nodes: &[Arc<NodeInfo>]) -> Option<Vec<i64>> {
        let weights = weights(pod, cluster);
        if weights.is_empty() {
            return None;
        }
        let of = |node: &Arc<NodeInfo>| -> i64 {
            let here = weights.iter().filter(|((key, value), _)| node.labels.get(*key).is_some_and(|own| own == value));
            here.map(|(_, weight)| weight).sum()
        };
        let scores: Vec<i64> = nodes.iter().map(of).collect();
        let (least, most) = (scores.iter().min().copied()?, scores.iter().max().copied()?);
        let scale = |score: i64| if most == least { 0 } else { (score - least) * BEST / (most - least) };
        Some(scores.into_iter().map(scale).collect())
    }
}

/// How much better each place is, by what the pod prefers and what pods there prefer.
fn weights<'a>(pod: &'a PodInfo, cluster: &'a Cluster) -> BTreeMap<Place<'a>, i64> {
    let mut weights = BTreeMap::new();
    let means = |term: &PodTerm, other: &PodInfo| term.matches(other.namespace(), other.labels(), &cluster.namespaces);
    for node in cluster.known() {
        for other in node.pods() {
            let own = pod.pods.preferred.iter().filter(|(_, term)| means(term, other));
            let theirs = other.pods.preferred.iter().filter(|(_, term)| means(term, pod));
            for (weight, term) in own.chain(theirs) {
                if let Some(place) = place(term, node) {
                    *weights.entry(place).or_default() += weight;
                }
            }
            // Compat: pods that must be near this one pull with weight 1.
            for term in other.pods.near.iter().filter(|term| means(term, pod)) {
                if let Some(place) = place(term, node) {
                    *weights.entry(place).or_default() += 1;
                }
            }
        }
    }
    weights
}
