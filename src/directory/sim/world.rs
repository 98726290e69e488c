//! A network of trackers without a network: disks, links and clocks as plain data, driven one step at a time.
//!
//! **Invariant:** everything a real driver would do is done here at once and in order, except what a test chooses to delay: the
//! disk's syncing, the delivery of each message, the news that a link has gone.
//!
//! What is checked on the way stands in `driver`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::rc::Rc;

use super::disk::{Disk, Entry};
use crate::directory::{LinkId, Notice, Replica, Ticket};
use crate::types::{Change, Operation, Outcome, RequestId, StoreId, SyncMessage, UserId};

/// The wall clock at the start of every simulation.
const EPOCH_MS: i64 = 1_700_000_000_000;

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
    pub(super) lost: BTreeSet<RequestId>,
    /// Requests it acknowledged and has not lost since.
    pub(super) acknowledged: BTreeSet<RequestId>,
    pub(super) up: BTreeSet<u32>,
    /// Lost its store's end, and does not know yet whether it may use its origin.
    pub(super) went_back: bool,
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
    pub(super) without_operation: BTreeSet<Ticket>,
    /// Outcomes in the order in which they left, with the node they left from.
    pub(super) replies: Vec<(usize, Ticket, Outcome)>,
    pub(super) notices: Vec<(usize, Notice)>,
    pub(super) acknowledged: BTreeSet<RequestId>,
    /// Acknowledged requests that no store holds any more: every one that did went back in time.
    pub(super) forgiven: BTreeSet<RequestId>,
    pub(super) universe: BTreeMap<(StoreId, u64), Rc<Operation>>,
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

    pub(super) fn has_applied(&self, node: usize, request: RequestId) -> bool {
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

    /// Removes connections that nobody listens to.
    fn sweep(&mut self) {
        self.connections.retain(|connection| connection.pipes.iter().any(|pipe| !pipe.is_deaf));
    }

    fn fresh_origin(&mut self) -> StoreId {
        let id = self.next();
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&super::random::mix(self.seed ^ id).to_be_bytes());
        bytes[8..].copy_from_slice(&id.to_be_bytes());
        StoreId::from_bytes(bytes)
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
