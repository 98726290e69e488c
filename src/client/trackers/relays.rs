//! Relayed connections: asking a tracker for one, and hearing of those that others ask for.
//!
//! **Invariant:** a tracker hears after each login how this device uses relays. No relay is used
//! but one that a tracker of the network has named; without the user's consent none is.
//!
//! [`TrackerSet::ask_relay`] blocks, on the thread of a dial; the rest does not.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use log::debug;
use parking_lot::Mutex;

use super::state::{Pending, SetState};
use super::told::TrackerRelay;
use super::{Shared, TrackerSet};
use crate::swarm::RelayPlace;
use crate::types::{DeviceId, GroupId, Refusal, RelayMeeting};
use crate::wire::tracker::{Reply, Request};

/// How long a tracker may take to answer, and then to name the place.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a tracker is not asked that had no relay: a member may offer one meanwhile.
const NONE_FOR: Duration = Duration::from_secs(60);
/// Asks under way, and news that wait for their thread: as many as devices are dialled at a time.
const WAITING_MAX: usize = 128;

/// How this device uses relays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RelayWish {
    /// It takes and asks for relayed connections.
    pub(crate) accepts: bool,
    /// It relays for others at this port.
    pub(crate) relays_at: Option<u16>,
}

/// What trackers say of relays.
#[derive(Debug)]
pub(crate) enum RelayNews {
    /// Another member's device asks for this one.
    AskedFor(RelayPlace),
    /// This device is to relay for two others.
    RelayFor(RelayMeeting),
}

/// A place that was named to this device, which had asked.
type Waiter = (usize, GroupId, DeviceId, Sender<RelayPlace>);

/// The asks under way, and the way to the thread that meets others.
#[derive(Debug)]
pub(super) struct Relays {
    waiting: Mutex<VecDeque<Waiter>>,
    news: Sender<RelayNews>,
    incoming: Receiver<RelayNews>,
}

impl Default for Relays {
    fn default() -> Self {
        let (news, incoming) = bounded(WAITING_MAX);
        Self { waiting: Mutex::default(), news, incoming }
    }
}

impl TrackerSet {
    /// Asks for a place at which this device meets another member's. `None` if no tracker names
    /// one.
    ///
    /// # Blocking
    /// For a few seconds for each tracker, until one has named a place.
    pub(crate) fn ask_relay(&self, group: GroupId, device: DeviceId) -> Option<RelayPlace> {
        if !self.shared.options.relays.accepts {
            return None;
        }
        self.trackers_to_ask().into_iter().find_map(|index| self.ask_at(index, group, device))
    }

    /// Trackers of the session that may know a relay; those that have one first.
    fn trackers_to_ask(&self) -> Vec<usize> {
        let mut state = self.shared.state.lock();
        let mut order = state.candidates(true);
        let now = Instant::now();
        let relay = |index: usize| state.links[index].live.as_ref().map(|live| &live.relay);
        order.retain(|index| {
            let none_until = relay(*index).and_then(|relay| relay.none_until);
            none_until.is_none_or(|until| until <= now)
        });
        order.sort_by_key(|index| relay(*index).is_none_or(|relay| !relay.has_one));
        order
    }

    fn ask_at(&self, index: usize, group: GroupId, device: DeviceId) -> Option<RelayPlace> {
        let (answers, answered) = bounded(1);
        let (places, place) = bounded(1);
        let relays = &self.shared.relays;
        {
            let mut waiting = relays.waiting.lock();
            if waiting.len() >= WAITING_MAX {
                return None;
            }
            waiting.push_back((index, group, device, places.clone()));
        }
        let sent = {
            let mut state = self.shared.state.lock();
            let live = state.links[index].live.as_mut();
            let request = Request::AskRelay { group, device };
            live.is_some_and(|live| live.send(request, Pending::Call(answers)))
        };
        let reply = if sent { answered.recv_timeout(ANSWER_TIMEOUT).ok() } else { None };
        let found = match reply.as_ref().and_then(|answer| answer.reply.as_ref()) {
            Some(Reply::Pong) => place.recv_timeout(ANSWER_TIMEOUT).ok(),
            Some(Reply::Refused(why)) => {
                debug!("tracker {}: no relay to {device}: {why}", index + 1);
                if *why == Refusal::Unsupported
                    && let Some(live) = self.shared.state.lock().links[index].live.as_mut()
                {
                    live.relay.none_until = Some(Instant::now() + NONE_FOR);
                }
                None
            }
            _ => None,
        };
        relays.waiting.lock().retain(|(.., other)| !other.same_channel(&places));
        found
    }

    /// What trackers say of relays, for the thread that acts on it.
    pub(crate) fn relay_news(&self) -> Receiver<RelayNews> {
        self.shared.relays.incoming.clone()
    }

    /// The connected trackers that relay.
    pub(crate) fn relays(&self) -> Vec<String> {
        let state = self.shared.state.lock();
        let has_one = |link: &&super::state::LinkState| {
            link.live.as_ref().is_some_and(|live| live.relay.has_one)
        };
        state.links.iter().filter(has_one).map(|link| link.address.clone()).collect()
    }
}

impl SetState {
    /// Tells a tracker how this device uses relays.
    pub(super) fn tell_relay_use(&mut self, index: usize, wish: RelayWish) {
        let RelayWish { accepts, relays_at } = wish;
        if wish == RelayWish::default() {
            return;
        }
        if let Some(live) = self.links[index].live.as_mut() {
            live.relay = TrackerRelay::default();
            live.send(Request::RelayUse { accepts, relays_at }, Pending::RelayUse);
        }
    }
}

impl Shared {
    /// A tracker has named a place.
    pub(super) fn told_of_relay(
        &self,
        (index, key): (usize, u64),
        (group, device, is_dialler): (GroupId, DeviceId, bool),
        mut place: RelayPlace,
    ) {
        if !self.options.relays.accepts {
            return;
        }
        if place.address.ip().is_unspecified() {
            // At the tracker's own address, as this device reaches it.
            let mut state = self.state.lock();
            let Some(live) = state.live(index, key) else { return };
            let ip = live.connection.peer_addr().ip();
            place.address = SocketAddr::new(ip, place.address.port());
        }
        if !is_dialler {
            // A full channel: the other device asks again.
            let _ = self.relays.news.try_send(RelayNews::AskedFor(place));
            return;
        }
        let mut waiting = self.relays.waiting.lock();
        let is_it = |waiter: &Waiter| (waiter.0, waiter.1, waiter.2) == (index, group, device);
        if let Some(at) = waiting.iter().position(is_it)
            && let Some((.., places)) = waiting.remove(at)
        {
            let _ = places.try_send(place);
        }
    }

    /// A tracker has this device relay for two others.
    pub(super) fn told_to_relay(&self, meeting: RelayMeeting) {
        if self.options.relays.relays_at.is_some() {
            let _ = self.relays.news.try_send(RelayNews::RelayFor(meeting));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::trackers::SetOptions;
    use crate::client::trackers::tests::*;
    use crate::types::RelaySecret;

    const GROUP: GroupId = GroupId::from_bytes([1; 16]);
    const OTHER: DeviceId = DeviceId::from_bytes([2; 32]);

    fn start(fakes: &[&Fake], wish: RelayWish) -> TrackerSet {
        let (news, _) = bounded(1024);
        let options = SetOptions { relays: wish, ..options(fakes, None) };
        let set = TrackerSet::start(options, news).unwrap();
        assert!(set.wait_for_any(PATIENCE));
        log_in(&set);
        set
    }

    fn place(address: &str) -> RelayPlace {
        RelayPlace {
            address: address.parse().unwrap(),
            secret: RelaySecret::from_bytes([3; RelaySecret::LEN]),
        }
    }

    fn key(set: &TrackerSet) -> u64 {
        set.shared.state.lock().links[0].live.as_ref().unwrap().key
    }

    fn asks(request: &Request) -> bool {
        matches!(request, Request::AskRelay { .. })
    }

    #[test]
    fn the_place_is_at_the_trackers_own_address_unless_it_names_another() {
        let fake = Fake::start(|request| match request {
            Request::AskRelay { .. } | Request::RelayUse { .. } => {
                Act::Answer(Box::new(Reply::Pong))
            }
            _ => usual(request),
        });
        let set = start(&[&fake], RelayWish { accepts: true, relays_at: None });
        wait_for("it is known to relay", || set.relays().len() == 1);
        for (named, want) in [("0.0.0.0:7", "127.0.0.1:7"), ("198.51.100.1:7", "198.51.100.1:7")] {
            let asking = set.clone();
            let asked = std::thread::spawn(move || asking.ask_relay(GROUP, OTHER));
            wait_for("it is asked", || !set.shared.relays.waiting.lock().is_empty());
            let at = (0, key(&set));
            // That somebody else asks for this device is not its answer.
            set.shared.told_of_relay(at, (GROUP, OTHER, false), place("0.0.0.0:9"));
            set.shared.told_of_relay(at, (GROUP, OTHER, true), place(named));
            assert_eq!(asked.join().unwrap(), Some(place(want)));
            let news = set.relay_news().recv_timeout(PATIENCE).unwrap();
            assert!(matches!(news, RelayNews::AskedFor(met) if met == place("127.0.0.1:9")));
        }
        assert!(set.shared.relays.waiting.lock().is_empty());
        set.stop(PATIENCE);
    }

    #[test]
    fn a_tracker_without_a_relay_is_not_asked_again_for_a_while() {
        let fakes = [0, 1].map(|_| {
            Fake::start(|request| match request {
                Request::AskRelay { .. } | Request::RelayUse { .. } => refuse(Refusal::Unsupported),
                _ => usual(request),
            })
        });
        let set = start(&[&fakes[0], &fakes[1]], RelayWish { accepts: true, relays_at: None });
        let told = |request: &Request| matches!(request, Request::RelayUse { accepts: true, .. });
        wait_for("both are told", || fakes.iter().all(|fake| fake.count(told) == 1));
        for _ in 0..3 {
            assert_eq!(set.ask_relay(GROUP, OTHER), None);
        }
        assert!(fakes.iter().all(|fake| fake.count(asks) == 1));
        assert!(set.relays().is_empty());
        set.stop(PATIENCE);
    }

    #[test]
    fn who_wants_no_relay_asks_for_none_and_meets_nobody() {
        let fake = Fake::start(usual);
        let set = start(&[&fake], RelayWish::default());
        assert_eq!(set.ask_relay(GROUP, OTHER), None);
        set.shared.told_of_relay((0, key(&set)), (GROUP, OTHER, false), place("0.0.0.0:9"));
        assert!(set.relay_news().is_empty());
        assert_eq!(fake.count(asks), 0);
        set.stop(PATIENCE);
    }
}
