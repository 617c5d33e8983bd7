//! Gives each of a StatefulSet's pods a name, claims and an order.

mod identity;
mod plan;
mod retention;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use client::{Controller, Informer, Outcome, ReconcileError, Source, Subject};
use meta::{LabelSelector, Object, Reason};
use serde_json::{Value, json};

use super::Tools;
use super::adoption::Adopter;
use super::children::{Children, Wording};
use super::document::{controller_reference, items, normal, number, text};
use super::history::History;
use super::pod::Pod;
use plan::{Action, State, plan};
use retention::{Holders, Retention};

pub(crate) struct StatefulSets {
    pub(crate) tools: Tools,
    pub(crate) sets: Informer,
    pub(crate) revisions: Informer,
    pub(crate) pods: Informer,
    pub(crate) claims: Informer,
}

impl StatefulSets {
    async fn act(&self, set: &Arc<Object>, state: &State<'_>, action: Action) -> Result<(), ReconcileError> {
        let children =
            Children { tools: &self.tools, owner: set, pods: &self.pods, wording: Wording::Named("StatefulSet") };
        match action {
            Action::Create(ordinal) => {
                for claim in identity::claims(state.set, ordinal) {
                    if !self.ensure_claim(set, ordinal, claim).await? {
                        return Ok(());
                    }
                }
                let revision = plan::revision_for(state, ordinal);
                children.create(identity::pod(set, state.set, revision, ordinal)).await
            }
            Action::EnsureClaims(ordinal) => {
                for claim in identity::claims(state.set, ordinal) {
                    self.ensure_claim(set, ordinal, claim).await?;
                }
                Ok(())
            }
            Action::Delete(pod) => children.delete(&pod).await,
        }
    }

    /// Makes a claim that isn't there. `false` if one of its name is still going.
    async fn ensure_claim(&self, set: &Arc<Object>, ordinal: i64, mut claim: Value) -> Result<bool, ReconcileError> {
        let namespace = &set.metadata.namespace;
        let name = text(&claim, "/metadata/name").to_owned();
        let pod = format!("{}-{ordinal}", set.metadata.name);
        let retention = Retention::of(&set.value());
        if let Some(found) = self.claims.get(&format!("{namespace}/{name}")) {
            let exists = || self.pods.get(&format!("{namespace}/{pod}")).is_some();
            return Ok(!found.metadata.is_terminating() && (exists() || !retention.is_stale(&found.value(), &pod)));
        }
        if retention.with_set {
            claim["metadata"]["ownerReferences"] = json!([controller_reference(set)]);
        }
        let subject = Subject::of(set);
        let what = format!("Claim {name} Pod {pod} in StatefulSet {}", set.metadata.name);
        match self.tools.client.create(self.claims.gvr(), namespace, claim).await {
            Ok(made) => {
                self.claims.catch_up(made.revision).await;
                self.tools.recorder.normal(&subject, "SuccessfulCreate", format!("create {what} success"));
                Ok(true)
            }
            Err(error) if error.reason == Reason::AlreadyExists => Ok(true),
            Err(error) => {
                let message = format!("create {what} failed error: {error}");
                self.tools.recorder.warning(&subject, "FailedCreate", message);
                Err(error.into())
            }
        }
    }

    /// Has a pod's claims held by what they go with.
    async fn retain(&self, set: &Object, value: &Value, pod: &Pod, leaves: bool) -> Result<(), ReconcileError> {
        let ordinal = identity::ordinal(&set.metadata.name, pod.name()).unwrap_or(0);
        let holders = Holders { set, pod: &pod.object, leaves };
        for wanted in identity::claims(value, ordinal) {
            let key = format!("{}/{}", set.metadata.namespace, text(&wanted, "/metadata/name"));
            let Some(claim) = self.claims.get(&key) else { continue };
            let mut claim = claim.value();
            let Some(references) = Retention::of(value).references(&claim, &holders) else { continue };
            claim["metadata"]["ownerReferences"] = json!(references);
            match self.tools.client.update(self.claims.gvr(), claim).await {
                Err(error) if error.reason != Reason::NotFound => return Err(error.into()),
                Ok(written) => self.claims.catch_up(written.revision).await,
                Err(_) => {}
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Controller for StatefulSets {
    fn name(&self) -> &'static str {
        "statefulset"
    }

    fn sources(&self) -> Vec<Source> {
        vec![
            Source { informer: self.sets.clone(), keys: |object| vec![object.metadata.key()] },
            Source { informer: self.revisions.clone(), keys: of_owner },
            Source { informer: self.pods.clone(), keys: of_owner },
            Source { informer: self.claims.clone(), keys: |_| Vec::new() },
        ]
    }

    fn keys(&self, source: &Source, object: &Object) -> Vec<String> {
        let metadata = &object.metadata;
        if source.informer.gvr() == self.claims.gvr() && self.claims.get(&metadata.key()).is_none() {
            // A claim that went makes room for the one of the same name that a pod waits for.
            let sets = self.sets.in_namespace(&metadata.namespace);
            return sets
                .iter()
                .filter(|set| metadata.name.contains(&set.metadata.name))
                .map(|set| set.metadata.key())
                .collect();
        }
        if source.informer.gvr() == self.pods.gvr() && metadata.controller().is_none() {
            let member = |set: &&Arc<Object>| identity::ordinal(&set.metadata.name, &metadata.name).is_some();
            let sets = self.sets.in_namespace(&metadata.namespace);
            return sets.iter().filter(member).map(|set| set.metadata.key()).collect();
        }
        (source.keys)(object)
    }

    async fn reconcile(&self, key: &str) -> Result<Outcome, ReconcileError> {
        let Some(set) = self.sets.get(key) else { return Ok(Outcome::default()) };
        let value = set.value();
        let (client, resource) = (&self.tools.client, self.sets.gvr());
        let selector = LabelSelector::from_value(&value["spec"]["selector"]).unwrap_or_default();
        let adopter = Adopter { client, owner: &set, resource, selector: &selector };
        let member = |pod: &Object| identity::ordinal(&set.metadata.name, &pod.metadata.name).is_some();
        let own = adopter.claim(&self.pods, member).await?;
        let pods: Vec<Pod> = own.into_iter().filter(|pod| member(pod)).map(Pod::of).collect();
        let history =
            History { client, owner: &set, revisions: &self.revisions, label: "controller.kubernetes.io/hash" };
        let (update, collisions) = history.newest(&value, number(&value, "/status/collisionCount")).await?;
        let current = text(&value, "/status/currentRevision");
        let current = history.list().into_iter().find(|revision| revision.name() == current).unwrap_or(update.clone());
        let now = self.tools.clock.now();
        let state = State { set: &value, pods: &pods, current: &current, update: &update, collisions, now };
        if !set.metadata.is_terminating() {
            for pod in &pods {
                self.retain(&set, &value, pod, !state.has(pod)).await?;
            }
            for action in plan(&state) {
                self.act(&set, &state, action).await?;
            }
        }
        let status = plan::status(&state);
        if normal(&status) != normal(&value["status"]) {
            let mut changed = value.clone();
            changed["status"] = status;
            let written = client.update_status(resource, changed).await?;
            self.sets.catch_up(written.revision).await;
        }
        let mut in_use: BTreeSet<String> = pods.iter().map(|pod| pod.label(identity::REVISION).to_owned()).collect();
        in_use.extend([current.name().to_owned(), update.name().to_owned()]);
        history.truncate(&value, &in_use).await?;
        let min_ready = number(&value, "/spec/minReadySeconds");
        let again_after = pods.iter().filter_map(|pod| pod.available_in(min_ready, now)).min();
        Ok(Outcome { again_after, ..Outcome::default() })
    }
}

fn of_owner(object: &Object) -> Vec<String> {
    let owner = object.metadata.controller().filter(|owner| owner.kind == "StatefulSet");
    owner.map(|owner| format!("{}/{}", object.metadata.namespace, owner.name)).into_iter().collect()
}

/// The templates of a set's claims.
fn claim_templates(set: &Value) -> &[Value] {
    items(set, "/spec/volumeClaimTemplates")
}
