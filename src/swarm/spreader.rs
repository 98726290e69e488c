//! What a seeder proposes to whom.

use super::LinkKey;
use crate::types::{Bitfield, Geometry, PieceIndex};

/// Proposes different pieces to different leechers (BEP 6 suggest), so that a seeder sends each once before any twice.
#[derive(Debug)]
pub struct Spreader {}

#[allow(unused_variables, clippy::needless_pass_by_ref_mut)]
impl Spreader {
    /// Makes a spreader for a file we have whole.
    pub fn new(geometry: Geometry, seed: u64) -> Self {
        Self {}
    }
    /// Takes in a link that speaks BEP 6; the peer has nothing and is choked until told otherwise.
    pub fn join(&mut self, link: LinkKey) {}
    /// Drops a link; an unknown one is ignored.
    pub fn leave(&mut self, link: LinkKey) {}
    /// The peer has every piece.
    pub fn peer_has_all(&mut self, link: LinkKey) {}
    /// The peer has these pieces.
    pub fn peer_bitfield(&mut self, link: LinkKey, field: &Bitfield) {}
    /// The peer has one piece more.
    pub fn peer_have(&mut self, link: LinkKey, piece: PieceIndex) {}
    /// We serve the peer.
    pub fn unchoked(&mut self, link: LinkKey) {}
    /// We stopped serving the peer.
    pub fn choked(&mut self, link: LinkKey) {}
    /// The peer asked for a block of the piece.
    pub fn requested(&mut self, link: LinkKey, piece: PieceIndex) {}
    /// Takes the next suggestion to send.
    pub fn poll(&mut self) -> Option<(LinkKey, PieceIndex)> {
        None
    }
    /// Checks everything that must hold; for tests.
    pub fn check_invariants(&self) {}
}
