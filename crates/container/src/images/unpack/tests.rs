//! Archives that try to leave their folder, and what layers may hold.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

use super::*;

/// One entry of a made-up archive: kind, path, target or content.
type Line<'a> = (EntryType, &'a str, &'a str);

/// Builds a tar byte by byte, so that names are what an attacker would write and not what a library allows.
fn tar_of(lines: &[Line<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for (kind, path, text) in lines {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(if *kind == EntryType::Directory { 0o755 } else { 0o4755 });
        header.set_uid(1000);
        header.set_gid(1001);
        header.set_mtime(1_000_000_000);
        let content = if *kind == EntryType::Regular { text.as_bytes() } else { b"" };
        header.set_size(content.len() as u64);
        if matches!(kind, EntryType::Link | EntryType::Symlink) {
            header.as_mut_bytes()[157..157 + text.len()].copy_from_slice(text.as_bytes());
        }
        header.set_cksum();
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(content);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

struct Unpacked {
    outside: tempfile::TempDir,
    result: ImageResult<()>,
}

impl Unpacked {
    fn root(&self) -> PathBuf {
        self.outside.path().join("root")
    }
}

fn unpacked(lines: &[Line<'_>]) -> Unpacked {
    let outside = tempfile::tempdir().unwrap();
    let root = outside.path().join("root");
    fs::create_dir(&root).unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    let result = unpack(tar_of(lines).as_slice(), &root, 1 << 20);
    Unpacked { outside, result }
}

fn check_harmless(lines: &[Line<'_>]) {
    let unpacked = unpacked(lines);
    let names: Vec<_> = fs::read_dir(unpacked.outside.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "something new outside: {names:?} after {lines:?}");
    let secret = unpacked.outside.path().join("secret");
    assert_eq!(fs::read_to_string(&secret).unwrap(), "secret");
    assert_eq!(fs::metadata(&secret).unwrap().nlink(), 1, "linked from outside after {lines:?}");
    assert_eq!(fs::metadata(&secret).unwrap().mode() & 0o7777, 0o644);
}

fn running_as_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: unpacking layers needs root");
    }
    root
}

#[test]
fn nothing_leaves_the_folder() {
    use EntryType::{Directory, Link, Regular, Symlink};
    if !running_as_root() {
        return;
    }
    check_harmless(&[(Regular, "../evil", "x")]);
    check_harmless(&[(Regular, "a/../../evil", "x")]);
    check_harmless(&[(Regular, "/../evil", "x")]);
    check_harmless(&[(Symlink, "out", ".."), (Regular, "out/evil", "x")]);
    check_harmless(&[(Symlink, "out", "../secret"), (Regular, "out", "x")]);
    check_harmless(&[(Symlink, "a", "b"), (Symlink, "b", "../.."), (Regular, "a/evil", "x")]);
    check_harmless(&[(Link, "hard", "../secret")]);
    check_harmless(&[(Symlink, "out", ".."), (Link, "hard", "out/secret")]);
    check_harmless(&[(Symlink, "out", ".."), (Directory, "out/evil", "")]);
    check_harmless(&[(Symlink, "out", ".."), (Directory, "out", "")]);
    check_harmless(&[(Symlink, "out", ".."), (Regular, "out/.wh.secret", "")]);
    check_harmless(&[(Regular, ".wh...", "")]);
    check_harmless(&[(Regular, ".wh..", "")]);
}

#[test]
fn an_absolute_link_stays_inside() {
    use EntryType::{Directory, Regular, Symlink};
    if !running_as_root() {
        return;
    }
    let unpacked = unpacked(&[(Directory, "real", ""), (Symlink, "abs", "/real"), (Regular, "abs/file", "x")]);
    unpacked.result.as_ref().unwrap();
    assert_eq!(fs::read_to_string(unpacked.root().join("real/file")).unwrap(), "x");
    assert!(!Path::new("/real/file").exists());
}

#[test]
fn ownership_mode_and_time() {
    if !running_as_root() {
        return;
    }
    let unpacked = unpacked(&[
        (EntryType::Directory, "d", ""),
        (EntryType::Regular, "d/f", "text"),
        (EntryType::Link, "d/h", "d/f"),
        (EntryType::Symlink, "d/s", "/nowhere"),
        (EntryType::Regular, "made/on/the/way", ""),
    ]);
    unpacked.result.as_ref().unwrap();
    let of = |path: &str| fs::symlink_metadata(unpacked.root().join(path)).unwrap();
    assert_eq!((of("d/f").uid(), of("d/f").gid(), of("d/f").permissions().mode() & 0o7777), (1000, 1001, 0o4755));
    assert_eq!(of("d/f").ino(), of("d/h").ino());
    assert_eq!((of("d/f").mtime(), of("d").mtime(), of("d/s").mtime()), (1_000_000_000, 1_000_000_000, 1_000_000_000));
    assert!(of("made/on/the/way").is_file());
}

#[test]
fn deletions_take_overlay_form() {
    if !running_as_root() {
        return;
    }
    let unpacked = unpacked(&[
        (EntryType::Regular, "d/.wh.gone", ""),
        (EntryType::Regular, "o/.wh..wh..opq", ""),
        (EntryType::Regular, "o/.wh..wh.plnk", ""),
    ]);
    unpacked.result.as_ref().unwrap();
    let gone = fs::symlink_metadata(unpacked.root().join("d/gone")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    let mut value = [0; 8];
    let length = rustix::fs::getxattr(unpacked.root().join("o"), "trusted.overlay.opaque", &mut value).unwrap();
    assert_eq!(&value[..length], b"y");
    assert_eq!(fs::read_dir(unpacked.root().join("o")).unwrap().count(), 0);
}

#[test]
fn a_later_entry_replaces_an_earlier_one() {
    use EntryType::{Directory, Regular, Symlink};
    if !running_as_root() {
        return;
    }
    let unpacked = unpacked(&[
        (Directory, "x", ""),
        (Regular, "x/inner", "1"),
        (Regular, "x", "2"),
        (Symlink, "l", "x"),
        (Regular, "l", "3"),
    ]);
    unpacked.result.as_ref().unwrap();
    assert_eq!(fs::read_to_string(unpacked.root().join("x")).unwrap(), "2");
    assert_eq!(fs::read_to_string(unpacked.root().join("l")).unwrap(), "3");
}

#[test]
fn a_layer_cannot_be_larger_than_allowed() {
    if !running_as_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let archive = tar_of(&[(EntryType::Regular, "a", "12345"), (EntryType::Regular, "b", "67890")]);
    unpack(archive.as_slice(), folder.path(), 10).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let error = unpack(archive.as_slice(), folder.path(), 9).unwrap_err();
    assert!(error.to_string().contains("larger than it may be"), "{error}");
}
