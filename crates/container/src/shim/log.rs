//! A container's log file, in CRI's format: `2026-11-23T12:00:00.123456789Z stdout F text`.
//!
//! A line longer than [`MAX_LINE`] is cut into pieces tagged `P`, the last one `F`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::clock::rfc3339_nanos;

/// Bytes of one entry, without stamp and line feed; CRI's runtimes cut at the same length.
const MAX_LINE: usize = 16 << 10;

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
    unfinished: [Vec<u8>; 2],
}

impl Log {
    /// Opens the file for appending and makes its folder.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        Ok(Self { path: path.to_owned(), file: append(path)?, unfinished: Default::default() })
    }

    /// After the file was renamed: goes on in a new one of the old name.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        self.file = append(&self.path)?;
        Ok(())
    }

    /// Takes what was read from a stream at a time.
    pub(super) fn write(&mut self, stream: StreamName, bytes: &[u8], at: SystemTime) -> io::Result<()> {
        let mut out = Vec::new();
        entries(stream, &mut self.unfinished[stream as usize], bytes, at, &mut out);
        self.file.write_all(&out)
    }

    /// The stream ended: what it wrote after its last line feed is no whole line, and is marked as such. Compat: readers add no line feed.
    pub(super) fn finish(&mut self, stream: StreamName, at: SystemTime) -> io::Result<()> {
        let rest = std::mem::take(&mut self.unfinished[stream as usize]);
        if rest.is_empty() {
            return Ok(());
        }
        let mut out = Vec::new();
        entry(stream, b"P", &rest, &rfc3339_nanos(at), &mut out);
        self.file.write_all(&out)
    }
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
