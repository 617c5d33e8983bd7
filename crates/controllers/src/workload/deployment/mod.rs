//! Brings a Deployment's pods from one template to the next through ReplicaSets.

mod availability;
mod plan;
mod revision;
mod sizes;
mod status;

use std::sync::Arc;

use async_trait::async_trait;
use client::{Controller, Informer, Outcome, ReconcileError, Source, Subject};
use meta::{DeleteOptions, LabelSelector, Object, Reason};
use serde_json::{Value, json};

use super::Tools;
use super::adoption::Adopter;
use super::pod::Pod;
use plan::{Action, State, plan};

pub(crate) struct Deployments {
    pub(crate) tools: Tools,
    pub(crate) deployments: Informer,
    pub(crate) sets: Informer,
    pub(crate) pods: Informer,
}

impl Deployments {
    async fn act(&self, deployment: &Arc<Object>, value: &Value, action: Action) -> Result<(), ReconcileError> {
        let subject = Subject::of(deployment);
        match action {
            Action::Create(set) => self.create(deployment, value, set).await?,
            Action::Update { set, event } => {
                let written = self.tools.client.update(self.sets.gvr(), set).await?;
                self.sets.catch_up(written.revision).await;
                if let Some(message) = event {
                    self.tools.recorder.normal(&subject, "ScalingReplicaSet", message);
                }
            }
            Action::Delete(set) => {
                match self.tools.client.delete_exactly(self.sets.gvr(), &set, DeleteOptions::default()).await {
                    Err(error) if error.reason != Reason::NotFound => return Err(error.into()),
                    Ok(()) | Err(_) => {}
                }
            }
            Action::Annotate(deployment) => {
                // Compat: by its status, since another annotation counts the generation up everywhere else.
                let written = self.tools.client.update_status(self.deployments.gvr(), deployment).await?;
                self.deployments.catch_up(written.revision).await;
            }
            Action::Status(status) => {
                // Annotations may just have been written: the status goes onto what is newest.
                let newest = self.deployments.get(&deployment.metadata.key()).unwrap_or_else(|| Arc::clone(deployment));
                let mut changed = newest.value();
                changed["status"] = status;
                let written = self.tools.client.update_status(self.deployments.gvr(), changed).await?;
                self.deployments.catch_up(written.revision).await;
            }
            Action::Warn(reason, message) => self.tools.recorder.warning(&subject, reason, message),
        }
        Ok(())
    }

    async fn create(&self, deployment: &Arc<Object>, value: &Value, set: Value) -> Result<(), ReconcileError> {
        let namespace = &deployment.metadata.namespace;
        let (name, replicas) = (set["metadata"]["name"].clone(), set["spec"]["replicas"].clone());
        match self.tools.client.create(self.sets.gvr(), namespace, set).await {
            Ok(made) => {
                self.sets.catch_up(made.revision).await;
                let message =
                    format!("Scaled up replica set {} from 0 to {replicas}", name.as_str().unwrap_or_default());
                if replicas != 0 {
                    self.tools.recorder.normal(&Subject::of(deployment), "ScalingReplicaSet", message);
                }
                Ok(())
            }
            Err(error) if error.reason == Reason::AlreadyExists => {
                // Another template has this hash: the next name is salted by the count of such collisions.
                let mut changed = value.clone();
                changed["status"]["collisionCount"] =
                    json!(value["status"]["collisionCount"].as_i64().unwrap_or(0) + 1);
                let written = self.tools.client.update_status(self.deployments.gvr(), changed).await?;
                self.deployments.catch_up(written.revision).await;
                Err(error.into())
            }
            Err(error) if super::children::is_ending(&error) => Ok(()),
            Err(error) => {
                let message =
                    format!("Failed to create new replica set {:?}: {error}", name.as_str().unwrap_or_default());
                self.tools.recorder.warning(&Subject::of(deployment), "ReplicaSetCreateError", message.clone());
                let mut changed = value.clone();
                changed["status"] = status::create_failed(value, &message, &self.tools.now());
                let written = self.tools.client.update_status(self.deployments.gvr(), changed).await?;
                self.deployments.catch_up(written.revision).await;
                Err(error.into())
            }
        }
    }
}

#[async_trait]
impl Controller for Deployments {
    fn name(&self) -> &'static str {
        "deployment"
    }

    fn sources(&self) -> Vec<Source> {
        vec![
            Source { informer: self.deployments.clone(), keys: |object| vec![object.metadata.key()] },
            Source { informer: self.sets.clone(), keys: |_| Vec::new() },
            Source { informer: self.pods.clone(), keys: |_| Vec::new() },
        ]
    }

    fn keys(&self, source: &Source, object: &Object) -> Vec<String> {
        let namespace = &object.metadata.namespace;
        let owner = object.metadata.controller();
        let resource = source.informer.gvr();
        if resource == self.deployments.gvr() {
            return (source.keys)(object);
        }
        if resource == self.sets.gvr() {
            return match owner {
                Some(owner) if owner.kind == "Deployment" => vec![format!("{namespace}/{}", owner.name)],
                Some(_) => Vec::new(),
                None => {
                    let all = self.deployments.in_namespace(namespace);
                    let chosen =
                        all.iter().filter(|deployment| selector(&deployment.value()).matches(&object.metadata.labels));
                    chosen.map(|deployment| deployment.metadata.key()).collect()
                }
            };
        }
        // The last old pod that goes lets a Recreate go on.
        let gone = self.pods.get(&object.metadata.key()).is_none();
        let finished = matches!(object.field("status.phase"), Some("Succeeded" | "Failed"));
        let set = owner.filter(|owner| owner.kind == "ReplicaSet" && (gone || finished));
        let set = set.and_then(|owner| self.sets.get(&format!("{namespace}/{}", owner.name)));
        let deployment =
            set.and_then(|set| set.metadata.controller().map(|owner| format!("{namespace}/{}", owner.name)));
        deployment.into_iter().collect()
    }

    async fn reconcile(&self, key: &str) -> Result<Outcome, ReconcileError> {
        let Some(deployment) = self.deployments.get(key) else { return Ok(Outcome::default()) };
        let value = deployment.value();
        let selector = selector(&value);
        let resource = self.deployments.gvr();
        let adopter = Adopter { client: &self.tools.client, owner: &deployment, resource, selector: &selector };
        let sets = if selector.is_everything() { Vec::new() } else { adopter.claim(&self.sets, |_| true).await? };
        let running = |set: &Arc<Object>| {
            let pods = self.pods.controlled_by(&set.metadata.uid).into_iter().map(Pod::of);
            (set.metadata.uid.clone(), pods.filter(|pod| !pod.is_finished()).count())
        };
        let state = State {
            deployment: &value,
            object: &deployment,
            sets: sets.iter().map(|set| (Arc::clone(set), set.value())).collect(),
            running: sets.iter().map(running).collect(),
            now: self.tools.clock.now(),
        };
        let (actions, again_after) = plan(&state);
        for action in actions {
            self.act(&deployment, &value, action).await?;
        }
        Ok(Outcome { again_after, ..Outcome::default() })
    }
}

fn selector(deployment: &Value) -> LabelSelector {
    LabelSelector::from_value(&deployment["spec"]["selector"]).unwrap_or_default()
}
