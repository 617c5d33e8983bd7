//! Fills cluster roles that gather the rules of others.

use std::sync::Arc;

use async_trait::async_trait;
use client::{Client, Controller, Informer, Outcome, ReconcileError, Source};
use meta::{Gvr, LabelSelector, Object, ResourcePath, SelectorError};
use serde_json::{Value, json};

pub(crate) struct ClusterRoles {
    pub(crate) client: Client,
    pub(crate) roles: Informer,
}

/// The word of roles that gather.
const GATHERS: &str = "gathers";

/// Follows all roles; those that gather are found by a word.
pub(crate) fn followed(reader: &Client) -> Informer {
    let words = |role: &Object| {
        let gathers = selectors(&role.value()).next().is_some();
        if gathers { vec![GATHERS.to_owned()] } else { Vec::new() }
    };
    Informer::indexed(reader.clone(), roles(), words)
}

fn roles() -> Gvr {
    Gvr::new("rbac.authorization.k8s.io", "v1", "clusterroles")
}

fn selectors(role: &Value) -> impl Iterator<Item = &Value> {
    role.pointer("/aggregationRule/clusterRoleSelectors").and_then(Value::as_array).into_iter().flatten()
}

fn rules(role: &Value) -> impl Iterator<Item = &Value> {
    role["rules"].as_array().into_iter().flatten()
}

/// The rules that a role has from others: in the order of its selectors, then of their names, each once.
fn gathered(role: &Value, others: &[Arc<Object>]) -> Result<Vec<Value>, SelectorError> {
    let mut found: Vec<Value> = Vec::new();
    for selector in selectors(role) {
        let selector = LabelSelector::from_value(selector)?;
        let chosen = others.iter().filter(|other| role["metadata"]["name"] != other.metadata.name.as_str());
        for other in chosen.filter(|other| selector.matches(&other.metadata.labels)) {
            let value = other.value();
            for rule in rules(&value) {
                if !found.contains(rule) {
                    found.push(rule.clone());
                }
            }
        }
    }
    Ok(found)
}

#[async_trait]
impl Controller for ClusterRoles {
    fn name(&self) -> &'static str {
        "clusterrole-aggregation"
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source { informer: self.roles.clone(), keys: |role| vec![role.metadata.name.clone()] }]
    }

    /// Every role that gathers may have to do with a role that changed.
    fn keys(&self, _: &Source, _: &Object) -> Vec<String> {
        self.roles.with_word(GATHERS).iter().map(|role| role.metadata.name.clone()).collect()
    }

    async fn reconcile(&self, key: &str) -> Result<Outcome, ReconcileError> {
        let Some(role) = self.roles.get(key) else { return Ok(Outcome::default()) };
        let value = role.value();
        if selectors(&value).next().is_none() {
            return Ok(Outcome::default());
        }
        let wanted = gathered(&value, &self.roles.list()).map_err(|error| ReconcileError::Other(error.to_string()))?;
        if rules(&value).eq(&wanted) {
            return Ok(Outcome::default());
        }
        let patch = json!({"metadata": {"resourceVersion": value["metadata"]["resourceVersion"]}, "rules": wanted});
        let written = self.client.merge(&ResourcePath::object(roles(), "", key), &patch).await?;
        Ok(Outcome { wrote: written.revision, ..Outcome::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_gathered_once_each() {
        let role = |name: &str, label: &str, verbs: &[&str]| {
            let rules: Vec<Value> = verbs.iter().map(|verb| json!({"verbs": [verb]})).collect();
            let metadata = json!({"name": name, "labels": {label: "true"}});
            let value = json!({"kind": "ClusterRole", "metadata": metadata, "rules": rules});
            Arc::new(Object::from_value(&value).expect("an object"))
        };
        let others = [role("a", "x", &["get", "list"]), role("all", "x", &["old"]), role("b", "y", &["get", "watch"])];
        let own = json!({"metadata": {"name": "all"}, "aggregationRule": {"clusterRoleSelectors": [
            {"matchLabels": {"x": "true"}}, {"matchLabels": {"y": "true"}},
        ]}});
        let found = gathered(&own, &others).expect("selectors are sound");
        assert_eq!(json!(found), json!([{"verbs": ["get"]}, {"verbs": ["list"]}, {"verbs": ["watch"]}]));
    }
}
