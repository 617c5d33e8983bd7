//! One pod's choice among the nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::cluster::Cluster;
use crate::node::NodeInfo;
use crate::plugins::{self, Events, Prepared, Refusal};
use crate::pod::PodInfo;

/// What becomes of a pod.
#[derive(Debug)]
pub(crate) enum Choice {
    /// It goes to this node.
    Node(String),
    /// No node fits.
    None(Failure),
}

/// Why no node fits.
#[derive(Clone, Debug, Default)]
pub(crate) struct Failure {
    /// For users, in upstream's words.
    pub(crate) text: String,
    /// Nodes with their reasons; none if it was clear without looking at them.
    pub(crate) refused: BTreeMap<String, Refusal>,
    /// How many nodes there are.
    pub(crate) nodes: usize,
    /// What may change it.
    pub(crate) events: Events,
}

/// A filter, with what may change its mind.
type Filter<'a> = (Events, plugins::Filter<'a>);

/// All filters that have to do with a pod; or why no node can take it.
fn filters<'a>(pod: &'a PodInfo, cluster: &'a Cluster) -> Result<Vec<Filter<'a>>, (Events, String)> {
    let mut filters = Vec::new();
    for plugin in plugins::all() {
        match plugin.filter(pod, cluster) {
            Prepared::Skip => {}
            Prepared::Filter(filter) => filters.push((plugin.events(), filter)),
            Prepared::Refuse(why) => return Err((plugin.events(), why)),
        }
    }
    Ok(filters)
}

/// The nodes that a pod names, if it does.
struct Only<'a> {
    names: BTreeSet<&'a str>,
    plugins: Vec<&'static str>,
    events: Events,
}

impl Only<'_> {
    fn refusal(&self, node: &str) -> Option<(Events, Refusal)> {
        if self.names.contains(node) {
            return None;
        }
        let refusal = Refusal::lasting(&format!("node(s) didn't satisfy plugin(s) [{}]", self.plugins.join(" ")));
        refusal.map(|refusal| (self.events, refusal))
    }
}

fn only(pod: &PodInfo) -> Option<Only<'_>> {
    let found = plugins::all().iter().filter_map(|plugin| {
        let (name, names) = plugin.only(pod)?;
        Some(Only { names, plugins: vec![name], events: plugin.events() })
    });
    found.reduce(|all, more| Only {
        names: &all.names & &more.names,
        plugins: [all.plugins, more.plugins].concat(),
        events: all.events.or(more.events),
    })
}

fn judge(filters: &[Filter<'_>], node: &NodeInfo) -> Option<(Events, Refusal)> {
    filters.iter().find_map(|(events, filter)| filter(node).map(|refusal| (*events, refusal)))
}

/// The cluster as it is once pods are there for which room was made, those as important as this one.
pub(crate) fn with_nominated(cluster: &Cluster, pod: &PodInfo) -> Option<Cluster> {
    let others = cluster.nominated.values().filter(|other| other.priority >= pod.priority && other.uid() != pod.uid());
    let mut full: Option<Cluster> = None;
    for other in others.filter(|other| cluster.nodes.contains_key(&other.nominated)) {
        full.get_or_insert_with(|| cluster.clone()).add(Arc::clone(other), &other.nominated);
    }
    full
}

/// Why one node can't take a pod.
pub(crate) fn refusal(pod: &PodInfo, cluster: &Cluster, node: &str) -> Option<Refusal> {
    let judged = |cluster: &Cluster| {
        let filters = match filters(pod, cluster) {
            Ok(filters) => filters,
            Err((_, why)) => return Refusal::lasting(&why),
        };
        judge(&filters, cluster.nodes.get(node)?).map(|(_, refusal)| refusal)
    };
    with_nominated(cluster, pod).and_then(|full| judged(&full)).or_else(|| judged(cluster))
}

/// The best node for a pod.
pub(crate) fn choose(pod: &PodInfo, cluster: &Cluster) -> Choice {
    let nodes = cluster.known().count();
    if nodes == 0 {
        let text = "no nodes available to schedule pods".to_owned();
        return Choice::None(Failure { text, events: Events::NODE_ADDED, ..Failure::default() });
    }
    let full = with_nominated(cluster, pod);
    let both =
        filters(pod, cluster).and_then(|now| Ok((now, full.as_ref().map(|full| filters(pod, full)).transpose()?)));
    let (now, then) = match both {
        Ok((now, then)) => (now, then.unwrap_or_default()),
        Err((events, why)) => {
            let text = format!("0/{nodes} nodes are available: {why}.");
            return Choice::None(Failure { text, nodes, events, ..Failure::default() });
        }
    };
    let mut failure = Failure { nodes, ..Failure::default() };
    let mut fitting = Vec::new();
    let only = only(pod);
    for node in cluster.known() {
        if let Some((events, refusal)) = only.as_ref().and_then(|only| only.refusal(&node.name)) {
            failure.events = failure.events.or(events);
            failure.refused.insert(node.name.clone(), refusal);
            continue;
        }
        let later = full.as_ref().and_then(|full| full.nodes.get(&node.name)).unwrap_or(node);
        match judge(&then, later).or_else(|| judge(&now, node)) {
            None => fitting.push(Arc::clone(node)),
            Some((events, refusal)) => {
                failure.events = failure.events.or(events);
                failure.refused.insert(node.name.clone(), refusal);
            }
        }
    }
    if let Some(best) = best(pod, cluster, &fitting) {
        return Choice::Node(best);
    }
    failure.text = text(nodes, failure.refused.values());
    Choice::None(failure)
}

/// `0/3 nodes are available: 1 …, 2 ….`
pub(crate) fn text<'a>(nodes: usize, refusals: impl Iterator<Item = &'a Refusal>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in refusals.flat_map(|refusal| &refusal.reasons) {
        *counts.entry(reason).or_default() += 1;
    }
    let mut list: Vec<String> = counts.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    list.sort_unstable();
    if list.is_empty() {
        return format!("0/{nodes} nodes are available:");
    }
    format!("0/{nodes} nodes are available: {}.", list.join(", "))
}

/// The node where room was made, if it fits; else the one that plugins like best.
fn best(pod: &PodInfo, cluster: &Cluster, fitting: &[Arc<NodeInfo>]) -> Option<String> {
    if let Some(node) = fitting.iter().find(|node| node.name == pod.nominated) {
        return Some(node.name.clone());
    }
    if let [only] = fitting {
        return Some(only.name.clone());
    }
    let mut totals = vec![0; fitting.len()];
    for plugin in plugins::all() {
        if let Some(scores) = plugin.score(pod, cluster, fitting) {
            totals.iter_mut().zip(scores).for_each(|(total, score)| *total += score * plugin.weight());
        }
    }
    let most = totals.iter().max()?;
    let best: Vec<&Arc<NodeInfo>> =
        fitting.iter().zip(&totals).filter(|(_, total)| *total == most).map(|(node, _)| node).collect();
    // Of several as good, pods take different ones.
    let any = pod.uid().bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)));
    best.get(any % best.len()).map(|node| node.name.clone())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{cluster, node, pod};

    /// Where a pod goes, or why nowhere, among nodes `a` (2 CPUs), `b` (4) and `c` (9, tainted).
    fn check(spec: Value, placed: &[(Value, &str)], expected: &str) {
        let taint = json!({"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]});
        let nodes = [node("a", "2", json!({})), node("b", "4", json!({})), node("c", "9", taint)];
        let found = match choose(&pod("p", spec.clone()), &cluster(nodes, placed)) {
            Choice::Node(name) => name,
            Choice::None(failure) => failure.text,
        };
        assert_eq!(found, expected, "{spec}");
    }

    fn asks(cpu: &str) -> Value {
        json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]})
    }

    fn with(mut spec: Value, more: Value) -> Value {
        let fields = more.as_object().cloned().unwrap_or_default();
        spec.as_object_mut().expect("a spec").extend(fields);
        spec
    }

    #[test]
    fn the_emptiest_node_that_fits_is_chosen() {
        check(asks("1"), &[], "b");
        check(asks("1"), &[(asks("3"), "b")], "a");
        check(with(asks("1"), json!({"nodeSelector": {"name": "a"}})), &[], "a");
        check(with(asks("1"), json!({"tolerations": [{"operator": "Exists"}]})), &[], "c");
        let text = "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu.";
        check(asks("5"), &[], text);
    }

    #[test]
    fn ports_meet_on_all_addresses() {
        let port = |address: &str, protocol: &str| {
            let port = json!({"containerPort": 80, "hostPort": 80, "hostIP": address, "protocol": protocol});
            json!({"containers": [{"name": "c", "ports": [port]}], "nodeSelector": {"name": "a"}})
        };
        let refused = "0/3 nodes are available: 1 node(s) didn't have free ports for the requested pod ports, 1 node(s) didn't \
                       match Pod's node affinity/selector, 1 node(s) had untolerated taint(s).";
        check(port("127.0.0.1", "TCP"), &[(port("", "TCP"), "a")], refused);
        check(port("0.0.0.0", "TCP"), &[(port("127.0.0.1", "TCP"), "a")], refused);
        check(port("127.0.0.1", "UDP"), &[(port("", "TCP"), "a")], "a");
        check(port("127.0.0.1", "TCP"), &[(port("127.0.0.2", "TCP"), "a")], "a");
    }

    #[test]
    fn pods_keep_to_each_other_or_apart() {
        let term = json!({"topologyKey": "name", "labelSelector": {"matchLabels": {"pod": "other"}}});
        let rule = |kind: &str| json!({"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term.clone()]}}});
        check(with(asks("1"), rule("podAffinity")), &[(asks("1"), "a")], "a");
        check(with(asks("1"), rule("podAntiAffinity")), &[(asks("1"), "b")], "a");
        let nowhere =
            "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 node(s) didn't match pod affinity rules.";
        check(with(asks("1"), rule("podAffinity")), &[], nowhere);
    }

    #[test]
    fn pods_are_spread() {
        let spread = json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "name",
            "whenUnsatisfiable": "DoNotSchedule", "nodeTaintsPolicy": "Honor",
            "labelSelector": {"matchExpressions": [{"key": "pod", "operator": "Exists"}]}}]});
        check(with(asks("1"), spread.clone()), &[(asks("1"), "b")], "a");
        check(with(asks("1"), spread), &[(asks("1"), "a")], "b");
    }

    #[test]
    fn a_named_node_is_the_only_one_looked_at() {
        let named = |names: Value| {
            let term = json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": names}]});
            let terms = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}});
            json!({"affinity": {"nodeAffinity": terms}})
        };
        check(with(asks("1"), named(json!(["a"]))), &[], "a");
        let text = "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't satisfy plugin(s) [NodeAffinity].";
        check(with(asks("3"), named(json!(["a"]))), &[], text);
    }

    #[test]
    fn claims_must_be_there() {
        let volume = json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "x"}}]});
        check(with(asks("1"), volume), &[], "0/3 nodes are available: persistentvolumeclaim \"x\" not found.");
    }
}
