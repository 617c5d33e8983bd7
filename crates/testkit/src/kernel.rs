//! What of minke the kernel and the machine's folders hold: mounts, cgroups, namespaces, links, processes, run folders.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::eventually;

/// A look at the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kernel(BTreeSet<String>);

impl Kernel {
    /// How it is now.
    pub fn now() -> Self {
        let mut found = BTreeSet::new();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
        found.extend(points.map(|point| format!("mount {point}")));
        for hierarchy in names(Path::new("/sys/fs/cgroup")) {
            let ours = hierarchy.join("minke");
            found.extend(names(&ours).into_iter().map(|path| format!("cgroup {}", path.display())));
        }
        found.extend(
            names(Path::new("/sys/fs/cgroup/minke")).into_iter().map(|path| format!("cgroup {}", path.display())),
        );
        found.extend(names(Path::new("/run/netns")).into_iter().map(|path| format!("namespace {}", path.display())));
        found.extend(names(Path::new("/sys/class/net")).into_iter().map(|path| format!("link {}", path.display())));
        found.extend(names(Path::new("/run/minke")).into_iter().map(|path| format!("run folder {}", path.display())));
        found.extend(processes());
        Self(found)
    }

    /// What is there now and wasn't then.
    pub fn new_since(&self) -> Vec<String> {
        Self::now().0.difference(&self.0).cloned().collect()
    }

    /// Fails if something stays that wasn't there then. The kernel takes apart a network namespace after its last user has gone.
    pub async fn nothing_is_left(&self) -> anyhow::Result<()> {
        eventually("nothing is left behind", async || match self.new_since() {
            left if left.is_empty() => Ok(()),
            left => Err(left),
        })
        .await
    }
}

fn names(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir() || path.starts_with("/run/netns")).collect()
}

/// Processes of minke, told by what they were started as.
fn processes() -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words: Vec<_> = line.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
        let program = words.first().and_then(|first| first.rsplit('/').next().map(str::to_owned)).unwrap_or_default();
        let second = words.get(1).map(|word| word.to_string()).unwrap_or_default();
        if program == "minke" || second == "shim" {
            found.push(format!("process {} {}", entry.file_name().to_string_lossy(), words.join(" ")));
        }
    }
    found
}
