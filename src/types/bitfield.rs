//! One bit a piece, most significant bit first, as BEP 3 sends it.
//!
//! **Invariant:** the bytes are `count` rounded up to whole bytes, the spare bits are zero, and
//! `ones` counts the set bits.

use super::PieceIndex;

/// Says why bytes are not the bitfield of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BitfieldError {
    /// Too few or too many bytes.
    #[error("a bitfield of {got} bytes was sent where {want} are needed")]
    Len {
        /// Bytes sent.
        got: usize,
        /// Bytes needed.
        want: usize,
    },
    /// A bit beyond the last piece is set.
    #[error("a bitfield has bits set beyond the last piece")]
    SpareBits,
}

/// The set of pieces somebody has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bitfield {
    bytes: Vec<u8>,
    count: u32,
    ones: u32,
}

impl Bitfield {
    /// Makes the empty set for `count` pieces.
    pub fn empty(count: u32) -> Self {
        Self { bytes: vec![0; count.div_ceil(8) as usize], count, ones: 0 }
    }

    /// Makes the full set for `count` pieces.
    pub fn full(count: u32) -> Self {
        let mut bytes = vec![0xff; count.div_ceil(8) as usize];
        if let (Some(last), spare @ 1..) = (bytes.last_mut(), bytes_spare(count)) {
            *last <<= spare;
        }
        Self { bytes, count, ones: count }
    }

    /// Takes bytes from a peer or a store.
    ///
    /// # Errors
    /// A wrong number of bytes or a set spare bit is refused (BEP 3: such a connection is dropped).
    pub fn from_bytes(bytes: Vec<u8>, count: u32) -> Result<Self, BitfieldError> {
        let want = count.div_ceil(8) as usize;
        if bytes.len() != want {
            return Err(BitfieldError::Len { got: bytes.len(), want });
        }
        if bytes.last().is_some_and(|last| last & ((1u16 << bytes_spare(count)) - 1) as u8 != 0) {
            return Err(BitfieldError::SpareBits);
        }
        let ones = bytes.iter().map(|b| b.count_ones()).sum();
        Ok(Self { bytes, count, ones })
    }

    /// The bytes as BEP 3 sends them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Number of pieces in the file.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Number of pieces in the set.
    pub fn ones(&self) -> u32 {
        self.ones
    }

    /// Tells whether every piece is in the set; true for a file without pieces.
    pub fn is_full(&self) -> bool {
        self.ones == self.count
    }

    /// Tells whether no piece is in the set.
    pub fn is_empty(&self) -> bool {
        self.ones == 0
    }

    /// Tells whether the piece is in the set.
    pub fn has(&self, piece: PieceIndex) -> bool {
        self.bytes.get(piece.as_usize() / 8).is_some_and(|byte| byte & mask(piece) != 0)
    }

    /// Adds a piece; false if it was there already.
    ///
    /// # Panics
    /// If the piece belongs to a longer file.
    pub fn insert(&mut self, piece: PieceIndex) -> bool {
        assert!(piece.get() < self.count, "piece {piece} of {} is beyond the file", self.count);
        let byte = &mut self.bytes[piece.as_usize() / 8];
        let new = *byte & mask(piece) == 0;
        *byte |= mask(piece);
        self.ones += u32::from(new);
        new
    }

    /// Removes a piece; false if it was not there.
    pub fn remove(&mut self, piece: PieceIndex) -> bool {
        if !self.has(piece) {
            return false;
        }
        self.bytes[piece.as_usize() / 8] &= !mask(piece);
        self.ones -= 1;
        true
    }

    /// Removes the pieces that are not in the other set, of the same file.
    pub fn retain(&mut self, other: &Self) {
        self.bytes.iter_mut().zip(&other.bytes).for_each(|(byte, kept)| *byte &= kept);
        self.ones = self.bytes.iter().map(|byte| byte.count_ones()).sum();
    }

    /// The numbers of the pieces in the set, in order.
    pub fn iter_ones(&self) -> impl Iterator<Item = u32> + '_ {
        self.bytes.iter().enumerate().filter(|(_, byte)| **byte != 0).flat_map(|(i, &byte)| {
            (0..8u32)
                .filter(move |bit| byte & (0x80 >> bit) != 0)
                .map(move |bit| i as u32 * 8 + bit)
        })
    }
}

fn mask(piece: PieceIndex) -> u8 {
    0x80 >> (piece.get() % 8)
}

/// Bits of the last byte that stand for no piece.
fn bytes_spare(count: u32) -> u32 {
    (8 - count % 8) % 8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Geometry;

    #[test]
    fn lengths_are_rounded_up_and_spare_bits_refused() {
        assert_eq!(Bitfield::full(9).as_bytes(), [0xff, 0x80]);
        assert_eq!(Bitfield::full(8).as_bytes(), [0xff]);
        assert_eq!(Bitfield::full(0).as_bytes(), [0u8; 0]);
        assert_eq!(
            Bitfield::from_bytes(vec![0xff], 9),
            Err(BitfieldError::Len { got: 1, want: 2 })
        );
        assert_eq!(Bitfield::from_bytes(vec![0xff, 0x81], 9), Err(BitfieldError::SpareBits));
        assert_eq!(Bitfield::from_bytes(vec![0xff, 0x80], 9).unwrap(), Bitfield::full(9));
    }

    #[test]
    fn set_and_clear_keep_the_count() {
        let g = Geometry::new(20 * (16 << 10), 16 << 10).unwrap();
        let mut field = Bitfield::empty(g.piece_count());
        let piece = g.index(10).unwrap();
        assert!(field.insert(piece) && !field.insert(piece) && field.has(piece));
        assert_eq!(field.iter_ones().collect::<Vec<_>>(), [10]);
        assert!(field.remove(piece) && !field.remove(piece));
        assert_eq!(field.ones(), 0);
        g.indexes().for_each(|p| assert!(field.insert(p)));
        assert!(field.is_full());
        assert_eq!(field, Bitfield::full(20));
    }
}
