//! What the directory answers. A query costs what it returns, times a logarithm, but for patterns:
//! they are compared with every name until a page is full.
//!
//! `text` is what a user typed: a name as shown, that is `name` or `name~2`. Listings come in
//! pages: `after` is the last entry of the page before, `max` the number of entries wanted, and the
//! flag tells whether there are more. A tracker adds who is online.

use std::collections::HashMap;

use super::entries::{
    Tag, Totals, UserSummary, down, file_names, group_names, in_list, last_id, last_user, sharer,
    user_names,
};
use super::rows::{Rows, Scan};
use super::settings::Settings;
use super::state::Directory;
use crate::types::{
    Content, FileEntry, FileId, FileOrder, FileRow, GroupEntry, GroupId, InfoHash, Label,
    MemberEntry, Outcome, Part, PasswordHash, Pattern, Place, Refusal, RequestEntry, RequestId,
    RequestRow, RowKey, Stamp, Success, UserEntry, UserId, UserRow, Version,
};
use crate::wire::row::SETTING_KIND;

/// Bearers of one name whose passwords are tried at a login: each try costs a slow hash. Later ones
/// log in as `name~9`.
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
    /// Rows.
    pub rows: u64,
    /// About how many bytes they take on the disk.
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

impl<R: Rows> Directory<R> {
    /// Counts what an account keeps.
    pub fn usage(&self, user: UserId) -> Usage {
        let UserSummary { owned, ties, shared } = self.user_summary(user);
        Usage { groups: owned.into(), memberships: ties.into(), files: shared.into() }
    }

    /// Users whom the text typed at a login may mean, with their password hashes: every bearer of
    /// the name (at most 8), first the one shown under it, or the one behind `name~2`.
    pub fn login_candidates(&self, text: &str) -> Vec<(UserEntry, PasswordHash)> {
        let names = user_names();
        let mut users: Vec<UserId> =
            names.bearers_of(&self.rows, text).take(LOGIN_CANDIDATES_MAX).collect();
        if users.is_empty() {
            users.extend(names.find(&self.rows, text));
        }
        let candidate = |user| Some((self.user_entry(user)?, self.user_row(user)?.hash));
        users.into_iter().filter_map(candidate).collect()
    }

    /// Describes a user.
    pub fn user_entry(&self, user: UserId) -> Option<UserEntry> {
        let row = self.user_row(user)?;
        Some(UserEntry {
            user,
            label: user_names().label(&self.rows, row.name.as_str(), row.created, user)?,
        })
    }

    /// The row of an account that was not deleted.
    pub fn user_row(&self, user: UserId) -> Option<UserRow> {
        self.account(user)?.1
    }

    /// The write that set a user's present password, if there is such a user.
    pub fn password_version(&self, user: UserId) -> Option<Version> {
        let (version, row) = self.account(user)?;
        row.map(|_| version)
    }

    /// Returns the password hash in force.
    pub fn password_hash(&self, user: UserId) -> Option<PasswordHash> {
        self.user_row(user).map(|row| row.hash)
    }

    /// All accounts in order of their names as shown, behind a label.
    pub fn users(&self, after: Option<&Label>, max: usize) -> (Vec<UserEntry>, bool) {
        page(
            user_names().after(&self.rows, after).map(|(label, user)| UserEntry { user, label }),
            max,
        )
    }

    /// What the operator has set.
    pub fn settings(&self) -> Settings {
        self.settings.borrow_mut().get_or_insert_with(|| self.stored_settings()).clone()
    }

    fn stored_settings(&self) -> Settings {
        let mut settings = Settings::default();
        for row in self.rows_with(vec![SETTING_KIND]) {
            if let Content::Setting(name, value) = row.content {
                settings.set(&name, value.as_deref());
            }
        }
        settings
    }

    /// Finds a user by name as shown.
    pub fn find_user(&self, text: &str) -> Option<UserId> {
        user_names().find(&self.rows, text)
    }

    /// Finds a live group by name as shown.
    pub fn find_group(&self, text: &str) -> Option<GroupId> {
        group_names().find(&self.rows, text)
    }

    /// Tells what a user is to a group; a stranger to one that has ended.
    pub fn part(&self, group: GroupId, user: UserId) -> Part {
        if self.is_live(group) { self.part_in(group, user) } else { Part::Stranger }
    }

    /// Tells whether a user is a member of a live group.
    pub fn is_member(&self, group: GroupId, user: UserId) -> bool {
        self.is_in(group, user) && self.is_live(group)
    }

    /// The owner of a live group.
    pub fn group_owner(&self, group: GroupId) -> Option<UserId> {
        self.group_summary(group).counted_owner
    }

    /// Describes a live group to the user who asks.
    pub fn group(&self, group: GroupId, asking: UserId) -> Option<GroupEntry> {
        let summary = self.group_summary(group);
        let (since, name) = summary.listed?;
        Some(GroupEntry {
            group,
            label: group_names().label(&self.rows, &name, since, group)?,
            part: self.part_in(group, asking),
            member_count: summary.members,
            owner: self.label_of(summary.counted_owner?),
            requests: Some(if summary.counted_owner == Some(asking) {
                summary.requests
            } else {
                0
            }),
            settings: Some(self.group_settings(group)),
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
        let matching =
            group_names().after(&self.rows, after).filter(|(label, _)| matches(pattern, label));
        page(matching.filter_map(|(_, group)| self.group(group, asking)), max)
    }

    /// One page of the live groups in which the user is a member or waits to be, sorted by name as
    /// shown. They are sorted for each page: a quota bounds how many there are.
    pub fn my_groups(
        &self,
        asking: UserId,
        after: Option<&Label>,
        max: usize,
    ) -> (Vec<GroupEntry>, bool) {
        let label = |group: GroupId| {
            let (since, name) = self.group_summary(group).listed?;
            group_names().label(&self.rows, &name, since, group)
        };
        let labels = self.tied_groups(asking).filter_map(|group| Some((label(group)?, group)));
        let mut behind: Vec<(Label, GroupId)> =
            labels.filter(|(label, _)| after.is_none_or(|after| label > after)).collect();
        behind.sort_unstable();
        page(behind.into_iter().filter_map(|(_, group)| self.group(group, asking)), max)
    }

    /// One page of a live group's members, longest-standing first. Should `after` have left
    /// meanwhile, the list begins anew.
    pub fn members(
        &self,
        group: GroupId,
        after: Option<UserId>,
        max: usize,
    ) -> (Vec<MemberEntry>, bool) {
        if !self.is_live(group) {
            return (Vec::new(), false);
        }
        let owner = self.owner(group);
        let entry = |(since, user)| MemberEntry {
            user: self.shown(user),
            owner: owner == Some(user),
            online: false,
            since,
            invited_by: self.invited_by(group, user).map(|inviter| self.label_of(inviter)),
        };
        page(self.list_behind(Tag::Members, group, after).map(entry), max)
    }

    /// One page of a live group's pending requests, oldest first. Should `after` have been answered
    /// meanwhile, the list begins anew.
    pub fn requests(
        &self,
        group: GroupId,
        after: Option<UserId>,
        max: usize,
    ) -> (Vec<RequestEntry>, bool) {
        if !self.is_live(group) {
            return (Vec::new(), false);
        }
        let entry = |(since, user)| RequestEntry { user: self.shown(user), since };
        page(self.list_behind(Tag::Requests, group, after).map(entry), max)
    }

    /// One page of the files that members share in a live group and whose name matches.
    pub fn files(
        &self,
        group: GroupId,
        pattern: Option<&Pattern>,
        order: FileOrder,
        after: Option<&Label>,
        max: usize,
    ) -> (Vec<FileEntry>, bool) {
        if !self.is_live(group) {
            return (Vec::new(), false);
        }
        let names = file_names(group);
        let mut shown = Shown::default();
        let list = match order {
            FileOrder::Name => {
                let matching =
                    names.after(&self.rows, after).filter(|(label, _)| matches(pattern, label));
                return page(
                    matching.filter_map(|(label, file)| {
                        self.describe(group, file, Some(label), &mut shown)
                    }),
                    max,
                );
            }
            FileOrder::Size => Tag::BySize,
            FileOrder::Date => Tag::ByDate,
        };
        let prefix = list.key(&[group.as_bytes()]);
        let place = |label: &Label| {
            let file = names.find(&self.rows, label.as_str())?;
            let (len, since, _) = self.file_summary(group, file).listed?;
            let number = if order == FileOrder::Size { len } else { since.as_u64() };
            Some(list.key(&[group.as_bytes(), &down(number), file.as_bytes()]))
        };
        let scan = match after.and_then(place) {
            Some(place) => Scan::after(&self.rows, &prefix, place),
            None => Scan::prefix(&self.rows, &prefix),
        };
        let files = scan.filter_map(|(key, _)| last_id::<FileId, { FileId::LEN }>(&key));
        let is_wanted = |file: &FileId| {
            pattern.is_none()
                || self.label_of_file(group, *file).is_some_and(|l| matches(pattern, &l))
        };
        page(
            files.filter(is_wanted).filter_map(|file| self.describe(group, file, None, &mut shown)),
            max,
        )
    }

    /// One page of the files in the groups of a user whose name matches, group by group.
    pub fn find_files(
        &self,
        asking: UserId,
        pattern: &Pattern,
        after: Option<&(GroupId, Label)>,
        max: usize,
    ) -> (Vec<FileEntry>, bool) {
        let groups = self
            .groups_of(asking)
            .skip_while(|group| after.is_some_and(|(first, _)| group < first));
        let files = groups.flat_map(|group| {
            let behind = after.filter(|(of, _)| *of == group).map(|(_, label)| label);
            file_names(group)
                .after(&self.rows, behind)
                .map(move |(label, file)| (group, label, file))
        });
        let matching = files.filter(|(_, label, _)| pattern.matches(label.as_str()));
        let mut shown = Shown::default();
        page(
            matching.filter_map(|(group, label, file)| {
                self.describe(group, file, Some(label), &mut shown)
            }),
            max,
        )
    }

    /// Describes a file that a member shares.
    pub fn file(&self, group: GroupId, file: FileId) -> Option<FileEntry> {
        self.describe(group, file, None, &mut Shown::default())
    }

    /// Describes a file, whose label may be known. `shown` holds the labels of users that have been
    /// looked up.
    fn describe(
        &self,
        group: GroupId,
        file: FileId,
        label: Option<Label>,
        shown: &mut Shown,
    ) -> Option<FileEntry> {
        let summary = self.file_summary(group, file);
        let (_, since, name) = summary.listed?;
        let (_, row) = self.file_row(group, file)?;
        let FileRow { facts, at, .. } = row?;
        let mut label_of = |user| shown.entry(user).or_insert_with(|| self.label_of(user)).clone();
        Some(FileEntry {
            group,
            label: label.or_else(|| file_names(group).label(&self.rows, &name, since, file))?,
            facts,
            sharers: self.sharers(group, file).take(SHARERS_NAMED_MAX).map(&mut label_of).collect(),
            sharer_count: summary.sharers,
            online: 0,
            at,
        })
    }

    /// Finds a file that a member shares, by name as shown.
    pub fn find_file(&self, group: GroupId, text: &str) -> Option<FileEntry> {
        let file = file_names(group).find(&self.rows, text).filter(|_| self.is_live(group))?;
        self.file(group, file)
    }

    /// Tells whether a member shares a file with that content.
    pub fn shares(&self, group: GroupId, info_hash: InfoHash, user: UserId) -> bool {
        let is_sharer = |file| {
            let began = self.sharing(group, file, user).map(|(version, _)| version.stamp);
            began.is_some_and(|began| self.rows.entry(&sharer(group, file, began, user)).is_some())
        };
        self.files_of(group, info_hash).any(is_sharer) && self.is_live(group)
    }

    /// Tells whether the group lists a file with that content.
    pub fn lists(&self, group: GroupId, info_hash: InfoHash) -> bool {
        self.is_live(group)
            && self
                .files_of(group, info_hash)
                .any(|file| self.file_summary(group, file).listed.is_some())
    }

    /// All users who share a file, those who began first first.
    pub fn sharers(&self, group: GroupId, file: FileId) -> impl Iterator<Item = UserId> + '_ {
        let sharers =
            Scan::prefix(&self.rows, &Tag::Sharers.key(&[group.as_bytes(), file.as_bytes()]));
        sharers.filter_map(|(key, _)| last_user(&key)).map(|(_, user)| user)
    }

    /// The members of a live group, longest-standing first.
    pub fn member_ids(&self, group: GroupId) -> impl Iterator<Item = UserId> + '_ {
        let members = self.is_live(group).then(|| self.in_list(Tag::Members, group));
        members.into_iter().flatten().map(|(_, user)| user)
    }

    /// The live groups in which a user is a member.
    pub fn groups_of(&self, user: UserId) -> impl Iterator<Item = GroupId> + '_ {
        self.tied_groups(user).filter(move |&group| self.is_member(group, user))
    }

    /// The contents that a member shares in a live group; none if the user is no member.
    pub fn shares_of(&self, group: GroupId, user: UserId) -> impl Iterator<Item = InfoHash> + '_ {
        let files = self.is_member(group, user).then(|| self.shares_behind(group, user, None));
        files
            .into_iter()
            .flatten()
            .filter_map(move |file| Some(self.listed(group, file)?.facts.info_hash))
    }

    /// The content of a file, whether a member shares it or not.
    pub fn content_of(&self, group: GroupId, file: FileId) -> Option<InfoHash> {
        self.file_row(group, file)?.1.map(|row| row.facts.info_hash)
    }

    /// Every user with a tie to a group, whether it is live or not, or with one that has ended.
    pub fn tied_to(&self, group: GroupId) -> impl Iterator<Item = UserId> + '_ {
        self.rows_of_users(RowKey::Membership(group, UserId::NOBODY)).filter_map(|row| {
            match row.content {
                Content::Membership(_, user, _) => Some(user),
                _ => None,
            }
        })
    }

    /// A request that was carried out: with its stamp, and where.
    pub(super) fn carried_out(&self, request: RequestId) -> Option<(RequestRow, Stamp, Place)> {
        let row = self.rows.get(&RowKey::Request(request))?;
        if let Content::Request(_, asked) = row.content {
            Some((asked, row.version.stamp, row.place))
        } else {
            None
        }
    }

    /// What a repeated request gets; `None` if this tracker does not know that it was carried out.
    ///
    /// The outcome may not be durable everywhere yet; [`super::Replica::submit`] is what waits for
    /// that.
    pub fn outcome(&self, request: RequestId, actor: UserId) -> Option<Outcome> {
        let (asked, stamp, _) = self.carried_out(request)?;
        let success = Success { effect: asked.effect, stamp };
        Some(if asked.actor == actor { Ok(success) } else { Err(Refusal::RequestReused) })
    }

    /// Sizes for `status`.
    pub fn counts(&self) -> Counts {
        let Totals { users, groups, files, rows, bytes, .. } = self.totals();
        Counts { users, groups, files, rows, bytes }
    }

    /// The files of each content.
    fn files_of(&self, group: GroupId, info_hash: InfoHash) -> impl Iterator<Item = FileId> + '_ {
        let files =
            Scan::prefix(&self.rows, &Tag::Contents.key(&[group.as_bytes(), info_hash.as_bytes()]));
        files.filter_map(|(key, _)| last_id::<FileId, { FileId::LEN }>(&key))
    }

    /// The entries of one of a group's lists behind a user, or all of them if the user is not in
    /// it.
    fn list_behind(
        &self,
        list: Tag,
        group: GroupId,
        after: Option<UserId>,
    ) -> impl Iterator<Item = (Stamp, UserId)> + '_ {
        let place = |user| Some(in_list(list, group, self.standing(group, user)?.1.since, user));
        let prefix = list.key(&[group.as_bytes()]);
        let scan = match after.and_then(place).filter(|place| self.rows.entry(place).is_some()) {
            Some(place) => Scan::after(&self.rows, &prefix, place),
            None => Scan::prefix(&self.rows, &prefix),
        };
        scan.filter_map(|(key, _)| last_user(&key))
    }

    fn label_of_file(&self, group: GroupId, file: FileId) -> Option<Label> {
        let (_, since, name) = self.file_summary(group, file).listed?;
        file_names(group).label(&self.rows, &name, since, file)
    }

    pub(super) fn shown(&self, user: UserId) -> UserEntry {
        UserEntry { user, label: self.label_of(user) }
    }

    /// The name of a user as shown. A user may be unknown for a moment, while the tracker where the
    /// account was made has not been heard yet; a piece of the id stands in.
    pub(super) fn label_of(&self, user: UserId) -> Label {
        self.user_entry(user).map_or_else(
            || Label::new(&format!("?{}", &user.to_string()[..8]), 1),
            |entry| entry.label,
        )
    }
}

/// Labels of users that have been looked up for one page.
type Shown = HashMap<UserId, Label>;

/// Takes `max` entries and tells whether there are more.
fn page<T>(mut entries: impl Iterator<Item = T>, max: usize) -> (Vec<T>, bool) {
    let page = entries.by_ref().take(max).collect();
    (page, entries.next().is_some())
}

fn matches(pattern: Option<&Pattern>, label: &Label) -> bool {
    pattern.is_none_or(|pattern| pattern.matches(label.as_str()))
}
