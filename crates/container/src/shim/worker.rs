//! Forking workers: copies of the shim that may do anything to themselves.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::unistd::{ForkResult, fork};

use super::report::{self, Reporter};
use crate::error::{Error, Result};
use crate::protocol::Failure;

/// Runs `work` in a forked copy of the shim that has only the given descriptors. Gives the socket with its reports.
pub(super) fn spawn(keep: &[RawFd], work: impl FnOnce(&Reporter) -> Result<()>) -> Result<OwnedFd> {
    let (ours, theirs) = report::pair()?;
    // SAFETY: the shim has one thread, so the child may do anything.
    match unsafe { fork() }.map_err(Error::io("forking a worker"))? {
        ForkResult::Parent { .. } => Ok(ours),
        ForkResult::Child => {
            let reporter = Reporter::from_raw(theirs.as_raw_fd());
            close_others(keep, theirs.as_raw_fd());
            let failure = match catch_unwind(AssertUnwindSafe(|| work(&reporter))) {
                Ok(Ok(())) => None,
                Ok(Err(e)) => Some(Failure::from(e)),
                Err(_) => Some(Failure::Other("a worker of the shim panicked; see shim.log".to_owned())),
            };
            let failed = failure.is_some();
            if let Some(failure) = failure {
                reporter.failed(failure);
            }
            // SAFETY: ends the process without running what belongs to the shim.
            unsafe { libc::_exit(i32::from(failed)) }
        }
    }
}

/// Closes everything but the standard streams and the given descriptors, so that no copy keeps a pipe or a connection
/// open.
fn close_others(keep: &[RawFd], also: RawFd) {
    let mut keep: Vec<u32> = keep.iter().chain([&also]).filter_map(|fd| u32::try_from(*fd).ok()).collect();
    keep.sort_unstable();
    let mut from = 3;
    for fd in keep.into_iter().chain([u32::MAX]) {
        if fd > from {
            // SAFETY: the process is a copy in which no owner of these numbers runs any more.
            unsafe { libc::close_range(from, fd - 1, 0) };
        }
        from = fd.saturating_add(1);
    }
}
