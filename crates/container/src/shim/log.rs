//! A container's log file, in CRI's format: `2026-11-23T12:00:00.123456789Z stdout F text`.
//!
//! A line longer than [`MAX_LINE`] is cut into pieces tagged `P`, the last one `F`. A file that has grown to [`MAX_SIZE`] is put aside as
//! `0.log.20261123-120000`, and of all files of an instance the newest [`MAX_FILES`] stay.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::clock::rfc3339_nanos;

/// Bytes of one entry, without stamp and line feed; CRI's runtimes cut at the same length.
const MAX_LINE: usize = 16 << 10;
/// Compat: upstream's `containerLogMaxSize`, 10Mi.
const MAX_SIZE: u64 = 10 << 20;
/// Compat: upstream's `containerLogMaxFiles`, the one that is written included.
const MAX_FILES: usize = 5;

/// Which stream a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StreamName {
    Stdout,
    Stderr,
}

/// The open file and what was read of an unfinished line of each stream.
pub(super) struct Log {
    path: PathBuf,
    file: File,
    /// Bytes in the file.
    size: u64,
    unfinished: [Vec<u8>; 2],
}

impl Log {
    /// Opens the file for appending and makes its folder.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = append(path)?;
        let size = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, size, unfinished: Default::default() })
    }

    /// After the file was renamed: goes on in a new one of the old name.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        self.file = append(&self.path)?;
        self.size = self.file.metadata()?.len();
        Ok(())
    }

    /// Takes what was read from a stream at a time.
    pub(super) fn write(&mut self, stream: StreamName, bytes: &[u8], at: SystemTime) -> io::Result<()> {
        let mut out = Vec::new();
        entries(stream, &mut self.unfinished[stream as usize], bytes, at, &mut out);
        self.append(&out, at)
    }

    fn append(&mut self, entries: &[u8], at: SystemTime) -> io::Result<()> {
        self.file.write_all(entries)?;
        self.size += entries.len() as u64;
        if self.size < MAX_SIZE {
            return Ok(());
        }
        rotate(&self.path, at)?;
        self.reopen()
    }

    /// The stream ended: what it wrote after its last line feed is no whole line, and is marked as such. Compat: readers add no line feed.
    pub(super) fn finish(&mut self, stream: StreamName, at: SystemTime) -> io::Result<()> {
        let rest = std::mem::take(&mut self.unfinished[stream as usize]);
        if rest.is_empty() {
            return Ok(());
        }
        let mut out = Vec::new();
        entry(stream, b"P", &rest, &rfc3339_nanos(at), &mut out);
        self.append(&out, at)
    }
}

/// Puts a full file aside and removes the oldest of those that were.
fn rotate(path: &Path, at: SystemTime) -> io::Result<()> {
    let mut aside = rotated(path)?;
    while aside.len() > MAX_FILES - 2 {
        fs::remove_file(aside.remove(0))?;
    }
    // `2026-11-23T12:00:00.123…` becomes `20261123-120000`; a second one of the same second keeps its fraction, and so sorts behind it.
    let stamp: String = rfc3339_nanos(at).chars().filter(char::is_ascii_digit).collect();
    let (day, time) = stamp.split_at(8);
    let beside = |time: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{day}-{time}"));
        PathBuf::from(name)
    };
    let short = beside(&time[..6]);
    fs::rename(path, if short.exists() { beside(time) } else { short })
}

/// The files that were put aside, oldest first.
fn rotated(path: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Ok(Vec::new()) };
    let begin = format!("{}.", name.to_string_lossy());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&begin) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

fn append(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    // Compat: CRI's runtimes make log files with mode 0640.
    File::options().append(true).create(true).mode(0o640).open(path)
}

fn entries(stream: StreamName, unfinished: &mut Vec<u8>, bytes: &[u8], at: SystemTime, out: &mut Vec<u8>) {
    let stamp = rfc3339_nanos(at);
    for piece in bytes.split_inclusive(|b| *b == b'\n') {
        unfinished.extend_from_slice(piece);
        while unfinished.len() > MAX_LINE && !(unfinished.len() == MAX_LINE + 1 && unfinished.ends_with(b"\n")) {
            let rest = unfinished.split_off(MAX_LINE);
            entry(stream, b"P", unfinished, &stamp, out);
            *unfinished = rest;
        }
        if unfinished.ends_with(b"\n") {
            unfinished.pop();
            entry(stream, b"F", unfinished, &stamp, out);
            unfinished.clear();
        }
    }
}

fn entry(stream: StreamName, tag: &[u8], text: &[u8], stamp: &str, out: &mut Vec<u8>) {
    let name: &[u8] = match stream {
        StreamName::Stdout => b" stdout ",
        StreamName::Stderr => b" stderr ",
    };
    for part in [stamp.as_bytes(), name, tag, b" ", text, b"\n"] {
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(chunks: &[&[u8]], want: &[(&str, usize)]) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/er/0.log");
        let mut log = Log::open(&path).unwrap();
        for chunk in chunks {
            log.write(StreamName::Stdout, chunk, SystemTime::UNIX_EPOCH).unwrap();
        }
        log.finish(StreamName::Stdout, SystemTime::UNIX_EPOCH).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let seen: Vec<(&str, usize)> = text
            .lines()
            .map(|line| {
                let rest = line.strip_prefix("1970-01-01T00:00:00.000000000Z stdout ").expect("stamp and stream");
                (&rest[..1], rest.len() - 2)
            })
            .collect();
        assert_eq!(seen, want);
    }

    #[test]
    fn full_files_are_put_aside_and_few_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.log");
        let mut log = Log::open(&path).unwrap();
        let line = [vec![b'x'; MAX_LINE - 64], b"\n".to_vec()].concat();
        let lines = MAX_SIZE as usize / line.len() * (MAX_FILES + 2);
        for second in 0..lines as u64 {
            let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(second / 100);
            log.write(StreamName::Stdout, &line, at).unwrap();
        }
        let aside = rotated(&path).unwrap();
        assert_eq!(aside.len(), MAX_FILES - 1, "{aside:?}");
        for full in &aside {
            let size = full.metadata().unwrap().len();
            assert!((MAX_SIZE..MAX_SIZE + MAX_LINE as u64).contains(&size), "{size}");
        }
        assert!(path.metadata().unwrap().len() < MAX_SIZE);
    }

    #[test]
    fn lines_and_pieces() {
        check(&[b"one\ntw", b"o\n"], &[("F", 3), ("F", 3)]);
        check(&[b"no end"], &[("P", 6)]);
        check(&[b"\n\n"], &[("F", 0), ("F", 0)]);
        let long = [vec![b'x'; MAX_LINE + 5], b"\n".to_vec()].concat();
        check(&[&long], &[("P", MAX_LINE), ("F", 5)]);
        let exact = [vec![b'x'; MAX_LINE], b"\n".to_vec()].concat();
        check(&[&exact], &[("F", MAX_LINE)]);
        check(&[&exact[..MAX_LINE], b"\n"], &[("F", MAX_LINE)]);
    }
}
