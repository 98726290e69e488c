//! From a piece that has come to one that we have: its hash, the file, the word to everybody.
//!
//! **Invariant:** nothing is written, kept or told of but what has the hash that the metainfo
//! names, and each piece that is checked gets one verdict: verified, wrong, or not written.
//!
//! One worker at a time goes on with the hash of the whole ([`super::front`]), and checks the
//! pieces that come meanwhile; while there are any, others write what it has found good. Belongs to
//! the workers and the download's thread; the lock is held but for hashing and writing.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;
use sha1::{Digest, Sha1};

use super::LinkKey;
use super::api::TransferState;
use super::front::{Front, Turn};
use super::pool::{Buffer, Job};
use super::storage::PartFile;
use super::torrent::{State, Torrent};
use super::transfer::TransferPart;
use crate::types::{PieceIndex, Sha1Digest};

/// Verified bytes after which the journal is written before its time.
const UNSYNCED_MAX: u64 = 64 << 20;
/// Pieces that are checked in a row before others that wait for a worker have theirs.
const IN_A_ROW: u32 = 16;
/// How often whoever waits for room looks whether the download, its link or the engine has ended.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A piece that has come and is to be checked.
pub(super) struct Check {
    /// Whom it came from.
    pub(super) link: LinkKey,
    /// Which it is.
    pub(super) piece: PieceIndex,
    /// Its bytes.
    pub(super) buffer: Buffer,
}

/// A piece that was found good and is to be written.
pub(super) struct Good {
    link: LinkKey,
    piece: PieceIndex,
    buffer: Arc<Buffer>,
    part: Arc<PartFile>,
}

/// What came of a check.
enum Verdict {
    /// It is right, and written.
    Verified,
    /// It has another hash.
    Wrong,
    /// It is right and could not be written; when that was tried, and why not.
    Unwritten(Instant, String),
}

/// Tells whether bytes have the hash that is wanted.
pub(super) fn is_good(bytes: &[u8], want: &Sha1Digest) -> bool {
    Sha1::digest(bytes)[..] == want.as_bytes()[..]
}

impl Torrent {
    /// Has a piece that has come checked: by whoever goes on with the front just now, or by the
    /// next worker that is free.
    ///
    /// # Blocking
    /// While more pieces wait than can be kept up with.
    pub(super) fn check_soon(self: &Arc<Self>, check: Check) {
        let check = {
            let mut state = self.state.lock();
            let is_crowded = |state: &State| {
                state.transfer.as_ref().is_some_and(|transfer| transfer.front.is_crowded())
            };
            while is_crowded(&state)
                && state.links.contains_key(&check.link)
                && !self.engine.stop.is_set()
            {
                self.room.wait_for(&mut state, LOOK_EVERY);
            }
            let Some(transfer) = &mut state.transfer else { return };
            transfer.front.leave(check)
        };
        if let Err(check) = check {
            self.engine.pool.put(Job::Verify(self.clone(), check));
        }
    }

    /// A worker took a piece that has come: checks it, and those that are left to it meanwhile.
    pub(super) fn check(self: &Arc<Self>, first: Check) {
        let mut state = self.state.lock();
        let Some(transfer) = &mut state.transfer else { return };
        // Somebody may have begun since.
        let Err(first) = transfer.front.leave(first) else { return };
        let id = transfer.front.begin();
        self.check_one(&mut state, id, first);
        self.check_left(&mut state, id);
    }

    /// The download's thread goes on with the front, and checks what is left to it meanwhile.
    ///
    /// # Errors
    /// If the piece that the front waits for cannot be read.
    pub(super) fn advance(self: &Arc<Self>, mut turn: Turn, part: &PartFile) -> io::Result<()> {
        let advanced = turn.advance(part);
        let mut state = self.state.lock();
        let own = |transfer: &&mut TransferPart| turn.id() == Some(transfer.front.id());
        let id = state.transfer.as_mut().filter(own).map(|transfer| transfer.front.begin());
        turn.give_back(&mut state);
        if let Some(id) = id {
            self.check_left(&mut state, id);
        }
        advanced
    }

    /// Checks what is left, but hands the rest over after a while if there is other work for
    /// workers.
    fn check_left(self: &Arc<Self>, state: &mut MutexGuard<'_, State>, id: u64) {
        let mut checked = 0;
        while let Some(check) =
            state.transfer.as_mut().and_then(|transfer| transfer.front.next_check(id))
        {
            checked += 1;
            let check = match checked >= IN_A_ROW && self.engine.pool.is_busy() {
                true => match self.engine.pool.offer(Job::Verify(self.clone(), check)) {
                    Err(Job::Verify(_, check)) => check,
                    _ => {
                        if let Some(transfer) = &mut state.transfer {
                            transfer.front.end(id);
                        }
                        return;
                    }
                },
                false => check,
            };
            self.check_one(state, id, check);
        }
    }

    /// Checks a piece, has it written, and goes on with the front; without the lock, as long as any
    /// of that takes.
    fn check_one(
        self: &Arc<Self>,
        state: &mut MutexGuard<'_, State>,
        id: u64,
        Check { link, piece, buffer }: Check,
    ) {
        self.room.notify_one();
        let (Some(transfer), Some(metainfo)) = (&mut state.transfer, self.metainfo.get()) else {
            return;
        };
        let Some(part) = transfer.part.clone() else { return };
        let mut turn = Turn::beside(self, transfer, piece);
        // The turn goes along, so that after a panic it is dropped, which takes the lock, while
        // that is free.
        let (turn, good) = MutexGuard::unlocked(state, || {
            let want = metainfo.piece_hash(piece);
            let good = match &mut turn {
                Some(turn) => turn.check(&part, piece, &buffer, &want),
                None => is_good(&buffer, &want),
            };
            (turn, good)
        });
        if let Some(turn) = turn {
            turn.give_back(state);
        }
        let checked = Good { link, piece, buffer: Arc::new(buffer), part: part.clone() };
        match good {
            true => self.have_written(state, checked),
            false => self.note(state, &checked, Verdict::Wrong),
        }
        self.catch_up(state, id, piece, &part);
    }

    /// Writes a piece that was found good, or leaves that to another worker if there are more to
    /// check: one can go on with the front, and any can write.
    fn have_written(self: &Arc<Self>, state: &mut MutexGuard<'_, State>, good: Good) {
        let Some(transfer) = state.transfer.as_mut().filter(|transfer| transfer.is_at(&good.part))
        else {
            return;
        };
        if !matches!(transfer.life, TransferState::Paused(_)) {
            transfer.front.keep(good.piece, &good.buffer, &self.engine.kept);
        }
        // At the end of the engine there may be nobody else.
        let offered = match transfer.front.has_waiting() && !self.engine.stop.is_set() {
            true => self.engine.pool.offer(Job::Write(self.clone(), good)),
            false => Err(Job::Write(self.clone(), good)),
        };
        if let Err(Job::Write(_, good)) = offered {
            let verdict = MutexGuard::unlocked(state, || self.write_good(&good));
            self.note(state, &good, verdict);
        }
    }

    /// A worker took a piece that was found good: writes it.
    pub(super) fn write(self: &Arc<Self>, good: &Good) {
        let verdict = self.write_good(good);
        self.note(&mut self.state.lock(), good, verdict);
    }

    fn write_good(&self, good: &Good) -> Verdict {
        let begun = Instant::now();
        match good.part.write(&good.buffer, self.geometry.offset(good.piece)) {
            Ok(()) => Verdict::Verified,
            Err(e) => Verdict::Unwritten(begun, format!("cannot write {}: {e}", good.part.name())),
        }
    }

    /// Goes on with the front alone, if there is more to do than will be taken along.
    fn catch_up(
        self: &Arc<Self>,
        state: &mut MutexGuard<'_, State>,
        id: u64,
        piece: PieceIndex,
        part: &Arc<PartFile>,
    ) {
        let is_same =
            |transfer: &&mut TransferPart| transfer.is_at(part) && transfer.front.id() == id;
        let Some(transfer) = state.transfer.as_mut().filter(is_same) else { return };
        let Some(mut turn) = Turn::behind(self, transfer, piece) else { return };
        let turn = MutexGuard::unlocked(state, || {
            // What cannot be read stays, and the download's thread finds out.
            let _ = turn.advance(part);
            turn
        });
        turn.give_back(state);
    }

    /// Notes what came of a check, if that was for the download that there is now.
    fn note(self: &Arc<Self>, state: &mut State, checked: &Good, verdict: Verdict) {
        let (now, piece, link) = (self.now(), checked.piece, checked.link);
        let Some(transfer) =
            state.transfer.as_mut().filter(|transfer| transfer.is_at(&checked.part))
        else {
            return;
        };
        let Some(download) = &mut transfer.download else { return };
        match verdict {
            Verdict::Verified => {
                download.verified(now, piece, link);
                transfer.dirty = true;
                transfer.unsynced += checked.buffer.len() as u64;
                if transfer.unsynced >= UNSYNCED_MAX {
                    transfer.unsynced = 0;
                    self.engine.journal_soon();
                }
                transfer.grown = true;
                self.wake_front(transfer);
            }
            Verdict::Wrong => {
                log::warn!(
                    "{}: piece {piece} came with a wrong hash and is asked for elsewhere",
                    self.info_hash
                );
                download.corrupt(now, piece, link);
                let State { links, peers, .. } = &mut *state;
                if let Some(link) = links.get(&link) {
                    peers.suspect(link);
                }
            }
            Verdict::Unwritten(begun, reason) => {
                download.write_failed(piece);
                // What failed before somebody made room and had it go on says nothing about now.
                if transfer.resumed.is_none_or(|resumed| resumed <= begun) {
                    self.pause_itself(state, reason);
                }
            }
        }
        self.drive(state);
    }

    /// The verdict on all pieces under check when checking one panicked: they are missing again,
    /// and nothing more is asked for until somebody has looked.
    pub(super) fn check_failed(self: &Arc<Self>) {
        let mut state = self.state.lock();
        if let Some(transfer) = &mut state.transfer
            && let Some(download) = &mut transfer.download
        {
            download.checks_failed();
            transfer.front = Front::new(download.have(), &self.geometry);
            self.pause_itself(
                &mut state,
                "checking a piece panicked: that is a bug in Posse".to_owned(),
            );
        }
        self.drive(&mut state);
    }
}
