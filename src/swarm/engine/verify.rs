//! From a piece that has come to one that we have: its hash, the file, the word to everybody.
//!
//! A link's reader queues the piece ([`Job::Verify`](crate::swarm::engine::pool::Job)), a worker of the pool hashes it, once, and the
//! download's thread writes it and tells of it: one queue, one worker, one writer.
//!
//! **Invariant:** nothing is written or told of but what passed its check, and each piece that is
//! checked gets one verdict: verified, wrong, not written, or the end of the download.
//!
//! The torrent's lock is not held for hashing and writing.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::Sender;
use sha1::{Digest, Sha1};

use crate::swarm::LinkKey;
use crate::swarm::disk::buffers::Buffer;
use crate::swarm::disk::part_file::PartFile;
use crate::swarm::engine::torrent::{State, Torrent};
use crate::swarm::engine::transfer::TransferPart;
use crate::swarm::pick::chain::Chain;
use crate::types::{PieceIndex, Sha1Digest};
use crate::wire::metainfo::Metainfo;

/// Verified bytes after which the journal is written before its time.
const UNSYNCED_MAX: u64 = 64 << 20;

/// A piece that has come and is to be checked.
pub(crate) struct Check {
    /// Whom it came from.
    pub(crate) link: LinkKey,
    /// Which it is.
    pub(crate) piece: PieceIndex,
    /// Its bytes.
    pub(crate) buffer: Buffer,
}

/// A piece that was hashed.
pub(crate) struct Checked {
    check: Check,
    finding: Finding,
}

/// What hashing a piece shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finding {
    /// It passed the chain.
    Proven,
    /// It has its hash in `pieces`; there was no chain.
    Listed,
    /// It is not what was asked for.
    Wrong,
    /// It is the piece of the info dictionary, and not of the file whose SHA-1 and chaining values
    /// the directory lists: no piece can be both.
    FalseFacts,
}

/// What the pieces of a download are checked by.
#[derive(Clone)]
pub(crate) struct Checker {
    /// The hashes of the pieces.
    pub(crate) metainfo: Option<Arc<Metainfo>>,
    /// The chain of the whole file, where it is known: then it decides.
    pub(crate) chain: Option<Arc<Chain>>,
}

impl Checker {
    /// Hashes a piece: once, unless it is not right.
    pub(crate) fn check(&self, piece: PieceIndex, bytes: &[u8]) -> Finding {
        let is_listed = || {
            self.metainfo.as_ref().is_some_and(|metainfo| {
                Sha1Digest::from_bytes(Sha1::digest(bytes).into()) == metainfo.piece_hash(piece)
            })
        };
        match &self.chain {
            Some(chain) if chain.proves(piece, bytes) => Finding::Proven,
            Some(_) if is_listed() => Finding::FalseFacts,
            None if is_listed() => Finding::Listed,
            _ => Finding::Wrong,
        }
    }

    /// Tells whether bytes are the piece.
    pub(crate) fn is_good(&self, piece: PieceIndex, bytes: &[u8]) -> bool {
        matches!(self.check(piece, bytes), Finding::Proven | Finding::Listed)
    }
}

/// What the download's thread makes of a piece.
enum Verdict {
    /// It is right, and written. It passed the chain, or else is proven at the end.
    Verified { is_proven: bool },
    /// It is not what was asked for.
    Wrong,
    /// It is right and could not be written; when that was tried, and why not.
    Unwritten(Instant, String),
}

impl Torrent {
    /// A worker took a piece that has come: hashes it, and leaves the rest to the download's
    /// thread.
    pub(crate) fn check(self: &Arc<Self>, check: Check) {
        let Some((checker, writer)) = self.checker() else { return };
        let finding = checker.check(check.piece, &check.buffer);
        // A download that has ended meanwhile wants it no more.
        let _ = writer.send(Checked { check, finding });
    }

    fn checker(&self) -> Option<(Checker, Sender<Checked>)> {
        let state = self.state.lock();
        let transfer = state.transfer.as_ref()?;
        Some((transfer.checker(self), transfer.writer.clone()?))
    }

    /// The download's thread takes a piece that was hashed: writes it if it is good, and notes what
    /// came of it.
    ///
    /// # Errors
    /// If the piece shows that the directory's facts are false.
    ///
    /// # Blocking
    /// On the disk.
    pub(crate) fn conclude(
        self: &Arc<Self>,
        Checked { check, finding }: Checked,
        part: &Arc<PartFile>,
    ) -> Result<(), String> {
        let verdict = match finding {
            Finding::Wrong => Verdict::Wrong,
            Finding::FalseFacts => {
                return Err(format!(
                    "piece {} is right, but not of the whole that the group names: its first \
                     sharer listed a false SHA-1 or false chaining values",
                    check.piece
                ));
            }
            Finding::Proven | Finding::Listed => {
                let write = AssertUnwindSafe(|| self.write_good(&check, part, finding));
                match catch_unwind(write) {
                    Ok(verdict) => verdict,
                    Err(_) => {
                        self.check_failed();
                        return Ok(());
                    }
                }
            }
        };
        self.note(&mut self.state.lock(), &check, part, verdict);
        Ok(())
    }

    fn write_good(&self, check: &Check, part: &PartFile, finding: Finding) -> Verdict {
        let begun = Instant::now();
        match part.write(&check.buffer, self.geometry.offset(check.piece)) {
            Ok(()) => Verdict::Verified { is_proven: finding == Finding::Proven },
            Err(e) => Verdict::Unwritten(begun, format!("cannot write {}: {e}", part.name())),
        }
    }

    /// Notes what came of a piece, if that was for the download that there is now.
    fn note(
        self: &Arc<Self>,
        state: &mut State,
        check: &Check,
        part: &Arc<PartFile>,
        verdict: Verdict,
    ) {
        let (now, piece, link) = (self.now(), check.piece, check.link);
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
                transfer.dirty = true;
                transfer.unsynced += check.buffer.len() as u64;
                if transfer.unsynced >= UNSYNCED_MAX {
                    transfer.unsynced = 0;
                    self.engine.journal_soon();
                }
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
    pub(crate) fn check_failed(self: &Arc<Self>) {
        let mut state = self.state.lock();
        if let Some(transfer) = &mut state.transfer
            && let Some(download) = &mut transfer.download
        {
            download.checks_failed();
            self.pause_itself(
                &mut state,
                "checking a piece panicked: that is a bug in Posse".to_owned(),
            );
        }
        self.drive(&mut state);
    }
}

impl TransferPart {
    /// What its pieces are checked by now.
    pub(crate) fn checker(&self, torrent: &Torrent) -> Checker {
        Checker { metainfo: torrent.metainfo.get().cloned(), chain: self.chain.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::pick::chain::ChainHasher;
    use crate::types::Geometry;

    #[test]
    fn a_piece_counts_as_proven_only_if_the_chain_has_checked_it() {
        let data: Vec<u8> = (0..40_000u32).map(|at| (at % 251) as u8).collect();
        let geometry = Geometry::new(data.len() as u64, 16 << 10).unwrap();
        let piece = |at: PieceIndex| {
            let start = geometry.offset(at) as usize;
            &data[start..start + geometry.len_of(at) as usize]
        };
        let hash = |at| Sha1Digest::from_bytes(Sha1::digest(piece(at)).into());
        let hashes = geometry.indexes().map(hash).collect();
        let metainfo = Metainfo::new("a".parse().unwrap(), geometry, hashes).unwrap();
        let mut hasher = ChainHasher::new(geometry.piece_len());
        hasher.update(&data);
        let (sha1, values) = hasher.finish();
        let chain = |sha1| Chain::new(geometry, Arc::new(values.clone()), sha1).map(Arc::new);
        let metainfo = Some(Arc::new(metainfo));
        let without = Checker { metainfo: metainfo.clone(), chain: None };
        let with = Checker { metainfo: metainfo.clone(), chain: chain(sha1) };
        let last = geometry.index(2).unwrap();
        for at in geometry.indexes() {
            assert_eq!(without.check(at, piece(at)), Finding::Listed);
            assert_eq!(with.check(at, piece(at)), Finding::Proven);
            assert_eq!(with.check(at, &piece(at)[1..]), Finding::Wrong);
        }
        let false_sha1 = Sha1Digest::from_bytes([1; 20]);
        let of_false_facts = Checker { metainfo, chain: chain(false_sha1) };
        assert_eq!(of_false_facts.check(last, piece(last)), Finding::FalseFacts);
    }
}
