//! What a client asks a tracker.
//!
//! **Invariant:** every request that changes the directory carries a [`RequestStamp`].

use crate::types::{
    Candidate, Change, DeviceId, DeviceName, DownloadState, FileFacts, FileId, FileOrder, GroupId,
    GroupName, GroupSettings, InfoHash, InvitationId, InvitationSecret, Label, Password, Pattern,
    RequestStamp, SessionToken, UserId, UserName, limits,
};
use crate::wire::codec::{list_items, wire_enum, wire_struct};

/// One frame from a client to a tracker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FromClient {
    /// The client's number for it, echoed in the reply.
    pub number: u32,
    /// What is asked.
    pub request: Request,
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
    /// Finds what names stand for. The group must exist; a user or file is looked up only if given,
    /// a file only for members.
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
    /// Says what this device does with files; answered with the peers of the files it leeches, and
    /// followed by events.
    Announce {
        /// Changes since the last announce of this session.
        entries: Vec<AnnounceEntry>,
    },
    /// Asks for tickets that prove membership to other clients; answered with those of the groups
    /// that the user is in.
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
    /// Lets this device log in as the session's user by its key from now on; see
    /// [`Change::StayOnDevice`].
    StayOnDevice {
        /// Makes retries harmless, and says when the client first asked.
        request: RequestStamp,
        /// What people call the device.
        name: DeviceName,
        /// The user's password.
        password: Password,
    },
    /// See [`Change::ForgetDevice`].
    ForgetDevice {
        /// Makes retries harmless, and says when the client first asked.
        request: RequestStamp,
        /// The device.
        device: DeviceId,
    },
    /// Names the session's user by the device's key, after [`Request::StayOnDevice`].
    LoginByKey {
        /// The user.
        user: UserId,
    },
    /// The devices that may log in as the session's user, and those that are logged in.
    ListDevices,
    /// What a device sends of a file is not that file: it is banned here. To be told to that
    /// device, with how many members say so.
    ReportBadData {
        /// The group in which it was met.
        group: GroupId,
        /// The file.
        info_hash: InfoHash,
        /// The device.
        device: DeviceId,
    },
    /// A device in a file's swarm cannot be connected to. To be told to it, once several members
    /// say so.
    ReportUnreachable {
        /// The group.
        group: GroupId,
        /// The file.
        info_hash: InfoHash,
        /// The device.
        device: DeviceId,
    },
    /// See [`Change::CreateInvitation`].
    CreateInvitation {
        /// Makes retries harmless, and says when the client first asked.
        request: RequestStamp,
        /// The group.
        group: GroupId,
        /// The hash of its secret, which the client keeps.
        invitation: InvitationId,
        /// How many users it lets in.
        uses: u32,
        /// For how many days it may be used.
        days: u32,
    },
    /// See [`Change::RevokeInvitation`].
    RevokeInvitation {
        /// Makes retries harmless, and says when the client first asked.
        request: RequestStamp,
        /// The group.
        group: GroupId,
        /// Which one.
        invitation: InvitationId,
    },
    /// See [`Change::UseInvitation`].
    UseInvitation {
        /// Makes retries harmless, and says when the client first asked.
        request: RequestStamp,
        /// The group.
        group: GroupId,
        /// The secret: the tracker keeps its hash alone.
        secret: InvitationSecret,
    },
    /// Makes an account that is a member of a group; see [`Change::CreateInvitedUser`].
    CreateInvitedUser {
        /// Makes retries harmless, and says when the client first asked.
        request: RequestStamp,
        /// The name.
        name: UserName,
        /// The password.
        password: Password,
        /// The group.
        group: GroupId,
        /// The secret of an invitation to it.
        secret: InvitationSecret,
    },
    /// The invitations that the session's user made, and those to groups that the user owns, in
    /// pages.
    ListInvitations {
        /// Group and id of the last entry of the page before.
        after: Option<(GroupId, InvitationId)>,
    },
    /// See [`Change::SetGroup`].
    SetGroup {
        /// Makes retries harmless, and says when the client first asked.
        request: RequestStamp,
        /// The group.
        group: GroupId,
        /// All settings.
        settings: GroupSettings,
    },
    /// Says at which addresses this session's device may take links, in place of what it said
    /// before. They count until the session ends.
    Candidates {
        /// The addresses, the best first.
        candidates: Vec<Candidate>,
    },
    /// Says how this session's device uses relays, in place of what it said before. It counts until
    /// the session ends.
    RelayUse {
        /// It takes relayed connections.
        accepts: bool,
        /// Relays for members of its user's groups, at this port of the address that the tracker
        /// sees.
        relays_at: Option<u16>,
    },
    /// Asks for a relayed connection to another member's device. Both devices are then told where
    /// ([`Event::Relayed`](super::Event::Relayed)).
    AskRelay {
        /// A group that both users are in.
        group: GroupId,
        /// Which device.
        device: DeviceId,
    },
    /// Asks for a hole punch with a device that takes part in a file's swarm, as this one does: the
    /// tracker tells both to begin.
    Punch {
        /// The group.
        group: GroupId,
        /// The file.
        info_hash: InfoHash,
        /// The device.
        device: DeviceId,
    },
    /// A request of a later version; the answer is [`Refusal::Unsupported`](crate::types::Refusal).
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
            | Self::StayOnDevice { request, .. }
            | Self::ForgetDevice { request, .. }
            | Self::CreateInvitation { request, .. }
            | Self::RevokeInvitation { request, .. }
            | Self::UseInvitation { request, .. }
            | Self::CreateInvitedUser { request, .. }
            | Self::SetGroup { request, .. }
            | Self::DeleteAccount { request } => Some(request),
            _ => None,
        }
    }

    /// Returns the request's stamp and the change, if this asks for one that needs nothing from the
    /// session.
    pub fn to_change(&self) -> Option<(RequestStamp, Change)> {
        Some(match self.clone() {
            Self::CreateGroup { request, name } => (request, Change::CreateGroup { name }),
            Self::JoinGroup { request, group } => (request, Change::JoinGroup { group }),
            Self::LeaveGroup { request, group } => (request, Change::LeaveGroup { group }),
            Self::AcceptRequest { request, group, user } => {
                (request, Change::AcceptRequest { group, user })
            }
            Self::RejectRequest { request, group, user } => {
                (request, Change::RejectRequest { group, user })
            }
            Self::RemoveMember { request, group, user } => {
                (request, Change::RemoveMember { group, user })
            }
            Self::TransferGroup { request, group, user } => {
                (request, Change::TransferGroup { group, user })
            }
            Self::ShareFile { request, group, file } => {
                (request, Change::ShareFile { group, file })
            }
            Self::ReplaceFile { request, group, file, replaces } => {
                (request, Change::ReplaceFile { group, file, replaces })
            }
            Self::StopShare { request, group, file } => {
                (request, Change::StopShare { group, file })
            }
            Self::RemoveFile { request, group, file } => {
                (request, Change::RemoveFile { group, file })
            }
            Self::RenameGroup { request, group, name } => {
                (request, Change::RenameGroup { group, name })
            }
            Self::DeleteGroup { request, group } => (request, Change::DeleteGroup { group }),
            Self::DeleteAccount { request } => (request, Change::DeleteAccount),
            Self::ForgetDevice { request, device } => (request, Change::ForgetDevice { device }),
            Self::CreateInvitation { request, group, invitation, uses, days } => {
                (request, Change::CreateInvitation { group, invitation, uses, days })
            }
            Self::RevokeInvitation { request, group, invitation } => {
                (request, Change::RevokeInvitation { group, invitation })
            }
            Self::UseInvitation { request, group, secret } => {
                (request, Change::UseInvitation { group, invitation: secret.id(group) })
            }
            Self::SetGroup { request, group, settings } => {
                (request, Change::SetGroup { group, settings })
            }
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
            | Self::StayOnDevice { .. }
            | Self::LoginByKey { .. }
            | Self::ListDevices
            | Self::ReportBadData { .. }
            | Self::ReportUnreachable { .. }
            | Self::CreateInvitedUser { .. }
            | Self::ListInvitations { .. }
            | Self::Candidates { .. }
            | Self::RelayUse { .. }
            | Self::AskRelay { .. }
            | Self::Punch { .. }
            | Self::Unknown { .. } => return None,
        })
    }
}

list_items!(AnnounceEntry "announce entries" limits::ANNOUNCE_ENTRIES_MAX;);

wire_struct! {
    AnnounceEntry { group: GroupId, info_hash: InfoHash, state: DownloadState }
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
    33 => StayOnDevice { request, name, password },
    34 => ForgetDevice { request, device },
    35 => LoginByKey { user },
    36 => ListDevices,
    37 => ReportBadData { group, info_hash, device },
    38 => ReportUnreachable { group, info_hash, device },
    39 => CreateInvitation { request, group, invitation, uses, days },
    40 => RevokeInvitation { request, group, invitation },
    41 => UseInvitation { request, group, secret },
    42 => CreateInvitedUser { request, name, password, group, secret },
    43 => ListInvitations { after },
    44 => SetGroup { request, group, settings },
    48 => Candidates { candidates },
    49 => RelayUse { accepts, relays_at },
    50 => AskRelay { group, device },
    52 => Punch { group, info_hash, device },
    _ => Unknown { tag },
});
