//! One link to another client: the queue of messages to send, and the blocks asked for.
//!
//! **Invariant:** sending never blocks: it appends to a bounded queue that the link's writer thread
//! empties. A peer that does not take what it is sent fills the queue, and its link is closed.
//!
//! The locks in here are leaves: they may be taken under the torrent's lock. Of them the queue's
//! may be taken under that of the wanted blocks.

pub(crate) mod handshake;
pub(crate) mod limiter;
pub(crate) mod quota;
pub(crate) mod reader;

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::net::Connection;
use crate::swarm::api::{LinkFacts, Proof, Way};
use crate::swarm::{LinkKey, LinkTraits};
use crate::types::{DeviceId, InfoHash, PieceIndex, Span, Ticket};
use crate::wire::Wire;
use crate::wire::peer::PeerMessage;

/// Bytes of messages that wait to be sent; blocks do not count, they wait as requests.
const OUTGOING_LEN_MAX: usize = 1 << 20;
/// Bytes that the system keeps beyond what is on its way, where links share an uplink: enough until
/// the next writer is awake.
const UNSENT_MAX: u32 = 128 << 10;
/// A link on which data is due ends after so long without a sign of life from the other end's
/// system: a cable may be out, or an address may have changed.
const DEAD_AFTER: Duration = Duration::from_secs(7);
/// Any link ends when the other end's system has acknowledged nothing for so long.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(15);
/// Silence on our side after which a keep-alive is sent (BEP 3).
const KEEP_ALIVE: Duration = Duration::from_secs(100);

/// A link that is up.
pub(crate) struct Link {
    /// Its name in this engine.
    pub(crate) key: LinkKey,
    /// The device at the other end.
    pub(crate) device: DeviceId,
    /// The ticket it rests on; replaced when a newer one is shown.
    proof: Mutex<Proof>,
    /// Whether we dialled it.
    pub(crate) dialled: bool,
    /// How the devices came together.
    pub(crate) way: Way,
    /// What the handshakes settled.
    pub(crate) traits: LinkTraits,
    /// Whether the peer speaks the extension protocol.
    pub(crate) extensions: bool,
    /// The stream.
    pub(crate) connection: Connection,
    /// Whether nothing is served on it, nor said of what we have: the file is not offered in its
    /// group.
    pub(crate) one_way: bool,
    /// Whether the peer has said that it has every piece.
    has_all: AtomicBool,
    /// Set when the link is over: neither end of it does anything more.
    closed: AtomicBool,
    /// Whether the system was told to keep little of what waits to be sent.
    ordered: AtomicBool,
    /// Whether the system was told to look after the other end, as data is due.
    probed: AtomicBool,
    /// Whether the writer reads from the disk.
    pub(crate) is_reading: AtomicBool,
    /// Bytes of blocks sent.
    pub(crate) sent: AtomicU64,
    /// Bytes of blocks, with their headers, that the system has taken, counted as they go.
    pub(crate) flowed: AtomicU64,
    /// When it was made.
    pub(crate) since: Instant,
    /// When it last brought something, in milliseconds since it was made.
    heard_ms: AtomicU64,
    /// Whether it has brought a block that was wanted.
    pub(crate) has_brought: AtomicBool,
    /// The extension ids under which the peer takes messages about the info dictionary and the
    /// chaining values, and tickets.
    metadata_id: Mutex<Option<u8>>,
    chain_id: Mutex<Option<u8>>,
    ticket_id: Mutex<Option<u8>>,
    outgoing: Mutex<Outgoing>,
    wake: Condvar,
    /// The pieces asked for, with the blocks that have not come.
    wanted: Mutex<HashMap<PieceIndex, Vec<Span>>>,
}

#[derive(Default)]
struct Outgoing {
    bytes: Vec<u8>,
    uploads: bool,
    closed: bool,
}

/// What members send each other in parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PartsOf {
    /// The info dictionary.
    Metainfo,
    /// The list of chaining values.
    Chain,
}

/// The writer's next work.
pub(crate) enum Work {
    /// Send the bytes, then look for blocks to serve if told so.
    Send {
        /// Whether requests may wait to be served.
        uploads: bool,
    },
    /// End.
    Closed,
}

impl Link {
    /// Whether it goes through a relay.
    pub(crate) fn is_relayed(&self) -> bool {
        self.way == Way::Relayed
    }

    pub(crate) fn new(
        key: LinkKey,
        (device, proof): (DeviceId, Proof),
        dialled: bool,
        traits: LinkTraits,
        extensions: bool,
        connection: Connection,
    ) -> Self {
        connection.end_when_unacknowledged(UNACKNOWLEDGED_MAX);
        Self {
            key,
            device,
            proof: Mutex::new(proof),
            dialled,
            way: Way::Direct,
            traits,
            extensions,
            connection,
            one_way: false,
            has_all: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            ordered: AtomicBool::new(false),
            probed: AtomicBool::new(false),
            is_reading: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            flowed: AtomicU64::new(0),
            since: Instant::now(),
            heard_ms: AtomicU64::new(0),
            has_brought: AtomicBool::new(false),
            metadata_id: Mutex::default(),
            chain_id: Mutex::default(),
            ticket_id: Mutex::default(),
            outgoing: Mutex::default(),
            wake: Condvar::new(),
            wanted: Mutex::default(),
        }
    }

    /// Notes that the peer has sent something.
    pub(crate) fn note_heard(&self, now: Instant) {
        let since_made = now.saturating_duration_since(self.since);
        self.heard_ms.store(since_made.as_millis() as u64, Ordering::Relaxed);
    }

    /// For how long the peer has sent nothing.
    pub(crate) fn silence(&self) -> Duration {
        let heard = Duration::from_millis(self.heard_ms.load(Ordering::Relaxed));
        self.since.elapsed().saturating_sub(heard)
    }

    pub(crate) fn send(&self, message: &PeerMessage) {
        self.queue(|bytes| message.encode(bytes));
    }

    pub(crate) fn send_raw(&self, messages: &[u8]) {
        self.queue(|bytes| bytes.extend_from_slice(messages));
    }

    /// Queues a `have`, unless the peer has everything and does not care, or is not to hear of it.
    pub(crate) fn have(&self, piece: PieceIndex) {
        if !self.one_way && !self.has_all() {
            self.send(&PeerMessage::Have(piece.get()));
        }
    }

    /// Notes that blocks are wanted: they are asked for, or will be.
    pub(crate) fn want(&self, spans: &[Span]) {
        if !spans.is_empty() {
            let mut wanted = self.wanted.lock();
            spans.iter().for_each(|span| wanted.entry(span.piece).or_default().push(*span));
        }
    }

    /// Asks for blocks that are wanted.
    pub(crate) fn ask(&self, spans: &[Span]) {
        if spans.is_empty() {
            return;
        }
        self.queue(|bytes| {
            for span in spans {
                PeerMessage::Request { piece: span.piece.get(), begin: span.begin, len: span.len }
                    .encode(bytes);
            }
        });
    }

    /// Asks for a block that waited, unless it was taken back meanwhile. Under the lock, so that a
    /// cancel that comes later is also sent later.
    pub(crate) fn ask_if_wanted(&self, span: Span) {
        let wanted = self.wanted.lock();
        if wanted.get(&span.piece).is_some_and(|spans| spans.contains(&span)) {
            self.ask(&[span]);
        }
    }

    pub(crate) fn cancel(&self, piece: PieceIndex) {
        let spans = self.wanted.lock().remove(&piece).unwrap_or_default();
        self.queue(|bytes| {
            for span in &spans {
                PeerMessage::Cancel { piece: span.piece.get(), begin: span.begin, len: span.len }
                    .encode(bytes);
            }
        });
    }

    pub(crate) fn reject(&self, span: Span) {
        self.reject_raw(span.piece.get(), span.begin, span.len);
    }

    pub(crate) fn reject_raw(&self, piece: u32, begin: u32, len: u32) {
        if self.traits.fast {
            self.send(&PeerMessage::Reject { piece, begin, len });
        }
    }

    pub(crate) fn wants(&self, piece: PieceIndex) -> bool {
        self.wanted.lock().contains_key(&piece)
    }

    /// Tells whether the block is wanted and has not come.
    pub(crate) fn wants_block(&self, span: Span) -> bool {
        self.wanted.lock().get(&span.piece).is_some_and(|spans| spans.contains(&span))
    }

    /// Notes that a block has come, or was refused.
    pub(crate) fn answered(&self, span: Span) {
        if let Some(spans) = self.wanted.lock().get_mut(&span.piece) {
            spans.retain(|other| *other != span);
        }
    }

    pub(crate) fn done(&self, piece: PieceIndex) {
        self.wanted.lock().remove(&piece);
    }

    pub(crate) fn has_all(&self) -> bool {
        self.has_all.load(Ordering::Relaxed)
    }

    /// Notes whether the peer has every piece; returns what was noted before.
    pub(crate) fn set_has_all(&self, has_all: bool) -> bool {
        self.has_all.swap(has_all, Ordering::Relaxed)
    }

    pub(crate) fn proof(&self) -> Proof {
        *self.proof.lock()
    }

    pub(crate) fn set_proof(&self, proof: Proof) {
        *self.proof.lock() = proof;
    }

    /// What the client decides by.
    pub(crate) fn facts(&self, info_hash: InfoHash) -> LinkFacts {
        LinkFacts { info_hash, device: self.device, proof: self.proof() }
    }

    pub(crate) fn set_ticket_id(&self, id: Option<u8>) {
        *self.ticket_id.lock() = id;
    }

    /// Shows a newer ticket of ours, if the peer takes them.
    pub(crate) fn show_ticket(&self, ticket: &Ticket) {
        if let Some(id) = *self.ticket_id.lock() {
            self.send(&PeerMessage::Extended { id, payload: ticket.to_bytes() });
        }
    }

    pub(crate) fn set_part_ids(&self, metadata_id: Option<u8>, chain_id: Option<u8>) {
        *self.metadata_id.lock() = metadata_id;
        *self.chain_id.lock() = chain_id;
    }

    /// Queues a message about what comes in parts, if the peer takes those.
    pub(crate) fn send_part(&self, of: PartsOf, payload: impl FnOnce() -> Vec<u8>) {
        let id = match of {
            PartsOf::Metainfo => *self.metadata_id.lock(),
            PartsOf::Chain => *self.chain_id.lock(),
        };
        if let Some(id) = id {
            self.send(&PeerMessage::Extended { id, payload: payload() });
        }
    }

    /// Has the system take from now on only as much as is sent soon, so that of several links the
    /// one that writes first sends first.
    pub(crate) fn keep_order(&self) {
        if !self.ordered.swap(true, Ordering::Relaxed) {
            self.connection.bound_unsent(UNSENT_MAX);
        }
    }

    /// Has the system find out soon that the other end is gone, while blocks or other data are due.
    pub(crate) fn expect_data(&self, is_due: bool) {
        let is_due = is_due || !self.wanted.lock().is_empty();
        if self.probed.swap(is_due, Ordering::Relaxed) == is_due {
            return;
        }
        self.connection.probe(is_due.then_some(DEAD_AFTER));
        if !is_due {
            self.connection.end_when_unacknowledged(UNACKNOWLEDGED_MAX);
        }
    }

    /// Wakes the writer: requests wait to be served.
    pub(crate) fn serve(&self) {
        self.outgoing.lock().uploads = true;
        self.wake.notify_one();
    }

    /// Ends the link; its threads follow. What waits to be sent, here and in the system, is thrown
    /// away.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.outgoing.lock().closed = true;
        self.wake.notify_one();
        self.connection.abort();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    pub(crate) fn check_open(&self) -> io::Result<()> {
        if self.is_closed() { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }

    /// Waits for something to do and moves the queued bytes into `bytes`, which is empty. After a
    /// long silence that is a keep-alive.
    ///
    /// # Blocking
    /// Until there is something. Belongs to the link's writer thread.
    pub(crate) fn next_work(&self, bytes: &mut Vec<u8>) -> Work {
        let mut outgoing = self.outgoing.lock();
        loop {
            if outgoing.closed {
                return Work::Closed;
            }
            let uploads = std::mem::take(&mut outgoing.uploads);
            if uploads || !outgoing.bytes.is_empty() {
                std::mem::swap(&mut outgoing.bytes, bytes);
                return Work::Send { uploads };
            }
            if self.wake.wait_for(&mut outgoing, KEEP_ALIVE).timed_out()
                && outgoing.bytes.is_empty()
            {
                PeerMessage::KeepAlive.encode(&mut outgoing.bytes);
            }
        }
    }

    /// Moves the queued bytes into `bytes`, which is empty. Belongs to the link's writer thread.
    pub(crate) fn take_messages(&self, bytes: &mut Vec<u8>) {
        std::mem::swap(&mut self.outgoing.lock().bytes, bytes);
    }

    fn queue(&self, encode: impl FnOnce(&mut Vec<u8>)) {
        let mut outgoing = self.outgoing.lock();
        if outgoing.closed {
            return;
        }
        let was_empty = outgoing.bytes.is_empty();
        encode(&mut outgoing.bytes);
        if outgoing.bytes.len() > OUTGOING_LEN_MAX {
            log::info!(
                "{}: takes too little of what it is sent; the link is closed",
                self.connection.peer_addr()
            );
            outgoing.closed = true;
            outgoing.bytes = Vec::new();
            self.closed.store(true, Ordering::Relaxed);
            self.connection.abort();
        }
        if was_empty {
            self.wake.notify_one();
        }
    }
}
