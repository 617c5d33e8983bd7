//! The sandbox's namespaces. The shim itself lives in them, so containers inherit them from it.

use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork, pivot_root};

use crate::config::{NamespaceMode, SandboxConfig};
use crate::error::{Error, Result};

/// Size of `/dev/shm` unless asked otherwise, as CRI's runtimes have it.
const SHM_SIZE: u64 = 64 << 20;

/// Enters the namespaces and sets them up.
pub(super) fn enter(config: &SandboxConfig) -> Result<()> {
    let namespaces = &config.namespaces;
    enter_one(&namespaces.network, CloneFlags::CLONE_NEWNET, "network")?;
    enter_one(&namespaces.ipc, CloneFlags::CLONE_NEWIPC, "ipc")?;
    enter_one(&namespaces.uts, CloneFlags::CLONE_NEWUTS, "uts")?;
    if namespaces.network == NamespaceMode::Sandbox {
        loopback_up()?;
    }
    if namespaces.uts == NamespaceMode::Sandbox {
        rustix::system::sethostname(config.hostname.as_bytes()).map_err(Error::io("setting the host name"))?;
        if let Some(domain) = &config.domainname {
            rustix::system::setdomainname(domain.as_bytes()).map_err(Error::io("setting the domain name"))?;
        }
    }
    for (name, value) in &config.sysctls {
        let path = Path::new("/proc/sys").join(name.replace('.', "/"));
        fs::write(&path, value).map_err(Error::io(format!("setting sysctl {name}={value}")))?;
    }
    Ok(())
}

fn enter_one(mode: &NamespaceMode, flag: CloneFlags, name: &str) -> Result<()> {
    match mode {
        NamespaceMode::Host => Ok(()),
        NamespaceMode::Sandbox => unshare(flag).map_err(Error::io(format!("making a {name} namespace"))),
        NamespaceMode::Path(path) => {
            let file = File::open(path).map_err(Error::io(format!("opening {name} namespace {}", path.display())))?;
            setns(&file, flag).map_err(Error::io(format!("entering {name} namespace {}", path.display())))
        }
        NamespaceMode::Container => Err(Error::Invalid(format!("a {name} namespace belongs to the whole sandbox"))),
    }
}

fn loopback_up() -> Result<()> {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)
        .map_err(Error::io("opening a socket"))?;
    // SAFETY: all-zero bytes are a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = (*from).cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    // SAFETY: the request is a complete ifreq that lives across the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &request) };
    if result == 0 { Ok(()) } else { Err(Error::io("setting lo up")(std::io::Error::last_os_error())) }
}

/// A mount namespace that holds nothing but the sandbox's `/dev/shm`. It has no process: it lives as long as this
/// descriptor, and so nothing is mounted on the host and nothing remains when the shim dies.
pub(super) fn shm_holder(config: &SandboxConfig, folder: &Path) -> Result<Option<OwnedFd>> {
    if config.namespaces.ipc != NamespaceMode::Sandbox {
        return Ok(None);
    }
    let size = config.shm_size.unwrap_or(SHM_SIZE);
    let (ready_read, ready_write) = rustix::pipe::pipe().map_err(Error::io("making a pipe"))?;
    let (done_read, done_write) = rustix::pipe::pipe().map_err(Error::io("making a pipe"))?;
    // SAFETY: the shim has one thread, so the child may do anything.
    match unsafe { fork() }.map_err(Error::io("forking"))? {
        ForkResult::Child => {
            drop((ready_read, done_write));
            let status = match bare_root(folder, &format!("mode=1777,size={size}")) {
                Ok(()) => rustix::io::write(&ready_write, b"+").is_ok(),
                Err(e) => {
                    eprintln!("shm: {e}");
                    false
                }
            };
            // The parent takes its handle of the namespace, then lets go.
            let _ = rustix::io::read(&done_read, &mut [0]);
            // SAFETY: ends the process without running what belongs to the parent.
            unsafe { libc::_exit(i32::from(!status)) }
        }
        ForkResult::Parent { child } => {
            drop((ready_write, done_read));
            let ready = rustix::io::read(&ready_read, &mut [0]).map_err(Error::io("waiting for /dev/shm"))?;
            let holder = File::open(format!("/proc/{child}/ns/mnt")).map_err(Error::io("opening a mount namespace"));
            drop(done_write);
            // Its status adds nothing to what the pipe said.
            let _ = waitpid(child, None);
            if ready == 1 {
                Ok(Some(holder?.into()))
            } else {
                Err(Error::Container("mounting /dev/shm failed".to_owned()))
            }
        }
    }
}

/// Gives the calling process a mount namespace whose only mount is an empty tmpfs.
pub(super) fn bare_root(folder: &Path, options: &str) -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("shm"), folder, Some("tmpfs"), flags, Some(options))?;
    nix::unistd::chdir(folder)?;
    pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)
}

/// PID 1 of a PID namespace shared by the sandbox's containers: it sees no file, has no capability, and reaps.
pub(super) fn pod_init(folder: &Path) -> Result<u32> {
    let (ready_read, ready_write) = rustix::pipe::pipe().map_err(Error::io("making a pipe"))?;
    // SAFETY: a clone without shared memory is a fork; the shim has one thread.
    let child = unsafe { libc::syscall(libc::SYS_clone, libc::CLONE_NEWPID | libc::SIGCHLD, 0, 0, 0, 0) };
    if child < 0 {
        return Err(Error::io("making a pid namespace")(std::io::Error::last_os_error()));
    }
    if child > 0 {
        drop(ready_write);
        let ready = rustix::io::read(&ready_read, &mut [0]).map_err(Error::io("waiting for the sandbox's init"))?;
        let pid = u32::try_from(child).map_err(|_| Error::Container("pid out of range".to_owned()))?;
        return if ready == 1 { Ok(pid) } else { Err(Error::Container("the sandbox's init did not start".to_owned())) };
    }
    let prepared = bare_root(folder, "mode=0555,size=0,nr_inodes=1").is_ok()
        && rustix::io::write(&ready_write, b"+").is_ok()
        && drop_everything();
    // SAFETY: the process keeps nothing but its three null descriptors; the signal's disposition is its own.
    unsafe {
        libc::close_range(3, libc::c_uint::MAX, 0);
        if !prepared {
            libc::_exit(1);
        }
        libc::prctl(libc::PR_SET_NAME, c"pause".as_ptr());
        // Who ignores the end of its children leaves no zombies: the kernel reaps them.
        libc::signal(libc::SIGCHLD, libc::SIG_IGN);
        loop {
            libc::pause();
        }
    }
}

/// Gives up user and groups, and with them every capability.
fn drop_everything() -> bool {
    const NOBODY: u32 = 65_535;
    // SAFETY: plain system calls on the calling process.
    unsafe {
        libc::setgroups(0, std::ptr::null()) == 0
            && libc::setresgid(NOBODY, NOBODY, NOBODY) == 0
            && libc::setresuid(NOBODY, NOBODY, NOBODY) == 0
            && libc::prctl(libc::PR_SET_DUMPABLE, 0) == 0
            && libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) == 0
    }
}
