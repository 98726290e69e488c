//! A tracker in this process, spoken to over real sockets, encrypted as everywhere.

mod devices;
mod limits;
mod presence;
mod replication;
mod security;
mod sessions;

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{Tracker, TrackerConfig, TrackerStatus};
use crate::net::{Connection, DeviceSecurity, Listener, Reader};
use crate::trust::KeyPair;
use crate::types::limits::TRACKER_FRAME_LEN_MAX;
use crate::types::{
    DeviceId, DownloadState, Effect, FileFacts, GroupId, InfoHash, Password, Refusal, RequestId,
    RequestStamp, SessionToken, Sha1Digest, Stamp, Success, TrackerInfo, UserId,
};
use crate::wire::frame::{self, FrameError, read_message, write_message};
use crate::wire::tracker::{
    AnnounceEntry, ClientHello, Event, FromClient, FromTracker, Hello, Opening, Reply, Request,
    Welcome,
};

/// Longer than anything here takes, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(60);
const LOCALHOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// The key of the network that all these trackers are of.
static NETWORK_KEY: LazyLock<Arc<KeyPair>> =
    LazyLock::new(|| Arc::new(KeyPair::generate().unwrap()));

/// What the device of that number makes connections with: the same in all tests.
fn security(device: u8) -> DeviceSecurity {
    static DEVICES: LazyLock<Mutex<HashMap<u8, DeviceSecurity>>> = LazyLock::new(Mutex::default);
    let make = || DeviceSecurity::new(&KeyPair::generate().unwrap()).unwrap();
    DEVICES.lock().entry(device).or_insert_with(make).clone()
}

/// Connects as a device, and says nothing yet.
fn dial(address: SocketAddr, device: u8) -> Connection {
    security(device).dial_tracker(address, None, PATIENCE, &[NETWORK_KEY.fingerprint()]).unwrap().0
}

fn config(info: TrackerInfo, number: u32, dir: &Path) -> TrackerConfig {
    TrackerConfig::new(info, number, dir, NETWORK_KEY.clone())
}

/// Waits until `condition` holds.
#[track_caller]
fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// A tracker that is alone in its network.
fn alone(dir: &Path) -> Tracker {
    Tracker::start(config(TrackerInfo::parse("127.0.0.1:0").unwrap(), 1, dir)).unwrap()
}

/// A network of `count` trackers at ports that were free a moment ago, and that the system gives to
/// nobody who does not ask for them.
fn network(count: usize) -> TrackerInfo {
    let mut held: Vec<Listener> = Vec::new();
    while held.len() < count {
        let port = rand::random_range(10_000..30_000);
        held.extend(Listener::bind(SocketAddr::new(LOCALHOST, port)));
    }
    let text: String = held.iter().map(|listener| format!("{}\n", listener.local_addr())).collect();
    TrackerInfo::parse(&text).unwrap()
}

fn status(tracker: &Tracker) -> TrackerStatus {
    tracker.status().unwrap()
}

/// A new request, asked now and after those before.
fn request_id() -> RequestStamp {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let now = Stamp::new(super::clock::wall_ms(0), 0).as_u64();
    LAST.fetch_max(now, Ordering::Relaxed);
    let at = Stamp::from_u64(LAST.fetch_add(1, Ordering::Relaxed));
    RequestStamp { id: RequestId::from_bytes(rand::random()), at }
}

fn password(text: &str) -> Password {
    Password::new(text.into()).unwrap()
}

fn facts(name: &str) -> FileFacts {
    let mut hash = [0; 20];
    hash[..name.len().min(20)].copy_from_slice(&name.as_bytes()[..name.len().min(20)]);
    let sha1 = Sha1Digest::from_bytes([7; 20]);
    let (info_hash, name) = (InfoHash::from_bytes(hash), name.parse().unwrap());
    FileFacts { info_hash, name, len: 1 << 20, piece_len: 512 << 10, sha1, chain: None }
}

/// A client as the tracker sees one.
struct Guest {
    connection: Connection,
    reader: Reader,
    welcome: Welcome,
    device: DeviceId,
    /// The token of the last login.
    token: Option<SessionToken>,
    number: u32,
    events: VecDeque<Event>,
    /// What was said of requests to join, which most tests make many of.
    joins: Vec<Event>,
    /// Changes of groups that came meanwhile.
    changes: VecDeque<Event>,
}

impl Guest {
    /// Opens a session without a login.
    fn connect(address: SocketAddr, device: u8) -> Self {
        let connection = dial(address, device);
        let device = security(device).device();
        write_message(
            &mut connection.writer(),
            &Opening::new(Hello::Client(ClientHello { port: 4000 })),
        )
        .unwrap();
        let mut reader = connection.reader();
        reader.set_deadline(Some(Instant::now() + 10 * PATIENCE));
        let FromTracker::Welcome(welcome) =
            read_message(&mut reader, TRACKER_FRAME_LEN_MAX).unwrap()
        else {
            panic!("not welcome")
        };
        Self {
            connection,
            reader,
            welcome,
            device,
            token: None,
            number: 0,
            events: VecDeque::new(),
            joins: Vec::new(),
            changes: VecDeque::new(),
        }
    }

    /// Opens a session, makes an account and logs in.
    fn new(tracker: &Tracker, name: &str, device: u8) -> (Self, UserId) {
        let mut guest = Self::connect(tracker.local_addr(), device);
        let create = Request::CreateUser {
            request: request_id(),
            name: name.parse().unwrap(),
            password: password("pw"),
        };
        let Reply::Done(Success { effect: Effect::User(user), .. }) = guest.ask(create) else {
            panic!("no account for {name}")
        };
        assert_eq!(guest.log_in(name, "pw"), Ok(user));
        (guest, user)
    }

    /// Opens another session of a user.
    fn again(tracker: &Tracker, name: &str, device: u8) -> Self {
        let mut guest = Self::connect(tracker.local_addr(), device);
        guest.log_in(name, "pw").unwrap();
        guest
    }

    fn log_in(&mut self, name: &str, word: &str) -> Result<UserId, Refusal> {
        match self.ask(Request::Login { name: name.parse().unwrap(), password: password(word) }) {
            Reply::LoggedIn { user, token, .. } => {
                self.token = Some(token);
                Ok(user.user)
            }
            Reply::Refused(why) => Err(why),
            other => panic!("{other:?}"),
        }
    }

    fn change_password(&mut self, old: &str, new: &str) {
        match self.ask(Request::ChangePassword {
            request: request_id(),
            old: password(old),
            new: password(new),
        }) {
            Reply::Renewed(token) => self.token = Some(token),
            other => panic!("{other:?}"),
        }
    }

    fn resume(&mut self, token: &SessionToken) -> Result<UserId, Refusal> {
        match self.ask(Request::Resume { token: token.clone() }) {
            Reply::LoggedIn { user, token, .. } => {
                self.token = Some(token);
                Ok(user.user)
            }
            Reply::Refused(why) => Err(why),
            other => panic!("{other:?}"),
        }
    }

    /// All events so far: those that were pushed before the answer to a ping.
    fn heard(&mut self) -> Vec<Event> {
        assert_eq!(self.ask(Request::Ping), Reply::Pong);
        self.events.drain(..).collect()
    }

    /// As a client does, asks again with a later time where the tracker wants one.
    fn ask(&mut self, mut request: Request) -> Reply {
        loop {
            let reply = self.try_ask(request.clone()).unwrap();
            let Reply::Refused(Refusal::Overtaken { above }) = reply else { return reply };
            request.stamp_mut().unwrap().at = above.next().unwrap();
        }
    }

    fn try_ask(&mut self, request: Request) -> Result<Reply, FrameError> {
        self.number += 1;
        let asked = FromClient { number: self.number, request };
        write_message(&mut self.connection.writer(), &asked).map_err(FrameError::Io)?;
        loop {
            match read_message(&mut self.reader, TRACKER_FRAME_LEN_MAX)? {
                FromTracker::Reply { number, reply, .. } => {
                    assert_eq!(number, self.number);
                    return Ok(reply);
                }
                FromTracker::Event(Event::Trackers { .. }) => {}
                FromTracker::Event(event) if is_join(&event) => self.joins.push(event),
                FromTracker::Event(event) if is_change(&event) => self.changes.push_back(event),
                FromTracker::Event(event) => self.events.push_back(event),
                other => panic!("{other:?}"),
            }
        }
    }

    #[track_caller]
    fn refused(&mut self, request: Request, why: Refusal) {
        assert_eq!(self.ask(request), Reply::Refused(why));
    }

    #[track_caller]
    fn done(&mut self, request: Request) -> Effect {
        match self.ask(request.clone()) {
            Reply::Done(success) => success.effect,
            other => panic!("{other:?} to {request:?}"),
        }
    }

    fn create_group(&mut self, name: &str) -> GroupId {
        match self.done(Request::CreateGroup { request: request_id(), name: name.parse().unwrap() })
        {
            Effect::Group(group) => group,
            other => panic!("{other:?}"),
        }
    }

    fn share(&mut self, group: GroupId, name: &str) -> InfoHash {
        self.done(Request::ShareFile { request: request_id(), group, file: facts(name) });
        facts(name).info_hash
    }

    fn announce(&mut self, group: GroupId, info_hash: InfoHash, state: DownloadState) -> Reply {
        self.ask(Request::Announce { entries: vec![AnnounceEntry { group, info_hash, state }] })
    }

    /// The next event.
    fn event(&mut self) -> Event {
        match self.events.pop_front() {
            Some(event) => event,
            None => loop {
                match read_message(&mut self.reader, TRACKER_FRAME_LEN_MAX).unwrap() {
                    FromTracker::Event(Event::Trackers { .. }) => {}
                    FromTracker::Event(event) if is_join(&event) => self.joins.push(event),
                    FromTracker::Event(event) if is_change(&event) => {
                        self.changes.push_back(event);
                    }
                    FromTracker::Event(event) => return event,
                    other => panic!("{other:?}"),
                }
            },
        }
    }

    /// The next change of a group: its files, its members.
    fn change(&mut self) -> (GroupId, bool, bool) {
        loop {
            let event = match self.changes.pop_front() {
                Some(event) => event,
                None => match read_message(&mut self.reader, TRACKER_FRAME_LEN_MAX).unwrap() {
                    FromTracker::Event(event) => event,
                    other => panic!("{other:?}"),
                },
            };
            match event {
                Event::GroupChanged { group, files, members } => return (group, files, members),
                other => self.events.push_back(other),
            }
        }
    }

    /// Whether the tracker has closed the connection; waits for it.
    fn is_closed(&mut self) -> bool {
        loop {
            match read_message::<FromTracker>(&mut self.reader, TRACKER_FRAME_LEN_MAX) {
                Ok(_) => {}
                Err(FrameError::Wire(e)) => panic!("{e}"),
                Err(_) => return true,
            }
        }
    }
}

fn is_change(event: &Event) -> bool {
    matches!(event, Event::GroupChanged { .. })
}

fn is_join(event: &Event) -> bool {
    matches!(event, Event::JoinRequested { .. } | Event::JoinRejected { .. })
}

/// Lets `user` into a group of `owner`'s.
fn admit(owner: &mut Guest, guest: &mut Guest, user: UserId, group: GroupId) {
    guest.done(Request::JoinGroup { request: request_id(), group });
    owner.done(Request::AcceptRequest { request: request_id(), group, user });
}
