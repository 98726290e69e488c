//! Which piece next: the rarest that the link can give, ties broken at random.
//!
//! **Invariant:** every piece is in exactly one [`PieceState`]. The pieces that are `Missing` are
//! exactly those in `missing` and in `buckets`, where each stands at the number of links that offer
//! it. Links that offer everything are counted in `seeds` alone, so that they come and go in
//! constant time.
//!
//! Pure; owned by [`crate::swarm::Download`], which knows windows, time and chokes. The cost of a
//! pick does not grow with the number of pieces: a bounded number of pieces is looked at from the
//! rarest level up; when none of them will do, any piece that the link can give, found through a
//! summary of what it has, is taken instead.

mod buckets;
mod peer;
pub(crate) mod set;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

pub(crate) use self::buckets::Buckets;
use self::peer::{Partial, Peer};
use self::set::PieceSet;
use crate::swarm::LinkKey;
use crate::types::{Bitfield, PieceIndex};

/// Pieces looked at in one pick before rarity is given up: bounds the cost.
const PROBES_MAX: usize = 256;
/// A link that can give at most this many missing pieces has all of them looked at.
const SPARSE_MAX: u32 = 64;

/// Where a piece is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PieceState {
    /// It is not being fetched.
    Missing,
    /// A job to fetch it waits for a worker.
    Queued,
    /// It is being received.
    InFlight,
    /// It is being hashed and written.
    Verifying,
    /// It is verified.
    Have,
}

/// The pieces of one file, and which links offer them.
#[derive(Debug)]
pub(crate) struct Picker {
    count: u32,
    states: Vec<PieceState>,
    tally: [u32; 5],
    have: Bitfield,
    missing: PieceSet,
    buckets: Buckets,
    seeds: u32,
    peers: BTreeMap<LinkKey, Peer>,
    rng: SmallRng,
}

impl Picker {
    pub(crate) fn new(have: Bitfield, seed: u64) -> Self {
        let count = have.count();
        let mut picker = Self {
            count,
            states: vec![PieceState::Missing; count as usize],
            tally: [count - have.ones(), 0, 0, 0, have.ones()],
            missing: PieceSet::empty(count),
            buckets: Buckets::new(count),
            seeds: 0,
            peers: BTreeMap::new(),
            rng: SmallRng::seed_from_u64(seed),
            have,
        };
        picker.have.iter_ones().for_each(|piece| picker.states[piece as usize] = PieceState::Have);
        for piece in
            (0..count).filter(|&piece| picker.states[piece as usize] == PieceState::Missing)
        {
            picker.missing.insert(piece);
            picker.buckets.insert(piece);
        }
        picker
    }

    /// The verified pieces.
    pub(crate) fn have(&self) -> &Bitfield {
        &self.have
    }

    pub(crate) fn count_of(&self, state: PieceState) -> u32 {
        self.tally[state as usize]
    }

    pub(crate) fn state(&self, piece: u32) -> PieceState {
        self.states[piece as usize]
    }

    pub(crate) fn join(&mut self, link: LinkKey) {
        self.peers.entry(link).or_insert_with(|| Peer::Some(Partial::empty()));
    }

    pub(crate) fn leave(&mut self, link: LinkKey) {
        match self.peers.remove(&link) {
            Some(Peer::All) => self.seeds -= 1,
            Some(Peer::Some(partial)) => partial.iter().for_each(|piece| self.buckets.lower(piece)),
            None => {}
        }
    }

    pub(crate) fn has_none(&mut self, link: LinkKey) {
        if self.peers.contains_key(&link) {
            self.leave(link);
            self.join(link);
        }
    }

    pub(crate) fn has_all(&mut self, link: LinkKey) {
        if self.peers.contains_key(&link) {
            self.leave(link);
            self.peers.insert(link, Peer::All);
            self.seeds += 1;
        }
    }

    /// Replaces what a link offers by `field`; one of another length is ignored.
    pub(crate) fn has_some(&mut self, link: LinkKey, field: &Bitfield) {
        if field.count() != self.count || !self.peers.contains_key(&link) {
            return;
        }
        if field.is_full() {
            return self.has_all(link);
        }
        self.has_none(link);
        field.iter_ones().for_each(|piece| self.gained(link, piece));
    }

    pub(crate) fn gained(&mut self, link: LinkKey, piece: u32) {
        let verified = self.states.get(piece as usize) == Some(&PieceState::Have);
        if let Some(Peer::Some(partial)) = self.peers.get_mut(&link)
            && piece < self.count
            && !partial.has(piece)
        {
            partial.gain(piece, &self.missing, verified);
            self.buckets.raise(piece);
        }
    }

    pub(crate) fn offers(&self, link: LinkKey, piece: u32) -> bool {
        match self.peers.get(&link) {
            Some(Peer::All) => true,
            Some(Peer::Some(partial)) => partial.has(piece),
            None => false,
        }
    }

    pub(crate) fn holders(&self, piece: u32) -> u32 {
        self.seeds + u32::from(self.buckets.level(piece))
    }

    pub(crate) fn offered(&self, link: LinkKey) -> u32 {
        match self.peers.get(&link) {
            Some(Peer::All) => self.count,
            Some(Peer::Some(partial)) => partial.count,
            None => 0,
        }
    }

    /// The numbers of the pieces the link offers.
    pub(crate) fn offered_pieces(&self, link: LinkKey) -> Vec<u32> {
        match self.peers.get(&link) {
            Some(Peer::All) => (0..self.count).collect(),
            Some(Peer::Some(partial)) => partial.iter().collect(),
            None => Vec::new(),
        }
    }

    pub(crate) fn wanted(&self, link: LinkKey) -> u32 {
        match self.peers.get(&link) {
            Some(Peer::All) => self.missing.count(),
            Some(Peer::Some(partial)) => partial.wanted,
            None => 0,
        }
    }

    /// Number of pieces the link offers that are not verified here.
    pub(crate) fn lacking(&self, link: LinkKey) -> u32 {
        match self.peers.get(&link) {
            Some(Peer::All) => self.count - self.have.ones(),
            Some(Peer::Some(partial)) => partial.lacking,
            None => 0,
        }
    }

    /// Missing pieces that no link offers: how many, and the first `max` in order.
    pub(crate) fn unoffered(&self, max: usize) -> (u32, Vec<u32>) {
        let list = if self.seeds == 0 { self.buckets.list(0) } else { &[] };
        let mut first = list.to_vec();
        if first.len() > max {
            first.select_nth_unstable(max);
            first.truncate(max);
        }
        first.sort_unstable();
        (list.len() as u32, first)
    }

    pub(crate) fn unoffered_count(&self) -> u32 {
        if self.seeds == 0 { self.buckets.list(0).len() as u32 } else { 0 }
    }

    /// Chooses among the missing pieces that the link offers and `allowed` lets pass: the rarest,
    /// ties at random.
    pub(crate) fn pick(
        &mut self,
        link: LinkKey,
        allowed: impl Fn(&Self, u32) -> bool,
    ) -> Option<u32> {
        if self.wanted(link) == 0 {
            return None;
        }
        let start = self.rng.random_range(0..self.count);
        match self.peers.get(&link)? {
            Peer::All => self.probe(0, start, |piece| allowed(self, piece)),
            Peer::Some(partial) if partial.wanted <= SPARSE_MAX => {
                self.rarest(partial, start, usize::MAX, allowed)
            }
            Peer::Some(partial) => self
                .probe(1, start, |piece| partial.has(piece) && allowed(self, piece))
                .or_else(|| self.rarest(partial, start, PROBES_MAX, allowed)),
        }
    }

    /// Looks at a bounded number of pieces from `level` up, beginning at random within each level.
    fn probe(&self, level: usize, start: u32, fits: impl Fn(u32) -> bool) -> Option<u32> {
        let mut left = PROBES_MAX;
        for list in (level..self.buckets.levels())
            .map(|level| self.buckets.list(level))
            .filter(|list| !list.is_empty())
        {
            let first = (u64::from(start) * list.len() as u64 / u64::from(self.count)) as usize;
            let (before, after) = list.split_at(first);
            let tries = list.len().min(left);
            if let Some(&piece) = after.iter().chain(before).take(tries).find(|&&piece| fits(piece))
            {
                return Some(piece);
            }
            left -= tries;
            if left == 0 {
                break;
            }
        }
        None
    }

    /// The rarest of up to `max` missing pieces of a peer that has not all.
    fn rarest(
        &self,
        partial: &Partial,
        start: u32,
        max: usize,
        allowed: impl Fn(&Self, u32) -> bool,
    ) -> Option<u32> {
        let pieces = partial
            .wanted_from(start, &self.missing)
            .take(max)
            .filter(|&piece| allowed(self, piece));
        // Ties go to the first from a random start on; a different rotation for each pick makes up
        // for the gaps.
        pieces.min_by_key(|&piece| (self.buckets.level(piece), piece.wrapping_sub(start)))
    }

    /// Moves a piece from one state to another; a wrong `from` is a bug.
    pub(crate) fn shift(&mut self, piece: u32, from: PieceState, to: PieceState) {
        let state = &mut self.states[piece as usize];
        assert_eq!(*state, from, "piece {piece} on its way to {to:?}");
        *state = to;
        self.tally[from as usize] -= 1;
        self.tally[to as usize] += 1;
        if from == PieceState::Missing || to == PieceState::Missing {
            self.missing_changed(piece, to == PieceState::Missing);
        }
    }

    pub(crate) fn verified(&mut self, piece: PieceIndex) {
        self.shift(piece.get(), PieceState::Verifying, PieceState::Have);
        self.have.insert(piece);
        for peer in self.peers.values_mut() {
            if let Peer::Some(partial) = peer
                && partial.has(piece.get())
            {
                partial.lacking -= 1;
            }
        }
    }

    fn missing_changed(&mut self, piece: u32, on: bool) {
        match on {
            true => {
                self.missing.insert(piece);
                self.buckets.insert(piece);
            }
            false => {
                self.missing.remove(piece);
                self.buckets.remove(piece);
            }
        }
        for peer in self.peers.values_mut() {
            if let Peer::Some(partial) = peer {
                partial.missing_changed(piece, &self.missing);
            }
        }
    }

    /// Checks everything that must hold; for tests.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn check(&self) {
        self.buckets.check();
        let mut tally = [0; 5];
        let mut levels = vec![0u16; self.count as usize];
        for peer in self.peers.values() {
            if let Peer::Some(partial) = peer {
                partial
                    .check(&self.missing, |piece| self.states[piece as usize] == PieceState::Have);
                partial.iter().for_each(|piece| levels[piece as usize] += 1);
            }
        }
        for (piece, &state) in (0..self.count).zip(&self.states) {
            tally[state as usize] += 1;
            let missing = state == PieceState::Missing;
            assert_eq!(self.missing.has(piece), missing, "piece {piece} in the set of the missing");
            assert_eq!(self.buckets.is_in(piece), missing, "piece {piece} in the buckets");
            assert_eq!(
                self.buckets.level(piece),
                levels[piece as usize],
                "availability of piece {piece}"
            );
        }
        assert_eq!(self.tally, tally, "pieces in each state");
        assert_eq!(self.have.ones(), self.count_of(PieceState::Have), "verified pieces");
        assert_eq!(self.missing.iter().count() as u32, self.missing.count(), "missing pieces");
        let all = self.peers.values().filter(|peer| matches!(peer, Peer::All)).count();
        assert_eq!(self.seeds as usize, all, "links that offer everything");
    }
}
