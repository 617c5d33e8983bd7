//! Node selectors and affinity to nodes.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Events, Plugin, Prepared, Refusal, normalize};
use crate::cluster::Cluster;
use crate::node::NodeInfo;
use crate::pod::PodInfo;

pub(crate) struct NodeAffinity;

impl Plugin for NodeAffinity {
    fn events(&self) -> Events {
        Events::NODE_ADDED.or(Events::NODE_LABELS)
    }

    fn only<'a>(&self, pod: &'a PodInfo) -> Option<(&'static str, BTreeSet<&'a str>)> {
        Some(("NodeAffinity", pod.nodes.named()?))
    }

    fn filter<'a>(&self, pod: &'a PodInfo, _cluster: &'a Cluster) -> Prepared<'a> {
        if pod.nodes.selector.is_empty() && pod.nodes.required.is_none() {
            return Prepared::Skip;
        }
        if pod.nodes.named().is_some_and(|names| names.is_empty()) {
            return Prepared::Refuse("pod affinity terms conflict".to_owned());
        }
        Prepared::Filter(Box::new(|node| {
            let fits = pod.accepts(&node.name, &node.labels);
            if fits { None } else { Refusal::lasting("node(s) didn't match Pod's node affinity/selector") }
        }))
    }

    fn weight(&self) -> i64 {
        2
    }

    fn score(&self, pod: &PodInfo, _cluster: &Cluster, nodes: &[Arc<NodeInfo>]) -> Option<Vec<i64>> {
        if pod.nodes.preferred.is_empty() {
            return None;
        }
        let liked = |node: &Arc<NodeInfo>| {
            let terms = pod.nodes.preferred.iter().filter(|(_, term)| term.matches(&node.name, &node.labels));
            terms.map(|(weight, _)| weight).sum()
        };
        Some(normalize(nodes.iter().map(liked).collect(), false))
    }
}
