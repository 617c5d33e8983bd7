//! Volumes of a zone are reached from nodes of that zone alone.

use std::collections::BTreeSet;

use super::{Events, Plugin, Prepared, Refusal};
use crate::cluster::Cluster;
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::selectors::Labels;

/// Labels of zones and regions, each with what it is called today.
const LABELS: [(&str, &str); 4] = [
    ("topology.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("topology.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
];

pub(crate) struct VolumeZone;

/// Where a volume is: a label of [`LABELS`] by both its names, and the values that will do.
struct Place<'a> {
    label: (&'static str, &'static str),
    values: BTreeSet<&'a str>,
}

impl Plugin for VolumeZone {
    fn events(&self) -> Events {
        Events::VOLUMES.or(Events::NODE_ADDED).or(Events::NODE_LABELS)
    }

    fn filter<'a>(&self, pod: &'a PodInfo, cluster: &'a Cluster) -> Prepared<'a> {
        let volumes = &cluster.volumes;
        let places: Vec<Place<'a>> = pod
            .claims
            .iter()
            .filter_map(|claim| volumes.claims.get(&format!("{}/{}", pod.namespace(), claim.name)))
            .filter_map(|claim| volumes.volumes.get(claim.spec.as_ref()?.volume_name.as_ref()?))
            .filter_map(|volume| volume.metadata.labels.as_ref())
            .flat_map(places)
            .collect();
        if places.is_empty() {
            return Prepared::Skip;
        }
        Prepared::Filter(Box::new(move |node| judge(&places, node)))
    }
}

fn places(labels: &Labels) -> impl Iterator<Item = Place<'_>> {
    // Compat: a volume that is in several zones has them in one label.
    let place = |label: (&'static str, &'static str)| {
        Some(Place { label, values: labels.get(label.0)?.split("__").map(str::trim).collect() })
    };
    LABELS.into_iter().filter_map(place)
}

fn judge(places: &[Place<'_>], node: &NodeInfo) -> Option<Refusal> {
    // A node without any such label is of a cluster that has but one zone.
    if !LABELS.iter().any(|(label, _)| node.labels.contains_key(*label)) {
        return None;
    }
    let reached = |place: &Place<'_>| {
        let own = node.labels.get(place.label.0).or(node.labels.get(place.label.1));
        own.is_some_and(|own| place.values.contains(own.as_str()))
    };
    if places.iter().all(reached) { None } else { Refusal::lasting("node(s) had no available volume zone") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::node;

    #[test]
    fn a_volume_is_reached_from_its_zones() {
        let check = |volume: &[(&str, &str)], of_node: &[(&str, &str)], expected: bool| {
            let read = |labels: &[(&str, &str)]| -> Labels {
                labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
            };
            let (labels, mut node) = (read(volume), node("a", "1", json!({})));
            node.labels = read(of_node);
            let places: Vec<Place<'_>> = places(&labels).collect();
            assert_eq!(judge(&places, &node).is_none(), expected, "{volume:?} {of_node:?}");
        };
        let (zone, old) = ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone");
        check(&[(zone, "a")], &[(zone, "a")], true);
        check(&[(zone, "a")], &[(zone, "b")], false);
        check(&[(zone, "a__b")], &[(zone, "b")], true);
        check(&[(old, "a")], &[(zone, "a")], true);
        check(&[(zone, "a")], &[("topology.kubernetes.io/region", "r")], false);
        check(&[(zone, "a")], &[("name", "a")], true);
    }
}
