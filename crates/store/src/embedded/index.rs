//! Where each key's newest row is, what expires when, and which rows are history.
//!
//! The committer changes it while a transaction is open and takes the changes back if that fails.

use std::collections::{BTreeSet, HashMap};

use crate::{Key, MAX_OPS, Revision};

/// A row's number: the revision, and the place of the operation in its commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RowId(pub(super) i64);

/// A commit's operations fit in so many bits.
const PLACE_BITS: u32 = 7;
const _: () = assert!(MAX_OPS <= 1 << PLACE_BITS);

impl RowId {
    pub(super) fn new(revision: Revision, place: usize) -> Self {
        Self((revision.0 << PLACE_BITS | place as u64) as i64)
    }

    /// The last row that a revision may have.
    pub(super) fn last_of(revision: Revision) -> Self {
        Self::new(revision, (1 << PLACE_BITS) - 1)
    }

    pub(super) fn revision(self) -> Revision {
        Revision(self.0 as u64 >> PLACE_BITS)
    }
}

/// Milliseconds since 1970.
pub(super) type Millis = u64;

/// A live key's newest row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) row: RowId,
    pub(super) created: Revision,
    pub(super) expires: Option<Millis>,
}

struct Undo {
    key: Key,
    before: Option<Slot>,
    tombstone: Option<RowId>,
}

/// All live keys.
#[derive(Default)]
pub(super) struct Index {
    live: HashMap<Key, Slot>,
    due: BTreeSet<(Millis, Key)>,
    history: BTreeSet<RowId>,
    undo: Vec<Undo>,
}

impl Index {
    pub(super) fn get(&self, key: &str) -> Option<&Slot> {
        self.live.get(key)
    }

    /// Sets a key's newest row.
    pub(super) fn put(&mut self, key: Key, slot: Slot) {
        let before = self.set(&key, Some(slot));
        if let Some(before) = before {
            self.history.insert(before.row);
        }
        self.undo.push(Undo { key, before, tombstone: None });
    }

    /// Removes a key; `tombstone` is the row that says so, history from the beginning.
    pub(super) fn delete(&mut self, key: Key, tombstone: RowId) {
        let before = self.set(&key, None);
        self.history.insert(tombstone);
        if let Some(before) = before {
            self.history.insert(before.row);
        }
        self.undo.push(Undo { key, before, tombstone: Some(tombstone) });
    }

    fn set(&mut self, key: &Key, slot: Option<Slot>) -> Option<Slot> {
        let before = match slot {
            Some(slot) => self.live.insert(Key::clone(key), slot),
            None => self.live.remove(key),
        };
        if let Some(at) = before.and_then(|before| before.expires) {
            self.due.remove(&(at, Key::clone(key)));
        }
        if let Some(at) = slot.and_then(|slot| slot.expires) {
            self.due.insert((at, Key::clone(key)));
        }
        before
    }

    /// The transaction succeeded.
    pub(super) fn keep(&mut self) {
        self.undo.clear();
    }

    /// The transaction failed: everything since the last [`Self::keep`] never happened.
    pub(super) fn take_back(&mut self) {
        while let Some(Undo { key, before, tombstone }) = self.undo.pop() {
            self.set(&key, before);
            for row in before.map(|before| before.row).into_iter().chain(tombstone) {
                self.history.remove(&row);
            }
        }
    }

    /// When the next key expires.
    pub(super) fn next_due(&self) -> Option<Millis> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Keys that have expired, one commit's worth.
    pub(super) fn expired(&self, now: Millis) -> Vec<Key> {
        let due = self.due.iter().take_while(|(at, _)| *at <= now);
        due.take(MAX_OPS).map(|(_, key)| Key::clone(key)).collect()
    }

    /// History of `before` and earlier, the oldest first.
    pub(super) fn history(&self, before: Revision, limit: usize) -> Vec<RowId> {
        self.history.range(..=RowId::last_of(before)).take(limit).copied().collect()
    }

    /// These rows of history are no more.
    pub(super) fn forget(&mut self, rows: &[RowId]) {
        for row in rows {
            self.history.remove(row);
        }
    }

    /// Adds a row found on disk; rows of a key may come in any order, deletions have no `created`.
    pub(super) fn load(&mut self, key: Key, slot: Slot) {
        match self.live.get_mut(&key) {
            Some(newest) if newest.row > slot.row => {
                self.history.insert(slot.row);
            }
            Some(newest) => {
                self.history.insert(newest.row);
                *newest = slot;
            }
            None => {
                self.live.insert(key, slot);
            }
        }
    }

    /// After the last [`Self::load`].
    pub(super) fn loaded(&mut self) {
        let history = &mut self.history;
        self.live.retain(|_, slot| {
            let live = slot.created > Revision(0);
            if !live {
                history.insert(slot.row);
            }
            live
        });
        let expiring = self.live.iter().filter_map(|(key, slot)| Some((slot.expires?, Key::clone(key))));
        self.due.extend(expiring);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(revision: u64, expires: Option<Millis>) -> Slot {
        Slot { row: RowId::new(Revision(revision), 0), created: Revision(1), expires }
    }

    #[test]
    fn what_failed_is_taken_back() {
        let mut index = Index::default();
        index.put("a".into(), slot(1, Some(50)));
        index.put("b".into(), slot(2, None));
        index.keep();
        index.put("a".into(), slot(3, None));
        index.delete("b".into(), RowId::new(Revision(4), 0));
        index.put("c".into(), slot(5, Some(10)));
        index.put("c".into(), slot(6, Some(20)));
        index.take_back();
        assert_eq!(index.get("a"), Some(&slot(1, Some(50))));
        assert_eq!(index.get("b"), Some(&slot(2, None)));
        assert_eq!(index.get("c"), None);
        assert_eq!(index.next_due(), Some(50));
        assert_eq!(index.history(Revision(9), 9), []);
    }

    #[test]
    fn rows_load_in_any_order() {
        let row = |revision| RowId::new(Revision(revision), 0);
        let mut index = Index::default();
        index.load("a".into(), slot(3, None));
        index.load("a".into(), slot(1, Some(7)));
        index.load("b".into(), slot(2, None));
        index.load("b".into(), Slot { row: row(4), created: Revision(0), expires: None });
        index.loaded();
        assert_eq!(index.get("a"), Some(&slot(3, None)));
        assert_eq!(index.get("b"), None);
        assert_eq!(index.next_due(), None);
        assert_eq!(index.history(Revision(9), 9), [row(1), row(2), row(4)]);
        assert_eq!(index.history(Revision(3), 9), [row(1), row(2)]);
    }
}
