//! Usage in the two forms that the kubelet's API has: `/stats/summary` and `/metrics/resource`.

use std::fmt::Write as _;

use jiff::Timestamp;
use meta::format_time;
use serde_json::{Value, json};

use crate::kubelet::Shared;
use crate::usage::{PodUsage, Snapshot, Usage};

/// The document of `/stats/summary`.
pub(crate) fn summary(shared: &Shared, snapshot: &Snapshot) -> Value {
    let (at, node) = (format_time(snapshot.at), &snapshot.node);
    let used = node.memory_total.saturating_sub(node.memory_free);
    let working_set = node.memory_total.saturating_sub(node.memory_available);
    json!({
        "node": {
            "nodeName": shared.config.node_name,
            "cpu": {"time": at, "usageNanoCores": node.nano_cores, "usageCoreNanoSeconds": node.cpu_nanos},
            "memory": {
                "time": at, "availableBytes": node.memory_available, "usageBytes": used,
                "workingSetBytes": working_set, "rssBytes": node.memory_rss,
            },
            "fs": file_system(shared, &at),
            "rlimit": {"time": at, "maxpid": node.max_processes, "curproc": node.processes},
        },
        "pods": snapshot.pods.iter().map(|pod| of_pod(pod, &at)).collect::<Vec<_>>(),
        // How long the rates were watched; upstream has no such field.
        "window": snapshot.window.as_secs_f64(),
    })
}

fn file_system(shared: &Shared, at: &str) -> Value {
    let Ok(stat) = nix::sys::statvfs::statvfs(&shared.config.data_dir) else { return json!({}) };
    let unit = stat.fragment_size();
    json!({
        "time": at, "capacityBytes": stat.blocks() * unit, "availableBytes": stat.blocks_available() * unit,
        "usedBytes": (stat.blocks() - stat.blocks_free()) * unit,
        "inodes": stat.files(), "inodesFree": stat.files_free(), "inodesUsed": stat.files() - stat.files_free(),
    })
}

fn of_pod(usage: &PodUsage, at: &str) -> Value {
    let metadata = &usage.pod.object.metadata;
    let containers = usage.containers.iter().map(|(name, usage)| {
        let mut one = amounts(usage, at);
        one["name"] = json!(name);
        one
    });
    let mut pod = amounts(&usage.whole, at);
    pod["podRef"] = json!({"name": metadata.name, "namespace": metadata.namespace, "uid": metadata.uid});
    pod["containers"] = containers.collect();
    pod["ephemeral-storage"] = json!({"time": at, "usedBytes": usage.disk});
    pod["process_stats"] = json!({"process_count": usage.whole.stats.pids});
    pod
}

fn amounts(usage: &Usage, at: &str) -> Value {
    let stats = &usage.stats;
    json!({
        "startTime": usage.started_at.map(format_time),
        "cpu": {"time": at, "usageNanoCores": usage.nano_cores, "usageCoreNanoSeconds": stats.cpu_usage_ns},
        "memory": {
            "time": at, "usageBytes": stats.memory_usage, "workingSetBytes": stats.memory_working_set,
            "rssBytes": stats.memory_rss, "pageFaults": stats.page_faults, "majorPageFaults": stats.major_page_faults,
        },
    })
}

/// One family of samples: name, help, kind, and label sets with values.
type Family = (&'static str, &'static str, &'static str, Vec<(String, f64)>);

/// The text of `/metrics/resource`.
pub(crate) fn resource_metrics(snapshot: &Snapshot) -> String {
    let working_set = snapshot.node.memory_total.saturating_sub(snapshot.node.memory_available);
    let families: [Family; 8] = [
        (
            "container_cpu_usage_seconds_total",
            "[STABLE] Cumulative cpu time consumed by the container in core-seconds",
            "counter",
            of_containers(snapshot, cpu_seconds),
        ),
        (
            "container_memory_working_set_bytes",
            "[STABLE] Current working set of the container in bytes",
            "gauge",
            of_containers(snapshot, |usage| usage.stats.memory_working_set as f64),
        ),
        (
            "container_start_time_seconds",
            "[STABLE] Start time of the container since unix epoch in seconds",
            "gauge",
            of_containers(snapshot, |usage| usage.started_at.map_or(0.0, |at| at.as_second() as f64)),
        ),
        (
            "node_cpu_usage_seconds_total",
            "[STABLE] Cumulative cpu time consumed by the node in core-seconds",
            "counter",
            vec![(String::new(), snapshot.node.cpu_nanos as f64 / 1e9)],
        ),
        (
            "node_memory_working_set_bytes",
            "[STABLE] Current working set of the node in bytes",
            "gauge",
            vec![(String::new(), working_set as f64)],
        ),
        (
            "pod_cpu_usage_seconds_total",
            "[STABLE] Cumulative cpu time consumed by the pod in core-seconds",
            "counter",
            of_pods(snapshot, cpu_seconds),
        ),
        (
            "pod_memory_working_set_bytes",
            "[STABLE] Current working set of the pod in bytes",
            "gauge",
            of_pods(snapshot, |usage| usage.stats.memory_working_set as f64),
        ),
        (
            "resource_scrape_error",
            "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise",
            "gauge",
            vec![(String::new(), 0.0)],
        ),
    ];
    families.iter().fold(String::new(), |mut text, family| {
        write_family(&mut text, family, snapshot.at);
        text
    })
}

fn cpu_seconds(usage: &Usage) -> f64 {
    usage.stats.cpu_usage_ns as f64 / 1e9
}

fn of_containers(snapshot: &Snapshot, value: impl Fn(&Usage) -> f64) -> Vec<(String, f64)> {
    let all = snapshot.pods.iter().flat_map(|pod| pod.containers.iter().map(move |(name, usage)| (pod, name, usage)));
    all.map(|(pod, name, usage)| (format!("{{container=\"{name}\",{}}}", labels(pod)), value(usage))).collect()
}

fn of_pods(snapshot: &Snapshot, value: impl Fn(&Usage) -> f64) -> Vec<(String, f64)> {
    snapshot.pods.iter().map(|pod| (format!("{{{}}}", labels(pod)), value(&pod.whole))).collect()
}

fn labels(pod: &PodUsage) -> String {
    let metadata = &pod.pod.object.metadata;
    format!("namespace=\"{}\",pod=\"{}\"", metadata.namespace, metadata.name)
}

fn write_family(text: &mut String, (name, help, kind, samples): &Family, at: Timestamp) {
    // Writing into a string cannot fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    for (labels, value) in samples {
        let _ = writeln!(text, "{name}{labels} {value} {}", at.as_millisecond());
    }
}
