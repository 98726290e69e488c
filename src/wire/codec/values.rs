//! How the values of [`crate::types`] are laid out: ids, names, entries and statements.

use std::net::{IpAddr, SocketAddr};

use super::{
    Decoder, Fields, Wire, WireError, decode_text, encode_block, encode_text, list_items,
    wire_leaf, wire_leaf_enum, wire_struct,
};
use crate::types::{
    Candidate, CandidateKind, ChainHash, DeviceEntry, DeviceId, DeviceName, DownloadState, Effect,
    FileEntry, FileFacts, FileId, FileName, FileOrder, GroupEntry, GroupId, GroupName,
    GroupSettings, InfoHash, InvitationEntry, InvitationId, InvitationSecret, KeyRotation, Label,
    Limit, MemberEntry, MembershipState, Part, Password, PasswordHash, Pattern, PeerEntry, Place,
    PublicKey, PunchSecret, RelayMeeting, RelayParty, RelaySecret, RequestEntry, RequestId,
    RequestStamp, RotationStage, SessionToken, SettingName, Sha1Digest, Signature, Stamp, StoreId,
    Success, Ticket, TicketClaims, TokenClaims, TrackerEntry, TrackerState, UserEntry, UserId,
    UserName, Version, limits,
};

/// Bytes in a setting's name.
pub const SETTING_NAME_LEN_MAX: usize = 300;

/// Names of sharers in a file's entry; how many there are in all stands beside them.
pub const SHARERS_SHOWN_MAX: usize = 8;

/// Peers in one reply to an announce of many files, at most [`limits::PEERS_PER_ANSWER_MAX`] of
/// each: more fill no frame.
pub const PEERS_PER_FRAME_MAX: usize = 32_768;

/// Implements [`Wire`] for opaque ids and digests: their bytes.
macro_rules! wire_opaque {
    ($($type:ident)*) => {$(
        impl Wire for $type {
            const LEN_MIN: usize = $type::LEN;

            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(self.as_bytes());
            }

            fn decode(from: &mut Decoder<'_>) -> Result<Self, WireError> {
                from.array().map($type::from_bytes)
            }
        }
    )*};
}
wire_opaque!(UserId GroupId StoreId FileId RequestId DeviceId Sha1Digest ChainHash InfoHash Signature
    PublicKey InvitationId InvitationSecret RelaySecret PunchSecret);

/// Implements [`Wire`] for validated names: text, checked again by the name's own rules.
macro_rules! wire_name {
    ($($type:ident $what:literal $max:expr;)*) => {$(
        impl Wire for $type {
            const LEN_MIN: usize = 3;

            fn encode(&self, out: &mut Vec<u8>) {
                encode_text(self.as_str(), out);
            }

            fn decode(from: &mut Decoder<'_>) -> Result<Self, WireError> {
                decode_text(from, $what, $max)?.parse().map_err(|e| WireError::bad($what, e))
            }
        }
    )*};
}
wire_name!(
    UserName "user name" limits::NAME_LEN_MAX;
    GroupName "group name" limits::NAME_LEN_MAX;
    DeviceName "device name" limits::NAME_LEN_MAX;
    FileName "file name" limits::FILE_NAME_LEN_MAX;
    Label "name" limits::LABEL_LEN_MAX;
    SettingName "setting" SETTING_NAME_LEN_MAX;
    Pattern "pattern" limits::LABEL_LEN_MAX;
);

impl Wire for Password {
    const LEN_MIN: usize = 3;

    fn encode(&self, out: &mut Vec<u8>) {
        encode_text(self.expose(), out);
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, WireError> {
        let text = decode_text(from, "password", limits::PASSWORD_LEN_MAX)?;
        Self::new(text.to_owned()).map_err(|e| WireError::bad("password", e))
    }
}

impl Wire for PasswordHash {
    const LEN_MIN: usize = 2;

    fn encode(&self, out: &mut Vec<u8>) {
        encode_text(self.as_phc(), out);
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, WireError> {
        decode_text(from, "password hash", limits::PASSWORD_HASH_LEN_MAX)
            .map(|text| Self::from_phc(text.to_owned()))
    }
}

impl Wire for Stamp {
    const LEN_MIN: usize = 8;

    fn encode(&self, out: &mut Vec<u8>) {
        self.as_u64().encode(out);
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, WireError> {
        u64::decode(from).map(Self::from_u64)
    }
}

list_items!(
    Label "names" limits::TRACKERS_MAX;
    GroupEntry "groups" limits::PAGE_ENTRIES_MAX;
    MemberEntry "members" limits::PAGE_ENTRIES_MAX;
    DeviceEntry "devices" limits::DEVICES_PER_LIST_MAX;
    InvitationEntry "invitations" limits::PAGE_ENTRIES_MAX;
    RequestEntry "requests" limits::PAGE_ENTRIES_MAX;
    FileEntry "files" limits::PAGE_ENTRIES_MAX;
    PeerEntry "peers" PEERS_PER_FRAME_MAX;
    Candidate "addresses" limits::CANDIDATES_MAX;
    TrackerEntry "trackers" limits::TRACKERS_MAX;
    GroupId "groups" limits::TICKETS_PER_REQUEST_MAX;
    Ticket "tickets" limits::TICKETS_PER_REQUEST_MAX;
);

/// A socket address: one byte 4 or 6, the address, `u16` port.
impl Wire for SocketAddr {
    const LEN_MIN: usize = 7;

    fn encode(&self, out: &mut Vec<u8>) {
        match self.ip() {
            IpAddr::V4(ip) => {
                out.push(4);
                out.extend_from_slice(&ip.octets());
            }
            IpAddr::V6(ip) => {
                out.push(6);
                out.extend_from_slice(&ip.octets());
            }
        }
        self.port().encode(out);
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, WireError> {
        let ip: IpAddr = match u8::decode(from)? {
            4 => from.array::<4>()?.into(),
            6 => from.array::<16>()?.into(),
            tag => return Err(WireError::UnknownTag { what: "address family", tag: tag.into() }),
        };
        Ok(Self::new(ip, u16::decode(from)?))
    }
}

/// The number of requests came within a version, and then the owner's settings: an entry of an
/// earlier program ends before them.
impl Fields for GroupEntry {
    const FIELDS_LEN_MIN: usize =
        GroupId::LEN + Label::LEN_MIN + Part::LEN_MIN + u32::LEN_MIN + Label::LEN_MIN;

    fn encode_fields(&self, out: &mut Vec<u8>) {
        self.group.encode(out);
        self.label.encode(out);
        self.part.encode(out);
        self.member_count.encode(out);
        self.owner.encode(out);
        self.requests.iter().for_each(|requests| requests.encode(out));
        let settings = self.settings.filter(|_| self.requests.is_some());
        settings.iter().for_each(|settings| settings.encode(out));
    }

    fn decode_fields(from: &mut Decoder<'_>) -> Result<Self, WireError> {
        let mut entry = Self {
            group: Wire::decode(from)?,
            label: Wire::decode(from)?,
            part: Wire::decode(from)?,
            member_count: Wire::decode(from)?,
            owner: Wire::decode(from)?,
            requests: None,
            settings: None,
        };
        if from.remaining() > 0 {
            entry.requests = Some(Wire::decode(from)?);
        }
        if from.remaining() > 0 {
            entry.settings = Some(Wire::decode(from)?);
        }
        Ok(entry)
    }
}

impl Wire for GroupEntry {
    const LEN_MIN: usize = 4 + Self::FIELDS_LEN_MIN;

    fn encode(&self, out: &mut Vec<u8>) {
        encode_block(out, |out| {
            self.encode_fields(out);
            crate::wire::later::add_field(out);
        });
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, WireError> {
        Self::decode_fields(&mut from.block()?)
    }
}

/// One byte. Later versions add kinds, so any byte is one.
impl Wire for CandidateKind {
    const LEN_MIN: usize = 1;

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(match self {
            // What others announce is not passed on.
            Self::Interface | Self::Lan => 0,
            Self::Observed => 1,
            Self::Mapped => 2,
            Self::Advertised => 3,
            Self::Other(code) => *code,
        });
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, WireError> {
        Ok(match u8::decode(from)? {
            0 => Self::Interface,
            1 => Self::Observed,
            2 => Self::Mapped,
            3 => Self::Advertised,
            code => Self::Other(code),
        })
    }
}

wire_struct! {
    FileFacts {
        info_hash: InfoHash, name: FileName, len: u64, piece_len: u32, sha1: Sha1Digest,
        chain: Option<ChainHash>,
    }
    UserEntry { user: UserId, label: Label }
    MemberEntry {
        user: UserEntry, owner: bool, online: bool, since: Stamp;
        invited_by: Option<Label>,
    }
    PeerEntry {
        info_hash: InfoHash, group: GroupId, device: DeviceId, user: UserId, address: SocketAddr,
        state: DownloadState;
        candidates: Option<Vec<Candidate>>,
    }
    GroupSettings { members_invite: bool }
    RequestEntry { user: UserEntry, since: Stamp }
    InvitationEntry {
        group: GroupId, label: Label, invitation: InvitationId, inviter: UserEntry, created: Stamp,
        expires_ms: u64, uses: u32, used: u32,
    }
    DeviceEntry {
        device: DeviceId, name: Option<DeviceName>, stays_since: Option<Stamp>, online: bool,
        address: Option<SocketAddr>, seen_ms: u64,
    }
    FileEntry {
        group: GroupId, label: Label, facts: FileFacts, sharers: Vec<Label>, sharer_count: u32,
        online: u32, at: Stamp,
    }
    Candidate { address: SocketAddr, kind: CandidateKind }
    RelayParty { user: UserId, device: DeviceId, secret: RelaySecret }
    RelayMeeting { group: GroupId, first: RelayParty, second: RelayParty }
    TrackerEntry { number: u32, address: Label, state: TrackerState, lag: u64 }
    Success { effect: Effect, stamp: Stamp }
    KeyRotation { stage: RotationStage, old: PublicKey, new: PublicKey, signature: Signature }
}
wire_leaf! {
    Version { stamp: Stamp, request: RequestId }
    Place { store: StoreId, sequence: u64 }
    RequestStamp { id: RequestId, at: Stamp }
    TokenClaims { user: UserId, device: DeviceId, password: Version, issued_ms: u64, expires_ms: u64 }
    SessionToken { claims: TokenClaims, signature: Signature }
    TicketClaims { group: GroupId, user: UserId, device: DeviceId, issued_ms: u64, expires_ms: u64 }
    Ticket { claims: TicketClaims, signature: Signature }
}
wire_leaf_enum!(Effect "effect" { 0 => Done, 1 => User(user), 2 => Group(group) });
wire_leaf_enum!(Part "part" { 0 => Stranger, 1 => Requested, 2 => Member, 3 => Owner });
wire_leaf_enum!(DownloadState "download state" { 0 => Stopped, 1 => Leeching, 2 => Seeding });
wire_leaf_enum!(MembershipState "membership" { 0 => None, 1 => Requested, 2 => Member });
wire_leaf_enum!(TrackerState "tracker state" {
    0 => Myself, 1 => Up, 2 => CatchingUp, 3 => Down, 4 => MustResync,
});
wire_leaf_enum!(RotationStage "stage" { 0 => Begun, 1 => Ended, 2 => Cancelled });
wire_leaf_enum!(FileOrder "order" { 0 => Name, 1 => Size, 2 => Date });
wire_leaf_enum!(Limit "limit" {
    0 => Groups, 1 => Memberships, 2 => Files, 3 => Members, 4 => Devices, 5 => Invitations,
});
