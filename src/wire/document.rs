//! Holds docs/PROTOCOL.md and the code together: neither can change without the other.
//!
//! The tables of the document are read as a schema, and a decoder that knows nothing but that
//! schema walks messages the code encoded. What it must find: every tag the code decodes and no
//! other, under the same names; every field, in order, with its type and length; every structure
//! that has a length before it; and every limit with its value. The rest of the document is prose,
//! and only its readers check it.

mod schema;

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};
use std::io::{self, Read};
use std::time::Duration;

use bendy::decoding::Object;
use proptest::prelude::*;

use self::schema::{BLOCK, Schema, Shape, code, debug_fields};
use super::checks::{grow, variant_name};
use super::codec::{self, Fields, ListItem};
use super::metainfo::Metainfo;
use super::peer::{self, ExtendedHandshake, Handshake, MetadataMessage, PeerId, PeerMessage};
use super::replication::{LinkRefusal, ReplicaHello, ReplicaWelcome, ToAcceptor, ToDialler};
use super::samples::{Sample, samples};
use super::tracker::{
    AnnounceEntry, ClientHello, Event, FromClient, FromTracker, Hello, MAGIC, Opening, ProbeHello,
    Reply, Request, Resolved, Unwelcome, Welcome,
};
use super::{VERSION_NEWEST, VERSION_OLDEST, Wire, WireError, bencode};
use crate::types::{
    Candidate, ChainHash, DeviceEntry, DeviceId, DeviceName, DeviceRow, DownloadState, Durable,
    Effect, FileEntry, FileFacts, FileId, FileName, FileOrder, FileRow, GroupEntry, GroupId,
    GroupName, GroupRow, GroupSettings, InfoHash, InvitationEntry, InvitationId, InvitationRow,
    InvitationSecret, InvitationUseRow, KeyRotation, Label, Limit, Lineage, MemberEntry,
    MembershipRow, MembershipState, Part, Password, PasswordHash, Pattern, PeerEntry, Place,
    PublicKey, PunchSecret, Refusal, RelayMeeting, RelayParty, RelaySecret, RequestEntry,
    RequestId, RequestRow, RequestStamp, RotationStage, Row, RowBatch, SessionToken, SettingName,
    Sha1Digest, SharingRow, Signature, Stamp, StoreId, Success, Ticket, TicketClaims, TokenClaims,
    TrackerEntry, TrackerState, UserEntry, UserId, UserName, UserRow, Version, VersionVector,
    limits,
};

const DOCUMENT: &str = include_str!("../../docs/PROTOCOL.md");
const LIMITS: &str = include_str!("../types/limits.rs");

/// Checks one type's examples against its table, and takes the table off the list of those
/// unchecked.
fn check<T: Wire + Sample + Debug>(
    schema: &Schema,
    unchecked: &mut BTreeMap<String, Shape>,
    name: &str,
) {
    let shape = check_bytes::<T>(schema, unchecked, name, Wire::to_bytes);
    if let Shape::Tagged(rows) = &shape {
        let known: Vec<u8> = (0..=255).filter(|&tag| knows_tag::<T>(tag)).collect();
        assert!(rows.keys().eq(&known), "{name} has the tags {known:?}, not {:?}", rows.keys());
    }
}

/// The same for what is only ever a part of a row.
fn check_part<T: Fields + Sample + Debug>(
    schema: &Schema,
    unchecked: &mut BTreeMap<String, Shape>,
    name: &str,
) {
    check_bytes::<T>(schema, unchecked, name, |value| {
        let mut bytes = Vec::new();
        value.encode_fields(&mut bytes);
        bytes
    });
}

fn check_bytes<T: Sample + Debug>(
    schema: &Schema,
    unchecked: &mut BTreeMap<String, Shape>,
    name: &str,
    to_bytes: impl Fn(&T) -> Vec<u8>,
) -> Shape {
    let shape = unchecked.remove(name);
    let shape = shape.unwrap_or_else(|| panic!("{name} has no table in docs/PROTOCOL.md"));
    for example in T::examples() {
        let bytes = to_bytes(&example);
        let mut leaf = |kind: &str, value: &[u8]| check_leaf(name, kind, value);
        schema
            .walk_all(name, &bytes, &mut leaf)
            .unwrap_or_else(|why| panic!("{example:?} is not as docs/PROTOCOL.md says: {why}"));
        let fields = match &shape {
            Shape::Tagged(rows) => {
                let row = &rows[&bytes[0]];
                let is_named = name == "Address" || row.name == variant_name(&example);
                assert!(is_named, "tag {} of {name} is {example:?}", bytes[0]);
                &row.fields
            }
            Shape::Fields(fields, _) => fields,
            Shape::Bytes(_) | Shape::Text(..) | Shape::RowOfKind(_) => continue,
        };
        let named = debug_fields(&format!("{example:?}"));
        assert!(
            // The opening has its two versions in one field.
            name == "Opening"
                || named.is_empty()
                || named.iter().eq(fields.iter().map(|field| &field.name)),
            "{name}: {fields:?}, not {named:?}"
        );
    }
    shape
}

/// Checks that a value in an example is that type's example: types of one length are told apart by
/// what stands in them.
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
        UserId GroupId FileId RequestId DeviceId InfoHash Sha1Digest ChainHash Signature PublicKey Stamp UserName
        GroupName DeviceName FileName Label Password PasswordHash SettingName Pattern InvitationId
        InvitationSecret RelaySecret PunchSecret
    );
    assert_eq!(value, want, "what {name} calls {kind} is something else");
}

/// Tells whether a message may begin with that tag: then something else is wrong with a message
/// without fields, or nothing.
fn knows_tag<T: Wire + Debug>(tag: u8) -> bool {
    match T::from_bytes(&[tag, 0, 0, 0, 0]) {
        Ok(message) => !matches!(&*variant_name(&message), "Unknown" | "Other"),
        Err(WireError::UnknownTag { tag: unknown, .. }) => unknown != u64::from(tag),
        Err(_) => true,
    }
}

#[test]
fn every_message_is_as_documented() {
    let schema = Schema::read(DOCUMENT);
    let mut unchecked = schema.shapes.clone();
    macro_rules! check_all {
        ($check:ident: $($type:ident)*) => { $($check::<$type>(&schema, &mut unchecked, stringify!($type));)* };
    }
    check_all!(check:
        Opening ClientHello ProbeHello FromClient Request AnnounceEntry FromTracker Welcome Unwelcome Reply Refusal Limit
        Success Effect Event DeviceEntry UserEntry GroupEntry Part MemberEntry InvitationEntry GroupSettings RequestEntry FileEntry FileFacts FileOrder
        Resolved PeerEntry Candidate DownloadState TrackerEntry TrackerState RequestStamp
        ReplicaHello ToDialler ReplicaWelcome LinkRefusal ToAcceptor RowBatch Durable VersionVector Lineage
        Row Version Place MembershipState TokenClaims SessionToken TicketClaims Ticket
        u8 u16 u32 u64 bool UserId GroupId StoreId FileId RequestId DeviceId InfoHash Sha1Digest ChainHash Signature
        InvitationId InvitationSecret PunchSecret RelaySecret RelayParty RelayMeeting KeyRotation RotationStage PublicKey Stamp UserName GroupName DeviceName FileName Label Password PasswordHash SettingName Pattern
    );
    check_all!(check_part: UserRow GroupRow MembershipRow FileRow SharingRow RequestRow DeviceRow InvitationRow InvitationUseRow);
    check::<(GroupId, InvitationId)>(&schema, &mut unchecked, "InvitationPlace");
    check::<std::net::SocketAddr>(&schema, &mut unchecked, "Address");
    check::<(StoreId, u64)>(&schema, &mut unchecked, "StoreSequence");
    check::<(GroupId, Label)>(&schema, &mut unchecked, "FilePlace");
    // These are parts of other types in the code; walking the others has walked them.
    let parts: Vec<&str> = unchecked.keys().map(String::as_str).collect();
    let want = ["HelloKind", "Ipv4", "Ipv6", "Magic", "Note", "SettingValue"];
    assert_eq!(parts, want, "tables that nothing in the code answers to");
    let Shape::Tagged(kinds) = &schema.shapes["HelloKind"] else { panic!("HelloKind has no tags") };
    for hello in Hello::examples() {
        let bytes = Opening::new(hello.clone()).to_bytes();
        let versions = [VERSION_OLDEST.to_be_bytes(), VERSION_NEWEST.to_be_bytes()].concat();
        assert!(bytes.starts_with(&MAGIC) && bytes[4..8] == versions);
        assert_eq!(kinds[&bytes[8]].name, variant_name(&hello));
    }
    let kind_known = |&kind: &u8| {
        let bytes =
            [&MAGIC[..], &VERSION_OLDEST.to_be_bytes(), &VERSION_NEWEST.to_be_bytes(), &[kind]]
                .concat();
        Opening::from_bytes(&bytes)
            != Err(WireError::UnknownTag { what: "hello", tag: kind.into() })
    };
    assert!(kinds.keys().copied().eq((0..=255).filter(kind_known)));
}

/// Where the blocks of a message begin, each behind those around it.
fn blocks(schema: &Schema, name: &str, bytes: &[u8]) -> Vec<Vec<usize>> {
    let start = bytes.as_ptr().addr();
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    let mut leaf = |kind: &str, block: &[u8]| {
        if kind == BLOCK {
            let at = block.as_ptr().addr() - start;
            ranges.push((at - 4, at + block.len()));
        }
    };
    schema.walk_all(name, bytes, &mut leaf).unwrap();
    let around = |&(at, end): &(usize, usize)| {
        let holds = |&&(from, to): &&(usize, usize)| from <= at && end <= to;
        ranges.iter().filter(holds).map(|&(from, _)| from).collect()
    };
    ranges.iter().map(around).collect()
}

/// Fields that a later version has added to any structure or message, at any level.
fn check_skipping<T: Wire + Debug + PartialEq>(schema: &Schema, name: &str, message: &T) {
    let bytes = message.to_bytes();
    for around in blocks(schema, name, &bytes) {
        for more in [&[0][..], &[0xff; 5], &[1; 300]] {
            let mut grown = bytes.clone();
            grow(&mut grown, &around, more);
            assert_eq!(T::from_bytes(&grown).as_ref(), Ok(message), "{around:?} of {name}");
        }
        let mut cut = bytes.clone();
        let &at = around.last().unwrap();
        let len = u32::from_be_bytes(cut[at..at + 4].try_into().unwrap());
        if let Some(shorter) = len.checked_sub(1) {
            cut[at..at + 4].copy_from_slice(&shorter.to_be_bytes());
            assert!(T::from_bytes(&cut).is_err(), "{around:?} of {name} with a byte less");
        }
    }
}

#[test]
fn fields_of_later_versions_are_skipped_at_every_level() {
    let schema = Schema::read(DOCUMENT);
    for hello in Hello::examples() {
        check_skipping(&schema, "Opening", &Opening::new(hello));
    }
    for request in Request::examples() {
        check_skipping(&schema, "FromClient", &FromClient { number: 9, request });
    }
    let refusals = Refusal::examples().into_iter().map(Reply::Refused);
    for reply in Reply::examples().into_iter().chain(refusals) {
        check_skipping(
            &schema,
            "FromTracker",
            &FromTracker::Reply { number: 9, clock_ms: 7, reply },
        );
    }
    for event in Event::examples() {
        check_skipping(&schema, "FromTracker", &FromTracker::Event(event));
    }
    check_skipping(&schema, "FromTracker", &FromTracker::example());
    ToAcceptor::examples()
        .iter()
        .for_each(|message| check_skipping(&schema, "ToAcceptor", message));
    ToDialler::examples().iter().for_each(|message| check_skipping(&schema, "ToDialler", message));
}

proptest! {
    #[test]
    fn any_message_is_as_documented(
        opening in samples::<Opening>(),
        from_client in samples::<FromClient>(),
        from_tracker in samples::<FromTracker>(),
        to_acceptor in samples::<ToAcceptor>(),
        to_dialler in samples::<ToDialler>(),
    ) {
        let schema = Schema::read(DOCUMENT);
        for (name, bytes) in [
            ("Opening", opening.to_bytes()),
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
        for value in T::examples() {
            assert_eq!(rows[&value.to_bytes()[0]].meaning, value.to_string());
        }
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
        ($($type:ident)*) => {
            BTreeMap::from([$((stringify!($type).to_owned(), <$type as ListItem>::COUNT_MAX)),*])
        };
    }
    let mut want = most!(
        Label GroupEntry MemberEntry DeviceEntry InvitationEntry RequestEntry FileEntry PeerEntry Candidate TrackerEntry AnnounceEntry GroupId
        Ticket Row
    );
    want.insert("StoreSequence".into(), limits::STORES_MAX);
    assert_eq!(<(StoreId, u64) as ListItem>::COUNT_MAX, limits::ANCESTORS_MAX);
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

/// Every constant of types/limits.rs, and those of the wire that another client or tracker must
/// know.
fn constants() -> BTreeMap<String, String> {
    macro_rules! of {
        ($($module:ident: $($name:ident)*;)*) => {
            BTreeMap::from([$($((stringify!($name).to_owned(), $module::$name.written())),*),*])
        };
    }
    let mut constants = of!(
        limits: NAME_LEN_MAX DEVICES_PER_USER_MAX DEVICES_PER_LIST_MAX INVITATIONS_PER_USER_MAX
            INVITATIONS_KEPT_MAX INVITATION_USES_MAX INVITATION_DAYS_MAX FILE_NAME_LEN_MAX LABEL_LEN_MAX PASSWORD_LEN_MAX PASSWORD_HASH_LEN_MAX
            TRACKER_FRAME_LEN_MAX TRACKER_REQUEST_LEN_MAX TRACKER_FRAME_LEN_MAX_BEFORE_LOGIN
            PEER_MESSAGE_LEN_MAX INFO_DICTIONARY_LEN_MAX METADATA_PART_LEN PIECE_LEN PIECE_LEN_MAX
            PIECE_COUNT_MAX BLOCK_LEN BLOCK_LEN_MAX HANDSHAKE_TIMEOUT MESSAGE_TIMEOUT PRESENCE_TIMEOUT
            PING_INTERVAL REPLICATION_ACK_TIMEOUT CLOCK_AHEAD_MAX TOKEN_LIFETIME TICKET_LIFETIME
            TICKETS_PER_REQUEST_MAX TRACKER_CONNECTIONS_MAX TRACKER_CONNECTIONS_PER_ADDRESS_BEFORE_LOGIN
            CLIENT_CONNECTIONS_MAX WINDOW_SUM_MAX SHARES_PER_MEMBER_MAX ROWS_PER_BATCH_MAX
            ROWS_PER_REQUEST_MAX ROW_LEN_MAX STORES_MAX ANCESTORS_MAX NOTE_LEN_MAX REQUEST_TIME_MAX
            RETENTION ANNOUNCE_ENTRIES_MAX PAGE_ENTRIES_MAX PEERS_PER_ANSWER_MAX CANDIDATES_MAX TRACKERS_MAX;
    );
    let of_limits: Vec<&str> = LIMITS
        .lines()
        .filter_map(|line| line.strip_prefix("pub const ")?.split(':').next())
        .collect();
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
        codec: SHARERS_SHOWN_MAX PEERS_PER_FRAME_MAX SETTING_NAME_LEN_MAX;
    ));
    constants
}

#[test]
fn limits_are_as_documented() {
    let documented: BTreeMap<String, String> = Schema::read(DOCUMENT)
        .table("constant | value | of what")
        .iter()
        .map(|row| (code(&row[0]), row[1].clone()))
        .collect();
    assert_eq!(documented, constants());
}

#[test]
fn ids_are_derived_as_documented() {
    let rows = Schema::read(DOCUMENT).table("kind | name | creator | request id | id");
    let request = RequestId::from_bytes([0x44; 16]);
    let user = UserId::derive(&"nik".parse().unwrap(), request);
    let group = GroupId::derive(&"lab".parse().unwrap(), UserId::from_bytes([0x11; 16]), request);
    assert_eq!(
        rows.iter().map(|row| code(&row[4])).collect::<Vec<_>>(),
        [user.to_string(), group.to_string()]
    );
}

#[test]
fn the_file_id_is_derived_as_documented() {
    let row = Schema::read(DOCUMENT).table("facts | file id");
    let facts = FileFacts::example();
    let without = FileFacts { chain: None, ..facts.clone() };
    let ids: Vec<String> = row.iter().map(|row| code(&row[1])).collect();
    assert_eq!(ids, [facts.id().to_string(), without.id().to_string()]);
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
            "reserved" => {
                code(&row[3]).split(' ').map(|hex| u8::from_str_radix(hex, 16).unwrap()).collect()
            }
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
        let named: Vec<&str> =
            fields.split(", ").filter_map(|field| field.split(':').next()).collect();
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
            for name in [peer::EXTENSION_CHAIN, peer::EXTENSION_TICKET, "ut_metadata"] {
                let name = name.as_bytes();
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
    let documented: Vec<Vec<String>> =
        tables.iter().map(|rows| rows.iter().map(|row| code(&row[0])).collect()).collect();
    assert_eq!(
        documented,
        [keys(&ExtendedHandshake::example().encode()), keys(&Metainfo::example().to_bytes())]
    );

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
    let takes = |key: &str, number: u64| {
        ExtendedHandshake::decode(format!("d{}:{key}i{number}ee", key.len()).as_bytes()).is_ok()
    };
    for key in ["metadata_size", "p", "reqq"] {
        assert!(takes(key, limit(key)) && !takes(key, limit(key) + 1), "{key}");
    }
    assert_eq!(limit("posse_block"), u64::from(limits::BLOCK_LEN_MAX));
    assert!(
        takes("posse_block", limits::BLOCK_LEN.into())
            && !takes("posse_block", u64::from(limits::BLOCK_LEN) - 1)
    );
}
