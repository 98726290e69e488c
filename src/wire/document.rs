//! Holds docs/PROTOCOL.md and the code together: neither can change without the other.
//!
//! The tables of the document are read as a schema, and a decoder that knows nothing but that schema walks messages the code
//! encoded. What it must find: every tag the code decodes and no other, under the same names; every field, in order, with its type and length; and every
//! limit with its value. The rest of the document is prose, and nobody checks it but its readers.

mod schema;

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};
use std::io::{self, Read};
use std::time::Duration;

use bendy::decoding::Object;
use proptest::prelude::*;

use self::schema::{Schema, Shape, code, debug_fields};
use super::checks::variant_name;
use super::codec::{self, ListItem};
use super::metainfo::Metainfo;
use super::peer::{self, ExtendedHandshake, Handshake, MetadataMessage, PeerId, PeerMessage};
use super::replication::{LinkRefusal, ReplicaHello, ReplicaWelcome, ToAcceptor, ToDialler};
use super::samples::{Sample, samples};
use super::tracker::{
    AnnounceEntry, ClientHello, Event, FromClient, FromTracker, Hello, MAGIC, Reply, Request, Resolved, Unwelcome, VERSION,
    Welcome,
};
use super::{Wire, WireError, bencode};
use crate::types::{
    DeviceId, DownloadState, Effect, FileEntry, FileFacts, FileName, GroupEntry, GroupId, GroupName, InfoHash, Label,
    MemberEntry, MembershipState, Operation, StoreId, Part, Password, PasswordHash, PeerEntry, Refusal, RequestEntry, RequestId,
    SessionToken, Sha1Digest, Signature, Stamp, Tag, Ticket, TicketClaims, TokenClaims, TrackerEntry, TrackerInfo, TrackerState,
    UserEntry, UserId, UserName, VersionVector, Write, limits,
};

const DOCUMENT: &str = include_str!("../../docs/PROTOCOL.md");
const LIMITS: &str = include_str!("../types/limits.rs");

/// Checks one type's examples against its table, and takes the table off the list of those unchecked.
fn check<T: Wire + Sample + Debug>(schema: &Schema, unchecked: &mut BTreeMap<String, Shape>, name: &str) {
    let shape = unchecked.remove(name).unwrap_or_else(|| panic!("{name} has no table in docs/PROTOCOL.md"));
    for example in T::examples() {
        let bytes = example.to_bytes();
        let mut leaf = |kind: &str, value: &[u8]| check_leaf(name, kind, value);
        schema
            .walk_all(name, &bytes, &mut leaf)
            .unwrap_or_else(|why| panic!("{example:?} is not as docs/PROTOCOL.md says: {why}"));
        let fields = match &shape {
            Shape::Tagged(rows) => {
                let row = &rows[&bytes[0]];
                assert!(name == "Address" || row.name == variant_name(&example), "tag {} of {name} is {example:?}", bytes[0]);
                &row.fields
            }
            Shape::Fields(fields) => fields,
            Shape::Bytes(_) | Shape::Text(..) => continue,
        };
        let named = debug_fields(&format!("{example:?}"));
        assert!(named.is_empty() || named.iter().eq(fields.iter().map(|field| &field.name)), "{name}: {fields:?}, not {named:?}");
    }
    if let Shape::Tagged(rows) = &shape {
        let known: Vec<u8> = (0..=255).filter(|&tag| knows_tag::<T>(tag)).collect();
        assert!(rows.keys().eq(&known), "{name} has the tags {known:?}, not {:?}", rows.keys());
    }
}

/// Checks that a value in an example is that type's example: types of one length are told apart by what stands in them.
fn check_leaf(name: &str, kind: &str, value: &[u8]) {
    macro_rules! example {
        ($($type:ident)*) => {
            match kind {
                $(stringify!($type) => $type::example().to_bytes(),)*
                "u64" => return assert_ne!(value, Stamp::example().to_bytes(), "a Stamp in {name} is called {kind}"),
                _ => return,
            }
        };
    }
    let want = example!(
        UserId GroupId RequestId DeviceId InfoHash Sha1Digest Signature Stamp UserName GroupName FileName Label Password
        PasswordHash
    );
    assert_eq!(value, want, "what {name} calls {kind} is something else");
}

/// Tells whether a message may begin with that tag: then something else is wrong with a message of nothing but the tag, or nothing.
fn knows_tag<T: Wire>(tag: u8) -> bool {
    !matches!(T::from_bytes(&[tag]), Err(WireError::UnknownTag { tag: unknown, .. }) if unknown == u64::from(tag))
}

#[test]
fn every_message_is_as_documented() {
    let schema = Schema::read(DOCUMENT);
    let mut unchecked = schema.shapes.clone();
    macro_rules! check_all {
        ($($type:ident)*) => { $(check::<$type>(&schema, &mut unchecked, stringify!($type));)* };
    }
    check_all!(
        Hello ClientHello FromClient Request AnnounceEntry FromTracker Welcome Unwelcome Reply Refusal Effect Event UserEntry GroupEntry
        Part MemberEntry RequestEntry FileEntry FileFacts Resolved PeerEntry DownloadState TrackerEntry TrackerState ReplicaHello
        ToDialler ReplicaWelcome LinkRefusal ToAcceptor VersionVector Operation Write MembershipState
        Tag TokenClaims SessionToken TicketClaims Ticket
        u8 u16 u32 u64 bool UserId GroupId StoreId RequestId DeviceId InfoHash Sha1Digest Signature Stamp UserName GroupName
        FileName Label Password PasswordHash
    );
    check::<std::net::SocketAddr>(&schema, &mut unchecked, "Address");
    // These are parts of other types in the code; walking the others has walked them.
    let parts: Vec<&str> = unchecked.keys().map(String::as_str).collect();
    assert_eq!(parts, ["HelloKind", "Ipv4", "Ipv6", "Magic", "VectorEntry"], "tables that nothing in the code answers to");
    let Shape::Tagged(kinds) = &schema.shapes["HelloKind"] else { panic!("HelloKind has no tags") };
    for hello in Hello::examples() {
        let bytes = hello.to_bytes();
        assert!(bytes.starts_with(&MAGIC) && u16::from_be_bytes([bytes[4], bytes[5]]) == VERSION);
        assert_eq!(kinds[&bytes[6]].name, variant_name(&hello));
    }
    let kind_known = |&kind: &u8| Hello::from_bytes(&[&MAGIC[..], &[0, VERSION as u8, kind]].concat()) != unknown_hello(kind);
    assert!(kinds.keys().copied().eq((0..=255).filter(kind_known)));
}

fn unknown_hello(kind: u8) -> Result<Hello, WireError> {
    Err(WireError::UnknownTag { what: "hello", tag: kind.into() })
}

proptest! {
    #[test]
    fn any_message_is_as_documented(
        hello in samples::<Hello>(),
        from_client in samples::<FromClient>(),
        from_tracker in samples::<FromTracker>(),
        to_acceptor in samples::<ToAcceptor>(),
        to_dialler in samples::<ToDialler>(),
    ) {
        let schema = Schema::read(DOCUMENT);
        for (name, bytes) in [
            ("Hello", hello.to_bytes()),
            ("FromClient", from_client.to_bytes()),
            ("FromTracker", from_tracker.to_bytes()),
            ("ToAcceptor", to_acceptor.to_bytes()),
            ("ToDialler", to_dialler.to_bytes()),
        ] {
            prop_assert_eq!(schema.walk_all(name, &bytes, &mut |_, _| {}), Ok(()), "{}", name);
        }
    }
}

#[test]
fn what_the_code_says_in_words_the_document_says() {
    fn check<T: Wire + Sample + Display>(schema: &Schema, name: &str) {
        let Shape::Tagged(rows) = &schema.shapes[name] else { panic!("{name} has no tags") };
        T::examples().iter().for_each(|value| assert_eq!(rows[&value.to_bytes()[0]].meaning, value.to_string()));
    }
    let schema = Schema::read(DOCUMENT);
    check::<Refusal>(&schema, "Refusal");
    check::<LinkRefusal>(&schema, "LinkRefusal");
    check::<Unwelcome>(&schema, "Unwelcome");
}

#[test]
fn every_request_is_answered_with_a_reply_there_is() {
    let schema = Schema::read(DOCUMENT);
    let Shape::Tagged(replies) = &schema.shapes["Reply"] else { panic!("Reply has no tags") };
    let table = schema.table("tag | name | fields | answered with | meaning");
    assert_eq!(table.len(), Request::examples().len());
    for row in table {
        assert!(replies.values().any(|reply| reply.name == code(&row[3])), "{row:?}");
    }
}

#[test]
fn lists_are_bounded_as_documented() {
    macro_rules! most {
        ($($type:ident)*) => { BTreeMap::from([$((stringify!($type).to_owned(), <$type as ListItem>::COUNT_MAX)),*]) };
    }
    let mut want = most!(Label GroupEntry MemberEntry RequestEntry FileEntry PeerEntry TrackerEntry AnnounceEntry GroupId Ticket Operation Write);
    want.insert("VectorEntry".into(), limits::ORIGINS_MAX);
    assert_eq!(Schema::read(DOCUMENT).lists, want);
}

/// Writes numbers as the document does.
fn grouped(number: u128) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A constant's value as the document writes it.
trait Constant {
    fn written(&self) -> String;
}

impl Constant for Duration {
    fn written(&self) -> String {
        assert_eq!(self.subsec_nanos(), 0);
        format!("{} s", grouped(self.as_secs().into()))
    }
}

macro_rules! number_constants {
    ($($type:ty)*) => {$(
        impl Constant for $type {
            fn written(&self) -> String {
                grouped(*self as u128)
            }
        }
    )*};
}
number_constants!(usize u32 u64);

/// Every constant of types/limits.rs, and those of the wire that another client or tracker must know.
fn constants() -> BTreeMap<String, String> {
    macro_rules! of {
        ($($module:ident: $($name:ident)*;)*) => { BTreeMap::from([$($((stringify!($name).to_owned(), $module::$name.written())),*),*]) };
    }
    let mut constants = of!(
        limits: NAME_LEN_MAX FILE_NAME_LEN_MAX LABEL_LEN_MAX PASSWORD_LEN_MAX PASSWORD_HASH_LEN_MAX TRACKER_FRAME_LEN_MAX
            TRACKER_REQUEST_LEN_MAX TRACKER_FRAME_LEN_MAX_BEFORE_LOGIN PEER_MESSAGE_LEN_MAX INFO_DICTIONARY_LEN_MAX METADATA_PART_LEN PIECE_LEN PIECE_LEN_MAX
            PIECE_COUNT_MAX BLOCK_LEN BLOCK_LEN_MAX HANDSHAKE_TIMEOUT MESSAGE_TIMEOUT PRESENCE_TIMEOUT PING_INTERVAL
            REPLICATION_ACK_TIMEOUT CLOCK_AHEAD_MAX TOKEN_LIFETIME TICKET_LIFETIME TICKETS_PER_REQUEST_MAX TRACKER_CONNECTIONS_MAX TRACKER_CONNECTIONS_PER_ADDRESS_BEFORE_LOGIN
            CLIENT_CONNECTIONS_MAX WINDOW_SUM_MAX OPERATION_WRITES_MAX SHARES_PER_MEMBER_MAX OPERATIONS_PER_BATCH_MAX ORIGINS_MAX
            ANNOUNCE_ENTRIES_MAX PAGE_ENTRIES_MAX PEERS_PER_ANSWER_MAX TRACKERS_MAX;
    );
    let of_limits: Vec<&str> = LIMITS.lines().filter_map(|line| line.strip_prefix("pub const ")?.split(':').next()).collect();
    for name in &of_limits {
        assert!(
            constants.contains_key(*name),
            "{name} is new in types/limits.rs: name it here and in docs/PROTOCOL.md, section 7"
        );
    }
    assert_eq!(constants.len(), of_limits.len(), "a constant has left types/limits.rs");
    constants.extend(of!(
        peer: BITFIELD_LEN_MAX EXTENDED_HANDSHAKE_LEN_MAX CLIENT_NAME_LEN_MAX;
        bencode: DEPTH_MAX;
        codec: SHARERS_SHOWN_MAX PEERS_PER_FRAME_MAX;
    ));
    constants
}

#[test]
fn limits_are_as_documented() {
    let documented: BTreeMap<String, String> =
        Schema::read(DOCUMENT).table("constant | value | of what").iter().map(|row| (code(&row[0]), row[1].clone())).collect();
    assert_eq!(documented, constants());
}

#[test]
fn ids_are_derived_as_documented() {
    let rows = Schema::read(DOCUMENT).table("kind | name | creator | request id | id");
    let request = RequestId::from_bytes([0x44; 16]);
    let user = UserId::derive(&"nik".parse().unwrap(), request);
    let group = GroupId::derive(&"lab".parse().unwrap(), UserId::from_bytes([0x11; 16]), request);
    assert_eq!(rows.iter().map(|row| code(&row[4])).collect::<Vec<_>>(), [user.to_string(), group.to_string()]);
    let network = TrackerInfo::parse("127.0.0.1:5000\n127.0.0.1:7000").unwrap().network();
    assert!(DOCUMENT.contains(&network.to_string()), "the network is {network}");
}

#[test]
fn the_handshake_is_as_documented() {
    let device = DeviceId::example();
    let bytes = Handshake::new(InfoHash::example(), PeerId::of_device(device)).encode();
    let rows = Schema::read(DOCUMENT).table("offset | size | field | value");
    let mut want = Vec::new();
    for row in &rows {
        assert_eq!(row[0], want.len().to_string(), "{row:?}");
        let value: Vec<u8> = match &row[2][..] {
            "length of the next field" => vec![row[3].parse().unwrap()],
            "protocol" => code(&row[3]).into_bytes(),
            "reserved" => code(&row[3]).split(' ').map(|hex| u8::from_str_radix(hex, 16).unwrap()).collect(),
            "info hash" => InfoHash::example().as_bytes().to_vec(),
            _ => [code(&row[3]).as_bytes(), &device.as_bytes()[..12]].concat(),
        };
        assert_eq!(value.len().to_string(), row[1], "{row:?}");
        want.extend(value);
    }
    assert_eq!(want, bytes);
}

/// A peer message whose body is `len` bytes, and whatever else a reader may want.
fn read_peer_message(id: u8, len: u32) -> Result<PeerMessage, peer::PeerError> {
    peer::read_message(&mut [&(len + 1).to_be_bytes()[..], &[id]].concat().chain(io::repeat(0)))
}

#[test]
fn peer_messages_are_as_documented() {
    let rows = Schema::read(DOCUMENT).table("id | message | body | source");
    let mut documented = BTreeMap::new();
    for row in &rows {
        let fields = code(&row[2]);
        let open = fields.ends_with("...");
        let len = |field: &str| {
            if field.ends_with("u32") {
                4
            } else if field.ends_with("u16") {
                2
            } else {
                u32::from(field.ends_with("u8"))
            }
        };
        let fixed: u32 = fields.split(", ").map(len).sum();
        documented.insert(row[0].parse::<u8>().unwrap(), (code(&row[1]), fixed, open, fields));
    }
    for id in 0..=255 {
        let Some((name, len, open, fields)) = documented.get(&id) else {
            assert!(
                matches!(read_peer_message(id, 3), Ok(PeerMessage::Unknown { len: 3, .. })),
                "message {id} is not documented"
            );
            continue;
        };
        let message = read_peer_message(id, *len).unwrap();
        assert_eq!(variant_name(&message), *name, "message {id}");
        assert!(*len == 0 || read_peer_message(id, len - 1).is_err(), "{name}");
        assert_eq!(read_peer_message(id, len + 1).is_ok(), *open, "{name}");
        let named: Vec<&str> = fields.split(", ").filter_map(|field| field.split(':').next()).collect();
        let in_code = debug_fields(&format!("{message:?}"));
        assert!(in_code.is_empty() || in_code == named, "{name}: {in_code:?}, not {named:?}");
    }
    let keepalive = PeerMessage::KeepAlive.to_bytes();
    assert_eq!(keepalive, [0; 4], "the only message without an id");
    assert_eq!(documented.len() + 1, PeerMessage::examples().len(), "keep-alive has no id");
}

/// The keys of the dictionary that `bytes` begin with.
fn keys(bytes: &[u8]) -> Vec<String> {
    let mut keys = Vec::new();
    bencode::read_dictionary("dictionary", bytes, |key, value| {
        if let Object::Dict(mut inner) = value {
            for name in [peer::EXTENSION_TICKET.as_bytes(), b"ut_metadata"] {
                assert_eq!(inner.next_pair().unwrap().map(|(key, _)| key), Some(name));
            }
        }
        keys.push(String::from_utf8(key.to_vec()).unwrap());
        Ok(())
    })
    .unwrap();
    keys
}

#[test]
fn dictionaries_are_as_documented() {
    let schema = Schema::read(DOCUMENT);
    let tables = schema.tables("key | value | limit");
    let documented: Vec<Vec<String>> = tables.iter().map(|rows| rows.iter().map(|row| code(&row[0])).collect()).collect();
    assert_eq!(documented, [keys(&ExtendedHandshake::example().encode()), keys(&Metainfo::example().to_bytes())]);

    let rows = schema.table("msg_type | message | keys | bytes behind the dictionary");
    assert_eq!(rows.len(), MetadataMessage::examples().len());
    for (row, message) in rows.iter().zip(MetadataMessage::examples()) {
        let mut want = vec!["msg_type".to_owned()];
        want.extend(row[2].split(", ").map(code));
        assert_eq!((keys(&message.encode()), variant_name(&message)), (want, code(&row[1])));
        let prefix = format!("d8:msg_typei{}e", row[0]);
        assert!(message.encode().starts_with(prefix.as_bytes()));
    }
}

#[test]
fn the_limits_of_dictionaries_are_as_documented() {
    let schema = Schema::read(DOCUMENT);
    let handshakes = &schema.tables("key | value | limit")[0];
    let limit = |key: &str| -> u64 {
        let row = handshakes.iter().find(|row| code(&row[0]) == key).unwrap();
        row[2].split(' ').next_back().unwrap().replace(',', "").parse().unwrap()
    };
    let takes = |key: &str, number: u64| ExtendedHandshake::decode(format!("d{}:{key}i{number}ee", key.len()).as_bytes()).is_ok();
    for key in ["metadata_size", "p", "reqq"] {
        assert!(takes(key, limit(key)) && !takes(key, limit(key) + 1), "{key}");
    }
    assert_eq!(limit("posse_block"), u64::from(limits::BLOCK_LEN_MAX));
    assert!(takes("posse_block", limits::BLOCK_LEN.into()) && !takes("posse_block", u64::from(limits::BLOCK_LEN) - 1));
}
