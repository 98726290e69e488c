//! A virtual swarm: clients, links with a delay, upload caps, and a queue of events.
//!
//! Downloads are not limited, uploads are, a quantum at a time. A message waits behind the block
//! that is being sent on its link, as it does in a TCP stream.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::Duration;

use super::super::{ChokerOptions, LinkKey, Options, ReaderKey};
use super::node::{EVERY, Message, Node};
use crate::types::{Geometry, PieceIndex, Span};

/// Bytes sent on one link before another has its turn, where links share a client's upload.
const QUANTUM: u32 = 16 << 10;
/// From the last byte of a chunk to its verdict.
const HASH_TIME: Duration = Duration::from_millis(1);
const TICK: Duration = Duration::from_millis(100);
/// Nothing here takes this long: a swarm that does has stopped.
const GIVE_UP: Duration = Duration::from_secs(3_600);

/// A swarm to run.
#[derive(Debug, Clone)]
pub(super) struct Setup {
    pub(super) pieces: u32,
    pub(super) piece_len: u32,
    /// Bytes per second up: the seeder's, then each leecher's.
    pub(super) upload: Vec<u64>,
    /// When each leecher joins.
    pub(super) joins: Vec<Duration>,
    /// When leechers leave for good, by number of the client.
    pub(super) leaves: Vec<(Duration, usize)>,
    /// When a client begins to read its file from a piece on, and the number of the client.
    pub(super) reads: Vec<(Duration, usize, u32)>,
    /// Whether what they read comes first; if not, they only wait for it.
    pub(super) has_windows: bool,
    pub(super) latency: Duration,
    pub(super) suggests: bool,
    pub(super) options: Options,
    pub(super) choker: ChokerOptions,
    pub(super) seed: u64,
}

impl Setup {
    pub(super) fn equal(leechers: usize, upload: u64, seed: u64) -> Self {
        Self {
            pieces: 256,
            piece_len: 512 << 10,
            upload: vec![upload; leechers + 1],
            joins: vec![Duration::ZERO; leechers],
            leaves: Vec::new(),
            reads: Vec::new(),
            has_windows: true,
            latency: Duration::from_millis(10),
            suggests: true,
            options: Options::default(),
            choker: ChokerOptions::default(),
            seed,
        }
    }

    pub(super) fn geometry(&self) -> Geometry {
        Geometry::new(u64::from(self.pieces) * u64::from(self.piece_len), self.piece_len).unwrap()
    }

    /// Seconds that no swarm can beat: max(F/u_s, N*F/(u_s + sum u_i)).
    pub(super) fn fluid_bound(&self) -> f64 {
        let len = self.geometry().len() as f64;
        let (seeder, all) = (self.upload[0] as f64, self.upload.iter().sum::<u64>() as f64);
        (len / seeder).max((self.upload.len() - 1) as f64 * len / all)
    }
}

/// What came of a run.
#[derive(Debug)]
pub(super) struct Report {
    /// Until the last leecher was complete.
    pub(super) seconds: f64,
    pub(super) ratio: f64,
    /// Bytes the seeder sent, in files.
    pub(super) seeder_copies: f64,
    /// Bytes the seeder had sent when it had sent every piece once, in files.
    pub(super) copies_at_first: f64,
    /// Bytes that leechers received in vain, in parts of what they needed.
    pub(super) wasted: f64,
    /// Until each leecher was complete.
    pub(super) each: Vec<f64>,
    /// Of each reader, the seconds until it had each piece from its first on.
    pub(super) waits: Vec<Vec<f64>>,
}

/// A reader: whose, since when, from which piece on, and when each came.
struct Read {
    node: usize,
    begun: Duration,
    first: u32,
    came: Vec<Duration>,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let first = self.each.iter().copied().fold(f64::MAX, f64::min);
        write!(
            f,
            "{:.3} x the bound ({:.2} s, the first leecher at {first:.2} s); the seeder sent {:.3} copies, {:.3} until every \
             piece was out; {:.2} % wasted",
            self.ratio,
            self.seconds,
            self.seeder_copies,
            self.copies_at_first,
            self.wasted * 100.0
        )
    }
}

enum Event {
    Join(usize),
    Up(usize, usize),
    Leave(usize),
    Read(usize, u32),
    Arrive { from: usize, to: usize, message: Message },
    Sent(usize),
    Hashed(usize, LinkKey, PieceIndex),
    Tick(usize),
}

struct Due(Duration, u64, Event);

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// A client's upload: the blocks being sent, one of each link whose turn it is, a quantum of each
/// at a time.
#[derive(Default)]
struct Pipe {
    sending: VecDeque<(LinkKey, Span, u32)>,
    /// The links whose turn it is.
    turns: Vec<LinkKey>,
    busy: bool,
    /// Messages that wait behind the block being sent on their link.
    held: BTreeMap<LinkKey, Vec<Message>>,
}

/// The running swarm.
pub(super) struct World {
    setup: Setup,
    now: Duration,
    serial: u64,
    due: BinaryHeap<Reverse<Due>>,
    nodes: Vec<Option<Node>>,
    peers: Vec<Vec<usize>>,
    pipes: Vec<Pipe>,
    first_sent: Vec<bool>,
    copies_at_first: Option<u64>,
    reads: Vec<Read>,
}

impl World {
    /// Runs a swarm until every leecher that stays is complete.
    pub(super) fn run(setup: Setup) -> Report {
        let count = setup.upload.len();
        let mut world = Self {
            now: Duration::ZERO,
            serial: 0,
            due: BinaryHeap::new(),
            nodes: (0..count).map(|_| None).collect(),
            peers: vec![Vec::new(); count],
            pipes: (0..count).map(|_| Pipe::default()).collect(),
            first_sent: vec![false; setup.pieces as usize],
            copies_at_first: None,
            reads: Vec::new(),
            setup,
        };
        world.at(Duration::ZERO, Event::Join(0));
        (1..count).for_each(|node| world.at(world.setup.joins[node - 1], Event::Join(node)));
        world
            .setup
            .leaves
            .clone()
            .into_iter()
            .for_each(|(when, node)| world.at(when, Event::Leave(node)));
        for (when, node, piece) in world.setup.reads.clone() {
            world.at(when, Event::Read(node, piece));
        }
        while !world.is_done() {
            let Some(Reverse(Due(when, _, event))) = world.due.pop() else {
                panic!("nothing happens any more")
            };
            world.now = when;
            assert!(world.now < GIVE_UP, "the swarm has stopped: {:?}", world.progress());
            world.step(event);
        }
        world.report()
    }

    fn at(&mut self, when: Duration, event: Event) {
        self.serial += 1;
        self.due.push(Reverse(Due(when, self.serial, event)));
    }

    fn after(&mut self, wait: Duration, event: Event) {
        self.at(self.now + wait, event);
    }

    fn is_gone(&self, node: usize) -> bool {
        self.setup.leaves.iter().any(|&(_, leaver)| leaver == node)
    }

    fn is_done(&self) -> bool {
        let done = |node: &Option<Node>| node.as_ref().is_some_and(|node| node.completed.is_some());
        (1..self.nodes.len()).all(|node| done(&self.nodes[node]) || self.is_gone(node))
    }

    fn progress(&self) -> Vec<u32> {
        self.nodes.iter().flatten().map(|node| node.download.have().ones()).collect()
    }

    fn step(&mut self, event: Event) {
        let touched = match event {
            Event::Join(node) => self.join(node),
            Event::Leave(node) => self.leave(node),
            Event::Up(a, b) => self.link_up(a, b),
            Event::Read(node, first) => {
                self.reads.push(Read { node, begun: self.now, first, came: Vec::new() });
                self.move_readers(node);
                vec![node]
            }
            Event::Arrive { from, to, message } => {
                if self.peers[to].contains(&from)
                    && let Some(node) = &mut self.nodes[to]
                {
                    node.handle(self.now, LinkKey(from as u64), message);
                }
                vec![to]
            }
            Event::Sent(node) => self.quantum_sent(node),
            Event::Hashed(node, link, piece) => {
                if let Some(node) = &mut self.nodes[node] {
                    node.download.verified(self.now, piece, link);
                }
                self.move_readers(node);
                vec![node]
            }
            Event::Tick(node) => {
                if let Some(state) = &mut self.nodes[node] {
                    state.download.tick(self.now);
                    state.choker.tick(self.now);
                    self.after(TICK, Event::Tick(node));
                }
                vec![node]
            }
        };
        touched.into_iter().for_each(|node| self.pump(node));
    }

    fn join(&mut self, node: usize) -> Vec<usize> {
        let Setup { suggests, options, choker, seed, latency, .. } = self.setup;
        let seed = seed * 1_000 + node as u64;
        self.nodes[node] =
            Some(Node::new(self.setup.geometry(), node == 0, suggests, options, choker, seed));
        // Connecting and the handshake are a round trip each.
        let others: Vec<usize> = (0..self.nodes.len())
            .filter(|&other| other != node && self.nodes[other].is_some())
            .collect();
        others.into_iter().for_each(|other| self.after(latency * 4, Event::Up(node, other)));
        self.after(TICK.mul_f64(1.0 + node as f64 / 100.0), Event::Tick(node));
        vec![node]
    }

    /// Lets the readers of a client read on as far as they can.
    fn move_readers(&mut self, index: usize) {
        let Some(node) = &mut self.nodes[index] else { return };
        for (key, read) in (0..).zip(&mut self.reads).filter(|(_, read)| read.node == index) {
            let next = |read: &Read| read.first + read.came.len() as u32;
            let have = node.download.have();
            let index = |piece: u32| self.setup.geometry().index(piece.into());
            while index(next(read)).is_some_and(|piece| have.has(piece)) {
                read.came.push(self.now);
            }
            let window = next(read)..self.setup.pieces;
            assert!(!self.setup.has_windows || node.download.set_reader(ReaderKey(key), window));
        }
    }

    fn link_up(&mut self, a: usize, b: usize) -> Vec<usize> {
        for (node, peer) in [(a, b), (b, a)] {
            if self.nodes[a].is_some() && self.nodes[b].is_some() {
                self.peers[node].push(peer);
                let now = self.now;
                self.nodes[node].as_mut().unwrap().join(now, LinkKey(peer as u64));
            }
        }
        vec![a, b]
    }

    fn leave(&mut self, node: usize) -> Vec<usize> {
        self.nodes[node] = None;
        let peers = std::mem::take(&mut self.peers[node]);
        for &peer in &peers {
            self.peers[peer].retain(|&other| other != node);
            let (pipe, link) = (&mut self.pipes[peer], LinkKey(node as u64));
            pipe.held.remove(&link);
            pipe.turns.retain(|turn| *turn != link);
            if let Some(state) = &mut self.nodes[peer] {
                state.leave(self.now, LinkKey(node as u64));
            }
        }
        peers
    }

    /// Carries out what a client wants done, and keeps its upload busy.
    fn pump(&mut self, index: usize) {
        let Some(node) = &mut self.nodes[index] else { return };
        node.pump(self.now);
        let hashes: Vec<_> = node.to_hash.drain(..).collect();
        let messages: Vec<_> = node.outbox.drain(..).collect();
        hashes
            .into_iter()
            .for_each(|(link, piece)| self.after(HASH_TIME, Event::Hashed(index, link, piece)));
        for (link, message) in messages {
            let to = if link == EVERY { self.peers[index].clone() } else { vec![link.0 as usize] };
            to.into_iter().for_each(|peer| self.send(index, peer, message.clone()));
        }
        self.fill_pipe(index);
    }

    /// Sends a message now, or behind the block that is being sent to that peer.
    fn send(&mut self, from: usize, to: usize, message: Message) {
        let link = LinkKey(to as u64);
        let pipe = &mut self.pipes[from];
        if pipe.sending.iter().any(|&(sending, ..)| sending == link) {
            return pipe.held.entry(link).or_default().push(message);
        }
        self.after(self.setup.latency, Event::Arrive { from, to, message });
    }

    /// Gives turns, and sends to those whose turn it is at equal parts, as TCP does.
    fn fill_pipe(&mut self, index: usize) {
        let (Some(node), pipe) = (&mut self.nodes[index], &mut self.pipes[index]) else { return };
        while let Some(link) = node.next_turn(self.now) {
            pipe.turns.push(link);
        }
        for link in std::mem::take(&mut pipe.turns) {
            if !pipe.sending.iter().any(|&(sending, ..)| sending == link)
                && let Some(span) = node.order.next_for(link)
            {
                pipe.sending.push_back((link, span, span.len));
            }
            pipe.turns.push(link);
        }
        if !pipe.busy
            && let Some(&(_, _, left)) = pipe.sending.front()
        {
            pipe.busy = true;
            let bytes = left.min(QUANTUM);
            let wait = Duration::from_secs_f64(f64::from(bytes) / self.setup.upload[index] as f64);
            self.after(wait, Event::Sent(index));
        }
    }

    fn quantum_sent(&mut self, index: usize) -> Vec<usize> {
        let pipe = &mut self.pipes[index];
        pipe.busy = false;
        let Some((link, span, left)) = pipe.sending.pop_front() else { return vec![index] };
        if left == span.len
            && let Some(peer) = &mut self.nodes[link.0 as usize]
        {
            peer.download.piece_arriving(LinkKey(index as u64), span.piece);
        }
        let left = left.saturating_sub(QUANTUM);
        let Some(node) = &mut self.nodes[index] else { return Vec::new() };
        if left > 0 {
            pipe.sending.push_back((link, span, left));
            return vec![index];
        }
        node.sent(self.now, link, span);
        match node.order.next_for(link) {
            Some(span) => pipe.sending.push_back((link, span, span.len)),
            None => {
                node.order.end(link);
                pipe.turns.retain(|turn| *turn != link);
            }
        }
        let held = pipe.held.remove(&link).unwrap_or_default();
        if index == 0 && span.begin + span.len == self.setup.geometry().len_of(span.piece) {
            self.note_first(span.piece);
        }
        for message in std::iter::once(Message::Block(span)).chain(held) {
            self.after(
                self.setup.latency,
                Event::Arrive { from: index, to: link.0 as usize, message },
            );
        }
        vec![index]
    }

    fn note_first(&mut self, piece: PieceIndex) {
        self.first_sent[piece.as_usize()] = true;
        if self.copies_at_first.is_none() && self.first_sent.iter().all(|&sent| sent) {
            self.copies_at_first = self.nodes[0].as_ref().map(|seeder| seeder.uploaded);
        }
    }

    fn report(&self) -> Report {
        let len = self.setup.geometry().len() as f64;
        let leechers: Vec<&Node> = self.nodes[1..].iter().flatten().collect();
        leechers.iter().for_each(|node| node.download.check_invariants());
        let each: Vec<f64> = leechers
            .iter()
            .filter_map(|node| node.completed)
            .map(|when| when.as_secs_f64())
            .collect();
        let seconds = each.iter().copied().fold(0.0, f64::max);
        let wasted: u64 = leechers.iter().map(|node| node.download.stats().wasted).sum();
        let copies = |bytes: u64| bytes as f64 / len;
        Report {
            seconds,
            ratio: seconds / self.setup.fluid_bound(),
            seeder_copies: copies(self.nodes[0].as_ref().map_or(0, |seeder| seeder.uploaded)),
            copies_at_first: self.copies_at_first.map_or(f64::NAN, copies),
            wasted: wasted as f64 / (len * leechers.len() as f64),
            each,
            waits: self.reads.iter().map(waits).collect(),
        }
    }
}

fn waits(read: &Read) -> Vec<f64> {
    read.came.iter().map(|came| (*came - read.begun).as_secs_f64()).collect()
}
