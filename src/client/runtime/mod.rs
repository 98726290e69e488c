//! What carries a session's decisions out: its threads, and what they share.
//!
//! **Invariant:** the thread "core" alone touches the session; it touches no file, socket or
//! database. The others read what it has published, or send it messages. Every lock here guards
//! small state and is held for moments; none is held while another is taken.
//!
//! Threads: "core"; "store" writes transactions; "listener" hands connections to the engine; and on
//! demand "disk" (a few for each mount), "errand" (tickets, tokens), "sources", "offers",
//! "callback" and "sharer" (completed downloads). Commands run on the caller's thread.

mod core;
mod disks;
mod files;
mod host;
mod login;
mod names;
mod pages;
mod published;
mod show;
mod staying;
mod workers;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use log::warn;
use parking_lot::Mutex;

use self::disks::Disks;
pub(crate) use self::files::{compare, is_intact};
#[cfg(test)]
pub(crate) use self::host::SessionHost;
use self::names::Names;
pub use self::pages::Pages;
pub(crate) use self::published::Callback;
use self::published::Published;
use self::staying::Staying;
use self::workers::Workers;
use super::config::ClientConfig;
use super::error::ClientError;
use super::event::{Bus, ClientEvent};
use super::network::Network;
use super::recorder;
use super::session::input::{Answer, Command, Input, ReplyTo, TransferId};
use super::session::news::News;
use super::session::{Session, View};
use super::trackers::TrackerSet;
use crate::net::{DeviceSecurity, Listener, Stop, Threads, Transport};
use crate::store::{DeviceStore, Write};
use crate::swarm::{Engine, EngineConfig, Limits, Transfer};
use crate::types::{GroupId, InfoHash, Label, Refusal, UserEntry, UserId};

/// Messages that wait for the core; beyond it their senders wait.
const MESSAGES_LEN: usize = 16_384;
/// Threads that tell the directory of completed downloads.
const SHARERS_MAX: usize = 8;
/// Threads for tickets and tokens.
const ERRANDS_MAX: usize = 2;
/// Time for the engine's threads to end.
const ENGINE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for all other threads to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for what is under way at the end: a completed download is told to its group.
const ERRANDS_TIMEOUT: Duration = Duration::from_secs(3);

/// What arrives at the core.
pub(super) enum Message {
    /// Something has happened.
    Input(Input),
    /// The same, and somebody waits for an answer.
    Question(Box<dyn FnOnce(ReplyTo) -> Input + Send>, Sender<CommandResult>),
    /// The session's token was renewed, or not.
    Renewed,
    /// Everything before is to be written, then the thread ends.
    Stop,
}

/// An answer of the session.
pub(super) type CommandResult = Result<Answer, ClientError>;

/// The engine of the present session, and what it is to know.
#[derive(Default)]
struct Running {
    engine: Option<Arc<Engine>>,
    /// One that takes no links any more and is about to be stopped.
    leaving: Option<Arc<Engine>>,
    transfers: HashMap<TransferId, Transfer>,
}

/// What a client keeps to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClientLimits {
    pub(crate) rates: Limits,
    pub(crate) downloads_max: usize,
}

/// What the client's threads share.
pub(crate) struct Runtime {
    pub(crate) config: ClientConfig,
    pub(crate) address: SocketAddr,
    pub(crate) store: Arc<DeviceStore>,
    pub(crate) security: DeviceSecurity,
    pub(crate) network: Arc<Network>,
    pub(crate) trackers: TrackerSet,
    pub(crate) bus: Bus,
    pub(crate) disks: Disks,
    pub(crate) names: Names,
    pub(crate) limits: Mutex<ClientLimits>,
    /// Whether this device is to log in by its key.
    pub(crate) staying: Staying,
    /// The operator has set the user's password.
    pub(crate) must_change_password: AtomicBool,
    messages: Sender<Message>,
    published: Published,
    running: Mutex<Running>,
    errands: Workers,
    /// Asks for other sources of downloads: may take long, and nothing waits for it.
    sources: Workers,
    /// Has the engine offer files, or no more, in the order of the session's decisions.
    offers: Workers,
    /// Calls those who wait for the end of a download.
    callbacks: Workers,
    sharers: Workers,
    listener: Listener,
    stop: Stop,
    threads: Threads,
}

/// What a runtime is made of.
pub(crate) struct Parts {
    pub(crate) config: ClientConfig,
    pub(crate) listener: Listener,
    pub(crate) store: Arc<DeviceStore>,
    pub(crate) security: DeviceSecurity,
    pub(crate) network: Arc<Network>,
    pub(crate) trackers: TrackerSet,
    pub(crate) news: Receiver<News>,
    /// What is told to whoever subscribes first.
    pub(crate) early: Vec<ClientEvent>,
}

impl Runtime {
    /// Starts the threads.
    ///
    /// # Errors
    /// [`ClientError::System`] if there is no room for them.
    pub(crate) fn start(parts: Parts) -> Result<Arc<Self>, ClientError> {
        let Parts { config, listener, store, security, network, trackers, news, early } = parts;
        let (messages, incoming) = bounded(MESSAGES_LEN);
        let threads = Threads::new();
        let limits = ClientLimits { rates: config.limits, downloads_max: config.downloads_max };
        let staying = store.staying()?;
        let runtime = Arc::new(Self {
            address: listener.local_addr(),
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
            sharers: Workers::new("sharer", SHARERS_MAX, &threads),
            listener,
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
                    // Without a session there is nothing to offer: the connection is closed.
                    None => incoming.close(),
                });
            })
        });
        let this = runtime.clone();
        let started = started.and_then(|()| {
            runtime.threads.spawn("staying", move || staying::run(&this, &this.stop))
        });
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

    /// What counts now.
    pub(crate) fn view(&self) -> Arc<View> {
        self.published.view()
    }

    /// Waits until something has changed that is published, or `until`; false if it is over.
    pub(crate) fn wait_for_change(&self, seen: &Arc<View>, until: Option<Instant>) -> bool {
        self.published.wait(seen, until)
    }

    /// Has `callback` called when the download has ended, or at once if it has. It is dropped if
    /// there is no such download, or the session ends first.
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

    /// Tells the session of something.
    pub(crate) fn tell(&self, input: Input) {
        // At the end there is nobody to tell.
        let _ = self.messages.send(Message::Input(input));
    }

    /// Asks the session, and waits for the answer.
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

    /// The same; the answer is waited for later.
    pub(crate) fn ask_soon(&self, command: Command) -> Pending {
        self.question(move |reply| Input::Command(reply, command))
    }

    fn question(&self, input: impl FnOnce(ReplyTo) -> Input + Send + 'static) -> Pending {
        let (sender, answer) = bounded(1);
        // If it cannot be sent, the sender is dropped, and the answer is that.
        let _ = self.messages.send(Message::Question(Box::new(input), sender));
        Pending { answer }
    }

    /// The session's user.
    pub(crate) fn need_user(&self) -> Result<UserEntry, ClientError> {
        self.view().library.user().cloned().ok_or(ClientError::Refused(Refusal::LoginFirst))
    }

    /// The engine of the present session.
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
    /// [`ClientError::BadArgument`] if there is no room for its threads.
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
        // Again: they may have been changed since.
        self.apply_rates();
        Ok(())
    }

    /// Tells the engine, if there is one, the limits of all together.
    pub(crate) fn apply_rates(&self) {
        let Some(engine) = self.engine() else { return };
        let mut rates = self.limits.lock().rates;
        loop {
            engine.set_limits(rates);
            // Another thread may have changed them meanwhile, and have told the engine first.
            let latest = self.limits.lock().rates;
            if latest == rates {
                return;
            }
            rates = latest;
        }
    }

    /// Ends the engine, and the session at the trackers.
    ///
    /// # Blocking
    /// For some seconds at most.
    pub(crate) fn stop_engine(&self) {
        let running = std::mem::take(&mut *self.running.lock());
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
        // What is under way is finished first.
        self.sharers.close(ERRANDS_TIMEOUT);
        self.errands.close(ERRANDS_TIMEOUT);
        self.sources.close(Duration::ZERO);
        let _ = self.ask(Command::Leave(None));
        let _ = self.messages.send(Message::Stop);
        self.stop.set();
        self.listener.wake();
        self.disks.close();
        self.offers.close(Duration::ZERO);
        self.callbacks.close(ERRANDS_TIMEOUT);
        self.bus.stop_recording();
        let mut stayed = self.trackers.stop(STOP_TIMEOUT);
        stayed.extend(self.threads.join(STOP_TIMEOUT));
        if !stayed.is_empty() {
            warn!("still running at the end: {}", stayed.join(", "));
        }
    }

    /// Ends the session if its token is void: it may have been called so before there was a session
    /// to end.
    pub(crate) fn end_session_if_over(&self) {
        if let Some(reason) = self.trackers.is_over() {
            drop(self.ask_soon(Command::Leave(Some(reason))));
        }
    }

    /// The groups the user is a member of, with the names under which they are shown; `None` if no
    /// tracker tells.
    pub(crate) fn groups_of_user(&self) -> Option<HashMap<GroupId, Label>> {
        let groups = self.my_groups().all().ok()?;
        let mine = groups.into_iter().filter(|entry| entry.part.is_member());
        Some(mine.map(|entry| (entry.group, entry.label)).collect())
    }

    /// From now on no link is taken.
    fn close_engine(&self) {
        let running = &mut *self.running.lock();
        running.leaving = running.engine.take();
    }

    /// Tells whether the client stops.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.is_set()
    }

    /// Tells whether the user has to choose another password first.
    pub(crate) fn must_change(&self) -> bool {
        self.must_change_password.load(Ordering::Relaxed)
    }
}

/// An answer that is on its way.
#[derive(Debug)]
pub(crate) struct Pending {
    answer: Receiver<CommandResult>,
}

impl Pending {
    /// Waits for it.
    pub(crate) fn wait(self) -> CommandResult {
        self.answer.recv().unwrap_or(Err(ClientError::Stopping))
    }

    /// Waits for it for a while.
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
