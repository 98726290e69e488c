//! What is shown of a download's links and pieces.

use std::ops::Range;

use super::Download;
use super::chunk::Chunk;
use super::values::{LinkKey, LinkView};
use crate::swarm::api::PieceBucket;
use crate::swarm::pick::picker::PieceState;
use crate::types::PieceIndex;

impl Download {
    /// What is shown of a link.
    pub(crate) fn link_view(&self, link: LinkKey) -> Option<LinkView> {
        let state = self.links.get(link)?;
        Some(LinkView {
            received: state.received,
            bytes_per_second: state.bytes_per_second(self.now) as u64,
            pieces: self.picker.offered(link),
            is_interested: state.interested,
            is_unchoked: state.unchoked,
            requests: state.chunks.iter().map(Chunk::outstanding).sum(),
        })
    }

    /// What is shown of pieces in a row.
    pub(crate) fn bucket(&self, pieces: Range<u32>) -> PieceBucket {
        let mut bucket = PieceBucket { availability: u32::MAX, ..PieceBucket::default() };
        for piece in pieces {
            match self.picker.state(piece) {
                PieceState::Missing => {}
                PieceState::Queued => bucket.requested += 1,
                PieceState::InFlight if !self.has_some_of(piece) => bucket.requested += 1,
                PieceState::InFlight | PieceState::Verifying => bucket.partial += 1,
                PieceState::Have => bucket.have += 1,
            }
            bucket.availability = bucket.availability.min(self.picker.holders(piece));
        }
        bucket
    }

    /// Tells whether a block of a piece that is being received has come.
    fn has_some_of(&self, piece: u32) -> bool {
        let Some(index) = self.geometry.index(u64::from(piece)) else { return false };
        let Some(active) = self.active.get(&index) else { return false };
        let has_come = |link: &LinkKey| {
            let chunks = self.links.get(*link).map(|state| state.chunks.as_slice());
            let is_here = |chunk: &Chunk| self.is_of(chunk, index);
            chunks.unwrap_or_default().iter().any(is_here)
        };
        active.copies.iter().any(has_come)
    }

    fn is_of(&self, chunk: &Chunk, piece: PieceIndex) -> bool {
        chunk.piece == piece && (chunk.arriving || chunk.received(&self.geometry) > 0)
    }
}
