//! The client's sessions with the trackers, and commands that survive the failure of a tracker.
//!
//! Two threads per tracker keep one connection: one dials and reads; the other writes, pings and
//! repeats logins. A password, shown to one tracker, begins a session and brings a token. All other
//! trackers, and this one after a reconnect, receive the token. A command goes to the *primary*,
//! the nearest healthy tracker. When that connection fails or stays silent, the command goes to the
//! next trackers under the same request id, so it is carried out once.
//!
//! **Invariant:** a tracker receives commands of a session only while it has confirmed that
//! session's user. The set's lock is never held across socket IO.
//!
//! [`TrackerSet::call`] and its variants block the calling thread. Notifications go into a bounded
//! channel. Its consumer must never call a tracker: the threads that would deliver the answer may
//! be blocked on that channel.

mod announce;
mod call;
mod caller;
mod candidates;
mod clock;
mod learned;
mod link;
mod login;
mod needed;
mod pause;
mod punching;
mod redial;
mod relays;
mod session;
mod stamps;
mod state;
#[cfg(test)]
pub(in crate::client) mod tests;
mod token;
mod told;
mod wrong_time;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use parking_lot::{Condvar, Mutex};

use super::ClientError;
use super::network::Network;
pub(crate) use super::session::news::{ClocksDiffer, News, RemovedFile};
use crate::net::{DeviceSecurity, Stop, Threads};
use crate::types::Stamp;

pub(crate) use call::{LoggedIn, Need, PASSWORD_TIMEOUT};
pub(crate) use caller::with_caller;
pub(crate) use clock::uptime;
use punching::Punches;
use relays::Relays;
pub(crate) use relays::{RelayNews, RelayWish};
pub(crate) use state::LinkView;
use state::SetState;

/// The parameters of a tracker set.
#[derive(Debug, Clone)]
pub(crate) struct SetOptions {
    /// `host:port` of every tracker, in the order of the file.
    pub(crate) addresses: Vec<String>,
    /// Local address that sessions are dialled from.
    pub(crate) bind_ip: IpAddr,
    /// This device's key, and how connections are made.
    pub(crate) security: DeviceSecurity,
    /// The network whose trackers are trusted.
    pub(crate) network: Arc<Network>,
    /// The port on which this device accepts links.
    pub(crate) port: u16,
    /// Where it listens, if other sockets can dial from there.
    pub(crate) peer_port: Option<SocketAddr>,
    /// Trackers that other trackers listed in earlier runs.
    pub(crate) learned: Vec<String>,
    /// The largest request time of earlier runs.
    pub(crate) last_request: Stamp,
    /// How this device uses relays.
    pub(crate) relays: RelayWish,
}

/// All trackers of the network; clones share the same set.
#[derive(Debug, Clone)]
pub(crate) struct TrackerSet {
    shared: Arc<Shared>,
    /// Calls through this clone are interrupted neither by [`TrackerSet::interrupt`] nor by a
    /// caller's stop.
    patient: bool,
}

#[derive(Debug)]
struct Shared {
    options: SetOptions,
    state: Mutex<SetState>,
    /// Notified when a tracker becomes ready or unready, and when a pause between dials is cut
    /// short.
    changed: Condvar,
    news: Sender<News>,
    relays: Relays,
    punches: Punches,
    /// Interrupts the calls under way; each interrupt replaces it for later calls.
    interrupt: Mutex<Stop>,
    stop: Stop,
    threads: Threads,
}

impl TrackerSet {
    /// Starts keeping a session with every tracker.
    ///
    /// # Errors
    /// The system's, if it cannot start the threads.
    pub(crate) fn start(options: SetOptions, news: Sender<News>) -> std::io::Result<Self> {
        let state = Mutex::new(SetState::new(
            options.security.device(),
            &options.addresses,
            options.last_request,
        ));
        let (stop, threads) = (Stop::new(), Threads::new());
        let interrupt = Mutex::new(Stop::new());
        let shared = Arc::new(Shared {
            options,
            state,
            changed: Condvar::new(),
            news,
            relays: Relays::default(),
            punches: Punches::default(),
            interrupt,
            stop,
            threads,
        });
        for index in 0..shared.options.addresses.len() {
            let link = shared.clone();
            shared
                .threads
                .spawn(format!("tracker {}", index + 1), move || link::run(&link, index))?;
        }
        shared.add(&shared.options.learned);
        Ok(Self { shared, patient: false })
    }

    /// The same set, for calls that no caller waits for: they cannot be interrupted.
    pub(crate) fn patient(&self) -> Self {
        Self { patient: true, ..self.clone() }
    }

    /// Interrupts the calls of all callers with [`ClientError::Interrupted`]. Their requests may be
    /// carried out all the same.
    pub(crate) fn interrupt(&self) {
        std::mem::take(&mut *self.shared.interrupt.lock()).set();
        // Taking the lock makes sure that a thread that is about to wait is woken.
        drop(self.shared.state.lock());
        self.shared.changed.notify_all();
    }

    /// Waits until a tracker is connected and every other one was tried once, or a grace period has
    /// passed. False if none is connected after `timeout`.
    ///
    /// # Blocking
    /// For at most `timeout`; [`TrackerSet::interrupt`] and the caller's stop end it.
    pub(crate) fn wait_for_any(&self, timeout: Duration) -> bool {
        const GRACE: Duration = Duration::from_millis(300);
        let deadline = Instant::now() + timeout;
        let interrupt = self.shared.interrupt.lock().clone();
        let caller = caller::current();
        let has_given_up =
            || interrupt.is_set() || caller.as_ref().is_some_and(|caller| caller.is_set());
        let mut first_seen = None;
        let mut state = self.shared.state.lock();
        loop {
            let now = Instant::now();
            let any = state.links.iter().any(|link| link.live.is_some());
            let mut until = deadline;
            if any {
                until = *first_seen.get_or_insert((now + GRACE).min(deadline));
                if now >= until
                    || state.links.iter().all(|link| link.attempts > 0 || link.is_learned)
                {
                    return true;
                }
            }
            if now >= deadline || self.shared.stop.is_set() || has_given_up() {
                return any;
            }
            if caller.is_some() {
                until = until.min(now + caller::LOOK_INTERVAL);
            }
            self.shared.changed.wait_until(&mut state, until);
        }
    }

    /// Tells whether any tracker is connected now.
    pub(crate) fn is_reachable(&self) -> bool {
        self.shared.state.lock().links.iter().any(|link| link.live.is_some())
    }

    /// The time on the trackers' clocks, in milliseconds since the Unix epoch: the earliest of
    /// those that agree.
    pub(crate) fn clock_ms(&self) -> u64 {
        self.shared.state.lock().now_ms()
    }

    /// The error of a command when no tracker is connected.
    pub(crate) fn why_unreachable(&self) -> ClientError {
        self.shared.state.lock().why_unreachable()
    }

    /// The state of every tracker, in the order of the file.
    pub(crate) fn views(&self) -> Vec<LinkView> {
        self.shared.state.lock().views()
    }

    /// Ends every session and joins the threads; returns the names of threads that did not end in
    /// time.
    ///
    /// # Blocking
    /// For at most `timeout`.
    pub(crate) fn stop(&self, timeout: Duration) -> Vec<String> {
        self.shared.stop.set();
        self.shared.state.lock().close_all();
        self.shared.changed.notify_all();
        self.shared.threads.join(timeout)
    }
}
