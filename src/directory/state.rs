//! The directory as a whole: registers, the indexes over them, the requests carried out, and how far each origin is known.

use std::collections::{BTreeMap, BTreeSet};

use super::group::Group;
use super::names::NameIndex;
use super::registers::{FileValue, GroupValue, Register, Standing, UserValue, merge};
use super::requests::Requests;
use super::voids::Passwords;
use crate::types::{GroupId, MembershipState, Operation, RequestId, Tag, UserId, VersionVector, Write};

/// The replicated state of a tracker: a map of registers, and the indexes that answer queries about it.
///
/// It changes by operations alone, which only the [`super::Replica`] applies.
#[derive(Debug, Clone, Default)]
pub struct Directory {
    pub(super) users: BTreeMap<UserId, Register<UserValue>>,
    pub(super) user_names: NameIndex<UserId>,
    pub(super) passwords: Passwords,
    pub(super) groups: BTreeMap<GroupId, Group>,
    /// Of groups with a name and a member.
    pub(super) group_names: NameIndex<GroupId>,
    /// Groups in which the user is a member or waits to be.
    pub(super) user_groups: BTreeMap<UserId, BTreeSet<GroupId>>,
    /// Files that somebody shares, once a group.
    pub(super) file_count: usize,
    pub(super) requests: Requests,
    pub(super) known: VersionVector,
}

impl Directory {
    /// Merges an operation. The caller sees to it that each one comes once and continues its origin.
    pub(super) fn apply(&mut self, operation: &Operation) {
        self.requests.record(operation);
        self.known.raise(operation.origin, operation.sequence);
        let tag = operation.tag();
        operation.writes.iter().for_each(|write| self.merge(operation.request, tag, write));
    }

    fn merge(&mut self, request: RequestId, tag: Tag, write: &Write) {
        match *write {
            Write::User { user, ref name, ref hash, created } => {
                self.merge_user(user, tag, UserValue { name: name.clone(), hash: hash.clone(), created });
                let in_force = self.users.get(&user).is_some_and(|register| register.tag == tag);
                // The write that made the account has the account's age.
                self.passwords.note(user, request, tag, in_force, created != tag.stamp);
            }
            Write::Group { group, ref name, created_by, created } => {
                let value = GroupValue { name: name.clone(), created_by, created };
                self.change_group(group, |g| g.write_about(tag, value));
            }
            Write::Membership { group, user, state, since } => {
                self.change_group(group, |g| g.write_standing(user, tag, Standing { state, since }));
                self.refresh_user_groups(group, user);
            }
            Write::Owner { group, user } => self.change_group(group, |g| g.write_owner(tag, user)),
            Write::File { group, ref file, shared_by, at } => {
                let value = FileValue::new(file, shared_by, at);
                self.change_group(group, |g| g.write_file(file.info_hash, tag, value));
            }
            Write::Sharing { group, info_hash, user, on } => {
                self.change_group(group, |g| g.write_sharing(info_hash, user, tag, on));
            }
        }
    }

    fn merge_user(&mut self, user: UserId, tag: Tag, value: UserValue) {
        let (name, created) = (value.name.clone(), value.created);
        let Some(previous) = merge(&mut self.users, user, tag, value) else { return };
        if let Some(Register { value, .. }) = previous {
            self.user_names.remove(value.name.as_str(), user);
        }
        self.user_names.insert(name.as_str(), created, user);
    }

    /// Changes one group and brings the indexes over groups in line with it.
    fn change_group(&mut self, id: GroupId, change: impl FnOnce(&mut Group)) {
        let group = self.groups.entry(id).or_default();
        let file_count_before = group.file_names.len();
        change(group);
        self.file_count = self.file_count + group.file_names.len() - file_count_before;
        let listing = group.listing();
        if listing == group.listed {
            return;
        }
        if let Some((name, _)) = &group.listed {
            self.group_names.remove(name.as_str(), id);
        }
        if let Some((name, created)) = &listing {
            self.group_names.insert(name.as_str(), *created, id);
        }
        group.listed = listing;
    }

    fn refresh_user_groups(&mut self, id: GroupId, user: UserId) {
        let has_tie = self.groups.get(&id).is_some_and(|group| group.state(user) != MembershipState::None);
        if has_tie {
            self.user_groups.entry(user).or_default().insert(id);
        } else if let Some(groups) = self.user_groups.get_mut(&user) {
            groups.remove(&id);
            if groups.is_empty() {
                self.user_groups.remove(&user);
            }
        }
    }
}
