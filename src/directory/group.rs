//! One group: its rows, the members, and what is shared.
//!
//! A share is in effect while its row is on, the user is a member by the admission under which the
//! share began (or began the share after the admission), and the file was not removed since. A file
//! is listed, and has a name, while a share of it is in effect. A group is live, and has a name,
//! while it has a row and a member.

use super::entries::{Tag, last_user};
use super::rows::{Rows, Scan, stored_key};
use super::state::Directory;
use crate::types::{
    Content, FileId, FileRow, GroupId, GroupRow, MembershipRow, MembershipState, Part, Row, RowKey,
    SharingRow, Stamp, UserId, UserRow, Version,
};

/// Rows read at once.
const AT_ONCE: usize = 256;

impl<R: Rows> Directory<R> {
    /// A user's row; without a value once the account was deleted.
    pub(super) fn account(&self, user: UserId) -> Option<(Version, Option<UserRow>)> {
        let row = self.rows.get(&RowKey::User(user))?;
        if let Content::User(_, value) = row.content { Some((row.version, value)) } else { None }
    }

    /// Tells whether the account was deleted. A deleted account is in no group, although the rows
    /// of its memberships stay.
    pub(super) fn is_deleted(&self, user: UserId) -> bool {
        self.account(user).is_some_and(|(_, row)| row.is_none())
    }

    /// A group's row; without a value once it was deleted.
    pub(super) fn group_row(&self, group: GroupId) -> Option<(Version, Option<GroupRow>)> {
        let row = self.rows.get(&RowKey::Group(group))?;
        if let Content::Group(_, value) = row.content { Some((row.version, value)) } else { None }
    }

    /// The row of a group that was not deleted and has a member.
    pub(super) fn live(&self, group: GroupId) -> Option<GroupRow> {
        self.group_summary(group).listed?;
        self.group_row(group)?.1
    }

    /// Tells whether a group was not deleted and has a member.
    pub(super) fn is_live(&self, group: GroupId) -> bool {
        self.group_summary(group).listed.is_some()
    }

    /// A user's tie to a group, as the row says.
    pub(super) fn standing(
        &self,
        group: GroupId,
        user: UserId,
    ) -> Option<(Version, MembershipRow)> {
        let row = self.rows.get(&RowKey::Membership(group, user))?;
        if let Content::Membership(_, _, value) = row.content {
            Some((row.version, value))
        } else {
            None
        }
    }

    /// Where the user stands.
    pub(super) fn state(&self, group: GroupId, user: UserId) -> MembershipState {
        match self.standing(group, user) {
            Some((_, row)) if row.state != MembershipState::None && !self.is_deleted(user) => {
                row.state
            }
            _ => MembershipState::None,
        }
    }

    /// Tells whether the user is in, be the group live or not.
    pub(super) fn is_in(&self, group: GroupId, user: UserId) -> bool {
        self.state(group, user) == MembershipState::Member
    }

    /// The request that let a member in, and when.
    pub(super) fn admission(&self, group: GroupId, user: UserId) -> Option<Version> {
        let (version, row) = self.standing(group, user)?;
        (row.state == MembershipState::Member && !self.is_deleted(user)).then_some(version)
    }

    /// Who is named as the owner.
    pub(super) fn owner_row(&self, group: GroupId) -> Option<(Version, UserId)> {
        let row = self.rows.get(&RowKey::Owner(group))?;
        if let Content::Owner(_, user) = row.content { Some((row.version, user)) } else { None }
    }

    /// The owner in effect: the owner row's user while a member, else the longest-standing member.
    pub(super) fn owner(&self, group: GroupId) -> Option<UserId> {
        let named =
            self.owner_row(group).map(|(_, user)| user).filter(|&user| self.is_in(group, user));
        named.or_else(|| self.in_list(Tag::Members, group).next().map(|(_, user)| user))
    }

    /// What the user is to the group, be it live or not.
    pub(super) fn part_in(&self, group: GroupId, user: UserId) -> Part {
        match self.state(group, user) {
            MembershipState::None => Part::Stranger,
            MembershipState::Requested => Part::Requested,
            MembershipState::Member if self.owner(group) == Some(user) => Part::Owner,
            MembershipState::Member => Part::Member,
        }
    }

    /// Members, requests or ended memberships of a group, the oldest first.
    pub(super) fn in_list(
        &self,
        list: Tag,
        group: GroupId,
    ) -> impl Iterator<Item = (Stamp, UserId)> + '_ {
        Scan::prefix(&self.rows, &list.key(&[group.as_bytes()]))
            .filter_map(|(key, _)| last_user(&key))
    }

    /// A file's row; without a value once it was removed.
    pub(super) fn file_row(
        &self,
        group: GroupId,
        file: FileId,
    ) -> Option<(Version, Option<FileRow>)> {
        let row = self.rows.get(&RowKey::File(group, file))?;
        if let Content::File(_, _, value) = row.content { Some((row.version, value)) } else { None }
    }

    /// The row of a file that a member shares.
    pub(super) fn listed(&self, group: GroupId, file: FileId) -> Option<FileRow> {
        self.file_summary(group, file).listed?;
        self.file_row(group, file)?.1
    }

    /// A user's offer of a file, as the row says.
    pub(super) fn sharing(
        &self,
        group: GroupId,
        file: FileId,
        user: UserId,
    ) -> Option<(Version, SharingRow)> {
        let row = self.rows.get(&RowKey::Sharing(group, file, user))?;
        if let Content::Sharing(_, _, _, value) = row.content {
            Some((row.version, value))
        } else {
            None
        }
    }

    /// The rows of all who offer a file or did.
    pub(super) fn sharing_rows(
        &self,
        group: GroupId,
        file: FileId,
    ) -> impl Iterator<Item = (UserId, Version, SharingRow)> + '_ {
        self.rows_of_users(RowKey::Sharing(group, file, UserId::NOBODY)).filter_map(|row| match row
            .content
        {
            Content::Sharing(_, _, user, value) => Some((user, row.version, value)),
            _ => None,
        })
    }

    /// Tells whether a user's share of a file is in effect, by the rows.
    pub(super) fn is_in_effect(&self, group: GroupId, file: FileId, user: UserId) -> bool {
        let sharing = self.sharing(group, file, user);
        sharing.is_some_and(|(version, row)| self.is_allowed((group, file, user), version, row))
    }

    /// Tells whether the other rows allow what a sharing row says.
    pub(super) fn is_allowed(
        &self,
        share: (GroupId, FileId, UserId),
        version: Version,
        row: SharingRow,
    ) -> bool {
        let ((group, file, user), began) = (share, version.stamp);
        let is_admitted = |a: Version| a.request == row.admission || began > a.stamp;
        row.on
            && self.admission(group, user).is_some_and(is_admitted)
            && self.allows(group, file, began)
    }

    /// Tells whether the file's row allows a share that began then.
    fn allows(&self, group: GroupId, file: FileId, began: Stamp) -> bool {
        match self.file_row(group, file) {
            Some((_, Some(row))) => row.removed.is_none_or(|removed| began > removed),
            // It was removed, or has not arrived yet.
            Some((_, None)) | None => false,
        }
    }

    /// The rows whose key is that one but for the user at its end.
    pub(super) fn rows_of_users(&self, key: RowKey) -> impl Iterator<Item = Row> + '_ {
        let mut prefix = stored_key(&key);
        prefix.truncate(prefix.len() - UserId::LEN);
        self.rows_with(prefix)
    }

    /// The rows whose stored key begins with these bytes.
    pub(super) fn rows_with(&self, prefix: Vec<u8>) -> impl Iterator<Item = Row> + '_ {
        self.rows_behind(prefix, None)
    }

    /// The same behind a stored key.
    pub(super) fn rows_behind(
        &self,
        prefix: Vec<u8>,
        mut after: Option<Vec<u8>>,
    ) -> impl Iterator<Item = Row> + '_ {
        let mut is_done = false;
        let chunks = std::iter::from_fn(move || {
            if is_done {
                return None;
            }
            let rows = self.rows.rows(&prefix, after.as_deref(), AT_ONCE);
            is_done = rows.len() < AT_ONCE;
            after = rows.last().map(|row| stored_key(&row.content.key()));
            Some(rows)
        });
        chunks.flatten()
    }
}
