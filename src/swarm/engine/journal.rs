//! The journal thread: makes verified pieces durable, tells the host of them, and carries out
//! [`Notice`]s.
//!
//! **Invariant:** the host hears of a piece only after a sync that came after its write.
//!
//! Blocks on the disk and on the host, without a torrent's lock.

use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::select;

use super::services::{Inbox, Notice};
use super::torrent::Torrent;
use super::torrents::Torrents;
use crate::swarm::api::TransferState;
use crate::swarm::disk::part_file::PartFile;

pub(super) fn run(torrents: &Torrents, inbox: &Inbox) {
    let services = &torrents.services;
    let interval = services.config.journal_interval;
    let mut due = Instant::now() + interval;
    loop {
        select! {
            recv(inbox.notices) -> notice => match notice {
                Ok(Notice::Event(event)) => services.host.event(event),
                Ok(Notice::Journal(id, info_hash, pieces)) => {
                    services.host.journal(id, info_hash, &pieces);
                }
                Ok(Notice::Unused(info_hash)) => torrents.forget_unused(info_hash),
                Err(_) => return,
            },
            recv(services.stop.channel()) -> _ => return,
            recv(inbox.journal_due) -> _ => write_all(torrents),
            default(due.saturating_duration_since(Instant::now())) => {
                write_all(torrents);
                due = Instant::now() + interval;
            }
        }
    }
}

fn write_all(torrents: &Torrents) {
    torrents.active().iter().for_each(|torrent| write(torrent));
}

/// Makes the pieces verified so far durable, then tells the host.
pub(super) fn write(torrent: &Torrent) {
    let (part, pieces) = {
        let mut state = torrent.state.lock();
        let Some(transfer) = state.transfer.as_mut().filter(|transfer| transfer.is_dirty) else {
            return;
        };
        let Some(part) = transfer.part.clone() else { return };
        (transfer.is_dirty, transfer.unsynced) = (false, 0);
        (part, transfer.journaled().clone())
    };
    if let Err(e) = part.sync() {
        return writes_lost(torrent, &part, format!("cannot write {}: {e}", part.name()));
    }
    // The download may have been cancelled meanwhile, and begun again: then its file is another.
    let id = {
        let mut state = torrent.state.lock();
        let transfer = state.transfer.as_mut();
        transfer.and_then(|t| t.set_durable(&part, &pieces).then_some(t.id))
    };
    if let Some(id) = id {
        torrent.services.host.journal(id, torrent.info_hash, &pieces);
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
