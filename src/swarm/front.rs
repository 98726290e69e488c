//! The SHA-1 of the whole file, along the contiguous front of verified pieces as it grows.
//!
//! **Invariant:** the digest has had the pieces below `next` and no others, in order, each of them
//! the bytes whose own hash was right. One at a time goes on with it: who has taken the [`Turn`]
//! alone has the hasher, and gives it back whatever happens.
//!
//! A worker that checks a piece goes on with the front at the same time, side by side
//! ([`super::twin`]): over the same piece if the front waits for that one, else over one that came
//! before and was kept. One hash takes a quarter longer so, and the other nothing; so a piece that
//! comes meanwhile is left to the worker that has the turn, which takes it next
//! ([`super::verify`]), and others write what it has found good. Whoever brings more than it can do
//! waits.
//!
//! What no worker takes along, the download's own thread does: where pieces come slowly, or far
//! from the front, and at the end. No piece waits for what may have to be read from a disk.
//!
//! State under the torrent's lock; hashing is done without it.

mod kept;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;
use sha1::{Digest, Sha1};

use self::kept::Kept;
pub(super) use self::kept::KeptSum;
use super::pool::Buffer;
use super::storage::PartFile;
use super::torrent::{State, Torrent};
use super::transfer::TransferPart;
use super::twin::update_both;
use super::verify::{Check, is_good};
use crate::types::{Bitfield, Geometry, PieceIndex, Sha1Digest};

/// Buffers kept for the front, so that it need not read again what was just written.
const KEPT_MAX: usize = 16;
/// Kept pieces from which on whoever has had the turn goes on with one of them alone: while there
/// are few they are in the core's own cache.
const KEPT_LOW: usize = 3;
/// Kept pieces from which on none is checked beside the one who can go on with them: else there
/// would soon be too many to be kept.
const KEPT_HIGH: usize = KEPT_MAX / 2;
/// Pieces that wait for whoever has the turn: what a few fast links bring while it waits for a
/// processor.
const WAITING_MAX: usize = 16;
/// How many bytes ahead of the front a worker still reads what was not kept, to go on with it: that
/// is in the system's memory yet.
const NEAR_LEN: u64 = 256 << 20;
/// Verified pieces in a row before the download's thread goes on with them by itself while workers
/// check others.
const BACKLOG_MAX: u32 = 32;
/// How long no worker has gone on with the front when the download's thread does.
const QUIET: Duration = Duration::from_millis(5);

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// How far the whole has been hashed. Pure but for the clock.
pub(super) struct Front {
    /// Tells it from that of an earlier attempt.
    id: u64,
    next: u32,
    /// Absent while it is lent.
    hasher: Option<Sha1>,
    /// Behind the last piece that an earlier run left, or that cannot be read: it may have to come
    /// from the disk.
    old_end: u32,
    /// How many check pieces now, and take what waits before they end.
    checkers: usize,
    /// Whether the hasher is lent to somebody who takes what waits when it gives it back.
    taken: bool,
    /// When somebody who checks pieces last took it.
    taken_at: Option<Instant>,
    /// Whether the download's thread waits to be told that there is something to do.
    asleep: bool,
    /// Verified pieces that it will want soon.
    kept: BTreeMap<u32, Kept>,
    /// Pieces that are left to those who check others.
    waiting: Vec<Check>,
}

impl Default for Front {
    fn default() -> Self {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let (hasher, kept, waiting) = (Some(Sha1::new()), BTreeMap::new(), Vec::new());
        Self {
            id,
            next: 0,
            hasher,
            old_end: 0,
            checkers: 0,
            taken: false,
            taken_at: None,
            asleep: false,
            kept,
            waiting,
        }
    }
}

impl Front {
    /// One that goes on with what `have` says is there already.
    pub(super) fn new(have: &Bitfield, geometry: &Geometry) -> Self {
        let last = geometry.indexes().rev().find(|piece| have.has(*piece));
        Self { old_end: last.map_or(0, |piece| piece.get() + 1), ..Self::default() }
    }

    /// Tells it from that of another attempt.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Leaves a piece to somebody who checks others and goes on with the front, or will do so at
    /// once; else hands it back.
    pub(super) fn leave(&mut self, check: Check) -> Result<(), Check> {
        let is_full = || self.kept.len() >= KEPT_HIGH && self.kept.contains_key(&self.next);
        if !self.taken && (self.checkers == 0 || !is_full()) {
            return Err(check);
        }
        self.waiting.push(check);
        Ok(())
    }

    /// Tells whether so many pieces wait that whoever brings more is to wait, too.
    pub(super) fn is_crowded(&self) -> bool {
        self.waiting.len() >= WAITING_MAX
    }

    /// Somebody begins to check pieces; [`Front::next_check`] says when there are no more, if it is
    /// shown what this returns.
    pub(super) fn begin(&mut self) -> u64 {
        self.checkers += 1;
        self.id
    }

    /// The piece to be checked next of those that were left: the lowest, for that is likeliest to
    /// be what the front waits for. Whoever gets none has ended.
    pub(super) fn next_check(&mut self, id: u64) -> Option<Check> {
        if id != self.id {
            return None;
        }
        let place = (0..self.waiting.len())
            .min_by_key(|&place| self.waiting[place].piece)
            .filter(|_| !self.taken);
        if place.is_none() {
            self.end(id);
        }
        place.map(|place| self.waiting.swap_remove(place))
    }

    /// Whoever began checks no more pieces; what waits is taken by somebody who begins after this.
    pub(super) fn end(&mut self, id: u64) {
        self.checkers -= usize::from(id == self.id);
    }

    /// Tells whether pieces wait to be checked.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Keeps a verified piece's buffer if it will be wanted soon, and there is room in what all
    /// downloads keep.
    pub(super) fn keep(&mut self, piece: PieceIndex, buffer: &Arc<Buffer>, sum: &Arc<KeptSum>) {
        let is_near =
            piece.get().checked_sub(self.next).is_some_and(|ahead| (ahead as usize) < KEPT_MAX);
        if is_near && let Some(kept) = Kept::new(buffer, sum) {
            self.kept.insert(piece.get(), kept);
        }
    }

    /// Keeps nothing any more: for whoever may stand still for long.
    pub(super) fn forget_kept(&mut self) {
        self.kept.clear();
    }

    /// The digest, once it has had all `count` pieces.
    pub(super) fn digest(&self, count: u32) -> Option<Sha1Digest> {
        let hasher = self.hasher.as_ref().filter(|_| self.next == count)?;
        Some(Sha1Digest::from_bytes(hasher.clone().finalize().into()))
    }

    /// The turn for whoever is about to check `piece`, if there is something to hash at the same
    /// time: that piece, one that was kept, or one that `is_near`: there, and written a moment ago.
    fn lend_beside(&mut self, piece: PieceIndex, is_near: bool) -> Option<Lent> {
        let goes = piece.get() == self.next || self.kept.contains_key(&self.next) || is_near;
        if goes { self.lend_to_checker() } else { None }
    }

    /// The turn for whoever has checked a piece and is to go on with more: with what was kept if
    /// there is much of it, or with what `is_near` and was not kept.
    fn lend_behind(&mut self, is_near: bool) -> Option<Lent> {
        let goes =
            if self.kept.contains_key(&self.next) { self.kept.len() >= KEPT_LOW } else { is_near };
        if goes { self.lend_to_checker() } else { None }
    }

    fn lend_to_checker(&mut self) -> Option<Lent> {
        let lent = self.lend()?;
        (self.taken, self.taken_at) = (true, Some(Instant::now()));
        Some(lent)
    }

    /// The turn for the download's thread. What comes meanwhile is left to it, unless it may have
    /// to wait for the disk.
    fn lend_alone(&mut self) -> Option<Lent> {
        let lent = self.lend()?;
        self.taken = lent.kept.is_some();
        Some(lent)
    }

    fn lend(&mut self) -> Option<Lent> {
        let hasher = self.hasher.take()?;
        Some(Lent {
            id: self.id,
            piece: self.next,
            kept: self.kept.remove(&self.next),
            hasher,
            advanced: None,
            is_unread: false,
        })
    }

    /// When the download's thread has something to do, if it has: hash on by itself, or finish.
    /// `grown` tells whether this run has brought a piece: what an earlier one left is not read
    /// before, for it may stay unfinished for long.
    fn due(&self, have: &Bitfield, geometry: &Geometry, grown: bool) -> Option<Instant> {
        let is_there =
            |piece: u32| geometry.index(piece.into()).is_some_and(|piece| have.has(piece));
        let has_backlog = || {
            self.checkers == 0 && (self.next..self.next.saturating_add(BACKLOG_MAX)).all(is_there)
        };
        self.hasher.as_ref()?;
        if have.is_full() {
            return Some(Instant::now());
        }
        let quiet_at = self.taken_at.map(|at| at + QUIET).filter(|_| !has_backlog());
        (grown && is_there(self.next)).then(|| quiet_at.unwrap_or_else(Instant::now))
    }

    /// Takes back what was lent; what an earlier front lent is of no use any more.
    fn take_back(&mut self, lent: Lent) {
        if lent.id != self.id {
            return;
        }
        if lent.advanced.is_some() {
            self.next += 1;
            // What was overtaken is of no use any more.
            self.kept.retain(|piece, _| *piece >= self.next);
        } else if let Some(kept) = lent.kept {
            self.kept.insert(self.next, kept);
        }
        if lent.is_unread {
            // The download's thread finds out why, at once.
            (self.old_end, self.taken_at) = (u32::MAX, None);
        }
        (self.hasher, self.taken) = (Some(lent.advanced.unwrap_or(lent.hasher)), false);
    }
}

/// The hasher, and what to go on with.
struct Lent {
    id: u64,
    piece: u32,
    kept: Option<Kept>,
    /// As it was before the piece.
    hasher: Sha1,
    /// As it is behind it.
    advanced: Option<Sha1>,
    /// Whether the piece could not be read.
    is_unread: bool,
}

impl Lent {
    /// Computes the hash of a piece that is being checked, and goes on with the front at the same
    /// time, over `earlier` or over the same piece. That counts only if it has the hash that is
    /// wanted.
    fn check(&mut self, bytes: &[u8], want: &Sha1Digest, earlier: Option<&[u8]>) -> bool {
        let (mut piece, mut whole) = (Sha1::new(), self.hasher.clone());
        update_both((&mut piece, bytes), (&mut whole, earlier.unwrap_or(bytes)));
        let good = piece.finalize()[..] == want.as_bytes()[..];
        self.advanced = (good || earlier.is_some()).then_some(whole);
        good
    }
}

/// The right to go on with the front by one piece. If it is not given back it goes back when
/// dropped, which takes the torrent's lock.
pub(super) struct Turn {
    torrent: Arc<Torrent>,
    /// There until it is given back.
    lent: Option<Lent>,
}

impl Turn {
    /// Takes the turn for whoever is about to check `piece`, if that can be done together.
    pub(super) fn beside(
        torrent: &Arc<Torrent>,
        transfer: &mut TransferPart,
        piece: PieceIndex,
    ) -> Option<Self> {
        let is_near = transfer.has_near(&torrent.geometry, piece);
        transfer.front.lend_beside(piece, is_near).map(|lent| Self::new(torrent, lent))
    }

    /// Takes the turn for whoever has checked `piece`, if there is more to do than will be taken
    /// along.
    pub(super) fn behind(
        torrent: &Arc<Torrent>,
        transfer: &mut TransferPart,
        piece: PieceIndex,
    ) -> Option<Self> {
        let is_near = transfer.has_near(&torrent.geometry, piece);
        transfer.front.lend_behind(is_near).map(|lent| Self::new(torrent, lent))
    }

    /// Takes the turn for the download's thread, if there is something that no worker takes along.
    pub(super) fn alone(torrent: &Arc<Torrent>, transfer: &mut TransferPart) -> Option<Self> {
        let lacks = transfer.front.next < torrent.geometry.piece_count();
        let is_due =
            lacks && transfer.front_due(&torrent.geometry).is_some_and(|due| due <= Instant::now());
        if is_due { transfer.front.lend_alone().map(|lent| Self::new(torrent, lent)) } else { None }
    }

    /// Tells of which front it is.
    pub(super) fn id(&self) -> Option<u64> {
        self.lent.as_ref().map(|lent| lent.id)
    }

    fn new(torrent: &Arc<Torrent>, lent: Lent) -> Self {
        Self { torrent: torrent.clone(), lent: Some(lent) }
    }

    /// Hashes the piece that the front waits for.
    ///
    /// # Errors
    /// If it was not kept and cannot be read.
    pub(super) fn advance(&mut self, part: &PartFile) -> io::Result<()> {
        let Some(lent) = &mut self.lent else { return Ok(()) };
        let advanced = match &lent.kept {
            Some(kept) => lent.hasher.clone().chain_update(&**kept),
            None => {
                let read =
                    read(&self.torrent, part, lent.piece).inspect_err(|_| lent.is_unread = true)?;
                lent.hasher.clone().chain_update(&*read)
            }
        };
        lent.advanced = Some(advanced);
        Ok(())
    }

    /// Checks a piece and goes on with the front, side by side; tells whether the piece has the
    /// hash that is wanted. If what the front waits for cannot be read, it stays where it is.
    pub(super) fn check(
        &mut self,
        part: &PartFile,
        piece: PieceIndex,
        bytes: &[u8],
        want: &Sha1Digest,
    ) -> bool {
        let Some(lent) = &mut self.lent else { return false };
        if let Some(kept) = lent.kept.take() {
            let good = lent.check(bytes, want, Some(&kept));
            lent.kept = Some(kept);
            return good;
        }
        if lent.piece == piece.get() {
            return lent.check(bytes, want, None);
        }
        match read(&self.torrent, part, lent.piece) {
            Ok(earlier) => lent.check(bytes, want, Some(&earlier)),
            Err(_) => {
                lent.is_unread = true;
                is_good(bytes, want)
            }
        }
    }

    /// Gives the turn back under the lock.
    pub(super) fn give_back(mut self, state: &mut State) {
        self.take_back(state);
    }

    fn take_back(&mut self, state: &mut State) {
        let (Some(lent), Some(transfer)) = (self.lent.take(), state.transfer.as_mut()) else {
            return;
        };
        transfer.front.take_back(lent);
        self.torrent.wake_front(transfer);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.lent.is_some() {
            let torrent = self.torrent.clone();
            self.take_back(&mut torrent.state.lock());
        }
    }
}

/// Reads a piece that was written.
fn read(torrent: &Torrent, part: &PartFile, number: u32) -> io::Result<Buffer> {
    let piece = torrent.geometry.index(number.into()).ok_or(io::ErrorKind::InvalidInput)?;
    let mut buffer = torrent.engine.buffers.take(torrent.geometry.len_of(piece) as usize);
    part.read(&mut buffer, torrent.geometry.offset(piece)).map(|()| buffer)
}

impl Torrent {
    /// Wakes the download's thread if it has something to do.
    pub(super) fn wake_front(&self, transfer: &mut TransferPart) {
        if (transfer.front.asleep || transfer.have().is_full())
            && transfer.front_due(&self.geometry).is_some()
        {
            transfer.front.asleep = false;
            self.changed.notify_all();
        }
    }

    /// Waits until the download's thread may have something to do.
    pub(super) fn sleep_on_front(&self, state: &mut MutexGuard<'_, State>) {
        let Some(transfer) = &mut state.transfer else { return };
        match transfer.front_due(&self.geometry) {
            Some(due) => drop(self.changed.wait_until(state, due)),
            None => {
                transfer.front.asleep = true;
                self.changed.wait(state);
            }
        }
    }
}

impl TransferPart {
    /// When the download's thread has something to do, if it has: hash on by itself, or finish.
    fn front_due(&self, geometry: &Geometry) -> Option<Instant> {
        self.front.due(self.have(), geometry, self.grown)
    }

    /// Tells whether the piece that the front waits for is there, came in this run, and not long
    /// before `piece`.
    fn has_near(&self, geometry: &Geometry, piece: PieceIndex) -> bool {
        let Some(next) =
            geometry.index(self.front.next.into()).filter(|next| next.get() >= self.front.old_end)
        else {
            return false;
        };
        let ahead = geometry.offset(piece).checked_sub(geometry.offset(next));
        ahead.is_some_and(|ahead| ahead < NEAR_LEN) && self.have().has(next)
    }
}
