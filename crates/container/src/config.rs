//! What a caller asks for: sandboxes, containers, mounts, resources. Plain data, kept as JSON in the run folder so that
//! a restarted daemon finds it again.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::images::ImageId;

/// Who provides a namespace of a sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NamespaceMode {
    /// A new one, shared by the sandbox's containers.
    #[default]
    Sandbox,
    /// A new one for each container; only for the PID namespace.
    Container,
    /// The one the daemon itself is in.
    Host,
    /// An existing one, named by a path that can be opened, like `/proc/PID/ns/net` or a bind mount of it.
    Path(PathBuf),
}

/// The namespaces of a sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    /// The network namespace. A new one has nothing but `lo`, up.
    pub network: NamespaceMode,
    /// System V IPC and POSIX message queues. `/dev/shm` follows it.
    pub ipc: NamespaceMode,
    /// Host name and domain name.
    pub uts: NamespaceMode,
    /// `Container` hides the containers' processes from each other; `Sandbox` shares one namespace whose PID 1 is ours.
    pub pid: NamespaceMode,
}

impl Default for Namespaces {
    fn default() -> Self {
        Self {
            network: NamespaceMode::Sandbox,
            ipc: NamespaceMode::Sandbox,
            uts: NamespaceMode::Sandbox,
            pid: NamespaceMode::Container,
        }
    }
}

/// A sandbox: what its containers share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxConfig {
    /// Unique, chosen by the caller; letters, digits, `-`, `_` and `.`, at most 128 of them.
    pub id: String,
    /// For people who look at a list.
    pub name: String,
    /// Free text kept in the record and given back by `list`.
    pub labels: BTreeMap<String, String>,
    /// Free text kept in the record and given back by `list`.
    pub annotations: BTreeMap<String, String>,
    /// The host name in a UTS namespace of the sandbox's own.
    pub hostname: String,
    /// The NIS domain name, if any.
    pub domainname: Option<String>,
    /// Which namespaces are new and which are the host's.
    pub namespaces: Namespaces,
    /// Kernel parameters written before any container starts, named with dots: `net.ipv4.ip_forward`.
    pub sysctls: BTreeMap<String, String>,
    /// The cgroup of the sandbox, beneath the root of every hierarchy: `minke/ab12cd34/node/kubepods/burstable/podUID`.
    /// Created if missing, removed with the sandbox. Containers get a child each, the shim another.
    pub cgroup_parent: String,
    /// Limits of the sandbox as a whole, on `cgroup_parent`.
    pub resources: Resources,
    /// Size of `/dev/shm` in bytes; the kernel's default of half the memory is never used.
    pub shm_size: Option<u64>,
}

/// What a mount shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountKind {
    /// A file or folder of the host.
    #[default]
    Bind,
    /// An empty tmpfs of the container's own.
    Tmpfs,
}

/// How mounts made later pass between host and container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    /// Not at all.
    #[default]
    Private,
    /// From the host into the container.
    HostToContainer,
    /// Both ways; only for privileged containers.
    Bidirectional,
}

/// One mount of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Bind or tmpfs.
    pub kind: MountKind,
    /// The host's path of a bind; opened once by the caller's process, so `/proc/self/fd/N` of the caller works and
    /// cannot be swapped later.
    pub source: PathBuf,
    /// Where it appears in the container; resolved beneath the container's root.
    pub destination: PathBuf,
    /// No writes through this mount.
    pub readonly: bool,
    /// With `readonly`: mounts beneath it too (needs Linux 5.12).
    pub recursive_readonly: bool,
    /// Propagation of later mounts.
    pub propagation: Propagation,
    /// Options of a tmpfs, like `size=64m` or `mode=1777`.
    pub options: Vec<String>,
}

/// A device node of the host to be shown in the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceMapping {
    /// The host's path.
    pub host_path: PathBuf,
    /// The path in the container, beneath `/dev`.
    pub container_path: PathBuf,
    /// Some of `r`, `w`, `m`.
    pub permissions: String,
}

/// Limits, as the kernel's cgroups know them. `None` leaves the kernel's value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// CPU weight in v1 shares, 2 to 262144; 1024 is one CPU.
    pub cpu_shares: Option<u64>,
    /// CPU time in microseconds a period; negative for no limit.
    pub cpu_quota: Option<i64>,
    /// Length of a period in microseconds; 100000 if there is a quota.
    pub cpu_period: Option<u64>,
    /// CPUs, like `0-3,7`.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes, like `0`.
    pub cpuset_mems: Option<String>,
    /// Memory in bytes; negative for no limit.
    pub memory_limit: Option<i64>,
    /// Memory and swap together in bytes; negative for no limit.
    pub memory_swap_limit: Option<i64>,
    /// Processes; negative for no limit.
    pub pids_limit: Option<i64>,
    /// Bytes of huge pages by page size, like `2MB`.
    pub hugepage_limits: BTreeMap<String, u64>,
    /// Values of v2 files that have no field here, like `memory.min`; ignored on v1.
    pub unified: BTreeMap<String, String>,
}

/// Which user a process runs as.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Numeric user; it wins over `name` and over the image's user.
    pub uid: Option<u32>,
    /// Numeric group; else the primary group of the user in the image's `/etc/passwd`, else 0.
    pub gid: Option<u32>,
    /// `user`, `user:group`, `uid:gid`: looked up in the image's `/etc/passwd` and `/etc/group`.
    pub name: Option<String>,
    /// Further groups.
    pub supplementary_gids: Vec<u32>,
    /// False adds the groups that the image's `/etc/group` gives the user (policy `Merge`), true does not (`Strict`).
    pub strict_groups: bool,
}

/// Which system calls a container may make.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seccomp {
    /// All.
    #[default]
    Unconfined,
    /// Our default profile, which depends on the capabilities.
    RuntimeDefault,
    /// A profile on the node, in the format of Docker and the OCI.
    Localhost(PathBuf),
}

/// Changes to the default capabilities. Names with or without `CAP_`; `ALL` is all. Additions win over removals of
/// `ALL`, as upstream has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Added to the default set.
    pub add: Vec<String>,
    /// Taken from the default set.
    pub drop: Vec<String>,
}

/// One container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerConfig {
    /// Unique, chosen by the caller; letters, digits, `-`, `_` and `.`, at most 128 of them.
    pub id: String,
    /// The sandbox it belongs to.
    pub sandbox_id: String,
    /// For people who look at a list.
    pub name: String,
    /// The image to run.
    pub image: ImageId,
    /// Replaces the image's entrypoint. With a command and no args, the image's cmd is not used.
    pub command: Vec<String>,
    /// Replaces the image's cmd.
    pub args: Vec<String>,
    /// Set after the image's environment, in this order.
    pub env: Vec<(String, String)>,
    /// Replaces the image's working directory; made if missing.
    pub working_dir: Option<String>,
    /// The user; empty is the image's.
    pub user: User,
    /// Mounts, in this order, after the default ones.
    pub mounts: Vec<Mount>,
    /// Devices besides the default ones.
    pub devices: Vec<DeviceMapping>,
    /// Changes to the default capabilities.
    pub capabilities: Capabilities,
    /// All capabilities the host can give, all its devices, no masks, no seccomp.
    pub privileged: bool,
    /// A read-only root file system.
    pub read_only_rootfs: bool,
    /// No gain of privileges through setuid programs.
    pub no_new_privileges: bool,
    /// The filter of system calls.
    pub seccomp: Seccomp,
    /// Leaves `/proc` as it is: no masked and read-only paths (`procMount: Unmasked`).
    pub unmasked_proc: bool,
    /// Limits.
    pub resources: Resources,
    /// An existing PID namespace to join, like `/proc/PID/ns/pid`, in place of the one that the sandbox says.
    #[serde(default)]
    pub pid_namespace: Option<PathBuf>,
    /// Wanted `oom_score_adj`. Without CAP_SYS_RESOURCE the kernel refuses to lower it: then it stays as it is.
    pub oom_score_adj: i32,
    /// A terminal instead of three pipes.
    pub tty: bool,
    /// Keeps standard input open for `attach`; else it is `/dev/null`.
    pub stdin: bool,
    /// Closes standard input when the first attached client leaves.
    pub stdin_once: bool,
    /// The log file, in CRI's format. Its folder is made.
    pub log_path: PathBuf,
    /// Free text kept in the record and given back by `list`.
    pub labels: BTreeMap<String, String>,
    /// Free text kept in the record and given back by `list`.
    pub annotations: BTreeMap<String, String>,
}

/// A process to be started in a running container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecConfig {
    /// The program, looked up in the container's `$PATH`, and its arguments.
    pub command: Vec<String>,
    /// A terminal; then standard error is part of standard output.
    pub tty: bool,
    /// Whether the caller writes to standard input.
    pub stdin: bool,
    /// Whether the caller reads standard output.
    pub stdout: bool,
    /// Whether the caller reads standard error.
    pub stderr: bool,
    /// Added to the container's environment.
    pub env: Vec<(String, String)>,
    /// After this long the process is killed and `exit` gives [`crate::Error::Timeout`].
    pub timeout: Option<std::time::Duration>,
}
