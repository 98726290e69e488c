//! A network of trackers without a network: disks, links and clocks as plain data, driven one step
//! at a time.
//!
//! **Invariant:** everything a real driver would do is done here at once and in order, except what
//! a test chooses to delay: the disk's syncing, the delivery of each message and request, the news
//! that a link has gone.
//!
//! What is checked on the way stands in `driver`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::rc::Rc;

use super::disk::{Disk, Entry};
use super::rows::{Backend, SimRows};
use crate::directory::{Asked, Directory, LinkId, Notice, Replica, Ticket};
use crate::types::{
    Change, Durable, Lineage, Outcome, Place, RequestId, RequestStamp, Row, RowBatch, RowKey,
    Stamp, StoreId, SyncMessage, TrackerState, Transaction, UserId, Version, VersionVector,
};

/// The wall clock at the start of every simulation.
const EPOCH_MS: i64 = 1_700_000_000_000;

/// One tracker.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) disk: Disk,
    /// `None` while it is down.
    pub(super) replica: Option<Replica<SimRows>>,
    /// Handed out to be stored, and not durable yet.
    pub(super) unsynced: Vec<Entry>,
    /// The rows in the replica's memory: those of the disk, and of what was handed out since.
    pub(super) view: BTreeMap<RowKey, Rc<Row>>,
    pub(super) skew_ms: i64,
    /// Nothing is delivered to it, no time passes for it and its disk hangs.
    pub(super) is_frozen: bool,
    /// Requests under way to it, or waiting for it to thaw.
    pub(super) inbox: VecDeque<(Ticket, Asked)>,
    /// The trackers it dials.
    pub(super) peers: BTreeSet<usize>,
    /// Entries of its log that are younger than the retention time of others.
    pub(super) keep_min: usize,
    /// How far its version vector was found to be true.
    pub(super) checked: VersionVector,
}

/// One thing on its way through a connection.
#[derive(Debug, Clone)]
pub(super) enum Message {
    /// The dialler's first words.
    Hello(Lineage),
    /// The acceptor's first words: its store, what is durable there, and whether it is empty.
    Welcome(Lineage, Durable, bool),
    Sync(SyncMessage),
    /// Rows that the sender's thread has yet to read from the store.
    Stored {
        after: u64,
        through: u64,
        known: VersionVector,
    },
}

/// One direction of a connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Pipe {
    pub(super) queue: VecDeque<Message>,
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
    /// The acceptor has said its first words.
    pub(super) is_welcome: bool,
}

impl Connection {
    /// The node that receives from a pipe, and what it calls the link.
    pub(super) fn receiver(&self, pipe: usize) -> (usize, LinkId) {
        match pipe {
            0 => (self.ends[1], LinkId::From(self.id)),
            _ => (self.ends[0], LinkId::To(self.ends[1] as u32)),
        }
    }
}

/// A request as a client repeats it.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) client: usize,
    pub(super) stamp: RequestStamp,
    pub(super) actor: UserId,
    pub(super) change: Change,
    /// The true time when it was first asked.
    pub(super) asked_ms: i64,
    /// Orders it among what happened in the same millisecond.
    pub(super) number: u64,
}

/// A request that a client was told to be carried out.
#[derive(Debug, Clone)]
pub(super) struct Acknowledged {
    pub(super) request: RequestId,
    pub(super) stamp: Stamp,
    /// The true time.
    pub(super) at_ms: i64,
    /// Orders it among what happened in the same millisecond.
    pub(super) number: u64,
}

/// The network.
#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) nodes: Vec<Node>,
    pub(super) connections: Vec<Connection>,
    /// Pairs (from, to) between which nothing is delivered.
    pub(super) stalled: BTreeSet<(usize, usize)>,
    /// A tracker that does not dial for now.
    pub(super) silent: Option<usize>,
    pub(super) now_ms: i64,
    /// Which request a ticket stands for.
    pub(super) tickets: BTreeMap<u64, RequestId>,
    pub(super) requests: BTreeMap<RequestId, Request>,
    /// Outcomes in the order in which they left, with the node they left from.
    pub(super) replies: Vec<(usize, Ticket, Outcome)>,
    pub(super) notices: Vec<(usize, Notice)>,
    pub(super) acknowledged: Vec<Acknowledged>,
    /// Acknowledged writes that no store holds any more: every one that did went back in time.
    pub(super) forgiven: BTreeSet<(RequestId, Stamp)>,
    /// Requests that a tracker found to be overtaken, the tracker, and what their times must be
    /// above.
    pub(super) overtaken: Vec<(RequestId, usize, Stamp)>,
    /// The stamps that each client was told and has not looked at yet.
    pub(super) told: BTreeMap<usize, Vec<Stamp>>,
    /// The rows that each carrying-out of a request wrote.
    pub(super) writes: BTreeMap<RequestId, BTreeMap<Stamp, BTreeMap<Place, BTreeSet<RowKey>>>>,
    /// What each place was used for.
    pub(super) places: BTreeMap<(Place, RowKey), Rc<Row>>,
    /// What each store had durably, by update sequence.
    pub(super) history: BTreeMap<StoreId, Vec<(u64, RowKey, Version)>>,
    pub(super) lineages: BTreeMap<StoreId, Lineage>,
    /// Rows that were deleted for their age anywhere.
    pub(super) gone: BTreeMap<RowKey, Version>,
    /// Requests by which an owner, in the eyes of the tracker that carried it out, let somebody in.
    pub(super) let_in: BTreeSet<(RequestId, RowKey)>,
    /// Rows in the frames in which rows of a store are sent.
    pub(super) frame_rows: usize,
    pub(super) frames_stored: usize,
    pub(super) trace: bool,
    backend: Backend,
    next_id: u64,
    seed: u64,
}

/// Which trackers dial which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Topology {
    Mesh,
    Line,
    Ring,
    Star,
}

impl Topology {
    fn connects(self, one: usize, other: usize, count: usize) -> bool {
        let apart = one.abs_diff(other);
        match self {
            Self::Mesh => apart > 0,
            Self::Line => apart == 1,
            Self::Ring => apart == 1 || (count > 2 && apart == count - 1),
            Self::Star => apart > 0 && (one == 0 || other == 0),
        }
    }
}

impl World {
    pub(super) fn new(count: usize, topology: Topology, backend: Backend, seed: u64) -> Self {
        let mut world = Self {
            nodes: Vec::new(),
            connections: Vec::new(),
            stalled: BTreeSet::new(),
            silent: None,
            now_ms: EPOCH_MS,
            tickets: BTreeMap::new(),
            requests: BTreeMap::new(),
            replies: Vec::new(),
            notices: Vec::new(),
            acknowledged: Vec::new(),
            forgiven: BTreeSet::new(),
            overtaken: Vec::new(),
            told: BTreeMap::new(),
            writes: BTreeMap::new(),
            places: BTreeMap::new(),
            history: BTreeMap::new(),
            lineages: BTreeMap::new(),
            gone: BTreeMap::new(),
            let_in: BTreeSet::new(),
            frame_rows: 1 + seed as usize % 4,
            frames_stored: 0,
            trace: false,
            backend,
            next_id: 1,
            seed,
        };
        for node in 0..count {
            let peers = (0..count).filter(|&peer| topology.connects(node, peer, count)).collect();
            world.nodes.push(Node {
                disk: Disk::default(),
                replica: None,
                unsynced: Vec::new(),
                view: BTreeMap::new(),
                skew_ms: 0,
                is_frozen: false,
                inbox: VecDeque::new(),
                peers,
                keep_min: 0,
                checked: VersionVector::default(),
            });
        }
        (0..count).for_each(|node| world.restart(node));
        world
    }

    pub(super) fn wall_ms(&self, node: usize) -> u64 {
        (self.now_ms + self.nodes[node].skew_ms) as u64
    }

    /// Tells whether a tracker runs and does anything.
    pub(super) fn is_awake(&self, node: usize) -> bool {
        self.nodes[node].replica.is_some() && !self.nodes[node].is_frozen
    }

    /// Starts a tracker from its store, under a fresh id.
    pub(super) fn restart(&mut self, node: usize) {
        assert!(self.nodes[node].replica.is_none());
        let store = self.fresh_store();
        let state = &mut self.nodes[node];
        state.disk.push(Entry::Start(store));
        self.lineages.insert(store, state.disk.lineage().clone());
        let peers: Vec<u32> = state.peers.iter().map(|&peer| peer as u32).collect();
        let mut replica = Replica::over(
            Directory::new(SimRows::new(self.backend, store)),
            state.disk.state(),
            &peers,
        );
        state.view.clear();
        for stored in state.disk.rows.values() {
            replica.restore(&stored.row);
            state.view.insert(stored.row.content.key(), stored.row.clone());
        }
        replica.directory.rows_mut().commit(&[]);
        state.checked = VersionVector::default();
        state.replica = Some(replica);
        self.drain(node);
    }

    /// Stops a tracker without warning. Of the transactions not yet known to be durable the first
    /// `survive` are on the disk all the same; with `keep`, the store goes back to that many
    /// entries.
    pub(super) fn crash(
        &mut self,
        node: usize,
        survive: usize,
        keep: Option<usize>,
        lose: &mut dyn FnMut(usize) -> usize,
    ) {
        for connection in 0..self.connections.len() {
            self.read_stored(connection);
        }
        let state = &mut self.nodes[node];
        state.replica = None;
        state.is_frozen = false;
        state.inbox.clear();
        let unsynced = std::mem::take(&mut state.unsynced);
        unsynced.into_iter().take(survive).for_each(|entry| self.store(node, entry));
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
        self.tidy();
    }

    /// Replaces a stopped tracker's store by an empty one.
    pub(super) fn wipe(&mut self, node: usize) {
        self.go_back(node, 0);
    }

    fn go_back(&mut self, node: usize, keep: usize) {
        assert!(self.nodes[node].replica.is_none());
        let log = std::mem::take(&mut self.nodes[node].disk).log;
        log.into_iter().take(keep).for_each(|entry| self.nodes[node].disk.push(entry));
        for Acknowledged { request, stamp, .. } in &self.acknowledged {
            let version = Version { stamp: *stamp, request: *request };
            let is_held = |key: &RowKey| self.nodes.iter().any(|n| n.disk.covers(key, version));
            if !self.is_whole(version, is_held) {
                self.forgiven.insert((*request, *stamp));
            }
        }
    }

    /// Tells whether nothing speaks against a new connection.
    pub(super) fn can_dial(&self, from: usize, to: usize) -> bool {
        let is_connected = |c: &Connection| c.ends == [from, to] && !c.pipes[1].is_deaf;
        let connected = self.connections.iter().any(is_connected);
        let stalled = self.stalled.contains(&(from, to)) || self.stalled.contains(&(to, from));
        let is_peer = self.nodes[from].peers.contains(&to);
        is_peer
            && !connected
            && !stalled
            && self.silent != Some(from)
            && self.is_awake(from)
            && self.is_awake(to)
    }

    /// Dials, if it can; tells whether a new connection is made.
    pub(super) fn dial(&mut self, from: usize, to: usize) -> bool {
        if !self.can_dial(from, to) {
            return false;
        }
        let id = self.next();
        let mut pipes = [Pipe::default(), Pipe::default()];
        let lineage = self.replica(from).lineage().clone();
        pipes[0].queue.push_back(Message::Hello(lineage));
        self.connections.push(Connection { id, ends: [from, to], pipes, is_welcome: false });
        true
    }

    /// Tells whether a pipe has something for its receiver: a message, or the news of its end.
    pub(super) fn is_deliverable(&self, connection: usize, pipe: usize) -> bool {
        let connection = &self.connections[connection];
        let Pipe { queue, is_cut, is_deaf } = &connection.pipes[pipe];
        let (from, to) = (connection.ends[pipe], connection.ends[1 - pipe]);
        let has_news = !queue.is_empty() || *is_cut;
        has_news && !is_deaf && self.is_awake(to) && !self.stalled.contains(&(from, to))
    }

    /// Delivers the next message of a pipe, or the news of its end.
    pub(super) fn deliver(&mut self, connection: usize, pipe: usize) {
        if let Some(Message::Stored { .. }) = self.connections[connection].pipes[pipe].queue.front()
        {
            self.read_stored(connection);
        }
        let (node, link) = self.connections[connection].receiver(pipe);
        let now_ms = self.wall_ms(node);
        let end = &mut self.connections[connection].pipes[pipe];
        match end.queue.pop_front() {
            Some(Message::Hello(lineage)) => self.replica(node).connected(now_ms, link, &lineage),
            Some(Message::Welcome(lineage, durable, is_empty)) => {
                self.replica(node).connected(now_ms, link, &lineage);
                self.drain(node);
                let number = self.connections[connection].ends[1] as u32;
                self.replica(node).greeted(now_ms, number, durable, is_empty);
            }
            Some(Message::Sync(message)) => self.replica(node).handle(now_ms, link, message),
            Some(Message::Stored { .. }) => unreachable!("it was read"),
            None => {
                end.is_deaf = true;
                self.connections[connection].pipes[1 - pipe].is_cut = true;
                self.replica(node).disconnected(now_ms, link);
            }
        }
        self.drain(node);
        self.tidy();
    }

    /// The sending thread reads what it was told to send, as the rows are now.
    fn read_stored(&mut self, connection: usize) {
        let frame_rows = self.frame_rows;
        let connection = &mut self.connections[connection];
        let disk = &self.nodes[connection.ends[0]].disk;
        let mut queue = VecDeque::new();
        for message in std::mem::take(&mut connection.pipes[0].queue) {
            let Message::Stored { after, through, known } = message else {
                queue.push_back(message);
                continue;
            };
            let batches = disk.read(after, through, &known, frame_rows);
            self.frames_stored += batches.len();
            let frames = batches.into_iter().map(|batch| Message::Sync(SyncMessage::Rows(batch)));
            queue.extend(frames);
        }
        connection.pipes[0].queue = queue;
    }

    /// Cuts a connection; `lose(n)` says how many of the n messages under way in a direction are
    /// lost.
    pub(super) fn cut(&mut self, connection: usize, lose: &mut dyn FnMut(usize) -> usize) {
        self.read_stored(connection);
        self.connections[connection].pipes.iter_mut().for_each(|pipe| cut_pipe(pipe, lose));
    }

    /// Makes everything handed out durable.
    pub(super) fn sync(&mut self, node: usize) {
        let unsynced = std::mem::take(&mut self.nodes[node].unsynced);
        let transactions = unsynced.iter().filter_map(|entry| match entry {
            Entry::Transaction(transaction) => Some((**transaction).clone()),
            _ => None,
        });
        let transactions: Vec<Transaction> = transactions.collect();
        self.replica(node).directory.rows_mut().commit(&transactions);
        unsynced.into_iter().for_each(|entry| self.store(node, entry));
        let now_ms = self.wall_ms(node);
        self.replica(node).persisted(now_ms);
        self.drain(node);
    }

    /// Puts an entry on the disk.
    fn store(&mut self, node: usize, entry: Entry) {
        let disk = &mut self.nodes[node].disk;
        if let Entry::Transaction(transaction) = &entry {
            let history = self.history.entry(disk.lineage().store).or_default();
            for row in &transaction.rows {
                history.push((transaction.sequence, row.content.key(), row.version));
            }
        }
        disk.push(entry);
    }

    /// Deletes tombstones and requests that are older than that.
    pub(super) fn sweep(&mut self, node: usize, age_ms: u64) -> usize {
        if !self.nodes[node].unsynced.is_empty() {
            self.sync(node);
        }
        let before_ms = self.wall_ms(node).saturating_sub(age_ms);
        let state = &mut self.nodes[node];
        let (rows, swept) = state.disk.sweep(before_ms);
        for row in &rows {
            let key = row.content.key();
            let gone = self.gone.entry(key.clone()).or_insert(row.version);
            *gone = row.version.max(*gone);
            state.view.remove(&key);
        }
        self.replica(node).sweep(&rows, swept, false);
        self.drain(node);
        rows.len()
    }

    /// Lets time pass for every tracker that is awake.
    pub(super) fn advance(&mut self, ms: i64) {
        self.now_ms += ms;
        for node in 0..self.nodes.len() {
            if self.is_awake(node) {
                let now_ms = self.wall_ms(node);
                self.replica(node).tick(now_ms);
                self.drain(node);
            }
        }
    }

    /// A client sends a request to a tracker that is running. It arrives by [`World::carry_out`].
    pub(super) fn ask(&mut self, node: usize, request: &Request) -> Ticket {
        let ticket = Ticket(self.next());
        self.tickets.insert(ticket.0, request.stamp.id);
        self.requests.entry(request.stamp.id).or_insert_with(|| request.clone());
        let Request { stamp, actor, change, .. } = request.clone();
        let note = format!("from client {}", request.client);
        let asked = Asked { actor, request: stamp, change, note };
        self.nodes[node].inbox.push_back((ticket, asked));
        ticket
    }

    /// The next request that waits at a tracker arrives.
    pub(super) fn carry_out(&mut self, node: usize) {
        let Some((ticket, asked)) = self.nodes[node].inbox.pop_front() else { return };
        self.note_let_in(node, &asked);
        let now_ms = self.wall_ms(node);
        self.replica(node).submit(now_ms, ticket, asked);
        self.drain(node);
    }

    /// A client asks a tracker and the request arrives at once, unless the tracker is frozen.
    pub(super) fn submit(&mut self, node: usize, request: &Request) -> Ticket {
        let ticket = self.ask(node, request);
        while self.is_awake(node) && !self.nodes[node].inbox.is_empty() {
            self.carry_out(node);
        }
        ticket
    }

    /// A tracker of a later version connects, sends rows and goes.
    pub(super) fn inject(&mut self, node: usize, store: StoreId, rows: Vec<Row>) {
        let (id, through) = (self.next(), rows.len() as u64);
        let link = LinkId::From(id);
        let lineage = Lineage::new(store);
        self.lineages.insert(store, lineage.clone());
        let history = self.history.entry(store).or_default();
        for row in &rows {
            history.push((row.place.sequence, row.content.key(), row.version));
            let place = (row.place, row.content.key());
            self.places.insert(place, Rc::new(row.clone()));
        }
        let now_ms = self.wall_ms(node);
        self.replica(node).connected(now_ms, link, &lineage);
        self.drain(node);
        let complete = Some([(store, through)].into_iter().collect());
        let batch = RowBatch { rows, through, complete };
        self.replica(node).handle(now_ms, link, SyncMessage::Rows(batch));
        self.drain(node);
        // It stays until all is stored, for else nobody would have it.
        self.sync(node);
        self.replica(node).disconnected(now_ms, link);
        self.drain(node);
    }

    /// Ends all faults: every tracker runs, every link works, the clocks are nearly right; then
    /// lets everything settle. Late requests arrive, before or after the messages that wait.
    pub(super) fn heal(&mut self) {
        self.stalled.clear();
        for node in 0..self.nodes.len() {
            let state = &mut self.nodes[node];
            state.skew_ms = state.skew_ms.clamp(-5_000, 5_000);
            state.is_frozen = false;
            if state.replica.is_none() {
                self.restart(node);
            }
            if self.next().is_multiple_of(2) {
                self.carry_out_all(node);
            }
        }
        for _ in 0..100 {
            self.settle();
            (0..self.nodes.len()).for_each(|node| self.carry_out_all(node));
            self.settle();
            let is_degraded = |node: &Node| node.replica.as_ref().is_some_and(Replica::is_degraded);
            if !self.nodes.iter().any(is_degraded) {
                return;
            }
            self.start_anew();
            self.advance(300);
        }
        let links = |node: &Node| node.replica.as_ref().map(Replica::links);
        let states: Vec<_> = self.nodes.iter().map(links).collect();
        panic!("the network does not heal: {states:?}");
    }

    /// Operators do as they are told: a tracker whose store is too old starts anew.
    pub(super) fn start_anew(&mut self) -> usize {
        let links = |node: &Node| node.replica.as_ref().map(Replica::links).unwrap_or_default();
        let all = self.nodes.iter().flat_map(links);
        let seen = all
            .filter(|link| link.state == TrackerState::MustResync)
            .map(|link| link.tracker as usize);
        let is_told = |&node: &usize| {
            self.nodes[node].replica.as_ref().is_some_and(|replica| replica.is_outdated)
        };
        let told: BTreeSet<usize> = seen.chain((0..self.nodes.len()).filter(is_told)).collect();
        for &node in &told {
            self.crash(node, 0, None, &mut |_| 0);
            self.wipe(node);
            self.restart(node);
        }
        told.len()
    }

    fn carry_out_all(&mut self, node: usize) {
        while !self.nodes[node].inbox.is_empty() {
            self.carry_out(node);
        }
    }

    /// Dials, delivers and syncs until nothing is left to do; no time passes. A tracker dials
    /// another once at most, for a link that was dropped is not dialled again at once.
    pub(super) fn settle(&mut self) {
        let nodes = 0..self.nodes.len();
        let pairs = |from: usize| nodes.clone().map(move |to| (from, to));
        let mut to_dial: Vec<(usize, usize)> = nodes.clone().flat_map(pairs).collect();
        let mut steps = 0;
        loop {
            let before = to_dial.len();
            to_dial.retain(|&(from, to)| !self.dial(from, to));
            let mut busy = to_dial.len() < before;
            while let Some((connection, pipe)) = self.deliverable().first().copied() {
                self.deliver(connection, pipe);
                busy = true;
                steps += 1;
                assert!(steps < 100_000, "the trackers talk without end");
            }
            for node in nodes.clone() {
                if !self.nodes[node].unsynced.is_empty() && self.is_awake(node) {
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
        let all = (0..self.connections.len()).flat_map(|c| [(c, 0), (c, 1)]);
        all.filter(|&(connection, pipe)| self.is_deliverable(connection, pipe)).collect()
    }

    pub(super) fn replica(&mut self, node: usize) -> &mut Replica<SimRows> {
        self.nodes[node].replica.as_mut().unwrap()
    }

    /// Writes down all that decides how things go on, in short: what a row holds follows from its
    /// place.
    pub(super) fn outline(&self, f: &mut impl fmt::Write) -> fmt::Result {
        for Node { disk, replica, unsynced, inbox, .. } in &self.nodes {
            disk.log.iter().try_for_each(|entry| outline_entry(entry, f))?;
            write!(f, "|")?;
            unsynced.iter().try_for_each(|entry| outline_entry(entry, f))?;
            write!(f, "|{}", inbox.len())?;
            if let Some(replica) = replica {
                replica.outline(f)?;
            }
        }
        for connection in &self.connections {
            write!(f, "{} {:?} {}", connection.id, connection.ends, connection.is_welcome)?;
            for Pipe { queue, is_cut, is_deaf } in &connection.pipes {
                write!(f, "{is_cut} {is_deaf}")?;
                queue.iter().try_for_each(|message| outline_message(message, f))?;
            }
        }
        write!(f, "{:?} {:?} {}", self.stalled, self.replies, self.now_ms)
    }

    /// Removes connections to which nobody listens.
    fn tidy(&mut self) {
        self.connections.retain(|connection| connection.pipes.iter().any(|pipe| !pipe.is_deaf));
    }

    pub(super) fn fresh_store(&mut self) -> StoreId {
        let id = self.next();
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&super::random::mix(self.seed ^ id).to_be_bytes());
        bytes[8..].copy_from_slice(&id.to_be_bytes());
        StoreId::from_bytes(bytes)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

fn outline_entry(entry: &Entry, f: &mut impl fmt::Write) -> fmt::Result {
    match entry {
        Entry::Transaction(transaction) => {
            let Transaction { sequence, rows, checkpoints, vector, .. } = &**transaction;
            write!(f, "{sequence} {checkpoints:?} {vector:?}")?;
            rows.iter().try_for_each(|row| write!(f, "{:?}", row.place))
        }
        other => write!(f, "{other:?}"),
    }
}

fn outline_message(message: &Message, f: &mut impl fmt::Write) -> fmt::Result {
    match message {
        Message::Sync(SyncMessage::Rows(batch)) => {
            write!(f, "{} {:?}", batch.through, batch.complete)?;
            batch.rows.iter().try_for_each(|row| write!(f, "{:?}", row.place))
        }
        other => write!(f, "{other:?}"),
    }
}

fn cut_pipe(pipe: &mut Pipe, lose: &mut dyn FnMut(usize) -> usize) {
    let len = pipe.queue.len();
    pipe.queue.truncate(len - lose(len).min(len));
    pipe.is_cut = true;
}
