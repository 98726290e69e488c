//! Carries out the session's decisions: the client's threads, and the state that they share.
//!
//! **Invariant:** the thread "core" alone touches the session. It waits for no file, socket or
//! database. The other threads read its published views, or send it messages. Every lock here
//! guards small state and is held for moments; none is held while another is taken.
//!
//! Threads: "core"; "store" writes transactions; "listener" passes connections to the engine;
//! "addresses" watches the interfaces; "lan" finds members on them; "routers" has routers forward
//! the port; "relays" meets devices at relays;
//! "staying" logs in by the device's key; "notifications" stores events. On demand: "disk" (a few
//! for each mount), "errand" (tickets, tokens), "sources", "offers", "callback", "sharer"
//! (completed downloads) and "leaving" (stops the engine). Commands run on the caller's thread.

mod addresses;
mod core;
mod disks;
mod files;
mod host;
mod lan;
mod lan_state;
mod login;
mod names;
mod pages;
mod published;
mod punching;
pub(crate) mod relays;
mod routers;
mod show;
mod staying;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use log::warn;
use parking_lot::Mutex;

use self::addresses::OwnAddresses;
use self::disks::Disks;
pub(crate) use self::files::{compare, is_intact};
#[cfg(test)]
pub(crate) use self::host::SessionHost;
use self::lan_state::LanState;
pub(crate) use self::lan_state::LanStatus;
use self::names::Names;
pub use self::pages::Pages;
pub(crate) use self::published::Callback;
use self::published::Published;
pub(crate) use self::routers::Routers;
use self::staying::Staying;
use super::config::ClientConfig;
use super::error::ClientError;
use super::event::{Bus, ClientEvent};
use super::network::Network;
use super::recorder;
use super::session::input::{Answer, Command, Input, ReplyTo, TransferId};
use super::session::news::News;
use super::session::{Session, View};
use super::trackers::TrackerSet;
use crate::net::{DeviceSecurity, Listener, Stop, Threads, Transport, Workers};
use crate::relay::Relay;
use crate::store::{DeviceStore, Write};
use crate::swarm::{Engine, EngineConfig, Limits, Transfer};
use crate::types::{GroupId, InfoHash, Label, Refusal, UserEntry, UserId};

/// Messages that wait for the core; senders block while the queue is full.
const MESSAGES_LEN: usize = 16_384;
/// Threads that report completed downloads to the directory.
const SHARERS_MAX: usize = 8;
/// Threads for tickets and tokens.
const ERRANDS_MAX: usize = 2;
/// Deadline for the end of the engine's threads.
const ENGINE_TIMEOUT: Duration = Duration::from_secs(3);
/// Deadline for the end of all other threads.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Deadline for unfinished errands at the end, as the report of a completed download.
const ERRANDS_TIMEOUT: Duration = Duration::from_secs(3);

/// A message to the core.
pub(super) enum Message {
    /// An event.
    Input(Input),
    /// An event whose sender waits for an answer.
    Question(Box<dyn FnOnce(ReplyTo) -> Input + Send>, Sender<CommandResult>),
    /// The renewal of the session's token has ended, with or without success.
    Renewed,
    /// Write everything that came before, then end the thread.
    Stop,
}

/// An answer of the session.
pub(super) type CommandResult = Result<Answer, ClientError>;

/// The engine of the current session, and its transfers.
#[derive(Default)]
struct Running {
    engine: Option<Arc<Engine>>,
    /// An engine that accepts no more links and is about to stop.
    leaving: Option<Arc<Engine>>,
    transfers: HashMap<TransferId, Transfer>,
}

/// The client's limits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClientLimits {
    pub(crate) rates: Limits,
    pub(crate) downloads_max: usize,
}

/// The state that the client's threads share.
pub(crate) struct Runtime {
    pub(crate) config: ClientConfig,
    pub(crate) address: SocketAddr,
    pub(crate) own_addresses: OwnAddresses,
    pub(crate) lan: LanState,
    pub(crate) routers: Arc<Routers>,
    pub(crate) store: Arc<DeviceStore>,
    pub(crate) security: DeviceSecurity,
    pub(crate) network: Arc<Network>,
    pub(crate) trackers: TrackerSet,
    pub(crate) bus: Bus,
    pub(crate) disks: Disks,
    pub(crate) names: Names,
    pub(crate) limits: Mutex<ClientLimits>,
    /// Whether this device logs in by its key.
    pub(crate) staying: Staying,
    /// The operator has set the user's password: the user must choose another.
    pub(crate) must_change_password: AtomicBool,
    messages: Sender<Message>,
    published: Published,
    running: Mutex<Running>,
    errands: Workers,
    /// Asks for other sources of downloads. May take long; nothing waits for it.
    sources: Workers,
    /// Has the engine seed files or stop, in the order of the session's decisions.
    offers: Workers,
    /// Runs the callbacks for downloads that have ended.
    callbacks: Workers,
    sharers: Workers,
    /// Take part in hole punches.
    punchers: Workers,
    /// Punches that other devices have asked for, under way.
    punches: AtomicUsize,
    listener: Listener,
    /// Relays for others, if the user is willing.
    pub(crate) relay: Option<Relay>,
    stop: Stop,
    threads: Threads,
}

/// The parts that a runtime is started with.
pub(crate) struct Parts {
    pub(crate) config: ClientConfig,
    pub(crate) listener: Listener,
    pub(crate) store: Arc<DeviceStore>,
    pub(crate) security: DeviceSecurity,
    pub(crate) network: Arc<Network>,
    pub(crate) trackers: TrackerSet,
    pub(crate) routers: Routers,
    pub(crate) news: Receiver<News>,
    /// Events for the first subscriber.
    pub(crate) early: Vec<ClientEvent>,
    /// The relay of a willing user.
    pub(crate) relay: Option<Relay>,
}

impl Runtime {
    /// Starts the threads.
    ///
    /// # Errors
    /// [`ClientError::System`] if the system cannot start them.
    pub(crate) fn start(parts: Parts) -> Result<Arc<Self>, ClientError> {
        let Parts { config, listener, store, security, network, trackers, routers, news, .. } =
            parts;
        let (early, relay) = (parts.early, parts.relay);
        let (messages, incoming) = bounded(MESSAGES_LEN);
        let threads = Threads::new();
        let limits = ClientLimits { rates: config.limits, downloads_max: config.downloads_max };
        let staying = store.staying()?;
        let runtime = Arc::new(Self {
            address: listener.local_addr(),
            own_addresses: OwnAddresses::new(&config, &listener),
            lan: LanState::default(),
            routers: Arc::new(routers),
            store,
            security,
            network,
            trackers,
            bus: Bus::default(),
            disks: Disks::new(&threads),
            names: Names::default(),
            limits: Mutex::new(limits),
            staying: Staying::new(staying),
            must_change_password: AtomicBool::default(),
            messages,
            published: Published::default(),
            running: Mutex::default(),
            errands: Workers::new("errand", ERRANDS_MAX, &threads),
            sources: Workers::new("sources", 1, &threads),
            offers: Workers::new("offers", 1, &threads),
            callbacks: Workers::new("callback", 1, &threads),
            punchers: Workers::new("punch", punching::ANSWERS_MAX, &threads),
            punches: AtomicUsize::new(0),
            sharers: Workers::new("sharer", SHARERS_MAX, &threads),
            listener,
            relay,
            stop: Stop::new(),
            threads,
            config,
        });
        let recorded = runtime.bus.record();
        early.iter().for_each(|event| runtime.bus.tell(event));
        let session = Session::new(limits.downloads_max);
        let (to_store, transactions) = bounded::<(u64, Vec<Write>)>(1);
        let (answers, stored) = bounded(1);
        let (this, store) = (runtime.clone(), runtime.store.clone());
        let started = runtime.threads.spawn("store", move || {
            for (number, writes) in transactions {
                let result = store.apply(&writes).map_err(Arc::new);
                if answers.send((number, result)).is_err() {
                    return;
                }
            }
        });
        let core = core::Core::new(this, session, to_store);
        let started = started.and_then(|()| {
            runtime.threads.spawn("core", move || core.run(&incoming, &news, &stored))
        });
        let this = runtime.clone();
        let started = started.and_then(|()| {
            runtime.threads.spawn("listener", move || {
                this.listener.run(&this.stop, |incoming| match this.engine() {
                    Some(engine) => engine.accept(incoming),
                    // Without a session there is nothing to serve.
                    None => incoming.close(),
                });
            })
        });
        let this = runtime.clone();
        let started = started.and_then(|()| {
            runtime.threads.spawn("staying", move || staying::run(&this, &this.stop))
        });
        let this = runtime.clone();
        let started = started.and_then(|()| {
            runtime.threads.spawn("addresses", move || addresses::run(&this, &this.stop))
        });
        let this = runtime.clone();
        let started = started
            .and_then(|()| runtime.threads.spawn("relays", move || relays::run(&this, &this.stop)));
        let started = started.and_then(|()| lan::start(&runtime, &runtime.threads));
        let started = started.and_then(|()| runtime.start_routers());
        let (store, this) = (runtime.store.clone(), Arc::downgrade(&runtime));
        let user = move || Some(this.upgrade()?.view().library.user()?.user);
        let started = started.and_then(|()| {
            runtime
                .threads
                .spawn("notifications", move || recorder::record(&store, &recorded, user))
        });
        if let Err(error) = started {
            runtime.stop();
            return Err(ClientError::system("cannot start a thread", error));
        }
        Ok(runtime)
    }

    /// The committed state.
    pub(crate) fn view(&self) -> Arc<View> {
        self.published.view()
    }

    /// Waits for a newer view than `seen`, or until `until`; false if that time has passed. Wakes
    /// only for changes of downloads and the end of a session.
    pub(crate) fn wait_for_change(&self, seen: &Arc<View>, until: Option<Instant>) -> bool {
        self.published.wait(seen, until)
    }

    /// Calls `callback` when the download has ended, or at once if it has. Drops it if there is no
    /// such download, or if the session ends first.
    pub(crate) fn on_end(self: &Arc<Self>, info_hash: InfoHash, callback: Callback) {
        if let Some(callback) = self.published.on_end(info_hash, callback) {
            self.call_back(info_hash, vec![callback]);
        }
    }

    fn call_back(self: &Arc<Self>, info_hash: InfoHash, callbacks: Vec<Callback>) {
        let (status, runtime) = (self.status(info_hash), self.clone());
        self.callbacks.run(move || {
            let Some(status) = status.or_else(|| runtime.earlier_status(info_hash)) else { return };
            callbacks.into_iter().for_each(|callback| callback(&status));
        });
    }

    /// Sends an event to the session.
    pub(crate) fn tell(&self, input: Input) {
        // After the core's end the event is dropped.
        let _ = self.messages.send(Message::Input(input));
    }

    /// Sends a command to the session, and waits for the answer.
    ///
    /// # Errors
    /// Those of the command; [`ClientError::Stopping`].
    ///
    /// # Blocking
    /// Until the store has answered; for [`DISK_TIMEOUT`](super::session::DISK_TIMEOUT) if the
    /// command waits for another disk.
    pub(crate) fn ask(&self, command: Command) -> CommandResult {
        self.ask_soon(command).wait()
    }

    /// The same, without waiting for the answer.
    pub(crate) fn ask_soon(&self, command: Command) -> Pending {
        self.question(move |reply| Input::Command(reply, command))
    }

    fn question(&self, input: impl FnOnce(ReplyTo) -> Input + Send + 'static) -> Pending {
        let (sender, answer) = bounded(1);
        // If the core has ended, the sender is dropped, and `wait` returns `Stopping`.
        let _ = self.messages.send(Message::Question(Box::new(input), sender));
        Pending { answer }
    }

    /// The session's user.
    pub(crate) fn need_user(&self) -> Result<UserEntry, ClientError> {
        self.view().library.user().cloned().ok_or(ClientError::Refused(Refusal::LoginFirst))
    }

    /// The engine of the current session.
    pub(crate) fn engine(&self) -> Option<Arc<Engine>> {
        self.running.lock().engine.clone()
    }

    /// The engine's handle on a download.
    pub(crate) fn transfer(&self, id: TransferId) -> Option<Transfer> {
        self.running.lock().transfers.get(&id).cloned()
    }

    /// Starts the engine of a session.
    ///
    /// # Errors
    /// [`ClientError::BadArgument`] if the system cannot start its threads.
    pub(crate) fn start_engine(self: &Arc<Self>, user: UserId) -> Result<(), ClientError> {
        let mut config = EngineConfig::new(Transport::Tls(self.security.clone()));
        config.port = Some(self.address.port());
        config.limits = self.limits.lock().rates;
        config.bind_ip = Some(self.address.ip()).filter(|ip| !ip.is_unspecified());
        if let Some(threads) = self.config.threads {
            config.threads = threads.max(1);
        }
        let host = Arc::new(host::SessionHost::new(self, user));
        let engine = Engine::start(config, host)
            .map_err(|e| ClientError::BadArgument(format!("cannot start transfers: {e}")))?;
        *self.running.lock() = Running { engine: Some(engine), ..Running::default() };
        self.routers.set_session(true);
        // The limits may have changed since they were read above.
        self.apply_rates();
        Ok(())
    }

    /// Sends the global rate limits to the engine, if there is one.
    pub(crate) fn apply_rates(&self) {
        let Some(engine) = self.engine() else { return };
        let mut rates = self.limits.lock().rates;
        loop {
            engine.set_limits(rates);
            // Another thread may have changed them meanwhile, and may have told the engine first.
            let latest = self.limits.lock().rates;
            if latest == rates {
                return;
            }
            rates = latest;
        }
    }

    /// Stops the engine, and logs out of the trackers.
    ///
    /// # Blocking
    /// For some seconds at most.
    pub(crate) fn stop_engine(&self) {
        let running = std::mem::take(&mut *self.running.lock());
        self.routers.set_session(false);
        self.trackers.logout();
        if let Some(engine) = running.leaving.or(running.engine) {
            let stayed = engine.stop(ENGINE_TIMEOUT);
            if !stayed.is_empty() {
                warn!("still running after the session: {}", stayed.join(", "));
            }
        }
    }

    /// Ends the session, the transfers and all threads.
    ///
    /// # Blocking
    /// For some seconds at most.
    pub(crate) fn stop(&self) {
        if self.stop.is_set() {
            return;
        }
        // Unfinished errands go first.
        self.sharers.close(ERRANDS_TIMEOUT);
        self.errands.close(ERRANDS_TIMEOUT);
        self.sources.close(Duration::ZERO);
        self.punchers.close(Duration::ZERO);
        // Otherwise a device that stays would log in again once its session has ended.
        self.staying.hold();
        let _ = self.ask(Command::Leave(None));
        let _ = self.messages.send(Message::Stop);
        self.stop.set();
        self.listener.wake();
        self.lan.wake();
        self.disks.close();
        self.offers.close(Duration::ZERO);
        self.callbacks.close(ERRANDS_TIMEOUT);
        self.bus.stop_recording();
        let mut stayed = self.trackers.stop(STOP_TIMEOUT);
        stayed.extend(self.relay.iter().flat_map(|relay| relay.stop(STOP_TIMEOUT)));
        stayed.extend(self.threads.join(STOP_TIMEOUT));
        if !stayed.is_empty() {
            warn!("still running at the end: {}", stayed.join(", "));
        }
        self.routers.wait_until_withdrawn();
    }

    /// Ends the session if its token is revoked. The trackers may have reported that before there
    /// was a session to end.
    pub(crate) fn end_session_if_over(&self) {
        if let Some(reason) = self.trackers.is_over() {
            drop(self.ask_soon(Command::Leave(Some(reason))));
        }
    }

    /// The user's groups with their display names; `None` if no tracker answers.
    pub(crate) fn groups_of_user(&self) -> Option<HashMap<GroupId, Label>> {
        let groups = self.my_groups().all().ok()?;
        let mine = groups.into_iter().filter(|entry| entry.part.is_member());
        Some(mine.map(|entry| (entry.group, entry.label)).collect())
    }

    /// Accepts no more links from now on.
    fn close_engine(&self) {
        let running = &mut *self.running.lock();
        running.leaving = running.engine.take();
        self.routers.set_session(false);
    }

    /// Tells whether the client stops.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.is_set()
    }

    /// Tells whether the user must choose another password first.
    pub(crate) fn must_change(&self) -> bool {
        self.must_change_password.load(Ordering::Relaxed)
    }
}

/// An answer that has not arrived yet.
#[derive(Debug)]
pub(crate) struct Pending {
    answer: Receiver<CommandResult>,
}

impl Pending {
    /// Waits for the answer.
    pub(crate) fn wait(self) -> CommandResult {
        self.answer.recv().unwrap_or(Err(ClientError::Stopping))
    }

    /// Waits for the answer until the timeout.
    pub(crate) fn wait_for(self, timeout: Duration) -> Option<CommandResult> {
        match self.answer.recv_timeout(timeout) {
            Ok(answer) => Some(answer),
            Err(crossbeam_channel::RecvTimeoutError::Timeout) => None,
            Err(crossbeam_channel::RecvTimeoutError::Disconnected) => {
                Some(Err(ClientError::Stopping))
            }
        }
    }
}
