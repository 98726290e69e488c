//! What the directory answers. Every query costs what it returns, times a logarithm; none looks at everything.
//!
//! `text` is what a user typed: a name as shown, that is `name` or `name~2`. Listings come in pages: `after` is the last entry of
//! the page before, `max` the number of entries wanted, and the flag tells whether there are more. A tracker adds who is online.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::group::{File, Group};
use super::registers::GroupValue;
use super::state::Directory;
use crate::types::{
    FileEntry, GroupEntry, GroupId, InfoHash, Label, MemberEntry, Outcome, Part, PasswordHash, Refusal, RequestEntry, RequestId,
    Stamp, Tag, UserEntry, UserId,
};

/// Bearers of one name whose passwords are tried at a login: each try costs a slow hash. Later ones log in as `name~9`.
const LOGIN_CANDIDATES_MAX: usize = 8;
/// Sharers named in one [`FileEntry`].
const SHARERS_NAMED_MAX: usize = 8;

/// Sizes for `status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Accounts.
    pub users: u64,
    /// Groups with at least one member.
    pub groups: u64,
    /// Files that somebody shares, counted once a group.
    pub files: u64,
    /// Operations known, of all origins.
    pub operations: u64,
    /// Tracker stores that ever recorded an operation.
    pub origins: u64,
}

impl Directory {
    /// Users whom the text typed at a login may mean, with their password hashes: every bearer of the name (at most 8), first the
    /// one shown under it, or the one behind `name~2`.
    pub fn login_candidates(&self, text: &str) -> Vec<(UserEntry, PasswordHash)> {
        let mut users: Vec<UserId> = self.user_names.bearers_of(text).take(LOGIN_CANDIDATES_MAX).collect();
        if users.is_empty() {
            users.extend(self.user_names.find(text));
        }
        users.into_iter().filter_map(|user| Some((self.user_entry(user)?, self.users.get(&user)?.value.hash.clone()))).collect()
    }

    /// Describes a user.
    pub fn user_entry(&self, user: UserId) -> Option<UserEntry> {
        let name = &self.users.get(&user)?.value.name;
        Some(UserEntry { user, label: self.user_names.label(name.as_str(), user)? })
    }

    /// The write that set a user's present password, if there is such a user.
    pub fn password_tag(&self, user: UserId) -> Option<Tag> {
        self.users.get(&user).map(|register| register.tag)
    }

    /// Returns the password hash in force.
    pub fn password_hash(&self, user: UserId) -> Option<&PasswordHash> {
        self.users.get(&user).map(|register| &register.value.hash)
    }

    /// Finds a user by name as shown.
    pub fn find_user(&self, text: &str) -> Option<UserId> {
        self.user_names.find(text)
    }

    /// Finds a live group by name as shown.
    pub fn find_group(&self, text: &str) -> Option<GroupId> {
        self.group_names.find(text)
    }

    /// Tells what a user is to a group; a stranger to one that has ended.
    pub fn part(&self, group: GroupId, user: UserId) -> Part {
        self.live(group).map_or(Part::Stranger, |(group, _)| group.part(user))
    }

    /// Tells whether a user is a member of a live group.
    pub fn is_member(&self, group: GroupId, user: UserId) -> bool {
        self.live(group).is_some_and(|(group, _)| group.is_member(user))
    }

    /// Describes a live group to the user who asks.
    pub fn group(&self, group: GroupId, asking: UserId) -> Option<GroupEntry> {
        let (state, about) = self.live(group)?;
        Some(GroupEntry {
            group,
            label: self.group_names.label(about.name.as_str(), group)?,
            part: state.part(asking),
            member_count: count(state.members.len()),
            owner: self.label_of(state.owner()?),
        })
    }

    /// One page of all live groups, sorted by name as shown.
    pub fn groups(&self, asking: UserId, after: Option<&Label>, max: usize) -> (Vec<GroupEntry>, bool) {
        page(self.group_names.after(after).filter_map(|(_, group)| self.group(group, asking)), max)
    }

    /// One page of the live groups in which the user is a member or waits to be, sorted by name as shown.
    pub fn my_groups(&self, asking: UserId, after: Option<&Label>, max: usize) -> (Vec<GroupEntry>, bool) {
        let mine = self.user_groups.get(&asking).into_iter().flatten();
        let mut entries: Vec<GroupEntry> = mine.filter_map(|&group| self.group(group, asking)).collect();
        entries.sort_unstable_by(|a, b| a.label.cmp(&b.label));
        page(entries.into_iter().skip_while(|entry| after.is_some_and(|after| entry.label <= *after)), max)
    }

    /// One page of a live group's members, longest-standing first. Should `after` have left meanwhile, the list begins anew.
    pub fn members(&self, group: GroupId, after: Option<UserId>, max: usize) -> (Vec<MemberEntry>, bool) {
        let Some((state, _)) = self.live(group) else { return (Vec::new(), false) };
        let owner = state.owner();
        let entry = |(since, user)| MemberEntry { user: self.shown(user), owner: owner == Some(user), online: false, since };
        page(state.behind(&state.members, after).map(entry), max)
    }

    /// One page of a live group's pending requests, oldest first. Should `after` have been answered meanwhile, the list begins anew.
    pub fn requests(&self, group: GroupId, after: Option<UserId>, max: usize) -> (Vec<RequestEntry>, bool) {
        let Some((state, _)) = self.live(group) else { return (Vec::new(), false) };
        page(state.behind(&state.requests, after).map(|(since, user)| RequestEntry { user: self.shown(user), since }), max)
    }

    /// One page of the files somebody shares in a live group, sorted by name as shown.
    pub fn files(&self, group: GroupId, after: Option<&Label>, max: usize) -> (Vec<FileEntry>, bool) {
        let Some((state, _)) = self.live(group) else { return (Vec::new(), false) };
        page(state.file_names.after(after).filter_map(|(_, info_hash)| self.file(group, info_hash)), max)
    }

    /// Describes a file that somebody shares.
    pub fn file(&self, group: GroupId, info_hash: InfoHash) -> Option<FileEntry> {
        let (state, _) = self.live(group)?;
        let file = state.files.get(&info_hash)?;
        let about = file.listed()?;
        let sharers = file.sharers.iter().take(SHARERS_NAMED_MAX).map(|&(_, user)| self.label_of(user)).collect();
        Some(FileEntry {
            group,
            label: state.file_names.label(about.name.as_str(), info_hash)?,
            facts: about.facts(info_hash),
            sharers,
            sharer_count: count(file.sharers.len()),
            online: 0,
        })
    }

    /// Finds a file that somebody shares, by name as shown.
    pub fn find_file(&self, group: GroupId, text: &str) -> Option<FileEntry> {
        let info_hash = self.live(group)?.0.file_names.find(text)?;
        self.file(group, info_hash)
    }

    /// Tells whether a member shares a file.
    pub fn shares(&self, group: GroupId, info_hash: InfoHash, user: UserId) -> bool {
        self.live(group).and_then(|(state, _)| state.files.get(&info_hash)).is_some_and(|file: &File| file.is_shared_by(user))
    }

    /// All users who share a file, those who began first first.
    pub fn sharers(&self, group: GroupId, info_hash: InfoHash) -> impl Iterator<Item = UserId> + '_ {
        let file = self.live(group).and_then(|(state, _)| state.files.get(&info_hash));
        file.into_iter().flat_map(|file| file.sharers.iter().map(|&(_, user)| user))
    }

    /// The members of a live group, longest-standing first.
    pub fn member_ids(&self, group: GroupId) -> impl Iterator<Item = UserId> + '_ {
        self.live(group).into_iter().flat_map(|(state, _)| state.members.iter().map(|&(_, user)| user))
    }

    /// The live groups in which a user is a member.
    pub fn groups_of(&self, user: UserId) -> impl Iterator<Item = GroupId> + '_ {
        let tied = self.user_groups.get(&user).into_iter().flatten();
        tied.copied().filter(move |&group| self.is_member(group, user))
    }

    /// The files that a member shares in a live group; none if the user is no member.
    pub fn shares_of(&self, group: GroupId, user: UserId) -> impl Iterator<Item = InfoHash> + '_ {
        let state = self.live(group).map(|(state, _)| state).filter(|state| state.is_member(user));
        state.into_iter().flat_map(move |state| state.shares_of(user))
    }

    /// What a repeated request gets; `None` if this tracker has not seen it carried out.
    ///
    /// The outcome may not be durable everywhere yet; [`super::Replica::submit`] is what waits for that.
    pub fn outcome(&self, request: RequestId, actor: UserId) -> Option<Outcome> {
        let carried = self.requests.get(request)?;
        Some(if carried.actor == actor { Ok(carried.effect) } else { Err(Refusal::RequestReused) })
    }

    /// Sizes for `status`.
    pub fn counts(&self) -> Counts {
        Counts {
            users: self.users.len() as u64,
            groups: self.group_names.len() as u64,
            files: self.file_count as u64,
            operations: self.known.iter().map(|(_, sequence)| sequence).sum(),
            origins: self.known.iter().len() as u64,
        }
    }

    /// A group that has a name and a member.
    pub(super) fn live(&self, group: GroupId) -> Option<(&Group, &GroupValue)> {
        let state = self.groups.get(&group).filter(|state| !state.members.is_empty())?;
        Some((state, &state.about.as_ref()?.value))
    }

    fn shown(&self, user: UserId) -> UserEntry {
        UserEntry { user, label: self.label_of(user) }
    }

    /// The name of a user as shown. A user may be unknown for a moment, while the tracker where the account was made has not been
    /// heard yet; a piece of the id stands in.
    fn label_of(&self, user: UserId) -> Label {
        self.user_entry(user).map_or_else(|| Label::new(&format!("?{}", &user.to_string()[..8]), 1), |entry| entry.label)
    }
}

impl Group {
    /// The entries of one of the group's lists behind a user, or all of them if the user is not in it.
    fn behind<'a>(
        &self,
        list: &'a BTreeSet<(Stamp, UserId)>,
        after: Option<UserId>,
    ) -> impl Iterator<Item = (Stamp, UserId)> + use<'a> {
        let since = after.and_then(|user| Some((self.standings.get(&user)?.value.since, user)));
        let from = since.filter(|entry| list.contains(entry)).map_or(Bound::Unbounded, Bound::Excluded);
        list.range((from, Bound::Unbounded)).copied()
    }
}

/// Takes `max` entries and tells whether there are more.
fn page<T>(mut entries: impl Iterator<Item = T>, max: usize) -> (Vec<T>, bool) {
    let page = entries.by_ref().take(max).collect();
    (page, entries.next().is_some())
}

fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
