//! The tracker's rows in a database over PostgreSQL's wire, which any number of trackers share.
//!
//! **Invariant:** what [`SqlStore::commit`] has stored is there whole: rows, entries of the indexes,
//! and what the other trackers read of it, in one serializable transaction. What it has not stored
//! leaves no trace.
//!
//! One thread owns a [`SqlStore`]. Between [`SqlStore::begin`] and the end of the transaction all
//! reads are in it, and what is written waits in a memtable until the end. Outside, reads are of one
//! moment until [`SqlStore::check`]. Nothing is kept in memory from one transaction to the next but
//! the totals: each tracker has its part of them, so that trackers do not wait for each other.
//!
//! Reading and writing rows and entries cannot fail for the caller, as in SQLite's store: the first
//! error is kept. Everything here blocks on the database.

pub(super) mod address;
mod connection;
mod exchange;
mod feed;
mod presence;
mod schema;
mod tables;
mod tls;
mod writing;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::time::Instant;

use diesel::prelude::*;
use log::{info, warn};

pub use self::address::{EngineAddress, EngineAddressError};
use self::connection::{Broken, Engine, Isolation, Pause};
pub(super) use self::exchange::{export, import};
use self::feed::Feed;
use self::schema::posse_trackers;
pub use self::tables::SqlTables;
use self::writing::{CLASS_EXPIRING, CLASS_REQUEST, CLASS_TOMBSTONE};
use super::database::StoreError;
use super::rows::memtable::Memtable;
use super::shared::{Committed, Counts, News, PresenceChanges, PresentAt, Swarm};
use crate::directory::{
    Directory, ENTRIES_VERSION, Entry, Rows, RowsMut, TOTALS_KEY, add_totals, stored_key,
    subtract_totals,
};
use crate::types::{
    Lineage, PeerEntry, Row, RowKey, StoreId, StoreState, Transaction, UserId, VersionVector,
};

/// Attempts to find out whether a transaction was committed.
const LOOKS_MAX: u32 = 30;

/// A tracker's way to the shared rows.
#[derive(Debug)]
pub struct SqlStore {
    address: EngineAddress,
    tables: SqlTables,
    /// This tracker's id in the database, and its number in the network.
    store: StoreId,
    number: u32,
    /// The last update sequence that is committed.
    sequence: u64,
    memtable: Memtable,
    /// The totals: the sum of the other trackers' parts, the own part that is committed, and the
    /// own part as this transaction leaves it.
    others: Vec<u8>,
    own: Vec<u8>,
    own_written: Option<Vec<u8>>,
    /// What was read in this transaction.
    lately: RefCell<HashMap<Vec<u8>, Option<Row>>>,
    lately_entries: RefCell<HashMap<Vec<u8>, Option<Vec<u8>>>>,
    feed: Feed,
    presence: presence::Presence,
    /// Trackers that have ended, whose rows of who is present there are to be removed.
    leaving: VecDeque<StoreId>,
    beaten: Instant,
    /// Others have removed this tracker, which has begun anew: it has not heard what they did.
    has_missed: bool,
}

impl SqlStore {
    /// Opens the database, makes its tables if need be, and begins as the store `fresh` of tracker
    /// `number`.
    ///
    /// # Errors
    /// [`StoreError::Engine`].
    pub fn open(address: EngineAddress, fresh: StoreId, number: u32) -> Result<Self, StoreError> {
        let mut engine = Engine::open(address.clone())?;
        schema::check_isolation(&mut engine, &address)?;
        schema::prepare(&mut engine, &address, ENTRIES_VERSION)?;
        exchange::check_whole(&mut engine, &address)?;
        let mut store = Self {
            address,
            tables: SqlTables::new(engine),
            store: fresh,
            number,
            sequence: 0,
            memtable: Memtable::default(),
            others: Vec::new(),
            own: Vec::new(),
            own_written: None,
            lately: RefCell::default(),
            lately_entries: RefCell::default(),
            feed: Feed::default(),
            presence: presence::Presence::default(),
            leaving: VecDeque::new(),
            beaten: Instant::now(),
            has_missed: false,
        };
        store.register()?;
        store.tables.engine.get_mut().be_patient();
        Ok(store)
    }

    /// Returns what the store knows besides its rows.
    pub fn state(&self) -> StoreState {
        let mut vector = VersionVector::default();
        vector.raise(self.store, self.sequence);
        let (lineage, checkpoints) = (Lineage::new(self.store), VersionVector::default());
        StoreState { lineage, sequence: self.sequence, swept: 0, checkpoints, vector }
    }

    /// Enters this tracker into the list, and takes the others as they are.
    fn register(&mut self) -> Result<(), StoreError> {
        let (store, number, sequence) = (self.store, self.number, self.sequence as i64);
        let enter = |connection: &mut PgConnection| {
            diesel::insert_into(posse_trackers::table)
                .values((
                    posse_trackers::store.eq(&store.as_bytes()[..]),
                    posse_trackers::number.eq(i64::from(number)),
                    posse_trackers::sequence.eq(sequence),
                    posse_trackers::kept_from.eq(sequence),
                    posse_trackers::beat.eq(0),
                ))
                .on_conflict_do_nothing()
                .execute(connection)
        };
        self.write_alone(enter)?;
        let engine = self.tables.engine.get_mut();
        let listed = engine.read(|connection| {
            let listed = feed::read_trackers(connection)?.into_iter();
            let with_last = listed.map(|one| {
                let last = presence::last(connection, &one.0)?;
                Ok((one, last))
            });
            with_last.collect::<QueryResult<Vec<_>>>()
        })?;
        self.feed.begin(store, listed);
        self.read_totals()?;
        self.tables.engine.get_mut().end_reading();
        self.find_absent()
    }

    /// Runs one statement or two in a serializable transaction of their own, once.
    fn try_alone<T>(
        &mut self,
        write: impl FnOnce(&mut PgConnection) -> QueryResult<T>,
    ) -> Result<QueryResult<T>, StoreError> {
        self.try_once(Isolation::Serializable, write)
    }

    fn try_once<T>(
        &mut self,
        isolation: Isolation,
        write: impl FnOnce(&mut PgConnection) -> QueryResult<T>,
    ) -> Result<QueryResult<T>, StoreError> {
        self.tables.engine.get_mut().alone(isolation, write)
    }

    /// Does the same again and again until it is committed. What is done must be the same however
    /// often it is run.
    fn write_alone<T>(
        &mut self,
        mut write: impl FnMut(&mut PgConnection) -> QueryResult<T>,
    ) -> Result<T, StoreError> {
        let mut pause = Pause::default();
        for attempt in 1.. {
            match self.try_alone(&mut write)? {
                Ok(written) => return Ok(written),
                Err(error) if attempt >= LOOKS_MAX => {
                    return Err(self.tables.engine.get_mut().wrap(&error));
                }
                Err(_) => pause.wait(),
            }
        }
        unreachable!("the attempts are bounded")
    }

    fn read_totals(&mut self) -> Result<(), StoreError> {
        let own = part_key(self.store);
        let parts = self.tables.totals_parts();
        self.tables.take_failure().map_or(Ok(()), Err)?;
        (self.others, self.own) = (Vec::new(), Vec::new());
        for (key, part) in parts {
            if key == own {
                self.own = part;
            } else {
                self.others = add_totals(&self.others, &part);
            }
        }
        Ok(())
    }

    /// Begins a serializable transaction.
    ///
    /// # Errors
    /// [`StoreError::Engine`] if the database cannot be reached for a while.
    pub fn begin(&mut self) -> Result<(), StoreError> {
        self.check()?;
        self.tables.engine.get_mut().begin_writing(Isolation::Serializable)
    }

    /// Ends the transaction in which the rows of these were written: all or nothing. If it cannot
    /// be known whether the database has committed it, that is found out first.
    ///
    /// # Errors
    /// [`StoreError::Engine`] if that cannot be found out, since the database cannot be reached for
    /// a while. Then nothing that rests on it may be told.
    pub fn commit(&mut self, transactions: &[Transaction]) -> Result<Committed, StoreError> {
        if let Some(failure) = self.tables.take_failure() {
            self.abandon();
            return Ok(Committed::RolledBack(failure.to_string()));
        }
        let sequence = transactions.last().map_or(self.sequence, |last| last.sequence);
        let (store, before) = (self.store, self.sequence);
        let (memtable, own) = (&self.memtable, self.own_written.as_deref());
        let engine = self.tables.engine.get_mut();
        let written = engine.write(|connection| {
            let writes = !transactions.is_empty() || memtable.len() > 0 || own.is_some();
            if writes && !advance(connection, store, (before, sequence))? {
                return Ok(false);
            }
            writing::put_memtable(connection, memtable)?;
            if let Some(own) = own {
                let key = part_key(store);
                writing::put_entries(connection, [(&key[..], own)].into_iter())?;
            }
            if !transactions.is_empty() {
                feed::put(connection, store, transactions)?;
            }
            Ok(true)
        });
        let committed = match written {
            Ok(true) => match engine.commit() {
                Ok(()) => Ok(()),
                Err(Broken::RolledBack(error)) => Err(error.to_string()),
                // Nothing but deletions, which are looked for again.
                Err(Broken::Unknown(error)) if sequence == before => {
                    self.was_committed(sequence + 1)?;
                    self.read_totals()?;
                    Err(error.to_string())
                }
                Err(Broken::Unknown(error)) => {
                    warn!(
                        "{}: it is not known whether a transaction was committed ({error}); looking",
                        self.address
                    );
                    if self.was_committed(sequence)? { Ok(()) } else { Err(error.to_string()) }
                }
            },
            Ok(false) => {
                engine.abandon();
                self.begin_anew()?;
                Err("this tracker was taken for one that has ended".to_owned())
            }
            Err(error) => Err(error.to_string()),
        };
        match committed {
            Ok(()) => {
                self.sequence = sequence;
                if let Some(own) = self.own_written.take() {
                    self.own = own;
                }
                self.forget();
                Ok(Committed::Stored)
            }
            Err(why) => {
                self.abandon();
                Ok(Committed::RolledBack(why))
            }
        }
    }

    /// Rolls the transaction back.
    pub fn abandon(&mut self) {
        self.tables.engine.get_mut().abandon();
        self.tables.take_failure();
        self.own_written = None;
        self.forget();
    }

    fn forget(&mut self) {
        self.memtable = Memtable::default();
        self.lately.get_mut().clear();
        self.lately_entries.get_mut().clear();
    }

    /// Finds out whether the transaction that leads to an update sequence was committed. If it was
    /// not, it never will be: what stands in the list of trackers was written again, and the
    /// database has let only one of the two through.
    fn was_committed(&mut self, sequence: u64) -> Result<bool, StoreError> {
        let (store, before) = (self.store, self.sequence);
        let fence = move |connection: &mut PgConnection| {
            let there = posse_trackers::table.find(&store.as_bytes()[..]);
            let found: Option<i64> =
                there.select(posse_trackers::sequence).first(connection).optional()?;
            let was_committed = found.is_some_and(|found| found >= sequence as i64);
            if !was_committed {
                advance(connection, store, (before, before))?;
            }
            Ok(was_committed)
        };
        self.write_alone(fence)
    }

    /// Begins again under another id, with nothing of its own.
    fn begin_anew(&mut self) -> Result<(), StoreError> {
        warn!("{}: this tracker was away for so long that others have removed it", self.address);
        self.store = StoreId::from_bytes(rand::random());
        (self.own, self.own_written) = (Vec::new(), None);
        self.has_missed = true;
        self.register()
    }

    /// Says what has failed, if anything has, and ends the snapshot. Nothing may leave that rests on
    /// rows read here before this has been asked; it is asked once a turn.
    ///
    /// # Errors
    /// What failed first: [`StoreError::Engine`].
    pub fn check(&mut self) -> Result<(), StoreError> {
        self.tables.engine.get_mut().end_reading();
        if self.tables.engine.get_mut().phase() == connection::Phase::Idle {
            self.forget();
        }
        self.tables.take_failure().map_or(Ok(()), Err)
    }

    /// Says that this tracker is there, removes one that has ended, and reads what the others have
    /// done since the last call. What is read after that, until [`SqlStore::check`], is of the same
    /// moment.
    ///
    /// # Errors
    /// [`StoreError::Engine`].
    pub fn poll(&mut self) -> Result<News, StoreError> {
        self.check()?;
        if self.beaten.elapsed() >= feed::BEAT {
            self.beaten = Instant::now();
            self.beat()?;
            self.remove_gone()?;
        }
        if let Some(store) = self.leaving.front().copied()
            && self.remove_presence(store)? == 0
        {
            self.leaving.pop_front();
        }
        let mut news = self.feed.read(self.tables.engine.get_mut(), self.store)?;
        self.read_totals()?;
        news.is_lost |= std::mem::take(&mut self.has_missed);
        Ok(news)
    }

    /// Writes what has changed in who is present here; false if that is to be done again.
    ///
    /// # Errors
    /// [`StoreError::Engine`] if the database cannot be reached for a while.
    pub fn put_presence(&mut self, changed: &PresenceChanges) -> Result<bool, StoreError> {
        if changed.is_empty() && !self.presence.is_due() {
            return Ok(true);
        }
        let (store, mut presence) = (self.store, std::mem::take(&mut self.presence));
        let written =
            self.try_once(Isolation::Plain, |connection| presence.put(connection, store, changed));
        self.presence = presence;
        match written? {
            Ok(removed) => {
                self.presence.removed(removed);
                Ok(true)
            }
            Err(error) => {
                warn!("cannot tell who is here: {error}");
                Ok(false)
            }
        }
    }

    /// Which of these are present at other trackers.
    pub fn still_there(&self, which: &[PresentAt]) -> BTreeSet<PresentAt> {
        let without = [self.feed.down(), vec![self.store.as_bytes().to_vec()]].concat();
        let ask = |some: &[PresentAt]| {
            self.tables.read(|connection| presence::still_there(connection, some, &without))
        };
        which.chunks(presence::BATCH_MAX).flat_map(ask).collect()
    }

    /// At most `max` devices of each of these swarms that are present at the other trackers.
    pub fn peers_elsewhere(&self, swarms: &[Swarm], max: usize) -> Vec<PeerEntry> {
        if !self.feed.has_others() || swarms.is_empty() {
            return Vec::new();
        }
        let without = [self.feed.down(), vec![self.store.as_bytes().to_vec()]].concat();
        let places: Vec<Vec<u8>> =
            swarms.iter().map(|swarm| presence::swarm_place(*swarm)).collect();
        let max = i64::try_from(max).unwrap_or(i64::MAX);
        self.tables.read(|connection| presence::peers(connection, &places, &without, max))
    }

    /// How many devices are present at all trackers; of the changes here, those that are written.
    pub fn count_present(&self, swarms: &[Swarm], users: &[UserId]) -> Counts {
        if !self.feed.has_others() || (swarms.is_empty() && users.is_empty()) {
            return Counts::default();
        }
        let without = self.feed.down();
        let swarms = swarms.iter().map(|swarm| (presence::swarm_place(*swarm), *swarm));
        let users = users.iter().map(|user| (presence::user_place(*user), *user));
        let (swarms, users): (Vec<_>, Vec<_>) = (swarms.collect(), users.collect());
        let places =
            swarms.iter().map(|(place, _)| place).chain(users.iter().map(|(place, _)| place));
        let places: Vec<Vec<u8>> = places.cloned().collect();
        let found = self.tables.read(|connection| presence::count(connection, &places, &without));
        fn of<K: Ord>(found: &BTreeMap<Vec<u8>, u32>, keys: Vec<(Vec<u8>, K)>) -> BTreeMap<K, u32> {
            keys.into_iter().filter_map(|(place, key)| Some((key, *found.get(&place)?))).collect()
        }
        Counts { seeders: of(&found, swarms), users: of(&found, users) }
    }

    /// Finds the trackers that are not in the list any more, whose rows of who is present there are to
    /// be removed: some at each poll.
    fn find_absent(&mut self) -> Result<(), StoreError> {
        let engine = self.tables.engine.get_mut();
        // In this order: a tracker is in the list before it writes.
        let writers = engine.read(presence::writers)?;
        engine.end_reading();
        let listed = engine.read(feed::read_trackers)?;
        engine.end_reading();
        let is_listed = |writer: &Vec<u8>| listed.iter().any(|(store, ..)| store == writer);
        let absent = writers.iter().filter(|writer| !is_listed(writer));
        self.leaving = absent.filter_map(|writer| feed::id_of(writer)).collect();
        Ok(())
    }

    /// Removes some of what a tracker has written of who is present there; tells how much.
    fn remove_presence(&mut self, store: StoreId) -> Result<usize, StoreError> {
        let removed =
            self.try_once(Isolation::Plain, |connection| presence::remove_some(connection, store))?;
        // Another tracker may be doing it.
        Ok(removed.unwrap_or(1))
    }

    fn beat(&mut self) -> Result<(), StoreError> {
        let (store, removable) = (self.store, self.feed.removable(self.sequence) as i64);
        let beaten = self.try_alone(|connection| {
            let id = &store.as_bytes()[..];
            let counted = diesel::update(posse_trackers::table.find(id))
                .set(posse_trackers::beat.eq(posse_trackers::beat + 1))
                .execute(connection)?;
            if removable > 0 {
                feed::remove_told(connection, store, removable)?;
            }
            Ok(counted == 1)
        })?;
        match beaten {
            Ok(true) => Ok(()),
            Ok(false) => self.begin_anew(),
            Err(error) => {
                // The next one may succeed.
                warn!("{}: cannot say that this tracker is there: {error}", self.address);
                Ok(())
            }
        }
    }

    fn remove_gone(&mut self) -> Result<(), StoreError> {
        let Some((store, beat)) = self.feed.find_gone() else { return Ok(()) };
        if !matches!(self.try_alone(|connection| feed::remove(connection, store, beat))?, Ok(true))
        {
            // It is there after all, or another tracker removes it.
            return Ok(());
        }
        info!("a tracker of {} has ended, and was removed from the list", self.address);
        self.feed.forget(store);
        self.find_absent()?;
        self.read_totals()?;
        self.check()
    }

    /// The numbers of the other trackers that are there.
    pub fn alive(&self) -> BTreeSet<u32> {
        self.feed.alive()
    }

    /// Says that this tracker ends. Nothing may be written after that; the others still read what it
    /// has told, and one of them takes it out of the list.
    ///
    /// # Errors
    /// [`StoreError::Engine`].
    pub fn close(&mut self) -> Result<(), StoreError> {
        self.check()?;
        let store = self.store;
        self.write_alone(|connection| feed::end(connection, store))
    }

    /// Returns at most `limit` tombstones, requests and invitations with a stamp before `before_ms`,
    /// in the transaction in which the caller deletes them.
    pub fn old_rows(&self, before_ms: u64, limit: usize) -> Vec<Row> {
        let mut rows = Vec::new();
        for class in [CLASS_TOMBSTONE, CLASS_REQUEST, CLASS_EXPIRING] {
            rows.extend(self.tables.rows_between(class, (0, before_ms), limit - rows.len()));
        }
        rows
    }
}

/// The key of a tracker's part of the totals.
fn part_key(store: StoreId) -> Vec<u8> {
    [&TOTALS_KEY, &store.as_bytes()[..]].concat()
}

/// Notes the last update sequence of a tracker; false if it is not in the list, or was not at the
/// one before. It is the first statement that writes: so it keeps a second transaction of the same
/// tracker, which went on without its connection, from being committed beside.
fn advance(
    connection: &mut PgConnection,
    store: StoreId,
    (before, sequence): (u64, u64),
) -> QueryResult<bool> {
    let own = posse_trackers::table
        .find(&store.as_bytes()[..])
        .filter(posse_trackers::sequence.eq(before as i64));
    let updated = diesel::update(own).set(posse_trackers::sequence.eq(sequence as i64));
    Ok(updated.execute(connection)? == 1)
}

impl Rows for SqlStore {
    fn get(&self, key: &RowKey) -> Option<Row> {
        let stored = stored_key(key);
        if let Some(written) = self.memtable.row(&stored) {
            return written.cloned();
        }
        if let Some(row) = self.lately.borrow().get(&stored) {
            return row.clone();
        }
        let row = self.tables.get(key);
        self.lately.borrow_mut().insert(stored, row.clone());
        row
    }

    fn rows(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Vec<Row> {
        let from = after.map_or(Bound::Included(prefix), Bound::Excluded);
        let end = crate::directory::end_of(prefix);
        let range = (from, end.as_ref().map(Vec::as_slice));
        let read = |range: tables::Range<'_>, limit: usize| self.tables.keyed_rows(range, limit);
        self.memtable.rows(range, limit, read).into_iter().map(|(_, row)| row).collect()
    }

    fn entry(&self, key: &[u8]) -> Option<Vec<u8>> {
        if key == TOTALS_KEY {
            let own = self.own_written.as_ref().unwrap_or(&self.own);
            return Some(add_totals(&self.others, own)).filter(|sum| !sum.is_empty());
        }
        if let Some(written) = self.memtable.entry(key) {
            return written.cloned();
        }
        if let Some(value) = self.lately_entries.borrow().get(key) {
            return value.clone();
        }
        let value = self.tables.entry(key);
        self.lately_entries.borrow_mut().insert(key.to_vec(), value.clone());
        value
    }

    fn entries(
        &self,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        backwards: bool,
        limit: usize,
    ) -> Vec<Entry> {
        let read =
            |range: tables::Range<'_>, limit: usize| self.tables.entries(range, backwards, limit);
        self.memtable.page(range, backwards, limit, read)
    }
}

impl RowsMut for SqlStore {
    fn put(&mut self, sequence: u64, row: &Row) {
        self.memtable.put_row(sequence, row);
    }

    fn delete(&mut self, key: &RowKey) {
        self.memtable.delete_row(&stored_key(key));
    }

    fn set_entry(&mut self, key: &[u8], value: Option<&[u8]>) {
        if key == TOTALS_KEY {
            self.own_written = Some(subtract_totals(value.unwrap_or_default(), &self.others));
        } else {
            self.memtable.set_entry(key, value);
        }
    }
}

/// Reads the shared rows beside their writer, on any thread.
#[derive(Debug)]
pub struct SqlReader {
    tables: SqlTables,
}

impl SqlReader {
    /// Makes a reader; it connects when it first reads.
    pub fn new(address: EngineAddress) -> Self {
        Self { tables: SqlTables::new(Engine::lazy(address)) }
    }

    /// Calls `look` with the directory as it is at one moment.
    ///
    /// # Errors
    /// [`StoreError::Engine`].
    pub fn look<T>(&self, look: impl FnOnce(&Directory<&dyn Rows>) -> T) -> Result<T, StoreError> {
        let rows: &dyn Rows = &self.tables;
        let seen = look(&Directory::new(rows));
        self.tables.engine.borrow_mut().end_reading();
        self.tables.take_failure().map_or(Ok(seen), Err)
    }

    /// Hands at most `limit` requests with `from_ms` <= stamp < `to_ms` to `take`, in the order of
    /// their milliseconds, until it says false.
    ///
    /// # Errors
    /// [`StoreError::Engine`].
    pub fn requests_between(
        &self,
        range: (u64, u64),
        limit: usize,
        mut take: impl FnMut(Row) -> bool,
    ) -> Result<(), StoreError> {
        let rows = self.tables.rows_between(CLASS_REQUEST, range, limit);
        self.tables.engine.borrow_mut().end_reading();
        self.tables.take_failure().map_or(Ok(()), Err)?;
        let _ = rows.into_iter().all(&mut take);
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests;
