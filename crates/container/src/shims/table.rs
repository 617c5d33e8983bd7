//! What the daemon knows of its sandboxes, in memory. The files in the run folder say the same.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use tokio::sync::broadcast;

use super::connection::{Connection, Listener};
use crate::clock::now;
use crate::error::{Error, Result};
use crate::records::{self, ContainerRecord, SandboxRecord, StateRecord};
use crate::runtime::{
    ContainerState, ContainerStatus, Event, Events, Exit, ExitStatus, Sandbox, SandboxState, SandboxStatus,
};

/// Events that a slow receiver may be behind.
const EVENTS: usize = 4096;

/// The exit of a container whose shim was killed: nobody saw its real one.
const LOST: ExitStatus = ExitStatus { code: 137, signal: Some(9) };

/// All sandboxes.
pub(super) struct Table {
    run_dir: PathBuf,
    sandboxes: Mutex<BTreeMap<String, Entry>>,
    events: broadcast::Sender<Event>,
}

/// One sandbox.
pub(super) struct Entry {
    pub(super) record: SandboxRecord,
    pub(super) pid: u32,
    /// Gone when the shim is.
    pub(super) connection: Option<Arc<Connection>>,
    pub(super) containers: BTreeMap<String, Held>,
}

/// One container.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) record: ContainerRecord,
    pub(super) state: ContainerState,
}

impl Held {
    /// From the files that describe it.
    pub(super) fn new(record: ContainerRecord, state: StateRecord) -> Self {
        let state = match (state.exit, state.pid, state.started_at) {
            (Some(exit), _, _) => ContainerState::Exited(exit),
            (None, Some(pid), Some(started_at)) => ContainerState::Running { pid, started_at },
            (None, _, _) => ContainerState::Created,
        };
        Self { record, state }
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self.state, ContainerState::Exited(_))
    }

    fn status(&self) -> ContainerStatus {
        ContainerStatus { config: self.record.config.clone(), created_at: self.record.created_at, state: self.state }
    }
}

impl Entry {
    /// The containers that are not known to have been started.
    pub(super) fn unstarted(&self) -> Vec<String> {
        let all = self.containers.iter().filter(|(_, held)| held.state == ContainerState::Created);
        all.map(|(id, _)| id.clone()).collect()
    }

    fn status(&self) -> SandboxStatus {
        let config = self.record.config.clone();
        let sandbox = sandbox(&self.record, self.pid);
        let state = if self.connection.is_some() { SandboxState::Ready } else { SandboxState::NotReady };
        SandboxStatus { config, sandbox, state, containers: self.containers.values().map(Held::status).collect() }
    }
}

/// The caller's view of a sandbox.
pub(super) fn sandbox(record: &SandboxRecord, pid: u32) -> Sandbox {
    Sandbox {
        id: record.config.id.clone(),
        pid,
        netns: PathBuf::from(format!("/proc/{pid}/ns/net")),
        created_at: record.created_at,
    }
}

impl Table {
    pub(super) fn new(run_dir: PathBuf) -> Arc<Self> {
        let sandboxes = Mutex::default();
        Arc::new(Self { run_dir, sandboxes, events: broadcast::Sender::new(EVENTS) })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.sandboxes.lock().expect("no holder of this lock can panic")
    }

    /// Takes the news of one sandbox's shim.
    pub(super) fn listener(self: &Arc<Self>, sandbox_id: &str) -> Arc<dyn Listener> {
        Arc::new(SandboxListener { table: Arc::clone(self), sandbox_id: sandbox_id.to_owned() })
    }

    pub(super) fn events(&self) -> Events {
        self.events.subscribe()
    }

    fn send(&self, event: Event) {
        // No receiver is no error: events are only news.
        let _ = self.events.send(event);
    }

    pub(super) fn list(&self) -> Vec<SandboxStatus> {
        self.lock().values().map(Entry::status).collect()
    }

    pub(super) fn status(&self, id: &str) -> Option<ContainerStatus> {
        self.lock().values().find_map(|entry| entry.containers.get(id)).map(Held::status)
    }

    pub(super) fn insert(&self, id: &str, entry: Entry) {
        self.lock().insert(id.to_owned(), entry);
    }

    pub(super) fn remove(&self, id: &str) {
        self.lock().remove(id);
    }

    /// Looks at one sandbox, or changes it.
    pub(super) fn with<T>(&self, id: &str, look: impl FnOnce(&mut Entry) -> T) -> Result<T> {
        self.lock().get_mut(id).map(look).ok_or_else(|| Error::SandboxNotFound(id.to_owned()))
    }

    /// The connection of a sandbox that is ready.
    pub(super) fn connection(&self, id: &str) -> Result<Arc<Connection>> {
        self.with(id, |entry| entry.connection.clone())?.ok_or_else(|| Error::Lost(id.to_owned()))
    }

    /// A container and its sandbox's connection, if that is ready.
    pub(super) fn container(&self, id: &str) -> Result<(Held, Option<Arc<Connection>>)> {
        let sandboxes = self.lock();
        let found = sandboxes.values().find_map(|entry| Some((entry.containers.get(id)?, entry)));
        let (held, entry) = found.ok_or_else(|| Error::ContainerNotFound(id.to_owned()))?;
        Ok((held.clone(), entry.connection.clone()))
    }

    /// The shim is gone. Containers that were not seen ending count as killed. Gives false if the sandbox was stopped
    /// on purpose.
    pub(super) fn shim_gone(&self, id: &str) -> bool {
        let finished_at = now();
        let (lost, killed) = {
            let mut sandboxes = self.lock();
            let Some(entry) = sandboxes.get_mut(id) else { return false };
            entry.connection = None;
            (
                !entry.record.stopped,
                entry.containers.values_mut().filter_map(|held| bury(held, finished_at)).collect::<Vec<_>>(),
            )
        };
        for (container, exit, state) in killed {
            if let Err(e) = records::write(&self.run_dir.join(id).join(&container), records::STATE, &state) {
                tracing::warn!(sandbox = id, container, error = %e, "exit of a lost container not recorded");
            }
            self.send(Event::ContainerExited { sandbox_id: id.to_owned(), id: container, exit });
        }
        if lost {
            self.send(Event::SandboxLost { sandbox_id: id.to_owned() });
        }
        lost
    }
}

/// Lets a container that still counts as alive be killed.
pub(super) fn bury(held: &mut Held, finished_at: SystemTime) -> Option<(String, Exit, StateRecord)> {
    let (pid, started_at) = match held.state {
        ContainerState::Created => (None, finished_at),
        ContainerState::Running { pid, started_at } => (Some(pid), started_at),
        ContainerState::Exited(_) => return None,
    };
    let exit = Exit { status: LOST, oom_killed: false, started_at, finished_at };
    held.state = ContainerState::Exited(exit);
    let state = StateRecord { pid, started_at: Some(started_at), exit: Some(exit) };
    Some((held.record.config.id.clone(), exit, state))
}

struct SandboxListener {
    table: Arc<Table>,
    sandbox_id: String,
}

impl SandboxListener {
    /// Changes a container's state unless it has ended already.
    fn change(&self, id: &str, state: ContainerState) -> bool {
        let changed = self.table.with(&self.sandbox_id, |entry| match entry.containers.get_mut(id) {
            Some(held) if !matches!(held.state, ContainerState::Exited(_)) => {
                held.state = state;
                true
            }
            _ => false,
        });
        changed.unwrap_or(false)
    }
}

impl Listener for SandboxListener {
    fn started(&self, id: &str, pid: u32, at: SystemTime) {
        if self.change(id, ContainerState::Running { pid, started_at: at }) {
            self.table.send(Event::ContainerStarted { sandbox_id: self.sandbox_id.clone(), id: id.to_owned() });
        }
    }

    fn exited(&self, id: &str, exit: Exit) {
        if self.change(id, ContainerState::Exited(exit)) {
            self.table.send(Event::ContainerExited { sandbox_id: self.sandbox_id.clone(), id: id.to_owned(), exit });
        }
    }
}
