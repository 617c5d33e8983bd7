//! A store in memory: for pure tests, and the plainest statement of what every backend does.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures::stream;

use crate::recent::{After, Recent};
use crate::{
    Batch, Change, Commit, CommitError, Entry, Key, MAX_OPS, Op, Revision, Snapshot, Store, StoreError, WallClock,
    Watch, WatchError,
};

/// A store that ends with the process. All its history stays until it is compacted.
#[derive(Clone)]
pub struct Memory(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    history: Recent,
    clock: WallClock,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<Key, Entry>,
    expiries: BTreeMap<Key, SystemTime>,
    due: BTreeSet<(SystemTime, Key)>,
}

impl Memory {
    /// An empty store.
    pub fn new(clock: WallClock) -> Self {
        let history = Recent::with_limit(Revision(0), (usize::MAX, usize::MAX));
        Self(Arc::new(Shared { state: Mutex::default(), history, clock }))
    }
}

#[async_trait]
impl Store for Memory {
    async fn range(&self, prefix: &str) -> Result<Snapshot, StoreError> {
        if self.0.history.is_closed() {
            return Err(StoreError::Closed);
        }
        let state = self.0.current();
        let beneath = state
            .entries
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix));
        let entries = beneath.map(|(_, entry)| entry.clone()).collect();
        Ok(Snapshot { revision: self.0.history.revision(), entries })
    }

    async fn commit(&self, commit: Commit) -> Result<Revision, CommitError> {
        commit.check_form()?;
        if self.0.history.is_closed() {
            return Err(CommitError::Closed);
        }
        let mut state = self.0.current();
        for (key, expect) in &commit.expects {
            let current = state.entries.get(key);
            if !expect.holds(current.map(|entry| entry.mod_revision)) {
                return Err(CommitError::Conflict { key: key.clone(), current: current.cloned() });
            }
        }
        self.0.apply(&mut state, commit.ops);
        Ok(self.0.history.revision())
    }

    fn watch(&self, from: Revision) -> Result<Watch, WatchError> {
        let history = &self.0.history;
        if history.is_closed() {
            return Err(WatchError::Closed);
        }
        if from > history.revision() {
            return Err(WatchError::Future(history.revision()));
        }
        if let After::Older(floor) = history.after(from, 0) {
            return Err(WatchError::Compacted(floor));
        }
        let follower = Follower { shared: Arc::clone(&self.0), cursor: from };
        Ok(Watch::new(stream::unfold(Some(follower), |follower| async move {
            let mut follower = follower?;
            let item = follower.next().await;
            let rest = item.is_ok().then_some(follower);
            Some((item, rest))
        })))
    }

    async fn compact(&self, before: Revision) -> Result<(), StoreError> {
        if self.0.history.is_closed() {
            return Err(StoreError::Closed);
        }
        if before > self.0.history.revision() {
            return Err(StoreError::Future(before));
        }
        self.0.history.forget(before);
        Ok(())
    }

    fn revision(&self) -> Revision {
        self.0.history.revision()
    }

    async fn close(&self) {
        self.0.history.close();
    }
}

impl Shared {
    /// The state without what has expired.
    fn current(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().expect("no holder of this lock can panic");
        let now = (self.clock)();
        loop {
            let expired = state.due.iter().take_while(|(at, _)| *at <= now).take(MAX_OPS);
            let ops: Vec<Op> = expired.map(|(_, key)| Op::Delete { key: key.clone() }).collect();
            if ops.is_empty() {
                return state;
            }
            self.apply(&mut state, ops);
        }
    }

    fn apply(&self, state: &mut State, ops: Vec<Op>) {
        let revision = self.history.revision().next();
        let now = (self.clock)();
        let changes: Vec<Change> = ops.into_iter().filter_map(|op| state.apply(op, revision, now)).collect();
        if !changes.is_empty() {
            self.history.publish([Batch { revision, changes }]);
        }
    }

    /// How long until the next key expires; `None` if none does.
    fn next_due(&self) -> Option<Duration> {
        let state = self.current();
        let (at, _) = state.due.first()?;
        Some(at.duration_since((self.clock)()).unwrap_or_default())
    }
}

impl State {
    fn apply(&mut self, op: Op, revision: Revision, now: SystemTime) -> Option<Change> {
        let key = op.key().clone();
        if let Some(at) = self.expiries.remove(&key) {
            self.due.remove(&(at, key.clone()));
        }
        match op {
            Op::Put { key, value, ttl } => {
                if let Some(ttl) = ttl {
                    self.expiries.insert(key.clone(), now + ttl);
                    self.due.insert((now + ttl, key.clone()));
                }
                let create_revision = self.entries.get(&key).map_or(revision, |entry| entry.create_revision);
                let entry = Entry { key: key.clone(), value, create_revision, mod_revision: revision };
                self.entries.insert(key, entry.clone());
                Some(Change::Put(entry))
            }
            Op::Delete { key } => {
                let previous = self.entries.remove(&key)?;
                Some(Change::Delete { key, previous: Some(previous) })
            }
        }
    }
}

/// One watcher: a cursor. While it waits it also minds the next expiry, so that no task has to.
struct Follower {
    shared: Arc<Shared>,
    cursor: Revision,
}

impl Follower {
    async fn next(&mut self) -> Result<Batch, WatchError> {
        let mut progress = self.shared.history.follow();
        loop {
            let due = self.shared.next_due();
            let closed = progress.borrow_and_update().closed;
            match self.shared.history.after(self.cursor, 1) {
                After::Older(floor) => return Err(WatchError::Compacted(floor)),
                After::Batches(batches) => {
                    if let Some(batch) = batches.first() {
                        self.cursor = batch.revision;
                        return Ok(Batch::clone(batch));
                    }
                }
            }
            if closed {
                return Err(WatchError::Closed);
            }
            let expiry = async {
                match due {
                    Some(due) => tokio::time::sleep(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = progress.changed() => changed.map_err(|_| WatchError::Closed)?,
                () = expiry => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite;

    struct Fixture;

    impl suite::Fixture for Fixture {
        fn open(&self, clock: WallClock) -> Arc<dyn Store> {
            Arc::new(Memory::new(clock))
        }

        fn persists(&self) -> bool {
            false
        }
    }

    #[tokio::test]
    async fn it_passes_the_suite() {
        suite::all(|| Fixture).await;
    }
}
