//! The shares and downloads of a session, and what is to be written to the store.
//!
//! **Invariant:** a download is in the order of asking, under its info hash, and under the paths
//! where it writes; or in none of them. There is one download a content. Completed downloads of
//! earlier sessions are not here: the store has them.
//!
//! Pure. All maps are persistent: a clone costs a few pointers, so that a turn can be undone and a
//! state published.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use imbl::{HashMap, OrdMap, OrdSet, Vector};

use super::input::{ReplyTo, TransferId};
use super::queue::Queue;
use super::source_groups::Sources;
use crate::client::error::SessionEnd;
use crate::store::{DownloadRow, Progress, QueuedRow, ShareRow, Write};
use crate::swarm::{LocalCopy, part_path};
use crate::types::{
    DownloadState, FileFacts, Fingerprint, GroupId, InfoHash, Label, UserEntry, UserId,
};

/// Files looked at for a copy: of so many with one content, one is intact.
const COPIES_MAX: usize = 8;
/// Length from which copies are looked for under other info hashes, too, among all shares.
const OTHER_NAMES_LEN: u64 = 1 << 20;
/// Downloads that have ended in this session and are kept in memory.
const ENDED_MAX: usize = 1_000;

/// How far the session is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Phase {
    /// Nobody is logged in.
    #[default]
    Out,
    /// A login or logout is under way.
    Changing,
    /// Logged in.
    In(UserEntry),
}

/// One share of the session's user.
#[derive(Debug, Clone)]
pub(crate) struct Share {
    pub(crate) row: Arc<ShareRow>,
    /// Whether links may have it and the trackers are told.
    pub(crate) offered: bool,
}

/// What the engine has of a download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// Nothing.
    None,
    /// The file system is asked what is there, after a login.
    Looking,
    /// The engine is told to begin.
    Beginning(TransferId),
    /// The engine has it.
    Live(TransferId),
    /// The engine is told to halt, so that the download can be cancelled.
    Halting(TransferId),
}

/// One download of the session's user.
#[derive(Debug, Clone)]
pub(crate) struct Download {
    pub(crate) row: Arc<DownloadRow>,
    pub(crate) work: Work,
    /// It is to run, and waits for a slot.
    pub(crate) queued: bool,
    /// The directory knows, or was asked in vain, that a completed download is shared.
    pub(crate) settled: bool,
    /// The number of its end among all ends of this process, from 1.
    pub(crate) ended: Option<u64>,
    /// Who waits for the engine to begin it.
    pub(crate) beginner: Option<ReplyTo>,
    /// What it took the place of, until the engine has begun it.
    pub(crate) before: Option<Arc<DownloadRow>>,
}

/// Something whose row in the store is to be written anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Share(GroupId, InfoHash),
    Download(InfoHash),
    Queued(InfoHash),
}

/// The end of a session that its user did not ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Why.
    pub(crate) reason: SessionEnd,
    /// Downloads that were running.
    pub(crate) unfinished: usize,
}

/// Everything of the session that is in the store, and what depends on it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Library {
    pub(crate) phase: Phase,
    /// Whose rows these are, also while the session ends.
    pub(crate) owner: Option<UserId>,
    pub(crate) shares: OrdMap<(GroupId, InfoHash), Share>,
    /// By when they were asked for.
    order: OrdMap<u64, Download>,
    next: u64,
    by_content: HashMap<InfoHash, u64>,
    /// By where the file is to be, and where its data is until then.
    by_place: HashMap<PathBuf, Vec<u64>>,
    /// Ended ones, the earliest first.
    ends: OrdMap<u64, InfoHash>,
    /// Which downloads wait for which.
    pub(crate) queue: Queue,
    /// Other groups from which downloads take pieces.
    pub(crate) sources: Sources,
    /// Contents that a command is about to begin, with what they write.
    pub(crate) claims: HashMap<InfoHash, PathBuf>,
    /// How the last session ended, if its user did not end it.
    pub(crate) ended: Option<Ended>,
    dirty: OrdSet<Key>,
    /// What is to be written besides.
    extra: Vector<Write>,
    /// Counts what was to be written, ever.
    touches: u64,
}

impl Download {
    /// One of this session that nothing has become of yet.
    pub(crate) fn new(row: DownloadRow) -> Self {
        Self {
            row: Arc::new(row),
            work: Work::None,
            queued: false,
            settled: false,
            ended: None,
            beginner: None,
            before: None,
        }
    }

    pub(crate) fn info_hash(&self) -> InfoHash {
        self.row.facts.info_hash
    }

    /// The engine's transfer, if it is there or about to be.
    pub(crate) fn transfer(&self) -> Option<TransferId> {
        match self.work {
            Work::Beginning(id) | Work::Live(id) | Work::Halting(id) => Some(id),
            Work::None | Work::Looking => None,
        }
    }

    /// Tells whether it is complete or failed.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.row.progress, Progress::Failed(_))
            || (self.row.progress == Progress::Complete && self.settled)
    }

    /// Tells whether this device fetches the file, or serves it without its being a share yet: a
    /// settled one is offered as a share, or no more.
    pub(crate) fn takes_part(&self) -> bool {
        match self.row.progress {
            Progress::Running => self.is_let_run(),
            Progress::Complete => !self.settled,
            Progress::Paused(_) | Progress::Failed(_) | Progress::Cancelled => false,
        }
    }

    /// Tells whether it runs or waits.
    pub(crate) fn is_unfinished(&self) -> bool {
        match self.row.progress {
            Progress::Running => true,
            Progress::Complete => !self.settled,
            Progress::Paused(_) | Progress::Failed(_) | Progress::Cancelled => false,
        }
    }

    /// Tells whether it is to run, and need not wait for that.
    pub(crate) fn is_let_run(&self) -> bool {
        self.row.progress == Progress::Running && !self.queued
    }

    /// Tells whether the user has not given it up.
    pub(crate) fn is_shown(&self) -> bool {
        self.row.progress != Progress::Cancelled
    }
}

impl Library {
    pub(crate) fn user(&self) -> Option<&UserEntry> {
        match &self.phase {
            Phase::In(user) => Some(user),
            _ => None,
        }
    }

    // What is to be written.

    /// Tells whether something is to be written.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty() || !self.extra.is_empty()
    }

    /// A number that grows whenever something is to be written.
    pub(crate) fn touches(&self) -> u64 {
        self.touches
    }

    fn touch(&mut self, key: Key) {
        self.touches += 1;
        self.dirty.insert(key);
    }

    /// Something is to be written that is no row of this library.
    pub(crate) fn write(&mut self, write: Write) {
        self.touches += 1;
        self.extra.push_back(write);
    }

    /// The rows to be written, as they are now, and what else there is.
    pub(crate) fn writes(&self) -> Vec<Write> {
        let extra = self.extra.iter().cloned();
        let Some(user) = self.owner else { return extra.collect() };
        let write = |key: &Key| match *key {
            Key::Share(group, info_hash) => match self.shares.get(&(group, info_hash)) {
                Some(share) => Write::Share(share.row.clone()),
                None => Write::NoShare { user, group, info_hash },
            },
            Key::Download(info_hash) => match self.download(info_hash) {
                Some(download) => Write::Download(download.row.clone()),
                None => Write::NoDownload { user, info_hash },
            },
            Key::Queued(info_hash) => {
                let kept = self.queue.kept(info_hash);
                let (place, limit) = kept.map_or((None, None), |kept| (kept.place, kept.limit));
                Write::Queued(user, QueuedRow { info_hash, place, limit })
            }
        };
        // Rows last: a new name of a group is in them already.
        extra.chain(self.dirty.iter().map(write)).collect()
    }

    /// Everything is written.
    pub(crate) fn written(&mut self) {
        self.dirty.clear();
        self.extra.clear();
    }

    /// The library of another session, or of none; what was to be written besides stays.
    pub(crate) fn begin_anew(&mut self, phase: Phase, queue: Queue) {
        let owner = match &phase {
            Phase::In(user) => Some(user.user),
            Phase::Out | Phase::Changing => None,
        };
        let (extra, touches) = (std::mem::take(&mut self.extra), self.touches);
        *self = Self { phase, owner, queue, extra, touches, ..Self::default() };
    }

    /// Notes the addresses of the network's trackers.
    pub(crate) fn note_trackers(&mut self, network: Fingerprint, addresses: Vec<String>) {
        self.write(Write::Trackers(network, addresses));
    }

    /// A group is shown under another name than before.
    pub(crate) fn relabel(&mut self, group: GroupId, label: &Label) {
        let shares: Vec<_> = self
            .shares_in(group)
            .filter(|share| share.row.group_label != *label)
            .map(|share| share.row.facts.info_hash)
            .collect();
        for info_hash in shares {
            if let Some(share) = self.shares.get_mut(&(group, info_hash)) {
                Arc::make_mut(&mut share.row).group_label = label.clone();
            }
        }
        let downloads: Vec<_> = self
            .order
            .iter()
            .filter(|(_, d)| d.row.group == group && d.row.group_label != *label)
            .map(|(number, _)| *number)
            .collect();
        for number in downloads {
            if let Some(download) = self.order.get_mut(&number) {
                Arc::make_mut(&mut download.row).group_label = label.clone();
            }
        }
        // Those that are not here, too.
        self.write(Write::GroupLabel(group, label.clone()));
    }

    /// A download's place and limit are to be written.
    pub(crate) fn touch_queued(&mut self, info_hash: InfoHash) {
        self.touch(Key::Queued(info_hash));
    }

    // Shares.

    /// Puts a share, to be written.
    pub(crate) fn put_share(&mut self, row: ShareRow, offered: bool) {
        self.touch(Key::Share(row.group, row.facts.info_hash));
        self.restore_share(Arc::new(row), offered);
    }

    /// Puts a share that the store has.
    pub(crate) fn restore_share(&mut self, row: Arc<ShareRow>, offered: bool) {
        self.shares.insert((row.group, row.facts.info_hash), Share { row, offered });
    }

    /// Changes a share's row, to be written.
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

    /// Removes a share, in the store, too.
    pub(crate) fn remove_share(&mut self, group: GroupId, info_hash: InfoHash) {
        self.shares.remove(&(group, info_hash));
        self.touch(Key::Share(group, info_hash));
    }

    /// Sets whether a share is offered; tells whether that is news.
    pub(crate) fn set_offered(
        &mut self,
        group: GroupId,
        info_hash: InfoHash,
        offered: bool,
    ) -> bool {
        match self.shares.get_mut(&(group, info_hash)) {
            Some(share) => std::mem::replace(&mut share.offered, offered) != offered,
            None => false,
        }
    }

    pub(crate) fn share(&self, group: GroupId, info_hash: InfoHash) -> Option<&Share> {
        self.shares.get(&(group, info_hash))
    }

    /// The shares of this content, in all groups. Goes from group to group: a member has few of
    /// these, and thousands of shares.
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

    /// Files that should have that content: first those with the same info hash, in any group, then
    /// those of the same length and SHA-1. Stopped shares count, too; the engine looks whether they
    /// are what they were.
    pub(crate) fn copies_of(&self, facts: &FileFacts) -> Vec<LocalCopy> {
        let mut copies: Vec<LocalCopy> = Vec::new();
        let same_bytes =
            |share: &&Share| (share.row.facts.len, share.row.facts.sha1) == (facts.len, facts.sha1);
        let others =
            self.shares.values().filter(|_| facts.len >= OTHER_NAMES_LEN).filter(same_bytes);
        for share in self.shares_of(facts.info_hash).chain(others) {
            let copy = LocalCopy { path: share.row.path.clone(), stamp: share.row.stamp };
            if copies.len() < COPIES_MAX && !copies.contains(&copy) {
                copies.push(copy);
            }
        }
        copies
    }

    // Downloads.

    /// Adds a download behind all others, to be written; one of the same content goes.
    pub(crate) fn push(&mut self, download: Download) {
        self.touch(Key::Download(download.info_hash()));
        self.restore(download);
    }

    /// The same for a download that the store has.
    pub(crate) fn restore(&mut self, download: Download) {
        self.take_out(download.info_hash());
        let number = self.next;
        self.next += 1;
        self.by_content.insert(download.info_hash(), number);
        for place in places(&download) {
            self.by_place.entry(place).or_default().push(number);
        }
        self.order.insert(number, download);
    }

    /// Removes a download, in the store, too.
    pub(crate) fn remove(&mut self, info_hash: InfoHash) -> Option<Download> {
        let download = self.take_out(info_hash)?;
        self.touch(Key::Download(info_hash));
        self.queue.forget(info_hash);
        Some(download)
    }

    fn take_out(&mut self, info_hash: InfoHash) -> Option<Download> {
        let number = self.by_content.remove(&info_hash)?;
        let download = self.order.remove(&number)?;
        for place in places(&download) {
            if let Some(numbers) = self.by_place.get_mut(&place) {
                numbers.retain(|other| *other != number);
                if numbers.is_empty() {
                    self.by_place.remove(&place);
                }
            }
        }
        if let Some(end) = download.ended {
            self.ends.remove(&end);
        }
        Some(download)
    }

    /// The download of that content.
    pub(crate) fn download(&self, info_hash: InfoHash) -> Option<&Download> {
        self.order.get(self.by_content.get(&info_hash)?)
    }

    /// The same, to change what is not in its row.
    pub(crate) fn download_mut(&mut self, info_hash: InfoHash) -> Option<&mut Download> {
        self.order.get_mut(self.by_content.get(&info_hash)?)
    }

    /// Changes a download's row, but for its content and its target, to be written.
    pub(crate) fn change(&mut self, info_hash: InfoHash, change: impl FnOnce(&mut DownloadRow)) {
        let Some(number) = self.by_content.get(&info_hash) else { return };
        if let Some(download) = self.order.get_mut(number) {
            change(Arc::make_mut(&mut download.row));
            self.touch(Key::Download(info_hash));
        }
    }

    /// Takes back what a download's row was, to be written.
    pub(crate) fn restore_row(&mut self, before: &Arc<DownloadRow>) {
        let info_hash = before.facts.info_hash;
        let same_place =
            self.download(info_hash).is_some_and(|download| download.row.target == before.target);
        if same_place {
            self.change(info_hash, |row| row.clone_from(before));
        } else {
            self.push(Download::new((**before).clone()));
        }
    }

    /// The download that the engine knows under that id.
    pub(crate) fn of_transfer(&self, info_hash: InfoHash, id: TransferId) -> Option<&Download> {
        self.download(info_hash).filter(|download| download.transfer() == Some(id))
    }

    /// All, in the order in which they were asked for.
    pub(crate) fn downloads(&self) -> impl DoubleEndedIterator<Item = &Download> {
        self.order.values()
    }

    /// A download has ended: notes the number of its end. The earliest ends beyond a bound are
    /// forgotten; the store has them.
    pub(crate) fn note_end(&mut self, info_hash: InfoHash, number: u64) {
        if let Some(download) = self.download_mut(info_hash)
            && let Some(before) = download.ended.replace(number)
        {
            self.ends.remove(&before);
        }
        self.ends.insert(number, info_hash);
        let excess = self.ends.len().saturating_sub(ENDED_MAX);
        let oldest: Vec<(u64, InfoHash)> =
            self.ends.iter().take(excess).map(|(number, of)| (*number, *of)).collect();
        for (number, oldest) in oldest {
            // What is not written yet stays until the next end.
            if self.dirty.contains(&Key::Download(oldest)) {
                continue;
            }
            self.ends.remove(&number);
            // A failed one can be resumed, and stays.
            let is_complete = |download: &Download| download.row.progress == Progress::Complete;
            if self.download(oldest).is_some_and(is_complete) {
                self.take_out(oldest);
            }
        }
    }

    /// A download runs again: it has not ended.
    pub(crate) fn forget_end(&mut self, info_hash: InfoHash) {
        let end = self.download_mut(info_hash).and_then(|download| download.ended.take());
        if let Some(end) = end {
            self.ends.remove(&end);
        }
    }

    /// The download that the user means by these names.
    pub(crate) fn find(&self, group: &str, file: &str) -> Option<&Download> {
        // The latest, should an earlier one bear the same names.
        let is_named = |d: &&Download| {
            d.row.group_label.as_str() == group && d.row.label.as_str() == file && d.is_shown()
        };
        self.order.values().rev().find(is_named)
    }

    /// Tells whether the file is being downloaded now.
    pub(crate) fn is_downloading(&self, info_hash: InfoHash) -> bool {
        self.download(info_hash).is_some_and(|download| download.row.progress == Progress::Running)
    }

    /// Another download that is to make the same file, or keeps what it has fetched where this
    /// one's file is to be, or the other way round.
    pub(crate) fn rival(&self, row: &DownloadRow) -> Option<&DownloadRow> {
        let part = |of: &DownloadRow| part_path(&of.target, of.facts.info_hash);
        let own_part = part(row);
        let clashes = |of: &&DownloadRow| match of.progress {
            Progress::Running | Progress::Paused(_) => {
                of.target == row.target || part(of) == row.target || of.target == own_part
            }
            // What it has fetched is kept, and a later download of the content goes on from it.
            Progress::Failed(_) => part(of) == row.target,
            Progress::Complete | Progress::Cancelled => false,
        };
        let near = self.at(&row.target).chain(self.at(&own_part)).map(|download| &*download.row);
        near.filter(|of| of.facts.info_hash != row.facts.info_hash).find(clashes)
    }

    /// A failed download of another version of a file to the same place.
    pub(crate) fn other_version(&self, row: &DownloadRow) -> Option<&Download> {
        let is_other = |of: &&Download| {
            let same_name = of.row.group == row.group
                && of.row.facts.name == row.facts.name
                && of.row.target == row.target;
            same_name
                && of.row.facts.info_hash != row.facts.info_hash
                && matches!(of.row.progress, Progress::Failed(_))
        };
        self.at(&row.target).find(is_other)
    }

    /// Those that make a file there, or keep what they have fetched there.
    fn at(&self, place: &Path) -> impl Iterator<Item = &Download> {
        self.by_place.get(place).into_iter().flatten().filter_map(|number| self.order.get(number))
    }

    /// Checks the invariant.
    #[cfg(test)]
    pub(super) fn check(&self) {
        assert_eq!(self.order.len(), self.by_content.len());
        for (number, download) in &self.order {
            assert_eq!(self.by_content.get(&download.info_hash()), Some(number));
            for place in places(download) {
                assert!(self.by_place.get(&place).is_some_and(|numbers| numbers.contains(number)));
            }
        }
        let places: usize = self.by_place.values().map(Vec::len).sum();
        assert_eq!(places, 2 * self.order.len());
        for (end, info_hash) in &self.ends {
            let ended = self.download(*info_hash).and_then(|download| download.ended);
            assert_eq!(ended, Some(*end));
        }
    }

    // What this device does in swarms.

    /// What this device does with a file in one group, as the trackers are to be told.
    pub(crate) fn part_in(&self, group: GroupId, info_hash: InfoHash) -> DownloadState {
        let takes_from = |d: &Download| d.row.group == group || self.sources.has(info_hash, group);
        let fetches = |d: &Download| d.is_let_run() && takes_from(d);
        match self.shares.get(&(group, info_hash)) {
            Some(share) if share.offered => DownloadState::Seeding,
            _ if self.download(info_hash).is_some_and(fetches) => DownloadState::Leeching,
            _ => DownloadState::Stopped,
        }
    }

    /// The group's name as last seen.
    pub(crate) fn group_label(&self, group: GroupId) -> Option<Label> {
        let share = self.shares_in(group).next().map(|share| &share.row.group_label);
        let of_download = || {
            let mut downloads = self.order.values().filter(|d| d.row.group == group);
            downloads.next().map(|d| &d.row.group_label)
        };
        share.or_else(of_download).cloned()
    }

    /// The groups in which this device takes part in the file's swarm, and not only to take.
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

    /// The groups that are only sources of a download that goes on.
    pub(crate) fn sources_of(&self, info_hash: InfoHash) -> impl Iterator<Item = GroupId> {
        let goes_on =
            !self.sources.is_empty() && self.download(info_hash).is_some_and(Download::takes_part);
        self.sources.of(info_hash).filter(move |_| goes_on)
    }

    /// Downloads whose file this device fetches, or serves without its being a share yet.
    pub(crate) fn taking_part(&self) -> impl Iterator<Item = &Download> {
        self.order.values().filter(|download| download.takes_part())
    }

    /// Tells whether this device takes part in the file's swarm in that group, if only to take.
    pub(crate) fn is_offered(&self, info_hash: InfoHash, group: GroupId) -> bool {
        self.serves(info_hash, group) || self.sources_of(info_hash).any(|source| source == group)
    }

    /// Tells whether this device gives the file to others in that group: it is shared there, or
    /// downloaded from there.
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

    /// Tells whether this device takes part in the file's swarm in some group.
    pub(crate) fn is_offered_anywhere(&self, info_hash: InfoHash) -> bool {
        self.shares_of(info_hash).any(|share| share.offered)
            || self.download(info_hash).is_some_and(Download::takes_part)
    }
}

fn places(download: &Download) -> [PathBuf; 2] {
    let target = &download.row.target;
    [target.clone(), part_path(target, download.info_hash())]
}
