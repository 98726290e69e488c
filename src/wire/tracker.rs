//! What clients and trackers say to each other.
//!
//! The first frame of a connection is [`Hello`]; the tracker answers [`Welcome`]. Then the client sends [`Request`]s, each with a
//! number of its own choosing, and the tracker answers every one with a [`Reply`] under that number, in order. Between replies the
//! tracker sends [`Event`]s. Every frame from the tracker is one [`FromTracker`].

use std::net::SocketAddr;

use super::codec::{list_items, wire_enum, wire_struct};
use super::{Decoder, Wire, WireError};
use crate::types::{
    Change, DeviceId, DownloadState, Effect, FileEntry, FileFacts, GroupEntry, GroupId, GroupName, InfoHash, Label, MemberEntry,
    OriginId, Password, PeerEntry, Refusal, RequestEntry, RequestId, SessionToken, Ticket, TrackerEntry, UserEntry, UserId,
    UserName, limits,
};

/// First bytes of every first frame: a stranger who speaks something else is noticed at once.
pub const MAGIC: [u8; 4] = *b"PSSE";
/// Version of the tracker protocol, sessions and replication alike.
///
/// | version | what changed |
/// |---|---|
/// | 1 | in clear, the device told by the client |
/// | 2 | inside TLS, which proves the device; tokens, tickets and the events that end links |
pub const VERSION: u16 = 2;

/// What the first frame of a connection to a tracker says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hello {
    /// A client opens a session.
    Client(ClientHello),
    /// A peer tracker opens a replication link.
    Replica(super::replication::ReplicaHello),
}

/// A client's first words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientHello {
    /// The port on which it takes links.
    pub port: u16,
}

/// A tracker's first words to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// Version spoken from here on.
    pub version: u16,
    /// The answering tracker's line in `tracker_info.txt`, from 1.
    pub number: u32,
    /// Its store.
    pub origin: OriginId,
    /// The client's address as the tracker sees it, with the port it announced.
    pub observed: SocketAddr,
    /// The tracker's wall clock, milliseconds since the Unix epoch: tickets expire by it.
    pub clock_ms: u64,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Keeps an idle session alive.
    Ping,
    /// Makes an account.
    CreateUser {
        /// Makes retries harmless.
        request: RequestId,
        /// The name.
        name: UserName,
        /// The password.
        password: Password,
    },
    /// Names the session's user.
    Login {
        /// A user's name, or `name~2`.
        name: Label,
        /// Their password.
        password: Password,
    },
    /// Ends the user's part of the session; the connection stays.
    Logout,
    /// Replaces the session's user's password.
    ChangePassword {
        /// Makes retries harmless.
        request: RequestId,
        /// The password so far.
        old: Password,
        /// The password from now on.
        new: Password,
    },
    /// Makes a group.
    CreateGroup {
        /// Makes retries harmless.
        request: RequestId,
        /// The name.
        name: GroupName,
    },
    /// See [`Change::JoinGroup`].
    JoinGroup {
        /// Makes retries harmless.
        request: RequestId,
        /// The group.
        group: GroupId,
    },
    /// See [`Change::LeaveGroup`].
    LeaveGroup {
        /// Makes retries harmless.
        request: RequestId,
        /// The group.
        group: GroupId,
    },
    /// See [`Change::AcceptRequest`].
    AcceptRequest {
        /// Makes retries harmless.
        request: RequestId,
        /// The group.
        group: GroupId,
        /// Who asked.
        user: UserId,
    },
    /// See [`Change::RejectRequest`].
    RejectRequest {
        /// Makes retries harmless.
        request: RequestId,
        /// The group.
        group: GroupId,
        /// Who asked.
        user: UserId,
    },
    /// See [`Change::RemoveMember`].
    RemoveMember {
        /// Makes retries harmless.
        request: RequestId,
        /// The group.
        group: GroupId,
        /// The member.
        user: UserId,
    },
    /// See [`Change::TransferGroup`].
    TransferGroup {
        /// Makes retries harmless.
        request: RequestId,
        /// The group.
        group: GroupId,
        /// The next owner.
        user: UserId,
    },
    /// See [`Change::ShareFile`].
    ShareFile {
        /// Makes retries harmless.
        request: RequestId,
        /// The group.
        group: GroupId,
        /// The file.
        file: FileFacts,
    },
    /// See [`Change::StopShare`].
    StopShare {
        /// Makes retries harmless.
        request: RequestId,
        /// The group.
        group: GroupId,
        /// The file.
        info_hash: InfoHash,
    },
    /// Finds what names stand for. The group must exist; a user or file is looked up only if given, a file only for members.
    Resolve {
        /// A group's name as shown.
        group: Label,
        /// A user's name as shown.
        user: Option<Label>,
        /// A file's name as shown in that group.
        file: Option<Label>,
    },
    /// All groups, in pages.
    ListGroups {
        /// The last label of the page before.
        after: Option<Label>,
    },
    /// The session's user's groups and pending requests, in pages.
    ListMyGroups {
        /// The last label of the page before.
        after: Option<Label>,
    },
    /// Pending requests, oldest first, in pages; the owner only.
    ListRequests {
        /// The group.
        group: GroupId,
        /// The last user of the page before.
        after: Option<UserId>,
    },
    /// Members, longest-standing first, in pages; members only.
    ListMembers {
        /// The group.
        group: GroupId,
        /// The last user of the page before.
        after: Option<UserId>,
    },
    /// Files, in pages; members only.
    ListFiles {
        /// The group.
        group: GroupId,
        /// The last label of the page before.
        after: Option<Label>,
    },
    /// One file, by what it is; members only.
    FindFile {
        /// The group.
        group: GroupId,
        /// The file.
        info_hash: InfoHash,
    },
    /// The session's user.
    WhoAmI,
    /// Every tracker of the network as this one sees it.
    ListTrackers,
    /// Says what this device does with files; answered with the peers of the files it leeches, and followed by events.
    Announce {
        /// Changes since the last announce of this session.
        entries: Vec<AnnounceEntry>,
    },
    /// Asks for tickets that prove membership to other clients; answered with those of the groups that the user is in.
    Tickets {
        /// The groups.
        groups: Vec<GroupId>,
    },
    /// Names the session's user by a token that another tracker, or this one, gave this device.
    Resume {
        /// The token.
        token: SessionToken,
    },
    /// Asks for a token that lasts longer.
    Renew,
}

/// What a device does with one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnounceEntry {
    /// The group.
    pub group: GroupId,
    /// The file.
    pub info_hash: InfoHash,
    /// What the device does with it.
    pub state: DownloadState,
}

/// The answer to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The directory will not.
    Refused(Refusal),
    /// A change was carried out and is safe.
    Done(Effect),
    /// Logged in, as this user; the token does the same on every tracker from now on.
    LoggedIn {
        /// The user.
        user: UserEntry,
        /// For this device alone.
        token: SessionToken,
    },
    /// Answer to [`Request::Resolve`].
    Resolved(Resolved),
    /// A page of groups.
    Groups {
        /// In order of their labels.
        entries: Vec<GroupEntry>,
        /// Whether another page follows.
        more: bool,
    },
    /// A page of members.
    Members {
        /// Longest-standing first.
        entries: Vec<MemberEntry>,
        /// Whether another page follows.
        more: bool,
    },
    /// A page of pending requests.
    Requests {
        /// Oldest first.
        entries: Vec<RequestEntry>,
        /// Whether another page follows.
        more: bool,
    },
    /// A page of files.
    Files {
        /// In order of their labels.
        entries: Vec<FileEntry>,
        /// Whether another page follows.
        more: bool,
    },
    /// One file.
    File(FileEntry),
    /// Who the session's user is.
    User(UserEntry),
    /// The network's trackers.
    Trackers {
        /// By number.
        entries: Vec<TrackerEntry>,
        /// Whether changes are at present safe on this tracker alone.
        degraded: bool,
    },
    /// Peers of the files asked about, without the asking device; some, if there are very many.
    Peers(Vec<PeerEntry>),
    /// Answer to [`Request::Ping`], and to what has nothing to tell.
    Pong,
    /// Tickets of the groups asked about that the user is in.
    Tickets(Vec<Ticket>),
    /// The token from now on: the answer to [`Request::Renew`], and to [`Request::ChangePassword`] when it is done.
    Renewed(SessionToken),
}

/// What names stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The group.
    pub group: GroupEntry,
    /// The user asked about, if any bears the name.
    pub user: Option<UserEntry>,
    /// The file asked about, if any bears the name.
    pub file: Option<FileEntry>,
}

/// Something that a client is told unasked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A device joined, changed its part in, or left the swarm of a file that this device announced.
    Peer(PeerEntry),
    /// The session's user is no longer a member of the group: offers and downloads there end.
    Removed {
        /// The group.
        group: GroupId,
    },
    /// The session's user was let into a group.
    Admitted {
        /// The group.
        group: GroupEntry,
    },
    /// The tracker is shutting down in order.
    Closing,
    /// A device no longer takes part in the swarm of a file in a group, by its user's own doing: it stopped sharing or downloading, or
    /// logged out. Links for that file that rest on that group end.
    Withdrawn {
        /// The group.
        group: GroupId,
        /// The file.
        info_hash: InfoHash,
        /// Whose.
        user: UserId,
        /// Which.
        device: DeviceId,
    },
    /// A user's tickets that were signed earlier than that are void: the membership has ended, or the password was changed. Links that
    /// rest on one end.
    Void {
        /// In this group; in every group if none is named.
        group: Option<GroupId>,
        /// Whose.
        user: UserId,
        /// Tickets issued at this time or before, milliseconds since the Unix epoch.
        until_ms: u64,
    },
    /// The session's user stopped sharing a file, on another device: it is no longer offered here either.
    ShareStopped {
        /// The group.
        group: GroupId,
        /// The file.
        info_hash: InfoHash,
    },
    /// The session's user is logged out: the token is void, because the password was changed.
    SessionOver,
}

/// One frame from a tracker to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromTracker {
    /// The first one.
    Welcome(Welcome),
    /// Instead of the first one: this tracker cannot serve the client, and why.
    Unwelcome(Unwelcome),
    /// The answer to the request with that number.
    Reply {
        /// The number.
        number: u32,
        /// The answer.
        reply: Reply,
    },
    /// Something unasked.
    Event(Event),
}

/// Why a tracker will not serve a connection. The dialler of a replication link reads the same bytes as the first reasons of
/// [`LinkRefusal`](super::replication::LinkRefusal).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unwelcome {
    /// It speaks another version of the protocol.
    #[error("the tracker speaks another version of the protocol; update the older program")]
    Version,
    /// It serves as many connections as it may.
    #[error("the tracker is full; try another, or again later")]
    Full,
}

/// One frame from a client to a tracker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FromClient {
    /// The client's number for it, echoed in the reply.
    pub number: u32,
    /// What is asked.
    pub request: Request,
}

impl Request {
    /// Returns the request id and change, if this asks for one that carries no password.
    pub fn to_change(&self) -> Option<(RequestId, Change)> {
        Some(match self.clone() {
            Self::CreateGroup { request, name } => (request, Change::CreateGroup { name }),
            Self::JoinGroup { request, group } => (request, Change::JoinGroup { group }),
            Self::LeaveGroup { request, group } => (request, Change::LeaveGroup { group }),
            Self::AcceptRequest { request, group, user } => (request, Change::AcceptRequest { group, user }),
            Self::RejectRequest { request, group, user } => (request, Change::RejectRequest { group, user }),
            Self::RemoveMember { request, group, user } => (request, Change::RemoveMember { group, user }),
            Self::TransferGroup { request, group, user } => (request, Change::TransferGroup { group, user }),
            Self::ShareFile { request, group, file } => (request, Change::ShareFile { group, file }),
            Self::StopShare { request, group, info_hash } => (request, Change::StopShare { group, info_hash }),
            _ => return None,
        })
    }
}

/// Magic, version, one byte kind, and the hello of that kind. An unknown version ends the decoding before the rest is looked at.
impl Wire for Hello {
    const LEN_MIN: usize = 7;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&MAGIC);
        VERSION.encode(out);
        match self {
            Self::Client(hello) => {
                out.push(0);
                hello.encode(out);
            }
            Self::Replica(hello) => {
                out.push(1);
                hello.encode(out);
            }
        }
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, WireError> {
        if from.array::<4>()? != MAGIC {
            return Err(WireError::bad("first frame", "it does not begin with PSSE"));
        }
        match u16::decode(from)? {
            VERSION => {}
            version => return Err(WireError::UnknownTag { what: "protocol version", tag: version.into() }),
        }
        match u8::decode(from)? {
            0 => ClientHello::decode(from).map(Self::Client),
            1 => Wire::decode(from).map(Self::Replica),
            tag => Err(WireError::UnknownTag { what: "hello", tag: tag.into() }),
        }
    }
}

list_items!(AnnounceEntry "announce entries" limits::ANNOUNCE_ENTRIES_MAX;);

wire_struct! {
    ClientHello { port: u16 }
    Welcome { version: u16, number: u32, origin: OriginId, observed: SocketAddr, clock_ms: u64 }
    AnnounceEntry { group: GroupId, info_hash: InfoHash, state: DownloadState }
    Resolved { group: GroupEntry, user: Option<UserEntry>, file: Option<FileEntry> }
    FromClient { number: u32, request: Request }
}
wire_enum!(Request "request" {
    0 => Ping,
    1 => CreateUser { request, name, password },
    2 => Login { name, password },
    3 => Logout,
    4 => ChangePassword { request, old, new },
    5 => CreateGroup { request, name },
    6 => JoinGroup { request, group },
    7 => LeaveGroup { request, group },
    8 => AcceptRequest { request, group, user },
    9 => RejectRequest { request, group, user },
    10 => RemoveMember { request, group, user },
    11 => TransferGroup { request, group, user },
    12 => ShareFile { request, group, file },
    13 => StopShare { request, group, info_hash },
    14 => Resolve { group, user, file },
    15 => ListGroups { after },
    16 => ListMyGroups { after },
    17 => ListRequests { group, after },
    18 => ListMembers { group, after },
    19 => ListFiles { group, after },
    20 => FindFile { group, info_hash },
    21 => WhoAmI,
    22 => ListTrackers,
    23 => Announce { entries },
    24 => Tickets { groups },
    25 => Resume { token },
    26 => Renew,
});
wire_enum!(Reply "reply" {
    0 => Refused(refusal),
    1 => Done(effect),
    2 => LoggedIn { user, token },
    3 => Resolved(resolved),
    4 => Groups { entries, more },
    5 => Members { entries, more },
    6 => Requests { entries, more },
    7 => Files { entries, more },
    8 => File(file),
    9 => User(user),
    10 => Trackers { entries, degraded },
    11 => Peers(peers),
    12 => Pong,
    13 => Tickets(tickets),
    14 => Renewed(token),
});
wire_enum!(Event "event" {
    0 => Peer(peer),
    1 => Removed { group },
    2 => Admitted { group },
    3 => Closing,
    4 => Withdrawn { group, info_hash, user, device },
    5 => Void { group, user, until_ms },
    6 => ShareStopped { group, info_hash },
    7 => SessionOver,
});
wire_enum!(FromTracker "frame" {
    0 => Welcome(welcome),
    1 => Unwelcome(why),
    2 => Reply { number, reply },
    3 => Event(event),
});
wire_enum!(Unwelcome "unwelcome" { 0 => Version, 1 => Full });
wire_enum!(Effect "effect" { 0 => Done, 1 => User(user), 2 => Group(group) });
wire_enum!(Refusal "refusal" {
    0 => LoginFirst,
    1 => WrongPassword,
    2 => WrongOldPassword,
    3 => NameTaken,
    4 => NoSuchUser,
    5 => NoSuchGroup,
    6 => NoSuchFile,
    7 => NotMember,
    8 => UserNotMember,
    9 => AlreadyMember,
    10 => AlreadyRequested,
    11 => NotOwner,
    12 => NoSuchRequest,
    13 => IsOwner,
    14 => FileNameTaken,
    15 => NotShared,
    16 => TooManyShares,
    17 => RequestReused,
    18 => BadFile,
    19 => Busy,
    20 => SessionOver,
    21 => TooManyAttempts,
    22 => TooMany,
});

#[cfg(test)]
mod tests;
