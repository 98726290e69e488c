//! The client: what it holds, how it starts and how it ends.
//!
//! **Invariant:** there is an engine exactly while a user is logged in, and it works for that user
//! alone; so a logout leaves nothing of one user's to the next.
//!
//! Threads: "listener" hands connections to the engine; "queue" lets downloads in that waited;
//! "news" takes what trackers tell, and never calls a tracker; "errands" does what needs a tracker
//! and nobody waits for, and renews the session's token and tickets in time; "sources" asks
//! trackers which other groups offer what is downloaded; "sharers" tell the directory of completed
//! downloads, several at a time, so that they share the trackers' waits for their disks; "staying"
//! logs in by the device's key; "notifications" writes events down. Commands
//! run on the caller's thread.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use log::warn;
use parking_lot::{Condvar, Mutex};

use super::background::{self, Errand, Errands, ShareErrand};
use super::event::Bus;
use super::library::{Library, Phase};
use super::limits::ClientLimits;
use super::memory::TrackerMemory;
use super::network::{Network, Trust, latest};
use super::notifications::{self, Joins};
use super::peers::PeerBook;
use super::slots;
use super::staying::{self, Staying};
use super::tickets::Tickets;
use super::trackers::{News, SetOptions, TrackerSet};
use super::versions::OwnRemovals;
use super::withdrawn::Withdrawn;
use super::{ClientConfig, ClientError, ClientEvent, SessionEnd};
use crate::net::{DeviceSecurity, Listener, Stop, Threads};
use crate::store::{DeviceStore, SuccessorRow};
use crate::swarm::Engine;
use crate::trust::KeyPair;
use crate::types::{
    DeviceId, Fingerprint, GroupId, Label, Refusal, RotationStage, UserEntry, UserId,
};

/// News that wait for their thread; beyond it the trackers' readers wait.
const NEWS_LEN: usize = 1024;
/// Errands that wait for their thread; beyond it they are done at the next login.
const ERRANDS_LEN: usize = 16_384;
/// Shares of which the directory is told at the same time.
const SHARERS: usize = 8;
/// Name of the device's key in the data directory.
const DEVICE_KEY: &str = "device.key";
/// Time for the trackers' and the engine's threads to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for errands under way at the end; what is not done then is done at the next login.
const ERRANDS_TIMEOUT: Duration = Duration::from_secs(3);

/// One installed client: sessions with all trackers, shares, downloads, and links to other clients.
///
/// Every method may be called from any thread; those that ask the trackers block until one has
/// answered, about 10 s at most; 35 s where a password is looked at. Dropping the client stops it.
///
/// # Example
/// ```no_run
/// use posse::types::{Password, TrackerInfo};
/// use posse::{Client, ClientConfig};
///
/// let trackers = TrackerInfo::parse("127.0.0.1:5000\n127.0.0.1:7000")?;
/// let client = Client::start(ClientConfig::new("127.0.0.1:0".parse()?, trackers))?;
/// client.login("nik", Password::new("secret".into())?)?;
/// let download = client.download_file("lab", "big.bin", "/tmp".as_ref())?;
/// download.on_end(|status| println!("{} is {:?}", status.file, status.phase));
/// let path = download.wait(None)?;
/// println!("{}", path.display());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Client {
    pub(crate) inner: Arc<Inner>,
}

/// What the client's threads share.
pub(crate) struct Inner {
    pub(crate) config: ClientConfig,
    pub(crate) address: SocketAddr,
    pub(crate) store: Arc<DeviceStore>,
    pub(crate) security: DeviceSecurity,
    pub(crate) network: Arc<Network>,
    pub(crate) tickets: Mutex<Tickets>,
    /// Notified whenever a tracker was asked for tickets, in vain or not.
    pub(crate) tickets_changed: Condvar,
    pub(crate) trackers: TrackerSet,
    pub(crate) engine: Mutex<Option<Arc<Engine>>>,
    pub(crate) library: Mutex<Library>,
    /// Held while a download comes, goes, is paused or resumed, in the library and in the store, so
    /// that both see it in the same order. Taken before the library's.
    pub(crate) coming_and_going: Mutex<()>,
    /// Notified whenever something in the library ends or changes its phase.
    pub(crate) changed: Condvar,
    pub(crate) limits: Mutex<ClientLimits>,
    /// Holds a token while downloads that wait may be let in.
    pub(crate) slots: Sender<()>,
    pub(crate) book: Mutex<PeerBook>,
    /// Devices that have left swarms by their own doing.
    pub(crate) withdrawn: Mutex<Withdrawn>,
    /// Names of users met in listings, for `why`.
    pub(crate) names: Mutex<HashMap<UserId, Label>>,
    /// Names of groups met in this session.
    pub(crate) group_names: Mutex<HashMap<GroupId, Label>>,
    /// Groups whose joining or leaving was announced last, true for joining: every tracker tells of
    /// it.
    pub(crate) announced: Mutex<HashMap<GroupId, bool>>,
    /// The operator has set the user's password.
    pub(crate) must_change_password: AtomicBool,
    /// Files that this device has removed from groups or replaced there: every tracker tells of it.
    pub(crate) own_removals: Mutex<OwnRemovals>,
    /// Whether this device is to log in by its key.
    pub(crate) staying: Arc<Staying>,
    /// Which requests to join, and answers to the user's own, were told of.
    pub(crate) joins: Mutex<Joins>,
    /// How the last session ended, if it did so by itself.
    pub(crate) ended: Mutex<Option<Ended>>,
    pub(crate) bus: Bus,
    pub(crate) errands: Mutex<Option<Errands>>,
    pub(crate) stop: Stop,
    listener: Arc<Listener>,
    pub(crate) threads: Threads,
    errand_threads: Threads,
}

/// The end of a session that nobody here asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    /// Why.
    pub(crate) reason: SessionEnd,
    /// Downloads that were running.
    pub(crate) unfinished: usize,
}

impl Client {
    /// Opens the data directory, binds the port, and begins to connect to the trackers; does not
    /// wait for them.
    ///
    /// # Errors
    /// [`ClientError::Store`] if the data directory cannot be used or another client uses it,
    /// [`ClientError::System`] if the address cannot be bound.
    pub fn start(config: ClientConfig) -> Result<Self, ClientError> {
        let listener = Listener::bind(config.listen).map_err(|e| {
            let what =
                format!("cannot listen on {}; free the port or choose another", config.listen);
            ClientError::system(what, e)
        })?;
        let store = Arc::new(DeviceStore::open(&config.data_dir)?);
        let security = open_device(&config)?;
        let (network, news_of_network) = open_network(&config, &store)?;
        let address = listener.local_addr();
        let (news, news_in) = bounded(NEWS_LEN);
        let (errands, errands_in) = bounded(ERRANDS_LEN);
        let (shares, shares_in) = bounded(ERRANDS_LEN);
        let (slots, slots_in) = bounded(1);
        let staying = Arc::new(Staying::new(store.staying()?));
        let limits = ClientLimits { rates: config.limits, downloads_max: config.downloads_max };
        let trackers =
            start_trackers(&config, &store, address, security.clone(), network.clone(), news)?;
        let inner = Arc::new(Inner {
            config,
            address,
            store,
            security,
            network,
            tickets: Mutex::default(),
            tickets_changed: Condvar::new(),
            trackers,
            engine: Mutex::new(None),
            library: Mutex::new(Library::new()),
            coming_and_going: Mutex::default(),
            changed: Condvar::new(),
            limits: Mutex::new(limits),
            slots,
            book: Mutex::default(),
            withdrawn: Mutex::default(),
            names: Mutex::default(),
            group_names: Mutex::default(),
            announced: Mutex::default(),
            must_change_password: AtomicBool::default(),
            own_removals: Mutex::default(),
            staying,
            joins: Mutex::default(),
            ended: Mutex::default(),
            bus: Bus::default(),
            errands: Mutex::new(Some(Errands { errands, shares })),
            stop: Stop::new(),
            listener: Arc::new(listener),
            threads: Threads::new(),
            errand_threads: Threads::new(),
        });
        let client = Self { inner };
        news_of_network.iter().for_each(|event| client.inner.bus.tell(event));
        client.inner.start_threads(news_in, errands_in, shares_in, slots_in)?;
        Ok(client)
    }

    /// The address on which links are taken, with the port chosen.
    pub fn address(&self) -> SocketAddr {
        self.inner.address
    }

    /// The device's identity.
    pub fn device(&self) -> DeviceId {
        self.inner.security.device()
    }

    /// The directory of the device's state.
    pub fn data_dir(&self) -> &std::path::Path {
        &self.inner.config.data_dir
    }

    /// Waits until a tracker is connected; false if none is when `timeout` has passed.
    ///
    /// # Blocking
    /// For at most `timeout`; [`Client::interrupt`] ends it.
    pub fn wait_for_tracker(&self, timeout: Duration) -> bool {
        self.inner.trackers.wait_for_any(timeout)
    }

    /// The error of a command that no tracker can be asked now: none can be reached, or those that
    /// answer are not to be trusted.
    pub fn why_no_tracker(&self) -> ClientError {
        self.inner.trackers.why_unreachable()
    }

    /// The network that this device trusts, if it was named or one was met.
    pub fn network(&self) -> Option<Fingerprint> {
        self.inner.network.expected()
    }

    /// How the last session ended, if it did so by itself and nobody has logged in since.
    pub(crate) fn ended(&self) -> Option<Ended> {
        *self.inner.ended.lock()
    }

    /// Returns a channel on which everything that happens by itself arrives from now on; on the
    /// first also what has happened before.
    pub fn subscribe(&self) -> Receiver<ClientEvent> {
        self.inner.bus.subscribe()
    }

    /// Ends commands that wait for a tracker, on whatever threads, with
    /// [`ClientError::Interrupted`]; a change that they asked for may be made all the same.
    /// Transfers go on.
    pub fn interrupt(&self) {
        self.inner.trackers.interrupt();
    }

    /// Ends the session, the transfers and all threads; what is unfinished goes on at the next
    /// login. Calling it again does nothing.
    ///
    /// # Blocking
    /// For some seconds at most.
    pub fn stop(&self) {
        let inner = &self.inner;
        if inner.stop.is_set() {
            return;
        }
        // Errands that are under way are finished first: a completed download is told to the group.
        drop(inner.errands.lock().take());
        inner.errand_threads.join(ERRANDS_TIMEOUT);
        inner.leave_session();
        // What was left for soon may have waited for a write that did not come.
        inner.remember_request_time();
        let flushed = inner.store.flush();
        inner.note_store_error(flushed);
        inner.stop.set();
        inner.listener.wake();
        let mut stayed = inner.trackers.stop(STOP_TIMEOUT);
        stayed.extend(inner.threads.join(STOP_TIMEOUT));
        if !stayed.is_empty() {
            warn!("still running at the end: {}", stayed.join(", "));
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The device's key; made with the data directory.
fn open_device(config: &ClientConfig) -> Result<DeviceSecurity, ClientError> {
    let (key, _) = KeyPair::load_or_make(&config.data_dir.join(DEVICE_KEY))?;
    Ok(DeviceSecurity::new(&key)?)
}

/// The network that the user named, else the one remembered, else none yet; and what to tell if
/// that is another than the one remembered, or than the option of this start says.
fn open_network(
    config: &ClientConfig,
    store: &Arc<DeviceStore>,
) -> Result<(Arc<Network>, Vec<ClientEvent>), ClientError> {
    let (remembered, successors) = (store.network()?, store.successors()?);
    // What is named may be older than the change of a key, also if a script names it at each start.
    let named =
        config.network.or(config.trackers.fingerprint()).map(|named| latest(named, &successors));
    let outdated = config.network.zip(named).filter(|(option, latest)| option != latest);
    // The key that is to come is the same network's.
    let is_next = |row: &&SuccessorRow| !row.has_ended && Some(row.old) == remembered;
    let next = successors.iter().find(is_next).copied();
    let named = named.map(|named| {
        next.filter(|row| row.new.fingerprint() == named).map_or(named, |row| row.old)
    });
    let new = named.filter(|named| remembered != Some(*named));
    if let Some(new) = new {
        store.set_network(new)?;
    }
    let store = store.clone();
    let expected = named.or(remembered);
    let next = next.filter(|row| Some(row.old) == expected).map(|row| row.new.into());
    let network = Network::new(expected, next, move |trust| match trust {
        Trust::First(fingerprint) => store.set_network(fingerprint),
        Trust::Successor(row) => store.set_successor(&row),
        Trust::NoSuccessor(old) => store.remove_successor(old),
    });
    let replaced = new.zip(remembered).map(|(network, before)| ClientEvent::TrustedNetwork {
        network,
        before: Some(before),
        unwritten: None,
    });
    let followed = outdated.map(|(old, new)| ClientEvent::NetworkKey {
        stage: RotationStage::Ended,
        old,
        new,
    });
    Ok((Arc::new(network), replaced.into_iter().chain(followed).collect()))
}

fn start_trackers(
    config: &ClientConfig,
    store: &DeviceStore,
    address: SocketAddr,
    security: DeviceSecurity,
    network: Arc<Network>,
    news: Sender<News>,
) -> Result<TrackerSet, ClientError> {
    let memory = TrackerMemory::load(store, network.expected());
    let options = SetOptions {
        addresses: config.trackers.iter().map(|(_, address)| address.to_string()).collect(),
        bind_ip: address.ip(),
        security,
        network,
        port: address.port(),
        learned: memory.addresses,
        last_request: memory.last_request,
    };
    TrackerSet::start(options, news).map_err(|e| ClientError::system("cannot start a thread", e))
}

impl Inner {
    fn start_threads(
        self: &Arc<Self>,
        news: Receiver<News>,
        errands: Receiver<Errand>,
        shares: Receiver<ShareErrand>,
        slots: Receiver<()>,
    ) -> Result<(), ClientError> {
        let (listener, stop) = (self.listener.clone(), self.stop.clone());
        let weak = Arc::downgrade(self);
        let accept = move || {
            listener.run(&stop, |incoming| {
                // Without a session there is nothing to offer: the connection is closed.
                let engine = weak.upgrade().and_then(|inner| inner.engine());
                match engine {
                    Some(engine) => engine.accept(incoming),
                    None => incoming.close(),
                }
            });
        };
        let spawned = self.threads.spawn("listener", accept);
        let (weak, stop) = (Arc::downgrade(self), self.stop.clone());
        let spawned = spawned.and_then(|()| {
            self.threads.spawn("news", move || background::take_news(&weak, &news, &stop))
        });
        let (weak, stop) = (Arc::downgrade(self), self.stop.clone());
        let spawned = spawned.and_then(|()| {
            self.threads.spawn("sources", move || super::sources::find_sources(&weak, &stop))
        });
        let (weak, stop) = (Arc::downgrade(self), self.stop.clone());
        let spawned = spawned.and_then(|()| {
            self.threads.spawn("queue", move || slots::mind_queue(&weak, &slots, &stop))
        });
        let (weak, stop) = (Arc::downgrade(self), self.stop.clone());
        let (recorded, staying) = (self.bus.record(), self.staying.clone());
        let spawned = spawned.and_then(|()| {
            self.threads.spawn("staying", move || staying::run(&weak, &staying, &stop))
        });
        let (weak, stop) = (Arc::downgrade(self), self.stop.clone());
        let spawned = spawned.and_then(|()| {
            let record = move || notifications::record(&weak, &recorded, &stop);
            self.threads.spawn("notifications", record)
        });
        let weak = Arc::downgrade(self);
        let spawned = spawned.and_then(|()| {
            self.errand_threads.spawn("errands", move || background::run_errands(&weak, &errands))
        });
        let spawned = (0..SHARERS).fold(spawned, |spawned, _| {
            let (weak, shares) = (Arc::downgrade(self), shares.clone());
            spawned.and_then(|()| {
                self.errand_threads.spawn("sharer", move || background::run_shares(&weak, &shares))
            })
        });
        spawned.map_err(|e| ClientError::system("cannot start a thread", e))
    }

    /// The engine of the present session.
    pub(crate) fn engine(&self) -> Option<Arc<Engine>> {
        self.engine.lock().clone()
    }

    /// The engine, or the refusal that fits its absence.
    pub(crate) fn need_engine(&self) -> Result<Arc<Engine>, ClientError> {
        self.engine().ok_or(ClientError::Refused(Refusal::LoginFirst))
    }

    /// The session's user.
    pub(crate) fn need_user(&self) -> Result<UserEntry, ClientError> {
        self.library.lock().user().cloned().ok_or(ClientError::Refused(Refusal::LoginFirst))
    }

    /// Leaves an errand for its thread. With a full queue, or at the end, it is left to the next
    /// login.
    pub(crate) fn send_errand(&self, errand: Errand) -> bool {
        self.errands.lock().as_ref().is_some_and(|errands| errands.send(errand))
    }

    /// Ends the session if there is one, and tells whether there was. Links first: from then on
    /// nobody's ticket is good here, and no connection is taken. The trackers may take a moment.
    pub(crate) fn leave_session(&self) -> bool {
        {
            let mut library = self.library.lock();
            if !matches!(library.phase, Phase::In(_)) {
                return false;
            }
            library.phase = Phase::Changing;
        }
        let engine = self.engine.lock().take();
        if let Some(engine) = &engine {
            engine.end_links(|_| true);
        }
        self.trackers.logout();
        if let Some(engine) = engine {
            let stayed = engine.stop(STOP_TIMEOUT);
            if !stayed.is_empty() {
                warn!("still running after the session: {}", stayed.join(", "));
            }
        }
        self.book.lock().clear();
        self.withdrawn.lock().clear();
        self.tickets.lock().clear();
        self.tickets_changed.notify_all();
        self.names.lock().clear();
        self.group_names.lock().clear();
        self.announced.lock().clear();
        self.own_removals.lock().clear();
        self.joins.lock().clear();
        self.must_change_password.store(false, Ordering::Relaxed);
        *self.library.lock() = Library::new();
        self.changed.notify_all();
        true
    }
}
