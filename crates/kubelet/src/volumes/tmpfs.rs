//! File systems in memory.

use std::io;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount as mount_call, umount2};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};

/// Mounts one on a folder.
pub(super) fn mount(folder: &Path, size: Option<i64>) -> io::Result<()> {
    let options = size.map(|bytes| format!("size={bytes}"));
    Ok(mount_call(Some("tmpfs"), folder, Some("tmpfs"), MsFlags::MS_RELATIME, options.as_deref())?)
}

/// Whether one is mounted there, rather than further up.
pub(super) fn is_mounted(folder: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| path.metadata().map(|facts| facts.dev()).ok();
    let apart = folder.parent().is_some_and(|parent| device(parent) != device(folder));
    apart && statfs(folder).is_ok_and(|facts| facts.filesystem_type() == TMPFS_MAGIC)
}

/// Unmounts the one on a folder, if there is one. Processes that still use it keep it until they end.
pub(super) fn unmount(folder: &Path) -> io::Result<()> {
    if is_mounted(folder) { Ok(umount2(folder, MntFlags::MNT_DETACH)?) } else { Ok(()) }
}
