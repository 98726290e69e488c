//! One group: its registers, who belongs to it, what is shared in it.
//!
//! **Invariant:** the indexes (members, requests, sharers, file names) follow from the registers alone. A user shares a file while
//! the sharing register is on and the user is a member; a file is listed, and bears a name, while somebody shares it.

use std::collections::{BTreeMap, BTreeSet};

use super::names::NameIndex;
use super::registers::{FileValue, GroupValue, Register, Standing, merge, merge_one};
use super::voids::Ended;
use crate::types::{FileName, GroupName, InfoHash, MembershipState, Part, Stamp, Tag, UserId};

/// One file of a group.
#[derive(Debug, Clone, Default)]
pub(super) struct File {
    pub(super) about: Option<Register<FileValue>>,
    pub(super) sharing: BTreeMap<UserId, Register<bool>>,
    /// Members whose register is on, by the time they began.
    pub(super) sharers: BTreeSet<(Stamp, UserId)>,
    /// The entry in the index of file names.
    listed: Option<(FileName, Stamp)>,
}

impl File {
    /// The file's description while somebody shares it.
    pub(super) fn listed(&self) -> Option<&FileValue> {
        self.listed.as_ref().and(self.about.as_ref()).map(|about| &about.value)
    }

    /// Tells whether the user shares the file, as a member.
    pub(super) fn is_shared_by(&self, user: UserId) -> bool {
        self.sharing.get(&user).is_some_and(|sharing| self.sharers.contains(&(sharing.tag.stamp, user)))
    }

    /// Tells whether the user's register is on, member or not.
    fn is_on(&self, user: UserId) -> bool {
        self.sharing.get(&user).is_some_and(|sharing| sharing.value)
    }
}

/// One group.
#[derive(Debug, Clone, Default)]
pub(super) struct Group {
    pub(super) about: Option<Register<GroupValue>>,
    pub(super) owner: Option<Register<UserId>>,
    pub(super) standings: BTreeMap<UserId, Register<Standing>>,
    /// By seniority.
    pub(super) members: BTreeSet<(Stamp, UserId)>,
    /// Oldest first.
    pub(super) requests: BTreeSet<(Stamp, UserId)>,
    pub(super) ended: Ended,
    pub(super) files: BTreeMap<InfoHash, File>,
    pub(super) file_names: NameIndex<InfoHash>,
    /// Files whose sharing register is on, by user, member or not.
    shares: BTreeMap<UserId, BTreeSet<InfoHash>>,
    /// The entry in the index of group names; kept by the directory.
    pub(super) listed: Option<(GroupName, Stamp)>,
}

impl Group {
    /// The name and time under which the group is to be listed: it has a name and a member.
    pub(super) fn listing(&self) -> Option<(GroupName, Stamp)> {
        let about = &self.about.as_ref()?.value;
        (!self.members.is_empty()).then(|| (about.name.clone(), about.created))
    }

    /// Where the user stands.
    pub(super) fn state(&self, user: UserId) -> MembershipState {
        self.standings.get(&user).map_or(MembershipState::None, |standing| standing.value.state)
    }

    /// Tells whether the user is in.
    pub(super) fn is_member(&self, user: UserId) -> bool {
        self.state(user) == MembershipState::Member
    }

    /// The owner in effect: the register's user while a member, else the longest-standing member.
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

    /// The files for which the user's sharing register is on, member or not.
    pub(super) fn shares_of(&self, user: UserId) -> impl ExactSizeIterator<Item = InfoHash> + '_ {
        static NONE: BTreeSet<InfoHash> = BTreeSet::new();
        self.shares.get(&user).unwrap_or(&NONE).iter().copied()
    }

    /// Merges the group register.
    pub(super) fn write_about(&mut self, tag: Tag, value: GroupValue) {
        merge_one(&mut self.about, tag, value);
    }

    /// Merges the owner register.
    pub(super) fn write_owner(&mut self, tag: Tag, user: UserId) {
        merge_one(&mut self.owner, tag, user);
    }

    /// Merges a membership register; shares come into effect or go out of it with it.
    pub(super) fn write_standing(&mut self, user: UserId, tag: Tag, standing: Standing) {
        self.ended.note(user, tag, standing.state);
        let Some(previous) = merge(&mut self.standings, user, tag, standing) else { return };
        if let Some(Register { value, .. }) = previous
            && let Some(index) = self.index_of(value.state)
        {
            index.remove(&(value.since, user));
        }
        if let Some(index) = self.index_of(standing.state) {
            index.insert((standing.since, user));
        }
        let was_member = previous.is_some_and(|p| p.value.state == MembershipState::Member);
        if was_member != self.is_member(user) {
            let shares: Vec<InfoHash> = self.shares_of(user).collect();
            shares.into_iter().for_each(|info_hash| self.refresh_share(info_hash, user));
        }
    }

    /// Merges a file register.
    pub(super) fn write_file(&mut self, info_hash: InfoHash, tag: Tag, value: FileValue) {
        let file = self.files.entry(info_hash).or_default();
        if merge_one(&mut file.about, tag, value).is_some() {
            self.refresh_listing(info_hash);
        }
    }

    /// Merges a sharing register.
    pub(super) fn write_sharing(&mut self, info_hash: InfoHash, user: UserId, tag: Tag, on: bool) {
        let file = self.files.entry(info_hash).or_default();
        let Some(previous) = merge(&mut file.sharing, user, tag, on) else { return };
        if let Some(previous) = previous {
            file.sharers.remove(&(previous.tag.stamp, user));
        }
        if on {
            self.shares.entry(user).or_default().insert(info_hash);
        } else if let Some(shares) = self.shares.get_mut(&user) {
            shares.remove(&info_hash);
            if shares.is_empty() {
                self.shares.remove(&user);
            }
        }
        self.refresh_share(info_hash, user);
    }

    fn index_of(&mut self, state: MembershipState) -> Option<&mut BTreeSet<(Stamp, UserId)>> {
        match state {
            MembershipState::None => None,
            MembershipState::Requested => Some(&mut self.requests),
            MembershipState::Member => Some(&mut self.members),
        }
    }

    /// Brings a file's sharers in line with one user's registers.
    fn refresh_share(&mut self, info_hash: InfoHash, user: UserId) {
        let is_member = self.is_member(user);
        let Some(file) = self.files.get_mut(&info_hash) else { return };
        let Some(began) = file.sharing.get(&user).map(|sharing| sharing.tag.stamp) else { return };
        if is_member && file.is_on(user) {
            file.sharers.insert((began, user));
        } else {
            file.sharers.remove(&(began, user));
        }
        self.refresh_listing(info_hash);
    }

    /// Brings the index of file names in line with a file.
    fn refresh_listing(&mut self, info_hash: InfoHash) {
        let Some(file) = self.files.get_mut(&info_hash) else { return };
        let about = file.about.as_ref().filter(|_| !file.sharers.is_empty());
        let listing = about.map(|about| (about.value.name.clone(), about.value.at));
        if listing == file.listed {
            return;
        }
        if let Some((name, _)) = &file.listed {
            self.file_names.remove(name.as_str(), info_hash);
        }
        if let Some((name, at)) = &listing {
            self.file_names.insert(name.as_str(), *at, info_hash);
        }
        file.listed = listing;
    }
}
