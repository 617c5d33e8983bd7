//! CronJobs: jobs that start by the clock.

mod plan;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use client::{Client, Controller, Informer, Outcome, ReconcileError, Recorder, Source, Subject};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::ObjectReference;
use meta::{Clock, DeleteOptions, Gvr, Object, Propagation, Reason, time_zone};
use serde_json::{Value, json};

use self::plan::{Plan, Tone, job_name, plan};
use crate::job::jobs;

/// The controller.
pub(crate) struct CronJobs {
    pub(crate) client: Client,
    pub(crate) recorder: Recorder,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) cron_jobs: Informer,
    pub(crate) jobs: Informer,
}

fn cron_jobs() -> Gvr {
    Gvr::new("batch", "v1", "cronjobs")
}

impl CronJobs {
    async fn sync(&self, object: Arc<Object>) -> Result<Outcome, ReconcileError> {
        let cron_job: CronJob = object.view()?;
        let own = self.jobs.controlled_by(&object.metadata.uid);
        let views = own.iter().map(|job| job.view()).collect::<Result<Vec<Job>, _>>()?;
        let mut plan = plan(&cron_job, &views, self.clock.now());
        let subject = Subject::of(&object);
        for (tone, reason, message) in plan.events.drain(..) {
            match tone {
                Tone::Normal => self.recorder.normal(&subject, reason, message),
                Tone::Warning => self.recorder.warning(&subject, reason, message),
            }
        }
        for name in plan.clean.iter().chain(&plan.replace) {
            if let Some(job) = own.iter().find(|job| job.metadata.name == *name) {
                self.remove(&subject, job).await?;
            }
        }
        let mut wrote = 0;
        if let Some(at) = plan.start {
            let name = job_name(&cron_job, at);
            if let Some(job) = self.start(&object, &subject, &name, at).await? {
                wrote = job.revision;
                plan.status.active.get_or_insert_default().push(reference(&job));
            }
        }
        wrote = wrote.max(self.write(&object, &plan).await?);
        let again_after = plan.again_after.map(|wait| {
            // A little later, since clocks and timers never agree.
            Duration::try_from(wait + SignedDuration::from_millis(100)).unwrap_or_default()
        });
        Ok(Outcome { again_after, wrote })
    }

    async fn write(&self, object: &Object, plan: &Plan) -> Result<u64, ReconcileError> {
        let mut value = object.value();
        let status = json!(plan.status);
        if value["status"] == status {
            return Ok(0);
        }
        value["status"] = status;
        Ok(self.client.update_status(&cron_jobs(), value).await?.revision)
    }

    async fn remove(&self, subject: &Subject, job: &Object) -> Result<(), ReconcileError> {
        let options = DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
        match self.client.delete_exactly(&jobs(), job, options).await {
            Ok(()) => {
                self.recorder.normal(subject, "SuccessfulDelete", format!("Deleted job {}", job.metadata.name));
                Ok(())
            }
            Err(error) if matches!(error.reason, Reason::NotFound | Reason::Conflict) => Ok(()),
            Err(error) => {
                self.recorder.warning(subject, "FailedDelete", format!("Deleted job: {error}"));
                Err(error.into())
            }
        }
    }

    async fn start(
        &self,
        cron_job: &Object,
        subject: &Subject,
        name: &str,
        at: Timestamp,
    ) -> Result<Option<Arc<Object>>, ReconcileError> {
        let namespace = &cron_job.metadata.namespace;
        match self.client.create(&jobs(), namespace, job(cron_job, name, at)).await {
            Ok(job) => {
                self.recorder.normal(subject, "SuccessfulCreate", format!("Created job {name}"));
                Ok(Some(job))
            }
            // It was started before, and this was not written down.
            Err(error) if error.reason == Reason::AlreadyExists => {
                let job = self.client.get(&jobs(), namespace, name).await?;
                let ours = job.metadata.controller().is_some_and(|owner| owner.uid == cron_job.metadata.uid);
                Ok(Some(job).filter(|_| ours))
            }
            Err(error) => {
                self.recorder.warning(subject, "FailedCreate", format!("Error creating job: {error}"));
                Err(error.into())
            }
        }
    }
}

/// The job of one start.
fn job(cron_job: &Object, name: &str, at: Timestamp) -> Value {
    let value = cron_job.value();
    let template = &value["spec"]["jobTemplate"];
    let own = &cron_job.metadata;
    let part = |name: &str| {
        template["metadata"].get(name).filter(|part| part.is_object()).cloned().unwrap_or_else(|| json!({}))
    };
    let (labels, mut annotations) = (part("labels"), part("annotations"));
    let zone = value["spec"]["timeZone"].as_str().and_then(time_zone).unwrap_or(jiff::tz::TimeZone::UTC);
    let zoned = at.to_zoned(zone);
    let offset = if zoned.offset().is_zero() { "Z".to_owned() } else { zoned.strftime("%:z").to_string() };
    annotations["batch.kubernetes.io/cronjob-scheduled-timestamp"] =
        json!(format!("{}{offset}", zoned.strftime("%Y-%m-%dT%H:%M:%S")));
    json!({
        "kind": "Job", "apiVersion": "batch/v1",
        "metadata": {
            "name": name, "namespace": own.namespace, "labels": labels, "annotations": annotations,
            "ownerReferences": [{
                "apiVersion": "batch/v1", "kind": "CronJob", "name": own.name, "uid": own.uid,
                "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "spec": template["spec"],
    })
}

fn reference(job: &Object) -> ObjectReference {
    ObjectReference {
        kind: Some("Job".to_owned()),
        api_version: Some("batch/v1".to_owned()),
        namespace: Some(job.metadata.namespace.clone()),
        name: Some(job.metadata.name.clone()),
        uid: Some(job.metadata.uid.clone()),
        resource_version: Some(job.resource_version()),
        field_path: None,
    }
}

#[async_trait]
impl Controller for CronJobs {
    fn name(&self) -> &'static str {
        "cronjob"
    }

    fn sources(&self) -> Vec<Source> {
        let of_job = |job: &Object| {
            let owner = job.metadata.controller().filter(|owner| owner.kind == "CronJob");
            owner.map(|owner| format!("{}/{}", job.metadata.namespace, owner.name)).into_iter().collect()
        };
        vec![
            Source { informer: self.cron_jobs.clone(), keys: |object| vec![object.metadata.key()] },
            Source { informer: self.jobs.clone(), keys: of_job },
        ]
    }

    async fn reconcile(&self, key: &str) -> Result<Outcome, ReconcileError> {
        match self.cron_jobs.get(key) {
            Some(object) => self.sync(object).await,
            None => Ok(Outcome::default()),
        }
    }
}
