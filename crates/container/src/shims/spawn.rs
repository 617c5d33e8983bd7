//! Starting a shim from a copy of the program that no container can write to.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::error::{Error, Result};
use crate::records;

/// The program to be executed as a shim.
pub(super) struct Program {
    /// A read-only mount of the file that hangs nowhere: `/proc/PID/exe` of a shim leads to it, and not to the file as
    /// the host has it.
    mount: Option<OwnedFd>,
    path: PathBuf,
    arguments: Vec<OsString>,
}

/// A shim that was just started.
pub(super) struct Spawned {
    pub(super) child: Child,
    pub(super) socket: UnixStream,
    /// To be handed to the shim.
    pub(super) listener: OwnedFd,
}

impl Program {
    /// Takes hold of the program as it is now; later changes of the file do not matter to it.
    pub(super) fn new(path: &Path, arguments: &[OsString]) -> Self {
        let mount = read_only_mount(path)
            .inspect_err(|e| tracing::warn!(path = %path.display(), error = %e, "shims run from a writable file"))
            .ok();
        Self { mount, path: path.to_owned(), arguments: arguments.to_owned() }
    }

    /// Starts a shim for the sandbox of a folder.
    pub(super) fn spawn(&self, folder: &Path) -> Result<Spawned> {
        let doing = || format!("starting a shim in {}", folder.display());
        let (ours, theirs) = UnixStream::pair().map_err(Error::io(doing()))?;
        let listener = listen(folder).map_err(Error::io(doing()))?;
        let log = File::options().append(true).create(true).open(folder.join(records::SHIM_LOG));
        let log = log.map_err(Error::io(doing()))?;
        let path = match &self.mount {
            Some(mount) => PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd())),
            None => self.path.clone(),
        };
        let child = Command::new(path)
            .arg0("minke")
            .args(&self.arguments)
            .env_clear()
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::from(log))
            .spawn()
            .map_err(Error::io(doing()))?;
        Ok(Spawned { child, socket: ours, listener })
    }
}

fn read_only_mount(path: &Path) -> std::io::Result<OwnedFd> {
    let tree = open_tree(CWD, path, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
    let attributes = libc::mount_attr { attr_set: libc::MOUNT_ATTR_RDONLY, attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: the path is a C string and the structure has the size that is told.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(tree) } else { Err(std::io::Error::last_os_error()) }
}

/// A path of a socket has 108 bytes: both sides name it by its folder's descriptor.
fn short_path(folder: &Path) -> std::io::Result<(OwnedFd, String)> {
    let directory = rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let path = format!("/proc/self/fd/{}/{}", directory.as_raw_fd(), records::SOCKET);
    Ok((directory, path))
}

fn listen(folder: &Path) -> std::io::Result<OwnedFd> {
    let (_directory, path) = short_path(folder)?;
    UnixListener::bind(path).map(OwnedFd::from)
}

/// Connects to the shim of a folder.
pub(super) fn connect(folder: &Path) -> std::io::Result<UnixStream> {
    let (_directory, path) = short_path(folder)?;
    UnixStream::connect(path)
}
