//! The shim's loop: requests in, answers and news out, children reaped.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

use super::Sandbox;
use super::container::{Asker, Container};
use super::streams::Client;
use crate::error::{Error, Result};
use crate::protocol::{Failure, Frame, Inbox, Message, Reply, Request};
use crate::runtime::ExitStatus;

/// Tokens of what is watched from the start.
const LISTENER: u64 = 1;
const SIGNALS: u64 = 2;

/// Everything the shim has.
pub(super) struct Server {
    pub(super) sandbox: Sandbox,
    pub(super) containers: BTreeMap<String, Container>,
    /// Further processes, by the token of their reports.
    pub(super) execs: HashMap<u64, Exec>,
    /// Attached clients of streams that have ended, by token, until they have caught up.
    pub(super) lingering: HashMap<u64, Client>,
    /// Waits until every container has ended; then the shim ends.
    pub(super) stop: Option<Asker>,
    epoll: OwnedFd,
    listener: OwnedFd,
    signals: SignalFd,
    sources: HashMap<u64, Source>,
    connections: HashMap<u64, Connection>,
    next_token: u64,
    /// Children that ended before their worker could name them, or before it told that they run.
    early: HashMap<u32, ExitStatus>,
    finished: bool,
}

/// What a token of epoll stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Listener,
    Signals,
    Connection,
    /// Reports about a container's start.
    Launch(String),
    /// Reports about a further process.
    Exec,
    /// Output of a container.
    Stream(String),
    /// An attached client of a container that was behind.
    Client(String),
}

/// A further process in a container.
pub(super) struct Exec {
    pub(super) report: OwnedFd,
    pub(super) asker: Option<Asker>,
    pub(super) connection: u64,
    /// The daemon's name for it.
    pub(super) id: u64,
    pub(super) pid: Option<u32>,
    pub(super) terminal: Option<OwnedFd>,
    pub(super) failed: bool,
}

struct Connection {
    socket: OwnedFd,
    inbox: Inbox,
    outbox: VecDeque<Frame>,
}

impl Server {
    /// Takes over the listening socket and the connection to the daemon that started the shim.
    pub(super) fn new(sandbox: Sandbox, listener: OwnedFd, socket: OwnedFd) -> Result<Self> {
        let mut mask = SigSet::empty();
        for signal in [Signal::SIGCHLD, Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM, Signal::SIGPIPE] {
            mask.add(signal);
        }
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&mask), None).map_err(Error::io("blocking signals"))?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
            .map_err(Error::io("making a signalfd"))?;
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(Error::io("making an epoll"))?;
        rustix::io::ioctl_fionbio(&listener, true).map_err(Error::io("preparing the socket"))?;
        let sources = HashMap::from([(LISTENER, Source::Listener), (SIGNALS, Source::Signals)]);
        for (fd, token) in [(listener.as_fd(), LISTENER), (signals.as_fd(), SIGNALS)] {
            epoll::add(&epoll, fd, EventData::new_u64(token), EventFlags::IN).map_err(Error::io("watching a file"))?;
        }
        let mut server = Self {
            sandbox,
            containers: BTreeMap::new(),
            execs: HashMap::new(),
            lingering: HashMap::new(),
            stop: None,
            epoll,
            listener,
            signals,
            sources,
            connections: HashMap::new(),
            next_token: SIGNALS + 1,
            early: HashMap::new(),
            finished: false,
        };
        server.connect(socket)?;
        Ok(server)
    }

    /// Runs until the sandbox is stopped.
    pub(super) fn run(&mut self) -> Result<()> {
        let mut events = Vec::with_capacity(16);
        while !self.finished {
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(Error::io("waiting for events")(e)),
            }
            for event in &events {
                let Event { flags, data } = *event;
                self.dispatch(data.u64(), flags);
            }
        }
        Ok(())
    }

    fn dispatch(&mut self, token: u64, flags: EventFlags) {
        // What is no longer known was closed earlier in the same round.
        let Some(source) = self.sources.get(&token).cloned() else { return };
        match source {
            Source::Listener => self.accept(),
            Source::Signals => self.reap(),
            Source::Connection => self.serve(token, flags),
            Source::Launch(id) => self.launch_reports(&id),
            Source::Exec => self.exec_reports(token),
            Source::Stream(id) => self.pump_stream(&id, token),
            Source::Client(id) => self.flush_client(&id, token),
        }
    }

    /// Begins to watch a file.
    pub(super) fn watch(&mut self, fd: &OwnedFd, source: Source, flags: EventFlags) -> Result<u64> {
        let token = self.next_token;
        self.next_token += 1;
        epoll::add(&self.epoll, fd, EventData::new_u64(token), flags).map_err(Error::io("watching a file"))?;
        self.sources.insert(token, source);
        Ok(token)
    }

    /// Watches for something else. An ended file may be gone already.
    pub(super) fn rewatch(&self, fd: &OwnedFd, token: u64, flags: EventFlags) {
        let _ = epoll::modify(&self.epoll, fd, EventData::new_u64(token), flags);
    }

    /// Stops watching a file. It must be the very descriptor that is watched: epoll takes a duplicate for another file.
    pub(super) fn unwatch(&mut self, fd: &OwnedFd, token: u64) {
        let _ = epoll::delete(&self.epoll, fd);
        self.sources.remove(&token);
    }

    fn connect(&mut self, socket: OwnedFd) -> Result<()> {
        rustix::io::ioctl_fionbio(&socket, true).map_err(Error::io("preparing a connection"))?;
        let token = self.watch(&socket, Source::Connection, EventFlags::IN)?;
        let connection = Connection { socket, inbox: Inbox::default(), outbox: VecDeque::new() };
        self.connections.insert(token, connection);
        Ok(())
    }

    fn accept(&mut self) {
        while let Ok(socket) = rustix::net::accept_with(&self.listener, rustix::net::SocketFlags::CLOEXEC) {
            if let Err(e) = self.connect(socket) {
                eprintln!("shim: {e}");
            }
        }
    }

    fn serve(&mut self, token: u64, flags: EventFlags) {
        if flags.contains(EventFlags::OUT) {
            self.flush(token);
        }
        let mut open = !flags.intersects(EventFlags::ERR);
        while let Some(connection) = self.connections.get_mut(&token).filter(|_| open) {
            match connection.inbox.receive(&connection.socket) {
                Ok(0) => open = false,
                Ok(_) => open = self.answer_all(token),
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => open = false,
            }
        }
        if !open {
            self.disconnect(token);
        }
    }

    /// Answers the complete requests; false if what came is none.
    fn answer_all(&mut self, token: u64) -> bool {
        loop {
            let Some(connection) = self.connections.get_mut(&token) else { return false };
            match connection.inbox.next::<Request>() {
                Ok(None) => return true,
                Ok(Some((request, fds))) => {
                    let asker = Asker { connection: token, request: request.id };
                    self.call(asker, request.call, fds);
                }
                Err(e) => {
                    eprintln!("shim: request: {e}");
                    return false;
                }
            }
        }
    }

    fn disconnect(&mut self, token: u64) {
        if let Some(connection) = self.connections.remove(&token) {
            self.unwatch(&connection.socket, token);
        }
    }

    /// Answers a request.
    pub(super) fn reply(&mut self, asker: Asker, reply: Reply, fds: Vec<OwnedFd>) {
        self.send(asker.connection, &Message::Reply { to: asker.request, reply }, fds);
    }

    /// Answers a request with an error.
    pub(super) fn fail(&mut self, asker: Asker, failure: Failure) {
        self.reply(asker, Reply::Failed(failure), Vec::new());
    }

    /// Sends to one daemon. One that is gone finds everything on disk.
    pub(super) fn send(&mut self, token: u64, message: &Message, fds: Vec<OwnedFd>) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        match Frame::new(message, fds) {
            Ok(frame) => connection.outbox.push_back(frame),
            Err(e) => eprintln!("shim: encoding {message:?}: {e}"),
        }
        self.flush(token);
    }

    /// Sends to every daemon that is connected.
    pub(super) fn broadcast(&mut self, message: &Message) {
        for token in self.connections.keys().copied().collect::<Vec<_>>() {
            self.send(token, message, Vec::new());
        }
    }

    fn flush(&mut self, token: u64) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        while let Some(frame) = connection.outbox.front_mut() {
            match frame.send(&connection.socket) {
                Ok(_) => drop(connection.outbox.pop_front()),
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => break,
                // The end shows up as readable, too, and is handled there.
                Err(_) => connection.outbox.clear(),
            }
        }
        let wanted = if connection.outbox.is_empty() { EventFlags::IN } else { EventFlags::IN | EventFlags::OUT };
        let _ = epoll::modify(&self.epoll, &connection.socket, EventData::new_u64(token), wanted);
    }

    /// Takes the status of every child that ended.
    fn reap(&mut self) {
        while let Ok(Some(_)) = self.signals.read_signal() {}
        loop {
            match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG | WaitPidFlag::__WALL)) {
                Ok(WaitStatus::Exited(pid, code)) => self.child_ended(pid, ExitStatus { code, signal: None }),
                Ok(WaitStatus::Signaled(pid, signal, _)) => {
                    let signal = signal as i32;
                    self.child_ended(pid, ExitStatus { code: 128 + signal, signal: Some(signal) });
                }
                Ok(WaitStatus::StillAlive) | Err(nix::errno::Errno::ECHILD) => break,
                Ok(_) | Err(_) => {}
            }
        }
        self.end_if_stopped();
    }

    fn child_ended(&mut self, pid: Pid, status: ExitStatus) {
        let Ok(pid) = u32::try_from(pid.as_raw()) else { return };
        // A report that names this very child may still be waiting to be read.
        self.read_all_reports();
        if !self.process_ended(pid, status) && self.is_launching() {
            self.early.insert(pid, status);
        }
    }

    /// The status of a child that ended before its worker named it.
    pub(super) fn take_early(&mut self, pid: u32) -> Option<ExitStatus> {
        self.early.remove(&pid)
    }

    /// Forgets them once nobody can ask for them any more.
    pub(super) fn clear_early(&mut self) {
        if !self.is_launching() {
            self.early = HashMap::new();
        }
    }

    fn is_launching(&self) -> bool {
        let unnamed = |c: &Container| c.launch.is_some() && c.state.pid.is_none();
        self.containers.values().any(unnamed) || self.execs.values().any(|e| e.asker.is_some())
    }

    /// Ends the loop once the daemon wants it and nothing runs.
    pub(super) fn end_if_stopped(&mut self) {
        if self.containers.values().any(Container::is_alive) {
            return;
        }
        if let Some(asker) = self.stop.take() {
            self.reply(asker, Reply::Done, Vec::new());
            self.finished = true;
        }
    }
}
