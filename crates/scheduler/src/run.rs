//! Carries the cycle's choices out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use client::{Client, Informer, Recorder, Subject};
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod};
use meta::{ApiError, Call, Clock, Gvr, Object, Reason, ResourcePath, WriteOptions, format_time};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::cycle::{Choice, choose};

/// Pods name it in `schedulerName`.
const NAME: &str = "default-scheduler";

/// A running scheduler.
pub struct Scheduler {
    client: Client,
    clock: Arc<dyn Clock>,
    recorder: Recorder,
    pods: Informer,
    nodes: Informer,
    claims: Informer,
    /// Pods that were bound by us and are not seen bound yet: they count as bound.
    assumed: BTreeMap<String, Pod>,
}

fn pods() -> Gvr {
    Gvr::new("", "v1", "pods")
}

impl Scheduler {
    /// Begins to follow pods and nodes.
    pub fn new(client: Client, clock: Arc<dyn Clock>) -> Self {
        let informer = |resource: &str| Informer::new(client.clone(), Gvr::new("", "v1", resource));
        let recorder = Recorder::new(client.clone(), NAME, "", Arc::clone(&clock));
        let (pods, nodes, claims) = (informer("pods"), informer("nodes"), informer("persistentvolumeclaims"));
        Self { client, clock, recorder, pods, nodes, claims, assumed: BTreeMap::new() }
    }

    /// Schedules until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let (mut pods, mut nodes, mut claims) =
            (self.pods.subscribe(), self.nodes.subscribe(), self.claims.subscribe());
        let mut waiting = BTreeSet::new();
        loop {
            let changed = tokio::select! {
                pod = pods.next() => pod,
                node = nodes.next() => node,
                claim = claims.next() => claim,
                () = stop.cancelled() => return,
            };
            let Some(object) = changed else { return };
            if object.kind() == "Pod" && !self.may_make_room(&object) {
                self.schedule(&object.metadata.key(), &mut waiting).await;
                continue;
            }
            // Room may have been made: everyone who waits gets another look.
            for key in waiting.clone() {
                self.schedule(&key, &mut waiting).await;
            }
        }
    }

    /// Whether a pod's change can help others: it ended or went away.
    fn may_make_room(&self, pod: &Object) -> bool {
        let key = pod.metadata.key();
        let finished = matches!(pod.field("status.phase"), Some("Succeeded" | "Failed"));
        finished || self.pods.get(&key).is_none()
    }

    async fn schedule(&mut self, key: &str, waiting: &mut BTreeSet<String>) {
        self.forget_seen();
        let pending = self.pods.get(key).filter(|pod| wants_node(pod)).filter(|_| !self.assumed.contains_key(key));
        let Some(object) = pending else {
            waiting.remove(key);
            return;
        };
        let waits = match self.attempt(key, &object).await {
            Ok(bound) => !bound,
            Err(error) if error.reason == Reason::NotFound || error.reason == Reason::Conflict => false,
            Err(error) => {
                tracing::warn!(pod = key, %error, "scheduling failed; tried again with the next change");
                true
            }
        };
        if waits {
            waiting.insert(key.to_owned());
        } else {
            waiting.remove(key);
        }
    }

    /// Whether the pod has a node now.
    async fn attempt(&mut self, key: &str, object: &Arc<Object>) -> Result<bool, ApiError> {
        let pod: Pod = object.view().map_err(ApiError::internal)?;
        if pod.spec.as_ref().is_some_and(|spec| spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty())) {
            self.refuse(object, "SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates").await?;
            return Ok(false);
        }
        let nodes: Vec<Node> = self.nodes.list().iter().filter_map(|node| node.view().ok()).collect();
        match choose(&pod, nodes, &self.bound()) {
            Choice::None(why) => {
                self.refuse(object, "Unschedulable", &why).await?;
                self.recorder.warning(&Subject::of(object), "FailedScheduling", why);
                Ok(false)
            }
            Choice::Node(node) => {
                if !self.volumes_ready(&pod, object, &node).await? {
                    return Ok(false);
                }
                self.bind(key, pod, object, &node).await?;
                Ok(true)
            }
        }
    }

    /// Ends the assumption about pods that are seen bound, are gone, or were replaced by others of their name.
    fn forget_seen(&mut self) {
        let pods = &self.pods;
        self.assumed.retain(|key, assumed| pods.get(key).is_some_and(|seen| still_unseen(&seen, assumed)));
    }

    /// Pods that have a node and have not ended, each once: what is seen bound is not assumed any more.
    fn bound(&self) -> Vec<Pod> {
        let lives = |pod: &&Arc<Object>| {
            let bound = pod.field("spec.nodeName").is_some_and(|node| !node.is_empty());
            bound && !matches!(pod.field("status.phase"), Some("Succeeded" | "Failed"))
        };
        // One snapshot for both: a pod whose binding arrives meanwhile is counted neither twice nor not at all.
        let all = self.pods.list();
        let unseen = |pod: &Arc<Object>| {
            self.assumed.get(&pod.metadata.key()).filter(|assumed| still_unseen(pod, assumed)).cloned()
        };
        let assumed: Vec<Pod> = all.iter().filter_map(unseen).collect();
        all.iter().filter(lives).filter_map(|pod| pod.view().ok()).chain(assumed).collect()
    }

    /// Whether all claims are bound; those that wait for a node are told which.
    async fn volumes_ready(&self, pod: &Pod, object: &Object, node: &str) -> Result<bool, ApiError> {
        let namespace = &object.metadata.namespace;
        let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        let names =
            volumes.filter_map(|volume| volume.persistent_volume_claim.as_ref()).map(|source| &source.claim_name);
        let mut ready = true;
        for name in names {
            let Some(found) = self.claims.get(&format!("{namespace}/{name}")) else {
                let why = format!(
                    "0/{} nodes are available: persistentvolumeclaim {name:?} not found.",
                    self.nodes.list().len()
                );
                self.refuse(object, "Unschedulable", &why).await?;
                self.recorder.warning(&Subject::of(object), "FailedScheduling", why);
                return Ok(false);
            };
            let claim: PersistentVolumeClaim = found.view().map_err(ApiError::internal)?;
            if claim.status.and_then(|status| status.phase).as_deref() == Some("Bound") {
                continue;
            }
            ready = false;
            let path = ResourcePath::object(found_gvr(), namespace, name);
            let patch = json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": node}}});
            self.client.merge(&path, &patch).await?;
        }
        Ok(ready)
    }

    async fn bind(&mut self, key: &str, mut pod: Pod, object: &Object, node: &str) -> Result<(), ApiError> {
        let metadata = &object.metadata;
        let binding = json!({
            "kind": "Binding", "apiVersion": "v1",
            "metadata": {"name": metadata.name, "namespace": metadata.namespace, "uid": metadata.uid},
            "target": {"kind": "Node", "name": node},
        });
        let path = ResourcePath::object(pods(), &metadata.namespace, &metadata.name).subresource("binding");
        // A binding is answered with a Status, not with an object.
        self.client.call(&path, Call::Create { object: binding, options: WriteOptions::default() }).await?;
        // Assumed until the pod is seen with its node.
        if let Some(spec) = &mut pod.spec {
            spec.node_name = Some(node.to_owned());
        }
        self.assumed.insert(key.to_owned(), pod);
        let text = format!("Successfully assigned {key} to {node}");
        self.recorder.normal(&Subject::of(object), "Scheduled", text);
        Ok(())
    }

    /// Tells in the pod's status why it has no node, if that isn't there already.
    async fn refuse(&self, object: &Object, reason: &str, message: &str) -> Result<(), ApiError> {
        let value = object.value();
        let conditions = value["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let is_ours = |condition: &Value| condition["type"] == "PodScheduled";
        let same = |condition: &Value| condition["reason"] == reason && condition["message"] == message;
        if conditions.iter().any(|condition| is_ours(condition) && same(condition)) {
            return Ok(());
        }
        let mut conditions: Vec<Value> = conditions.into_iter().filter(|condition| !is_ours(condition)).collect();
        conditions.push(json!({
            "type": "PodScheduled", "status": "False", "reason": reason, "message": message,
            "lastProbeTime": null, "lastTransitionTime": format_time(self.clock.now()),
            "observedGeneration": object.metadata.generation,
        }));
        let path =
            ResourcePath::object(pods(), &object.metadata.namespace, &object.metadata.name).subresource("status");
        self.client.merge(&path, &json!({"status": {"conditions": conditions}})).await.map(drop)
    }
}

fn found_gvr() -> Gvr {
    Gvr::new("", "v1", "persistentvolumeclaims")
}

/// Whether this is the pod that was bound, from before its binding.
fn still_unseen(seen: &Object, assumed: &Pod) -> bool {
    assumed.metadata.uid.as_deref() == Some(&seen.metadata.uid) && seen.field("spec.nodeName").is_none_or(str::is_empty)
}

fn wants_node(pod: &Object) -> bool {
    let unbound = pod.field("spec.nodeName").is_none_or(str::is_empty);
    let ours = pod.field("spec.schedulerName") == Some(NAME);
    unbound
        && ours
        && !pod.metadata.is_terminating()
        && !matches!(pod.field("status.phase"), Some("Succeeded" | "Failed"))
}
