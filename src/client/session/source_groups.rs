//! The groups that are sources of each download.
//!
//! Pure. A clone costs a few pointers.

use imbl::{OrdMap, OrdSet};

use crate::types::{GroupId, InfoHash};

/// The source groups of each file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sources {
    groups: OrdMap<InfoHash, OrdSet<GroupId>>,
}

impl Sources {
    pub(crate) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    pub(crate) fn has(&self, info_hash: InfoHash, group: GroupId) -> bool {
        self.groups.get(&info_hash).is_some_and(|groups| groups.contains(&group))
    }

    pub(crate) fn of(&self, info_hash: InfoHash) -> impl Iterator<Item = GroupId> {
        self.groups.get(&info_hash).into_iter().flatten().copied()
    }

    pub(super) fn add(&mut self, info_hash: InfoHash, group: GroupId) -> bool {
        self.groups.entry(info_hash).or_default().insert(group).is_none()
    }

    pub(super) fn remove(&mut self, info_hash: InfoHash, group: GroupId) {
        if let Some(groups) = self.groups.get_mut(&info_hash) {
            groups.remove(&group);
            if groups.is_empty() {
                self.groups.remove(&info_hash);
            }
        }
    }

    /// The files of which a group is a source.
    pub(super) fn files_in(&self, group: GroupId) -> Vec<InfoHash> {
        let is_source = |(_, groups): &(&InfoHash, &OrdSet<GroupId>)| groups.contains(&group);
        self.groups.iter().filter(is_source).map(|(info_hash, _)| *info_hash).collect()
    }
}
