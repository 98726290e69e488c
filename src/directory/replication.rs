//! The replica's side of the links: who is connected, what they say, and what is told to them.
//!
//! **Invariant:** an operation that arrives is applied only if it continues its origin. Whatever else a peer sends, the worst that
//! happens is that its link is dropped, with a notice.
//!
//! Operations stamped further ahead than [`STAMP_AHEAD_MS_MAX`] are not merged: one such stamp would push every later stamp of
//! the whole network into the future. The link is dropped instead, and works again when the time has come. Twice the allowed
//! difference of two clocks lets an operation pass on between two trackers that both stand within it of a third.

use super::links::{Inbound, Outbound};
use super::output::{LinkId, Notice};
use super::replica::Replica;
use crate::types::limits::{CLOCK_AHEAD_MAX, OPERATION_WRITES_MAX, OPERATIONS_PER_BATCH_MAX, ORIGINS_MAX};
use crate::types::{Operation, OriginId, SyncMessage, VersionVector};

/// How far ahead of this tracker's wall clock the stamp of an arriving operation may lie, in milliseconds.
const STAMP_AHEAD_MS_MAX: u64 = 2 * CLOCK_AHEAD_MAX.as_millis() as u64;

/// Why an operation is not merged.
enum Fault {
    Violation(&'static str),
    StampAhead(u64),
}

impl Replica {
    /// A link stands and its handshake is done; `origin` is the other end's, from its hello.
    ///
    /// A second link to one tracker takes the place of the first. An accepted link whose other end has the origin of an older one
    /// supersedes it: that tracker has dialled again, and the older link's remains must not be heard.
    pub fn connected(&mut self, now_ms: u64, link: LinkId, origin: OriginId) {
        self.stopwatch.advance(now_ms);
        if origin == self.origin {
            self.notice(Notice::SameOrigin { link });
            return self.drop_link(link);
        }
        match link {
            LinkId::To(number) => match self.outbound.get_mut(&number) {
                Some(outbound) => outbound.connect(),
                None => self.drop_link(link),
            },
            LinkId::From(number) => self.accepted(number, origin),
        }
        self.release();
    }

    /// A link has gone, or could not be made.
    pub fn disconnected(&mut self, now_ms: u64, link: LinkId) {
        self.stopwatch.advance(now_ms);
        self.forget(link);
        self.release();
    }

    /// The driver refused a link because the other end's clock is too far ahead.
    pub fn clock_ahead(&mut self, link: LinkId) {
        if let LinkId::To(number) = link
            && let Some(outbound) = self.outbound.get_mut(&number)
        {
            outbound.clock_ahead();
            self.release();
        }
    }

    /// Takes a message from a link. One from a link that is not known, or was dropped, is passed over.
    pub fn handle(&mut self, now_ms: u64, link: LinkId, message: SyncMessage) {
        self.stopwatch.advance(now_ms);
        match (link, message) {
            _ if !self.has_link(link) => {}
            (LinkId::To(number), SyncMessage::Durable(vector)) => self.hear(number, vector),
            (LinkId::From(number), SyncMessage::Operations(operations)) => self.merge(now_ms, number, operations),
            (LinkId::To(_), SyncMessage::Operations(_)) => self.violation(link, "the accepting end sent operations"),
            (LinkId::From(_), SyncMessage::Durable(_)) => self.violation(link, "the dialling end sent a vector"),
        }
    }

    /// Tells every accepted link what rose, or everything if it is the first time.
    pub(super) fn announce(&mut self, risen: &VersionVector) {
        let links: Vec<u64> = self.inbound.keys().copied().collect();
        for number in links {
            let Some(inbound) = self.inbound.get_mut(&number) else { continue };
            let vector = match &inbound.greeting_goal {
                None => risen.clone(),
                Some(goal) if self.durable.covers(goal) => {
                    inbound.greeting_goal = None;
                    self.durable.clone()
                }
                Some(_) => continue,
            };
            self.send(LinkId::From(number), SyncMessage::Durable(vector));
        }
    }

    pub(super) fn forget(&mut self, link: LinkId) {
        match link {
            LinkId::To(number) => {
                if let Some(outbound) = self.outbound.get_mut(&number) {
                    outbound.disconnect();
                }
            }
            LinkId::From(number) => {
                self.inbound.remove(&number);
            }
        }
    }

    fn has_link(&self, link: LinkId) -> bool {
        match link {
            LinkId::To(number) => self.outbound.get(&number).is_some_and(Outbound::is_connected),
            LinkId::From(number) => self.inbound.contains_key(&number),
        }
    }

    fn accepted(&mut self, number: u64, origin: OriginId) {
        let older = self.inbound.iter().filter(|&(&other, inbound)| other != number && inbound.origin == origin);
        let superseded: Vec<u64> = older.map(|(&other, _)| other).collect();
        superseded.into_iter().for_each(|other| self.drop_link(LinkId::From(other)));
        let goal = self.directory.known.clone();
        let is_durable = self.durable.covers(&goal);
        self.inbound.insert(number, Inbound { origin, greeting_goal: (!is_durable).then_some(goal) });
        if is_durable {
            self.send(LinkId::From(number), SyncMessage::Durable(self.durable.clone()));
        }
    }

    fn hear(&mut self, number: u32, vector: VersionVector) {
        let link = LinkId::To(number);
        if vector.iter().len() > ORIGINS_MAX {
            return self.violation(link, "its vector has too many origins");
        }
        if self.notices_own_past(vector.get(self.origin)) {
            // The link went with the old origin; it says all this again when it is dialled anew.
            return self.release();
        }
        if self.outbound.get_mut(&number).is_some_and(|outbound| outbound.hear(vector)) {
            self.unconfirmed.remove(&number);
        }
        self.send_next(number);
        self.release();
    }

    /// Takes a fresh origin if another tracker has more of the present one than this store; true if so.
    fn notices_own_past(&mut self, claimed: u64) -> bool {
        let (old, known) = (self.origin, self.directory.known.get(self.origin));
        let is_past = claimed > known;
        if is_past {
            let new = self.take_fresh_origin();
            self.notice(Notice::StoreWentBack { known, claimed, old, new });
        }
        is_past
    }

    fn merge(&mut self, now_ms: u64, number: u64, operations: Vec<Operation>) {
        let link = LinkId::From(number);
        if operations.len() > OPERATIONS_PER_BATCH_MAX {
            return self.violation(link, "it sent more operations at once than are allowed");
        }
        for operation in operations {
            if operation.sequence <= self.directory.known.get(operation.origin) {
                continue;
            }
            match self.check(now_ms, &operation) {
                Ok(()) => {}
                Err(Fault::Violation(what)) => return self.violation(link, what),
                Err(Fault::StampAhead(ahead_ms)) => {
                    self.notice(Notice::StampAhead { link, ahead_ms });
                    return self.drop_link(link);
                }
            }
            if operation.origin == self.origin {
                self.notices_own_past(operation.sequence);
            }
            self.record(operation);
        }
        // Only a fresh origin, which drops links, can have made replies ready.
        self.release();
    }

    fn check(&self, now_ms: u64, operation: &Operation) -> Result<(), Fault> {
        let known = self.directory.known.get(operation.origin);
        if operation.sequence != known + 1 {
            return Err(Fault::Violation("it left out operations"));
        }
        if operation.writes.len() > OPERATION_WRITES_MAX {
            return Err(Fault::Violation("it sent an operation with too many writes"));
        }
        if known == 0 && self.directory.known.iter().len() >= ORIGINS_MAX {
            return Err(Fault::Violation("it sent an operation of one origin too many"));
        }
        match operation.stamp.ms().saturating_sub(now_ms) {
            ahead_ms if ahead_ms > STAMP_AHEAD_MS_MAX => Err(Fault::StampAhead(ahead_ms)),
            _ => Ok(()),
        }
    }

    fn violation(&mut self, link: LinkId, what: &'static str) {
        self.notice(Notice::Violation { link, what });
        self.drop_link(link);
        self.release();
    }
}
