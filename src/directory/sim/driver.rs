//! Carrying out what a replica asks for, and checking each step of it.
//!
//! After every step: update sequences have no gaps; a place never names two contents; each row that
//! is written is newer than the one before it, and keeps the fields of later versions; what is sent
//! is durable at the sender; version vectors are true; an acknowledged request is durable on the
//! tracker that acknowledged it and on every tracker whose link holds replies then.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::disk::Entry;
use super::model::Model;
use super::world::{Acknowledged, Connection, Message, Pipe, World};
use crate::directory::{Asked, LinkId, Output, Ticket};
use crate::types::{
    Change, Content, MembershipState, Outcome, Refusal, Row, RowKey, StoreId, SyncMessage,
    Transaction, UserId, Version,
};

impl World {
    pub(super) fn drain(&mut self, node: usize) {
        while let Some(output) = self.replica(node).poll() {
            match output {
                Output::Persist(transaction) => self.take_transaction(node, transaction),
                Output::Send(link, message) => self.send(node, link, message),
                Output::SendStored { link, after, through, known } => {
                    assert!(after < through && through <= self.nodes[node].disk.sequence);
                    self.push(node, link, Message::Stored { after, through, known });
                }
                Output::Reply(ticket, outcome) => self.take_reply(node, ticket, outcome),
                Output::Notice(notice) => self.notices.push((node, notice)),
                Output::Drop(link) => self.close(node, link),
                // A test says when it deletes old rows.
                Output::Sweep(_) => {}
            }
        }
        self.check_vector(node);
    }

    fn take_transaction(&mut self, node: usize, transaction: Transaction) {
        let state = &mut self.nodes[node];
        let last = state.disk.sequence + state.unsynced.len() as u64;
        assert_eq!(transaction.sequence, last + 1, "an update sequence is left out or used twice");
        assert_eq!(transaction.rows.len(), transaction.displaced.len());
        let own = state.disk.lineage().store;
        for (row, displaced) in transaction.rows.iter().zip(&transaction.displaced) {
            let key = row.content.key();
            if self.trace {
                println!(
                    "{node} stores {} {key:?} of {}",
                    transaction.sequence, row.version.request
                );
            }
            let before = state.view.get(&key).cloned();
            check_row(before.as_deref(), displaced.as_ref(), row);
            state.view.insert(key.clone(), Rc::new(row.clone()));
            let place = (row.place, key.clone());
            let shared = self.places.entry(place).or_insert_with(|| Rc::new(row.clone()));
            assert_eq!(**shared, *row, "a place is used for two rows");
            if row.place.store == own && row.place.sequence == transaction.sequence {
                let extra = before.map(|before| before.extra.clone()).unwrap_or_default();
                let is_kept = row.extra == extra || is_deletion(&row.content);
                assert!(is_kept, "fields of a later version are lost: {row:?}");
                let writes = self.writes.entry(row.version.request).or_default();
                let writes = writes.entry(row.version.stamp).or_default();
                writes.entry(row.place).or_default().insert(key);
            }
        }
        state.unsynced.push(Entry::Transaction(Rc::new(transaction)));
    }

    fn send(&mut self, node: usize, link: LinkId, message: SyncMessage) {
        let durable = self.nodes[node].disk.sequence;
        let own = self.nodes[node].disk.lineage().store;
        match (&message, link) {
            (SyncMessage::Durable(told), LinkId::From(id)) => {
                assert!(told.vector.get(own) <= durable, "a vector tells more than is durable");
                self.check_vector(node);
                if let Some(connection) = self.connections.iter_mut().find(|c| c.id == id)
                    && !std::mem::replace(&mut connection.is_welcome, true)
                {
                    let lineage = self.replica(node).lineage().clone();
                    let is_empty = self.replica(node).is_empty();
                    let message = Message::Welcome(lineage, told.clone(), is_empty);
                    return self.push(node, link, message);
                }
            }
            (SyncMessage::Rows(batch), LinkId::To(_)) => {
                assert!(batch.through <= durable, "rows are sent before they are durable");
                let on_disk =
                    |row: &Row| self.nodes[node].disk.covers(&row.content.key(), row.version);
                assert!(batch.rows.iter().all(on_disk), "a row is sent before it is durable");
            }
            (SyncMessage::MustResync, LinkId::To(_)) => {}
            (message, link) => panic!("{message:?} is sent the wrong way: {link}"),
        }
        self.push(node, link, Message::Sync(message));
    }

    fn push(&mut self, node: usize, link: LinkId, message: Message) {
        if let Some((connection, pipe)) = self.pipe_from(node, link) {
            let pipe = &mut self.connections[connection].pipes[pipe];
            if !pipe.is_cut && !pipe.is_deaf {
                pipe.queue.push_back(message);
            }
        }
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
        if let Ok(success) = outcome {
            let version = Version { stamp: success.stamp, request };
            self.check_safe(node, version);
            let client = self.requests[&request].client;
            self.told.entry(client).or_default().push(success.stamp);
            let (stamp, at_ms, number) = (success.stamp, self.now_ms, self.next());
            self.acknowledged.push(Acknowledged { request, stamp, at_ms, number });
        }
        if let Err(Refusal::Overtaken { above }) = outcome {
            self.overtaken.push((request, node, above));
        }
        self.replies.push((node, ticket, outcome));
    }

    /// What is acknowledged is on the disk here, and wherever replies wait for.
    fn check_safe(&self, node: usize, version: Version) {
        let replica = self.nodes[node].replica.as_ref().unwrap();
        let holding = replica.outbound.iter().filter(|(_, link)| link.holds_replies());
        let intact = |peer: usize| {
            // A tracker that has crashed may have lost it since, as long as that is not known here.
            let there = |c: &Connection| c.ends == [node, peer] && !c.pipes[0].is_deaf;
            self.connections.iter().any(there)
        };
        let peers = holding.map(|(&number, _)| number as usize).filter(|&peer| intact(peer));
        for at in peers.chain([node]) {
            let disk = &self.nodes[at].disk;
            let is_there = self.is_whole(version, |key| self.has(disk, key, version));
            assert!(is_there, "acknowledged by {node}, and not durable at {at}: {version:?}");
        }
    }

    /// Tells whether all rows that one carrying-out of a request wrote pass the test.
    pub(super) fn is_whole(&self, version: Version, test: impl Fn(&RowKey) -> bool) -> bool {
        let carried = self.writes.get(&version.request).and_then(|w| w.get(&version.stamp));
        let carried = carried.expect("an acknowledgement names a write that there is");
        carried.values().any(|keys| keys.iter().all(&test))
    }

    /// Tells whether a disk has that write or a later one, or need not have it any more.
    pub(super) fn has(&self, disk: &super::disk::Disk, key: &RowKey, version: Version) -> bool {
        disk.covers(key, version) || self.gone.get(key).is_some_and(|gone| *gone >= version)
    }

    /// Everything that a version vector claims is on the disk.
    fn check_vector(&mut self, node: usize) {
        let Some(replica) = &self.nodes[node].replica else { return };
        let own = replica.lineage().store;
        let checked = &self.nodes[node].checked;
        let risen: Vec<(StoreId, u64, u64)> = replica
            .vector
            .iter()
            .map(|(store, sequence)| (store, checked.get(store), sequence))
            .filter(|&(store, before, sequence)| store != own && sequence > before)
            .collect();
        for (store, before, sequence) in risen {
            let lineage = &self.lineages[&store];
            let ancestors = lineage.ancestors.iter().copied();
            for (store, last) in ancestors.chain([(store, u64::MAX)]) {
                self.check_known(node, store, before.min(last), sequence.min(last));
            }
            self.nodes[node].checked.raise(store, sequence);
        }
    }

    /// Everything that a store had durably between two update sequences is on the disk.
    fn check_known(&self, node: usize, store: StoreId, after: u64, through: u64) {
        let Some(history) = self.history.get(&store) else { return };
        let from = history.partition_point(|(sequence, ..)| *sequence <= after);
        for (sequence, key, version) in &history[from..] {
            if *sequence > through {
                return;
            }
            assert!(
                self.has(&self.nodes[node].disk, key, *version),
                "{node} claims to know {store} up to {through}, and lacks {key:?} {version:?} \
                 from {sequence}"
            );
        }
    }

    /// Notes who is let in by an owner who was asked to, or by an invitation that lets them in.
    pub(super) fn note_let_in(&mut self, node: usize, asked: &Asked) {
        if let Change::AcceptRequest { group, user } = asked.change {
            let model = Model::of(self.nodes[node].view.values().map(|row| &**row));
            let has_asked = model.state(group, user) == MembershipState::Requested;
            if model.owner(group) == Some(asked.actor) && has_asked {
                self.let_in.insert((asked.request.id, RowKey::Membership(group, user)));
            }
        }
        let (group, invitation, user, is_new) = match &asked.change {
            Change::UseInvitation { group, invitation } => {
                (*group, *invitation, asked.actor, false)
            }
            Change::CreateInvitedUser { name, group, invitation, .. } => {
                (*group, *invitation, UserId::derive(name, asked.request.id), true)
            }
            _ => return,
        };
        let model = Model::of(self.nodes[node].view.values().map(|row| &**row));
        let at_ms = asked.request.at.ms();
        if model.lets_in(group, invitation, (!is_new).then_some(user), at_ms) {
            self.let_in.insert((asked.request.id, RowKey::Membership(group, user)));
        }
    }

    /// The final rows of one tracker.
    pub(super) fn rows(&self, node: usize) -> BTreeMap<RowKey, Rc<Row>> {
        let rows = self.nodes[node].disk.rows.iter();
        rows.map(|(key, stored)| (key.clone(), stored.row.clone())).collect()
    }
}

/// A row that is written takes the place of an older one, and is one that can be sent.
fn check_row(before: Option<&Row>, displaced: Option<&Content>, row: &Row) {
    assert!(!is_deletion(&row.content) || row.extra.is_empty(), "nothing is behind a deletion");
    let Some(before) = before else { return assert_eq!(displaced, None) };
    if matches!(row.content, Content::Request(..)) {
        return;
    }
    assert_eq!(displaced, Some(&before.content), "what was displaced is not what was there");
    if before.content.is_final() {
        return assert!(row.content.is_final() && row.version > before.version);
    }
    let is_newer =
        (row.version, &row.content, &row.extra) > (before.version, &before.content, &before.extra);
    assert!(row.content.is_final() || is_newer, "{before:?} gives way to {row:?}");
}

/// A row whose value is empty when it is sent.
fn is_deletion(content: &Content) -> bool {
    matches!(
        content,
        Content::User(_, None)
            | Content::Group(_, None)
            | Content::File(_, _, None)
            | Content::Setting(_, None)
            | Content::Unknown(..)
    )
}
