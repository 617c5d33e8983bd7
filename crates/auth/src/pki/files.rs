//! Keys and certificates on disk: readable by their owner only, never half written.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rcgen::KeyPair;

use super::PkiError;

pub(super) fn make_folder(folder: &Path) -> Result<(), PkiError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|source| PkiError::Io { path: folder.to_owned(), source })
}

/// The file's text; `None` if there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<String>, PkiError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(PkiError::Io { path: path.to_owned(), source }),
    }
}

/// Writes beside and renames, so that a crash leaves the old file or the new one.
pub(super) fn write(path: &Path, text: &str) -> Result<(), PkiError> {
    let beside = path.with_extension("new");
    let written = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    };
    written().map_err(|source| PkiError::Io { path: path.to_owned(), source })
}

/// The key in a file, made if there is none.
pub(super) fn key(path: &Path) -> Result<KeyPair, PkiError> {
    let broken = |error: rcgen::Error| PkiError::Broken { path: path.to_owned(), why: error.to_string() };
    if let Some(text) = read(path)? {
        return KeyPair::from_pem(&text).map_err(broken);
    }
    let key = KeyPair::generate().map_err(broken)?;
    write(path, &key.serialize_pem())?;
    Ok(key)
}
