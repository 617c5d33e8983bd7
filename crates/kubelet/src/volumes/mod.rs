//! Volumes of pods: set up before the first container, mounted where containers say, gone with the pod's UID.
//!
//! A kind of volume is one file and one line in [`all`]. Each volume has a folder beneath
//! `data_dir/pods/UID/volumes/KIND/NAME`; what lies there ends with the UID.

mod atomic;
mod changes;
mod claim;
mod empty_dir;
mod files;
mod host_path;
mod image;
mod mounts;
mod ownership;
mod payload;
mod refreshing;
mod subpath;
mod tmpfs;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::stream::BoxStream;
use k8s_openapi::api::core::v1::{Container, Pod, Volume as Spec};
use meta::Quantity;

pub(crate) use image::show as show_image;
pub(crate) use refreshing::Refreshing;

/// Why a volume can't be used; becomes an event and a waiting reason.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{message}")]
pub struct VolumeError {
    /// The event's reason: `FailedMount`, `CreateContainerConfigError`…
    pub reason: String,
    /// What went wrong, in upstream's words.
    pub message: String,
}

impl VolumeError {
    fn set_up(volume: &str, why: impl fmt::Display) -> Self {
        let message = format!("MountVolume.SetUp failed for volume {volume:?} : {why}");
        Self { reason: "FailedMount".to_owned(), message }
    }

    fn config(message: String) -> Self {
        Self { reason: "CreateContainerConfigError".to_owned(), message }
    }
}

/// What a kind of volume works with.
pub struct VolumeContext {
    /// The API.
    pub client: client::Client,
    /// What the node has to give, by resource: the limit of containers that have none.
    pub allocatable: Arc<BTreeMap<String, Quantity>>,
    /// Folder of this volume, beneath the pod's.
    pub folder: PathBuf,
}

/// A volume that is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// Where it is on the host.
    pub path: PathBuf,
    /// Whether containers may not write.
    pub readonly: bool,
}

/// A kind of volume.
#[async_trait]
pub trait Volume: Send + Sync {
    /// The field of the volume's source that this kind answers to, like `emptyDir`.
    fn kind(&self) -> &'static str;

    /// Whether this volume is of the kind.
    fn answers(&self, volume: &Spec) -> bool;

    /// Makes the volume ready. Repeating it changes nothing, or refreshes the content.
    async fn set_up(&self, cx: &VolumeContext, pod: &Pod, volume: &Spec) -> Result<Mounted, VolumeError>;
}

/// Every kind of volume.
fn all() -> &'static [&'static dyn Volume] {
    &[
        &empty_dir::EmptyDir,
        &files::Files::ConfigMap,
        &files::Files::Secret,
        &files::Files::DownwardApi,
        &files::Files::Projected,
        &host_path::HostPath,
        &claim::Claim,
        &image::Image,
    ]
}

/// The volumes of a pod that are ready, by name.
pub type MountedVolumes = BTreeMap<String, Mounted>;

/// The volumes of a node's pods.
#[derive(Clone)]
pub struct Volumes {
    inner: Arc<Inner>,
}

struct Inner {
    client: client::Client,
    data_dir: PathBuf,
    allocatable: Arc<BTreeMap<String, Quantity>>,
    /// Open files that mounts with a subPath come from, by pod and container: they must stay open until the container
    /// is made.
    open: Mutex<HashMap<(String, String), Vec<OwnedFd>>>,
}

impl Volumes {
    /// Beneath `data_dir/pods/UID/volumes`.
    pub fn new(client: client::Client, data_dir: &Path, allocatable: BTreeMap<String, Quantity>) -> Self {
        let allocatable = Arc::new(allocatable);
        Self { inner: Arc::new(Inner { client, data_dir: data_dir.to_owned(), allocatable, open: Mutex::default() }) }
    }

    /// Makes all volumes of a pod ready. May be repeated.
    pub async fn set_up_all(&self, pod: &Pod) -> Result<MountedVolumes, VolumeError> {
        let mut mounted = MountedVolumes::new();
        for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
            let kind = all().iter().find(|kind| kind.answers(volume));
            let kind =
                kind.ok_or_else(|| VolumeError::set_up(&volume.name, "the node doesn't support this kind of volume"))?;
            let folder =
                self.folder(pod.metadata.uid.as_deref().unwrap_or_default()).join(kind.kind()).join(&volume.name);
            let cx = VolumeContext {
                client: self.inner.client.clone(),
                allocatable: Arc::clone(&self.inner.allocatable),
                folder,
            };
            mounted.insert(volume.name.clone(), kind.set_up(&cx, pod, volume).await?);
        }
        Ok(mounted)
    }

    /// The mounts of one container: `volumeMounts` with subPath, subPathExpr (expanded with `env`), propagation and
    /// recursiveReadOnly. To be called right before the container is made: what the mounts come from is kept open until
    /// the next call for the same container.
    pub fn mounts_for(
        &self,
        pod: &Pod,
        container: &Container,
        env: &[(String, String)],
        volumes: &MountedVolumes,
    ) -> Result<Vec<container::Mount>, VolumeError> {
        let (mounts, open) = mounts::plan(container, env, volumes)?;
        let key = (pod.metadata.uid.clone().unwrap_or_default(), container.name.clone());
        self.inner.open.lock().expect("no holder of this lock can panic").insert(key, open);
        Ok(mounts)
    }

    /// Brings what may change (config maps, secrets, projections) up to date.
    pub async fn refresh(&self, pod: &Pod) -> Result<(), VolumeError> {
        self.set_up_all(pod).await.map(|_| ())
    }

    /// An item whenever something that the pod's volumes show has changed, so that they want a refresh.
    pub fn changes(&self, pod: &Pod) -> BoxStream<'static, ()> {
        changes::of(&self.inner.client, pod)
    }

    /// Gives everything of a pod back: nothing of its volumes is left on disk.
    pub fn tear_down_all(&self, pod_uid: &str) -> Result<(), VolumeError> {
        self.inner.open.lock().expect("no holder of this lock can panic").retain(|(uid, _), _| uid != pod_uid);
        let folder = self.folder(pod_uid);
        let tear_down = || {
            for kind in children(&folder)? {
                for volume in children(&kind)? {
                    tmpfs::unmount(&volume)?;
                    image::unmount(&volume)?;
                }
            }
            match fs::remove_dir_all(&folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                Ok(()) | Err(_) => Ok(()),
            }
        };
        tear_down().map_err(|error: io::Error| VolumeError {
            reason: "FailedUnmount".to_owned(),
            message: format!("remove the volumes in {}: {error}", folder.display()),
        })
    }

    fn folder(&self, pod_uid: &str) -> PathBuf {
        self.inner.data_dir.join("pods").join(pod_uid).join("volumes")
    }
}

fn children(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
