//! Containers: making, starting and removing them, and processes in them.

use std::collections::btree_map::Entry;
use std::fs;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use futures::FutureExt;
use rustix::fs::{Mode, OFlags};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::oneshot;

use super::connection::Connection;
use super::session::{Pipe, input, null, output, resizer};
use super::table::{Held, Table};
use super::{Shims, blocking, check_id, remove_folder};
use crate::capabilities;
use crate::clock::now;
use crate::config::{ContainerConfig, ExecConfig, Mount, MountKind, Seccomp};
use crate::error::{Error, Result};
use crate::protocol::{Call, MAX_FDS, Reply};
use crate::records::{self, ContainerRecord, StateRecord};
use crate::runtime::{ContainerState, Event, ExitStatus, Session, Started};

impl Shims {
    pub(super) async fn do_create(&self, config: ContainerConfig) -> Result<()> {
        check_id(&config.id)?;
        let (id, sandbox_id) = (config.id.clone(), config.sandbox_id.clone());
        let connection = self.table.connection(&sandbox_id)?;
        if self.table.status(&id).is_some() {
            return Err(Error::AlreadyExists(id));
        }
        let record = self.record(config)?;
        let wanted = if record.config.privileged { &Seccomp::Unconfined } else { &record.config.seccomp };
        let filter = self.filters.program(wanted, &record.capabilities)?;
        let folder = self.container_folder(&sandbox_id, &id);
        let held = Held::new(record.clone(), StateRecord::default());
        let is_new = self.table.with(&sandbox_id, |entry| match entry.containers.entry(id.clone()) {
            Entry::Occupied(_) => false,
            Entry::Vacant(slot) => {
                slot.insert(held);
                true
            }
        })?;
        if !is_new {
            return Err(Error::AlreadyExists(id));
        }
        let prepared = blocking(move || {
            let sources = open_sources(&record.config.mounts)?;
            match fs::create_dir(&folder) {
                Err(e) if e.kind() == ErrorKind::AlreadyExists => return Err(Error::AlreadyExists(record.config.id)),
                other => other.map_err(Error::io(format!("making {}", folder.display())))?,
            }
            records::write(&folder, records::CONTAINER, &record)?;
            if let Some(program) = filter {
                let path = folder.join(records::FILTER);
                fs::write(&path, program.as_slice()).map_err(Error::io(format!("writing {}", path.display())))?;
            }
            Ok(sources)
        });
        let made = match prepared.await {
            Ok(sources) => connection.done(Call::Create { id: id.clone() }, sources).await.map(|_| ()),
            Err(e) => Err(e),
        };
        if made.is_err()
            && let Err(e) = self.clean_container(&sandbox_id, &id).await
        {
            tracing::warn!(container = id, error = %e, "leftovers of a container that could not be made");
        }
        made
    }

    fn record(&self, config: ContainerConfig) -> Result<ContainerRecord> {
        let image = self.config.images.get(&config.image);
        let image = image.ok_or_else(|| Error::ImageNotFound(config.image.to_string()))?;
        let parent = self.table.with(&config.sandbox_id, |entry| entry.record.config.cgroup_parent.clone())?;
        let host = capabilities::bounding();
        Ok(ContainerRecord {
            created_at: now(),
            capabilities: capabilities::effective(&config.capabilities, config.privileged, &host)?,
            image: image.config,
            layers: image.layers,
            writable: self.writable_folder(&config.id),
            cgroup: format!("{}/{}", parent.trim_matches('/'), config.id),
            config,
        })
    }

    pub(super) async fn do_start(&self, id: &str) -> Result<Started> {
        let (held, connection) = self.table.container(id)?;
        let connection = connection.ok_or_else(|| Error::Lost(held.record.config.sandbox_id.clone()))?;
        match connection.call(Call::Start { id: id.to_owned() }, Vec::new()).await? {
            (Reply::Started { pid, at, .. }, _) => Ok(Started { pid, started_at: at }),
            (other, _) => Err(Error::Protocol(format!("unexpected answer {other:?}"))),
        }
    }

    pub(super) async fn do_remove(&self, id: &str) -> Result<()> {
        let Ok((held, connection)) = self.table.container(id) else { return Ok(()) };
        let group = self.group(&held.record.cgroup);
        blocking(move || group.kill()).await?;
        if let Some(connection) = connection {
            match connection.done(Call::Forget { id: id.to_owned() }, Vec::new()).await {
                Ok(_) | Err(Error::Lost(_)) => {}
                Err(e) => return Err(e),
            }
        }
        self.clean_container(&held.record.config.sandbox_id, id).await
    }

    /// Leaves nothing of a container whose processes are gone.
    async fn clean_container(&self, sandbox_id: &str, id: &str) -> Result<()> {
        let parent = self.table.with(sandbox_id, |entry| entry.record.config.cgroup_parent.clone())?;
        let group = self.group(&parent).child(id);
        let folders = [self.writable_folder(id), self.container_folder(sandbox_id, id)];
        blocking(move || {
            group.kill()?;
            group.remove()?;
            folders.iter().try_for_each(|folder| remove_folder(folder))
        })
        .await?;
        self.table.with(sandbox_id, |entry| entry.containers.remove(id)).map(|_| ())
    }

    pub(super) async fn do_exec(&self, id: &str, config: ExecConfig) -> Result<Session> {
        let (held, connection) = self.table.container(id)?;
        if !matches!(held.state, ContainerState::Running { .. }) {
            return Err(Error::State { id: id.to_owned(), state: held.state.name(), wanted: "running" });
        }
        let connection = connection.ok_or_else(|| Error::Lost(held.record.config.sandbox_id.clone()))?;
        let (exec, exited) = connection.expect_exec();
        let started = start_exec(&connection, id, exec, config.clone()).await;
        let (stdin, stdout, stderr, terminal) = started.inspect_err(|_| connection.forget_exec(exec))?;
        let exit = exec_exit(connection, exec, exited, config, held.record.config.sandbox_id.clone());
        Ok(Session { stdin, stdout, stderr, resizer: terminal, exit: exit.boxed() })
    }

    pub(super) async fn do_attach(&self, id: &str, stdin: bool, stdout: bool, stderr: bool) -> Result<Session> {
        let (held, connection) = self.table.container(id)?;
        let config = &held.record.config;
        let connection = connection.ok_or_else(|| Error::Lost(config.sandbox_id.clone()))?;
        let events = self.table.events();
        let stderr = stderr && !config.tty;
        let (mut theirs, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..usize::from(stdout) + usize::from(stderr) {
            let pipe = Pipe::new()?;
            theirs.push(pipe.write);
            ours.push(output(pipe.read)?);
        }
        let call = Call::Attach { id: id.to_owned(), stdout, stderr };
        let given = connection.done(call, theirs).await?.into_iter().next();
        let terminal = match &given {
            Some(fd) if config.tty => Some(resizer(fd.try_clone().map_err(Error::io("duplicating a terminal"))?)),
            _ => None,
        };
        let stdin = match given.filter(|_| stdin && config.stdin) {
            Some(fd) => Some(input(fd, on_close(&connection, config))?),
            None => None,
        };
        let mut ours = ours.into_iter();
        let stdout = if stdout { ours.next() } else { None };
        let exit = container_exit(Arc::clone(&self.table), id.to_owned(), events);
        Ok(Session { stdin, stdout, stderr: ours.next(), resizer: terminal, exit: exit.boxed() })
    }
}

type Streams = (
    Option<crate::runtime::Input>,
    Option<crate::runtime::Output>,
    Option<crate::runtime::Output>,
    Option<crate::runtime::Resizer>,
);

async fn start_exec(connection: &Connection, id: &str, exec: u64, config: ExecConfig) -> Result<Streams> {
    let wanted = [config.stdin, config.stdout, config.stderr];
    let tty = config.tty;
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for (index, wanted) in wanted.into_iter().enumerate().filter(|_| !tty) {
        if !wanted {
            theirs.push(null()?);
            ours.push(None);
            continue;
        }
        let Pipe { read, write } = Pipe::new()?;
        let (their, our) = if index == 0 { (read, write) } else { (write, read) };
        theirs.push(their);
        ours.push(Some(our));
    }
    let call = Call::Exec { id: id.to_owned(), exec, config: Box::new(config) };
    let terminal = connection.done(call, theirs).await?.into_iter().next();
    let duplicate = |fd: &OwnedFd| fd.try_clone().map_err(Error::io("duplicating a terminal"));
    if let Some(terminal) = terminal.filter(|_| tty) {
        let stdin = if wanted[0] { Some(input(duplicate(&terminal)?, None)?) } else { None };
        let stdout = if wanted[1] { Some(output(duplicate(&terminal)?)?) } else { None };
        return Ok((stdin, stdout, None, Some(resizer(terminal))));
    }
    let mut ours = ours.into_iter();
    let stdin = ours.next().flatten().map(|fd| input(fd, None)).transpose()?;
    let stdout = ours.next().flatten().map(output).transpose()?;
    let stderr = ours.next().flatten().map(output).transpose()?;
    Ok((stdin, stdout, stderr, None))
}

async fn exec_exit(
    connection: Arc<Connection>,
    exec: u64,
    exited: oneshot::Receiver<ExitStatus>,
    config: ExecConfig,
    sandbox_id: String,
) -> Result<ExitStatus> {
    let lost = || Error::Lost(sandbox_id.clone());
    let Some(limit) = config.timeout else { return exited.await.map_err(|_| lost()) };
    match tokio::time::timeout(limit, exited).await {
        Ok(status) => status.map_err(|_| lost()),
        Err(_) => {
            connection.done(Call::KillExec { exec }, Vec::new()).await?;
            Err(Error::Timeout(config.command))
        }
    }
}

fn on_close(connection: &Arc<Connection>, config: &ContainerConfig) -> Option<Box<dyn FnOnce() + Send>> {
    let (connection, id) = (Arc::clone(connection), config.id.clone());
    // A terminal stays open: its user is told the end by the character for it.
    (config.stdin_once && !config.tty).then(|| Box::new(move || connection.post(Call::CloseStdin { id })) as _)
}

/// Waits for the end of a container by the events.
async fn container_exit(table: Arc<Table>, id: String, mut events: crate::runtime::Events) -> Result<ExitStatus> {
    loop {
        match table.status(&id).map(|status| status.state) {
            Some(ContainerState::Exited(exit)) => return Ok(exit.status),
            Some(_) => {}
            None => return Err(Error::ContainerNotFound(id)),
        }
        match events.recv().await {
            Ok(Event::ContainerExited { id: ended, exit, .. }) if ended == id => return Ok(exit.status),
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return Err(Error::ContainerNotFound(id)),
        }
    }
}

/// Opens the sources of bind mounts, so that they cannot be swapped any more.
fn open_sources(mounts: &[Mount]) -> Result<Vec<OwnedFd>> {
    let binds = mounts.iter().filter(|m| m.kind == MountKind::Bind);
    let sources: Result<Vec<OwnedFd>> = binds
        .map(|mount| {
            rustix::fs::open(&mount.source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
                .map_err(|e| Error::MountSource { path: mount.source.clone(), source: e.into() })
        })
        .collect();
    let sources = sources?;
    if sources.len() > MAX_FDS {
        return Err(Error::Invalid(format!("a container has at most {MAX_FDS} bind mounts")));
    }
    Ok(sources)
}
