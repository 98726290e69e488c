//! One file's download: pieces, links, windows, jobs.

use std::time::Duration;

use crate::types::{Bitfield, Geometry, PieceIndex, Span};

/// Names one link to a peer; the engine never uses a number twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkKey(pub u64);

/// What the two handshakes of a link settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkTraits {
    /// Bytes in the largest block that the peer serves: 16 KiB for foreign clients, up to a piece for ours.
    pub block_len_max: u32,
    /// Requests that the peer keeps waiting (`reqq` of BEP 10).
    pub requests_max: u32,
    /// Whether both ends speak BEP 6, so that a request is always answered, if need be by a reject.
    pub fast: bool,
}

/// One piece to be fetched from one link: what the jobs queue carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkJob {
    /// Where from.
    pub link: LinkKey,
    /// What.
    pub piece: PieceIndex,
    /// Recognises a job that was overtaken by events.
    pub token: u64,
}

/// An effect for the engine to carry out, drained with [`Download::poll_action`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Tell the peer whether we want anything it has.
    Interested(LinkKey, bool),
    /// Cancel what is still asked for of this piece on that link and drop its buffer.
    Cancel(LinkKey, PieceIndex),
    /// Tell every link that we have the piece.
    Have(PieceIndex),
    /// The peer sent bad data twice: close the link and do not let the device back for the session.
    Ban(LinkKey),
    /// Every piece is verified. Comes once.
    Complete,
}

/// What became of a block that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockFate {
    /// It belongs to a chunk of this link that still lacks others.
    Accepted,
    /// It was the last one of the link's chunk: hash the buffer, then call `verified` or `corrupt`.
    Completed,
    /// Nobody asked for it, or no longer: drop it.
    Unwanted,
}

/// Bounds and aims of one download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Bytes of all chunk buffers together: queued, in flight and being verified. One chunk is always allowed.
    pub window_sum_max: u64,
    /// Pieces kept in flight on each link whatever its speed.
    pub window_pieces_min: u32,
    /// Bytes in flight on one link at most.
    pub window_max: u64,
    /// Bytes in the largest block we ask for, besides what the peer and its speed allow.
    pub block_len_max: u32,
}

/// Where a download stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Pieces in the file.
    pub pieces: u32,
    /// Pieces verified.
    pub have: u32,
    /// Pieces handed out as jobs.
    pub queued: u32,
    /// Pieces being received.
    pub in_flight: u32,
    /// Pieces being hashed and written.
    pub verifying: u32,
    /// Missing pieces that no connected peer offers.
    pub unoffered: u32,
    /// Links that are up.
    pub links: u32,
    /// Links that let us ask.
    pub unchoked: u32,
    /// Bytes per second received lately, over all links.
    pub bytes_per_second: u64,
    /// Bytes of blocks accepted.
    pub received: u64,
    /// Bytes that came and were of no use: duplicates, corrupt, given up.
    pub wasted: u64,
    /// Pieces whose hash was wrong.
    pub corrupt: u32,
    /// Chunks given up because nothing came.
    pub timed_out: u32,
}

/// Where one link of a download stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkStats {
    /// Bytes per second received lately.
    pub bytes_per_second: u64,
    /// Bytes of blocks accepted.
    pub received: u64,
    /// Bytes asked for and not received.
    pub in_flight: u64,
    /// Bytes that may be in flight.
    pub window: u64,
    /// Smallest time from request to block.
    pub delay: Option<Duration>,
    /// Whether the peer lets us ask.
    pub unchoked: bool,
    /// Whether we want something it has.
    pub interesting: bool,
    /// Pieces that the peer has.
    pub pieces: u32,
}

/// One file's download.
#[derive(Debug)]
pub struct Download {
    have: Bitfield,
}

#[allow(unused_variables, clippy::needless_pass_by_ref_mut)]
impl Download {
    /// Makes the download of a file of which `have` is verified already.
    pub fn new(geometry: Geometry, have: Bitfield, options: Options, seed: u64) -> Self {
        Self { have }
    }
    /// Takes a link in; it chokes us and has nothing until told otherwise.
    pub fn join(&mut self, now: Duration, link: LinkKey, traits: LinkTraits) {}
    /// Drops a link; an unknown one is ignored. What it was to bring is asked for elsewhere.
    pub fn leave(&mut self, now: Duration, link: LinkKey) {}
    /// The peer has every piece.
    pub fn peer_has_all(&mut self, link: LinkKey) {}
    /// The peer has no piece.
    pub fn peer_has_none(&mut self, link: LinkKey) {}
    /// The peer has these pieces.
    pub fn peer_bitfield(&mut self, link: LinkKey, field: Bitfield) {}
    /// The peer has one piece more.
    pub fn peer_have(&mut self, link: LinkKey, piece: PieceIndex) {}
    /// The peer stopped serving us.
    pub fn choked(&mut self, now: Duration, link: LinkKey) {}
    /// The peer serves us.
    pub fn unchoked(&mut self, now: Duration, link: LinkKey) {}
    /// The peer would like us to take this piece from it (BEP 6).
    pub fn suggested(&mut self, link: LinkKey, piece: PieceIndex) {}
    /// Chooses the next piece and link. Call after every event until it is `None` or the jobs queue is full.
    pub fn next_job(&mut self, now: Duration) -> Option<ChunkJob> {
        None
    }
    /// Begins a job: the blocks to ask `job.link` for now; `None` if the job was overtaken and is to be dropped.
    pub fn start(&mut self, now: Duration, job: &ChunkJob) -> Option<Vec<Span>> {
        None
    }
    /// Further blocks to ask the link for, when `requests_max` held some back at `start`. Call after each block.
    pub fn more_requests(&mut self, now: Duration, link: LinkKey) -> Vec<Span> {
        Vec::new()
    }
    /// Part of a block came: the link is alive. Optional; for slow links with large blocks.
    pub fn data_arriving(&mut self, now: Duration, link: LinkKey) {}
    /// The smallest round trip time known of the link from elsewhere (connect, ping). Optional.
    pub fn delay_measured(&mut self, link: LinkKey, delay: Duration) {}
    /// A whole block came.
    pub fn block_received(&mut self, now: Duration, link: LinkKey, span: Span) -> BlockFate {
        BlockFate::Unwanted
    }
    /// The peer will not serve a block (BEP 6).
    pub fn block_rejected(&mut self, now: Duration, link: LinkKey, span: Span) {}
    /// The link's chunk has the right hash and is written.
    pub fn verified(&mut self, now: Duration, piece: PieceIndex, link: LinkKey) {}
    /// The link's chunk has the wrong hash.
    pub fn corrupt(&mut self, now: Duration, piece: PieceIndex, link: LinkKey) {}
    /// The chunk could not be written; it is missing again. The engine pauses or fails the download.
    pub fn write_failed(&mut self, piece: PieceIndex) {}
    /// Stops asking, giving up what is in flight, or goes on.
    pub fn paused(&mut self, on: bool) {}
    /// Finds what was promised and does not come. Call a few times a second, then `next_job`.
    pub fn tick(&mut self, now: Duration) {}
    /// Takes the next effect.
    pub fn poll_action(&mut self) -> Option<Action> {
        None
    }
    /// The verified pieces.
    pub fn have(&self) -> &Bitfield {
        &self.have
    }
    /// Tells whether every piece is verified.
    pub fn is_complete(&self) -> bool {
        self.have.is_full()
    }
    /// Where the download stands.
    pub fn stats(&self) -> Stats {
        Stats::default()
    }
    /// Where a link stands.
    pub fn link_stats(&self, link: LinkKey) -> Option<LinkStats> {
        None
    }
    /// Missing pieces that no connected peer offers: how many, and the first `max` of them in order.
    pub fn unoffered(&self, max: usize) -> (u32, Vec<PieceIndex>) {
        (0, Vec::new())
    }
    /// Checks everything that must hold; for tests.
    pub fn check_invariants(&self) {}
}

impl Default for Options {
    fn default() -> Self {
        use crate::types::limits::{BLOCK_LEN_MAX, WINDOW_SUM_MAX};
        Self { window_sum_max: WINDOW_SUM_MAX as u64, window_pieces_min: 2, window_max: 16 << 20, block_len_max: BLOCK_LEN_MAX }
    }
}
