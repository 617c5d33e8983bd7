//! `image`: the files of an image, read-only. Its layers are mounted when the first container that wants them has pulled the image; until
//! then the volume is an empty folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Pod, Volume as Spec};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, statfs};

use super::{Mounted, Volume, VolumeContext, VolumeError};

pub(super) struct Image;

#[async_trait]
impl Volume for Image {
    fn kind(&self) -> &'static str {
        "image"
    }

    fn answers(&self, volume: &Spec) -> bool {
        volume.image.is_some()
    }

    async fn set_up(&self, cx: &VolumeContext, _pod: &Pod, volume: &Spec) -> Result<Mounted, VolumeError> {
        let path = cx.folder.join("files");
        fs::create_dir_all(&path).map_err(|error| VolumeError::set_up(&volume.name, error))?;
        Ok(Mounted { path, readonly: true })
    }
}

/// Mounts the layers of an image, lowest first, where its volume is.
pub(crate) fn show(layers: &[PathBuf], path: &Path) -> io::Result<()> {
    if is_mounted(path) {
        return Ok(());
    }
    // The kernel wants two layers where nothing can be written, so an empty one lies beneath all others.
    let empty = path.with_file_name("empty");
    fs::create_dir_all(&empty)?;
    let lower: Vec<_> = layers.iter().rev().map(PathBuf::as_path).chain([empty.as_path()]).collect();
    let lower: Vec<_> = lower.iter().map(|folder| folder.to_string_lossy()).collect();
    let options = format!("lowerdir={}", lower.join(":"));
    // Compat: what an image volume shows cannot be executed.
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    Ok(mount(Some("overlay"), path, Some("overlay"), flags, Some(options.as_str()))?)
}

fn is_mounted(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| path.metadata().map(|facts| facts.dev()).ok();
    let apart = path.parent().is_some_and(|parent| device(parent) != device(path));
    apart && statfs(path).is_ok_and(|facts| facts.filesystem_type() == OVERLAYFS_SUPER_MAGIC)
}

/// Unmounts what is shown in a volume's folder, if there is something.
pub(super) fn unmount(folder: &Path) -> io::Result<()> {
    let path = folder.join("files");
    if is_mounted(&path) { Ok(umount2(&path, MntFlags::MNT_DETACH)?) } else { Ok(()) }
}
