//! The file systems of a new container, put together in a mount namespace of the worker's own: when the container ends,
//! they are gone.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use rustix::fs::{FileType, fstat};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use crate::config::{Mount, Propagation};
use crate::error::{Error, Result};

/// Where everything stands until the container takes it over.
pub(super) struct Stage {
    folder: PathBuf,
}

/// A mount that hangs nowhere yet.
pub(super) struct Detached(OwnedFd);

impl Detached {
    /// A copy of what an opened path shows, with the mounts beneath it.
    pub(super) fn clone_of(source: &OwnedFd, what: &Path) -> Result<Self> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_RECURSIVE
            | OpenTreeFlags::AT_EMPTY_PATH;
        open_tree(source, "", flags).map(Self).map_err(Error::io(format!("cloning mount {}", what.display())))
    }

    /// A copy of the root of another mount namespace.
    pub(super) fn root_of(namespace: &OwnedFd) -> Result<Self> {
        let own = fs::File::open("/proc/self/ns/mnt").map_err(Error::io("opening the mount namespace"))?;
        let enter =
            |ns: &dyn AsFd| setns(ns.as_fd(), CloneFlags::CLONE_NEWNS).map_err(Error::io("entering a mount namespace"));
        enter(namespace)?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = open_tree(rustix::fs::CWD, "/", flags).map_err(Error::io("cloning /dev/shm"));
        enter(&own)?;
        tree.map(Self)
    }

    /// Sets propagation and read-only for the mount and those beneath it.
    fn adapt(&self, request: &Mount) -> Result<()> {
        let propagation = match request.propagation {
            Propagation::Private => libc::MS_PRIVATE,
            Propagation::HostToContainer => libc::MS_SLAVE,
            Propagation::Bidirectional => libc::MS_SHARED,
        };
        set_attributes(self.0.as_fd(), 0, propagation, true)?;
        if request.readonly {
            set_attributes(self.0.as_fd(), libc::MOUNT_ATTR_RDONLY, 0, request.recursive_readonly)?;
        }
        Ok(())
    }
}

fn set_attributes(mount: std::os::fd::BorrowedFd<'_>, set: u64, propagation: u64, recursive: bool) -> Result<()> {
    let attributes = libc::mount_attr { attr_set: set, attr_clr: 0, propagation, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a C string and the structure has the size that is told.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(Error::io("changing a mount")(std::io::Error::last_os_error())) }
}

impl Stage {
    /// Leaves the host's mount namespace and makes an empty stage on a folder.
    pub(super) fn new(folder: &Path) -> Result<Self> {
        unshare(CloneFlags::CLONE_NEWNS).map_err(Error::io("making a mount namespace"))?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SLAVE, None::<&str>)
            .map_err(Error::io("separating the mounts from the host's"))?;
        mount(Some("stage"), folder, Some("tmpfs"), MsFlags::empty(), Some("mode=0700"))
            .map_err(Error::io(format!("mounting the stage on {}", folder.display())))?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Hangs a detached mount into the stage and gives its path.
    pub(super) fn place(&self, name: &str, tree: &Detached, request: Option<&Mount>) -> Result<PathBuf> {
        if let Some(request) = request {
            tree.adapt(request)?;
        }
        let path = self.folder.join(name);
        let kind = fstat(&tree.0).map_err(Error::io("looking at a mount source"))?.st_mode;
        let made = if FileType::from_raw_mode(kind) == FileType::Directory {
            fs::create_dir(&path)
        } else {
            fs::File::create(&path).map(|_| ())
        };
        made.map_err(Error::io(format!("making {}", path.display())))?;
        move_mount(&tree.0, "", rustix::fs::CWD, &path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .map_err(Error::io(format!("mounting on {}", path.display())))?;
        Ok(path)
    }

    /// Mounts the layers, lowest first, under a new writable one in `writable`. The names in the mount's options are
    /// short links, because all options together have one page.
    pub(super) fn overlay(&self, layers: &[PathBuf], writable: &Path) -> Result<PathBuf> {
        let links = self.folder.join("l");
        let root = self.folder.join("rootfs");
        let doing = || format!("preparing the root file system in {}", writable.display());
        for folder in [&links, &root] {
            fs::create_dir(folder).map_err(Error::io(doing()))?;
        }
        for name in ["u", "w"] {
            let target = writable.join(name);
            fs::create_dir_all(&target).map_err(Error::io(doing()))?;
            symlink(&target, links.join(name)).map_err(Error::io(doing()))?;
        }
        let mut lower = Vec::new();
        for (index, layer) in layers.iter().enumerate().rev() {
            symlink(layer, links.join(index.to_string())).map_err(Error::io(doing()))?;
            lower.push(index.to_string());
        }
        nix::unistd::chdir(&links).map_err(Error::io(doing()))?;
        let base = format!("lowerdir={},upperdir=u,workdir=w", lower.join(":"));
        let try_mount = |options: &str| mount(Some("overlay"), &root, Some("overlay"), MsFlags::empty(), Some(options));
        // A writable layer need not survive a power cut: `volatile` spares the syncs. Kernels before 5.10 do not know
        // it.
        try_mount(&format!("{base},volatile"))
            .or_else(|_| try_mount(&base))
            .map_err(Error::io("mounting the root file system"))?;
        nix::unistd::chdir("/").map_err(Error::io(doing()))?;
        Ok(root)
    }
}

/// Makes a folder and those above it beneath a root that is not ours to trust.
pub(super) fn make_folders(root: &OwnedFd, path: &Path, owner: (u32, u32)) -> Result<()> {
    use rustix::fs::{Mode, OFlags, mkdirat};
    let mut done = String::from(".");
    for part in path.components() {
        let std::path::Component::Normal(part) = part else { continue };
        let Some(part) = part.to_str() else { continue };
        let parent = super::users::open_in(root, &done, OFlags::PATH | OFlags::DIRECTORY)
            .map_err(Error::io(format!("making working directory {}", path.display())))?;
        match mkdirat(&parent, part, Mode::from_raw_mode(0o755)) {
            Ok(()) => {
                let (uid, gid) = owner;
                let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
                // A folder that stays root's is still a folder to start in.
                let _ = rustix::fs::chownat(&parent, part, Some(uid), Some(gid), rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
            }
            Err(rustix::io::Errno::EXIST) => {}
            Err(e) => return Err(Error::io(format!("making working directory {}", path.display()))(e)),
        }
        done = format!("{done}/{part}");
    }
    Ok(())
}

/// Takes over descriptors that were passed by number.
pub(super) fn adopt(fds: &[i32]) -> Vec<OwnedFd> {
    // SAFETY: each number is an open descriptor that nobody else in this forked process closes.
    fds.iter().map(|fd| unsafe { OwnedFd::from_raw_fd(*fd) }).collect()
}
