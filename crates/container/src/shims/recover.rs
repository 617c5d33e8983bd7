//! Finding the sandboxes of an earlier daemon.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::connection::Connection;
use super::sandboxes::{clean, open_pid};
use super::spawn::connect;
use super::table::{Entry, Held, bury};
use super::{Shims, blocking, remove_folder};
use crate::clock::now;
use crate::error::{Error, Result};
use crate::protocol::{Call, Reply};
use crate::records::{self, ContainerRecord, SandboxRecord, ShimRecord, StateRecord};

/// What a start that is under way gets.
const SETTLING: Duration = Duration::from_secs(10);

impl Shims {
    /// Takes over what the run folder tells of. A sandbox that cannot be understood is reported and left alone.
    pub(super) async fn recover_all(&self) -> Result<()> {
        for folder in folders(&self.config.run_dir)? {
            if let Err(e) = self.recover_sandbox(&folder).await {
                tracing::error!(folder = %folder.display(), error = %e, "a sandbox cannot be recovered");
            }
        }
        Ok(())
    }

    async fn recover_sandbox(&self, folder: &Path) -> Result<()> {
        let Ok(record) = records::read::<SandboxRecord>(folder, records::SANDBOX) else {
            // The daemon died between making the folder and saying what it is for: nothing was started.
            return remove_folder(folder);
        };
        let shim = records::read::<ShimRecord>(folder, records::SHIM).ok();
        let alive = shim.filter(|s| records::start_time(s.pid) == Some(s.start_time));
        match (shim, alive) {
            (None, _) => {
                let (group, folder) = (self.group(&record.config.cgroup_parent), folder.to_owned());
                blocking(move || clean(&group, &folder)).await
            }
            (Some(_), Some(alive)) => self.take_over(record, alive.pid, folder).await,
            (Some(dead), None) => self.mourn(record, dead.pid, folder).await,
        }
    }

    /// Connects to a shim that lives.
    async fn take_over(&self, record: SandboxRecord, pid: u32, folder: &Path) -> Result<()> {
        let id = record.config.id.clone();
        let handle = open_pid(pid)?;
        let doing = || format!("connecting to the shim of sandbox {id}");
        let socket = connect(folder).map_err(Error::io(doing()))?;
        // Exits from now on find their container already in the table.
        let containers = self.read_containers(folder).await?;
        let entry = Entry { record, pid, connection: None, containers };
        self.table.insert(&id, entry);
        let connection = Arc::new(Connection::new(&id, socket, self.table.listener(&id))?);
        for container in self.table.with(&id, |entry| entry.unstarted())? {
            settle(&connection, &container).await;
        }
        let (Reply::Containers(states), _) = connection.call(Call::List, Vec::new()).await? else {
            return Err(Error::Protocol("no list of containers".to_owned()));
        };
        let states: BTreeMap<String, StateRecord> = states.into_iter().collect();
        let unknown = self.table.with(&id, |entry| {
            entry.connection = Some(Arc::clone(&connection));
            for (container, held) in &mut entry.containers {
                // An exit may have been told between the list and now.
                if let Some(state) = states.get(container).filter(|_| !held.has_ended()) {
                    *held = Held::new(held.record.clone(), *state);
                }
            }
            let missing = |c: &&String| !states.contains_key(*c);
            entry.containers.keys().filter(missing).cloned().collect::<Vec<_>>()
        })?;
        self.watch_shim(id, handle);
        for container in unknown {
            // Its creation was cut short, or its removal.
            self.do_remove_leftover(folder, &container).await?;
        }
        Ok(())
    }

    async fn do_remove_leftover(&self, folder: &Path, container: &str) -> Result<()> {
        let held = self.table.container(container)?.0;
        let group = self.group(&held.record.cgroup);
        let folders = [folder.join(container), held.record.writable.clone()];
        blocking(move || {
            group.kill()?;
            group.remove()?;
            folders.iter().try_for_each(|folder| remove_folder(folder))
        })
        .await?;
        self.table.with(&held.record.config.sandbox_id, |entry| entry.containers.remove(container)).map(|_| ())
    }

    /// The shim died while nobody looked: what it did not record was killed.
    async fn mourn(&self, mut record: SandboxRecord, pid: u32, folder: &Path) -> Result<()> {
        let group = self.group(&record.config.cgroup_parent);
        blocking(move || group.kill()).await?;
        let mut containers = self.read_containers(folder).await?;
        for held in containers.values_mut() {
            if let Some((container, _, state)) = bury(held, now()) {
                records::write(&folder.join(container), records::STATE, &state)?;
            }
        }
        record.stopped = true;
        records::write(folder, records::SANDBOX, &record)?;
        let id = record.config.id.clone();
        self.table.insert(&id, Entry { record, pid, connection: None, containers });
        Ok(())
    }

    async fn read_containers(&self, folder: &Path) -> Result<BTreeMap<String, Held>> {
        let folder = folder.to_owned();
        blocking(move || {
            let mut containers = BTreeMap::new();
            for folder in folders(&folder)? {
                let Ok(record) = records::read::<ContainerRecord>(&folder, records::CONTAINER) else { continue };
                let state = records::read::<StateRecord>(&folder, records::STATE).unwrap_or_default();
                containers.insert(record.config.id.clone(), Held::new(record, state));
            }
            Ok(containers)
        })
        .await
    }
}

/// Lets a start that the earlier daemon has asked for come to its end: the program may run and even end unseen otherwise.
async fn settle(connection: &Connection, container: &str) {
    let settled = connection.call(Call::Settle { id: container.to_owned() }, Vec::new());
    match tokio::time::timeout(SETTLING, settled).await {
        Ok(Ok(_)) => {}
        // The list tells what came of it.
        Ok(Err(error)) => tracing::debug!(container, %error, "a start did not settle"),
        Err(_) => tracing::warn!(container, "a start does not settle"),
    }
}

fn folders(parent: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(parent).map_err(Error::io(format!("reading {}", parent.display())))?;
    Ok(entries.flatten().map(|e| e.path()).filter(|p| p.is_dir()).collect())
}
