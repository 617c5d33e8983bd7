//! Import of archives: OCI image layouts and the output of `docker save`, and the documents that both are made of.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Component, Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::layers::{Hashed, Layer, Layers, Temporary, chain, decompress, sha256};
use super::reference::{Reference, is_digest};
use super::store::Record;
use super::{ImageConfig, ImageError, ImageId, ImageResult, OnProgress, Progress};

/// Documents are small; what is larger is no document.
const MAX_DOCUMENT: u64 = 8 << 20;
/// Indexes may contain indexes.
const MAX_DEPTH: usize = 4;

/// A pointer to a blob.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default)]
    media_type: String,
    pub(super) digest: String,
    pub(super) size: u64,
    #[serde(default)]
    platform: Option<Platform>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

#[derive(Debug, Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

/// A manifest.
#[derive(Debug, Deserialize)]
pub(super) struct Manifest {
    pub(super) config: Descriptor,
    pub(super) layers: Vec<Descriptor>,
}

/// The config that a manifest points to.
#[derive(Debug, Deserialize)]
pub(super) struct Document {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    config: Option<DocumentConfig>,
    rootfs: DocumentRoot,
}

#[derive(Debug, Deserialize)]
struct DocumentRoot {
    diff_ids: Vec<String>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct DocumentConfig {
    #[serde(default)]
    entrypoint: Option<Vec<String>>,
    #[serde(default)]
    cmd: Option<Vec<String>>,
    #[serde(default)]
    env: Option<Vec<String>>,
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    working_dir: Option<String>,
    #[serde(default)]
    stop_signal: Option<String>,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    volumes: Option<BTreeMap<String, serde_json::Value>>,
    #[serde(default)]
    exposed_ports: Option<BTreeMap<String, serde_json::Value>>,
}

/// An image in the `manifest.json` of `docker save`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl Document {
    /// Layers with their chain, one for each blob.
    pub(super) fn layers(&self, blobs: impl ExactSizeIterator<Item = (String, u64)>) -> ImageResult<Vec<Layer>> {
        if blobs.len() != self.rootfs.diff_ids.len() {
            return Err(ImageError::invalid("the config names another number of layers than the manifest"));
        }
        let mut parent: Option<String> = None;
        let mut layers = Vec::new();
        for ((digest, size), diff_id) in blobs.zip(&self.rootfs.diff_ids) {
            if !is_digest(diff_id) || !is_digest(&digest) {
                return Err(ImageError::invalid("a digest that is none"));
            }
            let chain_id = chain(parent.as_deref(), diff_id);
            parent = Some(chain_id.clone());
            layers.push(Layer { digest, diff_id: diff_id.clone(), chain_id, size });
        }
        Ok(layers)
    }

    /// What it says about running.
    pub(super) fn config(self) -> ImageConfig {
        let config = self.config.unwrap_or_default();
        ImageConfig {
            entrypoint: config.entrypoint.unwrap_or_default(),
            cmd: config.cmd.unwrap_or_default(),
            env: config.env.unwrap_or_default(),
            user: config.user.unwrap_or_default(),
            working_dir: config.working_dir.unwrap_or_default(),
            stop_signal: config.stop_signal.filter(|s| !s.is_empty()),
            labels: config.labels.unwrap_or_default(),
            volumes: config.volumes.unwrap_or_default().into_keys().collect(),
            exposed_ports: config.exposed_ports.unwrap_or_default().into_keys().collect(),
        }
    }

    fn fits(&self) -> bool {
        (self.os.is_empty() || self.os == "linux")
            && (self.architecture.is_empty() || self.architecture == architecture())
    }
}

/// This machine, in Go's words.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

/// Reads a document that others wrote.
pub(super) fn decode<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> ImageResult<T> {
    serde_json::from_slice(bytes).map_err(|e| ImageError::invalid(format!("{what}: {e}")))
}

/// The id of an image that came without a config document.
pub(super) fn made_up_id(config: &ImageConfig, layers: &[Layer]) -> ImageResult<ImageId> {
    let diff_ids: Vec<&str> = layers.iter().map(|l| l.diff_id.as_str()).collect();
    let document = serde_json::to_vec(&(config, diff_ids)).map_err(|e| ImageError::invalid(e.to_string()))?;
    Ok(ImageId(sha256(&document)))
}

/// An archive whose files stand on disk under temporary names.
struct Spooled {
    files: BTreeMap<PathBuf, PathBuf>,
    /// Links within the archive, which old versions of Docker use for equal layers.
    links: BTreeMap<PathBuf, PathBuf>,
    _folder: Temporary,
}

/// Unpacks every image of the archive that fits this machine.
pub(super) fn import(
    archive: impl Read,
    layers: &Layers,
    progress: &OnProgress,
) -> ImageResult<Vec<(ImageId, Record)>> {
    let spooled = Spooled::read(archive, layers)?;
    let images = if spooled.files.contains_key(Path::new("index.json")) {
        spooled.import_oci(layers, progress)?
    } else {
        spooled.import_docker(layers, progress)?
    };
    if images.is_empty() { Err(ImageError::NoPlatform) } else { Ok(images) }
}

impl Spooled {
    fn read(archive: impl Read, layers: &Layers) -> ImageResult<Self> {
        let broken = |e: io::Error| ImageError::invalid(format!("archive: {e}"));
        let folder = layers.temporary();
        let doing = || format!("writing to {}", folder.path().display());
        fs::create_dir(folder.path()).map_err(ImageError::io(doing()))?;
        let plain = decompress(BufReader::with_capacity(1 << 16, archive)).map_err(broken)?;
        let mut tar = tar::Archive::new(plain);
        let (mut files, mut links) = (BTreeMap::new(), BTreeMap::new());
        for (number, entry) in tar.entries().map_err(broken)?.enumerate() {
            let mut entry = entry.map_err(broken)?;
            let path = normal(&entry.path().map_err(broken)?);
            match entry.header().entry_type() {
                tar::EntryType::Regular | tar::EntryType::Continuous => {
                    let target = folder.path().join(number.to_string());
                    let mut file = File::create(&target).map_err(ImageError::io(doing()))?;
                    io::copy(&mut entry, &mut file).map_err(ImageError::io(doing()))?;
                    files.insert(path, target);
                }
                tar::EntryType::Symlink | tar::EntryType::Link => {
                    if let Some(target) = entry.link_name().map_err(broken)? {
                        let base = path.parent().unwrap_or(Path::new("")).join(&target);
                        links.insert(path, normal(&base));
                    }
                }
                _ => {}
            }
        }
        Ok(Self { files, links, _folder: folder })
    }

    fn file(&self, path: &Path) -> ImageResult<&Path> {
        let target = self.links.get(path).map_or(path, PathBuf::as_path);
        let found = self.files.get(target).or_else(|| self.files.get(path));
        found.map(PathBuf::as_path).ok_or_else(|| ImageError::invalid(format!("the archive lacks {}", path.display())))
    }

    fn document(&self, path: &Path) -> ImageResult<Vec<u8>> {
        let doing = || format!("reading {} of the archive", path.display());
        let mut bytes = Vec::new();
        let file = File::open(self.file(path)?).map_err(ImageError::io(doing()))?;
        file.take(MAX_DOCUMENT).read_to_end(&mut bytes).map_err(ImageError::io(doing()))?;
        Ok(bytes)
    }

    /// A document that must be what its digest says.
    fn checked(&self, digest: &str) -> ImageResult<Vec<u8>> {
        let bytes = self.document(&blob_path(digest)?)?;
        if sha256(&bytes) == digest {
            Ok(bytes)
        } else {
            Err(ImageError::invalid(format!("blob {digest} has other content")))
        }
    }

    fn import_oci(&self, layers: &Layers, progress: &OnProgress) -> ImageResult<Vec<(ImageId, Record)>> {
        let index: Index = decode("index.json", &self.document(Path::new("index.json"))?)?;
        let docker_names = self.docker_names();
        let mut images = Vec::new();
        for descriptor in &index.manifests {
            let names = names_of(descriptor);
            let Some(manifest) = self.choose(descriptor, 0)? else { continue };
            let (id, mut record) = self.import_manifest(&manifest, layers, progress)?;
            let fallback = docker_names.get(&id.0).cloned().unwrap_or_default();
            for name in if names.is_empty() { fallback } else { names } {
                let reference = Reference::parse(&name)?;
                record.tags.extend(reference.tagged());
                record.digests.insert(reference.with_digest(&descriptor.digest));
            }
            images.push((id, record));
        }
        Ok(images)
    }

    /// The manifest for this machine that a descriptor leads to.
    fn choose(&self, descriptor: &Descriptor, depth: usize) -> ImageResult<Option<Descriptor>> {
        let fits =
            |d: &Descriptor| d.platform.as_ref().is_none_or(|p| p.os == "linux" && p.architecture == architecture());
        if !fits(descriptor) {
            return Ok(None);
        }
        let is_index = descriptor.media_type.ends_with("image.index.v1+json")
            || descriptor.media_type.ends_with("manifest.list.v2+json");
        if !is_index {
            return Ok(Some(descriptor.clone()));
        }
        if depth >= MAX_DEPTH {
            return Err(ImageError::invalid("indexes within indexes"));
        }
        let index: Index = decode("index", &self.checked(&descriptor.digest)?)?;
        for inner in &index.manifests {
            // An archive may hold only some of what its index lists.
            let there = blob_path(&inner.digest).is_ok_and(|path| self.file(&path).is_ok());
            if let Some(found) = if there { self.choose(inner, depth + 1)? } else { None } {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn import_manifest(
        &self,
        descriptor: &Descriptor,
        layers: &Layers,
        progress: &OnProgress,
    ) -> ImageResult<(ImageId, Record)> {
        let manifest: Manifest = decode("manifest", &self.checked(&descriptor.digest)?)?;
        let document: Document = decode("config", &self.checked(&manifest.config.digest)?)?;
        if !document.fits() {
            return Err(ImageError::NoPlatform);
        }
        let list = document.layers(manifest.layers.iter().map(|l| (l.digest.clone(), l.size)))?;
        for layer in &list {
            let path = self.file(&blob_path(&layer.digest)?)?.to_owned();
            if !layers.has(&layer.chain_id) {
                check_digest(&path, &layer.digest)?;
            }
            add(layers, &path, layer, progress)?;
        }
        let size = descriptor.size + manifest.config.size + list.iter().map(|l| l.size).sum::<u64>();
        let id = ImageId(manifest.config.digest);
        Ok((id, Record { size, config: document.config(), layers: list, ..Record::default() }))
    }

    /// Names by config digest, for archives that have both forms.
    fn docker_names(&self) -> BTreeMap<String, Vec<String>> {
        let Ok(bytes) = self.document(Path::new("manifest.json")) else { return BTreeMap::new() };
        let images: Vec<DockerImage> = decode("manifest.json", &bytes).unwrap_or_default();
        let by_digest = |image: DockerImage| {
            let digest = sha256(&self.document(&normal(Path::new(&image.config))).ok()?);
            Some((digest, image.repo_tags.unwrap_or_default()))
        };
        images.into_iter().filter_map(by_digest).collect()
    }

    fn import_docker(&self, layers: &Layers, progress: &OnProgress) -> ImageResult<Vec<(ImageId, Record)>> {
        if !self.files.contains_key(Path::new("manifest.json")) {
            return Err(ImageError::invalid("neither index.json nor manifest.json: not an image archive"));
        }
        let images: Vec<DockerImage> = decode("manifest.json", &self.document(Path::new("manifest.json"))?)?;
        images.into_iter().map(|image| self.import_docker_image(image, layers, progress)).collect()
    }

    fn import_docker_image(
        &self,
        image: DockerImage,
        layers: &Layers,
        progress: &OnProgress,
    ) -> ImageResult<(ImageId, Record)> {
        let bytes = self.document(&normal(Path::new(&image.config)))?;
        let document: Document = decode("config", &bytes)?;
        if !document.fits() {
            return Err(ImageError::NoPlatform);
        }
        let mut blobs = Vec::new();
        let mut files = Vec::new();
        for (layer, diff_id) in image.layers.iter().zip(&document.rootfs.diff_ids) {
            let file = self.file(&normal(Path::new(layer)))?;
            let size = fs::metadata(file).map_err(ImageError::io(format!("reading {layer} of the archive")))?.len();
            // The blob's own digest is of no use here: its content is checked against the config.
            blobs.push((diff_id.clone(), size));
            files.push(file.to_owned());
        }
        if image.layers.len() != files.len() {
            return Err(ImageError::invalid("manifest.json names more layers than the config"));
        }
        let list = document.layers(blobs.into_iter())?;
        for (layer, file) in list.iter().zip(&files) {
            add(layers, file, layer, progress)?;
        }
        let tags = image.repo_tags.unwrap_or_default();
        let tags: BTreeSet<String> = tags
            .iter()
            .map(|tag| Reference::parse(tag))
            .collect::<ImageResult<Vec<_>>>()?
            .iter()
            .filter_map(Reference::tagged)
            .collect();
        let size = bytes.len() as u64 + list.iter().map(|l| l.size).sum::<u64>();
        let id = ImageId(sha256(&bytes));
        Ok((id, Record { tags, digests: BTreeSet::new(), size, config: document.config(), layers: list }))
    }
}

/// Unpacks a layer and tells about it.
pub(super) fn add(layers: &Layers, blob: &Path, layer: &Layer, progress: &OnProgress) -> ImageResult<()> {
    let digest = &layer.digest;
    let on_read = |done| progress(Progress::Unpack { digest: digest.clone(), done, total: layer.size });
    layers.add_blob(blob, layer, &on_read)?;
    progress(Progress::Done { digest: digest.clone() });
    Ok(())
}

fn check_digest(path: &Path, digest: &str) -> ImageResult<()> {
    let doing = || format!("reading blob {digest}");
    let file = File::open(path).map_err(ImageError::io(doing()))?;
    let found = Hashed::new(BufReader::with_capacity(1 << 16, file)).finish().map_err(ImageError::io(doing()))?;
    if found == digest { Ok(()) } else { Err(ImageError::invalid(format!("blob {digest} has other content"))) }
}

fn names_of(descriptor: &Descriptor) -> Vec<String> {
    // Compat: containerd and Docker write the full name under their own key; the OCI's key may hold only a tag.
    let full = descriptor.annotations.get("io.containerd.image.name");
    let oci = descriptor.annotations.get("org.opencontainers.image.ref.name");
    full.or_else(|| oci.filter(|name| name.contains(['/', ':']))).cloned().into_iter().collect()
}

fn blob_path(digest: &str) -> ImageResult<PathBuf> {
    match digest.strip_prefix("sha256:").filter(|_| is_digest(digest)) {
        Some(hex) => Ok(Path::new("blobs/sha256").join(hex)),
        None => Err(ImageError::invalid(format!("digest {digest:?}"))),
    }
}

/// Names within an archive are only compared, never opened; so climbing just goes up.
fn normal(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(part) => clean.push(part),
            Component::ParentDir => drop(clean.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean
}
