//! Dials a device at several addresses, and takes the first connection on which it proves its key
//! (in the way of RFC 8305).
//!
//! **Invariant:** before the device's key is proven, nothing is sent but TLS's first message. One
//! connection wins; the others are closed. At most [`AT_ONCE_MAX`] attempts are under way for one
//! device, and all of them count as dials.
//!
//! Runs on the dial's thread, which makes attempts itself and always gets on by itself; threads of
//! the links help while there is room. Blocks until one attempt has won or all have failed.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::candidates::Failure;
use super::services::Services;
use crate::net::{Admission, Connection, Incoming};
use crate::swarm::link::handshake::LinkError;
use crate::types::DeviceId;
use crate::types::limits::HANDSHAKE_TIMEOUT;

/// Dials under way at a time, for all files: each holds a thread, for ten seconds if nothing
/// answers.
pub(super) const DIALS_MAX: usize = 128;
/// Attempts for one device that are under way at a time.
pub(super) const AT_ONCE_MAX: usize = 4;
/// How long an attempt is alone before the next begins (RFC 8305, section 5). One that fails lets
/// the next begin at once.
const STAGGER: Duration = Duration::from_millis(250);

/// Counts a dial as under way until dropped.
pub(super) struct Dialling(Arc<Services>);

impl Dialling {
    pub(super) fn begin(services: &Arc<Services>) -> Self {
        services.dials.fetch_add(1, Ordering::Relaxed);
        Self(services.clone())
    }

    /// The same for one more address of a device that is being dialled; `None` if there is no room.
    fn begin_helper(services: &Arc<Services>) -> Option<Self> {
        let has_room = services.dials.load(Ordering::Relaxed) < DIALS_MAX;
        has_room.then(|| Self::begin(services))
    }
}

impl Drop for Dialling {
    fn drop(&mut self) {
        self.0.dials.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection on which the device has proven its key.
pub(super) struct Reached {
    pub(super) connection: Connection,
    pub(super) admission: Admission,
    /// When this attempt began.
    pub(super) started: Instant,
    /// How long connecting and the proof took.
    pub(super) took: Duration,
}

struct Race {
    services: Arc<Services>,
    device: DeviceId,
    state: Mutex<RaceState>,
    /// Signalled when an attempt has ended.
    changed: Condvar,
}

#[derive(Default)]
struct RaceState {
    waiting: VecDeque<SocketAddr>,
    under_way: usize,
    helpers: usize,
    /// When the next attempt may begin, though others are under way.
    next_at: Option<Instant>,
    /// Connections whose proof is under way.
    dialled: Vec<Incoming>,
    winner: Option<Reached>,
    is_over: bool,
    error: Option<LinkError>,
}

/// Dials the addresses in that order.
///
/// # Errors
/// That of the attempt which failed last.
pub(super) fn race(
    services: &Arc<Services>,
    device: DeviceId,
    addresses: Vec<SocketAddr>,
) -> Result<Reached, LinkError> {
    let state = RaceState { waiting: addresses.into(), ..RaceState::default() };
    let race = Arc::new(Race {
        services: services.clone(),
        device,
        state: Mutex::new(state),
        changed: Condvar::new(),
    });
    race.run(true);
    let mut state = race.state.lock();
    state.winner.take().ok_or_else(|| {
        let none = LinkError::Refused("each of its addresses failed a moment ago");
        state.error.take().unwrap_or(none)
    })
}

impl Race {
    /// Makes attempts until the race is over. The dial's own thread also waits for the last ones.
    fn run(self: &Arc<Self>, is_own: bool) {
        while let Some(address) = self.next(is_own) {
            let outcome = self.attempt(address);
            self.ended(address, outcome);
        }
    }

    /// Waits until the next attempt may begin, and takes its address; `None` at the end.
    fn next(self: &Arc<Self>, is_own: bool) -> Option<SocketAddr> {
        let mut state = self.state.lock();
        loop {
            let is_done = state.waiting.is_empty() && (!is_own || state.under_way == 0);
            if state.is_over || is_done {
                return None;
            }
            let now = Instant::now();
            let next_at = state.next_at.filter(|at| state.under_way > 0 && *at > now);
            if state.waiting.is_empty() || state.under_way >= AT_ONCE_MAX {
                self.changed.wait(&mut state);
            } else if let Some(at) = next_at {
                self.changed.wait_until(&mut state, at);
            } else {
                break;
            }
        }
        let address = state.waiting.pop_front()?;
        state.under_way += 1;
        state.next_at = Some(Instant::now() + STAGGER);
        if !state.waiting.is_empty() && state.helpers + 1 < AT_ONCE_MAX {
            self.call_helper(&mut state);
        }
        Some(address)
    }

    /// Has another thread make attempts, too, if there is room for one.
    fn call_helper(self: &Arc<Self>, state: &mut RaceState) {
        let Some(dialling) = Dialling::begin_helper(&self.services) else { return };
        let race = self.clone();
        let begun = self.services.of_links.read.begin(move || {
            let _dialling = dialling;
            race.run(false);
            race.state.lock().helpers -= 1;
        });
        state.helpers += usize::from(begun.is_ok());
    }

    fn attempt(&self, address: SocketAddr) -> Result<Reached, (LinkError, Option<Failure>)> {
        let (services, started) = (&self.services, Instant::now());
        let is_unwanted = || services.stop.is_set() || self.state.lock().is_over;
        let bind_ip = services.config.bind_ip;
        let dialled = Incoming::dial_unless(address, bind_ip, HANDSHAKE_TIMEOUT, &is_unwanted)
            .map_err(|e| (LinkError::Unreachable(e), Some(Failure::Unreached)))?;
        // Before the handshake, so that the end of the engine ends it. The bounds for each address
        // are there against peers that dial us.
        let too_many = || (LinkError::Refused("too many links are up"), None);
        let mut admission =
            services.registry.admit(address.ip(), dialled.clone()).ok_or_else(too_many)?;
        if !admission.trust() {
            return Err(too_many());
        }
        {
            let mut state = self.state.lock();
            if state.is_over {
                dialled.close();
                return Err((LinkError::Refused("another address was faster"), None));
            }
            state.dialled.push(dialled.clone());
        }
        let left = HANDSHAKE_TIMEOUT.saturating_sub(started.elapsed());
        let proven = services.config.transport.prove(dialled, left, self.device);
        let connection = proven.map_err(|e| {
            let is_other = e.kind() == std::io::ErrorKind::InvalidData;
            let failure = if is_other { Failure::WrongKey } else { Failure::Unfinished };
            (LinkError::Unreachable(e), Some(failure))
        })?;
        Ok(Reached { connection, admission, started, took: started.elapsed() })
    }

    fn ended(&self, address: SocketAddr, outcome: Result<Reached, (LinkError, Option<Failure>)>) {
        let mut state = self.state.lock();
        state.under_way -= 1;
        match outcome {
            Ok(reached) if state.is_over => reached.connection.close(),
            Ok(reached) => {
                state.is_over = true;
                let own = (reached.connection.local_addr(), reached.connection.peer_addr());
                let is_other = |other: &&Incoming| (other.local_addr(), other.peer_addr()) != own;
                state.dialled.iter().filter(is_other).for_each(Incoming::close);
                self.services.dial_memory.note_won(self.device, address);
                state.winner = Some(reached);
            }
            // It was closed for another, or was not tried to the end.
            Err(_) if state.is_over => {}
            Err((error, failure)) => {
                if let Some(failure) = failure.filter(|_| !self.services.stop.is_set()) {
                    let now = self.services.now();
                    self.services.dial_memory.note_failed(now, self.device, address, failure);
                }
                log::debug!("{address}: {error}");
                state.error = Some(error);
                state.next_at = None;
            }
        }
        self.changed.notify_all();
    }
}
