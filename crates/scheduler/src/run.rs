//! Follows the cluster, tries one pod after the other, and has the outcome carried out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use client::{Client, Index, Informer, Recorder};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use meta::{ApiError, Clock, Gvr, Object};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cycle::{Choice, Failure, choose};
use crate::outcome::Hands;
use crate::plugins::volumes::decide;
use crate::pod::PodInfo;
use crate::preemption::{Budget, Candidate, Preemption, preempt};
use crate::queue::Queue;
use crate::state::{NAME, State, Turn};

/// Compat: what upstream's plugin of device claims says of pods without any.
const CLAIMS: &str = "no new claims to deallocate";

/// What carrying out came to.
enum Done {
    /// A pod was bound, or not.
    Bound(Arc<PodInfo>, Result<(), ApiError>),
    /// Something else was done.
    Other,
}

/// A running scheduler.
pub struct Scheduler {
    hands: Hands,
    sources: Sources,
    state: State,
    queue: Queue,
    under_way: JoinSet<Done>,
}

const SOURCES: usize = 9;

struct Sources {
    pods: Informer,
    nodes: Informer,
    namespaces: Informer,
    claims: Informer,
    volumes: Informer,
    classes: Informer,
    budgets: Informer,
    services: Informer,
    csi_nodes: Informer,
}

impl Sources {
    fn all(&self) -> [&Informer; SOURCES] {
        let Self { pods, nodes, namespaces, claims, volumes, classes, budgets, services, csi_nodes } = self;
        [pods, nodes, namespaces, claims, volumes, classes, budgets, services, csi_nodes]
    }
}

impl Scheduler {
    /// Begins to follow pods and nodes.
    pub fn new(client: Client, clock: Arc<dyn Clock>) -> Self {
        let informer = |group: &str, resource: &str| Informer::new(client.clone(), Gvr::new(group, "v1", resource));
        let sources = Sources {
            pods: informer("", "pods"),
            nodes: informer("", "nodes"),
            namespaces: informer("", "namespaces"),
            claims: informer("", "persistentvolumeclaims"),
            volumes: informer("", "persistentvolumes"),
            classes: informer("storage.k8s.io", "storageclasses"),
            budgets: informer("policy", "poddisruptionbudgets"),
            services: informer("", "services"),
            csi_nodes: informer("storage.k8s.io", "csinodes"),
        };
        let recorder = Recorder::new(client.clone(), NAME, "", Arc::clone(&clock));
        let hands = Hands { client, clock, recorder, claims: sources.claims.clone() };
        Self { hands, sources, state: State::default(), queue: Queue::default(), under_way: JoinSet::new() }
    }

    /// Schedules until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let synced = async {
            for source in self.sources.all() {
                source.wait_synced().await;
            }
        };
        tokio::select! {
            () = synced => {}
            () = stop.cancelled() => return,
        }
        let mut changes = self.sources.all().map(Informer::subscribe);
        while !stop.is_cancelled() {
            let now = self.hands.clock.instant();
            if let Some(key) = self.pending(&mut changes).await.then(|| self.queue.pop(now)).flatten() {
                self.try_pod(&key).await;
                continue;
            }
            let due = self.queue.due().unwrap_or(now + Duration::from_secs(3600));
            tokio::select! {
                () = stop.cancelled() => break,
                object = next(&mut changes) => match object {
                    Some(object) => self.apply(&object).await,
                    None => break,
                },
                Some(done) = self.under_way.join_next() => self.finish(done.unwrap_or(Done::Other)),
                () = tokio::time::sleep(due.saturating_duration_since(now)) => self.sweep(due).await,
            }
        }
        self.under_way.shutdown().await;
    }

    /// Takes over everything that happened already, so that the next pod is tried on the newest state.
    async fn pending(&mut self, changes: &mut [Index; SOURCES]) -> bool {
        loop {
            let object = tokio::select! {
                biased;
                object = next(changes) => object,
                Some(done) = self.under_way.join_next() => {
                    self.finish(done.unwrap_or(Done::Other));
                    continue;
                }
                () = std::future::ready(()) => return true,
            };
            match object {
                Some(object) => self.apply(&object).await,
                None => return false,
            }
        }
    }

    async fn apply(&mut self, changed: &Arc<Object>) {
        let key = changed.metadata.key();
        let (sources, now) = (&self.sources, self.hands.clock.instant());
        let read = match changed.kind() {
            "Pod" => return self.apply_pod(&key).await,
            "Node" => self.state.node(&key, sources.nodes.get(&key).as_ref()),
            "PodDisruptionBudget" => return,
            kind => {
                let source = match kind {
                    "Namespace" => &sources.namespaces,
                    "PersistentVolumeClaim" => &sources.claims,
                    "PersistentVolume" => &sources.volumes,
                    "Service" => &sources.services,
                    "CSINode" => &sources.csi_nodes,
                    _ => &sources.classes,
                };
                self.state.other(kind, &key, source.get(&key).as_ref())
            }
        };
        match read {
            Ok(events) => {
                let node = if changed.kind() == "Node" { key.as_str() } else { "" };
                self.queue.wake(events, now, |pod| self.state.could_help(pod, node));
            }
            Err(error) => tracing::warn!(kind = changed.kind(), key, %error, "an object can't be read"),
        }
    }

    async fn apply_pod(&mut self, key: &str) {
        let object = self.sources.pods.get(key);
        let effect = match self.state.pod(key, object.as_ref()) {
            Ok(effect) => effect,
            Err(error) => return tracing::warn!(pod = key, %error, "a pod can't be read"),
        };
        match effect.turn {
            Turn::Same => {}
            Turn::Try(priority) => self.queue.add(key, priority),
            Turn::Never => self.queue.remove(key),
        }
        let now = self.hands.clock.instant();
        self.queue.wake(effect.events, now, |pod| self.state.could_help(pod, &effect.node));
        let gated = self.state.waiting(key).filter(|pod| !pod.gates.is_empty());
        if let Some(pod) = gated {
            let text = "Scheduling is blocked due to non-empty scheduling gates";
            log(&pod, self.hands.tell(&pod, "SchedulingGated", text, "").await);
        }
    }

    async fn try_pod(&mut self, key: &str) {
        let Some(pod) = self.state.waiting(key) else { return self.queue.remove(key) };
        match choose(&pod, &self.state.cluster) {
            Choice::Node(node) => self.place(&pod, node),
            Choice::None(failure) => self.refuse(&pod, failure).await,
        }
    }

    fn place(&mut self, pod: &Arc<PodInfo>, node: String) {
        let cluster = &self.state.cluster;
        let steps = cluster.nodes.get(&node).map(|info| decide(pod, cluster, info)).unwrap_or_default();
        self.state.assume(pod, &node);
        let (hands, pod) = (self.hands.clone(), Arc::clone(pod));
        self.under_way.spawn(async move {
            let bound = hands.bind(&pod, &node, &steps).await;
            if let Err(error) = &bound {
                let text = format!("binding rejected: {error}");
                log(&pod, hands.refuse(&pod, "SchedulerError", &text, "").await);
            }
            Done::Bound(pod, bound)
        });
    }

    fn finish(&mut self, done: Done) {
        let Done::Bound(pod, Err(error)) = done else { return };
        tracing::debug!(pod = pod.key(), %error, "a pod could not be bound; it is tried again");
        if self.state.give_up(&pod) {
            self.queue.failed(&pod.key());
        }
        self.queue.wake(crate::plugins::Events::POD_GONE, self.hands.clock.instant(), |_| true);
    }

    async fn refuse(&mut self, pod: &Arc<PodInfo>, failure: Failure) {
        let budgets = self.sources.budgets.list();
        let budgets: Vec<Budget> = budgets
            .iter()
            .filter_map(|budget| budget.view::<PodDisruptionBudget>().ok())
            .map(|own| Budget::read(&own))
            .collect();
        let (text, nominated) = match preempt(pod, &self.state.cluster, &failure, &budgets) {
            _ if failure.nodes == 0 => (failure.text, String::new()),
            Preemption::No(why) => {
                let kept = why.starts_with("not eligible due to a terminating pod");
                let nominated = if kept { pod.nominated.clone() } else { String::new() };
                (format!("{} {CLAIMS}, preemption: {why}", failure.text), nominated)
            }
            Preemption::Yes(candidate) => {
                let node = candidate.node.clone();
                self.make_room(pod, candidate);
                (failure.text, node)
            }
        };
        self.queue.park(&pod.key(), failure.events);
        log(pod, self.hands.refuse(pod, "Unschedulable", &text, &nominated).await);
    }

    /// Has the victims go, and keeps what they leave for the pod.
    fn make_room(&mut self, pod: &Arc<PodInfo>, candidate: Candidate) {
        let Candidate { node, victims, .. } = candidate;
        let lesser = self.state.cluster.nominated.values();
        let lesser = lesser.filter(|other| other.nominated == node && other.priority < pod.priority).cloned();
        let lesser: Vec<Arc<PodInfo>> = lesser.collect();
        self.state.nominate(pod, &node);
        let (hands, pod) = (self.hands.clone(), Arc::clone(pod));
        self.under_way.spawn(async move {
            for victim in &victims {
                log(victim, hands.preempt(victim, &pod, &node).await);
            }
            for other in &lesser {
                log(other, hands.forget_nomination(other).await);
            }
            Done::Other
        });
    }

    /// Looks for pods that went unseen, when somebody waits very long.
    async fn sweep(&mut self, due: Instant) {
        if self.hands.clock.instant() < due {
            return;
        }
        for key in self.state.keys() {
            if self.sources.pods.get(&key).is_none() {
                self.apply_pod(&key).await;
            }
        }
    }
}

/// The next change of any collection.
async fn next(changes: &mut [Index; SOURCES]) -> Option<Arc<Object>> {
    let [pods, nodes, namespaces, claims, volumes, classes, budgets, services, csi_nodes] = changes;
    tokio::select! {
        biased;
        object = nodes.next() => object,
        object = namespaces.next() => object,
        object = classes.next() => object,
        object = volumes.next() => object,
        object = claims.next() => object,
        object = budgets.next() => object,
        object = services.next() => object,
        object = csi_nodes.next() => object,
        object = pods.next() => object,
    }
}

fn log(pod: &PodInfo, outcome: Result<(), ApiError>) {
    if let Err(error) = outcome {
        tracing::warn!(pod = pod.key(), %error, "what was decided about a pod could not be written");
    }
}
