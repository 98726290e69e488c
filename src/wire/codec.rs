//! The building blocks of the tracker protocol's encoding: integers, strings, lists, options and
//! tagged messages.
//!
//! | shape | bytes |
//! |---|---|
//! | `u8` `u16` `u32` `u64` | big-endian |
//! | `bool` | one byte, 0 or 1 |
//! | id, digest | its bytes, no length |
//! | text, name | `u16` length, UTF-8 |
//! | list | `u32` count, items |
//! | option | one byte 0, or 1 and the value |
//! | block | `u32` length of all that follows, content |
//! | structure (`wire_struct!`) | a block: the fields in order |
//! | message (`wire_enum!`) | one byte tag, a block: the fields in order |
//! | leaf (`wire_leaf!`, `wire_leaf_enum!`) | the same without the block |
//!
//! A later version adds fields at the end of a block, and a reader skips what it does not know
//! there. A leaf never changes: parts of keys ([`Version`](crate::types::Version),
//! [`Place`](crate::types::Place), [`RequestStamp`](crate::types::RequestStamp)), what a signature
//! covers ([`SessionToken`](crate::types::SessionToken), [`Ticket`](crate::types::Ticket)),
//! [`Effect`](crate::types::Effect), and enums without fields.
//!
//! **Invariant:** a count or length is checked against its limit and against the bytes that are
//! left before anything is allocated, and nothing is read beyond the end of a block.

mod macros;
mod values;

use byteorder::{BigEndian, ByteOrder};

use super::VersionRange;
pub(crate) use macros::{
    list_items, wire_enum, wire_fields, wire_leaf, wire_leaf_enum, wire_struct,
};
pub use values::{PEERS_PER_FRAME_MAX, SETTING_NAME_LEN_MAX, SHARERS_SHOWN_MAX};

/// Says why bytes are not a message. Whoever sent them is not to be talked to any further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The message ends before its last field.
    #[error("message cut short: {want} more bytes were expected")]
    Truncated {
        /// Bytes missing at that point.
        want: usize,
    },
    /// The message goes on after its last field.
    #[error("{0} bytes too many at the end of a message")]
    Trailing(usize),
    /// A tag that this version does not know.
    #[error("unknown {what} {tag}")]
    UnknownTag {
        /// The kind of message.
        what: &'static str,
        /// The tag.
        tag: u64,
    },
    /// A count or length beyond its limit.
    #[error("{what} of {len} is beyond the limit of {max}")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// As sent.
        len: u64,
        /// The limit.
        max: u64,
    },
    /// The other end speaks only this version, which is older than ranges of versions.
    #[error("the other end speaks version {0} of the protocol alone; update it")]
    OldVersion(u16),
    /// The other end speaks no version that this program speaks.
    #[error("the other end speaks versions {0} of the protocol, this program {ours}", ours = VersionRange::OURS)]
    NoCommonVersion(VersionRange),
    /// A value that its type does not allow.
    #[error("bad {what}: {why}")]
    BadValue {
        /// Which value.
        what: &'static str,
        /// Why not.
        why: String,
    },
}

impl WireError {
    /// Wraps the error of a validating constructor.
    pub fn bad(what: &'static str, why: impl ToString) -> Self {
        Self::BadValue { what, why: why.to_string() }
    }
}

/// Reads values off the front of a message body.
#[derive(Debug)]
pub struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    /// Starts at the first byte of `body`.
    pub fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    /// Number of bytes not yet read.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Takes the next `len` bytes.
    ///
    /// # Errors
    /// [`WireError::Truncated`] if fewer are left.
    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        match self.rest.split_at_checked(len) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(WireError::Truncated { want: len - self.rest.len() }),
        }
    }

    /// Takes exactly `N` bytes.
    ///
    /// # Errors
    /// [`WireError::Truncated`] if fewer are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N)?);
        Ok(array)
    }

    /// Takes a block: its length, and a decoder for its content.
    ///
    /// # Errors
    /// [`WireError::Truncated`] if the content is not all there.
    pub fn block(&mut self) -> Result<Self, WireError> {
        let len = u32::decode(self)? as usize;
        self.bytes(len).map(Self::new)
    }

    /// Takes a block of at most `max` bytes, without its length.
    ///
    /// # Errors
    /// [`WireError::TooLong`] beyond `max`, [`WireError::Truncated`] if the content is not all
    /// there.
    pub fn block_within(&mut self, what: &'static str, max: usize) -> Result<Self, WireError> {
        let len = u32::decode(self)? as usize;
        if len > max {
            return Err(WireError::TooLong { what, len: len as u64, max: max as u64 });
        }
        self.bytes(len).map(Self::new)
    }

    /// Takes all bytes that are left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// Takes the count of a list of items of at least `item_len_min` bytes.
    ///
    /// # Errors
    /// [`WireError::TooLong`] beyond `max`, [`WireError::Truncated`] if the bytes left cannot hold
    /// that many.
    pub fn count(
        &mut self,
        what: &'static str,
        max: usize,
        item_len_min: usize,
    ) -> Result<usize, WireError> {
        let count = u32::decode(self)? as usize;
        if count > max {
            return Err(WireError::TooLong { what, len: count as u64, max: max as u64 });
        }
        match count.saturating_mul(item_len_min.max(1)).checked_sub(self.remaining()) {
            Some(want @ 1..) => Err(WireError::Truncated { want }),
            _ => Ok(count),
        }
    }

    /// Ends the message.
    ///
    /// # Errors
    /// [`WireError::Trailing`] if bytes are left.
    pub fn finish(self) -> Result<(), WireError> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(WireError::Trailing(left)),
        }
    }
}

/// Bytes that are set aside for an encoding: most rows and messages need no more.
const ROOM: usize = 256;

/// A value with one encoding.
pub trait Wire: Sized {
    /// The fewest bytes any value takes: bounds what a hostile count can allocate.
    const LEN_MIN: usize;

    /// Appends the encoding to `out`.
    fn encode(&self, out: &mut Vec<u8>);

    /// Reads one value.
    ///
    /// # Errors
    /// Every [`WireError`] but [`WireError::Trailing`].
    fn decode(from: &mut Decoder<'_>) -> Result<Self, WireError>;

    /// Encodes a whole message body.
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(ROOM);
        self.encode(&mut out);
        out
    }

    /// Decodes a whole message body.
    ///
    /// # Errors
    /// Every [`WireError`]; bytes behind the value are one.
    fn from_bytes(body: &[u8]) -> Result<Self, WireError> {
        let mut decoder = Decoder::new(body);
        let value = Self::decode(&mut decoder)?;
        decoder.finish()?;
        Ok(value)
    }
}

/// Implements [`Wire`] for an integer.
macro_rules! wire_integer {
    ($($type:ident $write:ident $read:ident)*) => {$(
        impl Wire for $type {
            const LEN_MIN: usize = size_of::<$type>();

            fn encode(&self, out: &mut Vec<u8>) {
                let mut bytes = [0; size_of::<$type>()];
                BigEndian::$write(&mut bytes, *self);
                out.extend_from_slice(&bytes);
            }

            fn decode(from: &mut Decoder<'_>) -> Result<Self, WireError> {
                Ok(BigEndian::$read(from.bytes(size_of::<$type>())?))
            }
        }
    )*};
}
wire_integer!(u16 write_u16 read_u16 u32 write_u32 read_u32 u64 write_u64 read_u64);

impl Wire for u8 {
    const LEN_MIN: usize = 1;

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, WireError> {
        Ok(from.bytes(1)?[0])
    }
}

impl Wire for bool {
    const LEN_MIN: usize = 1;

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, WireError> {
        match u8::decode(from)? {
            0 => Ok(false),
            1 => Ok(true),
            tag => Err(WireError::UnknownTag { what: "bool", tag: tag.into() }),
        }
    }
}

impl<T: Wire> Wire for Option<T> {
    const LEN_MIN: usize = 1;

    fn encode(&self, out: &mut Vec<u8>) {
        self.is_some().encode(out);
        if let Some(value) = self {
            value.encode(out);
        }
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, WireError> {
        if bool::decode(from)? { T::decode(from).map(Some) } else { Ok(None) }
    }
}

/// The fields of a structure, in order and without their length.
pub(crate) trait Fields: Sized {
    /// The fewest bytes that the fields take.
    const FIELDS_LEN_MIN: usize;

    /// Appends the fields to `out`.
    fn encode_fields(&self, out: &mut Vec<u8>);

    /// Reads the fields.
    ///
    /// # Errors
    /// Those of the fields.
    fn decode_fields(from: &mut Decoder<'_>) -> Result<Self, WireError>;
}

/// Decodes a field that came within a version: its default where an earlier program ends before it.
///
/// # Errors
/// As [`Wire::decode`].
pub fn decode_later<T: Wire + Default>(from: &mut Decoder<'_>) -> Result<T, WireError> {
    if from.remaining() == 0 { Ok(T::default()) } else { T::decode(from) }
}

/// Appends a block whose content `write` appends.
///
/// # Panics
/// If the content reaches 4 GiB.
pub fn encode_block(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out);
    let len = u32::try_from(out.len() - start - 4).expect("no structure of ours reaches 4 GiB");
    BigEndian::write_u32(&mut out[start..start + 4], len);
}

/// Two values, one behind the other.
impl<A: Wire, B: Wire> Wire for (A, B) {
    const LEN_MIN: usize = A::LEN_MIN + B::LEN_MIN;

    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
        self.1.encode(out);
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, WireError> {
        Ok((A::decode(from)?, B::decode(from)?))
    }
}

/// Appends a list.
pub fn encode_list<T: Wire>(items: &[T], out: &mut Vec<u8>) {
    (items.len() as u32).encode(out);
    items.iter().for_each(|item| item.encode(out));
}

/// Reads a list of at most `max` items.
///
/// # Errors
/// Those of [`Decoder::count`] and of the items.
pub fn decode_list<T: Wire>(
    from: &mut Decoder<'_>,
    what: &'static str,
    max: usize,
) -> Result<Vec<T>, WireError> {
    let count = from.count(what, max, T::LEN_MIN)?;
    // An item may be far larger in memory than its fewest bytes here: what has arrived bounds what
    // is set aside.
    let mut items = Vec::with_capacity(count.min(from.remaining() / size_of::<T>().max(1) + 1));
    for _ in 0..count {
        items.push(T::decode(from)?);
    }
    Ok(items)
}

/// A value that messages hold lists of.
pub trait ListItem: Wire {
    /// The items, for an error.
    const WHAT: &'static str;
    /// The most items in one list. Whoever fills a list cuts it there; [`count_fitting`] tells
    /// where.
    const COUNT_MAX: usize;
}

impl<T: ListItem> Wire for Vec<T> {
    const LEN_MIN: usize = 4;

    fn encode(&self, out: &mut Vec<u8>) {
        debug_assert!(
            self.len() <= T::COUNT_MAX,
            "a list of {} {} would be refused",
            self.len(),
            T::WHAT
        );
        encode_list(self, out);
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, WireError> {
        decode_list(from, T::WHAT, T::COUNT_MAX)
    }
}

/// Counts the first `items` that one list may hold and that take at most `len_max` bytes together;
/// at least one, if there is one.
///
/// A frame is bounded in bytes
/// ([`TRACKER_FRAME_LEN_MAX`](crate::types::limits::TRACKER_FRAME_LEN_MAX)), so a page or a batch
/// may have to end before its count does.
pub fn count_fitting<T: ListItem>(items: &[T], len_max: usize) -> usize {
    let mut scratch = Vec::new();
    let mut len = 0;
    let fits = |item: &&T| {
        scratch.clear();
        item.encode(&mut scratch);
        len += scratch.len();
        len <= len_max
    };
    items.iter().take(T::COUNT_MAX).take_while(fits).count().max(items.len().min(1))
}

/// Appends a text of at most 65,535 bytes; the types that hold texts are far shorter.
///
/// # Panics
/// If the text is longer.
pub fn encode_text(text: &str, out: &mut Vec<u8>) {
    u16::try_from(text.len()).expect("texts on the wire are bounded by their types").encode(out);
    out.extend_from_slice(text.as_bytes());
}

/// Reads a text of at most `max` bytes.
///
/// # Errors
/// [`WireError::TooLong`], [`WireError::Truncated`], and [`WireError::BadValue`] for bytes that are
/// not UTF-8.
pub fn decode_text<'a>(
    from: &mut Decoder<'a>,
    what: &'static str,
    max: usize,
) -> Result<&'a str, WireError> {
    let len = usize::from(u16::decode(from)?);
    if len > max {
        return Err(WireError::TooLong { what, len: len as u64, max: max as u64 });
    }
    std::str::from_utf8(from.bytes(len)?).map_err(|e| WireError::bad(what, e))
}

#[cfg(test)]
mod tests;
