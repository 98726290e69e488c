//! What this tracker knows about its links: the ones it dialled, over which it sends, and the ones
//! it accepted.
//!
//! **Invariant:** on a dialled link at most one batch is under way. A link that is up has
//! acknowledged every change whose reply has left.
//!
//! The last point needs care while requests keep coming. A link that catches up sends batch after
//! batch; the batch that reaches everything durable here makes the link *joining*: from then on
//! replies wait for it, so that nothing can be answered behind its back, and its acknowledgement
//! makes it up. Without this step a link under steady load would be one batch behind for ever.

use super::waiting::{Next, Recent};
use crate::types::limits::REPLICATION_ACK_TIMEOUT;
use crate::types::{Durable, RowBatch, RowKey, StoreId, TrackerState, VersionVector};

#[derive(Debug, Clone)]
enum Phase {
    Down,
    /// Connected; the other end has not said what it has.
    Greeting,
    CatchingUp,
    Joining,
    Up,
    /// Its store is older than the retention time.
    MustResync,
}

/// Update sequences of one batch that is read from the store; few in tests, where stores are small.
const STORED_MAX: u64 = if cfg!(test) { 5 } else { 1024 };
/// Update sequences by which a checkpoint may stay behind what is known to be there.
const CHECKPOINT_LAG_MAX: u64 = if cfg!(test) { 7 } else { 4096 };

/// A batch that was sent and not acknowledged yet.
#[derive(Debug, Clone)]
struct UnderWay {
    through: u64,
    /// It held, or was behind, every row that was durable here when it was put together.
    is_last: bool,
    sent_at_ms: u64,
}

/// The dialled link to one tracker.
#[derive(Debug, Clone)]
pub(super) struct Outbound {
    phase: Phase,
    under_way: Option<UnderWay>,
    /// The update sequence here up to which rows have been sent and acknowledged; kept when the
    /// link goes, to show how far it lags. A row that moved meanwhile is still to come.
    pub(super) through: u64,
    /// The update sequence here up to which the other end has everything.
    pub(super) safe: u64,
    /// How far the other end's store has acknowledged this one: its checkpoint.
    acknowledged: u64,
    /// What the other end knows of every store, as far as it said.
    pub(super) vector: VersionVector,
    /// What it was told of this store's vector, and whether it was told anything yet.
    told: VersionVector,
    is_told: bool,
}

/// What [`Outbound::step`] found to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing, or not before an acknowledgement.
    Rest,
    /// The link came up.
    CameUp,
    /// Send this batch.
    Send(RowBatch),
    /// Send what the store holds above the first and up to the second update sequence.
    SendStored(u64, u64),
}

impl Outbound {
    pub(super) fn new() -> Self {
        Self {
            phase: Phase::Down,
            under_way: None,
            through: 0,
            safe: 0,
            acknowledged: 0,
            vector: VersionVector::default(),
            told: VersionVector::default(),
            is_told: false,
        }
    }

    pub(super) fn state(&self) -> TrackerState {
        match self.phase {
            Phase::Down => TrackerState::Down,
            Phase::MustResync => TrackerState::MustResync,
            Phase::Greeting | Phase::CatchingUp | Phase::Joining => TrackerState::CatchingUp,
            Phase::Up => TrackerState::Up,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up)
    }

    pub(super) fn is_connected(&self) -> bool {
        !matches!(self.phase, Phase::Down | Phase::MustResync)
    }

    /// Tells whether replies wait for this link.
    pub(super) fn holds_replies(&self) -> bool {
        matches!(self.phase, Phase::Joining | Phase::Up)
    }

    pub(super) fn connect(&mut self) {
        self.phase = Phase::Greeting;
        self.under_way = None;
        self.told = VersionVector::default();
        self.is_told = false;
    }

    pub(super) fn disconnect(&mut self) {
        if !matches!(self.phase, Phase::MustResync) {
            self.phase = Phase::Down;
        }
        self.under_way = None;
    }

    pub(super) fn must_resync(&mut self) {
        self.phase = Phase::MustResync;
        self.under_way = None;
    }

    /// Takes what the other end says is durable there. The first message of a link replaces what
    /// was believed before: the other store may have gone back in time.
    pub(super) fn hear(&mut self, durable: Durable) {
        if matches!(self.phase, Phase::Greeting) {
            self.vector = durable.vector;
            self.through = durable.checkpoint;
            self.safe = 0;
            self.acknowledged = durable.checkpoint;
            self.phase = Phase::CatchingUp;
        } else {
            self.vector.merge(&durable.vector);
            self.acknowledged = self.acknowledged.max(durable.checkpoint);
            self.through = self.through.max(self.acknowledged);
        }
    }

    /// Finds the next thing to do, given what is durable here and which rows have not been deleted
    /// for their age. A batch counts as sent.
    pub(super) fn step(
        &mut self,
        durable: u64,
        vector: &VersionVector,
        recent: &Recent,
        is_kept: impl Fn(&RowKey) -> bool,
        elapsed_ms: u64,
    ) -> Step {
        if !self.is_connected() || matches!(self.phase, Phase::Greeting) {
            return Step::Rest;
        }
        if self.under_way.as_ref().is_some_and(|batch| self.acknowledged < batch.through) {
            return Step::Rest;
        }
        let acknowledged = self.under_way.take();
        if let Some(batch) = acknowledged.as_ref().filter(|batch| batch.is_last) {
            self.safe = self.safe.max(batch.through);
        }
        let joined = acknowledged.is_some() && matches!(self.phase, Phase::Joining);
        let next = recent.batch(self.through, durable, &self.vector, is_kept);
        if let Next::Rows(batch) = &next
            && batch.rows.is_empty()
        {
            // The other end has it all from elsewhere.
            self.through = self.through.max(batch.through);
        }
        let is_level = self.through >= durable;
        if is_level {
            self.safe = self.safe.max(durable);
        }
        if (joined || is_level) && !self.is_up() {
            self.phase = Phase::Up;
            // The batch that follows, if any, is sent by the next step.
            return Step::CameUp;
        }
        if is_level {
            return self.step_aside(durable, vector, elapsed_ms);
        }
        let (step, through, is_last) = match next {
            Next::Rows(mut batch) => {
                let (through, is_last) = (batch.through, batch.through >= durable);
                if is_last {
                    batch.complete = Some(self.tell(vector));
                }
                (Step::Send(batch), through, is_last)
            }
            // It is read later, when some of the rows may have moved behind its end.
            Next::Stored => {
                let through = durable.min(self.through + STORED_MAX);
                (Step::SendStored(self.through, through), through, false)
            }
        };
        self.under_way = Some(UnderWay { through, is_last, sent_at_ms: elapsed_ms });
        if matches!(self.phase, Phase::CatchingUp) && is_last {
            self.phase = Phase::Joining;
        }
        step
    }

    /// An up link that has everything: now and then a batch without rows moves the checkpoint
    /// there, and the first one of a link tells the vector.
    fn step_aside(&mut self, durable: u64, vector: &VersionVector, elapsed_ms: u64) -> Step {
        if self.is_told && self.through - self.acknowledged < CHECKPOINT_LAG_MAX {
            return Step::Rest;
        }
        let complete = Some(self.tell(vector));
        if durable > self.acknowledged {
            self.under_way =
                Some(UnderWay { through: durable, is_last: true, sent_at_ms: elapsed_ms });
        }
        Step::Send(RowBatch { rows: Vec::new(), through: durable, complete })
    }

    /// The entries of this store's vector that the other end was not told yet.
    fn tell(&mut self, vector: &VersionVector) -> VersionVector {
        let risen: VersionVector =
            vector.iter().filter(|&(store, sequence)| sequence > self.told.get(store)).collect();
        self.told.merge(&risen);
        self.is_told = true;
        risen
    }

    /// Stops waiting for a link that does not acknowledge; true if replies waited for it until now.
    pub(super) fn expire(&mut self, elapsed_ms: u64) -> bool {
        let limit_ms = REPLICATION_ACK_TIMEOUT.as_millis() as u64;
        let is_late =
            self.under_way.as_ref().is_some_and(|batch| elapsed_ms - batch.sent_at_ms >= limit_ms);
        let held = self.holds_replies();
        if is_late && held {
            self.phase = Phase::CatchingUp;
        }
        held && !self.holds_replies()
    }
}

/// Something to acknowledge once what it rests on is durable.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    /// The update sequence here that must be durable.
    pub(super) needs: u64,
    /// Up to where the other end's store is merged then.
    pub(super) through: u64,
    /// Entries of the vector that hold then.
    pub(super) vector: VersionVector,
}

/// A link that another tracker dialled.
#[derive(Debug, Clone)]
pub(super) struct Inbound {
    /// The other end's store when it dialled.
    pub(super) store: StoreId,
    /// Up to where it is merged here, as acknowledged.
    pub(super) acknowledged: u64,
    /// In the order of arrival.
    pub(super) pending: Vec<Pending>,
}
