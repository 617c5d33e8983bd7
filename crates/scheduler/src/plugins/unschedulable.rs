//! Nodes that shall get no new pods.

use super::{Events, Plugin, Prepared, Refusal};
use crate::cluster::Cluster;
use crate::node::Taint;
use crate::pod::PodInfo;
use crate::selectors::tolerated;

pub(crate) struct NodeUnschedulable;

impl Plugin for NodeUnschedulable {
    fn events(&self) -> Events {
        Events::NODE_ADDED.or(Events::NODE_TAINTS)
    }

    fn filter<'a>(&self, pod: &'a PodInfo, _cluster: &'a Cluster) -> Prepared<'a> {
        let taint = Taint {
            key: "node.kubernetes.io/unschedulable".to_owned(),
            value: String::new(),
            effect: "NoSchedule".to_owned(),
        };
        if tolerated(&pod.tolerations, &taint) {
            return Prepared::Skip;
        }
        Prepared::Filter(Box::new(|node| {
            if node.unschedulable { Refusal::lasting("node(s) were unschedulable") } else { None }
        }))
    }
}
