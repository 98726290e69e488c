//! How a file is cut into pieces, and pieces into spans of bytes; the one place where indexes and
//! lengths are multiplied.
//!
//! **Invariant:** a [`PieceIndex`] was made by the [`Geometry`] it is used with, and so is below
//! its piece count. All arithmetic is 64-bit and checked.

use std::fmt;

use super::limits::{PIECE_COUNT_MAX, PIECE_LEN, PIECE_LEN_MAX};

/// Says why a length and a piece length make no file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GeometryError {
    /// The piece length is zero, no power of two, or beyond the limit.
    #[error("a piece length of {0} bytes is not a power of two from 16 KiB to 64 MiB")]
    PieceLen(u32),
    /// More pieces than the limit, or a file larger than any piece length can cut.
    #[error("a file of {len} bytes does not fit into {PIECE_COUNT_MAX} pieces")]
    TooLarge {
        /// The file's length in bytes.
        len: u64,
    },
}

/// The 0-based index of a piece; only [`Geometry::index`] and [`Geometry::indexes`] make one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PieceIndex(u32);

impl PieceIndex {
    /// Returns the index as it goes over the wire.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Returns the index for use with a slice.
    pub const fn as_usize(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for PieceIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for PieceIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// A run of bytes inside one piece, checked against the geometry: what one request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The piece.
    pub piece: PieceIndex,
    /// First byte, counted from the start of the piece.
    pub begin: u32,
    /// Length in bytes, at least 1.
    pub len: u32,
}

/// The length of a file and of its pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    len: u64,
    piece_len: u32,
}

impl Geometry {
    /// Takes a file's length and piece length from a metainfo or a store.
    ///
    /// # Errors
    /// A piece length that is no power of two within the limits, and a file of more than 2^21
    /// pieces, are refused.
    pub fn new(len: u64, piece_len: u32) -> Result<Self, GeometryError> {
        if !piece_len.is_power_of_two() || !((16 << 10)..=PIECE_LEN_MAX).contains(&piece_len) {
            return Err(GeometryError::PieceLen(piece_len));
        }
        if len.div_ceil(u64::from(piece_len)) > PIECE_COUNT_MAX {
            return Err(GeometryError::TooLarge { len });
        }
        Ok(Self { len, piece_len })
    }

    /// Chooses the piece length for a file to be shared: 512 KiB, doubled until 2^21 pieces are
    /// enough.
    ///
    /// # Errors
    /// A file beyond 2^21 pieces of 64 MiB is refused.
    pub fn for_file(len: u64) -> Result<Self, GeometryError> {
        let mut piece_len = PIECE_LEN;
        while len.div_ceil(u64::from(piece_len)) > PIECE_COUNT_MAX && piece_len < PIECE_LEN_MAX {
            piece_len *= 2;
        }
        Self::new(len, piece_len)
    }

    /// Length of the file in bytes.
    #[allow(clippy::len_without_is_empty)]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Length in bytes of every piece but the last.
    pub const fn piece_len(&self) -> u32 {
        self.piece_len
    }

    /// Number of pieces; 0 for an empty file.
    pub const fn piece_count(&self) -> u32 {
        self.len.div_ceil(self.piece_len as u64) as u32
    }

    /// Makes an index out of a number from outside; `None` if there is no such piece.
    pub fn index(&self, number: u64) -> Option<PieceIndex> {
        (number < u64::from(self.piece_count())).then_some(PieceIndex(number as u32))
    }

    /// All indexes, in order.
    pub fn indexes(
        &self,
    ) -> impl ExactSizeIterator<Item = PieceIndex> + DoubleEndedIterator + Clone + use<> {
        (0..self.piece_count()).map(PieceIndex)
    }

    /// Offset in the file of the piece's first byte.
    pub const fn offset(&self, piece: PieceIndex) -> u64 {
        piece.0 as u64 * self.piece_len as u64
    }

    /// Length of the piece in bytes: the last one may be shorter.
    pub fn len_of(&self, piece: PieceIndex) -> u32 {
        let rest = self.len.saturating_sub(self.offset(piece));
        rest.min(u64::from(self.piece_len)) as u32
    }

    /// Makes a span out of numbers from outside; `None` if it is empty or not wholly inside an
    /// existing piece.
    pub fn span(&self, number: u32, begin: u32, len: u32) -> Option<Span> {
        let piece = self.index(u64::from(number))?;
        let end = begin.checked_add(len)?;
        (len > 0 && end <= self.len_of(piece)).then_some(Span { piece, begin, len })
    }

    /// Cuts a piece into spans of at most `block_len` bytes, in order.
    ///
    /// # Panics
    /// If `block_len` is zero.
    pub fn blocks(
        &self,
        piece: PieceIndex,
        block_len: u32,
    ) -> impl ExactSizeIterator<Item = Span> + Clone + use<> {
        assert!(block_len > 0, "a block has at least one byte");
        let total = self.len_of(piece);
        (0..total.div_ceil(block_len)).map(move |i| {
            let begin = i * block_len;
            Span { piece, begin, len: block_len.min(total - begin) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_at_the_edges() {
        let shape = |len| Geometry::for_file(len).map(|g| (g.piece_len(), g.piece_count()));
        let kib512 = 512 << 10;
        assert_eq!(shape(0), Ok((kib512, 0)));
        assert_eq!(shape(1), Ok((kib512, 1)));
        assert_eq!(shape(u64::from(kib512)), Ok((kib512, 1)));
        assert_eq!(shape(u64::from(kib512) + 1), Ok((kib512, 2)));
        assert_eq!(shape(64 << 30), Ok((kib512, 131_072)));
        assert_eq!(shape(1 << 40), Ok((kib512, 1 << 21)));
        assert_eq!(shape((1 << 40) + 1), Ok((1 << 20, (1 << 20) + 1)));
        assert!(shape(u64::MAX).is_err());
    }

    #[test]
    fn hostile_numbers_make_no_span() {
        let g = Geometry::new(1_000_000, PIECE_LEN).unwrap();
        assert_eq!(g.piece_count(), 2);
        assert!(g.span(1, 0, 475_712).is_some());
        assert!(g.span(1, 0, 475_713).is_none());
        assert!(g.span(2, 0, 1).is_none());
        assert!(g.span(0, u32::MAX, u32::MAX).is_none());
        assert!(g.span(0, 0, 0).is_none());
        assert!(Geometry::new(u64::MAX, PIECE_LEN_MAX).is_err());
        assert!(Geometry::new(1, 3 << 14).is_err());
        assert!(Geometry::new(1, 0).is_err());
    }

    #[test]
    fn blocks_cover_a_piece() {
        let g = Geometry::new(600_000, PIECE_LEN).unwrap();
        let last = g.index(1).unwrap();
        let blocks: Vec<Span> = g.blocks(last, 16 << 10).collect();
        assert_eq!(blocks.iter().map(|b| u64::from(b.len)).sum::<u64>(), 600_000 - 524_288);
        assert!(blocks.windows(2).all(|w| w[0].begin + w[0].len == w[1].begin));
    }
}
