//! The replica's side of the links: who is connected, what they say, and what is told to them.
//!
//! **Invariant:** what is acknowledged to a link is durable here. Whatever a peer sends, the worst
//! that happens is that its link is dropped, with a notice.
//!
//! A batch that brings nothing new is acknowledged without a write of its own: the checkpoint goes
//! to the disk with the next transaction. If it is lost, the peer sends a little more after a
//! restart.

use super::links::{Inbound, Outbound};
use super::output::{LinkId, Notice};
use super::replica::Replica;
use super::rows::RowsMut;
use crate::types::limits::{ROWS_PER_BATCH_MAX, STORES_MAX};
use crate::types::{Durable, Lineage, RowBatch, SyncMessage, VersionVector};

impl<R: RowsMut> Replica<R> {
    /// A link stands and its handshake is done; `lineage` is the other end's store, from its hello.
    ///
    /// A second link to one tracker takes the place of the first. An accepted link whose other end
    /// has the store of an older one supersedes it: that tracker has dialled again.
    pub fn connected(&mut self, now_ms: u64, link: LinkId, lineage: &Lineage) {
        self.stopwatch.advance(now_ms);
        if lineage.store == self.lineage.store {
            self.notice(Notice::SameStore { link });
            return self.drop_link(link);
        }
        match link {
            LinkId::To(number) => match self.outbound.get_mut(&number) {
                Some(outbound) if !self.is_outdated => outbound.connect(),
                _ => self.drop_link(link),
            },
            LinkId::From(number) => self.accepted(number, lineage),
        }
        self.release();
    }

    /// What the acceptor of a dialled link says first: what it has, and whether its store is empty.
    pub fn greeted(&mut self, now_ms: u64, number: u32, durable: Durable, is_empty: bool) {
        self.stopwatch.advance(now_ms);
        let link = LinkId::To(number);
        if !self.has_link(link) {
            return;
        }
        if durable.checkpoint < self.swept && !is_empty {
            self.send(link, SyncMessage::MustResync);
            self.notice(Notice::PeerMustResync { tracker: number });
            if let Some(outbound) = self.outbound.get_mut(&number) {
                outbound.must_resync();
            }
            return self.release();
        }
        self.hear(number, durable);
    }

    /// A link has gone, or could not be made.
    pub fn disconnected(&mut self, now_ms: u64, link: LinkId) {
        self.stopwatch.advance(now_ms);
        self.forget(link);
        self.release();
    }

    /// Takes a message from a link. One from a link that is not known, or was dropped, is passed
    /// over.
    pub fn handle(&mut self, now_ms: u64, link: LinkId, message: SyncMessage) {
        self.stopwatch.advance(now_ms);
        match (link, message) {
            _ if !self.has_link(link) => {}
            (LinkId::To(number), SyncMessage::Durable(durable)) => self.hear(number, durable),
            (LinkId::From(number), SyncMessage::Rows(batch)) => self.merge(number, batch),
            (LinkId::From(_), SyncMessage::MustResync) => self.be_outdated(link),
            (LinkId::To(_), _) => self.violation(link, "the accepting end sent rows"),
            (LinkId::From(_), SyncMessage::Durable(_)) => {
                self.violation(link, "the dialling end sent a vector")
            }
        }
    }

    /// Another tracker has deleted what this one has not heard of: from here on this one sends
    /// nothing, for what was deleted would come back.
    fn be_outdated(&mut self, link: LinkId) {
        self.notice(Notice::MustResync);
        self.drop_link(link);
        self.is_outdated = true;
        let connected = self.outbound.iter().filter(|(_, link)| link.is_connected());
        let connected: Vec<u32> = connected.map(|(&number, _)| number).collect();
        connected.into_iter().for_each(|number| self.drop_link(LinkId::To(number)));
        self.release();
    }

    /// Tells every accepted link what rose.
    pub(super) fn announce(&mut self, risen: &VersionVector) {
        if risen.iter().len() == 0 {
            return;
        }
        let links: Vec<(u64, u64)> =
            self.inbound.iter().map(|(&number, i)| (number, i.acknowledged)).collect();
        for (number, checkpoint) in links {
            let durable = Durable { checkpoint, vector: risen.clone() };
            self.send(LinkId::From(number), SyncMessage::Durable(durable));
        }
    }

    /// Acknowledges what has become durable, with entries of the vector that rested on it.
    pub(super) fn settle_pending(&mut self) {
        let mut entries: VersionVector = [(self.lineage.store, self.durable)].into_iter().collect();
        let mut acknowledged = Vec::new();
        for (&number, inbound) in &mut self.inbound {
            let durable = self.durable;
            let ready =
                inbound.pending.iter().take_while(|pending| pending.needs <= durable).count();
            for pending in inbound.pending.drain(..ready) {
                inbound.acknowledged = inbound.acknowledged.max(pending.through);
                entries.merge(&pending.vector);
                acknowledged.push(number);
            }
            self.checkpoints.raise(inbound.store, inbound.acknowledged);
        }
        acknowledged.dedup();
        let before = self.vector.clone();
        self.raise(entries.iter());
        // Without a rise nothing was announced, and the acknowledgement has to go by itself.
        if self.vector == before {
            for number in acknowledged {
                self.acknowledge(number);
            }
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

    fn acknowledge(&mut self, number: u64) {
        if let Some(checkpoint) = self.inbound.get(&number).map(|inbound| inbound.acknowledged) {
            let durable = Durable { checkpoint, vector: VersionVector::default() };
            self.send(LinkId::From(number), SyncMessage::Durable(durable));
        }
    }

    fn has_link(&self, link: LinkId) -> bool {
        match link {
            LinkId::To(number) => self.outbound.get(&number).is_some_and(Outbound::is_connected),
            LinkId::From(number) => self.inbound.contains_key(&number),
        }
    }

    fn accepted(&mut self, number: u64, lineage: &Lineage) {
        let older =
            self.inbound.iter().filter(|&(&other, i)| other != number && i.store == lineage.store);
        let superseded: Vec<u64> = older.map(|(&other, _)| other).collect();
        superseded.into_iter().for_each(|other| self.drop_link(LinkId::From(other)));
        let complete = lineage.known_to(|store| self.vector.get(store));
        // A checkpoint in the middle of an ancestor's stream says nothing: a row that had moved
        // behind it may be before it again, if the store went back.
        let checkpoint = complete.max(self.checkpoints.get(lineage.store));
        self.vector.raise(lineage.store, complete);
        self.checkpoints.raise(lineage.store, checkpoint);
        let inbound =
            Inbound { store: lineage.store, acknowledged: checkpoint, pending: Vec::new() };
        self.inbound.insert(number, inbound);
        let durable = Durable { checkpoint, vector: self.vector.clone() };
        self.send(LinkId::From(number), SyncMessage::Durable(durable));
    }

    fn hear(&mut self, number: u32, durable: Durable) {
        let link = LinkId::To(number);
        if durable.vector.iter().len() > STORES_MAX + 1 {
            return self.violation(link, "its vector has too many stores");
        }
        if durable.checkpoint > self.durable
            || durable.vector.get(self.lineage.store) > self.durable
        {
            return self.violation(link, "it claims more of this store than there is");
        }
        if let Some(outbound) = self.outbound.get_mut(&number) {
            outbound.hear(durable);
        }
        self.send_next(number);
        self.release();
    }

    fn merge(&mut self, number: u64, batch: RowBatch) {
        let link = LinkId::From(number);
        let RowBatch { rows, through, complete } = batch;
        if rows.len() > 2 * ROWS_PER_BATCH_MAX {
            return self.violation(link, "it sent more rows at once than are allowed");
        }
        if complete.as_ref().is_some_and(|vector| vector.iter().len() > STORES_MAX + 1) {
            return self.violation(link, "its vector has too many stores");
        }
        let own = self.lineage.store;
        if rows.iter().any(|row| row.place.store == own && row.place.sequence > self.sequence) {
            return self
                .violation(link, "it sent a row of this store that this store has not written");
        }
        let Some(store) = self.inbound.get(&number).map(|inbound| inbound.store) else { return };
        let mut vector = complete.unwrap_or_default();
        // Of the own store only this one knows how far it is.
        vector.remove(own);
        let checkpoints = [(store, through)].into_iter().collect();
        self.write(rows, checkpoints, vector.clone());
        // Rows that were there already may be on their way to the disk still.
        let needs = self.sequence;
        if let Some(inbound) = self.inbound.get_mut(&number) {
            inbound.pending.push(super::links::Pending { needs, through, vector });
        }
        if self.durable >= needs {
            self.settle_pending();
        }
        self.release();
    }

    fn violation(&mut self, link: LinkId, what: &'static str) {
        self.notice(Notice::Violation { link, what });
        self.drop_link(link);
        self.release();
    }
}
