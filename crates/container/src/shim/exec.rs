//! The worker that starts a further process in a running container.
//!
//! libcontainer can do this too, but forgets the container's system call filter. The worker enters
//! the container's cgroup and namespaces, clones the process as a child of the shim, and ends.

use std::convert::Infallible;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use libcontainer::oci_spec::runtime::{Process, Spec};
use nix::sched::{CloneFlags, setns};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::confine::Confinement;
use super::create::{confinement, set_oom_score};
use super::launch::{become_program, find};
use super::report::{Report, Reporter};
use crate::cgroup::Cgroup;
use crate::config::ExecConfig;
use crate::error::{Error, Result};
use crate::protocol::Failure;
use crate::records::{self, ContainerRecord};

/// What the worker gets from the shim.
pub(super) struct Job<'a> {
    /// The container's folder.
    pub(super) folder: &'a Path,
    pub(super) cgroup: Cgroup,
    pub(super) oom_score_adj: i32,
    /// The container's main process.
    pub(super) main: u32,
    pub(super) config: &'a ExecConfig,
    /// Standard input, output and error; empty with a terminal.
    pub(super) stdio: Vec<RawFd>,
}

/// Starts the process and reports its pid. Runs in the forked worker.
pub(super) fn run(job: &Job<'_>, reporter: &Reporter) -> Result<()> {
    let path = job.folder.join(records::SPEC);
    let spec = Spec::load(&path).map_err(|e| Error::Container(format!("reading {}: {e}", path.display())))?;
    let record: ContainerRecord = records::read(job.folder, records::CONTAINER)?;
    let confinement = confinement(job.folder, &record)?;
    let main =
        i32::try_from(job.main).ok().and_then(Pid::from_raw).ok_or_else(|| Error::Container("no pid".to_owned()))?;
    let container = pidfd_open(main, PidfdFlags::empty()).map_err(Error::io("opening the container's process"))?;
    set_oom_score(job.oom_score_adj);
    job.cgroup.join(0)?;
    let namespaces = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWCGROUP
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    setns(&container, namespaces).map_err(Error::io("entering the container's namespaces"))?;
    // SAFETY: a clone without shared memory is a fork; the worker has one thread. The new process is the shim's child.
    let child = unsafe { libc::syscall(libc::SYS_clone, libc::CLONE_PARENT | libc::SIGCHLD, 0, 0, 0, 0) };
    match child {
        ..0 => Err(Error::io("forking")(std::io::Error::last_os_error())),
        0 => {
            let failure = match enter(job, &spec, &confinement, reporter) {
                Ok(never) => match never {},
                Err(failure) => failure,
            };
            reporter.failed(failure);
            // SAFETY: ends the process without running what belongs to the shim.
            unsafe { libc::_exit(127) }
        }
        pid => {
            let pid = u32::try_from(pid).map_err(|_| Error::Container("pid out of range".to_owned()))?;
            reporter.send(&Report::Process { pid }, None);
            Ok(())
        }
    }
}

/// Becomes the wanted program, within the container's limits.
fn enter(
    job: &Job<'_>,
    spec: &Spec,
    confinement: &Confinement,
    reporter: &Reporter,
) -> std::result::Result<Infallible, Failure> {
    let process = spec.process().as_ref().ok_or_else(|| Failure::Other("the container has no process".to_owned()))?;
    let other = |doing: &'static str| move |e: std::io::Error| Failure::Other(format!("{doing}: {e}"));
    // SAFETY: plain system calls on the calling process.
    unsafe {
        libc::prctl(libc::PR_SET_DUMPABLE, 0);
        libc::setsid();
    }
    if job.config.tty {
        open_terminal(process.user().uid(), reporter).map_err(other("opening a terminal"))?;
    } else {
        for (target, fd) in job.stdio.iter().enumerate() {
            give(*fd, process.user().uid(), process.user().gid());
            // SAFETY: both are descriptors of this process.
            check(unsafe { libc::dup2(*fd, target as RawFd) }).map_err(other("setting up standard streams"))?;
        }
    }
    let cwd = process.cwd();
    let denied = match nix::unistd::chdir(cwd) {
        Ok(()) => false,
        Err(nix::errno::Errno::EACCES | nix::errno::Errno::EPERM) => true,
        Err(e) => return Err(Failure::Other(format!("changing to {}: {e}", cwd.display()))),
    };
    become_user(process).map_err(other("changing the user"))?;
    if denied {
        nix::unistd::chdir(cwd).map_err(|e| Failure::Other(format!("changing to {}: {e}", cwd.display())))?;
    }
    // SAFETY: everything but the standard streams closes when the program starts.
    unsafe { libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC as i32) };
    confinement.apply()?;
    let mut env = process.env().clone().unwrap_or_default();
    for (name, value) in &job.config.env {
        env.retain(|v| v.split('=').next() != Some(name));
        env.push(format!("{name}={value}"));
    }
    if job.config.tty && !env.iter().any(|v| v.starts_with("TERM=")) {
        env.push("TERM=xterm".to_owned());
    }
    let program = find(&job.config.command, &env)?;
    Err(become_program(&program, &job.config.command, &env))
}

fn become_user(process: &Process) -> std::io::Result<()> {
    let user = process.user();
    let groups = user.additional_gids().clone().unwrap_or_default();
    // SAFETY: plain system calls on the calling process; the list of groups outlives its call.
    unsafe {
        check(libc::prctl(libc::PR_SET_KEEPCAPS, 1))?;
        check(libc::setgroups(groups.len(), groups.as_ptr()))?;
        check(libc::setresgid(user.gid(), user.gid(), user.gid()))?;
        check(libc::setresuid(user.uid(), user.uid(), user.uid()))?;
        check(libc::prctl(libc::PR_SET_KEEPCAPS, 0))
    }
}

/// A terminal of the container's own devpts becomes the process's; its master goes to the shim.
fn open_terminal(uid: u32, reporter: &Reporter) -> std::io::Result<()> {
    // SAFETY: descriptors made here are owned here; the ioctls get arguments of the types they want.
    unsafe {
        let master = libc::open(c"/dev/ptmx".as_ptr(), libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC);
        check(master)?;
        let master = OwnedFd::from_raw_fd(master);
        let unlock: libc::c_int = 0;
        check(libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &unlock))?;
        let slave = libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, libc::O_RDWR | libc::O_NOCTTY);
        check(slave)?;
        // A refusal leaves the terminal to root; the process can use it all the same.
        libc::fchown(slave, uid, libc::gid_t::MAX);
        check(libc::ioctl(slave, libc::TIOCSCTTY, 0))?;
        for target in 0..3 {
            check(libc::dup2(slave, target))?;
        }
        reporter.send(&Report::Terminal, Some(BorrowedFd::borrow_raw(master.as_raw_fd())));
    }
    Ok(())
}

fn give(fd: RawFd, uid: u32, gid: u32) {
    // SAFETY: a plain system call; a refusal changes nothing.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        if libc::fstat(fd, &mut stat) == 0 && stat.st_mode & libc::S_IFMT == libc::S_IFIFO {
            libc::fchown(fd, uid, gid);
        }
    }
}

fn check(result: libc::c_int) -> std::io::Result<()> {
    if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}
