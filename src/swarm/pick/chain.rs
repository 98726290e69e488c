//! Proving a file's SHA-1 piece by piece, in any order.
//!
//! SHA-1 is a chain: its state behind piece *i* is a function of the state behind piece *i-1* and
//! of piece *i*. [`Chain`] knows the state at every boundary (the chaining values), begins piece
//! *i* with value *i-1* and compares with value *i*; behind the last piece, padded, stands the
//! SHA-1 of the whole file.
//!
//! **Invariant:** if every piece of a file passes [`Chain::proves`], the file has that SHA-1: by
//! induction the state behind each piece is the one that hashing the file from its start would
//! reach.
//!
//! Pure. Called by the pool's workers and the download's thread.

use std::sync::Arc;

use sha1::block_api::compress;

use crate::types::{ChainingValues, Geometry, PieceIndex, Sha1Digest};

/// Bytes in a block of SHA-1. Every piece but the last is a whole number of these.
const BLOCK_LEN: usize = 64;
/// Bytes of the message's length at the end of the padding.
const LENGTH_LEN: usize = 8;

/// SHA-1 between two blocks: the state of FIPS 180-4, section 6.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sha1State([u32; 5]);

impl Sha1State {
    /// The initial hash value of FIPS 180-4, section 5.3.1.
    const START: Self = Self([0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0]);

    fn from_value(value: &[u8; ChainingValues::VALUE_LEN]) -> Self {
        let (words, _) = value.as_chunks::<4>();
        Self(std::array::from_fn(|word| u32::from_be_bytes(words[word])))
    }

    fn value(&self) -> [u8; ChainingValues::VALUE_LEN] {
        let mut value = [0; ChainingValues::VALUE_LEN];
        for (bytes, word) in value.chunks_exact_mut(4).zip(self.0) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        value
    }

    fn take<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (blocks, rest) = bytes.as_chunks::<BLOCK_LEN>();
        compress(&mut self.0, blocks);
        rest
    }

    /// Ends a message of `len` bytes, of which `rest`, less than a block, was not taken.
    fn finish(mut self, rest: &[u8], len: u64) -> Sha1Digest {
        let mut padded = [0; 2 * BLOCK_LEN];
        padded[..rest.len()].copy_from_slice(rest);
        padded[rest.len()] = 0x80;
        let end = (rest.len() + 1 + LENGTH_LEN).next_multiple_of(BLOCK_LEN);
        padded[end - LENGTH_LEN..end].copy_from_slice(&(8 * len).to_be_bytes());
        self.take(&padded[..end]);
        Sha1Digest::from_bytes(self.value())
    }
}

/// What proves the pieces of a file.
#[derive(Debug, Clone)]
pub(crate) struct Chain {
    geometry: Geometry,
    values: Arc<ChainingValues>,
    sha1: Sha1Digest,
}

impl Chain {
    /// Makes the chain of a file with that SHA-1; `None` if it has another number of values, or has
    /// no piece.
    pub(crate) fn new(
        geometry: Geometry,
        values: Arc<ChainingValues>,
        sha1: Sha1Digest,
    ) -> Option<Self> {
        let count = geometry.piece_count();
        let fits = count > 0 && values.values().len() == ChainingValues::count(count);
        fits.then_some(Self { geometry, values, sha1 })
    }

    pub(crate) fn values(&self) -> &Arc<ChainingValues> {
        &self.values
    }

    /// Tells whether `bytes` are the piece, as the chain has it.
    pub(crate) fn proves(&self, piece: PieceIndex, bytes: &[u8]) -> bool {
        if bytes.len() != self.geometry.len_of(piece) as usize {
            return false;
        }
        let (values, index) = (self.values.values(), piece.get() as usize);
        let before = index.checked_sub(1).and_then(|before| values.get(before));
        let mut state = before.map_or(Sha1State::START, Sha1State::from_value);
        let rest = state.take(bytes);
        match values.get(index) {
            Some(value) => state.value() == *value,
            None => state.finish(rest, self.geometry.len()) == self.sha1,
        }
    }
}

/// The SHA-1 of a file that is read from its start to its end, and its chaining values.
pub(crate) struct ChainHasher {
    state: Sha1State,
    piece_len: u64,
    len: u64,
    /// What was left of the last bytes: less than a block.
    rest: Vec<u8>,
    values: Vec<[u8; ChainingValues::VALUE_LEN]>,
}

impl ChainHasher {
    pub(crate) fn new(piece_len: u32) -> Self {
        debug_assert!((piece_len as usize).is_multiple_of(BLOCK_LEN));
        let piece_len = piece_len.into();
        Self { state: Sha1State::START, piece_len, len: 0, rest: Vec::new(), values: Vec::new() }
    }

    /// Takes the next bytes: a multiple of 64, except at the file's end.
    ///
    /// # Panics
    /// If bytes follow that were not a multiple.
    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            assert!(self.rest.is_empty(), "bytes follow the end of the file");
            let into_piece = self.len % self.piece_len;
            if into_piece == 0 && self.len > 0 {
                self.values.push(self.state.value());
            }
            let left = (self.piece_len - into_piece).min(bytes.len() as u64) as usize;
            let (now, later) = bytes.split_at(left);
            self.rest.extend_from_slice(self.state.take(now));
            self.len += left as u64;
            bytes = later;
        }
    }

    pub(crate) fn finish(self) -> (Sha1Digest, ChainingValues) {
        let sha1 = self.state.finish(&self.rest, self.len);
        (sha1, ChainingValues::new(self.values))
    }
}

#[cfg(test)]
mod tests;
