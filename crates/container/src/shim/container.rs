//! One container as the shim holds it.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use super::log::Log;
use super::streams::Stream;
use crate::cgroup::Cgroup;
use crate::error::Result;
use crate::protocol::Failure;
use crate::records::{self, StateRecord};
use crate::runtime::ContainerState;

/// Who waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asker {
    pub(super) connection: u64,
    pub(super) request: u64,
}

/// From the fork of the worker until the program runs.
pub(super) struct Launch {
    pub(super) report: OwnedFd,
    pub(super) token: u64,
    pub(super) asker: Option<Asker>,
    /// The program was told to start.
    pub(super) started: bool,
    pub(super) failure: Option<Failure>,
}

/// A container.
pub(super) struct Container {
    pub(super) folder: PathBuf,
    pub(super) cgroup: Cgroup,
    pub(super) oom_score_adj: i32,
    /// It has a PID namespace of its own, so everything ends with its main process.
    pub(super) private_pids: bool,
    pub(super) state: StateRecord,
    pub(super) log: Log,
    /// Standard output (or the terminal) and error, until they end.
    pub(super) streams: Vec<Stream>,
    /// Write end of standard input.
    pub(super) stdin: Option<OwnedFd>,
    /// Master of the terminal.
    pub(super) terminal: Option<OwnedFd>,
    pub(super) launch: Option<Launch>,
    /// Waits for the main process to be gone.
    pub(super) forget: Option<Asker>,
}

impl Container {
    /// Writes the state down. Whoever is told of it must be able to find it.
    pub(super) fn record(&self) -> Result<()> {
        records::write(&self.folder, records::STATE, &self.state)
    }

    /// The main process lives, started or not.
    pub(super) fn is_alive(&self) -> bool {
        self.state.pid.is_some() && self.state.exit.is_none()
    }

    /// Fails unless the container is in the wanted state.
    pub(super) fn require(&self, id: &str, wanted: &str) -> std::result::Result<u32, Failure> {
        let state = match (self.state.pid, self.state.started_at, self.state.exit) {
            (Some(pid), Some(started_at), None) => ContainerState::Running { pid, started_at },
            (_, _, Some(exit)) => ContainerState::Exited(exit),
            (_, None, None) | (None, _, None) => ContainerState::Created,
        };
        match self.state.pid {
            Some(pid) if state.name() == wanted => Ok(pid),
            _ => {
                let (id, wanted) = (id.to_owned(), wanted.to_owned());
                Err(Failure::State { id, state: state.name().to_owned(), wanted })
            }
        }
    }
}
