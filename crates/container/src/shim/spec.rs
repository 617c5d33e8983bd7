//! A container's OCI specification: pure, from the record and what the worker found out.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::launch::DEFAULT_PATH;
use super::users::Identity;
use crate::config::{DeviceMapping, Mount, MountKind, NamespaceMode, Propagation, SandboxConfig};
use crate::records::ContainerRecord;

/// Hidden from containers, as upstream's runtimes do.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Read-only for containers whose `/proc` is masked, as upstream's runtimes do.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Where a container sees its cgroups.
const CGROUPS: &str = "/sys/fs/cgroup";

/// What the worker found out before the specification can be written.
pub(super) struct Facts<'a> {
    pub(super) sandbox: &'a SandboxConfig,
    pub(super) rootfs: &'a Path,
    pub(super) identity: &'a Identity,
    /// The sandbox's `/dev/shm` on the stage; `None` with the host's IPC namespace.
    pub(super) shm: Option<&'a Path>,
    /// Where the bind mounts of the record stand on the stage, in their order.
    pub(super) binds: &'a [PathBuf],
    /// PID 1 of a shared PID namespace.
    pub(super) pod_init: Option<u32>,
    pub(super) devices: &'a [Device],
    /// The container's cgroup in each v1 hierarchy, and its name there; empty on v2, where it has a namespace of its
    /// own.
    pub(super) cgroups: &'a [(PathBuf, String)],
}

/// A device node to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Device {
    pub(super) path: PathBuf,
    pub(super) character: bool,
    pub(super) major: u32,
    pub(super) minor: u32,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) permissions: String,
}

/// The whole document.
pub(super) fn spec(record: &ContainerRecord, facts: &Facts<'_>) -> Value {
    let config = &record.config;
    let mut linux = json!({
        "cgroupsPath": format!("/{}", record.cgroup),
        "namespaces": namespaces(record, facts),
        "devices": facts.devices.iter().map(device).collect::<Vec<_>>(),
        "rootfsPropagation": if bidirectional(record) { "shared" } else { "slave" },
    });
    let mut read_only: Vec<&str> = Vec::new();
    if !config.privileged && !config.unmasked_proc {
        linux["maskedPaths"] = json!(MASKED);
        read_only.extend(READ_ONLY);
    }
    if !config.privileged {
        read_only.push(CGROUPS);
    }
    linux["readonlyPaths"] = json!(read_only);
    json!({
        "ociVersion": "1.2.0",
        "root": { "path": facts.rootfs, "readonly": config.read_only_rootfs },
        "process": process(record, facts),
        "mounts": mounts(record, facts),
        "linux": linux,
    })
}

fn process(record: &ContainerRecord, facts: &Facts<'_>) -> Value {
    let config = &record.config;
    let mut process = json!({
        "terminal": config.tty,
        "user": { "uid": facts.identity.uid, "gid": facts.identity.gid, "additionalGids": facts.identity.groups },
        "args": command(record),
        "env": environment(record, &facts.identity.home),
        "cwd": working_dir(record),
    });
    // Capabilities and filter are not named: our own launcher sees to them.
    if config.no_new_privileges {
        process["noNewPrivileges"] = json!(true);
    }
    process
}

/// Compat: a command replaces the image's entrypoint and cmd, args alone replace only its cmd.
pub(super) fn command(record: &ContainerRecord) -> Vec<String> {
    let (config, image) = (&record.config, &record.image);
    let (first, rest) = if config.command.is_empty() {
        let rest = if config.args.is_empty() { &image.cmd } else { &config.args };
        (&image.entrypoint, rest)
    } else {
        (&config.command, &config.args)
    };
    first.iter().chain(rest).cloned().collect()
}

/// The image's variables, then the request's; `PATH`, `HOME` and `TERM` where nobody sets them.
fn environment(record: &ContainerRecord, home: &str) -> Vec<String> {
    let mut variables: Vec<(String, String)> = Vec::new();
    let mut set = |name: &str, value: &str| match variables.iter_mut().find(|(n, _)| n == name) {
        Some(slot) => value.clone_into(&mut slot.1),
        None => variables.push((name.to_owned(), value.to_owned())),
    };
    set("PATH", DEFAULT_PATH);
    if record.config.tty {
        set("TERM", "xterm");
    }
    for variable in &record.image.env {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        set(name, value);
    }
    for (name, value) in &record.config.env {
        set(name, value);
    }
    if !variables.iter().any(|(name, value)| name == "HOME" && !value.is_empty()) {
        variables.retain(|(name, _)| name != "HOME");
        variables.push(("HOME".to_owned(), home.to_owned()));
    }
    variables.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

/// Where the program starts.
pub(super) fn working_dir(record: &ContainerRecord) -> String {
    let own = record.config.working_dir.clone().filter(|d| !d.is_empty());
    let folder = own.unwrap_or_else(|| record.image.working_dir.clone());
    if folder.starts_with('/') { folder } else { format!("/{folder}") }
}

fn namespaces(record: &ContainerRecord, facts: &Facts<'_>) -> Vec<Value> {
    // Network, IPC and UTS are the shim's own: what is not named is inherited.
    let mut list = vec![json!({ "type": "mount" })];
    let own = record.config.pid_namespace.clone().map(NamespaceMode::Path);
    match (own.as_ref().unwrap_or(&facts.sandbox.namespaces.pid), facts.pod_init) {
        (NamespaceMode::Host, _) => {}
        (NamespaceMode::Path(path), _) => list.push(json!({ "type": "pid", "path": path })),
        (NamespaceMode::Sandbox, Some(pid)) => {
            list.push(json!({ "type": "pid", "path": format!("/proc/{pid}/ns/pid") }));
        }
        (NamespaceMode::Container | NamespaceMode::Sandbox, _) => list.push(json!({ "type": "pid" })),
    }
    if facts.cgroups.is_empty() {
        list.push(json!({ "type": "cgroup" }));
    }
    list
}

fn mounts(record: &ContainerRecord, facts: &Facts<'_>) -> Vec<Value> {
    let config = &record.config;
    let sys: &[&str] =
        if config.privileged { &["nosuid", "noexec", "nodev"] } else { &["nosuid", "noexec", "nodev", "ro"] };
    let mut list = vec![
        mount("proc", "/proc", &["nosuid", "noexec", "nodev"]),
        mount("tmpfs", "/dev", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("devpts", "/dev/pts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        mount("mqueue", "/dev/mqueue", &["nosuid", "noexec", "nodev"]),
        mount("sysfs", "/sys", sys),
    ];
    list.extend(cgroup_mounts(facts, sys));
    let shm = facts.shm.unwrap_or(Path::new("/dev/shm"));
    list.push(json!({
        "type": "bind", "source": shm, "destination": "/dev/shm", "options": ["rbind", "nosuid", "noexec", "nodev"],
    }));
    let defaults = list.len();
    let mut binds = facts.binds.iter();
    for request in &config.mounts {
        match request.kind {
            // Read-only and propagation are set on the stage already.
            MountKind::Bind => list.extend(binds.next().map(|source| bind(source, request))),
            MountKind::Tmpfs => {
                let mut options = vec!["nosuid".to_owned(), "nodev".to_owned()];
                options.extend(request.options.iter().cloned());
                if request.readonly {
                    options.push("ro".to_owned());
                }
                list.push(json!({
                    "type": "tmpfs", "source": "tmpfs", "destination": request.destination, "options": options,
                }));
            }
        }
    }
    // A caller's mount replaces a default one at the same place.
    let own: BTreeSet<&Path> = config.mounts.iter().map(|m| m.destination.as_path()).collect();
    let mut index = 0;
    list.retain(|m| {
        index += 1;
        index > defaults || !m["destination"].as_str().is_some_and(|d| own.contains(Path::new(d)))
    });
    list
}

fn mount(kind: &str, destination: &str, options: &[&str]) -> Value {
    json!({ "type": kind, "source": kind, "destination": destination, "options": options })
}

/// libcontainer would mount the groups of v1 writable, and those that its caller is in.
fn cgroup_mounts(facts: &Facts<'_>, options: &[&str]) -> Vec<Value> {
    if facts.cgroups.is_empty() {
        return vec![json!({ "type": "cgroup", "source": "cgroup", "destination": CGROUPS, "options": options })];
    }
    let parent = json!({
        "type": "tmpfs", "source": "tmpfs", "destination": CGROUPS, "options": ["nosuid", "noexec", "nodev", "mode=755"],
    });
    let rest: Vec<&str> = ["bind"].iter().chain(options).copied().collect();
    let groups = facts.cgroups.iter().map(|(source, name)| {
        json!({ "type": "bind", "source": source, "destination": format!("{CGROUPS}/{name}"), "options": rest })
    });
    std::iter::once(parent).chain(groups).collect()
}

fn bind(source: &Path, request: &Mount) -> Value {
    let mut options = vec!["rbind"];
    if request.readonly {
        options.push("ro");
    }
    json!({ "type": "bind", "source": source, "destination": request.destination, "options": options })
}

fn bidirectional(record: &ContainerRecord) -> bool {
    record.config.mounts.iter().any(|m| m.propagation == Propagation::Bidirectional)
}

fn device(device: &Device) -> Value {
    json!({
        "path": device.path,
        "type": if device.character { "c" } else { "b" },
        "major": device.major,
        "minor": device.minor,
        "fileMode": device.mode & 0o777,
        "uid": device.uid,
        "gid": device.gid,
    })
}

/// Looks a device up on the host.
pub(super) fn look_up(mapping: &DeviceMapping) -> std::io::Result<Device> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let found = std::fs::metadata(&mapping.host_path)?;
    let kind = found.file_type();
    if !kind.is_char_device() && !kind.is_block_device() {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a device"));
    }
    Ok(Device {
        path: mapping.container_path.clone(),
        character: kind.is_char_device(),
        major: rustix::fs::major(found.rdev()),
        minor: rustix::fs::minor(found.rdev()),
        mode: found.mode(),
        uid: found.uid(),
        gid: found.gid(),
        permissions: mapping.permissions.clone(),
    })
}

/// Every device of the host, for a privileged container; those that belong to the container's own mounts are left out.
pub(super) fn host_devices() -> Vec<Device> {
    let mut devices = Vec::new();
    walk_devices(Path::new("/dev"), &mut devices);
    devices
}

fn walk_devices(folder: &Path, devices: &mut Vec<Device>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            // Compat: these folders are mounts or links of the container's own, as upstream's runtimes skip them.
            if !["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"].iter().any(|skip| name == *skip) {
                walk_devices(&path, devices);
            }
        } else if !kind.is_symlink() && name != "console" && name != "ptmx" {
            let mapping =
                DeviceMapping { host_path: path.clone(), container_path: path, permissions: "rwm".to_owned() };
            devices.extend(look_up(&mapping));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ContainerConfig;
    use crate::images::ImageConfig;

    fn record(config: ContainerConfig, image: ImageConfig) -> ContainerRecord {
        ContainerRecord {
            config,
            created_at: std::time::UNIX_EPOCH,
            image,
            layers: Vec::new(),
            writable: PathBuf::new(),
            cgroup: "a/b".to_owned(),
            capabilities: BTreeSet::new(),
        }
    }

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn command_and_args() {
        let check = |command_: &str, args: &str, want: &str| {
            let image = ImageConfig { entrypoint: words("entry point"), cmd: words("cmd"), ..ImageConfig::default() };
            let config = ContainerConfig { command: words(command_), args: words(args), ..ContainerConfig::default() };
            assert_eq!(command(&record(config, image)), words(want), "{command_} + {args}");
        };
        check("", "", "entry point cmd");
        check("", "a b", "entry point a b");
        check("c", "", "c");
        check("c", "a", "c a");
    }

    #[test]
    fn variables() {
        let image = ImageConfig { env: vec!["A=1".to_owned(), "PATH=/x".to_owned()], ..ImageConfig::default() };
        let env = vec![("B".to_owned(), "2".to_owned()), ("A".to_owned(), "3".to_owned())];
        let config = ContainerConfig { env, ..ContainerConfig::default() };
        assert_eq!(environment(&record(config, image), "/root"), ["PATH=/x", "A=3", "B=2", "HOME=/root"]);
    }

    #[test]
    fn a_mount_of_the_caller_replaces_a_default_one() {
        let mounts_ = vec![Mount { destination: "/dev/shm".into(), source: "/x".into(), ..Mount::default() }];
        let config = ContainerConfig { mounts: mounts_, ..ContainerConfig::default() };
        let sandbox = SandboxConfig::default();
        let identity = Identity { uid: 0, gid: 0, groups: vec![], home: "/".to_owned() };
        let facts = Facts {
            sandbox: &sandbox,
            rootfs: Path::new("/r"),
            identity: &identity,
            shm: Some(Path::new("/stage/shm")),
            binds: &[PathBuf::from("/stage/m0")],
            pod_init: None,
            devices: &[],
            cgroups: &[],
        };
        let list = mounts(&record(config, ImageConfig::default()), &facts);
        let sources: Vec<&str> =
            list.iter().filter(|m| m["destination"] == "/dev/shm").filter_map(|m| m["source"].as_str()).collect();
        assert_eq!(sources, ["/stage/m0"]);
    }
}
