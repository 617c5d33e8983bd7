//! What watchers see.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use futures::stream::BoxStream;

use crate::{Entry, Key, Revision};

/// What one commit changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The commit's revision.
    pub revision: Revision,
    /// Its changes, in the commit's order.
    pub changes: Vec<Change>,
}

/// One key's change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The key was set.
    Put(Entry),
    /// The key was removed, or its ttl ran out.
    Delete {
        /// The key.
        key: Key,
        /// What it held, where the history still knows.
        previous: Option<Entry>,
    },
}

impl Change {
    /// The key that changed.
    pub fn key(&self) -> &Key {
        match self {
            Self::Put(entry) => &entry.key,
            Self::Delete { key, .. } => key,
        }
    }

    /// The bytes it keeps alive.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Put(entry) => entry.key.len() + entry.value.len(),
            Self::Delete { key, previous } => key.len() + previous.as_ref().map_or(0, |entry| entry.value.len()),
        }
    }
}

/// A watch that cannot begin or go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// The history before this revision is gone.
    #[error("the history before revision {0} is compacted")]
    Compacted(Revision),
    /// That revision is not reached yet; the newest is this.
    #[error("the watch begins in the future, the newest revision is {0}")]
    Future(Revision),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// The engine beneath failed.
    #[error("{0}")]
    Backend(String),
}

/// An endless stream of batches. An error is its last item.
pub struct Watch(BoxStream<'static, Result<Batch, WatchError>>);

impl Watch {
    /// Wraps a backend's stream.
    pub fn new(stream: impl Stream<Item = Result<Batch, WatchError>> + Send + 'static) -> Self {
        Self(Box::pin(stream))
    }
}

impl Stream for Watch {
    type Item = Result<Batch, WatchError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(cx)
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}
