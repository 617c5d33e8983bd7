//! How an actor takes in what happened: objects, events of the runtime, ends of jobs, verdicts of probes.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use container::{ContainerState, Event, Exit, ExitStatus, SandboxState};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use meta::Object;

use crate::actor::{Actor, Message};
use crate::launch::{Launched, Refusal, keys};
use crate::lifecycle::{BackOff, Phase, Role, SandboxPhase, restarts, roles};
use crate::pods::Instance;
use crate::pressure::Eviction;
use crate::probes::ends_in;
use crate::status::{Record, timestamp};
use crate::steps::Done;
use crate::termination;

pub(crate) const DEADLINE_MESSAGE: &str = "Pod was active on the node longer than the specified deadline";

/// What a pod that the node cannot keep gets.
const EVICTION_GRACE: i64 = 1;

/// What a pod that is gone from the API still gets.
const FORCED_GRACE: i64 = 2;

impl Actor {
    pub(crate) fn set_deadline(&mut self) {
        let seconds = self.pod.spec.as_ref().and_then(|spec| spec.active_deadline_seconds);
        let start = self.facts.start_time;
        self.observed.deadline = seconds
            .and_then(|seconds| u64::try_from(seconds).ok())
            .and_then(|seconds| start?.checked_add(Duration::from_secs(seconds)).ok());
    }

    pub(crate) fn record(&self, config: &container::ContainerConfig, state: ContainerState) -> Record {
        let image = self.shared.config.images.get(&config.image);
        let digest = image.and_then(|image| image.digests.first().cloned());
        Record {
            id: config.id.clone(),
            state,
            image: config.annotations.get(keys::IMAGE).cloned().unwrap_or_default(),
            image_id: digest.unwrap_or_else(|| config.image.to_string()),
            user: self.shared.config.runtime.user(&config.id),
            message: String::new(),
            reason: None,
        }
    }

    pub(crate) fn take_message(&mut self, message: Message) {
        match message {
            Message::Object(object) => self.take_object(object),
            Message::Gone => {
                self.unlisted = true;
                self.observed.deleted = true;
                self.hurry(FORCED_GRACE);
            }
            Message::Runtime(Event::ContainerStarted { .. }) => {}
            Message::Runtime(Event::ContainerExited { id, exit, .. }) => self.take_exit(&id, exit),
            Message::Runtime(Event::SandboxLost { sandbox_id }) => self.take_loss(&sandbox_id),
            Message::Resync => self.resync(),
            Message::Evict(eviction) => self.take_eviction(eviction),
        }
    }

    fn take_eviction(&mut self, eviction: Eviction) {
        if self.observed.deleted || self.observed.over {
            return;
        }
        self.events.warning("Evicted", eviction.message.as_str());
        self.facts.disrupted = eviction.disrupted.then(|| eviction.message.clone());
        self.facts.failed = Some(("Evicted".to_owned(), eviction.message));
        self.observed.over = true;
        self.hurry(EVICTION_GRACE);
    }

    fn resync(&mut self) {
        let current: Vec<_> =
            self.tracks.values().filter_map(|track| track.current.as_ref().map(|current| current.id.clone())).collect();
        for id in current {
            if let Some(ContainerState::Exited(exit)) =
                self.shared.config.runtime.status(&id).map(|status| status.state)
            {
                self.take_exit(&id, exit);
            }
        }
        let ours = self.sandbox.as_ref().filter(|_| self.observed.sandbox == SandboxPhase::Ready);
        let lost = ours.map(|ours| ours.id.clone()).filter(|id| {
            let mut all = self.shared.config.runtime.list().into_iter();
            all.any(|one| one.sandbox.id == *id && one.state == SandboxState::NotReady)
        });
        if let Some(id) = lost {
            self.take_loss(&id);
        }
    }

    /// A newer revision: of our own writing or somebody else's.
    pub(crate) fn take_object(&mut self, object: Arc<Object>) {
        if object.revision < self.object.revision || object.metadata.uid != self.object.metadata.uid {
            return;
        }
        match object.view::<Pod>() {
            Ok(pod) => {
                let before = std::mem::replace(&mut self.pod, Arc::new(pod));
                self.object = object;
                self.set_deadline();
                self.take_deletion();
                self.forgive_images(&before);
                self.replace_images();
                let (old, new) = (&before.metadata, &self.pod.metadata);
                if old.labels != new.labels || old.annotations != new.annotations {
                    self.refresh_volumes();
                }
            }
            Err(error) => tracing::warn!(pod = %object.metadata.key(), %error, "read a pod"),
        }
    }

    pub(crate) fn take_deletion(&mut self) {
        if !self.object.metadata.is_terminating() {
            return;
        }
        let grace = self.object.metadata.deletion_grace_period_seconds.unwrap_or(30);
        let first = !self.observed.deleted;
        self.observed.deleted = true;
        if first || self.ends.is_some_and(|ends| ends > ends_in(grace)) {
            self.hurry(grace);
        }
    }

    /// The pod ends in so many seconds, or earlier.
    fn hurry(&mut self, grace: i64) {
        let ends = ends_in(grace);
        let ends = self.ends.map_or(ends, |before| before.min(ends));
        self.ends = Some(ends);
        for track in self.tracks.values() {
            track.cancel.cancel();
            if let Some(deadline) = &track.deadline {
                deadline.send_if_modified(|before| std::mem::replace(before, ends.min(*before)) > ends);
            }
        }
    }

    /// The delay after failures with one image is not that of another.
    fn forgive_images(&mut self, before: &Pod) {
        let old = roles(before);
        for (_, container) in roles(&self.pod) {
            let changed = old.iter().any(|(_, old)| old.name == container.name && old.image != container.image);
            if let Some(seen) = self.observed.containers.get_mut(&container.name).filter(|_| changed) {
                seen.back_off = BackOff::default();
            }
        }
    }

    /// A container whose image was changed in the spec is started anew with it.
    fn replace_images(&mut self) {
        if self.observed.deleted || self.observed.over {
            return;
        }
        let changed: Vec<String> = self
            .tracks
            .iter()
            .filter(|(name, _)| self.observed.containers.get(*name).is_some_and(|seen| seen.phase == Phase::Running))
            .filter_map(|(name, track)| {
                let id = &track.current.as_ref()?.id;
                let running = self.shared.config.runtime.status(id)?.config.annotations.get(keys::IMAGE).cloned()?;
                let wanted = self.entry(name)?.1.image?;
                (running != wanted).then(|| name.clone())
            })
            .collect();
        for name in changed {
            let grace = self.pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(30);
            self.start_anew(&name, true);
            self.stop(&name, Some((format!("Container {name} definition changed, will be restarted"), grace)));
        }
    }

    /// Whether a container starts anew after its end, whatever its policy.
    pub(crate) fn start_anew(&mut self, name: &str, again: bool) {
        self.observed.containers.entry(name.to_owned()).or_default().again = again;
        self.facts.containers.entry(name.to_owned()).or_default().again = again;
    }

    fn take_loss(&mut self, sandbox_id: &str) {
        if self.sandbox.as_ref().is_none_or(|sandbox| sandbox.id != sandbox_id) {
            // Perhaps the one that is being made: whoever makes it has not told yet.
            self.lost = Some(sandbox_id.to_owned());
            return;
        }
        let names: Vec<_> = self.tracks.keys().cloned().collect();
        for name in names {
            let Some(current) = self.tracks.get(&name).and_then(|track| track.current.clone()) else { continue };
            if let ContainerState::Running { started_at, .. } = current.state {
                let status = ExitStatus { code: 137, signal: Some(9) };
                let finished_at = SystemTime::from(self.shared.config.clock.now());
                self.take_exit(&current.id, Exit { status, oom_killed: false, started_at, finished_at });
            }
        }
        self.observed.sandbox = SandboxPhase::Absent;
        self.facts.ips.clear();
    }

    fn take_exit(&mut self, id: &str, exit: Exit) {
        let named = |(_, track): &(&String, &mut crate::actor::Track)| {
            track.current.as_ref().is_some_and(|current| current.id == id)
        };
        let Some((name, track)) = self.tracks.iter_mut().find(named) else { return };
        let name = name.clone();
        if let Some(current) = &mut track.current {
            if matches!(current.state, ContainerState::Exited(_)) {
                return;
            }
            current.state = ContainerState::Exited(exit);
        }
        track.probes.drain(..).for_each(|probe| probe.abort());
        let log = track.current.as_ref().map(|current| current.log_path.clone()).unwrap_or_default();
        let from_log = track.message_from_log && exit.status.code != 0;
        let message = termination::message(&track.message_file, &log, from_log);
        let facts = self.facts.containers.entry(name.clone()).or_default();
        facts.ready = false;
        facts.started = false;
        facts.waiting = None;
        if let Some(record) = &mut facts.current {
            record.state = ContainerState::Exited(exit);
            record.message = message;
        }
        let seen = self.observed.containers.entry(name).or_default();
        seen.started = false;
        seen.phase = Phase::Exited { code: exit.status.code, finished_at: timestamp(exit.finished_at) };
    }

    /// A new instance: the one before it moves back.
    pub(crate) fn take_instance(&mut self, name: &str, launched: Launched, state: ContainerState) {
        let config = &launched.config;
        let record = Record { image: launched.image.clone(), ..self.record(config, ContainerState::Created) };
        let annotation = |key: &str| config.annotations.get(key).map(String::as_str).unwrap_or_default();
        let track = self.tracks.entry(name.to_owned()).or_default();
        if let Some(before) = track.current.take() {
            track.previous = Some(before);
        }
        track.startup_passed = false;
        track.deadline = None;
        track.message_file = annotation(keys::MESSAGE_FILE).into();
        track.message_from_log = annotation(keys::MESSAGE_POLICY) == "FallbackToLogsOnError";
        track.current = Some(instance(config, ContainerState::Created));
        let facts = self.facts.containers.entry(name.to_owned()).or_default();
        if let Some(before) = facts.current.take() {
            facts.previous = Some(before);
        }
        facts.current = Some(Record { image_id: launched.image_id, ..record });
        facts.waiting = None;
        facts.ready = false;
        facts.started = false;
        match state {
            ContainerState::Exited(exit) => self.take_exit(&launched.config.id, exit),
            ContainerState::Created | ContainerState::Running { .. } => {
                if let Some(current) = &mut track.current {
                    current.state = state;
                }
                if let Some(record) = &mut facts.current {
                    record.state = state;
                }
                let seen = self.observed.containers.entry(name.to_owned()).or_default();
                seen.phase = Phase::Running;
                seen.failed_start = None;
            }
        }
    }

    pub(crate) fn take_done(&mut self, done: Done) {
        let now = self.shared.config.clock.now();
        match done {
            Done::Volumes(Ok(volumes)) => {
                self.volumes = volumes;
                self.changes = self.shared.volumes.changes(&self.pod);
                self.observed.volumes = SandboxPhase::Ready;
                self.failures = 0;
            }
            Done::Volumes(Err(error)) => {
                self.events.warning(&error.reason, error.message);
                self.observed.volumes = SandboxPhase::Failed { until: self.retry_at(now) };
            }
            Done::Refreshed(result) => {
                let outdated = self.observed.refreshing.ended();
                if let Err(error) = result {
                    self.events.warning(&error.reason, error.message);
                }
                if outdated {
                    self.refresh_volumes();
                }
            }
            Done::Resized { applied, result } => self.take_resized(applied, result, now),
            Done::Sandbox(Ok(sandbox)) => {
                self.facts.ips = sandbox.ips.clone();
                self.sandbox = Some(sandbox);
                self.observed.sandbox = SandboxPhase::Ready;
                self.failures = 0;
                self.begin_again();
                if let Some(lost) = self.lost.take() {
                    self.take_loss(&lost);
                }
            }
            Done::Sandbox(Err(error)) => {
                self.events.warning("FailedCreatePodSandBox", format!("Failed to create pod sandbox: {error}"));
                self.observed.sandbox = SandboxPhase::Failed { until: self.retry_at(now) };
            }
            Done::Launched(name, Ok(launched)) => self.take_launched(&name, *launched),
            Done::Launched(name, Err(refusal)) => self.take_refusal(&name, refusal, now),
            Done::Hook { container, id, result } => self.take_hook(&container, &id, result),
            Done::Stopped { container, hook_failure } => {
                if let (Some(error), Some((role, _))) = (hook_failure, self.entry(&container)) {
                    tracing::debug!(%container, %error, "a preStop hook failed");
                    self.events.container_warning(role, &container, "FailedPreStopHook", "PreStopHook failed");
                }
                self.resync();
                // Nothing is known of a container that the runtime has forgotten: it has ended.
                if let Some(seen) = self.observed.containers.get_mut(&container)
                    && seen.phase == Phase::Stopping
                {
                    seen.phase = Phase::Exited { code: 137, finished_at: now };
                }
            }
            Done::SandboxStopped => {
                self.observed.sandbox = SandboxPhase::Absent;
                self.observed.volumes = SandboxPhase::Absent;
                self.facts.has_sandbox = false;
            }
            Done::Finished => self.observed.gone = true,
        }
    }

    /// In a new sandbox everything that is not over for good starts from the beginning, init containers too.
    fn begin_again(&mut self) {
        for (role, container) in roles(&self.pod) {
            let Some(seen) = self.observed.containers.get_mut(&container.name) else { continue };
            let Phase::Exited { code, .. } = seen.phase else { continue };
            if role == Role::Init || restarts(&self.pod, role, &container, code) {
                seen.phase = Phase::Absent;
                seen.failed_start = None;
            }
        }
    }

    /// Doubling from half a second to two minutes.
    fn retry_at(&mut self, now: Timestamp) -> Timestamp {
        let delay = Duration::from_millis(500 << self.failures.min(8)).min(Duration::from_secs(122));
        self.failures += 1;
        now.checked_add(delay).unwrap_or(now)
    }

    fn take_launched(&mut self, name: &str, launched: Launched) {
        let track = self.tracks.entry(name.to_owned()).or_default();
        let attempt = track.next_attempt;
        track.next_attempt += 1;
        track.hook_done = false;
        self.start_anew(name, false);
        self.take_granted(name);
        let track = self.tracks.entry(name.to_owned()).or_default();
        if track.pull_error.take().is_some() {
            self.observed.containers.entry(name.to_owned()).or_default().back_off = BackOff::default();
        }
        self.facts.containers.entry(name.to_owned()).or_default().restart_count = attempt;
        self.observed.containers.entry(name.to_owned()).or_default().failed_start = None;
        // Its end may have been told before this.
        let status = self.shared.config.runtime.status(&launched.config.id);
        let state = status.map_or(ContainerState::Created, |status| status.state);
        self.take_instance(name, launched, state);
        if matches!(state, ContainerState::Running { .. }) {
            self.follow_up(name);
        }
    }

    fn take_refusal(&mut self, name: &str, refusal: Refusal, now: Timestamp) {
        let seen = self.observed.containers.entry(name.to_owned()).or_default();
        let facts = self.facts.containers.entry(name.to_owned()).or_default();
        let track = self.tracks.entry(name.to_owned()).or_default();
        let before = match facts.current.as_ref().map(|record| record.state) {
            Some(ContainerState::Exited(exit)) => {
                Phase::Exited { code: exit.status.code, finished_at: timestamp(exit.finished_at) }
            }
            _ => Phase::Absent,
        };
        match refusal {
            Refusal::Lost(sandbox) => {
                seen.phase = before;
                self.take_loss(&sandbox);
            }
            Refusal::Waiting(reason, message) => {
                seen.phase = before;
                seen.failed_start = Some(now);
                if reason == "ErrImagePull" {
                    track.pull_error = Some(message.clone());
                } else {
                    // Upstream tries these again at an even pace.
                    seen.back_off = BackOff::default();
                }
                seen.back_off.advance(now, now);
                facts.waiting = Some((reason, message));
            }
            Refusal::Dead(launched, message) => {
                let attempt = track.next_attempt;
                track.next_attempt += 1;
                facts.restart_count = attempt;
                facts.again = false;
                seen.again = false;
                seen.failed_start = None;
                let at = SystemTime::from(now);
                let status = ExitStatus { code: 128, signal: None };
                // Compat: a program that never ran has upstream's zero time as its start.
                let exit = Exit { status, oom_killed: false, started_at: SystemTime::UNIX_EPOCH, finished_at: at };
                self.take_instance(name, *launched, ContainerState::Exited(exit));
                let again =
                    self.entry(name).is_some_and(|(role, container)| restarts(&self.pod, role, &container, 128));
                let facts = self.facts.containers.entry(name.to_owned()).or_default();
                if let Some(record) = &mut facts.current {
                    record.reason = Some("StartError");
                    record.message = message.clone();
                }
                facts.waiting = again.then(|| ("RunContainerError".to_owned(), message));
            }
        }
    }
}

pub(crate) fn instance(config: &container::ContainerConfig, state: ContainerState) -> Instance {
    Instance { id: config.id.clone(), log_path: config.log_path.clone(), state }
}
