//! Taking the pieces that the pool's workers have hashed: writing the good ones, and noting them
//! for every link.
//!
//! **Invariant:** only a piece that passed its check is written and announced, and each piece that
//! is checked gets one verdict: verified, wrong, not written, or the end of the download.
//!
//! Called on the download's thread; blocks on the disk, without the torrent's lock.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, select};

use super::{End, Run, scan};
use crate::swarm::disk::part_file::PartFile;
use crate::swarm::engine::record::Checked;
use crate::swarm::engine::torrent::TorrentState;
use crate::swarm::pick::check::Finding;
use crate::types::Bitfield;

/// Verified bytes after which the journal is written before its time.
const UNSYNCED_MAX: u64 = 64 << 20;

/// How often it is looked at least whether another process has written to the `.part`.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How many times as long as reading all pieces again took it is not looked after it was in vain.
const LOOK_RARELY: u32 = 20;

enum Verdict {
    /// It is right, and written. It passed the chain, or else is proven at the end.
    Verified { is_proven: bool },
    /// It is not what was asked for.
    Wrong,
    /// It is right and could not be written; when that was tried, and why not.
    Unwritten(Instant, String),
}

/// Takes pieces until all are there, or some turn out to be there no more: returns those that are.
pub(super) fn take(
    run: &Run<'_>,
    part: &Arc<PartFile>,
    hashed: &Receiver<Checked>,
) -> Result<Bitfield, End> {
    let stop = &run.torrent.services.stop;
    let mut looks_at = Instant::now();
    loop {
        let now = Instant::now();
        if now >= looks_at && part.is_touched() {
            let before = run.with(|transfer| transfer.have().ones())?;
            let have = scan::check_again(run, part)?;
            if have.ones() < before {
                return Ok(have);
            }
            // The times of some network file systems change by themselves.
            looks_at = Instant::now() + (now.elapsed() * LOOK_RARELY).max(LOOK_EVERY);
        }
        match run.with(|transfer| transfer.have().is_full().then(|| transfer.have().clone())) {
            Ok(Some(have)) => return Ok(have),
            Ok(None) => {}
            Err(end) => {
                // What was found good before the engine stopped is written for the next start.
                hashed
                    .try_iter()
                    .filter(|_| stop.is_set())
                    .try_for_each(|checked| conclude(run, &checked, part))?;
                return Err(end);
            }
        }
        select! {
            // The other end goes when the download is put away.
            recv(hashed) -> checked => {
                conclude(run, &checked.map_err(|_| End::Quiet)?, part)?;
            }
            recv(stop.channel()) -> _ => {}
            default(LOOK_EVERY) => {}
        }
    }
}

/// Writes a piece if it is good, and notes what came of it. Fails if the piece shows that the
/// directory's facts are false.
fn conclude(run: &Run<'_>, checked: &Checked, part: &Arc<PartFile>) -> Result<(), End> {
    let is_proven = checked.finding == Finding::Proven;
    let verdict = match checked.finding {
        Finding::Wrong => Verdict::Wrong,
        Finding::FalseFacts => {
            return Err(End::Failed(format!(
                "piece {} is right, but not of the whole that the group names: its first sharer \
                 listed a false SHA-1 or false chaining values",
                checked.piece
            )));
        }
        Finding::Proven | Finding::Listed => {
            let begun = Instant::now();
            let offset = run.torrent.geometry.offset(checked.piece);
            let write = AssertUnwindSafe(|| part.write(&checked.buffer, offset));
            match catch_unwind(write) {
                Ok(Ok(())) => Verdict::Verified { is_proven },
                Ok(Err(e)) => {
                    Verdict::Unwritten(begun, format!("cannot write {}: {e}", part.name()))
                }
                Err(_) => {
                    run.torrent.check_failed();
                    return Ok(());
                }
            }
        }
    };
    note(run, &mut run.torrent.state.lock(), checked, part, verdict);
    Ok(())
}

/// Notes what came of a piece, if it was written to the `.part` that there is now.
fn note(
    run: &Run<'_>,
    state: &mut TorrentState,
    checked: &Checked,
    part: &Arc<PartFile>,
    verdict: Verdict,
) {
    let torrent = run.torrent;
    let (now, piece, link) = (torrent.now(), checked.piece, checked.link);
    let Some(transfer) = state.transfer.as_mut().filter(|transfer| transfer.is_at(part)) else {
        return;
    };
    let Some(download) = &mut transfer.download else { return };
    match verdict {
        Verdict::Verified { is_proven } => {
            download.verified(now, piece, link);
            if is_proven && transfer.have().has(piece) {
                transfer.proven.insert(piece);
            }
            transfer.is_dirty = true;
            if !state.readers.is_empty() {
                torrent.changed.notify_all();
            }
            transfer.unsynced += checked.buffer.len() as u64;
            if transfer.unsynced >= UNSYNCED_MAX {
                transfer.unsynced = 0;
                torrent.services.request_journal();
            }
        }
        Verdict::Wrong => {
            log::warn!(
                "{}: piece {piece} came with a wrong hash and is asked for elsewhere",
                torrent.info_hash
            );
            download.corrupt(now, piece, link);
            let TorrentState { links, peers, .. } = &mut *state;
            if let Some(link) = links.get(link) {
                peers.suspect(link);
            }
        }
        Verdict::Unwritten(begun, reason) => {
            download.write_failed(piece);
            // What failed before the user made room and resumed says nothing about now.
            if transfer.resumed_at.is_none_or(|resumed| resumed <= begun) {
                torrent.pause_fetching(state, reason);
            }
        }
    }
    torrent.drive(state);
}
