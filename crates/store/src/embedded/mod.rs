//! The embedded store: one SQLite file, one thread that commits.
//!
//! Every change is a row of one table, by revision; a row that a newer one of its key replaced is history and stays
//! until compaction. The committer takes all commits that wait, checks their expectations against the index in memory,
//! writes them in one transaction, syncs once, publishes, and acknowledges. Values are never kept in memory here beyond
//! the ring of recent batches.

mod checkpoint;
mod committer;
mod follower;
mod index;
mod queue;
mod table;
#[cfg(test)]
mod tests;

use std::fs::{DirBuilder, File, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use async_trait::async_trait;

use self::checkpoint::Checkpointer;
use self::committer::Committer;
use self::follower::Follower;
use self::queue::Queue;
use self::table::{Reader, Table};
use crate::recent::{After, Recent};
use crate::{Commit, CommitError, Revision, Snapshot, Store, StoreError, WallClock, Watch, WatchError};

/// A store that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Written by a newer version.
    #[error("the store in {path} has format {found}, this version knows formats up to {known}")]
    Newer {
        /// The store's folder.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest known one.
        known: i64,
    },
    /// Another process has it open.
    #[error("the store in {0} is in use by another process")]
    InUse(PathBuf),
    /// The folder or a file in it cannot be made or read.
    #[error("opening the store in {path}")]
    Io {
        /// The store's folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is damaged, or the disk full.
    #[error("opening the store in {path}")]
    Sqlite {
        /// The store's folder.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
}

/// The store in a folder of its own.
pub struct Embedded {
    shared: Arc<Shared>,
    committer: Mutex<Option<JoinHandle<()>>>,
}

/// What the committer shares with readers and watchers.
struct Shared {
    file: PathBuf,
    queue: Queue,
    recent: Recent,
    /// Watches from before this revision are refused.
    compacted: AtomicU64,
}

impl Embedded {
    /// Opens the store in `folder`, or makes it. It may be open only once at a time.
    pub fn open(folder: &Path, clock: WallClock) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io { path: folder.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(io)?;
        let private = |name: &str| {
            File::options().create(true).truncate(false).write(true).mode(0o600).open(folder.join(name)).map_err(io)
        };
        let lock = private("lock")?;
        let lock = match lock.try_lock() {
            Ok(()) => Held(lock),
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse(folder.to_owned())),
            Err(TryLockError::Error(source)) => return Err(io(source)),
        };
        // SQLite gives its other files the permissions of this one.
        drop(private("state.db")?);
        let file = folder.join("state.db");
        let sqlite = |source| OpenError::Sqlite { path: folder.to_owned(), source };
        let mut table = Table::open(&file).map_err(sqlite)?;
        let known = table::FORMAT;
        let found = table.migrate().map_err(sqlite)?;
        if found > known {
            return Err(OpenError::Newer { path: folder.to_owned(), found, known });
        }
        let marks = table.marks().map_err(sqlite)?;
        let index = table.load_index().map_err(sqlite)?;
        let shared = Arc::new(Shared {
            file,
            queue: Queue::default(),
            recent: Recent::new(marks.revision()),
            compacted: AtomicU64::new(marks.compacted.0),
        });
        let committer = Committer {
            shared: Arc::clone(&shared),
            checkpointer: Checkpointer::start(shared.file.clone()).map_err(io)?,
            table,
            index,
            revision: marks.revision(),
            ceiling: marks.ceiling,
            clock,
            compactions: Vec::new(),
            expiry_paused_until: 0,
            log_kept: 0,
            lock,
        };
        let thread = std::thread::Builder::new().name("store".to_owned()).spawn(|| committer.run()).map_err(io)?;
        Ok(Self { shared, committer: Mutex::new(Some(thread)) })
    }
}

/// The lock of a folder, which keeps others out. It is let go of by name: a process that is just being started has the file open
/// too, until it runs its own program.
struct Held(File);

impl Drop for Held {
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            tracing::error!(%error, "unlock the store's folder");
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.shared.queue.close();
        let thread = self.committer.lock().ok().and_then(|mut thread| thread.take());
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the store's committer panicked");
        }
    }
}

impl Shared {
    /// The history before this revision is gone.
    fn forget(&self, before: Revision) {
        self.compacted.fetch_max(before.0, Ordering::AcqRel);
        self.recent.forget(before);
    }

    fn compacted(&self) -> Revision {
        Revision(self.compacted.load(Ordering::Acquire))
    }

    /// Reads on a connection of its own, away from the async threads.
    async fn read<T, F>(self: &Arc<Self>, read: F) -> Result<T, String>
    where
        T: Send + 'static,
        F: FnOnce(&mut Reader) -> rusqlite::Result<T> + Send + 'static,
    {
        let file = self.file.clone();
        let task = tokio::task::spawn_blocking(move || read(&mut Reader::open(&file)?));
        match task.await {
            Ok(result) => result.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }
}

#[async_trait]
impl Store for Embedded {
    async fn range(&self, prefix: &str) -> Result<Snapshot, StoreError> {
        if self.shared.recent.is_closed() {
            return Err(StoreError::Closed);
        }
        let published = self.shared.recent.revision();
        let prefix = prefix.to_owned();
        let mut snapshot = self.shared.read(move |reader| reader.range(&prefix)).await.map_err(StoreError::Backend)?;
        snapshot.revision = snapshot.revision.max(published);
        // A read may see a commit that is not published yet.
        let mut progress = self.shared.recent.follow();
        let reached = progress.wait_for(|progress| progress.closed || progress.revision >= snapshot.revision).await;
        match reached {
            Ok(progress) if progress.revision >= snapshot.revision => Ok(snapshot),
            Ok(_) | Err(_) => Err(StoreError::Closed),
        }
    }

    async fn commit(&self, commit: Commit) -> Result<Revision, CommitError> {
        commit.check_form()?;
        self.shared.queue.commit(commit).await
    }

    fn watch(&self, from: Revision) -> Result<Watch, WatchError> {
        let recent = &self.shared.recent;
        if recent.is_closed() {
            return Err(WatchError::Closed);
        }
        if from > recent.revision() {
            return Err(WatchError::Future(recent.revision()));
        }
        let compacted = self.shared.compacted();
        if from < compacted && matches!(recent.after(from, 0), After::Older(_)) {
            return Err(WatchError::Compacted(compacted));
        }
        Ok(Follower::watch(Arc::clone(&self.shared), from))
    }

    async fn compact(&self, before: Revision) -> Result<(), StoreError> {
        if before > self.shared.recent.revision() {
            return Err(StoreError::Future(before));
        }
        self.shared.queue.compact(before).await
    }

    fn revision(&self) -> Revision {
        self.shared.recent.revision()
    }

    async fn close(&self) {
        self.shared.queue.close();
        let mut progress = self.shared.recent.follow();
        // Fails only when the sender is gone, which is closed as well.
        let _ = progress.wait_for(|progress| progress.closed).await;
    }
}
