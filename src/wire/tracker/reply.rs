//! What a tracker answers, and the codes of refusals.

use crate::types::{
    DeviceEntry, FileEntry, GroupEntry, InvitationEntry, MemberEntry, PeerEntry, Refusal,
    RequestEntry, SessionToken, Success, Ticket, TrackerEntry, UserEntry,
};
use crate::wire::codec::{wire_enum, wire_struct};

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
    /// Answer to [`Request::Resolve`](super::Request::Resolve).
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
    /// Answer to [`Request::Ping`](super::Request::Ping), and to what has nothing to tell.
    Pong,
    /// Tickets of the groups asked about that the user is in.
    Tickets(Vec<Ticket>),
    /// The token from now on: the answer to [`Request::Renew`](super::Request::Renew), and to
    /// [`Request::ChangePassword`](super::Request::ChangePassword) when it is done.
    Renewed(SessionToken),
    /// Devices of the session's user: those that may log in by their key first, then the others.
    Devices(Vec<DeviceEntry>),
    /// A page of invitations.
    Invitations {
        /// By group and id.
        entries: Vec<InvitationEntry>,
        /// Whether another page follows.
        more: bool,
    },
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

wire_struct! {
    Resolved { group: GroupEntry, user: Option<UserEntry>, file: Option<FileEntry> }
}
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
    15 => Devices(entries),
    16 => Invitations { entries, more },
    _ => Unknown { tag },
});
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
    33 => NotStaying,
    34 => NoSuchDevice,
    35 => NoSuchInvitation,
    36 => InvitationExpired,
    37 => InvitationUsedUp,
    38 => InvitationRevoked,
    39 => InvitationVoid,
    40 => InvitationTooOld,
    41 => MayNotInvite,
    42 => BadInvitation,
    _ => Other(tag),
});
