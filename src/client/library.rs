//! The session's shares and downloads in memory, mirrored in the device store.
//!
//! **Invariant:** a share or download is here exactly while its user is logged in; what ends a download is noted here before
//! anybody who waits for it is woken.

use std::path::PathBuf;
use std::time::Duration;

use crate::store::{DownloadRow, Progress, ShareRow};
use crate::swarm::{Transfer, TransferState};
use crate::types::{GroupId, InfoHash, Label, UserEntry};

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
    /// The directory has been told, or asked in vain, that a completed download is shared on.
    pub(crate) settled: bool,
    /// It was started or continued in this session, and its end has not been reported by `wait` yet.
    pub(crate) unreported: bool,
    pub(crate) callbacks: Vec<Callback>,
}

/// Everything of the session.
pub(crate) struct Library {
    pub(crate) phase: Phase,
    pub(crate) shares: Vec<Share>,
    pub(crate) downloads: Vec<Download>,
}

/// Where a download is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DownloadPhase {
    /// It goes on, or waits for members who have what is missing.
    Running,
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
    /// The file's name as shown.
    pub file: Label,
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

    /// Time left at the present rate, while there is one.
    pub fn time_left(&self) -> Option<Duration> {
        let left = self.len.saturating_sub(self.bytes_done);
        (self.bytes_per_second > 0 && self.phase == DownloadPhase::Running)
            .then(|| Duration::from_secs(left.div_ceil(self.bytes_per_second)))
    }
}

impl Download {
    pub(crate) fn info_hash(&self) -> InfoHash {
        self.row.facts.info_hash
    }

    /// Where it stands: the engine's figures, and our word on what it is.
    pub(crate) fn status(&self) -> DownloadStatus {
        let live = self.transfer.as_ref().map(Transfer::status);
        let phase = match &self.row.progress {
            Progress::Complete if self.settled => DownloadPhase::Complete,
            Progress::Complete | Progress::Running => DownloadPhase::Running,
            Progress::Paused(reason) => DownloadPhase::Paused(reason.clone()),
            Progress::Failed(reason) => DownloadPhase::Failed(reason.clone()),
        };
        let journalled = || {
            let (facts, verified) = (&self.row.facts, self.row.verified.as_ref());
            verified.map_or(0, |field| u64::from(field.ones()) * u64::from(facts.piece_len)).min(facts.len)
        };
        let done = live.as_ref().map_or_else(journalled, |live| live.bytes_done);
        let running = live.filter(|_| phase == DownloadPhase::Running);
        DownloadStatus {
            group: self.row.group_label.clone(),
            file: self.row.label.clone(),
            bytes_done: if phase == DownloadPhase::Complete { self.row.facts.len } else { done },
            len: self.row.facts.len,
            bytes_per_second: running.as_ref().map_or(0, |live| live.bytes_per_second),
            peers: running.as_ref().map_or(0, |live| live.peers),
            path: self.row.target.clone(),
            phase,
        }
    }

    /// Tells whether the engine works on it, or holds it ready.
    pub(crate) fn is_live(&self) -> bool {
        let ended = |t: &Transfer| matches!(t.status().state, TransferState::Complete | TransferState::Cancelled);
        self.transfer.as_ref().is_some_and(|transfer| !ended(transfer))
    }
}

impl Library {
    pub(crate) fn new() -> Self {
        Self { phase: Phase::Out, shares: Vec::new(), downloads: Vec::new() }
    }

    pub(crate) fn user(&self) -> Option<&UserEntry> {
        match &self.phase {
            Phase::In(user) => Some(user),
            _ => None,
        }
    }

    pub(crate) fn download(&mut self, info_hash: InfoHash) -> Option<&mut Download> {
        self.downloads.iter_mut().find(|download| download.info_hash() == info_hash)
    }

    pub(crate) fn share(&mut self, group: GroupId, info_hash: InfoHash) -> Option<&mut Share> {
        self.shares.iter_mut().find(|share| share.row.group == group && share.row.facts.info_hash == info_hash)
    }

    /// Replaces what is known about a share.
    pub(crate) fn put_share(&mut self, row: ShareRow, offered: bool) {
        match self.share(row.group, row.facts.info_hash) {
            Some(share) => *share = Share { row, offered },
            None => self.shares.push(Share { row, offered }),
        }
    }

    /// The download that the user means by these names.
    pub(crate) fn find_download(&mut self, group: &str, file: &str) -> Option<&mut Download> {
        // The latest, should an earlier one bear the same names.
        let named = |d: &&mut Download| d.row.group_label.as_str() == group && d.row.label.as_str() == file;
        self.downloads.iter_mut().rev().find(named)
    }

    /// Tells whether the file is being downloaded now.
    pub(crate) fn is_downloading(&self, info_hash: InfoHash) -> bool {
        self.downloads.iter().any(|d| d.info_hash() == info_hash && d.row.progress == Progress::Running)
    }

    /// The group's name as last seen.
    pub(crate) fn group_label(&self, group: GroupId) -> Option<Label> {
        let shares = self.shares.iter().filter(|s| s.row.group == group).map(|s| &s.row.group_label);
        let downloads = self.downloads.iter().filter(|d| d.row.group == group).map(|d| &d.row.group_label);
        shares.chain(downloads).next().cloned()
    }

    /// The files of a group that this device has to do with.
    pub(crate) fn files_of(&self, group: GroupId) -> Vec<InfoHash> {
        let shares = self.shares.iter().filter(|s| s.row.group == group).map(|s| s.row.facts.info_hash);
        shares.chain(self.downloads.iter().filter(|d| d.row.group == group).map(Download::info_hash)).collect()
    }

    /// The groups in which this device takes part in the file's swarm.
    pub(crate) fn groups_of(&self, info_hash: InfoHash) -> Vec<GroupId> {
        let offered = self.shares.iter().filter(|s| s.offered && s.row.facts.info_hash == info_hash).map(|s| s.row.group);
        let running =
            |d: &&Download| d.info_hash() == info_hash && matches!(d.row.progress, Progress::Running | Progress::Complete);
        let mut groups: Vec<GroupId> = offered.chain(self.downloads.iter().filter(running).map(|d| d.row.group)).collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }
}
