//! Unpacked layers, each in a folder named after what lies beneath it and itself, and temporary files.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::unpack::{remove_tree, unpack};
use super::{ImageError, ImageResult};

/// A layer may grow to this when unpacked, or to [`MAX_RATIO`] times its compressed size, whichever is more.
const SMALL: u64 = 2 << 30;
/// gzip cannot do better than about a thousand; real layers stay below ten.
const MAX_RATIO: u64 = 200;

/// A layer of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Layer {
    /// Digest of the blob it came in.
    pub(super) digest: String,
    /// Digest of the uncompressed tar.
    pub(super) diff_id: String,
    /// Digest of the chain up to this layer; its folder's name.
    pub(super) chain_id: String,
    /// Bytes of the blob.
    pub(super) size: u64,
}

/// The folders.
pub(super) struct Layers {
    unpacked: PathBuf,
    temporary: PathBuf,
}

/// A temporary file or folder, removed when dropped.
pub(super) struct Temporary(PathBuf);

impl Temporary {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // What remains is removed when the store is opened again.
        let _ = match fs::symlink_metadata(&self.0) {
            Ok(found) if found.is_dir() => remove_tree(&self.0),
            Ok(_) => fs::remove_file(&self.0),
            Err(_) => Ok(()),
        };
    }
}

impl Layers {
    pub(super) fn open(folder: &Path) -> ImageResult<Self> {
        let layers = Self { unpacked: folder.join("layers"), temporary: folder.join("temp") };
        let doing = || format!("opening the image store {}", folder.display());
        if layers.temporary.exists() {
            remove_tree(&layers.temporary).map_err(ImageError::io(doing()))?;
        }
        for folder in [&layers.unpacked, &layers.temporary] {
            fs::create_dir_all(folder).map_err(ImageError::io(doing()))?;
        }
        Ok(layers)
    }

    /// Where a layer is.
    pub(super) fn path(&self, layer: &Layer) -> PathBuf {
        self.unpacked.join(hex_of(&layer.chain_id))
    }

    /// Whether the layer of a chain is there.
    pub(super) fn has(&self, chain_id: &str) -> bool {
        self.unpacked.join(hex_of(chain_id)).exists()
    }

    /// A name for something temporary.
    pub(super) fn temporary(&self) -> Temporary {
        Temporary(self.temporary.join(format!("{:016x}", rand::random::<u64>())))
    }

    /// Unpacks a blob and checks that its content is what the image's config says. A layer that is there is left alone.
    pub(super) fn add_blob(&self, blob: &Path, layer: &Layer, on_read: &dyn Fn(u64)) -> ImageResult<()> {
        if self.has(&layer.chain_id) {
            return Ok(());
        }
        let doing = || format!("reading {}", blob.display());
        let file = File::open(blob).map_err(ImageError::io(doing()))?;
        let size = file.metadata().map_err(ImageError::io(doing()))?.len();
        let counted = Counted { inner: file, done: 0, tell: on_read };
        let mut plain =
            Hashed::new(decompress(BufReader::with_capacity(1 << 16, counted)).map_err(ImageError::io(doing()))?);
        let folder = self.unpack(&mut plain, SMALL.max(size.saturating_mul(MAX_RATIO)))?;
        let diff_id = plain.finish().map_err(|e| ImageError::invalid(format!("layer: {e}")))?;
        if diff_id != layer.diff_id {
            return Err(ImageError::invalid(format!(
                "layer {} has content {diff_id}, not {}",
                layer.digest, layer.diff_id
            )));
        }
        self.keep(&folder, &layer.chain_id)
    }

    /// Unpacks a tar that is not part of any archive.
    pub(super) fn add_tar(&self, tar: impl Read) -> ImageResult<Layer> {
        let mut plain = Hashed::new(tar);
        let folder = self.unpack(&mut plain, u64::MAX)?;
        let size = plain.count;
        let digest = plain.finish().map_err(ImageError::io("reading a tar"))?;
        self.keep(&folder, &digest)?;
        Ok(Layer { digest: digest.clone(), diff_id: digest.clone(), chain_id: digest, size })
    }

    /// Takes the content of a folder, owned by root, as a layer.
    pub(super) fn add_folder(&self, folder: &Path) -> ImageResult<Layer> {
        let file = self.temporary();
        let doing = || format!("packing {}", folder.display());
        let mut tar = tar::Builder::new(File::create(file.path()).map_err(ImageError::io(doing()))?);
        pack(&mut tar, folder, Path::new("")).and_then(|()| tar.finish()).map_err(ImageError::io(doing()))?;
        drop(tar);
        self.add_tar(BufReader::new(File::open(file.path()).map_err(ImageError::io(doing()))?))
    }

    fn unpack(&self, tar: &mut impl Read, limit: u64) -> ImageResult<Temporary> {
        let folder = self.temporary();
        fs::create_dir(folder.path()).map_err(ImageError::io(format!("making {}", folder.path().display())))?;
        unpack(tar, folder.path(), limit)?;
        Ok(folder)
    }

    fn keep(&self, folder: &Temporary, chain_id: &str) -> ImageResult<()> {
        let target = self.unpacked.join(hex_of(chain_id));
        match fs::rename(folder.path(), &target) {
            Err(_) if target.exists() => Ok(()),
            other => other.map_err(ImageError::io(format!("keeping layer {chain_id}"))),
        }
    }

    /// Makes what was unpacked survive a power cut, before anything refers to it.
    pub(super) fn sync(&self) -> ImageResult<()> {
        let doing = || format!("syncing {}", self.unpacked.display());
        let folder = File::open(&self.unpacked).map_err(ImageError::io(doing()))?;
        rustix::fs::syncfs(&folder).map_err(ImageError::io(doing()))
    }

    /// Deletes the layers that are not used.
    pub(super) fn collect(&self, used: &BTreeSet<String>) -> ImageResult<()> {
        let doing = || format!("collecting layers in {}", self.unpacked.display());
        for entry in fs::read_dir(&self.unpacked).map_err(ImageError::io(doing()))? {
            let entry = entry.map_err(ImageError::io(doing()))?;
            let known = entry.file_name().to_str().is_some_and(|name| used.contains(&format!("sha256:{name}")));
            if !known {
                // Out of sight first: half a layer must never look like one.
                let dying = self.temporary();
                fs::rename(entry.path(), dying.path()).map_err(ImageError::io(doing()))?;
            }
        }
        Ok(())
    }
}

/// The chain's digest after one more layer.
pub(super) fn chain(parent: Option<&str>, diff_id: &str) -> String {
    match parent {
        None => diff_id.to_owned(),
        Some(parent) => sha256(format!("{parent} {diff_id}").as_bytes()),
    }
}

/// `sha256:…` of some bytes.
pub(super) fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

fn hex_of(digest: &str) -> &str {
    digest.strip_prefix("sha256:").unwrap_or(digest)
}

/// Replaces a file in one step, so that it survives a power cut whole.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let next = path.with_extension("new");
    let mut file = File::create(&next)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&next, path)
}

/// Reads through gzip, zstd or nothing, by what the first bytes are.
pub(super) fn decompress<'a>(mut reader: impl io::BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let start = reader.fill_buf()?;
    Ok(match start {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(reader)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::stream::read::Decoder::with_buffer(reader)?),
        _ => Box::new(reader),
    })
}

/// Counts and hashes what is read.
pub(super) struct Hashed<R> {
    inner: R,
    hash: Sha256,
    pub(super) count: u64,
}

impl<R: Read> Hashed<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, hash: Sha256::new(), count: 0 }
    }

    /// Reads the rest (a tar ends before its file does) and gives the digest.
    pub(super) fn finish(mut self) -> io::Result<String> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(format!("sha256:{}", hex::encode(self.hash.finalize())))
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hash.update(&buffer[..read]);
        self.count += read as u64;
        Ok(read)
    }
}

struct Counted<'a, R> {
    inner: R,
    done: u64,
    tell: &'a dyn Fn(u64),
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.done += read as u64;
        (self.tell)(self.done);
        Ok(read)
    }
}

/// Writes a folder's content in the order of names, owned by root and without times: the same content gives the same
/// digest.
fn pack(tar: &mut tar::Builder<File>, folder: &Path, prefix: &Path) -> io::Result<()> {
    let mut names: Vec<_> = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    names.sort_by_key(fs::DirEntry::file_name);
    for entry in names {
        let (source, path) = (entry.path(), prefix.join(entry.file_name()));
        let found = fs::symlink_metadata(&source)?;
        let mut header = tar::Header::new_gnu();
        header.set_mode(found.mode() & 0o7777);
        header.set_size(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        if found.is_dir() {
            header.set_entry_type(tar::EntryType::Directory);
            tar.append_data(&mut header, &path, io::empty())?;
            pack(tar, &source, &path)?;
        } else if found.is_symlink() {
            header.set_entry_type(tar::EntryType::Symlink);
            tar.append_link(&mut header, &path, fs::read_link(&source)?)?;
        } else if found.is_file() {
            header.set_size(found.len());
            tar.append_data(&mut header, &path, File::open(&source)?)?;
        }
    }
    Ok(())
}
