//! The one thread that writes.
//!
//! A turn: take what waits, check each commit against the index as the commits before it in the turn leave it, write all
//! in one transaction, sync, publish, acknowledge. If the transaction fails nothing of it happened, everybody in it is
//! told, and the store goes on.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use rusqlite::ErrorCode;
use rusqlite::ffi::SQLITE_IOERR_SHMSIZE;

use super::checkpoint::{self, Checkpointer, Need};
use super::index::{Index, Millis, RowId, Slot};
use super::queue::{PendingCommit, PendingCompaction};
use super::table::{Sync, Table};
use super::{Held, Shared};
use crate::{Batch, Change, Commit, CommitError, Durability, Entry, Key, Op, Revision, StoreError, WallClock};

/// Revisions are reserved on disk in blocks of so many.
const BLOCK: u64 = 1024;

/// Rows of history deleted, and pages given back, between two groups of commits.
const SLICE: usize = 500;

/// After a failure expired keys wait so long, in milliseconds, for another attempt.
const EXPIRY_PAUSE: Millis = 10_000;

type CommitResult = Result<Revision, CommitError>;

/// The thread's state.
pub(super) struct Committer {
    pub(super) shared: Arc<Shared>,
    pub(super) table: Table,
    pub(super) index: Index,
    /// The last revision given.
    pub(super) revision: Revision,
    /// No revision above this is given before the disk says so.
    pub(super) ceiling: Revision,
    pub(super) clock: WallClock,
    pub(super) checkpointer: Checkpointer,
    pub(super) compactions: Vec<PendingCompaction>,
    /// Nothing expires before this: the last attempt failed.
    pub(super) expiry_paused_until: Millis,
    /// Pages that the log kept when readers were in the way of emptying it.
    pub(super) log_kept: i32,
    /// Held while the store is open.
    pub(super) lock: Held,
}

impl Committer {
    pub(super) fn run(mut self) {
        let closing = CloseOnDrop(Arc::clone(&self.shared));
        loop {
            let turn = self.shared.queue.take(self.patience());
            self.compactions.extend(turn.compactions);
            self.commit_group(turn.commits);
            self.compact_slice();
            self.mind_the_log();
            if turn.last {
                break;
            }
        }
        self.shut();
        drop(closing);
    }

    /// How long there is nothing to do of our own accord.
    fn patience(&self) -> Option<Duration> {
        if !self.compactions.is_empty() {
            return Some(Duration::ZERO);
        }
        let due = self.index.next_due()?.max(self.expiry_paused_until);
        Some(Duration::from_millis(due.saturating_sub(self.now())))
    }

    fn now(&self) -> Millis {
        let since = (self.clock)().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(Millis::MAX)
    }

    /// Commits what waits, after what has expired.
    fn commit_group(&mut self, group: Vec<PendingCommit>) {
        let now = self.now();
        let expired = if now < self.expiry_paused_until { Vec::new() } else { self.index.expired(now) };
        if group.is_empty() && expired.is_empty() {
            return;
        }
        let mut commits = Vec::with_capacity(group.len());
        let mut replies = Vec::with_capacity(group.len());
        for PendingCommit { commit, reply, room } in group {
            commits.push(commit);
            replies.push((reply, room));
        }
        let before = self.revision;
        match self.write(expired, commits) {
            Ok((batches, results)) => {
                self.index.keep();
                self.shared.recent.publish(batches);
                // Who waits may have gone away; the commit stands.
                for ((reply, _room), result) in replies.into_iter().zip(results) {
                    let _ = reply.send(result);
                }
            }
            Err(error) => {
                self.table.roll_back();
                self.index.take_back();
                self.revision = before;
                self.expiry_paused_until = now.saturating_add(EXPIRY_PAUSE);
                let error = commit_error(&error);
                tracing::warn!(%error, commits = replies.len(), "committing to the store");
                self.empty_log();
                for (reply, _room) in replies {
                    let _ = reply.send(Err(error.clone()));
                }
            }
        }
    }

    /// Writes one transaction. An error means that none of it happened, once it is taken back.
    fn write(&mut self, expired: Vec<Key>, commits: Vec<Commit>) -> rusqlite::Result<(Vec<Batch>, Vec<CommitResult>)> {
        let reach = Revision(self.revision.0 + commits.len() as u64 + 1);
        let reserve = (reach > self.ceiling).then_some(Revision(reach.0 + BLOCK));
        let durable = commits.iter().any(|commit| commit.durability == Durability::Durable);
        self.table.begin(if durable || reserve.is_some() { Sync::Full } else { Sync::Later })?;
        if let Some(reserve) = reserve {
            self.table.set_ceiling(reserve)?;
        }
        let mut batches = Vec::with_capacity(commits.len() + 1);
        batches.extend(self.apply(expired.into_iter().map(|key| Op::Delete { key }))?);
        let mut results = Vec::with_capacity(commits.len());
        for commit in commits {
            if let Some(conflict) = self.conflict(&commit)? {
                results.push(Err(conflict));
                continue;
            }
            batches.extend(self.apply(commit.ops)?);
            results.push(Ok(self.revision));
        }
        self.table.commit()?;
        self.ceiling = reserve.unwrap_or(self.ceiling);
        Ok((batches, results))
    }

    fn conflict(&self, commit: &Commit) -> rusqlite::Result<Option<CommitError>> {
        for (key, expect) in &commit.expects {
            let slot = self.index.get(key);
            if !expect.holds(slot.map(|slot| slot.row.revision())) {
                let current = slot.map(|slot| self.table.entry(key, *slot)).transpose()?;
                return Ok(Some(CommitError::Conflict { key: key.clone(), current }));
            }
        }
        Ok(None)
    }

    /// Carries out operations at the next revision, which is taken only if they change something.
    fn apply(&mut self, ops: impl IntoIterator<Item = Op>) -> rusqlite::Result<Option<Batch>> {
        let revision = self.revision.next();
        let mut changes = Vec::new();
        for (place, op) in ops.into_iter().enumerate() {
            changes.extend(self.apply_one(op, RowId::new(revision, place))?);
        }
        if changes.is_empty() {
            return Ok(None);
        }
        self.revision = revision;
        Ok(Some(Batch { revision, changes }))
    }

    fn apply_one(&mut self, op: Op, row: RowId) -> rusqlite::Result<Option<Change>> {
        match op {
            Op::Put { key, value, ttl } => {
                let created = self.index.get(&key).map_or(row.revision(), |slot| slot.created);
                let expires = ttl.map(|ttl| self.now().saturating_add(ttl.as_millis() as Millis));
                let slot = Slot { row, created, expires };
                self.table.insert(&key, slot, &value)?;
                self.index.put(key.clone(), slot);
                let entry = Entry { key, value, create_revision: created, mod_revision: row.revision() };
                Ok(Some(Change::Put(entry)))
            }
            Op::Delete { key } => {
                let Some(slot) = self.index.get(&key) else { return Ok(None) };
                let previous = self.table.entry(&key, *slot)?;
                self.table.insert_tombstone(&key, row)?;
                self.index.delete(key.clone(), row);
                Ok(Some(Change::Delete { key, previous: Some(previous) }))
            }
        }
    }

    /// A bounded part of the compactions that were asked for, so that commits don't wait long.
    fn compact_slice(&mut self) {
        let Some(before) = self.compactions.iter().map(|compaction| compaction.before).max() else { return };
        let rows = self.index.history(before, SLICE);
        let answer = match self.delete_history(before, &rows) {
            Ok(()) => {
                self.index.forget(&rows);
                self.shared.forget(before);
                if rows.len() == SLICE {
                    return;
                }
                Ok(())
            }
            Err(error) => {
                self.table.roll_back();
                self.empty_log();
                Err(StoreError::Backend(error.to_string()))
            }
        };
        for compaction in self.compactions.drain(..) {
            let _ = compaction.reply.send(answer.clone());
        }
    }

    fn delete_history(&mut self, before: Revision, rows: &[RowId]) -> rusqlite::Result<()> {
        self.table.begin(Sync::Later)?;
        if before > self.shared.compacted() {
            self.table.set_compacted(before)?;
        }
        self.table.delete_rows(rows)?;
        self.table.commit()?;
        self.table.shrink(SLICE)
    }

    fn mind_the_log(&mut self) {
        match checkpoint::need(self.table.wal_pages() - self.log_kept) {
            Need::Nothing => {}
            Need::Copy => self.checkpointer.ask(),
            Need::Empty => self.empty_log(),
        }
    }

    /// Frees the log's disk space where nobody reads it.
    fn empty_log(&mut self) {
        match self.table.empty_log() {
            Ok(true) => self.log_kept = 0,
            Ok(false) => self.log_kept = self.table.wal_pages(),
            Err(error) => tracing::warn!(%error, "emptying the store's log"),
        }
    }

    /// The counter goes on without a gap after an orderly end.
    fn shut(mut self) {
        let exact = self.table.begin(Sync::Full).and_then(|()| {
            self.table.set_ceiling(self.revision)?;
            self.table.commit()
        });
        if let Err(error) = exact {
            self.table.roll_back();
            tracing::warn!(%error, "closing the store");
        }
        self.empty_log();
        drop(self.checkpointer);
        drop(self.table);
        drop(self.lock);
    }
}

/// However the thread ends, nobody waits for it any longer.
struct CloseOnDrop(Arc<Shared>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.queue.abandon();
        self.0.recent.close();
    }
}

fn commit_error(error: &rusqlite::Error) -> CommitError {
    let text = error.to_string();
    match error.sqlite_error() {
        Some(code) if code.code == ErrorCode::DiskFull || code.extended_code == SQLITE_IOERR_SHMSIZE => {
            CommitError::Full(text)
        }
        _ => CommitError::Backend(text),
    }
}
