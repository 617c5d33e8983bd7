//! `hostPath`: something of the node's own.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
use std::path::Path;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Pod, Volume as Spec};

use super::{Mounted, Volume, VolumeContext, VolumeError};

pub(super) struct HostPath;

#[async_trait]
impl Volume for HostPath {
    fn kind(&self) -> &'static str {
        "hostPath"
    }

    fn answers(&self, volume: &Spec) -> bool {
        volume.host_path.is_some()
    }

    async fn set_up(&self, _: &VolumeContext, _: &Pod, volume: &Spec) -> Result<Mounted, VolumeError> {
        let source = volume.host_path.clone().unwrap_or_default();
        let path = Path::new(&source.path);
        check(path, source.type_.as_deref().unwrap_or_default())
            .map_err(|why| VolumeError::set_up(&volume.name, why))?;
        Ok(Mounted { path: path.to_owned(), readonly: false })
    }
}

/// Makes the path what `kind` says it must be, or tells why it can't be.
pub(super) fn check(path: &Path, kind: &str) -> Result<(), String> {
    let shown = path.display();
    let failed = |error: io::Error| format!("hostPath {shown}: {error}");
    let facts = match fs::metadata(path) {
        Ok(facts) => Some(facts),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed(error)),
    };
    let wrong = |what: &str| Err(format!("hostPath type check failed: {shown} is not a {what}"));
    let Some(facts) = facts else {
        return match kind {
            "" | "DirectoryOrCreate" => DirBuilder::new().recursive(true).mode(0o755).create(path).map_err(failed),
            "FileOrCreate" => File::create(path).map(drop).map_err(failed),
            "Directory" => wrong("directory"),
            "File" => wrong("file"),
            "Socket" => wrong("socket"),
            "CharDevice" => wrong("character device"),
            _ => wrong("block device"),
        };
    };
    let kind_of = facts.file_type();
    match kind {
        "DirectoryOrCreate" | "Directory" if !facts.is_dir() => wrong("directory"),
        "FileOrCreate" | "File" if !facts.is_file() => wrong("file"),
        "Socket" if !kind_of.is_socket() => wrong("socket"),
        "CharDevice" if !kind_of.is_char_device() => wrong("character device"),
        "BlockDevice" if !kind_of.is_block_device() => wrong("block device"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_checked_and_made() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x/y");
        let shown = path.display();
        assert_eq!(check(&path, "Directory"), Err(format!("hostPath type check failed: {shown} is not a directory")));
        assert_eq!(check(&path, "DirectoryOrCreate"), Ok(()));
        assert_eq!(check(&path, "Directory"), Ok(()));
        assert_eq!(check(&path, "File"), Err(format!("hostPath type check failed: {shown} is not a file")));
        assert_eq!(check(&path.join("f"), "FileOrCreate"), Ok(()));
        assert_eq!(check(Path::new("/dev/null"), "CharDevice"), Ok(()));
    }
}
