//! Images: a store of unpacked layers, import of archives, and pulls.
//!
//! Beneath its folder: `layers/HEX` (unpacked, named by chain id, whiteouts in overlay's form), `references.json` (the
//! one mutable file, replaced atomically: names, configs and layers of images) and `temp` (emptied at start).
//! Compressed blobs are not kept once unpacked. A reference is written after everything it needs, so a crash leaves
//! only garbage, which the next removal collects. The store knows nothing of containers: whoever runs one sees to it
//! that its image is not removed.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Name of an image: the digest of its config, `sha256:…`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ImageId(pub String);

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an image says about how to run it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// Program and first arguments.
    pub entrypoint: Vec<String>,
    /// Further arguments, or the whole command if there is no entrypoint.
    pub cmd: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// `user`, `uid`, `user:group` or empty for root.
    pub user: String,
    /// Working directory, or empty for `/`.
    pub working_dir: String,
    /// Signal that asks the program to end, like `SIGTERM` or `15`.
    pub stop_signal: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Paths that the image declares as volumes.
    pub volumes: Vec<String>,
    /// Ports that the image declares, like `80/tcp`.
    pub exposed_ports: Vec<String>,
}

/// An image in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its id.
    pub id: ImageId,
    /// Its tags, normalised: `docker.io/library/busybox:latest`.
    pub tags: Vec<String>,
    /// Its digests by repository: `docker.io/library/busybox@sha256:…`.
    pub digests: Vec<String>,
    /// Bytes of its blobs (what it took to transfer it).
    pub size: u64,
    /// How to run it.
    pub config: ImageConfig,
    /// Folders of its unpacked layers, lowest first.
    pub layers: Vec<PathBuf>,
}

/// What an import or a pull is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Bytes of a blob have arrived.
    Transfer {
        /// Digest of the blob.
        digest: String,
        /// Bytes until now.
        done: u64,
        /// Bytes it will have, if known.
        total: Option<u64>,
    },
    /// A layer is being unpacked.
    Unpack {
        /// Digest of the layer.
        digest: String,
        /// Compressed bytes read until now.
        done: u64,
        /// Compressed bytes it has.
        total: u64,
    },
    /// A blob or layer is there (it may have been there before).
    Done {
        /// Its digest.
        digest: String,
    },
}

/// Is told about progress, from any thread.
pub type OnProgress = Arc<dyn Fn(Progress) + Send + Sync>;

/// Name and password for a registry.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub username: String,
    /// Password or token.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", self.username)
    }
}

/// What can go wrong with images.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The reference cannot be parsed; kubelet's reason is `InvalidImageName`.
    #[error("couldn't parse image name {0:?}: {1}")]
    InvalidReference(String, &'static str),
    /// The registry or the store has no such image.
    #[error("{0}: not found")]
    NotFound(String),
    /// The registry wants other credentials.
    #[error("failed to authorize pull of {reference}: {message}")]
    Unauthorized {
        /// The image.
        reference: String,
        /// What the registry said.
        message: String,
    },
    /// The registry cannot be reached.
    #[error("failed to do request to {registry}: {message}")]
    Network {
        /// Host and port.
        registry: String,
        /// Why.
        message: String,
    },
    /// The archive or the registry's answer is broken or malicious.
    #[error("invalid image: {0}")]
    Invalid(String),
    /// The image is for other machines.
    #[error("no match for platform in manifest: not found")]
    NoPlatform,
    /// The operating system refused.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done, and to what.
        doing: String,
        /// Why not.
        source: std::io::Error,
    },
}

impl ImageError {
    pub(crate) fn io<E: Into<std::io::Error>>(doing: impl Into<String>) -> impl FnOnce(E) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source: source.into() }
    }

    pub(crate) fn invalid(what: impl Into<String>) -> Self {
        Self::Invalid(what.into())
    }
}

/// A result about images.
pub type ImageResult<T> = Result<T, ImageError>;

mod archive;
mod layers;
mod pull;
mod reference;
mod store;
mod unpack;

pub use reference::Reference;
pub use store::{Images, RootFs};
