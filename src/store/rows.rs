//! The tracker's rows, and how far each store is known, in SQLite.
//!
//! **Invariant:** what [`RowStore::commit`] ends is there whole or not at all: rows, entries of the
//! indexes, the last update sequence, checkpoints and the version vector. An update sequence is
//! used under one store id only, since each start takes a new id.
//!
//! A commit writes one record into the journal, a table of the same database. Rows and entries wait
//! in a memtable, and go to their tables many at a time: written at each commit they were a tenth
//! as fast with 64 writers. A start moves what the journal holds.
//!
//! One thread owns the [`RowStore`]. Other threads read through a [`RowReader`] of their own, which
//! sees what is committed. A row's body is its wire encoding; what the entries mean is the
//! directory's business.
//!
//! Reading and writing rows and entries cannot fail for the caller: the first error is kept, from
//! then on nothing is read or written, and [`RowStore::check`] and [`RowStore::commit`] return it.
//!
//! The rows are kept in the order in which they came first, not by key: measured with 300,000 rows,
//! a table without row ids takes 1.7 times as long to fill and 4 times as long to read by sequence.

mod copy;
mod making;
mod memtable;
pub(super) mod meta;
mod peers;
mod reader;
mod table;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::{Connection, Statement, params};

pub use self::copy::restore;
pub use self::making::Entries;
use self::memtable::{Memtable, Taken};
use self::meta::{
    check_encoding, lineage_from_bytes, put_number, read_meta, read_number, start, succeed,
};
use self::peers::Peers;
pub(super) use self::peers::{PEERS_MAX, Peer, put_peer};
pub use self::reader::RowReader;
pub use self::table::Tables;
use super::database::{DatabaseKind, StoreError, open_database};
use crate::directory::{Entry, Rows, RowsMut, stored_key};
use crate::types::{Content, Lineage, Row, RowKey, StoreId, StoreState, Transaction};
use crate::wire::Wire;

/// Name of the database in a tracker's data directory.
pub(super) const FILE: &str = "directory.sqlite";
/// Its name in versions that kept a history instead of rows.
pub(super) const OLD_FILE: &str = "tracker.sqlite";
/// "PsDr": tells a tracker's rows from any other database.
pub(super) const KIND: DatabaseKind = DatabaseKind {
    name: "directory of a Posse tracker",
    application_id: 0x5073_4472,
    migrations: &[
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
         CREATE TABLE rows (
             id INTEGER PRIMARY KEY,
             key BLOB NOT NULL UNIQUE,
             sequence INTEGER NOT NULL,
             stamp_ms INTEGER NOT NULL,
             class INTEGER NOT NULL,
             body BLOB NOT NULL
         ) STRICT;
         CREATE INDEX rows_by_sequence ON rows (sequence);
         CREATE INDEX rows_by_age ON rows (class, stamp_ms) WHERE class > 0;
         CREATE TABLE peers (
             store BLOB PRIMARY KEY,
             checkpoint INTEGER NOT NULL,
             complete INTEGER NOT NULL,
             touched INTEGER NOT NULL
         ) STRICT, WITHOUT ROWID;",
        "CREATE TABLE entries (key BLOB PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;",
        "CREATE TABLE journal (id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;",
    ],
};

/// `class` of a row that is kept until it is written again.
const CLASS_KEPT: u8 = 0;
/// `class` of a row that says that something is not there.
const CLASS_TOMBSTONE: u8 = 1;
/// `class` of a request.
const CLASS_REQUEST: u8 = 2;

/// A transaction of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begun {
    Nothing,
    Reading,
    Writing,
}

/// A tracker's rows, open for writing.
#[derive(Debug)]
pub struct RowStore {
    tables: Tables,
    lineage: Lineage,
    sequence: u64,
    swept: u64,
    peers: Peers,
    /// The transaction that has begun: one for all reads until the next check, since each begin and
    /// end takes locks of the file.
    transaction: Cell<Begun>,
    /// Written, and not in the tables yet.
    memtable: Memtable,
    /// What is in the memtable is, as far as it is committed, in the journal.
    is_journaled: bool,
    /// The next commit moves what waits to the tables: a row has been deleted, or the caller wants
    /// it.
    is_flush_due: bool,
    /// Bytes of the journal's records.
    journal_len: usize,
    /// Set while something committed is not in the tables yet, where readers look.
    unflushed: Arc<AtomicBool>,
    /// Rows that were looked for lately, there or not: a change looks at some of them again and
    /// again.
    lately: RefCell<HashMap<RowKey, Option<Row>>>,
    /// The same of entries that are not in the memtable.
    lately_entries: RefCell<HashMap<Vec<u8>, Option<Vec<u8>>>>,
}

/// Memory for pages of the database, in KiB.
const CACHE_KIB: i64 = 64 << 10;
/// Rows, and entries, kept as they were read or written.
const LATELY_MAX: usize = 4096;
/// Rows and entries that may wait. The more wait, the fewer pages each change writes; but what moves
/// at once holds up everything else.
const MEMTABLE_MAX: usize = if cfg!(test) { 64 } else { 32_768 };
/// Bytes that may wait.
const JOURNAL_LEN_MAX: usize = 8 << 20;

impl RowStore {
    /// Opens the store in `directory`, or makes one, and takes the id `fresh` for this start.
    /// Before the first write, `begin` hears whether the rows were made from an older store that
    /// still has its name.
    ///
    /// # Errors
    /// Every [`StoreError`] but `InUse`: locking the directory is the caller's business.
    pub(super) fn open_rows(
        directory: &Path,
        fresh: StoreId,
        begin: impl FnOnce(bool) -> Result<(), StoreError>,
    ) -> Result<Self, StoreError> {
        let path = directory.join(FILE);
        let mut connection = open_database(&path, KIND)?;
        check_encoding(&path, &connection)?;
        begin(read_meta(&path, &connection, meta::TAKEOVER)?.is_some())?;
        let sequence = read_number(&path, &connection, meta::SEQUENCE)?;
        let swept = read_number(&path, &connection, meta::SWEPT)?;
        let mut peers = Peers::read(&path, &connection)?;
        let lineage = match read_meta(&path, &connection, meta::LINEAGE)? {
            None => Lineage::new(fresh),
            Some(bytes) => {
                let before =
                    lineage_from_bytes(&bytes).ok_or_else(|| damaged(&path, "bad lineage"))?;
                succeed(before, fresh, sequence, &mut peers)
            }
        };
        let mut memtable = Memtable::default();
        let is_journaled = replay(&path, &connection, &mut memtable)?;
        start(&mut connection, &lineage, &mut peers).map_err(|e| StoreError::of(&path, e))?;
        let mut store = Self {
            tables: Tables::new(path, connection, CACHE_KIB)?,
            lineage,
            sequence,
            swept,
            peers,
            transaction: Cell::new(Begun::Nothing),
            memtable,
            is_journaled,
            is_flush_due: false,
            journal_len: 0,
            unflushed: Arc::default(),
            lately: RefCell::default(),
            lately_entries: RefCell::default(),
        };
        store.flush()?;
        Ok(store)
    }

    /// Is true while something committed is not in the tables yet: a [`RowReader`] sees all that
    /// was committed once [`RowStore::flush`] has been called.
    pub fn unflushed(&self) -> Arc<AtomicBool> {
        self.unflushed.clone()
    }

    /// Returns what the store knows besides its rows.
    pub fn state(&self) -> StoreState {
        let (checkpoints, mut vector) = (self.peers.checkpoints(), self.peers.vector());
        self.lineage.ancestors.iter().for_each(|&(store, last)| vector.raise(store, last));
        vector.raise(self.lineage.store, self.sequence);
        let (lineage, sequence, swept) = (self.lineage.clone(), self.sequence, self.swept);
        StoreState { lineage, sequence, swept, checkpoints, vector }
    }

    /// Moves what waits into the tables, and commits that with all else that has been written so
    /// far.
    ///
    /// # Errors
    /// [`StoreError::Database`] if the disk is full or fails.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        self.write_memtable();
        self.end_transaction()
    }

    /// Says what has failed, if anything has, and ends the reading transaction. Nothing may leave
    /// that rests on rows read here before this has been asked; it is asked once a turn.
    ///
    /// # Errors
    /// What failed first: [`StoreError::Damaged`] or [`StoreError::Database`].
    pub fn check(&mut self) -> Result<(), StoreError> {
        if self.transaction.get() == Begun::Reading {
            self.transaction.set(Begun::Nothing);
            self.execute("COMMIT");
        }
        // The store stays failed: later calls get an error, too.
        let Some(failure) = self.tables.take_failure() else { return Ok(()) };
        self.tables.fail(damaged(&self.tables.path, "it has failed before"));
        Err(failure)
    }

    /// Stores rows, ends the transaction as [`RowStore::commit`] does, and flushes. Makes no
    /// entries.
    ///
    /// # Errors
    /// Those of [`RowStore::commit`].
    pub fn append(&mut self, transactions: &[Transaction]) -> Result<(), StoreError> {
        for transaction in transactions {
            transaction.rows.iter().for_each(|row| self.put(transaction.sequence, row));
        }
        self.commit(transactions)?;
        self.flush()
    }

    /// Ends the transaction in which the rows of these were written, all or nothing, with their
    /// update sequences, checkpoints and vectors. When this returns, they are on the disk.
    ///
    /// # Errors
    /// [`StoreError::Database`] if the disk is full or fails: nothing is stored then.
    pub fn commit(&mut self, transactions: &[Transaction]) -> Result<(), StoreError> {
        self.check()?;
        let (mut peers, mut sequence) = (self.peers.clone(), self.sequence);
        for transaction in transactions {
            debug_assert!(
                transaction.sequence > sequence || transaction.rows.is_empty(),
                "update sequence {} is used twice",
                transaction.sequence
            );
            sequence = sequence.max(transaction.sequence);
            let own = self.lineage.store;
            for &(store, complete) in transaction.vector.iter().filter(|&&(store, _)| store != own)
            {
                peers.raise(store, 0, complete);
            }
            for &(store, checkpoint) in &transaction.checkpoints {
                peers.raise(store, checkpoint, 0);
            }
        }
        if self.is_flush_due || self.is_full() {
            self.write_memtable();
        } else {
            self.write_record();
        }
        self.write(|connection| {
            put_number(connection, meta::SEQUENCE, sequence).and_then(|()| peers.write(connection))
        });
        self.end_transaction()?;
        (self.peers, self.sequence) = (peers, sequence);
        Ok(())
    }

    /// Returns at most `limit` tombstones and requests with a stamp before `before_ms`, and the
    /// largest update sequence of a tombstone among these and those of earlier calls. The caller
    /// deletes them.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if one cannot be read, [`StoreError::Database`] if the disk is full
    /// or fails.
    pub fn old_rows(
        &mut self,
        before_ms: u64,
        limit: usize,
    ) -> Result<(Vec<Row>, u64), StoreError> {
        self.flush()?;
        let (mut rows, mut swept) = (Vec::new(), self.swept);
        {
            let wrap = |source| StoreError::of(&self.tables.path, source);
            let mut statement = self.tables.connection.prepare_cached(OLD).map_err(wrap)?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let mut found = statement.query(params![bound(before_ms), limit]).map_err(wrap)?;
            while let Some(columns) = found.next().map_err(wrap)? {
                rows.push(read_body(&self.tables.path, columns)?);
                // A peer that never hears of a request that old has missed nothing.
                if columns.get::<_, u8>(1).map_err(wrap)? == CLASS_TOMBSTONE {
                    swept = swept.max(columns.get::<_, i64>(2).map_err(wrap)? as u64);
                }
            }
        }
        if swept > self.swept {
            self.write(|connection| put_number(connection, meta::SWEPT, swept));
            self.swept = swept;
        }
        Ok((rows, swept))
    }

    /// Writes in the transaction that has begun, or begins one.
    fn write(&mut self, write: impl FnOnce(&Connection) -> rusqlite::Result<()>) {
        match self.transaction.get() {
            Begun::Writing => {}
            Begun::Reading => {
                self.run("COMMIT");
                self.run("BEGIN IMMEDIATE");
            }
            Begun::Nothing => self.run("BEGIN IMMEDIATE"),
        }
        self.transaction.set(Begun::Writing);
        if !self.tables.has_failed() {
            write(&self.tables.connection)
                .unwrap_or_else(|source| self.tables.fail(self.tables.wrap(source)));
        }
    }

    /// The tables, for reading.
    fn read(&self) -> &Tables {
        if self.transaction.get() == Begun::Nothing {
            self.transaction.set(Begun::Reading);
            self.run("BEGIN");
        }
        &self.tables
    }

    /// Runs a statement, unless something has failed.
    fn run(&self, sql: &str) {
        if !self.tables.has_failed() {
            self.execute(sql);
        }
    }

    fn execute(&self, sql: &str) {
        let run = self
            .tables
            .connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute([]).map(drop));
        run.unwrap_or_else(|source| self.tables.fail(self.tables.wrap(source)));
    }

    /// Has the next commit move what waits to the tables, instead of writing to the journal and
    /// flushing later.
    pub fn flush_at_commit(&mut self) {
        self.is_flush_due = true;
    }

    /// Tells whether so much waits, or is new, that the journal saves nothing.
    fn is_full(&self) -> bool {
        self.memtable.len() >= MEMTABLE_MAX
            || self.memtable.fresh_len() >= MEMTABLE_MAX / 4
            || self.journal_len >= JOURNAL_LEN_MAX
    }

    /// Writes what is new in the memtable into the journal.
    fn write_record(&mut self) {
        let Some(record) = self.memtable.take_record() else { return };
        self.is_journaled = true;
        self.journal_len += record.len();
        self.unflushed.store(true, Ordering::Release);
        self.write(|connection| {
            connection
                .prepare_cached("INSERT INTO journal (body) VALUES (?1)")?
                .execute([record])
                .map(drop)
        });
    }

    /// Moves what waits into the tables.
    fn write_memtable(&mut self) {
        if self.memtable.len() > 0 {
            let taken = self.memtable.take();
            self.write(|connection| put_taken(connection, taken));
        }
        if self.is_journaled {
            self.write(|connection| {
                connection.prepare_cached("DELETE FROM journal")?.execute([]).map(drop)
            });
        }
    }

    /// Ends the transaction. If that fails, or anything in it has failed, nothing of it stays.
    fn end_transaction(&mut self) -> Result<(), StoreError> {
        if self.transaction.get() != Begun::Nothing {
            self.run("COMMIT");
        }
        if self.tables.has_failed() {
            self.lately.get_mut().clear();
            self.lately_entries.get_mut().clear();
            // The error that is known already is the one to tell.
            let _ = self.tables.connection.execute_batch("ROLLBACK");
        }
        self.transaction.set(Begun::Nothing);
        self.is_flush_due = false;
        // After a failure the journal has what the memtable had.
        if self.memtable.len() == 0 && !self.tables.has_failed() {
            (self.is_journaled, self.journal_len) = (false, 0);
            self.unflushed.store(false, Ordering::Release);
        }
        self.check()
    }

    fn note(&self, key: RowKey, row: Option<Row>) {
        let mut lately = self.lately.borrow_mut();
        if lately.len() >= LATELY_MAX {
            lately.clear();
        }
        lately.insert(key, row);
    }

    /// Opens a second, reading connection to the store in `directory`, for another thread.
    ///
    /// # Errors
    /// [`StoreError::Database`] if the system has no room for it.
    pub fn reader(directory: &Path) -> Result<RowReader, StoreError> {
        RowReader::open(directory.join(FILE))
    }

    /// As [`RowReader::backup`]. A thread that must not wait for the whole file uses a reader.
    ///
    /// # Errors
    /// Those of [`RowReader::backup`].
    pub fn backup(&mut self, to: &Path) -> Result<(), StoreError> {
        self.check()?;
        copy::copy(&self.tables.connection, &self.tables.path, to)
    }
}

/// `class > 0` lets SQLite see that the index has all of them.
const OLD: &str = "SELECT body, class, sequence FROM rows
    WHERE class > 0 AND class IN (1, 2) AND stamp_ms < ?1 LIMIT ?2";

impl Rows for RowStore {
    fn get(&self, key: &RowKey) -> Option<Row> {
        if let Some(row) = self.lately.borrow().get(key) {
            return row.clone();
        }
        let row = self.memtable.row(&stored_key(key)).cloned().or_else(|| self.read().get(key));
        self.note(key.clone(), row.clone());
        row
    }

    fn rows(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Vec<Row> {
        self.memtable.rows(prefix, after, limit, self.read().rows(prefix, after, limit))
    }

    fn entry(&self, key: &[u8]) -> Option<Vec<u8>> {
        if let Some(waiting) = self.memtable.entry(key) {
            return waiting.clone();
        }
        let mut lately = self.lately_entries.borrow_mut();
        if let Some(value) = lately.get(key) {
            return value.clone();
        }
        let value = self.read().entry(key);
        if lately.len() >= LATELY_MAX {
            lately.clear();
        }
        lately.insert(key.to_vec(), value.clone());
        value
    }

    fn entries(
        &self,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        backwards: bool,
        limit: usize,
    ) -> Vec<Entry> {
        self.memtable.page(range, backwards, limit, |range, limit| {
            self.read().entries(range, backwards, limit)
        })
    }
}

impl RowsMut for RowStore {
    fn put(&mut self, sequence: u64, row: &Row) {
        self.memtable.put_row(sequence, row);
        self.note(row.content.key(), Some(row.clone()));
    }

    fn delete(&mut self, key: &RowKey) {
        let stored = stored_key(key);
        self.lately.get_mut().remove(key);
        self.memtable.remove_row(&stored);
        self.is_flush_due = true;
        self.write(|connection| {
            connection
                .prepare_cached("DELETE FROM rows WHERE key = ?1")?
                .execute([stored])
                .map(drop)
        });
    }

    fn set_entry(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.lately_entries.get_mut().remove(key);
        self.memtable.set_entry(key, value);
    }
}

/// Writes rows and entries into their tables.
fn put_taken(connection: &Connection, taken: Taken) -> rusqlite::Result<()> {
    let mut put = connection.prepare_cached(PUT_ROW)?;
    for (sequence, row) in &taken.rows {
        execute_put_row(&mut put, *sequence, row)?;
    }
    let mut put =
        connection.prepare_cached("INSERT OR REPLACE INTO entries (key, value) VALUES (?1, ?2)")?;
    let mut delete = connection.prepare_cached("DELETE FROM entries WHERE key = ?1")?;
    for (key, value) in &taken.entries {
        match value {
            Some(value) => put.execute(params![key, value])?,
            None => delete.execute([key])?,
        };
    }
    Ok(())
}

/// Writes one row, in place of another of the same key.
pub(super) fn put_row(connection: &Connection, sequence: u64, row: &Row) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(PUT_ROW)?;
    execute_put_row(&mut statement, sequence, row)
}

/// Writes a row.
const PUT_ROW: &str =
    "INSERT INTO rows (key, sequence, stamp_ms, class, body) VALUES (?1, ?2, ?3, ?4, ?5)
        ON CONFLICT (key) DO UPDATE SET sequence = excluded.sequence, stamp_ms = excluded.stamp_ms,
            class = excluded.class, body = excluded.body";

/// Runs [`PUT_ROW`], prepared.
fn execute_put_row(
    statement: &mut Statement<'_>,
    sequence: u64,
    row: &Row,
) -> rusqlite::Result<()> {
    let class = match &row.content {
        Content::Request(..) => CLASS_REQUEST,
        content if content.is_tombstone() => CLASS_TOMBSTONE,
        _ => CLASS_KEPT,
    };
    let key = stored_key(&row.content.key());
    let values =
        params![key, sequence as i64, bound(row.version.stamp.ms()), class, row.to_bytes()];
    statement.execute(values).map(drop)
}

/// Reads the records that are not in the tables yet; false if there are none.
fn replay(
    path: &Path,
    connection: &Connection,
    memtable: &mut Memtable,
) -> Result<bool, StoreError> {
    let wrap = |source| StoreError::of(path, source);
    let mut statement = connection.prepare("SELECT body FROM journal ORDER BY id").map_err(wrap)?;
    let mut found = statement.query([]).map_err(wrap)?;
    let mut is_some = false;
    while let Some(columns) = found.next().map_err(wrap)? {
        let body = columns.get_ref(0).map_err(wrap)?.as_blob().map_err(|e| damaged(path, e))?;
        memtable
            .replay(body)
            .ok_or_else(|| damaged(path, "a record of the journal cannot be read"))?;
        is_some = true;
    }
    Ok(is_some)
}

/// Decodes the first column of a result.
fn read_body(path: &Path, columns: &rusqlite::Row<'_>) -> Result<Row, StoreError> {
    let body = columns.get_ref(0).map_err(|source| StoreError::of(path, source))?;
    let body = body.as_blob().map_err(|e| damaged(path, e))?;
    Row::from_bytes(body).map_err(|e| damaged(path, format!("a row: {e}")))
}

/// A bound as SQLite holds it. What is compared with it stays far below: milliseconds have 48 bits,
/// and update sequences count from 1.
fn bound(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn damaged(path: &Path, why: impl ToString) -> StoreError {
    StoreError::Damaged { path: path.to_owned(), why: why.to_string() }
}

#[cfg(test)]
mod tests;
