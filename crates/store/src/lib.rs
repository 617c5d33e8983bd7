//! Keys, bytes, revisions and their history: what the cluster's state is kept in.
//!
//! A [`Store`] is a flat map from keys to bytes. Every commit that changes something takes the next [`Revision`] of one
//! counter, which never goes back and never repeats, not even after a crash. Watchers read the batches of changes in
//! that order from any revision that is not compacted yet.
//!
//! What the bytes mean is none of this crate's business.

mod commit;
pub mod embedded;
mod memory;
mod recent;
#[cfg(any(test, feature = "testing"))]
pub mod suite;
mod watch;

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;

pub use crate::commit::{Commit, CommitError, Durability, Expect, MAX_COMMIT_BYTES, MAX_OPS, Op};
pub use crate::embedded::Embedded;
pub use crate::memory::Memory;
pub use crate::watch::{Batch, Change, Watch, WatchError};

/// A point in the store's history. The first commit makes 1; 0 is before everything.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Revision(pub u64);

impl Revision {
    /// The one after this.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A key, for example `/registry/core/pods/default/web`.
pub type Key = Arc<str>;

/// A key with what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// Its bytes.
    pub value: Bytes,
    /// When the key came into being (again).
    pub create_revision: Revision,
    /// When it was last put.
    pub mod_revision: Revision,
}

/// All entries beneath a prefix at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The revision; a watch from here misses nothing.
    pub revision: Revision,
    /// The entries, by key.
    pub entries: Vec<Entry>,
}

/// The wall clock that a ttl is measured by. Wall time, since a ttl outlives the process.
pub type WallClock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// A read or a compaction that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// That revision is not reached yet.
    #[error("revision {0} is in the future")]
    Future(Revision),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// The engine beneath failed.
    #[error("{0}")]
    Backend(String),
}

/// A flat, ordered, revisioned map from keys to bytes.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// All live entries beneath `prefix` at the newest revision.
    async fn range(&self, prefix: &str) -> Result<Snapshot, StoreError>;

    /// Carries out all operations or none. Once this answers `Ok`, they survive a crash (see [`Durability`]) and
    /// watchers see them. A commit that changes nothing (only deletions of absent keys) takes no revision.
    ///
    /// Dropping the future does not take the commit back.
    async fn commit(&self, commit: Commit) -> Result<Revision, CommitError>;

    /// Every batch after `from`, in order, none missed. A slow watcher hurts nobody else.
    fn watch(&self, from: Revision) -> Result<Watch, WatchError>;

    /// Forgets the history before `before`: watches from an older revision fail with [`WatchError::Compacted`].
    /// Live entries stay.
    async fn compact(&self, before: Revision) -> Result<(), StoreError>;

    /// The newest revision that watchers can see.
    fn revision(&self) -> Revision;

    /// Finishes what was accepted, then refuses everything. Watches end with [`WatchError::Closed`].
    async fn close(&self);
}
