//! One tracker's connection: dial, hello, read until it ends, and again.
//!
//! **Invariant:** before the next dial, the last connection is detached from the set and closed,
//! which ends its writer.

use std::io::{self, Write as _};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use log::{debug, info, warn};
use zeroize::Zeroizing;

use super::clock::TrackerClock;
use super::login::Login;
use super::pause::Pause;
use super::state::{Distrust, Live, Pending};
use super::{News, RemovedFile, SetOptions, Shared};
use crate::client::error::accept_hint;
use crate::client::session::news::PunchOffer;
use crate::net::{Connection, Reader, WrongNetwork, is_own_address, resolve};
use crate::swarm::RelayPlace;
use crate::types::limits::{
    MESSAGE_TIMEOUT, PING_INTERVAL, PRESENCE_TIMEOUT, TRACKER_FRAME_LEN_MAX,
};
use crate::wire::frame::{self, FrameError};
use crate::wire::tracker::{
    ClientHello, Event, FromTracker, Hello, Opening, Request, Unwelcome, Welcome,
};

/// Pause after the first failed dial; doubled up to [`BACKOFF_MAX`].
const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// Longest pause between dials.
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// Time limit of a dial.
const DIAL_TIMEOUT: Duration = Duration::from_secs(3);
/// Time limit of the tracker's welcome; a stopped process accepts connections but does not answer.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection whose data was not acknowledged for this long is closed and dialled again. After a
/// network outage TCP would stay silent for up to half as long again, as it backs off.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(3);
/// How often it is looked whether a connection still has an address of this machine.
const ADDRESS_EVERY: Duration = Duration::from_secs(2);
/// A tracker that the user's list does not name is dialled this much later: by then another address
/// of the same tracker has a session.
const LEARNED_AFTER: Duration = Duration::from_secs(1);
/// A connection that lasted this long was a good one: the pause before the next dial is the
/// shortest again.
const GOOD_LIFE: Duration = Duration::from_secs(5);
/// Frames that wait for the writer: room for a page of commands and announces. When it is full, the
/// tracker counts as stuck.
const QUEUE_LEN: usize = 1024;

/// Why a connection ended or was not made.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Unwelcome(#[from] Unwelcome),
    #[error("{0}; {hint}", hint = accept_hint(.0))]
    Network(#[from] WrongNetwork),
    #[error("it does not prove to be a tracker: {0}")]
    Unproven(io::Error),
    #[error("it does not speak the tracker protocol")]
    NotATracker,
    #[error("it has been silent for too long")]
    Silent,
    #[error("it is shutting down")]
    Closing,
    #[error("another address leads to the same tracker")]
    SecondWay,
    #[error("the sessions with others are enough")]
    Spare,
}

impl LinkError {
    /// Classifies a failed dial: unreachable, or untrusted.
    fn of_dial(error: io::Error) -> Self {
        match (WrongNetwork::of(&error), error.kind()) {
            (Some(wrong), _) => wrong.into(),
            (None, io::ErrorKind::InvalidData) => Self::Unproven(error),
            (None, _) => error.into(),
        }
    }

    fn distrust(&self) -> Option<Distrust> {
        match self {
            Self::Network(wrong) => Some(Distrust::Network(*wrong)),
            Self::Unproven(why) => Some(Distrust::Unproven(why.to_string())),
            _ => None,
        }
    }
}

/// Keeps the tracker's session until the set stops. Runs on the tracker's own thread.
pub(super) fn run(shared: &Arc<Shared>, index: usize) {
    let is_learned = shared.state.lock().links[index].is_learned;
    if is_learned && shared.stop.wait(LEARNED_AFTER) {
        return;
    }
    let mut pause = BACKOFF_MIN;
    while shared.wait_until_needed(index) {
        let started = Instant::now();
        let was_live = match open(shared, index) {
            Ok(opened) => {
                let error = serve(shared, index, opened);
                note_failure(shared, index, true, &error);
                true
            }
            Err(error) => {
                note_failure(shared, index, false, &error);
                false
            }
        };
        if was_live && started.elapsed() >= GOOD_LIFE {
            pause = BACKOFF_MIN;
        }
        if !shared.wait_to_dial(index, pause.mul_f64(rand::random_range(0.5..1.0))) {
            return;
        }
        pause = (pause * 2).min(BACKOFF_MAX);
    }
}

impl Shared {
    /// Waits for that long before tracker `index` is dialled again, or until `SetState::dial_soon`
    /// cuts the pause short; false if the set stops.
    fn wait_to_dial(&self, index: usize, pause: Duration) -> bool {
        let mut state = self.state.lock();
        state.links[index].pause = Some(Pause::new(Instant::now(), pause));
        while let Some(pause) = state.links[index].pause.filter(|_| !self.stop.is_set()) {
            if pause.until() <= Instant::now() {
                break;
            }
            self.changed.wait_until(&mut state, pause.until());
        }
        state.links[index].pause = None;
        !self.stop.is_set()
    }
}

/// Logs the first failure in a row, and keeps the last for `trackers`.
fn note_failure(shared: &Shared, index: usize, was_live: bool, error: &LinkError) {
    let mut state = shared.state.lock();
    let link = &mut state.links[index];
    let first = was_live || link.attempts == 0;
    link.attempts += 1;
    link.error = (!matches!(error, LinkError::Spare)).then(|| error.to_string());
    link.distrust = error.distrust();
    let address = link.address.clone();
    drop(state);
    shared.changed.notify_all();
    if shared.stop.is_set() {
        return;
    }
    match first && !matches!(error, LinkError::Spare) {
        true => warn!("tracker {} ({address}): {error}; trying again", index + 1),
        false => debug!("tracker {} ({address}): {error}", index + 1),
    }
}

struct Opened {
    connection: Connection,
    reader: Reader,
    welcome: Welcome,
    rtt: Duration,
}

/// Resolves a tracker's address; a scoped one needs its interface's number.
fn find(address: &str) -> io::Result<Vec<SocketAddr>> {
    match address.parse() {
        Ok(address) => resolve(&address),
        Err(_) => Ok(address.to_socket_addrs()?.collect()),
    }
}

/// Dials the tracker at each address of its name, and says hello.
fn open(shared: &Shared, index: usize) -> Result<Opened, LinkError> {
    let mut last =
        LinkError::Io(io::Error::new(io::ErrorKind::NotFound, "the name stands for no address"));
    let address = shared.state.lock().links[index].address.clone();
    for address in find(&address)? {
        match greet(shared, address) {
            Ok(opened) => return Ok(opened),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn greet(shared: &Shared, address: SocketAddr) -> Result<Opened, LinkError> {
    let SetOptions { security, network, bind_ip, port, .. } = &shared.options;
    let dialled = security.dial_tracker(address, Some(*bind_ip), DIAL_TIMEOUT, &network.accepted());
    let (connection, key) = dialled.map_err(LinkError::of_dial)?;
    connection.end_when_unacknowledged(UNACKNOWLEDGED_MAX);
    if let Some(first) = network.meet(key)? {
        shared.tell(News::Trusted(first));
    }
    let opening = Opening::new(Hello::Client(ClientHello { port: *port }));
    let asked = Instant::now();
    frame::write_message(&mut connection.writer(), &opening)?;
    let mut reader = connection.reader();
    reader.set_deadline(Some(asked + WELCOME_TIMEOUT));
    match frame::read_message(&mut reader, TRACKER_FRAME_LEN_MAX)? {
        FromTracker::Welcome(welcome) => {
            Ok(Opened { connection, reader, welcome, rtt: asked.elapsed() })
        }
        FromTracker::Unwelcome(why) => Err(why.into()),
        _ => Err(LinkError::NotATracker),
    }
}

/// Serves one connection until it ends; returns the reason.
fn serve(shared: &Arc<Shared>, index: usize, opened: Opened) -> LinkError {
    let Opened { connection, mut reader, welcome, rtt } = opened;
    let (queue, frames) = bounded(QUEUE_LEN);
    let key = {
        let mut state = shared.state.lock();
        if state.is_second_way(index, welcome.store) {
            connection.close();
            return LinkError::SecondWay;
        }
        state.next_key += 1;
        let key = state.next_key;
        let live = Live {
            key,
            connection: connection.clone(),
            number: welcome.number,
            store: welcome.store,
            queue,
            pending: Default::default(),
            next_number: 1,
            login: Login::No,
            announced_for: 0,
            announces: 0,
            unannounced: Default::default(),
            rtt,
            suspect: false,
            observed: welcome.observed,
            told: Default::default(),
            relay: Default::default(),
            knows_punching: true,
            listed: Vec::new(),
            enough: None,
        };
        let link = &mut state.links[index];
        link.live = Some(live);
        link.clock = Some(TrackerClock::told(welcome.clock_ms));
        link.last_observed = Some(welcome.observed);
        link.attempts += 1;
        // The network may be back, or the machine awake: the others are dialled, too.
        state.dial_soon(|_| true);
        key
    };
    let writer = {
        let (shared, connection) = (shared.clone(), connection.clone());
        move || write_frames(&shared, index, key, &connection, &frames)
    };
    let spawned = shared.threads.spawn(format!("tracker {} writer", index + 1), writer);
    let error = match spawned {
        Ok(()) => {
            info!("tracker {} ({}) connected", index + 1, connection.peer_addr());
            shared.login_again(index, key);
            shared.changed.notify_all();
            read_frames(shared, index, key, &mut reader)
        }
        Err(e) => e.into(),
    };
    let is_spare = {
        let mut state = shared.state.lock();
        state.detach(index, key);
        state.is_spare(index)
    };
    shared.changed.notify_all();
    shared.tell(News::Lost { tracker: index });
    if is_spare { LinkError::Spare } else { error }
}

fn read_frames(shared: &Arc<Shared>, index: usize, key: u64, reader: &mut Reader) -> LinkError {
    loop {
        match read_one(reader) {
            Err(error) => return error,
            Ok(FromTracker::Reply { number, clock_ms, reply }) => {
                shared.answered((index, key), number, clock_ms, reply)
            }
            Ok(FromTracker::Event(event)) => {
                shared.heard(index, key);
                match event {
                    Event::Peer(peer) => {
                        shared.tell(News::Peers { tracker: index, peers: vec![peer] })
                    }
                    Event::Removed { group } => shared.tell(News::Removed(group)),
                    Event::Admitted { group } => shared.tell(News::Admitted(group)),
                    Event::JoinRequested { group, label, user, since } => {
                        shared.tell(News::JoinRequested { group, label, user, since });
                    }
                    Event::MemberJoined { group, label, user, inviter, since } => {
                        shared.tell(News::MemberJoined { group, label, user, inviter, since });
                    }
                    Event::JoinRejected { group, label, at } => {
                        shared.tell(News::JoinRejected { group, label, at });
                    }
                    Event::BadDataReported { group, info_hash, members } => {
                        shared.tell(News::BadDataReported { group, info_hash, members });
                    }
                    Event::UnreachableReported { address, members } => {
                        shared.tell(News::UnreachableReported { address, members });
                    }
                    Event::GroupChanged { group, files, members } => {
                        shared.tell(News::GroupChanged { group, files, members });
                    }
                    Event::Withdrawn { group, info_hash, device, .. } => {
                        shared.tell(News::Withdrawn { group, info_hash, device });
                    }
                    Event::Void { group, user, until_ms } => {
                        shared.tell(News::Void { group, user, until_ms })
                    }
                    Event::DeviceVoid { user, device, until_ms } => {
                        shared.note_forgotten(user, device, until_ms);
                        shared.tell(News::DeviceVoid { user, device, until_ms });
                    }
                    Event::ShareStopped { group, info_hash } => {
                        shared.tell(News::ShareStopped(group, info_hash))
                    }
                    Event::FileRemoved { group, file, info_hash, label, replaced_by } => {
                        shared.tell(News::FileRemoved(RemovedFile {
                            group,
                            file,
                            info_hash,
                            label,
                            replaced_by,
                        }));
                    }
                    Event::Trackers { addresses, removed } => {
                        shared.learn((index, key), addresses, &removed)
                    }
                    Event::EnoughSessions { count } => {
                        if let Some(live) = shared.state.lock().live(index, key) {
                            live.enough = Some(count);
                        }
                    }
                    Event::NetworkKey { rotation } => {
                        match shared.options.network.told(&rotation) {
                            Ok(change) => change
                                .into_iter()
                                .for_each(|change| shared.tell(News::KeyChanged(change))),
                            Err(error) => warn!(
                                "a change of the network's key cannot be stored, and has no effect: {error}"
                            ),
                        }
                    }
                    Event::Relayed { group, device, is_dialler, address, secret } => {
                        let place = RelayPlace { address, secret };
                        shared.told_of_relay((index, key), (group, device, is_dialler), place);
                    }
                    Event::RelayFor { meeting } => shared.told_to_relay(meeting),
                    // The answer to the current token will tell whether the session is over.
                    Event::SessionOver => shared.session_lost(index, key),
                    Event::Closing => return LinkError::Closing,
                    Event::PunchBegun { secret, group, info_hash, device, is_asker } => {
                        let offer =
                            PunchOffer { tracker: index, key, secret, group, info_hash, device };
                        shared.punch_begun(offer, is_asker);
                    }
                    Event::PunchNow { secret, address, in_ms } => {
                        shared.punch_now(secret, address, in_ms);
                    }
                    // An event of a later version.
                    Event::Unknown { .. } => {
                        debug!("tracker {}: an event of a kind that is not known here", index + 1)
                    }
                }
            }
            Ok(_) => return LinkError::NotATracker,
        }
        if shared.stop.is_set() {
            return LinkError::Closing;
        }
    }
}

/// Reads a frame. Between frames, silence is bounded by the presence timeout, since we ping three
/// times as often.
fn read_one(reader: &mut Reader) -> Result<FromTracker, LinkError> {
    if !reader.wait(PRESENCE_TIMEOUT)? {
        return Err(LinkError::Silent);
    }
    reader.set_deadline(Some(Instant::now() + MESSAGE_TIMEOUT));
    Ok(frame::read_message(reader, TRACKER_FRAME_LEN_MAX)?)
}

/// Writes queued frames; in between sends pings and repeats logins when they are due. Ends with the
/// queue or the connection.
fn write_frames(
    shared: &Shared,
    index: usize,
    key: u64,
    connection: &Connection,
    frames: &Receiver<Zeroizing<Vec<u8>>>,
) {
    let mut writer = connection.writer();
    let mut next_ping = Instant::now() + PING_INTERVAL;
    loop {
        let look_at = Instant::now() + ADDRESS_EVERY;
        let due = shared.login_due(index, key).map_or(next_ping, |due| due.min(next_ping));
        match frames.recv_deadline(due.min(look_at)) {
            Ok(frame) => {
                if writer.write_all(&frame).is_err() {
                    return connection.close();
                }
            }
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                let now = Instant::now();
                if !is_own_address(connection.local_addr()) {
                    // Nothing will come any more, and the tracker cannot be told.
                    return connection.close();
                }
                if shared.state.lock().is_spare(index) {
                    return connection.close();
                }
                if now >= next_ping {
                    next_ping = now + PING_INTERVAL;
                    shared.ping(index, key);
                }
                if now >= due {
                    shared.login_again(index, key);
                }
            }
        }
    }
}

impl Shared {
    /// Sends a notification to the consumer; dropped if the consumer has ended.
    pub(super) fn tell(&self, news: News) {
        let _ = self.news.send(news);
    }

    /// The tracker has sent something: it is not stuck.
    fn heard(&self, index: usize, key: u64) {
        if let Some(live) = self.state.lock().live(index, key) {
            live.suspect = false;
        }
    }

    pub(super) fn ping(&self, index: usize, key: u64) {
        if let Some(live) = self.state.lock().live(index, key) {
            live.send(Request::Ping, Pending::Ping(Instant::now()));
        }
    }
}
