//! CPU and memory are used up alike.

use std::sync::Arc;

use super::{BEST, Plugin};
use crate::cluster::Cluster;
use crate::node::NodeInfo;
use crate::pod::PodInfo;

pub(crate) struct NodeResourcesBalancedAllocation;

impl Plugin for NodeResourcesBalancedAllocation {
    fn score(&self, pod: &PodInfo, _cluster: &Cluster, nodes: &[Arc<NodeInfo>]) -> Option<Vec<i64>> {
        // Compat: pods that ask for nothing don't unbalance anything.
        let asks = ["cpu", "memory"].iter().any(|name| !pod.requests.get(name).is_zero());
        asks.then(|| nodes.iter().map(|node| balance(pod, node)).collect())
    }
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "shares between 0 and 1")]
fn balance(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let share = |name: &str| {
        let all = node.allocatable.get(name).milli_value();
        let used = (node.requested.get(name) + pod.requests.get(name)).milli_value();
        if all == 0 { 1.0 } else { (used as f64 / all as f64).min(1.0) }
    };
    // Of two shares the standard deviation is half their distance.
    let deviation = (share("cpu") - share("memory")).abs() / 2.0;
    ((1.0 - deviation) * BEST as f64) as i64
}
