//! Taints and tolerations.

use std::sync::Arc;

use super::{Events, Plugin, Prepared, Refusal, normalize};
use crate::cluster::Cluster;
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::selectors::tolerated;

pub(crate) struct TaintToleration;

const SOFT: &str = "PreferNoSchedule";

impl Plugin for TaintToleration {
    fn events(&self) -> Events {
        Events::NODE_ADDED.or(Events::NODE_TAINTS)
    }

    fn filter<'a>(&self, pod: &'a PodInfo, _cluster: &'a Cluster) -> Prepared<'a> {
        Prepared::Filter(Box::new(|node| {
            let mut hard = node.taints.iter().filter(|taint| taint.effect != SOFT);
            let refused = hard.any(|taint| !tolerated(&pod.tolerations, taint));
            if refused { Refusal::lasting("node(s) had untolerated taint(s)") } else { None }
        }))
    }

    fn weight(&self) -> i64 {
        3
    }

    fn score(&self, pod: &PodInfo, _cluster: &Cluster, nodes: &[Arc<NodeInfo>]) -> Option<Vec<i64>> {
        let soft = |node: &Arc<NodeInfo>| {
            let bad = node.taints.iter().filter(|taint| taint.effect == SOFT && !tolerated(&pod.tolerations, taint));
            i64::try_from(bad.count()).unwrap_or(i64::MAX)
        };
        let counts: Vec<i64> = nodes.iter().map(soft).collect();
        counts.iter().any(|count| *count > 0).then(|| normalize(counts, true))
    }
}
