//! The life of one pod on this node: a loop that takes in what happened, plans, starts jobs and writes the status.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use container::ContainerState;
use futures::StreamExt;
use futures::stream::BoxStream;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use meta::Object;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::events::PodEvents;
use crate::handler::Target;
use crate::kubelet::Shared;
use crate::launch::{Launch, launch};
use crate::lifecycle::{self, Action, Observed, Phase, Role, SandboxPhase, plan, roles};
use crate::pods::{ContainerHandle, Instance, PodHandle};
use crate::pressure::Eviction;
use crate::probes::{Verdict, ends_in};
use crate::recovery::{Found, sandbox_id};
use crate::resize::with;
use crate::status::{PodFacts, pod_status};
use crate::steps::{self, Done, Remains, Sandboxed};
use crate::termination::{self, Stop, signal_number};
use crate::volumes::MountedVolumes;
use crate::{pulls, security};

/// What an actor is told.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    /// A newer revision of the object.
    Object(Arc<Object>),
    /// The object is gone.
    Gone,
    /// Something happened to one of the pod's containers or its sandbox.
    Runtime(container::Event),
    /// Some events were missed.
    Resync,
    /// The node cannot keep the pod.
    Evict(Eviction),
}

/// What an actor keeps of a container beside its facts.
#[derive(Default)]
pub(crate) struct Track {
    pub(crate) probes: Vec<AbortHandle>,
    pub(crate) startup_passed: bool,
    pub(crate) hook_done: bool,
    /// The number that the next instance gets.
    pub(crate) next_attempt: i32,
    /// The last pull's failure.
    pub(crate) pull_error: Option<String>,
    /// Brings the end of a grace period nearer.
    pub(crate) deadline: Option<watch::Sender<Instant>>,
    pub(crate) cancel: CancellationToken,
    pub(crate) current: Option<Instance>,
    pub(crate) previous: Option<Instance>,
    /// Where the current instance leaves its last words, and whether its log may speak instead.
    pub(crate) message_file: PathBuf,
    pub(crate) message_from_log: bool,
}

/// A pod's actor.
pub(crate) struct Actor {
    pub(crate) shared: Arc<Shared>,
    pub(crate) object: Arc<Object>,
    pub(crate) pod: Arc<Pod>,
    pub(crate) events: PodEvents,
    mailbox: mpsc::Receiver<Message>,
    pub(crate) jobs: JoinSet<Done>,
    pub(crate) verdicts: (mpsc::Sender<Verdict>, mpsc::Receiver<Verdict>),
    pub(crate) observed: Observed,
    pub(crate) facts: PodFacts,
    pub(crate) tracks: BTreeMap<String, Track>,
    pub(crate) sandbox: Option<Sandboxed>,
    pub(crate) sandbox_attempt: u32,
    /// The last sandbox that was lost and is not, or not yet, the current one.
    pub(crate) lost: Option<String>,
    pub(crate) volumes: MountedVolumes,
    /// Failures in a row of volumes or the sandbox.
    pub(crate) failures: u32,
    /// When the whole pod must have ended, once it was told to.
    pub(crate) ends: Option<Instant>,
    /// The object is gone: nothing is written any more.
    pub(crate) unlisted: bool,
    /// The pod was over before we saw it: its status stays as it is.
    pub(crate) frozen: bool,
    /// The node does not run it.
    pub(crate) ignored: bool,
    wake: Option<Timestamp>,
    retry_status: bool,
    /// Says when what the volumes show has changed.
    pub(crate) changes: BoxStream<'static, ()>,
}

impl Actor {
    /// An actor for a pod, with what the runtime still has of it.
    pub(crate) fn new(
        shared: Arc<Shared>,
        object: Arc<Object>,
        pod: Pod,
        found: Option<Found>,
        mailbox: mpsc::Receiver<Message>,
    ) -> Self {
        let events = PodEvents::new(shared.recorder.clone(), &object);
        let mut actor = Self {
            events,
            pod: Arc::new(pod),
            object,
            mailbox,
            jobs: JoinSet::new(),
            verdicts: mpsc::channel(64),
            observed: Observed::default(),
            facts: PodFacts { host_ip: Some(shared.config.node_ip), ..PodFacts::default() },
            tracks: BTreeMap::new(),
            sandbox: None,
            sandbox_attempt: 0,
            lost: None,
            volumes: MountedVolumes::new(),
            failures: 0,
            ends: None,
            unlisted: false,
            frozen: false,
            ignored: false,
            wake: None,
            retry_status: false,
            changes: futures::stream::empty().boxed(),
            shared,
        };
        actor.begin(found);
        actor
    }

    /// Runs until the pod is gone from the node.
    pub(crate) async fn run(mut self) {
        loop {
            self.act();
            self.publish().await;
            if self.observed.gone {
                return;
            }
            self.wait().await;
        }
    }

    /// Takes in the next thing that happens, and whatever else has happened already.
    async fn wait(&mut self) {
        let now = self.shared.config.clock.now();
        let retry = self.retry_status.then_some(Duration::from_secs(1));
        let planned = self.wake.map(|wake| Duration::try_from(wake.duration_since(now)).unwrap_or(Duration::ZERO));
        let resize = self.facts.resizing.retry.map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default());
        let sleep = planned.into_iter().chain(retry).chain(resize).min().unwrap_or(Duration::from_secs(3600));
        tokio::select! {
            message = self.mailbox.recv() => match message {
                Some(message) => self.take_message(message),
                None => std::future::pending().await,
            },
            Some(done) = self.jobs.join_next(), if !self.jobs.is_empty() => self.take_job(done),
            Some(verdict) = self.verdicts.1.recv() => self.take_verdict(&verdict),
            Some(()) = self.changes.next() => self.refresh_volumes(),
            () = self.shared.pods.freed(), if self.facts.resizing.pending.is_some() => {}
            () = tokio::time::sleep(sleep) => {}
        }
        while let Ok(message) = self.mailbox.try_recv() {
            self.take_message(message);
        }
        while let Some(done) = self.jobs.try_join_next() {
            self.take_job(done);
        }
    }

    fn take_job(&mut self, done: Result<Done, tokio::task::JoinError>) {
        match done {
            Ok(done) => self.take_done(done),
            Err(error) if error.is_cancelled() => {}
            // The kubelet contains the panic and starts the actor anew.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Plans and carries out, until nothing changes at once.
    fn act(&mut self) {
        if self.ignored && !self.observed.deleted {
            return;
        }
        loop {
            let now = self.shared.config.clock.now();
            let actions = plan(&self.pod, &self.observed, now);
            self.wake = None;
            let mut again = false;
            for action in actions {
                again |= self.carry_out(action, now);
            }
            if !again {
                break;
            }
        }
        self.resize(self.shared.config.clock.now());
    }

    /// True if planning anew is due.
    fn carry_out(&mut self, action: Action, now: Timestamp) -> bool {
        match action {
            Action::SetUpVolumes => self.set_up_volumes(),
            Action::RunSandbox => self.run_sandbox(),
            Action::Start(name) => self.start(&name, now),
            Action::BackOff { container, .. } => self.back_off(&container),
            Action::Stop(name) => self.stop(&name, None),
            Action::StopSandbox => self.stop_sandbox(),
            Action::Expire => {
                self.events.normal("DeadlineExceeded", crate::observe::DEADLINE_MESSAGE);
                let why = ("DeadlineExceeded".to_owned(), crate::observe::DEADLINE_MESSAGE.to_owned());
                self.facts.failed = Some(why);
                self.observed.over = true;
                return true;
            }
            Action::Finish => self.finish(),
            Action::WakeAt(at) => self.wake = Some(self.wake.map_or(at, |wake| wake.min(at))),
        }
        false
    }

    fn set_up_volumes(&mut self) {
        self.observed.volumes = SandboxPhase::Busy;
        let (shared, pod) = (Arc::clone(&self.shared), Arc::clone(&self.pod));
        self.jobs.spawn(async move { Done::Volumes(shared.volumes.set_up_all(&pod).await) });
    }

    /// Brings the content of volumes up to date.
    pub(crate) fn refresh_volumes(&mut self) {
        if self.observed.volumes != SandboxPhase::Ready || self.observed.deleted {
            return;
        }
        if !self.observed.refreshing.changed() {
            return;
        }
        let (shared, pod) = (Arc::clone(&self.shared), Arc::clone(&self.pod));
        self.jobs.spawn(async move { Done::Refreshed(shared.volumes.refresh(&pod).await) });
    }

    fn run_sandbox(&mut self) {
        self.observed.sandbox = SandboxPhase::Busy;
        self.lost = None;
        let lost = self.sandbox.take().map(|sandbox| sandbox.id);
        if lost.is_some() {
            self.events.normal("SandboxChanged", "Pod sandbox changed, it will be killed and re-created.");
            self.sandbox_attempt += 1;
        }
        let id = sandbox_id(&self.object.metadata.uid, self.sandbox_attempt);
        // A failed attempt may have left something of the same name.
        let lost = lost.or_else(|| Some(id.clone()));
        let (shared, pod) = (Arc::clone(&self.shared), Arc::new(with(&self.pod, &self.facts.resizing.granted)));
        self.jobs.spawn(async move { Done::Sandbox(steps::sandbox(shared, pod, id, lost).await) });
    }

    pub(crate) fn entry(&self, name: &str) -> Option<(Role, Container)> {
        roles(&self.pod).into_iter().find(|(_, container)| container.name == name)
    }

    fn start(&mut self, name: &str, now: Timestamp) {
        let Some((role, mut container)) = self.entry(name) else { return };
        let Some(sandbox) = self.sandbox.clone() else { return };
        if let Some(granted) = self.facts.resizing.granted.get(name) {
            container.resources = Some(granted.clone());
        }
        let pid_namespace = self.target_processes(name);
        let seen = self.observed.containers.entry(name.to_owned()).or_default();
        if let Phase::Exited { finished_at, .. } = seen.phase
            && seen.failed_start.is_none()
            && !seen.again
        {
            seen.back_off.advance(finished_at, now);
        }
        seen.phase = Phase::Starting;
        seen.started = false;
        let track = self.tracks.entry(name.to_owned()).or_default();
        track.cancel = CancellationToken::new();
        let cancel = track.cancel.clone();
        let launching = Launch {
            shared: Arc::clone(&self.shared),
            events: self.events.clone(),
            pod: Arc::clone(&self.pod),
            role,
            container,
            sandbox_id: sandbox.id,
            attempt: track.next_attempt,
            ips: sandbox.ips,
            volumes: self.volumes.clone(),
            pid_namespace,
        };
        // Only one instance before the current one is kept.
        let outdated = track.previous.take();
        let name = name.to_owned();
        let runtime = Arc::clone(&self.shared.config.runtime);
        self.jobs.spawn(async move {
            if let Some(outdated) = outdated {
                if let Err(error) = runtime.remove_container(&outdated.id).await {
                    tracing::debug!(container = %outdated.id, %error, "remove an old container");
                }
                // Nobody can ask for this log any more.
                crate::logs::remove(&outdated.log_path);
            }
            Done::Launched(name, launch(launching, cancel).await.map(Box::new))
        });
    }

    /// The PID namespace of the container that an ephemeral one is for.
    fn target_processes(&self, name: &str) -> Option<PathBuf> {
        let mut ephemeral = self.pod.spec.as_ref()?.ephemeral_containers.iter().flatten();
        let target = ephemeral.find(|one| one.name == name)?.target_container_name.as_deref()?;
        let id = &self.tracks.get(target)?.current.as_ref()?.id;
        match self.shared.config.runtime.status(id)?.state {
            ContainerState::Running { pid, .. } => Some(format!("/proc/{pid}/ns/pid").into()),
            ContainerState::Created | ContainerState::Exited(_) => None,
        }
    }

    fn back_off(&mut self, name: &str) {
        let Some((role, container)) = self.entry(name) else { return };
        let facts = self.facts.containers.entry(name.to_owned()).or_default();
        let reason = facts.waiting.as_ref().map(|(reason, _)| reason.clone()).unwrap_or_default();
        let delay = self.observed.containers.get(name).map(|seen| seen.back_off.delay()).unwrap_or_default();
        match reason.as_str() {
            "ErrImagePull" => {
                let image = container.image.as_deref().unwrap_or_default();
                let previous = self.tracks.get(name).and_then(|track| track.pull_error.clone()).unwrap_or_default();
                facts.waiting = Some(pulls::backing_off(image, &previous));
                self.events.container_normal(role, name, "BackOff", format!("Back-off pulling image \"{image}\""));
                self.events.container_warning(role, name, "Failed", "Error: ImagePullBackOff");
            }
            "" | "RunContainerError" => {
                let pod = security::describe(&self.pod);
                let text = format!("back-off {} restarting failed container={name} pod={pod}", go_duration(delay));
                facts.waiting = Some(("CrashLoopBackOff".to_owned(), text));
                let text = format!("Back-off restarting failed container {name} in pod {pod}");
                self.events.container_warning(role, name, "BackOff", text);
            }
            _ => {}
        }
    }

    /// Ends a container; `why` is the event's text if it isn't the pod that ends.
    pub(crate) fn stop(&mut self, name: &str, why: Option<(String, i64)>) {
        let Some((role, container)) = self.entry(name) else { return };
        let Some(target) = self.target(&container) else { return };
        let ends = match &why {
            Some((_, grace)) => ends_in(*grace),
            None => self.pod_ends(),
        };
        let (deadline, receiver) = watch::channel(ends);
        let track = self.tracks.entry(name.to_owned()).or_default();
        track.deadline = Some(deadline);
        track.probes.drain(..).for_each(|probe| if self.observed.deleted { drop(probe) } else { probe.abort() });
        self.observed.containers.entry(name.to_owned()).or_default().phase = Phase::Stopping;
        let text = why.map(|(text, _)| text).unwrap_or_else(|| format!("Stopping container {name}"));
        self.events.container_normal(role, name, "Killing", text);
        let lifecycle = container.lifecycle.clone().unwrap_or_default();
        let job = Stop {
            runtime: Arc::clone(&self.shared.config.runtime),
            namespace: self.shared.config.network.namespace().clone(),
            target,
            pre_stop: lifecycle.pre_stop,
            signal: self.stop_signal(&container, lifecycle.stop_signal.as_deref()),
            deadline: receiver,
        };
        let container = name.to_owned();
        self.jobs.spawn(async move { Done::Stopped { container, hook_failure: termination::stop(job).await } });
    }

    fn stop_signal(&self, container: &Container, own: Option<&str>) -> i32 {
        if let Some(own) = own {
            return signal_number(own);
        }
        let images = &self.shared.config.images;
        let image = container.image.as_deref().and_then(|name| images.resolve(name).ok().flatten());
        image.and_then(|image| image.config.stop_signal).map_or(nix::libc::SIGTERM, |signal| signal_number(&signal))
    }

    /// When the pod's own grace period ends; it begins with the first question.
    fn pod_ends(&mut self) -> Instant {
        let of_spec = self.pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(30);
        let grace = self.pod.metadata.deletion_grace_period_seconds.unwrap_or(of_spec);
        *self.ends.get_or_insert_with(|| ends_in(grace))
    }

    fn stop_sandbox(&mut self) {
        self.observed.sandbox = SandboxPhase::Busy;
        let Some(sandbox) = &self.sandbox else { return };
        let (shared, uid, id) = (Arc::clone(&self.shared), self.object.metadata.uid.clone(), sandbox.id.clone());
        self.jobs.spawn(async move {
            steps::stop_sandbox(shared, uid, id).await;
            Done::SandboxStopped
        });
    }

    fn finish(&mut self) {
        self.observed.sandbox = SandboxPhase::Busy;
        self.facts.terminal = true;
        let status = pod_status(&self.pod, &self.facts, self.shared.config.clock.now());
        let status = if self.frozen { self.pod.status.clone().unwrap_or(status) } else { status };
        let remains = Remains {
            object: Arc::clone(&self.object),
            pod: Arc::clone(&self.pod),
            sandbox: self.sandbox.as_ref().map(|sandbox| sandbox.id.clone()),
            status: (!self.unlisted).then_some(status),
        };
        let shared = Arc::clone(&self.shared);
        self.jobs.spawn(async move {
            steps::finish(shared, remains).await;
            Done::Finished
        });
    }

    pub(crate) fn target(&self, container: &Container) -> Option<Target> {
        let id = self.tracks.get(&container.name)?.current.as_ref()?.id.clone();
        let ip = self.sandbox.as_ref().and_then(|sandbox| sandbox.ips.first().copied());
        Some(Target { id, container: container.clone(), ip, pod: security::describe(&self.pod) })
    }

    /// Writes the status if it changed, and the directory for the kubelet's API.
    async fn publish(&mut self) {
        self.list();
        self.retry_status = false;
        if self.unlisted
            || self.frozen
            || self.ignored
            || self.observed.gone
            || lifecycle::is_exchanging(&self.observed)
        {
            return;
        }
        let containers = roles(&self.pod);
        let alive = self
            .observed
            .containers
            .values()
            .any(|seen| matches!(seen.phase, Phase::Starting | Phase::Running | Phase::Stopping));
        let ending = self.observed.over
            || self.observed.deleted
            || lifecycle::is_complete(&self.pod, &containers, &self.observed);
        self.facts.terminal = ending && !alive;
        self.facts.has_sandbox = self.observed.sandbox == SandboxPhase::Ready;
        let status = pod_status(&self.pod, &self.facts, self.shared.config.clock.now());
        if self.pod.status.as_ref() == Some(&status) {
            return;
        }
        let old = self.object.value().get("status").cloned().unwrap_or(Value::Null);
        if serde_json::to_value(&status).is_ok_and(|new| new == old) {
            return;
        }
        match self.shared.cluster.write_status(&self.object, &old, &status).await {
            Ok(Some(object)) => self.take_object(object),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(pod = %self.object.metadata.key(), %error, "write a pod's status; trying again");
                self.retry_status = true;
            }
        }
    }

    fn list(&self) {
        let containers = self.tracks.iter().map(|(name, track)| {
            let waiting = self.facts.containers.get(name).and_then(|facts| facts.waiting.clone());
            let handle = ContainerHandle { current: track.current.clone(), previous: track.previous.clone(), waiting };
            (name.clone(), handle)
        });
        self.shared.pods.set(PodHandle {
            uid: self.object.metadata.uid.clone(),
            object: Arc::clone(&self.object),
            pod: Arc::clone(&self.pod),
            sandbox_id: self.sandbox.as_ref().map(|sandbox| sandbox.id.clone()),
            netns: self.sandbox.as_ref().map(|sandbox| sandbox.netns.clone()),
            granted: self.facts.resizing.granted.clone(),
            containers: containers.collect(),
        });
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        for track in self.tracks.values() {
            track.probes.iter().for_each(AbortHandle::abort);
        }
    }
}

/// A duration as Go prints it: `10s`, `1m20s`, `5m0s`.
fn go_duration(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds => format!("{}m{}s", seconds / 60, seconds % 60),
    }
}
