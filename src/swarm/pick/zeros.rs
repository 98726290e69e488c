//! Pieces of zeros: they are not written where the `.part` has a hole.
//!
//! Pure.

use std::collections::BTreeMap;

use sha1::{Digest, Sha1};

use crate::types::{Bitfield, PieceIndex, Sha1Digest};
use crate::wire::metainfo::Metainfo;

/// The hashes of pieces of zeros, by their length: a file has two, as its last piece may be short.
#[derive(Default)]
pub(crate) struct ZeroHashes(BTreeMap<u32, Sha1Digest>);

impl ZeroHashes {
    pub(crate) fn is_zeros(&mut self, metainfo: &Metainfo, piece: PieceIndex) -> bool {
        let len = metainfo.geometry().len_of(piece);
        let hash = || Sha1Digest::from_bytes(Sha1::digest(vec![0; len as usize]).into());
        *self.0.entry(len).or_insert_with(hash) == metainfo.piece_hash(piece)
    }
}

pub(crate) fn bytes_to_write(metainfo: &Metainfo, verified: &Bitfield) -> u64 {
    let (geometry, mut zeros) = (metainfo.geometry(), ZeroHashes::default());
    let missing = geometry
        .indexes()
        .filter(|piece| !verified.has(*piece) && !zeros.is_zeros(metainfo, *piece));
    missing.map(|piece| u64::from(geometry.len_of(piece))).sum()
}
