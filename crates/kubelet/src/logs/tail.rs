//! Where the last lines of a file begin.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const BLOCK: u64 = 64 * 1024;

/// The offset of the last `lines` lines. A last line that isn't whole yet counts for nothing.
pub(super) fn offset(file: &File, lines: u64) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut seen = 0;
    let mut block = vec![0; BLOCK as usize];
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        let part = &mut block[..(end - start) as usize];
        file.read_exact_at(part, start)?;
        for (index, _) in part.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            // The newline that ends the line before the ones wanted.
            if seen == lines {
                return Ok(start + index as u64 + 1);
            }
            seen += 1;
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        let long = "x".repeat(100_000);
        for (text, lines, expected) in [
            ("", 1, 0),
            ("a\nb\nc\n", 0, 6),
            ("a\nb\nc\n", 1, 4),
            ("a\nb\nc\n", 3, 0),
            ("a\nb\nc\n", 9, 0),
            ("a\nb\nhalf", 1, 2),
            (&format!("a\n{long}\nb\n"), 2, 2),
        ] {
            std::fs::write(&path, text).expect("write");
            let file = File::open(&path).expect("open");
            assert_eq!(offset(&file, lines).expect("read"), expected, "{lines} of {:?}", &text[..text.len().min(20)]);
        }
    }
}
