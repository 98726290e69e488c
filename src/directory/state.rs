//! The directory as a whole: rows are merged, and the indexes follow.
//!
//! **Invariant:** each key holds the largest write that it was ever offered, so merging is
//! commutative, associative and idempotent. The entries of the indexes follow from the rows alone:
//! they can be rebuilt, and the order in which rows arrived makes no difference.

use std::cell::RefCell;

use super::digest;
use super::entries::{
    self, FileSummary, GroupSummary, Tag, Totals, UserSummary, at, down, file_names, group_names,
    in_list, last_id, user_names,
};
use super::rows::{MemoryRows, Rows, RowsMut, Scan, stored_key};
use super::settings::Settings;
use crate::types::{
    Content, FileId, FileRow, GroupId, MembershipRow, MembershipState, Row, RowKey, Sha1Digest,
    Stamp, UserId, UserRow, Version,
};

/// The replicated state of a tracker: rows, and the indexes that answer queries about them.
///
/// It changes by rows alone, which only the [`super::Replica`] applies.
#[derive(Debug, Clone, Default)]
pub struct Directory<R = MemoryRows> {
    pub(super) rows: R,
    /// The totals that this transaction has changed; [`Directory::end_transaction`] writes them.
    totals: Option<Totals>,
    /// What the operator has set, once it has been looked up: each change asks for it.
    pub(super) settings: RefCell<Option<Settings>>,
}

/// Rows that are indexed before the next ones are read; few in tests, so that they need several
/// rounds.
const AT_ONCE: usize = if cfg!(test) { 7 } else { 1000 };

/// What became of a row that was offered.
pub(super) enum Offered {
    /// It is the row from now on; what was there before.
    Written(Option<Content>),
    /// This write is there already, or a newer one.
    Known,
}

impl<R: Rows> Directory<R> {
    /// Makes the directory of a store.
    pub fn new(rows: R) -> Self {
        Self { rows, totals: None, settings: RefCell::default() }
    }

    /// The store.
    pub fn rows(&self) -> &R {
        &self.rows
    }

    /// The store, for the driver, which ends its transactions.
    pub fn rows_mut(&mut self) -> &mut R {
        &mut self.rows
    }

    /// Gives the store back.
    pub fn into_rows(self) -> R {
        self.rows
    }

    /// The directory in numbers.
    pub(super) fn totals(&self) -> Totals {
        let stored = || Totals::from_bytes(&self.rows.entry(&Tag::Totals.key(&[]))?);
        self.totals.or_else(stored).unwrap_or_default()
    }

    /// Tells directories apart: equal on trackers with equal rows, in whichever order these
    /// arrived.
    pub fn digest(&self) -> Sha1Digest {
        digest::of_sum(self.totals().digest)
    }

    /// Returns the version of the row with that key.
    pub(super) fn version(&self, key: &RowKey) -> Option<Version> {
        self.rows.get(key).map(|row| row.version)
    }

    /// Returns the fields that a later version of this program keeps in the row whose place is
    /// taken. A row without a value has none.
    pub(super) fn extra(&self, content: &Content) -> Box<[u8]> {
        use Content::{File, Group, Request, Setting, Unknown, User};
        if matches!(
            content,
            User(_, None)
                | Group(_, None)
                | File(_, _, None)
                | Setting(_, None)
                | Request(..)
                | Unknown(..)
        ) {
            return Box::default();
        }
        self.rows.get(&content.key()).map(|row| row.extra).unwrap_or_default()
    }

    pub(super) fn user_summary(&self, user: UserId) -> UserSummary {
        let stored = self.rows.entry(&Tag::User.key(&[user.as_bytes()]));
        stored.map(|bytes| UserSummary::from_bytes(&bytes)).unwrap_or_default()
    }

    pub(super) fn group_summary(&self, group: GroupId) -> GroupSummary {
        let stored = self.rows.entry(&Tag::Group.key(&[group.as_bytes()]));
        stored.and_then(|bytes| GroupSummary::from_bytes(&bytes)).unwrap_or_default()
    }

    pub(super) fn file_summary(&self, group: GroupId, file: FileId) -> FileSummary {
        let stored = self.rows.entry(&Tag::File.key(&[group.as_bytes(), file.as_bytes()]));
        stored.and_then(|bytes| FileSummary::from_bytes(&bytes)).unwrap_or_default()
    }
}

impl<R: RowsMut> Directory<R> {
    /// Merges a row. `sequence` is the update sequence it gets here.
    pub(super) fn apply(&mut self, row: &Row, sequence: u64) -> Offered {
        let before = self.rows.get(&row.content.key());
        if before.as_ref().is_some_and(|before| !wins(row, before)) {
            return Offered::Known;
        }
        self.rows.put(sequence, row);
        self.count(before.as_ref(), Some(row));
        self.index(before.as_ref(), row);
        Offered::Written(before.map(|before| before.content))
    }

    /// Forgets what is kept in memory of rows and entries: others may have written them, or what
    /// was written here has not been stored.
    pub fn forget_cached(&mut self) {
        self.totals = None;
        *self.settings.get_mut() = None;
    }

    /// Writes the totals; called once at the end of a transaction.
    pub(super) fn end_transaction(&mut self) {
        if let Some(totals) = self.totals.take() {
            self.rows.set_entry(&Tag::Totals.key(&[]), totals.to_bytes().as_deref());
        }
    }

    /// Makes the entries of all rows with a stored key behind `through`, which have none yet. After
    /// every `AT_ONCE` rows it calls `pause` with the last row's stored key.
    ///
    /// # Errors
    /// What `pause` returns.
    pub fn make_entries<E>(
        &mut self,
        mut through: Vec<u8>,
        mut pause: impl FnMut(&mut R, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        loop {
            // An empty key is before all.
            let rows = self.rows.rows(&[], Some(&through), AT_ONCE);
            for row in &rows {
                self.count(None, Some(row));
                self.index(None, row);
            }
            self.end_transaction();
            let Some(last) = rows.last() else { return Ok(()) };
            through = stored_key(&last.content.key());
            pause(&mut self.rows, &through)?;
        }
    }

    /// Deletes a row that says that something is not there, unless it has been written again.
    pub(super) fn forget(&mut self, old: &Row) {
        let key = old.content.key();
        let Some(row) = self
            .rows
            .get(&key)
            .filter(|row| row.version == old.version && row.content.is_tombstone())
        else {
            return;
        };
        if let Content::Membership(group, user, MembershipRow { ended: Some(ended), .. }) =
            row.content
        {
            self.put(&in_list(Tag::Ended, group, ended, user), false);
        }
        if let Content::Device(user, device, before) = &row.content {
            self.index_device((*user, *device), Some(before), None);
        }
        match &row.content {
            Content::Invitation(group, invitation, before) => {
                self.index_invitation((*group, *invitation), Some(before), None);
            }
            Content::InvitationUse(group, invitation, user, _) => {
                let key = (*group, *invitation, *user);
                self.index_invitation_use(key, Some(row.version.request), None);
            }
            _ => {}
        }
        self.count(Some(&row), None);
        *self.settings.get_mut() = None;
        self.rows.delete(&key);
        self.end_transaction();
    }

    fn count(&mut self, before: Option<&Row>, after: Option<&Row>) {
        let mut totals = self.totals();
        if let Some(row) = before {
            totals.rows = totals.rows.saturating_sub(1);
            totals.bytes = totals.bytes.saturating_sub(size_of_row(&row.content));
            totals.digest = totals.digest.wrapping_sub(digest::of_row(row));
        }
        if let Some(row) = after {
            totals.rows += 1;
            totals.bytes += size_of_row(&row.content);
            totals.digest = totals.digest.wrapping_add(digest::of_row(row));
        }
        self.totals = Some(totals);
    }

    /// Brings the indexes in line with a row that has been written in place of `before`.
    fn index(&mut self, before: Option<&Row>, after: &Row) {
        let replaced = before.map(|before| &before.content);
        match &after.content {
            Content::User(user, value) => {
                let before = replaced.and_then(|before| {
                    if let Content::User(_, row) = before { row.as_ref() } else { None }
                });
                self.index_user(*user, before, value.as_ref());
            }
            Content::Membership(group, user, row) => {
                let before = replaced.and_then(|before| {
                    if let Content::Membership(_, _, row) = before { Some(*row) } else { None }
                });
                self.index_membership(*group, *user, before, *row);
            }
            Content::Group(group, _) | Content::Owner(group, _) => self.refresh_group(*group),
            Content::File(group, file, row) => {
                let before = replaced.and_then(|before| {
                    if let Content::File(_, _, row) = before { row.as_ref() } else { None }
                });
                self.index_file(*group, *file, before, row.as_ref());
            }
            Content::Sharing(group, file, user, row) => {
                let was = before.and_then(|before| match before.content {
                    Content::Sharing(_, _, _, row) => Some((before.version.stamp, row.on)),
                    _ => None,
                });
                self.index_sharing((*group, *file, *user), was, (after.version.stamp, row.on));
            }
            Content::Setting(..) => *self.settings.get_mut() = None,
            Content::Device(user, device, row) => {
                let before = replaced.and_then(|before| {
                    if let Content::Device(_, _, row) = before { Some(row) } else { None }
                });
                self.index_device((*user, *device), before, Some(row));
            }
            Content::Invitation(group, invitation, row) => {
                let before = replaced.and_then(|before| {
                    if let Content::Invitation(_, _, row) = before { Some(row) } else { None }
                });
                self.index_invitation((*group, *invitation), before, Some(row));
            }
            Content::InvitationUse(group, invitation, user, row) => {
                let was = before.map(|before| before.version.request);
                let is = Some((after.version.request, *row));
                self.index_invitation_use((*group, *invitation, *user), was, is);
            }
            Content::Request(..) | Content::GroupSettings(..) | Content::Unknown(..) => {}
        }
    }

    fn index_user(&mut self, user: UserId, before: Option<&UserRow>, after: Option<&UserRow>) {
        let names = user_names();
        let key = |replaced: Stamp| Tag::Replaced.key(&[&at(replaced), user.as_bytes()]);
        if let Some(before) = before {
            before.replaced.into_iter().for_each(|replaced| self.put(&key(replaced), false));
            let has_its_name = after.is_some_and(|after| {
                (&after.name, after.created) == (&before.name, before.created)
            });
            if !has_its_name {
                names.remove(&mut self.rows, before.name.as_str(), before.created, user);
                self.change_totals(|totals| totals.users = totals.users.saturating_sub(1));
            }
        }
        match after {
            Some(row) => {
                row.replaced.into_iter().for_each(|replaced| self.put(&key(replaced), true));
                if names.label(&self.rows, row.name.as_str(), row.created, user).is_none() {
                    names.insert(&mut self.rows, row.name.as_str(), row.created, user);
                    self.change_totals(|totals| totals.users += 1);
                }
            }
            // What the deleted user had counts no longer.
            None => {
                let groups: Vec<GroupId> = self.tied_groups(user).collect();
                for group in groups {
                    if let Some((_, row)) = self.standing(group, user) {
                        self.place(group, user, Some(row), None);
                        self.refresh_shares_of(group, user);
                        self.refresh_group(group);
                    }
                }
            }
        }
    }

    fn index_membership(
        &mut self,
        group: GroupId,
        user: UserId,
        before: Option<MembershipRow>,
        after: MembershipRow,
    ) {
        if let Some(ended) =
            before.and_then(|before| before.ended).filter(|ended| Some(*ended) != after.ended)
        {
            self.put(&in_list(Tag::Ended, group, ended, user), false);
        }
        after
            .ended
            .into_iter()
            .for_each(|ended| self.put(&in_list(Tag::Ended, group, ended, user), true));
        let is_tied = after.state != MembershipState::None;
        if self.set(&Tag::UserGroups.key(&[user.as_bytes(), group.as_bytes()]), is_tied) {
            self.change_user(user, |summary| add(&mut summary.ties, is_tied));
        }
        let is_deleted = self.is_deleted(user);
        self.place(group, user, before, Some(after).filter(|_| !is_deleted));
        let is_member = |row: MembershipRow| row.state == MembershipState::Member;
        if is_member(after) || before.is_some_and(is_member) {
            self.refresh_shares_of(group, user);
        }
        self.refresh_group(group);
    }

    /// Moves a user from one list of a group to another.
    fn place(
        &mut self,
        group: GroupId,
        user: UserId,
        before: Option<MembershipRow>,
        after: Option<MembershipRow>,
    ) {
        let entry = |row: MembershipRow| match row.state {
            MembershipState::None => None,
            MembershipState::Requested => {
                Some((Tag::Requests, in_list(Tag::Requests, group, row.since, user)))
            }
            MembershipState::Member => {
                Some((Tag::Members, in_list(Tag::Members, group, row.since, user)))
            }
        };
        let mut set = |(tag, key): (Tag, Vec<u8>), is_there| {
            if self.set(&key, is_there) {
                self.change_group(group, |summary| {
                    let count = if matches!(tag, Tag::Members) {
                        &mut summary.members
                    } else {
                        &mut summary.requests
                    };
                    add(count, is_there);
                });
            }
        };
        let (before, after) = (before.and_then(entry), after.and_then(entry));
        if let Some(before) =
            before.filter(|(_, key)| after.as_ref().is_none_or(|(_, after)| after != key))
        {
            set(before, false);
        }
        if let Some(after) = after {
            set(after, true);
        }
    }

    fn index_file(
        &mut self,
        group: GroupId,
        file: FileId,
        before: Option<&FileRow>,
        after: Option<&FileRow>,
    ) {
        let key = |row: &FileRow| entries::content(group, row.facts.info_hash, file);
        let (before, after) = (before.map(key), after.map(key));
        if let Some(before) = before.filter(|before| after.as_ref() != Some(before)) {
            self.put(&before, false);
        }
        if let Some(after) = after {
            self.put(&after, true);
        }
        let sharers: Vec<UserId> =
            self.sharing_rows(group, file).map(|(user, _, _)| user).collect();
        sharers.into_iter().for_each(|user| self.refresh_share(group, file, user));
        self.refresh_listing(group, file);
    }

    /// `was` and `is` say when the share began, and whether it is on.
    fn index_sharing(
        &mut self,
        (group, file, user): (GroupId, FileId, UserId),
        was: Option<(Stamp, bool)>,
        is: (Stamp, bool),
    ) {
        let was_on = was.is_some_and(|(_, was_on)| was_on);
        if was_on != is.1 {
            self.put(&Tag::Shares.key(&[group.as_bytes(), user.as_bytes(), file.as_bytes()]), is.1);
            self.change_user(user, |summary| add(&mut summary.shared, is.1));
        }
        if let Some((began, _)) = was.filter(|(began, _)| *began != is.0) {
            self.set_sharer(group, file, (began, user), false);
        }
        self.refresh_share(group, file, user);
        self.refresh_listing(group, file);
    }

    fn refresh_shares_of(&mut self, group: GroupId, user: UserId) {
        let mut after = None;
        loop {
            let files: Vec<FileId> = self.shares_behind(group, user, after).take(AT_ONCE).collect();
            for &file in &files {
                self.refresh_share(group, file, user);
                self.refresh_listing(group, file);
            }
            after = files.last().copied();
            if after.is_none() {
                return;
            }
        }
    }

    /// Brings the entry of a share in line with the rows.
    fn refresh_share(&mut self, group: GroupId, file: FileId, user: UserId) {
        if let Some((version, row)) = self.sharing(group, file, user) {
            let is_in_effect = self.is_allowed((group, file, user), version, row);
            self.set_sharer(group, file, (version.stamp, user), is_in_effect);
        }
    }

    fn set_sharer(
        &mut self,
        group: GroupId,
        file: FileId,
        (began, user): (Stamp, UserId),
        is_there: bool,
    ) {
        let key = entries::sharer(group, file, began, user);
        // Of a file without sharers there is no such entry: that spares a look.
        let was_there =
            self.file_summary(group, file).sharers > 0 && self.rows.entry(&key).is_some();
        if was_there != is_there {
            self.put(&key, is_there);
            self.change_file(group, file, |summary| add(&mut summary.sharers, is_there));
        }
    }

    /// Brings the entries by which a file is listed in line with the rows.
    fn refresh_listing(&mut self, group: GroupId, file: FileId) {
        let before = self.file_summary(group, file);
        let row = if before.sharers > 0 {
            self.file_row(group, file).and_then(|(_, row)| row)
        } else {
            None
        };
        let listed = row.map(|row| (row.facts.len, row.at, row.facts.name.as_str().into()));
        if listed == before.listed {
            return;
        }
        let names = file_names(group);
        let keys = |(len, since, _): &(u64, Stamp, Box<str>)| {
            let size = Tag::BySize.key(&[group.as_bytes(), &down(*len), file.as_bytes()]);
            let date = Tag::ByDate.key(&[group.as_bytes(), &down(since.as_u64()), file.as_bytes()]);
            [size, date]
        };
        if let Some(listed) = &before.listed {
            names.remove(&mut self.rows, &listed.2, listed.1, file);
            keys(listed).iter().for_each(|key| self.put(key, false));
        }
        if let Some(listed) = &listed {
            names.insert(&mut self.rows, &listed.2, listed.1, file);
            keys(listed).iter().for_each(|key| self.put(key, true));
        }
        if listed.is_some() != before.listed.is_some() {
            let is_listed = listed.is_some();
            self.change_group(group, |summary| add(&mut summary.files, is_listed));
        }
        self.change_file(group, file, |summary| summary.listed = listed);
    }

    /// Brings what is known of a group elsewhere in line with its rows: name, owner, files.
    fn refresh_group(&mut self, group: GroupId) {
        let before = self.group_summary(group);
        let row =
            if before.members > 0 { self.group_row(group).and_then(|(_, row)| row) } else { None };
        let listed = row.map(|row| (row.created, row.name.as_str().into()));
        let owner = listed.as_ref().and_then(|_| self.owner(group));
        if listed != before.listed {
            let names = group_names();
            if let Some((since, name)) = &before.listed {
                names.remove(&mut self.rows, name, *since, group);
            }
            if let Some((since, name)) = &listed {
                names.insert(&mut self.rows, name, *since, group);
            }
            self.change_totals(|totals| {
                totals.groups =
                    totals.groups + u64::from(listed.is_some()) - u64::from(before.listed.is_some())
            });
        }
        if owner != before.counted_owner {
            before
                .counted_owner
                .into_iter()
                .for_each(|user| self.change_user(user, |summary| add(&mut summary.owned, false)));
            owner
                .into_iter()
                .for_each(|user| self.change_user(user, |summary| add(&mut summary.owned, true)));
        }
        self.change_group(group, |summary| {
            (summary.listed, summary.counted_owner) = (listed, owner)
        });
    }

    fn change_group(&mut self, group: GroupId, change: impl FnOnce(&mut GroupSummary)) {
        let before = self.group_summary(group);
        let mut summary = before.clone();
        change(&mut summary);
        summary.counted_files = if summary.listed.is_some() { summary.files } else { 0 };
        if summary != before {
            let (counted, count) =
                (u64::from(before.counted_files), u64::from(summary.counted_files));
            self.change_totals(|totals| {
                totals.files = (totals.files + count).saturating_sub(counted)
            });
            self.rows
                .set_entry(&Tag::Group.key(&[group.as_bytes()]), summary.to_bytes().as_deref());
        }
    }

    fn change_file(&mut self, group: GroupId, file: FileId, change: impl FnOnce(&mut FileSummary)) {
        let mut summary = self.file_summary(group, file);
        change(&mut summary);
        let key = Tag::File.key(&[group.as_bytes(), file.as_bytes()]);
        self.rows.set_entry(&key, summary.to_bytes().as_deref());
    }

    fn change_user(&mut self, user: UserId, change: impl FnOnce(&mut UserSummary)) {
        let mut summary = self.user_summary(user);
        change(&mut summary);
        self.rows.set_entry(&Tag::User.key(&[user.as_bytes()]), summary.to_bytes().as_deref());
    }

    fn change_totals(&mut self, change: impl FnOnce(&mut Totals)) {
        let mut totals = self.totals();
        change(&mut totals);
        self.totals = Some(totals);
    }

    /// Writes or deletes an entry without a value. Returns whether that has changed anything.
    fn set(&mut self, key: &[u8], is_there: bool) -> bool {
        let changes = self.rows.entry(key).is_some() != is_there;
        if changes {
            self.put(key, is_there);
        }
        changes
    }

    /// Writes or deletes an entry without a value.
    pub(super) fn put(&mut self, key: &[u8], is_there: bool) {
        self.rows.set_entry(key, is_there.then_some(&[]));
    }
}

impl<R: Rows> Directory<R> {
    /// The groups of which a user is a member, or waits to be, by the user's membership rows: the
    /// group may have been deleted, or the account.
    pub fn tied_groups(&self, user: UserId) -> impl Iterator<Item = GroupId> + '_ {
        let ties = Scan::prefix(&self.rows, &Tag::UserGroups.key(&[user.as_bytes()]));
        ties.filter_map(|(key, _)| last_id::<GroupId, { GroupId::LEN }>(&key))
    }

    /// The files for which a user's sharing row is on, in effect or not, behind one of them.
    pub(super) fn shares_behind(
        &self,
        group: GroupId,
        user: UserId,
        after: Option<FileId>,
    ) -> impl Iterator<Item = FileId> + '_ {
        let prefix = Tag::Shares.key(&[group.as_bytes(), user.as_bytes()]);
        let scan = match after {
            Some(file) => {
                Scan::after(&self.rows, &prefix, [&prefix, &file.as_bytes()[..]].concat())
            }
            None => Scan::prefix(&self.rows, &prefix),
        };
        scan.filter_map(|(key, _)| last_id::<FileId, { FileId::LEN }>(&key))
    }
}

/// Tells whether a write takes the place of the one that is there. Only a later final deletion
/// takes the place of a final deletion.
fn wins(offer: &Row, there: &Row) -> bool {
    let rank = |row: &Row| (row.content.is_final(), row.version);
    (rank(offer), &offer.content, &offer.extra) > (rank(there), &there.content, &there.extra)
}

fn add(count: &mut u32, is_more: bool) {
    *count = if is_more { count.saturating_add(1) } else { count.saturating_sub(1) };
}

/// Bytes that every row takes on the disk, about.
const ROW_LEN: u64 = 300;

/// About how many bytes a row takes on the disk, with its entries in the indexes.
pub(super) fn size_of_row(content: &Content) -> u64 {
    let texts = match content {
        Content::User(_, Some(row)) => 4 * row.name.as_str().len() + row.hash.as_phc().len() + 400,
        Content::Group(_, Some(row)) => 4 * row.name.as_str().len() + 600,
        Content::File(_, _, Some(row)) => 5 * row.facts.name.as_str().len() + 1000,
        Content::Setting(name, value) => {
            name.as_str().len() + value.as_ref().map_or(0, String::len)
        }
        Content::Device(_, _, row) => 200 + row.name.as_ref().map_or(0, |name| name.as_str().len()),
        Content::Invitation(..) => 300,
        Content::InvitationUse(..) => 250,
        Content::Request(_, row) => row.note.len(),
        Content::Unknown(_, key, value) => 2 * key.len() + value.len(),
        _ => 0,
    };
    texts as u64 + ROW_LEN
}
