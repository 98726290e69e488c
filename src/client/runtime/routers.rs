//! Has routers forward the client's port while a user is logged in.
//!
//! **Invariant:** what [`Mapper`] says is mapped is offered to the trackers, and nothing else as
//! such. Without a session nothing is mapped: there would be nothing to serve.
//!
//! The thread "routers" waits for routers; nothing waits for it but the end of the client, for
//! [`WITHDRAW_TIMEOUT`] if a router forwards.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, select};
use log::debug;

use super::Runtime;
use crate::client::config::ClientConfig;
use crate::client::routers::{Mapper, Report, RouterAttempt, Surroundings, targets};
use crate::client::trackers::uptime;
use crate::net::{Stop, Threads, default_gateways};

/// Longest wait of the client's end for routers to forward no more. What is not taken back by then
/// ends with its lifetime.
const WITHDRAW_TIMEOUT: Duration = Duration::from_secs(1);
/// How often a machine without a router is looked at. A change of its addresses comes as an event.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// What the thread "routers" and the others share.
pub(crate) struct Routers {
    is_on: bool,
    secret: [u8; 32],
    report: Report,
    /// A user is logged in.
    has_session: AtomicBool,
    /// A router forwards, or may.
    holds: AtomicBool,
    /// The networks may be others.
    has_moved: AtomicBool,
    wake: Sender<()>,
    woken: Receiver<()>,
    /// On its own, since the client's end waits for it in another way.
    threads: Threads,
}

impl Routers {
    /// For a client of that configuration. From the secret follow the nonces of mappings: after a
    /// crash the same device can renew what it had.
    pub(crate) fn new(config: &ClientConfig, secret: [u8; 32]) -> Self {
        let (wake, woken) = bounded(1);
        let is_on = config.map_port && !config.listen.ip().to_canonical().is_loopback();
        let (report, threads) = (Report::default(), Threads::new());
        let flag = AtomicBool::default;
        let (has_session, holds, has_moved) = (flag(), flag(), flag());
        Self { is_on, secret, report, has_session, holds, has_moved, wake, woken, threads }
    }

    /// What was tried, and what came of it.
    pub(crate) fn attempts(&self) -> Vec<RouterAttempt> {
        self.report.attempts()
    }

    /// Mappings are wanted from now on, or not any more.
    pub(super) fn set_session(&self, has_session: bool) {
        self.has_session.store(has_session, Ordering::Relaxed);
        self.wake();
    }

    fn wake(&self) {
        // It is about to look if the channel is full.
        let _ = self.wake.try_send(());
    }

    /// Has the thread look at everything anew: the machine has other networks, or slept.
    pub(super) fn look_again(&self) {
        self.has_moved.store(true, Ordering::Relaxed);
        self.wake();
    }

    /// Waits until no router forwards any more, for a second at most.
    pub(super) fn wait_until_withdrawn(&self) {
        if self.holds.load(Ordering::Relaxed) && !self.threads.join(WITHDRAW_TIMEOUT).is_empty() {
            debug!("a router has not taken the mapping back in time: it ends with its lifetime");
        }
    }
}

impl Runtime {
    /// Why no router is asked, if that is so.
    pub(crate) fn why_no_mapping(&self) -> Option<&'static str> {
        let listen = self.address.ip().to_canonical();
        if !self.config.map_port {
            Some("routers are not asked to forward: the client was started with --no-port-mapping")
        } else if listen.is_loopback() {
            Some("routers are not asked to forward: the client listens for this machine alone")
        } else if !self.routers.has_session.load(Ordering::Relaxed) {
            Some("routers are asked to forward once a user is logged in")
        } else if self.routers.attempts().is_empty() {
            Some("no router is known that would have to forward to this machine")
        } else {
            None
        }
    }

    /// Starts the thread, if routers are to be asked.
    pub(super) fn start_routers(self: &Arc<Self>) -> std::io::Result<()> {
        let (routers, stop, runtime) =
            (self.routers.clone(), self.stop.clone(), Arc::downgrade(self));
        let (address, is_both) = (self.address, self.listener.takes_both());
        if !routers.is_on {
            return Ok(());
        }
        let threads = routers.threads.clone();
        threads.spawn("routers", move || run(&routers, address, is_both, &stop, &runtime))
    }
}

/// Keeps the runtime, hence the store's lock, only for moments: a router may take seconds.
fn run(
    routers: &Routers,
    address: SocketAddr,
    is_both: bool,
    stop: &Stop,
    runtime: &Weak<Runtime>,
) {
    let is_over = || stop.is_set() || !routers.has_session.load(Ordering::Relaxed);
    let around = Surroundings { report: &routers.report, holds: &routers.holds, is_over: &is_over };
    let mut mapper = Mapper::new(address.port(), routers.secret);
    loop {
        let mut wait = LOOK_EVERY;
        if !is_over() {
            let targets = targets(address.ip(), is_both, &default_gateways());
            let look_again = routers.has_moved.swap(false, Ordering::Relaxed);
            let due = mapper.step(&targets, look_again, &around);
            wait = due.saturating_sub(uptime()).min(LOOK_EVERY);
        }
        if is_over() {
            mapper.withdraw(&around);
        }
        match runtime.upgrade() {
            Some(runtime) if !stop.is_set() => runtime.set_mapped(&mapper.external()),
            _ => return,
        }
        select! {
            recv(routers.woken) -> _ => {}
            recv(stop.channel()) -> _ => {}
            default(wait) => {}
        }
    }
}
