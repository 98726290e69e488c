//! The SHA-1 of the whole file, along the contiguous front of verified pieces as it grows.
//!
//! **Invariant:** the digest has had the pieces below `next` and no others, in order, each of them the bytes whose own hash was right. One at a
//! time goes on with it: who has taken the [`Turn`] alone has the hasher, and gives it back whatever happens.
//!
//! A worker that checks a piece goes on with the front at the same time, side by side ([`super::twin`]): over the same piece if the front waits
//! for that one, else over one that came early and was kept. That takes a quarter longer than checking alone. What no worker takes along, the
//! download's own thread does: what an earlier run left on the disk, what came too far ahead to be kept, and the last pieces.
//!
//! State under the torrent's lock; hashing is done without it.

mod kept;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;
use sha1::{Digest, Sha1};

use self::kept::Kept;
pub(super) use self::kept::KeptSum;
use super::pool::Buffer;
use super::torrent::{State, Torrent};
use super::transfer::TransferPart;
use super::twin::update_both;
use crate::types::{Bitfield, Geometry, PieceIndex, Sha1Digest};

/// Buffers kept for the front, so that it need not read again what was just written.
const KEPT_MAX: usize = 16;
/// Kept pieces that wait in a row before the download's thread goes on with them by itself.
const BACKLOG_MAX: u32 = 4;

/// Workers that wait for a turn at a time: others are left for what else there is to do.
const WAITING_MAX: usize = 2;
/// How long a piece waits for those before it to be hashed: that takes a tenth of it.
const WAIT_MAX: Duration = Duration::from_millis(4);

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// How far the whole has been hashed. Pure.
pub(super) struct Front {
    /// Tells it from that of an earlier attempt.
    id: u64,
    next: u32,
    /// Absent while it is lent.
    hasher: Option<Sha1>,
    /// Whether it is lent to the download's thread, which may have to read the piece first.
    alone: bool,
    /// Verified pieces that it will want soon.
    kept: BTreeMap<u32, Kept>,
    /// Pieces whose checkers wait for their turn.
    waiting: Vec<u32>,
}

impl Default for Front {
    fn default() -> Self {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        Self { id, next: 0, hasher: Some(Sha1::new()), alone: false, kept: BTreeMap::new(), waiting: Vec::new() }
    }
}

impl Front {
    /// Tells whether whoever is to check `piece` does better to wait for a moment: somebody has the turn, or is about to take it, with a piece
    /// a little before this one. Both hashes of it together are cheaper than one now and the other later. The download's thread is not waited for.
    fn is_worth_waiting(&self, piece: u32) -> bool {
        let is_near = piece > self.next && piece - self.next < KEPT_MAX as u32;
        let others = self.waiting.iter().filter(|waiting| **waiting != piece);
        is_near
            && others.clone().count() < WAITING_MAX
            && ((self.hasher.is_none() && !self.alone) || others.clone().any(|other| *other == self.next))
    }

    /// Keeps a verified piece's buffer if it will be wanted soon, and there is room in what all downloads keep.
    pub(super) fn keep(&mut self, piece: PieceIndex, buffer: Buffer, sum: &Arc<KeptSum>) {
        let is_near = piece.get().checked_sub(self.next).is_some_and(|ahead| (ahead as usize) < KEPT_MAX);
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

    /// Tells whether there is something that whoever checks `piece` can hash at the same time: that piece, or one that was kept.
    fn goes_beside(&self, piece: PieceIndex) -> bool {
        piece.get() == self.next || self.kept.contains_key(&self.next)
    }

    /// Tells whether the download's thread has something to do: hash on by itself, or finish. `grown` tells whether this run has brought a
    /// piece: what an earlier one left is not read before, for it may stay unfinished for long.
    fn is_due(&self, have: &Bitfield, geometry: &Geometry, grown: bool) -> bool {
        let is_there = geometry.index(self.next.into()).is_some_and(|piece| have.has(piece));
        let alone = || !self.kept.contains_key(&self.next) || self.has_backlog();
        self.hasher.is_some() && (have.is_full() || (grown && is_there && alone()))
    }

    /// Tells whether so many kept pieces wait that no worker can be expected to take them along.
    fn has_backlog(&self) -> bool {
        (self.next..self.next.saturating_add(BACKLOG_MAX)).all(|piece| self.kept.contains_key(&piece))
    }

    fn lend(&mut self) -> Option<Lent> {
        let hasher = self.hasher.take()?;
        Some(Lent { id: self.id, piece: self.next, kept: self.kept.remove(&self.next), hasher, advanced: None })
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
        (self.hasher, self.alone) = (Some(lent.advanced.unwrap_or(lent.hasher)), false);
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
}

impl Lent {
    /// Computes the hash of a piece that is being checked, and goes on with the front at the same time. Over the same piece that counts only
    /// if it has the hash that is wanted.
    fn check(&mut self, bytes: &[u8], want: &Sha1Digest) -> bool {
        let (mut piece, mut whole) = (Sha1::new(), self.hasher.clone());
        update_both((&mut piece, bytes), (&mut whole, self.kept.as_deref().unwrap_or(bytes)));
        let good = piece.finalize()[..] == want.as_bytes()[..];
        self.advanced = (good || self.kept.is_some()).then_some(whole);
        good
    }
}

/// The right to go on with the front by one piece. Given back when dropped, which takes the torrent's lock.
pub(super) struct Turn {
    torrent: Arc<Torrent>,
    /// There until it is dropped.
    lent: Option<Lent>,
}

impl Turn {
    /// Takes the turn for whoever is about to check `piece`, if that can be done together.
    ///
    /// # Blocking
    /// For some milliseconds at most, if that makes it possible.
    pub(super) fn beside(torrent: &Arc<Torrent>, state: &mut MutexGuard<'_, State>, piece: PieceIndex) -> Option<Self> {
        let deadline = Instant::now() + WAIT_MAX;
        while state.transfer.as_ref()?.front.is_worth_waiting(piece.get()) {
            state.transfer.as_mut()?.front.waiting.push(piece.get());
            let late = torrent.turned.wait_until(state, deadline).timed_out();
            state.transfer.as_mut()?.front.waiting.retain(|waiting| *waiting != piece.get());
            if late {
                break;
            }
        }
        let front = &mut state.transfer.as_mut()?.front;
        let lent = if front.goes_beside(piece) { front.lend()? } else { return None };
        Some(Self { torrent: torrent.clone(), lent: Some(lent) })
    }

    /// Takes the turn for the download's thread, if there is something that no worker takes along.
    pub(super) fn alone(torrent: &Arc<Torrent>, transfer: &mut TransferPart) -> Option<Self> {
        let lacks = transfer.front.next < torrent.geometry.piece_count();
        let lent = if lacks && transfer.front_is_due(&torrent.geometry) { transfer.front.lend()? } else { return None };
        transfer.front.alone = true;
        Some(Self { torrent: torrent.clone(), lent: Some(lent) })
    }

    /// The piece to hash, and its bytes if they were kept.
    pub(super) fn piece(&mut self) -> Option<(PieceIndex, Option<Kept>)> {
        let lent = self.lent.as_mut()?;
        Some((self.torrent.geometry.index(lent.piece.into())?, lent.kept.take()))
    }

    /// Hashes the piece.
    pub(super) fn advance(&mut self, bytes: &[u8]) {
        if let Some(lent) = &mut self.lent {
            lent.advanced = Some(lent.hasher.clone().chain_update(bytes));
        }
    }

    /// Checks a piece and goes on with the front, side by side; tells whether the piece has the hash that is wanted.
    pub(super) fn check(mut self, bytes: &[u8], want: &Sha1Digest) -> bool {
        self.lent.as_mut().is_some_and(|lent| lent.check(bytes, want))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.torrent.state.lock();
        let (Some(lent), Some(transfer)) = (self.lent.take(), state.transfer.as_mut()) else { return };
        transfer.front.take_back(lent);
        if transfer.front_is_due(&self.torrent.geometry) {
            self.torrent.changed.notify_all();
        }
        self.torrent.turned.notify_all();
    }
}

impl TransferPart {
    /// Tells whether the download's thread has something to do: hash on by itself, or finish.
    pub(super) fn front_is_due(&self, geometry: &Geometry) -> bool {
        self.front.is_due(self.have(), geometry, self.grown)
    }
}
