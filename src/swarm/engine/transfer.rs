//! The life of a download: opening its `.part`, checking what is there, fetching, proving what was
//! not proven as it came, its final name.
//!
//! **Invariant:** a file gets its final name only after every piece and the whole were verified and
//! made durable. Whatever goes wrong, what was verified stays in the `.part`, and
//! [`Transfer::resume`](crate::swarm::Transfer::resume) goes on from it.
//!
//! A thread a running download walks [`run`] from top to bottom. While pieces come, it writes those
//! that the pool's workers have hashed ([`crate::swarm::engine::verify`]). A piece that passes the file's chain
//! ([`crate::swarm::pick::chain`]) is proven for good; where there is no chain, the whole is hashed at the end.

mod check;
mod local;
mod prove;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select};
use parking_lot::MutexGuard;

use crate::swarm::api::{
    DownloadSpec, EngineError, EngineEvent, SeedSpec, TransferId, TransferState,
};
use crate::swarm::disk::part_file::{PartFile, StorageError, check_target};
use crate::swarm::engine::torrent::{State, Torrent};
use crate::swarm::engine::verify::Checked;
use crate::swarm::link::PartsOf;
use crate::swarm::pick::chain::Chain;
use crate::swarm::pick::parts::{self, PartsFetch};
use crate::swarm::{Download, Options, Stats};
use crate::types::{Bitfield, ChainingValues, FileFacts, Geometry, InodeId, PieceIndex};

/// How long a `.part` that is locked is waited for: after a failure another thread of ours may be
/// about to let go of it.
const LOCKED_MAX: Duration = Duration::from_secs(5);
pub(crate) const LOCKED_RETRY: Duration = Duration::from_millis(20);

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// The download of a torrent.
pub(crate) struct TransferPart {
    /// The client's number for it.
    pub(crate) number: TransferId,
    pub(crate) facts: FileFacts,
    pub(crate) target: PathBuf,
    pub(crate) life: TransferState,
    /// Whether a `.part` that is there is ours.
    pub(crate) ours: bool,
    /// Which file our `.part` is, if that is known.
    pub(crate) known: Option<InodeId>,
    /// Tells its thread from that of an earlier download of the same file, which may not have
    /// noticed its end yet.
    id: u64,
    /// Whether its thread runs.
    pub(crate) running: bool,
    /// There once the `.part` is open and checked.
    pub(crate) download: Option<Download>,
    pub(crate) part: Option<Arc<PartFile>>,
    /// Parts of the metainfo and of the list that have come.
    pub(crate) parts_came: u64,
    /// There while the metainfo is being collected.
    pub(crate) fetch: Option<PartsFetch>,
    /// There while the list of chaining values is being collected.
    pub(crate) chain_fetch: Option<PartsFetch>,
    /// Since when no link that has pieces has the list.
    pub(crate) chain_missing: Option<Duration>,
    /// What proves the pieces; there before any is asked for, or not at all in this run.
    pub(crate) chain: Option<Arc<Chain>>,
    /// Where workers put the pieces that they have hashed; there while the thread takes them.
    pub(crate) writer: Option<Sender<Checked>>,
    /// What is verified while there is no `download`.
    verified: Bitfield,
    /// What passed the chain that the facts name, in this run or an earlier one; no other piece is
    /// here that is not verified.
    pub(crate) proven: Bitfield,
    /// What is on the disk for good.
    durable: Bitfield,
    /// Writes were lost: what can be read and is not durable is to be written again.
    rewrite: bool,
    /// Bytes found to be there while checking.
    pub(crate) checked: u64,
    /// The next piece to ask for while pieces are asked for in order.
    next: u32,
    /// Whether pieces were verified since the last entry in the journal, and their bytes.
    pub(crate) dirty: bool,
    pub(crate) unsynced: u64,
    /// When it was last told to go on.
    pub(crate) resumed: Option<Instant>,
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
    pub(crate) fn new(spec: &DownloadSpec, geometry: Geometry) -> Result<Self, EngineError> {
        let (facts, piece_count) = (&spec.facts, geometry.piece_count());
        let verified = spec.verified.clone().unwrap_or_else(|| Bitfield::empty(piece_count));
        let metainfo_fits =
            spec.metainfo.as_ref().is_none_or(|metainfo| parts::fits(metainfo, &spec.facts));
        if verified.count() != piece_count || !metainfo_fits {
            return Err(EngineError::Mismatch);
        }
        check_target(
            &spec.target,
            spec.facts.info_hash,
            spec.facts.len,
            check::lacking(spec, &verified),
        )?;
        let chain = match &spec.chain {
            _ if piece_count == 1 => parts::chain_of_one(facts, geometry),
            Some(values) => parts::chain_of(values, facts, geometry),
            None => None,
        };
        let proven = proven_by(facts, &verified);
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
            parts_came: 0,
            fetch: None,
            chain_fetch: None,
            chain_missing: None,
            chain: chain.map(Arc::new),
            writer: None,
            proven,
            durable: verified.clone(),
            rewrite: false,
            verified,
            checked: 0,
            next: 0,
            dirty: false,
            unsynced: 0,
            resumed: None,
            before: Stats::default(),
        })
    }

    /// The piece to ask for next where the order makes no difference to the swarm, because whoever
    /// is linked has everything: the next of the file, so that disks read and write in one direction.
    pub(crate) fn next_in_order(&mut self, geometry: &Geometry) -> Option<PieceIndex> {
        loop {
            let piece = geometry.index(self.next.into())?;
            if !self.have().has(piece) {
                return Some(piece);
            }
            self.next += 1;
        }
    }

    /// Notes that a piece is asked for.
    pub(crate) fn asked_for(&mut self, piece: PieceIndex) {
        if piece.get() == self.next {
            self.next += 1;
        }
    }

    /// The verified pieces.
    pub(crate) fn have(&self) -> &Bitfield {
        self.download.as_ref().map_or(&self.verified, Download::have)
    }

    /// The verified pieces that the journal is to vouch for: where the facts name chaining values,
    /// those that passed them.
    pub(crate) fn vouched(&self) -> &Bitfield {
        if self.facts.chain.is_some() { &self.proven } else { self.have() }
    }

    /// What is being collected in parts.
    pub(crate) fn parts(&mut self, of: PartsOf) -> &mut Option<PartsFetch> {
        match of {
            PartsOf::Metainfo => &mut self.fetch,
            PartsOf::Chain => &mut self.chain_fetch,
        }
    }

    /// Tells whether what its pieces are checked by is still being collected.
    pub(crate) fn is_collecting(&self) -> bool {
        self.fetch.is_some() || self.chain_fetch.is_some()
    }

    /// Counts of this and earlier attempts.
    pub(crate) fn stats(&self) -> Stats {
        let mut stats = self.download.as_ref().map(Download::stats).unwrap_or_default();
        stats.received += self.before.received;
        stats.wasted += self.before.wasted;
        stats.corrupt += self.before.corrupt;
        stats
    }

    /// Notes what is on the disk for good, if that was written to the file we have now.
    pub(crate) fn made_durable(&mut self, part: &Arc<PartFile>, have: &Bitfield) -> bool {
        let same = self.is_at(part);
        if same {
            self.durable = have.clone();
        }
        same
    }

    /// Tells whether this is the file we have now.
    pub(crate) fn is_at(&self, part: &Arc<PartFile>) -> bool {
        self.part.as_ref().is_some_and(|own| Arc::ptr_eq(own, part))
    }

    /// Tells whether it is paused, and has neither a thread nor its file.
    pub(crate) fn is_put_away(&self) -> bool {
        matches!(self.life, TransferState::Paused(_)) && !self.running && self.part.is_none()
    }

    /// Puts the download away and lets go of its thread, which sees that it is not the one any
    /// more, and ends.
    pub(crate) fn leave_thread(&mut self) {
        self.put_away();
        (self.id, self.running) = (NEXT_ID.fetch_add(1, Ordering::Relaxed), false);
    }

    /// Puts the download away, keeping what it knows; its `.part` is closed.
    pub(crate) fn put_away(&mut self) {
        self.before = self.stats();
        let lost = self.part.as_ref().is_some_and(|part| part.has_lost());
        self.rewrite |= lost;
        if lost {
            self.verified = self.durable.clone();
            self.proven = proven_by(&self.facts, &self.durable);
        } else {
            self.verified = self.have().clone();
        }
        (self.download, self.part, self.writer) = (None, None, None);
        (self.fetch, self.chain_fetch, self.next) = (None, None, 0);
    }
}

/// Of the pieces that the journal vouches for, those that passed the chain: where the facts name
/// none, the journal says only that they are the info dictionary's.
fn proven_by(facts: &FileFacts, vouched: &Bitfield) -> Bitfield {
    match facts.chain {
        Some(_) => vouched.clone(),
        None => Bitfield::empty(vouched.count()),
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
    let local::Filled { have, whole } = local::fill(run, &part, have)?;
    let hashed = attach(run, have)?;
    take_pieces(run, &part, &hashed)?;
    begin_to_finish(run)?;
    let chain = prove::prove(run, &part, whole)?;
    finish(run, &part, chain)
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
pub(crate) fn open_unlocked<E: From<StorageError>>(
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

/// Makes the download out of what is there, and lets links come; returns where pieces that were
/// hashed will come from.
fn attach(run: &Run<'_>, have: Bitfield) -> Result<Receiver<Checked>, End> {
    let torrent = run.torrent;
    let geometry = torrent.geometry;
    let mut state = torrent.state.lock();
    // Asked under the lock: whoever sets it looks under the lock for who waits for it.
    let known = torrent.metainfo.get().is_some();
    let is_full = have.is_full();
    if !is_full {
        state.close_links(|_| false);
    }
    let transfer = run.transfer(&mut state)?;
    let paused = matches!(transfer.life, TransferState::Paused(_));
    let options = Options { window_sum_max: torrent.engine.window_share(), ..Options::default() };
    // As many as there may be buffers: a worker never waits here.
    let pieces = options.window_sum_max / u64::from(geometry.piece_len());
    let (writer, hashed) = bounded(pieces as usize + 2);
    let mut download = Download::new(geometry, have, options, rand::random());
    download.paused(paused);
    transfer.chain_missing = None;
    if !known && !is_full {
        transfer.fetch = Some(PartsFetch::new(parts::dictionary_len(&transfer.facts, geometry)));
    }
    if transfer.chain.is_none() && transfer.facts.chain.is_some() && !is_full {
        transfer.chain_fetch = Some(PartsFetch::new(parts::chain_len(geometry)));
    }
    // What comes could not be checked yet.
    let is_collecting = transfer.is_collecting();
    download.held(is_collecting);
    (transfer.download, transfer.writer) = (Some(download), Some(writer));
    (transfer.dirty, transfer.rewrite) = (true, false);
    if !paused {
        transfer.life =
            if is_collecting { TransferState::Metainfo } else { TransferState::Downloading };
    }
    torrent.dial_due(&mut state);
    drop(state);
    torrent.changed.notify_all();
    Ok(hashed)
}

/// Takes the pieces that workers have hashed, and writes the good ones, until every piece is there.
fn take_pieces(run: &Run<'_>, part: &Arc<PartFile>, hashed: &Receiver<Checked>) -> Result<(), End> {
    let torrent = run.torrent;
    loop {
        match run.with(|transfer| transfer.have().is_full()) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(end) => {
                // What was found good before the engine stopped is written for the next start.
                let rest = hashed.try_iter().filter(|_| torrent.engine.stop.is_set());
                for checked in rest {
                    torrent.conclude(checked, part).map_err(End::Failed)?;
                }
                return Err(end);
            }
        }
        select! {
            // The other end goes when the download is put away.
            recv(hashed) -> checked => {
                let checked = checked.map_err(|_| End::Quiet)?;
                torrent.conclude(checked, part).map_err(End::Failed)?;
            }
            recv(torrent.engine.stop.channel()) -> _ => {}
        }
    }
}

/// Every piece is there.
fn begin_to_finish(run: &Run<'_>) -> Result<(), End> {
    let mut state = run.torrent.state.lock();
    wait_unpaused(run, &mut state)?.life = TransferState::Finishing;
    drop(state);
    run.torrent.changed.notify_all();
    Ok(())
}

/// Gives the file its name, and offers it.
fn finish(run: &Run<'_>, part: &PartFile, chain: Arc<ChainingValues>) -> Result<(), End> {
    let torrent = run.torrent;
    let (id, target) = run.with(|transfer| (transfer.number, transfer.target.clone()))?;
    if torrent.metainfo.get().is_none() {
        // Every piece was here from the start, and a client that was killed had not kept it.
        local::learn(run, |bytes, offset| part.read(bytes, offset))?;
    }
    let metainfo = torrent.metainfo.get().cloned().ok_or_else(|| {
        End::Failed(format!("{} does not have the pieces that the group lists", part.name()))
    })?;
    let stamp = part.finish()?;
    let seed = SeedSpec { metainfo, chain: Some(chain), path: target, stamp };
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
    pub(crate) fn go(self: &Arc<Self>, state: &mut State) -> bool {
        let Some(transfer) = &mut state.transfer else { return false };
        transfer.life = match &transfer.download {
            None => TransferState::Checking,
            Some(_) if transfer.is_collecting() => TransferState::Metainfo,
            Some(_) => TransferState::Downloading,
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
    pub(crate) fn pause_itself(&self, state: &mut State, reason: String) {
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
    pub(crate) fn take_from_seed(self: &Arc<Self>, state: &mut State) {
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
    pub(crate) fn writes_lost(self: &Arc<Self>, part: &Arc<PartFile>, reason: String) {
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
    pub(crate) fn stop_asking(&self, state: &mut State, life: TransferState) {
        let Some(transfer) = &mut state.transfer else { return };
        transfer.life = life;
        if let Some(download) = &mut transfer.download {
            download.paused(true);
        }
        if state.seed.is_none() {
            state.close_links(|_| false);
        }
        self.changed.notify_all();
    }
}
