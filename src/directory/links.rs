//! What this tracker knows about its links: the ones it dialled, over which it sends, and the ones it accepted.
//!
//! **Invariant:** on a dialled link at most one batch is under way. A link that is up has acknowledged every operation whose reply
//! has left.
//!
//! The last point needs care while requests keep coming. A link that catches up sends batch after batch; the batch that reaches
//! everything durable here makes the link *joining*: from then on replies wait for it, so that nothing can be answered behind its
//! back, and its acknowledgement makes it up. Without this step a link under steady load would be one batch behind for ever.

use crate::types::limits::{OPERATIONS_PER_BATCH_MAX, REPLICATION_ACK_TIMEOUT};
use crate::types::{OriginId, TrackerState, VersionVector};

/// Origin, first and last sequence, both inclusive.
pub(super) type Range = (OriginId, u64, u64);

/// A batch that was sent and not acknowledged yet.
#[derive(Debug, Clone)]
struct UnderWay {
    /// The last sequence of each origin in it.
    goal: Vec<(OriginId, u64)>,
    sent_at_ms: u64,
}

#[derive(Debug, Clone)]
enum Phase {
    Down,
    ClockAhead,
    /// Connected; the other's vector has not arrived.
    Greeting,
    CatchingUp,
    Joining,
    Up,
}

/// The dialled link to one tracker.
#[derive(Debug, Clone)]
pub(super) struct Outbound {
    phase: Phase,
    under_way: Option<UnderWay>,
    /// When this tracker hung up by itself, to dial again at once: until it has, for a while, replies wait as before.
    returning_since_ms: Option<u64>,
    /// What is durable there, as far as it said; kept when the link goes, to show how far it lags.
    pub(super) vector: VersionVector,
}

/// What [`Outbound::step`] found to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing, or not before an acknowledgement.
    Rest,
    /// The link came up.
    CameUp,
    /// Send these, the next batch.
    Send(Vec<Range>),
}

impl Outbound {
    pub(super) fn new() -> Self {
        Self { phase: Phase::Down, under_way: None, returning_since_ms: None, vector: VersionVector::default() }
    }

    pub(super) fn state(&self) -> TrackerState {
        match self.phase {
            Phase::Down => TrackerState::Down,
            Phase::ClockAhead => TrackerState::ClockAhead,
            Phase::Greeting | Phase::CatchingUp | Phase::Joining => TrackerState::CatchingUp,
            Phase::Up => TrackerState::Up,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up)
    }

    pub(super) fn is_connected(&self) -> bool {
        !matches!(self.phase, Phase::Down | Phase::ClockAhead)
    }

    /// Tells whether replies wait for this link.
    pub(super) fn holds_replies(&self) -> bool {
        matches!(self.phase, Phase::Joining | Phase::Up) || self.returning_since_ms.is_some()
    }

    pub(super) fn connect(&mut self) {
        self.phase = Phase::Greeting;
        self.under_way = None;
    }

    pub(super) fn disconnect(&mut self) {
        self.phase = Phase::Down;
        self.under_way = None;
    }

    /// Notes that this tracker is about to hang up, only to dial again: whoever was waited for is still there.
    pub(super) fn hang_up(&mut self, elapsed_ms: u64) {
        if self.holds_replies() {
            self.returning_since_ms = Some(elapsed_ms);
        }
        self.disconnect();
    }

    pub(super) fn clock_ahead(&mut self) {
        self.phase = Phase::ClockAhead;
        self.under_way = None;
        self.returning_since_ms = None;
    }

    /// Takes what the other end says is durable there. Returns true for the first vector of a link, which replaces what was
    /// believed before: the other store may have gone back in time.
    pub(super) fn hear(&mut self, vector: VersionVector) -> bool {
        let is_first = matches!(self.phase, Phase::Greeting);
        if is_first {
            self.vector = vector;
            self.phase = Phase::CatchingUp;
        } else {
            self.vector.merge(&vector);
        }
        is_first
    }

    /// Finds the next thing to do, given what is durable here. A [`Step::Send`] counts as sent.
    pub(super) fn step(&mut self, durable: &VersionVector, elapsed_ms: u64) -> Step {
        if !self.is_connected() || matches!(self.phase, Phase::Greeting) || !self.has_arrived() {
            return Step::Rest;
        }
        let joined = self.under_way.take().is_some() && matches!(self.phase, Phase::Joining);
        let ranges = self.missing(durable);
        if (joined || ranges.is_empty()) && !self.is_up() {
            self.phase = Phase::Up;
            self.returning_since_ms = None;
            // The batch that follows, if any, is sent by the next step.
            return Step::CameUp;
        }
        if ranges.is_empty() {
            return Step::Rest;
        }
        let goal = ranges.iter().map(|&(origin, _, last)| (origin, last)).collect();
        self.under_way = Some(UnderWay { goal, sent_at_ms: elapsed_ms });
        if matches!(self.phase, Phase::CatchingUp) && reaches(&ranges, &self.vector, durable) {
            self.phase = Phase::Joining;
        }
        Step::Send(ranges)
    }

    /// Stops waiting for a link that does not acknowledge, or does not come back; true if replies waited for it until now.
    pub(super) fn expire(&mut self, elapsed_ms: u64) -> bool {
        let limit_ms = REPLICATION_ACK_TIMEOUT.as_millis() as u64;
        let is_past = |since_ms: u64| elapsed_ms - since_ms >= limit_ms;
        let held = self.holds_replies();
        self.returning_since_ms = self.returning_since_ms.filter(|&since_ms| !is_past(since_ms));
        let is_late = self.under_way.as_ref().is_some_and(|batch| is_past(batch.sent_at_ms));
        if is_late && matches!(self.phase, Phase::Joining | Phase::Up) {
            self.phase = Phase::CatchingUp;
        }
        held && !self.holds_replies()
    }

    /// Tells whether nothing is under way any more.
    fn has_arrived(&self) -> bool {
        let goal = self.under_way.iter().flat_map(|batch| &batch.goal);
        goal.into_iter().all(|&(origin, sequence)| self.vector.get(origin) >= sequence)
    }

    /// The first operations that are durable here and not there, at most a batch.
    fn missing(&self, durable: &VersionVector) -> Vec<Range> {
        let mut room = OPERATIONS_PER_BATCH_MAX as u64;
        let mut ranges = Vec::new();
        for (origin, have) in durable.iter() {
            let there = self.vector.get(origin);
            if there < have && room > 0 {
                let last = have.min(there + room);
                room -= last - there;
                ranges.push((origin, there + 1, last));
            }
        }
        ranges
    }
}

/// Tells whether the ranges, on top of what is there, come to everything that is durable here.
fn reaches(ranges: &[Range], there: &VersionVector, durable: &VersionVector) -> bool {
    let mut after = there.clone();
    ranges.iter().for_each(|&(origin, _, last)| after.raise(origin, last));
    after.covers(durable)
}

/// A link that another tracker dialled.
#[derive(Debug, Clone)]
pub(super) struct Inbound {
    /// The other end's origin when it dialled.
    pub(super) origin: OriginId,
    /// What must be durable before the first vector is sent; `None` once it was.
    ///
    /// The vector must not leave out operations that arrived over an older link and are on their way to the disk: a tracker whose
    /// store went back in time learns from it which of its own operations are known elsewhere.
    pub(super) greeting_goal: Option<VersionVector>,
}
