//! What daemon and shim say to each other: frames of JSON over a unix socket, with file descriptors beside them.
//!
//! A frame is two little-endian `u32` (length of the JSON, number of descriptors) and the JSON. Descriptors travel with
//! the frame's first byte. A shim outlives the daemon that started it, so a daemon must understand the shims of its
//! predecessors: fields may be added with a default; anything else raises [`VERSION`].

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::SystemTime;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::config::ExecConfig;
use crate::error::Error;
use crate::records::StateRecord;
use crate::runtime::{Exit, ExitStatus};

/// Raised when old and new cannot understand each other.
pub(crate) const VERSION: u32 = 1;
/// The kernel passes at most 253 descriptors at once.
pub(crate) const MAX_FDS: usize = 253;
/// A frame never needs more: configurations stand in files.
const MAX_FRAME: u32 = 4 << 20;
const HEADER: usize = 8;

/// From the daemon.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    /// Comes back in the reply.
    pub(crate) id: u64,
    pub(crate) call: Call,
}

/// What the daemon wants.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Call {
    /// First of all, once: the folder of the sandbox. Descriptor: the listening socket.
    Boot {
        version: u32,
        folder: PathBuf,
    },
    /// Descriptors: the sources of the bind mounts, in order.
    Create {
        id: String,
    },
    Start {
        id: String,
    },
    /// Answered as `Start` once the program runs, if an earlier daemon has asked for that; else at once.
    Settle {
        id: String,
    },
    Signal {
        id: String,
        signal: i32,
    },
    /// Drops a container whose processes were killed; the reply comes when its main process is gone.
    Forget {
        id: String,
    },
    /// Descriptors: standard input, output and error; none with a terminal, whose master comes back with the reply.
    Exec {
        id: String,
        exec: u64,
        config: Box<ExecConfig>,
    },
    /// Kills a process started by this connection.
    KillExec {
        exec: u64,
    },
    /// Descriptors: where to copy the streams that are wanted. With the reply come the write end of standard input, or
    /// the terminal.
    Attach {
        id: String,
        stdout: bool,
        stderr: bool,
    },
    CloseStdin {
        id: String,
    },
    ReopenLog {
        id: String,
    },
    List,
    /// Ends the shim when all its containers have ended.
    Stop,
}

/// From the shim.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Message {
    Reply { to: u64, reply: Reply },
    Exited { id: String, exit: Exit },
    ExecExited { exec: u64, status: ExitStatus },
}

/// The answer to a request.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    Done,
    Booted { version: u32, pid: u32 },
    Started { id: String, pid: u32, at: SystemTime },
    Containers(Vec<(String, StateRecord)>),
    Failed(Failure),
}

/// An error that can travel. The texts of [`Error`] are made on the daemon's side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Failure {
    NoContainer(String),
    State { id: String, state: String, wanted: String },
    CommandNotFound { command: String, detail: String },
    CommandNotExecutable { command: String, detail: String },
    UserNotFound { kind: String, name: String, file: String },
    Other(String),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NoContainer(id) => Self::ContainerNotFound(id),
            Failure::State { id, state, wanted } => {
                Self::State { id, state: known_state(&state), wanted: known_state(&wanted) }
            }
            Failure::CommandNotFound { command, detail } => Self::CommandNotFound(command, detail),
            Failure::CommandNotExecutable { command, detail } => Self::CommandNotExecutable(command, detail),
            Failure::UserNotFound { kind, name, file } => Self::UserNotFound { kind, name, file },
            Failure::Other(text) => Self::Container(text),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::ContainerNotFound(id) => Self::NoContainer(id),
            Error::CommandNotFound(command, detail) => Self::CommandNotFound { command, detail },
            Error::CommandNotExecutable(command, detail) => Self::CommandNotExecutable { command, detail },
            Error::UserNotFound { kind, name, file } => Self::UserNotFound { kind, name, file },
            Error::State { id, state, wanted } => {
                Self::State { id, state: state.to_owned(), wanted: wanted.to_owned() }
            }
            other => Self::Other(other.to_string()),
        }
    }
}

fn known_state(name: &str) -> &'static str {
    match name {
        "created" => "created",
        "running" => "running",
        "exited" => "exited",
        _ => "in another state",
    }
}

/// Bytes and descriptors on their way out.
#[derive(Debug)]
pub(crate) struct Frame {
    bytes: Vec<u8>,
    sent: usize,
    fds: Vec<OwnedFd>,
}

impl Frame {
    /// A message with its descriptors.
    pub(crate) fn new<T: Serialize>(message: &T, fds: Vec<OwnedFd>) -> io::Result<Self> {
        if fds.len() > MAX_FDS {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many file descriptors in one message"));
        }
        let mut bytes = vec![0; HEADER];
        serde_json::to_writer(&mut bytes, message)?;
        let length = u32::try_from(bytes.len() - HEADER).ok().filter(|l| *l <= MAX_FRAME);
        let length = length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "message too long"))?;
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        bytes[4..HEADER].copy_from_slice(&(fds.len() as u32).to_le_bytes());
        Ok(Self { bytes, sent: 0, fds })
    }

    /// Sends what the socket takes. `Ok(true)`: all of it.
    pub(crate) fn send(&mut self, socket: impl AsFd) -> io::Result<bool> {
        while self.sent < self.bytes.len() {
            let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            let fds: Vec<BorrowedFd<'_>> = self.fds.iter().map(AsFd::as_fd).collect();
            if !fds.is_empty() {
                ancillary.push(SendAncillaryMessage::ScmRights(&fds));
            }
            let bytes = [IoSlice::new(&self.bytes[self.sent..])];
            self.sent += rustix::net::sendmsg(&socket, &bytes, &mut ancillary, SendFlags::NOSIGNAL)?;
            self.fds.clear();
        }
        Ok(true)
    }
}

/// Bytes and descriptors on their way in.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    fds: VecDeque<OwnedFd>,
}

impl Inbox {
    /// Takes in what the socket has. 0 is the end.
    pub(crate) fn receive(&mut self, socket: impl AsFd) -> io::Result<usize> {
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut chunk = [0; 8192];
        let got = {
            let mut slices = [IoSliceMut::new(&mut chunk)];
            rustix::net::recvmsg(socket, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?.bytes
        };
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                self.fds.extend(fds);
            }
        }
        self.bytes.extend_from_slice(&chunk[..got]);
        Ok(got)
    }

    /// The next complete message.
    pub(crate) fn next<T: DeserializeOwned>(&mut self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let Some(header) = self.bytes.first_chunk::<HEADER>() else { return Ok(None) };
        let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let (length, fds) = (word(0), word(4) as usize);
        if length > MAX_FRAME || fds > MAX_FDS {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a frame"));
        }
        let end = HEADER + length as usize;
        if self.bytes.len() < end || self.fds.len() < fds {
            return Ok(None);
        }
        let message = serde_json::from_slice(&self.bytes[HEADER..end])?;
        self.bytes.drain(..end);
        if self.bytes.is_empty() {
            // A long message must not hold its memory for ever.
            self.bytes = Vec::new();
        }
        Ok(Some((message, self.fds.drain(..fds).collect())))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn frames_arrive_with_their_descriptors() {
        let (left, right) = UnixStream::pair().unwrap();
        let null = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        for (id, fds) in [(1, vec![null(), null()]), (2, vec![]), (3, vec![null()])] {
            let request = Request { id, call: Call::Create { id: "x".repeat(20_000) } };
            let mut frame = Frame::new(&request, fds).unwrap();
            assert!(frame.send(&left).unwrap());
        }
        let (mut inbox, mut seen) = (Inbox::default(), Vec::new());
        while seen.len() < 3 {
            inbox.receive(&right).unwrap();
            while let Some((request, fds)) = inbox.next::<Request>().unwrap() {
                seen.push((request.id, fds.len()));
            }
        }
        assert_eq!(seen, [(1, 2), (2, 0), (3, 1)]);
    }

    #[test]
    fn nonsense_is_refused() {
        let mut inbox = Inbox { bytes: vec![0xff; 64], fds: VecDeque::new() };
        assert!(inbox.next::<Request>().is_err());
    }
}
