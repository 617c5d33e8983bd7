//! Writes a volume's files so that readers see either all of the old content or all of the new.
//!
//! The files stand in a folder named after the time, `..data` is a link to it, and the names that users see are links
//! through `..data`: replacing that one link replaces everything.
//! Compat: programs watch for the names `..data` and `..TIME.RANDOM`, as upstream's AtomicWriter makes them.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::{Component, Path};

use super::payload::{File, Payload};

const DATA: &str = "..data";

/// Brings `folder` to hold exactly these files; nothing is touched if it already does.
pub(super) fn write(folder: &Path, payload: &Payload, group: Option<u32>) -> io::Result<()> {
    if payload.keys().any(|path| !is_safe(path)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a path must be relative and must not contain '..'"));
    }
    let old = fs::read_link(folder.join(DATA)).ok();
    if old.as_ref().is_some_and(|old| holds(&folder.join(old), payload, group)) {
        return Ok(());
    }
    let name = format!("..{}.{}", stamp(), rand::random_range(100_000_000..u32::MAX));
    let fresh = folder.join(&name);
    fs::create_dir(&fresh)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755))?;
    for (path, file) in payload {
        write_file(&fresh, path, file, group)?;
    }
    let draft = folder.join("..data_tmp");
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    symlink(&name, &draft)?;
    fs::rename(&draft, folder.join(DATA))?;
    link_names(folder, payload)?;
    if let Some(old) = old {
        fs::remove_dir_all(folder.join(old))?;
    }
    Ok(())
}

fn is_safe(path: &str) -> bool {
    let path = Path::new(path);
    !path.as_os_str().is_empty()
        && path.components().all(|part| matches!(part, Component::Normal(name) if name != ".."))
}

fn stamp() -> String {
    let now = meta::format_micro_time(meta::Clock::now(&meta::SystemClock));
    now.chars().filter(|c| !matches!(c, '-' | ':' | 'T' | 'Z')).map(|c| if c == '.' { '_' } else { c }).collect()
}

fn holds(folder: &Path, payload: &Payload, group: Option<u32>) -> bool {
    use std::os::unix::fs::MetadataExt;
    let same = |(path, file): (&String, &File)| {
        let full = folder.join(path);
        let fits = |facts: fs::Metadata| {
            facts.mode() & 0o7777 == mode_with_group(file.mode, group) && facts.uid() == file.owner.unwrap_or(0)
        };
        full.metadata().is_ok_and(fits) && fs::read(&full).is_ok_and(|bytes| bytes == file.bytes)
    };
    payload.iter().all(same) && count(folder).is_ok_and(|count| count == payload.len())
}

fn count(folder: &Path) -> io::Result<usize> {
    let mut files = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        files += if entry.file_type()?.is_dir() { count(&entry.path())? } else { 1 };
    }
    Ok(files)
}

// Compat: with an fsGroup, files of these read-only volumes become readable for the group.
fn mode_with_group(mode: u32, group: Option<u32>) -> u32 {
    if group.is_some() { mode | 0o440 } else { mode }
}

fn write_file(folder: &Path, path: &str, file: &File, group: Option<u32>) -> io::Result<()> {
    let full = folder.join(path);
    if let Some(parent) = full.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut open = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&full)?;
    open.write_all(&file.bytes)?;
    chown(&full, file.owner, group)?;
    // After the change of owner, which takes special bits away; and past the umask.
    open.set_permissions(fs::Permissions::from_mode(mode_with_group(file.mode, group)))
}

/// Makes the names that users see, and removes those that are no more.
fn link_names(folder: &Path, payload: &Payload) -> io::Result<()> {
    let first = |path: &String| Path::new(path).components().next().map(|part| part.as_os_str().to_owned());
    let wanted: BTreeSet<OsString> = payload.keys().filter_map(first).collect();
    for name in &wanted {
        match symlink(Path::new(DATA).join(name), folder.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        if !name.to_string_lossy().starts_with("..") && !wanted.contains(&name) {
            fs::remove_file(folder.join(name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(files: &[(&str, &str)]) -> Payload {
        let file = |text: &str| File { bytes: text.as_bytes().to_vec(), mode: 0o640, owner: None };
        files.iter().map(|(path, text)| ((*path).to_owned(), file(text))).collect()
    }

    #[test]
    fn content_is_replaced_as_a_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        write(path, &payload(&[("a", "1"), ("d/b", "2")]), None).expect("write");
        let first = fs::read_link(path.join(DATA)).expect("a link");
        assert_eq!(fs::read_to_string(path.join("d/b")).expect("read"), "2");
        assert_eq!(path.join("a").metadata().expect("facts").permissions().mode() & 0o7777, 0o640);

        write(path, &payload(&[("a", "1"), ("d/b", "2")]), None).expect("write");
        assert_eq!(fs::read_link(path.join(DATA)).expect("a link"), first, "the same content changes nothing");

        write(path, &payload(&[("a", "9")]), None).expect("write");
        assert_eq!(fs::read_to_string(path.join("a")).expect("read"), "9");
        assert!(!path.join("d").exists() && !path.join(first).exists());
    }

    #[test]
    fn paths_stay_inside() {
        let folder = tempfile::tempdir().expect("a folder");
        for bad in ["/etc/x", "../x", "a/../../x", ""] {
            assert!(write(folder.path(), &payload(&[(bad, "x")]), None).is_err(), "{bad}");
        }
    }
}
