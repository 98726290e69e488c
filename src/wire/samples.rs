//! Values of every type that goes over a wire, for tests: fixed examples, and random ones drawn
//! from a tape of bytes.
//!
//! **Invariant:** every value drawn is valid, whatever is on the tape; an empty tape draws the
//! simplest. So `proptest` shrinks a failing message by shrinking its tape, and a type's values are
//! described once, for every test of the crate. What only a later version sends is not among them.

use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};

use proptest::collection::vec;
use proptest::prelude::{Strategy, any};

use super::VersionRange;
use super::metainfo::Metainfo;
use super::peer::{ExtendedHandshake, MetadataMessage, PeerMessage};
use super::replication::{LinkRefusal, ReplicaHello, ReplicaWelcome, ToAcceptor, ToDialler};
use super::tracker::{
    AnnounceEntry, ClientHello, Event, FromClient, FromTracker, Hello, Opening, ProbeHello, Reply,
    Request, Resolved, Unwelcome, Welcome,
};
use crate::types::{
    Candidate, CandidateKind, ChainHash, Content, DeviceEntry, DeviceId, DeviceName, DeviceRow,
    DownloadState, Durable, Effect, FileEntry, FileFacts, FileId, FileName, FileOrder, FileRow,
    Geometry, GroupEntry, GroupId, GroupName, GroupRow, GroupSettings, InfoHash, InvitationEntry,
    InvitationId, InvitationRow, InvitationSecret, InvitationUseRow, KeyRotation, Label, Limit,
    Lineage, MemberEntry, MembershipRow, MembershipState, Part, Password, PasswordHash, Pattern,
    PeerEntry, Place, PublicKey, PunchSecret, Refusal, RelayMeeting, RelayParty, RelaySecret,
    RequestEntry, RequestId, RequestRow, RequestStamp, RotationStage, Row, RowBatch, SessionToken,
    SettingName, Sha1Digest, SharingRow, Signature, Stamp, StoreId, Success, Ticket, TicketClaims,
    TokenClaims, TrackerEntry, TrackerState, UserEntry, UserId, UserName, UserRow, Version,
    VersionVector, limits,
};

/// Bytes from which values are drawn; zeros follow the last one.
pub(crate) struct Tape<'a>(&'a [u8]);

impl<'a> Tape<'a> {
    /// Starts at the first of `bytes`.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn byte(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or(0)
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte())
    }

    /// Draws a number below `count`, which is at most 256.
    fn below(&mut self, count: usize) -> usize {
        usize::from(self.byte()) % count
    }

    fn text(&mut self, len_max: usize, characters: &str) -> String {
        let characters: Vec<char> = characters.chars().collect();
        (0..1 + self.below(len_max)).map(|_| characters[self.below(characters.len())]).collect()
    }
}

/// A type whose values can be made up.
pub(crate) trait Sample: Sized {
    /// One fixed value.
    fn example() -> Self;

    /// Draws a value.
    fn sample(tape: &mut Tape<'_>) -> Self;

    /// One fixed value of each kind: of an enum, one of each variant.
    fn examples() -> Vec<Self> {
        vec![Self::example()]
    }
}

/// Draws values for a property test.
pub(crate) fn samples<T: Sample + Debug>() -> impl Strategy<Value = T> {
    vec(any::<u8>(), 0..512).prop_map(|bytes| T::sample(&mut Tape::new(&bytes)))
}

macro_rules! sample_integers {
    ($($type:ident $example:literal)*) => {$(
        impl Sample for $type {
            fn example() -> Self {
                $example
            }

            fn sample(tape: &mut Tape<'_>) -> Self {
                Self::from_be_bytes(tape.bytes())
            }
        }
    )*};
}
sample_integers!(u8 1 u16 0x0102 u32 0x0102_0304 u64 0x0102_0304_0506_0708);

macro_rules! sample_ids {
    ($($type:ident $example:literal)*) => {$(
        impl Sample for $type {
            fn example() -> Self {
                Self::from_bytes([$example; Self::LEN])
            }

            fn sample(tape: &mut Tape<'_>) -> Self {
                Self::from_bytes(tape.bytes())
            }
        }
    )*};
}
sample_ids!(
    UserId 0x11 GroupId 0x22 StoreId 0x33 RequestId 0x44 DeviceId 0x55 Sha1Digest 0x66 ChainHash 0x66 InfoHash 0x77
    Signature 0x88 FileId 0x99 PublicKey 0xaa InvitationId 0xbb InvitationSecret 0xcc RelaySecret 0xdd
    PunchSecret 0xee
);

macro_rules! sample_names {
    ($($type:ident $example:literal $len_max:literal $characters:literal;)*) => {$(
        impl Sample for $type {
            fn example() -> Self {
                $example.parse().unwrap()
            }

            /// A text that happens not to be a name gives way to the example.
            fn sample(tape: &mut Tape<'_>) -> Self {
                tape.text($len_max, $characters).parse().unwrap_or_else(|_| Self::example())
            }
        }
    )*};
}
sample_names!(
    UserName "nik" 64 "abyz_AZ019.-";
    GroupName "lab" 64 "abyz_AZ019.-";
    DeviceName "nik's laptop" 60 "ab Z'.-ü字🦀";
    FileName "über uns.pdf" 63 "ab Z~.-ü字🦀";
    Label "nik~2" 66 "ab Z~.-ü字🦀";
    SettingName "quota.groups" 66 "ab.:-";
    Pattern "*.pdf" 66 "ab*?Z.ü字🦀";
);

impl Sample for bool {
    fn example() -> Self {
        true
    }

    fn sample(tape: &mut Tape<'_>) -> Self {
        tape.below(2) == 1
    }
}

impl Sample for String {
    fn example() -> Self {
        "250".into()
    }

    fn sample(tape: &mut Tape<'_>) -> Self {
        tape.text(64, "ab 1\n字🦀")
    }
}

impl<A: Sample, B: Sample> Sample for (A, B) {
    fn example() -> Self {
        (A::example(), B::example())
    }

    fn sample(tape: &mut Tape<'_>) -> Self {
        (A::sample(tape), B::sample(tape))
    }
}

impl<T: Sample> Sample for Option<T> {
    fn example() -> Self {
        Some(T::example())
    }

    fn sample(tape: &mut Tape<'_>) -> Self {
        bool::sample(tape).then(|| T::sample(tape))
    }
}

impl<T: Sample> Sample for Vec<T> {
    fn example() -> Self {
        T::examples()
    }

    fn sample(tape: &mut Tape<'_>) -> Self {
        (0..tape.below(4)).map(|_| T::sample(tape)).collect()
    }
}

impl Sample for Password {
    fn example() -> Self {
        Self::new("open sesame".into()).unwrap()
    }

    fn sample(tape: &mut Tape<'_>) -> Self {
        Self::new(tape.text(256, "a 🦀$")).unwrap()
    }
}

impl Sample for PasswordHash {
    fn example() -> Self {
        Self::from_phc("$argon2id$v=19$m=8,t=1,p=1$c2FsdA$aGFzaA".into())
    }

    fn sample(tape: &mut Tape<'_>) -> Self {
        Self::from_phc(tape.text(256, "$abc=,123"))
    }
}

impl Sample for Stamp {
    fn example() -> Self {
        Self::new(1_700_000_000_000, 7)
    }

    fn sample(tape: &mut Tape<'_>) -> Self {
        Self::from_u64(u64::sample(tape))
    }
}

impl Sample for SocketAddr {
    fn example() -> Self {
        Self::examples().swap_remove(0)
    }

    fn sample(tape: &mut Tape<'_>) -> Self {
        let ip: IpAddr =
            if bool::sample(tape) { tape.bytes::<16>().into() } else { tape.bytes::<4>().into() };
        Self::new(ip, u16::sample(tape))
    }

    fn examples() -> Vec<Self> {
        ["10.1.2.3:6881", "[2001:db8::9]:6881"].map(|text| text.parse().unwrap()).into()
    }
}

impl Sample for VersionVector {
    fn example() -> Self {
        [(StoreId::example(), 9), (StoreId::from_bytes([0x34; 16]), 1 << 40)].into_iter().collect()
    }

    fn sample(tape: &mut Tape<'_>) -> Self {
        (0..tape.below(5)).map(|_| (StoreId::sample(tape), u64::sample(tape))).collect()
    }
}

impl Sample for VersionRange {
    fn example() -> Self {
        Self::OURS
    }

    /// A range in which a version is that this program speaks.
    fn sample(tape: &mut Tape<'_>) -> Self {
        Self { oldest: Self::OURS.oldest, newest: Self::OURS.newest + u16::from(tape.byte()) }
    }
}

impl Sample for Row {
    fn example() -> Self {
        Self::of(Sample::example(), &[])
    }

    fn sample(tape: &mut Tape<'_>) -> Self {
        let extra: Vec<u8> = (0..tape.below(8)).map(|_| tape.byte()).collect();
        let row = Self::of(Sample::sample(tape), &extra);
        Self { version: Sample::sample(tape), place: Sample::sample(tape), ..row }
    }

    /// One of each kind, one of each that was deleted, and one with fields of a later version.
    fn examples() -> Vec<Self> {
        let mut rows: Vec<Self> =
            Content::examples().into_iter().map(|content| Self::of(content, &[])).collect();
        rows.push(Self::of(Sample::example(), &[0xaa, 0xbb]));
        rows
    }
}

impl Row {
    /// A row with that content; what was deleted, and what is unknown, has no extra fields.
    pub(crate) fn of(content: Content, extra: &[u8]) -> Self {
        let has_none = matches!(
            content,
            Content::User(_, None)
                | Content::Group(_, None)
                | Content::File(_, _, None)
                | Content::Setting(_, None)
                | Content::Unknown(..)
        );
        let extra = if has_none { &[] } else { extra };
        Self { content, version: Sample::example(), place: Sample::example(), extra: extra.into() }
    }
}

impl Sample for Content {
    fn example() -> Self {
        Self::examples().swap_remove(0)
    }

    fn sample(tape: &mut Tape<'_>) -> Self {
        match tape.below(13) {
            0 => Self::User(Sample::sample(tape), Sample::sample(tape)),
            1 => Self::Group(Sample::sample(tape), Sample::sample(tape)),
            2 => Self::Membership(Sample::sample(tape), Sample::sample(tape), Sample::sample(tape)),
            3 => Self::Owner(Sample::sample(tape), Sample::sample(tape)),
            4 => Self::File(Sample::sample(tape), Sample::sample(tape), Sample::sample(tape)),
            5 => {
                let (group, file) = (Sample::sample(tape), Sample::sample(tape));
                Self::Sharing(group, file, Sample::sample(tape), Sample::sample(tape))
            }
            6 => Self::Request(Sample::sample(tape), Sample::sample(tape)),
            7 => Self::Setting(Sample::sample(tape), Sample::sample(tape)),
            8 => Self::Device(Sample::sample(tape), Sample::sample(tape), Sample::sample(tape)),
            9 => Self::Invitation(Sample::sample(tape), Sample::sample(tape), Sample::sample(tape)),
            10 => {
                let (group, invitation) = (Sample::sample(tape), Sample::sample(tape));
                Self::InvitationUse(group, invitation, Sample::sample(tape), Sample::sample(tape))
            }
            11 => Self::GroupSettings(Sample::sample(tape), Sample::sample(tape)),
            _ => {
                let kind = 12 + tape.below(244) as u8;
                let key = (0..tape.below(40)).map(|_| tape.byte()).collect();
                Self::Unknown(kind, key, (0..tape.below(40)).map(|_| tape.byte()).collect())
            }
        }
    }

    fn examples() -> Vec<Self> {
        vec![
            Self::User(Sample::example(), Sample::example()),
            Self::Group(Sample::example(), Sample::example()),
            Self::Membership(Sample::example(), Sample::example(), Sample::example()),
            Self::Owner(Sample::example(), Sample::example()),
            Self::File(Sample::example(), Sample::example(), Sample::example()),
            Self::Sharing(
                Sample::example(),
                Sample::example(),
                Sample::example(),
                Sample::example(),
            ),
            Self::Request(Sample::example(), Sample::example()),
            Self::Setting(Sample::example(), Sample::example()),
            Self::Device(Sample::example(), Sample::example(), Sample::example()),
            Self::Invitation(Sample::example(), Sample::example(), Sample::example()),
            Self::InvitationUse(
                Sample::example(),
                Sample::example(),
                Sample::example(),
                Sample::example(),
            ),
            Self::GroupSettings(Sample::example(), Sample::example()),
            Self::User(Sample::example(), None),
            Self::Group(Sample::example(), None),
            Self::File(Sample::example(), Sample::example(), None),
            Self::Setting(Sample::example(), None),
            Self::Unknown(200, vec![1, 2, 3], vec![4, 5]),
        ]
    }
}

/// As programs of today send it.
impl Sample for GroupEntry {
    fn example() -> Self {
        Self {
            group: Sample::example(),
            label: Sample::example(),
            part: Sample::example(),
            member_count: Sample::example(),
            owner: Sample::example(),
            requests: Some(Sample::example()),
            settings: Some(Sample::example()),
        }
    }

    fn sample(tape: &mut Tape<'_>) -> Self {
        Self {
            group: Sample::sample(tape),
            label: Sample::sample(tape),
            part: Sample::sample(tape),
            member_count: Sample::sample(tape),
            owner: Sample::sample(tape),
            requests: Some(Sample::sample(tape)),
            settings: Some(Sample::sample(tape)),
        }
    }
}

impl Sample for CandidateKind {
    fn example() -> Self {
        Self::Interface
    }

    fn sample(tape: &mut Tape<'_>) -> Self {
        match tape.byte() {
            0 => Self::Interface,
            1 => Self::Observed,
            2 => Self::Mapped,
            3 => Self::Advertised,
            code => Self::Other(code),
        }
    }
}

macro_rules! sample_structs {
    ($($type:ident { $($field:ident),* })*) => {$(
        impl Sample for $type {
            fn example() -> Self {
                Self { $($field: Sample::example()),* }
            }

            fn sample(tape: &mut Tape<'_>) -> Self {
                Self { $($field: Sample::sample(tape)),* }
            }
        }
    )*};
}
sample_structs! {
    FileFacts { info_hash, name, len, piece_len, sha1, chain }
    UserEntry { user, label }
    MemberEntry { user, owner, online, since, invited_by }
    InvitationEntry { group, label, invitation, inviter, created, expires_ms, uses, used }
    RequestEntry { user, since }
    DeviceEntry { device, name, stays_since, online, address, seen_ms }
    FileEntry { group, label, facts, sharers, sharer_count, online, at }
    PeerEntry { info_hash, group, device, user, address, state, candidates }
    Candidate { address, kind }
    RelayParty { user, device, secret }
    RelayMeeting { group, first, second }
    TrackerEntry { number, address, state, lag }
    UserRow { name, hash, created, replaced, must_change, is_disabled }
    GroupRow { name, created_by, created }
    MembershipRow { state, since, ended }
    FileRow { facts, shared_by, at, replaces, removed }
    SharingRow { on, admission }
    DeviceRow { on, name, since, password, ended }
    InvitationRow { inviter, created, expires_ms, uses, is_revoked }
    InvitationUseRow { inviter }
    GroupSettings { members_invite }
    RequestRow { actor, effect, note }
    RowBatch { rows, through, complete }
    Durable { checkpoint, vector }
    Lineage { store, ancestors }
    Success { effect, stamp }
    KeyRotation { stage, old, new, signature }
    Version { stamp, request }
    Place { store, sequence }
    RequestStamp { id, at }
    TokenClaims { user, device, password, issued_ms, expires_ms }
    SessionToken { claims, signature }
    TicketClaims { group, user, device, issued_ms, expires_ms }
    Ticket { claims, signature }
    ClientHello { port }
    ProbeHello { secret, rtt_ms }
    Opening { versions, hello }
    Welcome { version, number, store, observed, clock_ms }
    AnnounceEntry { group, info_hash, state }
    Resolved { group, user, file }
    FromClient { number, request }
    ReplicaHello { number, address, lineage, clock_ms, trackers }
    ReplicaWelcome { version, number, address, lineage, clock_ms, is_empty, durable, trackers }
}

macro_rules! sample_enum {
    ($type:ident { $($variant:ident $({ $($field:ident),* $(,)? })? $(($inner:ident))?),* $(,)? }) => {
        impl Sample for $type {
            fn example() -> Self {
                Self::examples().swap_remove(0)
            }

            fn sample(tape: &mut Tape<'_>) -> Self {
                let draw: &[fn(&mut Tape<'_>) -> Self] = &[$(|_tape| {
                    $($(let $field = Sample::sample(_tape);)*)?
                    $(let $inner = Sample::sample(_tape);)?
                    Self::$variant $({ $($field),* })? $(($inner))?
                }),*];
                draw[tape.below(draw.len())](tape)
            }

            fn examples() -> Vec<Self> {
                vec![$({
                    $($(let $field = Sample::example();)*)?
                    $(let $inner = Sample::example();)?
                    Self::$variant $({ $($field),* })? $(($inner))?
                }),*]
            }
        }
    };
}
sample_enum!(RotationStage { Begun, Ended, Cancelled });
sample_enum!(Part { Stranger, Requested, Member, Owner });
sample_enum!(DownloadState { Stopped, Leeching, Seeding });
sample_enum!(MembershipState { None, Requested, Member });
sample_enum!(TrackerState { Myself, Up, CatchingUp, Down, MustResync });
sample_enum!(Effect { Done, User(user), Group(group) });
sample_enum!(Refusal {
    LoginFirst,
    WrongPassword,
    WrongOldPassword,
    NameTaken,
    NoSuchUser,
    NoSuchGroup,
    NoSuchFile,
    NotMember,
    UserNotMember,
    AlreadyMember,
    AlreadyRequested,
    NotOwner,
    NoSuchRequest,
    IsOwner,
    FileNameTaken,
    NotShared,
    TooManyShares,
    RequestReused,
    BadFile,
    Busy,
    SessionOver,
    TooManyAttempts,
    TooMany,
    WrongTime { clock_ms },
    Quota(limit),
    NetworkFull,
    Disabled,
    MustChangePassword,
    AccountsClosed,
    NotSharer,
    BadSetting,
    Unsupported,
    Overtaken { above },
    NotStaying,
    NoSuchDevice,
    NoSuchInvitation,
    InvitationExpired,
    InvitationUsedUp,
    InvitationRevoked,
    InvitationVoid,
    InvitationTooOld,
    MayNotInvite,
    BadInvitation,
});
sample_enum!(FileOrder { Name, Size, Date });
sample_enum!(Limit { Groups, Memberships, Files, Members, Devices, Invitations });
sample_enum!(Hello { Client(hello), Replica(hello), Probe(hello) });
sample_enum!(Request {
    Ping,
    CreateUser { request, name, password },
    Login { name, password },
    Logout,
    ChangePassword { request, old, new },
    CreateGroup { request, name },
    JoinGroup { request, group },
    LeaveGroup { request, group },
    AcceptRequest { request, group, user },
    RejectRequest { request, group, user },
    RemoveMember { request, group, user },
    TransferGroup { request, group, user },
    ShareFile { request, group, file },
    StopShare { request, group, file },
    Resolve { group, user, file },
    ListGroups { after, pattern },
    ListMyGroups { after },
    ListRequests { group, after },
    ListMembers { group, after },
    ListFiles { group, after, pattern, order },
    FindFile { group, file },
    WhoAmI,
    ListTrackers,
    Announce { entries },
    Tickets { groups },
    Resume { token },
    Renew,
    ReplaceFile { request, group, file, replaces },
    RemoveFile { request, group, file },
    RenameGroup { request, group, name },
    DeleteGroup { request, group },
    DeleteAccount { request },
    FindFiles { pattern, after },
    StayOnDevice { request, name, password },
    ForgetDevice { request, device },
    LoginByKey { user },
    ListDevices,
    ReportBadData { group, info_hash, device },
    ReportUnreachable { group, info_hash, device },
    CreateInvitation { request, group, invitation, uses, days },
    RevokeInvitation { request, group, invitation },
    UseInvitation { request, group, secret },
    CreateInvitedUser { request, name, password, group, secret },
    ListInvitations { after },
    SetGroup { request, group, settings },
    Candidates { candidates },
    RelayUse { accepts, relays_at },
    AskRelay { group, device },
    Punch { group, info_hash, device },
});
sample_enum!(Reply {
    Refused(refusal),
    Done(success),
    LoggedIn { user, token, must_change },
    Resolved(resolved),
    Groups { entries, more },
    Members { entries, more },
    Requests { entries, more },
    Files { entries, more },
    File(file),
    User(user),
    Trackers { entries, degraded },
    Peers(peers),
    Pong,
    Tickets(tickets),
    Renewed(token),
    Devices(entries),
    Invitations { entries, more },
});
sample_enum!(Event {
    Peer(peer),
    Removed { group },
    Admitted { group },
    Closing,
    Withdrawn { group, info_hash, user, device },
    Void { group, user, until_ms },
    ShareStopped { group, info_hash },
    SessionOver,
    FileRemoved { group, file, info_hash, label, replaced_by },
    Trackers { addresses, removed },
    NetworkKey { rotation },
    DeviceVoid { user, device, until_ms },
    JoinRequested { group, label, user, since },
    JoinRejected { group, label, at },
    BadDataReported { group, info_hash, members },
    UnreachableReported { address, members },
    GroupChanged { group, files, members },
    MemberJoined { group, label, user, inviter, since },
    Relayed { group, device, is_dialler, address, secret },
    RelayFor { meeting },
    PunchBegun { secret, group, info_hash, device, is_asker },
    PunchNow { secret, address, in_ms },
    EnoughSessions { count },
});
sample_enum!(FromTracker {
    Welcome(welcome), Unwelcome(why), Reply { number, clock_ms, reply }, Event(event),
});
sample_enum!(Unwelcome { Version, Full });
sample_enum!(LinkRefusal { Version, Full, Myself, MustResync, Network, KeyReplaced(rotation), Removed });
sample_enum!(ToAcceptor { Ping, Rows(batch), MustResync });
sample_enum!(ToDialler { Welcome(welcome), Unwelcome(why), Durable(durable) });
sample_enum!(PeerMessage {
    KeepAlive,
    Choke,
    Unchoke,
    Interested,
    NotInterested,
    Have(piece),
    Bitfield(bytes),
    Request { piece, begin, len },
    Piece { piece, begin, data },
    Cancel { piece, begin, len },
    Port(port),
    Suggest(piece),
    HaveAll,
    HaveNone,
    Reject { piece, begin, len },
    AllowedFast(piece),
    Extended { id, payload },
});

impl Sample for ExtendedHandshake {
    fn example() -> Self {
        Self {
            metadata_id: Some(3),
            chain_id: Some(5),
            ticket_id: Some(4),
            metadata_size: Some(31_235),
            requests_max: Some(250),
            client: Some("Posse 0.1.0".into()),
            port: Some(6881),
            block_len_max: Some(limits::BLOCK_LEN_MAX),
            chain: Some(Sample::example()),
        }
    }

    fn sample(tape: &mut Tape<'_>) -> Self {
        let within = |number: u32, low: u32, high: u32| low + number % (high - low + 1);
        Self {
            metadata_id: Option::sample(tape).filter(|id| *id > 0),
            chain_id: Option::sample(tape).filter(|id| *id > 0),
            ticket_id: Option::sample(tape).filter(|id| *id > 0),
            metadata_size: Option::sample(tape)
                .map(|size: u32| within(size, 1, limits::INFO_DICTIONARY_LEN_MAX as u32).into()),
            requests_max: Option::sample(tape).filter(|count| *count > 0),
            client: Option::<Label>::sample(tape)
                .map(|label| label.to_string())
                .filter(|text| text.len() <= 64),
            port: Option::sample(tape).filter(|port| *port > 0),
            block_len_max: Option::sample(tape)
                .map(|len: u32| within(len, limits::BLOCK_LEN, limits::BLOCK_LEN_MAX)),
            chain: Option::sample(tape),
        }
    }

    fn examples() -> Vec<Self> {
        vec![Self::example(), Self::default()]
    }
}

impl Sample for MetadataMessage {
    fn example() -> Self {
        Self::Data { part: 1, total: limits::METADATA_PART_LEN as u64 + 3, bytes: vec![1, 2, 3] }
    }

    fn sample(tape: &mut Tape<'_>) -> Self {
        let part = u32::sample(tape);
        match tape.below(4) {
            0 => Self::Request { part },
            1 => Self::Reject { part },
            2 => Self::Unknown { kind: u64::sample(tape).max(3) },
            _ => {
                let (part, len) = (part % 6400, 1 + tape.below(256));
                let total = u64::from(part) * limits::METADATA_PART_LEN as u64 + len as u64;
                Self::Data { part, total, bytes: vec![tape.byte(); len] }
            }
        }
    }

    fn examples() -> Vec<Self> {
        vec![Self::Request { part: 0 }, Self::example(), Self::Reject { part: 7 }]
    }
}

impl Sample for Metainfo {
    fn example() -> Self {
        let geometry = Geometry::new(600_000, limits::PIECE_LEN).unwrap();
        let pieces = [0x66, 0x67].map(|byte| Sha1Digest::from_bytes([byte; 20]));
        Self::new(Sample::example(), geometry, pieces.into()).unwrap()
    }

    fn sample(tape: &mut Tape<'_>) -> Self {
        let piece_len = limits::BLOCK_LEN << tape.below(13);
        let len = u64::from(u32::sample(tape)) % (8 * u64::from(piece_len));
        let geometry = Geometry::new(len, piece_len).unwrap();
        let pieces = geometry.indexes().map(|_| Sample::sample(tape)).collect();
        Self::new(Sample::sample(tape), geometry, pieces).unwrap()
    }
}
