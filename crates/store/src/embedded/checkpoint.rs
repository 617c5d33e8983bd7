//! Copies the write-ahead log into the file while the committer goes on.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;

use super::table;

/// The log is copied from so many pages (of 4 KiB) on.
const BEGIN: i32 = 1000;

/// From so many on the committer itself waits for the copy, so that the disk stays bounded under any load.
const INSIST: i32 = 4000;

/// What the log's size asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    Nothing,
    /// A copy aside.
    Copy,
    /// A copy before anything else is written.
    Empty,
}

pub(super) fn need(wal_pages: i32) -> Need {
    match wal_pages {
        ..BEGIN => Need::Nothing,
        BEGIN..INSIST => Need::Copy,
        INSIST.. => Need::Empty,
    }
}

/// The thread that copies. It sleeps until asked, and ends when dropped.
pub(super) struct Checkpointer {
    ask: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    pub(super) fn start(file: PathBuf) -> std::io::Result<Self> {
        let (ask, asked) = sync_channel(1);
        let thread =
            std::thread::Builder::new().name("store-checkpoint".to_owned()).spawn(move || run(&file, &asked))?;
        Ok(Self { ask: Some(ask), thread: Some(thread) })
    }

    /// Asks for a copy; nothing happens where one is asked for already.
    pub(super) fn ask(&self) {
        if let Some(ask) = &self.ask {
            let _already_asked = ask.try_send(());
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.ask = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the store's checkpointer panicked");
        }
    }
}

fn run(file: &Path, asked: &Receiver<()>) {
    let mut connection = None;
    while asked.recv().is_ok() {
        if connection.is_none() {
            connection =
                Connection::open(file).map_err(|error| tracing::warn!(%error, "opening for a checkpoint")).ok();
        }
        let copied = connection.as_ref().map_or(Ok(true), |connection| table::checkpoint(connection, "PASSIVE"));
        if let Err(error) = copied {
            tracing::warn!(%error, "copying the store's log");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_bounded() {
        for (pages, expected) in [(0, Need::Nothing), (1000, Need::Copy), (3999, Need::Copy), (4000, Need::Empty)] {
            assert_eq!(need(pages), expected, "{pages}");
        }
    }
}
