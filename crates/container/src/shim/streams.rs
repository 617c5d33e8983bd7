//! Output of a container: read by the shim, written to the log, copied to whoever is attached.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;

use super::log::{Log, StreamName};
use crate::clock::now;

/// Read at once; also what an attached client may be behind before the container has to wait.
const CHUNK: usize = 16 << 10;
/// Reads in one turn, so that a chatty container does not starve the others.
const TURNS: usize = 16;

/// The read end of a stream.
pub(super) struct Stream {
    pub(super) fd: OwnedFd,
    pub(super) token: u64,
    pub(super) name: StreamName,
    pub(super) clients: Vec<Client>,
}

/// An attached client.
pub(super) struct Client {
    pub(super) fd: OwnedFd,
    pub(super) token: u64,
    behind: VecDeque<u8>,
}

/// What reading came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// There may be more.
    Open,
    /// A client is behind; reading goes on when it has caught up.
    Behind,
    /// The last writer is gone.
    Ended,
}

impl Client {
    pub(super) fn new(fd: OwnedFd, token: u64) -> Self {
        Self { fd, token, behind: VecDeque::new() }
    }

    pub(super) fn is_behind(&self) -> bool {
        !self.behind.is_empty()
    }

    /// Writes what it takes; false if it is gone.
    pub(super) fn flush(&mut self) -> bool {
        while !self.behind.is_empty() {
            let (front, _) = self.behind.as_slices();
            match rustix::io::write(&self.fd, front) {
                Ok(written) => drop(self.behind.drain(..written)),
                Err(Errno::AGAIN) => return true,
                Err(Errno::INTR) => {}
                Err(_) => return false,
            }
        }
        // Nothing held back: give the memory back too.
        self.behind = VecDeque::new();
        true
    }

    fn take(&mut self, bytes: &[u8]) -> bool {
        self.behind.extend(bytes);
        self.flush()
    }
}

impl Stream {
    /// Reads what is there, at most a few chunks.
    pub(super) fn pump(&mut self, log: &mut Log) -> Outcome {
        for _ in 0..TURNS {
            match self.read_once(log) {
                Some(Outcome::Open) => {}
                Some(end) => return end,
                None => return Outcome::Open,
            }
        }
        Outcome::Open
    }

    /// Reads everything that is there: the container has ended. Bounded by what a pipe can hold, and some.
    pub(super) fn drain(&mut self, log: &mut Log) {
        for _ in 0..256 {
            match self.read_once(log) {
                Some(Outcome::Open | Outcome::Behind) => {}
                Some(Outcome::Ended) | None => break,
            }
        }
        // The disk is full or the folder gone: the exit still counts.
        let _ = log.finish(self.name, now());
    }

    /// `None`: nothing to read now.
    fn read_once(&mut self, log: &mut Log) -> Option<Outcome> {
        let mut chunk = [0; CHUNK];
        match rustix::io::read(self.fd.as_fd(), &mut chunk) {
            // A terminal reports the end of its last user as an error.
            Ok(0) | Err(Errno::IO) => Some(Outcome::Ended),
            Ok(read) => {
                // A log that cannot be written must not stop the container.
                let _ = log.write(self.name, &chunk[..read], now());
                self.clients.retain_mut(|client| client.take(&chunk[..read]));
                Some(if self.clients.iter().any(Client::is_behind) { Outcome::Behind } else { Outcome::Open })
            }
            Err(Errno::INTR) => Some(Outcome::Open),
            Err(Errno::AGAIN) => None,
            Err(_) => Some(Outcome::Ended),
        }
    }
}
