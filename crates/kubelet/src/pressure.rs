//! Watches what the node has left, tells it in the node's conditions, and ends pods when it runs short or they keep too much on its disk.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use crate::actor::Message;
use crate::cgroups::is_critical;
use crate::eviction::{self, Candidate, ContainerUse, Level, Met, PodUse, Pressure, Signal};
use crate::kubelet::Shared;
use crate::node;
use crate::pods::PodHandle;
use crate::usage::{self, size};

/// Upstream's interval: pressure builds up over seconds, and looking costs little.
const PERIOD: Duration = Duration::from_secs(10);
/// A condition stays for so long after its cause, so that pods don't come and go.
const LINGER: Duration = Duration::from_secs(300);

/// The end of a pod that the node cannot keep.
#[derive(Clone, Debug)]
pub(crate) struct Eviction {
    /// What its status says.
    pub(crate) message: String,
    /// Whether the node's own need ends it, which is told by a condition of its own.
    pub(crate) disrupted: bool,
}

/// What the node lacks now, shared.
#[derive(Debug, Default)]
pub(crate) struct Pressures(RwLock<Vec<Pressure>>);

impl Pressures {
    pub(crate) fn now(&self) -> Vec<Pressure> {
        self.0.read().expect("no holder of this lock can panic").clone()
    }

    /// True if that is a change.
    fn set(&self, pressures: Vec<Pressure>) -> bool {
        let mut held = self.0.write().expect("no holder of this lock can panic");
        std::mem::replace(&mut *held, pressures.clone()) != pressures
    }
}

/// Looks after the node for as long as it is polled.
pub(crate) async fn watch(shared: &Shared, port: u16, orders: mpsc::Sender<(String, Message)>) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last_met: BTreeMap<Pressure, Instant> = BTreeMap::new();
    loop {
        ticks.tick().await;
        let met = shared.config.eviction_hard.met(&levels(shared));
        let now = Instant::now();
        last_met.extend(met.iter().map(|met| (met.signal.pressure(), now)));
        last_met.retain(|_, at| now.duration_since(*at) < LINGER);
        if shared.pressures.set(last_met.keys().copied().collect()) {
            tell(shared, port).await;
        }
        for (uid, eviction) in evictions(shared, met.first().copied()).await {
            if orders.send((uid, Message::Evict(eviction))).await.is_err() {
                return;
            }
        }
    }
}

/// Writes the node's conditions.
async fn tell(shared: &Shared, port: u16) {
    let pressures = shared.pressures.now();
    tracing::info!(node = %shared.config.node_name, ?pressures, "what the node lacks has changed");
    if let Err(error) = node::register(shared, port).await {
        tracing::warn!(node = %shared.config.node_name, %error, "tell of the node's pressure");
    }
}

fn levels(shared: &Shared) -> BTreeMap<Signal, Level> {
    let number = |amount: u64| i64::try_from(amount).unwrap_or(i64::MAX);
    let level = |available: u64, capacity: u64| Level { available: number(available), capacity: number(capacity) };
    let node = usage::node();
    let mut levels = BTreeMap::from([
        (Signal::Memory, level(node.memory_available, node.memory_total)),
        (Signal::Pids, level(node.max_processes.saturating_sub(node.processes), node.max_processes)),
    ]);
    // Images and volumes are on one file system.
    if let Ok(stat) = nix::sys::statvfs::statvfs(&shared.config.data_dir) {
        let unit = stat.fragment_size();
        let disk = level(stat.blocks_available() * unit, stat.blocks() * unit);
        let inodes = level(stat.files_available(), stat.files());
        levels.extend([(Signal::Disk, disk), (Signal::ImageDisk, disk)]);
        levels.extend([(Signal::Inodes, inodes), (Signal::ImageInodes, inodes)]);
    }
    levels
}

/// Who has to go: whoever broke a limit of his own; else, if the node runs short, the first in rank.
async fn evictions(shared: &Shared, met: Option<Met>) -> Vec<(String, Eviction)> {
    let active: Vec<_> = shared.pods.list().into_iter().filter(|handle| is_active(handle)).collect();
    let mut gone = Vec::new();
    for handle in active.iter().filter(|handle| eviction::has_disk_limits(&handle.pod)) {
        if let Some(message) = eviction::breach(&handle.pod, &measure(shared, handle).await) {
            gone.push((handle.uid.clone(), Eviction { message, disrupted: false }));
        }
    }
    let Some(met) = met.filter(|_| gone.is_empty()) else { return gone };
    let node = node::subject(&shared.config);
    let text = format!("Attempting to reclaim {}", met.signal.resource());
    shared.recorder.warning(&node, "EvictionThresholdMet", text);
    let mut candidates: Vec<Candidate> = Vec::new();
    for handle in &active {
        candidates.push((Arc::clone(&handle.pod), measure(shared, handle).await));
    }
    eviction::rank(met.signal, &mut candidates);
    let first = candidates.first().map(|(pod, used)| {
        let eviction = Eviction { message: eviction::message(met, pod, used), disrupted: true };
        (pod.metadata.uid.clone().unwrap_or_default(), eviction)
    });
    first.into_iter().collect()
}

/// A pod that runs and may be ended.
fn is_active(handle: &PodHandle) -> bool {
    let phase = handle.pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let ends = handle.pod.metadata.deletion_timestamp.is_some() || matches!(phase, Some("Succeeded" | "Failed"));
    handle.sandbox_id.is_some() && !ends && !is_critical(&handle.pod)
}

async fn measure(shared: &Shared, handle: &PodHandle) -> PodUse {
    let runtime = &shared.config.runtime;
    let signed = |amount: u64| i64::try_from(amount).unwrap_or(i64::MAX);
    let mut used = PodUse::default();
    if let Some(sandbox) = &handle.sandbox_id
        && let Ok(stats) = runtime.sandbox_stats(sandbox).await
    {
        (used.memory, used.pids) = (signed(stats.memory_working_set), signed(stats.pids));
    }
    let mut folders: Vec<(String, Vec<PathBuf>)> = Vec::new();
    let logs = shared.log_folder(&handle.pod);
    for (name, container) in &handle.containers {
        let Some(current) = &container.current else { continue };
        let memory = runtime.stats(&current.id).await.map(|stats| signed(stats.memory_working_set)).unwrap_or_default();
        used.containers.insert(name.clone(), ContainerUse { memory, disk: 0 });
        let mut places = vec![logs.join(name)];
        places.extend(runtime.writable(&current.id));
        folders.push((name.clone(), places));
    }
    let volumes = volumes(shared, &handle.pod);
    let count = move || {
        let of = |places: &[PathBuf]| places.iter().map(|place| size(place)).sum::<u64>();
        let containers: Vec<_> = folders.iter().map(|(name, places)| (name.clone(), of(places))).collect();
        let volumes: Vec<_> = volumes.iter().map(|(name, place)| (name.clone(), size(place))).collect();
        (containers, volumes)
    };
    let (containers, volumes) = tokio::task::spawn_blocking(count).await.unwrap_or_default();
    for (name, bytes) in containers {
        used.disk += signed(bytes);
        used.containers.entry(name).or_default().disk = signed(bytes);
    }
    for (name, bytes) in volumes {
        used.disk += signed(bytes);
        used.volumes.insert(name, signed(bytes));
    }
    used
}

/// The volumes of the pod's lifetime that lie on the node's disk.
fn volumes(shared: &Shared, pod: &Pod) -> Vec<(String, PathBuf)> {
    let folder = shared.pod_folder(pod).join("volumes");
    let all = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let on_disk =
        all.filter(|volume| volume.empty_dir.as_ref().is_some_and(|source| source.medium.as_deref() != Some("Memory")));
    on_disk.map(|volume| (volume.name.clone(), folder.join("emptyDir").join(&volume.name))).collect()
}
