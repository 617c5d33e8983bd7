//! What of a cluster the kernel and the machine's folders hold: mounts, cgroups, namespaces, links, processes, run folders.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::eventually;

/// Everything that may carry the marks of a cluster.
fn everything() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    found.extend(points.map(|point| format!("mount {point}")));
    let mut hierarchies = names(Path::new("/sys/fs/cgroup"));
    hierarchies.push(PathBuf::from("/sys/fs/cgroup"));
    for hierarchy in hierarchies {
        found.extend(names(&hierarchy.join("minke")).iter().map(|path| format!("cgroup {}", path.display())));
    }
    for (what, folder) in [("namespace", "/run/netns"), ("link", "/sys/class/net"), ("run folder", "/run/minke")] {
        found.extend(names(Path::new(folder)).iter().map(|path| format!("{what} {}", path.display())));
    }
    found.extend(processes());
    found
}

fn names(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir() || path.starts_with("/run/netns")).collect()
}

/// Processes with what they were started as and the folder that they run from.
fn processes() -> Vec<String> {
    let own = std::process::id().to_string();
    let all = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    let describe = |process: PathBuf| {
        let line = fs::read(process.join("cmdline")).ok()?;
        let words: Vec<_> = line.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
        let group = fs::read_to_string(process.join("cgroup")).unwrap_or_default();
        Some(format!("process {} {} in {}", process.display(), words.join(" "), group.replace('\n', " ")))
    };
    all.filter(|path| !path.ends_with(&own)).filter_map(describe).collect()
}

/// What carries one of these marks.
pub fn traces(marks: &[String]) -> Vec<String> {
    everything().into_iter().filter(|thing| marks.iter().any(|mark| thing.contains(mark.as_str()))).collect()
}

/// Fails if something keeps carrying one of these marks. The kernel takes apart a network namespace after its last user has gone.
pub async fn nothing_is_left(marks: &[String]) -> anyhow::Result<()> {
    eventually("nothing is left behind", async || match traces(marks) {
        left if left.is_empty() => Ok(()),
        left => Err(left),
    })
    .await
}
