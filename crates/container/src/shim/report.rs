//! What a forked worker tells the shim: packets of JSON over a socket that closes when the program starts.

use std::io::{IoSlice, IoSliceMut};
use std::mem::{ManuallyDrop, MaybeUninit};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType,
};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::protocol::Failure;

/// One packet.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// The new process is there; a terminal's master may come along.
    Process { pid: u32 },
    /// The master of a process's terminal.
    Terminal,
    /// It went wrong; what follows, if anything, is less exact.
    Failed(Failure),
}

/// What the shim finds when the socket is readable.
#[derive(Debug)]
pub(super) enum Received {
    Report(Report, Option<OwnedFd>),
    /// Everyone on the other side is gone or has become another program.
    End,
    Nothing,
}

/// The worker's end.
pub(super) struct Reporter(ManuallyDrop<OwnedFd>);

/// Both ends: the shim's, which does not block, and the worker's.
pub(super) fn pair() -> Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(Error::io("making a socket pair"))?;
    rustix::io::ioctl_fionbio(&ours, true).map_err(Error::io("making a socket pair"))?;
    Ok((ours, theirs))
}

impl Reporter {
    /// Uses a descriptor that the process inherited; it stays open.
    pub(super) fn from_raw(fd: RawFd) -> Self {
        // SAFETY: the descriptor is open for the life of the process and never closed through this value.
        Self(ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    pub(super) fn as_raw(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    pub(super) fn failed(&self, failure: Failure) {
        self.send(&Report::Failed(failure), None);
    }

    /// Tells the shim. If it is gone, there is nobody to tell.
    pub(super) fn send(&self, report: &Report, fd: Option<BorrowedFd<'_>>) {
        let bytes = serde_json::to_vec(report).unwrap_or_default();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fds: Vec<BorrowedFd<'_>> = fd.into_iter().collect();
        if !fds.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(&fds));
        }
        let _ = rustix::net::sendmsg(self.0.as_fd(), &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL);
    }
}

/// Takes one packet, if there is one.
pub(super) fn receive(socket: impl AsFd) -> Received {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 8192];
    let got = {
        let mut slices = [IoSliceMut::new(&mut bytes)];
        rustix::net::recvmsg(socket, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC)
    };
    match got {
        Err(Errno::AGAIN | Errno::INTR) => Received::Nothing,
        Err(_) => Received::End,
        Ok(message) if message.bytes == 0 => Received::End,
        Ok(message) => {
            let fd = ancillary.drain().find_map(|m| match m {
                RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
                _ => None,
            });
            match serde_json::from_slice(&bytes[..message.bytes]) {
                Ok(report) => Received::Report(report, fd),
                Err(e) => Received::Report(Report::Failed(Failure::Other(format!("report of a worker: {e}"))), None),
            }
        }
    }
}
