//! A network of trackers without a network: disks, links and clocks as plain data, driven one step at a time.
//!
//! **Invariant:** everything a real driver would do is done here at once and in order, except what a test chooses to delay: the
//! disk's syncing, the delivery of each message, the news that a link has gone.
//!
//! Checked after every step: sequences are contiguous; nothing is applied twice; no two operations bear the same origin and
//! sequence; what is sent is durable at the sender; an acknowledged request is durable on the tracker that acknowledged it and on
//! every tracker up for it then; a tracker that comes up has everything that was acknowledged before.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::rc::Rc;

use crate::directory::{Batch, LinkId, Notice, Output, Replica, Ticket};
use crate::types::{Change, Operation, OriginId, Outcome, RequestId, SyncMessage, TrackerState, UserId, VersionVector};

/// The wall clock at the start of every simulation.
const EPOCH_MS: i64 = 1_700_000_000_000;

/// What a store holds, in the order it was stored: going back in time is cutting off the end.
#[derive(Clone)]
pub(super) enum Entry {
    Origin(OriginId),
    Operation(Rc<Operation>),
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Origin(origin) => write!(f, "{origin}"),
            Self::Operation(operation) => write!(f, "{}/{}", operation.origin, operation.sequence),
        }
    }
}

/// One tracker's store.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk {
    pub(super) log: Vec<Entry>,
    vector: VersionVector,
    requests: BTreeMap<RequestId, u32>,
}

impl Disk {
    fn push(&mut self, entry: Entry) {
        if let Entry::Operation(operation) = &entry {
            assert_eq!(operation.sequence, self.vector.get(operation.origin) + 1, "a store has a gap");
            self.vector.raise(operation.origin, operation.sequence);
            *self.requests.entry(operation.request).or_default() += 1;
        }
        self.log.push(entry);
    }

    fn origin(&self) -> OriginId {
        let origin = |entry: &Entry| if let Entry::Origin(origin) = entry { Some(*origin) } else { None };
        self.log.iter().rev().find_map(origin).unwrap()
    }

    pub(super) fn operations(&self) -> impl Iterator<Item = &Rc<Operation>> {
        self.log.iter().filter_map(|entry| if let Entry::Operation(operation) = entry { Some(operation) } else { None })
    }

    pub(super) fn has(&self, request: RequestId) -> bool {
        self.requests.contains_key(&request)
    }
}

/// One tracker.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) disk: Disk,
    /// `None` while it is down.
    pub(super) replica: Option<Replica>,
    /// Handed out to be stored, and not durable yet.
    pub(super) unsynced: Vec<Vec<Entry>>,
    pub(super) skew_ms: i64,
    /// Requests whose operation a store that went back in time lost.
    lost: BTreeSet<RequestId>,
    /// Requests it acknowledged and has not lost since.
    acknowledged: BTreeSet<RequestId>,
    up: BTreeSet<u32>,
    /// Lost its store's end, and does not know yet whether it may use its origin.
    went_back: bool,
}

/// One direction of a connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Pipe {
    pub(super) queue: VecDeque<SyncMessage>,
    /// Nothing more comes in; the receiver learns of it behind the last message.
    pub(super) is_cut: bool,
    /// The receiver does not listen any more.
    pub(super) is_deaf: bool,
}

/// One connection; `pipes[0]` leads to the acceptor, `pipes[1]` to the dialler.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub(super) id: u64,
    pub(super) ends: [usize; 2],
    pub(super) pipes: [Pipe; 2],
}

impl Connection {
    /// The node that receives from a pipe, and what it calls the link.
    fn receiver(&self, pipe: usize) -> (usize, LinkId) {
        match pipe {
            0 => (self.ends[1], LinkId::From(self.id)),
            _ => (self.ends[0], LinkId::To(self.ends[1] as u32)),
        }
    }
}

/// A request as a client repeats it.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) id: RequestId,
    pub(super) actor: UserId,
    pub(super) change: Change,
}

/// The network.
#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) nodes: Vec<Node>,
    pub(super) connections: Vec<Connection>,
    /// Pairs (from, to) between which nothing is delivered.
    pub(super) stalled: BTreeSet<(usize, usize)>,
    pub(super) now_ms: i64,
    /// Which request a ticket stands for.
    pub(super) tickets: BTreeMap<u64, RequestId>,
    /// Tickets of requests that found nothing to do: what they asked for was so already, by another request.
    without_operation: BTreeSet<Ticket>,
    /// Outcomes in the order in which they left, with the node they left from.
    pub(super) replies: Vec<(usize, Ticket, Outcome)>,
    pub(super) notices: Vec<(usize, Notice)>,
    pub(super) acknowledged: BTreeSet<RequestId>,
    /// Acknowledged requests that no store holds any more: every one that did went back in time.
    pub(super) forgiven: BTreeSet<RequestId>,
    universe: BTreeMap<(OriginId, u64), Rc<Operation>>,
    next_id: u64,
    seed: u64,
}

impl World {
    pub(super) fn new(count: usize, seed: u64) -> Self {
        let mut world = Self {
            nodes: Vec::new(),
            connections: Vec::new(),
            stalled: BTreeSet::new(),
            now_ms: EPOCH_MS,
            tickets: BTreeMap::new(),
            without_operation: BTreeSet::new(),
            replies: Vec::new(),
            notices: Vec::new(),
            acknowledged: BTreeSet::new(),
            forgiven: BTreeSet::new(),
            universe: BTreeMap::new(),
            next_id: 1,
            seed,
        };
        for _ in 0..count {
            let mut disk = Disk::default();
            disk.push(Entry::Origin(world.fresh_origin()));
            world.nodes.push(Node {
                disk,
                replica: None,
                unsynced: Vec::new(),
                skew_ms: 0,
                lost: BTreeSet::new(),
                acknowledged: BTreeSet::new(),
                up: BTreeSet::new(),
                went_back: false,
            });
        }
        (0..count).for_each(|node| world.restart(node));
        world
    }

    pub(super) fn wall_ms(&self, node: usize) -> u64 {
        (self.now_ms + self.nodes[node].skew_ms) as u64
    }

    /// Starts a tracker from its store.
    pub(super) fn restart(&mut self, node: usize) {
        assert!(self.nodes[node].replica.is_none());
        let peers: Vec<u32> = (0..self.nodes.len() as u32).filter(|&peer| peer != node as u32).collect();
        let seed = self.next();
        let disk = &self.nodes[node].disk;
        let mut replica = Replica::new(disk.origin(), &peers, seed);
        for operation in disk.operations() {
            replica.restore((**operation).clone()).unwrap();
        }
        self.nodes[node].up.clear();
        self.nodes[node].replica = Some(replica);
        self.drain(node, false);
    }

    /// Stops a tracker without warning. Of the batches not yet known to be durable the first `survive` are on disk all the same;
    /// with `keep`, the store goes back to that many entries.
    pub(super) fn crash(&mut self, node: usize, survive: usize, keep: Option<usize>, lose: &mut dyn FnMut(usize) -> usize) {
        self.nodes[node].replica = None;
        let unsynced = std::mem::take(&mut self.nodes[node].unsynced);
        unsynced.into_iter().take(survive).flatten().for_each(|entry| self.nodes[node].disk.push(entry));
        for connection in &mut self.connections {
            for pipe in 0..2 {
                if connection.receiver(pipe).0 == node {
                    connection.pipes[pipe] = Pipe { is_deaf: true, ..Pipe::default() };
                    cut_pipe(&mut connection.pipes[1 - pipe], lose);
                }
            }
        }
        if let Some(keep) = keep {
            self.go_back(node, keep);
        }
        self.sweep();
    }

    /// Replaces a stopped tracker's store by an empty one.
    pub(super) fn wipe(&mut self, node: usize) {
        self.go_back(node, 0);
        let origin = self.fresh_origin();
        self.nodes[node].disk.push(Entry::Origin(origin));
        self.nodes[node].went_back = false;
    }

    /// Tells whether a store may go back in time now. Two at once may lose what each would have told the other; see
    /// `sim/mod.rs`, "What is assumed".
    pub(super) fn may_go_back(&self, node: usize) -> bool {
        let settled = |other: &Node| !other.went_back || other.replica.as_ref().is_some_and(|r| r.unconfirmed.is_empty());
        let others = self.nodes.iter().enumerate().filter(|&(other, _)| other != node);
        let pipes = self.connections.iter().flat_map(|c| c.ends.iter().zip(&c.pipes));
        let mut remains = pipes.filter(|&(&from, pipe)| from != node && pipe.is_cut && !pipe.queue.is_empty());
        remains.next().is_none() && others.into_iter().all(|(_, other)| settled(other))
    }

    fn go_back(&mut self, node: usize, keep: usize) {
        assert!(self.nodes[node].replica.is_none());
        let log = std::mem::take(&mut self.nodes[node].disk).log;
        let state = &mut self.nodes[node];
        for (place, entry) in log.into_iter().enumerate() {
            match entry {
                entry if place < keep => state.disk.push(entry),
                Entry::Operation(operation) => {
                    state.lost.insert(operation.request);
                    state.acknowledged.remove(&operation.request);
                }
                Entry::Origin(_) => {}
            }
        }
        state.went_back = true;
        let held = |request: &RequestId| self.nodes.iter().any(|node| node.disk.has(*request));
        let gone: Vec<RequestId> = self.acknowledged.iter().filter(|request| !held(request)).copied().collect();
        self.forgiven.extend(gone);
    }

    /// Dials, if nothing speaks against it; tells whether a new connection stands.
    pub(super) fn dial(&mut self, from: usize, to: usize) -> bool {
        let is_up = |node: usize| self.nodes[node].replica.is_some();
        let connected = self.connections.iter().any(|c| c.ends == [from, to] && !c.pipes[1].is_deaf);
        let stalled = self.stalled.contains(&(from, to)) || self.stalled.contains(&(to, from));
        if from == to || !is_up(from) || !is_up(to) || connected || stalled {
            return false;
        }
        let ahead_ms = self.nodes[to].skew_ms - self.nodes[from].skew_ms;
        if ahead_ms.abs() > 60_000 {
            if ahead_ms > 0 {
                self.replica(from).clock_ahead(LinkId::To(to as u32));
                self.drain(from, false);
            }
            return false;
        }
        let id = self.next();
        self.connections.push(Connection { id, ends: [from, to], pipes: Default::default() });
        let (near, far) = (self.replica(from).origin(), self.replica(to).origin());
        let (near_ms, far_ms) = (self.wall_ms(from), self.wall_ms(to));
        self.replica(from).connected(near_ms, LinkId::To(to as u32), far);
        self.drain(from, false);
        self.replica(to).connected(far_ms, LinkId::From(id), near);
        self.drain(to, false);
        true
    }

    /// Tells whether a pipe has something for its receiver: a message, or the news of its end.
    pub(super) fn is_deliverable(&self, connection: usize, pipe: usize) -> bool {
        let connection = &self.connections[connection];
        let Pipe { queue, is_cut, is_deaf } = &connection.pipes[pipe];
        let (from, to) = (connection.ends[pipe], connection.ends[1 - pipe]);
        !is_deaf && (!queue.is_empty() || *is_cut) && !self.stalled.contains(&(from, to))
    }

    /// Delivers the next message of a pipe, or the news of its end.
    pub(super) fn deliver(&mut self, connection: usize, pipe: usize) {
        let (node, link) = self.connections[connection].receiver(pipe);
        let now_ms = self.wall_ms(node);
        let end = &mut self.connections[connection].pipes[pipe];
        match end.queue.pop_front() {
            Some(message) => self.replica(node).handle(now_ms, link, message),
            None => {
                end.is_deaf = true;
                self.connections[connection].pipes[1 - pipe].is_cut = true;
                self.replica(node).disconnected(now_ms, link);
            }
        }
        self.drain(node, false);
        self.sweep();
    }

    /// Cuts a connection; `lose(n)` says how many of the n messages under way in a direction are lost.
    pub(super) fn cut(&mut self, connection: usize, lose: &mut dyn FnMut(usize) -> usize) {
        self.connections[connection].pipes.iter_mut().for_each(|pipe| cut_pipe(pipe, lose));
    }

    /// Makes everything handed out durable.
    pub(super) fn sync(&mut self, node: usize) {
        let unsynced = std::mem::take(&mut self.nodes[node].unsynced);
        unsynced.into_iter().flatten().for_each(|entry| self.nodes[node].disk.push(entry));
        let now_ms = self.wall_ms(node);
        self.replica(node).persisted(now_ms);
        self.drain(node, false);
    }

    /// Lets time pass for everybody.
    pub(super) fn advance(&mut self, ms: i64) {
        self.now_ms += ms;
        for node in 0..self.nodes.len() {
            let now_ms = self.wall_ms(node);
            if let Some(replica) = &mut self.nodes[node].replica {
                replica.tick(now_ms);
                self.drain(node, false);
            }
        }
    }

    /// A client sends a request to a tracker that is running.
    pub(super) fn submit(&mut self, node: usize, request: &Request) -> Ticket {
        let ticket = Ticket(self.next());
        self.tickets.insert(ticket.0, request.id);
        let now_ms = self.wall_ms(node);
        self.replica(node).submit(now_ms, ticket, request.actor, request.id, request.change.clone());
        self.drain(node, true);
        if !self.has_applied(node, request.id) {
            self.without_operation.insert(ticket);
        }
        ticket
    }

    /// Operations a tracker has applied, durable or not.
    pub(super) fn applied(&self, node: usize) -> Vec<Rc<Operation>> {
        let unsynced = self.nodes[node].unsynced.iter().flatten();
        let fresh = unsynced.filter_map(|entry| if let Entry::Operation(op) = entry { Some(op) } else { None });
        self.nodes[node].disk.operations().chain(fresh).cloned().collect()
    }

    /// Writes down all that decides how things go on, in short: what a replica knows follows from what it was given, in order.
    pub(super) fn outline(&self, f: &mut impl fmt::Write) -> fmt::Result {
        for Node { disk, replica, unsynced, up, .. } in &self.nodes {
            write!(f, "{:?} {unsynced:?} {up:?};", disk.log)?;
            if let Some(replica) = replica {
                write!(f, "{:?} {:?} {:?}", replica.origin(), replica.unconfirmed, replica.clock)?;
                write!(f, "{:?} {:?} {:?};", replica.outbound, replica.inbound, replica.waiting)?;
            }
        }
        write!(f, "{:?} {:?} {:?} {}", self.connections, self.stalled, self.replies, self.now_ms)
    }

    fn has_applied(&self, node: usize, request: RequestId) -> bool {
        self.applied(node).iter().any(|operation| operation.request == request)
    }

    /// Ends all faults: every tracker runs, every link works, the clocks are nearly right; then lets everything settle.
    pub(super) fn heal(&mut self) {
        self.stalled.clear();
        for node in 0..self.nodes.len() {
            self.nodes[node].skew_ms = self.nodes[node].skew_ms.clamp(-5_000, 5_000);
            if self.nodes[node].replica.is_none() {
                self.restart(node);
            }
        }
        for _ in 0..100 {
            self.settle();
            let degraded = self.nodes.iter().any(|node| node.replica.as_ref().is_some_and(Replica::is_degraded));
            if !degraded {
                return;
            }
            self.advance(300);
        }
        let states: Vec<_> = self.nodes.iter().map(|node| node.replica.as_ref().map(Replica::links)).collect();
        panic!("the network does not heal: {states:?}");
    }

    /// Dials, delivers and syncs until nothing is left to do; no time passes. A tracker dials another once at most, for a
    /// link that was dropped is not dialled again at once.
    pub(super) fn settle(&mut self) {
        let nodes = 0..self.nodes.len();
        let mut to_dial: Vec<(usize, usize)> = nodes.clone().flat_map(|from| nodes.clone().map(move |to| (from, to))).collect();
        loop {
            let before = to_dial.len();
            to_dial.retain(|&(from, to)| !self.dial(from, to));
            let mut busy = to_dial.len() < before;
            while let Some((connection, pipe)) = self.deliverable().first().copied() {
                self.deliver(connection, pipe);
                busy = true;
            }
            for node in nodes.clone() {
                if !self.nodes[node].unsynced.is_empty() && self.nodes[node].replica.is_some() {
                    self.sync(node);
                    busy = true;
                }
            }
            if !busy {
                return;
            }
        }
    }

    pub(super) fn deliverable(&self) -> Vec<(usize, usize)> {
        let all = (0..self.connections.len()).flat_map(|connection| [(connection, 0), (connection, 1)]);
        all.filter(|&(connection, pipe)| self.is_deliverable(connection, pipe)).collect()
    }

    pub(super) fn replica(&mut self, node: usize) -> &mut Replica {
        self.nodes[node].replica.as_mut().unwrap()
    }

    fn drain(&mut self, node: usize, in_submit: bool) {
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

    fn send_stored(&mut self, node: usize, link: LinkId, ranges: Vec<(OriginId, u64, u64)>) {
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

    /// Removes connections that nobody listens to.
    fn sweep(&mut self) {
        self.connections.retain(|connection| connection.pipes.iter().any(|pipe| !pipe.is_deaf));
    }

    fn fresh_origin(&mut self) -> OriginId {
        let id = self.next();
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&crate::directory::sim::random::mix(self.seed ^ id).to_be_bytes());
        bytes[8..].copy_from_slice(&id.to_be_bytes());
        OriginId::from_bytes(bytes)
    }

    fn next(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

fn cut_pipe(pipe: &mut Pipe, lose: &mut dyn FnMut(usize) -> usize) {
    let len = pipe.queue.len();
    pipe.queue.truncate(len - lose(len).min(len));
    pipe.is_cut = true;
}
