//! Every decoder of bytes that come from elsewhere.

use std::fmt::Debug;
use std::io::{self, Read};

use super::Input;
use crate::types::{Bitfield, Geometry, Row, limits};
use crate::wire::Wire;
use crate::wire::frame::{FrameError, read_frame};
use crate::wire::metainfo::Metainfo;
use crate::wire::peer::{
    ExtendedHandshake, HANDSHAKE_LEN, Handshake, Header, MetadataMessage, PeerError, PeerMessage,
    read_header, read_message,
};
use crate::wire::port_mapping::{ANSWER_LEN_MAX, Answer};
use crate::wire::relay::{RELAY_HELLO_LEN, RelayHello};
use crate::wire::replication::{ToAcceptor, ToDialler};
use crate::wire::row::{decode_key, decode_row, encode_row, key_bytes, kind};
use crate::wire::tracker::{FromClient, FromTracker, Opening};

/// A stream that hands out a few bytes at a time, as a slow or hostile peer does.
struct Dripping<'a> {
    rest: &'a [u8],
    chunk: usize,
}

impl Read for Dripping<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.chunk.min(buffer.len());
        self.rest.read(&mut buffer[..len])
    }
}

/// What decodes encodes to the same bytes; or, if something of a later version was skipped, to
/// fewer bytes that mean the same.
fn check_canonical<T: Wire + Debug + PartialEq>(body: &[u8]) {
    let Ok(message) = T::from_bytes(body) else { return };
    let again = message.to_bytes();
    assert!(again.len() < body.len() || again == body, "{message:?}");
    assert_eq!(T::from_bytes(&again).as_ref(), Ok(&message));
    // Every name in it must be printable; what prints a secret would be seen by a test of its type.
    assert!(!format!("{message:?}").is_empty());
}

/// Reads frames off a stream, whole and dripping, and hands each body to `check`.
fn check_frames(bytes: &[u8], chunk: usize, max: usize, mut check: impl FnMut(&[u8])) {
    let (mut whole, mut dripping) = (bytes, Dripping { rest: bytes, chunk: chunk + 1 });
    let (mut body, mut dripped) = (Vec::new(), Vec::new());
    loop {
        let (one, other) =
            (read_frame(&mut whole, max, &mut body), read_frame(&mut dripping, max, &mut dripped));
        match (one, other) {
            (Ok(()), Ok(())) => assert_eq!(body, dripped),
            (Err(one), Err(other)) => {
                assert_eq!(one.to_string(), other.to_string());
                assert!(!matches!(one, FrameError::Closed) || whole.is_empty());
                return;
            }
            (one, other) => panic!("whole: {one:?}, dripping: {other:?}"),
        }
        assert!(
            body.len() <= max && body.capacity() <= 2 * body.len() + (128 << 10),
            "memory for {} bytes",
            body.len()
        );
        check(&body);
    }
}

/// Frames between a client and a tracker. The first byte chooses the message or the stream, the
/// others are it.
pub fn tracker_frames(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (kind, chunk) = (input.below(5), input.below(16));
    let rest = input.rest();
    match kind {
        0 => check_canonical::<Opening>(rest),
        1 => check_canonical::<FromClient>(rest),
        2 => check_canonical::<FromTracker>(rest),
        3 => check_frames(rest, chunk, limits::TRACKER_FRAME_LEN_MAX_BEFORE_LOGIN, |body| {
            check_canonical::<Opening>(body);
            check_canonical::<FromClient>(body);
        }),
        _ => {
            check_frames(rest, chunk, limits::TRACKER_FRAME_LEN_MAX, check_canonical::<FromTracker>)
        }
    }
}

/// The first bytes of a connection to a relay.
pub fn relay_hello(bytes: &[u8]) {
    let Some(bytes) = bytes.first_chunk::<RELAY_HELLO_LEN>() else { return };
    if let Ok(hello) = RelayHello::decode(bytes) {
        assert_eq!(hello.encode(), *bytes);
        assert!(format!("{hello:?}").contains("[redacted]"));
    }
}

/// A row keeps every byte, whatever version wrote it.
fn check_row(bytes: &[u8]) {
    let Ok(row) = decode_row(bytes) else { return };
    assert_eq!(encode_row(&row), bytes, "{row:?}");
    let key = row.content.key();
    assert_eq!(decode_key(kind(&key), &key_bytes(&key)), Ok(key));
}

/// What a router says to a request for a mapping: any machine of a strange network may be one.
pub fn router_answers(bytes: &[u8]) {
    let Ok(answer) = Answer::decode(bytes) else { return };
    assert!(bytes.len() <= ANSWER_LEN_MAX);
    assert_eq!(Answer::decode(&answer.to_bytes()), Ok(answer));
}

/// Frames between two trackers, and a row as a store holds it.
pub fn replication_frames(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (kind, chunk) = (input.below(4), input.below(16));
    let rest = input.rest();
    match kind {
        0 => check_canonical::<ToAcceptor>(rest),
        1 => check_canonical::<ToDialler>(rest),
        2 => check_row(rest),
        _ => check_frames(rest, chunk, limits::TRACKER_FRAME_LEN_MAX, |body| {
            check_canonical::<ToAcceptor>(body);
            check_canonical::<ToDialler>(body);
            if let Ok(ToAcceptor::Rows(batch)) = ToAcceptor::from_bytes(body) {
                batch.rows.iter().map(Row::to_bytes).for_each(|row| check_row(&row));
            }
        }),
    }
}

/// A link's stream: the handshake, then messages, whole and dripping.
pub fn peer_messages(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (chunk, begun) = (input.below(16) + 1, input.bool());
    let bytes = input.rest();
    let mut whole = bytes;
    if !begun {
        match Handshake::read(&mut whole) {
            Ok(handshake) => assert_eq!(handshake.encode(), bytes[..HANDSHAKE_LEN]),
            Err(_) => return,
        }
    }
    let mut dripping = Dripping { rest: whole, chunk };
    let mut heads = whole;
    loop {
        let before = whole;
        let (message, dripped) = match (read_message(&mut whole), read_message(&mut dripping)) {
            (Ok(message), Ok(dripped)) => (message, dripped),
            (Err(one), Err(other)) => return assert_eq!(one.to_string(), other.to_string()),
            (one, other) => panic!("whole: {one:?}, dripping: {other:?}"),
        };
        assert_eq!(message, dripped);
        let taken = &before[..before.len() - whole.len()];
        check_peer_message(&message, taken);
        check_head(&mut heads, &message);
    }
}

fn check_peer_message(message: &PeerMessage, taken: &[u8]) {
    let encoded = message.to_bytes();
    match message {
        // Its body was skipped.
        PeerMessage::Unknown { .. } => assert_eq!(encoded.len(), taken.len()),
        _ => assert_eq!(encoded, taken, "{message:?}"),
    }
    if let PeerMessage::Extended { payload, .. } = message {
        check_extensions(payload);
    }
}

/// The reader of a link, which leaves a block's data on the stream, sees the same.
fn check_head(stream: &mut &[u8], message: &PeerMessage) {
    match (read_header(stream), message) {
        (Ok(Header::Message(head)), _) => assert_eq!(&head, message),
        (
            Ok(Header::Piece { piece, begin, len }),
            PeerMessage::Piece { piece: number, begin: first, data },
        ) => {
            assert_eq!((piece, begin, len as usize), (*number, *first, data.len()));
            let _ = stream.split_off(..data.len());
        }
        (head, _) => panic!("{head:?} is not {message:?}"),
    }
}

/// Payloads of BEP 10 and BEP 9.
pub fn extensions(bytes: &[u8]) {
    check_extensions(bytes);
}

fn check_extensions(payload: &[u8]) {
    if let Ok(handshake) = ExtendedHandshake::decode(payload) {
        // Keys that we do not know are gone, and what is beyond its bounds is brought within them:
        // once.
        let encoded = handshake.encode();
        assert_eq!(
            ExtendedHandshake::decode(&encoded).map_err(PeerError::from).ok(),
            Some(handshake)
        );
    }
    if let Ok(message) = MetadataMessage::decode(payload) {
        assert_eq!(MetadataMessage::decode(&message.encode()), Ok(message));
    }
}

/// An info dictionary.
pub fn metainfo(bytes: &[u8]) {
    if let Ok(metainfo) = Metainfo::from_bytes(bytes) {
        assert_eq!(metainfo.to_bytes(), bytes);
        assert_eq!(metainfo.pieces().len(), metainfo.geometry().piece_count() as usize);
        assert!(
            metainfo
                .geometry()
                .indexes()
                .map(|piece| metainfo.piece_hash(piece))
                .eq(metainfo.pieces().iter().copied())
        );
    }
}

/// A file's geometry with hostile numbers, and a bitfield from a peer or a store.
pub fn bitfields(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let piece_len = if input.bool() { input.u32() } else { limits::BLOCK_LEN << input.below(16) };
    let len = if input.bool() { input.u64() } else { u64::from(input.u32()) };
    let Ok(geometry) = Geometry::new(len, piece_len) else { return };
    let (piece, begin, span_len) = (input.u32(), input.u32(), input.u32());
    if let Some(span) = geometry.span(piece, begin, span_len) {
        let offset = geometry.offset(span.piece) + u64::from(span.begin);
        assert!(offset + u64::from(span.len) <= geometry.len() && span.len > 0);
    }
    if let Some(piece) = geometry.index(piece.into()) {
        let blocks = geometry.blocks(piece, limits::BLOCK_LEN);
        assert_eq!(
            blocks.map(|block| u64::from(block.len)).sum::<u64>(),
            u64::from(geometry.len_of(piece))
        );
    }
    let count = geometry.piece_count();
    let Ok(mut field) = Bitfield::from_bytes(input.rest().to_vec(), count) else { return };
    assert_eq!(field.iter_ones().count() as u32, field.ones());
    assert!(
        field
            .iter_ones()
            .all(|piece| geometry.index(piece.into()).is_some_and(|piece| field.has(piece)))
    );
    if let Some(piece) = geometry.index(piece.into()) {
        let was_there = field.has(piece);
        assert_eq!(field.insert(piece), !was_there);
        assert!(field.remove(piece) && !field.has(piece));
    }
    assert_eq!(Bitfield::from_bytes(field.as_bytes().to_vec(), count), Ok(field));
}
