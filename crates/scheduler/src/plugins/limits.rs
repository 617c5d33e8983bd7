//! How many volumes of a CSI driver a node takes.

use std::collections::{BTreeMap, BTreeSet};

use super::{Events, Plugin, Prepared, Refusal};
use crate::cluster::{Cluster, Volumes};
use crate::node::NodeInfo;
use crate::pod::PodInfo;

pub(crate) struct NodeVolumeLimits;

/// A driver with its name for a volume.
type Volume = (String, String);

impl Plugin for NodeVolumeLimits {
    fn events(&self) -> Events {
        Events::VOLUMES.or(Events::NODE_ADDED).or(Events::POD_GONE)
    }

    fn filter<'a>(&self, pod: &'a PodInfo, cluster: &'a Cluster) -> Prepared<'a> {
        let volumes = &cluster.volumes;
        if pod.claims.is_empty() || volumes.limits.is_empty() {
            return Prepared::Skip;
        }
        let wanted = of(pod, volumes);
        Prepared::Filter(Box::new(move |node| judge(&wanted, volumes, node)))
    }
}

/// The volumes of a pod that drivers make; those of claims that aren't there (yet) are left out.
fn of(pod: &PodInfo, volumes: &Volumes) -> BTreeSet<Volume> {
    let volume = |name: &str| {
        let key = format!("{}/{name}", pod.namespace());
        let claim = volumes.claims.get(&key)?.spec.as_ref()?;
        if let Some(bound) = claim.volume_name.as_ref().filter(|name| !name.is_empty()) {
            let source = volumes.volumes.get(bound)?.spec.as_ref()?.csi.as_ref()?;
            return Some((source.driver.clone(), source.volume_handle.clone()));
        }
        // Compat: one that is yet to be made counts as its class's.
        let class = volumes.classes.get(claim.storage_class_name.as_ref()?)?;
        Some((class.provisioner.clone(), format!("{}-{key}", class.provisioner)))
    };
    pod.claims.iter().filter_map(|claim| volume(&claim.name)).collect()
}

fn judge(wanted: &BTreeSet<Volume>, volumes: &Volumes, node: &NodeInfo) -> Option<Refusal> {
    let limits = volumes.limits.get(&node.name)?;
    if !wanted.iter().any(|(driver, _)| limits.contains_key(driver)) {
        return None;
    }
    let there: BTreeSet<Volume> = node.pods().flat_map(|other| of(other, volumes)).collect();
    if there.is_superset(wanted) {
        return None;
    }
    let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
    for (driver, _) in there.union(wanted) {
        *counts.entry(driver).or_default() += 1;
    }
    let new = wanted.difference(&there).map(|(driver, _)| driver.as_str());
    let full = |driver: &str| limits.get(driver).is_some_and(|most| counts.get(driver).is_some_and(|all| all > most));
    if new.into_iter().any(full) { Refusal::resolvable("node(s) exceed max volume count") } else { None }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::cycle::{Choice, choose};
    use crate::testing::{cluster, node, pod};

    #[test]
    fn a_volume_counts_once() {
        let uses = |claims: &[&str]| -> Value {
            let volume = |name: &&str| json!({"name": name, "persistentVolumeClaim": {"claimName": name}});
            json!({"containers": [{"name": "c"}], "volumes": claims.iter().map(volume).collect::<Vec<_>>()})
        };
        let check = |claims: &[&str], expected: &str| {
            let mut cluster = cluster([node("a", "2", json!({}))], &[(uses(&["x"]), "a"), (uses(&["y"]), "a")]);
            for name in ["x", "y", "z"] {
                let claim = json!({"metadata": {"name": name, "annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
                    "spec": {"volumeName": name}});
                let source = json!({"driver": "d", "volumeHandle": name});
                let volume = json!({"metadata": {"name": name}, "spec": {"csi": source}});
                let (claim, volume) = (serde_json::from_value(claim), serde_json::from_value(volume));
                cluster.volumes.claims.insert(format!("n/{name}"), std::sync::Arc::new(claim.expect("a claim")));
                cluster.volumes.volumes.insert(name.to_owned(), std::sync::Arc::new(volume.expect("a volume")));
            }
            cluster.volumes.limits.insert("a".to_owned(), [("d".to_owned(), 2)].into());
            let found = match choose(&pod("p", uses(claims)), &cluster) {
                Choice::Node(name) => name,
                Choice::None(failure) => failure.text,
            };
            assert_eq!(found, expected, "{claims:?}");
        };
        check(&["x", "y"], "a");
        check(&["z"], "0/1 nodes are available: 1 node(s) exceed max volume count.");
        check(&[], "a");
    }
}
