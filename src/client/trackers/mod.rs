//! The client's sessions with all trackers, and commands that outlive the tracker they were sent
//! to.
//!
//! Two threads a tracker keep one connection: one dials and reads, one writes and minds the clock
//! (pings, repeated logins). A session is begun by a password, shown to one tracker; all others,
//! and this one after a cut, take the token that came of it. A command is sent to the *primary*,
//! the nearest healthy tracker, and, when that connection fails or stays silent, to the next ones
//! under the same request id, so that it is carried out once whoever answers first.
//!
//! **Invariant:** a tracker is given commands of a session only while it has confirmed that
//! session's user; the set's lock is never held across socket IO.
//!
//! [`TrackerSet::call`] and its kin block the calling thread; news are handed to a bounded channel
//! whose consumer must never call a tracker, as the threads that would bring the answer may be
//! waiting for it.

mod announce;
mod call;
mod caller;
mod clock;
mod learned;
mod link;
mod login;
mod pause;
mod redial;
mod session;
mod stamps;
mod state;
#[cfg(test)]
pub(in crate::client) mod tests;
mod token;
mod wrong_time;

use std::net::IpAddr;
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
pub(crate) use state::LinkView;
use state::SetState;

/// What the set needs to know.
#[derive(Debug, Clone)]
pub(crate) struct SetOptions {
    /// `host:port` of every tracker, in the order of the file.
    pub(crate) addresses: Vec<String>,
    /// Local address that sessions are dialled from.
    pub(crate) bind_ip: IpAddr,
    /// Who we are, and how connections are made.
    pub(crate) security: DeviceSecurity,
    /// Whose trackers are trusted.
    pub(crate) network: Arc<Network>,
    /// The port on which we take links.
    pub(crate) port: u16,
    /// Trackers that others told of in earlier runs.
    pub(crate) learned: Vec<String>,
    /// The largest request time of earlier runs.
    pub(crate) last_request: Stamp,
}

/// All trackers of the network; clones are the same set.
#[derive(Debug, Clone)]
pub(crate) struct TrackerSet {
    shared: Arc<Shared>,
    /// Calls through this clone are ended neither by [`TrackerSet::interrupt`] nor by a caller.
    patient: bool,
}

#[derive(Debug)]
struct Shared {
    options: SetOptions,
    state: Mutex<SetState>,
    /// Notified whenever a tracker becomes ready or unready, and when a pause between dials is cut
    /// short.
    changed: Condvar,
    news: Sender<News>,
    /// Ends the calls under way; each interrupt puts a new one here for those to come.
    interrupt: Mutex<Stop>,
    stop: Stop,
    threads: Threads,
}

impl TrackerSet {
    /// Starts keeping sessions with every tracker.
    ///
    /// # Errors
    /// The system's, when it has no room for the threads.
    pub(crate) fn start(options: SetOptions, news: Sender<News>) -> std::io::Result<Self> {
        let state = Mutex::new(SetState::new(&options.addresses, options.last_request));
        let (stop, threads) = (Stop::new(), Threads::new());
        let interrupt = Mutex::new(Stop::new());
        let shared = Arc::new(Shared {
            options,
            state,
            changed: Condvar::new(),
            news,
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

    /// The same set, for calls that nobody waits for: an interrupt does not end them.
    pub(crate) fn patient(&self) -> Self {
        Self { patient: true, ..self.clone() }
    }

    /// Ends the calls of all callers that are under way with [`ClientError::Interrupted`]. What they
    /// asked for may be carried out all the same.
    pub(crate) fn interrupt(&self) {
        std::mem::take(&mut *self.shared.interrupt.lock()).set();
        // The lock makes sure that whoever was about to wait is woken.
        drop(self.shared.state.lock());
        self.shared.changed.notify_all();
    }

    /// Waits until a tracker is connected and every other one has been tried once or had a little
    /// more time; false if none is connected when `timeout` has passed.
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

    /// The error for a command when no tracker is connected.
    pub(crate) fn why_unreachable(&self) -> ClientError {
        self.shared.state.lock().why_unreachable()
    }

    /// Every tracker as this client sees it, in the order of the file.
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
