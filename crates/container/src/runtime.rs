//! The runtime as its callers see it. Shaped like CRI, without its transport. Implemented by [`crate::Shims`] and, for
//! tests, by `Fake`.

use std::path::PathBuf;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::broadcast;

use crate::config::{ContainerConfig, ExecConfig, Resources, SandboxConfig};
use crate::error::{Error, Result};

/// A running sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    /// Its id.
    pub id: String,
    /// The process that holds its namespaces.
    pub pid: u32,
    /// Its network namespace, to be opened: `/proc/PID/ns/net`.
    pub netns: PathBuf,
    /// When it was made.
    pub created_at: SystemTime,
}

/// A container's main process, just started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started {
    /// Its pid in the host's namespace.
    pub pid: u32,
    /// When.
    pub started_at: SystemTime,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitStatus {
    /// The exit code; 128 + the signal for a killed one.
    pub code: i32,
    /// The signal that killed it.
    pub signal: Option<i32>,
}

/// How a container ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Code and signal of the main process.
    pub status: ExitStatus,
    /// The kernel killed a process of it for lack of memory.
    pub oom_killed: bool,
    /// When it was started.
    pub started_at: SystemTime,
    /// When it ended.
    pub finished_at: SystemTime,
}

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerState {
    /// Made, not started.
    Created,
    /// Its main process runs.
    Running {
        /// The main process.
        pid: u32,
        /// When it was started.
        started_at: SystemTime,
    },
    /// Its main process ended.
    Exited(Exit),
}

impl ContainerState {
    /// `created`, `running` or `exited`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running { .. } => "running",
            Self::Exited(_) => "exited",
        }
    }
}

/// A container and its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerStatus {
    /// What was asked for.
    pub config: ContainerConfig,
    /// When it was made.
    pub created_at: SystemTime,
    /// Its state.
    pub state: ContainerState,
}

/// Whether a sandbox still works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SandboxState {
    /// Containers can be made in it.
    Ready,
    /// Stopped, or its shim died. It can only be removed.
    NotReady,
}

/// A sandbox and its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxStatus {
    /// What was asked for.
    pub config: SandboxConfig,
    /// Pid, network namespace and time.
    pub sandbox: Sandbox,
    /// Its state.
    pub state: SandboxState,
    /// Its containers.
    pub containers: Vec<ContainerStatus>,
}

/// Something happened. A receiver that falls behind gets `Lagged` and lists again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A container's main process was started.
    ContainerStarted {
        /// Its sandbox.
        sandbox_id: String,
        /// The container.
        id: String,
    },
    /// A container's main process ended.
    ContainerExited {
        /// Its sandbox.
        sandbox_id: String,
        /// The container.
        id: String,
        /// How.
        exit: Exit,
    },
    /// The shim died; its containers were killed and count as exited with 137.
    SandboxLost {
        /// The sandbox.
        sandbox_id: String,
    },
}

/// Events of all sandboxes, from now on.
pub type Events = broadcast::Receiver<Event>;

/// What a container uses now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// CPU time in nanoseconds since it was made.
    pub cpu_usage_ns: u64,
    /// Memory in bytes, page cache included.
    pub memory_usage: u64,
    /// Memory in bytes without the page cache that can be dropped at once.
    pub memory_working_set: u64,
    /// Anonymous memory in bytes.
    pub memory_rss: u64,
    /// Page faults.
    pub page_faults: u64,
    /// Page faults that needed a read.
    pub major_page_faults: u64,
    /// Processes.
    pub pids: u64,
    /// When it was read.
    pub at: Option<SystemTime>,
}

/// The caller's end of standard input.
pub type Input = Pin<Box<dyn AsyncWrite + Send>>;
/// The caller's end of standard output or error.
pub type Output = Pin<Box<dyn AsyncRead + Send>>;

/// Changes the size of a terminal. Can be cloned and outlives the streams.
#[derive(Clone)]
pub struct Resizer(std::sync::Arc<dyn Fn(u16, u16) -> Result<()> + Send + Sync>);

impl Resizer {
    /// From the function that does it, called with columns and rows.
    pub fn new(resize: impl Fn(u16, u16) -> Result<()> + Send + Sync + 'static) -> Self {
        Self(std::sync::Arc::new(resize))
    }

    /// Sets the size of the terminal.
    pub fn resize(&self, columns: u16, rows: u16) -> Result<()> {
        (self.0)(columns, rows)
    }
}

impl std::fmt::Debug for Resizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resizer")
    }
}

/// A process to talk to: the result of `exec` and `attach`. Dropping it closes the streams; the process goes on.
pub struct Session {
    /// Write end of standard input, if asked for. Shutting it down or dropping it gives the process an end of file.
    pub stdin: Option<Input>,
    /// Read end of standard output, or the terminal.
    pub stdout: Option<Output>,
    /// Read end of standard error; never with a terminal.
    pub stderr: Option<Output>,
    /// Only with a terminal.
    pub resizer: Option<Resizer>,
    /// Resolves when the process (for `attach`: the container) ends.
    pub exit: BoxFuture<'static, Result<ExitStatus>>,
}

/// The result of [`Runtime::exec_sync`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecOutput {
    /// How it ended.
    pub status: ExitStatus,
    /// The first 16 MiB of standard output.
    pub stdout: Vec<u8>,
    /// The first 16 MiB of standard error.
    pub stderr: Vec<u8>,
}

/// The numbers that a process runs with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessUser {
    /// The user.
    pub uid: u32,
    /// The primary group.
    pub gid: u32,
    /// All groups, the primary one among them.
    pub groups: Vec<u32>,
}

/// Bound of what [`Runtime::exec_sync`] keeps of each stream, as CRI's runtimes have it.
const EXEC_SYNC_LIMIT: u64 = 16 << 20;

/// Runs sandboxes and containers. All calls may be repeated after a failure; removing or stopping what is gone
/// succeeds.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// Makes the namespaces and the cgroup of a sandbox.
    async fn run_sandbox(&self, config: SandboxConfig) -> Result<Sandbox>;

    /// Kills everything in a sandbox and gives its namespaces back. Exits of its containers stay known.
    async fn stop_sandbox(&self, id: &str) -> Result<()>;

    /// Removes a sandbox with its containers, cgroup and files, running or not. Log files stay.
    async fn remove_sandbox(&self, id: &str) -> Result<()>;

    /// Makes a container up to the point where its program would start: root file system, namespaces, limits. The
    /// program's path is checked here.
    async fn create_container(&self, config: ContainerConfig) -> Result<()>;

    /// Starts the program of a created container.
    async fn start_container(&self, id: &str) -> Result<Started>;

    /// Sends a signal to the main process. It is no error if that has ended already. Takes as long as the kernel would
    /// drop the signal because the program, which may only just have begun, does not listen yet.
    async fn signal_container(&self, id: &str, signal: i32) -> Result<()>;

    /// Kills what still runs in a container and removes its root file system, cgroup and record. The log file stays.
    async fn remove_container(&self, id: &str) -> Result<()>;

    /// Starts a process in a running container.
    async fn exec(&self, id: &str, config: ExecConfig) -> Result<Session>;

    /// Joins the streams of a running container's main process; what it wrote before is in the log.
    async fn attach(&self, id: &str, stdin: bool, stdout: bool, stderr: bool) -> Result<Session>;

    /// Opens the log file anew, after the caller has renamed it.
    async fn reopen_log(&self, id: &str) -> Result<()>;

    /// Changes the limits of a container.
    async fn update_resources(&self, id: &str, resources: &Resources) -> Result<()>;

    /// Reads what a container uses.
    async fn stats(&self, id: &str) -> Result<Stats>;

    /// Reads what a sandbox uses as a whole.
    async fn sandbox_stats(&self, id: &str) -> Result<Stats>;

    /// Every sandbox that was not removed, with its containers, from memory.
    fn list(&self) -> Vec<SandboxStatus>;

    /// One container, from memory.
    fn status(&self, id: &str) -> Option<ContainerStatus>;

    /// The numbers that a created container's program runs with; `None` where nobody knows.
    fn user(&self, _id: &str) -> Option<ProcessUser> {
        None
    }

    /// Where a container's own files are on the host: its writable layer. `None` where nobody knows.
    fn writable(&self, _id: &str) -> Option<PathBuf> {
        None
    }

    /// What happens from now on.
    fn events(&self) -> Events;

    /// Runs a command in a container and collects its output. A command that takes longer than `timeout` is killed, and
    /// the result is [`Error::Timeout`](crate::Error::Timeout).
    async fn exec_sync(&self, id: &str, command: Vec<String>, timeout: Option<Duration>) -> Result<ExecOutput> {
        let config = ExecConfig { command, stdout: true, stderr: true, timeout, ..ExecConfig::default() };
        let session = self.exec(id, config).await?;
        let (stdout, stderr, exit) =
            futures::join!(read_bounded(session.stdout), read_bounded(session.stderr), session.exit);
        Ok(ExecOutput { status: exit?, stdout: stdout?, stderr: stderr? })
    }
}

async fn read_bounded(stream: Option<Output>) -> Result<Vec<u8>> {
    let mut kept = Vec::new();
    if let Some(mut stream) = stream {
        (&mut stream).take(EXEC_SYNC_LIMIT).read_to_end(&mut kept).await.map_err(Error::io("reading from exec"))?;
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.map_err(Error::io("reading from exec"))?;
    }
    Ok(kept)
}
