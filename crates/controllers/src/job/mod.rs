//! Jobs: pods that run until enough of them succeeded.
//!
//! Each pod carries a finalizer until it is counted: its UID is first named in the job's status, then the finalizer goes, then
//! the counter grows and the name goes. So no end of a pod is counted twice or lost, whenever this stops and starts again.

mod adoption;
mod backoff;
mod facts;
mod indexes;
mod plan;
mod policy;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use client::{Client, Controller, Informer, Outcome, ReconcileError, Recorder, Source, Subject};
use futures::future::join_all;
use jiff::SignedDuration;
use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use meta::{ApiError, Clock, DeleteOptions, Gvr, Object, PatchType, Reason, ResourcePath, WriteOptions};
use serde_json::{Value, json};

pub(crate) use self::facts::finished;

use self::backoff::Failures;
use self::facts::{FAILURES, FINALIZER, IGNORED_FAILURES, INDEX, OfPod};
use self::plan::{Creation, Plan, count, finish, plan};

/// The controller.
pub(crate) struct Jobs {
    pub(crate) client: Client,
    pub(crate) recorder: Recorder,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) jobs: Informer,
    pub(crate) pods: Informer,
    /// Failures in a row, by UID. Lost with the process, as upstream's.
    failures: Mutex<HashMap<String, Failures>>,
}

fn core(resource: &str) -> Gvr {
    Gvr::new("", "v1", resource)
}

pub(crate) fn jobs() -> Gvr {
    Gvr::new("batch", "v1", "jobs")
}

/// One reconciliation of a job.
struct Work<'a> {
    jobs: &'a Jobs,
    object: Arc<Object>,
    value: Value,
    pods: Vec<(Arc<Object>, Pod)>,
    subject: Subject,
    wrote: u64,
}

impl Jobs {
    /// A controller without history.
    pub(crate) fn new(
        client: Client,
        recorder: Recorder,
        clock: Arc<dyn Clock>,
        jobs: Informer,
        pods: Informer,
    ) -> Self {
        Self { client, recorder, clock, jobs, pods, failures: Mutex::default() }
    }

    async fn sync(&self, key: &str, object: Arc<Object>) -> Result<Outcome, ReconcileError> {
        let job: Job = object.view()?;
        let spec = job.spec.clone().unwrap_or_default();
        if spec.managed_by.as_deref().is_some_and(|name| name != "kubernetes.io/job-controller") {
            return Ok(Outcome::default());
        }
        if finished(&job).is_some() {
            self.failures().remove(&object.metadata.uid);
            return self.release_all(key, &object.metadata.uid).await;
        }
        let pods = self.claim(&object).await?;
        let pods: Vec<(Arc<Object>, Pod)> = pods
            .into_iter()
            .map(|pod| Ok((Arc::clone(&pod), pod.view()?)))
            .collect::<Result<_, meta::ObjectError>>()?;
        let before = self.failures().get(&object.metadata.uid).copied().unwrap_or_default();
        let views: Vec<Pod> = pods.iter().map(|(_, pod)| pod.clone()).collect();
        let plan = plan(&job, &views, before, self.clock.now());
        let subject = Subject::of(&object);
        let value = object.value();
        let work = Work { jobs: self, object, value, pods, subject, wrote: 0 };
        work.carry_out(plan).await
    }

    fn failures(&self) -> std::sync::MutexGuard<'_, HashMap<String, Failures>> {
        self.failures.lock().expect("no holder of this lock can panic")
    }

    /// Removes the finalizer of a pod.
    async fn release(&self, pod: &Object) -> Result<u64, ApiError> {
        if !pod.metadata.finalizers.iter().any(|name| name == FINALIZER) {
            return Ok(0);
        }
        let path = ResourcePath::object(core("pods"), &pod.metadata.namespace, &pod.metadata.name);
        let patch = json!({"metadata": {
            "uid": pod.metadata.uid, "$deleteFromPrimitiveList/finalizers": [FINALIZER],
        }});
        let written = self.client.patch(&path, PatchType::StrategicMerge, &patch, WriteOptions::default()).await;
        match written {
            Ok(object) => Ok(object.revision),
            Err(error) if matches!(error.reason, Reason::NotFound | Reason::Conflict) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Lets all pods of a job go that is over, or gone.
    async fn release_all(&self, key: &str, uid: &str) -> Result<Outcome, ReconcileError> {
        let (namespace, name) = key.split_once('/').unwrap_or_default();
        let own = |pod: &&Arc<Object>| {
            pod.metadata
                .controller()
                .is_some_and(|owner| owner.kind == "Job" && owner.name == name && (uid.is_empty() || owner.uid == uid))
        };
        let pods = self.pods.in_namespace(namespace);
        for written in join_all(pods.iter().filter(own).map(|pod| self.release(pod))).await {
            written?;
        }
        Ok(Outcome::default())
    }
}

impl Work<'_> {
    async fn carry_out(mut self, mut plan: Plan) -> Result<Outcome, ReconcileError> {
        let removed = self.remove(&plan).await;
        let made = self.make(&plan.create).await;
        let active = plan.status.active.unwrap_or(0) + i32::try_from(made.0).unwrap_or(0);
        plan.status.active = Some(active).filter(|count| *count > 0);
        if removed.is_err() {
            // Not all that was to go is going: the job doesn't end yet.
            plan.end = None;
        }
        self.write(&plan.status).await?;
        self.jobs.failures().insert(self.object.metadata.uid.clone(), plan.failures);
        for (reason, message) in &plan.events {
            self.jobs.recorder.normal(&self.subject, reason, message.clone());
        }
        self.settle(plan.status.clone(), &plan).await?;
        removed?;
        made.1?;
        let again_after = plan.again_after.map(|wait| {
            // A little later than asked, since stored times are whole seconds.
            Duration::try_from(wait + SignedDuration::from_millis(50)).unwrap_or_default()
        });
        let again_after = if plan.more { Some(Duration::ZERO) } else { again_after };
        Ok(Outcome { again_after, wrote: self.wrote })
    }

    /// Lets the pods go that are named in the status, and counts them.
    async fn settle(&mut self, mut status: JobStatus, plan: &Plan) -> Result<(), ReconcileError> {
        let released = join_all(plan.release.iter().map(|position| self.jobs.release(&self.pods[*position].0))).await;
        let mut tracked: BTreeSet<&str> =
            self.pods.iter().filter(|(_, pod)| pod.is_tracked()).map(|(_, pod)| pod.uid()).collect();
        let mut failure = None;
        for (position, written) in plan.release.iter().zip(released) {
            match written {
                Ok(revision) => {
                    self.wrote = self.wrote.max(revision);
                    tracked.remove(self.pods[*position].1.uid());
                }
                Err(error) => failure = Some(error),
            }
        }
        count(&mut status, &tracked);
        let end = plan.end.as_ref().filter(|_| !plan.more && failure.is_none());
        let ended = end.filter(|end| finish(&mut status, end));
        drop(tracked);
        self.write(&status).await?;
        if let Some(error) = failure {
            return Err(error.into());
        }
        match ended {
            Some(end) if end.type_ == "Complete" => {
                self.jobs.recorder.normal(&self.subject, "Completed", "Job completed");
            }
            Some(end) => {
                let (reason, message) =
                    (end.reason.clone().unwrap_or_default(), end.message.clone().unwrap_or_default());
                self.jobs.recorder.warning(&self.subject, &reason, message);
            }
            None => {}
        }
        Ok(())
    }

    async fn write(&mut self, status: &JobStatus) -> Result<(), ReconcileError> {
        let status = json!(status);
        if self.value["status"] == status {
            return Ok(());
        }
        self.value["status"] = status;
        let written = self.jobs.client.update_status(&jobs(), self.value.clone()).await?;
        self.wrote = self.wrote.max(written.revision);
        self.value = written.value();
        Ok(())
    }

    /// Ends pods.
    async fn remove(&self, plan: &Plan) -> Result<(), ReconcileError> {
        let gvr = core("pods");
        let end = |position: &usize, discard: bool| {
            let (pod, gvr) = (Arc::clone(&self.pods[*position].0), gvr.clone());
            async move {
                if discard {
                    self.jobs.release(&pod).await?;
                }
                match self.jobs.client.delete_exactly(&gvr, &pod, DeleteOptions::default()).await {
                    Ok(()) => {
                        let text = format!("Deleted pod: {}", pod.metadata.name);
                        self.jobs.recorder.normal(&self.subject, "SuccessfulDelete", text);
                        Ok(())
                    }
                    Err(error) if matches!(error.reason, Reason::NotFound | Reason::Conflict) => Ok(()),
                    Err(error) => {
                        let text = format!("Error deleting: {error}");
                        self.jobs.recorder.warning(&self.subject, "FailedDelete", text);
                        Err(error)
                    }
                }
            }
        };
        let deleted = plan.delete.iter().map(|position| end(position, false));
        let discarded = plan.discard.iter().map(|position| end(position, true));
        let (deleted, discarded) = (join_all(deleted).await, join_all(discarded).await);
        deleted.into_iter().chain(discarded).collect::<Result<(), ApiError>>().map_err(Into::into)
    }

    /// Makes pods, first one, then twice as many each time, as long as none fails; how many there are.
    async fn make(&mut self, wanted: &[Creation]) -> (usize, Result<(), ReconcileError>) {
        let (mut made, mut size, mut rest) = (0, 1, wanted);
        while !rest.is_empty() {
            let (batch, later) = rest.split_at(size.min(rest.len()));
            let created = join_all(batch.iter().map(|creation| self.make_one(creation))).await;
            let mut failure = None;
            for outcome in created {
                match outcome {
                    Ok(revision) => {
                        made += 1;
                        self.wrote = self.wrote.max(revision);
                    }
                    Err(error) => failure = Some(error),
                }
            }
            if let Some(error) = failure {
                return (made, Err(error.into()));
            }
            (rest, size) = (later, size * 2);
        }
        (made, Ok(()))
    }

    async fn make_one(&self, creation: &Creation) -> Result<u64, ApiError> {
        let namespace = &self.object.metadata.namespace;
        match self.jobs.client.create(&core("pods"), namespace, self.pod(creation)).await {
            Ok(pod) => {
                let text = format!("Created pod: {}", pod.metadata.name);
                self.jobs.recorder.normal(&self.subject, "SuccessfulCreate", text);
                Ok(pod.revision)
            }
            Err(error) => {
                self.jobs.recorder.warning(&self.subject, "FailedCreate", format!("Error creating: {error}"));
                Err(error)
            }
        }
    }

    fn pod(&self, creation: &Creation) -> Value {
        let template = &self.value["spec"]["template"];
        let own = &self.object.metadata;
        let part = |name: &str| {
            template["metadata"].get(name).filter(|part| part.is_object()).cloned().unwrap_or_else(|| json!({}))
        };
        let mut metadata = json!({
            "namespace": own.namespace, "generateName": prefix(&own.name, creation.index),
            "labels": part("labels"), "annotations": part("annotations"),
            "finalizers": [FINALIZER],
            "ownerReferences": [{
                "apiVersion": "batch/v1", "kind": "Job", "name": own.name, "uid": own.uid,
                "controller": true, "blockOwnerDeletion": true,
            }],
        });
        let more =
            template["metadata"]["finalizers"].as_array().into_iter().flatten().filter(|name| *name != FINALIZER);
        metadata["finalizers"].as_array_mut().into_iter().for_each(|list| list.extend(more.clone().cloned()));
        let mut spec = template["spec"].clone();
        if let Some(index) = creation.index {
            metadata["labels"][INDEX] = json!(index.to_string());
            metadata["annotations"][INDEX] = json!(index.to_string());
            spec["hostname"] = json!(format!("{}-{index}", own.name));
            tell_index(&mut spec);
        }
        if let Some((counted, ignored)) = creation.failures {
            metadata["annotations"][FAILURES] = json!(counted.to_string());
            if ignored > 0 {
                metadata["annotations"][IGNORED_FAILURES] = json!(ignored.to_string());
            }
        }
        json!({"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": spec})
    }
}

/// How a pod's name begins.
fn prefix(job: &str, index: Option<usize>) -> String {
    // A name has 5 random letters at its end, of 63 together.
    const LONGEST: usize = 58;
    let end = index.map_or_else(|| "-".to_owned(), |index| format!("-{index}-"));
    let kept = job.len().min(LONGEST - end.len());
    format!("{}{end}", job.get(..kept).unwrap_or(job))
}

/// Tells containers their index.
fn tell_index(spec: &mut Value) {
    const NAME: &str = "JOB_COMPLETION_INDEX";
    for list in ["initContainers", "containers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            if container["env"].is_null() {
                container["env"] = json!([]);
            }
            let Some(list) = container["env"].as_array_mut() else { continue };
            if !list.iter().any(|variable| variable["name"] == NAME) {
                let path = format!("metadata.labels['{INDEX}']");
                list.push(json!({"name": NAME, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}));
            }
        }
    }
}

/// From a pod to its job; one that belongs to nobody, but could belong to a job, is a key of its own.
fn of_pod(pod: &Object) -> Vec<String> {
    let metadata = &pod.metadata;
    match metadata.controller() {
        Some(owner) if owner.kind == "Job" => vec![format!("{}/{}", metadata.namespace, owner.name)],
        Some(_) => Vec::new(),
        None if metadata.labels.is_empty() && !metadata.finalizers.iter().any(|name| name == FINALIZER) => Vec::new(),
        None => vec![format!("{}/pod/{}", metadata.namespace, metadata.name)],
    }
}

#[async_trait]
impl Controller for Jobs {
    fn name(&self) -> &'static str {
        "job"
    }

    fn sources(&self) -> Vec<Source> {
        vec![
            Source { informer: self.jobs.clone(), keys: |job| vec![job.metadata.key()] },
            Source { informer: self.pods.clone(), keys: of_pod },
        ]
    }

    async fn reconcile(&self, key: &str) -> Result<Outcome, ReconcileError> {
        if let Some((namespace, name)) = key.split_once("/pod/") {
            return self.orphan(namespace, name).await;
        }
        match self.jobs.get(key) {
            Some(object) => self.sync(key, object).await,
            None => self.release_all(key, "").await,
        }
    }
}
