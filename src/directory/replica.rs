//! The pure core of a tracker: requests and messages in, effects out.
//!
//! **Invariant:** of every origin the operations 1 to n are applied, each once; the durable ones are a prefix of those; a reply
//! that tells of an operation leaves only when it is durable here and on every tracker that is up.
//!
//! One thread owns a replica and nothing in it blocks. The contract of all sans-IO code holds: call one method, then drain
//! [`Replica::poll`], then call the next. Effects come out in the order in which they are to happen.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use sha2::{Digest, Sha256};

use super::clock::{HybridClock, Stopwatch};
use super::links::{Inbound, Outbound, Step};
use super::output::{Batch, LinkId, LinkInfo, Notice, Output, RestoreError, Ticket};
use super::rules::{Asking, Plan};
use super::state::Directory;
use super::waiting::{Recent, Waiting};
use crate::types::{Change, Operation, OriginId, Outcome, Refusal, RequestId, SyncMessage, UserId, VersionVector};

/// The directory of one tracker and its synchronisation with the others.
#[derive(Debug, Clone)]
pub struct Replica {
    pub(super) origin: OriginId,
    /// From which fresh origins are made.
    seed: u64,
    /// Trackers that have not said yet how much of this origin they have. While there are any, this store may have gone back in
    /// time without knowing, and must not use its origin.
    pub(super) unconfirmed: BTreeSet<u32>,
    pub(super) directory: Directory,
    pub(super) clock: HybridClock,
    pub(super) stopwatch: Stopwatch,
    /// What was handed out to be made durable, and what is.
    handed: VersionVector,
    pub(super) durable: VersionVector,
    pub(super) outbound: BTreeMap<u32, Outbound>,
    pub(super) inbound: BTreeMap<u64, Inbound>,
    recent: Recent,
    pub(super) waiting: Vec<Waiting>,
    outputs: VecDeque<Output>,
}

impl Replica {
    /// Makes an empty replica for a store. `peers` are the numbers of the other trackers; `seed` must be random and new at each
    /// start, for fresh origins are made from it.
    pub fn new(origin: OriginId, peers: &[u32], seed: u64) -> Self {
        Self {
            origin,
            seed,
            unconfirmed: BTreeSet::new(),
            directory: Directory::default(),
            clock: HybridClock::default(),
            stopwatch: Stopwatch::default(),
            handed: VersionVector::default(),
            durable: VersionVector::default(),
            outbound: peers.iter().map(|&number| (number, Outbound::new())).collect(),
            inbound: BTreeMap::new(),
            recent: Recent::default(),
            waiting: Vec::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Takes one operation from the store at start, before any other call; those of one origin come in order.
    ///
    /// # Errors
    /// An operation that does not continue its origin is refused: the store is damaged.
    pub fn restore(&mut self, operation: Operation) -> Result<(), RestoreError> {
        let Operation { origin, sequence: got, .. } = operation;
        let want = self.durable.get(origin) + 1;
        if got != want {
            return Err(RestoreError::Gap { origin, got, want });
        }
        self.clock.observe(operation.stamp);
        self.directory.apply(&operation);
        self.durable.raise(origin, got);
        self.handed.raise(origin, got);
        if self.unconfirmed.is_empty() {
            self.unconfirmed = self.outbound.keys().copied().collect();
        }
        Ok(())
    }

    /// Carries out a request, or refuses it. The answer is an [`Output::Reply`] with this ticket: a refusal now, a success once it
    /// is durable here and on every tracker that is up.
    pub fn submit(&mut self, now_ms: u64, ticket: Ticket, actor: UserId, request: RequestId, change: Change) {
        self.stopwatch.advance(now_ms);
        let actor = if matches!(change, Change::CreateUser { .. }) { UserId::NOBODY } else { actor };
        if let Some(carried) = self.directory.requests.get(request).copied() {
            if !carried.is_repeated_by(request, actor, &change) {
                return self.reply(ticket, Err(Refusal::RequestReused));
            }
            return self.reply_when_safe(ticket, Ok(carried.effect), vec![(carried.origin, carried.sequence)]);
        }
        let Some(at) = self.clock.peek(now_ms) else { return self.reply(ticket, Err(Refusal::Busy)) };
        match self.directory.judge(Asking { at, actor, request }, change) {
            Err(refusal) => self.reply(ticket, Err(refusal)),
            Ok(Plan { effect, writes }) if writes.is_empty() => {
                // What was asked for is so already; by which operation is not recorded, so everything counts.
                let needs = self.directory.known.iter().filter(|&need| !self.is_safe(need)).collect();
                self.reply_when_safe(ticket, Ok(effect), needs);
            }
            Ok(Plan { effect, writes }) => {
                let (origin, sequence) = self.next_own();
                self.record(Operation { origin, sequence, stamp: at, request, actor, effect, writes });
                self.reply_when_safe(ticket, Ok(effect), vec![(origin, sequence)]);
            }
        }
    }

    /// Everything handed out in [`Output::Persist`] so far is durable.
    pub fn persisted(&mut self, now_ms: u64) {
        self.stopwatch.advance(now_ms);
        let risen: VersionVector = self.handed.iter().filter(|&(origin, n)| n > self.durable.get(origin)).collect();
        if risen.iter().len() == 0 {
            return;
        }
        self.durable.merge(&risen);
        self.announce(&risen);
        let links: Vec<u32> = self.outbound.keys().copied().collect();
        links.into_iter().for_each(|number| self.send_next(number));
        self.release();
    }

    /// Lets time pass; call it at least every 100 ms. A link that has not acknowledged for a second no longer holds replies.
    pub fn tick(&mut self, now_ms: u64) {
        let elapsed_ms = self.stopwatch.advance(now_ms);
        let expired = self.outbound.iter_mut().filter_map(|(&tracker, link)| link.expire(elapsed_ms).then_some(tracker));
        let late: Vec<u32> = expired.collect();
        for &tracker in &late {
            self.notice(Notice::Late { tracker });
        }
        if !late.is_empty() {
            self.release();
        }
    }

    /// Takes the next effect; call it until `None` after every other call.
    pub fn poll(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front()?;
        if let Output::Persist(batch) = &output {
            batch.operations.iter().for_each(|operation| self.handed.raise(operation.origin, operation.sequence));
        }
        Some(output)
    }

    /// The directory, for queries.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The own origin as of now: what the next hello says.
    pub fn origin(&self) -> OriginId {
        self.origin
    }

    /// How the links to the other trackers stand, by number.
    pub fn links(&self) -> Vec<LinkInfo> {
        let info = |(&tracker, link): (&u32, &Outbound)| LinkInfo {
            tracker,
            state: link.state(),
            lag: link.vector.lag_behind(&self.directory.known),
        };
        self.outbound.iter().map(info).collect()
    }

    /// Tells whether some other tracker is not up, so that replies do not wait for all.
    pub fn is_degraded(&self) -> bool {
        !self.outbound.values().all(Outbound::is_up)
    }

    /// Everything known here, durable or not yet.
    pub fn vector(&self) -> VersionVector {
        self.directory.known.clone()
    }

    /// Applies an operation of whatever origin and hands it out to be made durable.
    pub(super) fn record(&mut self, operation: Operation) {
        self.clock.observe(operation.stamp);
        self.directory.apply(&operation);
        if !self.outbound.is_empty() {
            self.recent.push(&operation);
        }
        match self.outputs.back_mut() {
            Some(Output::Persist(batch)) => batch.operations.push(operation),
            _ => self.outputs.push_back(Output::Persist(Batch { operations: vec![operation], origin: None })),
        }
    }

    /// Goes on under a new origin and returns it. The links go, so that every later hello and every own operation sent over a link
    /// agree about the origin: that is what lets an acceptor tell the links of an earlier life of this store.
    pub(super) fn take_fresh_origin(&mut self) -> OriginId {
        let hash = Sha256::new().chain_update(self.origin.as_bytes()).chain_update(self.seed.to_be_bytes()).finalize();
        let mut bytes = [0; OriginId::LEN];
        bytes.copy_from_slice(&hash[..OriginId::LEN]);
        self.origin = OriginId::from_bytes(bytes);
        self.unconfirmed.clear();
        self.outputs.push_back(Output::Persist(Batch { operations: Vec::new(), origin: Some(self.origin) }));
        let elapsed_ms = self.stopwatch.elapsed_ms();
        for (&number, link) in self.outbound.iter_mut().filter(|(_, link)| link.is_connected()) {
            link.hang_up(elapsed_ms);
            self.outputs.push_back(Output::Drop(LinkId::To(number)));
        }
        self.origin
    }

    /// Forgets a link and has it closed.
    pub(super) fn drop_link(&mut self, link: LinkId) {
        self.forget(link);
        self.outputs.push_back(Output::Drop(link));
    }

    /// Sends a link what it lacks, unless a batch is under way.
    pub(super) fn send_next(&mut self, number: u32) {
        let elapsed_ms = self.stopwatch.elapsed_ms();
        let Some(link) = self.outbound.get_mut(&number) else { return };
        let mut step = link.step(&self.durable, elapsed_ms);
        if step == Step::CameUp {
            let next = link.step(&self.durable, elapsed_ms);
            self.notice(Notice::Up { tracker: number });
            step = next;
        }
        if let Step::Send(ranges) = step {
            let link = LinkId::To(number);
            self.outputs.push_back(match self.recent.get(&ranges) {
                Some(operations) => Output::Send(link, SyncMessage::Operations(operations)),
                None => Output::SendStored { link, ranges },
            });
        }
    }

    /// Lets the replies go that no longer wait for anything.
    pub(super) fn release(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        let (ready, rest) = waiting.into_iter().partition(|reply| reply.needs.iter().all(|&need| self.is_safe(need)));
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

    fn reply_when_safe(&mut self, ticket: Ticket, outcome: Outcome, needs: Vec<(OriginId, u64)>) {
        if needs.iter().all(|&need| self.is_safe(need)) {
            self.reply(ticket, outcome);
        } else {
            self.waiting.push(Waiting { ticket, outcome, needs });
        }
    }

    /// Tells whether an operation is durable here and on every tracker that counts.
    fn is_safe(&self, (origin, sequence): (OriginId, u64)) -> bool {
        let holding = self.outbound.values().filter(|link| link.holds_replies());
        std::iter::once(&self.durable).chain(holding.map(|link| &link.vector)).all(|vector| vector.get(origin) >= sequence)
    }

    /// Place of the next own operation; under a fresh origin if the present one may have been used further than this store knows.
    fn next_own(&mut self) -> (OriginId, u64) {
        if !self.unconfirmed.is_empty() {
            let old = self.origin;
            let new = self.take_fresh_origin();
            self.notice(Notice::OriginUnconfirmed { old, new });
        }
        (self.origin, self.directory.known.get(self.origin) + 1)
    }
}

#[cfg(test)]
mod tests;
