//! Keeps as many pods of a template as a ReplicaSet or a ReplicationController asks for.

mod plan;

use std::sync::Arc;

use async_trait::async_trait;
use client::{Controller, Informer, Outcome, ReconcileError, Source};
use meta::{Gvr, LabelSelector, Object};
use serde_json::{Value, json};

use super::Tools;
use super::adoption::Adopter;
use super::children::{BURST, Children, Wording, from_template};
use super::pod::Pod;
use plan::{Action, plan};

/// The two kinds differ in how they spell their selector, and little else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavour {
    ReplicaSet,
    ReplicationController,
}

impl Flavour {
    fn kind(self) -> &'static str {
        match self {
            Self::ReplicaSet => "ReplicaSet",
            Self::ReplicationController => "ReplicationController",
        }
    }

    fn selector(self, set: &Value) -> LabelSelector {
        let spelled = match self {
            Self::ReplicaSet => set["spec"]["selector"].clone(),
            Self::ReplicationController => json!({"matchLabels": set["spec"]["selector"]}),
        };
        LabelSelector::from_value(&spelled).unwrap_or_default()
    }
}

pub(crate) struct Replicas {
    pub(crate) tools: Tools,
    pub(crate) flavour: Flavour,
    pub(crate) sets: Informer,
    pub(crate) pods: Informer,
}

impl Replicas {
    /// The pods of all sets that the same owner controls: a node that holds many of them loses some first.
    fn relatives(&self, set: &Object) -> Vec<Pod> {
        let sets = match set.metadata.controller() {
            Some(owner) => self.sets.controlled_by(&owner.uid).iter().map(|set| set.metadata.uid.clone()).collect(),
            None => vec![set.metadata.uid.clone()],
        };
        let pods = sets.iter().flat_map(|uid| self.pods.controlled_by(uid));
        pods.map(Pod::of).filter(Pod::is_active).collect()
    }

    async fn act(&self, set: &Arc<Object>, value: &Value, action: Action) -> Result<(), ReconcileError> {
        let children = Children { tools: &self.tools, owner: set, pods: &self.pods, wording: Wording::Plain };
        match action {
            Action::Nothing => Ok(()),
            Action::Create(count) => {
                let mut pod = from_template(set, &value["spec"]["template"]);
                pod["metadata"]["generateName"] = json!(format!("{}-", set.metadata.name));
                children.create_all(vec![pod; count.min(BURST)]).await
            }
            Action::Delete(pods) => children.delete_all(&pods).await,
        }
    }
}

#[async_trait]
impl Controller for Replicas {
    fn name(&self) -> &'static str {
        match self.flavour {
            Flavour::ReplicaSet => "replicaset",
            Flavour::ReplicationController => "replicationcontroller",
        }
    }

    fn sources(&self) -> Vec<Source> {
        vec![
            Source { informer: self.sets.clone(), keys: |object| vec![object.metadata.key()] },
            Source { informer: self.pods.clone(), keys: |_| Vec::new() },
        ]
    }

    fn keys(&self, source: &Source, object: &Object) -> Vec<String> {
        if source.informer.gvr() == self.sets.gvr() {
            return (source.keys)(object);
        }
        let namespace = &object.metadata.namespace;
        match object.metadata.controller() {
            Some(owner) if owner.kind == self.flavour.kind() => vec![format!("{namespace}/{}", owner.name)],
            Some(_) => Vec::new(),
            None => {
                let sets = self.sets.in_namespace(namespace);
                let chosen =
                    sets.iter().filter(|set| self.flavour.selector(&set.value()).matches(&object.metadata.labels));
                chosen.map(|set| set.metadata.key()).collect()
            }
        }
    }

    async fn reconcile(&self, key: &str) -> Result<Outcome, ReconcileError> {
        let Some(set) = self.sets.get(key) else { return Ok(Outcome::default()) };
        let value = set.value();
        let selector = self.flavour.selector(&value);
        let resource: &Gvr = self.sets.gvr();
        let adopter = Adopter { client: &self.tools.client, owner: &set, resource, selector: &selector };
        let unfinished = |pod: &Object| !matches!(pod.field("status.phase"), Some("Succeeded" | "Failed"));
        let own: Vec<Pod> = adopter.claim(&self.pods, unfinished).await?.into_iter().map(Pod::of).collect();
        let (ending, own): (Vec<Pod>, Vec<Pod>) = own.into_iter().partition(Pod::is_terminating);
        let active: Vec<Pod> = own.into_iter().filter(|pod| !pod.is_finished()).collect();
        let now = self.tools.clock.now();
        let wanted = value["spec"]["replicas"].as_i64().unwrap_or(1);
        let action = if set.metadata.is_terminating() {
            Action::Nothing
        } else {
            plan(wanted, &active, || self.relatives(&set), now)
        };
        let acted = self.act(&set, &value, action).await;
        let terminating = (self.flavour == Flavour::ReplicaSet).then_some(ending.len());
        let failure = acted.as_ref().err().map(ToString::to_string);
        let status = plan::status(&value, &active, terminating, failure.as_deref(), now);
        let before = value["status"].clone();
        if super::document::normal(&status) != super::document::normal(&before) {
            let mut changed = value.clone();
            changed["status"] = status;
            let written = self.tools.client.update_status(resource, changed).await?;
            self.sets.catch_up(written.revision).await;
        }
        acted?;
        let min_ready = value["spec"]["minReadySeconds"].as_i64().unwrap_or(0);
        let again_after = active.iter().filter_map(|pod| pod.available_in(min_ready, now)).min();
        Ok(Outcome { again_after, ..Outcome::default() })
    }
}
