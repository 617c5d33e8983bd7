//! Control groups of all three kinds: v1, hybrid and v2.
//!
//! A [`Cgroup`] is one path beneath the root of every hierarchy. Controllers that a machine lacks are left out, never
//! an error. On a hybrid machine the v1 controllers count, and the unified hierarchy is left alone.

mod devices;
mod limits;
mod usage;

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::config::Resources;
use crate::error::{Error, Result};
pub use devices::DeviceRule;
use limits::Setting;

/// How often killing is repeated before giving up; each round waits up to [`KILL_WAIT`] for the killed to end.
const KILL_ROUNDS: usize = 50;
const KILL_WAIT: rustix::time::Timespec = rustix::time::Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
/// The kernel may call a group busy for a moment after its last process was reaped.
const REMOVE_ROUNDS: usize = 20;
/// Groups above may be removed by others while one is made.
const CREATE_ROUNDS: usize = 10;

/// The hierarchies that are mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchies {
    mounts: Arc<Vec<Hierarchy>>,
    version: Version,
}

/// Which interface the controllers have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// One hierarchy a controller, or a few.
    V1,
    /// One hierarchy for all.
    V2,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Hierarchy {
    mount_point: PathBuf,
    /// Its controllers; for v2 those that its root offers.
    controllers: Vec<String>,
}

impl Hierarchies {
    /// Looks at what is mounted.
    pub fn detect() -> Result<Self> {
        let mountinfo =
            fs::read_to_string("/proc/self/mountinfo").map_err(Error::io("reading /proc/self/mountinfo"))?;
        let mut found = Self::parse(&mountinfo);
        if found.version == Version::V2 {
            let mut mounts = (*found.mounts).clone();
            for mount in &mut mounts {
                let offered = fs::read_to_string(mount.mount_point.join("cgroup.controllers")).unwrap_or_default();
                mount.controllers = offered.split_whitespace().map(str::to_owned).collect();
            }
            found.mounts = Arc::new(mounts);
        }
        if found.mounts.is_empty() {
            return Err(Error::Container("no cgroup hierarchy is mounted".to_owned()));
        }
        Ok(found)
    }

    fn parse(mountinfo: &str) -> Self {
        let (mut v1, mut v2) = (Vec::<Hierarchy>::new(), Vec::<Hierarchy>::new());
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let Some(mount_point) = left.split(' ').nth(4).map(PathBuf::from) else { continue };
            let mut right = right.split(' ');
            let (kind, options) = (right.next().unwrap_or_default(), right.nth(1).unwrap_or_default());
            match kind {
                "cgroup" => {
                    let known = |o: &&str| limits::V1_CONTROLLERS.contains(o) || o.starts_with("name=");
                    let controllers: Vec<String> = options.split(',').filter(known).map(str::to_owned).collect();
                    if !v1.iter().any(|h| h.controllers == controllers) {
                        v1.push(Hierarchy { mount_point, controllers });
                    }
                }
                "cgroup2" if v2.is_empty() => v2.push(Hierarchy { mount_point, controllers: Vec::new() }),
                _ => {}
            }
        }
        let version = if v1.iter().any(|h| h.controllers.iter().any(|c| c == "memory" || c == "cpu")) {
            Version::V1
        } else {
            Version::V2
        };
        let mounts = Arc::new(if version == Version::V1 { v1 } else { v2 });
        Self { mounts, version }
    }

    /// The interface in use.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The group at a path beneath every root. Nothing is made yet.
    pub fn group(&self, path: &str) -> Cgroup {
        Cgroup { hierarchies: self.clone(), path: path.trim_matches('/').to_owned() }
    }
}

/// A group.
#[derive(Clone, Debug)]
pub struct Cgroup {
    hierarchies: Hierarchies,
    path: String,
}

impl Cgroup {
    /// Its path beneath the roots, without a slash at either end.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Where the group's folders are and what a container calls them: on v1 a name for each controller, on v2 nothing.
    pub(crate) fn views(&self) -> Vec<(PathBuf, String)> {
        if self.hierarchies.version == Version::V2 {
            return Vec::new();
        }
        let name = |controller: &str| controller.strip_prefix("name=").unwrap_or(controller).to_owned();
        let of = |h: &Hierarchy| {
            let folder = h.mount_point.join(&self.path);
            h.controllers.iter().map(|c| (folder.clone(), name(c))).collect::<Vec<_>>()
        };
        self.hierarchies.mounts.iter().flat_map(of).collect()
    }

    /// A group beneath this one.
    pub fn child(&self, name: &str) -> Self {
        Self { hierarchies: self.hierarchies.clone(), path: format!("{}/{name}", self.path) }
    }

    /// Makes the group and those above it where they are missing.
    pub fn create(&self) -> Result<()> {
        self.hierarchies.mounts.iter().try_for_each(|hierarchy| {
            let mut result = Ok(());
            for _ in 0..CREATE_ROUNDS {
                result = self.create_in(hierarchy);
                match &result {
                    // Another owner just removed a group above, which was empty then.
                    Err((_, e)) if e.kind() == io::ErrorKind::NotFound => {}
                    _ => break,
                }
            }
            result.map_err(|(folder, e)| Error::io(format!("making cgroup {}", folder.display()))(e))
        })
    }

    fn create_in(&self, hierarchy: &Hierarchy) -> std::result::Result<(), (PathBuf, io::Error)> {
        let mut folder = hierarchy.mount_point.clone();
        for part in self.path.split('/') {
            if self.hierarchies.version == Version::V2 {
                delegate(&folder, &hierarchy.controllers);
            }
            let parent = folder.clone();
            folder.push(part);
            let cpuset = self.hierarchies.version == Version::V1 && hierarchy.controllers.iter().any(|c| c == "cpuset");
            match fs::create_dir(&folder) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err((folder, e)),
            }
            if cpuset {
                inherit_cpuset(&parent, &folder);
            }
        }
        Ok(())
    }

    /// Sets limits. A controller that is missing is left out.
    pub fn apply(&self, resources: &Resources) -> Result<()> {
        let settings = match self.hierarchies.version {
            Version::V1 => limits::v1(resources),
            Version::V2 => limits::v2(resources),
        };
        settings.iter().try_for_each(|setting| self.write(setting))
    }

    /// Allows only the given devices.
    pub fn allow_devices(&self, rules: &[DeviceRule]) -> Result<()> {
        match self.hierarchies.version {
            Version::V1 => limits::v1_devices(rules).iter().try_for_each(|setting| self.write(setting)),
            Version::V2 if rules.contains(&DeviceRule::all()) => Ok(()),
            Version::V2 => self.folders().try_for_each(|folder| {
                let doing = || format!("restricting devices of cgroup {}", folder.display());
                devices::restrict(&folder, rules).map_err(Error::io(doing()))
            }),
        }
    }

    fn write(&self, setting: &Setting) -> Result<()> {
        let Some(folder) = self.folder(setting.controller) else { return Ok(()) };
        let file = folder.join(&setting.file);
        match fs::write(&file, &setting.value) {
            Ok(()) => Ok(()),
            Err(e) if setting.optional || e.kind() == io::ErrorKind::NotFound => {
                tracing::debug!(file = %file.display(), value = %setting.value, error = %e, "limit not set");
                Ok(())
            }
            Err(e) => Err(Error::io(format!("writing {:?} to {}", setting.value, file.display()))(e)),
        }
    }

    /// Moves a process into the group; 0 is the caller. The first join in a while takes the kernel some ten
    /// milliseconds.
    pub fn join(&self, pid: u32) -> Result<()> {
        self.folders().try_for_each(|folder| join(&folder, pid))
    }

    /// Moves a process into the group of those hierarchies that have only a name (`name=systemd`).
    pub fn join_named(&self, pid: u32) -> Result<()> {
        let named = |h: &&Hierarchy| h.controllers.iter().all(|c| c.starts_with("name="));
        let v1 = self.hierarchies.version == Version::V1;
        let named = self.hierarchies.mounts.iter().filter(|_| v1).filter(named);
        named.map(|h| h.mount_point.join(&self.path)).try_for_each(|folder| join(&folder, pid))
    }

    /// Processes in the group and beneath it.
    pub fn processes(&self) -> Vec<u32> {
        let mut pids = Vec::new();
        for folder in self.folders() {
            collect_processes(&folder, &mut pids);
        }
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// Kills every process in the group and beneath it and waits until they have ended. Blocks.
    pub fn kill(&self) -> Result<()> {
        for _ in 0..KILL_ROUNDS {
            let pids = self.processes();
            if pids.is_empty() {
                return Ok(());
            }
            let handles: Vec<(u32, OwnedFd)> = pids.iter().filter_map(|pid| Some((*pid, open(*pid)?))).collect();
            // A number may have come to mean another process before its handle was opened: that one is not in the group.
            let still = self.processes();
            let ours =
                handles.into_iter().filter(|(pid, _)| still.binary_search(pid).is_ok()).map(|(_, handle)| handle);
            let waits: Vec<OwnedFd> = ours.filter(|handle| pidfd_send_signal(handle, Signal::KILL).is_ok()).collect();
            for wait in &waits {
                // A process that does not end within the wait is seen again in the next round.
                let _ = poll(&mut [PollFd::new(&wait.as_fd(), PollFlags::IN)], Some(&KILL_WAIT));
            }
        }
        Err(Error::Container(format!("processes in cgroup {} do not end", self.path)))
    }

    /// Removes the group and those beneath it, in which nothing may run. Blocks for a moment at most. It is no error if
    /// there is none.
    pub fn remove(&self) -> Result<()> {
        self.folders_of_all().iter().try_for_each(|folder| {
            remove_tree(folder).map_err(Error::io(format!("removing cgroup {}", folder.display())))
        })
    }

    /// Removes the group if it is empty, for groups shared by several owners.
    pub fn remove_if_empty(&self) {
        for folder in self.folders_of_all() {
            // Still in use by another owner: that one will remove it.
            let _ = fs::remove_dir(folder);
        }
    }

    fn folder(&self, controller: &str) -> Option<PathBuf> {
        let by_name = |h: &&Hierarchy| h.controllers.iter().any(|c| c == controller);
        self.hierarchies.mounts.iter().find(by_name).map(|h| h.mount_point.join(&self.path))
    }

    fn folders_of_all(&self) -> Vec<PathBuf> {
        self.hierarchies.mounts.iter().map(|h| h.mount_point.join(&self.path)).collect()
    }

    fn folders(&self) -> impl Iterator<Item = PathBuf> {
        self.folders_of_all().into_iter().filter(|f| f.exists())
    }
}

fn join(folder: &Path, pid: u32) -> Result<()> {
    let file = folder.join("cgroup.procs");
    fs::write(&file, pid.to_string()).map_err(Error::io(format!("joining {}", file.display())))
}

/// Hands the controllers of a v2 group down to its children. Refusals show up later, where a file is missing.
fn delegate(folder: &Path, controllers: &[String]) {
    let file = folder.join("cgroup.subtree_control");
    let enabled = fs::read_to_string(&file).unwrap_or_default();
    for controller in controllers {
        if !enabled.split_whitespace().any(|c| c == controller) {
            let _ = fs::write(&file, format!("+{controller}"));
        }
    }
}

/// A new v1 cpuset has no CPU and no memory, and takes no process until it gets its parent's. Who made it may not have come to
/// that yet: whoever finds it empty fills it.
fn inherit_cpuset(parent: &Path, folder: &Path) {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let empty = fs::read_to_string(folder.join(file)).is_ok_and(|value| value.trim().is_empty());
        if empty && let Ok(value) = fs::read_to_string(parent.join(file)) {
            let _ = fs::write(folder.join(file), value.trim());
        }
    }
}

fn collect_processes(folder: &Path, pids: &mut Vec<u32>) {
    let listed = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    pids.extend(listed.lines().filter_map(|line| line.parse::<u32>().ok()).filter(|pid| *pid != 0));
    for child in child_folders(folder) {
        collect_processes(&child, pids);
    }
}

fn child_folders(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect()
}

fn open(pid: u32) -> Option<OwnedFd> {
    pidfd_open(Pid::from_raw(i32::try_from(pid).ok()?)?, PidfdFlags::empty()).ok()
}

fn remove_tree(folder: &Path) -> io::Result<()> {
    for child in child_folders(folder) {
        remove_tree(&child)?;
    }
    let mut result = Ok(());
    for _ in 0..REMOVE_ROUNDS {
        result = match fs::remove_dir(folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        };
        match &result {
            Err(e) if e.kind() == io::ErrorKind::ResourceBusy => {
                // The kernel tells nobody when the group is free: wait a little.
                let pause = rustix::time::Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
                let _ = poll(&mut [], Some(&pause));
            }
            _ => break,
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";

    #[test]
    fn a_hybrid_machine_is_v1() {
        let found = Hierarchies::parse(HYBRID);
        assert_eq!(found.version, Version::V1);
        let names: Vec<_> = found.mounts.iter().map(|h| h.controllers.join(",")).collect();
        assert_eq!(names, ["cpu", "memory", "name=systemd"]);
    }

    #[test]
    fn a_machine_with_only_cgroup2_is_v2() {
        let found =
            Hierarchies::parse("30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate");
        assert_eq!(found.version, Version::V2);
        assert_eq!(found.group("/a/b/").path(), "a/b");
    }
    /// The unified hierarchy, also where it is not the one in use.
    fn unified() -> Option<Hierarchies> {
        let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let unified: String =
            mountinfo.lines().filter(|l| l.contains(" - cgroup2 ")).map(|l| format!("{l}\n")).collect();
        let found = Hierarchies::parse(&unified);
        let usable = nix::unistd::geteuid().is_root() && !found.mounts.is_empty();
        if !usable {
            eprintln!("SKIPPED: this test needs root and a cgroup2 mount");
        }
        usable.then_some(found)
    }

    #[test]
    fn a_cpuset_that_its_maker_has_not_filled_yet_is_filled() {
        let root = tempfile::tempdir().unwrap();
        let group = root.path().join("group");
        fs::create_dir(&group).unwrap();
        for (file, value) in [("cpuset.cpus", "0-1\n"), ("cpuset.mems", "0\n")] {
            fs::write(root.path().join(file), value).unwrap();
            fs::write(group.join(file), "\n").unwrap();
        }
        let mounts = vec![Hierarchy { mount_point: root.path().to_owned(), controllers: vec!["cpuset".to_owned()] }];
        let hierarchies = Hierarchies { mounts: Arc::new(mounts), version: Version::V1 };
        hierarchies.group("group").create().unwrap();
        let filled = ["cpuset.cpus", "cpuset.mems"].map(|file| fs::read_to_string(group.join(file)).unwrap());
        assert_eq!(filled, ["0-1", "0"]);
    }

    #[test]
    fn a_v2_group_holds_processes_and_restricts_devices() {
        let Some(unified) = unified() else { return };
        let parent = unified.group(&format!("minke-test-{}", std::process::id()));
        let group = parent.child("inner");
        group.create().unwrap();
        let rules = [DeviceRule::new(true, None, None, "m"), DeviceRule::new(true, Some(1), Some(3), "rw")];
        group.allow_devices(&rules).unwrap();
        let script =
            "read x; echo x >/dev/null && echo null; head -c1 /dev/zero >/dev/null || echo no zero; exec sleep 1000";
        let mut child = std::process::Command::new("/bin/sh")
            .args(["-c", script])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        group.join(child.id()).unwrap();
        assert_eq!(parent.processes(), [child.id()]);
        io::Write::write_all(&mut child.stdin.take().unwrap(), b"go\n").unwrap();
        let mut output = String::new();
        let mut lines = io::BufRead::lines(io::BufReader::new(child.stdout.take().unwrap()));
        for _ in 0..2 {
            output += &lines.next().unwrap().unwrap();
        }
        assert_eq!(output, "nullno zero");
        parent.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(group.oom_kills(), 0);
        parent.remove().unwrap();
        assert!(parent.processes().is_empty() && parent.folders().next().is_none());
    }
}
