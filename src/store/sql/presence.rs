//! Who is present at which tracker: rows that count as long as their tracker counts its beats.
//!
//! **Invariant:** each tracker writes its own rows alone, numbered in the order of its changes, so
//! that the others read what has changed since they last looked. A row of a device that has gone
//! stays for [`GONE_KEPT`], for them to see it, and is removed then.
//!
//! Soft: what cannot be written waits for the next time. Rows of a tracker that has ended are not
//! read, and are removed with it.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Binary, SmallInt};

use super::super::shared::{Present, PresentAt, Swarm};
use super::schema::posse_presence;
use crate::types::{DeviceId, DownloadState, PeerEntry, StoreId, UserId};
use crate::wire::Wire as _;

/// How long a row stays whose device has gone.
const GONE_KEPT: Duration = Duration::from_secs(30);
/// Rows in one statement.
pub(super) const BATCH_MAX: usize = 1_000;
/// Rows of one tracker that are read at a time.
pub(super) const READ_MAX: i64 = 5_000;
/// Devices that are counted of one file or user: there may be very many.
const COUNTED_MAX: i64 = 1_000;

/// `state` of a row.
const GONE: i16 = 0;
const LEECHING: i16 = 1;
const SEEDING: i16 = 2;
/// Gone, by its user's own doing.
const WITHDRAWN: i16 = 3;
/// The user is logged in there.
const ONLINE: i16 = 4;

const PUT: &str = "INSERT INTO posse_presence (place, device, tracker, sequence, state, body)
    SELECT told.place, told.device, $1, told.sequence, told.state, told.body
        FROM unnest($2, $3, $4, $5, $6) AS told (place, device, sequence, state, body)
    ON CONFLICT (place, device, tracker) DO UPDATE SET sequence = excluded.sequence,
        state = excluded.state, body = excluded.body";

/// Of each swarm the devices behind a random one, and before it where there are too few. Trackers
/// are excluded, not asked for: so no engine reads all rows of a tracker for the few of a swarm.
const PEERS: &str = "SELECT peers.body FROM unnest($1) AS asked (place) CROSS JOIN LATERAL (
        SELECT body FROM (
            (SELECT 0 AS round, device, body FROM posse_presence WHERE place = asked.place
                AND device >= $2 AND tracker <> ALL($3) AND state IN (1, 2)
                ORDER BY place, device LIMIT $4)
            UNION ALL
            (SELECT 1 AS round, device, body FROM posse_presence WHERE place = asked.place
                AND device < $2 AND tracker <> ALL($3) AND state IN (1, 2)
                ORDER BY place, device LIMIT $4)
        ) AS both_rounds ORDER BY round, device LIMIT $4
    ) AS peers";

const COUNT: &str = "SELECT asked.place, found.devices FROM unnest($1) AS asked (place)
    CROSS JOIN LATERAL (
        SELECT count(DISTINCT device) AS devices FROM (
            SELECT device FROM posse_presence WHERE place = asked.place AND tracker <> ALL($2)
                AND state IN (2, 4) ORDER BY place, device LIMIT $3
        ) AS present
    ) AS found WHERE found.devices > 0";

const STILL_THERE: &str = "SELECT asked.number
    FROM unnest($1, $2, $3) AS asked (number, place, device)
    WHERE EXISTS (SELECT 1 FROM posse_presence WHERE posse_presence.place = asked.place
        AND posse_presence.device = asked.device AND posse_presence.tracker <> ALL($4)
        AND posse_presence.state IN (1, 2, 4))";

/// What this tracker has written.
#[derive(Debug, Default)]
pub(super) struct Presence {
    sequence: i64,
    /// Rows of devices that have gone, and since when; the oldest first.
    pub(super) gone: VecDeque<(Instant, i64)>,
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

#[derive(QueryableByName)]
struct Body {
    #[diesel(sql_type = Binary)]
    body: Vec<u8>,
}

#[derive(QueryableByName)]
struct Counted {
    #[diesel(sql_type = Binary)]
    place: Vec<u8>,
    #[diesel(sql_type = BigInt)]
    devices: i64,
}

impl Presence {
    /// Writes rows, and removes those whose time is over; returns how many these are, for
    /// [`Presence::removed`] when it is committed. If this fails it can be done again.
    pub(super) fn put(
        &mut self,
        connection: &mut PgConnection,
        tracker: StoreId,
        changed: &BTreeMap<PresentAt, Present>,
    ) -> QueryResult<usize> {
        let now = Instant::now();
        let changed: Vec<_> = changed.iter().collect();
        for some in changed.chunks(BATCH_MAX) {
            let (mut places, mut devices, mut sequences) = (vec![], vec![], vec![]);
            let (mut states, mut bodies) = (vec![], vec![]);
            for (at, present) in some {
                self.sequence += 1;
                let state = state_of(present);
                if state == GONE || state == WITHDRAWN {
                    self.gone.push_back((now, self.sequence));
                }
                places.push(at.place());
                devices.push(at.device());
                sequences.push(self.sequence);
                states.push(state);
                bodies.push(match present {
                    Present::Peer { peer, .. } => peer.to_bytes(),
                    Present::User { .. } => Vec::new(),
                });
            }
            sql_query(PUT)
                .bind::<Binary, _>(&tracker.as_bytes()[..])
                .bind::<Array<Binary>, _>(places)
                .bind::<Array<Binary>, _>(devices)
                .bind::<Array<BigInt>, _>(sequences)
                .bind::<Array<SmallInt>, _>(states)
                .bind::<Array<Binary>, _>(bodies)
                .execute(connection)?;
        }
        let is_over = |(since, _): &&(Instant, i64)| since.elapsed() >= GONE_KEPT;
        let old: Vec<i64> =
            self.gone.iter().take_while(is_over).take(BATCH_MAX).map(|(_, one)| *one).collect();
        if !old.is_empty() {
            let own = posse_presence::tracker.eq(&tracker.as_bytes()[..]);
            let rows = posse_presence::table.filter(own);
            diesel::delete(rows.filter(posse_presence::sequence.eq_any(&old)))
                .execute(connection)?;
        }
        Ok(old.len())
    }

    /// The oldest rows of devices that have gone were removed.
    pub(super) fn removed(&mut self, count: usize) {
        self.gone.drain(..count);
    }

    /// Tells whether there is something to remove.
    pub(super) fn is_due(&self) -> bool {
        self.gone.front().is_some_and(|(since, _)| since.elapsed() >= GONE_KEPT)
    }
}

/// The last row that a tracker has written.
pub(super) fn last(connection: &mut PgConnection, tracker: &[u8]) -> QueryResult<i64> {
    let found: Option<i64> = posse_presence::table
        .filter(posse_presence::tracker.eq(tracker))
        .order((posse_presence::tracker.desc(), posse_presence::sequence.desc()))
        .select(posse_presence::sequence)
        .first(connection)
        .optional()?;
    Ok(found.unwrap_or(0))
}

/// At most [`READ_MAX`] rows that a tracker has written behind one of them, and the last of these.
pub(super) fn read_behind(
    connection: &mut PgConnection,
    tracker: &[u8],
    behind: i64,
) -> QueryResult<(Vec<Present>, i64)> {
    let rows: Vec<(i64, i16, Vec<u8>)> = posse_presence::table
        .filter(posse_presence::tracker.eq(tracker))
        .filter(posse_presence::sequence.gt(behind))
        .order((posse_presence::tracker.asc(), posse_presence::sequence.asc()))
        .limit(READ_MAX)
        .select((posse_presence::sequence, posse_presence::state, posse_presence::body))
        .load(connection)?;
    let last = rows.last().map_or(behind, |(sequence, ..)| *sequence);
    // Users have no body, and nobody is told of them. What a later version writes is passed over.
    let present = rows.into_iter().filter_map(|(_, state, body)| {
        let peer = PeerEntry::from_bytes(&body).ok()?;
        Some(Present::Peer { peer, is_withdrawn: state == WITHDRAWN })
    });
    Ok((present.collect(), last))
}

/// Which of these are present at trackers other than these, at most [`BATCH_MAX`].
pub(super) fn still_there(
    connection: &mut PgConnection,
    which: &[PresentAt],
    without: &[Vec<u8>],
) -> QueryResult<Vec<PresentAt>> {
    let numbers: Vec<i64> = (0..).take(which.len()).collect();
    let found: Vec<Number> = sql_query(STILL_THERE)
        .bind::<Array<BigInt>, _>(numbers)
        .bind::<Array<Binary>, _>(which.iter().map(PresentAt::place).collect::<Vec<_>>())
        .bind::<Array<Binary>, _>(which.iter().map(PresentAt::device).collect::<Vec<_>>())
        .bind::<Array<Binary>, _>(without)
        .load(connection)?;
    Ok(found
        .iter()
        .filter_map(|row| which.get(usize::try_from(row.number).ok()?).copied())
        .collect())
}

/// At most `max` devices of each of these swarms that are present at trackers other than these.
pub(super) fn peers(
    connection: &mut PgConnection,
    places: &[Vec<u8>],
    without: &[Vec<u8>],
    max: i64,
) -> QueryResult<Vec<PeerEntry>> {
    let from: [u8; DEVICE_LEN] = rand::random();
    let found: Vec<Body> = sql_query(PEERS)
        .bind::<Array<Binary>, _>(places)
        .bind::<Binary, _>(&from[..])
        .bind::<Array<Binary>, _>(without)
        .bind::<BigInt, _>(max)
        .load(connection)?;
    Ok(found.iter().filter_map(|row| PeerEntry::from_bytes(&row.body).ok()).collect())
}

/// How many devices of each of these users, or with each of these files, are present at trackers
/// other than these; those with none are left out.
pub(super) fn count(
    connection: &mut PgConnection,
    places: &[Vec<u8>],
    without: &[Vec<u8>],
) -> QueryResult<BTreeMap<Vec<u8>, u32>> {
    let found: Vec<Counted> = sql_query(COUNT)
        .bind::<Array<Binary>, _>(places)
        .bind::<Array<Binary>, _>(without)
        .bind::<BigInt, _>(COUNTED_MAX)
        .load(connection)?;
    let count = |row: Counted| (row.place, u32::try_from(row.devices).unwrap_or(u32::MAX));
    Ok(found.into_iter().map(count).collect())
}

/// The trackers that have written rows which are there.
pub(super) fn writers(connection: &mut PgConnection) -> QueryResult<Vec<Vec<u8>>> {
    let mut found: Vec<Vec<u8>> = Vec::new();
    loop {
        let behind = found.last().cloned().unwrap_or_default();
        let next: Option<Vec<u8>> = posse_presence::table
            .filter(posse_presence::tracker.gt(behind))
            .order((posse_presence::tracker.asc(), posse_presence::sequence.asc()))
            .select(posse_presence::tracker)
            .first(connection)
            .optional()?;
        match next {
            Some(next) => found.push(next),
            None => return Ok(found),
        }
    }
}

/// Removes some of a tracker's rows; tells how many.
pub(super) fn remove_some(connection: &mut PgConnection, tracker: StoreId) -> QueryResult<usize> {
    let rows = posse_presence::table
        .filter(posse_presence::tracker.eq(&tracker.as_bytes()[..]))
        .order((posse_presence::tracker.asc(), posse_presence::sequence.asc()))
        .limit(BATCH_MAX as i64)
        .select(posse_presence::sequence)
        .load::<i64>(connection)?;
    let own = posse_presence::tracker.eq(&tracker.as_bytes()[..]);
    diesel::delete(posse_presence::table.filter(own).filter(posse_presence::sequence.eq_any(rows)))
        .execute(connection)
}

/// Bytes of a device and its user.
const DEVICE_LEN: usize = DeviceId::LEN + UserId::LEN;

impl PresentAt {
    fn place(&self) -> Vec<u8> {
        match self {
            Self::Swarm { swarm, .. } => swarm_place(*swarm),
            Self::User(user, _) => user_place(*user),
        }
    }

    fn device(&self) -> Vec<u8> {
        let (Self::Swarm { user, device, .. } | Self::User(user, device)) = self;
        [&device.as_bytes()[..], &user.as_bytes()[..]].concat()
    }
}

/// Where the devices of a swarm are.
pub(super) fn swarm_place((info_hash, group): Swarm) -> Vec<u8> {
    [&info_hash.as_bytes()[..], &group.as_bytes()[..]].concat()
}

/// Where the devices of a user are.
pub(super) fn user_place(user: UserId) -> Vec<u8> {
    user.as_bytes().to_vec()
}

fn state_of(present: &Present) -> i16 {
    match present {
        Present::User { is_online: true } => ONLINE,
        Present::User { is_online: false } => GONE,
        Present::Peer { is_withdrawn: true, .. } => WITHDRAWN,
        Present::Peer { peer, .. } => match peer.state {
            DownloadState::Stopped => GONE,
            DownloadState::Leeching => LEECHING,
            DownloadState::Seeding => SEEDING,
        },
    }
}
