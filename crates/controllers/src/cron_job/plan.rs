//! What is to be done for a CronJob.

use std::collections::BTreeSet;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{CronJob, CronJobStatus, Job};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use meta::{Schedule, time_zone};

use crate::job::finished;

/// From so many missed starts on, users are told.
const MANY: usize = 100;

/// Whether an event tells of something good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Normal,
    Warning,
}

/// An event to be written.
pub(super) type Event = (Tone, &'static str, String);

/// What is to be done.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    pub(super) status: CronJobStatus,
    /// Jobs that ended long ago, by name.
    pub(super) clean: Vec<String>,
    /// Running jobs that a new one replaces, by name.
    pub(super) replace: Vec<String>,
    /// When the job to be made was to start.
    pub(super) start: Option<Timestamp>,
    pub(super) events: Vec<Event>,
    pub(super) again_after: Option<SignedDuration>,
}

fn uid(job: &Job) -> &str {
    job.metadata.uid.as_deref().unwrap_or_default()
}

fn name(job: &Job) -> &str {
    job.metadata.name.as_deref().unwrap_or_default()
}

fn condition(job: &Job) -> Option<&str> {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_ref()).into_iter().flatten();
    conditions
        .filter(|own| own.status == "True")
        .map(|own| own.type_.as_str())
        .find(|kind| matches!(*kind, "Complete" | "Failed"))
}

/// Decides; `jobs` are those that it made.
pub(super) fn plan(cron_job: &CronJob, jobs: &[Job], now: Timestamp) -> Plan {
    let mut plan = Plan { status: cron_job.status.clone().unwrap_or_default(), ..Plan::default() };
    plan.clean = outdated(cron_job, jobs);
    look_at_jobs(&mut plan, jobs);
    let spec = &cron_job.spec;
    if cron_job.metadata.deletion_timestamp.is_some() || spec.suspend == Some(true) {
        return plan;
    }
    let zone = spec.time_zone.as_deref().map_or(Some(TimeZone::UTC), time_zone);
    let Some(zone) = zone else {
        let name = spec.time_zone.as_deref().unwrap_or_default();
        let text = format!("invalid timeZone: {name:?}: unknown time zone {name}");
        plan.events.push((Tone::Warning, "UnknownTimeZone", text));
        return plan;
    };
    let schedule = match Schedule::parse(&spec.schedule) {
        Ok(schedule) => schedule,
        Err(error) => {
            let text = format!("unparseable schedule: {} : {error}", spec.schedule);
            plan.events.push((Tone::Warning, "UnparseableSchedule", text));
            return plan;
        }
    };
    plan.again_after = schedule.next(now, &zone).map(|next| next.duration_since(now));
    let (at, missed) = last_before(cron_job, &schedule, &zone, now);
    if missed > MANY {
        let text = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
        plan.events.push((Tone::Warning, "TooManyMissedTimes", text.to_owned()));
    }
    if let Some(at) = at {
        start(&mut plan, cron_job, at, now);
    }
    plan
}

/// Brings the list of running jobs up to date.
fn look_at_jobs(plan: &mut Plan, jobs: &[Job]) {
    let mut active = plan.status.active.clone().unwrap_or_default();
    for job in jobs {
        let known = active.iter().any(|own| own.uid.as_deref() == Some(uid(job)));
        match condition(job) {
            None if !known => {
                let text = format!("Saw a job that the controller did not create or forgot: {}", name(job));
                plan.events.push((Tone::Warning, "UnexpectedJob", text));
            }
            Some(condition) if known => {
                active.retain(|own| own.uid.as_deref() != Some(uid(job)));
                let text = format!("Saw completed job: {}, condition: {condition}", name(job));
                plan.events.push((Tone::Normal, "SawCompletedJob", text));
            }
            None | Some(_) => {}
        }
        if condition(job) == Some("Complete") {
            let done = job.status.as_ref().and_then(|status| status.completion_time.clone());
            if done > plan.status.last_successful_time {
                plan.status.last_successful_time = done;
            }
        }
    }
    let there: BTreeSet<&str> = jobs.iter().map(uid).collect();
    active.retain(|own| {
        let found = own.uid.as_deref().is_some_and(|uid| there.contains(uid));
        if !found {
            let text = format!("Active job went missing: {}", own.name.as_deref().unwrap_or_default());
            plan.events.push((Tone::Normal, "MissingJob", text));
        }
        found
    });
    plan.status.active = Some(active).filter(|active| !active.is_empty());
}

/// The last moment of the schedule until now that was not started yet, and how many were missed.
fn last_before(cron_job: &CronJob, schedule: &Schedule, zone: &TimeZone, now: Timestamp) -> (Option<Timestamp>, usize) {
    let spec = &cron_job.spec;
    let last = cron_job.status.as_ref().and_then(|status| status.last_schedule_time.as_ref()).map(|at| at.0);
    let made = cron_job.metadata.creation_timestamp.as_ref().map(|at| at.0);
    let mut since = last.or(made).unwrap_or(now);
    if let Some(deadline) = spec.starting_deadline_seconds {
        since = since.max(now - SignedDuration::from_secs(deadline));
    }
    let (mut found, mut count) = (None, 0);
    while let Some(next) = schedule.next(since, zone).filter(|next| *next <= now) {
        (found, since) = (Some(next), next);
        count += 1;
        if count == MANY + 1 {
            since = since.max(shortcut(schedule, zone, now));
        }
    }
    (found, count)
}

/// A moment shortly before the last one of the schedule, so that very many need not be counted.
fn shortcut(schedule: &Schedule, zone: &TimeZone, now: Timestamp) -> Timestamp {
    let spans = [1, 60, 24 * 60, 32 * 24 * 60].map(|minutes| now - SignedDuration::from_mins(minutes));
    let hit = |from: &Timestamp| schedule.next(*from, zone).is_some_and(|next| next <= now);
    spans.into_iter().find(hit).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Decides about a start that is due.
fn start(plan: &mut Plan, cron_job: &CronJob, at: Timestamp, now: Timestamp) {
    let spec = &cron_job.spec;
    let too_late = |deadline: i64| at + SignedDuration::from_secs(deadline) < now;
    if spec.starting_deadline_seconds.is_some_and(too_late) {
        let text = format!("Missed scheduled time to start a job: {}", at.strftime("%a, %d %b %Y %H:%M:%S %z"));
        plan.events.push((Tone::Warning, "MissSchedule", text));
        return;
    }
    let active: Vec<ObjectReference> = plan.status.active.clone().unwrap_or_default();
    let own = job_name(cron_job, at);
    let started = plan.status.last_schedule_time.as_ref().is_some_and(|last| last.0 == at);
    if started || active.iter().any(|job| job.name.as_deref() == Some(own.as_str())) {
        return;
    }
    match spec.concurrency_policy.as_deref() {
        Some("Forbid") if !active.is_empty() => {
            let text = "Not starting job because prior execution is running and concurrency policy is Forbid";
            plan.events.push((Tone::Normal, "JobAlreadyActive", text.to_owned()));
            return;
        }
        Some("Replace") => {
            plan.replace = active.iter().filter_map(|job| job.name.clone()).collect();
            plan.status.active = None;
        }
        _ => {}
    }
    plan.status.last_schedule_time = Some(Time(at));
    plan.start = Some(at);
}

/// Each start has one name, so that no start happens twice.
pub(super) fn job_name(cron_job: &CronJob, at: Timestamp) -> String {
    format!("{}-{}", cron_job.metadata.name.as_deref().unwrap_or_default(), at.as_second() / 60)
}

/// Jobs that ended, beyond those that are kept.
fn outdated(cron_job: &CronJob, jobs: &[Job]) -> Vec<String> {
    let spec = &cron_job.spec;
    let mut names = Vec::new();
    for (kind, keep) in [("Complete", spec.successful_jobs_history_limit), ("Failed", spec.failed_jobs_history_limit)] {
        let Some(keep) = keep.and_then(|keep| usize::try_from(keep).ok()) else { continue };
        let mut ended: Vec<&Job> =
            jobs.iter().filter(|job| finished(job).is_some() && condition(job) == Some(kind)).collect();
        let began = |job: &&Job| job.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|at| at.0);
        ended.sort_by_key(|job| (began(job), name(job).to_owned()));
        let surplus = ended.len().saturating_sub(keep);
        names.extend(ended.into_iter().take(surplus).map(|job| name(job).to_owned()));
    }
    names
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn job(name: &str, condition: &str) -> Job {
        let condition = json!({"type": condition, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let status = json!({"startTime": "2026-01-01T00:00:00Z", "conditions": [condition]});
        serde_json::from_value(json!({"metadata": {"name": name, "uid": name}, "status": status})).expect("a job")
    }

    fn of(spec: Value, status: Value, jobs: &[Job], now: &str) -> Plan {
        let mut whole = json!({"schedule": "*/10 * * * *", "jobTemplate": {}});
        whole.as_object_mut().expect("a spec").extend(spec.as_object().cloned().unwrap_or_default());
        let metadata = json!({"name": "c", "creationTimestamp": "2026-01-01T00:00:00Z"});
        let value = json!({"metadata": metadata, "spec": whole, "status": status});
        plan(&serde_json::from_value(value).expect("a cron job"), jobs, now.parse().expect("a time"))
    }

    /// When a job starts, how many it replaces, and the last event's reason.
    fn check(spec: Value, status: Value, now: &str, expected: (&str, usize, &str)) {
        let found = of(spec.clone(), status, &[job("running", "Suspended")], now);
        let start = found.start.map(|at| at.to_string()).unwrap_or_default();
        let reason = found.events.last().map_or("", |(_, reason, _)| reason);
        assert_eq!((start.as_str(), found.replace.len(), reason), expected, "{spec}");
    }

    #[test]
    fn jobs_start_when_they_are_due() {
        let active = || json!({"active": [{"name": "running", "uid": "running"}]});
        check(json!({}), active(), "2026-01-01T00:09:00Z", ("", 0, ""));
        check(json!({}), active(), "2026-01-01T00:11:00Z", ("2026-01-01T00:10:00Z", 0, ""));
        check(json!({}), active(), "2026-01-01T00:35:00Z", ("2026-01-01T00:30:00Z", 0, ""));
        check(json!({"suspend": true}), active(), "2026-01-01T00:11:00Z", ("", 0, ""));
        check(json!({"concurrencyPolicy": "Forbid"}), active(), "2026-01-01T00:11:00Z", ("", 0, "JobAlreadyActive"));
        check(
            json!({"concurrencyPolicy": "Replace"}),
            active(),
            "2026-01-01T00:11:00Z",
            ("2026-01-01T00:10:00Z", 1, ""),
        );
        check(json!({"startingDeadlineSeconds": 30}), active(), "2026-01-01T00:11:00Z", ("", 0, ""));
        check(json!({"timeZone": "x"}), active(), "2026-01-01T00:11:00Z", ("", 0, "UnknownTimeZone"));
        check(
            json!({"schedule": "* * * * *"}),
            active(),
            "2026-02-01T00:00:10Z",
            ("2026-02-01T00:00:00Z", 0, "TooManyMissedTimes"),
        );
        let done =
            json!({"lastScheduleTime": "2026-01-01T00:10:00Z", "active": [{"name": "running", "uid": "running"}]});
        check(json!({}), done, "2026-01-01T00:11:00Z", ("", 0, ""));
    }

    #[test]
    fn jobs_that_ended_are_forgotten_but_for_a_few() {
        let jobs = [job("a", "Complete"), job("b", "Complete"), job("c", "Failed"), job("d", "Suspended")];
        let spec = json!({"successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 0});
        let active =
            json!({"active": [{"name": "a", "uid": "a"}, {"name": "d", "uid": "d"}, {"name": "x", "uid": "x"}]});
        let found = of(spec, active, &jobs, "2026-01-01T00:01:00Z");
        assert_eq!(found.clean, ["a", "c"]);
        let active: Vec<_> = found.status.active.unwrap_or_default().into_iter().filter_map(|own| own.name).collect();
        assert_eq!(active, ["d"]);
        let reasons: Vec<&str> = found.events.iter().map(|(_, reason, _)| *reason).collect();
        assert_eq!(reasons, ["SawCompletedJob", "MissingJob"]);
    }
}
