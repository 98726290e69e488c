//! The session's shares and downloads in memory, mirrored in the device store.
//!
//! **Invariant:** a share or download is here exactly while its user is logged in; what ends a
//! download is noted here before anybody who waits for it is woken.

use std::collections::{BTreeMap, HashSet};
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::ledger::Ledger;
use super::queue::Queue;
use super::sources::Sources;
use crate::store::{DownloadRow, Progress, ShareRow};
use crate::swarm::{Transfer, TransferState, part_path};
use crate::types::{DownloadState, GroupId, InfoHash, Label, Rate, UserEntry};

/// Ends of downloads in this process: each gets the next number.
static ENDS: AtomicU64 = AtomicU64::new(0);

/// How far the session is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nobody is logged in.
    Out,
    /// A login or logout is under way.
    Changing,
    /// Logged in.
    In(UserEntry),
}

/// One share of the session's user.
#[derive(Debug, Clone)]
pub(crate) struct Share {
    pub(crate) row: ShareRow,
    /// Whether the engine offers it and the trackers know.
    pub(crate) offered: bool,
}

/// Called once with the status in which a download ended.
pub(crate) type Callback = Box<dyn FnOnce(&DownloadStatus) + Send>;

/// One download of the session's user.
pub(crate) struct Download {
    pub(crate) row: DownloadRow,
    pub(crate) transfer: Option<Transfer>,
    /// It is to run, and waits for a slot.
    pub(crate) queued: bool,
    /// The engine is about to begin it.
    pub(crate) starting: bool,
    /// The directory has been told, or asked in vain, that a completed download is shared on.
    pub(crate) settled: bool,
    /// It was started or continued in this session.
    pub(crate) is_of_session: bool,
    /// The number of its end among all of this process, once it has ended in this session and that
    /// was looked at.
    pub(crate) ended: Option<u64>,
    pub(crate) callbacks: Vec<Callback>,
}

/// Everything of the session.
pub(crate) struct Library {
    pub(crate) phase: Phase,
    pub(crate) shares: BTreeMap<(GroupId, InfoHash), Share>,
    pub(crate) downloads: Ledger,
    /// Who of them waits for whom.
    pub(crate) queue: Queue,
    /// Other groups from which downloads take pieces.
    pub(crate) sources: Sources,
}

/// Where a download is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DownloadPhase {
    /// It goes on, or waits for members who have what is missing.
    Running,
    /// It begins or goes on when others have ended, and is at that place among those that wait,
    /// from 1.
    Queued(usize),
    /// Paused by the user (`None`) or for a reason.
    Paused(Option<String>),
    /// It cannot go on as it is, and why.
    Failed(String),
    /// The file is there, whole and checked.
    Complete,
}

/// Where a download stands.
#[derive(Debug, Clone, PartialEq)]
pub struct DownloadStatus {
    /// The group's name as shown.
    pub group: Label,
    /// The group's id.
    pub group_id: GroupId,
    /// The file's name as shown.
    pub file: Label,
    /// The id of its content.
    pub id: InfoHash,
    /// The number of its end among all of this client, if it ended in this session.
    pub ended: Option<u64>,
    /// Where it is in its life.
    pub phase: DownloadPhase,
    /// Bytes verified and written.
    pub bytes_done: u64,
    /// Length of the file in bytes.
    pub len: u64,
    /// Bytes per second received lately.
    pub bytes_per_second: u64,
    /// Links to other members for this file.
    pub peers: u32,
    /// Its own limit.
    pub limit: Option<Rate>,
    /// The file to be made, or made.
    pub path: PathBuf,
}

impl DownloadStatus {
    /// Tells whether it is complete or failed.
    pub fn has_ended(&self) -> bool {
        matches!(self.phase, DownloadPhase::Complete | DownloadPhase::Failed(_))
    }

    /// Share of the file that is here, from 0 to 1.
    pub fn fraction(&self) -> f64 {
        if self.len == 0 {
            f64::from(u8::from(self.phase == DownloadPhase::Complete))
        } else {
            self.bytes_done as f64 / self.len as f64
        }
    }

    /// Time left at the present rate, while there is one; over a day nothing can be said.
    pub fn time_left(&self) -> Option<Duration> {
        const TIME_LEFT_MAX: Duration = Duration::from_secs(86_400);
        let left = self.len.saturating_sub(self.bytes_done);
        let is_running = self.bytes_per_second > 0 && self.phase == DownloadPhase::Running;
        let time = is_running.then(|| Duration::from_secs(left.div_ceil(self.bytes_per_second)));
        time.filter(|time| *time <= TIME_LEFT_MAX)
    }
}

impl Download {
    /// One of this session of which nothing has become yet.
    pub(crate) fn new(row: DownloadRow) -> Self {
        Self {
            row,
            transfer: None,
            queued: false,
            starting: false,
            settled: false,
            is_of_session: true,
            ended: None,
            callbacks: Vec::new(),
        }
    }

    pub(crate) fn info_hash(&self) -> InfoHash {
        self.row.facts.info_hash
    }

    /// Where it stands: the engine's figures, and our word on what it is. Its place and its limit
    /// are the queue's to tell: [`Library::status`] does.
    pub(crate) fn status(&self) -> DownloadStatus {
        let live = self.transfer.as_ref().map(Transfer::status);
        let phase = match &self.row.progress {
            Progress::Complete if self.settled => DownloadPhase::Complete,
            Progress::Running if self.queued => DownloadPhase::Queued(0),
            Progress::Complete | Progress::Running => DownloadPhase::Running,
            Progress::Paused(reason) => DownloadPhase::Paused(reason.clone()),
            Progress::Failed(reason) => DownloadPhase::Failed(reason.clone()),
        };
        let journalled = || {
            let (facts, verified) = (&self.row.facts, self.row.verified.as_ref());
            verified
                .map_or(0, |field| u64::from(field.ones()) * u64::from(facts.piece_len))
                .min(facts.len)
        };
        let done = live.as_ref().map_or_else(journalled, |live| live.bytes_done);
        let running = live.filter(|_| phase == DownloadPhase::Running);
        DownloadStatus {
            group: self.row.group_label.clone(),
            group_id: self.row.group,
            file: self.row.label.clone(),
            id: self.info_hash(),
            ended: self.ended,
            bytes_done: if phase == DownloadPhase::Complete { self.row.facts.len } else { done },
            len: self.row.facts.len,
            bytes_per_second: running.as_ref().map_or(0, |live| live.bytes_per_second),
            peers: running.as_ref().map_or(0, |live| live.peers),
            limit: None,
            path: self.row.target.clone(),
            phase,
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
            Progress::Paused(_) | Progress::Failed(_) => false,
        }
    }

    /// Tells whether it runs or waits.
    pub(crate) fn is_unfinished(&self) -> bool {
        match self.row.progress {
            Progress::Running => true,
            Progress::Complete => !self.settled,
            Progress::Paused(_) | Progress::Failed(_) => false,
        }
    }

    /// Tells whether it is to run, and need not wait for that.
    pub(crate) fn is_let_run(&self) -> bool {
        self.row.progress == Progress::Running && !self.queued
    }

    /// Has the engine do what is noted here, if it holds the download. Called under the library's
    /// lock, so that of two who decide at the same time the engine hears the one last whose word
    /// stands here.
    pub(crate) fn steer(&self) {
        let Some(transfer) = self.transfer.as_ref().filter(|_| self.is_live()) else { return };
        // False where there is nothing to be done.
        let _ = match self.row.progress {
            Progress::Running if self.queued => transfer.shelve(),
            Progress::Running => transfer.resume(),
            Progress::Paused(_) | Progress::Failed(_) => transfer.pause(),
            Progress::Complete => false,
        };
    }

    /// Tells whether the engine works on it, or holds it ready.
    pub(crate) fn is_live(&self) -> bool {
        let ended = |t: &Transfer| {
            matches!(t.status().state, TransferState::Complete | TransferState::Cancelled)
        };
        self.transfer.as_ref().is_some_and(|transfer| !ended(transfer))
    }
}

impl Library {
    pub(crate) fn new() -> Self {
        Self {
            phase: Phase::Out,
            shares: BTreeMap::new(),
            downloads: Ledger::default(),
            queue: Queue::default(),
            sources: Sources::default(),
        }
    }

    pub(crate) fn user(&self) -> Option<&UserEntry> {
        match &self.phase {
            Phase::In(user) => Some(user),
            _ => None,
        }
    }

    pub(crate) fn download(&mut self, info_hash: InfoHash) -> Option<&mut Download> {
        self.downloads.get_mut(info_hash)
    }

    /// Where a download stands, with its place if it waits.
    pub(crate) fn status(&mut self, info_hash: InfoHash) -> Option<DownloadStatus> {
        let status = self.download(info_hash).map(|download| download.status())?;
        let place = self.queue.place_of(info_hash);
        Some(self.in_queue(info_hash, place, status))
    }

    /// Where every download stands.
    pub(crate) fn statuses(&self) -> Vec<DownloadStatus> {
        self.statuses_of(|_| true)
    }

    /// Where those stand that run or wait.
    pub(crate) fn unfinished(&self) -> Vec<DownloadStatus> {
        self.statuses_of(Download::is_unfinished)
    }

    /// Tells whether any runs or waits.
    pub(crate) fn has_unfinished(&self) -> bool {
        self.downloads.iter().rev().any(Download::is_unfinished)
    }

    /// Downloads that ended in this session behind the end of that number, in the order in which
    /// they were asked for, and the number of the last end.
    pub(crate) fn ended_after(&mut self, after: u64) -> (Vec<DownloadStatus>, u64) {
        let mut told = Vec::new();
        for download in self.downloads.iter_mut().filter(|d| d.is_of_session && d.has_ended()) {
            let number =
                *download.ended.get_or_insert_with(|| ENDS.fetch_add(1, Ordering::Relaxed) + 1);
            if number > after {
                told.push(download.status());
            }
        }
        (told, ENDS.load(Ordering::Relaxed))
    }

    fn statuses_of(&self, which: impl Fn(&Download) -> bool) -> Vec<DownloadStatus> {
        let places = self.queue.places();
        let told = |download: &Download| {
            let info_hash = download.info_hash();
            self.in_queue(info_hash, places.get(&info_hash).copied(), download.status())
        };
        self.downloads.iter().filter(|download| which(download)).map(told).collect()
    }

    fn in_queue(
        &self,
        info_hash: InfoHash,
        place: Option<usize>,
        status: DownloadStatus,
    ) -> DownloadStatus {
        let phase = match status.phase {
            DownloadPhase::Queued(_) => DownloadPhase::Queued(place.unwrap_or(1)),
            phase => phase,
        };
        DownloadStatus { phase, limit: self.queue.limit(info_hash), ..status }
    }

    pub(crate) fn share(&mut self, group: GroupId, info_hash: InfoHash) -> Option<&mut Share> {
        self.shares.get_mut(&(group, info_hash))
    }

    /// Replaces what is known about a share.
    pub(crate) fn put_share(&mut self, row: ShareRow, offered: bool) {
        self.shares.insert((row.group, row.facts.info_hash), Share { row, offered });
    }

    /// The download that the user means by these names.
    pub(crate) fn find_download(&mut self, group: &str, file: &str) -> Option<&mut Download> {
        // The latest, should an earlier one bear the same names.
        let named =
            |d: &&mut Download| d.row.group_label.as_str() == group && d.row.label.as_str() == file;
        self.downloads.iter_mut().rev().find(named)
    }

    /// Tells whether the file is being downloaded now.
    pub(crate) fn is_downloading(&self, info_hash: InfoHash) -> bool {
        self.downloads
            .get(info_hash)
            .is_some_and(|download| download.row.progress == Progress::Running)
    }

    /// What this device does with a file in one group, as the trackers are to be told.
    pub(crate) fn part_in(&self, group: GroupId, info_hash: InfoHash) -> DownloadState {
        let takes_from = |d: &Download| d.row.group == group || self.sources.has(info_hash, group);
        let fetches = |d: &Download| d.is_let_run() && takes_from(d);
        match self.shares.get(&(group, info_hash)) {
            Some(share) if share.offered => DownloadState::Seeding,
            _ if self.downloads.get(info_hash).is_some_and(fetches) => DownloadState::Leeching,
            _ => DownloadState::Stopped,
        }
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
            // What it has fetched is kept, and taken for its own by whoever goes on with it.
            Progress::Failed(_) => part(of) == row.target,
            Progress::Complete => false,
        };
        let near = self
            .downloads
            .at(&row.target)
            .chain(self.downloads.at(&own_part))
            .map(|download| &download.row);
        near.filter(|of| of.facts.info_hash != row.facts.info_hash).find(clashes)
    }

    /// Takes a download out.
    pub(crate) fn take_download(&mut self, info_hash: InfoHash) -> Option<Download> {
        self.downloads.remove(info_hash)
    }

    /// The group's name as last seen.
    pub(crate) fn group_label(&self, group: GroupId) -> Option<Label> {
        let shares =
            self.shares.values().filter(|s| s.row.group == group).map(|s| &s.row.group_label);
        let downloads =
            self.downloads.iter().filter(|d| d.row.group == group).map(|d| &d.row.group_label);
        shares.chain(downloads).next().cloned()
    }

    /// The groups in which this device takes part in the file's swarm, and not only to take.
    pub(crate) fn groups_of(&self, info_hash: InfoHash) -> Vec<GroupId> {
        let offered =
            self.shares_of(info_hash).filter(|share| share.offered).map(|share| share.row.group);
        let download = self
            .downloads
            .get(info_hash)
            .filter(|download| download.takes_part())
            .map(|d| d.row.group);
        let mut groups: Vec<GroupId> = offered.chain(download).collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    /// The shares of this content, in whatever groups. Goes from group to group: a member has few
    /// of these, and thousands of shares.
    pub(crate) fn shares_of(&self, info_hash: InfoHash) -> impl Iterator<Item = &Share> {
        let next = move |after: Option<GroupId>| {
            let last = InfoHash::from_bytes([u8::MAX; InfoHash::LEN]);
            let from = after.map_or(Bound::Unbounded, |group| Bound::Excluded((group, last)));
            self.shares.range((from, Bound::Unbounded)).next().map(|((group, _), _)| *group)
        };
        std::iter::successors(next(None), move |group| next(Some(*group)))
            .filter_map(move |group| self.shares.get(&(group, info_hash)))
    }

    /// The groups that are only sources of a download that goes on.
    pub(crate) fn sources_of(&self, info_hash: InfoHash) -> impl Iterator<Item = GroupId> {
        let goes_on = !self.sources.is_empty()
            && self.downloads.get(info_hash).is_some_and(Download::takes_part);
        self.sources.of(info_hash).filter(move |_| goes_on)
    }

    /// Downloads whose file this device fetches, or serves without being a share yet: a settled one
    /// is offered as a share, or no more.
    pub(crate) fn taking_part(&self) -> impl Iterator<Item = &Download> {
        self.downloads.iter().filter(|download| download.takes_part())
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
        shared || self.downloads.get(info_hash).is_some_and(takes_part)
    }

    /// Tells whether this device takes part in the swarm of any file in that group.
    pub(crate) fn takes_part(&self, group: GroupId) -> bool {
        let first = (group, InfoHash::from_bytes([0; InfoHash::LEN]));
        let shares = self.shares.range(first..).take_while(|((of, _), _)| *of == group);
        let shared = || shares.into_iter().any(|(_, share)| share.offered);
        let from = |download: &Download| {
            download.row.group == group || self.sources.has(download.info_hash(), group)
        };
        shared() || self.taking_part().any(from)
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
        self.downloads
            .iter()
            .filter(|d| d.row.progress == Progress::Running && from(d))
            .map(Download::info_hash)
            .collect()
    }

    /// Those of the files in whose swarm this device takes part in some group.
    pub(crate) fn still_offered(&self, files: &HashSet<InfoHash>) -> HashSet<InfoHash> {
        let shares = self
            .shares
            .values()
            .filter(|share| share.offered)
            .map(|share| share.row.facts.info_hash);
        shares
            .chain(self.taking_part().map(Download::info_hash))
            .filter(|file| files.contains(file))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ShareState;
    use crate::types::{FileFacts, FileStamp, Sha1Digest, UserId};

    const GROUP: GroupId = GroupId::from_bytes([2; 16]);

    fn facts(byte: u8) -> FileFacts {
        let (info_hash, sha1) =
            (InfoHash::from_bytes([byte; 20]), Sha1Digest::from_bytes([byte; 20]));
        FileFacts {
            info_hash,
            name: "big.bin".parse().unwrap(),
            len: 1,
            piece_len: 512 << 10,
            sha1,
            chain: None,
        }
    }

    fn download(byte: u8, target: &str, progress: Progress) -> Download {
        let [group_label, label] = ["lab", "big.bin"].map(|text| text.parse().unwrap());
        let (user, target) = (UserId::from_bytes([1; 16]), target.into());
        let facts = facts(byte);
        Download::new(DownloadRow {
            user,
            group: GROUP,
            group_label,
            label,
            facts,
            target,
            progress,
            verified: None,
            part: None,
            begun_ms: 0,
        })
    }

    fn share(byte: u8) -> ShareRow {
        let [group_label, label] = ["lab", "big.bin"].map(|text| text.parse().unwrap());
        let stamp = FileStamp { len: 1, modified_ns: 0, dev: 0, inode: 0, born_ns: None };
        let (user, path, state) = (UserId::from_bytes([1; 16]), "/a".into(), ShareState::Offered);
        ShareRow { user, group: GROUP, group_label, label, facts: facts(byte), path, stamp, state }
    }

    #[test]
    fn a_completed_download_is_served_as_a_share_and_no_longer() {
        let mut library = Library::new();
        let file = facts(1).info_hash;
        library.downloads.push(download(1, "/a", Progress::Running));
        assert_eq!(
            (library.groups_of(file), library.part_in(GROUP, file)),
            (vec![GROUP], DownloadState::Leeching)
        );
        library.download(file).unwrap().row.progress = Progress::Complete;
        assert_eq!(library.groups_of(file), [GROUP], "it is about to become a share");
        library.put_share(share(1), true);
        assert!(library.takes_part(GROUP) && library.is_offered(file, GROUP));
        for other in [GroupId::from_bytes([1; 16]), GroupId::from_bytes([3; 16])] {
            assert!(!library.takes_part(other) && !library.is_offered(file, other));
        }
        library.download(file).unwrap().settled = true;
        assert_eq!(
            (library.groups_of(file), library.part_in(GROUP, file)),
            (vec![GROUP], DownloadState::Seeding)
        );
        library.share(GROUP, file).unwrap().offered = false;
        assert!(library.groups_of(file).is_empty(), "a stopped share would be served on");
        assert!(
            !library.takes_part(GROUP)
                && !library.is_offered(file, GROUP)
                && library.groups().is_empty()
        );
        assert_eq!(library.part_in(GROUP, file), DownloadState::Stopped);
    }

    #[test]
    fn two_unfinished_downloads_never_make_the_same_file() {
        let mut library = Library::new();
        library.downloads.push(download(1, "/a", Progress::Paused(None)));
        library.downloads.push(download(2, "/b", Progress::Complete));
        assert!(library.rival(&download(3, "/a", Progress::Running).row).is_some());
        assert!(
            library.rival(&download(1, "/a", Progress::Running).row).is_none(),
            "that is the same one"
        );
        assert!(
            library.rival(&download(3, "/b", Progress::Running).row).is_none(),
            "what is complete writes no more"
        );
        // A member may well call a file `a.part`: it is not written where another download keeps
        // what it has, nor the other way round.
        assert!(library.rival(&download(3, "/a.part", Progress::Running).row).is_some());
        library.downloads.push(download(4, "/c.part", Progress::Paused(None)));
        assert!(library.rival(&download(3, "/c", Progress::Running).row).is_some());
    }
}
