//! Super-seeding: a seeder proposes to each leecher other pieces, so that it sends every piece once
//! before any twice.
//!
//! **Invariant:** the level of a piece in `spread` is the number of connected leechers that have it
//! or that it was given to: a piece is given to a leecher when it is suggested or asked for, until
//! it has arrived, the request is withdrawn, or the leecher is gone.
//!
//! A suggestion (BEP 6) costs nothing and is honoured by the picker of the other end; leechers that
//! do not know it choose at random. Only pieces at level 0 are suggested: once every piece is out,
//! the leechers know better than the seeder which is rare. Pieces come back to level 0 when the
//! only leecher that had them goes away.
//!
//! They are suggested in random order.
//!
//! Pure; made when the first leecher links to a file we have whole.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::swarm::LinkKey;
use crate::swarm::pick::picker::Buckets;
use crate::swarm::pick::picker::set::PieceSet;
use crate::types::{Bitfield, Geometry, PieceIndex};

/// Suggestions that a leecher has not taken up yet: as many as it asks for at once, and a round
/// trip's worth.
const SUGGESTIONS_MAX: usize = 4;
/// Pieces counted as on their way to one leecher; one that never says what it has is not believed
/// to take more.
const ASKED_MAX: usize = 256;

/// Proposes different pieces to different leechers.
#[derive(Debug)]
pub(crate) struct SuperSeeder {
    geometry: Geometry,
    spread: Buckets,
    takers: BTreeMap<LinkKey, Taker>,
    /// The links that we serve.
    served: BTreeSet<LinkKey>,
    /// How many leechers have each piece.
    holders: Vec<u16>,
    rng: SmallRng,
}

#[derive(Debug)]
struct Taker {
    has: PieceSet,
    /// It has everything: no leecher.
    full: bool,
    suggested: VecDeque<PieceIndex>,
    asked: VecDeque<PieceIndex>,
}

impl Taker {
    fn has_been_given(&self, piece: PieceIndex) -> bool {
        self.suggested.contains(&piece) || self.asked.contains(&piece)
    }
}

impl SuperSeeder {
    /// Makes it for a file that we have whole.
    pub(crate) fn new(geometry: Geometry, seed: u64) -> Self {
        let mut spread = Buckets::new(geometry.piece_count());
        geometry.indexes().for_each(|piece| spread.insert(piece.get()));
        Self {
            geometry,
            spread,
            takers: BTreeMap::new(),
            served: BTreeSet::new(),
            holders: vec![0; geometry.piece_count() as usize],
            rng: SmallRng::seed_from_u64(seed),
        }
    }

    /// Takes in a link that speaks BEP 6; the peer has nothing and is choked until told otherwise.
    pub(crate) fn join(&mut self, link: LinkKey) {
        let has = PieceSet::empty(self.geometry.piece_count());
        let taker = Taker { has, full: false, suggested: VecDeque::new(), asked: VecDeque::new() };
        self.takers.entry(link).or_insert(taker);
    }

    pub(crate) fn leave(&mut self, link: LinkKey) {
        self.served.remove(&link);
        if let Some(taker) = self.takers.remove(&link) {
            taker.has.iter().for_each(|piece| self.holders[piece as usize] -= 1);
            let given = taker.suggested.iter().chain(&taker.asked).map(|piece| piece.get());
            taker.has.iter().chain(given).for_each(|piece| self.spread.lower(piece));
        }
    }

    /// The peer has every piece: it is served no more.
    pub(crate) fn peer_has_all(&mut self, link: LinkKey) {
        if self.takers.contains_key(&link) {
            self.leave(link);
            self.join(link);
            self.takers.entry(link).and_modify(|taker| taker.full = true);
        }
    }

    /// The peer has these pieces; a field of another length is ignored.
    pub(crate) fn peer_bitfield(&mut self, link: LinkKey, field: &Bitfield) {
        if field.is_full() {
            return self.peer_has_all(link);
        }
        if field.count() == self.geometry.piece_count() {
            let geometry = self.geometry;
            let pieces = field.iter_ones().filter_map(|piece| geometry.index(u64::from(piece)));
            pieces.for_each(|piece| self.peer_have(link, piece));
        }
    }

    pub(crate) fn peer_have(&mut self, link: LinkKey, piece: PieceIndex) {
        let Some(taker) = self.takers.get_mut(&link).filter(|taker| !taker.full) else { return };
        if piece.get() >= self.geometry.piece_count() || !taker.has.insert(piece.get()) {
            return;
        }
        self.holders[piece.as_usize()] += 1;
        match taker.has_been_given(piece) {
            true => {
                taker.suggested.retain(|&given| given != piece);
                taker.asked.retain(|&given| given != piece);
            }
            false => self.spread.raise(piece.get()),
        }
    }

    pub(crate) fn unchoked(&mut self, link: LinkKey) {
        if self.takers.contains_key(&link) {
            self.served.insert(link);
        }
    }

    /// We stopped serving the peer: what it has not asked for is free for others. What it asked for
    /// may be with it already; each request that is rejected is told by [`SuperSeeder::withdrawn`].
    pub(crate) fn choked(&mut self, link: LinkKey) {
        self.served.remove(&link);
        if let Some(taker) = self.takers.get_mut(&link) {
            taker.suggested.drain(..).for_each(|piece| self.spread.lower(piece.get()));
        }
    }

    /// A request for a block of the piece was rejected, or taken back: the piece is free for
    /// others.
    pub(crate) fn withdrawn(&mut self, link: LinkKey, piece: PieceIndex) {
        if let Some(taker) = self.takers.get_mut(&link)
            && let Some(place) = taker.asked.iter().position(|&asked| asked == piece)
        {
            taker.asked.remove(place);
            self.spread.lower(piece.get());
        }
    }

    /// The peer asked for a block of the piece.
    pub(crate) fn requested(&mut self, link: LinkKey, piece: PieceIndex) {
        let Some(taker) = self.takers.get_mut(&link).filter(|taker| !taker.full) else { return };
        if taker.has.has(piece.get()) || taker.asked.contains(&piece) {
            return;
        }
        let known = taker.suggested.len();
        taker.suggested.retain(|&given| given != piece);
        if known == taker.suggested.len() {
            self.spread.raise(piece.get());
        }
        taker.asked.push_back(piece);
        if taker.asked.len() > ASKED_MAX
            && let Some(oldest) = taker.asked.pop_front()
        {
            self.spread.lower(oldest.get());
        }
    }

    /// Number of pieces that the peer has told us of, if it takes suggestions.
    pub(crate) fn pieces_of(&self, link: LinkKey) -> Option<u32> {
        let taker = self.takers.get(&link)?;
        Some(if taker.full { self.geometry.piece_count() } else { taker.has.count() })
    }

    pub(crate) fn holders(&self, piece: PieceIndex) -> u32 {
        self.holders.get(piece.as_usize()).copied().unwrap_or(0).into()
    }

    /// Takes the next suggestion to send. Drain after every call.
    pub(crate) fn poll(&mut self) -> Option<(LinkKey, PieceIndex)> {
        let fresh = self.spread.list(0);
        if fresh.is_empty() {
            return None;
        }
        let suggested = |&link: &LinkKey| {
            let taker = self.takers.get(&link).filter(|taker| !taker.full)?;
            Some((taker.suggested.len(), link)).filter(|(count, _)| *count < SUGGESTIONS_MAX)
        };
        let (_, link) = self.served.iter().filter_map(suggested).min()?;
        let taker = self.takers.get_mut(&link)?;
        let piece = fresh[self.rng.random_range(0..fresh.len())];
        let piece = self.geometry.index(u64::from(piece))?;
        taker.suggested.push_back(piece);
        self.spread.raise(piece.get());
        Some((link, piece))
    }

    /// Checks everything that must hold; for tests.
    ///
    /// # Panics
    /// If something does not hold.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn check_invariants(&self) {
        self.spread.check();
        let mut levels = vec![0; self.geometry.piece_count() as usize];
        for (link, taker) in &self.takers {
            assert!(taker.suggested.len() <= SUGGESTIONS_MAX && taker.asked.len() <= ASKED_MAX);
            let is_served = self.served.contains(link);
            assert!(is_served || taker.suggested.is_empty(), "a choked peer has suggestions");
            let given = taker.suggested.iter().chain(&taker.asked).map(|piece| piece.get());
            taker.has.iter().chain(given).for_each(|piece| levels[piece as usize] += 1);
        }
        self.geometry.indexes().for_each(|piece| {
            assert_eq!(self.spread.level(piece.get()), levels[piece.as_usize()], "{piece}")
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn super_seeder(pieces: u64, takers: u64) -> SuperSeeder {
        let mut super_seeder =
            SuperSeeder::new(Geometry::new(pieces * (16 << 10), 16 << 10).unwrap(), 7);
        for link in (0..takers).map(LinkKey) {
            super_seeder.join(link);
            super_seeder.unchoked(link);
        }
        super_seeder
    }

    /// Each leecher is offered other pieces, and once all are out, nothing is suggested any more.
    #[test]
    fn no_piece_is_given_twice() {
        let mut super_seeder = super_seeder(100, 8);
        let mut given = std::collections::BTreeSet::new();
        while let Some((link, piece)) = super_seeder.poll() {
            assert!(given.insert(piece), "{piece} was given twice");
            if given.len() % 3 == 0 {
                super_seeder.requested(link, piece);
                super_seeder.peer_have(link, piece);
            }
            super_seeder.check_invariants();
            if given.len() < 100
                && super_seeder
                    .takers
                    .values()
                    .all(|taker| taker.suggested.len() == SUGGESTIONS_MAX)
            {
                let (&link, taker) = super_seeder.takers.iter().next().unwrap();
                let piece = taker.suggested[0];
                super_seeder.requested(link, piece);
            }
        }
    }

    #[test]
    fn what_a_lost_leecher_had_is_given_again() {
        let mut super_seeder = super_seeder(4, 1);
        let all: Vec<_> = std::iter::from_fn(|| super_seeder.poll()).collect();
        assert_eq!(all.len(), 4);
        all.iter().for_each(|&(link, piece)| super_seeder.requested(link, piece));
        super_seeder.peer_have(LinkKey(0), all[0].1);
        assert_eq!(super_seeder.poll(), None);
        super_seeder.withdrawn(LinkKey(0), all[1].1);
        super_seeder.withdrawn(LinkKey(0), all[1].1);
        assert_eq!(super_seeder.poll(), Some(all[1]));
        super_seeder.choked(LinkKey(0));
        super_seeder.leave(LinkKey(0));
        super_seeder.check_invariants();
        super_seeder.join(LinkKey(1));
        assert_eq!(super_seeder.poll(), None, "a choked peer is suggested nothing");
        super_seeder.unchoked(LinkKey(1));
        assert_eq!(std::iter::from_fn(|| super_seeder.poll()).count(), 4);
        super_seeder.peer_has_all(LinkKey(1));
        super_seeder.check_invariants();
        assert_eq!(super_seeder.poll(), None, "a seeder is suggested nothing");
    }
}
