//! What a group uses, and whether the kernel killed in it.

use std::fs;

use super::{Cgroup, Version};
use crate::runtime::Stats;

impl Cgroup {
    /// How many processes the kernel killed for lack of memory.
    pub fn oom_kills(&self) -> u64 {
        match self.hierarchies.version {
            Version::V1 => self.keyed("memory", "memory.oom_control", "oom_kill"),
            Version::V2 => self.keyed("memory", "memory.events", "oom_kill"),
        }
        .unwrap_or(0)
    }

    /// What the group and those beneath it use; what cannot be read is 0.
    pub fn stats(&self) -> Stats {
        match self.hierarchies.version {
            Version::V1 => self.stats_v1(),
            Version::V2 => self.stats_v2(),
        }
    }

    fn stats_v1(&self) -> Stats {
        let usage = self.number("memory", "memory.usage_in_bytes");
        let memory = |key: &str| self.keyed("memory", "memory.stat", key).unwrap_or(0);
        Stats {
            cpu_usage_ns: self.number("cpuacct", "cpuacct.usage"),
            memory_usage: usage,
            memory_working_set: usage.saturating_sub(memory("total_inactive_file")),
            memory_rss: memory("total_rss"),
            page_faults: memory("total_pgfault"),
            major_page_faults: memory("total_pgmajfault"),
            pids: self.number("pids", "pids.current"),
            at: None,
        }
    }

    fn stats_v2(&self) -> Stats {
        let usage = self.number("memory", "memory.current");
        let memory = |key: &str| self.keyed("memory", "memory.stat", key).unwrap_or(0);
        Stats {
            cpu_usage_ns: self.keyed("cpu", "cpu.stat", "usage_usec").unwrap_or(0) * 1000,
            memory_usage: usage,
            memory_working_set: usage.saturating_sub(memory("inactive_file")),
            memory_rss: memory("anon"),
            page_faults: memory("pgfault"),
            major_page_faults: memory("pgmajfault"),
            pids: self.number("pids", "pids.current"),
            at: None,
        }
    }

    fn read(&self, controller: &str, file: &str) -> Option<String> {
        fs::read_to_string(self.folder(controller)?.join(file)).ok()
    }

    fn number(&self, controller: &str, file: &str) -> u64 {
        self.read(controller, file).and_then(|s| s.trim().parse().ok()).unwrap_or(0)
    }

    fn keyed(&self, controller: &str, file: &str, key: &str) -> Option<u64> {
        let text = self.read(controller, file)?;
        text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
    }
}
