//! The shim: one small single-threaded process a sandbox, which outlives the daemon.
//!
//! It holds the sandbox's namespaces, is the parent of its processes, writes their logs, records their exits before it
//! tells anyone, and passes streams on. It decides nothing: when to stop or restart is the daemon's business. Whatever
//! may change or block its process (every call of libcontainer, entering a container) is done by a forked worker. It
//! shall stay small: no async runtime, no threads, large things only in workers.

mod calls;
mod confine;
mod container;
mod create;
mod exec;
mod happenings;
mod launch;
mod log;
mod namespaces;
mod report;
mod rootfs;
mod server;
mod spec;
mod streams;
mod users;
mod worker;

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use crate::cgroup::Hierarchies;
use crate::config::{NamespaceMode, SandboxConfig};
use crate::error::{Error, Result};
use crate::protocol::{Call, Frame, Inbox, Message, Reply, Request, VERSION};
use crate::records::{self, SandboxRecord, ShimRecord};
use server::Server;

/// Name of the cgroup, beneath the sandbox's, that the shim is in.
pub(crate) const CGROUP: &str = "shim";

/// Wanted `oom_score_adj` of a shim: upstream's runtimes protect theirs by the same amount.
const OOM_SCORE: i32 = -998;

/// Runs the shim and never returns. To be called before any thread exists, with standard input being the socket to the
/// daemon.
pub fn main(_arguments: &[OsString]) -> ! {
    let status = match run() {
        Ok(()) => 0,
        Err(e) => {
            eprintln!("shim: {e}");
            1
        }
    };
    std::process::exit(status)
}

/// The sandbox as the shim holds it.
struct Sandbox {
    folder: PathBuf,
    config: SandboxConfig,
    hierarchies: Hierarchies,
    /// The mount namespace with `/dev/shm`.
    shm: Option<OwnedFd>,
    /// PID 1 of a shared PID namespace.
    pod_init: Option<u32>,
}

impl Sandbox {
    fn join_own_group(&self) -> Result<()> {
        self.hierarchies.group(&self.config.cgroup_parent).child(CGROUP).join(0)
    }
}

fn run() -> Result<()> {
    let socket = take_socket()?;
    detach()?;
    let mut inbox = Inbox::default();
    let (request, fds) = receive_boot(&socket, &mut inbox)?;
    let Request { id, call: Call::Boot { version, folder } } = request else {
        return Err(Error::Protocol("the first request is not Boot".to_owned()));
    };
    let booted = if version == VERSION { boot(folder) } else { Err(Error::Protocol(format!("version {version}"))) };
    let reply = match &booted {
        Ok(_) => Reply::Booted { version: VERSION, pid: std::process::id() },
        Err(e) => Reply::Failed(crate::protocol::Failure::Other(e.to_string())),
    };
    let mut frame = Frame::new(&Message::Reply { to: id, reply }, Vec::new()).map_err(Error::io("encoding a reply"))?;
    frame.send(&socket).map_err(Error::io("answering the daemon"))?;
    let sandbox = booted?;
    if sandbox.pod_init.is_none() {
        // Slow, so the daemon need not wait for it: it sees to the network meanwhile.
        sandbox.join_own_group()?;
    }
    let listener = fds.into_iter().next().ok_or_else(|| Error::Protocol("no listening socket".to_owned()))?;
    Server::new(sandbox, listener, socket)?.run()
}

/// Moves the socket away from standard input, where `/dev/null` takes its place.
fn take_socket() -> Result<OwnedFd> {
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3).map_err(Error::io("taking the socket"))?;
    let null = File::options().read(true).write(true).open("/dev/null").map_err(Error::io("opening /dev/null"))?;
    rustix::stdio::dup2_stdin(&null).map_err(Error::io("taking the socket"))?;
    Ok(socket)
}

/// Becomes independent of the daemon and the parent of every orphan beneath it.
fn detach() -> Result<()> {
    // SAFETY: plain system calls on the calling process; setsid fails only for a leader, who needs none.
    let adopted = unsafe {
        libc::setsid();
        libc::umask(0o022);
        libc::prctl(libc::PR_SET_NAME, c"minke-shim".as_ptr());
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1)
    };
    if adopted != 0 {
        return Err(Error::io("becoming a subreaper")(std::io::Error::last_os_error()));
    }
    create::set_oom_score(OOM_SCORE);
    std::env::set_current_dir("/").map_err(Error::io("changing to /"))
}

fn receive_boot(socket: &OwnedFd, inbox: &mut Inbox) -> Result<(Request, Vec<OwnedFd>)> {
    loop {
        if let Some(received) = inbox.next::<Request>().map_err(Error::io("reading the first request"))? {
            return Ok(received);
        }
        if inbox.receive(socket).map_err(Error::io("reading the first request"))? == 0 {
            return Err(Error::Protocol("the daemon is gone".to_owned()));
        }
    }
}

fn boot(folder: PathBuf) -> Result<Sandbox> {
    let SandboxRecord { config, .. } = records::read(&folder, records::SANDBOX)?;
    let hierarchies = Hierarchies::detect()?;
    let group = hierarchies.group(&config.cgroup_parent);
    group.create()?;
    group.apply(&config.resources)?;
    group.child(CGROUP).create()?;
    namespaces::enter(&config)?;
    let scratch = folder.join("scratch");
    std::fs::create_dir_all(&scratch).map_err(Error::io(format!("making {}", scratch.display())))?;
    let shm = namespaces::shm_holder(&config, &scratch)?;
    let mut sandbox = Sandbox { folder, config, hierarchies, shm, pod_init: None };
    match sandbox.config.namespaces.pid {
        NamespaceMode::Sandbox => {
            // The sandbox's init shall be born in the cgroup.
            sandbox.join_own_group()?;
            sandbox.pod_init = Some(namespaces::pod_init(&scratch)?);
        }
        NamespaceMode::Container | NamespaceMode::Host | NamespaceMode::Path(_) => {}
    }
    let pid = std::process::id();
    let start_time =
        records::start_time(pid).ok_or_else(|| Error::Container("no start time of the shim".to_owned()))?;
    records::write(&sandbox.folder, records::SHIM, &ShimRecord { pid, start_time })?;
    Ok(sandbox)
}

/// Both ends of a pipe as numbers' owners, closed on exec.
fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(Error::io("making a pipe"))
}

/// Another descriptor of the same thing.
fn duplicate(fd: &OwnedFd) -> Result<OwnedFd> {
    fd.try_clone().map_err(Error::io("duplicating a descriptor"))
}

/// The numbers of some descriptors.
fn numbers(fds: &[OwnedFd]) -> Vec<std::os::fd::RawFd> {
    fds.iter().map(AsRawFd::as_raw_fd).collect()
}
