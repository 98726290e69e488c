//! What every torrent of an engine shares: settings, host, disk, pool, limiters and counters.
//!
//! **Invariant:** nothing here knows a torrent. A torrent that needs something done above it leaves
//! a [`Notice`], which the journal thread carries out.
//!
//! Called on every thread of the engine. Nothing here blocks, but [`Host`] as its methods say.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;

use super::candidates::DialMemory;
use super::counters::Counters;
use super::pool::Pool;
use super::punching::Punching;
use crate::net::{Bounds, Registry, Stop, Threads, Workers};
use crate::swarm::LinkKey;
use crate::swarm::api::{EngineConfig, EngineEvent, Host, TransferId};
use crate::swarm::disk::buffers::Buffers;
use crate::swarm::disk::part_file::{Disk, Disks};
use crate::swarm::disk::seed_files::SeedFiles;
use crate::swarm::link::limiter::RateLimiter;
use crate::swarm::link::quota::LinkQuota;
use crate::types::{DeviceId, InfoHash, VerifiedPieces};

/// Links that one address may be setting up: members behind one router are several.
const UNPROVEN_PER_ADDRESS_MAX: usize = 32;
/// Notices that wait for the journal thread.
const NOTICES_MAX: usize = 256;
/// Bytes of chunk buffers that each download may use, however many run: a few pieces.
const WINDOW_MIN: u64 = 4 << 20;

/// Work for the journal thread, from a place that holds a torrent's lock.
pub(super) enum Notice {
    /// Tell the host.
    Event(EngineEvent),
    /// Have the host write these pieces to its journal.
    Journal(TransferId, InfoHash, VerifiedPieces),
    /// Forget the torrent if it is neither offered nor being downloaded.
    Unused(InfoHash),
}

/// The journal thread's ends of the channels.
pub(super) struct Inbox {
    pub(super) notices: Receiver<Notice>,
    pub(super) journal_due: Receiver<()>,
}

/// The threads of links. Their number is bounded by that of the links.
pub(super) struct LinkThreads {
    pub(super) read: Workers,
    pub(super) write: Workers,
}

pub(crate) struct Services {
    pub(super) config: EngineConfig,
    pub(super) host: Arc<dyn Host>,
    pub(super) disks: Disks,
    pub(super) threads: Threads,
    pub(super) of_links: LinkThreads,
    pub(super) of_downloads: Workers,
    pub(super) stop: Stop,
    pub(super) registry: Registry,
    pub(super) quota: Arc<LinkQuota>,
    pub(super) pool: Pool,
    pub(super) buffers: Arc<Buffers>,
    pub(super) seed_files: SeedFiles,
    pub(super) limiter: RateLimiter,
    pub(super) counters: Counters,
    next_key: AtomicU64,
    /// Dials under way.
    pub(super) dials: AtomicUsize,
    pub(super) dial_memory: DialMemory,
    /// Devices that are being met at relays.
    pub(super) meetings: AtomicUsize,
    pub(super) punching: Punching,
    /// Downloads whose thread runs.
    pub(super) downloads: AtomicU64,
    /// The zero of the pure parts' clock.
    epoch: Instant,
    /// The torrents that the timer and the journal look at, each with its serial number: those
    /// with links, a running download or unwritten pieces. Locked within a torrent's lock.
    active: Mutex<HashMap<InfoHash, u64>>,
    notices: Sender<Notice>,
    journal_due: Sender<()>,
}

impl Services {
    pub(super) fn start(
        config: EngineConfig,
        host: Arc<dyn Host>,
        disk: Arc<dyn Disk>,
    ) -> (Arc<Self>, Inbox) {
        let stop = Stop::new();
        let (notices, notices_inbox) = bounded(NOTICES_MAX);
        let (journal_due, journal_inbox) = bounded(1);
        let (disks, threads) = (Disks::new(disk), Threads::new());
        let services = Self {
            host,
            of_links: LinkThreads {
                read: Workers::new("posse-link", usize::MAX, &threads),
                write: Workers::new("posse-link-w", usize::MAX, &threads),
            },
            of_downloads: Workers::new("posse-download", usize::MAX, &threads),
            threads,
            registry: Registry::new(registry_bounds(&config)),
            quota: LinkQuota::new(config.links_max),
            pool: Pool::start(config.threads.max(1), &stop),
            stop,
            buffers: Arc::default(),
            seed_files: SeedFiles::new(config.open_files_max, &disks.file_systems),
            disks,
            limiter: RateLimiter::new(config.limits),
            counters: Counters::default(),
            next_key: AtomicU64::new(1),
            dials: AtomicUsize::new(0),
            dial_memory: DialMemory::default(),
            meetings: AtomicUsize::new(0),
            punching: Punching::default(),
            downloads: AtomicU64::new(0),
            epoch: Instant::now(),
            active: Mutex::default(),
            notices,
            journal_due,
            config,
        };
        (Arc::new(services), Inbox { notices: notices_inbox, journal_due: journal_inbox })
    }

    /// Has idle threads end, and the others when they have done their work. Does not wait.
    pub(super) fn end_threads(&self) {
        for workers in [&self.of_links.read, &self.of_links.write, &self.of_downloads] {
            workers.close(Duration::ZERO);
        }
    }

    pub(super) fn device(&self) -> DeviceId {
        self.config.transport.device()
    }

    /// Time since the engine started: the clock of everything pure.
    pub(super) fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    pub(super) fn next_link_key(&self) -> LinkKey {
        LinkKey(self.next_key.fetch_add(1, Ordering::Relaxed))
    }

    /// Leaves a notice. Drops it if too many wait: the host is too slow for its events then, and
    /// none of them carries the only copy of anything.
    pub(super) fn notify(&self, notice: Notice) {
        if self.notices.try_send(notice).is_err() {
            log::warn!("an event was dropped: the client is still busy with earlier ones");
        }
    }

    pub(super) fn request_journal(&self) {
        // A token that is there already is about to be taken.
        let _ = self.journal_due.try_send(());
    }

    /// Bytes of chunk buffers for a download that begins now: an equal part of the sum.
    pub(super) fn window_share(&self) -> u64 {
        let downloads = self.downloads.load(Ordering::Relaxed).max(1);
        (self.config.window_sum_max / downloads).max(WINDOW_MIN)
    }

    pub(super) fn activate(&self, info_hash: InfoHash, serial: u64) {
        self.active.lock().insert(info_hash, serial);
    }

    /// Has the timer and the journal pass the torrent over, unless a newer one of the same content
    /// was activated.
    pub(super) fn deactivate(&self, info_hash: InfoHash, serial: u64) {
        let mut active = self.active.lock();
        if active.get(&info_hash) == Some(&serial) {
            active.remove(&info_hash);
        }
    }

    pub(super) fn active(&self) -> Vec<InfoHash> {
        self.active.lock().keys().copied().collect()
    }
}

/// What the registry admits. Others may dial three in four of the links, from one address two in
/// four, so that there is always room for those that we dial ourselves.
fn registry_bounds(config: &EngineConfig) -> Bounds {
    let (links, spare) = (config.links_max, config.links_max / 4);
    Bounds {
        proven: links - spare,
        proven_per_address: (links / 2).max(1),
        unproven_per_address: UNPROVEN_PER_ADDRESS_MAX,
        spare,
    }
}
