//! Keeps one pod of a DaemonSet on every node that it is meant for.

mod back_off;
mod nodes;
mod plan;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use client::{Controller, Informer, Outcome, ReconcileError, Source, Subject};
use meta::{LabelSelector, Object};
use serde_json::{Value, json};

use super::Tools;
use super::adoption::Adopter;
use super::children::{Children, Wording, from_template};
use super::document::{normal, number};
use super::history::History;
use super::pod::Pod;
use back_off::BackOff;
use plan::{Action, State, plan};

/// The label that bears the hash of a pod's template.
pub(super) const HASH: &str = "controller-revision-hash";

pub(crate) struct DaemonSets {
    pub(crate) tools: Tools,
    pub(crate) sets: Informer,
    pub(crate) revisions: Informer,
    pub(crate) pods: Informer,
    pub(crate) nodes: Informer,
    back_off: BackOff,
}

impl DaemonSets {
    pub(super) fn new(tools: Tools, sets: Informer, revisions: Informer, pods: Informer, nodes: Informer) -> Self {
        Self { tools, sets, revisions, pods, nodes, back_off: BackOff::default() }
    }

    fn pod(set: &Object, value: &Value, node: &str, hash: &str) -> Value {
        let mut pod = from_template(set, &value["spec"]["template"]);
        pod["metadata"]["generateName"] = json!(format!("{}-", set.metadata.name));
        pod["metadata"]["labels"][HASH] = json!(hash);
        if let Some(generation) = value["metadata"]["annotations"]["deprecated.daemonset.template.generation"].as_str()
        {
            pod["metadata"]["labels"]["pod-template-generation"] = json!(generation);
        }
        nodes::pin(&mut pod["spec"], node);
        pod
    }

    async fn act(
        &self,
        set: &Arc<Object>,
        value: &Value,
        hash: &str,
        actions: Vec<Action>,
    ) -> Result<(), ReconcileError> {
        let children = Children { tools: &self.tools, owner: set, pods: &self.pods, wording: Wording::Plain };
        let (mut wanted, mut unwanted) = (Vec::new(), Vec::new());
        for action in actions {
            match action {
                Action::Create(node) => wanted.push(Self::pod(set, value, &node, hash)),
                Action::Delete(pod) => unwanted.push(pod),
                Action::Replace { pod, node, reason, message } => {
                    if reason == plan::FAILED {
                        self.back_off.replaced(&key(set), &node, self.tools.clock.instant());
                    }
                    self.tools.recorder.warning(&Subject::of(set), reason, message);
                    unwanted.push(pod);
                }
            }
        }
        children.create_all(wanted).await?;
        children.delete_all(&unwanted).await
    }
}

#[async_trait]
impl Controller for DaemonSets {
    fn name(&self) -> &'static str {
        "daemonset"
    }

    fn sources(&self) -> Vec<Source> {
        vec![
            Source { informer: self.sets.clone(), keys: |object| vec![object.metadata.key()] },
            Source { informer: self.revisions.clone(), keys: of_owner },
            Source { informer: self.pods.clone(), keys: of_owner },
            Source { informer: self.nodes.clone(), keys: |_| Vec::new() },
        ]
    }

    fn keys(&self, source: &Source, object: &Object) -> Vec<String> {
        if source.informer.gvr() == self.nodes.gvr() {
            return self.sets.list().iter().map(|set| set.metadata.key()).collect();
        }
        if source.informer.gvr() == self.pods.gvr() && object.metadata.controller().is_none() {
            let sets = self.sets.in_namespace(&object.metadata.namespace);
            let chosen = sets.iter().filter(|set| selector(&set.value()).matches(&object.metadata.labels));
            return chosen.map(|set| set.metadata.key()).collect();
        }
        (source.keys)(object)
    }

    async fn reconcile(&self, name: &str) -> Result<Outcome, ReconcileError> {
        let Some(set) = self.sets.get(name) else { return Ok(Outcome::default()) };
        let value = set.value();
        let (client, resource) = (&self.tools.client, self.sets.gvr());
        let selector = selector(&value);
        if selector.is_everything() {
            let message = "This daemon set is selecting all pods. A non-empty selector is required.";
            self.tools.recorder.warning(&Subject::of(&set), "SelectingAll", message);
            return Ok(Outcome::default());
        }
        let adopter = Adopter { client, owner: &set, resource, selector: &selector };
        let own: Vec<Pod> = adopter.claim(&self.pods, |_| true).await?.into_iter().map(Pod::of).collect();
        if set.metadata.is_terminating() {
            return Ok(Outcome::default());
        }
        let history = History { client, owner: &set, revisions: &self.revisions, label: HASH };
        let (newest, collisions) = history.newest(&value, number(&value, "/status/collisionCount")).await?;
        let hash = newest.object.metadata.labels.get(HASH).cloned().unwrap_or_default();
        let known: Vec<Value> = self.nodes.list().iter().map(|node| node.value()).collect();
        let now = self.tools.clock.now();
        let resting = self.back_off.resting(&key(&set), self.tools.clock.instant());
        let state = State { set: &value, pods: &own, nodes: nodes::fits(&value, &known), resting, hash: &hash, now };
        let acted = self.act(&set, &value, &hash, plan(&state)).await;
        let status = plan::status(&state, collisions);
        if normal(&status) != normal(&value["status"]) {
            let mut changed = value.clone();
            changed["status"] = status;
            let written = client.update_status(resource, changed).await?;
            self.sets.catch_up(written.revision).await;
        }
        acted?;
        let mut in_use: BTreeSet<String> = own.iter().map(|pod| pod.label(HASH).to_owned()).collect();
        in_use.insert(hash.clone());
        history.truncate(&value, &in_use).await?;
        let min_ready = number(&value, "/spec/minReadySeconds");
        let available = own.iter().filter_map(|pod| pod.available_in(min_ready, now));
        let failed = own.iter().filter(|pod| pod.phase == "Failed" && !pod.is_terminating());
        let rested = failed.filter_map(|pod| state.resting.get(&pod.node)).copied();
        let again_after = available.chain(rested).min();
        Ok(Outcome { again_after, ..Outcome::default() })
    }
}

/// The set, of the generation that its pods are made of.
fn key(set: &Object) -> back_off::Key {
    (set.metadata.uid.clone(), set.metadata.generation)
}

fn selector(set: &Value) -> LabelSelector {
    LabelSelector::from_value(&set["spec"]["selector"]).unwrap_or_default()
}

fn of_owner(object: &Object) -> Vec<String> {
    let owner = object.metadata.controller().filter(|owner| owner.kind == "DaemonSet");
    owner.map(|owner| format!("{}/{}", object.metadata.namespace, owner.name)).into_iter().collect()
}
