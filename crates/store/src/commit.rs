//! A commit: what must hold, what changes, and why it may fail.

use std::time::Duration;

use bytes::Bytes;

use crate::{Entry, Key, Revision};

/// At most so many operations in a commit.
pub const MAX_OPS: usize = 100;

/// At most so many bytes of keys and values in a commit.
pub const MAX_COMMIT_BYTES: usize = 8 << 20;

/// What must hold of a key for a commit to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The key is absent.
    Absent,
    /// The key was last put at this revision.
    Revision(Revision),
}

impl Expect {
    /// Whether it holds of a key that was last put at `current`, or is absent.
    pub(crate) fn holds(self, current: Option<Revision>) -> bool {
        match self {
            Self::Absent => current.is_none(),
            Self::Revision(revision) => current == Some(revision),
        }
    }
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Sets a key.
    Put {
        /// The key.
        key: Key,
        /// What it holds from now on.
        value: Bytes,
        /// The key is deleted after this time unless put again.
        ttl: Option<Duration>,
    },
    /// Removes a key; no change where it is absent.
    Delete {
        /// The key.
        key: Key,
    },
}

impl Op {
    /// The key it changes.
    pub fn key(&self) -> &Key {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Put { key, value, .. } => key.len() + value.len(),
            Self::Delete { key } => key.len(),
        }
    }
}

/// What a commit's acknowledgement promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Durability {
    /// It survives the loss of power.
    #[default]
    Durable,
    /// It survives the end of the process, and the loss of power once any later commit is durable. Its revision is
    /// never given again. For what is renewed anyway, such as a node's Lease.
    Relaxed,
}

/// Operations that happen together, or not at all. A key may stand in one operation only.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// What must hold, also of keys that are not changed.
    pub expects: Vec<(Key, Expect)>,
    /// What to change.
    pub ops: Vec<Op>,
    /// What the acknowledgement promises.
    pub durability: Durability,
}

impl Commit {
    /// A durable put of `key` if `expect` holds of it.
    pub fn put(key: Key, value: Bytes, expect: Option<Expect>) -> Self {
        let expects = expect.map(|expect| (key.clone(), expect)).into_iter().collect();
        Self { expects, ops: vec![Op::Put { key, value, ttl: None }], durability: Durability::Durable }
    }

    /// A durable deletion of `key` if `expect` holds of it.
    pub fn delete(key: Key, expect: Option<Expect>) -> Self {
        let expects = expect.map(|expect| (key.clone(), expect)).into_iter().collect();
        Self { expects, ops: vec![Op::Delete { key }], durability: Durability::Durable }
    }

    /// The bytes of its keys and values.
    pub(crate) fn size(&self) -> usize {
        self.ops.iter().map(Op::size).sum()
    }

    /// Refuses what no backend takes.
    pub(crate) fn check_form(&self) -> Result<(), CommitError> {
        if self.ops.len() > MAX_OPS || self.size() > MAX_COMMIT_BYTES {
            return Err(CommitError::TooLarge);
        }
        for (index, op) in self.ops.iter().enumerate() {
            if self.ops[..index].iter().any(|earlier| earlier.key() == op.key()) {
                return Err(CommitError::Twice { key: op.key().clone() });
            }
        }
        Ok(())
    }
}

/// A commit that did not happen: none of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// An expectation does not hold.
    #[error("{key} is not as expected")]
    Conflict {
        /// Of this key.
        key: Key,
        /// What is there instead.
        current: Option<Entry>,
    },
    /// More than [`MAX_OPS`] operations or [`MAX_COMMIT_BYTES`].
    #[error("the commit is too large")]
    TooLarge,
    /// A key stands in two operations.
    #[error("{key} is changed twice in one commit")]
    Twice {
        /// The key.
        key: Key,
    },
    /// The disk is full; nothing was written.
    #[error("the disk is full: {0}")]
    Full(String),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// The engine beneath failed; nothing was written.
    #[error("{0}")]
    Backend(String),
}
