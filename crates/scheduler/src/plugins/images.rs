//! Nodes that have the images already are a little better.

use std::sync::Arc;

use super::{BEST, Plugin};
use crate::cluster::Cluster;
use crate::node::NodeInfo;
use crate::pod::PodInfo;

const MEGABYTE: i64 = 1024 * 1024;

/// Below the first it makes no difference, at the second (per container) it can't be better.
const SIZES: (i64, i64) = (23 * MEGABYTE, 1000 * MEGABYTE);

pub(crate) struct ImageLocality;

impl Plugin for ImageLocality {
    fn score(&self, pod: &PodInfo, cluster: &Cluster, nodes: &[Arc<NodeInfo>]) -> Option<Vec<i64>> {
        if nodes.len() < 2 {
            return None;
        }
        let total = i64::try_from(cluster.known().count()).unwrap_or(i64::MAX).max(1);
        let spread = |name: &str| {
            let having = cluster.known().filter(|node| node.images.contains_key(name)).count();
            i64::try_from(having).unwrap_or(0)
        };
        let names: Vec<(String, i64)> = pod
            .images
            .iter()
            .map(|image| {
                let name = normalized(image);
                let having = spread(&name);
                (name, having)
            })
            .collect();
        let most = SIZES.1.saturating_mul(i64::try_from(names.len()).unwrap_or(1));
        // Compat: an image that few nodes have counts less, so that pods don't all go there.
        let sum = |node: &Arc<NodeInfo>| {
            let own = names.iter().filter_map(|(name, having)| Some(node.images.get(name)? * having / total));
            own.sum::<i64>().clamp(SIZES.0, most.max(SIZES.0))
        };
        Some(nodes.iter().map(|node| (sum(node) - SIZES.0) * BEST / (most - SIZES.0).max(1)).collect())
    }
}

/// Compat: without a tag it is `latest`.
fn normalized(image: &str) -> String {
    let name = image.rsplit('/').next().unwrap_or_default();
    if name.contains(':') || name.contains('@') { image.to_owned() } else { format!("{image}:latest") }
}
