//! What a client may ask of the directory, and what comes of it.

use sha2::{Digest, Sha256};

use super::{
    ChainHash, DeviceId, DeviceName, FileId, FileName, Geometry, GroupId, GroupName, GroupSettings,
    InfoHash, InvitationId, PasswordHash, SettingName, Sha1Digest, Stamp, UserId, UserName,
    Version,
};

/// What the directory knows about a file's content.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileFacts {
    /// SHA-1 of the info dictionary.
    pub info_hash: InfoHash,
    /// The file's name inside the group.
    pub name: FileName,
    /// Length in bytes.
    pub len: u64,
    /// Length of a piece in bytes.
    pub piece_len: u32,
    /// SHA-1 of the whole file.
    pub sha1: Sha1Digest,
    /// Hash of the file's chaining values, where the sharer computed them. Of one piece or none
    /// there are none.
    pub chain: Option<ChainHash>,
}

impl FileFacts {
    /// The number of pieces; 0 for a length and a piece length that do not go together.
    pub fn piece_count(&self) -> u32 {
        Geometry::new(self.len, self.piece_len).map_or(0, |geometry| geometry.piece_count())
    }

    /// Returns the id that commits to all of these facts: a hash over them, each variable part
    /// preceded by its length.
    pub fn id(&self) -> FileId {
        let mut hasher = Sha256::new();
        hasher.update(b"file");
        hasher.update(self.info_hash.as_bytes());
        hasher.update((self.name.as_str().len() as u64).to_be_bytes());
        hasher.update(self.name.as_str().as_bytes());
        hasher.update(self.len.to_be_bytes());
        hasher.update(self.piece_len.to_be_bytes());
        hasher.update(self.sha1.as_bytes());
        if let Some(chain) = &self.chain {
            hasher.update(chain.as_bytes());
        }
        let mut id = [0; FileId::LEN];
        id.copy_from_slice(&hasher.finalize()[..FileId::LEN]);
        FileId::from_bytes(id)
    }
}

/// Names a request, and says when its client asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestStamp {
    /// Its id: every copy has the same one.
    pub id: super::RequestId,
    /// The client's estimate of the network's clock when it was first asked. Copies have the same
    /// one, but for those asked after a tracker refused an earlier one with [`Refusal::Overtaken`].
    pub at: Stamp,
}

/// One changing request, already authenticated: who asks stands beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Makes an account; the only change that nobody in particular asks for.
    CreateUser {
        /// The name wished for.
        name: UserName,
        /// Argon2id hash of the password.
        hash: PasswordHash,
    },
    /// Replaces the asking user's password; the old one was verified by the session.
    ChangePassword {
        /// Argon2id hash of the new password.
        hash: PasswordHash,
    },
    /// Makes a group owned by the asking user.
    CreateGroup {
        /// The name wished for.
        name: GroupName,
    },
    /// Asks the owner to be let in.
    JoinGroup {
        /// The group.
        group: GroupId,
    },
    /// Leaves the group; every share of the user there stops.
    LeaveGroup {
        /// The group.
        group: GroupId,
    },
    /// The owner lets `user` in.
    AcceptRequest {
        /// The group.
        group: GroupId,
        /// Who asked.
        user: UserId,
    },
    /// The owner turns `user` down.
    RejectRequest {
        /// The group.
        group: GroupId,
        /// Who asked.
        user: UserId,
    },
    /// The owner ends `user`'s membership; every share of theirs there stops.
    RemoveMember {
        /// The group.
        group: GroupId,
        /// The member.
        user: UserId,
    },
    /// The owner hands the group to `user`.
    TransferGroup {
        /// The group.
        group: GroupId,
        /// The next owner, a member.
        user: UserId,
    },
    /// Offers a file to the group, or joins those who offer it.
    ShareFile {
        /// The group.
        group: GroupId,
        /// The file.
        file: FileFacts,
    },
    /// Offers a file to the group in place of another of the same name; its first sharer or the
    /// owner may.
    ReplaceFile {
        /// The group.
        group: GroupId,
        /// The file.
        file: FileFacts,
        /// The file whose place it takes.
        replaces: FileId,
    },
    /// Stops offering a file.
    StopShare {
        /// The group.
        group: GroupId,
        /// The file.
        file: FileId,
    },
    /// Removes a file from the group: every share of it ends. Its first sharer or the owner may.
    RemoveFile {
        /// The group.
        group: GroupId,
        /// The file.
        file: FileId,
    },
    /// The owner gives the group another name.
    RenameGroup {
        /// The group.
        group: GroupId,
        /// The name wished for.
        name: GroupName,
    },
    /// The owner deletes the group.
    DeleteGroup {
        /// The group.
        group: GroupId,
    },
    /// Deletes the asking user's account, and with it every membership and share.
    DeleteAccount,
    /// Lets the asking user's device log in by its key from now on.
    StayOnDevice {
        /// The device.
        device: DeviceId,
        /// What people call it.
        name: DeviceName,
        /// The write that set the password on which the asking session rests.
        password: Version,
    },
    /// Ends a device's right to log in as the asking user, and its sessions.
    ForgetDevice {
        /// The device.
        device: DeviceId,
    },
    /// Makes an invitation to a group; the owner may, and members if the group's settings say so.
    CreateInvitation {
        /// The group.
        group: GroupId,
        /// The hash of its secret.
        invitation: InvitationId,
        /// How many users it lets in.
        uses: u32,
        /// For how many days it may be used.
        days: u32,
    },
    /// Takes an invitation back; who made it may, and the owner.
    RevokeInvitation {
        /// The group.
        group: GroupId,
        /// Which one.
        invitation: InvitationId,
    },
    /// The asking user becomes a member by an invitation, whose secret the session was shown.
    UseInvitation {
        /// The group.
        group: GroupId,
        /// Which one.
        invitation: InvitationId,
    },
    /// Makes an account that is a member of a group by an invitation; as
    /// [`Change::CreateUser`], but for that.
    CreateInvitedUser {
        /// The name wished for.
        name: UserName,
        /// Argon2id hash of the password.
        hash: PasswordHash,
        /// The group.
        group: GroupId,
        /// The invitation.
        invitation: InvitationId,
    },
    /// The owner sets what members of a group may do.
    SetGroup {
        /// The group.
        group: GroupId,
        /// All settings.
        settings: GroupSettings,
    },
    /// The operator acts; asked only by the tracker itself, never by a client.
    Operator(Order),
}

/// What the operator of a tracker may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Sets a user's password; the user must choose another at the next login.
    ResetPassword {
        /// The user.
        user: UserId,
        /// Argon2id hash of the one-time password.
        hash: PasswordHash,
    },
    /// Lets a user log in no more, or again.
    DisableUser {
        /// The user.
        user: UserId,
        /// Whether the user is to be kept out.
        is_disabled: bool,
    },
    /// Deletes an account.
    DeleteUser {
        /// The user.
        user: UserId,
    },
    /// Deletes a group.
    DeleteGroup {
        /// The group.
        group: GroupId,
    },
    /// Removes a file from a group.
    RemoveFile {
        /// The group.
        group: GroupId,
        /// The file.
        file: FileId,
    },
    /// Makes everything void that a forgotten device was given until now. A tracker orders this by
    /// itself, when it hears late that the device was forgotten.
    ForgetDevice {
        /// The user.
        user: UserId,
        /// The device.
        device: DeviceId,
    },
    /// Sets something, or restores its default.
    Set {
        /// What.
        name: SettingName,
        /// To what.
        value: Option<String>,
    },
}

/// What a request that was carried out brought about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Nothing to tell beyond that it is done.
    Done,
    /// An account with this id was made.
    User(UserId),
    /// A group with this id was made.
    Group(GroupId),
}

/// A request was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Success {
    /// What it brought about.
    pub effect: Effect,
    /// The stamp of what it wrote: the client's next request is later.
    pub stamp: Stamp,
}

/// The end of a request: carried out, or refused by the directory.
pub type Outcome = Result<Success, Refusal>;

/// Why the directory will not do what was asked. A refusal is a reply, not a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// The request needs a session.
    #[error("log in first")]
    LoginFirst,
    /// Wrong password, or no such user: the same words for both.
    #[error("wrong user name or password")]
    WrongPassword,
    /// The old password given to `change_password` is wrong.
    #[error("the old password is wrong; nothing was changed")]
    WrongOldPassword,
    /// A user or group of that name exists.
    #[error("that name is taken; choose another")]
    NameTaken,
    /// No user of that name is known.
    #[error("no such user; list_members and list_requests show who is there")]
    NoSuchUser,
    /// No group of that name exists.
    #[error("no such group; list_groups shows all")]
    NoSuchGroup,
    /// Nobody shares a file of that name in the group.
    #[error("no such file in the group; list_files shows all")]
    NoSuchFile,
    /// The asking user is not a member.
    #[error("you are not a member of that group; join_group asks its owner")]
    NotMember,
    /// The user named is not a member.
    #[error("that user is not a member of the group; list_members shows who is")]
    UserNotMember,
    /// The asking user is a member already.
    #[error("you are already a member of that group")]
    AlreadyMember,
    /// The asking user has a request pending.
    #[error("you have already asked to join that group; its owner has not answered yet")]
    AlreadyRequested,
    /// Only the owner may.
    #[error("only the owner of the group may do that")]
    NotOwner,
    /// The user named has no request pending.
    #[error("no such request; list_requests shows the pending ones")]
    NoSuchRequest,
    /// An owner may not remove themself this way.
    #[error("you own the group; leave_group or transfer_group instead")]
    IsOwner,
    /// Another file of that name is offered in the group.
    #[error("another file of that name is in the group; rename yours")]
    FileNameTaken,
    /// The asking user does not offer the file.
    #[error("you do not share that file in that group; show_uploads lists what you share")]
    NotShared,
    /// The user's bound on shares in a group is reached.
    #[error("you share as many files in that group as one member may; stop_share some first")]
    TooManyShares,
    /// The request id was used before by somebody else, or for something else.
    #[error("the request id was used before for another request")]
    RequestReused,
    /// The file's length, piece length and limits do not fit together.
    #[error("the file's length and piece length are not valid")]
    BadFile,
    /// The session's token is void or expired.
    #[error("the session has ended; log in again")]
    SessionOver,
    /// The tracker has too much to do; nothing was changed.
    #[error("the tracker is busy; try again in a moment")]
    Busy,
    /// Too many wrong passwords were given for the account, or from the address; this one was not
    /// looked at.
    #[error("too many attempts to log in; wait for half a minute, then try again")]
    TooManyAttempts,
    /// The address or the user has made as many accounts, groups or requests as they may in an
    /// hour.
    #[error(
        "you have made as many of these in the last hour as you may; try again in some minutes"
    )]
    TooMany,
    /// The request's own time is too far from the tracker's clock.
    #[error(
        "the clocks of this client's trackers differ by more than a minute; tell the operator to set them right"
    )]
    WrongTime {
        /// The tracker's clock, in milliseconds since the Unix epoch.
        clock_ms: u64,
    },
    /// A quota of the account is reached.
    #[error("{0}; remove some first, or ask the operator for more")]
    Quota(Limit),
    /// The whole network holds as much as it may.
    #[error("the network is full; ask its operator for room, or remove what is not needed")]
    NetworkFull,
    /// The operator lets the account log in no more.
    #[error("the operator has disabled this account")]
    Disabled,
    /// The operator has set the password: the user must choose another one first.
    #[error("the password was set by the operator; choose your own with change_password first")]
    MustChangePassword,
    /// Accounts are made by invitation, or not at all.
    #[error(
        "this network takes no new accounts, or only with an invitation; ask a member for one, or its operator"
    )]
    AccountsClosed,
    /// Only the first sharer of a file or the group's owner may.
    #[error("only the first sharer of the file or the owner of the group may do that")]
    NotSharer,
    /// The operator's value for a setting is not valid.
    #[error("that is not a valid value for the setting")]
    BadSetting,
    /// The tracker does not know the request: it is older than the client.
    #[error("the tracker does not know this request; it is older than this client")]
    Unsupported,
    /// What the request rests on was written later than the request's own time: the client asks
    /// again, under the same id, with a later one.
    #[error("others were changing the same thing at the same time; nothing was changed, try again")]
    Overtaken {
        /// The request's time must be above this stamp.
        above: Stamp,
    },
    /// The device may not log in by its key: it was forgotten, or the password was changed.
    #[error("this device does not stay logged in any more; log in with the password")]
    NotStaying,
    /// The tracker does not know that the device may log in by its key.
    #[error("the tracker does not know this device; log in with the password")]
    NoSuchDevice,
    /// Nothing is known of the invitation.
    #[error("no such invitation; it was made for another network, or has expired long ago")]
    NoSuchInvitation,
    /// The invitation's time is over.
    #[error("the invitation has expired; ask for another one")]
    InvitationExpired,
    /// The invitation has let in as many as it may.
    #[error("the invitation was used as often as it may be; ask for another one")]
    InvitationUsedUp,
    /// The invitation was taken back.
    #[error("the invitation was revoked; ask for another one")]
    InvitationRevoked,
    /// Who made the invitation may not invite any more.
    #[error(
        "the invitation is void: its group was deleted, or who made it may not invite there any more; ask for another one"
    )]
    InvitationVoid,
    /// The asking user's membership has ended since the invitation was made.
    #[error(
        "you have left the group, or were removed, since the invitation was made; ask for another one, or join_group"
    )]
    InvitationTooOld,
    /// Only the owner may invite.
    #[error(
        "only the owner of the group may invite; the owner can let members do so with group_settings"
    )]
    MayNotInvite,
    /// The bounds of an invitation are exceeded.
    #[error("an invitation lets in 1 to 1000 users, for 1 to 60 days")]
    BadInvitation,
    /// A reason that a later version of the tracker knows.
    #[error(
        "the tracker gives a reason that this client does not know (number {0}); update this client"
    )]
    Other(u8),
}

/// A bound on what one account may keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    /// Groups owned.
    Groups,
    /// Memberships and requests to join.
    Memberships,
    /// Files offered, in all groups.
    Files,
    /// Members and requests of one group.
    Members,
    /// Devices that may log in by their key.
    Devices,
    /// Invitations that may be used.
    Invitations,
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Groups => "you own as many groups as one account may",
            Self::Memberships => {
                "you are in, or have asked to join, as many groups as one account may"
            }
            Self::Files => "you offer as many files as one account may",
            Self::Members => "the group has as many members and requests as it may",
            Self::Devices => "as many of your devices stay logged in as one account may have",
            Self::Invitations => {
                "as many of your invitations are open, or were made in the last 90 days, as one \
                 account may have"
            }
        })
    }
}
