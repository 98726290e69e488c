//! The thread of a download: opens its `.part`, checks the pieces in it, fetches the others, proves
//! pieces that were not proven as they came, and gives the file its name.
//!
//! **Invariant:** a file gets its final name only after every piece and the whole were verified and
//! made durable. If anything goes wrong, the verified pieces stay in the `.part`, and
//! [`Transfer::resume`](crate::swarm::Transfer::resume) goes on from it.
//!
//! [`walk`] runs from top to bottom, and again from the first request on if another process wrote
//! to the `.part`: what it spoilt is fetched again. While pieces come, the thread writes those that the
//! pool's workers have hashed. A piece that passes the file's [chain](crate::swarm::pick::chain) is
//! proven for good; where there is no chain, the whole is hashed at the end.

mod copy;
mod pieces;
mod prove;
mod scan;
mod source;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use parking_lot::MutexGuard;

use self::prove::Proof;
use super::dial::dial_due;
use super::record::{Checked, DownloadRecord};
use super::torrent::{Torrent, TorrentState};
use crate::swarm::api::{EngineEvent, SeedSpec, TransferState};
use crate::swarm::disk::part_file::{PartFile, StorageError};
use crate::swarm::pick::parts::{self, PartsFetch};
use crate::swarm::{Download, Options};
use crate::types::{Bitfield, ChainingValues};

/// How long a locked `.part` is waited for: after a failure another thread of ours may be about to
/// close it.
const LOCKED_MAX: Duration = Duration::from_secs(5);
/// How often a file is verified again because another process wrote to it.
const ROUNDS_MAX: u32 = 10;
pub(super) const LOCKED_RETRY: Duration = Duration::from_millis(20);

enum End {
    /// Cancelled, or the engine stops: nothing more to say.
    Quiet,
    /// It cannot go on.
    Failed(String),
    /// It can go on when something else has been put right.
    Paused(String),
}

impl From<StorageError> for End {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Missing(_) => Self::Paused(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// Starts the download's thread, or lets it go on. Called under the torrent's lock.
pub(super) fn start(torrent: &Arc<Torrent>, state: &mut TorrentState) -> bool {
    let Some(transfer) = &mut state.transfer else { return false };
    transfer.phase = match &transfer.download {
        None => TransferState::Checking,
        Some(_) if transfer.is_collecting() => TransferState::Metainfo,
        Some(_) => TransferState::Downloading,
    };
    transfer.resumed_at = Some(Instant::now());
    if let Some(download) = &mut transfer.download {
        download.set_paused(false);
    }
    torrent.activate();
    if !std::mem::replace(&mut transfer.is_running, true) {
        transfer.bytes_checked = 0;
        let (walking, run) = (torrent.clone(), transfer.run);
        let spawned = torrent.services.of_downloads.begin(move || walk(&walking, run));
        if let Err(e) = spawned {
            transfer.is_running = false;
            torrent.pause_for(state, format!("no thread for it: {e}"));
        }
    }
    torrent.drive(state);
    dial_due(torrent, state);
    torrent.changed.notify_all();
    true
}

/// Runs a download until it is complete, paused, failed or cancelled.
fn walk(torrent: &Arc<Torrent>, number: u64) {
    let services = &torrent.services;
    services.downloads.fetch_add(1, Ordering::Relaxed);
    let outcome = catch_unwind(AssertUnwindSafe(|| Run { torrent, number }.steps()));
    let outcome = outcome.unwrap_or_else(|_| {
        Err(End::Failed("its thread panicked: that is a bug in Posse".to_owned()))
    });
    services.downloads.fetch_sub(1, Ordering::Relaxed);
    let mut state = torrent.state.lock();
    let Some(transfer) = state.transfer.as_mut().filter(|transfer| transfer.run == number) else {
        return;
    };
    transfer.is_running = false;
    match outcome {
        Err(End::Paused(reason)) if transfer.phase == TransferState::Checking => {
            torrent.pause_for(&mut state, reason);
        }
        Err(End::Failed(reason)) if transfer.phase != TransferState::Cancelled => {
            log::warn!("{}: failed: {reason}", transfer.target.display());
            transfer.put_away();
            transfer.phase = TransferState::Failed(reason.clone());
            let (id, info_hash) = (transfer.id, torrent.info_hash);
            if state.seed.is_none() {
                state.links.close_if(|_| true);
            }
            drop(state);
            services.host.event(EngineEvent::Failed { id, info_hash, reason });
        }
        _ => {}
    }
    torrent.changed.notify_all();
}

/// One walk of one download.
struct Run<'a> {
    torrent: &'a Arc<Torrent>,
    number: u64,
}

impl Run<'_> {
    fn steps(&self) -> Result<(), End> {
        let part = self.open()?;
        let have = scan::find_pieces(self, &part)?;
        let copy::Filled { mut have, mut whole } = copy::fill(self, &part, have)?;
        for _ in 0..ROUNDS_MAX {
            let hashed = self.attach(have)?;
            have = pieces::take(self, &part, &hashed)?;
            if !have.is_full() {
                continue;
            }
            self.begin_finishing()?;
            have = match prove::prove(self, &part, whole.take())? {
                Proof::Right(chain) => match self.finish(&part, chain)? {
                    true => return Ok(()),
                    false => scan::check_again(self, &part)?,
                },
                Proof::Lacks(left) => left,
            };
        }
        Err(End::Failed(format!(
            "another program keeps writing to {}; end that program, or name another destination",
            part.name()
        )))
    }

    /// The record of the download, unless it was cancelled, or the engine stops.
    fn record<'a>(&self, state: &'a mut TorrentState) -> Result<&'a mut DownloadRecord, End> {
        let transfer = state.transfer.as_mut().filter(|transfer| transfer.run == self.number);
        let runs = |transfer: &&mut DownloadRecord| {
            transfer.phase != TransferState::Cancelled && !self.torrent.services.stop.is_set()
        };
        transfer.filter(runs).ok_or(End::Quiet)
    }

    /// Calls `change` with the record, under the torrent's lock.
    fn with<T>(&self, change: impl FnOnce(&mut DownloadRecord) -> T) -> Result<T, End> {
        self.record(&mut self.torrent.state.lock()).map(change)
    }

    fn check_running(&self) -> Result<(), End> {
        self.with(|_| ())
    }

    fn is_cancelled(&self) -> bool {
        let state = self.torrent.state.lock();
        state.transfer.as_ref().is_some_and(|transfer| {
            transfer.run == self.number && transfer.phase == TransferState::Cancelled
        })
    }

    /// Waits while the download is paused, so that it is not finished behind the user's back.
    fn wait_unpaused<'a>(
        &self,
        state: &'a mut MutexGuard<'_, TorrentState>,
    ) -> Result<&'a mut DownloadRecord, End> {
        while matches!(self.record(state)?.phase, TransferState::Paused(_)) {
            self.torrent.changed.wait(state);
        }
        self.record(state)
    }

    fn open(&self) -> Result<Arc<PartFile>, End> {
        let torrent = self.torrent;
        let services = &torrent.services;
        let (id, target, is_ours, part_id) = self.with(|transfer| {
            (transfer.id, transfer.target.clone(), transfer.is_ours, transfer.part_id)
        })?;
        let (len, whose) = (torrent.geometry.len(), (is_ours, part_id));
        let open =
            || PartFile::open(&target, torrent.info_hash, len, whose, services.disks.clone());
        let part = open_unlocked(open, || {
            services.stop.wait(LOCKED_RETRY);
            self.check_running()
        })?;
        let kept = self.with(|transfer| {
            (transfer.is_ours, transfer.part_id) = (true, Some(part.id()));
            transfer.part = Some(part.clone());
        });
        if kept.is_err() && (part.is_new() || self.is_cancelled()) {
            // It was made, or opened, after the canceller looked. What is left when the engine
            // stops goes on another day.
            let _ = part.remove();
        }
        kept?;
        services.host.opened(id, torrent.info_hash, part.id()).map_err(End::Paused)?;
        part.allot()?;
        Ok(part)
    }

    /// Makes the scheduler of the pieces that are missing, and lets links come; returns where
    /// pieces that were hashed will come from.
    fn attach(&self, have: Bitfield) -> Result<Receiver<Checked>, End> {
        let (torrent, services) = (self.torrent, &self.torrent.services);
        let geometry = torrent.geometry;
        let mut state = torrent.state.lock();
        // Asked under the lock: metainfo that comes later finds the fetch that is made here.
        let has_metainfo = torrent.metainfo.get().is_some();
        let is_full = have.is_full();
        if !is_full {
            state.links.close_if(|_| true);
        }
        let options = Options { window_sum_max: services.window_share(), ..Options::default() };
        let mut download = Download::new(geometry, have, options, rand::random());
        state.readers.tell(&mut download);
        let transfer = self.record(&mut state)?;
        let is_paused = matches!(transfer.phase, TransferState::Paused(_));
        // As many as there may be buffers: a worker never waits here.
        let buffers = options.window_sum_max / u64::from(geometry.piece_len());
        let (writer, hashed) = bounded(buffers as usize + 2);
        download.set_paused(is_paused);
        transfer.chain_missing = None;
        if !has_metainfo && !is_full {
            let len = parts::dictionary_len(&transfer.facts, geometry);
            transfer.metainfo_fetch = Some(PartsFetch::new(len));
        }
        if transfer.chain.is_none() && transfer.facts.chain.is_some() && !is_full {
            transfer.chain_fetch = Some(PartsFetch::new(parts::chain_len(geometry)));
        }
        // What comes could not be checked yet.
        let is_collecting = transfer.is_collecting();
        download.set_held(is_collecting);
        (transfer.download, transfer.writer) = (Some(download), Some(writer));
        (transfer.is_dirty, transfer.must_rewrite) = (true, false);
        match is_collecting {
            _ if is_paused => {}
            true => transfer.phase = TransferState::Metainfo,
            false => transfer.phase = TransferState::Downloading,
        }
        dial_due(torrent, &mut state);
        drop(state);
        torrent.changed.notify_all();
        Ok(hashed)
    }

    /// Every piece is there.
    fn begin_finishing(&self) -> Result<(), End> {
        let mut state = self.torrent.state.lock();
        self.wait_unpaused(&mut state)?.phase = TransferState::Finishing;
        drop(state);
        self.torrent.changed.notify_all();
        Ok(())
    }

    /// Gives the file its name, and offers it. False if another process may have written to it since
    /// its pieces were verified.
    fn finish(&self, part: &PartFile, chain: Arc<ChainingValues>) -> Result<bool, End> {
        let torrent = self.torrent;
        let (id, path) = self.with(|transfer| (transfer.id, transfer.target.clone()))?;
        if torrent.metainfo.get().is_none() {
            // Every piece was here from the start, and a client that was killed had not kept it.
            copy::learn(self, |bytes, offset| part.read(bytes, offset))?;
        }
        let metainfo = torrent.metainfo.get().cloned().ok_or_else(|| {
            End::Failed(format!("{} does not have the pieces that the group lists", part.name()))
        })?;
        let stamp = match part.finish() {
            Err(StorageError::Touched(_)) => return Ok(false),
            finished => finished?,
        };
        let seed = SeedSpec { metainfo, chain: Some(chain), path, stamp };
        let mut state = torrent.state.lock();
        state.uploads.set_seeding(true);
        state.uploads.tick(torrent.now());
        if state.seed.is_none() {
            state.seed = Some(seed.clone());
        }
        state.start_super_seeding(torrent.geometry);
        if let Some(transfer) = &mut state.transfer {
            transfer.put_away();
            transfer.verified = Bitfield::full(torrent.geometry.piece_count());
            transfer.is_dirty = false;
            transfer.phase = TransferState::Complete;
            torrent.services.limiter.download.forget(torrent.info_hash);
        }
        // Neither end of a link to a seeder wants anything now.
        state.links.close_if(|link| link.has_all());
        torrent.drive(&mut state);
        drop(state);
        torrent.changed.notify_all();
        log::info!("{} is complete and verified", seed.path.display());
        let info_hash = torrent.info_hash;
        torrent.services.host.event(EngineEvent::Completed { id, info_hash, seed });
        Ok(true)
    }
}

/// Opens a `.part`. Waits while another thread of ours is about to close it; `wait` is called
/// between two attempts.
pub(super) fn open_unlocked<E: From<StorageError>>(
    open: impl Fn() -> Result<PartFile, StorageError>,
    mut wait: impl FnMut() -> Result<(), E>,
) -> Result<Arc<PartFile>, E> {
    let deadline = Instant::now() + LOCKED_MAX;
    loop {
        match open() {
            Err(StorageError::Locked(_)) if Instant::now() < deadline => wait()?,
            opened => return Ok(Arc::new(opened?)),
        }
    }
}
