//! Room for what pods ask for; the emptier node is the better one.

use std::sync::Arc;

use meta::Quantity;

use super::{BEST, Events, Plugin, Prepared, Refusal};
use crate::cluster::Cluster;
use crate::node::NodeInfo;
use crate::pod::PodInfo;

pub(crate) struct NodeResourcesFit;

impl Plugin for NodeResourcesFit {
    fn events(&self) -> Events {
        Events::NODE_ADDED.or(Events::NODE_ALLOCATABLE).or(Events::POD_GONE)
    }

    fn filter<'a>(&self, pod: &'a PodInfo, _cluster: &'a Cluster) -> Prepared<'a> {
        Prepared::Filter(Box::new(|node| room(pod, node)))
    }

    fn score(&self, pod: &PodInfo, _cluster: &Cluster, nodes: &[Arc<NodeInfo>]) -> Option<Vec<i64>> {
        Some(nodes.iter().map(|node| least_allocated(pod, node)).collect())
    }
}

fn room(pod: &PodInfo, node: &NodeInfo) -> Option<Refusal> {
    let mut refusal = Refusal { reasons: Vec::new(), resolvable: true };
    let most = node.allocatable.get("pods").value();
    if i64::try_from(node.count()).unwrap_or(i64::MAX) + 1 > most {
        refusal.reasons.push("Too many pods".to_owned());
        refusal.resolvable &= most > 0;
    }
    for (name, wanted) in pod.requests.iter().filter(|(_, wanted)| !wanted.is_zero()) {
        let all = node.allocatable.get(name);
        if all - node.requested.get(name) < wanted {
            refusal.reasons.push(format!("Insufficient {name}"));
            refusal.resolvable &= wanted <= all;
        }
    }
    (!refusal.reasons.is_empty()).then_some(refusal)
}

/// The share of CPU and memory that would be left.
fn least_allocated(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let share = |name: &str| {
        let all = node.allocatable.get(name);
        let left = all - node.likely.get(name) - pod.likely.get(name);
        if all.is_zero() || left.is_negative() {
            return 0;
        }
        part(left, all)
    };
    (share("cpu") + share("memory")) / 2
}

fn part(of: Quantity, all: Quantity) -> i64 {
    let scaled = i128::from(of.milli_value()) * i128::from(BEST) / i128::from(all.milli_value().max(1));
    i64::try_from(scaled).unwrap_or(BEST)
}
