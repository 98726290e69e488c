//! What one peer has, next to what we miss.
//!
//! **Invariant:** `wanted` counts the pieces the peer has and we miss, `lacking` those it has and
//! we have not verified, and a summary bit is set exactly where a word of `has` and the word of
//! `missing` share a bit.

use super::set::{PieceSet, Summary, bits};

/// The pieces of one peer.
#[derive(Debug)]
pub(super) enum Peer {
    /// It has every piece: nothing to keep, and nothing to do when a piece changes.
    All,
    /// It has some.
    Some(Partial),
}

/// The pieces of a peer that has not all.
#[derive(Debug)]
pub(super) struct Partial {
    has: Vec<u64>,
    summary: Summary,
    pub(super) count: u32,
    pub(super) wanted: u32,
    pub(super) lacking: u32,
}

impl Partial {
    /// Makes the peer that has nothing; room is made at its first piece, since most new links tell
    /// that they have all.
    pub(super) fn empty() -> Self {
        Self { has: Vec::new(), summary: Summary::empty(0), count: 0, wanted: 0, lacking: 0 }
    }

    pub(super) fn has(&self, piece: u32) -> bool {
        self.has.get(piece as usize / 64).is_some_and(|word| word & (1 << (piece % 64)) != 0)
    }

    /// Notes a piece the peer did not have before.
    pub(super) fn gain(&mut self, piece: u32, missing: &PieceSet, verified: bool) {
        debug_assert!(!self.has(piece), "piece {piece} was known");
        if self.has.is_empty() {
            self.has = vec![0; missing.words()];
            self.summary = Summary::empty(missing.words());
        }
        self.has[piece as usize / 64] |= 1 << (piece % 64);
        self.count += 1;
        self.lacking += u32::from(!verified);
        if missing.has(piece) {
            self.wanted += 1;
            self.summary.set(piece as usize / 64, true);
        }
    }

    /// Notes that a piece which the peer has came to be missing, or no longer is.
    pub(super) fn missing_changed(&mut self, piece: u32, missing: &PieceSet) {
        if !self.has(piece) {
            return;
        }
        match missing.has(piece) {
            true => self.wanted += 1,
            false => self.wanted -= 1,
        }
        let index = piece as usize / 64;
        self.summary.set(index, self.has[index] & missing.word(index) != 0);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.has.iter().enumerate().flat_map(|(index, &word)| bits(index, word))
    }

    /// The pieces the peer has and we miss, from about `start` on and around.
    pub(super) fn wanted_from<'a>(
        &'a self,
        start: u32,
        missing: &'a PieceSet,
    ) -> impl Iterator<Item = u32> + 'a {
        let words = self.summary.words_from(start as usize / 64);
        words.flat_map(|index| bits(index, self.has[index] & missing.word(index)))
    }

    /// Checks the invariant; for tests.
    #[cfg(any(test, fuzzing))]
    pub(super) fn check(&self, missing: &PieceSet, verified: impl Fn(u32) -> bool) {
        assert_eq!(self.iter().count() as u32, self.count, "pieces of a peer");
        assert_eq!(
            self.iter().filter(|&piece| missing.has(piece)).count() as u32,
            self.wanted,
            "wanted pieces of a peer"
        );
        assert_eq!(
            self.iter().filter(|&piece| !verified(piece)).count() as u32,
            self.lacking,
            "pieces a peer has beyond ours"
        );
        for (index, &word) in self.has.iter().enumerate() {
            assert_eq!(
                self.summary.is_set(index),
                word & missing.word(index) != 0,
                "summary of word {index}"
            );
        }
    }
}
