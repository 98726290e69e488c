//! What the trackers of one database tell each other through it: each writes what its transactions
//! have changed, numbered, in the same transactions; the others read that.
//!
//! **Invariant:** no transaction is told twice, and none is left out unless [`News::is_lost`] says
//! so. The numbers of one tracker are committed in their order, since it has one transaction at a
//! time; so a number of each tracker, up to which its transactions were read, is all that is kept.
//!
//! A tracker that does not count its beats any more has ended: another one removes it. If it was
//! only slow, it finds itself gone at its next write, and begins anew under another id.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Binary};

use super::super::database::StoreError;
use super::super::shared::News;
use super::connection::Engine;
use super::presence;
use super::schema::{posse_entries, posse_feed, posse_trackers};
use crate::directory::{TOTALS_KEY, add_totals};
use crate::types::{Content, Place, RequestId, Row, Stamp, StoreId, Transaction, Version};
use crate::wire::Wire as _;

/// Trackers of one database at most, those aside that have ended and are not removed yet.
const TRACKERS_MAX: i64 = 1_024;
/// Transactions of one tracker that are read at once.
const READ_MAX: i64 = 1_000;
/// A tracker that has not counted a beat for so long has ended.
const GONE_AFTER: Duration = Duration::from_secs(if cfg!(test) { 2 } else { 60 });
/// One that has not done so for so long is shown as down.
const DOWN_AFTER: Duration = Duration::from_secs(if cfg!(test) { 2 } else { 8 });
/// How often a beat is counted.
pub(super) const BEAT: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 2 });
/// How long transactions are kept for the others to read.
const KEPT: Duration = Duration::from_secs(600);
/// `beat` of a tracker that has ended in order.
pub(super) const ENDED: i64 = -1;
/// The encoding of a transaction in the feed.
const VERSION: u8 = 1;

/// How another tracker is known.
#[derive(Debug)]
struct Known {
    number: u32,
    /// Its transactions up to that one were read.
    sequence: i64,
    beat: i64,
    beaten: Instant,
    /// Who is present there was read up to that row.
    present: i64,
}

/// What is known of the trackers of the database.
#[derive(Debug)]
pub(super) struct Feed {
    known: BTreeMap<StoreId, Known>,
    /// When it was last read.
    read: Instant,
    /// The own transactions that may be removed later: up to which one, and when it was there.
    kept: Vec<(Instant, u64)>,
}

/// One row of the table of trackers: store, number, sequence, what was removed, beat.
type Listed = (Vec<u8>, i64, i64, i64, i64);

pub(super) fn read_trackers(connection: &mut PgConnection) -> QueryResult<Vec<Listed>> {
    posse_trackers::table.order(posse_trackers::store.asc()).limit(TRACKERS_MAX).load(connection)
}

pub(super) fn id_of(bytes: &[u8]) -> Option<StoreId> {
    Some(StoreId::from_bytes(bytes.try_into().ok()?))
}

impl Default for Feed {
    fn default() -> Self {
        Self { known: BTreeMap::new(), read: Instant::now(), kept: Vec::new() }
    }
}

impl Known {
    /// Tells whether it has not counted a beat lately, or has ended in order.
    fn is_down(&self) -> bool {
        self.beat == ENDED || self.beaten.elapsed() >= DOWN_AFTER
    }
}

impl Feed {
    /// Takes the others as they are: what they did before is in the rows that are read from now on.
    pub(super) fn begin(&mut self, own: StoreId, listed: Vec<(Listed, i64)>) {
        (self.read, self.kept) = (Instant::now(), Vec::new());
        self.known.clear();
        for ((store, number, sequence, _, beat), present) in listed {
            if let Some(id) = id_of(&store).filter(|id| *id != own) {
                let number = u32::try_from(number).unwrap_or_default();
                let beaten = Instant::now();
                self.known.insert(id, Known { number, sequence, beat, beaten, present });
            }
        }
    }

    /// Reads what the others have done since the last call.
    pub(super) fn read(&mut self, engine: &mut Engine, own: StoreId) -> Result<News, StoreError> {
        let listed = engine.read(read_trackers)?;
        let since = std::mem::replace(&mut self.read, Instant::now()).elapsed();
        if since >= DOWN_AFTER {
            // Nobody has listened.
            self.known.values_mut().for_each(|known| known.beaten = Instant::now());
        }
        let mut news = News::default();
        let mut there = BTreeSet::new();
        for (store, number, sequence, kept_from, beat) in listed {
            let Some(id) = id_of(&store).filter(|id| *id != own) else { continue };
            there.insert(id);
            let known = self.known.entry(id).or_insert_with(|| Known {
                number: u32::try_from(number).unwrap_or_default(),
                // It has begun after this one: all that it has done is news. It may have begun anew.
                sequence: kept_from,
                beat,
                beaten: Instant::now(),
                present: 0,
            });
            if known.beat != beat {
                (known.beat, known.beaten) = (beat, Instant::now());
            }
            if kept_from > known.sequence {
                (news.is_lost, known.sequence) = (true, sequence);
            }
            // It may have removed what it told before it was met.
            news.is_lost |= since >= KEPT / 2;
            let behind = known.present;
            let (present, last) =
                engine.read(|connection| presence::read_behind(connection, &store, behind))?;
            news.present.extend(present);
            known.present = last;
            if sequence <= known.sequence {
                continue;
            }
            let behind = known.sequence;
            let bodies = engine.read(|connection| {
                posse_feed::table
                    .filter(posse_feed::store.eq(&store))
                    .filter(posse_feed::sequence.gt(behind))
                    .order((posse_feed::store.asc(), posse_feed::sequence.asc()))
                    .limit(READ_MAX)
                    .select((posse_feed::sequence, posse_feed::body))
                    .load::<(i64, Vec<u8>)>(connection)
            })?;
            for (sequence, body) in bodies {
                known.sequence = sequence;
                if body.first().is_some_and(|version| *version > VERSION) {
                    // Of a later version.
                    news.is_lost = true;
                    continue;
                }
                let transaction = decode(&body)
                    .ok_or_else(|| engine.damaged("what a tracker tells of its changes"))?;
                news.transactions.push(transaction);
            }
        }
        // One that has ended stays long enough for all to read what it told.
        let is_unread = |id: &StoreId| !there.contains(id) && since >= GONE_AFTER / 2;
        news.is_lost |= self.known.keys().any(is_unread);
        self.known.retain(|id, _| there.contains(id));
        Ok(news)
    }

    /// Tells whether there are other trackers.
    pub(super) fn has_others(&self) -> bool {
        !self.known.is_empty()
    }

    /// The other trackers that have not counted a beat lately.
    pub(super) fn down(&self) -> Vec<Vec<u8>> {
        let down = self.known.iter().filter(|(_, known)| known.is_down());
        down.map(|(id, _)| id.as_bytes().to_vec()).collect()
    }

    /// The numbers of the other trackers that are there.
    pub(super) fn alive(&self) -> BTreeSet<u32> {
        let alive = self.known.values().filter(|known| !known.is_down());
        alive.map(|known| known.number).collect()
    }

    /// One that has ended, and the last beat that it has counted; none after a time in which nobody
    /// has listened here.
    pub(super) fn find_gone(&self) -> Option<(StoreId, i64)> {
        if self.read.elapsed() >= DOWN_AFTER {
            return None;
        }
        let gone = self.known.iter().find(|(_, known)| known.beaten.elapsed() >= GONE_AFTER);
        gone.map(|(id, known)| (*id, known.beat))
    }

    pub(super) fn forget(&mut self, store: StoreId) {
        self.known.remove(&store);
    }

    /// Up to which of its own transactions a tracker may remove what it has told of them.
    pub(super) fn removable(&mut self, sequence: u64) -> u64 {
        self.kept.push((Instant::now(), sequence));
        let old = self.kept.iter().take_while(|(since, _)| since.elapsed() >= KEPT).count();
        self.kept.drain(..old).next_back().map_or(0, |(_, sequence)| sequence)
    }
}

/// Says that a tracker ends in order. What it has told stays for the others to read, until one of
/// them removes it.
pub(super) fn end(connection: &mut PgConnection, store: StoreId) -> QueryResult<()> {
    diesel::update(posse_trackers::table.find(&store.as_bytes()[..]))
        .set(posse_trackers::beat.eq(ENDED))
        .execute(connection)
        .map(drop)
}

/// Removes a tracker that has ended, unless it has counted a beat since that one: its part of the
/// totals goes to what is left. Tells whether it did.
pub(super) fn remove(
    connection: &mut PgConnection,
    store: StoreId,
    beat: i64,
) -> QueryResult<bool> {
    let id = &store.as_bytes()[..];
    let found: Option<i64> =
        posse_trackers::table.find(id).select(posse_trackers::beat).first(connection).optional()?;
    if found != Some(beat) {
        return Ok(false);
    }
    let part = [&TOTALS_KEY, id].concat();
    let read = |connection: &mut PgConnection, key: &[u8]| -> QueryResult<Vec<u8>> {
        let found = posse_entries::table.find(key).select(posse_entries::value);
        Ok(found.first(connection).optional()?.unwrap_or_default())
    };
    let sum = add_totals(&read(connection, &TOTALS_KEY)?, &read(connection, &part)?);
    super::writing::put_entries(connection, [(&TOTALS_KEY[..], &sum[..])].into_iter())?;
    diesel::delete(posse_entries::table.find(part)).execute(connection)?;
    diesel::delete(posse_feed::table.filter(posse_feed::store.eq(id))).execute(connection)?;
    diesel::delete(posse_trackers::table.find(id)).execute(connection)?;
    Ok(true)
}

/// Removes what a tracker has told of its transactions up to one of them, and says so.
pub(super) fn remove_told(
    connection: &mut PgConnection,
    store: StoreId,
    through: i64,
) -> QueryResult<()> {
    let listed = posse_trackers::table.find(&store.as_bytes()[..]);
    diesel::update(listed).set(posse_trackers::kept_from.eq(through)).execute(connection)?;
    let of_store = posse_feed::table.filter(posse_feed::store.eq(&store.as_bytes()[..]));
    diesel::delete(of_store.filter(posse_feed::sequence.le(through))).execute(connection).map(drop)
}

/// Writes what transactions have changed.
pub(super) fn put(
    connection: &mut PgConnection,
    store: StoreId,
    transactions: &[Transaction],
) -> QueryResult<()> {
    let sequences: Vec<i64> = transactions.iter().map(|one| one.sequence as i64).collect();
    let bodies: Vec<Vec<u8>> = transactions.iter().map(encode).collect();
    let sql = "INSERT INTO posse_feed (store, sequence, body)
        SELECT $1, told.sequence, told.body FROM unnest($2, $3) AS told (sequence, body)";
    sql_query(sql)
        .bind::<Binary, _>(&store.as_bytes()[..])
        .bind::<Array<BigInt>, _>(sequences)
        .bind::<Array<Binary>, _>(bodies)
        .execute(connection)
        .map(drop)
}

/// Each row, then what was there before, if anything: a row, too, whose version means nothing.
fn encode(transaction: &Transaction) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    let mut put = |row: Option<&Row>| {
        let row = row.map(Row::to_bytes).unwrap_or_default();
        bytes.extend_from_slice(&(row.len() as u32).to_be_bytes());
        bytes.extend_from_slice(&row);
    };
    for (row, displaced) in transaction.rows.iter().zip(&transaction.displaced) {
        put(Some(row));
        put(displaced.as_ref().map(before).as_ref());
    }
    bytes
}

fn before(content: &Content) -> Row {
    let version = Version { stamp: Stamp::ZERO, request: RequestId::from_bytes([0; 16]) };
    let place = Place { store: StoreId::from_bytes([0; 16]), sequence: 0 };
    Row { content: content.clone(), version, place, extra: Box::default() }
}

fn decode(bytes: &[u8]) -> Option<Transaction> {
    let mut rest = bytes.strip_prefix(&[VERSION])?;
    let mut take = || -> Option<Option<Row>> {
        let (len, behind) = rest.split_first_chunk()?;
        let (row, behind) = behind.split_at_checked(u32::from_be_bytes(*len) as usize)?;
        rest = behind;
        if row.is_empty() { Some(None) } else { Row::from_bytes(row).ok().map(Some) }
    };
    let mut transaction = Transaction::default();
    while let Some(row) = take() {
        let row = row?;
        transaction.sequence = row.place.sequence;
        transaction.rows.push(row);
        transaction.displaced.push(take()?.map(|before| before.content));
    }
    rest.is_empty().then_some(transaction)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{GroupId, UserId};

    #[test]
    fn what_is_told_is_read_and_what_is_cut_is_not() {
        let group = GroupId::from_bytes([1; 16]);
        let owner = |user: u8| Content::Owner(group, UserId::from_bytes([user; 16]));
        let mut row = before(&owner(2));
        row.place.sequence = 9;
        let told = Transaction {
            sequence: 9,
            rows: vec![row.clone(), row],
            displaced: vec![None, Some(owner(3))],
            ..Transaction::default()
        };
        let bytes = encode(&told);
        assert_eq!(decode(&bytes), Some(told));
        for len in 0..bytes.len() {
            let cut = decode(&bytes[..len]);
            assert!(cut.is_none_or(|cut| cut.rows.len() < 2), "{len}");
        }
        assert_eq!(decode(&[]), None);
    }
}
