//! Unpacking a layer beneath a folder that it cannot leave.
//!
//! Archives are not to be trusted. Every path is opened by the kernel relative to the folder's descriptor with
//! `RESOLVE_IN_ROOT`, so a link in the archive leads back into the folder at worst; the last part of a path is never
//! followed. Deletions become the form that overlay file systems want: a character device 0:0, or an attribute on a
//! folder.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags,
};
use rustix::io::Errno;
use tar::{Entry, EntryType};

use super::{ImageError, ImageResult};

/// Marks a deleted file of the layers below.
const WHITEOUT: &[u8] = b".wh.";
/// Marks a folder whose content in the layers below is hidden.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Bounds what an archive can make us do; the largest images in use have a tenth of it.
const MAX_ENTRIES: usize = 4_000_000;

/// Unpacks a tar into an existing, empty folder. `limit` bounds the bytes of all files together.
pub(super) fn unpack(archive: impl Read, folder: &Path, limit: u64) -> ImageResult<()> {
    let root = rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(ImageError::io(format!("opening {}", folder.display())))?;
    let mut unpacker = Unpacker { root, folders: HashMap::new(), left: limit };
    let mut archive = tar::Archive::new(archive);
    let broken = |e: io::Error| ImageError::invalid(format!("layer: {e}"));
    for (count, entry) in archive.entries().map_err(broken)?.enumerate() {
        if count >= MAX_ENTRIES {
            return Err(ImageError::invalid("layer: too many entries"));
        }
        let mut entry = entry.map_err(broken)?;
        let path = PathBuf::from(OsStr::from_bytes(&entry.path_bytes()));
        unpacker.entry(&mut entry).map_err(|e| match e.kind() {
            io::ErrorKind::InvalidData => ImageError::invalid(format!("layer: {}: {e}", path.display())),
            _ => ImageError::Io { doing: format!("unpacking {} of a layer", path.display()), source: e },
        })?;
    }
    unpacker.finish()
}

struct Unpacker {
    root: OwnedFd,
    /// Times of folders, set at the end: filling a folder changes them.
    folders: HashMap<PathBuf, i64>,
    left: u64,
}

/// Ownership and the like of an entry.
struct Metadata {
    mode: Mode,
    uid: Uid,
    gid: Gid,
    modified: i64,
    attributes: Vec<(String, Vec<u8>)>,
}

impl Unpacker {
    fn entry<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> io::Result<()> {
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            return Ok(());
        }
        let path = clean(&entry.path_bytes())?;
        let metadata = Metadata::of(entry)?;
        let Some(name) = path.file_name().map(OsStr::to_owned) else {
            return self.folder_itself(&path, &metadata);
        };
        let parent = self.parent(path.parent().unwrap_or(Path::new("")))?;
        if name.as_bytes() == OPAQUE {
            return set_opaque(&parent);
        }
        if let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT) {
            // What begins with `.wh..wh.` is bookkeeping of aufs.
            return if hidden.starts_with(WHITEOUT) { Ok(()) } else { white_out(&parent, OsStr::from_bytes(hidden)) };
        }
        if kind == EntryType::Directory {
            make_folder(&parent, &name)?;
            return self.folder_itself(&path, &metadata);
        }
        remove(&parent, &name)?;
        match kind {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.file(entry, &parent, &name, &metadata)
            }
            EntryType::Link => self.hard_link(entry, &parent, &name),
            EntryType::Symlink => {
                let target = entry.link_name_bytes().ok_or_else(|| invalid("a link without a target"))?;
                rustix::fs::symlinkat(OsStr::from_bytes(&target), &parent, &name)?;
                metadata.apply_by_name(&parent, &name, false)
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => device(entry, &parent, &name, &metadata),
            other => Err(invalid(&format!("entry of type {other:?}"))),
        }
    }

    fn file<R: Read>(
        &mut self,
        entry: &mut Entry<'_, R>,
        parent: &OwnedFd,
        name: &OsStr,
        metadata: &Metadata,
    ) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)?;
        let mut file = File::from(fd);
        let written = io::copy(&mut entry.take(self.left.saturating_add(1)), &mut file)?;
        self.left = self.left.checked_sub(written).ok_or_else(|| invalid("the layer is larger than it may be"))?;
        metadata.apply(&file)
    }

    fn hard_link<R: Read>(&self, entry: &Entry<'_, R>, parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
        let target = entry.link_name_bytes().ok_or_else(|| invalid("a link without a target"))?;
        let target = clean(&target)?;
        let file = target.file_name().ok_or_else(|| invalid("a link to the root"))?;
        let folder = self.open(target.parent().unwrap_or(Path::new("")))?;
        Ok(rustix::fs::linkat(&folder, file, parent, name, AtFlags::empty())?)
    }

    fn folder_itself(&mut self, path: &Path, metadata: &Metadata) -> io::Result<()> {
        let folder = self.open_readable(path)?;
        metadata.apply(&folder)?;
        self.folders.insert(path.to_owned(), metadata.modified);
        Ok(())
    }

    /// Opens a folder beneath the root and makes what is missing of it.
    fn parent(&self, path: &Path) -> io::Result<OwnedFd> {
        match self.open(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let mut so_far = PathBuf::new();
        let mut folder = self.open(&so_far)?;
        for part in path.components() {
            make_folder(&folder, part.as_os_str())?;
            so_far.push(part);
            folder = self.open(&so_far)?;
        }
        Ok(folder)
    }

    fn open(&self, path: &Path) -> io::Result<OwnedFd> {
        self.open_with(path, OFlags::PATH)
    }

    fn open_readable(&self, path: &Path) -> io::Result<OwnedFd> {
        self.open_with(path, OFlags::RDONLY)
    }

    fn open_with(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let flags = flags | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        Ok(rustix::fs::openat2(&self.root, path, flags, Mode::empty(), how)?)
    }

    fn finish(&self) -> ImageResult<()> {
        for (path, modified) in &self.folders {
            let doing = || format!("setting the time of {}", path.display());
            let folder = match self.open_readable(path) {
                // A later entry replaced it.
                Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => continue,
                other => other.map_err(ImageError::io(doing()))?,
            };
            rustix::fs::futimens(&folder, &times(*modified)).map_err(ImageError::io(doing()))?;
        }
        Ok(())
    }
}

/// A path without a root; one that climbs is refused.
fn clean(bytes: &[u8]) -> io::Result<PathBuf> {
    let mut path = PathBuf::new();
    for part in Path::new(OsStr::from_bytes(bytes)).components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            Component::ParentDir => return Err(invalid("a path that leaves the layer")),
        }
    }
    Ok(path)
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

fn times(modified: i64) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: modified, tv_nsec: 0 },
    }
}

fn make_folder(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => {
            let kind = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(kind.st_mode) == FileType::Directory {
                return Ok(());
            }
            remove(parent, name)?;
            Ok(rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755))?)
        }
        Err(e) => Err(e.into()),
    }
}

/// Removes what an earlier entry of the same name made.
fn remove(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR) => remove_folder(parent, name),
        Err(e) => Err(e.into()),
    }
}

fn remove_folder(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    for entry in rustix::fs::Dir::read_from(&folder)? {
        let entry = entry?;
        let inner = OsStr::from_bytes(entry.file_name().to_bytes());
        if inner != "." && inner != ".." {
            remove(&folder, inner)?;
        }
    }
    Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}

fn white_out(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    if name.is_empty() || name == "." || name == ".." {
        return Err(invalid("a whiteout without a name"));
    }
    remove(parent, name)?;
    Ok(rustix::fs::mknodat(parent, name, FileType::CharacterDevice, Mode::empty(), 0)?)
}

fn set_opaque(folder: &OwnedFd) -> io::Result<()> {
    // The descriptor is for paths only; attributes need one for reading.
    let folder = rustix::fs::openat(folder, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(rustix::fs::fsetxattr(&folder, "trusted.overlay.opaque", b"y", XattrFlags::empty())?)
}

fn device<R: Read>(entry: &Entry<'_, R>, parent: &OwnedFd, name: &OsStr, metadata: &Metadata) -> io::Result<()> {
    let header = entry.header();
    let (major, minor) = (header.device_major()?.unwrap_or(0), header.device_minor()?.unwrap_or(0));
    let (kind, number) = match header.entry_type() {
        EntryType::Fifo => (FileType::Fifo, 0),
        EntryType::Block => (FileType::BlockDevice, rustix::fs::makedev(major, minor)),
        // Overlay would take a character device 0:0 for a deletion, which only whiteouts may ask for.
        _ if (major, minor) == (0, 0) => return Err(invalid("a device 0:0")),
        _ => (FileType::CharacterDevice, rustix::fs::makedev(major, minor)),
    };
    rustix::fs::mknodat(parent, name, kind, metadata.mode, number)?;
    metadata.apply_by_name(parent, name, true)
}

impl Metadata {
    fn of<R: Read>(entry: &mut Entry<'_, R>) -> io::Result<Self> {
        let mut attributes = Vec::new();
        if let Some(extensions) = entry.pax_extensions()? {
            for extension in extensions {
                let extension = extension?;
                let name = extension.key().ok().and_then(|key| key.strip_prefix("SCHILY.xattr."));
                // Others would change how overlay reads the layer, or belong to another machine's security module.
                if let Some(name) = name.filter(|n| *n == "security.capability" || n.starts_with("user.")) {
                    attributes.push((name.to_owned(), extension.value_bytes().to_vec()));
                }
            }
        }
        let header = entry.header();
        let old = header.as_old();
        let id = |number: u64| u32::try_from(number).ok().filter(|n| *n != u32::MAX).ok_or_else(|| invalid("an owner"));
        // Some writers leave out what is 0.
        let or_zero = |field: &[u8], value: io::Result<u64>| match value {
            Err(_) if field.iter().all(|b| matches!(b, 0 | b' ')) => Ok(0),
            other => other,
        };
        let mode = or_zero(&old.mode, header.mode().map(u64::from))?;
        Ok(Self {
            mode: Mode::from_raw_mode(u32::try_from(mode).unwrap_or(0) & 0o7777),
            uid: Uid::from_raw(id(or_zero(&old.uid, header.uid())?)?),
            gid: Gid::from_raw(id(or_zero(&old.gid, header.gid())?)?),
            modified: i64::try_from(or_zero(&old.mtime, header.mtime())?).unwrap_or(0),
            attributes,
        })
    }

    /// The owner comes first, because changing it takes setuid bits and capabilities away.
    fn apply(&self, file: impl AsFd) -> io::Result<()> {
        rustix::fs::fchown(&file, Some(self.uid), Some(self.gid))?;
        rustix::fs::fchmod(&file, self.mode)?;
        for (name, value) in &self.attributes {
            match rustix::fs::fsetxattr(&file, name.as_str(), value, XattrFlags::empty()) {
                // A file system without user attributes still holds the file.
                Ok(()) | Err(Errno::OPNOTSUPP) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(rustix::fs::futimens(&file, &times(self.modified))?)
    }

    fn apply_by_name(&self, parent: &OwnedFd, name: &OsStr, has_mode: bool) -> io::Result<()> {
        rustix::fs::chownat(parent, name, Some(self.uid), Some(self.gid), AtFlags::SYMLINK_NOFOLLOW)?;
        if has_mode {
            // Just made by us in a folder that nobody else works in: it is no link.
            rustix::fs::chmodat(parent, name, self.mode, AtFlags::empty())?;
        }
        Ok(rustix::fs::utimensat(parent, name, &times(self.modified), AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

/// Removes a folder and its content by descriptors, never following a link.
pub(super) fn remove_tree(folder: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (folder.parent(), folder.file_name()) else {
        return Err(invalid("no folder"));
    };
    let parent = rustix::fs::openat(CWD, parent, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    remove(&parent, name)
}

#[cfg(test)]
mod tests;
