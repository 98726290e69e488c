//! The tracker's rows, and how far each store is known, in SQLite.
//!
//! **Invariant:** what [`RowStore::commit`] ends is there whole or not at all: rows, entries of the
//! indexes, the last update sequence, checkpoints and the version vector. An update sequence is
//! used under one store id only, since each start takes a new id.
//!
//! A commit appends one record to the journal, a file beside the database. Rows and entries wait in
//! a memtable, and go to their tables many at a time: written at each commit they were a tenth as
//! fast with 64 writers.
//!
//! A memtable that is to go to the tables is frozen. The writer's thread writes it while commits go
//! on with a fresh one, and every look sees the fresh one, then the frozen one, then the tables as
//! they were when the turn began. No more than one is frozen: a commit that finds the next one full,
//! too, waits for the disk. A start moves what the journal holds.
//!
//! One thread owns the [`RowStore`]; the writer's thread owns the writing connection and shares
//! frozen memtables, which do not change. Other threads read through a [`RowReader`] of their own,
//! which sees what is in the tables. A row's body is its wire encoding; what the entries mean is
//! the directory's business.
//!
//! Reading and writing rows and entries cannot fail for the caller: the first error is kept, from
//! then on nothing is read or written, and [`RowStore::check`] and [`RowStore::commit`] return it.
//!
//! The rows are kept in the order in which they came first, not by key: measured with 300,000 rows,
//! a table without row ids takes 1.7 times as long to fill and 4 times as long to read by sequence.

mod copy;
mod journal;
mod making;
pub(super) mod memtable;
pub(super) mod meta;
mod moving;
mod peers;
mod reader;
mod record;
mod table;
mod writer;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::Receiver;
use rusqlite::{Connection, params};

pub use self::copy::restore;
use self::journal::Journal;
pub use self::making::Entries;
use self::memtable::{Memtable, prefixed};
use self::meta::{check_encoding, lineage_from_bytes, put_start, read_meta, read_number, succeed};
use self::moving::Move;
pub(super) use self::moving::put_row;
use self::peers::Peers;
pub(super) use self::peers::{PEERS_MAX, Peer, put_peer};
pub use self::reader::RowReader;
use self::record::Progress;
pub use self::table::Tables;
use self::writer::Writer;
use super::database::{DatabaseKind, StoreError, open_database, open_read_only};
use crate::directory::{Entry, Rows, RowsMut, stored_key};
use crate::types::{Lineage, Row, RowKey, StoreId, StoreState, Transaction};
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
        // The journal is in files from then on. A start moves what this one holds.
        "ALTER TABLE journal RENAME TO journal_of_version_3;",
    ],
};

/// `class` of a row that is kept until it is written again.
const CLASS_KEPT: u8 = 0;
/// `class` of a row that says that something is not there.
const CLASS_TOMBSTONE: u8 = 1;
/// `class` of a request.
const CLASS_REQUEST: u8 = 2;
/// `class` of what has expired, once it is old.
const CLASS_EXPIRING: u8 = 3;

/// A tracker's rows, open for writing.
#[derive(Debug)]
pub struct RowStore {
    /// The tables, which this thread reads.
    tables: Tables,
    /// A transaction has begun: one for all reads until the next check, since each begin and end
    /// takes locks of the file.
    is_reading: Cell<bool>,
    writer: Writer,
    journal: Journal,
    lineage: Lineage,
    sequence: u64,
    swept: u64,
    peers: Peers,
    /// What the tables lack of the peers that are committed.
    unmoved_peers: BTreeMap<StoreId, Option<Peer>>,
    /// What was written last.
    memtable: Memtable,
    /// What the writer moves to the tables, and the record of the journal up to which that goes.
    frozen: Option<(Arc<Memtable>, u64)>,
    /// The record up to which the tables have everything.
    moved: u64,
    /// What is committed up to this record is to be moved as soon as may be.
    wanted: u64,
    /// Set while something committed is not in the tables yet, where readers look.
    unflushed: Arc<AtomicBool>,
    /// Rows that were looked for lately, there or not: a change looks at some of them again and
    /// again.
    lately: RefCell<HashMap<RowKey, Option<Row>>>,
    /// The same of entries that no memtable has.
    lately_entries: RefCell<HashMap<Vec<u8>, Option<Vec<u8>>>>,
}

/// Memory for pages of the database, in KiB: of the thread that reads, and of the one that writes.
const CACHE_KIB: i64 = 24 << 10;
const WRITER_CACHE_KIB: i64 = 64 << 10;
/// Rows, and entries, kept as they were read or written.
const LATELY_MAX: usize = 4096;
/// Rows and entries that wait until they are frozen. The more wait, the fewer pages each change
/// writes. As many again may wait while the writer is at work.
const MEMTABLE_MAX: usize = if cfg!(test) { 64 } else { 65_536 };
/// Bytes of the journal that wait until they are frozen.
const JOURNAL_LEN_MAX: usize = 16 << 20;

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
        let connection = open_database(&path, KIND)?;
        check_encoding(&path, &connection)?;
        begin(read_meta(&path, &connection, meta::TAKEOVER)?.is_some())?;
        let mut memtable = Memtable::default();
        replay_version_3(&path, &connection, &mut memtable)?;
        let mut peers = Peers::read(&path, &connection)?;
        let mut sequence = read_number(&path, &connection, meta::SEQUENCE)?;
        let mut swept = read_number(&path, &connection, meta::SWEPT)?;
        let mut journaled = read_number(&path, &connection, meta::JOURNALED)?;
        let lineage = match read_meta(&path, &connection, meta::LINEAGE)? {
            None => Lineage::new(fresh),
            Some(bytes) => {
                let before =
                    lineage_from_bytes(&bytes).ok_or_else(|| damaged(&path, "bad lineage"))?;
                for body in journal::read(directory, before.store, journaled)? {
                    let said = record::replay(&body, &mut memtable)
                        .ok_or_else(|| damaged(&path, "a record of its journal cannot be read"))?;
                    (sequence, swept) = (said.sequence, said.swept);
                    said.peers.into_iter().for_each(|(store, peer)| peers.replay(store, peer));
                    journaled += 1;
                }
                succeed(before, fresh, sequence, &mut peers)
            }
        };
        let mut store = Self {
            journal: Journal::begin(directory, fresh, journaled)?,
            tables: Tables::new(path.clone(), open_read_only(&path)?, CACHE_KIB)?,
            writer: Writer::start(path.clone(), connection, WRITER_CACHE_KIB)?,
            is_reading: Cell::new(false),
            lineage,
            sequence,
            swept,
            unmoved_peers: peers.take_changed().into_iter().collect(),
            peers,
            memtable,
            frozen: None,
            moved: journaled,
            wanted: 0,
            unflushed: Arc::default(),
            lately: RefCell::default(),
            lately_entries: RefCell::default(),
        };
        let lineage = store.lineage.clone();
        store.write_now(move |connection| {
            put_start(connection, &lineage)?;
            connection.execute("DELETE FROM journal_of_version_3", []).map(drop)
        })?;
        Ok(store)
    }

    /// Is true while something committed is not in the tables yet: a [`RowReader`] sees all that
    /// was committed once [`RowStore::moved`] has reached what [`RowStore::committed`] was then.
    pub fn unflushed(&self) -> Arc<AtomicBool> {
        self.unflushed.clone()
    }

    /// Counts commits.
    pub fn committed(&self) -> u64 {
        self.journal.number()
    }

    /// The commit up to which everything is in the tables, as far as [`RowStore::check`] has seen.
    pub fn moved(&self) -> u64 {
        self.moved
    }

    /// Is ready to be received from when [`RowStore::check`] may see more in the tables. Only that
    /// receives.
    pub fn moves(&self) -> Receiver<Result<(), StoreError>> {
        self.writer.done().clone()
    }

    /// Returns what the store knows besides its rows.
    pub fn state(&self) -> StoreState {
        let (checkpoints, mut vector) = (self.peers.checkpoints(), self.peers.vector());
        self.lineage.ancestors.iter().for_each(|&(store, last)| vector.raise(store, last));
        vector.raise(self.lineage.store, self.sequence);
        let (lineage, sequence, swept) = (self.lineage.clone(), self.sequence, self.swept);
        StoreState { lineage, sequence, swept, checkpoints, vector }
    }

    /// Has everything that is committed moved to the tables, without waiting for it.
    pub fn begin_flush(&mut self) {
        self.wanted = self.committed();
        self.freeze_if_due();
    }

    /// Moves what waits into the tables, and commits that with all else that has been written so
    /// far.
    ///
    /// # Errors
    /// [`StoreError::Database`] if the disk is full or fails.
    ///
    /// # Blocking
    /// Until the writer has done that.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        if self.moved < self.committed() || self.memtable.len() > 0 {
            self.write_now(|_| Ok(()))
        } else {
            self.check()
        }
    }

    /// Flushes, and removes the journal: the database alone is all there is then. Nothing may be
    /// written after that.
    ///
    /// # Errors
    /// Those of [`RowStore::flush`]; [`StoreError::Io`] if the journal cannot be removed.
    ///
    /// # Blocking
    /// As [`RowStore::flush`].
    pub fn close(&mut self) -> Result<(), StoreError> {
        self.flush()?;
        journal::remove_files(self.tables.path.parent().unwrap_or(Path::new(".")))
    }

    /// Says what has failed, if anything has, and ends the reading transaction. Nothing may leave
    /// that rests on rows read here before this has been asked; it is asked once a turn.
    ///
    /// # Errors
    /// What failed first: [`StoreError::Damaged`] or [`StoreError::Database`].
    pub fn check(&mut self) -> Result<(), StoreError> {
        self.end_reading();
        if let Some(done) = self.writer.poll() {
            self.note_moved(done);
        }
        self.freeze_if_due();
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
    /// [`StoreError::Io`] if the disk is full or fails: nothing is stored then.
    ///
    /// # Blocking
    /// On the disk; while as much waits as may, for the writer.
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
        let progress = Progress { sequence, swept: self.swept, peers: peers.take_changed() };
        if sequence > self.sequence || !progress.peers.is_empty() || !self.memtable.is_journaled() {
            let mut record = record::make(&progress, &mut self.memtable);
            self.unflushed.store(true, Ordering::Release);
            if let Err(error) = self.journal.append(&mut record) {
                self.tables.fail(error);
                return self.check();
            }
            (self.peers, self.sequence) = (peers, sequence);
            self.unmoved_peers.extend(progress.peers);
        }
        self.freeze_if_due();
        if self.is_full() {
            self.wait();
            self.freeze_if_due();
        }
        self.check()
    }

    /// Returns at most `limit` tombstones, requests and invitations with a stamp before `before_ms`, and the
    /// largest update sequence of a tombstone among these and those of earlier calls. The caller
    /// deletes them, and flushes.
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
        self.swept = swept;
        Ok((rows, swept))
    }

    /// The tables, for reading.
    fn read(&self) -> &Tables {
        if !self.is_reading.get() && !self.tables.has_failed() {
            self.is_reading.set(true);
            self.execute("BEGIN");
        }
        &self.tables
    }

    fn end_reading(&self) {
        if self.is_reading.replace(false) {
            self.execute("COMMIT");
        }
    }

    fn execute(&self, sql: &str) {
        let statement = self.tables.connection.prepare_cached(sql);
        let run = statement.and_then(|mut statement| statement.execute([]).map(drop));
        run.unwrap_or_else(|source| self.tables.fail(self.tables.wrap(source)));
    }

    /// Tells whether so much waits that it is to be frozen.
    fn is_full(&self) -> bool {
        self.memtable.len() >= MEMTABLE_MAX || self.journal.len() >= JOURNAL_LEN_MAX
    }

    /// Freezes the memtable and has the writer move it, if that is due and the writer has done the
    /// one before. A memtable with uncommitted rows is not frozen.
    fn freeze_if_due(&mut self) {
        let is_due = self.is_full() || self.moved < self.wanted;
        if is_due
            && !self.writer.is_busy()
            && self.memtable.is_journaled()
            && self.moved < self.committed()
            && !self.tables.has_failed()
        {
            self.begin_move(|_| Ok(()));
        }
    }

    /// Freezes the memtable, and has the writer move it and write what `more` writes. The writer has
    /// done what it had to do before.
    fn begin_move(
        &mut self,
        more: impl FnOnce(&Connection) -> rusqlite::Result<()> + Send + 'static,
    ) {
        let memtable = Arc::new(std::mem::take(&mut self.memtable));
        let through = self.committed();
        let peers = std::mem::take(&mut self.unmoved_peers).into_iter().collect();
        let progress = Progress { sequence: self.sequence, swept: self.swept, peers };
        self.frozen = Some((memtable.clone(), through));
        self.journal.switch().unwrap_or_else(|error| self.tables.fail(error));
        let all = Move { memtable, progress, through };
        self.writer.begin(move |connection| all.write(connection).and_then(|()| more(connection)));
    }

    /// Moves all that has been written, committed or not, and writes what `more` writes, in one
    /// transaction.
    fn write_now(
        &mut self,
        more: impl FnOnce(&Connection) -> rusqlite::Result<()> + Send + 'static,
    ) -> Result<(), StoreError> {
        self.wait();
        self.check()?;
        self.begin_move(more);
        self.wait();
        self.check()
    }

    /// Waits for the writer.
    fn wait(&mut self) {
        if self.writer.is_busy() {
            self.end_reading();
            let done = self.writer.wait(self.memtable.len());
            self.note_moved(done);
        }
    }

    /// The writer has done its job. No reading transaction is older than that.
    fn note_moved(&mut self, done: Result<(), StoreError>) {
        if let Err(error) = done {
            // What is committed stays in the journal.
            return self.tables.fail(error);
        }
        let Some((memtable, through)) = self.frozen.take() else { return };
        self.writer.free(memtable);
        self.moved = through;
        if self.moved == self.committed() {
            self.unflushed.store(false, Ordering::Release);
        }
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

    /// As [`RowReader::backup`], with all that has been written. A thread that must not wait for
    /// the whole file uses a reader.
    ///
    /// # Errors
    /// Those of [`RowReader::backup`], and of [`RowStore::flush`].
    pub fn backup(&mut self, to: &Path) -> Result<(), StoreError> {
        self.flush()?;
        copy::copy(&self.tables.connection, &self.tables.path, to)
    }
}

/// `class > 0` lets SQLite see that the index has all of them.
const OLD: &str = "SELECT body, class, sequence FROM rows
    WHERE class > 0 AND class IN (1, 2, 3) AND stamp_ms < ?1 LIMIT ?2";

impl Rows for RowStore {
    fn get(&self, key: &RowKey) -> Option<Row> {
        if let Some(row) = self.lately.borrow().get(key) {
            return row.clone();
        }
        let stored = stored_key(key);
        let written = self.memtable.row(&stored).or_else(|| self.frozen()?.row(&stored));
        let row = written.map_or_else(|| self.read().get(key), |row| row.cloned());
        self.note(key.clone(), row.clone());
        row
    }

    fn rows(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Vec<Row> {
        let (from, to) = prefixed(prefix, after);
        let range = (from.as_ref().map(Vec::as_slice), to.as_ref().map(Vec::as_slice));
        let rows = self.memtable.rows(range, limit, |range, limit| match self.frozen() {
            Some(frozen) => {
                frozen.rows(range, limit, |range, limit| self.read().keyed_rows(range, limit))
            }
            None => self.read().keyed_rows(range, limit),
        });
        rows.into_iter().map(|(_, row)| row).collect()
    }

    fn entry(&self, key: &[u8]) -> Option<Vec<u8>> {
        if let Some(written) = self.memtable.entry(key).or_else(|| self.frozen()?.entry(key)) {
            return written.cloned();
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
        self.memtable.page(range, backwards, limit, |range, limit| match self.frozen() {
            Some(frozen) => frozen.page(range, backwards, limit, |range, limit| {
                self.read().entries(range, backwards, limit)
            }),
            None => self.read().entries(range, backwards, limit),
        })
    }
}

impl RowStore {
    fn frozen(&self) -> Option<&Memtable> {
        self.frozen.as_ref().map(|(memtable, _)| &**memtable)
    }
}

impl RowsMut for RowStore {
    fn put(&mut self, sequence: u64, row: &Row) {
        self.memtable.put_row(sequence, row);
        self.note(row.content.key(), Some(row.clone()));
    }

    fn delete(&mut self, key: &RowKey) {
        self.lately.get_mut().remove(key);
        self.memtable.delete_row(&stored_key(key));
    }

    fn set_entry(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.lately_entries.get_mut().remove(key);
        self.memtable.set_entry(key, value);
    }
}

/// Reads the records of a journal of version 3, which was a table.
fn replay_version_3(
    path: &Path,
    connection: &Connection,
    memtable: &mut Memtable,
) -> Result<(), StoreError> {
    let wrap = |source| StoreError::of(path, source);
    let sql = "SELECT body FROM journal_of_version_3 ORDER BY id";
    let mut statement = connection.prepare(sql).map_err(wrap)?;
    let mut found = statement.query([]).map_err(wrap)?;
    while let Some(columns) = found.next().map_err(wrap)? {
        let body = columns.get_ref(0).map_err(wrap)?.as_blob().map_err(|e| damaged(path, e))?;
        record::replay_version_3(body, memtable)
            .ok_or_else(|| damaged(path, "a record of the journal cannot be read"))?;
    }
    Ok(())
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
