//! The newest batches, in memory, for watchers that keep up.
//!
//! One writer publishes, any number of readers follow with a cursor of their own: nothing is kept per watcher, so a slow
//! one costs nothing. Who falls behind the ring reads the backend's history until it catches up.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use crate::{Batch, Change, Revision};

/// How many batches the ring may hold.
const MAX_BATCHES: usize = 4096;

/// How many bytes of keys and values the ring may keep alive.
const MAX_BYTES: usize = 4 << 20;

/// What is known of history after a cursor.
pub(crate) enum After {
    /// The next batches; empty when there is nothing newer.
    Batches(Vec<Arc<Batch>>),
    /// The ring begins only after this revision: older history must be read elsewhere.
    Older(Revision),
}

/// How far the store has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    pub(crate) revision: Revision,
    pub(crate) closed: bool,
}

struct Ring {
    batches: VecDeque<Arc<Batch>>,
    bytes: usize,
    /// Every batch after this revision is in the ring.
    floor: Revision,
    limit: (usize, usize),
}

/// The newest batches and the revision they reach.
pub(crate) struct Recent {
    ring: Mutex<Ring>,
    progress: watch::Sender<Progress>,
}

impl Recent {
    /// Begins empty at `revision`.
    pub(crate) fn new(revision: Revision) -> Self {
        Self::with_limit(revision, (MAX_BATCHES, MAX_BYTES))
    }

    /// With other bounds of batches and bytes.
    pub(crate) fn with_limit(revision: Revision, limit: (usize, usize)) -> Self {
        let ring = Ring { batches: VecDeque::new(), bytes: 0, floor: revision, limit };
        let progress = watch::Sender::new(Progress { revision, closed: false });
        Self { ring: Mutex::new(ring), progress }
    }

    /// The newest published revision.
    pub(crate) fn revision(&self) -> Revision {
        self.progress.borrow().revision
    }

    /// Whether the store was closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.progress.borrow().closed
    }

    /// Follows the progress.
    pub(crate) fn follow(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Shows batches, in the order of their revisions, to all watchers.
    pub(crate) fn publish(&self, batches: impl IntoIterator<Item = Batch>) {
        let mut ring = self.ring.lock().expect("no holder of this lock can panic");
        let mut newest = None;
        for batch in batches {
            newest = Some(batch.revision);
            ring.push(batch);
        }
        drop(ring);
        if let Some(revision) = newest {
            self.progress.send_modify(|progress| progress.revision = revision);
        }
    }

    /// Ends all watches.
    pub(crate) fn close(&self) {
        self.progress.send_modify(|progress| progress.closed = true);
    }

    /// Lets go of everything up to `floor`.
    pub(crate) fn forget(&self, floor: Revision) {
        let mut ring = self.ring.lock().expect("no holder of this lock can panic");
        while ring.batches.front().is_some_and(|oldest| oldest.revision <= floor) {
            ring.pop();
        }
        ring.floor = ring.floor.max(floor);
    }

    /// At most `limit` batches after `cursor`.
    pub(crate) fn after(&self, cursor: Revision, limit: usize) -> After {
        let ring = self.ring.lock().expect("no holder of this lock can panic");
        if cursor < ring.floor {
            return After::Older(ring.floor);
        }
        let start = ring.batches.partition_point(|batch| batch.revision <= cursor);
        After::Batches(ring.batches.iter().skip(start).take(limit).cloned().collect())
    }
}

impl Ring {
    fn push(&mut self, batch: Batch) {
        self.bytes += size(&batch);
        self.batches.push_back(Arc::new(batch));
        let (max_batches, max_bytes) = self.limit;
        while self.batches.len() > max_batches || self.bytes > max_bytes {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some(oldest) = self.batches.pop_front() {
            self.bytes -= size(&oldest);
            self.floor = oldest.revision;
        }
    }
}

fn size(batch: &Batch) -> usize {
    batch.changes.iter().map(Change::size).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_is_bounded_and_says_where_it_begins() {
        let recent = Recent::with_limit(Revision(5), (2, 1 << 20));
        for revision in 6..=9 {
            recent.publish([Batch { revision: Revision(revision), changes: Vec::new() }]);
        }
        assert_eq!(recent.revision(), Revision(9));
        assert!(matches!(recent.after(Revision(5), 10), After::Older(Revision(7))));
        let After::Batches(batches) = recent.after(Revision(7), 10) else { panic!("7 is the floor") };
        assert_eq!(batches.iter().map(|batch| batch.revision.0).collect::<Vec<_>>(), [8, 9]);
        assert!(matches!(recent.after(Revision(9), 10), After::Batches(batches) if batches.is_empty()));
    }
}
