//! The shares of a session.

use std::sync::Arc;

use super::{Key, Library, Share};
use crate::store::{ShareRow, ShareState};
use crate::swarm::LocalCopy;
use crate::types::{FileFacts, GroupId, InfoHash};

/// Copies that are tried: of so many with one content, one is intact.
const COPIES_MAX: usize = 8;
/// Minimum length for a search of all shares by length and SHA-1.
const OTHER_NAMES_LEN: u64 = 1 << 20;

impl Library {
    /// Puts a share and marks it to be written.
    pub(crate) fn put_share(&mut self, row: ShareRow, offered: bool) {
        self.touch(Key::Share(row.group, row.facts.info_hash));
        self.restore_share(Arc::new(row), offered);
    }

    /// Puts a share that the store has.
    pub(crate) fn restore_share(&mut self, row: Arc<ShareRow>, offered: bool) {
        let key = (row.group, row.facts.info_hash);
        self.away.remove(&key);
        self.shares.insert(key, Share { row, offered });
    }

    /// Changes a share's row and marks it to be written.
    pub(crate) fn change_share(
        &mut self,
        (group, info_hash): (GroupId, InfoHash),
        change: impl FnOnce(&mut ShareRow),
    ) {
        if let Some(share) = self.shares.get_mut(&(group, info_hash)) {
            change(Arc::make_mut(&mut share.row));
            self.touch(Key::Share(group, info_hash));
        }
    }

    /// The directory has a share now. A share that is pending in the store is reported to it again,
    /// so nothing waits for the store.
    pub(crate) fn note_listed(&mut self, row: ShareRow, offered: bool) {
        self.touch_later(Key::Share(row.group, row.facts.info_hash));
        self.restore_share(Arc::new(ShareRow { state: ShareState::Offered, ..row }), offered);
    }

    /// Removes a share, also from the store.
    pub(crate) fn remove_share(&mut self, group: GroupId, info_hash: InfoHash) {
        self.shares.remove(&(group, info_hash));
        self.away.remove(&(group, info_hash));
        self.touch(Key::Share(group, info_hash));
    }

    /// Sets whether a share is offered; tells whether that has changed.
    pub(crate) fn set_offered(
        &mut self,
        group: GroupId,
        info_hash: InfoHash,
        offered: bool,
    ) -> bool {
        self.away.remove(&(group, info_hash));
        match self.shares.get_mut(&(group, info_hash)) {
            Some(share) => std::mem::replace(&mut share.offered, offered) != offered,
            None => false,
        }
    }

    pub(crate) fn share(&self, group: GroupId, info_hash: InfoHash) -> Option<&Share> {
        self.shares.get(&(group, info_hash))
    }

    /// Finds a share by the display names of its group and file: one that is offered, before one
    /// whose file is away.
    pub(crate) fn share_named(&self, group: &str, file: &str) -> Option<&Share> {
        let is_named = |share: &&Share| {
            share.row.group_label.as_str() == group && share.row.label.as_str() == file
        };
        let is_away =
            |share: &&Share| self.away.contains_key(&(share.row.group, share.row.facts.info_hash));
        let named = || self.shares.values().filter(is_named);
        named().find(|share| share.offered).or_else(|| named().find(is_away))
    }

    /// The shares of this content, in all groups. Steps from group to group: a member has few
    /// groups and thousands of shares.
    pub(crate) fn shares_of(&self, info_hash: InfoHash) -> impl Iterator<Item = &Share> {
        let last = InfoHash::from_bytes([u8::MAX; InfoHash::LEN]);
        let next = move |after: Option<GroupId>| {
            let found = match after {
                None => self.shares.get_min().map(|(key, _)| key),
                Some(group) => {
                    let from = std::ops::Bound::Excluded((group, last));
                    self.shares.range((from, std::ops::Bound::Unbounded)).next().map(|(key, _)| key)
                }
            };
            found.map(|(group, _)| *group)
        };
        std::iter::successors(next(None), move |group| next(Some(*group)))
            .filter_map(move |group| self.shares.get(&(group, info_hash)))
    }

    /// The shares in a group.
    pub(crate) fn shares_in(&self, group: GroupId) -> impl Iterator<Item = &Share> {
        let first = (group, InfoHash::from_bytes([0; InfoHash::LEN]));
        self.shares
            .range(first..)
            .take_while(move |((of, _), _)| *of == group)
            .map(|(_, share)| share)
    }

    /// Files that should have that content: first those of the same info hash, in any group, then
    /// those of the same length and SHA-1. Stopped shares count, too; the engine checks whether
    /// they are unchanged.
    pub(crate) fn copies_of(&self, facts: &FileFacts) -> Vec<LocalCopy> {
        let mut copies: Vec<LocalCopy> = Vec::new();
        let same_bytes =
            |share: &&Share| (share.row.facts.len, share.row.facts.sha1) == (facts.len, facts.sha1);
        let is_long = facts.len >= OTHER_NAMES_LEN;
        let others = is_long.then(|| self.shares.values()).into_iter().flatten().filter(same_bytes);
        for share in self.shares_of(facts.info_hash).chain(others) {
            let copy = LocalCopy { path: share.row.path.clone(), stamp: share.row.stamp };
            if copies.len() < COPIES_MAX && !copies.contains(&copy) {
                copies.push(copy);
            }
        }
        copies
    }
}
