//! Checking a piece: by the chain of the whole file, or by its hash in the info dictionary.
//!
//! **Invariant:** where the chain is known, a piece is good only if it passes it.
//!
//! Pure. Called by the pool's workers and the download's thread.

use std::sync::Arc;

use sha1::{Digest, Sha1};

use super::chain::Chain;
use crate::types::{PieceIndex, Sha1Digest};
use crate::wire::metainfo::Metainfo;

/// What hashing a piece shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finding {
    /// It passed the chain.
    Proven,
    /// It has its hash in `pieces`; there was no chain.
    Listed,
    /// It is not what was asked for.
    Wrong,
    /// It is the piece of the info dictionary, and not of the file whose SHA-1 and chaining values
    /// the directory lists: no piece can be both.
    FalseFacts,
}

/// What the pieces of a download are checked by.
#[derive(Clone)]
pub(crate) struct Checker {
    /// The hashes of the pieces.
    pub(crate) metainfo: Option<Arc<Metainfo>>,
    /// The chain of the whole file, where it is known: then it decides.
    pub(crate) chain: Option<Arc<Chain>>,
}

impl Checker {
    /// Hashes a piece: once, unless it is not right.
    pub(crate) fn check(&self, piece: PieceIndex, bytes: &[u8]) -> Finding {
        let is_listed = || {
            self.metainfo.as_ref().is_some_and(|metainfo| {
                Sha1Digest::from_bytes(Sha1::digest(bytes).into()) == metainfo.piece_hash(piece)
            })
        };
        match &self.chain {
            Some(chain) if chain.proves(piece, bytes) => Finding::Proven,
            Some(_) if is_listed() => Finding::FalseFacts,
            None if is_listed() => Finding::Listed,
            _ => Finding::Wrong,
        }
    }

    /// Tells whether bytes are the piece.
    pub(crate) fn is_good(&self, piece: PieceIndex, bytes: &[u8]) -> bool {
        matches!(self.check(piece, bytes), Finding::Proven | Finding::Listed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::pick::chain::ChainHasher;
    use crate::types::Geometry;

    #[test]
    fn a_piece_counts_as_proven_only_if_the_chain_has_checked_it() {
        let data: Vec<u8> = (0..40_000u32).map(|at| (at % 251) as u8).collect();
        let geometry = Geometry::new(data.len() as u64, 16 << 10).unwrap();
        let piece = |at: PieceIndex| {
            let start = geometry.offset(at) as usize;
            &data[start..start + geometry.len_of(at) as usize]
        };
        let hash = |at| Sha1Digest::from_bytes(Sha1::digest(piece(at)).into());
        let hashes = geometry.indexes().map(hash).collect();
        let metainfo = Metainfo::new("a".parse().unwrap(), geometry, hashes).unwrap();
        let mut hasher = ChainHasher::new(geometry.piece_len());
        hasher.update(&data);
        let (sha1, values) = hasher.finish();
        let chain = |sha1| Chain::new(geometry, Arc::new(values.clone()), sha1).map(Arc::new);
        let metainfo = Some(Arc::new(metainfo));
        let without = Checker { metainfo: metainfo.clone(), chain: None };
        let with = Checker { metainfo: metainfo.clone(), chain: chain(sha1) };
        let last = geometry.index(2).unwrap();
        for at in geometry.indexes() {
            assert_eq!(without.check(at, piece(at)), Finding::Listed);
            assert_eq!(with.check(at, piece(at)), Finding::Proven);
            assert_eq!(with.check(at, &piece(at)[1..]), Finding::Wrong);
        }
        let false_sha1 = Sha1Digest::from_bytes([1; 20]);
        let of_false_facts = Checker { metainfo, chain: chain(false_sha1) };
        assert_eq!(of_false_facts.check(last, piece(last)), Finding::FalseFacts);
    }
}
