//! The values that go in and out of a download.

use crate::types::PieceIndex;
use crate::types::limits::{BLOCK_LEN_MAX, WINDOW_SUM_MAX};

/// Names one link to a peer; the engine never uses a number twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkKey(pub u64);

/// Names one reader of a download.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReaderKey(pub u64);

/// What the two handshakes of a link settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkTraits {
    /// Bytes in the largest block that the peer serves: 16 KiB for foreign clients, up to a piece
    /// for ours.
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

/// An effect for the engine to carry out, drained with [`super::Download::poll_action`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Tell the peer whether we want anything it has.
    Interested(LinkKey, bool),
    /// Cancel the requests for this piece on that link and drop its buffer.
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
    /// It was not asked for, or is not any more: drop it.
    Unwanted,
}

/// Bounds and aims of one download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Bytes of all chunk buffers together: queued, in flight and being verified. One chunk is
    /// always allowed.
    pub window_sum_max: u64,
    /// Bytes of these being hashed and written from which on nothing more is asked for: what a few
    /// fast links bring while a thread waits for a processor. A receiver that does not keep up is
    /// not to fill its memory.
    pub verifying_max: u64,
    /// Pieces kept in flight on a link at least, unless it was measured to be slow.
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
    /// Times that part of a block was said to have come.
    pub arrivals: u64,
    /// Pieces whose hash was wrong.
    pub corrupt: u32,
    /// Chunks given up because nothing came.
    pub timed_out: u32,
}

/// Where one link of a download stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkStats {
    /// Bytes of blocks accepted.
    pub received: u64,
    /// Bytes that may be in flight.
    pub window: u64,
    /// Pieces that the peer has.
    pub pieces: u32,
}

/// What is shown of one link of a download.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct LinkView {
    /// Bytes of blocks accepted.
    pub(crate) received: u64,
    /// Bytes per second received lately.
    pub(crate) bytes_per_second: u64,
    /// Pieces that the peer has.
    pub(crate) pieces: u32,
    /// The peer was told that we want something of it.
    pub(crate) is_interested: bool,
    /// The peer lets us ask.
    pub(crate) is_unchoked: bool,
    /// Blocks that are asked for and have not come.
    pub(crate) requests: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            window_sum_max: WINDOW_SUM_MAX as u64,
            verifying_max: 8 << 20,
            window_pieces_min: 2,
            window_max: 16 << 20,
            block_len_max: BLOCK_LEN_MAX,
        }
    }
}
