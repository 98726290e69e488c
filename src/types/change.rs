//! What a client may ask of the directory, and what comes of it.

use super::{FileName, GroupId, GroupName, InfoHash, PasswordHash, Sha1Digest, UserId, UserName};

/// What the directory knows about a file's content (design section 4, register "shared file").
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// Stops offering a file.
    StopShare {
        /// The group.
        group: GroupId,
        /// The file.
        info_hash: InfoHash,
    },
}

/// What a request that was carried out brought about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing to tell beyond that it is done.
    Done,
    /// An account with this id was made.
    User(UserId),
    /// A group with this id was made.
    Group(GroupId),
}

/// The end of a request: carried out, or refused by the directory.
pub type Outcome = Result<Effect, Refusal>;

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
    /// Too many wrong passwords were given for the account, or from the address; this one was not looked at.
    #[error("too many attempts to log in; wait for half a minute, then try again")]
    TooManyAttempts,
    /// The address or the user has made as many accounts, groups or requests as they may in an hour.
    #[error("you have made as many of these in the last hour as you may; try again in some minutes")]
    TooMany,
}
