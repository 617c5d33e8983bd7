//! Removes jobs that ended, some time after.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use client::{Client, Controller, Informer, Outcome, ReconcileError, Source};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use meta::{Clock, DeleteOptions, Propagation, Reason};

use crate::job::{finished, jobs};

/// The controller.
pub(crate) struct TtlAfterFinished {
    pub(crate) client: Client,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) jobs: Informer,
}

/// How long the job has still; `None` for ever.
fn remaining(job: &Job, now: Timestamp) -> Option<SignedDuration> {
    if job.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let keep = job.spec.as_ref()?.ttl_seconds_after_finished?;
    Some(finished(job)? + SignedDuration::from_secs(i64::from(keep)) - now)
        .map(|left| SignedDuration::try_from(left).unwrap_or(SignedDuration::ZERO))
}

#[async_trait]
impl Controller for TtlAfterFinished {
    fn name(&self) -> &'static str {
        "ttl-after-finished"
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source { informer: self.jobs.clone(), keys: |job| vec![job.metadata.key()] }]
    }

    async fn reconcile(&self, key: &str) -> Result<Outcome, ReconcileError> {
        let Some(object) = self.jobs.get(key) else { return Ok(Outcome::default()) };
        let Some(left) = remaining(&object.view()?, self.clock.now()) else { return Ok(Outcome::default()) };
        if let Some(wait) = Duration::try_from(left).ok().filter(|wait| !wait.is_zero()) {
            return Ok(Outcome { again_after: Some(wait), wrote: 0 });
        }
        let options = DeleteOptions { propagation: Some(Propagation::Foreground), ..DeleteOptions::default() };
        match self.client.delete_exactly(&jobs(), &object, options).await {
            Err(error) if !matches!(error.reason, Reason::NotFound | Reason::Conflict) => Err(error.into()),
            Ok(()) | Err(_) => Ok(Outcome::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn only_jobs_that_ended_have_their_time() {
        let now = "2026-01-01T00:00:10Z".parse().expect("a time");
        let check = |spec: Value, kind: &str, expected: Option<i64>| {
            let mut spec = spec;
            spec["template"] = json!({});
            let condition = json!({"type": kind, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"});
            let job = json!({"spec": spec, "status": {"conditions": [condition]}});
            let job: Job = serde_json::from_value(job).expect("a job");
            assert_eq!(remaining(&job, now).map(|left| left.as_secs()), expected);
        };
        check(json!({}), "Complete", None);
        check(json!({"ttlSecondsAfterFinished": 30}), "Complete", Some(20));
        check(json!({"ttlSecondsAfterFinished": 5}), "Failed", Some(-5));
        check(json!({"ttlSecondsAfterFinished": 5}), "Suspended", None);
    }
}
