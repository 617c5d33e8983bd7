//! What stands in the run folder, so that a daemon started after a `kill -9` finds everything.
//!
//! ```text
//! RUN/<sandbox>/sandbox.json          what was asked for; written by the daemon before the shim starts
//! RUN/<sandbox>/shim.json             pid and start time; written by the shim once it is up
//! RUN/<sandbox>/shim.sock             where the shim listens
//! RUN/<sandbox>/shim.log              standard error of the shim
//! RUN/<sandbox>/<container>/container.json   what was asked for, and the image's part of it; written by the daemon
//! RUN/<sandbox>/<container>/state.json       start and exit; written by the shim before it tells anyone
//! RUN/<sandbox>/<container>/filter.bpf       the filter of system calls, if it has one; written by the daemon
//! RUN/<sandbox>/<container>/config.json      the OCI specification; written by the shim's worker
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::config::{ContainerConfig, SandboxConfig};
use crate::error::{Error, Result};
use crate::images::ImageConfig;
use crate::runtime::{Exit, ProcessUser};

pub(crate) const SANDBOX: &str = "sandbox.json";
pub(crate) const SHIM: &str = "shim.json";
pub(crate) const SOCKET: &str = "shim.sock";
pub(crate) const SHIM_LOG: &str = "shim.log";
pub(crate) const CONTAINER: &str = "container.json";
pub(crate) const STATE: &str = "state.json";
pub(crate) const FILTER: &str = "filter.bpf";
pub(crate) const SPEC: &str = "config.json";

/// `sandbox.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SandboxRecord {
    pub(crate) config: SandboxConfig,
    pub(crate) created_at: SystemTime,
    /// Stopped on purpose: a missing shim is no loss.
    pub(crate) stopped: bool,
}

/// `shim.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShimRecord {
    pub(crate) pid: u32,
    /// Field 22 of `/proc/PID/stat`: with the pid it names a process for good.
    pub(crate) start_time: u64,
}

/// `container.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ContainerRecord {
    pub(crate) config: ContainerConfig,
    pub(crate) created_at: SystemTime,
    pub(crate) image: ImageConfig,
    /// Unpacked layers, lowest first.
    pub(crate) layers: Vec<PathBuf>,
    /// Folder of the writable layer.
    pub(crate) writable: PathBuf,
    pub(crate) cgroup: String,
    /// Those it has, by name without `CAP_`.
    pub(crate) capabilities: BTreeSet<String>,
}

/// `state.json`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StateRecord {
    /// The main process, which waits to be started at first.
    pub(crate) pid: Option<u32>,
    pub(crate) started_at: Option<SystemTime>,
    pub(crate) exit: Option<Exit>,
}

/// Who a container's program runs as, from the specification that the shim's worker has written.
pub(crate) fn user(folder: &Path) -> Option<ProcessUser> {
    #[derive(Deserialize)]
    struct Spec {
        process: Process,
    }
    #[derive(Deserialize)]
    struct Process {
        user: User,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct User {
        uid: u32,
        gid: u32,
        #[serde(default)]
        additional_gids: Vec<u32>,
    }
    let User { uid, gid, additional_gids } = read::<Spec>(folder, SPEC).ok()?.process.user;
    Some(ProcessUser { uid, gid, groups: additional_gids })
}

/// Replaces a record in one step. No sync: after a power cut there are no processes to be found either.
pub(crate) fn write<T: Serialize>(folder: &Path, name: &str, record: &T) -> Result<()> {
    let target = folder.join(name);
    let temporary = folder.join(format!(".{name}.new"));
    let bytes = serde_json::to_vec(record)
        .map_err(|e| Error::io(format!("encoding {}", target.display()))(io::Error::from(e)))?;
    fs::write(&temporary, bytes)
        .and_then(|()| fs::rename(&temporary, &target))
        .map_err(Error::io(format!("writing {}", target.display())))
}

/// Reads a record.
pub(crate) fn read<T: DeserializeOwned>(folder: &Path, name: &str) -> Result<T> {
    let path = folder.join(name);
    let bytes = fs::read(&path).map_err(Error::io(format!("reading {}", path.display())))?;
    serde_json::from_slice(&bytes).map_err(|e| Error::io(format!("decoding {}", path.display()))(io::Error::from(e)))
}

/// The start time of a process, if it lives.
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, so count from the last one: the state is then field 3.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if state == "Z" || state == "X" { None } else { fields.nth(18)?.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let record = ShimRecord { pid: 7, start_time: 9 };
        write(folder.path(), SHIM, &record).unwrap();
        assert_eq!(read::<ShimRecord>(folder.path(), SHIM).unwrap(), record);
        assert!(read::<StateRecord>(folder.path(), STATE).is_err());
    }

    #[test]
    fn start_times() {
        assert!(start_time(std::process::id()).is_some());
        assert_eq!(start_time(u32::MAX), None);
    }
}
