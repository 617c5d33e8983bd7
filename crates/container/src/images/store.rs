//! The store of images: what it knows, and how it keeps that on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use serde::{Deserialize, Serialize};

use super::layers::{Layer, Layers};
use super::reference::{Reference, is_digest};
use super::{Credentials, Image, ImageConfig, ImageError, ImageId, ImageResult, OnProgress, archive, layers, pull};

const REFERENCES: &str = "references.json";

/// The root file system of an image made in the process.
pub enum RootFs {
    /// An uncompressed tar.
    Tar(Box<dyn Read + Send>),
    /// A folder whose content becomes the one layer.
    Folder(PathBuf),
}

/// The store of images. Cheap to clone; all clones are one store.
#[derive(Clone)]
pub struct Images {
    inner: Arc<Inner>,
}

struct Inner {
    folder: PathBuf,
    layers: Layers,
    known: Mutex<BTreeMap<ImageId, Record>>,
    /// Held for reading while an image is being added: a removal in between could take its layers away.
    adding: RwLock<()>,
}

/// An image as it stands in `references.json`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) tags: BTreeSet<String>,
    pub(super) digests: BTreeSet<String>,
    pub(super) size: u64,
    pub(super) config: ImageConfig,
    /// Lowest first.
    pub(super) layers: Vec<Layer>,
}

impl Images {
    /// Opens a store, making its folder if there is none. Only one process may have it open: what others are adding
    /// would look like leftovers.
    pub fn open(folder: &Path) -> ImageResult<Self> {
        let layers = Layers::open(folder)?;
        let path = folder.join(REFERENCES);
        let known = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|e| ImageError::io(format!("decoding {}", path.display()))(std::io::Error::from(e)))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(e) => return Err(ImageError::io(format!("reading {}", path.display()))(e)),
        };
        let inner = Inner { folder: folder.to_owned(), layers, known: Mutex::new(known), adding: RwLock::new(()) };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Every image, ordered by id.
    pub fn list(&self) -> Vec<Image> {
        self.known().iter().map(|(id, record)| self.image(id, record)).collect()
    }

    /// The image that a reference means: a tag (`busybox` is `docker.io/library/busybox:latest`), a digest, an id or an
    /// unambiguous prefix of an id.
    pub fn resolve(&self, reference: &str) -> ImageResult<Option<Image>> {
        let known = self.known();
        Ok(find(&known, reference)?.and_then(|id| known.get(&id).map(|record| self.image(&id, record))))
    }

    /// The image with that id.
    pub fn get(&self, id: &ImageId) -> Option<Image> {
        self.known().get(id).map(|record| self.image(id, record))
    }

    /// Removes a tag or digest, and with the last of them the image; or, by its id, the image with all its tags. Blobs
    /// and layers that nothing refers to any more are deleted. It is no error if there is no such image.
    pub async fn remove(&self, reference: &str) -> ImageResult<()> {
        let (store, reference) = (self.clone(), reference.to_owned());
        blocking(move || store.remove_now(&reference)).await
    }

    /// Imports every image for this machine in a tar archive, plain or compressed: an OCI image layout or the output of
    /// `docker save`.
    pub async fn import(&self, archive: Box<dyn Read + Send>, progress: OnProgress) -> ImageResult<Vec<Image>> {
        let store = self.clone();
        blocking(move || {
            let _adding = store.adding();
            let found = archive::import(archive, &store.inner.layers, &progress)?;
            store.inner.layers.sync()?;
            found.into_iter().map(|(id, record)| store.register(id, record)).collect()
        })
        .await
    }

    /// Registers an image made in the process under a tag. The same content is registered once.
    pub async fn add(&self, reference: &str, config: ImageConfig, root: RootFs) -> ImageResult<Image> {
        let tag = Reference::parse(reference)?.tagged();
        let tag = tag.ok_or_else(|| ImageError::invalid(format!("{reference} has no tag")))?;
        let store = self.clone();
        blocking(move || {
            let _adding = store.adding();
            let layer = match root {
                RootFs::Tar(tar) => store.inner.layers.add_tar(tar)?,
                RootFs::Folder(folder) => store.inner.layers.add_folder(&folder)?,
            };
            let size = layer.size;
            let layers = vec![layer];
            let id = archive::made_up_id(&config, &layers)?;
            let tags = BTreeSet::from([tag]);
            store.register(id, Record { tags, digests: BTreeSet::new(), size, config, layers })
        })
        .await
    }

    /// Pulls an image from its registry (plain HTTP for `localhost` and loopback addresses). What is already in the
    /// store is not transferred again.
    pub async fn pull(
        &self,
        reference: &str,
        credentials: Option<Credentials>,
        progress: OnProgress,
    ) -> ImageResult<Image> {
        let reference = Reference::parse(reference)?;
        let fetched = pull::fetch(&reference, credentials, &self.inner.layers, &progress).await?;
        let store = self.clone();
        blocking(move || {
            let _adding = store.adding();
            let (id, record) = pull::install(fetched, &store.inner.layers, &progress)?;
            store.inner.layers.sync()?;
            store.register(id, record)
        })
        .await
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<ImageId, Record>> {
        self.inner.known.lock().expect("no holder of this lock can panic")
    }

    fn adding(&self) -> std::sync::RwLockReadGuard<'_, ()> {
        // Whoever panicked while holding it left no half-done state: the references are written in one step.
        self.inner.adding.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn image(&self, id: &ImageId, record: &Record) -> Image {
        Image {
            id: id.clone(),
            tags: record.tags.iter().cloned().collect(),
            digests: record.digests.iter().cloned().collect(),
            size: record.size,
            config: record.config.clone(),
            layers: record.layers.iter().map(|layer| self.inner.layers.path(layer)).collect(),
        }
    }

    /// Writes an image down. Its tags leave the images that had them.
    fn register(&self, id: ImageId, record: Record) -> ImageResult<Image> {
        let mut known = self.known();
        let mut next = known.clone();
        for (other, had) in &mut next {
            if *other != id {
                had.tags.retain(|tag| !record.tags.contains(tag));
            }
        }
        let slot = next.entry(id.clone()).or_default();
        let (mut tags, mut digests) = (std::mem::take(&mut slot.tags), std::mem::take(&mut slot.digests));
        tags.extend(record.tags.iter().cloned());
        digests.extend(record.digests.iter().cloned());
        *slot = Record { tags, digests, ..record };
        let image = self.image(&id, slot);
        self.save(&next)?;
        *known = next;
        Ok(image)
    }

    fn remove_now(&self, reference: &str) -> ImageResult<()> {
        let _alone = self.inner.adding.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut known = self.known();
        let Some(id) = find(&known, reference)? else { return Ok(()) };
        let mut next = known.clone();
        let by_name = Reference::parse(reference).ok().filter(|_| !is_id(&id, reference));
        let left = by_name.is_some_and(|name| next.get_mut(&id).is_some_and(|record| drop_name(record, &name)));
        if !left {
            next.remove(&id);
        }
        self.save(&next)?;
        *known = next;
        let used: BTreeSet<String> = known.values().flat_map(|r| r.layers.iter().map(|l| l.chain_id.clone())).collect();
        drop(known);
        self.inner.layers.collect(&used)
    }

    fn save(&self, known: &BTreeMap<ImageId, Record>) -> ImageResult<()> {
        let path = self.inner.folder.join(REFERENCES);
        let doing = || format!("writing {}", path.display());
        let bytes = serde_json::to_vec(known).map_err(|e| ImageError::io(doing())(std::io::Error::from(e)))?;
        layers::replace(&path, &bytes).map_err(ImageError::io(doing()))
    }
}

/// Takes a name from an image; false if none is left.
fn drop_name(record: &mut Record, name: &Reference) -> bool {
    match name.digest() {
        Some(digest) => record.digests.remove(&name.with_digest(digest)),
        None => name.tagged().is_some_and(|tag| record.tags.remove(&tag)),
    };
    // A digest alone does not keep what had a tag, as nobody could name it in a list.
    !record.tags.is_empty() || (name.digest().is_some() && !record.digests.is_empty())
}

fn is_id(id: &ImageId, reference: &str) -> bool {
    let bare = reference.strip_prefix("sha256:").unwrap_or(reference);
    bare.len() >= 8 && id.0["sha256:".len()..].starts_with(bare)
}

fn find(known: &BTreeMap<ImageId, Record>, reference: &str) -> ImageResult<Option<ImageId>> {
    if is_digest(reference) {
        let id = ImageId(reference.to_owned());
        return Ok(known.contains_key(&id).then_some(id));
    }
    let by_id: Vec<&ImageId> = known.keys().filter(|id| is_id(id, reference)).collect();
    let name = match (Reference::parse(reference), by_id.as_slice()) {
        (Ok(name), _) => name,
        (Err(_), [id]) => return Ok(Some((*id).clone())),
        (Err(e), _) => return Err(e),
    };
    let named = known.iter().find(|(_, record)| match name.digest() {
        Some(digest) => record.digests.contains(&name.with_digest(digest)),
        None => name.tagged().is_some_and(|tag| record.tags.contains(&tag)),
    });
    let unambiguous = if let [id] = by_id.as_slice() { Some((*id).clone()) } else { None };
    Ok(named.map(|(id, _)| id.clone()).or(unambiguous))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> ImageResult<T> + Send + 'static) -> ImageResult<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err(ImageError::invalid(format!("a task failed: {e}"))),
    }
}
