//! Selectors as pods carry them: of nodes, and of other pods.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{
    NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodAffinityTerm, Toleration,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as api;
use meta::{LabelSelector, Operator, Requirement};
use serde_json::json;

use crate::node::Taint;

/// Labels of an object.
pub(crate) type Labels = BTreeMap<String, String>;

/// One of several ways to select nodes.
#[derive(Clone, Debug)]
pub(crate) struct NodeTerm {
    labels: LabelSelector,
    fields: LabelSelector,
}

impl NodeTerm {
    pub(crate) fn new(term: &NodeSelectorTerm) -> Self {
        let read = |list: &Option<Vec<NodeSelectorRequirement>>| LabelSelector {
            requirements: list.iter().flatten().map(requirement).collect(),
        };
        Self { labels: read(&term.match_expressions), fields: read(&term.match_fields) }
    }

    pub(crate) fn all(selector: &NodeSelector) -> Vec<Self> {
        selector.node_selector_terms.iter().map(Self::new).collect()
    }

    /// The only nodes that it can mean, if it says so by their names.
    pub(crate) fn names(&self) -> Option<BTreeSet<&str>> {
        let named = |own: &&Requirement| own.key == "metadata.name" && own.operator == Operator::In;
        let lists = self.fields.requirements.iter().filter(named);
        lists
            .map(|own| own.values.iter().map(String::as_str).collect())
            .reduce(|all: BTreeSet<&str>, more| &all & &more)
    }

    pub(crate) fn matches(&self, name: &str, labels: &Labels) -> bool {
        // Compat: a term without any requirement selects nothing.
        let empty = self.labels.is_everything() && self.fields.is_everything();
        let fields = || [("metadata.name".to_owned(), name.to_owned())].into();
        !empty && self.labels.matches(labels) && (self.fields.is_everything() || self.fields.matches(&fields()))
    }
}

fn requirement(wanted: &NodeSelectorRequirement) -> Requirement {
    let operator = match wanted.operator.as_str() {
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        "Gt" => Operator::GreaterThan,
        "Lt" => Operator::LessThan,
        _ => Operator::In,
    };
    Requirement { key: wanted.key.clone(), operator, values: wanted.values.clone().unwrap_or_default() }
}

/// Reads a selector of specs. `None` is what selects nothing: a selector that isn't there, or that can't be read.
pub(crate) fn selector(written: Option<&api::LabelSelector>) -> Option<LabelSelector> {
    LabelSelector::from_value(&json!(written?)).ok()
}

/// Narrows a selector to the pod's own values of these labels.
pub(crate) fn narrow(selector: &mut Option<LabelSelector>, keys: &[String], own: &Labels, operator: Operator) {
    let Some(selector) = selector else { return };
    for key in keys {
        if let Some(value) = own.get(key) {
            selector.requirements.push(Requirement { key: key.clone(), operator, values: vec![value.clone()] });
        }
    }
}

/// Other pods, and how near.
#[derive(Clone, Debug)]
pub(crate) struct PodTerm {
    selector: Option<LabelSelector>,
    namespaces: BTreeSet<String>,
    namespace_selector: Option<LabelSelector>,
    pub(crate) topology_key: String,
}

impl PodTerm {
    pub(crate) fn new(term: &PodAffinityTerm, namespace: &str, labels: &Labels) -> Self {
        let mut own = selector(term.label_selector.as_ref());
        narrow(&mut own, term.match_label_keys.as_deref().unwrap_or_default(), labels, Operator::In);
        narrow(&mut own, term.mismatch_label_keys.as_deref().unwrap_or_default(), labels, Operator::NotIn);
        let mut namespaces: BTreeSet<String> = term.namespaces.iter().flatten().cloned().collect();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.insert(namespace.to_owned());
        }
        Self {
            selector: own,
            namespaces,
            namespace_selector: selector(term.namespace_selector.as_ref()),
            topology_key: term.topology_key.clone(),
        }
    }

    /// Whether it means a pod with these labels; `namespaces` are the labels of all namespaces.
    pub(crate) fn matches(&self, namespace: &str, labels: &Labels, namespaces: &BTreeMap<String, Labels>) -> bool {
        let here = self.namespaces.contains(namespace)
            || self.namespace_selector.as_ref().is_some_and(|wanted| {
                wanted.is_everything() || namespaces.get(namespace).is_some_and(|labels| wanted.matches(labels))
            });
        here && self.selector.as_ref().is_some_and(|selector| selector.matches(labels))
    }
}

/// Whether a taint is tolerated.
pub(crate) fn tolerated(tolerations: &[Toleration], taint: &Taint) -> bool {
    let taint = meta::Taint { key: &taint.key, value: &taint.value, effect: &taint.effect };
    tolerations.iter().any(|own| {
        let key = own.key.as_deref().unwrap_or_default();
        let operator = own.operator.as_deref().unwrap_or_default();
        let value = own.value.as_deref().unwrap_or_default();
        let effect = own.effect.as_deref().unwrap_or_default();
        meta::Toleration { key, operator, value, effect }.covers(taint)
    })
}
