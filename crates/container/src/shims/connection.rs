//! The daemon's end of a shim's socket: calls go out, answers and news come in.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::error::{Error, Result};
use crate::protocol::{Call, Frame, Inbox, Message, Reply, Request};
use crate::runtime::{Exit, ExitStatus};

/// Frames that may wait to be sent; more callers wait themselves.
const OUTBOX: usize = 64;

type Answer = (Reply, Vec<OwnedFd>);

/// What a shim tells unasked. Called in the order in which it happened, before the answers that came after it.
pub(super) trait Listener: Send + Sync + 'static {
    /// A container runs.
    fn started(&self, id: &str, pid: u32, at: std::time::SystemTime);
    /// A container ended.
    fn exited(&self, id: &str, exit: Exit);
}

/// A connection to a shim.
pub(super) struct Connection {
    sandbox_id: String,
    shared: Arc<Shared>,
    outbox: mpsc::Sender<Frame>,
    next: AtomicU64,
    tasks: [JoinHandle<()>; 2],
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    closed: bool,
    answers: HashMap<u64, oneshot::Sender<Answer>>,
    execs: HashMap<u64, oneshot::Sender<ExitStatus>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("no holder of this lock can panic")
    }
}

impl Connection {
    /// Takes over a connected socket.
    pub(super) fn new(sandbox_id: &str, socket: StdUnixStream, listener: Arc<dyn Listener>) -> Result<Self> {
        let doing = || format!("connecting to the shim of sandbox {sandbox_id}");
        socket.set_nonblocking(true).map_err(Error::io(doing()))?;
        let socket = Arc::new(UnixStream::from_std(socket).map_err(Error::io(doing()))?);
        let shared = Arc::new(Shared::default());
        let (outbox, frames) = mpsc::channel(OUTBOX);
        let reader = tokio::spawn(read(Arc::clone(&socket), Arc::clone(&shared), listener));
        let writer = tokio::spawn(write(socket, frames));
        let next = AtomicU64::new(1);
        Ok(Self { sandbox_id: sandbox_id.to_owned(), shared, outbox, next, tasks: [reader, writer] })
    }

    /// Asks the shim and waits for its answer.
    pub(super) async fn call(&self, call: Call, fds: Vec<OwnedFd>) -> Result<Answer> {
        let lost = || Error::Lost(self.sandbox_id.clone());
        let id = self.id();
        let (answer, answered) = oneshot::channel();
        {
            let mut waiting = self.shared.lock();
            if waiting.closed {
                return Err(lost());
            }
            waiting.answers.insert(id, answer);
        }
        let frame = Frame::new(&Request { id, call }, fds).map_err(Error::io("encoding a request"))?;
        self.outbox.send(frame).await.map_err(|_| lost())?;
        match answered.await {
            Ok((Reply::Failed(failure), _)) => Err(failure.into()),
            Ok(answer) => Ok(answer),
            Err(_) => Err(lost()),
        }
    }

    /// Asks the shim and expects nothing but success.
    pub(super) async fn done(&self, call: Call, fds: Vec<OwnedFd>) -> Result<Vec<OwnedFd>> {
        match self.call(call, fds).await? {
            (Reply::Done, fds) => Ok(fds),
            (other, _) => Err(Error::Protocol(format!("unexpected answer {other:?}"))),
        }
    }

    /// Tells the shim something whose answer is of no interest; a full outbox loses it.
    pub(super) fn post(&self, call: Call) {
        if let Ok(frame) = Frame::new(&Request { id: 0, call }, Vec::new()) {
            let _ = self.outbox.try_send(frame);
        }
    }

    /// A name for a process to be started, and its exit.
    pub(super) fn expect_exec(&self) -> (u64, oneshot::Receiver<ExitStatus>) {
        let (exit, exited) = oneshot::channel();
        let id = self.id();
        self.shared.lock().execs.insert(id, exit);
        (id, exited)
    }

    /// The process was not started after all.
    pub(super) fn forget_exec(&self, id: u64) {
        self.shared.lock().execs.remove(&id);
    }

    fn id(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn read(socket: Arc<UnixStream>, shared: Arc<Shared>, listener: Arc<dyn Listener>) {
    let mut inbox = Inbox::default();
    let reason = loop {
        match socket.async_io(Interest::READABLE, || inbox.receive(&*socket)).await {
            Ok(0) => break None,
            Ok(_) => {}
            Err(e) => break Some(e),
        }
        if let Err(e) = take_messages(&mut inbox, &shared, listener.as_ref()) {
            break Some(e);
        }
    };
    if let Some(reason) = reason {
        tracing::warn!(error = %reason, "connection to a shim failed");
    }
    // Whoever waits learns it by the closed channel.
    *shared.lock() = Waiting { closed: true, ..Waiting::default() };
}

fn take_messages(inbox: &mut Inbox, shared: &Shared, listener: &dyn Listener) -> std::io::Result<()> {
    while let Some((message, fds)) = inbox.next::<Message>()? {
        match message {
            Message::Reply { to, reply } => {
                if let Reply::Started { id, pid, at } = &reply {
                    listener.started(id, *pid, *at);
                }
                if let Some(answer) = shared.lock().answers.remove(&to) {
                    // A caller that went away wants no answer.
                    let _ = answer.send((reply, fds));
                }
            }
            Message::Exited { id, exit } => listener.exited(&id, exit),
            Message::ExecExited { exec, status } => {
                if let Some(exited) = shared.lock().execs.remove(&exec) {
                    let _ = exited.send(status);
                }
            }
        }
    }
    Ok(())
}

async fn write(socket: Arc<UnixStream>, mut frames: mpsc::Receiver<Frame>) {
    while let Some(mut frame) = frames.recv().await {
        if let Err(e) = socket.async_io(Interest::WRITABLE, || frame.send(&*socket)).await {
            // The reader sees the end of the connection and tells everyone.
            tracing::debug!(error = %e, "writing to a shim failed");
            return;
        }
    }
}
