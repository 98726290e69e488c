//! One group: its rows, the members, and what is shared.
//!
//! **Invariant:** the indexes (members, requests, sharers, file names) follow from the rows alone. A
//! share is in effect while its row is on, the user is a member by the admission under which the share
//! began (or began the share after the admission), and the file was not removed since. A file is
//! listed, and has a name, while a share of it is in effect.

use std::collections::{BTreeMap, BTreeSet};

use super::names::NameIndex;
use super::registers::{Register, merge, merge_final, merge_one};
use crate::types::{
    FileId, FileName, FileRow, GroupName, GroupRow, InfoHash, MembershipRow, MembershipState, Part, SharingRow, Stamp, UserId,
    Version,
};

/// One file of a group.
#[derive(Debug, Clone, Default)]
pub(super) struct File {
    pub(super) about: Option<Register<Option<FileRow>>>,
    pub(super) sharing: BTreeMap<UserId, Register<SharingRow>>,
    /// Users whose share is in effect, by the time they began.
    pub(super) sharers: BTreeSet<(Stamp, UserId)>,
    /// The entry in the index of file names.
    listed: Option<(FileName, Stamp)>,
}

impl File {
    /// The file's row while somebody shares it.
    pub(super) fn listed(&self) -> Option<&FileRow> {
        self.listed.as_ref().and(self.about.as_ref()).and_then(|about| about.value.as_ref())
    }

    /// Tells whether the user's share is in effect.
    pub(super) fn is_shared_by(&self, user: UserId) -> bool {
        self.sharing.get(&user).is_some_and(|sharing| self.sharers.contains(&(sharing.version.stamp, user)))
    }

    /// Tells whether the file's row allows a share that began then.
    fn allows(&self, began: Stamp) -> bool {
        let about = self.about.as_ref().map(|about| (&about.value, about.version));
        match about {
            Some((Some(row), _)) => row.removed.is_none_or(|removed| began > removed),
            Some((None, _)) => false,
            // The row has not arrived yet; without it the file is not listed anyway.
            None => true,
        }
    }
}

/// One group.
#[derive(Debug, Clone, Default)]
pub(super) struct Group {
    pub(super) about: Option<Register<Option<GroupRow>>>,
    pub(super) owner: Option<Register<UserId>>,
    pub(super) standings: BTreeMap<UserId, Register<MembershipRow>>,
    /// Users whose account was deleted: whatever their rows say, they are not in.
    deleted: BTreeSet<UserId>,
    /// By seniority.
    pub(super) members: BTreeSet<(Stamp, UserId)>,
    /// Oldest first.
    pub(super) requests: BTreeSet<(Stamp, UserId)>,
    /// Memberships that have ended, by time.
    pub(super) ended: BTreeSet<(Stamp, UserId)>,
    pub(super) files: BTreeMap<FileId, File>,
    /// The files of each content.
    contents: BTreeSet<(InfoHash, FileId)>,
    pub(super) file_names: NameIndex<FileId>,
    /// Files whose sharing row is on, by user, member or not.
    shares: BTreeMap<UserId, BTreeSet<FileId>>,
    /// The entry in the index of group names; kept by the directory.
    pub(super) listed: Option<(GroupName, Stamp)>,
    /// The owner in effect, as counted by the directory.
    pub(super) counted_owner: Option<UserId>,
}

impl Group {
    /// The group's row, unless it was deleted or has not arrived.
    pub(super) fn row(&self) -> Option<&GroupRow> {
        self.about.as_ref()?.value.as_ref()
    }

    /// The name and time under which the group is to be listed: it has a row and a member.
    pub(super) fn listing(&self) -> Option<(GroupName, Stamp)> {
        let row = self.row()?;
        (!self.members.is_empty()).then(|| (row.name.clone(), row.created))
    }

    /// Where the user stands.
    pub(super) fn state(&self, user: UserId) -> MembershipState {
        if self.deleted.contains(&user) {
            return MembershipState::None;
        }
        self.standings.get(&user).map_or(MembershipState::None, |standing| standing.value.state)
    }

    /// Tells whether the user is in.
    pub(super) fn is_member(&self, user: UserId) -> bool {
        self.state(user) == MembershipState::Member
    }

    /// The request that let a member in, and when.
    pub(super) fn admission(&self, user: UserId) -> Option<Version> {
        self.is_member(user).then(|| self.standings.get(&user).map(|standing| standing.version)).flatten()
    }

    /// The owner in effect: the owner row's user while a member, else the longest-standing member.
    pub(super) fn owner(&self) -> Option<UserId> {
        let named = self.owner.as_ref().map(|owner| owner.value).filter(|&user| self.is_member(user));
        named.or_else(|| self.members.first().map(|&(_, user)| user))
    }

    /// What the user is to the group.
    pub(super) fn part(&self, user: UserId) -> Part {
        match self.state(user) {
            MembershipState::None => Part::Stranger,
            MembershipState::Requested => Part::Requested,
            MembershipState::Member if self.owner() == Some(user) => Part::Owner,
            MembershipState::Member => Part::Member,
        }
    }

    /// The files for which the user's sharing row is on, in effect or not.
    pub(super) fn shares_of(&self, user: UserId) -> impl ExactSizeIterator<Item = FileId> + '_ {
        static NONE: BTreeSet<FileId> = BTreeSet::new();
        self.shares.get(&user).unwrap_or(&NONE).iter().copied()
    }

    /// The files with that content.
    pub(super) fn files_of(&self, info_hash: InfoHash) -> impl Iterator<Item = (FileId, &File)> + '_ {
        let (first, last) = (FileId::from_bytes([0; FileId::LEN]), FileId::from_bytes([0xff; FileId::LEN]));
        let ids = self.contents.range((info_hash, first)..=(info_hash, last));
        ids.filter_map(|(_, id)| Some((*id, self.files.get(id)?)))
    }

    /// Merges the group row.
    pub(super) fn write_about(&mut self, write: Register<Option<GroupRow>>) -> Option<Option<Register<Option<GroupRow>>>> {
        merge_final(&mut self.about, write)
    }

    /// Merges the owner row.
    pub(super) fn write_owner(&mut self, write: Register<UserId>) -> Option<Option<Register<UserId>>> {
        merge_one(&mut self.owner, write)
    }

    /// Merges a membership row; shares come into effect or go out of it with it.
    pub(super) fn write_standing(
        &mut self,
        user: UserId,
        write: Register<MembershipRow>,
    ) -> Option<Option<Register<MembershipRow>>> {
        let previous = merge(&mut self.standings, user, write)?;
        if let Some(before) = previous.as_ref().map(|register| register.value) {
            self.unindex(user, before);
            before.ended.map(|ended| self.ended.remove(&(ended, user)));
        }
        self.index(user);
        self.refresh_shares_of(user);
        Some(previous)
    }

    /// The user's account was deleted.
    pub(super) fn delete_user(&mut self, user: UserId) {
        if self.deleted.insert(user) {
            if let Some(row) = self.standings.get(&user).map(|register| register.value) {
                self.unindex(user, row);
            }
            self.refresh_shares_of(user);
        }
    }

    /// Merges a file row.
    pub(super) fn write_file(
        &mut self,
        id: FileId,
        write: Register<Option<FileRow>>,
    ) -> Option<Option<Register<Option<FileRow>>>> {
        let file = self.files.entry(id).or_default();
        let previous = merge_one(&mut file.about, write)?;
        if let Some(row) = file.about.as_ref().and_then(|about| about.value.as_ref()) {
            self.contents.insert((row.facts.info_hash, id));
        }
        let users: Vec<UserId> = file.sharing.keys().copied().collect();
        users.into_iter().for_each(|user| self.refresh_share(id, user));
        self.refresh_listing(id);
        Some(previous)
    }

    /// Merges a sharing row.
    pub(super) fn write_sharing(
        &mut self,
        id: FileId,
        user: UserId,
        write: Register<SharingRow>,
    ) -> Option<Option<Register<SharingRow>>> {
        let on = write.value.on;
        let file = self.files.entry(id).or_default();
        let previous = merge(&mut file.sharing, user, write)?;
        if let Some(previous) = &previous {
            file.sharers.remove(&(previous.version.stamp, user));
        }
        if on {
            self.shares.entry(user).or_default().insert(id);
        } else if let Some(shares) = self.shares.get_mut(&user) {
            shares.remove(&id);
            if shares.is_empty() {
                self.shares.remove(&user);
            }
        }
        self.refresh_share(id, user);
        Some(previous)
    }

    /// Forgets a row that the store has deleted for its age; false if there is another by now.
    pub(super) fn forget_standing(&mut self, user: UserId) -> bool {
        let is_out = |register: &Register<MembershipRow>| register.value.state == MembershipState::None;
        if !self.standings.get(&user).is_some_and(is_out) {
            return false;
        }
        if let Some(register) = self.standings.remove(&user) {
            register.value.ended.map(|ended| self.ended.remove(&(ended, user)));
        }
        true
    }

    /// As [`Group::forget_standing`].
    pub(super) fn forget_sharing(&mut self, id: FileId, user: UserId) -> bool {
        let Some(file) = self.files.get_mut(&id) else { return false };
        if file.sharing.get(&user).is_none_or(|sharing| sharing.value.on) {
            return false;
        }
        file.sharing.remove(&user);
        self.forget_empty(id);
        true
    }

    /// As [`Group::forget_standing`].
    pub(super) fn forget_file(&mut self, id: FileId) -> bool {
        let Some(file) = self.files.get_mut(&id) else { return false };
        if file.about.as_ref().is_none_or(|about| about.value.is_some()) {
            return false;
        }
        file.about = None;
        self.forget_empty(id);
        true
    }

    fn forget_empty(&mut self, id: FileId) {
        if self.files.get(&id).is_some_and(|file| file.about.is_none() && file.sharing.is_empty()) {
            self.files.remove(&id);
            self.contents.retain(|(_, other)| *other != id);
        }
    }

    fn index(&mut self, user: UserId) {
        let Some(row) = self.standings.get(&user).map(|register| register.value) else { return };
        row.ended.map(|ended| self.ended.insert((ended, user)));
        match self.state(user) {
            MembershipState::None => false,
            MembershipState::Requested => self.requests.insert((row.since, user)),
            MembershipState::Member => self.members.insert((row.since, user)),
        };
    }

    fn unindex(&mut self, user: UserId, row: MembershipRow) {
        match row.state {
            MembershipState::None => false,
            MembershipState::Requested => self.requests.remove(&(row.since, user)),
            MembershipState::Member => self.members.remove(&(row.since, user)),
        };
    }

    fn refresh_shares_of(&mut self, user: UserId) {
        let shares: Vec<FileId> = self.shares_of(user).collect();
        shares.into_iter().for_each(|id| self.refresh_share(id, user));
    }

    /// Brings a file's sharers in line with the rows of one user.
    fn refresh_share(&mut self, id: FileId, user: UserId) {
        let admission = self.admission(user);
        let Some(file) = self.files.get_mut(&id) else { return };
        let Some(sharing) = file.sharing.get(&user) else { return };
        let (row, began) = (sharing.value, sharing.version.stamp);
        let is_admitted = admission.is_some_and(|a| a.request == row.admission || began > a.stamp);
        if row.on && is_admitted && file.allows(began) {
            file.sharers.insert((began, user));
        } else {
            file.sharers.remove(&(began, user));
        }
        self.refresh_listing(id);
    }

    /// Brings the index of file names in line with a file.
    fn refresh_listing(&mut self, id: FileId) {
        let Some(file) = self.files.get_mut(&id) else { return };
        let about = file.about.as_ref().and_then(|about| about.value.as_ref()).filter(|_| !file.sharers.is_empty());
        let listing = about.map(|row| (row.facts.name.clone(), row.at));
        if listing == file.listed {
            return;
        }
        if let Some((name, _)) = &file.listed {
            self.file_names.remove(name.as_str(), id);
        }
        if let Some((name, at)) = &listing {
            self.file_names.insert(name.as_str(), *at, id);
        }
        file.listed = listing;
    }
}
