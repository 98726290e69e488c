//! This device's part in the swarms of files.

use std::collections::HashSet;

use super::{Download, Library};
use crate::store::Progress;
use crate::types::{DownloadState, GroupId, InfoHash, Label};

impl Library {
    /// The state of a file in one group, as announced to the trackers.
    pub(crate) fn part_in(&self, group: GroupId, info_hash: InfoHash) -> DownloadState {
        let takes_from = |d: &Download| d.row.group == group || self.sources.has(info_hash, group);
        let fetches = |d: &Download| d.is_let_run() && takes_from(d);
        match self.shares.get(&(group, info_hash)) {
            Some(share) if share.offered => DownloadState::Seeding,
            _ if self.download(info_hash).is_some_and(fetches) => DownloadState::Leeching,
            _ => DownloadState::Stopped,
        }
    }

    /// The group's last known name.
    pub(crate) fn group_label(&self, group: GroupId) -> Option<Label> {
        let share = self.shares_in(group).next().map(|share| &share.row.group_label);
        let of_download = || {
            let mut downloads = self.order.values().filter(|d| d.row.group == group);
            downloads.next().map(|d| &d.row.group_label)
        };
        share.or_else(of_download).cloned()
    }

    /// The groups in which this device takes part in the file's swarm, without those that are only
    /// sources.
    pub(crate) fn groups_of(&self, info_hash: InfoHash) -> Vec<GroupId> {
        let offered =
            self.shares_of(info_hash).filter(|share| share.offered).map(|share| share.row.group);
        let download =
            self.download(info_hash).filter(|download| download.takes_part()).map(|d| d.row.group);
        let mut groups: Vec<GroupId> = offered.chain(download).collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    /// The groups that are only sources of a download that continues.
    pub(crate) fn sources_of(&self, info_hash: InfoHash) -> impl Iterator<Item = GroupId> {
        let goes_on =
            !self.sources.is_empty() && self.download(info_hash).is_some_and(Download::takes_part);
        self.sources.of(info_hash).filter(move |_| goes_on)
    }

    /// Downloads whose file this device fetches, or serves before it is a share.
    pub(crate) fn taking_part(&self) -> impl Iterator<Item = &Download> {
        self.order.values().filter(|download| download.takes_part())
    }

    /// Tells whether this device takes part in the file's swarm in that group, also if it is only a
    /// source.
    pub(crate) fn is_offered(&self, info_hash: InfoHash, group: GroupId) -> bool {
        self.serves(info_hash, group) || self.sources_of(info_hash).any(|source| source == group)
    }

    /// Tells whether this device serves the file in that group: it is shared there, or downloaded
    /// from there.
    pub(crate) fn serves(&self, info_hash: InfoHash, group: GroupId) -> bool {
        let shared = self.shares.get(&(group, info_hash)).is_some_and(|share| share.offered);
        let takes_part = |download: &Download| download.takes_part() && download.row.group == group;
        shared || self.download(info_hash).is_some_and(takes_part)
    }

    /// Tells whether this device takes part in the swarm of any file in that group.
    pub(crate) fn takes_part(&self, group: GroupId) -> bool {
        let from = |download: &Download| {
            download.row.group == group || self.sources.has(download.info_hash(), group)
        };
        self.shares_in(group).any(|share| share.offered) || self.taking_part().any(from)
    }

    /// Every group in which this device takes part in a swarm.
    pub(crate) fn groups(&self) -> HashSet<GroupId> {
        let shares =
            self.shares.values().filter(|share| share.offered).map(|share| share.row.group);
        let downloads = self.taking_part();
        let downloads = downloads
            .flat_map(|download| self.sources.of(download.info_hash()).chain([download.row.group]));
        shares.chain(downloads).collect()
    }

    /// The files that are being downloaded from one of the groups.
    pub(crate) fn running_in(&self, groups: &[GroupId]) -> Vec<InfoHash> {
        let from = |d: &Download| {
            groups
                .iter()
                .any(|group| d.row.group == *group || self.sources.has(d.info_hash(), *group))
        };
        self.order
            .values()
            .filter(|d| d.row.progress == Progress::Running && from(d))
            .map(Download::info_hash)
            .collect()
    }

    /// Tells whether this device takes part in the file's swarm in any group, sources aside.
    pub(crate) fn is_offered_anywhere(&self, info_hash: InfoHash) -> bool {
        self.shares_of(info_hash).any(|share| share.offered)
            || self.download(info_hash).is_some_and(Download::takes_part)
    }
}
