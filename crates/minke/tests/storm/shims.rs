//! The shims of a cluster, as the kernel knows them.

use std::fs;

use anyhow::Context;
use nix::unistd::Pid;
use testkit::Cluster;

/// Each with its cgroups, which carry the uid of its pod.
pub(crate) fn of(cluster: &Cluster) -> anyhow::Result<Vec<(Pid, String)>> {
    let id = fs::read_to_string(cluster.data().join("cluster-id")).context("read the cluster's id")?;
    let entries = fs::read_dir("/proc").context("read /proc")?.flatten();
    let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let shim = |process: i32| {
        let line = fs::read(format!("/proc/{process}/cmdline")).ok()?;
        let groups = fs::read_to_string(format!("/proc/{process}/cgroup")).ok()?;
        let is_shim = line.split(|byte| *byte == 0).any(|word| word == b"shim") && groups.contains(id.trim());
        is_shim.then(|| (Pid::from_raw(process), groups))
    };
    let mut found: Vec<_> = processes.filter_map(shim).collect();
    found.sort();
    Ok(found)
}
