//! A scripted tracker: real sockets, real frames, no directory.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use crossbeam_channel::{Receiver, bounded};

use super::super::*;
use crate::net::{Connection, Incoming, Listener, PeerIdentity, TrackerSecurity};
use crate::trust::KeyPair;
use crate::types::limits::TRACKER_FRAME_LEN_MAX;
use crate::types::{
    DeviceId, Effect, Fingerprint, GroupId, Password, Refusal, RequestId, RequestStamp,
    SessionToken, Stamp, StoreId, Success, Ticket, TicketClaims, TokenClaims, UserEntry, UserId,
    Version,
};
use crate::wire::tracker::{
    ClientHello, Event, FromClient, FromTracker, Hello, Opening, Reply, Request, Welcome,
};
use crate::wire::{VERSION_NEWEST, frame};

/// No step takes this long; a wait that does has failed.
pub(in crate::client::trackers) const PATIENCE: Duration = Duration::from_secs(30);

/// What a scripted tracker does with a request.
pub(in crate::client) enum Act {
    /// The usual answer of a tracker.
    Usual,
    Answer(Box<Reply>),
    Silence,
    Close,
}

type Script = Arc<dyn Fn(&Request) -> Act + Send + Sync>;

/// The key of the scripted trackers' network, unless a test gives another.
pub(in crate::client) fn network_key() -> Arc<KeyPair> {
    static KEY: OnceLock<Arc<KeyPair>> = OnceLock::new();
    KEY.get_or_init(|| Arc::new(KeyPair::generate().unwrap())).clone()
}

/// The dates that a scripted tracker signs, and its clock.
#[derive(Debug, Clone, Copy)]
pub(in crate::client) struct Terms {
    pub(in crate::client) token_ms: u64,
    pub(in crate::client) ticket_ms: u64,
    /// By how much its clock is ahead.
    pub(in crate::client) ahead_ms: i64,
    /// When the password was set.
    pub(in crate::client) password_ms: u64,
    /// The operator has set the password.
    pub(in crate::client) must_change: bool,
    /// With how many trackers a session is enough, if it says so.
    pub(in crate::client) enough: Option<u8>,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            token_ms: 24 * 3_600_000,
            ticket_ms: 600_000,
            ahead_ms: 0,
            password_ms: 1,
            must_change: false,
            enough: None,
        }
    }
}

impl Terms {
    pub(in crate::client) fn now_ms(&self) -> u64 {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        (now.as_millis() as u64).saturating_add_signed(self.ahead_ms)
    }

    pub(in crate::client) fn token(&self, key: &KeyPair, device: DeviceId) -> SessionToken {
        let password = Version {
            stamp: Stamp::new(self.password_ms, 0),
            request: RequestId::from_bytes([1; 16]),
        };
        let issued_ms = self.now_ms();
        key.sign_token(TokenClaims {
            user: user().user,
            device,
            password,
            issued_ms,
            expires_ms: issued_ms + self.token_ms,
        })
    }

    pub(in crate::client) fn ticket(
        &self,
        key: &KeyPair,
        device: DeviceId,
        group: GroupId,
    ) -> Ticket {
        let issued_ms = self.now_ms();
        key.sign_ticket(TicketClaims {
            group,
            user: user().user,
            device,
            issued_ms,
            expires_ms: issued_ms + self.ticket_ms,
        })
    }
}

/// A tracker that follows a script, and records its requests.
pub(in crate::client) struct Fake {
    pub(in crate::client) address: SocketAddr,
    pub(in crate::client) terms: Arc<Mutex<Terms>>,
    pub(in crate::client) key: Arc<KeyPair>,
    asked: Arc<Mutex<Vec<Request>>>,
    welcomed: Arc<AtomicUsize>,
    connections: Arc<Mutex<Vec<Connection>>>,
    listener: Arc<Listener>,
    stop: Stop,
    threads: Threads,
}

impl Fake {
    pub(in crate::client) fn start(
        script: impl Fn(&Request) -> Act + Send + Sync + 'static,
    ) -> Self {
        Self::start_of(network_key(), script)
    }

    /// A tracker of another network.
    pub(in crate::client) fn start_of(
        key: Arc<KeyPair>,
        script: impl Fn(&Request) -> Act + Send + Sync + 'static,
    ) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), key, Terms::default(), script)
    }

    /// A tracker at another one's address.
    pub(in crate::client) fn start_at(
        address: SocketAddr,
        key: Arc<KeyPair>,
        terms: Terms,
        script: impl Fn(&Request) -> Act + Send + Sync + 'static,
    ) -> Self {
        let listener = Arc::new(Listener::bind(address).unwrap());
        let fake = Self {
            address: listener.local_addr(),
            terms: Arc::new(Mutex::new(terms)),
            key,
            asked: Arc::default(),
            welcomed: Arc::default(),
            connections: Arc::default(),
            listener,
            stop: Stop::new(),
            threads: Threads::new(),
        };
        let (script, security): (Script, _) =
            (Arc::new(script), TrackerSecurity::new(&fake.key).unwrap());
        let (asked, connections, listener) =
            (fake.asked.clone(), fake.connections.clone(), fake.listener.clone());
        let (terms, key, welcomed) = (fake.terms.clone(), fake.key.clone(), fake.welcomed.clone());
        let store = StoreId::from_bytes(rand::random());
        let (stop, fake_stop, threads) =
            (fake.stop.clone(), fake.stop.clone(), fake.threads.clone());
        let accept = move || {
            listener.run(&stop, |incoming| {
                let session = FakeSession {
                    asked: asked.clone(),
                    store,
                    welcomed: welcomed.clone(),
                    connections: connections.clone(),
                    script: script.clone(),
                    terms: terms.clone(),
                    key: key.clone(),
                    stop: fake_stop.clone(),
                };
                let security = security.clone();
                threads.spawn("fake session", move || session.run(incoming, &security)).unwrap();
            });
        };
        fake.threads.spawn("fake tracker", accept).unwrap();
        fake
    }

    /// Ends like a killed process: connections are cut, the port is free. Returns its address.
    pub(in crate::client) fn kill(self) -> SocketAddr {
        let address = self.address;
        self.stop.set();
        self.listener.wake();
        self.cut();
        assert!(self.threads.join(PATIENCE).is_empty());
        address
    }

    /// Cuts the current connections.
    pub(in crate::client) fn cut(&self) {
        self.connections.lock().drain(..).for_each(|connection| connection.close());
    }

    /// Sends an event on every connection.
    pub(in crate::client) fn tell(&self, event: &Event) {
        for connection in self.connections.lock().iter() {
            // A connection that has ended receives nothing.
            let _ =
                frame::write_message(&mut connection.writer(), &FromTracker::Event(event.clone()));
        }
    }

    pub(in crate::client) fn asked(&self) -> Vec<Request> {
        self.asked.lock().clone()
    }

    /// Number of connections that it has welcomed.
    pub(in crate::client) fn welcomed(&self) -> usize {
        self.welcomed.load(Ordering::SeqCst)
    }

    pub(in crate::client) fn count(&self, of: impl Fn(&Request) -> bool) -> usize {
        self.asked.lock().iter().filter(|request| of(request)).count()
    }
}

struct FakeSession {
    asked: Arc<Mutex<Vec<Request>>>,
    store: StoreId,
    welcomed: Arc<AtomicUsize>,
    connections: Arc<Mutex<Vec<Connection>>>,
    script: Script,
    terms: Arc<Mutex<Terms>>,
    key: Arc<KeyPair>,
    stop: Stop,
}

impl FakeSession {
    fn run(&self, incoming: Incoming, security: &TrackerSecurity) {
        let Ok((connection, PeerIdentity::Device(device))) = security.accept(incoming, PATIENCE)
        else {
            return;
        };
        let (mut reader, mut writer) = (connection.reader(), connection.writer());
        let mut say = |message: FromTracker| frame::write_message(&mut writer, &message).is_ok();
        let Ok(Opening { hello: Hello::Client(ClientHello { port }), .. }) =
            frame::read_message(&mut reader, TRACKER_FRAME_LEN_MAX)
        else {
            return;
        };
        let observed = SocketAddr::new(connection.peer_addr().ip(), port);
        let (store, clock_ms) = (self.store, self.terms.lock().now_ms());
        say(FromTracker::Welcome(Welcome {
            version: VERSION_NEWEST,
            number: 1,
            store,
            observed,
            clock_ms,
        }));
        self.welcomed.fetch_add(1, Ordering::SeqCst);
        self.connections.lock().push(connection.clone());
        if self.stop.is_set() {
            // It may have been killed before the connection could be cut.
            return connection.close();
        }
        while let Ok(FromClient { number, request }) =
            frame::read_message(&mut reader, TRACKER_FRAME_LEN_MAX)
        {
            self.asked.lock().push(request.clone());
            let is_login = matches!(request, Request::Login { .. } | Request::Resume { .. });
            if let Some(count) = self.terms.lock().enough.filter(|_| is_login) {
                let list = Event::Trackers { addresses: vec![], removed: vec![] };
                let told = [Event::EnoughSessions { count }, list];
                told.into_iter().for_each(|event| _ = say(FromTracker::Event(event)));
            }
            let reply = match (self.script)(&request) {
                Act::Usual => Some(self.usual(request, device)),
                Act::Answer(reply) => Some(*reply),
                Act::Silence => continue,
                Act::Close => None,
            };
            let clock_ms = self.terms.lock().now_ms();
            let goes_on =
                reply.is_some_and(|reply| say(FromTracker::Reply { number, clock_ms, reply }));
            if !goes_on {
                return connection.close();
            }
        }
    }

    fn usual(&self, request: Request, device: DeviceId) -> Reply {
        let terms = *self.terms.lock();
        match request {
            Request::Login { .. } | Request::LoginByKey { .. } => {
                logged_in(terms, terms.token(&self.key, device))
            }
            Request::Resume { token } => {
                let good = token.claims.expires_ms > terms.now_ms()
                    && token.claims.password.stamp.ms() >= terms.password_ms;
                match good && token.claims.device == device {
                    true => logged_in(terms, terms.token(&self.key, device)),
                    false => Reply::Refused(Refusal::SessionOver),
                }
            }
            Request::Renew => Reply::Renewed(terms.token(&self.key, device)),
            Request::ChangePassword { .. } => {
                let mut terms = self.terms.lock();
                (terms.password_ms, terms.must_change) = (terms.password_ms + 1, false);
                Reply::Renewed(terms.token(&self.key, device))
            }
            Request::Tickets { groups } => Reply::Tickets(
                groups.into_iter().map(|group| terms.ticket(&self.key, device, group)).collect(),
            ),
            Request::FindFile { .. } => Reply::Refused(Refusal::NoSuchFile),
            Request::Announce { .. } => Reply::Peers(Vec::new()),
            Request::Ping | Request::Logout => Reply::Pong,
            _ => done(Stamp::new(terms.now_ms(), 0)),
        }
    }
}

fn logged_in(terms: Terms, token: SessionToken) -> Reply {
    Reply::LoggedIn { user: user(), token, must_change: terms.must_change }
}

/// A change was carried out, with that stamp.
pub(in crate::client) fn done(stamp: Stamp) -> Reply {
    Reply::Done(Success { effect: Effect::Done, stamp })
}

pub(in crate::client) fn user() -> UserEntry {
    UserEntry { user: UserId::from_bytes([5; 16]), label: "nik".parse().unwrap() }
}

/// The usual answers, unless the script gives another.
pub(in crate::client) fn usual(_: &Request) -> Act {
    Act::Usual
}

/// A refusal as an answer.
pub(in crate::client) fn refuse(refusal: Refusal) -> Act {
    Act::Answer(Box::new(Reply::Refused(refusal)))
}

pub(in crate::client::trackers) fn options(
    fakes: &[&Fake],
    expected: Option<Fingerprint>,
) -> SetOptions {
    SetOptions {
        addresses: fakes.iter().map(|fake| fake.address.to_string()).collect(),
        bind_ip: "127.0.0.1".parse().unwrap(),
        security: DeviceSecurity::new(&KeyPair::generate().unwrap()).unwrap(),
        network: Arc::new(Network::new(expected, true, None, |_| Ok(()))),
        port: 9,
        peer_port: Some("127.0.0.1:9".parse().unwrap()),
        learned: Vec::new(),
        last_request: Stamp::ZERO,
        relays: Default::default(),
    }
}

pub(in crate::client::trackers) fn set_of(fakes: &[&Fake]) -> (TrackerSet, Receiver<News>) {
    let (news, receiver) = bounded(1024);
    let set = TrackerSet::start(options(fakes, None), news).unwrap();
    assert!(set.wait_for_any(PATIENCE));
    (set, receiver)
}

pub(in crate::client::trackers) fn log_in(set: &TrackerSet) {
    assert_eq!(
        set.login("nik".parse().unwrap(), Password::new("pw".into()).unwrap()).unwrap().user,
        user()
    );
}

pub(in crate::client::trackers) fn change(byte: u8) -> Request {
    let request = RequestStamp { id: RequestId::from_bytes([byte; 16]), at: Stamp::new(1, 0) };
    Request::CreateGroup { request, name: "lab".parse().unwrap() }
}

pub(in crate::client::trackers) fn is_change(request: &Request) -> bool {
    matches!(request, Request::CreateGroup { .. })
}

/// By token.
pub(in crate::client) fn is_resume(request: &Request) -> bool {
    matches!(request, Request::Resume { .. })
}

/// By password or by token.
pub(in crate::client::trackers) fn is_login(request: &Request) -> bool {
    matches!(request, Request::Login { .. } | Request::Resume { .. })
}

pub(in crate::client) fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}
