//! Carries out what was decided about a pod, through the API.

use std::sync::Arc;
use std::time::Duration;

use client::{Client, Informer, Recorder, Subject};
use meta::{
    ApiError, Call, Clock, DeleteOptions, Gvr, Object, PatchType, Reason, ResourcePath, WriteOptions, format_time,
};
use serde_json::{Value, json};

use crate::plugins::volumes::{SELECTED_NODE, Step};
use crate::pod::PodInfo;
use crate::state::NAME;

/// So long volumes may take to be bound, as upstream waits.
const VOLUMES: Duration = Duration::from_secs(600);

/// The hands of the scheduler. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Hands {
    pub(crate) client: Client,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) recorder: Recorder,
    pub(crate) claims: Informer,
}

fn core(resource: &str) -> Gvr {
    Gvr::new("", "v1", resource)
}

fn status(pod: &Object) -> ResourcePath {
    ResourcePath::object(core("pods"), &pod.metadata.namespace, &pod.metadata.name).subresource("status")
}

/// A condition as it is to be written; `None` if it says so already.
fn condition(pod: &Object, wanted: Value, now: String) -> Option<Value> {
    let value = pod.value();
    let conditions = value["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let old = conditions.into_iter().find(|own| own["type"] == wanted["type"]).unwrap_or_default();
    let same = |field: &str| old[field] == wanted[field];
    if ["status", "reason", "message"].into_iter().all(same) {
        return None;
    }
    let mut written = wanted;
    written["lastProbeTime"] = Value::Null;
    written["lastTransitionTime"] =
        if old["status"] == written["status"] { old["lastTransitionTime"].clone() } else { json!(now) };
    written["observedGeneration"] = json!(pod.metadata.generation);
    Some(written)
}

impl Hands {
    async fn patch_status(&self, pod: &Object, patch: Value) -> Result<(), ApiError> {
        // A pod that was replaced by another one of its name is left alone.
        let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": patch});
        let written = self.client.patch(&status(pod), PatchType::StrategicMerge, &patch, WriteOptions::default()).await;
        match written {
            Err(error) if matches!(error.reason, Reason::NotFound | Reason::Conflict) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Binds a pod to a node, its volumes first.
    pub(crate) async fn bind(&self, pod: &PodInfo, node: &str, steps: &[Step]) -> Result<(), ApiError> {
        self.bind_volumes(pod, node, steps).await?;
        let metadata = &pod.object.metadata;
        let binding = json!({
            "kind": "Binding", "apiVersion": "v1",
            "metadata": {"name": metadata.name, "namespace": metadata.namespace, "uid": metadata.uid},
            "target": {"kind": "Node", "name": node},
        });
        let path = ResourcePath::object(core("pods"), &metadata.namespace, &metadata.name).subresource("binding");
        // A binding is answered with a Status, not with an object.
        self.client.call(&path, Call::Create { object: binding, options: WriteOptions::default() }).await?;
        let text = format!("Successfully assigned {} to {node}", pod.key());
        self.recorder.doing("Binding").normal(&Subject::of(&pod.object), "Scheduled", text);
        Ok(())
    }

    /// Has the pod's volumes bound, and waits until they are.
    async fn bind_volumes(&self, pod: &PodInfo, node: &str, steps: &[Step]) -> Result<(), ApiError> {
        if steps.is_empty() {
            return Ok(());
        }
        let namespace = pod.namespace();
        let mut changes = self.claims.subscribe();
        for step in steps {
            match step {
                Step::Provision(claim) => {
                    let path = ResourcePath::object(core("persistentvolumeclaims"), namespace, claim);
                    let patch = json!({"metadata": {"annotations": {SELECTED_NODE: node}}});
                    self.client.merge(&path, &patch).await?;
                }
                Step::Use(claim, volume) => self.keep(namespace, claim, volume).await?,
            }
        }
        let bound = |claim: &str| {
            self.claims
                .get(&format!("{namespace}/{claim}"))
                .is_some_and(|claim| claim.value()["status"]["phase"] == "Bound")
        };
        let all = || steps.iter().all(|(Step::Use(claim, _) | Step::Provision(claim))| bound(claim));
        let waiting = async { while !all() && changes.next().await.is_some() {} };
        let done = tokio::time::timeout(VOLUMES, waiting).await.is_ok();
        if done { Ok(()) } else { Err(ApiError::internal("binding volumes: context deadline exceeded")) }
    }

    /// Keeps a volume for a claim: the controller of volumes binds them then.
    async fn keep(&self, namespace: &str, claim: &str, volume: &str) -> Result<(), ApiError> {
        let uid = self.claims.get(&format!("{namespace}/{claim}")).map(|claim| claim.metadata.uid.clone());
        let gvr = core("persistentvolumes");
        let mut object = self.client.get(&gvr, "", volume).await?.value();
        let owner = &object["spec"]["claimRef"];
        if !owner.is_null() && (owner["name"] != claim || owner["namespace"] != namespace) {
            return Err(ApiError::conflict(&gvr, volume, "another claim has it"));
        }
        object["spec"]["claimRef"] = json!({
            "kind": "PersistentVolumeClaim", "apiVersion": "v1", "namespace": namespace, "name": claim, "uid": uid,
        });
        self.client.update(&gvr, object).await.map(drop)
    }

    /// Tells why a pod has no node, in its status and by an event. `nominated`: where room is being made, empty for nowhere.
    pub(crate) async fn refuse(
        &self,
        pod: &PodInfo,
        reason: &str,
        text: &str,
        nominated: &str,
    ) -> Result<(), ApiError> {
        self.recorder.doing("Scheduling").warning(&Subject::of(&pod.object), "FailedScheduling", text);
        self.tell(pod, reason, text, nominated).await
    }

    /// The same without an event.
    pub(crate) async fn tell(&self, pod: &PodInfo, reason: &str, text: &str, nominated: &str) -> Result<(), ApiError> {
        let wanted = json!({"type": "PodScheduled", "status": "False", "reason": reason, "message": text});
        let mut patch = json!({});
        if let Some(condition) = condition(&pod.object, wanted, format_time(self.clock.now())) {
            patch["conditions"] = json!([condition]);
        }
        let before = pod.object.value();
        if before["status"]["nominatedNodeName"].as_str().unwrap_or_default() != nominated {
            patch["nominatedNodeName"] = if nominated.is_empty() { Value::Null } else { json!(nominated) };
        }
        if patch == json!({}) { Ok(()) } else { self.patch_status(&pod.object, patch).await }
    }

    /// Ends a pod so that a more important one gets its room.
    pub(crate) async fn preempt(&self, victim: &PodInfo, pod: &PodInfo, node: &str) -> Result<(), ApiError> {
        let message = format!("{NAME}: preempting to accommodate a higher priority pod");
        let wanted = json!({
            "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": message,
        });
        if let Some(condition) = condition(&victim.object, wanted, format_time(self.clock.now())) {
            self.patch_status(&victim.object, json!({"conditions": [condition]})).await?;
        }
        let deleted = self.client.delete_exactly(&core("pods"), &victim.object, DeleteOptions::default()).await;
        match deleted {
            Err(error) if !matches!(error.reason, Reason::NotFound | Reason::Conflict) => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let text = format!("Preempted by pod {} on node {node}", pod.uid());
        self.recorder.doing("Preempting").normal(&Subject::of(&victim.object), "Preempted", text);
        Ok(())
    }

    /// Room is no longer kept for a pod: a more important one gets it.
    pub(crate) async fn forget_nomination(&self, pod: &PodInfo) -> Result<(), ApiError> {
        self.patch_status(&pod.object, json!({"nominatedNodeName": null})).await
    }
}
