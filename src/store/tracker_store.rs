//! Where a tracker's directory is: in SQLite, which it has for itself, or in a database over
//! PostgreSQL's wire, which trackers share.
//!
//! The core, and the threads that read beside it, see one interface. What only one of the two can
//! do says so.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crossbeam_channel::Receiver;

use super::database::StoreError;
use super::rows::{RowReader, RowStore};
use super::shared::{Committed, Counts, News, PresenceChanges, PresentAt, Swarm};
#[cfg(feature = "postgres")]
use super::sql::{EngineAddress, SqlReader, SqlStore};
use crate::directory::{Directory, Entry, Rows, RowsMut};
use crate::types::{PeerEntry, Row, RowKey, StoreId, StoreState, Transaction, UserId};

/// Where a tracker's directory is.
#[derive(Debug, Clone)]
pub enum StorePlace {
    /// In SQLite, in the data directory.
    Directory(PathBuf),
    /// In a database that trackers share.
    #[cfg(feature = "postgres")]
    Engine(EngineAddress),
}

/// A tracker's rows, open for writing by one thread.
#[derive(Debug)]
pub enum TrackerStore {
    /// In SQLite.
    Sqlite(Box<RowStore>),
    /// In a database that trackers share.
    #[cfg(feature = "postgres")]
    Sql(Box<SqlStore>),
}

/// Reads a tracker's rows beside the thread that writes them.
#[derive(Debug)]
pub enum StoreReader {
    /// In SQLite.
    Sqlite(RowReader),
    /// In a database that trackers share.
    #[cfg(feature = "postgres")]
    Sql(SqlReader),
}

impl StorePlace {
    /// Takes the URL of a database, or the name of a file that holds one and that only its owner may
    /// read.
    ///
    /// # Errors
    /// In words, what is wrong with it.
    ///
    /// # Blocking
    /// On the disk, for a file.
    #[cfg(feature = "postgres")]
    pub fn from_argument(text: &str) -> Result<Self, String> {
        EngineAddress::from_argument(text).map(Self::Engine).map_err(|e| e.to_string())
    }

    /// Says that this program knows no databases.
    ///
    /// # Errors
    /// Always.
    #[cfg(not(feature = "postgres"))]
    pub fn from_argument(_: &str) -> Result<Self, String> {
        let why = "this program was built without PostgreSQL: build it with `--features postgres`";
        Err(why.to_owned())
    }

    /// Opens the store as `fresh`, or makes one.
    ///
    /// # Errors
    /// [`StoreError`].
    ///
    /// # Blocking
    /// On the disk, or the database.
    pub fn open(&self, fresh: StoreId, number: u32) -> Result<TrackerStore, StoreError> {
        match self {
            Self::Directory(directory) => {
                let _ = number;
                RowStore::open(directory, fresh).map(Box::new).map(TrackerStore::Sqlite)
            }
            #[cfg(feature = "postgres")]
            Self::Engine(address) => {
                SqlStore::open(address.clone(), fresh, number).map(Box::new).map(TrackerStore::Sql)
            }
        }
    }

    /// Opens a reader for another thread.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn reader(&self) -> Result<StoreReader, StoreError> {
        match self {
            Self::Directory(directory) => RowStore::reader(directory).map(StoreReader::Sqlite),
            #[cfg(feature = "postgres")]
            Self::Engine(address) => Ok(StoreReader::Sql(SqlReader::new(address.clone()))),
        }
    }

    /// Tells whether other trackers use the same rows.
    pub fn is_shared(&self) -> bool {
        !matches!(self, Self::Directory(_))
    }

    /// Tells whether a data directory holds a directory, which is not used if this is another place.
    pub fn is_beside(&self, data_dir: &Path) -> bool {
        self.is_shared() && data_dir.join(super::rows::FILE).exists()
    }

    /// Copies the directory in the data directory `from`, whose tracker does not run, into this
    /// empty place. Returns how many rows there are.
    ///
    /// # Errors
    /// [`StoreError`].
    ///
    /// # Blocking
    /// For as long as it takes.
    pub fn import_from(&self, from: &Path) -> Result<u64, StoreError> {
        match self {
            Self::Directory(_) => unreachable!("{} is no database", from.display()),
            #[cfg(feature = "postgres")]
            Self::Engine(address) => super::sql::import(from, address),
        }
    }

    /// Copies the directory in this place, whose trackers do not run, into the empty data directory
    /// `to`. Returns how many rows there are.
    ///
    /// # Errors
    /// [`StoreError`].
    ///
    /// # Blocking
    /// For as long as it takes.
    pub fn export_to(&self, to: &Path) -> Result<u64, StoreError> {
        match self {
            Self::Directory(_) => unreachable!("{} is no database", to.display()),
            #[cfg(feature = "postgres")]
            Self::Engine(address) => super::sql::export(address, to),
        }
    }
}

/// Without user and password.
impl fmt::Display for StorePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(directory) => write!(f, "{}", directory.display()),
            #[cfg(feature = "postgres")]
            Self::Engine(address) => write!(f, "the database {address}"),
        }
    }
}

impl TrackerStore {
    /// Returns what the store knows besides its rows.
    pub fn state(&self) -> StoreState {
        match self {
            Self::Sqlite(store) => store.state(),
            #[cfg(feature = "postgres")]
            Self::Sql(store) => store.state(),
        }
    }

    /// Is true while something committed is not visible to readers yet.
    pub fn unflushed(&self) -> Arc<AtomicBool> {
        match self {
            Self::Sqlite(store) => store.unflushed(),
            #[cfg(feature = "postgres")]
            Self::Sql(_) => Arc::default(),
        }
    }

    /// Is ready to be received from when [`TrackerStore::check`] may make more visible to readers.
    pub fn moves(&self) -> Receiver<Result<(), StoreError>> {
        match self {
            Self::Sqlite(store) => store.moves(),
            #[cfg(feature = "postgres")]
            Self::Sql(_) => crossbeam_channel::never(),
        }
    }

    /// Counts commits.
    pub fn committed(&self) -> u64 {
        match self {
            Self::Sqlite(store) => store.committed(),
            #[cfg(feature = "postgres")]
            Self::Sql(_) => 0,
        }
    }

    /// The commit up to which readers see everything.
    pub fn moved(&self) -> u64 {
        match self {
            Self::Sqlite(store) => store.moved(),
            #[cfg(feature = "postgres")]
            Self::Sql(_) => 0,
        }
    }

    /// Has everything that is committed made visible to readers, without waiting for it.
    pub fn begin_flush(&mut self) {
        match self {
            Self::Sqlite(store) => store.begin_flush(),
            #[cfg(feature = "postgres")]
            Self::Sql(_) => {}
        }
    }

    /// Makes everything that is committed visible to readers.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn flush(&mut self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(store) => store.flush(),
            #[cfg(feature = "postgres")]
            Self::Sql(_) => Ok(()),
        }
    }

    /// Says what has failed, if anything has, and ends what is read as of one moment.
    ///
    /// # Errors
    /// [`StoreError`]: what failed first.
    pub fn check(&mut self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(store) => store.check(),
            #[cfg(feature = "postgres")]
            Self::Sql(store) => store.check(),
        }
    }

    /// Begins a transaction, which [`TrackerStore::commit`] ends. SQLite's needs no beginning.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn begin(&mut self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(_) => Ok(()),
            #[cfg(feature = "postgres")]
            Self::Sql(store) => store.begin(),
        }
    }

    /// Ends the transaction in which the rows of these were written: all or nothing. SQLite stores
    /// it, or fails for good.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn commit(&mut self, transactions: &[Transaction]) -> Result<Committed, StoreError> {
        match self {
            Self::Sqlite(store) => store.commit(transactions).map(|()| Committed::Stored),
            #[cfg(feature = "postgres")]
            Self::Sql(store) => store.commit(transactions),
        }
    }

    /// Returns at most `limit` tombstones, requests and invitations with a stamp before `before_ms`,
    /// and the largest update sequence of a tombstone that was ever deleted so.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn old_rows(
        &mut self,
        before_ms: u64,
        limit: usize,
    ) -> Result<(Vec<Row>, u64), StoreError> {
        match self {
            Self::Sqlite(store) => store.old_rows(before_ms, limit),
            #[cfg(feature = "postgres")]
            Self::Sql(store) => Ok((store.old_rows(before_ms, limit), 0)),
        }
    }

    /// Tells what the other trackers of the database have done since the last call; `None` if there
    /// are none, as with SQLite.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn poll(&mut self) -> Result<Option<News>, StoreError> {
        match self {
            Self::Sqlite(_) => Ok(None),
            #[cfg(feature = "postgres")]
            Self::Sql(store) => store.poll().map(Some),
        }
    }

    /// Writes what has changed in who is present here, for the other trackers of the database; false
    /// if that is to be done again.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_presence(&mut self, changed: &PresenceChanges) -> Result<bool, StoreError> {
        match self {
            Self::Sqlite(_) => Ok(changed.is_empty()),
            #[cfg(feature = "postgres")]
            Self::Sql(store) => store.put_presence(changed),
        }
    }

    /// Which of these are present at other trackers of the database.
    #[cfg_attr(not(feature = "postgres"), expect(unused_variables, reason = "there are no others"))]
    pub fn still_there(&self, which: &[PresentAt]) -> BTreeSet<PresentAt> {
        match self {
            Self::Sqlite(_) => BTreeSet::new(),
            #[cfg(feature = "postgres")]
            Self::Sql(store) => store.still_there(which),
        }
    }

    /// At most `max` devices of each of these swarms that are present at the other trackers of the
    /// database.
    #[cfg_attr(not(feature = "postgres"), expect(unused_variables, reason = "there are no others"))]
    pub fn peers_elsewhere(&self, swarms: &[Swarm], max: usize) -> Vec<PeerEntry> {
        match self {
            Self::Sqlite(_) => Vec::new(),
            #[cfg(feature = "postgres")]
            Self::Sql(store) => store.peers_elsewhere(swarms, max),
        }
    }

    /// How many devices are present at all trackers of the database; nothing with SQLite.
    #[cfg_attr(not(feature = "postgres"), expect(unused_variables, reason = "there are no others"))]
    pub fn count_present(&self, swarms: &[Swarm], users: &[UserId]) -> Counts {
        match self {
            Self::Sqlite(_) => Counts::default(),
            #[cfg(feature = "postgres")]
            Self::Sql(store) => store.count_present(swarms, users),
        }
    }

    /// The numbers of the other trackers that use the same rows and are there; `None` with SQLite.
    pub fn alive(&self) -> Option<BTreeSet<u32>> {
        match self {
            Self::Sqlite(_) => None,
            #[cfg(feature = "postgres")]
            Self::Sql(store) => Some(store.alive()),
        }
    }

    /// Tells whether other trackers use the same rows.
    pub fn is_shared(&self) -> bool {
        !matches!(self, Self::Sqlite(_))
    }

    /// Ends in order. Nothing may be written after that.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn close(&mut self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(store) => store.close(),
            #[cfg(feature = "postgres")]
            Self::Sql(store) => store.close(),
        }
    }

    fn reading(&self) -> &dyn Rows {
        match self {
            Self::Sqlite(store) => &**store,
            #[cfg(feature = "postgres")]
            Self::Sql(store) => &**store,
        }
    }

    fn writing(&mut self) -> &mut dyn RowsMut {
        match self {
            Self::Sqlite(store) => &mut **store,
            #[cfg(feature = "postgres")]
            Self::Sql(store) => &mut **store,
        }
    }
}

impl Rows for TrackerStore {
    fn get(&self, key: &RowKey) -> Option<Row> {
        self.reading().get(key)
    }

    fn rows(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Vec<Row> {
        self.reading().rows(prefix, after, limit)
    }

    fn entry(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.reading().entry(key)
    }

    fn entries(
        &self,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        backwards: bool,
        limit: usize,
    ) -> Vec<Entry> {
        self.reading().entries(range, backwards, limit)
    }
}

impl RowsMut for TrackerStore {
    fn put(&mut self, sequence: u64, row: &Row) {
        self.writing().put(sequence, row);
    }

    fn delete(&mut self, key: &RowKey) {
        self.writing().delete(key);
    }

    fn set_entry(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.writing().set_entry(key, value);
    }
}

impl StoreReader {
    /// Calls `look` with the directory as it is at one moment.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn look<T>(&self, look: impl FnOnce(&Directory<&dyn Rows>) -> T) -> Result<T, StoreError> {
        match self {
            Self::Sqlite(reader) => reader.look(|directory| {
                let rows: &dyn Rows = *directory.rows();
                look(&Directory::new(rows))
            }),
            #[cfg(feature = "postgres")]
            Self::Sql(reader) => reader.look(look),
        }
    }

    /// Calls `look` with the directory, each part of which may be of another moment.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn search<T>(
        &self,
        look: impl FnOnce(&Directory<&dyn Rows>) -> T,
    ) -> Result<T, StoreError> {
        match self {
            Self::Sqlite(reader) => reader.search(|directory| {
                let rows: &dyn Rows = *directory.rows();
                look(&Directory::new(rows))
            }),
            #[cfg(feature = "postgres")]
            Self::Sql(reader) => reader.look(look),
        }
    }

    /// Hands at most `limit` requests with `from_ms` <= stamp < `to_ms` to `take`, in the order of
    /// their milliseconds, until it says false.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn requests_between(
        &self,
        from_ms: u64,
        to_ms: u64,
        limit: usize,
        take: impl FnMut(Row) -> bool,
    ) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(reader) => reader.requests_between(from_ms, to_ms, limit, take),
            #[cfg(feature = "postgres")]
            Self::Sql(reader) => reader.requests_between((from_ms, to_ms), limit, take),
        }
    }

    /// Copies the store as it is at one moment to the file `to`; `None` where the database has its
    /// own ways for that.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn backup(&self, to: &Path) -> Result<Option<()>, StoreError> {
        match self {
            Self::Sqlite(reader) => reader.backup(to).map(Some),
            #[cfg(feature = "postgres")]
            Self::Sql(_) => Ok(None),
        }
    }
}
