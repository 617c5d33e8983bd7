//! Keeps the status of disruption budgets: evictions go by it.

mod plan;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use client::{Client, Controller, Informer, Outcome, ReconcileError, Recorder, Source, Subject};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use meta::{Clock, Gvr, LabelSelector, Object, OwnerReference, Reason};
use serde_json::json;

use self::plan::{needs_scale, plan};

/// The controller.
pub(crate) struct Disruption {
    pub(crate) client: Client,
    pub(crate) recorder: Recorder,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) budgets: Informer,
    pub(crate) pods: Informer,
}

/// Controllers whose size can be asked for.
const SCALABLE: &[(&str, &str, &str, &str)] = &[
    ("", "v1", "ReplicationController", "replicationcontrollers"),
    ("apps", "v1", "ReplicaSet", "replicasets"),
    ("apps", "v1", "StatefulSet", "statefulsets"),
    ("apps", "v1", "Deployment", "deployments"),
];

fn endpoint(owner: &OwnerReference) -> Option<Gvr> {
    let found = SCALABLE.iter().find(|(group, version, kind, _)| {
        let own = if group.is_empty() { (*version).to_owned() } else { format!("{group}/{version}") };
        owner.kind == *kind && owner.api_version == own
    })?;
    Some(Gvr::new(found.0, found.1, found.3))
}

impl Disruption {
    async fn sync(&self, object: &Arc<Object>) -> Result<Outcome, ReconcileError> {
        let budget: PodDisruptionBudget = object.view()?;
        let mut value = object.value();
        let selector = &value["spec"]["selector"];
        // No selector selects nothing, an empty one everything.
        let selector = if selector.is_null() { None } else { LabelSelector::from_value(selector).ok() };
        let about = |pod: &Arc<Object>| selector.as_ref().is_some_and(|own| own.matches(&pod.metadata.labels));
        let pods = self.pods.in_namespace(&object.metadata.namespace).into_iter().filter(about);
        let finished = |pod: &Arc<Object>| matches!(pod.field("status.phase"), Some("Succeeded" | "Failed"));
        let pods: Vec<Arc<Object>> = pods.filter(|pod| !finished(pod)).collect();
        let scale = if needs_scale(&budget) { self.scale(&pods).await? } else { 0 };
        let views = pods.iter().map(|pod| pod.view()).collect::<Result<Vec<Pod>, _>>()?;
        let plan = plan(&budget, &views, scale, self.clock.now());
        for pod in plan.expired.iter().filter_map(|name| pods.iter().find(|pod| pod.metadata.name == *name)) {
            let text = "Pod was expected by PDB to be deleted but it wasn't";
            self.recorder.warning(&Subject::of(pod), "NotDeleted", text);
        }
        let status = json!(plan.status);
        let mut wrote = 0;
        if value["status"] != status {
            value["status"] = status;
            wrote = self.client.update_status(&Gvr::new("policy", "v1", "poddisruptionbudgets"), value).await?.revision;
        }
        let again_after = plan.again_after.and_then(|wait| Duration::try_from(wait).ok());
        Ok(Outcome { again_after, wrote })
    }

    /// How many pods the controllers of these want together.
    async fn scale(&self, pods: &[Arc<Object>]) -> Result<i64, ReconcileError> {
        let mut wanted: BTreeMap<String, i64> = BTreeMap::new();
        for pod in pods {
            let Some(owner) = pod.metadata.controller() else { continue };
            if wanted.contains_key(&owner.uid) {
                continue;
            }
            let (uid, replicas) = self.replicas(&pod.metadata.namespace, owner).await?;
            wanted.insert(owner.uid.clone(), 0);
            wanted.insert(uid, replicas);
        }
        Ok(wanted.values().sum())
    }

    /// How many pods an owner, or the owner's own owner, wants; and who that is.
    async fn replicas(&self, namespace: &str, owner: &OwnerReference) -> Result<(String, i64), ReconcileError> {
        let mut owner = owner.clone();
        loop {
            let Some(gvr) = endpoint(&owner) else { return Ok((owner.uid, 0)) };
            let found = match self.client.get(&gvr, namespace, &owner.name).await {
                Ok(found) => found,
                Err(error) if error.reason == Reason::NotFound => return Ok((owner.uid, 0)),
                Err(error) => return Err(error.into()),
            };
            match found.metadata.controller().filter(|above| endpoint(above).is_some()) {
                Some(above) => owner = above.clone(),
                None => return Ok((owner.uid, found.value()["spec"]["replicas"].as_i64().unwrap_or(1))),
            }
        }
    }
}

#[async_trait]
impl Controller for Disruption {
    fn name(&self) -> &'static str {
        "disruption"
    }

    fn sources(&self) -> Vec<Source> {
        // Which budgets a pod concerns only they know: a key is a namespace.
        let of = |object: &Object| vec![object.metadata.namespace.clone()];
        vec![Source { informer: self.budgets.clone(), keys: of }, Source { informer: self.pods.clone(), keys: of }]
    }

    async fn reconcile(&self, key: &str) -> Result<Outcome, ReconcileError> {
        let mut all = Outcome::default();
        for budget in self.budgets.in_namespace(key) {
            let own = self.sync(&budget).await?;
            all.wrote = all.wrote.max(own.wrote);
            all.again_after = [all.again_after, own.again_after].into_iter().flatten().min();
        }
        Ok(all)
    }
}
