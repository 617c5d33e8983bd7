//! Reading containers' logs as `kubectl logs` wants them.
//!
//! The shim writes CRI format, a line each: time, stream, `F` or `P` (the line goes on), text. Following a log waits for
//! the kernel to tell of changes; it ends when the container has ended and everything is read.

mod line;
mod tail;

use std::fs::File;
use std::future::Future;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use inotify::{Inotify, WatchMask};
use meta::parse_time;
use tokio::sync::mpsc;

pub use line::{Line, StreamFilter};

/// Which part of a log, and in what form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Go on while the container runs.
    pub follow: bool,
    /// Only so many of the last lines.
    pub tail: Option<u64>,
    /// Only lines that aren't older: RFC 3339.
    pub since: Option<String>,
    /// At most so many bytes.
    pub limit_bytes: Option<u64>,
    /// Each line begins with its time.
    pub timestamps: bool,
    /// Only one of the two streams.
    pub stream: StreamFilter,
}

/// The log behind `path` as a stream of lines. `ended` resolves when nothing more will be written.
///
/// A log that doesn't exist yet is empty; while following, it is waited for.
pub fn read(
    path: PathBuf,
    options: LogOptions,
    ended: impl Future<Output = ()> + Send + 'static,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let (sender, receiver) = mpsc::channel(64);
    let reader = Reader { options, sender };
    // The reader ends with the log, or with the first line that nobody takes.
    let task = tokio::spawn(reader.run(path, ended));
    let guard = AbortOnDrop(task);
    futures::stream::unfold((receiver, guard), |(mut receiver, guard)| async move {
        receiver.recv().await.map(|item| (item, (receiver, guard)))
    })
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Reader {
    options: LogOptions,
    sender: mpsc::Sender<io::Result<Bytes>>,
}

/// Whether there is more to say.
#[derive(PartialEq, Eq)]
enum Flow {
    Open,
    Closed,
}

impl Reader {
    async fn run(mut self, path: PathBuf, ended: impl Future<Output = ()> + Send) {
        if let Err(error) = self.copy(&path, ended).await {
            // A client that went away needs no error.
            let _ = self.sender.send(Err(error)).await;
        }
    }

    async fn copy(&mut self, path: &Path, ended: impl Future<Output = ()> + Send) -> io::Result<()> {
        let mut changes = if self.options.follow { Some(watch(path)?) } else { None };
        let mut file = open(path)?;
        if let (Some(file), Some(lines)) = (&mut file, self.options.tail) {
            let start = tail::offset(file.get_ref(), lines)?;
            file.seek(SeekFrom::Start(start))?;
        }
        tokio::pin!(ended);
        let mut last_round = false;
        loop {
            if self.drain(&mut file).await? == Flow::Closed {
                return Ok(());
            }
            if replaced(path, file.as_ref())? {
                // Nothing is written any more to what was put aside, but it may have been since we looked.
                if self.drain(&mut file).await? == Flow::Closed {
                    return Ok(());
                }
                file = open(path)?;
                continue;
            }
            let Some(changes) = changes.as_mut().filter(|_| !last_round) else { return Ok(()) };
            tokio::select! {
                change = changes.next() => { change.transpose()?; }
                () = &mut ended => last_round = true,
                () = self.sender.closed() => return Ok(()),
            }
        }
    }

    /// Sends every whole line that is there.
    async fn drain(&mut self, file: &mut Option<BufReader<File>>) -> io::Result<Flow> {
        let Some(file) = file else { return Ok(Flow::Open) };
        loop {
            let mut text = Vec::new();
            let length = file.read_until(b'\n', &mut text)?;
            if text.last() != Some(&b'\n') {
                // The shim is in the middle of writing this line: read it again when it is whole.
                file.seek_relative(-i64::try_from(length).map_err(io::Error::other)?)?;
                return Ok(Flow::Open);
            }
            let Some(line) = Line::parse(&text) else { continue };
            if !self.wanted(&line) {
                continue;
            }
            let mut bytes = line.render(self.options.timestamps);
            if let Some(limit) = &mut self.options.limit_bytes {
                bytes.truncate(usize::try_from(*limit).unwrap_or(usize::MAX));
                *limit -= bytes.len() as u64;
            }
            let sent = bytes.is_empty() || self.sender.send(Ok(bytes.into())).await.is_ok();
            if !sent || self.options.limit_bytes == Some(0) {
                return Ok(Flow::Closed);
            }
        }
    }

    fn wanted(&self, line: &Line<'_>) -> bool {
        let young = match (&self.options.since, parse_time(line.time)) {
            (Some(since), Some(time)) => parse_time(since).is_none_or(|since| time >= since),
            _ => true,
        };
        young && self.options.stream.shows(line.stream)
    }
}

/// Removes the log of an instance, with what was put aside of it.
pub(crate) fn remove(path: &Path) {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else { return };
    let aside = format!("{name}.");
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let own = entry.file_name().to_str().is_some_and(|other| other == name || other.starts_with(&aside));
        if own && let Err(error) = std::fs::remove_file(entry.path()) {
            tracing::debug!(log = %entry.path().display(), %error, "remove an old log");
        }
    }
}

fn open(path: &Path) -> io::Result<Option<BufReader<File>>> {
    match File::open(path) {
        Ok(file) => Ok(Some(BufReader::new(file))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether another file stands at the path than the one that is open: the log was rotated, or made just now.
fn replaced(path: &Path, file: Option<&BufReader<File>>) -> io::Result<bool> {
    let now = match path.metadata() {
        Ok(now) => now,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let Some(file) = file else { return Ok(true) };
    let open = file.get_ref().metadata()?;
    Ok((now.dev(), now.ino()) != (open.dev(), open.ino()))
}

fn watch(path: &Path) -> io::Result<inotify::EventStream<[u8; 1024]>> {
    let inotify = Inotify::init()?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    inotify.watches().add(folder, WatchMask::CREATE | WatchMask::MODIFY | WatchMask::MOVED_TO)?;
    inotify.into_event_stream([0; 1024])
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const LOG: &str = "2026-01-01T00:00:01.5Z stdout F one\n2026-01-01T00:00:02Z stderr F two\n\
                       2026-01-01T00:00:03Z stdout P thr\n2026-01-01T00:00:03Z stdout F ee\n";

    async fn collect(path: PathBuf, options: LogOptions) -> String {
        let stream = read(path, options, std::future::pending());
        let parts: Vec<Bytes> = stream.map(|part| part.expect("a line")).collect().await;
        String::from_utf8(parts.concat()).expect("text")
    }

    #[tokio::test]
    async fn logs_are_cut_as_asked() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("0.log");
        std::fs::write(&path, LOG).expect("write");
        let all = LogOptions::default;
        for (options, expected) in [
            (all(), "one\ntwo\nthree\n"),
            (LogOptions { tail: Some(3), ..all() }, "two\nthree\n"),
            (LogOptions { tail: Some(0), ..all() }, ""),
            (LogOptions { limit_bytes: Some(5), ..all() }, "one\nt"),
            (LogOptions { since: Some("2026-01-01T00:00:02Z".into()), ..all() }, "two\nthree\n"),
            (LogOptions { stream: StreamFilter::Stderr, ..all() }, "two\n"),
            (LogOptions { stream: StreamFilter::Stderr, timestamps: true, ..all() }, "2026-01-01T00:00:02Z two\n"),
        ] {
            assert_eq!(collect(path.clone(), options.clone()).await, expected, "{options:?}");
        }
        assert_eq!(collect(folder.path().join("none.log"), all()).await, "");
    }

    #[tokio::test]
    async fn a_followed_log_goes_on_across_rotation_and_ends() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("0.log");
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let ended = async move { ended.await.unwrap_or(()) };
        let mut lines = Box::pin(read(path.clone(), LogOptions { follow: true, ..LogOptions::default() }, ended));
        let mut file = File::create(&path).expect("create");
        file.write_all(b"2026-01-01T00:00:01Z stdout F one\n2026-01-01T00:00:01Z st").expect("write");
        assert_eq!(lines.next().await.expect("a line").expect("a line"), "one\n");
        file.write_all(b"dout F two\n").expect("write");
        assert_eq!(lines.next().await.expect("a line").expect("a line"), "two\n");
        std::fs::rename(&path, folder.path().join("0.log.old")).expect("rename");
        std::fs::write(&path, "2026-01-01T00:00:02Z stdout F three\n").expect("write");
        assert_eq!(lines.next().await.expect("a line").expect("a line"), "three\n");
        end.send(()).expect("the reader waits");
        assert!(lines.next().await.is_none());
    }
}
