//! What comes back: blocks, rejects, and the verdict on a whole piece.

use std::time::Duration;

use super::link::AVOID_TIME;
use super::{Action, BlockFate, Download, LinkKey, PieceState};
use crate::types::{PieceIndex, Span};

/// Pieces with a wrong hash after which a peer is banned: one may be an accident of its disk.
const STRIKES_MAX: u32 = 2;

impl Download {
    /// A whole block came.
    pub fn block_received(&mut self, now: Duration, link: LinkKey, span: Span) -> BlockFate {
        self.now = self.now.max(now);
        let geometry = self.geometry;
        let taken = self.links.get_mut(link).and_then(|state| {
            let chunk = state.chunks.iter_mut().find(|chunk| chunk.piece == span.piece)?;
            let taken =
                chunk.receive(now, &geometry, span).then(|| (chunk.probe.take(), chunk.left));
            // Not only wanted blocks show that the link is alive.
            state.alive = now;
            taken.inspect(|_| state.delivered(now, span.len))
        });
        let Some((probe, left)) = taken else {
            self.totals.wasted += u64::from(span.len);
            return BlockFate::Unwanted;
        };
        self.totals.received += u64::from(span.len);
        if let (Some(since), Some(state)) = (probe, self.links.get_mut(link)) {
            state.window.delay_seen(now.saturating_sub(since));
        }
        match left {
            0 => self.completed(link, span.piece),
            _ => BlockFate::Accepted,
        }
    }

    /// Part of a block of the piece came, `came` bytes of the block by now: it is not late, and the
    /// link is alive. Optional; useful for slow links with large blocks.
    pub fn data_arriving(&mut self, now: Duration, link: LinkKey, piece: PieceIndex, came: u32) {
        if let Some(state) = self.links.get_mut_unindexed(link) {
            state.data_came(now);
            state.trickled(now, came);
            let chunk = state.chunks.iter_mut().find(|chunk| chunk.piece == piece);
            chunk.into_iter().for_each(|chunk| chunk.progress = chunk.progress.max(now));
            self.totals.arrivals += 1;
        }
    }

    /// Requests of the link wait at our own end, because of a limit: what it is to bring is not
    /// late meanwhile.
    pub fn held_back(&mut self, now: Duration, link: LinkKey) {
        if let Some(state) = self.links.get_mut_unindexed(link) {
            state.alive = state.alive.max(now);
            state.chunks.iter_mut().for_each(|chunk| chunk.progress = chunk.progress.max(now));
        }
    }

    /// The first block of a piece begins to come: it is not worth asking elsewhere any more.
    /// Optional.
    pub fn piece_arriving(&mut self, link: LinkKey, piece: PieceIndex) {
        let chunks = self
            .links
            .get_mut_unindexed(link)
            .map(|state| state.chunks.as_mut_slice())
            .unwrap_or_default();
        if let Some(chunk) = chunks.iter_mut().find(|chunk| chunk.piece == piece) {
            chunk.arriving = true;
        }
    }

    /// The peer will not serve a block (BEP 6). The whole chunk is given up: the engine need not
    /// handle its other rejects.
    pub fn block_rejected(&mut self, now: Duration, link: LinkKey, span: Span) {
        self.now = self.now.max(now);
        let Some(state) = self.links.get_mut(link) else { return };
        if !state.chunks.iter().any(|chunk| chunk.awaits(&self.geometry, span)) {
            return;
        }
        if state.unchoked {
            state.rejected(now);
            state.avoid.insert(span.piece.get(), now + AVOID_TIME);
        }
        self.drop_chunk(link, span.piece, true);
    }

    /// The link's chunk has the right hash and is written.
    pub fn verified(&mut self, now: Duration, piece: PieceIndex, link: LinkKey) {
        self.now = self.now.max(now);
        if !self.end_verifying(piece, Some(link)) {
            return;
        }
        self.picker.verified(piece);
        self.active.remove(&piece);
        self.actions.push_back(Action::Have(piece));
        if self.is_complete() {
            self.actions.push_back(Action::Complete);
        }
        self.links.stop_avoiding(piece);
        let links: Vec<LinkKey> =
            self.links.iter().filter(|(_, state)| state.interested).map(|(link, _)| link).collect();
        links.into_iter().for_each(|link| self.update_interest(link));
    }

    /// The link's chunk has the wrong hash: the piece is missing again, and is asked of another
    /// link if one has it.
    pub fn corrupt(&mut self, now: Duration, piece: PieceIndex, link: LinkKey) {
        self.now = self.now.max(now);
        if !self.end_verifying(piece, Some(link)) {
            return;
        }
        self.settle(piece);
        self.totals.corrupt += 1;
        self.totals.wasted += u64::from(self.geometry.len_of(piece));
        let Some(state) = self.links.get_mut(link) else { return };
        state.avoid.insert(piece.get(), now);
        state.strikes += 1;
        if state.strikes >= STRIKES_MAX {
            self.leave(now, link);
            self.actions.push_back(Action::Ban(link));
        }
    }

    /// The chunk could not be written; the piece is missing again. The engine pauses or fails the
    /// download.
    pub fn write_failed(&mut self, piece: PieceIndex) {
        if self.end_verifying(piece, None) {
            self.totals.wasted += u64::from(self.geometry.len_of(piece));
            self.settle(piece);
        }
    }

    /// Nothing will be heard of the chunks that are being verified: their pieces are missing again.
    pub fn checks_failed(&mut self) {
        let verifying = self.active.iter().filter(|(_, active)| active.verifying.is_some());
        verifying
            .map(|(&piece, _)| piece)
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|piece| self.write_failed(piece));
    }

    /// A link's chunk is whole: other copies of the piece are no longer needed.
    fn completed(&mut self, link: LinkKey, piece: PieceIndex) -> BlockFate {
        if let Some(state) = self.links.get_mut(link) {
            state.remove(piece);
        }
        if let Some(active) = self.active.get_mut(&piece) {
            active.verifying = Some(link);
            active.copies.retain(|&copy| copy != link);
            active.copies.clone().into_iter().for_each(|copy| self.drop_chunk(copy, piece, true));
        }
        self.settle(piece);
        BlockFate::Completed
    }

    /// Frees the buffer of a piece that was being verified; false if it was not, or another link's.
    fn end_verifying(&mut self, piece: PieceIndex, link: Option<LinkKey>) -> bool {
        let Some(active) = self.active.get_mut(&piece) else { return false };
        if active.verifying.is_none() || (link.is_some() && active.verifying != link) {
            return false;
        }
        active.verifying = None;
        self.reserved -= u64::from(self.geometry.len_of(piece));
        debug_assert_eq!(self.picker.state(piece.get()), PieceState::Verifying);
        true
    }
}
