//! The SHA-1 chaining values of a file at its piece boundaries.
//!
//! SHA-1 is a chain: its state after a piece follows from its state before the piece and from the
//! piece. Who knows the state at every boundary can hash the pieces in any order.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::id::opaque_id;

opaque_id!(
    /// Hash of a file's [`ChainingValues`]: the first 20 bytes of the SHA-256 over them, one after
    /// the other.
    ChainHash,
    20
);

/// The chaining values of a file, one for each boundary between two of its pieces, in order. The
/// value behind the last piece is not among them: padded, it is the SHA-1 of the whole file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainingValues {
    values: Vec<[u8; Self::VALUE_LEN]>,
    hash: ChainHash,
}

impl ChainingValues {
    /// Bytes in one value: the five words of SHA-1's state, big-endian.
    pub const VALUE_LEN: usize = 20;

    /// Makes the list, and computes its hash.
    pub fn new(values: Vec<[u8; Self::VALUE_LEN]>) -> Self {
        let mut hash = [0; ChainHash::LEN];
        hash.copy_from_slice(&Sha256::digest(values.as_flattened())[..ChainHash::LEN]);
        Self { values, hash: ChainHash::from_bytes(hash) }
    }

    /// Makes the list out of its bytes; `None` if they are not a whole number of values.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (values, rest) = bytes.as_chunks::<{ Self::VALUE_LEN }>();
        rest.is_empty().then(|| Self::new(values.to_vec()))
    }

    /// Returns the values.
    pub fn values(&self) -> &[[u8; Self::VALUE_LEN]] {
        &self.values
    }

    /// Returns the bytes of the whole list.
    pub fn as_bytes(&self) -> &[u8] {
        self.values.as_flattened()
    }

    /// Returns the hash that names the list.
    pub fn hash(&self) -> ChainHash {
        self.hash
    }

    /// Number of values of a file with so many pieces.
    pub fn count(piece_count: u32) -> usize {
        piece_count.saturating_sub(1) as usize
    }
}
