//! One line of a log in CRI format.

/// Which of a container's two streams are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StreamFilter {
    /// Both.
    #[default]
    All,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl StreamFilter {
    /// Whether a line of this stream is shown.
    pub fn shows(self, stream: &str) -> bool {
        match self {
            Self::All => true,
            Self::Stdout => stream == "stdout",
            Self::Stderr => stream == "stderr",
        }
    }
}

/// A line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// RFC 3339 with nanoseconds.
    pub time: &'a str,
    /// `stdout` or `stderr`.
    pub stream: &'a str,
    /// Whether the text ends here; else the next line of the stream goes on.
    pub complete: bool,
    /// What the container wrote.
    pub text: &'a [u8],
}

impl<'a> Line<'a> {
    /// Reads a line with its newline; `None` if it isn't in the format.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut parts = bytes.strip_suffix(b"\n")?.splitn(4, |byte| *byte == b' ');
        let mut word = || std::str::from_utf8(parts.next()?).ok();
        let (time, stream, tags) = (word()?, word()?, word()?);
        let complete = tags.split(':').next() == Some("F");
        Some(Self { time, stream, complete, text: parts.next().unwrap_or_default() })
    }

    /// The text as the container wrote it, perhaps behind its time.
    pub fn render(&self, timestamps: bool) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.time.len() + self.text.len() + 2);
        if timestamps {
            bytes.extend_from_slice(self.time.as_bytes());
            bytes.push(b' ');
        }
        bytes.extend_from_slice(self.text);
        if self.complete {
            bytes.push(b'\n');
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let check = |bytes: &[u8], expected: Option<&[u8]>| {
            assert_eq!(Line::parse(bytes).map(|line| line.render(false)).as_deref(), expected);
        };
        check(b"2026-01-01T00:00:01Z stdout F hello world\n", Some(b"hello world\n"));
        check(b"2026-01-01T00:00:01Z stdout P hello \n", Some(b"hello "));
        check(b"2026-01-01T00:00:01Z stdout F \n", Some(b"\n"));
        check(b"2026-01-01T00:00:01Z stdout F \xff\n", Some(b"\xff\n"));
        check(b"nonsense\n", None);
        check(b"2026-01-01T00:00:01Z stdout F cut", None);
    }
}
