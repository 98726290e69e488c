//! The engine: every file this device seeds or downloads, and every link to other clients.
//!
//! **Invariant:** a file is in the engine once, under its info hash, however many groups offer it.
//! Every thread is started through one [`Threads`], and ends after [`Engine::stop`].
//!
//! Besides the pool and the links there are three threads: the timer (time-outs, slots, dials), the
//! journal (makes verified pieces durable, and says so to the host), and the pace (sends requests
//! that a limit held back). None is in the data's path.

pub(crate) mod handle;
pub(crate) mod metadata;
pub(crate) mod opening;
pub(crate) mod peers;
pub(crate) mod pool;
pub(crate) mod session;
pub(crate) mod torrent;
pub(crate) mod transfer;
pub(crate) mod upload;
pub(crate) mod verify;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select};
use parking_lot::{Mutex, RwLock};

use crate::net::{Bounds, Incoming, Registry, Stop, Threads};
use crate::swarm::api::{
    DownloadSpec, EngineConfig, EngineError, Host, LinkFacts, SeedSpec, TransferState, UploadStats,
};
use crate::swarm::disk::buffers::Buffers;
use crate::swarm::disk::part_file::{Disk, SystemDisk};
use crate::swarm::disk::seed_files::OpenFiles;
use crate::swarm::engine::handle::Transfer;
use crate::swarm::engine::pool::Pool;
use crate::swarm::engine::torrent::{State, Torrent};
use crate::swarm::engine::transfer::TransferPart;
use crate::swarm::link::limiter::Pace;
use crate::swarm::link::quota::Shares;
use crate::swarm::serve::limiter::Limits;
use crate::types::{DeviceId, Geometry, InfoHash, Ticket};
use crate::wire::metainfo::Metainfo;

/// How often time-outs, slots and dials are looked at.
const TICK: Duration = Duration::from_millis(250);
/// Links that one address may be setting up: members behind one router are several.
const UNPROVEN_PER_ADDRESS_MAX: usize = 32;
/// Events waiting to be told from a place that holds a lock.
const LATER_MAX: usize = 256;

/// Bytes of chunk buffers that a download has whatever others need: a few pieces, so that it does
/// not stand still.
const WINDOW_SHARE_MIN: u64 = 4 << 20;

type Deed = Box<dyn FnOnce(&Arc<Inner>) + Send>;

/// Moves files. [`Engine::stop`] ends it in good order; dropping it only tells its threads to end.
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

/// What the engine's threads share.
pub(crate) struct Inner {
    pub(crate) config: EngineConfig,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) threads: Threads,
    pub(crate) stop: Stop,
    pub(crate) registry: Registry,
    pub(crate) shares: Arc<Shares>,
    pub(crate) pool: Pool,
    pub(crate) buffers: Arc<Buffers>,
    pub(crate) files: OpenFiles,
    pub(crate) pace: Pace,
    pub(crate) next_link: AtomicU64,
    /// Dials under way.
    pub(crate) dials: AtomicUsize,
    /// Downloads whose thread runs.
    pub(crate) downloads: AtomicU64,
    /// The zero of the pure parts' clock.
    pub(crate) epoch: Instant,
    torrents: RwLock<HashMap<InfoHash, Arc<Torrent>>>,
    /// Those that have links, or a download whose thread runs or whose journal is to be written:
    /// the others cost nothing, however many there are. Locked within a torrent's lock.
    active: Mutex<HashMap<InfoHash, Arc<Torrent>>>,
    /// One at a time decides which torrents there are.
    changes: Mutex<()>,
    later: Sender<Deed>,
    /// Holds a token while the journal is to be written before its time.
    journal_due: Sender<()>,
}

impl Engine {
    /// Starts the pool and the engine's threads.
    ///
    /// # Errors
    /// [`EngineError::Threads`] if the system has no room for them.
    pub fn start(config: EngineConfig, host: Arc<dyn Host>) -> Result<Arc<Self>, EngineError> {
        Self::start_on(config, host, Arc::new(SystemDisk))
    }

    /// The same on a disk that may fail.
    pub(crate) fn start_on(
        config: EngineConfig,
        host: Arc<dyn Host>,
        disk: Arc<dyn Disk>,
    ) -> Result<Arc<Self>, EngineError> {
        let stop = Stop::new();
        let (later, deeds) = bounded::<Deed>(LATER_MAX);
        let (journal_due, due) = bounded::<()>(1);
        let inner = Arc::new(Inner {
            host,
            disk,
            threads: Threads::new(),
            registry: Registry::new(bounds(&config)),
            shares: Shares::new(config.links_max),
            pool: Pool::start(config.threads.max(1), &stop),
            stop,
            buffers: Arc::default(),
            files: OpenFiles::new(config.open_files_max),
            pace: Pace::new(config.limits),
            next_link: AtomicU64::new(1),
            dials: AtomicUsize::new(0),
            downloads: AtomicU64::new(0),
            epoch: Instant::now(),
            torrents: RwLock::default(),
            active: Mutex::default(),
            changes: Mutex::default(),
            later,
            journal_due,
            config,
        });
        let (timer, journal, pace) = (inner.clone(), inner.clone(), inner.clone());
        let started = inner.threads.spawn("posse-timer", move || timer.keep_time());
        let started = started.and_then(|()| {
            inner.threads.spawn("posse-journal", move || journal.keep_journal(&deeds, &due))
        });
        let started = started.and_then(|()| {
            inner.threads.spawn("posse-pace", move || pace.pace.download.run(&pace))
        });
        let engine = Arc::new(Self { inner });
        match started {
            Ok(()) => Ok(engine),
            Err(e) => {
                engine.stop(Duration::from_secs(1));
                Err(EngineError::Threads(e))
            }
        }
    }

    /// Takes an inbound connection from the client's listener. Never blocks; sheds it when there
    /// are too many.
    pub fn accept(&self, incoming: Incoming) {
        let peer = incoming.peer_addr();
        let Some(mut admission) = self.inner.registry.admit(peer.ip(), incoming.clone()) else {
            log::info!("{peer}: shed, too many links are up");
            return incoming.close();
        };
        let inner = self.inner.clone();
        let spawned = self.inner.threads.spawn("posse-link", move || {
            let closes = incoming.clone();
            if let Err(e) =
                crate::swarm::engine::opening::accept(&inner, incoming, || admission.prove())
            {
                log::info!("{peer}: connection closed: {e}");
            }
            closes.close();
        });
        if let Err(e) = spawned {
            log::warn!("{peer}: shed, no thread for it: {e}");
        }
    }

    /// Offers a file, read only. Offering it again replaces the path.
    ///
    /// # Errors
    /// [`EngineError::Stopped`]; [`EngineError::Mismatch`] while a download that was told other
    /// facts about this content is there. Whether the file is still the one that was hashed is seen
    /// when somebody asks for it.
    pub fn seed(&self, spec: SeedSpec) -> Result<(), EngineError> {
        self.inner.seed(spec).map(drop)
    }

    /// Tells whether the engine has something of a file: it was asked for, or is downloaded.
    pub(crate) fn knows(&self, info_hash: InfoHash) -> bool {
        self.inner.torrent(info_hash).is_some()
    }

    /// Stops offering a file; a download of it goes on. False if it was not offered. It stays open
    /// until [`Engine::close_file`], or until nobody has read it for a while.
    pub fn unseed(&self, info_hash: InfoHash) -> bool {
        self.inner.unseed(info_hash)
    }

    /// Closes a file that was open to be served.
    ///
    /// # Blocking
    /// For the file system, if it takes its time.
    pub fn close_file(&self, info_hash: InfoHash) {
        self.inner.files.forget(info_hash);
    }

    /// Begins or continues a download.
    ///
    /// # Errors
    /// What can be seen at once; what is found later ends the [`Transfer`] with its reason.
    ///
    /// # Blocking
    /// For a few system calls on the destination's file system.
    pub fn download(&self, spec: DownloadSpec) -> Result<Transfer, EngineError> {
        let inner = &self.inner;
        let geometry = Geometry::new(spec.facts.len, spec.facts.piece_len)?;
        let part = TransferPart::new(&spec, geometry)?;
        let _changes = inner.changes.lock();
        let torrent = inner.get_or_insert(spec.facts.info_hash, geometry)?;
        if torrent.geometry != geometry {
            return Err(EngineError::Mismatch);
        }
        {
            let mut state = torrent.state.lock();
            match &state.transfer {
                Some(other) if !other.life.has_ended() && !other.is_put_away() => {
                    return Err(EngineError::AlreadyDownloading(other.target.clone()));
                }
                _ => state.transfer = Some(part),
            }
        }
        let small = || Metainfo::of_small(&spec.facts).map(Arc::new);
        if let Some(metainfo) = spec.metainfo.or_else(small) {
            let _ = torrent.metainfo.set(metainfo);
        }
        let transfer = Transfer { torrent };
        if !spec.paused {
            transfer.begin();
        }
        Ok(transfer)
    }

    /// The download of this file, if there is or was one in this run.
    pub fn transfer(&self, info_hash: InfoHash) -> Option<Transfer> {
        let torrent = self.inner.torrent(info_hash)?;
        let there = torrent.state.lock().transfer.is_some();
        there.then_some(Transfer { torrent })
    }

    /// Names devices that take part in a file's swarm: a download dials them now, and again
    /// whenever a link is lost.
    pub fn add_peers(
        &self,
        info_hash: InfoHash,
        peers: impl IntoIterator<Item = (DeviceId, SocketAddr)>,
    ) {
        let Some(torrent) = self.inner.torrent(info_hash) else { return };
        let mut state = torrent.state.lock();
        for (device, address) in peers {
            if device != self.inner.device() {
                state.peers.list(device, address);
            }
        }
        torrent.dial_due(&mut state);
    }

    /// A device has left a file's swarm: it is not dialled again. A link that works stays.
    pub fn remove_peer(&self, info_hash: InfoHash, device: DeviceId) {
        if let Some(torrent) = self.inner.torrent(info_hash) {
            torrent.state.lock().peers.unlist(device);
        }
    }

    /// Closes every link, of whatever file, on which `ends` is true: what it rests on has gone.
    pub fn end_links(&self, ends: impl Fn(&LinkFacts) -> bool) {
        let torrents = self.inner.active();
        torrents.iter().for_each(|torrent| {
            torrent.state.lock().close_links(|link| !ends(&link.facts(torrent.info_hash)))
        });
    }

    /// Shows a newer ticket of ours on every link that rests on its group.
    pub fn show_ticket(&self, ticket: &Ticket) {
        for torrent in self.inner.active() {
            let state = torrent.state.lock();
            state
                .links
                .values()
                .filter(|link| link.proof().group == ticket.claims.group)
                .for_each(|link| link.show_ticket(ticket));
        }
    }

    /// What is served to whom: one entry for every file offered, complete or not.
    pub fn uploads(&self) -> Vec<UploadStats> {
        let torrents: Vec<Arc<Torrent>> = self.inner.torrents.read().values().cloned().collect();
        let upload = |torrent: &Arc<Torrent>| {
            let state = torrent.state.lock();
            let target = state
                .transfer
                .as_ref()
                .filter(|_| state.wants_links())
                .map(|transfer| &transfer.target);
            let path = state.seed.as_ref().map(|seed| &seed.path).or(target)?.clone();
            let (peers, sent) = (state.links.len() as u32, state.sent);
            let sent_to = state.sent_to.iter().map(|(device, sent)| (*device, *sent)).collect();
            Some(UploadStats { info_hash: torrent.info_hash, path, peers, sent, sent_to })
        };
        torrents.iter().filter_map(upload).collect()
    }

    /// Limits what is sent and received from now on; blocks that were asked for already still come.
    pub fn set_limits(&self, limits: Limits) {
        self.inner.pace.set_limits(limits);
    }

    /// The limits now.
    pub fn limits(&self) -> Limits {
        self.inner.pace.limits()
    }

    /// Number of links that are up or being set up.
    pub fn link_count(&self) -> usize {
        self.inner.registry.count()
    }

    /// Ends everything: what unfinished downloads have is made durable and written to the journal.
    /// Returns the names of threads that had not ended after `timeout`.
    ///
    /// # Blocking
    /// For at most `timeout`, and until the last pieces are durable.
    pub fn stop(&self, timeout: Duration) -> Vec<String> {
        let inner = &self.inner;
        let deadline = Instant::now() + timeout;
        inner.stop.set();
        inner.registry.close_all();
        let torrents: Vec<Arc<Torrent>> = inner.torrents.read().values().cloned().collect();
        for torrent in &torrents {
            // The lock makes sure that whoever was about to wait sees the signal.
            torrent.state.lock().close_links(|_| false);
            torrent.changed.notify_all();
        }
        let mut stayed = inner.threads.join(deadline.saturating_duration_since(Instant::now()));
        if !inner.pool.join(deadline.saturating_duration_since(Instant::now())) {
            stayed.push("posse-pool".to_owned());
        }
        for torrent in torrents {
            torrent.write_journal();
            // Whoever continues it, in this process or another, finds the `.part` unlocked.
            if let Some(transfer) = &mut torrent.state.lock().transfer {
                transfer.put_away();
            }
        }
        inner.torrents.write().clear();
        inner.active.lock().clear();
        stayed
    }
}

impl Drop for Engine {
    /// Ends the threads without waiting for them.
    fn drop(&mut self) {
        self.inner.stop.set();
        self.inner.registry.close_all();
        let torrents = std::mem::take(&mut *self.inner.torrents.write());
        drop(std::mem::take(&mut *self.inner.active.lock()));
        for torrent in torrents.values() {
            torrent.state.lock().close_links(|_| false);
            torrent.changed.notify_all();
        }
    }
}

impl Inner {
    /// Who we are to other clients.
    pub(crate) fn device(&self) -> DeviceId {
        self.config.transport.device()
    }

    /// Looks a file up.
    pub(crate) fn torrent(&self, info_hash: InfoHash) -> Option<Arc<Torrent>> {
        self.torrents.read().get(&info_hash).cloned()
    }

    fn get_or_insert(
        self: &Arc<Self>,
        info_hash: InfoHash,
        geometry: Geometry,
    ) -> Result<Arc<Torrent>, EngineError> {
        if self.stop.is_set() {
            return Err(EngineError::Stopped);
        }
        let mut torrents = self.torrents.write();
        let torrent = torrents
            .entry(info_hash)
            .or_insert_with(|| Arc::new(Torrent::new(self, info_hash, geometry)));
        Ok(torrent.clone())
    }

    /// Offers a file.
    pub(crate) fn seed(self: &Arc<Self>, spec: SeedSpec) -> Result<Arc<Torrent>, EngineError> {
        let (info_hash, geometry) = (spec.metainfo.info_hash(), spec.metainfo.geometry());
        let _changes = self.changes.lock();
        let torrent = self.get_or_insert(info_hash, geometry)?;
        if torrent.geometry != geometry {
            return Err(EngineError::Mismatch);
        }
        let _ = torrent.metainfo.set(spec.metainfo.clone());
        self.files.forget(info_hash);
        let mut state = torrent.state.lock();
        state.choker.seeding(true);
        if state.seed.replace(spec).is_none() {
            torrent.take_from_seed(&mut state);
        }
        state.spread(geometry);
        drop(state);
        Ok(torrent)
    }

    /// A file that is offered, though nobody has asked for it yet.
    pub(crate) fn offered(self: &Arc<Self>, info_hash: InfoHash) -> Option<Arc<Torrent>> {
        let known = self.torrent(info_hash);
        if known.as_ref().is_some_and(|torrent| torrent.state.lock().seed.is_some()) {
            return known;
        }
        // A download of it may stand still, while the file is offered in another group.
        let spec = self.host.seed(info_hash);
        // It may be gone again before the link is registered, which looks once more.
        spec.and_then(|spec| self.seed(spec).ok()).or(known)
    }

    /// Stops offering a file.
    pub(crate) fn unseed(&self, info_hash: InfoHash) -> bool {
        let Some(torrent) = self.torrent(info_hash) else { return false };
        let was = {
            let mut state = torrent.state.lock();
            state.spreader = None;
            state.choker.seeding(false);
            state.close_links(|_| false);
            state.seed.take().is_some()
        };
        self.drop_unused(&torrent);
        was
    }

    /// Forgets a file that is neither offered nor being downloaded.
    pub(crate) fn drop_unused(&self, torrent: &Arc<Torrent>) {
        let _changes = self.changes.lock();
        let state = torrent.state.lock();
        let ended = |life: &TransferState| {
            matches!(life, TransferState::Complete | TransferState::Cancelled)
        };
        if state.seed.is_none()
            && state.transfer.as_ref().is_none_or(|transfer| ended(&transfer.life))
        {
            self.torrents.write().remove(&torrent.info_hash);
        }
    }

    /// Has something done on the journal thread, for places that hold a lock. Dropped when too much
    /// waits: then it is only late news.
    pub(crate) fn later(&self, deed: impl FnOnce(&Arc<Self>) + Send + 'static) {
        if self.later.try_send(Box::new(deed)).is_err() {
            log::warn!("an event was dropped: the client takes too long with the earlier ones");
        }
    }

    /// Has the journal written before its time, because much was verified since.
    pub(crate) fn journal_soon(&self) {
        // If a token is there, it is about to happen.
        let _ = self.journal_due.try_send(());
    }

    /// Bytes of chunk buffers for a download that begins now: all share the sum, and each can do
    /// with a little.
    pub(crate) fn window_share(&self) -> u64 {
        let sharers = self.downloads.load(Ordering::Relaxed).max(1);
        (self.config.window_sum_max / sharers).max(WINDOW_SHARE_MIN)
    }

    fn keep_time(&self) {
        while !self.stop.wait(TICK) {
            self.active().iter().for_each(Torrent::tick);
        }
    }

    fn keep_journal(self: &Arc<Self>, deeds: &Receiver<Deed>, much: &Receiver<()>) {
        let mut due = Instant::now() + self.config.journal_interval;
        loop {
            select! {
                recv(deeds) -> deed => if let Ok(deed) = deed { deed(self) },
                recv(self.stop.channel()) -> _ => return,
                recv(much) -> _ => self.write_journals(),
                default(due.saturating_duration_since(Instant::now())) => {
                    self.write_journals();
                    due = Instant::now() + self.config.journal_interval;
                }
            }
        }
    }

    fn write_journals(&self) {
        self.active().iter().for_each(|torrent| torrent.write_journal());
    }

    /// The files that time passes for.
    pub(crate) fn active(&self) -> Vec<Arc<Torrent>> {
        self.active.lock().values().cloned().collect()
    }
}

impl Torrent {
    /// Time passes for the file from now on. Called under its lock by whatever gives it something
    /// to do: a link, a download's thread. One of the same content that was forgotten, and has not
    /// noticed that it has nothing to do, gives way.
    pub(crate) fn activate(self: &Arc<Self>) {
        let mut active = self.engine.active.lock();
        if !active.get(&self.info_hash).is_some_and(|there| Arc::ptr_eq(there, self)) {
            active.insert(self.info_hash, self.clone());
        }
    }

    /// Time need not pass for the file, if it has nothing to do. Called under its lock.
    pub(crate) fn rest(self: &Arc<Self>, state: &State) {
        if state.is_active() {
            return;
        }
        let mut active = self.engine.active.lock();
        if active.get(&self.info_hash).is_some_and(|there| Arc::ptr_eq(there, self)) {
            active.remove(&self.info_hash);
        }
    }

    /// Makes the pieces verified so far durable, then tells the host.
    fn write_journal(self: &Arc<Self>) {
        let (part, have) = {
            let mut state = self.state.lock();
            let Some(transfer) = state.transfer.as_mut().filter(|transfer| transfer.dirty) else {
                return;
            };
            let Some(part) = transfer.part.clone() else { return };
            (transfer.dirty, transfer.unsynced) = (false, 0);
            (part, transfer.vouched().clone())
        };
        if let Err(e) = part.sync() {
            return self.writes_lost(&part, format!("cannot write {}: {e}", part.name()));
        }
        // It may have been cancelled meanwhile, and begun again: then this is about a file that is
        // gone.
        let current =
            self.state.lock().transfer.as_mut().and_then(|transfer| {
                transfer.made_durable(&part, &have).then_some(transfer.number)
            });
        if let Some(id) = current {
            self.engine.host.journal(id, self.info_hash, &have);
        }
    }
}

/// What the registry admits: of the links, others may dial three in four, from one address two; so
/// there is always room for those that we dial ourselves. Whoever is setting one up makes room for
/// others.
fn bounds(config: &EngineConfig) -> Bounds {
    let (links, spare) = (config.links_max, config.links_max / 4);
    let proven_per_address = (links / 2).max(1);
    Bounds {
        proven: links - spare,
        proven_per_address,
        unproven_per_address: UNPROVEN_PER_ADDRESS_MAX,
        spare,
    }
}

#[cfg(test)]
mod tests;
