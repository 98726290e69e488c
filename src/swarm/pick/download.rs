//! One file's download: which piece is fetched from which link, and when it is given up and fetched
//! elsewhere.
//!
//! **Invariant:** a piece that is neither missing nor verified has an entry in `active`: either one
//! or two copies under way, each a chunk of one link, or one copy being verified. `reserved` is the
//! sum of the buffers all of these hold, and stays within [`Options::window_sum_max`] as soon as
//! more than one piece is active.
//!
//! Pure: time is an argument (a duration since any fixed start, never going back), randomness comes
//! from the seed, effects are taken out with [`Download::poll_action`] after every call. The engine
//! keeps it under a short lock; nothing here blocks.
//!
//! The life of a piece: [`Download::next_job`] queues it for a link; a worker takes the job and
//! calls [`Download::start`], then sends the requests; the link's reader calls
//! [`Download::block_received`] for each block; at `Completed` the buffer goes to be checked, and
//! the result comes by [`Download::verified`], [`Download::corrupt`] or [`Download::write_failed`].
//! If anything goes wrong before, the piece is missing again, and asked for elsewhere first.
//!
//! Left out on purpose: partial pieces are not handed from a dead link to another (at most a piece
//! a link is lost).

mod blocks;
#[cfg(any(test, fuzzing))]
mod check;
mod chunk;
mod clock;
mod drain;
mod endgame;
mod jobs;
mod link;
mod links;
mod readers;
#[cfg(test)]
mod tests;
mod values;
mod view;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;

use self::link::Link;
use self::links::Links;
use self::readers::Readers;
pub(crate) use self::readers::{READERS_MAX, WINDOW_PIECES_MAX};
pub(crate) use self::values::{Action, LinkStats, Stats};
pub use self::values::{BlockFate, ChunkJob, LinkKey, LinkTraits, Options, ReaderKey};
use crate::swarm::pick::picker::{Picker, PieceState};
use crate::types::{Bitfield, Geometry, PieceIndex};

/// One file's download.
#[derive(Debug)]
pub struct Download {
    geometry: Geometry,
    options: Options,
    picker: Picker,
    links: Links,
    active: BTreeMap<PieceIndex, Active>,
    /// Bytes of all chunk buffers.
    reserved: u64,
    /// Bytes asked for twice so far.
    duplicated: u64,
    is_paused: bool,
    is_held: bool,
    is_in_order: bool,
    /// The next piece while pieces are chosen in order.
    next_in_order: u32,
    readers: Readers,
    tokens: u64,
    actions: VecDeque<Action>,
    totals: Stats,
    rng: SmallRng,
    /// The latest time told.
    now: Duration,
}

/// Where a piece on its way comes from.
#[derive(Debug, Default)]
struct Active {
    copies: Vec<LinkKey>,
    verifying: Option<LinkKey>,
}

impl Download {
    /// Makes the download of a file of which `have` is verified already.
    ///
    /// A file that is complete already says so with an action.
    ///
    /// # Panics
    /// If `have` belongs to another geometry.
    pub fn new(geometry: Geometry, have: Bitfield, options: Options, seed: u64) -> Self {
        assert_eq!(have.count(), geometry.piece_count(), "the bitfield is another file's");
        let complete = have.is_full();
        Self {
            geometry,
            options,
            picker: Picker::new(have, seed),
            links: Links::default(),
            active: BTreeMap::new(),
            reserved: 0,
            duplicated: 0,
            is_paused: false,
            is_held: false,
            is_in_order: false,
            next_in_order: 0,
            readers: Readers::default(),
            tokens: 0,
            actions: complete.then_some(Action::Complete).into_iter().collect(),
            totals: Stats::default(),
            rng: SmallRng::seed_from_u64(seed ^ 0x6c69_6e6b),
            now: Duration::ZERO,
        }
    }

    /// Takes a link in; it chokes us and its peer has nothing until told otherwise.
    pub fn join(&mut self, now: Duration, link: LinkKey, traits: LinkTraits) {
        self.now = self.now.max(now);
        self.picker.join(link);
        self.links.insert(link, Link::new(now, traits));
    }

    /// Drops a link; an unknown one is ignored. What it was to bring is asked for elsewhere.
    ///
    /// A chunk of it that is being verified stays so: its buffer is no longer the link's.
    pub fn leave(&mut self, now: Duration, link: LinkKey) {
        self.now = self.now.max(now);
        self.drop_chunks(link, |_| true, false);
        self.links.remove(link);
        self.picker.leave(link);
    }

    /// The peer has every piece.
    pub fn peer_has_all(&mut self, link: LinkKey) {
        self.drop_chunks(link, |_| false, false);
        self.picker.has_all(link);
        self.update_interest(link);
    }

    /// The peer has no piece.
    pub fn peer_has_none(&mut self, link: LinkKey) {
        self.drop_chunks(link, |_| true, true);
        self.picker.has_none(link);
        self.update_interest(link);
    }

    /// The peer has these pieces and no others.
    pub fn peer_bitfield(&mut self, link: LinkKey, field: Bitfield) {
        self.drop_chunks(link, |piece| !field.has(piece), true);
        self.picker.has_some(link, &field);
        self.update_interest(link);
    }

    /// The peer has one piece more.
    pub fn peer_have(&mut self, link: LinkKey, piece: PieceIndex) {
        self.picker.gained(link, piece.get());
        self.update_interest(link);
    }

    /// The peer stopped serving us.
    ///
    /// A peer that speaks BEP 6 still answers each request, with the block or a reject, so what was
    /// asked for is waited for.
    pub fn choked(&mut self, now: Duration, link: LinkKey) {
        self.now = self.now.max(now);
        let Some(state) = self.links.get_mut(link) else { return };
        state.unchoked = false;
        // What it proposed it proposes to others now.
        state.suggestions.clear();
        let fast = state.traits.fast;
        let given_up: Vec<PieceIndex> =
            state.chunks.iter().filter(|c| !(fast && c.is_started())).map(|c| c.piece).collect();
        self.drop_chunks(link, |piece| given_up.contains(&piece), true);
    }

    /// The peer serves us.
    pub fn unchoked(&mut self, now: Duration, link: LinkKey) {
        self.now = self.now.max(now);
        if let Some(state) = self.links.get_mut(link) {
            state.unchoked = true;
            state.resume_at = Duration::ZERO;
            state.alive = now;
        }
    }

    /// The peer would like us to take this piece from it (BEP 6).
    pub fn suggested(&mut self, link: LinkKey, piece: PieceIndex) {
        let wanted = piece.get() < self.geometry.piece_count()
            && self.picker.state(piece.get()) == PieceState::Missing;
        if let Some(state) = self.links.get_mut_unindexed(link).filter(|_| wanted) {
            state.suggest(piece);
        }
    }

    /// A round trip time known of the link from elsewhere, as from its connecting: stands until one
    /// is measured. Optional.
    pub fn delay_measured(&mut self, link: LinkKey, delay: Duration) {
        if let Some(state) = self.links.get_mut(link) {
            state.window.delay_guessed(delay);
        }
    }

    /// The peer says, after the handshakes, how many requests it keeps waiting. What was asked for
    /// stays asked for.
    pub fn requests_allowed(&mut self, link: LinkKey, requests_max: u32) {
        if let Some(state) = self.links.get_mut(link) {
            state.traits.requests_max = requests_max;
            state.requests_max_ever = state.requests_max_ever.max(requests_max);
        }
    }

    /// The peer behind this link sent bad data over an earlier one: once more and it is banned.
    pub fn suspect(&mut self, link: LinkKey) {
        if let Some(state) = self.links.get_mut(link) {
            state.strikes = state.strikes.max(1);
        }
    }

    /// Stops asking and gives up pieces in flight, or goes on. Pieces under check are finished.
    pub fn set_paused(&mut self, is_paused: bool) {
        self.is_paused = is_paused;
        let links: Vec<LinkKey> = self.links.keys();
        for link in links {
            if is_paused {
                self.drop_chunks(link, |_| true, true);
            }
            self.update_interest(link);
        }
    }

    /// Asks for no pieces for now, but lets peers know that we will: they serve us by the time we
    /// ask. Or goes on.
    pub fn set_held(&mut self, is_held: bool) {
        self.is_held = is_held;
    }

    /// Chooses pieces in the order of the file where a link suggests none, so that disks read and
    /// write in one direction. For links to seeders alone: rarity makes no difference among them.
    pub fn set_in_order(&mut self, is_in_order: bool) {
        self.is_in_order = is_in_order;
    }

    /// Returns how many links were looked at so far to choose pieces: a measure of the cost.
    pub fn links_looked_at(&self) -> u64 {
        self.links.looked_at()
    }

    /// Takes the next effect. Drain after every call that changes something.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The verified pieces.
    pub fn have(&self) -> &Bitfield {
        self.picker.have()
    }

    /// Number of known peers, seeders aside, that have the piece.
    pub fn holders(&self, piece: PieceIndex) -> u32 {
        self.picker.holders(piece.get())
    }

    /// Tells whether every piece is verified.
    pub fn is_complete(&self) -> bool {
        self.have().is_full()
    }

    /// Where the download stands.
    pub fn stats(&self) -> Stats {
        let bytes_per_second = self
            .links
            .iter()
            .map(|(_, link)| link)
            .map(|link| link.bytes_per_second(self.now))
            .sum::<f64>() as u64;
        Stats {
            pieces: self.geometry.piece_count(),
            have: self.picker.count_of(PieceState::Have),
            queued: self.picker.count_of(PieceState::Queued),
            in_flight: self.picker.count_of(PieceState::InFlight),
            verifying: self.picker.count_of(PieceState::Verifying),
            unoffered: self.picker.unoffered_count(),
            links: self.links.len() as u32,
            unchoked: self.links.iter().map(|(_, link)| link).filter(|link| link.unchoked).count()
                as u32,
            bytes_per_second,
            ..self.totals
        }
    }

    /// Where a link stands.
    pub fn link_stats(&self, link: LinkKey) -> Option<LinkStats> {
        let state = self.links.get(link)?;
        Some(LinkStats {
            received: state.received,
            window: state.target(&self.geometry, &self.options),
            pieces: self.picker.offered(link),
        })
    }

    /// The pieces that a link's peer has: a super-seeder that is made at
    /// completion needs them.
    pub fn peer_pieces(&self, link: LinkKey) -> Bitfield {
        let mut field = Bitfield::empty(self.geometry.piece_count());
        let pieces = self
            .picker
            .offered_pieces(link)
            .into_iter()
            .filter_map(|piece| self.geometry.index(u64::from(piece)));
        pieces.for_each(|piece| _ = field.insert(piece));
        field
    }

    /// Missing pieces that no connected peer offers: how many, and the first `max` of them in
    /// order.
    pub fn unoffered(&self, max: usize) -> (u32, Vec<PieceIndex>) {
        let (count, first) = self.picker.unoffered(max);
        (
            count,
            first.into_iter().filter_map(|piece| self.geometry.index(u64::from(piece))).collect(),
        )
    }

    /// Tells the peer whether we want anything of it. That we no longer do is told by `tick`,
    /// later: it often wants again soon.
    fn update_interest(&mut self, link: LinkKey) {
        let wanted = !self.is_paused && self.picker.lacking(link) > 0;
        let Some(state) = self.links.get_mut_unindexed(link) else { return };
        match (wanted, state.interested) {
            (true, false) => {
                state.interested = true;
                self.actions.push_back(Action::Interested(link, true));
            }
            (false, true) => {
                state.dull_since.get_or_insert(self.now);
                if self.is_paused || self.picker.have().is_full() {
                    self.lose_interest(link);
                }
            }
            _ => {}
        }
        if wanted && let Some(state) = self.links.get_mut_unindexed(link) {
            state.dull_since = None;
        }
    }

    fn lose_interest(&mut self, link: LinkKey) {
        if let Some(state) = self.links.get_mut_unindexed(link) {
            state.interested = false;
            state.dull_since = None;
            self.actions.push_back(Action::Interested(link, false));
        }
    }

    /// Gives up a link's chunks of the pieces that `which` names; `tell` if the peer and the
    /// buffer's owner are still there.
    fn drop_chunks(&mut self, link: LinkKey, which: impl Fn(PieceIndex) -> bool, tell: bool) {
        let Some(state) = self.links.get(link) else { return };
        let pieces: Vec<PieceIndex> =
            state.chunks.iter().map(|chunk| chunk.piece).filter(|&piece| which(piece)).collect();
        pieces.into_iter().for_each(|piece| self.drop_chunk(link, piece, tell));
    }

    /// Gives up one chunk; its piece is missing again unless another link fetches it, too.
    fn drop_chunk(&mut self, link: LinkKey, piece: PieceIndex, tell: bool) {
        let Some(chunk) = self.links.get_mut(link).and_then(|state| state.remove(piece)) else {
            return;
        };
        self.totals.wasted += u64::from(chunk.received(&self.geometry));
        self.reserved -= u64::from(self.geometry.len_of(piece));
        if tell && chunk.is_started() {
            self.actions.push_back(Action::Cancel(link, piece));
        }
        if let Some(active) = self.active.get_mut(&piece) {
            active.copies.retain(|&copy| copy != link);
        }
        self.settle(piece);
    }

    /// Brings the state of a piece in line with the copies that are left of it.
    fn settle(&mut self, piece: PieceIndex) {
        let Some(active) = self.active.get(&piece) else { return };
        let started = |&link: &LinkKey| {
            let chunks =
                self.links.get(link).map(|state| state.chunks.as_slice()).unwrap_or_default();
            chunks.iter().any(|chunk| chunk.piece == piece && chunk.is_started())
        };
        let to = match (active.verifying, active.copies.as_slice()) {
            (Some(_), _) => PieceState::Verifying,
            (None, []) => PieceState::Missing,
            (None, copies) if copies.iter().any(started) => PieceState::InFlight,
            _ => PieceState::Queued,
        };
        let from = self.picker.state(piece.get());
        if from != to {
            self.picker.shift(piece.get(), from, to);
        }
        if to == PieceState::Missing {
            self.active.remove(&piece);
        }
    }
}
