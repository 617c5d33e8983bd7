//! `emptyDir`: a folder, or a tmpfs, of the pod's lifetime.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Pod, Volume as Spec};
use meta::Quantity;

use super::{Mounted, Volume, VolumeContext, VolumeError, ownership, tmpfs};

pub(super) struct EmptyDir;

#[async_trait]
impl Volume for EmptyDir {
    fn kind(&self) -> &'static str {
        "emptyDir"
    }

    fn answers(&self, volume: &Spec) -> bool {
        volume.empty_dir.is_some()
    }

    async fn set_up(&self, cx: &VolumeContext, pod: &Pod, volume: &Spec) -> Result<Mounted, VolumeError> {
        let mounted = Mounted { path: cx.folder.clone(), readonly: false };
        // The content belongs to the pod: once made, the volume is left alone.
        if cx.folder.is_dir() && (!in_memory(volume) || tmpfs::is_mounted(&cx.folder)) {
            return Ok(mounted);
        }
        let make = || {
            fs::create_dir_all(&cx.folder)?;
            if in_memory(volume) {
                tmpfs::mount(&cx.folder, size_limit(volume))?;
            }
            fs::set_permissions(&cx.folder, Permissions::from_mode(0o777))?;
            ownership::give(&cx.folder, ownership::group(pod))
        };
        make().map_err(|error| VolumeError::set_up(&volume.name, error))?;
        Ok(mounted)
    }
}

fn in_memory(volume: &Spec) -> bool {
    volume.empty_dir.as_ref().and_then(|source| source.medium.as_deref()) == Some("Memory")
}

fn size_limit(volume: &Spec) -> Option<i64> {
    let limit = volume.empty_dir.as_ref()?.size_limit.as_ref()?;
    limit.0.parse::<Quantity>().ok().map(Quantity::value).filter(|bytes| *bytes > 0)
}
