//! The record of a download: its phase, its pieces, and the hashes that these are checked by.
//!
//! **Invariant:** `verified`, or the verified pieces of `download` while that is there, are on the
//! disk or on their way to it; of these `proven` passed the chaining values, and `durable` survive
//! a power cut.
//!
//! Plain state under the torrent's lock. Several downloads of one content may follow each other;
//! `run` tells a thread whether the record is still its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use crate::swarm::api::{DownloadSpec, EngineError, TransferId, TransferState};
use crate::swarm::disk::buffers::Buffer;
use crate::swarm::disk::part_file::{PartFile, check_target};
use crate::swarm::link::PartsOf;
use crate::swarm::pick::chain::Chain;
use crate::swarm::pick::check::{Checker, Finding};
use crate::swarm::pick::parts::{self, PartsFetch};
use crate::swarm::pick::zeros::bytes_to_write;
use crate::swarm::{Download, LinkKey, Stats};
use crate::types::{Bitfield, FileFacts, Geometry, InodeId, PartStamp, PieceIndex, VerifiedPieces};
use crate::wire::metainfo::Metainfo;

static NEXT_RUN: AtomicU64 = AtomicU64::new(0);

pub(super) struct Checked {
    pub(super) link: LinkKey,
    pub(super) piece: PieceIndex,
    pub(super) buffer: Buffer,
    pub(super) finding: Finding,
}

/// The download of a torrent.
pub(super) struct DownloadRecord {
    /// The client's number for it.
    pub(super) id: TransferId,
    pub(super) facts: FileFacts,
    pub(super) target: PathBuf,
    pub(super) phase: TransferState,
    /// Whether a `.part` that is there is ours.
    pub(super) is_ours: bool,
    /// Which file our `.part` is, if that is known.
    pub(super) part_id: Option<InodeId>,
    /// Number of the thread that may change the record.
    pub(super) run: u64,
    pub(super) is_running: bool,
    /// There once the `.part` is open and checked.
    pub(super) download: Option<Download>,
    pub(super) part: Option<Arc<PartFile>>,
    /// Parts of the metainfo and the chaining values that have come.
    pub(super) parts_received: u64,
    /// There while the metainfo is being collected.
    pub(super) metainfo_fetch: Option<PartsFetch>,
    /// There while the chaining values are being collected.
    pub(super) chain_fetch: Option<PartsFetch>,
    /// Since when no link that has pieces has the chaining values.
    pub(super) chain_missing: Option<Duration>,
    /// What proves the pieces; there before any is asked for, or not at all in this run.
    pub(super) chain: Option<Arc<Chain>>,
    /// Takes the pieces that workers have hashed, while the download's thread writes them.
    pub(super) writer: Option<Sender<Checked>>,
    /// The verified pieces while there is no `download`.
    pub(super) verified: Bitfield,
    /// The verified pieces that passed the chaining values of the facts, in this run or an earlier
    /// one.
    pub(super) proven: Bitfield,
    /// The verified pieces that are durable.
    pub(super) durable: Bitfield,
    /// When the `.part` was last changed by us, while it is not open; before that, as the journal
    /// says.
    pub(super) part_stamp: Option<PartStamp>,
    /// Whether writes were lost: what can be read and is not durable is written again.
    pub(super) must_rewrite: bool,
    /// Bytes found to be there while checking.
    pub(super) bytes_checked: u64,
    /// Whether pieces were verified since the last entry in the journal, and their bytes.
    pub(super) is_dirty: bool,
    pub(super) unsynced: u64,
    pub(super) resumed_at: Option<Instant>,
    /// Counts of earlier runs.
    before: Stats,
}

impl DownloadRecord {
    pub(super) fn new(spec: &DownloadSpec, geometry: Geometry) -> Result<Self, EngineError> {
        let (facts, count) = (&spec.facts, geometry.piece_count());
        let VerifiedPieces { pieces: verified, part: part_stamp } =
            spec.verified.clone().unwrap_or_else(|| VerifiedPieces::none(count));
        let fits = |metainfo: &Arc<Metainfo>| parts::fits(metainfo, facts);
        if verified.count() != count || !spec.metainfo.as_ref().is_none_or(fits) {
            return Err(EngineError::Mismatch);
        }
        let to_write = match &spec.metainfo {
            Some(metainfo) => bytes_to_write(metainfo, &verified),
            None => facts.len,
        };
        check_target(&spec.target, facts.info_hash, facts.len, to_write)?;
        let chain = match &spec.chain {
            _ if count == 1 => parts::chain_of_one(facts, geometry),
            Some(values) => parts::chain_of(values, facts, geometry),
            None => None,
        };
        Ok(Self {
            id: spec.id,
            facts: facts.clone(),
            target: spec.target.clone(),
            phase: TransferState::Paused(None),
            is_ours: spec.verified.is_some(),
            part_id: spec.part,
            run: NEXT_RUN.fetch_add(1, Ordering::Relaxed),
            is_running: false,
            download: None,
            part: None,
            parts_received: 0,
            metainfo_fetch: None,
            chain_fetch: None,
            chain_missing: None,
            chain: chain.map(Arc::new),
            writer: None,
            proven: proven_of(facts, &verified),
            durable: verified.clone(),
            part_stamp,
            must_rewrite: false,
            verified,
            bytes_checked: 0,
            is_dirty: false,
            unsynced: 0,
            resumed_at: None,
            before: Stats::default(),
        })
    }

    pub(super) fn have(&self) -> &Bitfield {
        self.download.as_ref().map_or(&self.verified, Download::have)
    }

    /// Returns the verified pieces that the journal is to list: where the facts name chaining
    /// values, those that passed them.
    pub(super) fn journaled(&self) -> &Bitfield {
        if self.facts.chain.is_some() { &self.proven } else { self.have() }
    }

    pub(super) fn checker(&self, metainfo: Option<&Arc<Metainfo>>) -> Checker {
        Checker { metainfo: metainfo.cloned(), chain: self.chain.clone() }
    }

    pub(super) fn parts(&mut self, of: PartsOf) -> &mut Option<PartsFetch> {
        match of {
            PartsOf::Metainfo => &mut self.metainfo_fetch,
            PartsOf::Chain => &mut self.chain_fetch,
        }
    }

    pub(super) fn is_collecting(&self) -> bool {
        self.metainfo_fetch.is_some() || self.chain_fetch.is_some()
    }

    /// Begins to ask for pieces, once everything that they are checked by is here, or done without.
    pub(super) fn end_collecting(&mut self) {
        if self.is_collecting() {
            return;
        }
        if self.phase == TransferState::Metainfo {
            self.phase = TransferState::Downloading;
        }
        if let Some(download) = &mut self.download {
            download.set_held(false);
        }
    }

    pub(super) fn stats(&self) -> Stats {
        let mut stats = self.download.as_ref().map(Download::stats).unwrap_or_default();
        stats.received += self.before.received;
        stats.wasted += self.before.wasted;
        stats.corrupt += self.before.corrupt;
        stats
    }

    /// Notes that pieces of this `.part` are durable; returns those that are still verified.
    pub(super) fn set_durable(
        &mut self,
        part: &Arc<PartFile>,
        mut verified: VerifiedPieces,
    ) -> Option<VerifiedPieces> {
        self.is_at(part).then(|| {
            verified.pieces.retain(self.journaled());
            self.durable = verified.pieces.clone();
            verified
        })
    }

    /// Returns the durable pieces for the journal, with how the `.part` is now.
    pub(super) fn for_journal(&self) -> VerifiedPieces {
        let part = match &self.part {
            Some(part) => part.stamp(false),
            None => self.part_stamp,
        };
        VerifiedPieces { pieces: self.durable.clone(), part }
    }

    pub(super) fn is_at(&self, part: &Arc<PartFile>) -> bool {
        self.part.as_ref().is_some_and(|own| Arc::ptr_eq(own, part))
    }

    /// Returns the journal's last entry for a `.part` that has been closed, if it lists any piece.
    pub(super) fn last_entry(&self) -> Option<VerifiedPieces> {
        (self.durable.ones() > 0).then(|| self.for_journal())
    }

    /// Takes all pieces but these for missing. The `.part` stays open.
    pub(super) fn lose_all_but(&mut self, have: &Bitfield) {
        self.before = self.stats();
        (self.download, self.writer) = (None, None);
        (self.metainfo_fetch, self.chain_fetch) = (None, None);
        self.verified = have.clone();
        for pieces in [&mut self.proven, &mut self.durable] {
            pieces.retain(have);
        }
    }

    /// Tells whether it is paused, and has neither a thread nor its file.
    pub(super) fn is_put_away(&self) -> bool {
        matches!(self.phase, TransferState::Paused(_)) && !self.is_running && self.part.is_none()
    }

    /// Puts the download away; its thread ends once it sees that the record is not its own.
    pub(super) fn leave_thread(&mut self) {
        self.put_away();
        (self.run, self.is_running) = (NEXT_RUN.fetch_add(1, Ordering::Relaxed), false);
    }

    /// Closes the `.part` and keeps what is known of its pieces.
    pub(super) fn put_away(&mut self) {
        self.before = self.stats();
        if let Some(part) = &self.part {
            self.part_stamp = part.stamp(true);
        }
        if self.part.as_ref().is_some_and(|part| part.has_lost()) {
            self.must_rewrite = true;
            self.verified = self.durable.clone();
            self.proven = proven_of(&self.facts, &self.durable);
        } else {
            self.verified = self.have().clone();
        }
        (self.download, self.part, self.writer) = (None, None, None);
        (self.metainfo_fetch, self.chain_fetch) = (None, None);
    }
}

/// Of the pieces that the journal lists, those that passed the chaining values: where the facts
/// name none, the journal says only that they are the info dictionary's.
fn proven_of(facts: &FileFacts, journaled: &Bitfield) -> Bitfield {
    match facts.chain {
        Some(_) => journaled.clone(),
        None => Bitfield::empty(journaled.count()),
    }
}
