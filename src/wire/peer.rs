//! What clients say to each other: the BitTorrent peer wire of BEP 3 with BEP 6 (fast), BEP 9
//! (metadata) and BEP 10 (extensions).
//!
//! Both ends send a [`Handshake`], then messages in both directions at the same time. Every message
//! is a `u32` length of all that follows it; length 0 is a keep-alive. Integers are big-endian.
//! `piece` is a piece's 0-based index, `begin` the first byte within it, `len` bytes.
//!
//! | offset | size | field | limit |
//! |---|---|---|---|
//! | 0 | 4 | length | [`limits::PEER_MESSAGE_LEN_MAX`] |
//! | 4 | 1 | id | |
//! | 5 | length - 1 | body, by id | below |
//!
//! | id | message | body | source |
//! |---|---|---|---|
//! | 0 1 2 3 | choke, unchoke, interested, not interested | none | BEP 3 |
//! | 4 | have | `u32` piece | BEP 3 |
//! | 5 | bitfield | one bit a piece; at most [`BITFIELD_LEN_MAX`] bytes | BEP 3 |
//! | 6 | request | `u32` piece, `u32` begin, `u32` len | BEP 3 |
//! | 7 | piece | `u32` piece, `u32` begin, data | BEP 3 |
//! | 8 | cancel | as request | BEP 3 |
//! | 9 | port | `u16`; read, and of no use to us | BEP 5 |
//! | 13 | suggest | `u32` piece | BEP 6 |
//! | 14 15 | have all, have none | none | BEP 6 |
//! | 16 | reject | as request | BEP 6 |
//! | 17 | allowed fast | `u32` piece | BEP 6 |
//! | 20 | extended | `u8` extension id (0: handshake), payload | BEP 10 |
//!
//! **Invariant:** a length is checked against what its id allows before anything is allocated, and
//! memory grows with the bytes that have arrived. Whether a piece exists, and who may ask what
//! when, is not known here: the geometry and the link decide.
//!
//! Called by a link's reader and writer threads. Reading blocks on the stream, in small reads: give
//! it a `BufReader`. The data of a piece is left to the caller, who reads it into the piece's own
//! buffer. What is left out: the DHT of BEP 5, peer exchange, encryption of BEP 8.

mod extension;
mod handshake;

use std::io::{self, Read};

use byteorder::{BigEndian, ByteOrder, ReadBytesExt};

pub use self::extension::{
    CLIENT_NAME_LEN_MAX, EXTENDED_HANDSHAKE_LEN_MAX, EXTENSION_CHAIN, EXTENSION_TICKET,
    ExtendedHandshake, KEY_BLOCK, MetadataMessage,
};
pub use self::handshake::{HANDSHAKE_LEN, Handshake, PEER_ID_PREFIX, PROTOCOL, PeerId};
use super::WireError;
pub use super::frame::FrameError as PeerError;
use super::frame::{read_body, read_first};
use crate::types::limits;

/// Bytes in the longest bitfield: one bit for each of the most pieces a file has.
pub const BITFIELD_LEN_MAX: usize = limits::PIECE_COUNT_MAX.div_ceil(8) as usize;
/// Bytes before the data of a piece message.
pub const PIECE_HEADER_LEN: usize = 13;
/// The extension id of the extension handshake (BEP 10).
pub const EXTENDED_HANDSHAKE_ID: u8 = 0;

/// The ids of the messages.
pub mod id {
    /// BEP 3.
    pub const CHOKE: u8 = 0;
    /// BEP 3.
    pub const UNCHOKE: u8 = 1;
    /// BEP 3.
    pub const INTERESTED: u8 = 2;
    /// BEP 3.
    pub const NOT_INTERESTED: u8 = 3;
    /// BEP 3.
    pub const HAVE: u8 = 4;
    /// BEP 3.
    pub const BITFIELD: u8 = 5;
    /// BEP 3.
    pub const REQUEST: u8 = 6;
    /// BEP 3.
    pub const PIECE: u8 = 7;
    /// BEP 3.
    pub const CANCEL: u8 = 8;
    /// BEP 5.
    pub const PORT: u8 = 9;
    /// BEP 6.
    pub const SUGGEST: u8 = 13;
    /// BEP 6.
    pub const HAVE_ALL: u8 = 14;
    /// BEP 6.
    pub const HAVE_NONE: u8 = 15;
    /// BEP 6.
    pub const REJECT: u8 = 16;
    /// BEP 6.
    pub const ALLOWED_FAST: u8 = 17;
    /// BEP 10.
    pub const EXTENDED: u8 = 20;
}

/// One message after the handshake; the table above says how each is laid out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerMessage {
    /// Nothing but a sign of life.
    KeepAlive,
    /// The sender will not answer requests.
    Choke,
    /// The sender will answer requests.
    Unchoke,
    /// The sender wants pieces that the receiver has.
    Interested,
    /// The sender wants nothing.
    NotInterested,
    /// The sender has the piece.
    Have(u32),
    /// The pieces that the sender has, as [`crate::types::Bitfield`] checks and holds them.
    Bitfield(Vec<u8>),
    /// Asks for a block.
    Request {
        /// The piece.
        piece: u32,
        /// First byte within the piece.
        begin: u32,
        /// Bytes.
        len: u32,
    },
    /// A block.
    Piece {
        /// The piece.
        piece: u32,
        /// First byte within the piece.
        begin: u32,
        /// The bytes.
        data: Vec<u8>,
    },
    /// Takes a request back.
    Cancel {
        /// The piece.
        piece: u32,
        /// First byte within the piece.
        begin: u32,
        /// Bytes.
        len: u32,
    },
    /// The sender's DHT port (BEP 5).
    Port(u16),
    /// The sender would like to be asked for the piece.
    Suggest(u32),
    /// The sender has every piece.
    HaveAll,
    /// The sender has no piece.
    HaveNone,
    /// The request will not be answered.
    Reject {
        /// The piece.
        piece: u32,
        /// First byte within the piece.
        begin: u32,
        /// Bytes.
        len: u32,
    },
    /// The piece may be asked for even while choked.
    AllowedFast(u32),
    /// A message of an extension; the receiver's extension handshake gave the id its meaning.
    Extended {
        /// The extension, [`EXTENDED_HANDSHAKE_ID`] for the handshake.
        id: u8,
        /// Its message.
        payload: Vec<u8>,
    },
    /// A message that this version does not know; its body was skipped.
    Unknown {
        /// The message's id.
        id: u8,
        /// Bytes behind the id.
        len: u32,
    },
}

/// What [`read_header`] read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Header {
    /// A whole message, never [`PeerMessage::Piece`].
    Message(PeerMessage),
    /// The head of a piece message: the caller reads the `len` bytes that come next on the stream.
    Piece {
        /// The piece.
        piece: u32,
        /// First byte within the piece.
        begin: u32,
        /// Bytes of data, at most [`limits::PEER_MESSAGE_LEN_MAX`].
        len: u32,
    },
}

impl PeerMessage {
    /// Appends the message, with its length, to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        self.encode_body(out);
        let len = u32::try_from(out.len() - start - 4).expect("no message of ours reaches 4 GiB");
        BigEndian::write_u32(&mut out[start..], len);
    }

    /// Encodes the message, with its length.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }

    fn encode_body(&self, out: &mut Vec<u8>) {
        match *self {
            Self::KeepAlive => {}
            Self::Choke => out.push(id::CHOKE),
            Self::Unchoke => out.push(id::UNCHOKE),
            Self::Interested => out.push(id::INTERESTED),
            Self::NotInterested => out.push(id::NOT_INTERESTED),
            Self::Have(piece) => put(out, id::HAVE, &[piece]),
            Self::Bitfield(ref bytes) => put_bytes(out, id::BITFIELD, &[], bytes),
            Self::Request { piece, begin, len } => put(out, id::REQUEST, &[piece, begin, len]),
            Self::Piece { piece, begin, ref data } => {
                put_bytes(out, id::PIECE, &[piece, begin], data)
            }
            Self::Cancel { piece, begin, len } => put(out, id::CANCEL, &[piece, begin, len]),
            Self::Port(port) => put_bytes(out, id::PORT, &[], &port.to_be_bytes()),
            Self::Suggest(piece) => put(out, id::SUGGEST, &[piece]),
            Self::HaveAll => out.push(id::HAVE_ALL),
            Self::HaveNone => out.push(id::HAVE_NONE),
            Self::Reject { piece, begin, len } => put(out, id::REJECT, &[piece, begin, len]),
            Self::AllowedFast(piece) => put(out, id::ALLOWED_FAST, &[piece]),
            Self::Extended { id, ref payload } => {
                out.extend_from_slice(&[id::EXTENDED, id]);
                out.extend_from_slice(payload);
            }
            // What was skipped is gone: zeros stand for it.
            Self::Unknown { id, len } => {
                out.push(id);
                out.resize(out.len() + len as usize, 0);
            }
        }
    }
}

/// Encodes what stands before `len` bytes of a piece's data, so that these can be sent from where
/// they are.
///
/// # Panics
/// If the message would be 4 GiB or longer.
pub fn piece_header(piece: u32, begin: u32, len: u32) -> [u8; PIECE_HEADER_LEN] {
    let mut header = [0; PIECE_HEADER_LEN];
    BigEndian::write_u32(
        &mut header[0..],
        len.checked_add(9).expect("blocks are bounded by the geometry"),
    );
    header[4] = id::PIECE;
    BigEndian::write_u32(&mut header[5..], piece);
    BigEndian::write_u32(&mut header[9..], begin);
    header
}

/// Reads the next message, or the head of a piece message. An unknown message is skipped over
/// without being held.
///
/// # Errors
/// [`PeerError::Closed`] if the stream ends before the first byte; [`PeerError::Wire`] for a length
/// that the message may not have.
///
/// # Blocking
/// Until the whole message, or the head, is there.
pub fn read_header(stream: &mut impl Read) -> Result<Header, PeerError> {
    let mut len = [0; 4];
    read_first(stream, &mut len)?;
    let len = BigEndian::read_u32(&len);
    check_len("peer message", len, limits::PEER_MESSAGE_LEN_MAX)?;
    let Some(len) = len.checked_sub(1) else {
        return Ok(Header::Message(PeerMessage::KeepAlive));
    };
    let message = match stream.read_u8()? {
        id::PIECE => return read_piece_header(stream, len),
        id::BITFIELD => {
            check_len("bitfield", len, BITFIELD_LEN_MAX)?;
            PeerMessage::Bitfield(read_bytes(stream, len)?)
        }
        id::EXTENDED => {
            let payload_len = len.checked_sub(1).ok_or(WireError::Truncated { want: 1 })?;
            PeerMessage::Extended {
                id: stream.read_u8()?,
                payload: read_bytes(stream, payload_len)?,
            }
        }
        id => match fixed_len(id) {
            Some(want) => read_fixed(stream, id, len, want)?,
            None => {
                skip(stream, len)?;
                PeerMessage::Unknown { id, len }
            }
        },
    };
    Ok(Header::Message(message))
}

/// Reads the next message, a piece's data and all: for tools and tests, where a copy does not
/// matter.
///
/// # Errors
/// Those of [`read_header`].
///
/// # Blocking
/// Until the whole message is there.
pub fn read_message(stream: &mut impl Read) -> Result<PeerMessage, PeerError> {
    match read_header(stream)? {
        Header::Message(message) => Ok(message),
        Header::Piece { piece, begin, len } => {
            Ok(PeerMessage::Piece { piece, begin, data: read_bytes(stream, len)? })
        }
    }
}

/// Reads `len` bytes and forgets them: a block that nobody waits for any more.
///
/// # Errors
/// Those of the stream, and its end before the last byte.
///
/// # Blocking
/// Until all of them are there.
pub fn skip(stream: &mut impl Read, len: u32) -> io::Result<()> {
    match io::copy(&mut stream.take(len.into()), &mut io::sink())? {
        skipped if skipped == u64::from(len) => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Length of the body of a message that has always the same.
fn fixed_len(id: u8) -> Option<u32> {
    match id {
        id::CHOKE
        | id::UNCHOKE
        | id::INTERESTED
        | id::NOT_INTERESTED
        | id::HAVE_ALL
        | id::HAVE_NONE => Some(0),
        id::PORT => Some(2),
        id::HAVE | id::SUGGEST | id::ALLOWED_FAST => Some(4),
        id::REQUEST | id::CANCEL | id::REJECT => Some(12),
        _ => None,
    }
}

fn read_fixed(
    stream: &mut impl Read,
    id: u8,
    len: u32,
    want: u32,
) -> Result<PeerMessage, PeerError> {
    if let Some(want @ 1..) = want.checked_sub(len) {
        return Err(WireError::Truncated { want: want as usize }.into());
    }
    if let Some(left @ 1..) = len.checked_sub(want) {
        return Err(WireError::Trailing(left as usize).into());
    }
    let mut body = [0; 12];
    stream.read_exact(&mut body[..want as usize])?;
    let [piece, begin, len] = [0, 4, 8].map(|offset| BigEndian::read_u32(&body[offset..]));
    Ok(match id {
        id::CHOKE => PeerMessage::Choke,
        id::UNCHOKE => PeerMessage::Unchoke,
        id::INTERESTED => PeerMessage::Interested,
        id::NOT_INTERESTED => PeerMessage::NotInterested,
        id::HAVE_ALL => PeerMessage::HaveAll,
        id::HAVE_NONE => PeerMessage::HaveNone,
        id::PORT => PeerMessage::Port(BigEndian::read_u16(&body)),
        id::HAVE => PeerMessage::Have(piece),
        id::SUGGEST => PeerMessage::Suggest(piece),
        id::ALLOWED_FAST => PeerMessage::AllowedFast(piece),
        id::REQUEST => PeerMessage::Request { piece, begin, len },
        id::CANCEL => PeerMessage::Cancel { piece, begin, len },
        id::REJECT => PeerMessage::Reject { piece, begin, len },
        id => PeerMessage::Unknown { id, len: want },
    })
}

fn read_piece_header(stream: &mut impl Read, len: u32) -> Result<Header, PeerError> {
    let Some(len) = len.checked_sub(8) else {
        return Err(WireError::Truncated { want: 8 - len as usize }.into());
    };
    Ok(Header::Piece {
        piece: stream.read_u32::<BigEndian>()?,
        begin: stream.read_u32::<BigEndian>()?,
        len,
    })
}

fn read_bytes(stream: &mut impl Read, len: u32) -> Result<Vec<u8>, PeerError> {
    let mut bytes = Vec::new();
    read_body(stream, len as usize, &mut bytes)?;
    Ok(bytes)
}

fn check_len(what: &'static str, len: u32, max: usize) -> Result<(), WireError> {
    match len as usize > max {
        true => Err(WireError::TooLong { what, len: len.into(), max: max as u64 }),
        false => Ok(()),
    }
}

fn put(out: &mut Vec<u8>, id: u8, numbers: &[u32]) {
    put_bytes(out, id, numbers, &[]);
}

fn put_bytes(out: &mut Vec<u8>, id: u8, numbers: &[u32], bytes: &[u8]) {
    out.push(id);
    numbers.iter().for_each(|number| out.extend_from_slice(&number.to_be_bytes()));
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests;
