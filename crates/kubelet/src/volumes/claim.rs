//! `persistentVolumeClaim`: the persistent volume that a claim is bound to, as far as it is on this node.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, Volume as Spec};
use meta::Gvr;

use super::{Mounted, Volume, VolumeContext, VolumeError, host_path, ownership};

pub(super) struct Claim;

#[async_trait]
impl Volume for Claim {
    fn kind(&self) -> &'static str {
        "persistentVolumeClaim"
    }

    fn answers(&self, volume: &Spec) -> bool {
        volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some()
    }

    async fn set_up(&self, cx: &VolumeContext, pod: &Pod, volume: &Spec) -> Result<Mounted, VolumeError> {
        let failed = |why: String| VolumeError::set_up(&volume.name, why);
        let source = volume.persistent_volume_claim.clone().unwrap_or_default();
        let (name, own) = match &volume.ephemeral {
            Some(_) => (format!("{}-{}", pod.metadata.name.as_deref().unwrap_or_default(), volume.name), Own::Required),
            None => (source.claim_name, Own::Any),
        };
        let (path, readonly) = find(cx, pod, &name, own).await.map_err(failed)?;
        ownership::give(&path, ownership::group(pod)).map_err(|error| failed(error.to_string()))?;
        Ok(Mounted { path, readonly: readonly || source.read_only == Some(true) })
    }
}

/// Whether a claim has to be the pod's own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Own {
    Required,
    Any,
}

fn is_controlled_by(claim: &PersistentVolumeClaim, pod: &Pod) -> bool {
    let mut owners = claim.metadata.owner_references.iter().flatten();
    owners.any(|owner| owner.controller == Some(true) && Some(&owner.uid) == pod.metadata.uid.as_ref())
}

async fn find(cx: &VolumeContext, pod: &Pod, name: &str, own: Own) -> Result<(PathBuf, bool), String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let claim = cx.client.get(&Gvr::new("", "v1", "persistentvolumeclaims"), namespace, name).await;
    let claim: PersistentVolumeClaim =
        claim.map_err(|error| error.to_string())?.view().map_err(|error| error.to_string())?;
    if own == Own::Required && !is_controlled_by(&claim, pod) {
        let of = pod.metadata.name.as_deref().unwrap_or_default();
        return Err(format!("PVC {namespace}/{name} was not created for pod {namespace}/{of} (pod is not owner)"));
    }
    let phase = claim.status.and_then(|status| status.phase);
    let bound = claim.spec.and_then(|spec| spec.volume_name).filter(|_| phase.as_deref() == Some("Bound"));
    let bound = bound.ok_or_else(|| format!("persistentvolumeclaim {name:?} is not bound"))?;
    let volume = cx.client.get(&Gvr::new("", "v1", "persistentvolumes"), "", &bound).await;
    let volume: PersistentVolume =
        volume.map_err(|error| error.to_string())?.view().map_err(|error| error.to_string())?;
    let spec = volume.spec.unwrap_or_default();
    let readonly = spec.access_modes.as_ref().is_some_and(|modes| modes.iter().all(|mode| mode == "ReadOnlyMany"));
    if let Some(source) = spec.host_path {
        host_path::check(Path::new(&source.path), source.type_.as_deref().unwrap_or_default())?;
        return Ok((PathBuf::from(source.path), readonly));
    }
    if let Some(source) = spec.local {
        host_path::check(Path::new(&source.path), "Directory")?;
        return Ok((PathBuf::from(source.path), readonly));
    }
    Err(format!("persistentvolume {bound:?} is of a kind that this node can't mount"))
}
