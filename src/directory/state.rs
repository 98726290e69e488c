//! The directory as a whole: the rows in memory, and the indexes over them.

use std::collections::{BTreeMap, BTreeSet};

use super::group::Group;
use super::names::NameIndex;
use super::registers::{Register, merge, merge_final};
use super::requests::{Carried, Requests};
use super::settings::Settings;
use crate::types::{Content, GroupId, MembershipState, Row, RowKey, SettingName, Stamp, UserId, UserRow, Version};

/// The replicated state of a tracker: rows, and the indexes that answer queries about them.
///
/// It changes by rows alone, which only the [`super::Replica`] applies.
#[derive(Debug, Clone, Default)]
pub struct Directory {
    pub(super) users: BTreeMap<UserId, Register<Option<UserRow>>>,
    pub(super) user_names: NameIndex<UserId>,
    /// Users whose password took the place of another, by when it last did.
    pub(super) replaced: BTreeSet<(Stamp, UserId)>,
    pub(super) groups: BTreeMap<GroupId, Group>,
    /// Of groups with a row and a member.
    pub(super) group_names: NameIndex<GroupId>,
    /// Groups in which the user is a member or waits to be.
    pub(super) user_groups: BTreeMap<UserId, BTreeSet<GroupId>>,
    /// Live groups that the user owns, and sharing rows of the user that are on.
    pub(super) owned: BTreeMap<UserId, u32>,
    pub(super) shared: BTreeMap<UserId, u32>,
    /// Files that somebody shares, once a group.
    pub(super) file_count: usize,
    pub(super) requests: Requests,
    pub(super) settings: Settings,
    setting_rows: BTreeMap<SettingName, Register<Option<String>>>,
    unknown: BTreeMap<(u8, Vec<u8>), Register<Vec<u8>>>,
    /// Rows in memory, requests aside, and about how many bytes they take there.
    pub(super) row_count: u64,
    pub(super) byte_count: u64,
}

/// What became of a row that was offered.
pub(super) enum Offered {
    /// It is the row from now on; what was there before.
    Written(Option<Content>),
    /// This write is there already, or a newer one.
    Known,
}

impl Directory {
    /// Merges a row. `sequence` is the update sequence it gets here.
    pub(super) fn apply(&mut self, row: &Row, sequence: u64) -> Offered {
        let is_older = self.version(&row.content.key()).is_some_and(|version| version > row.version);
        if is_older && !row.content.is_final() {
            return Offered::Known;
        }
        let version = row.version;
        let previous = match row.content.clone() {
            Content::User(user, value) => self.write_user(user, register(row, value)),
            Content::Group(group, value) => {
                let write = register(row, value);
                self.change_group(group, |g| g.write_about(write))
                    .map(|previous| previous.map(|p| Content::Group(group, p.value)))
            }
            Content::Membership(group, user, value) => {
                let is_deleted = self.users.get(&user).is_some_and(|row| row.value.is_none());
                let write = register(row, value);
                let previous = self.change_group(group, |g| {
                    if is_deleted {
                        g.delete_user(user);
                    }
                    g.write_standing(user, write)
                });
                self.refresh_user_groups(group, user);
                previous.map(|previous| previous.map(|p| Content::Membership(group, user, p.value)))
            }
            Content::Owner(group, user) => {
                let write = register(row, user);
                self.change_group(group, |g| g.write_owner(write)).map(|p| p.map(|p| Content::Owner(group, p.value)))
            }
            Content::File(group, file, value) => {
                let write = register(row, value);
                self.change_group(group, |g| g.write_file(file, write))
                    .map(|previous| previous.map(|p| Content::File(group, file, p.value)))
            }
            Content::Sharing(group, file, user, value) => {
                let write = register(row, value);
                let previous = self.change_group(group, |g| g.write_sharing(file, user, write));
                if let Some(previous) = &previous {
                    let was_on = previous.as_ref().is_some_and(|p| p.value.on);
                    count(&mut self.shared, user, was_on, value.on);
                }
                previous.map(|previous| previous.map(|p| Content::Sharing(group, file, user, p.value)))
            }
            Content::Request(request, value) => {
                // The earlier of two copies of one request gives way, as any other row does.
                if self.requests.get(request).is_some_and(|carried| carried.stamp >= version.stamp) {
                    return Offered::Known;
                }
                let (actor, effect, place) = (value.actor, value.effect, row.place);
                let carried = Carried { actor, effect, stamp: version.stamp, sequence, place };
                self.requests.record(request, carried);
                return Offered::Written(None);
            }
            Content::Setting(name, value) => {
                let previous = merge(&mut self.setting_rows, name.clone(), register(row, value.clone()));
                if previous.is_some() {
                    self.settings.set(&name, value.as_deref());
                }
                previous.map(|previous| previous.map(|p| Content::Setting(name, p.value)))
            }
            Content::Unknown(kind, key, value) => {
                let previous = merge(&mut self.unknown, (kind, key.clone()), register(row, value));
                previous.map(|previous| previous.map(|p| Content::Unknown(kind, key, p.value)))
            }
        };
        match previous {
            None => Offered::Known,
            Some(previous) => {
                match &previous {
                    Some(before) => self.byte_count -= size_of_row(before).min(self.byte_count),
                    None => self.row_count += 1,
                }
                self.byte_count += size_of_row(&row.content);
                Offered::Written(previous)
            }
        }
    }

    /// Forgets a row that the store has deleted for its age, unless it has been written again.
    pub(super) fn forget(&mut self, key: &RowKey) {
        let is_gone = match key {
            RowKey::Membership(group, user) => self.groups.get_mut(group).is_some_and(|g| g.forget_standing(*user)),
            RowKey::File(group, file) => self.groups.get_mut(group).is_some_and(|g| g.forget_file(*file)),
            RowKey::Sharing(group, file, user) => self.groups.get_mut(group).is_some_and(|g| g.forget_sharing(*file, *user)),
            RowKey::Setting(name) => {
                let is_unset = self.setting_rows.get(name).is_some_and(|row| row.value.is_none());
                is_unset && self.setting_rows.remove(name).is_some()
            }
            RowKey::User(_) | RowKey::Group(_) | RowKey::Owner(_) | RowKey::Request(_) | RowKey::Unknown(..) => false,
        };
        if is_gone {
            let name_len = if let RowKey::Setting(name) = key { name.as_str().len() as u64 } else { 0 };
            self.row_count = self.row_count.saturating_sub(1);
            self.byte_count = self.byte_count.saturating_sub(ROW_LEN + name_len);
        }
    }

    /// Returns the version of the row with that key.
    pub(super) fn version(&self, key: &RowKey) -> Option<Version> {
        let group = |id: &GroupId| self.groups.get(id);
        match key {
            RowKey::User(user) => self.users.get(user).map(|r| r.version),
            RowKey::Group(id) => group(id)?.about.as_ref().map(|r| r.version),
            RowKey::Membership(id, user) => group(id)?.standings.get(user).map(|r| r.version),
            RowKey::Owner(id) => group(id)?.owner.as_ref().map(|r| r.version),
            RowKey::File(id, file) => group(id)?.files.get(file)?.about.as_ref().map(|r| r.version),
            RowKey::Sharing(id, file, user) => group(id)?.files.get(file)?.sharing.get(user).map(|r| r.version),
            RowKey::Request(request) => {
                self.requests.get(*request).map(|carried| Version { stamp: carried.stamp, request: *request })
            }
            RowKey::Setting(name) => self.setting_rows.get(name).map(|r| r.version),
            RowKey::Unknown(kind, key) => self.unknown.get(&(*kind, key.clone())).map(|r| r.version),
        }
    }

    /// Returns the fields that a later version of this program keeps in the row whose place is taken. A
    /// row without a value has none.
    pub(super) fn extra(&self, content: &Content) -> Box<[u8]> {
        use Content::{File, Group, Setting, User};
        if matches!(content, User(_, None) | Group(_, None) | File(_, _, None) | Setting(_, None)) {
            return Box::default();
        }
        let group = |id: &GroupId| self.groups.get(id);
        let extra = match &content.key() {
            RowKey::User(user) => self.users.get(user).map(|r| r.extra.clone()),
            RowKey::Group(id) => group(id).and_then(|g| g.about.as_ref()).map(|r| r.extra.clone()),
            RowKey::Membership(id, user) => group(id).and_then(|g| g.standings.get(user)).map(|r| r.extra.clone()),
            RowKey::Owner(id) => group(id).and_then(|g| g.owner.as_ref()).map(|r| r.extra.clone()),
            RowKey::File(id, file) => {
                group(id).and_then(|g| g.files.get(file)).and_then(|f| f.about.as_ref()).map(|r| r.extra.clone())
            }
            RowKey::Sharing(id, file, user) => {
                group(id).and_then(|g| g.files.get(file)).and_then(|f| f.sharing.get(user)).map(|r| r.extra.clone())
            }
            RowKey::Setting(name) => self.setting_rows.get(name).map(|r| r.extra.clone()),
            RowKey::Request(_) | RowKey::Unknown(..) => None,
        };
        extra.unwrap_or_default()
    }

    fn write_user(&mut self, user: UserId, write: Register<Option<UserRow>>) -> Option<Option<Content>> {
        let value = write.value.clone();
        let mut slot = self.users.remove(&user);
        let written = merge_final(&mut slot, write);
        if let Some(register) = slot {
            self.users.insert(user, register);
        }
        let previous = written?.map(|register| register.value);
        if let Some(Some(before)) = &previous {
            self.user_names.remove(before.name.as_str(), user);
            before.replaced.map(|replaced| self.replaced.remove(&(replaced, user)));
        }
        match value {
            Some(row) => {
                self.user_names.insert(row.name.as_str(), row.created, user);
                row.replaced.map(|replaced| self.replaced.insert((replaced, user)));
            }
            None => {
                for group in self.user_groups.remove(&user).unwrap_or_default() {
                    self.change_group(group, |g| g.delete_user(user));
                }
            }
        }
        Some(previous.map(|value| Content::User(user, value)))
    }

    /// Changes one group and brings the indexes over groups in line with it.
    fn change_group<T>(&mut self, id: GroupId, change: impl FnOnce(&mut Group) -> T) -> T {
        let group = self.groups.entry(id).or_default();
        let file_count_before = if group.row().is_some() { group.file_names.len() } else { 0 };
        let changed = change(group);
        let file_count = if group.row().is_some() { group.file_names.len() } else { 0 };
        self.file_count = self.file_count + file_count - file_count_before;
        let listing = group.listing();
        let owner = group.owner().filter(|_| listing.is_some());
        if owner != group.counted_owner {
            let before = std::mem::replace(&mut group.counted_owner, owner);
            before.into_iter().for_each(|user| count(&mut self.owned, user, true, false));
            owner.into_iter().for_each(|user| count(&mut self.owned, user, false, true));
        }
        if listing == group.listed {
            return changed;
        }
        if let Some((name, _)) = &group.listed {
            self.group_names.remove(name.as_str(), id);
        }
        if let Some((name, created)) = &listing {
            self.group_names.insert(name.as_str(), *created, id);
        }
        group.listed = listing;
        changed
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

fn register<V>(row: &Row, value: V) -> Register<V> {
    Register { version: row.version, value, extra: row.extra.clone() }
}

fn count(counts: &mut BTreeMap<UserId, u32>, user: UserId, was: bool, is: bool) {
    let count = counts.entry(user).or_default();
    *count = (*count + u32::from(is)).saturating_sub(u32::from(was));
    if *count == 0 {
        counts.remove(&user);
    }
}

/// Bytes that every row takes in memory, about.
const ROW_LEN: u64 = 300;

/// About how many bytes a row takes in memory, with its place in the indexes. Measured with files of the longest
/// names: 3.4 KB a file with its share, of which this counts 3.1.
pub(super) fn size_of_row(content: &Content) -> u64 {
    let texts = match content {
        Content::User(_, Some(row)) => 4 * row.name.as_str().len() + row.hash.as_phc().len() + 400,
        Content::Group(_, Some(row)) => 4 * row.name.as_str().len() + 1000,
        Content::File(_, _, Some(row)) => 6 * row.facts.name.as_str().len() + 1000,
        Content::Setting(name, value) => name.as_str().len() + value.as_ref().map_or(0, String::len),
        Content::Unknown(_, key, value) => 2 * key.len() + value.len(),
        _ => 0,
    };
    texts as u64 + ROW_LEN
}
