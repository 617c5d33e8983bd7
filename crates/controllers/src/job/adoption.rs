//! Which pods are a job's: those that it made, and those that nobody owns and its selector selects.

use std::sync::Arc;

use client::{Outcome, ReconcileError};
use meta::{ApiError, LabelSelector, Object, PatchType, Reason, ResourcePath, WriteOptions};
use serde_json::json;

use super::facts::FINALIZER;
use super::{Jobs, core, jobs};

/// What a selector of a job selects.
fn selects(job: &Object) -> LabelSelector {
    LabelSelector::from_value(&job.value()["spec"]["selector"]).unwrap_or_default()
}

fn is_finished(job: &Object) -> bool {
    job.view().ok().is_none_or(|job| super::finished(&job).is_some())
}

impl Jobs {
    /// The pods of a job. Those that no longer match are let go.
    pub(super) async fn claim(&self, job: &Arc<Object>) -> Result<Vec<Arc<Object>>, ReconcileError> {
        let selector = selects(job);
        let mut own = Vec::new();
        for pod in self.pods.in_namespace(&job.metadata.namespace) {
            let matches = selector.matches(&pod.metadata.labels);
            match pod.metadata.controller() {
                Some(owner) if owner.uid == job.metadata.uid && matches => own.push(pod),
                Some(owner) if owner.uid == job.metadata.uid => self.disown(job, &pod).await?,
                Some(_) => {}
                None if matches && !job.metadata.is_terminating() && !pod.metadata.is_terminating() => {
                    own.extend(self.adopt(job, &pod).await?);
                }
                None => {}
            }
        }
        Ok(own)
    }

    async fn patch(&self, pod: &Object, metadata: serde_json::Value) -> Result<Option<Arc<Object>>, ApiError> {
        let path = ResourcePath::object(core("pods"), &pod.metadata.namespace, &pod.metadata.name);
        let patch = json!({"metadata": metadata});
        match self.client.patch(&path, PatchType::StrategicMerge, &patch, WriteOptions::default()).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if matches!(error.reason, Reason::NotFound | Reason::Invalid) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn disown(&self, job: &Object, pod: &Object) -> Result<(), ApiError> {
        let metadata = json!({
            "uid": pod.metadata.uid,
            "ownerReferences": [{"$patch": "delete", "uid": job.metadata.uid}],
            "$deleteFromPrimitiveList/finalizers": [FINALIZER],
        });
        self.patch(pod, metadata).await.map(drop)
    }

    async fn adopt(&self, job: &Object, pod: &Object) -> Result<Option<Arc<Object>>, ApiError> {
        // The collection may be behind: a job that is going, or that is another one by now, adopts nobody.
        let fresh = self.client.get(&jobs(), &job.metadata.namespace, &job.metadata.name).await?;
        if fresh.metadata.uid != job.metadata.uid || fresh.metadata.is_terminating() {
            return Ok(None);
        }
        let metadata = json!({
            "uid": pod.metadata.uid,
            "ownerReferences": [{
                "apiVersion": "batch/v1", "kind": "Job", "name": job.metadata.name, "uid": job.metadata.uid,
                "controller": true, "blockOwnerDeletion": true,
            }],
            "finalizers": [FINALIZER],
        });
        self.patch(pod, metadata).await
    }

    /// A pod that nobody owns: a job adopts it, or it is let go.
    pub(super) async fn orphan(&self, namespace: &str, name: &str) -> Result<Outcome, ReconcileError> {
        let Some(pod) = self.pods.get(&format!("{namespace}/{name}")) else { return Ok(Outcome::default()) };
        if pod.metadata.controller().is_some() {
            return Ok(Outcome::default());
        }
        if !pod.metadata.is_terminating() {
            for job in self.jobs.in_namespace(namespace) {
                let selector = selects(&job);
                let wanted = !selector.is_everything() && selector.matches(&pod.metadata.labels);
                if wanted && !job.metadata.is_terminating() && !is_finished(&job) {
                    self.adopt(&job, &pod).await?;
                    return Ok(Outcome::default());
                }
            }
        }
        self.release(&pod).await?;
        Ok(Outcome::default())
    }
}
