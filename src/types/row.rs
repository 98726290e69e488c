//! Rows of the directory: what is replicated, which of two writes of one row stays, and how far
//! each store is known.
//!
//! **Invariant:** two rows with the same key and the same version have the same content, whichever
//! tracker wrote them: a version names the request, and a request is carried out the same way
//! everywhere, but for the rows that it found.

use std::collections::BTreeMap;

use super::{
    DeviceId, DeviceName, Effect, FileFacts, FileId, GroupId, GroupName, GroupSettings,
    InvitationId, PasswordHash, RequestId, SettingName, Stamp, StoreId, UserId, UserName, Version,
};

/// Where a write was made first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The store of the tracker that carried the request out.
    pub store: StoreId,
    /// The update sequence that the row got there.
    pub sequence: u64,
}

/// Where a user stands with a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MembershipState {
    /// No tie: turned down, left or removed.
    None,
    /// Waits for the owner's answer.
    Requested,
    /// Is in.
    Member,
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UserRow {
    /// Name wished for at creation.
    pub name: UserName,
    /// Argon2id hash of the password.
    pub hash: PasswordHash,
    /// When the account was made: the earliest bearer keeps the plain name.
    pub created: Stamp,
    /// When the password last took the place of another.
    pub replaced: Option<Stamp>,
    /// The password was set by the operator: the user must choose another at the next login.
    pub must_change: bool,
    /// The operator lets this user log in no more, for now.
    pub is_disabled: bool,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupRow {
    /// Name wished for at creation, or at the last renaming.
    pub name: GroupName,
    /// The user who made it.
    pub created_by: UserId,
    /// When it got its name: the earliest bearer keeps the plain name.
    pub created: Stamp,
}

/// A user's tie to a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MembershipRow {
    /// The state.
    pub state: MembershipState,
    /// Since when: orders requests to join, and members for the owner's succession.
    pub since: Stamp,
    /// When a membership of this user last ended: tickets from before are void.
    pub ended: Option<Stamp>,
}

/// A file offered to a group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileRow {
    /// The content.
    pub facts: FileFacts,
    /// The user who offered it first.
    pub shared_by: UserId,
    /// When: the earliest bearer keeps the plain name.
    pub at: Stamp,
    /// The file whose place it took.
    pub replaces: Option<FileId>,
    /// When it was last removed from the group: shares from before have ended.
    pub removed: Option<Stamp>,
}

/// A user's offer of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SharingRow {
    /// Whether the user offers the file.
    pub on: bool,
    /// The request that had let the user into the group: the share ends with that membership.
    pub admission: RequestId,
}

/// A device's right to log in as a user by its key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeviceRow {
    /// Whether it may, as long as the password stays.
    pub on: bool,
    /// What people call the device, if it may.
    pub name: Option<DeviceName>,
    /// When the user said so.
    pub since: Stamp,
    /// The write that set the user's password then: the right ends with that password.
    pub password: Version,
    /// When the device was last forgotten: its tokens and tickets from before are void.
    pub ended: Option<Stamp>,
}

/// An invitation to a group. The key names it by a hash of its secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct InvitationRow {
    /// The member who made it.
    pub inviter: UserId,
    /// When.
    pub created: Stamp,
    /// Up to when it may be used, in milliseconds since the Unix epoch.
    pub expires_ms: u64,
    /// How many users it lets in.
    pub uses: u32,
    /// Whether it was taken back.
    pub is_revoked: bool,
}

/// A user was let into a group by an invitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct InvitationUseRow {
    /// The member who had made the invitation.
    pub inviter: UserId,
}

/// A request that was carried out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestRow {
    /// The user who asked; [`UserId::NOBODY`] for a new account.
    pub actor: UserId,
    /// What the client was, or is to be, told.
    pub effect: Effect,
    /// What was asked, from where, for the audit; at most [`crate::types::limits::NOTE_LEN_MAX`]
    /// bytes.
    pub note: String,
}

/// Names a row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RowKey {
    /// An account.
    User(UserId),
    /// A group.
    Group(GroupId),
    /// A user's tie to a group.
    Membership(GroupId, UserId),
    /// The owner of a group.
    Owner(GroupId),
    /// A file in a group.
    File(GroupId, FileId),
    /// A user's offer of a file.
    Sharing(GroupId, FileId, UserId),
    /// A request that was carried out.
    Request(RequestId),
    /// Something that the operator sets.
    Setting(SettingName),
    /// A device's right to log in as a user.
    Device(UserId, DeviceId),
    /// An invitation to a group.
    Invitation(GroupId, InvitationId),
    /// A user's use of an invitation.
    InvitationUse(GroupId, InvitationId, UserId),
    /// What the owner of a group has set.
    GroupSettings(GroupId),
    /// A row of a kind that a later version of this program knows.
    Unknown(u8, Vec<u8>),
}

/// Key and value of a row; an account, group or file without a value was deleted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Content {
    /// An account. One that was deleted stays deleted, whatever is written later.
    User(UserId, Option<UserRow>),
    /// A group. One that was deleted stays deleted, whatever is written later.
    Group(GroupId, Option<GroupRow>),
    /// A user's tie to a group.
    Membership(GroupId, UserId, MembershipRow),
    /// The owner of a group; in effect while that user is a member.
    Owner(GroupId, UserId),
    /// A file in a group.
    File(GroupId, FileId, Option<FileRow>),
    /// A user's offer of a file.
    Sharing(GroupId, FileId, UserId, SharingRow),
    /// A request that was carried out.
    Request(RequestId, RequestRow),
    /// Something that the operator sets; `None` restores the default.
    Setting(SettingName, Option<String>),
    /// A device's right to log in as a user.
    Device(UserId, DeviceId, DeviceRow),
    /// An invitation to a group.
    Invitation(GroupId, InvitationId, InvitationRow),
    /// A user's use of an invitation.
    InvitationUse(GroupId, InvitationId, UserId, InvitationUseRow),
    /// What the owner of a group has set.
    GroupSettings(GroupId, GroupSettings),
    /// A row of a kind that a later version of this program knows: kind, key, value.
    Unknown(u8, Vec<u8>, Vec<u8>),
}

impl Content {
    /// Returns the row's key.
    pub fn key(&self) -> RowKey {
        match self {
            Self::User(user, _) => RowKey::User(*user),
            Self::Group(group, _) => RowKey::Group(*group),
            Self::Membership(group, user, _) => RowKey::Membership(*group, *user),
            Self::Owner(group, _) => RowKey::Owner(*group),
            Self::File(group, file, _) => RowKey::File(*group, *file),
            Self::Sharing(group, file, user, _) => RowKey::Sharing(*group, *file, *user),
            Self::Request(request, _) => RowKey::Request(*request),
            Self::Setting(name, _) => RowKey::Setting(name.clone()),
            Self::Device(user, device, _) => RowKey::Device(*user, *device),
            Self::Invitation(group, id, _) => RowKey::Invitation(*group, *id),
            Self::InvitationUse(group, id, user, _) => RowKey::InvitationUse(*group, *id, *user),
            Self::GroupSettings(group, _) => RowKey::GroupSettings(*group),
            Self::Unknown(kind, key, _) => RowKey::Unknown(*kind, key.clone()),
        }
    }

    /// Tells whether the row says that something is not there: such rows are deleted after the
    /// retention time. Final deletions stay: without them the members and files of what was
    /// deleted, which are still there, would be in effect again.
    pub fn is_tombstone(&self) -> bool {
        match self {
            Self::Membership(_, _, row) => row.state == MembershipState::None,
            Self::File(_, _, row) => row.is_none(),
            Self::Sharing(_, _, _, row) => !row.on,
            // They have expired by then, see `limits::INVITATION_DAYS_MAX`.
            Self::Request(..) | Self::Invitation(..) | Self::InvitationUse(..) => true,
            Self::Setting(_, value) => value.is_none(),
            Self::Device(_, _, row) => !row.on,
            Self::GroupSettings(_, row) => *row == GroupSettings::default(),
            Self::User(..) | Self::Group(..) | Self::Owner(..) | Self::Unknown(..) => false,
        }
    }

    /// Tells whether a tracker that never hears of the row misses nothing once the row is old: it
    /// has expired by then. What was taken back is another matter.
    pub fn is_expiring(&self) -> bool {
        match self {
            Self::Request(..) | Self::InvitationUse(..) => true,
            Self::Invitation(_, _, row) => !row.is_revoked,
            _ => false,
        }
    }

    /// Tells whether the deletion that this says is final: it stays whatever is written later.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::User(_, None) | Self::Group(_, None))
    }
}

/// What one transaction of a store changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Transaction {
    /// The update sequence of its rows; 0 if it has none.
    pub sequence: u64,
    /// The rows, each as it is from now on.
    pub rows: Vec<Row>,
    /// What was there before, row by row.
    pub displaced: Vec<Option<Content>>,
    /// A peer's store is merged here up to that update sequence.
    pub checkpoints: Vec<(StoreId, u64)>,
    /// Entries of the version vector that rose.
    pub vector: Vec<(StoreId, u64)>,
}

/// One row of the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Key and value.
    pub content: Content,
    /// The write that put it there.
    pub version: Version,
    /// Where that write was made first.
    pub place: Place,
    /// Fields of the value that a later version of this program knows, as they came.
    pub extra: Box<[u8]>,
}

/// Up to which update sequence each store is known: everything that the store had then has been
/// merged. A store that is absent is known up to 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VersionVector(BTreeMap<StoreId, u64>);

impl VersionVector {
    /// Returns how far `store` is known.
    pub fn get(&self, store: StoreId) -> u64 {
        self.0.get(&store).copied().unwrap_or(0)
    }

    /// Raises `store` to `sequence`; a lower one changes nothing.
    pub fn raise(&mut self, store: StoreId, sequence: u64) {
        if sequence > self.get(store) {
            self.0.insert(store, sequence);
        }
    }

    /// Raises every store to what `other` knows.
    pub fn merge(&mut self, other: &Self) {
        other.iter().for_each(|(store, sequence)| self.raise(store, sequence));
    }

    /// Forgets a store. Its rows may then be sent here once more, which costs time and nothing
    /// else.
    pub fn remove(&mut self, store: StoreId) {
        self.0.remove(&store);
    }

    /// Tells whether everything that `other` knows is known here.
    pub fn covers(&self, other: &Self) -> bool {
        other.iter().all(|(store, sequence)| self.get(store) >= sequence)
    }

    /// Tells whether a write that was made there is known here, or one that took its place.
    pub fn has(&self, place: Place) -> bool {
        self.get(place.store) >= place.sequence
    }

    /// The stores known, in order, each with its sequence.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (StoreId, u64)> + '_ {
        self.0.iter().map(|(&store, &sequence)| (store, sequence))
    }
}

impl FromIterator<(StoreId, u64)> for VersionVector {
    fn from_iter<T: IntoIterator<Item = (StoreId, u64)>>(entries: T) -> Self {
        let mut vector = Self::default();
        entries.into_iter().for_each(|(store, sequence)| vector.raise(store, sequence));
        vector
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_only_rise() {
        let [a, b] = [1, 2].map(|n| StoreId::from_bytes([n; 16]));
        let mut mine: VersionVector = [(a, 5)].into_iter().collect();
        let theirs: VersionVector = [(a, 3), (b, 4)].into_iter().collect();
        assert!(!mine.covers(&theirs));
        assert!(
            mine.has(Place { store: a, sequence: 5 }) && !mine.has(Place { store: b, sequence: 1 })
        );
        mine.merge(&theirs);
        assert_eq!((mine.get(a), mine.get(b)), (5, 4));
        assert!(mine.covers(&theirs));
        assert!(mine.covers(&VersionVector::default()));
    }
}
