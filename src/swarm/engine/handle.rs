//! The handle by which a download is watched and steered.
//!
//! **Invariant:** a handle stays valid after the download has ended.
//!
//! Called by the client on any thread. Only [`Transfer::cancel`] and the waiting methods block.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::record::DownloadRecord;
use super::run::{self, LOCKED_RETRY, open_unlocked};
use super::services::Notice;
use super::torrent::{Torrent, TorrentState};
use super::torrents::Torrents;
use crate::swarm::api::{TransferState, TransferStatus, Way, Why};
use crate::swarm::disk::part_file::{PartFile, StorageError};
use crate::swarm::link::limiter::download::DownloadLimiter;
use crate::types::{InfoHash, Rate};

/// Unoffered pieces named by [`Transfer::why`].
const WHY_PIECES_MAX: usize = 16;

/// A handle on one download; clones are the same download.
#[derive(Clone)]
pub struct Transfer {
    torrents: Arc<Torrents>,
    pub(super) torrent: Arc<Torrent>,
}

/// Tells, looked at again, whether anything comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pulse {
    /// Where the download is in its life.
    pub(crate) state: TransferState,
    /// Another number whenever something came.
    pub(crate) came: u64,
    /// It would ask for more, if a limit let it.
    pub(crate) is_held_back: bool,
}

impl Transfer {
    pub(super) fn new(torrents: &Arc<Torrents>, torrent: Arc<Torrent>) -> Self {
        Self { torrents: torrents.clone(), torrent }
    }

    fn read<T>(&self, read: impl FnOnce(&TorrentState, &DownloadRecord) -> T) -> T {
        let state = self.torrent.state.lock();
        read(&state, record(&state))
    }

    fn limiter(&self) -> &DownloadLimiter {
        &self.torrent.services.limiter.download
    }

    /// The file.
    pub fn info_hash(&self) -> InfoHash {
        self.torrent.info_hash
    }

    /// Where the file will be, or is.
    pub fn target(&self) -> PathBuf {
        self.read(|_, record| record.target.clone())
    }

    /// Where the download stands.
    pub fn status(&self) -> TransferStatus {
        self.read(|state, record| status(&self.torrent, state, record))
    }

    /// Returns what changes whenever data comes.
    pub(crate) fn pulse(&self) -> Pulse {
        let (state, came) = self.read(|_, record| {
            let stats = record.stats();
            (record.phase.clone(), stats.received + stats.arrivals + record.parts_received)
        });
        let is_held_back = self.limiter().holding(self.info_hash()).is_some();
        Pulse { state, came, is_held_back }
    }

    /// Why it does not move.
    pub fn why(&self) -> Why {
        let torrent = &self.torrent;
        self.read(|state, record| {
            let stats = record.stats();
            let (unoffered, unoffered_first) = record
                .download
                .as_ref()
                .map_or((0, Vec::new()), |download| download.unoffered(WHY_PIECES_MAX));
            Why {
                state: record.phase.clone(),
                metainfo_known: torrent.metainfo.get().is_some(),
                awaits_chain: record.chain_fetch.is_some(),
                disk_hangs: state.disk_hangs(&torrent.services.disks),
                pieces: torrent.geometry.piece_count(),
                have: record.have().ones(),
                unoffered,
                unoffered_first,
                links: state.links.len() as u32,
                relayed: state.links.count(Way::Relayed),
                unchoked: stats.unchoked,
                corrupt: stats.corrupt,
                limit: self.limiter().holding(torrent.info_hash),
                seen: state.peers.seen(torrent.now()),
                unreachable: state.peers.unreachable(),
                banned: state.peers.banned(),
            }
        })
    }

    /// Stops fetching and serving until [`Transfer::resume`]; keeps the pieces. False if it has
    /// ended or is paused.
    pub fn pause(&self) -> bool {
        let mut state = self.torrent.state.lock();
        let is_active = is_active(&record(&state).phase);
        if is_active {
            self.torrent.stop_fetching(&mut state, TransferState::Paused(None));
            self.torrent.drive(&mut state);
        }
        is_active
    }

    /// Goes on after a pause, or tries again after a failure. False if it is neither.
    pub fn resume(&self) -> bool {
        let mut state = self.torrent.state.lock();
        match record(&state).phase {
            TransferState::Paused(_) | TransferState::Failed(_) => {
                run::start(&self.torrent, &mut state)
            }
            _ => false,
        }
    }

    /// Limits what this download asks for, beside the limit of all together, or not; counts at
    /// once.
    pub fn set_limit(&self, rate: Option<Rate>) {
        let state = self.torrent.state.lock();
        // A download that is over has none, and there may be another of the same content by now.
        let phase = &record(&state).phase;
        if !matches!(phase, TransferState::Complete | TransferState::Cancelled) {
            self.limiter().set_limit(self.info_hash(), rate);
        }
    }

    /// Pauses it as [`Transfer::pause`] does, and closes its file and ends its thread, which a
    /// pause keeps. False if it has ended or is being finished.
    pub fn shelve(&self) -> bool {
        let mut state = self.torrent.state.lock();
        let phase = match &record(&state).phase {
            paused @ TransferState::Paused(_) => paused.clone(),
            phase if is_active(phase) => TransferState::Paused(None),
            _ => return false,
        };
        if let Some(record) = state.transfer.as_mut() {
            record.leave_thread();
            if let Some(verified) = record.last_entry() {
                let (id, info_hash) = (record.id, self.torrent.info_hash);
                self.torrent.services.notify(Notice::Journal(id, info_hash, verified));
            }
        }
        self.torrent.stop_fetching(&mut state, phase);
        true
    }

    /// Gives the download up and removes its `.part`. False if it has ended.
    ///
    /// # Blocking
    /// For a few system calls on the destination's file system.
    pub fn cancel(&self) -> bool {
        let torrent = &self.torrent;
        let (part, target, ours, known) = {
            let mut state = torrent.state.lock();
            let Some(transfer) = &mut state.transfer else { return false };
            if matches!(
                transfer.phase,
                TransferState::Complete | TransferState::Cancelled | TransferState::Finishing
            ) {
                return false;
            }
            let part = transfer.part.take();
            let (target, ours) =
                (transfer.target.clone(), transfer.is_ours && !transfer.is_running);
            let known = transfer.part_id;
            transfer.put_away();
            torrent.stop_fetching(&mut state, TransferState::Cancelled);
            torrent.services.limiter.download.forget(torrent.info_hash);
            (part, target, ours, known)
        };
        self.torrents.forget_unused(torrent.info_hash);
        let (length, disks) = (torrent.geometry.len(), torrent.services.disks.clone());
        // A download that was not running has its `.part` closed: open it again, to be sure whose
        // it is.
        let part = part.or_else(|| {
            let open =
                || PartFile::open(&target, torrent.info_hash, length, (true, known), disks.clone());
            let wait = || -> Result<(), StorageError> {
                torrent.services.stop.wait(LOCKED_RETRY);
                Ok(())
            };
            ours.then(|| open_unlocked(open, wait).ok()).flatten()
        });
        if let Some(Err(e)) = part.map(|part| part.remove()) {
            log::warn!("cannot remove the data of {}: {e}", target.display());
        }
        true
    }

    /// Waits until it is complete, failed or cancelled, or `timeout` has passed; returns the status
    /// then.
    ///
    /// # Blocking
    /// For at most `timeout`.
    pub fn wait(&self, timeout: Duration) -> TransferStatus {
        self.wait_until(timeout, |status| status.state.has_ended())
    }

    /// Waits until `done` says so, or `timeout` has passed; `done` is asked when the state changes
    /// and a few times a second.
    ///
    /// # Blocking
    /// For at most `timeout`.
    pub fn wait_until(
        &self,
        timeout: Duration,
        mut done: impl FnMut(&TransferStatus) -> bool,
    ) -> TransferStatus {
        const POLL: Duration = Duration::from_millis(100);
        let deadline = Instant::now() + timeout;
        let mut state = self.torrent.state.lock();
        loop {
            let status = status(&self.torrent, &state, record(&state));
            let now = Instant::now();
            if done(&status) || now >= deadline || self.torrent.services.stop.is_set() {
                return status;
            }
            self.torrent.changed.wait_until(&mut state, deadline.min(now + POLL));
        }
    }

    /// Starts it for the first time.
    pub(crate) fn begin(&self) {
        run::start(&self.torrent, &mut self.torrent.state.lock());
    }
}

/// A handle is made for a torrent with a download, and the record of one is never taken out.
fn record(state: &TorrentState) -> &DownloadRecord {
    let Some(record) = &state.transfer else { unreachable!("a download has a record") };
    record
}

/// Tells whether a download runs and may be paused.
fn is_active(phase: &TransferState) -> bool {
    use TransferState::{Checking, Downloading, Metainfo};
    matches!(phase, Checking | Metainfo | Downloading)
}

fn status(torrent: &Torrent, state: &TorrentState, record: &DownloadRecord) -> TransferStatus {
    let (stats, len) = (record.stats(), torrent.geometry.len());
    let piece_len = u64::from(torrent.geometry.piece_len());
    let bytes_done = match record.phase {
        TransferState::Checking => record.bytes_checked,
        _ => (u64::from(record.have().ones()) * piece_len).min(len),
    };
    TransferStatus {
        state: record.phase.clone(),
        len,
        bytes_done,
        bytes_per_second: stats.bytes_per_second,
        peers: state.links.len() as u32,
        lan: state.links.count(Way::Lan),
        punched: state.links.count(Way::Punched),
        relayed: state.links.count(Way::Relayed),
        unchoked: stats.unchoked,
        received: stats.received,
        wasted: stats.wasted,
        sent: state.uploads.sent_total(),
        sent_per_second: state.uploads.bytes_per_second(torrent.now()),
    }
}
