//! Whether a pod fits on a node, and if not, why not, in upstream's words.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Node, NodeSelectorRequirement, NodeSelectorTerm, Pod, Taint, Toleration};
use meta::{LabelSelector, Operator, Quantity, Requirement};

/// Amounts by resource.
pub(crate) type Amounts = BTreeMap<String, Quantity>;

/// A node with what runs on it.
pub(crate) struct Candidate {
    pub(crate) node: Node,
    pub(crate) pods: Vec<Pod>,
}

/// Every reason why the pod can't go there; empty if it can.
pub(crate) fn reasons(pod: &Pod, candidate: &Candidate) -> Vec<String> {
    let spec = pod.spec.clone().unwrap_or_default();
    let node = candidate.node.spec.clone().unwrap_or_default();
    let tolerations = spec.tolerations.clone().unwrap_or_default();
    if node.unschedulable == Some(true) && !tolerates(&tolerations, &unschedulable()) {
        return vec!["node(s) were unschedulable".to_owned()];
    }
    let blocking = |taint: &&Taint| taint.effect != "PreferNoSchedule" && !tolerates(&tolerations, taint);
    if let Some(taint) = node.taints.iter().flatten().find(blocking) {
        return vec![format!(
            "node(s) had untolerated taint(s) {{{}: {}}}",
            taint.key,
            taint.value.clone().unwrap_or_default()
        )];
    }
    if !selected(pod, &candidate.node) {
        return vec!["node(s) didn't match Pod's node affinity/selector".to_owned()];
    }
    if ports(pod).iter().any(|port| candidate.pods.iter().any(|other| ports(other).contains(port))) {
        return vec!["node(s) didn't have free ports for the requested pod ports".to_owned()];
    }
    resources(pod, candidate)
}

fn unschedulable() -> Taint {
    Taint { key: "node.kubernetes.io/unschedulable".to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() }
}

fn tolerates(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|toleration| {
        let key = toleration.key.as_deref().unwrap_or_default();
        let effect = toleration.effect.as_deref().is_none_or(|effect| effect.is_empty() || effect == taint.effect);
        let value = match toleration.operator.as_deref() {
            Some("Exists") => true,
            _ => toleration.value.clone().unwrap_or_default() == taint.value.clone().unwrap_or_default(),
        };
        (key.is_empty() || key == taint.key) && effect && value
    })
}

fn selected(pod: &Pod, node: &Node) -> bool {
    let spec = pod.spec.clone().unwrap_or_default();
    let labels = node.metadata.labels.clone().unwrap_or_default();
    let simple = spec.node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let affinity = spec.affinity.and_then(|affinity| affinity.node_affinity);
    let required = affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution);
    simple
        && required
            .is_none_or(|required| required.node_selector_terms.iter().any(|term| term_matches(term, node, &labels)))
}

fn term_matches(term: &NodeSelectorTerm, node: &Node, labels: &BTreeMap<String, String>) -> bool {
    let by_label = selector(term.match_expressions.iter().flatten());
    let fields = [("metadata.name".to_owned(), node.metadata.name.clone().unwrap_or_default())].into();
    let by_field = selector(term.match_fields.iter().flatten());
    // Compat: a term without any requirement selects nothing.
    let empty = by_label.is_everything() && by_field.is_everything();
    !empty && by_label.matches(labels) && by_field.matches(&fields)
}

fn selector<'a>(requirements: impl Iterator<Item = &'a NodeSelectorRequirement>) -> LabelSelector {
    let requirement = |wanted: &NodeSelectorRequirement| Requirement {
        key: wanted.key.clone(),
        operator: match wanted.operator.as_str() {
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            "Gt" => Operator::GreaterThan,
            "Lt" => Operator::LessThan,
            _ => Operator::In,
        },
        values: wanted.values.clone().unwrap_or_default(),
    };
    LabelSelector { requirements: requirements.map(requirement).collect() }
}

fn ports(pod: &Pod) -> Vec<(i32, String, String)> {
    let containers = pod.spec.iter().flat_map(|spec| spec.containers.iter());
    let ports = containers.flat_map(|container| container.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let host = port.host_port.filter(|port| *port > 0)?;
            Some((host, port.protocol.clone().unwrap_or_default(), port.host_ip.clone().unwrap_or_default()))
        })
        .collect()
}

/// What a pod asks for: its containers together, or its hungriest init container if that is more.
pub(crate) fn requests(pod: &Pod) -> Amounts {
    let spec = pod.spec.clone().unwrap_or_default();
    let mut total = Amounts::new();
    spec.containers.iter().for_each(|container| add(&mut total, &of_container(container)));
    let mut sidecars = Amounts::new();
    let mut peak = Amounts::new();
    for init in spec.init_containers.iter().flatten() {
        let mut own = of_container(init);
        if init.restart_policy.as_deref() == Some("Always") {
            add(&mut sidecars, &own);
            own = sidecars.clone();
        } else {
            add(&mut own, &sidecars);
        }
        raise(&mut peak, &own);
    }
    add(&mut total, &sidecars);
    raise(&mut total, &peak);
    let overhead = spec.overhead.unwrap_or_default().into_iter();
    add(&mut total, &overhead.filter_map(|(name, amount)| Some((name, amount.0.parse().ok()?))).collect());
    total
}

fn of_container(container: &Container) -> Amounts {
    let requests = container.resources.as_ref().and_then(|resources| resources.requests.clone()).unwrap_or_default();
    requests.into_iter().filter_map(|(name, amount)| Some((name, amount.0.parse().ok()?))).collect()
}

fn add(total: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let entry = total.entry(name.clone()).or_insert(Quantity::ZERO);
        *entry = *entry + *amount;
    }
}

fn raise(total: &mut Amounts, at_least: &Amounts) {
    for (name, amount) in at_least {
        let entry = total.entry(name.clone()).or_insert(Quantity::ZERO);
        *entry = (*entry).max(*amount);
    }
}

/// What is free on a node.
pub(crate) fn free(candidate: &Candidate) -> Amounts {
    let allocatable = candidate.node.status.as_ref().and_then(|status| status.allocatable.clone()).unwrap_or_default();
    let mut free: Amounts =
        allocatable.into_iter().filter_map(|(name, amount)| Some((name, amount.0.parse().ok()?))).collect();
    for pod in &candidate.pods {
        for (name, amount) in requests(pod) {
            let entry = free.entry(name).or_insert(Quantity::ZERO);
            *entry = *entry - amount;
        }
    }
    if let Some(pods) = free.get_mut("pods") {
        *pods = *pods - Quantity::units(i64::try_from(candidate.pods.len()).unwrap_or(i64::MAX));
    }
    free
}

fn resources(pod: &Pod, candidate: &Candidate) -> Vec<String> {
    let free = free(candidate);
    let mut reasons = Vec::new();
    if free.get("pods").is_some_and(|pods| *pods < Quantity::units(1)) {
        reasons.push("Too many pods".to_owned());
    }
    for (name, wanted) in requests(pod).into_iter().filter(|(_, wanted)| !wanted.is_zero()) {
        if free.get(&name).copied().unwrap_or(Quantity::ZERO) < wanted {
            reasons.push(format!("Insufficient {name}"));
        }
    }
    reasons
}
