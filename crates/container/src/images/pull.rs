//! Pulling from a registry.

use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use oci_client::client::{Client, ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::manifest::OciDescriptor;
use oci_client::secrets::RegistryAuth;
use tokio::fs::File;
use tokio::io::AsyncWrite;

use super::archive::{Document, add, decode};
use super::layers::{Layer, Layers, Temporary, sha256};
use super::reference::Reference;
use super::store::Record;
use super::{Credentials, ImageError, ImageId, ImageResult, OnProgress, Progress};

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
const READ_LIMIT: Duration = Duration::from_secs(60);

/// What was transferred, to be unpacked.
pub(super) struct Fetched {
    id: ImageId,
    record: Record,
    /// `None`: it was in the store already.
    blobs: Vec<(Layer, Option<Temporary>)>,
}

/// Transfers what the store lacks of an image.
pub(super) async fn fetch(
    reference: &Reference,
    credentials: Option<Credentials>,
    layers: &Layers,
    progress: &OnProgress,
) -> ImageResult<Fetched> {
    let classify = |e| classify(reference, e);
    let client = client(reference.registry())?;
    let image: oci_client::Reference = reference
        .to_string()
        .parse()
        .map_err(|_| ImageError::InvalidReference(reference.to_string(), "invalid reference format"))?;
    let auth = credentials.map_or(RegistryAuth::Anonymous, |c| RegistryAuth::Basic(c.username, c.password));
    let (manifest, manifest_digest, list_digest) =
        client.pull_image_manifest_and_list_digest(&image, &auth).await.map_err(classify)?;
    let digest = list_digest.unwrap_or(manifest_digest);
    let mut config = Vec::new();
    client.pull_blob(&image, &manifest.config, &mut config).await.map_err(classify)?;
    let id = ImageId(manifest.config.digest.clone());
    if sha256(&config) != id.0 {
        return Err(ImageError::invalid(format!("config {id} has other content")));
    }
    let document: Document = decode("config", &config)?;
    let size = |d: &OciDescriptor| u64::try_from(d.size).unwrap_or(0);
    let list = document.layers(manifest.layers.iter().map(|l| (l.digest.clone(), size(l))))?;
    let mut blobs = Vec::new();
    for (layer, descriptor) in list.iter().zip(&manifest.layers) {
        let file = if layers.has(&layer.chain_id) { None } else { Some(layers.temporary()) };
        if let Some(file) = &file {
            let counted = Counted::create(file.path(), layer, progress.clone()).await?;
            client.pull_blob(&image, descriptor, counted).await.map_err(classify)?;
        }
        blobs.push((layer.clone(), file));
    }
    let record = Record {
        tags: reference.tagged().into_iter().collect(),
        digests: [reference.with_digest(&digest)].into(),
        size: config.len() as u64 + list.iter().map(|l| l.size).sum::<u64>(),
        config: document.config(),
        layers: list,
    };
    Ok(Fetched { id, record, blobs })
}

/// Unpacks what was transferred.
pub(super) fn install(fetched: Fetched, layers: &Layers, progress: &OnProgress) -> ImageResult<(ImageId, Record)> {
    for (layer, blob) in &fetched.blobs {
        match blob {
            Some(blob) => add(layers, blob.path(), layer, progress)?,
            None if layers.has(&layer.chain_id) => progress(Progress::Done { digest: layer.digest.clone() }),
            None => return Err(ImageError::NotFound(format!("layer {}, just removed", layer.digest))),
        }
    }
    Ok((fetched.id, fetched.record))
}

fn client(registry: &str) -> ImageResult<Client> {
    // Whoever came first has the same provider: there is only one in the program.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let protocol = if is_local(registry) { ClientProtocol::Http } else { ClientProtocol::Https };
    let config = ClientConfig {
        protocol,
        connect_timeout: Some(CONNECT_LIMIT),
        read_timeout: Some(READ_LIMIT),
        ..ClientConfig::default()
    };
    Client::try_from(config).map_err(|e| ImageError::invalid(format!("client for {registry}: {e}")))
}

/// Compat: like Docker, plain HTTP for registries on this machine.
fn is_local(registry: &str) -> bool {
    let host = registry.split(':').next().unwrap_or_default();
    host == "localhost" || host.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
}

fn classify(reference: &Reference, error: OciDistributionError) -> ImageError {
    let unauthorized = |message: String| ImageError::Unauthorized { reference: reference.to_string(), message };
    match error {
        OciDistributionError::ImageManifestNotFoundError(_) => ImageError::NotFound(reference.to_string()),
        OciDistributionError::ServerError { code: 404, .. } => ImageError::NotFound(reference.to_string()),
        OciDistributionError::RegistryError { envelope, .. } => {
            let has = |wanted: &[OciErrorCode]| envelope.errors.iter().any(|e| wanted.contains(&e.code));
            if has(&[OciErrorCode::ManifestUnknown, OciErrorCode::NameUnknown, OciErrorCode::NotFound]) {
                ImageError::NotFound(reference.to_string())
            } else if has(&[OciErrorCode::Unauthorized, OciErrorCode::Denied]) {
                unauthorized(envelope.to_string())
            } else {
                ImageError::Network { registry: reference.registry().to_owned(), message: envelope.to_string() }
            }
        }
        OciDistributionError::AuthenticationFailure(message) => unauthorized(message),
        OciDistributionError::UnauthorizedError { url } => unauthorized(format!("not authorized: {url}")),
        OciDistributionError::IoError(e) => ImageError::Io { doing: format!("pulling {reference}"), source: e },
        other => ImageError::Network { registry: reference.registry().to_owned(), message: causes(&other) },
    }
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// A file that tells how much was written to it.
struct Counted {
    file: File,
    digest: String,
    done: u64,
    total: u64,
    progress: OnProgress,
}

impl Counted {
    async fn create(path: &Path, layer: &Layer, progress: OnProgress) -> ImageResult<Self> {
        let file = File::create(path).await.map_err(ImageError::io(format!("making {}", path.display())))?;
        Ok(Self { file, digest: layer.digest.clone(), done: 0, total: layer.size, progress })
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let written = std::task::ready!(Pin::new(&mut self.file).poll_write(cx, bytes))?;
        self.done += written as u64;
        let (digest, done, total) = (self.digest.clone(), self.done, Some(self.total));
        (self.progress)(Progress::Transfer { digest, done, total });
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.file).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.file).poll_shutdown(cx)
    }
}
