//! The journal thread, which carries out [`Notice`]s, and the sync threads, one for each file
//! system, which make verified pieces durable and tell the host of them.
//!
//! **Invariant:** the host hears of a piece only after a sync that came after its write. A file
//! system that hangs holds up its own sync thread alone.
//!
//! Sync threads block on the disk and on the host, the journal thread on the host alone; neither
//! with a torrent's lock.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded, select};

use super::services::{Inbox, Notice};
use super::torrent::Torrent;
use super::torrents::Torrents;
use crate::net::Stop;
use crate::swarm::api::TransferState;
use crate::swarm::disk::part_file::PartFile;
use crate::types::VerifiedPieces;

/// Downloads that wait for a sync thread; one that finds no room is tried at the next interval.
const SYNCS_MAX: usize = 256;
/// Sync threads. If there are more file systems, all end when they are done, and start again.
const SYNC_THREADS_MAX: usize = 64;

pub(super) fn run(torrents: &Torrents, inbox: &Inbox) {
    let services = &torrents.services;
    let mut syncs = SyncThreads::default();
    let interval = services.config.journal_interval;
    let mut due = Instant::now() + interval;
    loop {
        select! {
            recv(inbox.notices) -> notice => match notice {
                Ok(Notice::Event(event)) => services.host.event(event),
                Ok(Notice::Journal(id, info_hash, verified)) => {
                    services.host.journal(id, info_hash, &verified);
                }
                Ok(Notice::Unused(info_hash)) => torrents.forget_unused(info_hash),
                Err(_) => return,
            },
            recv(services.stop.channel()) -> _ => return,
            recv(inbox.journal_due) -> _ => syncs.write_all(torrents),
            default(due.saturating_duration_since(Instant::now())) => {
                syncs.write_all(torrents);
                due = Instant::now() + interval;
            }
        }
    }
}

/// The sync threads' queues, by `st_dev`.
#[derive(Default)]
struct SyncThreads(HashMap<u64, Sender<Arc<Torrent>>>);

impl SyncThreads {
    fn write_all(&mut self, torrents: &Torrents) {
        for torrent in torrents.active() {
            let device = torrent.state.lock().unwritten_on();
            if let Some(device) = device {
                self.queue(device, torrent);
            }
        }
    }

    fn queue(&mut self, device: u64, torrent: Arc<Torrent>) {
        if self.0.len() >= SYNC_THREADS_MAX && !self.0.contains_key(&device) {
            self.0.clear();
        }
        let start = || {
            let (sender, queue) = bounded(SYNCS_MAX);
            let stop = torrent.services.stop.clone();
            let work = move || sync_queued(&queue, &stop);
            if let Err(error) = torrent.services.threads.spawn("posse-sync", work) {
                log::warn!("no thread makes downloads durable: {error}");
            }
            sender
        };
        let sender = self.0.entry(device).or_insert_with(start);
        if sender.try_send(torrent).is_err_and(|error| error.is_disconnected()) {
            self.0.remove(&device);
        }
    }
}

fn sync_queued(queue: &Receiver<Arc<Torrent>>, stop: &Stop) {
    loop {
        select! {
            recv(queue) -> torrent => match torrent {
                Ok(torrent) => write(&torrent),
                Err(_) => return,
            },
            recv(stop.channel()) -> _ => return,
        }
    }
}

/// Makes the pieces verified so far durable, then tells the host.
pub(super) fn write(torrent: &Torrent) {
    let (part, verified) = {
        let mut state = torrent.state.lock();
        let Some(transfer) = state.transfer.as_mut().filter(|transfer| transfer.is_dirty) else {
            return;
        };
        let Some(part) = transfer.part.clone() else { return };
        (transfer.is_dirty, transfer.unsynced) = (false, 0);
        let stamp = part.stamp(false);
        (part, VerifiedPieces { pieces: transfer.journaled().clone(), part: stamp })
    };
    if let Err(e) = part.sync() {
        return writes_lost(torrent, &part, format!("cannot write {}: {e}", part.name()));
    }
    // The download may have been cancelled meanwhile, and begun again: then its file is another.
    let durable = {
        let mut state = torrent.state.lock();
        let transfer = state.transfer.as_mut();
        transfer.and_then(|t| t.set_durable(&part, verified).map(|verified| (t.id, verified)))
    };
    if let Some((id, verified)) = durable {
        torrent.services.host.journal(id, torrent.info_hash, &verified);
    }
}

/// A sync failed: which of the last pieces are on the disk is not known. Pauses the download, so
/// that `resume` checks and writes them again.
fn writes_lost(torrent: &Torrent, part: &Arc<PartFile>, reason: String) {
    let mut state = torrent.state.lock();
    let Some(transfer) = state.transfer.as_mut().filter(|transfer| transfer.is_at(part)) else {
        return;
    };
    let phase = transfer.phase.clone();
    transfer.leave_thread();
    match phase {
        TransferState::Paused(_) => torrent.stop_fetching(&mut state, phase),
        _ => torrent.pause_for(&mut state, reason),
    }
}
