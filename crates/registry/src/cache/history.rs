//! The recent changes of a resource: what watches begin from and what older lists are made of.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use meta::Object;
use store::Key;

use super::map::Map;

/// Upstream compacts what is older than this.
const MAX_AGE: Duration = Duration::from_secs(300);
/// However young they are, no more changes than this are kept.
const MAX_CHANGES: usize = 10_000;
/// And no more bytes of objects.
const MAX_BYTES: usize = 16 << 20;
/// However large or old, so many stay.
const MIN_CHANGES: usize = 100;

/// What happened to one object.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    /// When.
    pub(crate) revision: u64,
    /// To which.
    pub(crate) key: Key,
    /// As it was; `None` where it was not there.
    pub(crate) before: Option<Arc<Object>>,
    /// As it is; of a deleted one the last state at the revision of its deletion.
    pub(crate) now: Arc<Object>,
    /// Whether it is gone.
    pub(crate) deleted: bool,
}

/// The changes of one resource after some revision, in order.
#[derive(Debug)]
pub(crate) struct History {
    since: u64,
    changes: VecDeque<(Instant, Arc<Change>)>,
    bytes: usize,
}

impl History {
    /// An empty history that knows everything after `since`.
    pub(crate) fn new(since: u64) -> Self {
        Self { since, changes: VecDeque::new(), bytes: 0 }
    }

    /// Every change after this revision is known.
    pub(crate) fn since(&self) -> u64 {
        self.since
    }

    /// Adds the newest change.
    pub(crate) fn push(&mut self, change: Arc<Change>, now: Instant) {
        self.bytes += change.now.json().len();
        self.changes.push_back((now, change));
        while let Some((at, oldest)) = self.changes.front() {
            let old = now.saturating_duration_since(*at) > MAX_AGE;
            let full = self.changes.len() > MAX_CHANGES || self.bytes > MAX_BYTES;
            if self.changes.len() <= MIN_CHANGES || !(old || full) {
                break;
            }
            self.bytes -= oldest.now.json().len();
            self.since = oldest.revision;
            self.changes.pop_front();
        }
    }

    /// The changes after `revision`: about `limit` of them, but all that share the last one's revision; `None` when some
    /// are forgotten.
    pub(crate) fn after(&self, revision: u64, limit: usize) -> Option<Vec<Arc<Change>>> {
        if revision < self.since {
            return None;
        }
        let mut changes: Vec<Arc<Change>> = Vec::new();
        for change in self.newer(revision) {
            if changes.len() >= limit && changes.last().is_some_and(|last| last.revision != change.revision) {
                break;
            }
            changes.push(change.clone());
        }
        Some(changes)
    }

    /// What `map`, the newest state, was at `revision`; `None` when that is forgotten.
    pub(crate) fn rewind(&self, mut map: Map, revision: u64) -> Option<Map> {
        if revision < self.since {
            return None;
        }
        let newer: Vec<&Arc<Change>> = self.newer(revision).collect();
        for change in newer.into_iter().rev() {
            match &change.before {
                Some(before) => map.insert(change.key.clone(), before.clone()),
                None => map.remove(&change.key),
            };
        }
        Some(map)
    }

    fn newer(&self, revision: u64) -> impl Iterator<Item = &Arc<Change>> {
        let from = self.changes.partition_point(|(_, change)| change.revision <= revision);
        self.changes.range(from..).map(|(_, change)| change)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn change(revision: u64, before: Option<&Arc<Change>>, deleted: bool) -> Arc<Change> {
        let value = json!({"kind": "A", "apiVersion": "v1", "metadata": {"name": "a"}});
        let now = Arc::new(Object::stored(&meta::encode_object(&value), revision).expect("an object"));
        let before = before.map(|change| change.now.clone());
        Arc::new(Change { revision, key: "/a".into(), before, now, deleted })
    }

    #[test]
    fn old_states_are_found_by_going_back() {
        let (mut history, mut map, now) = (History::new(1), Map::default(), Instant::now());
        let made = change(2, None, false);
        let changed = change(4, Some(&made), false);
        let deleted = change(6, Some(&changed), true);
        for change in [&made, &changed, &deleted] {
            history.push(change.clone(), now);
        }
        map.insert("/b".into(), made.now.clone());
        let at = |revision| {
            let map = history.rewind(map.clone(), revision)?;
            Some(map.get("/a").map(|object| object.revision))
        };
        assert_eq!([at(0), at(1), at(3), at(5), at(6)], [None, Some(None), Some(Some(2)), Some(Some(4)), Some(None)]);
    }

    #[test]
    fn what_is_old_is_forgotten_but_never_all() {
        let (mut history, start) = (History::new(0), Instant::now());
        for revision in 1..=300 {
            history.push(change(revision, None, false), start);
        }
        assert_eq!(history.since(), 0);
        history.push(change(301, None, false), start + MAX_AGE * 2);
        assert_eq!(history.since(), 201);
        assert!(history.after(200, 9).is_none());
        assert_eq!(history.after(201, 9).map(|changes| changes.len()), Some(9));
    }
}
