//! The shares and downloads of a session, and what is to be written to the store.
//!
//! **Invariant:** a download is in the order of asking, under its info hash, and under the paths
//! where it writes; or in none of them. There is one download a content. Completed downloads of
//! earlier sessions are not here: the store has them.
//!
//! Pure. All maps are persistent: a clone costs a few pointers, so that a turn can be undone and a
//! state published.

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
}
