//! Sandboxes: starting their shims, stopping and removing them.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, WaitIdStatus, pidfd_open, waitid};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::connection::Connection;
use super::spawn::Spawned;
use super::table::{Entry, Table, sandbox};
use super::{Shims, blocking, check_id, remove_folder};
use crate::cgroup::Cgroup;
use crate::clock::now;
use crate::config::SandboxConfig;
use crate::error::{Error, Result};
use crate::protocol::{Call, Reply, VERSION};
use crate::records::{self, SandboxRecord};
use crate::runtime::Sandbox;

/// A shim that has not ended by then is killed; nothing runs in it any more.
const STOP_LIMIT: Duration = Duration::from_secs(10);

impl Shims {
    pub(super) async fn do_run_sandbox(&self, config: SandboxConfig) -> Result<Sandbox> {
        check_id(&config.id)?;
        let folder = self.sandbox_folder(&config.id);
        match fs::create_dir(&folder) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => return Err(Error::AlreadyExists(config.id)),
            other => other.map_err(Error::io(format!("making {}", folder.display())))?,
        }
        let group = self.group(&config.cgroup_parent);
        match self.boot(config, &folder).await {
            Ok(sandbox) => Ok(sandbox),
            Err(e) => {
                let cleaned = blocking(move || clean(&group, &folder)).await;
                if let Err(e) = cleaned {
                    tracing::warn!(error = %e, "leftovers of a sandbox that failed to start");
                }
                Err(e)
            }
        }
    }

    async fn boot(&self, config: SandboxConfig, folder: &Path) -> Result<Sandbox> {
        let id = config.id.clone();
        let record = SandboxRecord { config, created_at: now(), stopped: false };
        records::write(folder, records::SANDBOX, &record)?;
        let Spawned { mut child, socket, listener } = self.program.spawn(folder)?;
        let pid = child.id();
        let booted = async {
            let handle = open_pid(pid)?;
            let connection = Arc::new(Connection::new(&id, socket, self.table.listener(&id))?);
            let call = Call::Boot { version: VERSION, folder: folder.to_owned() };
            match connection.call(call, vec![listener]).await? {
                (Reply::Booted { .. }, _) => Ok((handle, connection)),
                (other, _) => Err(Error::Protocol(format!("unexpected answer {other:?}"))),
            }
        };
        let (handle, connection) = match booted.await {
            Ok(booted) => booted,
            Err(e) => {
                // It may be gone already; either way nothing of it shall stay.
                let _ = child.kill();
                let _ = child.wait();
                return Err(match (e, last_words(folder)) {
                    (Error::Lost(_), Some(line)) => Error::Container(line),
                    (e, _) => e,
                });
            }
        };
        let sandbox = sandbox(&record, pid);
        let entry = Entry { record, pid, connection: Some(connection), containers: BTreeMap::new() };
        self.table.insert(&id, entry);
        self.watch_shim(id, handle);
        Ok(sandbox)
    }

    /// Waits for the end of a shim and does what follows from it. The task ends with the shim or the program.
    pub(super) fn watch_shim(&self, id: String, handle: OwnedFd) {
        let table = Arc::clone(&self.table);
        let group = table.with(&id, |entry| self.group(&entry.record.config.cgroup_parent));
        let folder = self.sandbox_folder(&id);
        tokio::spawn(async move {
            let status = match ended(handle).await {
                Ok(status) => status,
                Err(e) => {
                    tracing::error!(sandbox = id, error = %e, "a shim cannot be watched");
                    return;
                }
            };
            if after_shim(&table, &id, group).await {
                let said = last_words(&folder);
                tracing::warn!(sandbox = id, ?status, said, "the shim died: its containers were killed");
            }
        });
    }

    pub(super) async fn do_stop_sandbox(&self, id: &str) -> Result<()> {
        let Ok((record, connection)) = self.table.with(id, |entry| {
            entry.record.stopped = true;
            (entry.record.clone(), entry.connection.clone())
        }) else {
            return Ok(());
        };
        let group = self.group(&record.config.cgroup_parent);
        let folder = self.sandbox_folder(id);
        let groups: Vec<Cgroup> = self
            .table
            .with(id, |entry| entry.containers.values().map(|held| self.group(&held.record.cgroup)).collect())?;
        blocking(move || {
            records::write(&folder, records::SANDBOX, &record)?;
            groups.iter().try_for_each(Cgroup::kill)
        })
        .await?;
        if let Some(connection) = connection {
            // Exits arrive before the answer. A shim that gives none is killed with the rest.
            let stopped = connection.done(Call::Stop, Vec::new());
            if tokio::time::timeout(STOP_LIMIT, stopped).await.is_err() {
                tracing::warn!(sandbox = id, "a shim does not stop");
            }
        }
        blocking(move || group.kill()).await?;
        self.table.shim_gone(id);
        Ok(())
    }

    pub(super) async fn do_remove_sandbox(&self, id: &str) -> Result<()> {
        check_id(id)?;
        self.do_stop_sandbox(id).await?;
        let Ok((record, containers)) =
            self.table.with(id, |entry| (entry.record.clone(), entry.containers.keys().cloned().collect::<Vec<_>>()))
        else {
            return Ok(());
        };
        let group = self.group(&record.config.cgroup_parent);
        let folder = self.sandbox_folder(id);
        let writable: Vec<_> = containers.iter().map(|c| self.writable_folder(c)).collect();
        blocking(move || {
            writable.iter().try_for_each(|folder| remove_folder(folder))?;
            clean(&group, &folder)
        })
        .await?;
        self.table.remove(id);
        Ok(())
    }
}

/// The last line that the shim of a folder wrote about itself.
fn last_words(folder: &Path) -> Option<String> {
    let log = fs::read_to_string(folder.join(records::SHIM_LOG)).ok()?;
    log.trim().lines().last().map(str::to_owned)
}

/// What follows from the end of a shim; gives whether nobody had asked for it.
pub(super) async fn after_shim(table: &Table, id: &str, group: Result<Cgroup>) -> bool {
    if let Ok(group) = group
        && let Err(e) = blocking(move || group.kill()).await
    {
        tracing::warn!(sandbox = id, error = %e, "processes of a lost sandbox go on");
    }
    table.shim_gone(id)
}

/// Leaves nothing of a sandbox.
pub(super) fn clean(group: &Cgroup, folder: &Path) -> Result<()> {
    group.kill()?;
    group.remove()?;
    remove_folder(folder)
}

/// A handle of a process that cannot come to mean another one.
pub(super) fn open_pid(pid: u32) -> Result<OwnedFd> {
    let known = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let known = known.ok_or_else(|| Error::Container(format!("{pid} is no pid")))?;
    pidfd_open(known, PidfdFlags::NONBLOCK).map_err(Error::io(format!("opening process {pid}")))
}

/// Waits until a process has ended; takes its status if it is our child.
async fn ended(handle: OwnedFd) -> std::io::Result<Option<WaitIdStatus>> {
    // SAFETY: an OwnedFd stays the same open descriptor until it is dropped.
    let handle = unsafe { AsyncFd::register_with_interest(handle, Interest::READABLE) }?;
    handle.readable().await?.retain_ready();
    use std::os::fd::AsFd;
    // A shim of an earlier daemon is not our child.
    Ok(waitid(WaitId::PidFd(handle.get_ref().as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG).unwrap_or(None))
}
