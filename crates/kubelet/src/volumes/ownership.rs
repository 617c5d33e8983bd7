//! `fsGroup`: volumes that belong to the pod belong to its group.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::Path;

use k8s_openapi::api::core::v1::Pod;

/// The group of the pod's volumes, if it has one.
pub(super) fn group(pod: &Pod) -> Option<u32> {
    let group = pod.spec.as_ref()?.security_context.as_ref()?.fs_group?;
    u32::try_from(group).ok()
}

/// Gives everything beneath and including `path` to the group: readable and writable, and new files inherit it.
pub(super) fn give(path: &Path, group: Option<u32>) -> io::Result<()> {
    let Some(group) = group else { return Ok(()) };
    let facts = path.symlink_metadata()?;
    lchown(path, None, Some(group))?;
    if facts.is_symlink() {
        return Ok(());
    }
    // Compat: upstream adds rw for the group, and on folders x and set-group-id.
    let extra = if facts.is_dir() { 0o2770 } else { 0o660 };
    fs::set_permissions(path, Permissions::from_mode((facts.mode() & 0o7777) | extra))?;
    if facts.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), Some(group))?;
        }
    }
    Ok(())
}
