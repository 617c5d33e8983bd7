//! What waits for the committer. Bounded: whoever finds it full waits asynchronously.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::{Commit, CommitError, Revision, StoreError};

/// So many commits may wait.
const ROOM: usize = 1024;

/// At most so many commits, and no more after so many bytes, share a transaction.
const MAX_GROUP: usize = 256;
const MAX_GROUP_BYTES: usize = 16 << 20;

/// A commit with the way back to whoever waits for it.
pub(super) struct PendingCommit {
    pub(super) commit: Commit,
    pub(super) reply: oneshot::Sender<Result<Revision, CommitError>>,
    /// Given back with the answer.
    pub(super) room: OwnedSemaphorePermit,
}

/// A compaction with the way back to whoever waits for it.
pub(super) struct PendingCompaction {
    pub(super) before: Revision,
    pub(super) reply: oneshot::Sender<Result<(), StoreError>>,
}

/// What the committer does in one turn.
#[derive(Default)]
pub(super) struct Turn {
    pub(super) commits: Vec<PendingCommit>,
    pub(super) compactions: Vec<PendingCompaction>,
    /// Nothing more will come.
    pub(super) last: bool,
}

pub(super) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    room: Arc<Semaphore>,
}

#[derive(Default)]
struct State {
    commits: VecDeque<PendingCommit>,
    compactions: Vec<PendingCompaction>,
    closed: bool,
}

impl Default for Queue {
    fn default() -> Self {
        Self { state: Mutex::default(), wake: Condvar::new(), room: Arc::new(Semaphore::new(ROOM)) }
    }
}

impl Queue {
    pub(super) async fn commit(&self, commit: Commit) -> Result<Revision, CommitError> {
        let room = Arc::clone(&self.room).acquire_owned().await.map_err(|_| CommitError::Closed)?;
        let (reply, answer) = oneshot::channel();
        let pending = PendingCommit { commit, reply, room };
        if !self.enqueue(|state| state.commits.push_back(pending)) {
            return Err(CommitError::Closed);
        }
        answer.await.unwrap_or(Err(CommitError::Closed))
    }

    pub(super) async fn compact(&self, before: Revision) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        let pending = PendingCompaction { before, reply };
        if !self.enqueue(|state| state.compactions.push(pending)) {
            return Err(StoreError::Closed);
        }
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Refuses what comes from now on; what waits is still done.
    pub(super) fn close(&self) {
        self.room.close();
        self.state.lock().expect("no holder of this lock can panic").closed = true;
        self.wake.notify_one();
    }

    /// Nobody will do what waits.
    pub(super) fn abandon(&self) {
        self.close();
        let mut state = self.state.lock().expect("no holder of this lock can panic");
        state.commits.clear();
        state.compactions.clear();
    }

    fn enqueue(&self, add: impl FnOnce(&mut State)) -> bool {
        let mut state = self.state.lock().expect("no holder of this lock can panic");
        if state.closed {
            return false;
        }
        add(&mut state);
        drop(state);
        self.wake.notify_one();
        true
    }

    /// What to do next. Waits for it at most `patience`; without one, until something comes.
    pub(super) fn take(&self, patience: Option<Duration>) -> Turn {
        let mut state = self.state.lock().expect("no holder of this lock can panic");
        while state.is_empty() {
            let poisoned = "no holder of this lock can panic";
            match patience {
                None => state = self.wake.wait(state).expect(poisoned),
                Some(patience) => {
                    state = self.wake.wait_timeout(state, patience).expect(poisoned).0;
                    break;
                }
            }
        }
        let commits = state.next_group();
        let compactions = std::mem::take(&mut state.compactions);
        Turn { commits, compactions, last: state.closed && state.commits.is_empty() }
    }
}

impl State {
    fn next_group(&mut self) -> Vec<PendingCommit> {
        let (mut group, mut bytes) = (Vec::new(), 0);
        while group.len() < MAX_GROUP && bytes < MAX_GROUP_BYTES {
            let Some(pending) = self.commits.pop_front() else { break };
            bytes += pending.commit.size();
            group.push(pending);
        }
        group
    }

    fn is_empty(&self) -> bool {
        self.commits.is_empty() && self.compactions.is_empty() && !self.closed
    }
}
