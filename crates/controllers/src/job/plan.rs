//! What is to be done for a job.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobSpec, JobStatus, UncountedTerminatedPods};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::backoff::Failures;
use super::facts::{FAILURES, IGNORED_FAILURES, OfJob, OfPod};
use super::indexes::Indexes;
use super::policy::{self, Verdict};

/// At most so many pods are made or removed at once.
const BATCH: usize = 500;

/// At most so many ended pods are named in a status at once.
const UNCOUNTED: usize = 500;

/// A pod to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Creation {
    pub(super) index: Option<usize>,
    /// How often its index failed, and how often that was ignored; `None` where indexes have no limits of their own.
    pub(super) failures: Option<(i64, i64)>,
}

/// What is to be done; pods by their position.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    /// As it is to be stored before pods are let go; `active` without those to be made.
    pub(super) status: JobStatus,
    /// How it ends, once all is counted and gone.
    pub(super) end: Option<JobCondition>,
    /// Pods that are named in the status: they may go.
    pub(super) release: Vec<usize>,
    /// Pods to be ended; they are counted later.
    pub(super) delete: Vec<usize>,
    /// Pods to be ended that never count.
    pub(super) discard: Vec<usize>,
    pub(super) create: Vec<Creation>,
    /// Reason and message.
    pub(super) events: Vec<(&'static str, String)>,
    pub(super) failures: Failures,
    pub(super) again_after: Option<SignedDuration>,
    /// Whether some pods could not be named this time.
    pub(super) more: bool,
}

/// A job with its pods.
struct View<'a> {
    job: &'a Job,
    spec: &'a JobSpec,
    pods: &'a [Pod],
    now: Timestamp,
    completions: usize,
    uncounted: UncountedTerminatedPods,
    active: Vec<usize>,
    terminating: usize,
    succeeded: usize,
    failed: usize,
    done: Indexes,
    failed_indexes: Option<Indexes>,
    /// By index, the failed pod that stays until it is replaced.
    kept: BTreeMap<usize, usize>,
}

pub(super) fn condition(kind: &str, status: &str, reason: &str, message: &str, now: Timestamp) -> JobCondition {
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    JobCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_probe_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    }
}

fn small(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// Decides. `failures` are those of earlier plans.
pub(super) fn plan(job: &Job, pods: &[Pod], failures: Failures, now: Timestamp) -> Plan {
    let empty = JobSpec::default();
    let spec = job.spec.as_ref().unwrap_or(&empty);
    let (view, failures) = View::new(job, spec, pods, failures, now);
    let mut plan = Plan { status: job.status.clone().unwrap_or_default(), failures, ..Plan::default() };
    if plan.status.start_time.is_none() && !spec.is_suspended() {
        plan.status.start_time = Some(whole(now));
    }
    let end = view.end(&mut plan);
    let mut ready = view.active.iter().filter(|position| pods[**position].is_ready()).count();
    let (mut active, mut terminating) = (view.active.len(), view.terminating);
    if end.is_some() {
        plan.delete.clone_from(&view.active);
    } else if job.metadata.deletion_timestamp.is_none() {
        view.manage(&mut plan);
    }
    let going = plan.delete.iter().chain(&plan.discard);
    ready -= going.clone().filter(|position| pods[**position].is_ready()).count();
    let gone = going.count();
    active -= gone;
    terminating += gone;
    let end = end.or_else(|| view.complete(active + plan.create.len()));
    if end.is_none() && job.metadata.deletion_timestamp.is_none() {
        view.tell_suspension(&mut plan);
    }
    plan.status.active = Some(small(active)).filter(|count| *count > 0);
    plan.status.ready = Some(small(ready));
    plan.status.terminating = Some(small(terminating));
    view.track(&mut plan, end.as_ref());
    plan.end = end.map(|end| view.announce(&mut plan, end));
    plan
}

fn whole(now: Timestamp) -> Time {
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}

impl<'a> View<'a> {
    fn new(job: &'a Job, spec: &'a JobSpec, pods: &'a [Pod], failures: Failures, now: Timestamp) -> (Self, Failures) {
        let status = job.status.clone().unwrap_or_default();
        let uncounted = status.uncounted_terminated_pods.clone().unwrap_or_default();
        let mut view = Self {
            job,
            spec,
            pods,
            now,
            completions: spec.count(spec.completions),
            active: (0..pods.len()).filter(|position| pods[*position].is_active()).collect(),
            terminating: pods
                .iter()
                .filter(|pod| pod.is_terminating() && !matches!(pod.phase(), "Succeeded" | "Failed"))
                .count(),
            succeeded: 0,
            failed: 0,
            done: Indexes::default(),
            failed_indexes: None,
            kept: BTreeMap::new(),
            uncounted,
        };
        let named = |list: &Option<Vec<String>>, pod: &Pod| list.iter().flatten().any(|uid| uid == pod.uid());
        let new: Vec<&Pod> = pods.iter().filter(|pod| pod.is_tracked() && view.has_place(pod)).collect();
        let won: Vec<&Pod> = new
            .iter()
            .filter(|pod| pod.phase() == "Succeeded" && !named(&view.uncounted.succeeded, pod))
            .copied()
            .collect();
        let lost: Vec<&Pod> =
            new.iter().filter(|pod| pod.has_failed(spec) && !named(&view.uncounted.failed, pod)).copied().collect();
        let counts = |pod: &&&Pod| policy::judge(spec.pod_failure_policy.as_ref(), pod) != Verdict::Ignore;
        let length = |list: &Option<Vec<String>>| list.as_ref().map_or(0, Vec::len);
        view.succeeded = spec.count(status.succeeded) + won.len() + length(&view.uncounted.succeeded);
        view.failed = spec.count(status.failed) + lost.iter().filter(counts).count() + length(&view.uncounted.failed);
        if spec.is_indexed() {
            view.read_indexes(&status);
        }
        (view, failures.with(&won, &lost))
    }

    /// Whether a pod's index, where there are indexes, is one of the job's.
    fn has_place(&self, pod: &Pod) -> bool {
        !self.spec.is_indexed() || pod.index().is_some_and(|index| index < self.completions)
    }

    fn read_indexes(&mut self, status: &JobStatus) {
        let known = |text: &Option<String>| Indexes::parse(text.as_deref().unwrap_or_default(), self.completions);
        let tracked = || self.pods.iter().filter(|pod| pod.is_tracked() && self.has_place(pod));
        let won = tracked().filter(|pod| pod.phase() == "Succeeded").filter_map(|pod| pod.index()).collect();
        let done = known(&status.completed_indexes).with(&won);
        if let Some(limit) = self.spec.backoff_limit_per_index {
            let lost = tracked()
                .filter(|pod| self.index_failed(pod, i64::from(limit)))
                .filter_map(|pod| pod.index())
                .collect();
            let failed = known(&status.failed_indexes).with(&lost);
            self.kept = self.kept_pods(&done, &failed);
            self.failed_indexes = Some(failed);
        }
        self.succeeded = done.total();
        self.done = done;
    }

    /// Whether a pod is the last that its index could afford.
    fn index_failed(&self, pod: &Pod, limit: i64) -> bool {
        pod.has_failed(self.spec)
            && match policy::judge(self.spec.pod_failure_policy.as_ref(), pod) {
                Verdict::FailIndex => true,
                Verdict::Ignore => false,
                Verdict::Count | Verdict::FailJob(_) => pod.number(FAILURES) >= limit,
            }
    }

    /// Failed pods hold the count of their index's failures, until another pod takes it over.
    fn kept_pods(&self, done: &Indexes, failed: &Indexes) -> BTreeMap<usize, usize> {
        let active: BTreeSet<usize> = self.active.iter().filter_map(|position| self.pods[*position].index()).collect();
        let mut kept: BTreeMap<usize, usize> = BTreeMap::new();
        for (position, pod) in self.pods.iter().enumerate() {
            let Some(index) = pod.index().filter(|_| pod.is_tracked() && self.has_place(pod)) else { continue };
            if !pod.has_failed(self.spec) || done.has(index) || failed.has(index) || active.contains(&index) {
                continue;
            }
            let rank = |pod: &Pod| (pod.number(FAILURES) + pod.number(IGNORED_FAILURES), pod.ended());
            let newer = kept.get(&index).is_none_or(|old| rank(&self.pods[*old]) <= rank(pod));
            if newer {
                kept.insert(index, position);
            }
        }
        kept
    }

    /// Whether the job must end, and how.
    fn end(&self, plan: &mut Plan) -> Option<JobCondition> {
        let now = self.now;
        let conditions = plan.status.conditions.clone().unwrap_or_default();
        let is_set = |kind: &str| conditions.iter().find(|own| own.type_ == kind && own.status == "True").cloned();
        if let Some(met) = is_set("SuccessCriteriaMet") {
            return Some(met);
        }
        if let Some(target) = is_set("FailureTarget") {
            return Some(target);
        }
        let failure = |reason: &str, message: &str| Some(condition("FailureTarget", "True", reason, message, now));
        let failed = self.pods.iter().filter(|pod| pod.has_failed(self.spec));
        for pod in failed {
            if let Verdict::FailJob(message) = policy::judge(self.spec.pod_failure_policy.as_ref(), pod) {
                return failure("PodFailurePolicy", &message);
            }
        }
        let limit = self.spec.backoff_limit.unwrap_or(6);
        if self.failed > self.spec.count(Some(limit)) || self.restarted_too_often(i64::from(limit)) {
            return failure("BackoffLimitExceeded", "Job has reached the specified backoff limit");
        }
        if let (Some(deadline), Some(start)) = (self.spec.active_deadline_seconds, plan.status.start_time.as_ref())
            && !self.spec.is_suspended()
        {
            let left = SignedDuration::from_secs(deadline) - now.duration_since(start.0);
            if left <= SignedDuration::ZERO {
                return failure("DeadlineExceeded", "Job was active longer than specified deadline");
            }
            plan.again_after = Some(left);
        }
        if let Some(failed) = &self.failed_indexes {
            if self.spec.max_failed_indexes.is_some_and(|most| failed.total() > self.spec.count(Some(most))) {
                let text = "Job has exceeded the specified maximal number of failed indexes";
                return failure("MaxFailedIndexesExceeded", text);
            }
            if failed.total() > 0 && failed.total() + self.done.total() >= self.completions {
                return failure("FailedIndexes", "Job has failed indexes");
            }
        }
        let early = policy::succeeded(self.spec.success_policy.as_ref(), self.completions, &self.done);
        early.map(|message| condition("SuccessCriteriaMet", "True", "SuccessPolicy", &message, now))
    }

    /// Pods that restart their containers themselves have their restarts counted.
    fn restarted_too_often(&self, limit: i64) -> bool {
        if self.spec.template.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()) != Some("OnFailure") {
            return false;
        }
        let living = self.pods.iter().filter(|pod| matches!(pod.phase(), "Running" | "Pending"));
        let restarts: i64 = living.map(|pod| pod.restarts()).sum();
        if limit == 0 { restarts > 0 } else { restarts >= limit }
    }

    /// Whether all that was asked for is done.
    fn complete(&self, active: usize) -> Option<JobCondition> {
        let enough = match self.spec.completions {
            None => self.succeeded > 0,
            Some(_) => self.succeeded >= self.completions,
        };
        let text = "Reached expected number of succeeded pods";
        (enough && active == 0).then(|| condition("SuccessCriteriaMet", "True", "CompletionsReached", text, self.now))
    }

    /// Which pods are to be made or removed.
    fn manage(&self, plan: &mut Plan) {
        if self.spec.is_suspended() {
            plan.discard.clone_from(&self.active);
            return;
        }
        let active = self.active.len();
        let parallelism = self.spec.count(self.spec.parallelism.or(Some(1)));
        let wanted = match self.spec.completions {
            None if self.succeeded > 0 => active,
            None => parallelism,
            Some(_) => self.completions.saturating_sub(self.succeeded).min(parallelism),
        };
        plan.discard = self.surplus(active.saturating_sub(wanted));
        if !plan.discard.is_empty() {
            return;
        }
        let leaving = if self.spec.replaces_only_failed() { self.terminating } else { 0 };
        let lacking = wanted.saturating_sub(active + leaving).min(BATCH);
        if lacking == 0 {
            return;
        }
        let wait = plan.failures.remaining(self.now);
        if self.failed_indexes.is_none() && wait > SignedDuration::ZERO {
            sooner(plan, wait);
            return;
        }
        self.create(plan, lacking);
    }

    fn create(&self, plan: &mut Plan, lacking: usize) {
        if !self.spec.is_indexed() {
            plan.create = vec![Creation::default(); lacking];
            return;
        }
        let leaving = |pod: &&Pod| pod.is_terminating() && !matches!(pod.phase(), "Succeeded" | "Failed");
        let active = self.active.iter().filter_map(|position| self.pods[*position].index());
        let mut taken: BTreeSet<usize> = active.collect();
        if self.spec.replaces_only_failed() {
            taken.extend(self.pods.iter().filter(leaving).filter_map(|pod| pod.index()));
        }
        let busy = self.done.with(&taken).and(self.failed_indexes.as_ref().unwrap_or(&Indexes::default()));
        for index in busy.missing(lacking, self.completions) {
            let before = self.kept.get(&index).map(|position| &self.pods[*position]);
            let failures = self.failed_indexes.is_some().then(|| self.failures_of(before));
            let wait = before.filter(|_| failures.is_some()).map(|pod| {
                let count = u32::try_from(pod.number(FAILURES) + pod.number(IGNORED_FAILURES) + 1).unwrap_or(u32::MAX);
                Failures { count, last: Some(pod.ended()) }.remaining(self.now)
            });
            match wait.filter(|wait| *wait > SignedDuration::ZERO) {
                Some(wait) => sooner(plan, wait),
                None => plan.create.push(Creation { index: Some(index), failures }),
            }
        }
    }

    fn failures_of(&self, before: Option<&Pod>) -> (i64, i64) {
        let Some(pod) = before else { return (0, 0) };
        let ignored = policy::judge(self.spec.pod_failure_policy.as_ref(), pod) == Verdict::Ignore;
        let (counted, not) = (pod.number(FAILURES), pod.number(IGNORED_FAILURES));
        if ignored { (counted, not + 1) } else { (counted + 1, not) }
    }

    /// Which of the active pods go: those of an index that has another one, then the least useful ones.
    fn surplus(&self, at_least: usize) -> Vec<usize> {
        let rank = |position: &usize| {
            let pod = &self.pods[*position];
            let assigned = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
            let made = pod.metadata.creation_timestamp.as_ref().map(|at| at.0);
            (assigned, pod.phase() == "Running", pod.is_ready(), -pod.restarts(), std::cmp::Reverse(made))
        };
        let mut sorted = self.active.clone();
        sorted.sort_by_key(rank);
        let (mut gone, mut left) = (Vec::new(), Vec::new());
        let mut seen = BTreeSet::new();
        // The most useful pod of each index is seen first.
        for position in sorted.iter().rev() {
            let fine = !self.spec.is_indexed()
                || self.pods[*position].index().is_some_and(|index| index < self.completions && seen.insert(index));
            if fine { left.push(*position) } else { gone.push(*position) }
        }
        while gone.len() < at_least {
            let Some(position) = left.pop() else { break };
            gone.push(position);
        }
        gone.truncate(BATCH);
        gone
    }

    fn tell_suspension(&self, plan: &mut Plan) {
        let (status, reason, message, event) = if self.spec.is_suspended() {
            ("True", "JobSuspended", "Job suspended", "Suspended")
        } else {
            ("False", "JobResumed", "Job resumed", "Resumed")
        };
        let conditions = plan.status.conditions.get_or_insert_default();
        let wanted = condition("Suspended", status, reason, message, self.now);
        match conditions.iter_mut().find(|own| own.type_ == "Suspended") {
            Some(own) if own.status == status => return,
            Some(own) => *own = wanted,
            None if status == "False" => return,
            None => conditions.push(wanted),
        }
        plan.status.start_time = (!self.spec.is_suspended()).then(|| whole(self.now));
        plan.events.push((event, message.to_owned()));
    }

    /// Names the pods that ended in the status, so that they may go.
    fn track(&self, plan: &mut Plan, end: Option<&JobCondition>) {
        let tracked: BTreeSet<&str> = self.pods.iter().filter(|pod| pod.is_tracked()).map(|pod| pod.uid()).collect();
        plan.status.uncounted_terminated_pods = Some(self.uncounted.clone());
        count(&mut plan.status, &tracked);
        let mut named = plan.status.uncounted_terminated_pods.clone().unwrap_or_default();
        let before = Indexes::parse(plan.status.completed_indexes.as_deref().unwrap_or_default(), self.completions);
        let mut won = BTreeSet::new();
        let failing = end.is_some_and(|end| end.type_ != "SuccessCriteriaMet");
        let mut order: Vec<usize> = (0..self.pods.len()).collect();
        order.sort_by_key(|position| self.pods[*position].index());
        for position in order {
            let pod = &self.pods[position];
            let failed = pod.has_failed(self.spec);
            if !pod.is_tracked() || !self.may_go(position, failed, end.is_some()) {
                continue;
            }
            plan.release.push(position);
            let has = |list: &Option<Vec<String>>| list.iter().flatten().any(|uid| uid == pod.uid());
            let counts = || policy::judge(self.spec.pod_failure_policy.as_ref(), pod) != Verdict::Ignore;
            if pod.phase() == "Succeeded" && !has(&named.failed) {
                if let Some(index) = pod.index().filter(|index| self.spec.is_indexed() && *index < self.completions) {
                    won.extend((!before.has(index)).then_some(index));
                } else if !self.spec.is_indexed() && !has(&named.succeeded) {
                    named.succeeded.get_or_insert_default().push(pod.uid().to_owned());
                }
            } else if (failed || failing) && !has(&named.failed) && self.has_place(pod) && counts() {
                named.failed.get_or_insert_default().push(pod.uid().to_owned());
            }
            let length = |list: &Option<Vec<String>>| list.as_ref().map_or(0, Vec::len);
            if won.len() + length(&named.succeeded) + length(&named.failed) >= UNCOUNTED {
                plan.more = true;
                break;
            }
        }
        plan.status.uncounted_terminated_pods = Some(named);
        if self.spec.is_indexed() {
            let done = before.with(&won);
            plan.status.succeeded = Some(small(done.total())).filter(|count| *count > 0);
            plan.status.completed_indexes = Some(done.to_string()).filter(|text| !text.is_empty());
            plan.status.failed_indexes = self.failed_indexes.as_ref().map(Indexes::to_string);
        }
    }

    fn may_go(&self, position: usize, failed: bool, ends: bool) -> bool {
        let pod = &self.pods[position];
        if self.job.metadata.deletion_timestamp.is_some() || ends || pod.phase() == "Succeeded" {
            return true;
        }
        failed && pod.index().is_none_or(|index| self.kept.get(&index) != Some(&position))
    }

    /// Says in the status that the job is about to end; how it ends then.
    fn announce(&self, plan: &mut Plan, end: JobCondition) -> JobCondition {
        let conditions = plan.status.conditions.get_or_insert_default();
        if !conditions.iter().any(|own| own.type_ == end.type_ && own.status == "True") {
            conditions.push(end.clone());
        }
        let last = if end.type_ == "FailureTarget" { "Failed" } else { "Complete" };
        let (reason, message) = (end.reason.unwrap_or_default(), end.message.unwrap_or_default());
        condition(last, "True", &reason, &message, self.now)
    }
}

fn sooner(plan: &mut Plan, wait: SignedDuration) {
    plan.again_after = Some(plan.again_after.map_or(wait, |other| other.min(wait)));
}

/// Counts the pods that are named in the status and were let go.
pub(super) fn count(status: &mut JobStatus, tracked: &BTreeSet<&str>) {
    let Some(named) = &mut status.uncounted_terminated_pods else { return };
    for (list, total) in [(&mut named.succeeded, &mut status.succeeded), (&mut named.failed, &mut status.failed)] {
        let Some(uids) = list else { continue };
        let before = uids.len();
        uids.retain(|uid| tracked.contains(uid.as_str()));
        let gone = small(before - uids.len());
        if gone > 0 {
            *total = Some(total.unwrap_or(0) + gone);
        }
        if uids.is_empty() {
            *list = None;
        }
    }
}

/// Ends the job, if nothing is left to be counted or to go; whether it does.
pub(super) fn finish(status: &mut JobStatus, end: &JobCondition) -> bool {
    let named = status.uncounted_terminated_pods.clone().unwrap_or_default();
    let left =
        named.succeeded.is_some_and(|list| !list.is_empty()) || named.failed.is_some_and(|list| !list.is_empty());
    if left || status.terminating.unwrap_or(0) > 0 {
        return false;
    }
    if end.type_ == "Complete" {
        status.completion_time.clone_from(&end.last_transition_time);
    }
    status.conditions.get_or_insert_default().push(end.clone());
    true
}
