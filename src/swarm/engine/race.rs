//! Dials a device at several addresses, and takes the first connection on which it proves its key
//! (in the way of RFC 8305).
//!
//! **Invariant:** before the device's key is proven, nothing is sent but TLS's first message. One
//! connection wins; the others are closed. At most [`AT_ONCE_MAX`] attempts are under way for one
//! device, and all of them count as dials. A race ends by [`ROUND_MAX`].
//!
//! Runs on the dial's thread, which makes attempts itself and always gets on by itself; threads of
//! the links help while there is room. Blocks until one attempt has won, all have failed, or the
//! device is not wanted any more.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::candidates::{Failure, Target};
use super::services::Services;
use crate::net::{Admission, Connection, Incoming};
use crate::swarm::api::RelayPlace;
use crate::swarm::api::Way;
use crate::swarm::link::handshake::LinkError;
use crate::types::DeviceId;
use crate::types::limits::HANDSHAKE_TIMEOUT;
use crate::wire::relay::RelayHello;

/// Dials under way at a time, for all files: each holds a thread, for ten seconds if nothing
/// answers.
pub(super) const DIALS_MAX: usize = 128;
/// Attempts for one device that are under way at a time.
pub(super) const AT_ONCE_MAX: usize = 4;
/// How long an attempt is alone before the next begins (RFC 8305, section 5). One that fails lets
/// the next begin at once.
const STAGGER: Duration = Duration::from_millis(250);
/// How long a race takes at most; addresses whose turn has not come are the first next time.
const ROUND_MAX: Duration = HANDSHAKE_TIMEOUT;
/// How long an address may take to take a connection while others wait for their turn.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// The same for every address while a hole punch may follow.
const CONNECT_HURRIED_MAX: Duration = Duration::from_secs(1);
/// How long the device's own addresses are alone before a relay is asked for, unless all of them
/// have failed: a direct link through the worst network is made by then.
const RELAY_AFTER: Duration = Duration::from_secs(1);
/// How often a race looks whether the device is wanted still.
const LOOK: Duration = Duration::from_millis(250);

/// Counts a dial as under way until dropped.
pub(super) struct Dialling(Arc<Services>);

impl Dialling {
    pub(super) fn begin(services: &Arc<Services>) -> Self {
        services.dials.fetch_add(1, Ordering::Relaxed);
        Self(services.clone())
    }

    /// The same for one more address of a device that is being dialled; `None` if there is no room.
    fn begin_helper(services: &Arc<Services>) -> Option<Self> {
        let one_more = |dials| (dials < DIALS_MAX).then_some(dials + 1);
        let added = services.dials.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        added.is_ok().then(|| Self(services.clone()))
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
    /// How the devices came together.
    pub(super) way: Way,
}

/// Asks for a place at a relay. May block for a few seconds.
pub(super) type AskRelay = Box<dyn Fn() -> Option<RelayPlace> + Send + Sync>;

/// The next attempt of a race.
enum Next {
    /// An address of the device, and whether it is the last.
    Direct(Target, bool),
    Relayed,
}

struct Race {
    services: Arc<Services>,
    device: DeviceId,
    /// There is another way if no address answers: no address is waited for long.
    is_hurried: bool,
    /// Whether a link to the device is of use still. May lock a torrent.
    is_wanted: Box<dyn Fn() -> bool + Send + Sync>,
    until: Instant,
    relay: Option<AskRelay>,
    relay_at: Instant,
    state: Mutex<RaceState>,
    /// Signalled when an attempt has ended.
    changed: Condvar,
}

#[derive(Default)]
struct RaceState {
    waiting: VecDeque<Target>,
    /// The attempt by a relay has not begun.
    relay_waits: bool,
    under_way: usize,
    helpers: usize,
    /// When the next attempt may begin, though others are under way.
    next_at: Option<Instant>,
    /// Connections whose proof is under way.
    dialled: HashMap<SocketAddr, Incoming>,
    winner: Option<Reached>,
    is_over: bool,
    error: Option<LinkError>,
}

/// Dials the addresses in that order, and a relay after a moment. If `is_hurried`, none is waited
/// for long.
///
/// # Errors
/// That of the attempt which failed last; [`LinkError::LeftAlone`] if none was made.
pub(super) fn race(
    services: &Arc<Services>,
    device: DeviceId,
    targets: Vec<Target>,
    relay: Option<AskRelay>,
    is_hurried: bool,
    is_wanted: impl Fn() -> bool + Send + Sync + 'static,
) -> Result<Reached, LinkError> {
    let relay_waits = relay.is_some();
    let state = RaceState { waiting: targets.into(), relay_waits, ..RaceState::default() };
    let race = Arc::new(Race {
        services: services.clone(),
        device,
        is_hurried,
        is_wanted: Box::new(is_wanted),
        until: Instant::now() + ROUND_MAX,
        relay,
        relay_at: Instant::now() + RELAY_AFTER,
        state: Mutex::new(state),
        changed: Condvar::new(),
    });
    race.run(true);
    let mut state = race.state.lock();
    state.winner.take().ok_or_else(|| state.error.take().unwrap_or(LinkError::LeftAlone))
}

impl Race {
    /// Makes attempts until the race is over. The dial's own thread also waits for the last ones.
    fn run(self: &Arc<Self>, is_own: bool) {
        while let Some(next) = self.next(is_own) {
            match next {
                Next::Direct(target, is_last) => {
                    let outcome = self.attempt(&target, is_last);
                    self.ended(Some(&target), target.address, outcome);
                }
                Next::Relayed => match self.relay.as_ref().and_then(|ask| ask()) {
                    Some(place) => {
                        let outcome = self.attempt_relayed(&place);
                        self.ended(None, place.address, outcome);
                    }
                    None => {
                        self.state.lock().under_way -= 1;
                        self.changed.notify_all();
                    }
                },
            }
        }
    }

    /// Waits until the next attempt may begin, and takes it; `None` at the end.
    fn next(self: &Arc<Self>, is_own: bool) -> Option<Next> {
        let mut state = self.state.lock();
        loop {
            // A torrent's lock is locked within this one here, and nowhere the other way round.
            if !state.is_over && !(self.is_wanted)() {
                state.is_over = true;
                state.dialled.values().for_each(Incoming::close);
                self.changed.notify_all();
            }
            if Instant::now() >= self.until {
                state.waiting.clear();
                state.relay_waits = false;
            }
            let has_begun = state.waiting.is_empty() && !state.relay_waits;
            if state.is_over || (has_begun && (!is_own || state.under_way == 0)) {
                return None;
            }
            let now = Instant::now();
            let have_failed = state.waiting.is_empty() && state.under_way == 0;
            if state.relay_waits && (have_failed || now >= self.relay_at) {
                state.relay_waits = false;
                state.under_way += 1;
                if !state.waiting.is_empty() {
                    self.call_helper(&mut state);
                }
                return Some(Next::Relayed);
            }
            let relay_at = state.relay_waits.then_some(self.relay_at);
            let next_at = state.next_at.filter(|at| state.under_way > 0 && *at > now);
            if state.waiting.is_empty() || state.under_way >= AT_ONCE_MAX {
                let until = relay_at.map_or(now + LOOK, |at| at.min(now + LOOK));
                self.changed.wait_until(&mut state, until);
            } else if let Some(at) = next_at {
                self.changed.wait_until(&mut state, relay_at.map_or(at, |relay| relay.min(at)));
            } else {
                break;
            }
        }
        let target = state.waiting.pop_front()?;
        let is_last = state.waiting.is_empty();
        state.under_way += 1;
        state.next_at = Some(Instant::now() + STAGGER);
        // The relay's turn comes while all attempts wait for an answer, too.
        if !is_last || state.relay_waits {
            self.call_helper(&mut state);
        }
        Some(Next::Direct(target, is_last))
    }

    /// Has another thread make attempts, too, if there is room for one.
    fn call_helper(self: &Arc<Self>, state: &mut RaceState) {
        // Each attempt has a thread, and so has a relay.
        if state.helpers + 1 >= AT_ONCE_MAX + usize::from(self.relay.is_some()) {
            return;
        }
        let Some(dialling) = Dialling::begin_helper(&self.services) else { return };
        let race = self.clone();
        let begun = self.services.of_links.read.begin(move || {
            let _dialling = dialling;
            race.run(false);
            race.state.lock().helpers -= 1;
        });
        state.helpers += usize::from(begun.is_ok());
    }

    fn attempt(
        &self,
        target: &Target,
        is_last: bool,
    ) -> Result<Reached, (LinkError, Option<Failure>)> {
        let (services, started, address) = (&self.services, Instant::now(), target.address);
        if !services.dial_memory.begin(services.now(), self.device, target) {
            return Err((LinkError::LeftAlone, None));
        }
        let is_over = || self.state.lock().is_over;
        let is_unwanted = || services.stop.is_set() || is_over() || !(self.is_wanted)();
        let bind_ip = services.config.bind_ip;
        let left = self.until.saturating_duration_since(started).max(LOOK);
        let connect_max = match self.is_hurried {
            true => left.min(CONNECT_HURRIED_MAX),
            false if is_last => left,
            false => left.min(CONNECT_MAX),
        };
        let dialled = Incoming::dial_unless(address, bind_ip, connect_max, &is_unwanted)
            .map_err(|e| (LinkError::Unreachable(e), Some(Failure::Unreached)))?;
        let (connection, admission) = self.prove(dialled, address)?;
        Ok(Reached { connection, admission, started, took: started.elapsed(), way: Way::Direct })
    }

    /// Goes to the relay, and proves the device's key through it. What fails there says nothing
    /// about any address of the device.
    fn attempt_relayed(&self, place: &RelayPlace) -> Result<Reached, (LinkError, Option<Failure>)> {
        let (services, started, address) = (&self.services, Instant::now(), place.address);
        let is_over = || self.state.lock().is_over;
        let is_unwanted = || services.stop.is_set() || is_over() || !(self.is_wanted)();
        let bind_ip = services.config.bind_ip;
        let hello = RelayHello { secret: place.secret.clone() }.encode();
        let dialled = Incoming::dial_unless(address, bind_ip, CONNECT_MAX, &is_unwanted)
            .and_then(|dialled| dialled.send_first(&hello, CONNECT_MAX).map(|()| dialled))
            .map_err(|e| (LinkError::Unreachable(e), None))?;
        let (connection, admission) =
            self.prove(dialled, address).map_err(|(error, _)| (error, None))?;
        Ok(Reached { connection, admission, started, took: started.elapsed(), way: Way::Relayed })
    }

    /// Has the device prove its key on a connection.
    fn prove(
        &self,
        dialled: Incoming,
        address: SocketAddr,
    ) -> Result<(Connection, Admission), (LinkError, Option<Failure>)> {
        let services = &self.services;
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
            state.dialled.insert(address, dialled.clone());
        }
        let left = self.until.saturating_duration_since(Instant::now()).max(LOOK);
        let proven = services.config.transport.prove(dialled, left, self.device);
        let connection = proven.map_err(|e| {
            let is_other = e.kind() == std::io::ErrorKind::InvalidData;
            let failure = if is_other { Failure::WrongKey } else { Failure::Unfinished };
            (LinkError::Unreachable(e), Some(failure))
        })?;
        Ok((connection, admission))
    }

    /// `target` is the address of the device that was dialled, and none for a relay's.
    fn ended(
        &self,
        target: Option<&Target>,
        address: SocketAddr,
        outcome: Result<Reached, (LinkError, Option<Failure>)>,
    ) {
        let mut state = self.state.lock();
        state.under_way -= 1;
        state.dialled.remove(&address);
        match outcome {
            Ok(reached) if state.is_over => reached.connection.close(),
            Ok(reached) => {
                state.is_over = true;
                state.dialled.values().for_each(Incoming::close);
                if let Some(target) = target {
                    self.services.dial_memory.note_won(self.device, target);
                }
                state.winner = Some(reached);
            }
            // It was closed for another, or was not tried to the end.
            Err(_) if state.is_over => {}
            Err((LinkError::LeftAlone, _)) => state.next_at = None,
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
