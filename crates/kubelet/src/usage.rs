//! What pods and the node use now. Nothing is measured until somebody asks: the first question takes two looks, a later one compares with
//! the one before it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use container::{ContainerState, Stats};
use jiff::Timestamp;

use crate::kubelet::Shared;
use crate::pods::PodHandle;
use crate::status::timestamp;

/// A rate is not told of less than this.
const SHORTEST: Duration = Duration::from_secs(1);
/// An older look says nothing about now.
const LONGEST: Duration = Duration::from_secs(60);
/// The kernel counts CPU time of the machine in hundredths of a second.
const TICK_NANOS: u64 = 10_000_000;

/// Nanoseconds of CPU time, by whom, as they were at a time.
#[derive(Clone, Debug, Default)]
struct Look {
    at: Timestamp,
    cpu: BTreeMap<String, u64>,
}

/// The look before.
#[derive(Debug, Default)]
pub(crate) struct Looks(Mutex<Option<Look>>);

/// What one thing uses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) stats: Stats,
    /// Nanoseconds of CPU time in a second.
    pub(crate) nano_cores: u64,
    pub(crate) started_at: Option<Timestamp>,
}

/// What a pod and its containers use.
#[derive(Debug)]
pub(crate) struct PodUsage {
    pub(crate) pod: Arc<PodHandle>,
    pub(crate) whole: Usage,
    pub(crate) containers: BTreeMap<String, Usage>,
    /// Bytes on disk: volumes of the pod's lifetime and logs.
    pub(crate) disk: u64,
}

/// What the machine has and uses.
#[derive(Debug, Default)]
pub(crate) struct NodeUsage {
    pub(crate) cpu_nanos: u64,
    pub(crate) nano_cores: u64,
    pub(crate) memory_total: u64,
    pub(crate) memory_available: u64,
    pub(crate) memory_free: u64,
    pub(crate) memory_rss: u64,
    pub(crate) processes: u64,
    pub(crate) max_processes: u64,
}

/// Everything, at one time.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) at: Timestamp,
    /// Over which rates were taken.
    pub(crate) window: Duration,
    pub(crate) node: NodeUsage,
    pub(crate) pods: Vec<PodUsage>,
}

/// Looks at everything.
pub(crate) async fn take(shared: &Shared) -> Snapshot {
    let before = match recent(shared) {
        Some(before) => before,
        None => {
            let first = look(shared).await;
            tokio::time::sleep(SHORTEST).await;
            first.1
        }
    };
    let (mut snapshot, now) = look(shared).await;
    snapshot.window = Duration::try_from(now.at.duration_since(before.at)).unwrap_or(SHORTEST);
    let rate = |key: &str| {
        let used = now.cpu.get(key)?.checked_sub(*before.cpu.get(key)?)?;
        u64::try_from(u128::from(used) * 1_000_000_000 / snapshot.window.as_nanos().max(1)).ok()
    };
    snapshot.node.nano_cores = rate("").unwrap_or_default();
    for pod in &mut snapshot.pods {
        let uid = pod.pod.uid.clone();
        pod.whole.nano_cores = rate(&uid).unwrap_or_default();
        for (name, usage) in &mut pod.containers {
            usage.nano_cores = rate(&format!("{uid}/{name}")).unwrap_or_default();
        }
    }
    *shared.looks.0.lock().expect("no holder of this lock can panic") = Some(now);
    snapshot
}

/// The look before, if it is neither too young nor too old.
fn recent(shared: &Shared) -> Option<Look> {
    let before = shared.looks.0.lock().expect("no holder of this lock can panic").clone()?;
    let age = Duration::try_from(shared.config.clock.now().duration_since(before.at)).ok()?;
    (SHORTEST..LONGEST).contains(&age).then_some(before)
}

async fn look(shared: &Shared) -> (Snapshot, Look) {
    let at = shared.config.clock.now();
    let mut cpu = BTreeMap::new();
    let mut pods = Vec::new();
    for pod in shared.pods.list() {
        let Some(sandbox) = &pod.sandbox_id else { continue };
        let Ok(stats) = shared.config.runtime.sandbox_stats(sandbox).await else { continue };
        cpu.insert(pod.uid.clone(), stats.cpu_usage_ns);
        let containers = containers(shared, &pod, &mut cpu).await;
        let started_at = containers.values().filter_map(|usage| usage.started_at).min();
        let disk = disk(shared, &pod).await;
        pods.push(PodUsage { whole: Usage { stats, started_at, ..Usage::default() }, containers, disk, pod });
    }
    let node = node();
    cpu.insert(String::new(), node.cpu_nanos);
    (Snapshot { at, window: SHORTEST, node, pods }, Look { at, cpu })
}

async fn containers(shared: &Shared, pod: &PodHandle, cpu: &mut BTreeMap<String, u64>) -> BTreeMap<String, Usage> {
    let mut all = BTreeMap::new();
    for (name, container) in &pod.containers {
        let Some(current) = &container.current else { continue };
        let ContainerState::Running { started_at, .. } = current.state else { continue };
        let Ok(stats) = shared.config.runtime.stats(&current.id).await else { continue };
        cpu.insert(format!("{}/{name}", pod.uid), stats.cpu_usage_ns);
        let started_at = Some(timestamp(started_at));
        all.insert(name.clone(), Usage { stats, started_at, ..Usage::default() });
    }
    all
}

async fn disk(shared: &Shared, pod: &PodHandle) -> u64 {
    let metadata = &pod.object.metadata;
    let logs = format!("{}_{}_{}", metadata.namespace, metadata.name, pod.uid);
    let folder = &shared.config.data_dir;
    let folders = [folder.join("pods").join(&pod.uid), folder.join("logs").join(logs)];
    let count = move || folders.iter().map(|folder| size(folder)).sum();
    tokio::task::spawn_blocking(count).await.unwrap_or_default()
}

/// Bytes of the files beneath a folder; what cannot be read counts for nothing.
pub(crate) fn size(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(facts) if facts.is_dir() => size(&entry.path()),
            Ok(facts) => facts.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}

pub(crate) fn node() -> NodeUsage {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let memory = read("/proc/meminfo");
    let kilobytes = |name: &str| -> u64 {
        let line = memory.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok()).unwrap_or_default() << 10
    };
    let load = read("/proc/loadavg");
    let processes = load.split_whitespace().nth(3).and_then(|tasks| tasks.split('/').nth(1)?.parse().ok());
    NodeUsage {
        cpu_nanos: busy(&read("/proc/stat")),
        nano_cores: 0,
        memory_total: kilobytes("MemTotal"),
        memory_available: kilobytes("MemAvailable"),
        memory_free: kilobytes("MemFree"),
        memory_rss: kilobytes("AnonPages"),
        processes: processes.unwrap_or_default(),
        max_processes: read("/proc/sys/kernel/pid_max").trim().parse().unwrap_or_default(),
    }
}

/// Nanoseconds that the machine's CPUs were not idle.
fn busy(stat: &str) -> u64 {
    let line = stat.lines().next().and_then(|line| line.strip_prefix("cpu ")).unwrap_or_default();
    let ticks: Vec<u64> = line.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guests are counted in the first two already.
    let busy: u64 = [0, 1, 2, 5, 6, 7].iter().filter_map(|index| ticks.get(*index)).sum();
    busy * TICK_NANOS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_is_not_counted() {
        assert_eq!(busy("cpu  1 2 4 1000 1000 8 16 32 100 100\ncpu0 1 2 3"), 63 * TICK_NANOS);
        assert_eq!(busy(""), 0);
    }
}
