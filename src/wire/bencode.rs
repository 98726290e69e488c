//! Bencode (BEP 3) as the peer wire needs it: one dictionary at a time, bounded.
//!
//! **Invariant:** only canonical bencode is taken: keys ascend and differ, integers and lengths
//! have no leading zeros, and nothing is nested deeper than [`DEPTH_MAX`]. The input is borrowed,
//! never copied, so a length is worth nothing until its bytes are there.
//!
//! `bendy` reads and writes; each decoder of its sets some 100 KiB aside for its stack of states,
//! whatever the input says.

use bendy::decoding::{Decoder, Object};
use bendy::encoding::{Encoder, SingleItemEncoder};

use super::WireError;

/// Dictionaries and lists inside each other: BEP 10 needs two, the rest is for keys we do not know.
pub const DEPTH_MAX: usize = 8;

/// Hands every pair of the dictionary that `bytes` begin with to `visit`, in order, and returns the
/// dictionary's length in bytes.
pub(super) fn read_dictionary<'a>(
    what: &'static str,
    bytes: &'a [u8],
    mut visit: impl FnMut(&'a [u8], Object<'_, 'a>) -> Result<(), WireError>,
) -> Result<usize, WireError> {
    let bad = |error: bendy::decoding::Error| WireError::bad(what, error);
    let mut decoder = Decoder::new(bytes).with_max_depth(DEPTH_MAX);
    let Some(Object::Dict(mut dictionary)) = decoder.next_object().map_err(bad)? else {
        return Err(WireError::bad(what, "it is not a dictionary"));
    };
    while let Some((key, value)) = dictionary.next_pair().map_err(bad)? {
        visit(key, value)?;
    }
    Ok(dictionary.into_raw().map_err(bad)?.len())
}

/// Takes an integer from 0 to `max`.
pub(super) fn integer(
    what: &'static str,
    value: Object<'_, '_>,
    max: u64,
) -> Result<u64, WireError> {
    let Object::Integer(text) = value else {
        return Err(WireError::bad(what, "it is not an integer"));
    };
    match text.parse() {
        Ok(number) if number <= max => Ok(number),
        Ok(number) => Err(WireError::TooLong { what, len: number, max }),
        Err(error) => Err(WireError::bad(what, error)),
    }
}

/// Takes a byte string.
pub(super) fn bytes<'a>(what: &'static str, value: Object<'_, 'a>) -> Result<&'a [u8], WireError> {
    match value {
        Object::Bytes(bytes) => Ok(bytes),
        _ => Err(WireError::bad(what, "it is not a byte string")),
    }
}

/// Writes one value that cannot go wrong: keys in order, nesting within `bendy`'s default.
pub(super) fn write(
    value: impl FnOnce(SingleItemEncoder<'_>) -> Result<(), bendy::encoding::Error>,
) -> Vec<u8> {
    let mut encoder = Encoder::new();
    encoder
        .emit_with(value)
        .and_then(|()| encoder.get_output())
        .expect("our own dictionaries are in order and shallow")
}
