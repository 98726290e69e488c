//! In which order the requests that wait are served.
//!
//! **Invariant:** a link's queue holds each block once, and never more than [`REQUESTS_MAX`] of them.
//!
//! Whole pieces, links in turn. A piece is of use to nobody until it is whole, and a leecher that has one can pass it on while
//! the next leecher is served; eight pieces sent side by side arrive eight times as late. So a piece that was begun is finished
//! before the next link has its turn, even if the link is choked meanwhile.
//!
//! Pure. The engine keeps one for everything it uploads, under a short lock; nothing here blocks.

use std::collections::{BTreeMap, VecDeque};

use super::super::LinkKey;
use crate::types::{PieceIndex, Span};

/// Requests that one link may have waiting; what we announce as `reqq` (BEP 10).
pub const REQUESTS_MAX: usize = 512;

/// The requests that wait to be served.
#[derive(Debug, Default)]
pub struct UploadOrder {
    queues: BTreeMap<LinkKey, Queue>,
    turns: u64,
    last: Option<LinkKey>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Span>,
    /// The piece of which a block was sent last.
    current: Option<PieceIndex>,
    /// When the link had its last turn.
    turn: u64,
}

impl Queue {
    /// Place of the next block: of the piece that was begun, else the oldest.
    fn next(&self) -> Option<usize> {
        self.continued().or((!self.waiting.is_empty()).then_some(0))
    }

    /// Place of the next block of the piece that was begun.
    fn continued(&self) -> Option<usize> {
        self.waiting.iter().position(|span| Some(span.piece) == self.current)
    }
}

impl UploadOrder {
    /// Makes an empty order.
    pub fn new() -> Self {
        Self::default()
    }

    /// A peer asks for a block; false if it asked already or has too many waiting (reject the request).
    pub fn push(&mut self, link: LinkKey, span: Span) -> bool {
        let queue = self.queues.entry(link).or_default();
        let fits = queue.waiting.len() < REQUESTS_MAX && !queue.waiting.contains(&span);
        if fits {
            queue.waiting.push_back(span);
        }
        fits
    }

    /// The peer takes a request back; false if it was not waiting: it was sent, is being sent, or was never asked.
    pub fn cancel(&mut self, link: LinkKey, span: Span) -> bool {
        let Some(queue) = self.queues.get_mut(&link) else { return false };
        let place = queue.waiting.iter().position(|&waiting| waiting == span);
        place.and_then(|place| queue.waiting.remove(place)).is_some()
    }

    /// We choke the peer: takes out the requests to reject (BEP 6; others are silently dropped). The rest of a piece that was
    /// begun stays, so that what was sent of it is not lost.
    pub fn choke(&mut self, link: LinkKey) -> Vec<Span> {
        let Some(queue) = self.queues.get_mut(&link) else { return Vec::new() };
        let (keep, reject): (Vec<Span>, _) = queue.waiting.drain(..).partition(|span| Some(span.piece) == queue.current);
        queue.waiting = keep.into();
        reject
    }

    /// Drops everything of a link.
    pub fn leave(&mut self, link: LinkKey) {
        self.queues.remove(&link);
    }

    /// Takes the next block to send, on whichever link.
    pub fn next_any(&mut self) -> Option<(LinkKey, Span)> {
        let begun = self.last.filter(|link| self.queues.get(link).is_some_and(|queue| queue.continued().is_some()));
        let waiting = self.queues.iter().filter(|(_, queue)| !queue.waiting.is_empty());
        let link = begun.or_else(|| waiting.min_by_key(|(_, queue)| queue.turn).map(|(&link, _)| link))?;
        self.next_for(link).map(|span| (link, span))
    }

    /// Takes the next block to send on this link, where each link has a writer that sends when its socket lets it.
    pub fn next_for(&mut self, link: LinkKey) -> Option<Span> {
        let queue = self.queues.get_mut(&link)?;
        let span = queue.next().and_then(|place| queue.waiting.remove(place))?;
        if queue.current != Some(span.piece) || self.last != Some(link) {
            self.turns += 1;
            queue.turn = self.turns;
        }
        queue.current = Some(span.piece);
        self.last = Some(link);
        Some(span)
    }

    /// Bytes in the block that is next on this link.
    pub fn next_len(&self, link: LinkKey) -> Option<u32> {
        let queue = self.queues.get(&link)?;
        queue.next().and_then(|place| queue.waiting.get(place)).map(|span| span.len)
    }

    /// Requests waiting on the link.
    pub fn waiting(&self, link: LinkKey) -> usize {
        self.queues.get(&link).map_or(0, |queue| queue.waiting.len())
    }

    /// The piece of which a block was sent last on the link.
    pub fn current(&self, link: LinkKey) -> Option<PieceIndex> {
        self.queues.get(&link)?.current
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Geometry;

    const A: LinkKey = LinkKey(1);
    const B: LinkKey = LinkKey(2);

    fn span(piece: u32, block: u32) -> Span {
        Geometry::new(1 << 20, 64 << 10).unwrap().span(piece, block << 14, 1 << 14).unwrap()
    }

    fn drain(order: &mut UploadOrder) -> String {
        std::iter::from_fn(|| order.next_any())
            .map(|(link, span)| format!("{}{}", if link == A { 'a' } else { 'b' }, span.piece))
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn whole_pieces_links_in_turn() {
        let mut order = UploadOrder::new();
        [(A, 0), (A, 1), (A, 2), (B, 7), (B, 8)].into_iter().for_each(|(link, piece)| {
            assert!(order.push(link, span(piece, 0)) && order.push(link, span(piece, 1)) && !order.push(link, span(piece, 1)));
        });
        assert_eq!(drain(&mut order), "a0 a0 b7 b7 a1 a1 b8 b8 a2 a2");
    }

    #[test]
    fn a_begun_piece_survives_a_choke() {
        let mut order = UploadOrder::new();
        [(0, 0), (0, 1), (1, 0)].into_iter().for_each(|(piece, block)| assert!(order.push(A, span(piece, block))));
        assert_eq!(order.next_any(), Some((A, span(0, 0))));
        assert_eq!(order.choke(A), [span(1, 0)]);
        assert_eq!(drain(&mut order), "a0");
        assert_eq!(order.choke(B), []);
    }

    #[test]
    fn requests_are_bounded_and_taken_back() {
        let mut order = UploadOrder::new();
        let g = Geometry::new(u64::from(u32::MAX), 16 << 10).unwrap();
        let spans: Vec<Span> = g.indexes().map(|piece| Span { piece, begin: 0, len: 1 }).take(REQUESTS_MAX + 1).collect();
        assert_eq!(spans.iter().filter(|&&span| order.push(A, span)).count(), REQUESTS_MAX);
        assert!(order.cancel(A, spans[3]) && !order.cancel(A, spans[3]) && !order.cancel(B, spans[4]));
        assert_eq!(order.waiting(A), REQUESTS_MAX - 1);
        order.leave(A);
        assert_eq!(order.next_any(), None);
    }
}
