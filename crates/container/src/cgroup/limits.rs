//! Which files of a group hold which limit: pure, from [`Resources`] to files and values.

use super::devices::DeviceRule;
use crate::config::Resources;

/// Names of v1 controllers, as they stand in mount options.
pub(super) const V1_CONTROLLERS: [&str; 13] = [
    "cpu",
    "cpuacct",
    "cpuset",
    "memory",
    "devices",
    "freezer",
    "blkio",
    "pids",
    "hugetlb",
    "net_cls",
    "net_prio",
    "perf_event",
    "rdma",
];

/// A value to be written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) controller: &'static str,
    pub(super) file: String,
    pub(super) value: String,
    /// A refusal by the kernel is no error: it lacks the feature, or the group already is stricter.
    pub(super) optional: bool,
}

fn must(controller: &'static str, file: &str, value: impl ToString) -> Setting {
    Setting { controller, file: file.to_owned(), value: value.to_string(), optional: false }
}

fn may(controller: &'static str, file: &str, value: impl ToString) -> Setting {
    Setting { optional: true, ..must(controller, file, value) }
}

/// Limits on v1. Where one file bounds another, the order lets both growing and shrinking succeed.
pub(super) fn v1(resources: &Resources) -> Vec<Setting> {
    let mut settings = Vec::new();
    if let Some(shares) = resources.cpu_shares {
        settings.push(must("cpu", "cpu.shares", shares));
    }
    if let Some(period) = resources.cpu_period {
        settings.push(must("cpu", "cpu.cfs_period_us", period));
    }
    if let Some(quota) = resources.cpu_quota {
        settings.push(must("cpu", "cpu.cfs_quota_us", quota.max(-1)));
    }
    cpuset(resources, &mut settings);
    if let Some(swap) = resources.memory_swap_limit {
        settings.push(may("memory", "memory.memsw.limit_in_bytes", swap.max(-1)));
    }
    if let Some(limit) = resources.memory_limit {
        settings.push(must("memory", "memory.limit_in_bytes", limit.max(-1)));
    }
    if let Some(swap) = resources.memory_swap_limit {
        settings.push(may("memory", "memory.memsw.limit_in_bytes", swap.max(-1)));
    }
    if let Some(pids) = resources.pids_limit {
        settings.push(must("pids", "pids.max", or_max(pids)));
    }
    for (size, bytes) in &resources.hugepage_limits {
        settings.push(may("hugetlb", &format!("hugetlb.{size}.limit_in_bytes"), bytes));
    }
    settings
}

/// Limits on v2.
pub(super) fn v2(resources: &Resources) -> Vec<Setting> {
    let mut settings = Vec::new();
    if let Some(shares) = resources.cpu_shares {
        settings.push(must("cpu", "cpu.weight", weight(shares)));
    }
    if resources.cpu_quota.is_some() || resources.cpu_period.is_some() {
        let quota = resources.cpu_quota.filter(|q| *q > 0).map_or_else(|| "max".to_owned(), |q| q.to_string());
        settings.push(must("cpu", "cpu.max", format!("{quota} {}", resources.cpu_period.unwrap_or(100_000))));
    }
    cpuset(resources, &mut settings);
    if let Some(limit) = resources.memory_limit {
        settings.push(must("memory", "memory.max", or_max(limit)));
    }
    if let Some(both) = resources.memory_swap_limit {
        let swap = if both < 0 { both } else { both - resources.memory_limit.unwrap_or(0).max(0) };
        settings.push(may("memory", "memory.swap.max", or_max(swap)));
    }
    if let Some(pids) = resources.pids_limit {
        settings.push(must("pids", "pids.max", or_max(pids)));
    }
    for (size, bytes) in &resources.hugepage_limits {
        settings.push(may("hugetlb", &format!("hugetlb.{size}.max"), bytes));
    }
    for (file, value) in &resources.unified {
        let controller = if file.starts_with("memory.") { "memory" } else { "cpu" };
        settings.push(may(controller, file, value));
    }
    settings
}

/// Access to devices on v1: nothing but what the rules give.
pub(super) fn v1_devices(rules: &[DeviceRule]) -> Vec<Setting> {
    let mut settings = Vec::new();
    if !rules.contains(&DeviceRule::all()) {
        settings.push(may("devices", "devices.deny", "a"));
    }
    settings.extend(rules.iter().map(|rule| may("devices", "devices.allow", rule.line())));
    settings
}

fn cpuset(resources: &Resources, settings: &mut Vec<Setting>) {
    if let Some(cpus) = &resources.cpuset_cpus {
        settings.push(must("cpuset", "cpuset.cpus", cpus));
    }
    if let Some(mems) = &resources.cpuset_mems {
        settings.push(must("cpuset", "cpuset.mems", mems));
    }
}

fn or_max(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

/// The v2 weight (1 to 10000) of v1 shares (2 to 262144), by the line that upstream's runtimes use.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(resources: Resources, want_v1: &[&str], want_v2: &[&str]) {
        let show = |settings: Vec<Setting>| -> Vec<String> {
            settings.into_iter().map(|s| format!("{}={}", s.file, s.value)).collect()
        };
        assert_eq!(show(v1(&resources)), want_v1, "v1 of {resources:?}");
        assert_eq!(show(v2(&resources)), want_v2, "v2 of {resources:?}");
    }

    #[test]
    fn files_and_values() {
        check(Resources::default(), &[], &[]);
        check(Resources { cpu_shares: Some(1024), ..Resources::default() }, &["cpu.shares=1024"], &["cpu.weight=39"]);
        check(Resources { cpu_shares: Some(2), ..Resources::default() }, &["cpu.shares=2"], &["cpu.weight=1"]);
        check(
            Resources { cpu_quota: Some(50_000), cpu_period: Some(100_000), ..Resources::default() },
            &["cpu.cfs_period_us=100000", "cpu.cfs_quota_us=50000"],
            &["cpu.max=50000 100000"],
        );
        check(
            Resources { memory_limit: Some(64 << 20), memory_swap_limit: Some(64 << 20), ..Resources::default() },
            &[
                "memory.memsw.limit_in_bytes=67108864",
                "memory.limit_in_bytes=67108864",
                "memory.memsw.limit_in_bytes=67108864",
            ],
            &["memory.max=67108864", "memory.swap.max=0"],
        );
        check(Resources { pids_limit: Some(-1), ..Resources::default() }, &["pids.max=max"], &["pids.max=max"]);
    }

    #[test]
    fn devices_are_denied_first() {
        let rules = [DeviceRule::new(true, None, None, "m"), DeviceRule::new(true, Some(1), Some(3), "rwm")];
        let shown: Vec<_> = v1_devices(&rules).into_iter().map(|s| s.value).collect();
        assert_eq!(shown, ["a", "c *:* m", "c 1:3 rwm"]);
        assert_eq!(v1_devices(&[DeviceRule::all()]).len(), 1);
    }
}
