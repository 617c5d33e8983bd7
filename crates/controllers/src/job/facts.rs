//! What a job asks of its pods.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

/// The finalizer that keeps a pod until it is counted.
pub(super) const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
pub(super) const INDEX: &str = "batch.kubernetes.io/job-completion-index";
pub(super) const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
pub(super) const IGNORED_FAILURES: &str = "batch.kubernetes.io/job-index-ignored-failure-count";

/// What plans look at, of a job.
pub(super) trait OfJob {
    fn is_indexed(&self) -> bool;
    /// Whether pods on their way out are not replaced before they have ended.
    fn replaces_only_failed(&self) -> bool;
    fn is_suspended(&self) -> bool;
    fn count(&self, number: Option<i32>) -> usize;
}

impl OfJob for JobSpec {
    fn is_indexed(&self) -> bool {
        self.completion_mode.as_deref() == Some("Indexed")
    }

    fn replaces_only_failed(&self) -> bool {
        self.pod_replacement_policy.as_deref() == Some("Failed") || self.pod_failure_policy.is_some()
    }

    fn is_suspended(&self) -> bool {
        self.suspend == Some(true)
    }

    fn count(&self, number: Option<i32>) -> usize {
        number.and_then(|number| usize::try_from(number).ok()).unwrap_or(0)
    }
}

/// Whether a job has ended.
pub(crate) fn finished(job: &Job) -> Option<Timestamp> {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_ref()).into_iter().flatten();
    let ended = |kind: &str, status: &str| matches!(kind, "Complete" | "Failed") && status == "True";
    let mut ends = conditions.filter(|condition| ended(&condition.type_, &condition.status));
    ends.next().map(|condition| condition.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |at| at.0))
}

/// What plans look at, of a pod.
pub(super) trait OfPod {
    fn uid(&self) -> &str;
    fn phase(&self) -> &str;
    fn is_terminating(&self) -> bool;
    fn is_active(&self) -> bool;
    fn is_ready(&self) -> bool;
    fn is_tracked(&self) -> bool;
    fn has_failed(&self, spec: &JobSpec) -> bool;
    fn index(&self) -> Option<usize>;
    fn number(&self, annotation: &str) -> i64;
    fn restarts(&self) -> i64;
    fn ended(&self) -> Timestamp;
}

impl OfPod for Pod {
    fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    fn phase(&self) -> &str {
        self.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
    }

    fn is_terminating(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    fn is_active(&self) -> bool {
        !matches!(self.phase(), "Succeeded" | "Failed") && !self.is_terminating()
    }

    fn is_ready(&self) -> bool {
        let conditions = self.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    }

    fn is_tracked(&self) -> bool {
        self.metadata.finalizers.as_ref().is_some_and(|all| all.iter().any(|name| name == FINALIZER))
    }

    fn has_failed(&self, spec: &JobSpec) -> bool {
        let going = self.is_terminating() && self.phase() != "Succeeded";
        self.phase() == "Failed" || (going && !spec.replaces_only_failed())
    }

    fn index(&self) -> Option<usize> {
        self.metadata.annotations.as_ref()?.get(INDEX)?.parse().ok()
    }

    fn number(&self, annotation: &str) -> i64 {
        let text = self.metadata.annotations.as_ref().and_then(|all| all.get(annotation));
        text.and_then(|text| text.parse().ok()).filter(|number| *number >= 0).unwrap_or(0)
    }

    fn restarts(&self) -> i64 {
        let Some(status) = &self.status else { return 0 };
        let all = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
        all.map(|container| i64::from(container.restart_count)).sum()
    }

    /// When it ended, as exactly as its status tells.
    fn ended(&self) -> Timestamp {
        let status = self.status.as_ref();
        let containers = status.and_then(|status| status.container_statuses.as_ref()).into_iter().flatten();
        let at = |container: &ContainerStatus| {
            let terminated = container.state.as_ref()?.terminated.as_ref()?;
            terminated.finished_at.as_ref().map(|at| at.0)
        };
        let ends: Option<Vec<Timestamp>> = containers.map(at).collect();
        if let Some(last) = ends.and_then(|ends| ends.into_iter().max()) {
            return last;
        }
        let conditions = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
        let unready = conditions.filter(|own| own.type_ == "Ready" && own.status == "False");
        if let Some(at) = unready.filter_map(|own| own.last_transition_time.as_ref()).next() {
            return at.0;
        }
        if let Some(at) = &self.metadata.deletion_timestamp {
            let grace = self.metadata.deletion_grace_period_seconds.unwrap_or(0);
            return at.0 - SignedDuration::from_secs(grace);
        }
        self.metadata.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |at| at.0)
    }
}
