//! Ports of the node.

use super::{Events, Plugin, Prepared, Refusal};
use crate::cluster::Cluster;
use crate::pod::PodInfo;

pub(crate) struct NodePorts;

impl Plugin for NodePorts {
    fn events(&self) -> Events {
        Events::NODE_ADDED.or(Events::POD_GONE)
    }

    fn filter<'a>(&self, pod: &'a PodInfo, _cluster: &'a Cluster) -> Prepared<'a> {
        if pod.ports.is_empty() {
            return Prepared::Skip;
        }
        Prepared::Filter(Box::new(|node| {
            let mut taken = node.pods().flat_map(|other| &other.ports);
            let refused = taken.any(|taken| pod.ports.iter().any(|wanted| wanted.conflicts(taken)));
            let why = "node(s) didn't have free ports for the requested pod ports";
            if refused { Refusal::resolvable(why) } else { None }
        }))
    }
}
