//! Whether an actor's containers are well: hooks after their start, then their probes, and what follows from a verdict.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Probe};

use crate::actor::Actor;
use crate::hooks;
use crate::lifecycle::{Phase, Role};
use crate::probes::{Kind, Prober, Verdict};
use crate::steps::Done;

impl Actor {
    /// After a container's start: its hook, then its probes.
    pub(crate) fn follow_up(&mut self, name: &str) {
        let Some((_, container)) = self.entry(name) else { return };
        let Some(target) = self.target(&container) else { return };
        let hook = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.clone());
        let track = self.tracks.entry(name.to_owned()).or_default();
        match hook.filter(|_| !track.hook_done) {
            None => {
                track.hook_done = true;
                self.begin_probes(name);
            }
            Some(handler) => {
                let runtime = Arc::clone(&self.shared.config.runtime);
                let namespace = self.shared.config.network.namespace().clone();
                let name = name.to_owned();
                self.jobs.spawn(async move {
                    let id = target.id.clone();
                    let result = hooks::run(&*runtime, &namespace, &target, &handler).await;
                    Done::Hook { container: name, id, result }
                });
            }
        }
    }

    /// Starts the startup probe, or what comes after it.
    pub(crate) fn begin_probes(&mut self, name: &str) {
        let Some((role, container)) = self.entry(name) else { return };
        let track = self.tracks.entry(name.to_owned()).or_default();
        track.probes.drain(..).for_each(|probe| probe.abort());
        if role == Role::Init || role == Role::Ephemeral {
            self.mark_started(name);
            return;
        }
        if let Some(probe) = container.startup_probe.clone().filter(|_| !track.startup_passed) {
            return self.probe(role, &container, Kind::Startup, probe);
        }
        self.mark_started(name);
        if let Some(probe) = container.liveness_probe.clone() {
            self.probe(role, &container, Kind::Liveness, probe);
        }
        match container.readiness_probe.clone() {
            Some(probe) => self.probe(role, &container, Kind::Readiness, probe),
            None => self.facts.containers.entry(name.to_owned()).or_default().ready = true,
        }
    }

    fn mark_started(&mut self, name: &str) {
        self.tracks.entry(name.to_owned()).or_default().startup_passed = true;
        self.observed.containers.entry(name.to_owned()).or_default().started = true;
        self.facts.containers.entry(name.to_owned()).or_default().started = true;
    }

    fn probe(&mut self, role: Role, container: &Container, kind: Kind, probe: Probe) {
        let Some(target) = self.target(container) else { return };
        let prober = Prober {
            runtime: Arc::clone(&self.shared.config.runtime),
            namespace: self.shared.config.network.namespace().clone(),
            target,
            role,
            kind,
            probe,
            events: self.events.clone(),
            verdicts: self.verdicts.0.clone(),
        };
        // Ends with the container, or with the actor: the receiver of its verdicts is gone then.
        let task = tokio::spawn(prober.run()).abort_handle();
        self.tracks.entry(container.name.clone()).or_default().probes.push(task);
    }

    pub(crate) fn take_hook(&mut self, name: &str, id: &str, result: Result<(), String>) {
        let Some(track) = self.tracks.get_mut(name) else { return };
        if track.current.as_ref().is_none_or(|current| current.id != id) {
            return;
        }
        track.hook_done = true;
        match result {
            Ok(()) => self.begin_probes(name),
            Err(error) => {
                tracing::debug!(container = %name, %error, "a postStart hook failed");
                if let Some((role, _)) = self.entry(name) {
                    self.events.container_warning(role, name, "FailedPostStartHook", "PostStartHook failed");
                }
                if self.observed.containers.get(name).is_some_and(|seen| seen.phase == Phase::Running) {
                    let grace = self.pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
                    self.stop(name, Some(("FailedPostStartHook".to_owned(), grace.unwrap_or(30))));
                }
            }
        }
    }

    pub(crate) fn take_verdict(&mut self, verdict: &Verdict) {
        let name = verdict.container.as_str();
        let current = self.tracks.get(name).and_then(|track| track.current.as_ref());
        if current.is_none_or(|current| current.id != verdict.id) {
            return;
        }
        match (verdict.kind, verdict.passes) {
            (Kind::Readiness, passes) => {
                self.facts.containers.entry(name.to_owned()).or_default().ready = passes;
            }
            (Kind::Startup, true) => {
                self.tracks.entry(name.to_owned()).or_default().startup_passed = true;
                self.begin_probes(name);
            }
            (Kind::Liveness, true) => {}
            (kind @ (Kind::Startup | Kind::Liveness), false) => self.kill_unhealthy(name, kind),
        }
    }

    fn kill_unhealthy(&mut self, name: &str, kind: Kind) {
        let running = self.observed.containers.get(name).is_some_and(|seen| seen.phase == Phase::Running);
        let Some((_, container)) = self.entry(name) else { return };
        if !running || self.observed.deleted {
            return;
        }
        let (probe, what) = match kind {
            Kind::Startup => (container.startup_probe, "startup"),
            Kind::Liveness | Kind::Readiness => (container.liveness_probe, "liveness"),
        };
        let of_pod = self.pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(30);
        let grace = probe.and_then(|probe| probe.termination_grace_period_seconds).unwrap_or(of_pod);
        self.stop(name, Some((format!("Container {name} failed {what} probe, will be restarted"), grace)));
    }
}
