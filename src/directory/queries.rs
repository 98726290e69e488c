//! What the directory answers. Every query costs what it returns, times a logarithm; none looks at everything.
//!
//! `text` is what a user typed: a name as shown, that is `name` or `name~2`. Listings come in pages: `after` is the last entry of
//! the page before, `max` the number of entries wanted, and the flag tells whether there are more. A tracker adds who is online.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::group::Group;
use super::settings::Settings;
use super::state::Directory;
use crate::types::{
    FileEntry, FileId, FileOrder, GroupEntry, GroupId, InfoHash, Label, MemberEntry, Outcome, Part, PasswordHash, Pattern,
    Refusal, RequestEntry, RequestId, Stamp, Success, UserEntry, UserId, UserRow, Version,
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
    /// Rows in memory, requests aside.
    pub rows: u64,
    /// About how many bytes they take there.
    pub bytes: u64,
}

/// What one account keeps, as the quotas count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Groups owned.
    pub groups: u64,
    /// Memberships and requests to join.
    pub memberships: u64,
    /// Files offered, in all groups.
    pub files: u64,
}

impl Directory {
    /// Counts what an account keeps.
    pub fn usage(&self, user: UserId) -> Usage {
        Usage {
            groups: self.owned.get(&user).copied().unwrap_or(0).into(),
            memberships: self.user_groups.get(&user).map_or(0, BTreeSet::len) as u64,
            files: self.shared.get(&user).copied().unwrap_or(0).into(),
        }
    }

    /// Users whom the text typed at a login may mean, with their password hashes: every bearer of the name (at most 8), first the
    /// one shown under it, or the one behind `name~2`.
    pub fn login_candidates(&self, text: &str) -> Vec<(UserEntry, PasswordHash)> {
        let mut users: Vec<UserId> = self.user_names.bearers_of(text).take(LOGIN_CANDIDATES_MAX).collect();
        if users.is_empty() {
            users.extend(self.user_names.find(text));
        }
        let candidate = |user| Some((self.user_entry(user)?, self.user_row(user)?.hash.clone()));
        users.into_iter().filter_map(candidate).collect()
    }

    /// Describes a user.
    pub fn user_entry(&self, user: UserId) -> Option<UserEntry> {
        let name = &self.user_row(user)?.name;
        Some(UserEntry { user, label: self.user_names.label(name.as_str(), user)? })
    }

    /// The row of an account that was not deleted.
    pub fn user_row(&self, user: UserId) -> Option<&UserRow> {
        self.users.get(&user)?.value.as_ref()
    }

    /// The write that set a user's present password, if there is such a user.
    pub fn password_version(&self, user: UserId) -> Option<Version> {
        self.user_row(user)?;
        self.users.get(&user).map(|register| register.version)
    }

    /// Returns the password hash in force.
    pub fn password_hash(&self, user: UserId) -> Option<&PasswordHash> {
        self.user_row(user).map(|row| &row.hash)
    }

    /// All accounts in order of their names as shown, behind a label.
    pub fn users(&self, after: Option<&Label>, max: usize) -> (Vec<UserEntry>, bool) {
        page(self.user_names.after(after).map(|(label, user)| UserEntry { user, label: label.clone() }), max)
    }

    /// What the operator has set.
    pub fn settings(&self) -> &Settings {
        &self.settings
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
        self.live(group).map_or(Part::Stranger, |group| group.part(user))
    }

    /// Tells whether a user is a member of a live group.
    pub fn is_member(&self, group: GroupId, user: UserId) -> bool {
        self.live(group).is_some_and(|group| group.is_member(user))
    }

    /// Describes a live group to the user who asks.
    pub fn group(&self, group: GroupId, asking: UserId) -> Option<GroupEntry> {
        let state = self.live(group)?;
        Some(GroupEntry {
            group,
            label: self.group_names.label(state.row()?.name.as_str(), group)?,
            part: state.part(asking),
            member_count: count(state.members.len()),
            owner: self.label_of(state.owner()?),
        })
    }

    /// One page of all live groups whose name matches, sorted by name as shown.
    pub fn groups(
        &self,
        asking: UserId,
        pattern: Option<&Pattern>,
        after: Option<&Label>,
        max: usize,
    ) -> (Vec<GroupEntry>, bool) {
        let matching = self.group_names.after(after).filter(|(label, _)| matches(pattern, label));
        page(matching.filter_map(|(_, group)| self.group(group, asking)), max)
    }

    /// One page of the live groups in which the user is a member or waits to be, sorted by name as shown.
    pub fn my_groups(&self, asking: UserId, after: Option<&Label>, max: usize) -> (Vec<GroupEntry>, bool) {
        let mine = self.user_groups.get(&asking).into_iter().flatten();
        let label = |group: GroupId| self.group_names.label(self.live(group)?.row()?.name.as_str(), group);
        let labels = mine.filter_map(|&group| Some((label(group)?, group)));
        let mut behind: Vec<(Label, GroupId)> = labels.filter(|(label, _)| after.is_none_or(|after| label > after)).collect();
        behind.sort_unstable();
        page(behind.into_iter().filter_map(|(_, group)| self.group(group, asking)), max)
    }

    /// One page of a live group's members, longest-standing first. Should `after` have left meanwhile, the list begins anew.
    pub fn members(&self, group: GroupId, after: Option<UserId>, max: usize) -> (Vec<MemberEntry>, bool) {
        let Some(state) = self.live(group) else { return (Vec::new(), false) };
        let owner = state.owner();
        let entry = |(since, user)| MemberEntry { user: self.shown(user), owner: owner == Some(user), online: false, since };
        page(state.behind(&state.members, after).map(entry), max)
    }

    /// One page of a live group's pending requests, oldest first. Should `after` have been answered meanwhile, the list begins anew.
    pub fn requests(&self, group: GroupId, after: Option<UserId>, max: usize) -> (Vec<RequestEntry>, bool) {
        let Some(state) = self.live(group) else { return (Vec::new(), false) };
        page(state.behind(&state.requests, after).map(|(since, user)| RequestEntry { user: self.shown(user), since }), max)
    }

    /// One page of the files that members share in a live group and whose name matches. In any order but
    /// that of names the whole list is sorted for each page.
    pub fn files(
        &self,
        group: GroupId,
        pattern: Option<&Pattern>,
        order: FileOrder,
        after: Option<&Label>,
        max: usize,
    ) -> (Vec<FileEntry>, bool) {
        let Some(state) = self.live(group) else { return (Vec::new(), false) };
        if order == FileOrder::Name {
            let matching = state.file_names.after(after).filter(|(label, _)| matches(pattern, label));
            return page(matching.filter_map(|(_, file)| self.file(group, file)), max);
        }
        let key = |label: &Label, file: FileId| {
            let row = state.files.get(&file)?.listed()?;
            let value = if order == FileOrder::Size { row.facts.len } else { row.at.as_u64() };
            Some((std::cmp::Reverse(value), label.clone(), file))
        };
        let after = after.and_then(|label| key(label, state.file_names.find(label.as_str())?));
        let matching = state.file_names.after(None).filter(|(label, _)| matches(pattern, label));
        let mut behind: Vec<_> = matching
            .filter_map(|(label, file)| key(label, file))
            .filter(|key| after.as_ref().is_none_or(|after| key > after))
            .collect();
        behind.sort_unstable();
        page(behind.into_iter().filter_map(|(_, _, file)| self.file(group, file)), max)
    }

    /// One page of the files in the groups of a user whose name matches, group by group.
    pub fn find_files(
        &self,
        asking: UserId,
        pattern: &Pattern,
        after: Option<&(GroupId, Label)>,
        max: usize,
    ) -> (Vec<FileEntry>, bool) {
        let first = after.map_or(GroupId::from_bytes([0; GroupId::LEN]), |(group, _)| *group);
        let groups = self.user_groups.get(&asking).into_iter().flat_map(move |groups| groups.range(first..));
        let mine = groups.copied().filter(|&group| self.is_member(group, asking));
        let files = mine.flat_map(|group| {
            let behind = after.filter(|(of, _)| *of == group).map(|(_, label)| label);
            let names = self.live(group).into_iter().flat_map(move |state| state.file_names.after(behind));
            names.filter(|(label, _)| pattern.matches(label.as_str())).filter_map(move |(_, file)| self.file(group, file))
        });
        page(files, max)
    }

    /// Describes a file that a member shares.
    pub fn file(&self, group: GroupId, file_id: FileId) -> Option<FileEntry> {
        let state = self.live(group)?;
        let file = state.files.get(&file_id)?;
        let row = file.listed()?;
        let sharers = file.sharers.iter().take(SHARERS_NAMED_MAX).map(|&(_, user)| self.label_of(user)).collect();
        Some(FileEntry {
            group,
            label: state.file_names.label(row.facts.name.as_str(), file_id)?,
            facts: row.facts.clone(),
            sharers,
            sharer_count: count(file.sharers.len()),
            online: 0,
            at: row.at,
        })
    }

    /// Finds a file that a member shares, by name as shown.
    pub fn find_file(&self, group: GroupId, text: &str) -> Option<FileEntry> {
        let file = self.live(group)?.file_names.find(text)?;
        self.file(group, file)
    }

    /// Tells whether a member shares a file with that content.
    pub fn shares(&self, group: GroupId, info_hash: InfoHash, user: UserId) -> bool {
        self.live(group).is_some_and(|state| state.files_of(info_hash).any(|(_, file)| file.is_shared_by(user)))
    }

    /// Tells whether the group lists a file with that content.
    pub fn lists(&self, group: GroupId, info_hash: InfoHash) -> bool {
        self.live(group).is_some_and(|state| state.files_of(info_hash).any(|(_, file)| file.listed().is_some()))
    }

    /// All users who share a file, those who began first first.
    pub fn sharers(&self, group: GroupId, file: FileId) -> impl Iterator<Item = UserId> + '_ {
        let file = self.live(group).and_then(|state| state.files.get(&file));
        file.into_iter().flat_map(|file| file.sharers.iter().map(|&(_, user)| user))
    }

    /// The members of a live group, longest-standing first.
    pub fn member_ids(&self, group: GroupId) -> impl Iterator<Item = UserId> + '_ {
        self.live(group).into_iter().flat_map(|state| state.members.iter().map(|&(_, user)| user))
    }

    /// The live groups in which a user is a member.
    pub fn groups_of(&self, user: UserId) -> impl Iterator<Item = GroupId> + '_ {
        let tied = self.user_groups.get(&user).into_iter().flatten();
        tied.copied().filter(move |&group| self.is_member(group, user))
    }

    /// The contents that a member shares in a live group; none if the user is no member.
    pub fn shares_of(&self, group: GroupId, user: UserId) -> impl Iterator<Item = InfoHash> + '_ {
        let state = self.live(group).filter(|state| state.is_member(user));
        state.into_iter().flat_map(move |state| {
            let files = state.shares_of(user).filter_map(|file| state.files.get(&file));
            files.filter_map(|file| file.listed()).map(|row| row.facts.info_hash)
        })
    }

    /// The content of a file, whether a member shares it or not.
    pub fn content_of(&self, group: GroupId, file: FileId) -> Option<InfoHash> {
        let about = self.groups.get(&group)?.files.get(&file)?.about.as_ref()?;
        about.value.as_ref().map(|row| row.facts.info_hash)
    }

    /// The groups in which a user whose account was deleted had been.
    pub fn former_groups(&self, user: UserId) -> impl Iterator<Item = GroupId> + '_ {
        let had = move |group: &super::group::Group| group.standings.contains_key(&user);
        self.groups.iter().filter(move |(_, group)| had(group)).map(|(id, _)| *id)
    }

    /// Every user with a tie to a group, whether it is live or not.
    pub fn tied_to(&self, group: GroupId) -> impl Iterator<Item = UserId> + '_ {
        self.groups.get(&group).into_iter().flat_map(|state| state.standings.keys().copied())
    }

    /// What a repeated request gets; `None` if this tracker has not seen it carried out lately.
    ///
    /// The outcome may not be durable everywhere yet; [`super::Replica::submit`] is what waits for that.
    pub fn outcome(&self, request: RequestId, actor: UserId) -> Option<Outcome> {
        let carried = self.requests.get(request)?;
        let success = Success { effect: carried.effect, stamp: carried.stamp };
        Some(if carried.actor == actor { Ok(success) } else { Err(Refusal::RequestReused) })
    }

    /// Sizes for `status`.
    pub fn counts(&self) -> Counts {
        Counts {
            users: self.user_names.len() as u64,
            groups: self.group_names.len() as u64,
            files: self.file_count as u64,
            rows: self.row_count,
            bytes: self.byte_count,
        }
    }

    /// A group that was not deleted and has a member.
    pub(super) fn live(&self, group: GroupId) -> Option<&Group> {
        self.groups.get(&group).filter(|state| !state.members.is_empty() && state.row().is_some())
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

fn matches(pattern: Option<&Pattern>, label: &Label) -> bool {
    pattern.is_none_or(|pattern| pattern.matches(label.as_str()))
}

fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
