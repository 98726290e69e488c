//! The state of the tracker set: connections, logins, pending requests, and the primary.
//!
//! **Invariant:** every request that is registered with a live connection is answered once: by the
//! reply, or as lost when the connection ends. No IO here: frames go into bounded queues, and a
//! full queue counts as a connection that does not work.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use zeroize::Zeroizing;

use super::clock::{TrackerClock, common_ms, own_ms};
use super::login::{Login, Session};
use super::pause::Pause;
use super::stamps::RequestClock;
use super::told::{Told, TrackerRelay};
use crate::client::error::{ClientError, SessionEnd};
use crate::net::{Connection, WrongNetwork};
use crate::types::{
    Candidate, DeviceId, DownloadState, GroupId, InfoHash, SessionToken, Stamp, StoreId,
};
use crate::wire::frame;
use crate::wire::tracker::{FromClient, Reply, Request};

/// Round-trip times that differ by less count as equal: a loaded machine adds that much by chance.
const RTT_TIE: Duration = Duration::from_millis(20);

/// The state of one tracker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LinkView {
    /// Line in the file, from 1.
    pub(crate) line: u32,
    /// `host:port` as configured.
    pub(crate) address: String,
    /// The tracker's own number, while connected.
    pub(crate) number: Option<u32>,
    /// Whether commands go there first.
    pub(crate) primary: bool,
    /// Round-trip time, while connected.
    pub(crate) rtt: Option<Duration>,
    /// Why the last dial failed, while not connected.
    pub(crate) error: Option<String>,
    /// It is not connected because others are enough.
    pub(crate) is_spare: bool,
}

/// One tracker.
#[derive(Debug)]
pub(super) struct LinkState {
    pub(super) address: String,
    /// Another tracker listed it; the user's list does not name it.
    pub(super) is_learned: bool,
    /// It leads to the same tracker as another address, which is used instead.
    pub(super) is_alias: bool,
    /// The operator has removed it from the network.
    pub(super) is_removed: bool,
    /// A thread keeps its connection.
    pub(super) has_thread: bool,
    pub(super) live: Option<Live>,
    /// The pause before the next dial, while there is one.
    pub(super) pause: Option<Pause>,
    /// Number of dials that ended, with or without success.
    pub(super) attempts: u64,
    pub(super) error: Option<String>,
    /// Why the peer at this address is not trusted, if that is why it is not connected.
    pub(super) distrust: Option<Distrust>,
    /// Its clock, as of its last message.
    pub(super) clock: Option<TrackerClock>,
    /// The address at which it last saw this device; `None` once this machine's networks have
    /// changed.
    pub(super) last_observed: Option<SocketAddr>,
}

/// Why the peer at a tracker's address is not trusted.
#[derive(Debug, Clone)]
pub(super) enum Distrust {
    /// It is a tracker of another network.
    Network(WrongNetwork),
    /// It does not prove to be a tracker.
    Unproven(String),
}

/// A connection after the tracker's welcome.
#[derive(Debug)]
pub(super) struct Live {
    /// Distinguishes this connection from the tracker's earlier ones.
    pub(super) key: u64,
    pub(super) connection: Connection,
    pub(super) number: u32,
    /// The id of its store, unique to the tracker.
    pub(super) store: StoreId,
    /// Queued frames; some contain passwords.
    pub(super) queue: Sender<Zeroizing<Vec<u8>>>,
    pub(super) pending: HashMap<u32, Pending>,
    pub(super) next_number: u32,
    pub(super) login: Login,
    /// The generation of the session whose files were all announced here.
    pub(super) announced_for: u64,
    /// Announces that are not answered yet.
    pub(super) announces: usize,
    /// Changes since the last announce: at most one for each announced file.
    pub(super) unannounced: BTreeSet<(GroupId, InfoHash)>,
    pub(super) rtt: Duration,
    /// It left a request unanswered for too long, and has sent nothing since.
    pub(super) suspect: bool,
    /// Where it sees this device, with the port on which this device listens.
    pub(super) observed: SocketAddr,
    /// What it was told of this device's addresses.
    pub(super) told: Told,
    /// What it has said of relays.
    pub(super) relay: TrackerRelay,
    /// It has not said that it does not know hole punching.
    pub(super) knows_punching: bool,
    /// The tracker addresses in its last list: at most as many as a network may have.
    pub(super) listed: Vec<String>,
    /// With how many trackers a session is enough, as it says.
    pub(super) enough: Option<u8>,
}

/// What to do with an answer.
#[derive(Debug)]
pub(super) enum Pending {
    /// A command waits for it.
    Call(Sender<Answer>),
    /// It answers a login.
    Login {
        /// The login's generation.
        generation: u64,
        /// The token that was shown; `None` for a password.
        token: Option<SessionToken>,
        /// The command that waits for the login, if there is one.
        caller: Option<Sender<Answer>>,
    },
    /// An announce; the reply names peers.
    Announce,
    /// It tells this device's addresses.
    Candidates,
    /// It tells how this device uses relays.
    RelayUse,
    /// A ping that was sent then.
    Ping(Instant),
    /// Drop it.
    Ignored,
}

/// The outcome of a request on one connection.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) tracker: usize,
    pub(super) key: u64,
    /// `None`: the connection ended first.
    pub(super) reply: Option<Reply>,
}

/// The state of the whole set.
#[derive(Debug)]
pub(super) struct SetState {
    pub(super) links: Vec<LinkState>,
    /// This device.
    pub(super) device: DeviceId,
    /// With how many trackers a session is enough; `None`: with all.
    pub(super) sessions_needed: Option<u8>,
    pub(super) next_key: u64,
    pub(super) primary: Option<usize>,
    pub(super) session: Option<Session>,
    /// Grows with every login attempt and every logout.
    pub(super) generation: u64,
    /// Why the session is over, if it is. The client's core must end it, too.
    pub(super) over: Option<SessionEnd>,
    /// A tracker reported that the session's user has forgotten this device.
    pub(super) is_forgotten: bool,
    /// Set while the user's password is being changed from here, and for a moment after: until
    /// then, a revoked token is about to be replaced.
    pub(super) changing_until: Option<Instant>,
    /// What every tracker is told, or will be told, about our files.
    pub(super) announced: BTreeMap<(GroupId, InfoHash), DownloadState>,
    /// Where this device may take links, beside where trackers see it; the best first.
    pub(super) candidates: Vec<Candidate>,
    /// Makes the times of requests.
    pub(super) requests: RequestClock,
    /// The user was told that the trackers' clocks differ.
    pub(super) has_told_clocks: bool,
}

impl Live {
    /// Registers a request and queues its frame; false if the queue is full.
    pub(super) fn send(&mut self, request: Request, pending: Pending) -> bool {
        let number = self.next_number;
        self.next_number = self.next_number.wrapping_add(1);
        let sent =
            self.queue.try_send(frame::to_secret_frame(&FromClient { number, request })).is_ok();
        if sent {
            self.pending.insert(number, pending);
        }
        sent
    }
}

impl Live {
    /// Has the writer compute its next deadline again, by an empty frame. A full queue wakes it
    /// anyway.
    pub(super) fn wake_writer(&self) {
        let _ = self.queue.try_send(Zeroizing::default());
    }
}

impl LinkState {
    pub(super) fn new(address: String, is_learned: bool) -> Self {
        Self {
            address,
            is_learned,
            is_alias: false,
            is_removed: false,
            has_thread: true,
            live: None,
            pause: None,
            attempts: 0,
            error: None,
            distrust: None,
            clock: None,
            last_observed: None,
        }
    }

    /// Tells whether the tracker is dialled again; if not, its thread ends.
    pub(super) fn goes_on(&mut self) -> bool {
        self.has_thread = !self.is_alias && !self.is_removed;
        self.has_thread
    }

    /// Tells whether the tracker takes commands: of the session, or without one.
    pub(super) fn is_ready(&self, session: Option<&Session>) -> bool {
        let confirmed = |live: &Live| session.is_none_or(|session| live.login.is_for(session));
        self.live.as_ref().is_some_and(confirmed)
    }
}

impl SetState {
    pub(super) fn new(device: DeviceId, addresses: &[String], last_request: Stamp) -> Self {
        let mut requests = RequestClock::default();
        requests.resume(last_request);
        let link = |address: &String| LinkState::new(address.clone(), false);
        Self {
            links: addresses.iter().map(link).collect(),
            device,
            sessions_needed: None,
            next_key: 0,
            primary: None,
            session: None,
            generation: 0,
            over: None,
            is_forgotten: false,
            changing_until: None,
            announced: BTreeMap::new(),
            candidates: Vec::new(),
            requests,
            has_told_clocks: false,
        }
    }

    /// The connection of that key, if it is still the tracker's current one.
    pub(super) fn live(&mut self, tracker: usize, key: u64) -> Option<&mut Live> {
        self.links[tracker].live.as_mut().filter(|live| live.key == key)
    }

    /// Ready trackers in the order of preference: the primary, then healthy before suspect, near
    /// before far, low lines before high.
    pub(super) fn candidates(&mut self, with_session: bool) -> Vec<usize> {
        let session = self.session.as_ref().filter(|_| with_session);
        let ready: Vec<usize> =
            (0..self.links.len()).filter(|&i| self.links[i].is_ready(session)).collect();
        self.elect(&ready);
        let rank = |i: &usize| {
            let live = self.links[*i].live.as_ref();
            let bucket = live.map_or(0, |live| live.rtt.as_micros() / RTT_TIE.as_micros());
            (self.primary != Some(*i), live.is_none_or(|live| live.suspect), bucket, *i)
        };
        let mut ordered = ready;
        ordered.sort_by_key(rank);
        ordered
    }

    /// Keeps the primary while it is healthy and no other is clearly nearer. Else takes the lowest
    /// line among the nearest.
    fn elect(&mut self, ready: &[usize]) {
        let rtt = |i: usize| {
            self.links[i].live.as_ref().filter(|live| !live.suspect).map(|live| live.rtt)
        };
        let healthy = || ready.iter().filter_map(|&i| Some((rtt(i)?, i)));
        let Some(nearest) = healthy().map(|(rtt, _)| rtt).min() else {
            // All are suspect, or none is ready: takes the first ready one.
            self.primary =
                self.primary.filter(|primary| ready.contains(primary)).or(ready.first().copied());
            return;
        };
        let limit = nearest + RTT_TIE.max(nearest / 2);
        let stays = |&primary: &usize| {
            ready.contains(&primary) && rtt(primary).is_some_and(|rtt| rtt <= limit)
        };
        let next = || healthy().find(|(rtt, _)| *rtt <= nearest + RTT_TIE).map(|(_, i)| i);
        self.primary = self.primary.filter(stays).or_else(next);
    }

    /// Removes a connection from the set; its pending requests are answered as lost.
    pub(super) fn detach(&mut self, tracker: usize, key: u64) {
        if self.live(tracker, key).is_none() {
            return;
        }
        let Some(live) = self.links[tracker].live.take() else { return };
        live.connection.close();
        for pending in live.pending.into_values() {
            if let Pending::Call(caller) | Pending::Login { caller: Some(caller), .. } = pending {
                // A caller that has gone needs no answer.
                let _ = caller.try_send(Answer { tracker, key, reply: None });
            }
        }
    }

    /// The time on the trackers' clocks, in milliseconds since the Unix epoch: the earliest of
    /// those that agree, or this machine's own if no tracker was met.
    /// [`crate::client::session::tickets`] says why.
    pub(super) fn now_ms(&self) -> u64 {
        let told =
            self.links.iter().filter_map(|link| Some((link.clock?.now_ms(), link.live.is_some())));
        common_ms(&told.collect::<Vec<_>>(), own_ms())
    }

    /// The error when no tracker is connected. An untrusted peer at a tracker's address goes first.
    pub(super) fn why_unreachable(&self) -> ClientError {
        let distrusted =
            || self.links.iter().filter_map(|link| Some((&link.address, link.distrust.as_ref()?)));
        let network = distrusted().find_map(|(_, why)| match why {
            Distrust::Network(wrong) => Some(ClientError::WrongNetwork(*wrong)),
            Distrust::Unproven(_) => None,
        });
        let unproven = || {
            distrusted().find_map(|(address, why)| match why {
                Distrust::Unproven(why) => Some(ClientError::UntrustedTracker {
                    address: address.clone(),
                    why: why.clone(),
                }),
                Distrust::Network(_) => None,
            })
        };
        network.or_else(unproven).unwrap_or(ClientError::NoTracker)
    }

    pub(super) fn views(&mut self) -> Vec<LinkView> {
        let with_session = self.session.is_some();
        self.candidates(with_session);
        let primary = self.primary;
        let is_known = |(_, link): &(usize, &LinkState)| !link.is_alias && !link.is_removed;
        let view = |(i, link): (usize, &LinkState)| LinkView {
            line: i as u32 + 1,
            address: link.address.clone(),
            number: link.live.as_ref().map(|live| live.number),
            primary: primary == Some(i),
            rtt: link.live.as_ref().map(|live| live.rtt),
            error: link.live.as_ref().map_or(link.error.clone(), |_| None),
            is_spare: link.live.is_none() && !self.is_needed(i),
        };
        self.links.iter().enumerate().filter(is_known).map(view).collect()
    }

    pub(super) fn close_all(&self) {
        self.links
            .iter()
            .filter_map(|link| link.live.as_ref())
            .for_each(|live| live.connection.close());
    }
}
