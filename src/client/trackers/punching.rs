//! Hole punches: a tracker brings two devices together, each of which shows it the port that the
//! other is to connect to: the one that has asked a port of its own for each punch, the other the
//! port at which it takes links (the *peer port*).
//!
//! **Invariant:** a secret is shown to the tracker that told it, and to no other. At most one
//! connection from the peer port leads to a tracker: the punches that others have asked for share
//! it, and it is reset when the last of them has ended, so that the next one can be made at once.
//! No lock is held across socket IO.
//!
//! [`TrackerSet::punch`] and [`TrackerSet::answer_punch`] block, on a thread of the engine or of the
//! runtime. The events come on the trackers' reading threads, which never wait here.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use parking_lot::{Condvar, Mutex};

use super::state::{Pending, SetState};
use super::{News, Shared, TrackerSet};
use crate::client::session::news::PunchOffer;
use crate::net::{Connection, Incoming};
use crate::swarm::{MeetError, Meeting};
use crate::types::{DeviceId, GroupId, InfoHash, PunchSecret, Refusal};
use crate::wire::frame::write_message;
use crate::wire::tracker::{Hello, Opening, ProbeHello, Reply, Request};

/// How long a tracker may take to answer, and to begin a punch.
const ANSWER_MAX: Duration = Duration::from_millis(1_500);
/// How long a connection from a port to a tracker may take.
const PROBE_MAX: Duration = Duration::from_secs(2);
/// How long the other device may take to show its port.
const OTHER_MAX: Duration = Duration::from_secs(3);
/// The latest moment that a tracker may choose.
const AHEAD_MAX: Duration = Duration::from_secs(2);
/// How often a punch looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(50);

/// A file in a group, and a device in its swarm.
pub(crate) type Place = (GroupId, InfoHash, DeviceId);

/// Where a tracker saw the other device, when to connect there, and when that was said.
#[derive(Debug)]
struct Told {
    address: SocketAddr,
    after: Duration,
    heard: Instant,
}

/// The punches of this device that wait for something.
#[derive(Debug, Default)]
pub(super) struct Punches {
    state: Mutex<PunchState>,
    /// Signalled when a probe was opened, or was not.
    opened: Condvar,
}

#[derive(Debug, Default)]
struct PunchState {
    /// Those that this device has asked for, until the tracker begins them.
    asked: HashMap<Place, Sender<PunchOffer>>,
    /// Those that have begun, until the tracker has seen both ends.
    begun: HashMap<PunchSecret, Sender<Told>>,
    /// By tracker.
    probes: HashMap<usize, Slot>,
}

#[derive(Debug)]
enum Slot {
    Opening,
    Open(Weak<Probe>),
}

/// A connection from a port to a tracker.
#[derive(Debug)]
struct Probe {
    connection: Connection,
    is_broken: AtomicBool,
}

impl Probe {
    fn show(&self, hello: &ProbeHello) -> io::Result<()> {
        let sent = write_message(&mut self.connection.writer(), hello);
        sent.inspect_err(|_| self.is_broken.store(true, Ordering::Relaxed))
    }
}

impl Drop for Probe {
    /// A connection that is closed in order would keep the pair of ports for a minute.
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl TrackerSet {
    /// Tells whether one of these trackers may help to punch: a bit for each.
    pub(crate) fn can_punch(&self, trackers: u64) -> bool {
        let state = self.shared.state.lock();
        self.shared.options.peer_port.is_some() && state.helpers(trackers).next().is_some()
    }

    /// Asks one of these trackers for a hole punch with a device in a file's swarm, and waits until
    /// it says where and when to connect.
    ///
    /// # Errors
    /// Every [`MeetError`].
    ///
    /// # Blocking
    /// For some seconds at most, and until `is_over` says so.
    pub(crate) fn punch(
        &self,
        trackers: u64,
        place: Place,
        from: SocketAddr,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Meeting, MeetError> {
        let (sender, begun) = bounded(1);
        match self.shared.punches.state.lock().asked.entry(place) {
            Entry::Occupied(_) => return Err(MeetError::Busy),
            Entry::Vacant(free) => drop(free.insert(sender)),
        }
        let begun = self.ask_to_punch(trackers, place).and_then(|()| {
            wait(&begun, ANSWER_MAX, is_over)
                .ok_or_else(|| MeetError::Failed("the tracker does not begin".into()))
        });
        self.shared.punches.state.lock().asked.remove(&place);
        self.meet(&begun?, Some(from), is_over)
    }

    /// Takes part in a hole punch that another device has asked for.
    ///
    /// # Errors
    /// Every [`MeetError`].
    ///
    /// # Blocking
    /// As [`TrackerSet::punch`].
    pub(crate) fn answer_punch(
        &self,
        offer: &PunchOffer,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Meeting, MeetError> {
        self.meet(offer, None, is_over)
    }

    fn ask_to_punch(
        &self,
        trackers: u64,
        (group, info_hash, device): Place,
    ) -> Result<(), MeetError> {
        let helpers: Vec<usize> = self.shared.state.lock().helpers(trackers).collect();
        for index in helpers {
            let (sender, answer) = bounded(1);
            let request = Request::Punch { group, info_hash, device };
            let key = {
                let mut state = self.shared.state.lock();
                let Some(live) = state.links[index].live.as_mut() else { continue };
                if !live.send(request, Pending::Call(sender)) {
                    continue;
                }
                live.key
            };
            match answer.recv_timeout(ANSWER_MAX).ok().and_then(|answer| answer.reply) {
                Some(Reply::Pong) => return Ok(()),
                Some(Reply::Refused(Refusal::Busy)) => return Err(MeetError::Busy),
                Some(Reply::Refused(Refusal::Unsupported)) => {
                    if let Some(live) = self.shared.state.lock().live(index, key) {
                        live.knows_punching = false;
                    }
                }
                // It does not see both, or sees them behind one address. Another may.
                _ => {}
            }
        }
        Err(MeetError::Unable)
    }

    /// Meets the other device from the port of `from`, or from the peer port.
    fn meet(
        &self,
        offer: &PunchOffer,
        from: Option<SocketAddr>,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Meeting, MeetError> {
        let Some(peer_port) = self.shared.options.peer_port else { return Err(MeetError::Unable) };
        let (sender, told) = bounded(1);
        self.shared.punches.state.lock().begun.insert(offer.secret, sender);
        let probed = match from {
            Some(from) => self.shared.show_from(offer, from, is_over).map(Arc::new),
            None => self.shared.show(offer, peer_port, is_over),
        };
        let from = from.unwrap_or(peer_port);
        let probed = probed.map_err(|error| {
            MeetError::Failed(format!("no tracker sees this device's port: {error}"))
        });
        let met = probed.and_then(|probe| {
            let Told { address, after, heard } = wait(&told, OTHER_MAX, is_over)
                .ok_or_else(|| MeetError::Failed("the other end does not take part".into()))?;
            let at = heard + after.min(AHEAD_MAX);
            Ok(Meeting { address, from, at, kept: Some(Box::new(probe)) })
        });
        self.shared.punches.state.lock().begun.remove(&offer.secret);
        met
    }
}

impl SetState {
    /// The trackers among these, a bit for each, that have a session and know hole punching.
    fn helpers(&self, trackers: u64) -> impl Iterator<Item = usize> {
        let is_ready = |index: &usize| {
            let link = &self.links[*index];
            self.session.as_ref().is_some_and(|session| link.is_ready(Some(session)))
                && link.live.as_ref().is_some_and(|live| live.knows_punching && !live.suspect)
        };
        (0..self.links.len())
            .filter(move |index| trackers & (1 << (index % 64)) != 0)
            .filter(is_ready)
    }
}

impl Shared {
    /// A tracker begins a hole punch.
    pub(super) fn punch_begun(&self, offer: PunchOffer, is_asker: bool) {
        if !is_asker {
            return self.tell(News::PunchOffered(offer));
        }
        let place = (offer.group, offer.info_hash, offer.device);
        if let Some(asked) = self.punches.state.lock().asked.get(&place) {
            let _ = asked.try_send(offer);
        }
    }

    /// A tracker has seen both ends of a hole punch.
    pub(super) fn punch_now(&self, secret: PunchSecret, address: SocketAddr, in_ms: u32) {
        let after = Duration::from_millis(in_ms.into());
        if let Some(begun) = self.punches.state.lock().begun.get(&secret) {
            let _ = begun.try_send(Told { address, after, heard: Instant::now() });
        }
    }

    /// Shows the tracker this device's peer port and the secret, over the connection that all share.
    fn show(
        &self,
        offer: &PunchOffer,
        from: SocketAddr,
        is_over: &dyn Fn() -> bool,
    ) -> io::Result<Arc<Probe>> {
        let tracker = offer.tracker;
        if let Some(probe) = self.open_probe(tracker) {
            let (_, hello) = self.hello(offer)?;
            return probe.show(&hello).map(|()| probe);
        }
        let opened = self.show_from(offer, from, is_over).map(Arc::new);
        let mut state = self.punches.state.lock();
        match &opened {
            Ok(probe) => drop(state.probes.insert(tracker, Slot::Open(Arc::downgrade(probe)))),
            Err(_) => drop(state.probes.remove(&tracker)),
        }
        self.punches.opened.notify_all();
        opened
    }

    /// The connection to a tracker that is there already. `None`: the caller makes it now.
    fn open_probe(&self, tracker: usize) -> Option<Arc<Probe>> {
        let until = Instant::now() + 2 * PROBE_MAX;
        let mut state = self.punches.state.lock();
        loop {
            match state.probes.get(&tracker) {
                Some(Slot::Opening) if Instant::now() < until => {
                    self.punches.opened.wait_until(&mut state, until);
                }
                Some(Slot::Open(probe)) => {
                    let probe = probe.upgrade();
                    match probe.filter(|probe| !probe.is_broken.load(Ordering::Relaxed)) {
                        Some(probe) => return Some(probe),
                        None => break,
                    }
                }
                _ => break,
            }
        }
        state.probes.insert(tracker, Slot::Opening);
        None
    }

    /// Where the tracker is, and what it is to be shown.
    fn hello(&self, offer: &PunchOffer) -> io::Result<(SocketAddr, ProbeHello)> {
        let mut state = self.state.lock();
        let live = state.live(offer.tracker, offer.key).ok_or(io::ErrorKind::NotConnected)?;
        let hello = ProbeHello { secret: offer.secret, rtt_ms: live.rtt.as_millis() as u32 };
        Ok((live.connection.peer_addr(), hello))
    }

    /// Shows the tracker the port of `from` and the secret, over a connection of its own.
    fn show_from(
        &self,
        offer: &PunchOffer,
        from: SocketAddr,
        is_over: &dyn Fn() -> bool,
    ) -> io::Result<Probe> {
        let (address, hello) = self.hello(offer)?;
        let dialled = Incoming::dial_from_port(address, from, PROBE_MAX, is_over)?;
        let (security, network) = (&self.options.security, &self.options.network);
        let (connection, _) = security.prove_tracker(dialled, PROBE_MAX, &network.accepted())?;
        let probe = Probe { connection, is_broken: AtomicBool::new(false) };
        let opening = Opening::new(Hello::Probe(hello));
        write_message(&mut probe.connection.writer(), &opening)?;
        Ok(probe)
    }
}

/// Waits for a message; `None` if none comes in that time, or it is over.
fn wait<T>(receiver: &Receiver<T>, timeout: Duration, is_over: &dyn Fn() -> bool) -> Option<T> {
    let until = Instant::now() + timeout;
    loop {
        match receiver.recv_timeout(LOOK) {
            Ok(message) => return Some(message),
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) if is_over() || Instant::now() >= until => return None,
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::trackers::tests::*;

    const PLACE: Place = (
        GroupId::from_bytes([1; 16]),
        InfoHash::from_bytes([2; 20]),
        DeviceId::from_bytes([3; 32]),
    );

    /// Trackers that answer so when they are asked to punch.
    fn scripted(reply: Reply) -> Fake {
        Fake::start(move |request| match request {
            Request::Punch { .. } => Act::Answer(Box::new(reply.clone())),
            _ => usual(request),
        })
    }

    fn from() -> SocketAddr {
        "127.0.0.1:9".parse().unwrap()
    }

    fn is_punch(request: &Request) -> bool {
        matches!(request, Request::Punch { .. })
    }

    #[test]
    fn a_tracker_of_before_is_asked_once_and_the_next_one_then() {
        let old = scripted(Reply::Refused(Refusal::Unsupported));
        let new = scripted(Reply::Refused(Refusal::NoSuchDevice));
        let (set, _news) = set_of(&[&old, &new]);
        log_in(&set);
        wait_for("both have confirmed the session", || {
            set.shared.state.lock().helpers(0b11).count() == 2
        });
        let ask = || set.punch(0b11, PLACE, from(), &|| false).err();
        assert!(set.can_punch(0b01) && set.can_punch(0b10) && !set.can_punch(0b100));
        assert_eq!(ask(), Some(MeetError::Unable));
        assert!(!set.can_punch(0b01) && set.can_punch(0b10), "it need not be asked again");
        assert_eq!(ask(), Some(MeetError::Unable));
        assert_eq!((old.count(is_punch), new.count(is_punch)), (1, 2));
        set.stop(PATIENCE);
    }

    #[test]
    fn a_tracker_that_is_busy_or_does_not_begin_ends_it_soon() {
        for (reply, want) in [
            (Reply::Refused(Refusal::Busy), MeetError::Busy),
            (Reply::Pong, MeetError::Failed("the tracker does not begin".into())),
        ] {
            let fake = scripted(reply);
            let (set, _news) = set_of(&[&fake]);
            log_in(&set);
            let begun = Instant::now();
            assert_eq!(set.punch(1, PLACE, from(), &|| false).err(), Some(want));
            assert!(begun.elapsed() < 2 * ANSWER_MAX + PROBE_MAX);
            assert!(set.shared.punches.state.lock().asked.is_empty());
            set.stop(PATIENCE);
        }
    }
}
