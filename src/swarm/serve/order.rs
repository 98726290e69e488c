//! In which order the requests that wait are served.
//!
//! **Invariant:** a link's queue holds each block once, and never more than [`REQUESTS_MAX`] of
//! them. A block is handed out only to a link whose turn it is, and in its turn a link is sent
//! blocks of one piece.
//!
//! Whole pieces, links in turn: a leecher can pass a piece on only once it is whole, and eight
//! pieces sent side by side arrive eight times as late. So a piece that was begun is finished
//! before the link's turn is over, even if the link is choked meanwhile. How many links have their
//! turn at a time is measured ([`Width`]).
//!
//! Links that ask for a rare piece come before links that ask for a common one: rare pieces keep
//! leechers able to trade. A link that has waited for many turns comes first all the same.
//!
//! Pure. The engine keeps one for everything it uploads of a file, under a short lock; nothing here
//! blocks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::width::Width;
use crate::swarm::LinkKey;
use crate::types::{PieceIndex, Span};

/// Requests that one link may have waiting; what we announce as `reqq` (BEP 10).
pub(crate) const REQUESTS_MAX: usize = 512;
/// Holders beyond which one piece counts as much as another.
const COMMON: u32 = 2;
/// How long after it was choked, or was handed a block, a link may ask for the rest of the piece
/// that was begun.
const GRACE: Duration = Duration::from_secs(60);
/// Rounds that others may go before a link, because they ask for rarer pieces.
const ROUNDS_MAX: u64 = 3;

/// The requests that wait to be served.
#[derive(Debug, Default)]
pub(crate) struct UploadOrder {
    queues: BTreeMap<LinkKey, Queue>,
    /// The links with requests whose turn it is not: looked at for the next turn.
    waiting: BTreeSet<LinkKey>,
    turns: u64,
    /// Links whose turn it is.
    sending: usize,
    width: Width,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Span>,
    /// The piece of which blocks are or were sent last.
    current: Option<PieceIndex>,
    /// When the link had its last turn, or came.
    turn: u64,
    /// Whether it is its turn.
    sends: bool,
    /// Bytes of the current piece that were handed out since it was begun.
    handed: u64,
    /// Until when a choked link may ask for the rest of it.
    grace: Duration,
}

impl Queue {
    fn waits(&self) -> bool {
        !self.sends && !self.waiting.is_empty()
    }

    /// The piece that is its to have next: the one that was begun, else the one asked for first.
    fn next_piece(&self) -> Option<PieceIndex> {
        let begun = self.continued().map(|place| self.waiting[place].piece);
        begun.or_else(|| self.waiting.front().map(|span| span.piece))
    }

    /// Place of the next block of the piece that was begun.
    fn continued(&self) -> Option<usize> {
        self.waiting.iter().position(|span| Some(span.piece) == self.current)
    }
}

impl UploadOrder {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A peer asks for a block; false if it asked already or has too many waiting (reject the
    /// request).
    pub(crate) fn push(&mut self, link: LinkKey, span: Span) -> bool {
        let turn = self.turns;
        let queue = self.queues.entry(link).or_insert_with(|| Queue { turn, ..Queue::default() });
        let fits = queue.waiting.len() < REQUESTS_MAX && !queue.waiting.contains(&span);
        if fits {
            queue.waiting.push_back(span);
            self.note_waiting(link);
        }
        fits
    }

    /// The peer takes a request back; false if it was not waiting: it was sent, is being sent, or
    /// was never asked.
    pub(crate) fn cancel(&mut self, link: LinkKey, span: Span) -> bool {
        let Some(queue) = self.queues.get_mut(&link) else { return false };
        let place = queue.waiting.iter().position(|&waiting| waiting == span);
        let is_cancelled = place.and_then(|place| queue.waiting.remove(place)).is_some();
        self.note_waiting(link);
        is_cancelled
    }

    /// We choke the peer: takes out the requests to reject (BEP 6; others are silently dropped).
    /// The rest of a piece that was begun stays, so that what was sent of it is not lost.
    pub(crate) fn choke(&mut self, now: Duration, link: LinkKey) -> Vec<Span> {
        let Some(queue) = self.queues.get_mut(&link) else { return Vec::new() };
        queue.grace = now + GRACE;
        let (keep, reject): (Vec<Span>, _) =
            queue.waiting.drain(..).partition(|span| Some(span.piece) == queue.current);
        queue.waiting = keep.into();
        self.note_waiting(link);
        reject
    }

    /// Tells whether a choked peer may ask for a block all the same: of the piece that was begun,
    /// which is sent once at most. A peer with a download limit asks block by block, and would lose
    /// what it has of the piece.
    pub(crate) fn may_finish(
        &self,
        now: Duration,
        link: LinkKey,
        span: Span,
        piece_len: u32,
    ) -> bool {
        let Some(queue) = self.queues.get(&link).filter(|queue| queue.current == Some(span.piece))
        else {
            return false;
        };
        let waiting: u64 = queue.waiting.iter().map(|span| u64::from(span.len)).sum();
        now <= queue.grace && queue.handed + waiting + u64::from(span.len) <= piece_len.into()
    }

    pub(crate) fn leave(&mut self, link: LinkKey) {
        self.end(link);
        self.queues.remove(&link);
        self.note_waiting(link);
    }

    /// Gives the next turn, if one may be given: returns whose it is, to be sent what
    /// [`UploadOrder::next_for`] hands out. `holders` tells how many others have a piece. Call
    /// until `None` after every change, and a few times a second.
    pub(crate) fn begin(
        &mut self,
        now: Duration,
        holders: impl Fn(PieceIndex) -> u32,
    ) -> Option<LinkKey> {
        if self.sending >= self.width.get() {
            self.width.pass(now, || !self.waiting.is_empty());
            if self.sending >= self.width.get() {
                return None;
            }
        }
        let rounds = ROUNDS_MAX * self.queues.len() as u64;
        let rank = |&link: &LinkKey| {
            let queue = self.queues.get(&link)?;
            let piece = queue.next_piece()?;
            let begun = Some(piece) == queue.current;
            let overdue = self.turns - queue.turn > rounds;
            Some((!overdue, !begun, holders(piece).min(COMMON), queue.turn, link, piece))
        };
        let Some((.., link, piece)) = self.waiting.iter().filter_map(rank).min() else {
            self.width.unused();
            return None;
        };
        self.turns += 1;
        self.sending += 1;
        let turn = self.turns;
        let queue = self.queues.get_mut(&link)?;
        if queue.current != Some(piece) {
            queue.handed = 0;
        }
        (queue.sends, queue.current, queue.turn) = (true, Some(piece), turn);
        // Only that of a choked link counts.
        queue.grace = queue.grace.max(now + GRACE);
        self.note_waiting(link);
        Some(link)
    }

    /// Takes the next block to send on a link in its turn; `None` once its piece is sent.
    pub(crate) fn next_for(&mut self, link: LinkKey) -> Option<Span> {
        let queue = self.queues.get_mut(&link).filter(|queue| queue.sends)?;
        let span = queue.continued().and_then(|place| queue.waiting.remove(place))?;
        queue.handed += u64::from(span.len);
        Some(span)
    }

    /// The turn of a link is over: what was handed out has been sent.
    pub(crate) fn end(&mut self, link: LinkKey) {
        if let Some(queue) = self.queues.get_mut(&link)
            && std::mem::take(&mut queue.sends)
        {
            self.sending -= 1;
            self.note_waiting(link);
        }
    }

    fn note_waiting(&mut self, link: LinkKey) {
        match self.queues.get(&link).is_some_and(Queue::waits) {
            true => self.waiting.insert(link),
            false => self.waiting.remove(&link),
        };
    }

    pub(crate) fn sent(&mut self, bytes: u64) {
        self.width.sent(bytes);
    }

    pub(crate) fn is_turn_of(&self, link: LinkKey) -> bool {
        self.queues.get(&link).is_some_and(|queue| queue.sends)
    }

    /// Tells whether links wait for their turn.
    pub(crate) fn is_contended(&self) -> bool {
        self.waiting.len() + self.sending > 1
    }

    /// Bytes in the block that is next on a link in its turn; `None` if it is not its turn, or its
    /// piece is sent.
    pub(crate) fn next_len(&self, link: LinkKey) -> Option<u32> {
        let queue = self.queues.get(&link).filter(|queue| queue.sends)?;
        queue.continued().and_then(|place| queue.waiting.get(place)).map(|span| span.len)
    }

    /// Requests waiting on the link.
    pub(crate) fn waiting(&self, link: LinkKey) -> usize {
        self.queues.get(&link).map_or(0, |queue| queue.waiting.len())
    }

    /// The piece of which a block was sent last on the link.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn current(&self, link: LinkKey) -> Option<PieceIndex> {
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

    /// Serves everything; `rare` names a piece that no other leecher has.
    fn drain(order: &mut UploadOrder, rare: u32) -> String {
        let mut sent = Vec::new();
        loop {
            let holders = |piece: PieceIndex| if piece.get() == rare { 0 } else { 9 };
            let turns: Vec<LinkKey> =
                std::iter::from_fn(|| order.begin(Duration::ZERO, holders)).collect();
            if turns.is_empty() {
                break;
            }
            for link in turns {
                let name = if link == A { 'a' } else { 'b' };
                sent.extend(
                    std::iter::from_fn(|| order.next_for(link))
                        .map(|span| format!("{name}{}", span.piece)),
                );
                order.end(link);
            }
        }
        sent.join(" ")
    }

    #[test]
    fn whole_pieces_links_in_turn() {
        let mut order = UploadOrder::new();
        [(A, 0), (A, 1), (A, 2), (B, 7), (B, 8)].into_iter().for_each(|(link, piece)| {
            assert!(
                order.push(link, span(piece, 0))
                    && order.push(link, span(piece, 1))
                    && !order.push(link, span(piece, 1))
            );
        });
        assert_eq!(drain(&mut order, 99), "a0 a0 b7 b7 a1 a1 b8 b8 a2 a2");
        assert!(!order.is_contended());
    }

    #[test]
    fn rare_pieces_go_first() {
        let mut order = UploadOrder::new();
        [(A, 0), (A, 1), (B, 7), (B, 8)]
            .into_iter()
            .for_each(|(link, piece)| assert!(order.push(link, span(piece, 0))));
        assert!(order.is_contended());
        assert_eq!(drain(&mut order, 7), "b7 a0 b8 a1");
    }

    #[test]
    fn a_link_that_has_waited_long_comes_first() {
        let mut order = UploadOrder::new();
        assert!(order.push(A, span(1, 0)));
        let mut turns = 0;
        loop {
            assert!(order.push(B, span(0, turns % 4)));
            let link = order.begin(Duration::ZERO, |piece| piece.get()).unwrap();
            assert!(order.next_for(link).is_some());
            order.end(link);
            if link == A {
                break;
            }
            turns += 1;
        }
        assert!((1..=2 * ROUNDS_MAX as u32 + 1).contains(&turns), "{turns}");
    }

    #[test]
    fn a_begun_piece_survives_a_choke() {
        let mut order = UploadOrder::new();
        [(0, 0), (0, 1), (1, 0)]
            .into_iter()
            .for_each(|(piece, block)| assert!(order.push(A, span(piece, block))));
        assert_eq!(order.next_for(A), None, "it is not its turn");
        assert_eq!(order.begin(Duration::ZERO, |_| 0), Some(A));
        assert_eq!(order.next_for(A), Some(span(0, 0)));
        assert_eq!(order.choke(Duration::ZERO, A), [span(1, 0)]);
        order.end(A);
        assert_eq!(drain(&mut order, 99), "a0");
        assert_eq!(order.choke(Duration::ZERO, B), []);
    }

    /// A link that asks block by block is choked in the middle of a piece: it gets the rest of it,
    /// once, and nothing else.
    #[test]
    fn who_asks_block_by_block_may_finish_its_piece() {
        const LEN: u32 = 64 << 10;
        let mut order = UploadOrder::new();
        let second = Duration::from_secs(1);
        let send = |order: &mut UploadOrder, now, block| {
            assert!(order.push(A, span(0, block)));
            assert_eq!(order.begin(now, |_| 0), Some(A));
            assert_eq!(order.next_len(A), Some(1 << 14));
            assert_eq!(order.next_for(A), Some(span(0, block)));
            assert_eq!((order.next_len(A), order.next_for(A)), (None, None));
            order.end(A);
        };
        send(&mut order, second, 0);
        assert_eq!(order.choke(2 * second, A), []);
        assert!(
            !order.may_finish(2 * second, A, span(1, 0), LEN)
                && !order.may_finish(2 * second, B, span(0, 1), LEN)
        );
        // However slowly it asks: each block gives it time for the next.
        for block in 1..4 {
            let now = 50 * block * second;
            assert!(order.may_finish(now, A, span(0, block), LEN));
            send(&mut order, now, block);
        }
        assert!(!order.may_finish(151 * second, A, span(0, 1), LEN), "it was sent the whole piece");
        send(&mut order, 160 * second, 1);
        order.leave(A);
        send(&mut order, 200 * second, 0);
        assert_eq!(order.choke(201 * second, A), []);
        assert!(
            order.may_finish(261 * second, A, span(0, 1), LEN)
                && !order.may_finish(262 * second, A, span(0, 1), LEN)
        );
    }

    #[test]
    fn a_turn_with_nothing_to_send_has_no_next_block() {
        let mut order = UploadOrder::new();
        assert!(
            order.push(A, span(0, 0)) && order.push(A, span(1, 0)) && order.push(B, span(2, 0))
        );
        assert_eq!((order.next_len(A), order.begin(Duration::ZERO, |_| 9)), (None, Some(A)));
        assert!(order.cancel(A, span(0, 0)));
        assert_eq!(order.next_len(A), None, "the other piece is for another turn");
        order.end(A);
        assert_eq!(order.begin(Duration::ZERO, |_| 9), Some(B));
    }

    #[test]
    fn requests_are_bounded_and_taken_back() {
        let mut order = UploadOrder::new();
        let g = Geometry::new(u64::from(u32::MAX), 16 << 10).unwrap();
        let spans: Vec<Span> = g
            .indexes()
            .map(|piece| Span { piece, begin: 0, len: 1 })
            .take(REQUESTS_MAX + 1)
            .collect();
        assert_eq!(spans.iter().filter(|&&span| order.push(A, span)).count(), REQUESTS_MAX);
        assert!(
            order.cancel(A, spans[3]) && !order.cancel(A, spans[3]) && !order.cancel(B, spans[4])
        );
        assert_eq!(order.waiting(A), REQUESTS_MAX - 1);
        order.leave(A);
        assert_eq!(order.begin(Duration::ZERO, |_| 0), None);
    }
}
