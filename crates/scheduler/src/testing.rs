//! Nodes and pods for tests.

use std::sync::Arc;

use meta::Object;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::node::NodeInfo;
use crate::pod::PodInfo;

/// A node with a label that is its name, and room for 10 pods.
pub(crate) fn node(name: &str, cpu: &str, spec: Value) -> NodeInfo {
    let amounts = json!({"cpu": cpu, "memory": "8Gi", "pods": "10"});
    let metadata = json!({"name": name, "labels": {"name": name}});
    let value = json!({"kind": "Node", "metadata": metadata, "spec": spec, "status": {"allocatable": amounts}});
    NodeInfo::read(&Object::from_value(&value).expect("an object")).expect("a node")
}

/// A pod of namespace `n`.
pub(crate) fn pod(name: &str, spec: Value) -> PodInfo {
    labelled(name, spec, json!({"pod": name}))
}

fn labelled(name: &str, spec: Value, labels: Value) -> PodInfo {
    let metadata = json!({"name": name, "namespace": "n", "uid": name, "labels": labels});
    let value = json!({"kind": "Pod", "metadata": metadata, "spec": spec});
    PodInfo::read(&Arc::new(Object::from_value(&value).expect("an object"))).expect("a pod")
}

/// A cluster of these nodes, with pods of these specs on nodes of these names.
pub(crate) fn cluster(nodes: impl IntoIterator<Item = NodeInfo>, placed: &[(Value, &str)]) -> Cluster {
    let mut cluster = Cluster::default();
    for node in nodes {
        cluster.nodes.insert(node.name.clone(), Arc::new(node));
    }
    for (index, (spec, node)) in placed.iter().enumerate() {
        let labels = json!({"pod": "other", "where": node});
        cluster.add(Arc::new(labelled(&format!("o{index}"), spec.clone(), labels)), node);
    }
    cluster
}
