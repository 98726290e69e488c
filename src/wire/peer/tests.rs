use std::io::Cursor;

use proptest::prelude::*;

use super::*;
use crate::types::{ChainHash, DeviceId, InfoHash};
use crate::wire::checks::{at_every_split, check_golden, variant_name};
use crate::wire::samples::{Sample, samples};

fn handshake() -> Handshake {
    Handshake::new(InfoHash::example(), PeerId::of_device(DeviceId::example()))
}

fn read(bytes: &[u8]) -> Result<PeerMessage, PeerError> {
    read_message(&mut &bytes[..])
}

fn wire_error(bytes: &[u8]) -> WireError {
    // What follows is endless, so an error cannot come from the end of the stream.
    match read_message(&mut Cursor::new(bytes.to_vec()).chain(io::repeat(0))) {
        Err(PeerError::Wire(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn golden_bytes() {
    let mut messages = vec![("Handshake".to_owned(), handshake().encode().to_vec())];
    messages.extend(
        PeerMessage::examples().iter().map(|message| (variant_name(message), message.to_bytes())),
    );
    let extended = |name: &str, id, payload| {
        (format!("Extended {name}"), PeerMessage::Extended { id, payload }.to_bytes())
    };
    messages.extend(
        ExtendedHandshake::examples()
            .iter()
            .map(|h| extended("ExtendedHandshake", EXTENDED_HANDSHAKE_ID, h.encode())),
    );
    messages.extend(
        MetadataMessage::examples()
            .iter()
            .map(|m| extended(&format!("Metadata {}", variant_name(m)), 3, m.encode())),
    );
    check_golden("peer.txt", messages.iter().map(|(name, bytes)| (name.clone(), &bytes[..])));
}

/// Written down from the texts of the BEPs, not from what the code does.
#[test]
fn messages_as_the_beps_lay_them_out() {
    for (bytes, message) in [
        (&b"\0\0\0\0"[..], PeerMessage::KeepAlive),
        (b"\0\0\0\x01\x00", PeerMessage::Choke),
        (b"\0\0\0\x01\x01", PeerMessage::Unchoke),
        (b"\0\0\0\x01\x02", PeerMessage::Interested),
        (b"\0\0\0\x01\x03", PeerMessage::NotInterested),
        (b"\0\0\0\x05\x04\0\0\x01\x02", PeerMessage::Have(0x102)),
        (b"\0\0\0\x03\x05\xff\x80", PeerMessage::Bitfield(vec![0xff, 0x80])),
        (
            b"\0\0\0\x0d\x06\0\0\0\x01\0\0\x40\0\0\0\x40\0",
            PeerMessage::Request { piece: 1, begin: 0x4000, len: 0x4000 },
        ),
        (
            b"\0\0\0\x0c\x07\0\0\0\x01\0\0\x40\0abc",
            PeerMessage::Piece { piece: 1, begin: 0x4000, data: b"abc".into() },
        ),
        (
            b"\0\0\0\x0d\x08\0\0\0\x01\0\0\x40\0\0\0\x40\0",
            PeerMessage::Cancel { piece: 1, begin: 0x4000, len: 0x4000 },
        ),
        (b"\0\0\0\x03\x09\x1a\xe1", PeerMessage::Port(6881)),
        (b"\0\0\0\x05\x0d\0\0\0\x07", PeerMessage::Suggest(7)),
        (b"\0\0\0\x01\x0e", PeerMessage::HaveAll),
        (b"\0\0\0\x01\x0f", PeerMessage::HaveNone),
        (
            b"\0\0\0\x0d\x10\0\0\0\x01\0\0\x40\0\0\0\x40\0",
            PeerMessage::Reject { piece: 1, begin: 0x4000, len: 0x4000 },
        ),
        (b"\0\0\0\x05\x11\0\0\0\x07", PeerMessage::AllowedFast(7)),
        (b"\0\0\0\x04\x14\x00de", PeerMessage::Extended { id: 0, payload: b"de".into() }),
    ] {
        assert_eq!(message.to_bytes(), bytes, "{message:?}");
        assert_eq!(read(bytes).unwrap(), message);
    }
    assert_eq!(&handshake().encode()[..28], b"\x13BitTorrent protocol\0\0\0\0\0\x10\0\x04");
    assert_eq!(handshake().encode()[48..56], *b"-PS0100-");
}

#[test]
fn every_message_whole_cut_and_dripping() {
    for message in PeerMessage::examples() {
        let bytes = message.to_bytes();
        for len in 0..bytes.len() {
            assert!(read(&bytes[..len]).is_err(), "{len} bytes of {message:?}");
        }
        at_every_split(&bytes, |mut stream| {
            assert_eq!(read_message(&mut stream).unwrap(), message);
            assert!(matches!(read_message(&mut stream), Err(PeerError::Closed)));
        });
    }
}

#[test]
fn a_whole_conversation_dripping() {
    let messages = PeerMessage::examples();
    let mut bytes = handshake().encode().to_vec();
    messages.iter().for_each(|message| message.encode(&mut bytes));
    at_every_split(&bytes, |mut stream| {
        assert_eq!(Handshake::read(&mut stream).unwrap(), handshake());
        messages
            .iter()
            .for_each(|message| assert_eq!(&read_message(&mut stream).unwrap(), message));
    });
}

#[test]
fn the_data_of_a_piece_is_left_on_the_stream() {
    let mut bytes = piece_header(3, 0x4000, 5).to_vec();
    bytes.extend_from_slice(b"block");
    assert_eq!(
        bytes,
        PeerMessage::Piece { piece: 3, begin: 0x4000, data: b"block".into() }.to_bytes()
    );
    bytes.extend_from_slice(&PeerMessage::Choke.to_bytes());
    let mut stream = &bytes[..];
    assert_eq!(
        read_header(&mut stream).unwrap(),
        Header::Piece { piece: 3, begin: 0x4000, len: 5 }
    );
    assert_eq!(&stream[..5], b"block");
    skip(&mut stream, 5).unwrap();
    assert_eq!(read_header(&mut stream).unwrap(), Header::Message(PeerMessage::Choke));
    assert!(skip(&mut &b"bl"[..], 5).is_err());
}

#[test]
fn every_length_but_the_right_one_is_refused() {
    for (id, want) in (0..=255).filter_map(|id| fixed_len(id).map(|want| (id, want))) {
        for len in (0..want).chain([want + 1, want + 100]) {
            let error = wire_error(&[&(len + 1).to_be_bytes()[..], &[id]].concat());
            match len < want {
                true => assert_eq!(error, WireError::Truncated { want: (want - len) as usize }),
                false => assert_eq!(error, WireError::Trailing((len - want) as usize)),
            }
        }
    }
    for len in 1..9 {
        assert_eq!(
            wire_error(&[0, 0, 0, len, id::PIECE]),
            WireError::Truncated { want: usize::from(9 - len) }
        );
    }
    assert_eq!(wire_error(&[0, 0, 0, 1, id::EXTENDED]), WireError::Truncated { want: 1 });
}

#[test]
fn hostile_lengths_are_refused_before_memory_is_set_aside() {
    for head in [
        &[0xff, 0xff, 0xff, 0xff, id::PIECE][..],
        &[0, 0x10, 0, 1, id::EXTENDED],
        b"GET / HTTP",
        b"\x13BitTorrent",
    ] {
        assert!(matches!(wire_error(head), WireError::TooLong { what: "peer message", .. }));
    }
    let longest = |extra: u32| (BITFIELD_LEN_MAX as u32 + 1 + extra).to_be_bytes();
    assert!(matches!(
        wire_error(&[&longest(1)[..], &[id::BITFIELD]].concat()),
        WireError::TooLong { what: "bitfield", .. }
    ));
    let bitfield = PeerMessage::Bitfield(vec![0xff; BITFIELD_LEN_MAX]);
    assert_eq!(read(&bitfield.to_bytes()).unwrap(), bitfield);

    let promised = (limits::PEER_MESSAGE_LEN_MAX as u32).to_be_bytes();
    for id in [id::EXTENDED, id::PIECE, 99] {
        let bytes = [&promised[..], &[id; 10]].concat();
        let held = allocation_counter::measure(|| drop(read(&bytes))).bytes_max;
        assert!(
            held <= 80 << 10,
            "{held} bytes were held for message {id}, of which nothing had arrived"
        );
    }
}

#[test]
fn unknown_messages_are_skipped_without_being_held() {
    for id in (0..=255).filter(|&id| {
        fixed_len(id).is_none() && ![id::BITFIELD, id::PIECE, id::EXTENDED].contains(&id)
    }) {
        let unknown = PeerMessage::Unknown { id, len: 300 };
        let bytes = [unknown.to_bytes(), PeerMessage::Have(1).to_bytes()].concat();
        let mut stream = &bytes[..];
        assert_eq!(read_message(&mut stream).unwrap(), unknown);
        assert_eq!(read_message(&mut stream).unwrap(), PeerMessage::Have(1));
    }
    let long =
        PeerMessage::Unknown { id: 99, len: limits::PEER_MESSAGE_LEN_MAX as u32 - 1 }.to_bytes();
    let held = allocation_counter::measure(|| drop(read(&long))).bytes_max;
    assert!(held <= 16 << 10, "{held} bytes were held");
    assert!(read(&long[..long.len() - 1]).is_err());
}

#[test]
fn handshakes_whole_cut_and_dripping() {
    let bytes = handshake().encode();
    assert_eq!(Handshake::decode(&bytes), Ok(handshake()));
    assert!(handshake().has_extensions() && handshake().has_fast());
    at_every_split(&bytes, |mut stream| {
        assert_eq!(Handshake::read(&mut stream).unwrap(), handshake())
    });
    assert!(matches!(Handshake::read(&mut &b""[..]), Err(PeerError::Closed)));
    for len in 1..HANDSHAKE_LEN {
        assert!(matches!(Handshake::read(&mut &bytes[..len]), Err(PeerError::Io(_))));
    }
    for at in 0..20 {
        let mut other = bytes;
        other[at] ^= 0x20;
        assert!(Handshake::decode(&other).is_err());
        assert!(
            matches!(Handshake::read(&mut &other[..20]), Err(PeerError::Wire(_))),
            "noticed before the rest has come"
        );
    }
}

#[test]
fn handshakes_of_others_are_taken_as_they_are() {
    let mut bytes = handshake().encode();
    bytes[20..28].copy_from_slice(&[0xff, 0, 0, 0, 0, 0, 0, 0x01]);
    let foreign = Handshake::decode(&bytes).unwrap();
    assert!(!foreign.has_extensions() && !foreign.has_fast());
    assert_eq!(foreign.encode(), bytes);
}

#[test]
fn a_peer_id_belongs_to_its_device() {
    let device = DeviceId::from_bytes(std::array::from_fn(|i| i as u8));
    let id = PeerId::of_device(device);
    assert_eq!(id.as_bytes(), b"-PS0100-\0\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b");
    assert!(id.matches(&device) && !id.matches(&DeviceId::example()));
    assert!(
        !PeerId::from_bytes(*b"-PS0101-\0\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b")
            .matches(&device)
    );
    assert_eq!(
        PeerId::from_bytes(*b"-XX0000-\x1b[2J\n\0aaaaaa").to_string(),
        "-XX0000-\\x1b[2J\\n\\x00aaaaaa"
    );
}

#[test]
fn extension_handshakes_of_others() {
    let decode = |payload: &[u8]| ExtendedHandshake::decode(payload);
    assert_eq!(decode(b"de"), Ok(ExtendedHandshake::default()));
    let foreign = decode(b"d1:ei0e1:md11:lt_donthavei7e11:ut_metadatai3e6:ut_pexi1ee13:metadata_sizei31235e4:reqqi500e1:v15:Example 4.5.2  6:yourip4:\x0a\0\0\x01e").unwrap();
    let want = ExtendedHandshake {
        metadata_id: Some(3),
        metadata_size: Some(31_235),
        requests_max: Some(500),
        client: Some("Example 4.5.2  ".into()),
        ..ExtendedHandshake::default()
    };
    assert_eq!(foreign, want);
    assert_eq!(decode(b"d1:md12:posse_ticketi9eee").unwrap().ticket_id, Some(9));
    let chain = decode(b"d1:md11:posse_chaini8ee11:posse_chain20:cccccccccccccccccccce").unwrap();
    assert_eq!((chain.chain_id, chain.chain), (Some(8), Some(ChainHash::from_bytes([b'c'; 20]))));
    assert_eq!(
        decode(b"d1:md11:ut_metadatai0ee13:metadata_sizei0e1:pi0e4:reqqi0ee"),
        Ok(ExtendedHandshake::default())
    );
    assert_eq!(
        decode(b"d1:v2:\xff\xfee"),
        Ok(ExtendedHandshake::default()),
        "a name is only for show"
    );
    assert_eq!(
        decode(b"d11:posse_blocki99999999ee").unwrap().block_len_max,
        Some(limits::BLOCK_LEN_MAX)
    );
}

#[test]
fn extension_handshakes_that_are_refused() {
    let nested = [b"d1:x".repeat(9), b"de".to_vec(), b"e".repeat(9)].concat();
    let long = [b"d1:x20000:".to_vec(), vec![b'x'; 20_000], b"e".to_vec()].concat();
    for bad in [
        &b""[..],
        b"d",
        b"le",
        b"i1e",
        b"dee",
        b"d1:mi1ee",
        b"d1:md11:ut_metadatai-1eee",
        b"d1:md11:ut_metadatai256eee",
        b"d1:md11:ut_metadata1:xee",
        b"d13:metadata_sizei104857601ee",
        b"d13:metadata_sizei-5ee",
        b"d13:metadata_sizei99999999999999999999ee",
        b"d1:pi65536ee",
        b"d4:reqqi05ee",
        b"d4:reqqi4294967296ee",
        b"d11:posse_blocki0ee",
        b"d11:posse_blocki16383ee",
        b"d11:posse_chain19:ccccccccccccccccccce",
        b"d11:posse_chain21:ccccccccccccccccccccce",
        b"d11:posse_chaini1ee",
        b"d1:md11:posse_chaini256eee",
        b"d1:md12:posse_ticketi-1eee",
        b"d1:md12:posse_ticketi256eee",
        b"d4:reqqi1e4:reqqi2ee",
        b"d1:v1:x4:reqqi1ee",
        b"d1:v99999999999:xe",
        b"d1:v99999999999999999999999:xe",
        b"d1:v-1:xe",
        &nested,
        &long,
    ] {
        assert!(ExtendedHandshake::decode(bad).is_err(), "{}", bad.escape_ascii());
    }
}

#[test]
fn metadata_messages_of_others() {
    let decode = MetadataMessage::decode;
    assert_eq!(
        decode(b"d8:msg_typei0e5:piecei0ee"),
        Ok(MetadataMessage::Request { part: 0 }),
        "the example of BEP 9"
    );
    assert_eq!(
        decode(b"d8:msg_typei2e5:piecei0ee"),
        Ok(MetadataMessage::Reject { part: 0 }),
        "the example of BEP 9"
    );
    let data = MetadataMessage::Data { part: 0, total: 4, bytes: b"abcd".into() };
    assert_eq!(decode(b"d8:msg_typei1e5:piecei0e10:total_sizei4eeabcd"), Ok(data));
    assert_eq!(decode(b"d8:msg_typei4e1:xdeeanything"), Ok(MetadataMessage::Unknown { kind: 4 }));
    for bad in [
        &b""[..],
        b"de",
        b"d8:msg_typei0ee",
        b"d5:piecei0ee",
        b"d8:msg_typei-1e5:piecei0ee",
        b"d8:msg_typei0e5:piecei-1ee",
        b"d8:msg_typei0e5:piecei4294967296ee",
        b"d8:msg_typei0e5:piecei0eex",
        b"d8:msg_typei2e5:piecei0eex",
        b"d8:msg_typei1e5:piecei0eeabcd",
        b"d8:msg_typei1e5:piecei0e10:total_sizei4eeabc",
        b"d8:msg_typei1e5:piecei0e10:total_sizei4eeabcde",
        b"d8:msg_typei1e5:piecei1e10:total_sizei4eeabcd",
        b"d8:msg_typei1e5:piecei0e10:total_sizei0ee",
        b"d8:msg_typei1e5:piecei4294967295e10:total_sizei104857600eex",
        b"d8:msg_typei1e5:piecei0e10:total_sizei104857601eex",
    ] {
        assert!(decode(bad).is_err(), "{}", bad.escape_ascii());
    }
}

#[test]
fn parts_cover_an_info_dictionary() {
    let part = limits::METADATA_PART_LEN as u64;
    for total in [1, part - 1, part, part + 1, 5 * part, limits::INFO_DICTIONARY_LEN_MAX as u64] {
        let count = MetadataMessage::part_count(total) as u32;
        let sum: usize = (0..count).map(|n| MetadataMessage::part_len(n, total).unwrap()).sum();
        assert_eq!(sum as u64, total);
        assert_eq!(MetadataMessage::part_len(count, total), None);
        assert_eq!(MetadataMessage::part_len(u32::MAX, total), None);
    }
    assert_eq!(MetadataMessage::part_count(0), 0);
}

#[test]
fn every_cut_of_an_extension_payload_is_refused() {
    for payload in ExtendedHandshake::examples().iter().map(ExtendedHandshake::encode) {
        assert_eq!(
            ExtendedHandshake::decode(&[&payload[..], b"x"].concat()),
            Err(WireError::Trailing(1))
        );
        (0..payload.len())
            .for_each(|len| assert!(ExtendedHandshake::decode(&payload[..len]).is_err()));
    }
    for payload in MetadataMessage::examples().iter().map(MetadataMessage::encode) {
        (0..payload.len())
            .for_each(|len| assert!(MetadataMessage::decode(&payload[..len]).is_err()));
    }
}

proptest! {
    #[test]
    fn messages_round_trip(message in samples::<PeerMessage>()) {
        prop_assert_eq!(read(&message.to_bytes()).unwrap(), message);
    }

    #[test]
    fn extension_handshakes_round_trip(handshake in samples::<ExtendedHandshake>()) {
        prop_assert_eq!(ExtendedHandshake::decode(&handshake.encode()), Ok(handshake));
    }

    #[test]
    fn metadata_messages_round_trip(message in samples::<MetadataMessage>()) {
        prop_assert_eq!(MetadataMessage::decode(&message.encode()), Ok(message));
    }

    #[test]
    fn noise_never_panics(bytes: Vec<u8>, id: u8, len in 0u32..64) {
        let _ = read(&bytes);
        let _ = read(&[&len.to_be_bytes()[..], &[id], &bytes].concat());
        let _ = ExtendedHandshake::decode(&bytes);
        let _ = MetadataMessage::decode(&bytes);
    }

    /// Noise made of the characters of bencode gets further into a decoder than any other.
    #[test]
    fn bencode_like_noise_never_panics(text in "d?[dlei0-9:-]{0,40}(1:m|1:v|4:reqq|8:msg_type|5:piece)?[dlei0-9:-]{0,40}e?e?") {
        let _ = ExtendedHandshake::decode(text.as_bytes());
        let _ = MetadataMessage::decode(text.as_bytes());
    }

    #[test]
    fn one_wrong_byte_never_panics(handshake in samples::<ExtendedHandshake>(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut payload = handshake.encode();
        let at = at.index(payload.len());
        payload[at] = byte;
        if let Ok(other) = ExtendedHandshake::decode(&payload) {
            prop_assert_eq!(ExtendedHandshake::decode(&other.encode()), Ok(other));
        }
    }
}
