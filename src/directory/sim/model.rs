//! A second, naive directory: every row in one map, every answer computed from scratch by the rules
//! of `group`. What it says and what the real one says must be the same.

use std::collections::{BTreeMap, BTreeSet};

use crate::directory::{Directory, Rows};
use crate::types::{
    Content, FileId, FileOrder, FileRow, GroupId, GroupRow, GroupSettings, InvitationId,
    InvitationRow, Label, MembershipRow, MembershipState, Part, Place, Row, RowKey, SharingRow,
    Stamp, StoreId, UserId, UserRow, Version,
};

/// The rows, each with the write that stands.
#[derive(Debug, Default)]
pub(super) struct Model(BTreeMap<RowKey, (Version, Content)>);

impl Model {
    /// The rows that stand, of any rows.
    pub(super) fn of<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Self {
        let mut model = Self::default();
        for row in rows {
            let rank = |content: &Content, version| (content.is_final(), version, content.clone());
            let slot = model.0.entry(row.content.key());
            let slot = slot.or_insert_with(|| (row.version, row.content.clone()));
            if rank(&row.content, row.version) > rank(&slot.1, slot.0) {
                *slot = (row.version, row.content.clone());
            }
        }
        model
    }

    /// The rows that stand.
    pub(super) fn rows(&self) -> Vec<Row> {
        let place = Place { store: StoreId::from_bytes([1; 16]), sequence: 1 };
        let row = |(version, content): &(Version, Content)| Row {
            content: content.clone(),
            version: *version,
            place,
            extra: Box::default(),
        };
        self.0.values().map(row).collect()
    }

    fn user(&self, user: UserId) -> Option<&UserRow> {
        match self.0.get(&RowKey::User(user)) {
            Some((_, Content::User(_, row))) => row.as_ref(),
            _ => None,
        }
    }

    fn group(&self, group: GroupId) -> Option<&GroupRow> {
        match self.0.get(&RowKey::Group(group)) {
            Some((_, Content::Group(_, row))) => row.as_ref(),
            _ => None,
        }
    }

    fn file(&self, group: GroupId, file: FileId) -> Option<&FileRow> {
        match self.0.get(&RowKey::File(group, file)) {
            Some((_, Content::File(_, _, row))) => row.as_ref(),
            _ => None,
        }
    }

    fn is_deleted(&self, user: UserId) -> bool {
        matches!(self.0.get(&RowKey::User(user)), Some((_, Content::User(_, None))))
    }

    fn standing(&self, group: GroupId, user: UserId) -> Option<(Version, MembershipRow)> {
        match self.0.get(&RowKey::Membership(group, user)) {
            Some((version, Content::Membership(_, _, row))) if !self.is_deleted(user) => {
                Some((*version, *row))
            }
            _ => None,
        }
    }

    /// The users with that state, by time.
    fn with_state(&self, group: GroupId, state: MembershipState) -> Vec<(Stamp, UserId)> {
        let user = |key: &RowKey| match *key {
            RowKey::Membership(of, user) if of == group => Some(user),
            _ => None,
        };
        let entry = |user| {
            let (_, row) = self.standing(group, user)?;
            (row.state == state).then_some((row.since, user))
        };
        let mut users: Vec<_> = self.0.keys().filter_map(user).filter_map(entry).collect();
        users.sort();
        users
    }

    /// Members, longest-standing first.
    pub(super) fn members(&self, group: GroupId) -> Vec<UserId> {
        let members = self.with_state(group, MembershipState::Member);
        members.into_iter().map(|(_, user)| user).collect()
    }

    /// The request that let a member in.
    pub(super) fn admission(&self, group: GroupId, user: UserId) -> Option<Version> {
        let (version, row) = self.standing(group, user)?;
        (row.state == MembershipState::Member).then_some(version)
    }

    pub(super) fn owner(&self, group: GroupId) -> Option<UserId> {
        let members = self.members(group);
        let named = match self.0.get(&RowKey::Owner(group)) {
            Some((_, Content::Owner(_, user))) => Some(*user),
            _ => None,
        };
        named.filter(|user| members.contains(user)).or(members.first().copied())
    }

    pub(super) fn state(&self, group: GroupId, user: UserId) -> MembershipState {
        self.standing(group, user).map_or(MembershipState::None, |(_, row)| row.state)
    }

    pub(super) fn users(&self) -> Vec<UserId> {
        let user = |key: &RowKey| if let RowKey::User(user) = key { Some(*user) } else { None };
        self.0.keys().filter_map(user).filter(|&user| self.user(user).is_some()).collect()
    }

    pub(super) fn live_groups(&self) -> Vec<GroupId> {
        let group = |key: &RowKey| if let RowKey::Group(group) = key { Some(*group) } else { None };
        let groups = self.0.keys().filter_map(group);
        let is_live =
            |&group: &GroupId| self.group(group).is_some() && !self.members(group).is_empty();
        groups.filter(is_live).collect()
    }

    /// How many users bear a name that another one bears too.
    pub(super) fn same_names(&self) -> usize {
        let users = self.users();
        let name = |&user: &UserId| self.user(user).map(|row| row.name.as_str());
        let names: BTreeSet<Option<&str>> = users.iter().map(name).collect();
        users.len() - names.len()
    }

    /// Users whose share of a file is in effect, by the time they began.
    fn sharers(&self, group: GroupId, file: FileId) -> Vec<(Stamp, UserId)> {
        let share = |(key, (version, content)): (&RowKey, &(Version, Content))| match (key, content)
        {
            (RowKey::Sharing(g, f, user), Content::Sharing(_, _, _, row))
                if (*g, *f) == (group, file) =>
            {
                Some((*user, version.stamp, *row))
            }
            _ => None,
        };
        let about = self.0.get(&RowKey::File(group, file)).map(|(_, content)| content);
        let is_there = |began: Stamp| match about {
            Some(Content::File(_, _, Some(row))) => {
                row.removed.is_none_or(|removed| began > removed)
            }
            Some(_) => false,
            None => true,
        };
        let in_effect = |&(user, began, row): &(UserId, Stamp, SharingRow)| {
            let is_admitted =
                |admission: Version| admission.request == row.admission || began > admission.stamp;
            row.on && self.admission(group, user).is_some_and(is_admitted) && is_there(began)
        };
        let mut sharers: Vec<_> = self
            .0
            .iter()
            .filter_map(share)
            .filter(in_effect)
            .map(|(user, began, _)| (began, user))
            .collect();
        sharers.sort();
        sharers
    }

    fn listed_files(&self, group: GroupId) -> Vec<(String, Stamp, FileId)> {
        let file = |key: &RowKey| match *key {
            RowKey::File(of, file) if of == group => Some(file),
            _ => None,
        };
        let entry = |file| {
            let row = self.file(group, file)?;
            let is_shared = !self.sharers(group, file).is_empty();
            is_shared.then(|| (row.facts.name.as_str().to_owned(), row.at, file))
        };
        self.0.keys().filter_map(file).filter_map(entry).collect()
    }

    fn invitation(&self, group: GroupId, invitation: InvitationId) -> Option<InvitationRow> {
        match self.0.get(&RowKey::Invitation(group, invitation)) {
            Some((_, Content::Invitation(_, _, row))) => Some(*row),
            _ => None,
        }
    }

    fn settings(&self, group: GroupId) -> GroupSettings {
        match self.0.get(&RowKey::GroupSettings(group)) {
            Some((_, Content::GroupSettings(_, settings))) => *settings,
            _ => GroupSettings::default(),
        }
    }

    /// How many users have used an invitation.
    pub(super) fn uses(&self, group: GroupId, invitation: InvitationId) -> usize {
        let is_use = |key: &&RowKey| matches!(key, RowKey::InvitationUse(g, i, _) if (*g, *i) == (group, invitation));
        self.0.keys().filter(is_use).count()
    }

    /// Tells whether an invitation lets a user in at a time; a new account, if none is named.
    pub(super) fn lets_in(
        &self,
        group: GroupId,
        invitation: InvitationId,
        user: Option<UserId>,
        at_ms: u64,
    ) -> bool {
        let Some(row) = self.invitation(group, invitation) else { return false };
        let inviter = self.standing(group, row.inviter).filter(|(_, standing)| {
            standing.state == MembershipState::Member
                && standing.ended.is_none_or(|ended| ended <= row.created)
        });
        let may_invite = inviter.is_some()
            && self.user(row.inviter).is_some_and(|inviter| !inviter.is_disabled)
            && (self.owner(group) == Some(row.inviter) || self.settings(group).members_invite);
        let is_stranger = user.is_none_or(|user| {
            let standing = self.standing(group, user).map(|(_, standing)| standing);
            let key = RowKey::InvitationUse(group, invitation, user);
            !self.0.contains_key(&key)
                && standing.is_none_or(|standing| {
                    standing.state != MembershipState::Member
                        && standing.ended.is_none_or(|ended| ended <= row.created)
                })
        });
        let is_open = !row.is_revoked
            && at_ms <= row.expires_ms
            && self.uses(group, invitation) < row.uses as usize;
        is_open && may_invite && is_stranger && self.group(group).is_some()
    }

    /// Compares every answer with the real directory's.
    pub(super) fn check<R: Rows>(&self, directory: &Directory<R>) {
        let users = self.users();
        self.check_users(directory);
        self.check_devices(directory);
        self.check_invitations(directory);
        let groups = self.live_groups();
        let named = groups.iter().map(|&group| {
            let row = self.group(group).unwrap();
            (row.name.as_str().to_owned(), row.created, group)
        });
        let labels = labels(named.collect());
        let (listed, more) = directory.groups(UserId::NOBODY, None, None, usize::MAX);
        assert!(!more);
        let listed: Vec<_> = listed.iter().map(|g| (g.label.clone(), g.group)).collect();
        assert_eq!(listed, labels.clone().into_iter().collect::<Vec<_>>());
        let mut files = 0;
        for (label, group) in labels {
            assert_eq!(directory.find_group(label.as_str()), Some(group));
            files += self.check_group(directory, group, &users);
        }
        for &user in &users {
            let mine = directory.my_groups(user, None, usize::MAX).0;
            let mine: BTreeSet<GroupId> = mine.into_iter().map(|entry| entry.group).collect();
            let has_tie = |&&group: &&GroupId| self.state(group, user) != MembershipState::None;
            assert_eq!(mine, groups.iter().filter(has_tie).copied().collect());
            let owned = groups.iter().filter(|&&group| self.owner(group) == Some(user)).count();
            assert_eq!(directory.usage(user).groups as usize, owned);
        }
        let counts = directory.counts();
        let expected = (users.len() as u64, groups.len() as u64, files as u64);
        assert_eq!((counts.users, counts.groups, counts.files), expected);
        assert_eq!(counts.rows, self.0.len() as u64);
        let bytes: u64 =
            self.0.values().map(|(_, c)| crate::directory::state::size_of_row(c)).sum();
        assert_eq!(counts.bytes, bytes, "{:#?}", self.0);
    }

    fn check_devices<R: Rows>(&self, directory: &Directory<R>) {
        let mut forgotten = BTreeSet::new();
        for (key, (_, content)) in &self.0 {
            let (RowKey::Device(user, device), Content::Device(_, _, row)) = (key, content) else {
                continue;
            };
            forgotten.extend(row.ended.map(|ended| (ended, *user, *device)));
            let account = self.0.get(&RowKey::User(*user)).map(|(version, _)| *version);
            let is_there = self.user(*user).is_some_and(|row| !row.is_disabled);
            let is_current = account.is_some_and(|present| {
                row.password >= present || row.password.request == present.request
            });
            let stays = row.on && is_there && is_current;
            assert_eq!(directory.login_by_key(*user, *device).is_ok(), stays, "{user} {device}");
            assert_eq!(directory.devices(*user).any(|(other, _)| other == *device), stays);
        }
        let listed = directory.devices_forgotten_since(Stamp::ZERO);
        assert!(listed.eq(forgotten.into_iter().rev()));
    }

    fn check_invitations<R: Rows>(&self, directory: &Directory<R>) {
        for (key, (_, content)) in &self.0 {
            let (RowKey::Invitation(group, id), Content::Invitation(_, _, row)) = (key, content)
            else {
                continue;
            };
            let uses = self.uses(*group, *id);
            assert_eq!(directory.invitation_uses(*group, *id) as usize, uses);
            for at_ms in [row.created.ms(), row.expires_ms + 1] {
                let is_open = self.lets_in(*group, *id, None, at_ms);
                assert_eq!(directory.check_invitation(*group, *id, at_ms).is_ok(), is_open);
            }
        }
        for user in self.users() {
            let is_listed = |group: GroupId, row: &InvitationRow| {
                let is_live = self.group(group).is_some() && self.owner(group).is_some();
                let is_own = row.inviter == user || self.owner(group) == Some(user);
                is_live && is_own && !row.is_revoked
            };
            let entry = |(key, (_, content)): (&RowKey, &(Version, Content))| match (key, content) {
                (RowKey::Invitation(group, id), Content::Invitation(_, _, row)) => {
                    is_listed(*group, row).then_some((*group, *id))
                }
                _ => None,
            };
            let expected: BTreeSet<_> = self.0.iter().filter_map(entry).collect();
            let listed = directory.invitations(user, None, usize::MAX).0;
            let listed = listed.into_iter().map(|entry| (entry.group, entry.invitation));
            assert!(listed.eq(expected));
        }
    }

    /// Who invited a member, by the row of the use that was the admission.
    fn invited_by(&self, group: GroupId, user: UserId) -> Option<UserId> {
        let admission = self.admission(group, user)?;
        self.0.iter().find_map(|(key, (version, content))| match (key, content) {
            (RowKey::InvitationUse(g, _, u), Content::InvitationUse(_, _, _, row))
                if (*g, *u) == (group, user) && version.request == admission.request =>
            {
                Some(row.inviter)
            }
            _ => None,
        })
    }

    fn check_users<R: Rows>(&self, directory: &Directory<R>) {
        let named = self.users().into_iter().map(|user| {
            let row = self.user(user).unwrap();
            (row.name.as_str().to_owned(), row.created, user)
        });
        for (label, user) in labels(named.collect()) {
            assert_eq!(directory.find_user(label.as_str()), Some(user));
            assert_eq!(directory.user_entry(user).unwrap().label, label);
            assert_eq!(directory.password_hash(user), self.user(user).map(|row| row.hash.clone()));
            let name = label.as_str().split('~').next().unwrap();
            let candidates = directory.login_candidates(name);
            assert!(candidates.len() == 8 || candidates.iter().any(|c| c.0.user == user));
            assert_eq!(directory.login_candidates(label.as_str())[0].0.user, user);
        }
    }

    /// Returns the number of files listed.
    fn check_group<R: Rows>(
        &self,
        directory: &Directory<R>,
        group: GroupId,
        users: &[UserId],
    ) -> usize {
        let members = self.members(group);
        let (listed, _) = directory.members(group, None, usize::MAX);
        assert_eq!(listed.iter().map(|m| m.user.user).collect::<Vec<_>>(), members);
        for &member in &members {
            assert_eq!(directory.invited_by(group, member), self.invited_by(group, member));
        }
        assert_eq!(directory.group_settings(group), self.settings(group));
        let owner = self.owner(group);
        assert_eq!(listed.iter().find(|m| m.owner).map(|m| m.user.user), owner);
        for &user in users {
            let expected = match self.state(group, user) {
                MembershipState::None => Part::Stranger,
                MembershipState::Requested => Part::Requested,
                MembershipState::Member if owner == Some(user) => Part::Owner,
                MembershipState::Member => Part::Member,
            };
            assert_eq!(directory.part(group, user), expected);
        }
        let requested = self.with_state(group, MembershipState::Requested);
        let listed = directory.requests(group, None, usize::MAX).0;
        let listed: Vec<_> = listed.into_iter().map(|r| (r.since, r.user.user)).collect();
        assert_eq!(listed, requested);
        self.check_files(directory, group)
    }

    fn check_files<R: Rows>(&self, directory: &Directory<R>, group: GroupId) -> usize {
        let files = self.listed_files(group);
        let expected: Vec<(Label, FileId)> = labels(files.clone()).into_iter().collect();
        let list = |order| directory.files(group, None, order, None, usize::MAX).0;
        let listed = list(FileOrder::Name);
        let named: Vec<_> = listed.iter().map(|f| (f.label.clone(), f.facts.id())).collect();
        assert_eq!(named, expected);
        let mut by_date: Vec<_> = listed.iter().collect();
        by_date.sort_by_key(|entry| std::cmp::Reverse(entry.at));
        let at = |entry: &&crate::types::FileEntry| entry.at;
        let expected: Vec<Stamp> = by_date.iter().map(at).collect();
        assert_eq!(
            list(FileOrder::Date).iter().map(|entry| entry.at).collect::<Vec<_>>(),
            expected
        );
        for entry in listed {
            let file = entry.facts.id();
            let sharers: Vec<UserId> =
                self.sharers(group, file).into_iter().map(|(_, user)| user).collect();
            assert_eq!(directory.sharers(group, file).collect::<Vec<_>>(), sharers);
            assert_eq!(entry.sharer_count as usize, sharers.len());
            assert_eq!(self.file(group, file).map(|row| &row.facts), Some(&entry.facts));
            assert!(sharers.iter().all(|&user| directory.shares(
                group,
                entry.facts.info_hash,
                user
            )));
            assert_eq!(directory.find_file(group, entry.label.as_str()), Some(entry));
        }
        files.len()
    }
}

/// Numbers the bearers of each name: the earliest bears it plainly, the others get the numbers that
/// no real name takes.
fn labels<K: Copy + Ord + std::fmt::Debug>(
    mut bearers: Vec<(String, Stamp, K)>,
) -> BTreeMap<Label, K> {
    bearers.sort();
    let real: BTreeSet<String> = bearers.iter().map(|bearer| bearer.0.clone()).collect();
    let mut labels = BTreeMap::new();
    let mut before: Option<(String, usize)> = None;
    for (name, _, key) in bearers {
        let ordinal = match before.take().filter(|(other, _)| *other == name) {
            None => 1,
            Some((_, last)) => {
                (last + 1..).find(|n| !real.contains(&format!("{name}~{n}"))).unwrap()
            }
        };
        assert_eq!(labels.insert(Label::new(&name, ordinal), key), None);
        before = Some((name, ordinal));
    }
    labels
}
