//! The life of a download: opening its `.part`, checking what is there, fetching, the whole-file
//! check, its final name.
//!
//! **Invariant:** a file gets its final name only after every piece and the whole were verified and
//! made durable. Whatever goes wrong, what was verified stays in the `.part`, and
//! [`Transfer::resume`](super::Transfer::resume) goes on from it.
//!
//! A thread a running download walks [`run`] from top to bottom. While pieces come it waits: the
//! workers that check them go on with the SHA-1 of the whole as well ([`super::front`]), and what
//! they cannot take along it hashes itself. No piece waits while it reads.

mod check;
mod local;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;

use super::api::{DownloadSpec, EngineError, EngineEvent, SeedSpec, TransferId, TransferState};
use super::fetch::{self, MetainfoFetch};
use super::front::{Front, Turn};
use super::storage::{PartFile, StorageError, check_target};
use super::torrent::{State, Torrent};
use super::{Download, Options, Stats};
use crate::types::{Bitfield, FileFacts, Geometry, InodeId, PieceIndex, Sha1Digest};
use crate::wire::metainfo::Metainfo;

/// How long a `.part` that is locked is waited for: after a failure another thread of ours may be
/// about to let go of it.
const LOCKED_MAX: Duration = Duration::from_secs(5);
pub(super) const LOCKED_RETRY: Duration = Duration::from_millis(20);

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// The download of a torrent.
pub(super) struct TransferPart {
    /// The client's number for it.
    pub(super) number: TransferId,
    pub(super) facts: FileFacts,
    pub(super) target: PathBuf,
    pub(super) life: TransferState,
    /// Whether a `.part` that is there is ours.
    pub(super) ours: bool,
    /// Which file our `.part` is, if that is known.
    pub(super) known: Option<InodeId>,
    /// Tells its thread from that of an earlier download of the same file, which may not have
    /// noticed its end yet.
    id: u64,
    /// Whether its thread runs.
    pub(super) running: bool,
    /// There once the `.part` is open and checked.
    pub(super) download: Option<Download>,
    pub(super) part: Option<Arc<PartFile>>,
    /// There while the metainfo is being collected.
    pub(super) fetch: Option<MetainfoFetch>,
    /// What is verified while there is no `download`.
    verified: Bitfield,
    /// What is on the disk for good.
    durable: Bitfield,
    /// Writes were lost: what can be read and is not durable is to be written again.
    rewrite: bool,
    /// Bytes found to be there while checking.
    pub(super) checked: u64,
    /// The hash of the whole so far.
    pub(super) front: Front,
    /// Whether this run has brought a piece.
    pub(super) grown: bool,
    /// The next piece to ask for while pieces are asked for in order.
    next: u32,
    /// Whether pieces were verified since the last entry in the journal, and their bytes.
    pub(super) dirty: bool,
    pub(super) unsynced: u64,
    /// When it was last told to go on.
    pub(super) resumed: Option<Instant>,
    /// Counts of earlier attempts.
    before: Stats,
}

/// Says why the thread of a download ended before the file was complete.
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

impl TransferPart {
    /// Checks a download's description.
    pub(super) fn new(spec: &DownloadSpec, piece_count: u32) -> Result<Self, EngineError> {
        let verified = spec.verified.clone().unwrap_or_else(|| Bitfield::empty(piece_count));
        let metainfo_fits =
            spec.metainfo.as_ref().is_none_or(|metainfo| fetch::fits(metainfo, &spec.facts));
        if verified.count() != piece_count || !metainfo_fits {
            return Err(EngineError::Mismatch);
        }
        check_target(
            &spec.target,
            spec.facts.info_hash,
            spec.facts.len,
            check::lacking(spec, &verified),
        )?;
        Ok(Self {
            number: spec.id,
            facts: spec.facts.clone(),
            target: spec.target.clone(),
            life: TransferState::Paused(None),
            ours: spec.verified.is_some(),
            known: spec.part,
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            running: false,
            download: None,
            part: None,
            fetch: None,
            durable: verified.clone(),
            rewrite: false,
            verified,
            checked: 0,
            front: Front::default(),
            grown: false,
            next: 0,
            dirty: false,
            unsynced: 0,
            resumed: None,
            before: Stats::default(),
        })
    }

    /// The piece to ask for next where the order makes no difference to the swarm, because whoever
    /// is linked has everything: the one that lets the front advance.
    pub(super) fn next_in_order(&mut self, geometry: &Geometry) -> Option<PieceIndex> {
        loop {
            let piece = geometry.index(self.next.into())?;
            if !self.have().has(piece) {
                return Some(piece);
            }
            self.next += 1;
        }
    }

    /// Notes that a piece is asked for.
    pub(super) fn asked_for(&mut self, piece: PieceIndex) {
        if piece.get() == self.next {
            self.next += 1;
        }
    }

    /// The verified pieces.
    pub(super) fn have(&self) -> &Bitfield {
        self.download.as_ref().map_or(&self.verified, Download::have)
    }

    /// Counts of this and earlier attempts.
    pub(super) fn stats(&self) -> Stats {
        let mut stats = self.download.as_ref().map(Download::stats).unwrap_or_default();
        stats.received += self.before.received;
        stats.wasted += self.before.wasted;
        stats.corrupt += self.before.corrupt;
        stats
    }

    /// Notes what is on the disk for good, if that was written to the file we have now.
    pub(super) fn made_durable(&mut self, part: &Arc<PartFile>, have: &Bitfield) -> bool {
        let same = self.is_at(part);
        if same {
            self.durable = have.clone();
        }
        same
    }

    /// Tells whether this is the file we have now.
    pub(super) fn is_at(&self, part: &Arc<PartFile>) -> bool {
        self.part.as_ref().is_some_and(|own| Arc::ptr_eq(own, part))
    }

    /// Tells whether it is paused, and has neither a thread nor its file.
    pub(super) fn is_put_away(&self) -> bool {
        matches!(self.life, TransferState::Paused(_)) && !self.running && self.part.is_none()
    }

    /// Puts the download away and lets go of its thread, which sees that it is not the one any
    /// more, and ends.
    pub(super) fn leave_thread(&mut self) {
        self.put_away();
        (self.id, self.running) = (NEXT_ID.fetch_add(1, Ordering::Relaxed), false);
    }

    /// Puts the download away, keeping what it knows; its `.part` is closed.
    pub(super) fn put_away(&mut self) {
        self.before = self.stats();
        let lost = self.part.as_ref().is_some_and(|part| part.has_lost());
        self.rewrite |= lost;
        self.verified = if lost { self.durable.clone() } else { self.have().clone() };
        (self.download, self.part, self.fetch) = (None, None, None);
        (self.front, self.next) = (Front::default(), 0);
    }
}

/// Walks a download from its start to its end, whichever it is.
fn run(torrent: &Arc<Torrent>, id: u64) {
    torrent.engine.downloads.fetch_add(1, Ordering::Relaxed);
    let outcome = catch_unwind(AssertUnwindSafe(|| steps(&Run { torrent, id })));
    let outcome = outcome.unwrap_or_else(|_| {
        Err(End::Failed("its thread panicked: that is a bug in Posse".to_owned()))
    });
    torrent.engine.downloads.fetch_sub(1, Ordering::Relaxed);
    let mut state = torrent.state.lock();
    let Some(transfer) = state.transfer.as_mut().filter(|transfer| transfer.id == id) else {
        return;
    };
    transfer.running = false;
    if let Err(End::Paused(reason)) = &outcome
        && transfer.life == TransferState::Checking
    {
        torrent.pause_for(&mut state, reason.clone());
    } else if let Err(End::Failed(reason)) = outcome
        && transfer.life != TransferState::Cancelled
    {
        log::warn!("{}: failed: {reason}", transfer.target.display());
        transfer.put_away();
        transfer.life = TransferState::Failed(reason.clone());
        let (id, info_hash) = (transfer.number, torrent.info_hash);
        if state.seed.is_none() {
            state.close_links(|_| false);
        }
        drop(state);
        torrent.engine.host.event(EngineEvent::Failed { id, info_hash, reason });
    }
    torrent.changed.notify_all();
}

fn steps(run: &Run<'_>) -> Result<(), End> {
    let part = open(run)?;
    let have = check::check(run, &part)?;
    let local::Filled { have, sha1 } = local::fill(run, &part, have)?;
    attach(run, have)?;
    let digest = sha1.map_or_else(|| hash_front(run, &part), Ok)?;
    finish(run, &part, digest)
}

fn open(run: &Run<'_>) -> Result<Arc<PartFile>, End> {
    let torrent = run.torrent;
    let (target, whose) =
        run.with(|transfer| (transfer.target.clone(), (transfer.ours, transfer.known)))?;
    let disk = torrent.engine.disk.clone();
    let open =
        || PartFile::open(&target, torrent.info_hash, torrent.geometry.len(), whose, disk.clone());
    let part = open_unlocked(open, || {
        torrent.engine.stop.wait(LOCKED_RETRY);
        run.with(|_| ())
    })?;
    let kept = run.with(|transfer| {
        (transfer.ours, transfer.known) = (true, Some(part.id()));
        transfer.part = Some(part.clone());
    });
    if kept.is_err() && (part.is_new() || run.is_cancelled()) {
        // It was made, or opened, after the canceller looked. What is left when the engine stops
        // goes on another day.
        let _ = part.remove();
    }
    kept?;
    let number = run.with(|transfer| transfer.number)?;
    torrent.engine.host.opened(number, torrent.info_hash, part.id()).map_err(End::Paused)?;
    part.allot()?;
    Ok(part)
}

/// Opens a `.part`. Waits while another thread of ours is about to let go of it; `wait` is called
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

/// Makes the download out of what is there, and lets links come.
fn attach(run: &Run<'_>, have: Bitfield) -> Result<(), End> {
    let torrent = run.torrent;
    let geometry = torrent.geometry;
    if geometry.piece_count() == 0 {
        // An empty file has nothing to ask anybody for.
        if let Ok(metainfo) =
            run.with(|transfer| Metainfo::new(transfer.facts.name.clone(), geometry, Vec::new()))?
        {
            let _ = torrent.metainfo.set(Arc::new(metainfo));
        }
    }
    let mut state = torrent.state.lock();
    // Asked under the lock: whoever sets it looks under the lock for who waits for it.
    let known = torrent.metainfo.get().is_some();
    if !have.is_full() {
        state.close_links(|_| false);
    }
    let transfer = run.transfer(&mut state)?;
    let paused = matches!(transfer.life, TransferState::Paused(_));
    let options = Options { window_sum_max: torrent.engine.window_share(), ..Options::default() };
    let front = Front::new(&have, &geometry);
    let mut download = Download::new(geometry, have, options, rand::random());
    download.paused(paused);
    // What comes could not be checked yet.
    download.held(!known);
    transfer.download = Some(download);
    if !known {
        transfer.fetch = Some(MetainfoFetch::new(fetch::dictionary_len(&transfer.facts, geometry)));
    }
    (transfer.dirty, transfer.rewrite, transfer.front) = (true, false, front);
    if !paused {
        transfer.life = if known { TransferState::Downloading } else { TransferState::Metainfo };
    }
    torrent.dial_due(&mut state);
    drop(state);
    torrent.changed.notify_all();
    Ok(())
}

/// Hashes of the whole file what no worker takes along, until all of it is hashed and every piece
/// is there.
fn hash_front(run: &Run<'_>, part: &PartFile) -> Result<Sha1Digest, End> {
    loop {
        let turn = match next_turn(run)? {
            Next::Hash(turn) => turn,
            Next::Done(digest) => return Ok(digest),
        };
        run.torrent
            .advance(*turn, part)
            .map_err(|e| End::Failed(format!("cannot read {}: {e}", part.name())))?;
    }
}

/// What the download's thread is to do next.
enum Next {
    /// Go on with the front.
    Hash(Box<Turn>),
    /// Finish: every piece is there, and this is the hash of the whole.
    Done(Sha1Digest),
}

/// Waits until there is something to hash, or nothing any more.
fn next_turn(run: &Run<'_>) -> Result<Next, End> {
    let torrent = run.torrent;
    let mut state = torrent.state.lock();
    loop {
        let transfer = run.transfer(&mut state)?;
        let digest = transfer.front.digest(torrent.geometry.piece_count());
        if let Some(digest) = digest.filter(|_| transfer.have().is_full()) {
            return Ok(Next::Done(digest));
        }
        if let Some(turn) = Turn::alone(torrent, transfer) {
            return Ok(Next::Hash(Box::new(turn)));
        }
        torrent.sleep_on_front(&mut state);
    }
}

fn finish(run: &Run<'_>, part: &PartFile, digest: Sha1Digest) -> Result<(), End> {
    let torrent = run.torrent;
    let (id, facts, target) = {
        let mut state = torrent.state.lock();
        let transfer = wait_unpaused(run, &mut state)?;
        transfer.life = TransferState::Finishing;
        (transfer.number, transfer.facts.clone(), transfer.target.clone())
    };
    torrent.changed.notify_all();
    if digest != facts.sha1 {
        return Err(End::Failed(check::explain(run, part, digest, facts.sha1)?));
    }
    let metainfo = torrent
        .metainfo
        .get()
        .cloned()
        .ok_or_else(|| End::Failed("its metainfo is missing".to_owned()))?;
    let stamp = part.finish()?;
    let seed = SeedSpec { metainfo, path: target, stamp };
    let mut state = torrent.state.lock();
    let now = torrent.now();
    state.choker.seeding(true);
    state.choker.tick(now);
    if state.seed.is_none() {
        state.seed = Some(seed.clone());
    }
    state.spread(torrent.geometry);
    if let Some(transfer) = &mut state.transfer {
        transfer.put_away();
        transfer.verified = Bitfield::full(torrent.geometry.piece_count());
        transfer.dirty = false;
        transfer.life = TransferState::Complete;
        torrent.unlimit();
    }
    state.close_useless();
    torrent.drive(&mut state);
    drop(state);
    log::info!("{} is complete and verified", seed.path.display());
    torrent.engine.host.event(EngineEvent::Completed { id, info_hash: torrent.info_hash, seed });
    Ok(())
}

/// A download that was paused when its last piece came is not finished behind the user's back.
fn wait_unpaused<'a>(
    run: &Run<'_>,
    state: &'a mut MutexGuard<'_, State>,
) -> Result<&'a mut TransferPart, End> {
    while matches!(run.transfer(state)?.life, TransferState::Paused(_)) {
        run.torrent.changed.wait(state);
    }
    run.transfer(state)
}

/// One walk of one download.
struct Run<'a> {
    torrent: &'a Arc<Torrent>,
    id: u64,
}

impl Run<'_> {
    /// The download, unless it was cancelled, or the engine stops.
    fn transfer<'a>(&self, state: &'a mut State) -> Result<&'a mut TransferPart, End> {
        let transfer = state.transfer.as_mut().filter(|transfer| transfer.id == self.id);
        let runs = |transfer: &&mut TransferPart| {
            transfer.life != TransferState::Cancelled && !self.torrent.engine.stop.is_set()
        };
        transfer.filter(runs).ok_or(End::Quiet)
    }

    fn is_cancelled(&self) -> bool {
        let state = self.torrent.state.lock();
        state.transfer.as_ref().is_some_and(|transfer| {
            transfer.id == self.id && transfer.life == TransferState::Cancelled
        })
    }

    fn with<T>(&self, change: impl FnOnce(&mut TransferPart) -> T) -> Result<T, End> {
        self.transfer(&mut self.torrent.state.lock()).map(change)
    }
}

impl Torrent {
    /// Starts the download's thread, or lets it go on.
    pub(super) fn go(self: &Arc<Self>, state: &mut State) -> bool {
        let Some(transfer) = &mut state.transfer else { return false };
        transfer.life = match (&transfer.download, &transfer.fetch) {
            (None, _) => TransferState::Checking,
            (Some(_), Some(_)) => TransferState::Metainfo,
            (Some(_), None) => TransferState::Downloading,
        };
        transfer.resumed = Some(Instant::now());
        if let Some(download) = &mut transfer.download {
            download.paused(false);
        }
        self.activate();
        if !std::mem::replace(&mut transfer.running, true) {
            transfer.checked = 0;
            let (torrent, id) = (self.clone(), transfer.id);
            if let Err(e) = self.engine.threads.spawn("posse-download", move || run(&torrent, id)) {
                transfer.running = false;
                self.pause_for(state, format!("no thread for it: {e}"));
            }
        }
        self.drive(state);
        self.dial_due(state);
        self.changed.notify_all();
        true
    }

    /// Pauses a download that cannot write; what it has stays.
    pub(super) fn pause_itself(&self, state: &mut State, reason: String) {
        let Some(transfer) = &state.transfer else { return };
        if matches!(transfer.life, TransferState::Metainfo | TransferState::Downloading) {
            self.pause_for(state, reason);
        }
    }

    fn pause_for(&self, state: &mut State, reason: String) {
        log::warn!("{}: paused: {reason}", self.info_hash);
        self.stop_asking(state, TransferState::Paused(Some(reason.clone())));
        let Some(id) = state.transfer.as_ref().map(|transfer| transfer.number) else { return };
        let info_hash = self.info_hash;
        self.engine
            .later(move |engine| engine.host.event(EngineEvent::Paused { id, info_hash, reason }));
    }

    /// The file is offered from another place now: a download of it takes from there what it lacks.
    /// The links end, for the other ends know only what the download had, and who has everything
    /// would not stay with us.
    pub(super) fn take_from_seed(self: &Arc<Self>, state: &mut State) {
        let Some(transfer) = &mut state.transfer else { return };
        match transfer.life {
            TransferState::Paused(_) => transfer.leave_thread(),
            TransferState::Checking | TransferState::Metainfo | TransferState::Downloading => {
                transfer.leave_thread();
                self.go(state);
            }
            _ => return,
        }
        state.close_links(|_| false);
    }

    /// A sync failed: nobody knows what of the last pieces is on the disk. Pauses the download;
    /// `resume` checks and writes them again.
    pub(super) fn writes_lost(self: &Arc<Self>, part: &Arc<PartFile>, reason: String) {
        let mut state = self.state.lock();
        let Some(transfer) = state.transfer.as_mut().filter(|transfer| transfer.is_at(part)) else {
            return;
        };
        let was = transfer.life.clone();
        transfer.leave_thread();
        match was {
            TransferState::Paused(_) => self.stop_asking(&mut state, was),
            _ => self.pause_for(&mut state, reason),
        }
    }

    /// Gives up what is asked for and closes the links, unless they serve a file that we have
    /// whole.
    pub(super) fn stop_asking(&self, state: &mut State, life: TransferState) {
        let Some(transfer) = &mut state.transfer else { return };
        transfer.life = life;
        transfer.front.forget_kept();
        if let Some(download) = &mut transfer.download {
            download.paused(true);
        }
        if state.seed.is_none() {
            state.close_links(|_| false);
        }
        self.changed.notify_all();
    }
}
