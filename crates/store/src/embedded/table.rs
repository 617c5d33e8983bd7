//! The SQL: one table of changes, one of marks.
//!
//! `change.created` is the revision in which the key came into being; 0 marks a deletion. The index over keys holds all
//! that is needed to load without reading values.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, Transaction, params};

use super::index::{Index, Millis, RowId, Slot};
use crate::{Batch, Change, Entry, Key, Revision, Snapshot};

/// The newest format: the number of [`MIGRATIONS`].
pub(super) const FORMAT: i64 = MIGRATIONS.len() as i64;

/// Each brings the format before it one further. None is ever changed once released.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE change (
        id      INTEGER PRIMARY KEY,
        key     TEXT NOT NULL,
        created INTEGER NOT NULL,
        expires INTEGER,
        value   BLOB
    );
    CREATE INDEX change_by_key ON change (key, created, expires);
    CREATE TABLE mark (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    INSERT INTO mark VALUES ('format_version', 1), ('ceiling', 0), ('compacted', 0);
"];

/// A history page ends after the batch that reaches either.
const PAGE_ROWS: usize = 512;
const PAGE_BYTES: usize = 4 << 20;

/// The store's own bookkeeping.
#[derive(Clone, Copy, Debug)]
pub(super) struct Marks {
    /// No revision above this was ever given.
    pub(super) ceiling: Revision,
    /// The history before this is gone.
    pub(super) compacted: Revision,
    /// The newest row's.
    newest: Revision,
}

impl Marks {
    /// Where the counter goes on. After a crash that is the ceiling: relaxed commits below it may be lost.
    pub(super) fn revision(self) -> Revision {
        self.ceiling.max(self.newest).max(self.compacted)
    }
}

/// Whether a transaction is synced before it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sync {
    Full,
    Later,
}

/// The committer's connection.
pub(super) struct Table {
    connection: Connection,
    sync: Sync,
    wal_pages: Arc<AtomicI32>,
}

impl Table {
    pub(super) fn open(file: &Path) -> rusqlite::Result<Self> {
        let mut connection = Connection::open(file)?;
        connection.busy_timeout(Duration::from_secs(1))?;
        connection.set_prepared_statement_cache_capacity(32);
        if connection.pragma_query_value(None, "page_count", |row| row.get::<_, i64>(0))? == 0 {
            // Only works before the first table, and writes even where it changes nothing.
            connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        }
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update_and_check(None, "journal_size_limit", 4 << 20, |_| Ok(()))?;
        let wal_pages = Arc::new(AtomicI32::new(0));
        let pages = Arc::clone(&wal_pages);
        // Takes the place of SQLite's own checkpoints, which would run inside a commit.
        connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, in_log| {
            pages.store(in_log, Ordering::Relaxed);
            Ok(())
        }))?;
        Ok(Self { connection, sync: Sync::Full, wal_pages })
    }

    /// Brings the file to the newest format and answers the format that it had then. A newer one is left alone.
    pub(super) fn migrate(&mut self) -> rusqlite::Result<i64> {
        let transaction = self.connection.transaction()?;
        let made: bool =
            transaction.query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'mark'", [], |row| row.get(0))?;
        let found = if made { mark(&transaction, "format_version")? } else { 0 };
        if found >= FORMAT {
            return Ok(found);
        }
        for migration in MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or_default()) {
            transaction.execute_batch(migration)?;
        }
        transaction.execute("UPDATE mark SET value = ? WHERE name = 'format_version'", [FORMAT])?;
        transaction.commit()?;
        Ok(FORMAT)
    }

    pub(super) fn marks(&self) -> rusqlite::Result<Marks> {
        let newest: Option<i64> = self.connection.query_row("SELECT max(id) FROM change", [], |row| row.get(0))?;
        Ok(Marks {
            ceiling: Revision(mark(&self.connection, "ceiling")? as u64),
            compacted: Revision(mark(&self.connection, "compacted")? as u64),
            newest: newest.map_or(Revision(0), |row| RowId(row).revision()),
        })
    }

    pub(super) fn load_index(&self) -> rusqlite::Result<Index> {
        let mut index = Index::default();
        let mut statement = self.connection.prepare("SELECT key, id, created, expires FROM change ORDER BY key")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let slot = Slot {
                row: RowId(row.get(1)?),
                created: Revision(row.get::<_, i64>(2)? as u64),
                expires: row.get::<_, Option<i64>>(3)?.map(|at| at as Millis),
            };
            index.load(text(row, 0)?, slot);
        }
        index.loaded();
        Ok(index)
    }

    pub(super) fn begin(&mut self, sync: Sync) -> rusqlite::Result<()> {
        if self.sync != sync {
            let level = match sync {
                Sync::Full => "FULL",
                // In WAL mode this syncs at checkpoints only; the next full commit syncs what came before it.
                Sync::Later => "NORMAL",
            };
            self.connection.pragma_update(None, "synchronous", level)?;
            self.sync = sync;
        }
        self.connection.execute_batch("BEGIN IMMEDIATE")
    }

    pub(super) fn commit(&mut self) -> rusqlite::Result<()> {
        self.connection.execute_batch("COMMIT")
    }

    /// After any failure since [`Self::begin`].
    pub(super) fn roll_back(&mut self) {
        if self.connection.is_autocommit() {
            return;
        }
        if let Err(error) = self.connection.execute_batch("ROLLBACK") {
            tracing::error!(%error, "rolling back a failed commit");
        }
    }

    pub(super) fn insert(&self, key: &str, slot: Slot, value: &[u8]) -> rusqlite::Result<()> {
        let mut statement = self.connection.prepare_cached("INSERT INTO change VALUES (?, ?, ?, ?, ?)")?;
        let expires = slot.expires.map(|at| at as i64);
        statement.execute(params![slot.row.0, key, slot.created.0 as i64, expires, value])?;
        Ok(())
    }

    pub(super) fn insert_tombstone(&self, key: &str, row: RowId) -> rusqlite::Result<()> {
        let mut statement = self.connection.prepare_cached("INSERT INTO change VALUES (?, ?, 0, NULL, NULL)")?;
        statement.execute(params![row.0, key])?;
        Ok(())
    }

    pub(super) fn entry(&self, key: &Key, slot: Slot) -> rusqlite::Result<Entry> {
        let mut statement = self.connection.prepare_cached("SELECT value FROM change WHERE id = ?")?;
        let value = Bytes::from(statement.query_row([slot.row.0], |row| row.get::<_, Vec<u8>>(0))?);
        let mod_revision = slot.row.revision();
        Ok(Entry { key: Key::clone(key), value, create_revision: slot.created, mod_revision })
    }

    pub(super) fn delete_rows(&self, rows: &[RowId]) -> rusqlite::Result<()> {
        let mut statement = self.connection.prepare_cached("DELETE FROM change WHERE id = ?")?;
        for row in rows {
            statement.execute([row.0])?;
        }
        Ok(())
    }

    pub(super) fn set_ceiling(&self, revision: Revision) -> rusqlite::Result<()> {
        self.set_mark("ceiling", revision)
    }

    pub(super) fn set_compacted(&self, revision: Revision) -> rusqlite::Result<()> {
        self.set_mark("compacted", revision)
    }

    fn set_mark(&self, name: &str, revision: Revision) -> rusqlite::Result<()> {
        let mut statement = self.connection.prepare_cached("UPDATE mark SET value = ? WHERE name = ?")?;
        statement.execute(params![revision.0 as i64, name])?;
        Ok(())
    }

    /// Gives free pages back to the file system, a bounded number. A quarter of the file may stay free, for what comes.
    pub(super) fn shrink(&self, pages: usize) -> rusqlite::Result<()> {
        let pragma = |name: &str| self.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let (free, total) = (pragma("freelist_count")?, pragma("page_count")?);
        let surplus = free.saturating_sub((total / 4).max(256)).min(pages as i64);
        if surplus > 0 {
            let mut statement = self.connection.prepare(&format!("PRAGMA incremental_vacuum({surplus})"))?;
            let mut rows = statement.query([])?;
            while rows.next()?.is_some() {}
        }
        Ok(())
    }

    /// How many pages the write-ahead log holds.
    pub(super) fn wal_pages(&self) -> i32 {
        self.wal_pages.load(Ordering::Relaxed)
    }

    /// Copies the whole log into the file and empties it. Waits a while for those who read; `false` if they stay.
    pub(super) fn empty_log(&self) -> rusqlite::Result<bool> {
        let emptied = checkpoint(&self.connection, "TRUNCATE")?;
        if emptied {
            self.wal_pages.store(0, Ordering::Relaxed);
        }
        Ok(emptied)
    }
}

/// Copies the log into the file; `false` if something was in the way.
pub(super) fn checkpoint(connection: &Connection, how: &str) -> rusqlite::Result<bool> {
    connection.query_row(&format!("PRAGMA wal_checkpoint({how})"), [], |row| Ok(row.get::<_, i64>(0)? == 0))
}

/// A page of history.
pub(super) enum History {
    /// Batches in order; empty when nothing is between the revisions.
    Batches(Vec<Batch>),
    /// It begins only here.
    Compacted(Revision),
}

/// A connection that reads, for one question.
pub(super) struct Reader(Connection);

impl Reader {
    pub(super) fn open(file: &Path) -> rusqlite::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(file, flags)?;
        connection.busy_timeout(Duration::from_secs(10))?;
        Ok(Self(connection))
    }

    /// Live entries beneath `prefix`, at the revision of the newest row.
    pub(super) fn range(&mut self, prefix: &str) -> rusqlite::Result<Snapshot> {
        let transaction = self.0.transaction()?;
        let newest: Option<i64> = transaction.query_row("SELECT max(id) FROM change", [], |row| row.get(0))?;
        let revision = newest.map_or(Revision(0), |row| RowId(row).revision());
        let mut statement = transaction.prepare(
            "SELECT id, key, created, value FROM change WHERE created > 0 AND id IN (
                 SELECT max(id) FROM change WHERE key >= ?1 AND key < ?2 GROUP BY key)",
        )?;
        // No key goes on with the last of all characters.
        let end = format!("{prefix}{}", char::MAX);
        let entries = statement.query_map([prefix, &end], entry)?;
        let mut entries = entries.collect::<rusqlite::Result<Vec<Entry>>>()?;
        entries.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(Snapshot { revision, entries })
    }

    /// Batches after `from`, up to `to`.
    pub(super) fn history(&mut self, from: Revision, to: Revision) -> rusqlite::Result<History> {
        let transaction = self.0.transaction()?;
        let compacted = Revision(mark(&transaction, "compacted")? as u64);
        if from < compacted {
            return Ok(History::Compacted(compacted));
        }
        let mut statement =
            transaction.prepare("SELECT id, key, created, value FROM change WHERE id > ?1 AND id <= ?2 ORDER BY id")?;
        let mut rows = statement.query([RowId::last_of(from).0, RowId::last_of(to).0])?;
        let (mut batches, mut count, mut bytes) = (Vec::<Batch>::new(), 0, 0);
        while let Some(row) = rows.next()? {
            let revision = RowId(row.get(0)?).revision();
            if batches.last().is_none_or(|batch| batch.revision != revision) {
                if count >= PAGE_ROWS || bytes >= PAGE_BYTES {
                    break;
                }
                batches.push(Batch { revision, changes: Vec::new() });
            }
            let change = change(&transaction, row)?;
            count += 1;
            bytes += change.size();
            if let Some(batch) = batches.last_mut() {
                batch.changes.push(change);
            }
        }
        Ok(History::Batches(batches))
    }
}

fn change(transaction: &Transaction<'_>, row: &Row<'_>) -> rusqlite::Result<Change> {
    if row.get::<_, i64>(2)? > 0 {
        return Ok(Change::Put(entry(row)?));
    }
    let key = text(row, 1)?;
    let mut statement = transaction.prepare_cached(
        "SELECT id, key, created, value FROM change WHERE key = ? AND id < ? ORDER BY id DESC LIMIT 1",
    )?;
    let before = statement.query_row(params![&*key, row.get::<_, i64>(0)?], |before| {
        Ok(if before.get::<_, i64>(2)? > 0 { Some(entry(before)?) } else { None })
    });
    Ok(Change::Delete { key, previous: before.optional()?.flatten() })
}

/// Columns: id, key, created, value.
fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        key: text(row, 1)?,
        value: Bytes::copy_from_slice(row.get_ref(3)?.as_blob()?),
        create_revision: Revision(row.get::<_, i64>(2)? as u64),
        mod_revision: RowId(row.get(0)?).revision(),
    })
}

fn text(row: &Row<'_>, column: usize) -> rusqlite::Result<Key> {
    Ok(Key::from(row.get_ref(column)?.as_str()?))
}

fn mark(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    connection.query_row("SELECT value FROM mark WHERE name = ?", [name], |row| row.get(0))
}
