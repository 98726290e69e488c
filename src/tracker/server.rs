//! A running tracker: its start, its status and its end.
//!
//! **Invariant:** every thread of a tracker is started here or in [`accept`], and [`Tracker::stop`]
//! joins them all or names those that stayed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use log::{error, info, warn};
use parking_lot::Mutex;

use super::accept;
use super::admin::AdminSocket;
use super::audit_log::AuditLog;
use super::config::{TrackerConfig, TrackerError, TrackerLimits, TrackerStatus};
use super::core::{Core, CoreHandle, Input, StoredDirectory};
use super::data_dir;
use super::gate::Gate;
use super::handshakes::Handshakes;
use super::keys::NetworkKeys;
use super::log_limiter::LogLimiter;
use super::outbox::Notifier;
use super::page;
use super::password::Hasher;
use super::quota::Quota;
use super::readers::Readers;
use super::relay;
use super::relay_config::{RELAY_PORT, RelayConfig};
use super::shared::Shared;
use crate::directory::{Directory, ENTRIES_VERSION, Replica};
use crate::http::access::Access;
use crate::http::page::PageServer;
use crate::net::{Bounds, Budget, Listener, Registry, Stop, Threads, resolve};
use crate::relay::Relay;
use crate::store::{DirectoryLock, Entries, StorePlace, TrackerStore};
use crate::trust::KeyPair;
use crate::types::limits::{TRACKER_CONNECTIONS_PER_ADDRESS_BEFORE_LOGIN, TRACKERS_MAX};
use crate::types::{Fingerprint, StoreId, TrackerAddress};

/// Time for the core to end: changes under way, and the disk.
const CORE_TIMEOUT: Duration = Duration::from_secs(10);
/// Links that are dialled: one to each tracker, and while it ends perhaps another.
const DIALLED_BOUNDS: Bounds = Bounds {
    proven: 2 * TRACKERS_MAX,
    proven_per_address: 2 * TRACKERS_MAX,
    unproven_per_address: 2 * TRACKERS_MAX,
    spare: 0,
};
/// Time for everything else to end once its connections are closed.
const THREADS_TIMEOUT: Duration = Duration::from_secs(5);

/// A running tracker.
///
/// # Example
/// ```
/// use posse::types::TrackerInfo;
/// use posse::{Tracker, TrackerConfig};
///
/// let dir = tempfile::tempdir()?;
/// let info = TrackerInfo::parse("127.0.0.1:0")?;
/// let key = posse::trust::KeyPair::generate()?;
/// let tracker = Tracker::start(TrackerConfig::new(info, 1, dir.path(), key.into()))?;
/// assert_ne!(tracker.local_addr().port(), 0);
/// assert_eq!(tracker.status()?.counts.users, 0);
/// tracker.stop()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Tracker {
    pub(super) shared: Arc<Shared>,
    listener: Arc<Listener>,
    /// Where the operator asks; none if it could not be made.
    admin: Option<Arc<AdminSocket>>,
    /// The operator's page, if it is served.
    page: Option<PageServer>,
    /// The core, which ends before the others: they serve it until then.
    core: Threads,
    /// The notifier, which ends after the core, whose last words it writes.
    notifier: Threads,
    notifier_stop: Stop,
    /// Held until everything has ended.
    _lock: DirectoryLock,
}

impl Tracker {
    /// Opens the store, binds the port, and serves.
    ///
    /// # Errors
    /// Every [`TrackerError`] but `Stayed`; nothing is left running then.
    ///
    /// # Blocking
    /// While the store is read.
    pub fn start(config: TrackerConfig) -> Result<Self, TrackerError> {
        let TrackerConfig {
            info,
            number,
            data_dir,
            store,
            listen,
            network_key,
            next_key_file,
            audit,
            page,
            relay,
            limits,
        } = config;
        let line =
            info.get(number).ok_or(TrackerError::NoSuchNumber { number, count: info.count() })?;
        if let Some((number, _)) =
            info.iter().find(|(other, address)| *other != number && address.port() == 0)
        {
            return Err(TrackerError::PeerPort { number });
        }
        let found = network_key.fingerprint();
        let next = || {
            next_key_file
                .as_deref()
                .and_then(|file| KeyPair::load(file).ok())
                .map(|key| key.fingerprint())
        };
        if let Some(expected) =
            info.fingerprint().filter(|expected| *expected != found && Some(*expected) != next())
        {
            return Err(TrackerError::OtherNetwork { expected, found });
        }
        let lock = DirectoryLock::take(&data_dir)?;
        let place = store.unwrap_or_else(|| StorePlace::Directory(data_dir.clone()));
        if place.is_beside(&data_dir) {
            warn!(
                "the directory in {} is not used; `tracker admin import` copies it into an empty database",
                data_dir.display()
            );
        }
        let store = place.open(StoreId::from_bytes(rand::random()), number)?;
        let is_peer = |other: &u32| *other != number && !place.is_shared();
        let peers: Vec<u32> = info.iter().map(|(other, _)| other).filter(is_peer).collect();
        let state = store.state();
        let lineage = state.lineage.clone();
        let unflushed = store.unflushed();
        let mut replica = Replica::over(open_directory(store)?, state, &peers);
        if place.is_shared() {
            replica.share_rows();
        }
        let count = replica.directory().counts().rows;
        let keys = NetworkKeys::new(network_key, next_key_file, &replica.directory().settings())?;
        if let Err(why) = data_dir::remember(&data_dir, line, keys.ring().fingerprint()) {
            warn!("{}: cannot note which tracker it belongs to: {why}", data_dir.display());
        }
        let audit_log = audit.map(AuditLog::open).transpose()?;
        let listener = Arc::new(bind(line, listen)?);
        info!("{count} rows; listening at {}", listener.local_addr());

        let relay = relay.map(|config| start_relay(config, listener.local_addr())).transpose()?;
        let (core, inputs) = CoreHandle::new();
        let stop = Stop::new();
        let shared = Arc::new(Shared {
            number,
            trackers: Mutex::new(
                info.iter().map(|(number, address)| (number, address.clone())).collect(),
            ),
            removals: Mutex::default(),
            info,
            address: listener.local_addr(),
            dial_from: listen.is_none().then(|| listener.local_addr().ip()),
            readers: Readers::new(place.clone(), unflushed),
            access: page.is_some().then(|| Access::open(&data_dir)).transpose()?.map(Arc::new),
            data_dir,
            place,
            lineage,
            core,
            hasher: Hasher::new(stop.clone()),
            gate: Gate::new(stop.clone()),
            audit_log,
            quota: Quota::new(&limits),
            unfinished: Budget::new(limits.unfinished, limits.unfinished_per_address),
            relay: relay.map(Arc::new),
            notifier: Notifier::new(),
            keys,
            handshakes: Handshakes::new(),
            accepted: Registry::new(accepted_bounds(&limits)),
            dialled: Registry::new(DIALLED_BOUNDS),
            limits,
            threads: Threads::new(),
            stop,
            links_stop: Stop::new(),
            started: Instant::now(),
            failure: Mutex::new(None),
            next_key: AtomicU64::new(0),
            dialling: Mutex::default(),
            told: Mutex::default(),
            named: LogLimiter::default(),
        });
        let (core, notifier, notifier_stop) = (Threads::new(), Threads::new(), Stop::new());
        let admin = AdminSocket::bind_or_warn(&shared.data_dir).map(Arc::new);
        let mut tracker = Self {
            shared,
            listener,
            admin,
            page: None,
            core,
            notifier,
            notifier_stop,
            _lock: lock,
        };
        let state = Core::new(tracker.shared.clone(), inputs, replica);
        let begun = tracker.spawn_all(state).map_err(TrackerError::Thread);
        let serve = |config| page::start(&tracker.shared, &config);
        match begun.and_then(|()| page.map(serve).transpose()) {
            Ok(page) => {
                tracker.page = page;
                Ok(tracker)
            }
            Err(e) => {
                tracker.shut_down();
                Err(e)
            }
        }
    }

    fn spawn_all(&self, core: Core) -> std::io::Result<()> {
        let (shared, stop) = (self.shared.clone(), self.notifier_stop.clone());
        self.notifier.spawn("notifier", move || shared.notifier.run(&stop))?;
        let shared = self.shared.clone();
        self.core.spawn("core", move || run_core(core, &shared))?;
        if self.shared.audit_log.is_some() {
            let shared = self.shared.clone();
            let write = move || shared.audit_log.iter().for_each(|log| log.run(&shared.links_stop));
            self.shared.threads.spawn("audit", write)?;
        }
        if let Some(admin) = self.admin.clone() {
            let shared = self.shared.clone();
            self.shared.threads.spawn("admin", move || admin.run(&shared))?;
        }
        if self.shared.relay.is_some() {
            let shared = self.shared.clone();
            self.shared.threads.spawn("relay-watch", move || relay::watch(&shared))?;
        }
        let (shared, listener) = (self.shared.clone(), self.listener.clone());
        self.shared.threads.spawn("accept", move || {
            listener.run(&shared.stop, |incoming| accept::take(&shared, incoming));
        })
    }

    /// Where the page is served, if it is.
    pub fn page_url(&self) -> Option<&str> {
        self.shared.access.as_ref().and_then(|access| access.url())
    }

    /// Where the tracker relays, if it does.
    pub fn relay_addr(&self) -> Option<SocketAddr> {
        self.shared.relay.as_ref().map(|relay| relay.local_addr())
    }

    /// Where the tracker listens, with the port chosen.
    pub fn local_addr(&self) -> SocketAddr {
        self.listener.local_addr()
    }

    /// The network's fingerprint: clients that know it trust this tracker.
    pub fn fingerprint(&self) -> Fingerprint {
        self.shared.keys.ring().fingerprint()
    }

    /// The tracker's number.
    pub fn number(&self) -> u32 {
        self.shared.number
    }

    /// What the tracker says about itself.
    ///
    /// # Errors
    /// [`TrackerError::Core`] if it has ended by itself.
    ///
    /// # Blocking
    /// Until the core has come to it.
    pub fn status(&self) -> Result<TrackerStatus, TrackerError> {
        let shared = self.shared.clone();
        self.shared.core.ask(move |view| shared.status(view)).ok_or(TrackerError::Core)
    }

    /// A channel that is disconnected when the tracker ends by itself, for use in a select;
    /// [`Tracker::stop`] tells why.
    pub fn ended(&self) -> &Receiver<()> {
        self.shared.stop.channel()
    }

    /// Ends in order: answers what is under way, tells every session, closes the store, and joins
    /// the threads.
    ///
    /// # Errors
    /// Why the tracker had ended by itself, if so; [`TrackerError::Stayed`] if some threads did not
    /// end in time.
    ///
    /// # Blocking
    /// For some seconds at most.
    pub fn stop(self) -> Result<(), TrackerError> {
        let stayed = self.shut_down();
        match self.shared.failure.lock().take() {
            Some(failure) => Err(failure),
            None if stayed.is_empty() => Ok(()),
            None => Err(TrackerError::Stayed(stayed.join(", "))),
        }
    }

    /// Ends everything; doing it again does nothing. Returns the names of the threads that stayed.
    fn shut_down(&self) -> Vec<String> {
        self.shared.stop.set();
        self.listener.wake();
        self.admin.iter().for_each(|admin| admin.wake());
        self.page.iter().for_each(PageServer::stop);
        self.shared.core.send(Input::Stop);
        let mut stayed = self.core.join(CORE_TIMEOUT);
        self.shared.links_stop.set();
        self.notifier_stop.set();
        stayed.extend(self.notifier.join(CORE_TIMEOUT));
        stayed.extend(self.shared.relay.iter().flat_map(|relay| relay.stop(THREADS_TIMEOUT)));
        self.shared.accepted.close_all();
        self.shared.dialled.close_all();
        stayed.extend(self.shared.threads.join(THREADS_TIMEOUT));
        self.admin.iter().for_each(|admin| admin.remove());
        if !stayed.is_empty() {
            warn!("stopped, but these threads did not end in time: {}", stayed.join(", "));
        }
        stayed
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        self.shut_down();
    }
}

/// Opens the directory in a store, whose indexes are made if they are not there.
fn open_directory(store: TrackerStore) -> Result<StoredDirectory, TrackerError> {
    let mut store = match store {
        TrackerStore::Sqlite(store) => *store,
        // They are made with the tables.
        #[cfg(feature = "postgres")]
        shared => return Ok(Directory::new(shared)),
    };
    let Entries::Behind(through) = store.begin_entries(ENTRIES_VERSION)? else {
        return Ok(Directory::new(TrackerStore::Sqlite(Box::new(store))));
    };
    let mut directory = Directory::new(store);
    let mut count = 0;
    directory.make_entries(through, |store, through| {
        count += 1;
        if count % 500 == 0 {
            info!("indexes: {count} thousand rows");
        }
        store.pause_entries(ENTRIES_VERSION, through)
    })?;
    directory.rows_mut().end_entries(ENTRIES_VERSION)?;
    Ok(Directory::new(TrackerStore::Sqlite(Box::new(directory.into_rows()))))
}

/// Runs the core; however it ends, the tracker ends with it.
fn run_core(core: Core, shared: &Shared) {
    /// Set off by a panic too.
    struct End<'a>(&'a Shared);
    impl Drop for End<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                *self.0.failure.lock() = Some(TrackerError::Core);
            }
            self.0.stop.set();
        }
    }
    let _end = End(shared);
    if let Err(e) = core.run() {
        error!("{e}");
        *shared.failure.lock() = Some(e);
        // Whoever waits for an answer is to turn to another tracker now.
        shared.accepted.close_all();
    }
}

fn start_relay(config: RelayConfig, tracker: SocketAddr) -> Result<Relay, TrackerError> {
    let address = config.address.unwrap_or(SocketAddr::new(tracker.ip(), RELAY_PORT));
    let relay = Relay::start(address, config.bounds)
        .map_err(|source| TrackerError::Relay { address, source })?;
    info!("relaying at {}", relay.local_addr());
    Ok(relay)
}

/// Room for the other trackers, and for newcomers, is kept even when there are as many clients as
/// there may be.
fn accepted_bounds(limits: &TrackerLimits) -> Bounds {
    Bounds {
        proven: limits.connections,
        proven_per_address: limits.connections_per_address,
        unproven_per_address: TRACKER_CONNECTIONS_PER_ADDRESS_BEFORE_LOGIN,
        spare: TRACKERS_MAX + TRACKER_CONNECTIONS_PER_ADDRESS_BEFORE_LOGIN,
    }
}

/// Binds the tracker's own line, or `listen`. An address that is not this machine's, as behind a
/// router that passes the port on, is listened for at every address.
fn bind(line: &TrackerAddress, listen: Option<SocketAddr>) -> Result<Listener, TrackerError> {
    let wrap = |address| move |source| TrackerError::Listen { address, source };
    if let Some(address) = listen {
        return Listener::bind(address).map_err(wrap(address));
    }
    let unknown = |source| TrackerError::Resolve { host: line.host().to_owned(), source };
    let first = resolve(line).map_err(unknown)?[0];
    match Listener::bind(first) {
        Err(e) if e.kind() == std::io::ErrorKind::AddrNotAvailable && !line.is_ip() => {
            let every: IpAddr = if first.is_ipv4() {
                Ipv4Addr::UNSPECIFIED.into()
            } else {
                Ipv6Addr::UNSPECIFIED.into()
            };
            let every = SocketAddr::new(every, first.port());
            info!("{first} is not an address of this machine; listening at {every}");
            Listener::bind(every).map_err(wrap(every))
        }
        bound => bound.map_err(wrap(first)),
    }
}
