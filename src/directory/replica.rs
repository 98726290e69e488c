//! The pure core of a tracker.

use std::collections::VecDeque;

use super::{Directory, LinkId, LinkInfo, Output, RestoreError, Ticket};
use crate::types::{Change, Operation, OriginId, RequestId, SyncMessage, UserId, VersionVector};

/// The directory of one tracker and its synchronisation with the others.
#[derive(Debug, Clone)]
pub struct Replica {
    origin: OriginId,
    directory: Directory,
    outputs: VecDeque<Output>,
}

impl Replica {
    /// Makes an empty replica. `peers` are the numbers of the other trackers; `seed` must be random, or at least new, at each start.
    pub fn new(origin: OriginId, _peers: &[u32], _seed: u64) -> Self {
        Self { origin, directory: Directory::default(), outputs: VecDeque::new() }
    }
    /// Takes one operation from the store at start, in order.
    ///
    /// # Errors
    /// An operation that does not continue its origin is refused: the store is damaged.
    pub fn restore(&mut self, _operation: Operation) -> Result<(), RestoreError> {
        Ok(())
    }
    /// Carries out a request, or refuses it; the answer is an [`Output::Reply`] with this ticket, now or later.
    pub fn submit(&mut self, _now_ms: u64, _ticket: Ticket, _actor: UserId, _request: RequestId, _change: Change) {}
    /// A link stands, its handshake is done; `origin` is the other end's.
    pub fn connected(&mut self, _now_ms: u64, _link: LinkId, _origin: OriginId) {}
    /// A link has gone.
    pub fn disconnected(&mut self, _now_ms: u64, _link: LinkId) {}
    /// The driver refused a link because the other end's clock is too far ahead.
    pub fn clock_ahead(&mut self, _link: LinkId) {}
    /// Takes a message from a link.
    pub fn handle(&mut self, _now_ms: u64, _link: LinkId, _message: SyncMessage) {}
    /// Everything handed out in [`Output::Persist`] so far is durable.
    pub fn persisted(&mut self, _now_ms: u64) {}
    /// Lets time pass; call at least every 100 ms.
    pub fn tick(&mut self, _now_ms: u64) {}
    /// Takes the next effect; call until `None` after every other call.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }
    /// The directory, for queries.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }
    /// The own origin as of now.
    pub fn origin(&self) -> OriginId {
        self.origin
    }
    /// How the links to the other trackers stand, by number.
    pub fn links(&self) -> Vec<LinkInfo> {
        Vec::new()
    }
    /// Tells whether some other tracker is not up, so that replies do not wait for all.
    pub fn is_degraded(&self) -> bool {
        false
    }
    /// Everything known here, durable or not yet.
    pub fn vector(&self) -> VersionVector {
        VersionVector::default()
    }
}
