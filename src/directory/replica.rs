//! The pure core of a tracker: requests and messages in, effects out.
//!
//! **Invariant:** the rows that are seen are those of the store and of the transactions handed out
//! since; a reply that tells of a change leaves only when the change is durable here and on every
//! tracker that is up.
//!
//! One thread owns a replica and nothing in it blocks. The contract of all sans-IO code holds: call
//! one method, then drain [`Replica::poll`], then call the next. Effects come out in the order in
//! which they are to happen.

use std::collections::{BTreeMap, VecDeque};

use super::clock::Stopwatch;
use super::links::{Inbound, Outbound, Step};
use super::output::{LinkId, LinkInfo, Notice, Output, Ticket};
use super::rows::{MemoryRows, Rows, RowsMut};
use super::rules::{Plan, effect_of};
use super::state::{Directory, Offered};
use super::waiting::{Recent, UNFINISHED_MS_MAX, Waiting};
use crate::types::limits::{NOTE_LEN_MAX, REQUEST_TIME_MAX, RETENTION, STORES_MAX};
use crate::types::{
    Change, Content, Lineage, Outcome, Place, Refusal, RequestRow, RequestStamp, Row, RowKey,
    Stamp, StoreState, Success, SyncMessage, Transaction, UserId, Version, VersionVector,
};

/// How often old tombstones are looked for.
const SWEEP_INTERVAL_MS: u64 = 3_600_000;

/// One changing request, already authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The user who asks.
    pub actor: UserId,
    /// Under which id, and when.
    pub request: RequestStamp,
    /// What.
    pub change: Change,
    /// From where and on which device, for the audit.
    pub note: String,
}

/// The directory of one tracker and its synchronisation with the others.
#[derive(Debug, Clone)]
pub struct Replica<R = MemoryRows> {
    pub(super) lineage: Lineage,
    pub(super) directory: Directory<R>,
    pub(super) stopwatch: Stopwatch,
    /// The last update sequence used, handed out to be made durable, and durable.
    pub(super) sequence: u64,
    pub(super) handed: u64,
    pub(super) durable: u64,
    /// The largest update sequence of a row that was deleted for its age.
    pub(super) swept: u64,
    /// Up to where other stores are merged here, durably.
    pub(super) checkpoints: VersionVector,
    /// How far every store is known here, durably.
    pub(super) vector: VersionVector,
    /// Checkpoints and entries of the vector that the store has not been told yet. They rest on
    /// rows that it has, so losing them costs time and nothing else.
    pub(super) unsaved: (VersionVector, VersionVector),
    pub(super) outbound: BTreeMap<u32, Outbound>,
    pub(super) inbound: BTreeMap<u64, Inbound>,
    recent: Recent,
    pub(super) waiting: Vec<Waiting>,
    pub(super) outputs: VecDeque<Output>,
    was_empty: bool,
    /// Told to start anew.
    pub(super) is_outdated: bool,
    swept_at_ms: Option<u64>,
    /// Other trackers write the same rows.
    pub(super) is_shared: bool,
}

impl Replica {
    /// Makes a replica for a store whose rows are held in memory. `peers` are the numbers of the
    /// other trackers. Its rows follow by [`Replica::restore`].
    pub fn new(state: StoreState, peers: &[u32]) -> Self {
        Self::over(Directory::default(), state, peers)
    }
}

impl<R: RowsMut> Replica<R> {
    /// Takes one row from the store at start, before any other call.
    pub fn restore(&mut self, row: &Row) {
        self.directory.apply(row, self.sequence);
        self.directory.end_transaction();
    }

    /// Makes a replica for a store and the rows in it. `peers` are the numbers of the other
    /// trackers.
    pub fn over(directory: Directory<R>, state: StoreState, peers: &[u32]) -> Self {
        let StoreState { lineage, sequence, swept, checkpoints, mut vector } = state;
        vector.raise(lineage.store, sequence);
        lineage.ancestors.iter().for_each(|&(store, last)| vector.raise(store, last));
        Self {
            lineage,
            directory,
            stopwatch: Stopwatch::default(),
            sequence,
            handed: sequence,
            durable: sequence,
            swept,
            checkpoints,
            vector,
            unsaved: Default::default(),
            outbound: peers.iter().map(|&number| (number, Outbound::new())).collect(),
            inbound: BTreeMap::new(),
            recent: Recent::new(sequence),
            waiting: Vec::new(),
            outputs: VecDeque::new(),
            was_empty: sequence == 0,
            is_outdated: false,
            swept_at_ms: None,
            is_shared: false,
        }
    }

    /// Adds a tracker to dial, or removes one.
    pub fn set_peer(&mut self, number: u32, is_there: bool) {
        if is_there {
            self.outbound.entry(number).or_insert_with(Outbound::new);
        } else if self.outbound.remove(&number).is_some() {
            self.outputs.push_back(Output::Drop(LinkId::To(number)));
            self.release();
        }
    }

    /// Carries out a request, or refuses it. The answer is an [`Output::Reply`] with this ticket: a
    /// refusal now, a success once it is durable here and on every tracker that is up.
    ///
    /// A request is not given a later time here: this may be a late copy, and what it would
    /// overtake may be acknowledged elsewhere. Its client knows, and asks again with a later time.
    /// What the operator orders here has no copies. Rows far ahead, of a clock that was wrong, are
    /// out of a client's reach.
    pub fn submit(&mut self, now_ms: u64, ticket: Ticket, asked: Asked) {
        self.stopwatch.advance(now_ms);
        let Asked { mut actor, request, change, note } = asked;
        let is_nobodys = matches!(
            change,
            Change::CreateUser { .. } | Change::CreateInvitedUser { .. } | Change::Operator(_)
        );
        if is_nobodys {
            actor = UserId::NOBODY;
        }
        if let Some((asked, stamp, place)) = self.directory.carried_out(request.id) {
            let is_repeated =
                asked.actor == actor && asked.effect == effect_of(request.id, actor, &change);
            if !is_repeated {
                return self.reply(ticket, Err(Refusal::RequestReused));
            }
            let outcome = Ok(Success { effect: asked.effect, stamp });
            if self.is_shared && place.store != self.lineage.store {
                // One transaction has written it all, and it is committed.
                return self.reply(ticket, outcome);
            }
            if place.store == self.lineage.store {
                return self.reply_when_safe(ticket, outcome, place.sequence);
            }
            let unfinished = Some((place, self.stopwatch.elapsed_ms()));
            self.waiting.push(Waiting { ticket, outcome, needs: 0, unfinished });
            return self.release();
        }
        if request.at.ms().abs_diff(now_ms) > REQUEST_TIME_MAX.as_millis() as u64 {
            return self.reply(ticket, Err(Refusal::WrongTime { clock_ms: now_ms }));
        }
        match self.directory.judge(actor, request, &change) {
            Err(refusal) => self.reply(ticket, Err(refusal)),
            Ok(Plan { stamp, seen, .. })
                if stamp > request.at
                    && is_within_reach(stamp, now_ms)
                    && !matches!(change, Change::Operator(_)) =>
            {
                self.reply(ticket, Err(Refusal::Overtaken { above: seen }));
            }
            Ok(Plan { effect, stamp, mut contents, .. }) => {
                let note = bounded(note);
                contents.push(Content::Request(request.id, RequestRow { actor, effect, note }));
                let version = Version { stamp, request: request.id };
                let place = Place { store: self.lineage.store, sequence: self.sequence + 1 };
                let row = |content: Content| {
                    let extra = extra_of(&self.directory, &content);
                    Row { content, version, place, extra }
                };
                let rows: Vec<Row> = contents.into_iter().map(row).collect();
                self.write(rows, VersionVector::default(), VersionVector::default());
                self.reply_when_safe(ticket, Ok(Success { effect, stamp }), self.sequence);
            }
        }
    }

    /// Writes a row of a kind that this version does not know.
    #[cfg(feature = "later-version")]
    pub fn write_later_row(&mut self, now_ms: u64, kind: u8) {
        let request = crate::types::RequestId::from_bytes([kind; 16]);
        let version = Version { stamp: crate::types::Stamp::new(now_ms, 0), request };
        let place = Place { store: self.lineage.store, sequence: self.sequence + 1 };
        let content = Content::Unknown(
            kind,
            self.lineage.store.as_bytes().to_vec(),
            now_ms.to_be_bytes().to_vec(),
        );
        let row = Row { content, version, place, extra: Box::default() };
        self.write(vec![row], VersionVector::default(), VersionVector::default());
    }

    /// Everything handed out in [`Output::Persist`] so far is durable.
    pub fn persisted(&mut self, now_ms: u64) {
        self.stopwatch.advance(now_ms);
        if self.handed == self.durable {
            return;
        }
        self.durable = self.handed;
        self.settle_pending();
        let links: Vec<u32> = self.outbound.keys().copied().collect();
        links.into_iter().for_each(|number| self.send_next(number));
        self.release();
    }

    /// Lets time pass; call it at least every 100 ms. A link that has not acknowledged for a second
    /// no longer holds replies.
    pub fn tick(&mut self, now_ms: u64) {
        let elapsed_ms = self.stopwatch.advance(now_ms);
        let expired = self
            .outbound
            .iter_mut()
            .filter_map(|(&tracker, link)| link.expire(elapsed_ms).then_some(tracker));
        let late: Vec<u32> = expired.collect();
        for &tracker in &late {
            self.notice(Notice::Late { tracker });
        }
        if !late.is_empty() {
            self.release();
        }
        self.give_up_waiting(elapsed_ms);
        if self.swept_at_ms.is_none_or(|at_ms| elapsed_ms - at_ms >= SWEEP_INTERVAL_MS) {
            self.swept_at_ms = Some(elapsed_ms);
            self.outputs
                .push_back(Output::Sweep(now_ms.saturating_sub(RETENTION.as_millis() as u64)));
        }
    }

    /// Deletes these rows for their age, those aside that have been written again; the largest
    /// update sequence of a row that says that something is not there, among all that were ever
    /// deleted so, is `swept`. There may be more: then they are looked for again soon.
    pub fn sweep(&mut self, old: &[Row], swept: u64, is_more: bool) {
        old.iter().for_each(|row| self.directory.forget(row));
        self.swept = self.swept.max(swept);
        if is_more {
            self.swept_at_ms = None;
        }
    }

    /// Takes the next effect; call it until `None` after every other call.
    pub fn poll(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front()?;
        if let Output::Persist(transaction) = &output {
            self.handed = self.handed.max(transaction.sequence);
        }
        Some(output)
    }

    /// The directory, for queries.
    pub fn directory(&self) -> &Directory<R> {
        &self.directory
    }

    /// The store, for the driver, which ends its transactions.
    pub fn store_mut(&mut self) -> &mut R {
        self.directory.rows_mut()
    }

    /// The own store and those it goes on from: what the next hello says.
    pub fn lineage(&self) -> &Lineage {
        &self.lineage
    }

    /// Tells whether the store held nothing when it was opened: what it holds now is fresh, so it
    /// need not start anew however little of another store it has heard.
    pub fn is_empty(&self) -> bool {
        self.was_empty && self.stopwatch.elapsed_ms() < RETENTION.as_millis() as u64 / 2
    }

    /// How the links to the other trackers stand, by number.
    pub fn links(&self) -> Vec<LinkInfo> {
        let info = |(&tracker, link): (&u32, &Outbound)| LinkInfo {
            tracker,
            state: link.state(),
            lag: self.sequence.saturating_sub(link.through),
        };
        self.outbound.iter().map(info).collect()
    }

    /// Tells whether some other tracker is not up, so that replies do not wait for all.
    pub fn is_degraded(&self) -> bool {
        !self.outbound.values().all(Outbound::is_up)
    }

    /// The last update sequence used here.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Offers rows to the directory and hands out those that it takes, as one transaction, with
    /// checkpoints and entries of the vector that rest on it. Returns whether there were any.
    pub(super) fn write(
        &mut self,
        rows: Vec<Row>,
        checkpoints: VersionVector,
        vector: VersionVector,
    ) -> bool {
        let sequence = self.sequence + 1;
        let mut transaction = Transaction { sequence, ..Transaction::default() };
        for row in rows {
            if let Offered::Written(displaced) = self.directory.apply(&row, sequence) {
                transaction.rows.push(row);
                transaction.displaced.push(displaced);
            }
        }
        self.directory.end_transaction();
        self.unsaved.0.merge(&checkpoints);
        self.unsaved.1.merge(&vector);
        if transaction.rows.is_empty() {
            return false;
        }
        self.sequence = sequence;
        let (checkpoints, vector) = std::mem::take(&mut self.unsaved);
        transaction.checkpoints = checkpoints.iter().collect();
        transaction.vector = vector.iter().collect();
        if !self.outbound.is_empty() {
            self.recent.push(sequence, &transaction.rows);
        } else {
            self.recent = Recent::new(sequence);
        }
        self.outputs.push_back(Output::Persist(transaction));
        true
    }

    /// Raises the durable vector by entries that rest on durable rows, and tells everybody what
    /// rose.
    pub(super) fn raise(
        &mut self,
        entries: impl IntoIterator<Item = (crate::types::StoreId, u64)>,
    ) {
        let higher =
            |(store, sequence): &(crate::types::StoreId, u64)| *sequence > self.vector.get(*store);
        let risen: VersionVector = entries.into_iter().filter(higher).collect();
        self.vector.merge(&risen);
        while self.vector.iter().len() > STORES_MAX {
            let own = self.lineage.store;
            let linked = |store| self.inbound.values().any(|inbound| inbound.store == store);
            let Some((gone, _)) =
                self.vector.iter().find(|&(store, _)| store != own && !linked(store))
            else {
                break;
            };
            self.vector.remove(gone);
        }
        self.announce(&risen);
    }

    /// Forgets a link and has it closed.
    pub(super) fn drop_link(&mut self, link: LinkId) {
        self.forget(link);
        self.outputs.push_back(Output::Drop(link));
    }

    /// Writes down what decides how things go on, but for the rows.
    #[cfg(test)]
    pub(super) fn outline(&self, f: &mut impl std::fmt::Write) -> std::fmt::Result {
        let Self { sequence, handed, durable, checkpoints, vector, unsaved, waiting, .. } = self;
        write!(
            f,
            "{sequence} {handed} {durable} {checkpoints:?} {vector:?} {unsaved:?} {waiting:?}"
        )?;
        write!(f, "{:?} {:?};", self.outbound, self.inbound)
    }

    /// Sends a link what it lacks, unless a batch is under way.
    pub(super) fn send_next(&mut self, number: u32) {
        let elapsed_ms = self.stopwatch.elapsed_ms();
        let Some(link) = self.outbound.get_mut(&number) else { return };
        let is_kept = |key: &RowKey| self.directory.version(key).is_some();
        let mut step = link.step(self.durable, &self.vector, &self.recent, is_kept, elapsed_ms);
        if step == Step::CameUp {
            step = link.step(self.durable, &self.vector, &self.recent, is_kept, elapsed_ms);
            self.outputs.push_back(Output::Notice(Notice::Up { tracker: number }));
        }
        let known = link.vector.clone();
        let link = LinkId::To(number);
        match step {
            Step::Rest | Step::CameUp => {}
            Step::Send(batch) => {
                self.outputs.push_back(Output::Send(link, SyncMessage::Rows(batch)))
            }
            Step::SendStored(after, through) => {
                self.outputs.push_back(Output::SendStored { link, after, through, known });
            }
        }
    }

    /// Lets the replies go that no longer wait for anything.
    pub(super) fn release(&mut self) {
        let mut waiting = std::mem::take(&mut self.waiting);
        let is_whole = |reply: &&mut Waiting| {
            reply.unfinished.is_some_and(|(place, _)| self.vector.has(place))
        };
        for reply in waiting.iter_mut().filter(is_whole) {
            reply.unfinished = None;
            // The rows came with several transactions, the last of them before now.
            reply.needs = self.sequence;
        }
        let (ready, rest) =
            waiting.into_iter().partition(|r| r.unfinished.is_none() && self.is_safe(r.needs));
        self.waiting = rest;
        for Waiting { ticket, outcome, .. } in ready {
            self.reply(ticket, outcome);
        }
    }

    pub(super) fn send(&mut self, link: LinkId, message: SyncMessage) {
        self.outputs.push_back(Output::Send(link, message));
    }

    pub(super) fn notice(&mut self, notice: Notice) {
        self.outputs.push_back(Output::Notice(notice));
    }

    fn reply(&mut self, ticket: Ticket, outcome: Outcome) {
        self.outputs.push_back(Output::Reply(ticket, outcome));
    }

    fn reply_when_safe(&mut self, ticket: Ticket, outcome: Outcome, needs: u64) {
        if self.is_safe(needs) {
            self.reply(ticket, outcome);
        } else {
            self.waiting.push(Waiting { ticket, outcome, needs, unfinished: None });
        }
    }

    /// Answers those who have waited too long for the rest of what another tracker wrote. It may be
    /// gone.
    fn give_up_waiting(&mut self, elapsed_ms: u64) {
        let is_late = |reply: &mut Waiting| {
            reply.unfinished.is_some_and(|(_, since_ms)| elapsed_ms - since_ms >= UNFINISHED_MS_MAX)
        };
        let late: Vec<Waiting> = self.waiting.extract_if(.., is_late).collect();
        late.into_iter().for_each(|reply| self.reply(reply.ticket, Err(Refusal::Busy)));
    }

    /// Tells whether everything up to an update sequence is durable here and on every tracker that
    /// counts.
    fn is_safe(&self, sequence: u64) -> bool {
        let holding = self.outbound.values().filter(|link| link.holds_replies());
        self.durable >= sequence && holding.into_iter().all(|link| link.safe >= sequence)
    }
}

/// The fields of a later version that the row has already, or, in a build of that version, has from
/// now on.
fn extra_of<R: Rows>(directory: &Directory<R>, content: &Content) -> Box<[u8]> {
    let extra = directory.extra(content);
    #[cfg(feature = "later-version")]
    if extra.is_empty()
        && !content.is_final()
        && !matches!(content, Content::File(_, _, None) | Content::Setting(..))
    {
        return b"a field of a later version".as_slice().into();
    }
    extra
}

/// Tells whether a request may have that time, as far as it is ahead of the clock.
fn is_within_reach(time: Stamp, now_ms: u64) -> bool {
    time.ms() <= now_ms.saturating_add(REQUEST_TIME_MAX.as_millis() as u64)
}

/// Cuts a note to the length that a row has room for.
fn bounded(mut note: String) -> String {
    if note.len() > NOTE_LEN_MAX {
        let end = (0..=NOTE_LEN_MAX).rev().find(|&end| note.is_char_boundary(end)).unwrap_or(0);
        note.truncate(end);
    }
    note
}

#[cfg(test)]
mod tests;
