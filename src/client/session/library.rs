//! The shares and downloads of a session, and the rows that wait for the store.
//!
//! **Invariant:** a download is in the order of requests, under its info hash, and under the paths
//! where it writes; or in none of them. Each content has at most one download. Completed downloads
//! of earlier sessions are only in the store.
//!
//! Pure. All maps are persistent: a clone costs a few pointers, so that a turn can be undone and
//! the state published.

mod downloads;
mod parts;
mod shares;

use std::path::PathBuf;
use std::sync::Arc;

use imbl::{HashMap, OrdMap, OrdSet, Vector};

use super::input::{ReplyTo, TransferId};
use super::queue::Queue;
use super::source_groups::Sources;
use crate::client::error::SessionEnd;
use crate::store::{DownloadRow, Progress, QueuedRow, ShareRow, Write};
use crate::types::{Fingerprint, GroupId, InfoHash, Label, UserEntry, UserId};

/// The phase of the session.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Phase {
    /// No user is logged in.
    #[default]
    Out,
    /// A login or logout is under way.
    Changing,
    /// Logged in.
    In(UserEntry),
}

/// A share of the session's user.
#[derive(Debug, Clone)]
pub(crate) struct Share {
    pub(crate) row: Arc<ShareRow>,
    /// Whether links may fetch it and the trackers list it.
    pub(crate) offered: bool,
}

/// The state of a download in the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// The engine does not have it.
    None,
    /// After a login: the file system is being asked for its state.
    Looking,
    /// The engine was told to begin it.
    Beginning(TransferId),
    /// The engine has it.
    Live(TransferId),
    /// The engine was told to halt it, so that it can be cancelled.
    Halting(TransferId),
}

/// A download of the session's user.
#[derive(Debug, Clone)]
pub(crate) struct Download {
    pub(crate) row: Arc<DownloadRow>,
    pub(crate) work: Work,
    /// It is to run, and waits for a slot.
    pub(crate) queued: bool,
    /// Its share was reported to the directory (accepted, refused or not answered), or no report is
    /// due.
    pub(crate) settled: bool,
    /// The number of its end among all ends of this process, from 1.
    pub(crate) ended: Option<u64>,
    /// The caller that waits for the engine to begin it.
    pub(crate) beginner: Option<ReplyTo>,
    /// The row that it has replaced, until the engine has begun it.
    pub(crate) before: Option<Arc<DownloadRow>>,
}

/// The key of a row that must be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Share(GroupId, InfoHash),
    Download(InfoHash),
    Queued(InfoHash),
}

/// The end of a session that its user did not ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    /// The reason.
    pub(crate) reason: SessionEnd,
    /// The number of downloads that were running.
    pub(crate) unfinished: usize,
}

/// The session's rows in the store, and the state that depends on them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Library {
    pub(crate) phase: Phase,
    /// The user of these rows, also while the session ends.
    pub(crate) owner: Option<UserId>,
    pub(crate) shares: OrdMap<(GroupId, InfoHash), Share>,
    /// Shares that are not offered because of their files, with the reason.
    pub(crate) away: OrdMap<(GroupId, InfoHash), Arc<str>>,
    /// By the order of requests.
    order: OrdMap<u64, Download>,
    next: u64,
    by_content: HashMap<InfoHash, u64>,
    /// By the hashes of target path and `.part` path: a turn copies the nodes that it changes, and
    /// paths would be expensive to copy.
    by_place: OrdSet<(u64, u64)>,
    /// Ended downloads, the earliest first.
    ends: OrdMap<u64, InfoHash>,
    /// The queue of the downloads.
    pub(crate) queue: Queue,
    /// Other groups from which downloads take pieces.
    pub(crate) sources: Sources,
    /// Contents that a command has reserved, with their target paths.
    pub(crate) claims: HashMap<InfoHash, PathBuf>,
    /// How the last session ended, if its user did not end it.
    pub(crate) ended: Option<Ended>,
    dirty: OrdSet<Key>,
    /// Writes besides the dirty rows.
    extra: Vector<Write>,
    /// Number of changes that had to be written at once, since the start.
    touches: u64,
}

impl Download {
    /// A download that the engine does not have yet.
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

    /// The engine's transfer, if the engine has it or is about to.
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

    /// Tells whether this device fetches the file, or serves it before it is a share. A settled
    /// download is served as a share, or not at all.
    pub(crate) fn takes_part(&self) -> bool {
        match self.row.progress {
            Progress::Running => self.is_let_run(),
            Progress::Complete => !self.settled,
            Progress::Paused(_) | Progress::Failed(_) | Progress::Cancelled => false,
        }
    }

    /// Tells whether it runs or waits, or is complete and not settled.
    pub(crate) fn is_unfinished(&self) -> bool {
        match self.row.progress {
            Progress::Running => true,
            Progress::Complete => !self.settled,
            Progress::Paused(_) | Progress::Failed(_) | Progress::Cancelled => false,
        }
    }

    /// Tells whether it is to run and holds a slot, or runs without one.
    pub(crate) fn is_let_run(&self) -> bool {
        self.row.progress == Progress::Running && !self.queued
    }

    /// Tells whether the user still sees it: it is not being cancelled.
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

    // Writing.

    /// Tells whether there is something to write.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty() || !self.extra.is_empty()
    }

    /// A counter that grows with every change that must be written now.
    pub(crate) fn touches(&self) -> u64 {
        self.touches
    }

    fn touch(&mut self, key: Key) {
        self.touches += 1;
        self.dirty.insert(key);
    }

    /// A row must be written, but with the next other change: if it is not, the next login does the
    /// same again.
    fn touch_later(&mut self, key: Key) {
        self.dirty.insert(key);
    }

    /// Adds a write that is not a row of this library.
    pub(crate) fn write(&mut self, write: Write) {
        self.touches += 1;
        self.extra.push_back(write);
    }

    /// The writes for the store: the current rows, and the others.
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
        // Rows last: they have a group's new name already.
        extra.chain(self.dirty.iter().map(write)).collect()
    }

    /// The store has written everything.
    pub(crate) fn written(&mut self) {
        self.dirty.clear();
        self.extra.clear();
    }

    /// Begins the state of another session, or of none. Writes that are not rows stay.
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

    /// A group has a new display name.
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
        // For rows that are only in the store.
        self.write(Write::GroupLabel(group, label.clone()));
    }

    /// A download's place and rate limit must be written.
    pub(crate) fn touch_queued(&mut self, info_hash: InfoHash) {
        self.touch(Key::Queued(info_hash));
    }
}
