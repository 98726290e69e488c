//! One piece being fetched over one link.
//!
//! **Invariant:** `left` is the number of bytes whose blocks were not received; blocks below `next`
//! were asked for.

use std::time::Duration;

use super::super::window::Window;
use crate::types::limits::BLOCK_LEN;
use crate::types::{Geometry, PieceIndex, Span};

/// A block is not to take longer than this at the link's rate: haves wait behind it, and a time-out
/// sees only whole blocks.
const BLOCK_TIME_MAX: f64 = 0.1;
/// Bytes in a block while the link's rate is unknown: in time even at 64 KiB a second.
const BLOCK_LEN_FIRST: u32 = 64 << 10;

/// A piece's way over one link.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) piece: PieceIndex,
    pub(super) token: u64,
    /// None while the job waits for a worker.
    blocks: Option<Blocks>,
    /// Bytes still to come.
    pub(super) left: u32,
    /// When the job was made, and later when the last block of it came.
    pub(super) progress: Duration,
    /// Something of it is coming.
    pub(super) arriving: bool,
    /// When its requests went out on an idle link: its first block then tells the delay.
    pub(super) probe: Option<Duration>,
}

#[derive(Debug)]
struct Blocks {
    len: u32,
    count: u32,
    next: u32,
    received: Vec<u64>,
}

impl Chunk {
    /// Makes a chunk whose job waits for a worker.
    pub(super) fn queued(now: Duration, piece: PieceIndex, token: u64, len: u32) -> Self {
        Self { piece, token, blocks: None, left: len, progress: now, arriving: false, probe: None }
    }

    pub(super) fn is_started(&self) -> bool {
        self.blocks.is_some()
    }

    /// A worker took it: cut it into blocks.
    pub(super) fn start(&mut self, now: Duration, geometry: &Geometry, block_len: u32) {
        let count = geometry.blocks(self.piece, block_len).len() as u32;
        self.blocks = Some(Blocks {
            len: block_len,
            count,
            next: 0,
            received: vec![0; count.div_ceil(64) as usize],
        });
        self.progress = now;
    }

    /// The next block that was not asked for yet, now asked for.
    pub(super) fn next_request(&mut self, geometry: &Geometry) -> Option<Span> {
        let blocks = self.blocks.as_mut()?;
        let begin = (blocks.next < blocks.count).then(|| blocks.next * blocks.len)?;
        blocks.next += 1;
        geometry.span(self.piece.get(), begin, blocks.len.min(geometry.len_of(self.piece) - begin))
    }

    pub(super) fn outstanding(&self) -> u32 {
        let received =
            |blocks: &Blocks| blocks.received.iter().map(|word| word.count_ones()).sum::<u32>();
        self.blocks.as_ref().map_or(0, |blocks| blocks.next - received(blocks))
    }

    /// Takes a block; false if it was not asked for or has come before.
    pub(super) fn receive(&mut self, now: Duration, geometry: &Geometry, span: Span) -> bool {
        if !self.awaits(geometry, span) {
            return false;
        }
        if let Some(blocks) = self.blocks.as_mut() {
            let index = span.begin / blocks.len;
            blocks.received[index as usize / 64] |= 1 << (index % 64);
        }
        self.left -= span.len;
        self.progress = now;
        true
    }

    /// Tells whether the block was asked for and has not come.
    pub(super) fn awaits(&self, geometry: &Geometry, span: Span) -> bool {
        let Some(blocks) = self.blocks.as_ref().filter(|_| span.piece == self.piece) else {
            return false;
        };
        let index = span.begin / blocks.len;
        let rest = geometry.len_of(self.piece).saturating_sub(span.begin);
        let whole = span.begin.is_multiple_of(blocks.len) && span.len == blocks.len.min(rest);
        whole
            && index < blocks.next
            && blocks.received[index as usize / 64] & (1 << (index % 64)) == 0
    }

    pub(super) fn received(&self, geometry: &Geometry) -> u32 {
        geometry.len_of(self.piece) - self.left
    }
}

/// Bytes in a block for a link: as much as it brings in a tenth of a second, within what both ends
/// allow.
pub(super) fn block_len(window: &Window, max: u32) -> u32 {
    let wish = window
        .rate()
        .map_or(BLOCK_LEN_FIRST, |rate| (rate * BLOCK_TIME_MAX).min(f64::from(u32::MAX)) as u32);
    let len = wish.min(max).max(BLOCK_LEN);
    // A power of two divides every piece but the last.
    1 << len.ilog2()
}
