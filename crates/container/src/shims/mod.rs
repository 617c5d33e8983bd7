//! The daemon's side of the shims: a [`Runtime`] of real containers.
//!
//! Nothing here clones or enters a namespace: the process has many threads. Everything of that kind is the shims' work.

mod connection;
mod containers;
mod recover;
mod sandboxes;
mod session;
mod signal;
mod spawn;
mod table;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;

use crate::cgroup::{Cgroup, Hierarchies};
use crate::clock::now;
use crate::config::{ContainerConfig, ExecConfig, Resources, SandboxConfig};
use crate::error::{Error, Result};
use crate::images::Images;
use crate::protocol::Call;
use crate::runtime::{ContainerStatus, Events, ProcessUser, Runtime, Sandbox, SandboxStatus, Session, Started, Stats};
use crate::seccomp::Filters;
use spawn::Program;
use table::Table;

/// Where things are and how a shim is started.
#[derive(Clone)]
pub struct ShimsConfig {
    /// Records and sockets, on a tmpfs if possible: `/run/minke/<cluster>/<node>/shims`.
    pub run_dir: PathBuf,
    /// Writable layers of containers; not on an overlay file system.
    pub state_dir: PathBuf,
    /// The store that images are looked up in.
    pub images: Images,
    /// The program that calls [`crate::shim::main`], normally `/proc/self/exe`.
    pub executable: PathBuf,
    /// Its arguments, normally `["shim"]`.
    pub arguments: Vec<OsString>,
}

/// Runs every sandbox under a shim of its own.
pub struct Shims {
    config: ShimsConfig,
    hierarchies: Hierarchies,
    program: Program,
    filters: Filters,
    table: Arc<Table>,
}

impl Shims {
    /// Finds the sandboxes of an earlier daemon in `run_dir`, connects to their shims and takes over. Exits that
    /// happened meanwhile are in [`Runtime::list`] at once; sandboxes whose shim died are `NotReady`, their processes
    /// killed, their containers exited with 137.
    pub async fn recover(config: ShimsConfig) -> Result<Self> {
        for folder in [&config.run_dir, &config.state_dir] {
            std::fs::create_dir_all(folder).map_err(Error::io(format!("making {}", folder.display())))?;
        }
        let shims = Self {
            hierarchies: Hierarchies::detect()?,
            program: Program::new(&config.executable, &config.arguments),
            filters: Filters::default(),
            table: Table::new(config.run_dir.clone()),
            config,
        };
        shims.recover_all().await?;
        Ok(shims)
    }

    fn sandbox_folder(&self, id: &str) -> PathBuf {
        self.config.run_dir.join(id)
    }

    fn container_folder(&self, sandbox_id: &str, id: &str) -> PathBuf {
        self.sandbox_folder(sandbox_id).join(id)
    }

    fn writable_folder(&self, id: &str) -> PathBuf {
        self.config.state_dir.join(id)
    }

    fn group(&self, path: &str) -> Cgroup {
        self.hierarchies.group(path)
    }
}

/// Ids are names of folders and cgroups.
fn check_id(id: &str) -> Result<()> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if id.is_empty() || id.len() > 128 || id.starts_with('.') || !id.chars().all(fine) || id == crate::shim::CGROUP {
        return Err(Error::Invalid(format!("{id:?} is not an id")));
    }
    Ok(())
}

/// Runs what blocks for a moment.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err(Error::Container(format!("a task failed: {e}"))),
    }
}

/// Removes a folder with everything in it; it is no error if there is none.
fn remove_folder(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io(format!("removing {}", folder.display()))(e))
        }
        _ => Ok(()),
    }
}

#[async_trait]
impl Runtime for Shims {
    async fn run_sandbox(&self, config: SandboxConfig) -> Result<Sandbox> {
        self.do_run_sandbox(config).await
    }

    async fn stop_sandbox(&self, id: &str) -> Result<()> {
        self.do_stop_sandbox(id).await
    }

    async fn remove_sandbox(&self, id: &str) -> Result<()> {
        self.do_remove_sandbox(id).await
    }

    async fn create_container(&self, config: ContainerConfig) -> Result<()> {
        self.do_create(config).await
    }

    async fn start_container(&self, id: &str) -> Result<Started> {
        self.do_start(id).await
    }

    async fn signal_container(&self, id: &str, signal: i32) -> Result<()> {
        self.do_signal(id, signal).await
    }

    async fn remove_container(&self, id: &str) -> Result<()> {
        self.do_remove(id).await
    }

    async fn exec(&self, id: &str, config: ExecConfig) -> Result<Session> {
        self.do_exec(id, config).await
    }

    async fn attach(&self, id: &str, stdin: bool, stdout: bool, stderr: bool) -> Result<Session> {
        self.do_attach(id, stdin, stdout, stderr).await
    }

    async fn reopen_log(&self, id: &str) -> Result<()> {
        match self.table.container(id)? {
            (_, Some(shim)) => shim.done(Call::ReopenLog { id: id.to_owned() }, Vec::new()).await.map(|_| ()),
            (_, None) => Ok(()),
        }
    }

    async fn update_resources(&self, id: &str, resources: &Resources) -> Result<()> {
        let (held, _) = self.table.container(id)?;
        let (group, resources) = (self.group(&held.record.cgroup), resources.clone());
        blocking(move || group.apply(&resources)).await
    }

    async fn stats(&self, id: &str) -> Result<Stats> {
        let (held, _) = self.table.container(id)?;
        let group = self.group(&held.record.cgroup);
        blocking(move || Ok(Stats { at: Some(now()), ..group.stats() })).await
    }

    async fn sandbox_stats(&self, id: &str) -> Result<Stats> {
        let path = self.table.with(id, |entry| entry.record.config.cgroup_parent.clone())?;
        let group = self.group(&path);
        blocking(move || Ok(Stats { at: Some(now()), ..group.stats() })).await
    }

    fn writable(&self, id: &str) -> Option<PathBuf> {
        Some(self.table.container(id).ok()?.0.record.writable.clone())
    }

    fn user(&self, id: &str) -> Option<ProcessUser> {
        let (held, _) = self.table.container(id).ok()?;
        crate::records::user(&self.container_folder(&held.record.config.sandbox_id, id))
    }

    fn list(&self) -> Vec<SandboxStatus> {
        self.table.list()
    }

    fn status(&self, id: &str) -> Option<ContainerStatus> {
        self.table.status(id)
    }

    fn events(&self) -> Events {
        self.table.events()
    }
}
