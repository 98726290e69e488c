//! What clients and trackers say to each other.
//!
//! The first frame of a connection is an [`Opening`]; the tracker answers [`Welcome`]. Then the client
//! sends [`Request`]s, each with a number of its own choosing, and the tracker answers every one with a
//! [`Reply`] under that number, in order. Between replies the tracker sends [`Event`]s. Every frame from
//! the tracker is one [`FromTracker`].
//!
//! A request, reply, event or refusal of a later version decodes to the variant that names its tag.

use std::net::SocketAddr;

use super::codec::{list_items, wire_enum, wire_leaf_enum, wire_struct};
use super::frame::to_frame;
use super::version::VERSION_FIRST_WITH_RANGE;
use super::{Decoder, VersionRange, Wire, WireError};
use crate::types::{
    Change, DeviceId, DownloadState, FileEntry, FileFacts, FileId, FileOrder, GroupEntry, GroupId, GroupName, InfoHash,
    KeyRotation, Label, MemberEntry, Password, Pattern, PeerEntry, Refusal, RequestEntry, RequestStamp, SessionToken, StoreId,
    Success, Ticket, TrackerEntry, UserEntry, UserId, UserName, limits,
};

/// First bytes of every first frame: a stranger who speaks something else is noticed at once.
pub const MAGIC: [u8; 4] = *b"PSSE";

/// The first frame of a connection to a tracker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// The versions that the sender speaks.
    pub versions: VersionRange,
    /// Who the sender is.
    pub hello: Hello,
}

impl Opening {
    /// Makes the first frame of this program.
    pub fn new(hello: Hello) -> Self {
        Self { versions: VersionRange::OURS, hello }
    }
}

/// What the first frame of a connection to a tracker says about its sender.
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
    /// The answering tracker's number among the network's trackers, from 1.
    pub number: u32,
    /// Its store.
    pub store: StoreId,
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
        /// Makes retries harmless, and says when the client first asked.
        request: RequestStamp,
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
        /// Makes retries harmless, and says when the client first asked.
        request: RequestStamp,
        /// The password so far.
        old: Password,
        /// The password from now on.
        new: Password,
    },
    /// Makes a group.
    CreateGroup {
        /// Makes retries harmless, and says when the client first asked.
        request: RequestStamp,
        /// The name.
        name: GroupName,
    },
    /// See [`Change::JoinGroup`].
    JoinGroup {
        /// Makes retries harmless, and says when the client first asked.
        request: RequestStamp,
        /// The group.
        group: GroupId,
    },
    /// See [`Change::LeaveGroup`].
    LeaveGroup {
        /// Makes retries harmless, and says when the client first asked.
        request: RequestStamp,
        /// The group.
        group: GroupId,
    },
    /// See [`Change::AcceptRequest`].
    AcceptRequest {
        /// Makes retries harmless, and says when the client first asked.
        request: RequestStamp,
        /// The group.
        group: GroupId,
        /// Who asked.
        user: UserId,
    },
    /// See [`Change::RejectRequest`].
    RejectRequest {
        /// Makes retries harmless, and says when the client first asked.
        request: RequestStamp,
        /// The group.
        group: GroupId,
        /// Who asked.
        user: UserId,
    },
    /// See [`Change::RemoveMember`].
    RemoveMember {
        /// Makes retries harmless, and says when the client first asked.
        request: RequestStamp,
        /// The group.
        group: GroupId,
        /// The member.
        user: UserId,
    },
    /// See [`Change::TransferGroup`].
    TransferGroup {
        /// Makes retries harmless, and says when the client first asked.
        request: RequestStamp,
        /// The group.
        group: GroupId,
        /// The next owner.
        user: UserId,
    },
    /// See [`Change::ShareFile`].
    ShareFile {
        /// Makes retries harmless, and says when the client first asked.
        request: RequestStamp,
        /// The group.
        group: GroupId,
        /// The file.
        file: FileFacts,
    },
    /// See [`Change::StopShare`].
    StopShare {
        /// Makes retries harmless, and says when the client first asked.
        request: RequestStamp,
        /// The group.
        group: GroupId,
        /// The file.
        file: FileId,
    },
    /// See [`Change::ReplaceFile`].
    ReplaceFile {
        /// Makes retries harmless, and says when the client first asked.
        request: RequestStamp,
        /// The group.
        group: GroupId,
        /// The file.
        file: FileFacts,
        /// The file whose place it takes.
        replaces: FileId,
    },
    /// See [`Change::RemoveFile`].
    RemoveFile {
        /// Makes retries harmless, and says when the client first asked.
        request: RequestStamp,
        /// The group.
        group: GroupId,
        /// The file.
        file: FileId,
    },
    /// See [`Change::RenameGroup`].
    RenameGroup {
        /// Makes retries harmless, and says when the client first asked.
        request: RequestStamp,
        /// The group.
        group: GroupId,
        /// The name wished for.
        name: GroupName,
    },
    /// See [`Change::DeleteGroup`].
    DeleteGroup {
        /// Makes retries harmless, and says when the client first asked.
        request: RequestStamp,
        /// The group.
        group: GroupId,
    },
    /// See [`Change::DeleteAccount`].
    DeleteAccount {
        /// Makes retries harmless, and says when the client first asked.
        request: RequestStamp,
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
        /// Only those whose label matches.
        pattern: Option<Pattern>,
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
        /// Only those whose label matches.
        pattern: Option<Pattern>,
        /// In which order.
        order: FileOrder,
    },
    /// One file, by what it is; members only.
    FindFile {
        /// The group.
        group: GroupId,
        /// The file.
        file: FileId,
    },
    /// Files in all groups of the session's user, in pages, by group and label.
    FindFiles {
        /// Only those whose label matches.
        pattern: Pattern,
        /// Group and label of the last file of the page before.
        after: Option<(GroupId, Label)>,
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
    /// A request of a later version; the answer is [`Refusal::Unsupported`].
    Unknown {
        /// Its tag.
        tag: u8,
    },
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
    Done(Success),
    /// Logged in, as this user; the token does the same on every tracker from now on.
    LoggedIn {
        /// The user.
        user: UserEntry,
        /// For this device alone.
        token: SessionToken,
        /// The operator has set the password: the user must choose another before anything else.
        must_change: bool,
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
        /// In the order asked for.
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
    /// A reply of a later version.
    Unknown {
        /// Its tag.
        tag: u8,
    },
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
    /// A file was removed from a group, or another has taken its place: offers and downloads of it end.
    FileRemoved {
        /// The group.
        group: GroupId,
        /// The file.
        file: FileId,
        /// The content that it has.
        info_hash: InfoHash,
        /// Its name as shown.
        label: Label,
        /// The name as shown of the file that has taken its place.
        replaced_by: Option<Label>,
    },
    /// The network's trackers: told after the login, and when they change.
    Trackers {
        /// `host:port` of each.
        addresses: Vec<Label>,
        /// `host:port` of those that the operator has removed: sessions with them end.
        removed: Vec<Label>,
    },
    /// Another key takes the place of the network's: told behind the welcome, after the login, and when it changes.
    NetworkKey {
        /// Which keys, and which of them counts.
        rotation: KeyRotation,
    },
    /// An event of a later version, to be ignored.
    Unknown {
        /// Its tag.
        tag: u8,
    },
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
        /// The tracker's wall clock, milliseconds since the Unix epoch.
        clock_ms: u64,
        /// The answer.
        reply: Reply,
    },
    /// Something unasked.
    Event(Event),
}

/// Why a tracker will not serve a connection. The frame is the same in every version of the protocol, and
/// the dialler of a replication link reads the same bytes as the first reasons of
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

/// Encodes the frame that tells a client or tracker of version 2 that its version is not spoken here.
pub fn unwelcome_of_version_2() -> Vec<u8> {
    to_frame(&FromTracker::Unwelcome(Unwelcome::Version))
}

impl Request {
    /// The stamp of a changing request, for a client that asks again.
    pub fn stamp_mut(&mut self) -> Option<&mut RequestStamp> {
        match self {
            Self::CreateUser { request, .. }
            | Self::ChangePassword { request, .. }
            | Self::CreateGroup { request, .. }
            | Self::JoinGroup { request, .. }
            | Self::LeaveGroup { request, .. }
            | Self::AcceptRequest { request, .. }
            | Self::RejectRequest { request, .. }
            | Self::RemoveMember { request, .. }
            | Self::TransferGroup { request, .. }
            | Self::ShareFile { request, .. }
            | Self::ReplaceFile { request, .. }
            | Self::StopShare { request, .. }
            | Self::RemoveFile { request, .. }
            | Self::RenameGroup { request, .. }
            | Self::DeleteGroup { request, .. }
            | Self::DeleteAccount { request } => Some(request),
            _ => None,
        }
    }

    /// Returns the request's stamp and the change, if this asks for one that carries no password.
    pub fn to_change(&self) -> Option<(RequestStamp, Change)> {
        Some(match self.clone() {
            Self::CreateGroup { request, name } => (request, Change::CreateGroup { name }),
            Self::JoinGroup { request, group } => (request, Change::JoinGroup { group }),
            Self::LeaveGroup { request, group } => (request, Change::LeaveGroup { group }),
            Self::AcceptRequest { request, group, user } => (request, Change::AcceptRequest { group, user }),
            Self::RejectRequest { request, group, user } => (request, Change::RejectRequest { group, user }),
            Self::RemoveMember { request, group, user } => (request, Change::RemoveMember { group, user }),
            Self::TransferGroup { request, group, user } => (request, Change::TransferGroup { group, user }),
            Self::ShareFile { request, group, file } => (request, Change::ShareFile { group, file }),
            Self::ReplaceFile { request, group, file, replaces } => (request, Change::ReplaceFile { group, file, replaces }),
            Self::StopShare { request, group, file } => (request, Change::StopShare { group, file }),
            Self::RemoveFile { request, group, file } => (request, Change::RemoveFile { group, file }),
            Self::RenameGroup { request, group, name } => (request, Change::RenameGroup { group, name }),
            Self::DeleteGroup { request, group } => (request, Change::DeleteGroup { group }),
            Self::DeleteAccount { request } => (request, Change::DeleteAccount),
            Self::Ping
            | Self::CreateUser { .. }
            | Self::Login { .. }
            | Self::Logout
            | Self::ChangePassword { .. }
            | Self::Resolve { .. }
            | Self::ListGroups { .. }
            | Self::ListMyGroups { .. }
            | Self::ListRequests { .. }
            | Self::ListMembers { .. }
            | Self::ListFiles { .. }
            | Self::FindFile { .. }
            | Self::FindFiles { .. }
            | Self::WhoAmI
            | Self::ListTrackers
            | Self::Announce { .. }
            | Self::Tickets { .. }
            | Self::Resume { .. }
            | Self::Renew
            | Self::Unknown { .. } => return None,
        })
    }
}

/// Magic, the oldest and the newest version that the sender speaks, one byte kind, and the hello of that
/// kind. The rest is not looked at if no version is spoken at both ends. Up to version 2 one version
/// stood there instead of two.
impl Wire for Opening {
    const LEN_MIN: usize = 4 + 2 + 2 + 1 + 4;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&MAGIC);
        self.versions.oldest.encode(out);
        self.versions.newest.encode(out);
        match &self.hello {
            Hello::Client(hello) => {
                out.push(0);
                hello.encode(out);
            }
            Hello::Replica(hello) => {
                out.push(1);
                hello.encode(out);
            }
        }
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, WireError> {
        if from.array::<4>()? != MAGIC {
            return Err(WireError::bad("first frame", "it does not begin with PSSE"));
        }
        let oldest = u16::decode(from)?;
        if oldest < VERSION_FIRST_WITH_RANGE {
            return Err(WireError::OldVersion(oldest));
        }
        let versions = VersionRange { oldest, newest: Wire::decode(from)? };
        if versions.common(VersionRange::OURS).is_none() {
            return Err(WireError::NoCommonVersion(versions));
        }
        let hello = match u8::decode(from)? {
            0 => Hello::Client(Wire::decode(from)?),
            1 => Hello::Replica(Wire::decode(from)?),
            tag => return Err(WireError::UnknownTag { what: "hello", tag: tag.into() }),
        };
        Ok(Self { versions, hello })
    }
}

list_items!(AnnounceEntry "announce entries" limits::ANNOUNCE_ENTRIES_MAX;);

wire_struct! {
    ClientHello { port: u16 }
    Welcome { version: u16, number: u32, store: StoreId, observed: SocketAddr, clock_ms: u64 }
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
    13 => StopShare { request, group, file },
    14 => Resolve { group, user, file },
    15 => ListGroups { after, pattern },
    16 => ListMyGroups { after },
    17 => ListRequests { group, after },
    18 => ListMembers { group, after },
    19 => ListFiles { group, after, pattern, order },
    20 => FindFile { group, file },
    21 => WhoAmI,
    22 => ListTrackers,
    23 => Announce { entries },
    24 => Tickets { groups },
    25 => Resume { token },
    26 => Renew,
    27 => ReplaceFile { request, group, file, replaces },
    28 => RemoveFile { request, group, file },
    29 => RenameGroup { request, group, name },
    30 => DeleteGroup { request, group },
    31 => DeleteAccount { request },
    32 => FindFiles { pattern, after },
    _ => Unknown { tag },
});
wire_enum!(Reply "reply" {
    0 => Refused(refusal),
    1 => Done(success),
    2 => LoggedIn { user, token, must_change },
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
    _ => Unknown { tag },
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
    8 => FileRemoved { group, file, info_hash, label, replaced_by },
    9 => Trackers { addresses, removed },
    10 => NetworkKey { rotation },
    _ => Unknown { tag },
});
wire_enum!(FromTracker "frame" {
    0 => Welcome(welcome),
    1 => #[leaf] Unwelcome(why),
    2 => Reply { number, clock_ms, reply },
    3 => Event(event),
});
wire_leaf_enum!(Unwelcome "unwelcome" { 0 => Version, 1 => Full });
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
    23 => WrongTime { clock_ms },
    24 => Quota(limit),
    25 => NetworkFull,
    26 => Disabled,
    27 => MustChangePassword,
    28 => AccountsClosed,
    29 => NotSharer,
    30 => BadSetting,
    31 => Unsupported,
    32 => Overtaken { above },
    _ => Other(tag),
});

#[cfg(test)]
mod tests;
