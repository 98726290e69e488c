//! Carrying out what a replica asks for, and checking each step of it.
//!
//! After every step: sequences are contiguous; nothing is applied twice; no two operations bear the same origin and sequence;
//! what is sent is durable at the sender; an acknowledged request is durable on the tracker that acknowledged it and on every tracker
//! up for it then; a tracker that comes up has everything that was acknowledged before.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::disk::Entry;
use super::world::{Connection, Pipe, World};
use crate::directory::{Batch, LinkId, Output, Replica, Ticket};
use crate::types::{Operation, Outcome, RequestId, StoreId, SyncMessage, TrackerState};

impl World {
    pub(super) fn drain(&mut self, node: usize, in_submit: bool) {
        while let Some(output) = self.replica(node).poll() {
            match output {
                Output::Persist(batch) => self.take_batch(node, batch, in_submit),
                Output::Send(link, message) => self.send(node, link, message),
                Output::SendStored { link, ranges } => self.send_stored(node, link, ranges),
                Output::Reply(ticket, outcome) => self.take_reply(node, ticket, outcome),
                Output::Notice(notice) => self.notices.push((node, notice)),
                Output::Drop(link) => self.close(node, link),
            }
        }
        self.check_node(node);
    }

    fn take_batch(&mut self, node: usize, batch: Batch, in_submit: bool) {
        let mut entries: Vec<Entry> = batch.origin.map(Entry::Origin).into_iter().collect();
        for operation in batch.operations {
            let key = (operation.origin, operation.sequence);
            let operation = Rc::new(operation);
            if let Some(other) = self.universe.get(&key).filter(|other| **other != operation) {
                let stores = self.nodes.iter().flat_map(|node| node.disk.operations());
                let held = stores.filter(|held| Rc::ptr_eq(held, other)).count();
                assert!(in_submit && held == 0, "two operations are number {} of one origin", key.1);
            }
            let shared = self.universe.entry(key).or_insert_with(|| operation.clone());
            if **shared != *operation {
                *shared = operation;
            }
            entries.push(Entry::Operation(shared.clone()));
        }
        self.nodes[node].unsynced.push(entries);
    }

    fn send(&mut self, node: usize, link: LinkId, message: SyncMessage) {
        let durable = &self.nodes[node].disk.vector;
        match &message {
            SyncMessage::Durable(vector) => assert!(durable.covers(vector), "a vector tells more than is durable"),
            SyncMessage::Operations(operations) => {
                assert!(
                    operations.iter().all(|o| o.sequence <= durable.get(o.origin)),
                    "an operation is sent before it is durable"
                );
            }
        }
        if let Some((connection, pipe)) = self.pipe_from(node, link) {
            let pipe = &mut self.connections[connection].pipes[pipe];
            if !pipe.is_cut && !pipe.is_deaf {
                pipe.queue.push_back(message);
            }
        }
    }

    fn send_stored(&mut self, node: usize, link: LinkId, ranges: Vec<(StoreId, u64, u64)>) {
        let wanted = |o: &Operation| {
            ranges.iter().any(|&(origin, first, last)| o.origin == origin && (first..=last).contains(&o.sequence))
        };
        let operations: Vec<Operation> =
            self.nodes[node].disk.operations().filter(|o| wanted(o)).map(|o| (**o).clone()).collect();
        let count: u64 = ranges.iter().map(|(_, first, last)| last - first + 1).sum();
        assert_eq!(operations.len() as u64, count, "a range is not in the store");
        self.send(node, link, SyncMessage::Operations(operations));
    }

    /// The pipe into which a node sends for a link it still listens to.
    fn pipe_from(&self, node: usize, link: LinkId) -> Option<(usize, usize)> {
        let found = |c: &Connection| match link {
            LinkId::To(to) => c.ends == [node, to as usize] && !c.pipes[1].is_deaf,
            LinkId::From(id) => c.id == id && !c.pipes[0].is_deaf,
        };
        let connection = self.connections.iter().position(found)?;
        Some((connection, usize::from(matches!(link, LinkId::From(_)))))
    }

    fn close(&mut self, node: usize, link: LinkId) {
        if let Some((connection, pipe)) = self.pipe_from(node, link) {
            let pipes = &mut self.connections[connection].pipes;
            pipes[pipe].is_cut = true;
            pipes[1 - pipe] = Pipe { is_deaf: true, ..Pipe::default() };
        }
    }

    fn take_reply(&mut self, node: usize, ticket: Ticket, outcome: Outcome) {
        let request = self.tickets[&ticket.0];
        let is_recorded = self.has_applied(node, request) && !self.without_operation.contains(&ticket);
        if outcome.is_ok() && is_recorded {
            assert!(self.nodes[node].disk.has(request), "acknowledged, and not durable where it was");
            for peer in self.up_links(node) {
                let peer = &self.nodes[peer as usize];
                assert!(
                    peer.disk.has(request) || peer.lost.contains(&request),
                    "acknowledged, and not durable on a tracker that is up"
                );
            }
            self.nodes[node].acknowledged.insert(request);
            self.acknowledged.insert(request);
        }
        self.replies.push((node, ticket, outcome));
    }

    fn up_links(&self, node: usize) -> BTreeSet<u32> {
        let links = self.nodes[node].replica.as_ref().map(Replica::links).unwrap_or_default();
        links.iter().filter(|link| link.state == TrackerState::Up).map(|link| link.tracker).collect()
    }

    fn check_node(&mut self, node: usize) {
        let state = &self.nodes[node];
        let Some(replica) = &state.replica else { return };
        let mut vector = state.disk.vector.clone();
        for operation in state.unsynced.iter().flatten().filter_map(|e| if let Entry::Operation(o) = e { Some(o) } else { None })
        {
            assert_eq!(operation.sequence, vector.get(operation.origin) + 1, "an operation was skipped or applied twice");
            vector.raise(operation.origin, operation.sequence);
        }
        assert_eq!(replica.vector(), vector, "what is known is not what was handed out");
        let up = self.up_links(node);
        for peer in up.difference(&state.up) {
            let peer = &self.nodes[*peer as usize];
            let missing =
                |request: &&RequestId| !peer.disk.has(**request) && !peer.lost.contains(request) && state.disk.has(**request);
            assert_eq!(state.acknowledged.iter().find(missing), None, "up without everything that was acknowledged");
        }
        let is_confirmed = replica.unconfirmed.is_empty();
        self.nodes[node].went_back &= !is_confirmed;
        self.nodes[node].up = up;
    }
}
