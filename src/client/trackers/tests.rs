//! Failover against trackers that are scripted: real sockets, real frames, no directory.

mod session;
mod times;

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::SystemTime;

use crossbeam_channel::{Receiver, bounded, unbounded};

use super::*;
use crate::client::ClientError;
use crate::net::{Connection, Incoming, Listener, TrackerSecurity, Visitor};
use crate::trust::KeyPair;
use crate::types::limits::TRACKER_FRAME_LEN_MAX;
use crate::types::{
    DownloadState, Effect, Fingerprint, InfoHash, Password, Refusal, RequestId, RequestStamp,
    SessionToken, Stamp, StoreId, Success, Ticket, TicketClaims, TokenClaims, UserEntry, UserId,
    Version,
};
use crate::wire::tracker::{
    ClientHello, Event, FromClient, FromTracker, Hello, Opening, Reply, Request, Welcome,
};
use crate::wire::{VERSION_NEWEST, frame};

/// Nothing here takes this long; a wait that does has failed.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// What a scripted tracker does with a request.
pub(in crate::client) enum Act {
    /// What every tracker answers.
    Usual,
    Answer(Box<Reply>),
    Silence,
    Close,
}

type Script = Arc<dyn Fn(&Request) -> Act + Send + Sync>;

/// The key of the network that scripted trackers are of, unless they are given another.
pub(in crate::client) fn network_key() -> Arc<KeyPair> {
    static KEY: OnceLock<Arc<KeyPair>> = OnceLock::new();
    KEY.get_or_init(|| Arc::new(KeyPair::generate().unwrap())).clone()
}

/// What a scripted tracker signs, and its clock.
#[derive(Debug, Clone, Copy)]
pub(in crate::client) struct Terms {
    pub(in crate::client) token_ms: u64,
    pub(in crate::client) ticket_ms: u64,
    /// By how much its clock is ahead.
    pub(in crate::client) ahead_ms: i64,
    /// When the password was set.
    pub(in crate::client) password_ms: u64,
    /// The operator has set it.
    pub(in crate::client) must_change: bool,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            token_ms: 24 * 3_600_000,
            ticket_ms: 600_000,
            ahead_ms: 0,
            password_ms: 1,
            must_change: false,
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

/// A tracker that does as its script says, and notes what it was asked.
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

    /// One of another network.
    pub(in crate::client) fn start_of(
        key: Arc<KeyPair>,
        script: impl Fn(&Request) -> Act + Send + Sync + 'static,
    ) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), key, Terms::default(), script)
    }

    /// One in the place of another.
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

    /// Dies as a process does: connections are cut, the port is free. Returns its address.
    pub(in crate::client) fn kill(self) -> SocketAddr {
        let address = self.address;
        self.stop.set();
        self.listener.wake();
        self.cut();
        assert!(self.threads.join(PATIENCE).is_empty());
        address
    }

    /// Cuts the connections that there are.
    pub(in crate::client) fn cut(&self) {
        self.connections.lock().drain(..).for_each(|connection| connection.close());
    }

    /// Tells everybody who is connected of something.
    pub(in crate::client) fn tell(&self, event: &Event) {
        for connection in self.connections.lock().iter() {
            // Who has hung up hears nothing.
            let _ =
                frame::write_message(&mut connection.writer(), &FromTracker::Event(event.clone()));
        }
    }

    pub(in crate::client) fn asked(&self) -> Vec<Request> {
        self.asked.lock().clone()
    }

    /// Connections that it has welcomed.
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
        let Ok((connection, Visitor::Device(device))) = security.accept(incoming, PATIENCE) else {
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
            // It may have been killed before there was a connection to cut.
            return connection.close();
        }
        while let Ok(FromClient { number, request }) =
            frame::read_message(&mut reader, TRACKER_FRAME_LEN_MAX)
        {
            self.asked.lock().push(request.clone());
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
            Request::Login { .. } => logged_in(terms, terms.token(&self.key, device)),
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

/// What every tracker answers unless the script says else.
pub(in crate::client) fn usual(_: &Request) -> Act {
    Act::Usual
}

/// A refusal as an answer.
pub(in crate::client) fn refuse(refusal: Refusal) -> Act {
    Act::Answer(Box::new(Reply::Refused(refusal)))
}

pub(super) fn options(fakes: &[&Fake], expected: Option<Fingerprint>) -> SetOptions {
    SetOptions {
        addresses: fakes.iter().map(|fake| fake.address.to_string()).collect(),
        bind_ip: "127.0.0.1".parse().unwrap(),
        security: DeviceSecurity::new(&KeyPair::generate().unwrap()).unwrap(),
        network: Arc::new(Network::new(expected, None, |_| Ok(()))),
        port: 9,
        learned: Vec::new(),
        last_request: Stamp::ZERO,
    }
}

pub(super) fn set_of(fakes: &[&Fake]) -> (TrackerSet, Receiver<News>) {
    let (news, receiver) = bounded(1024);
    let set = TrackerSet::start(options(fakes, None), news).unwrap();
    assert!(set.wait_for_any(PATIENCE));
    (set, receiver)
}

pub(super) fn log_in(set: &TrackerSet) {
    assert_eq!(
        set.login("nik".parse().unwrap(), Password::new("pw".into()).unwrap()).unwrap().user,
        user()
    );
}

pub(super) fn change(byte: u8) -> Request {
    let request = RequestStamp { id: RequestId::from_bytes([byte; 16]), at: Stamp::new(1, 0) };
    Request::CreateGroup { request, name: "lab".parse().unwrap() }
}

pub(super) fn is_change(request: &Request) -> bool {
    matches!(request, Request::CreateGroup { .. })
}

/// By token.
pub(in crate::client) fn is_resume(request: &Request) -> bool {
    matches!(request, Request::Resume { .. })
}

/// By password or by token.
fn is_login(request: &Request) -> bool {
    matches!(request, Request::Login { .. } | Request::Resume { .. })
}

pub(in crate::client) fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

#[test]
fn a_command_whose_tracker_dies_is_repeated_at_the_next_with_the_same_id() {
    let dies = Fake::start(|request| if is_change(request) { Act::Close } else { usual(request) });
    let lives = Fake::start(usual);
    let (set, _news) = set_of(&[&dies, &lives]);
    wait_for("both are connected", || set.views().iter().all(|view| view.number.is_some()));
    log_in(&set);
    let started = Instant::now();
    // Whichever is primary, in the end the one that lives has carried it out, once and under its
    // id.
    assert!(matches!(set.call(&change(1), Need::Session), Ok(Reply::Done(_))));
    assert!(started.elapsed() < Duration::from_secs(9), "the next tracker was not asked at once");
    let copies: Vec<Request> = lives.asked().into_iter().filter(is_change).collect();
    assert_eq!(copies, [change(1)]);
    assert!(
        dies.asked()
            .iter()
            .filter(|request| is_change(request))
            .all(|request| *request == change(1))
    );
    set.stop(PATIENCE);
}

#[test]
fn a_silent_primary_is_passed_over_then_avoided() {
    let [silent, lives] = [
        Fake::start(|request| {
            if matches!(request, Request::CreateGroup { .. }) {
                Act::Silence
            } else {
                usual(request)
            }
        }),
        Fake::start(usual),
    ];
    let (set, _news) = set_of(&[&silent, &lives]);
    wait_for("both are connected", || set.views().iter().all(|view| view.number.is_some()));
    log_in(&set);
    wait_for("both are logged in", || set.views().iter().any(|view| view.primary));
    for byte in 1..=3 {
        assert!(matches!(set.call(&change(byte), Need::Session), Ok(Reply::Done(_))));
    }
    let silent_asked = silent.asked().into_iter().filter(is_change).count();
    assert!(silent_asked <= 1, "a tracker that did not answer was asked {silent_asked} times");
    assert_eq!(lives.asked().into_iter().filter(is_change).count(), 3);
    set.stop(PATIENCE);
}

#[test]
fn success_of_the_first_outweighs_a_refusal_of_the_second() {
    // The first carries the change out but is slow; the second has not heard of something yet and
    // refuses.
    let (heard, wait) = unbounded::<()>();
    let slow = Fake::start(move |request| {
        if is_change(request) {
            wait.recv_timeout(PATIENCE).unwrap();
        }
        usual(request)
    });
    let (set, _news) = set_of(&[&slow]);
    log_in(&set);
    let hasty = Fake::start(move |request| match request {
        Request::CreateGroup { .. } => {
            heard.send(()).unwrap();
            refuse(Refusal::NoSuchGroup)
        }
        other => usual(other),
    });
    drop((set, _news));
    let (set, _news) = set_of(&[&slow, &hasty]);
    wait_for("both are connected", || set.views().iter().all(|view| view.number.is_some()));
    log_in(&set);
    let outcome = set.call(&change(1), Need::Session);
    let slow_was_first = slow.asked().iter().any(is_change);
    assert_eq!(outcome.is_ok(), slow_was_first, "{outcome:?}");
    set.stop(PATIENCE);
}

#[test]
fn a_refusal_is_the_answer_when_nobody_else_was_asked() {
    let refuses =
        Fake::start(
            |request| if is_change(request) { refuse(Refusal::NameTaken) } else { usual(request) },
        );
    let (set, _news) = set_of(&[&refuses]);
    assert!(matches!(
        set.call(&change(1), Need::Session),
        Err(ClientError::Refused(Refusal::LoginFirst))
    ));
    log_in(&set);
    assert!(matches!(
        set.call(&change(1), Need::Session),
        Err(ClientError::Refused(Refusal::NameTaken))
    ));
    set.stop(PATIENCE);
}

#[test]
fn commands_wait_for_a_login_that_is_under_way_elsewhere() {
    let (release, held) = unbounded::<()>();
    let first = Fake::start(usual);
    let standby = Fake::start(move |request| match request {
        // Were it the nearest, the password would be shown to it; then the first takes it.
        Request::Login { .. } => refuse(Refusal::Busy),
        Request::Resume { .. } => {
            held.recv_timeout(PATIENCE).unwrap();
            Act::Usual
        }
        other => usual(other),
    });
    let (set, _news) = set_of(&[&first]);
    log_in(&set);
    drop((set, _news));
    let (set, _news) = set_of(&[&first, &standby]);
    log_in(&set);
    wait_for("the standby was asked to log in", || standby.count(is_resume) > 0);
    first.kill();
    let call = std::thread::spawn({
        let set = set.clone();
        move || set.call(&change(1), Need::Session)
    });
    wait_for("the dead tracker is gone", || set.views()[0].number.is_none());
    assert!(
        !standby.asked().iter().any(is_change),
        "it was asked before it had confirmed the user"
    );
    (0..2).for_each(|_| release.send(()).unwrap());
    assert!(matches!(call.join().unwrap(), Ok(Reply::Done(_))));
    set.stop(PATIENCE);
}

#[test]
fn a_tracker_that_was_too_busy_for_an_announce_is_told_everything_again() {
    let turned_away = AtomicBool::new(false);
    let fake = Fake::start(move |request| match request {
        Request::Announce { entries }
            if !entries.is_empty() && !turned_away.swap(true, Ordering::SeqCst) =>
        {
            Act::Answer(Box::new(Reply::Refused(Refusal::Busy)))
        }
        other => usual(other),
    });
    let (set, news) = set_of(&[&fake]);
    log_in(&set);
    let (group, info_hash) = (GroupId::from_bytes([1; 16]), InfoHash::from_bytes([1; 20]));
    set.announce([(group, info_hash, DownloadState::Seeding)]);
    let announces = || {
        fake.count(|request| matches!(request, Request::Announce { entries } if entries.len() == 1))
    };
    wait_for("it is announced once more", || announces() == 2);
    assert!(news.try_iter().any(|item| matches!(item, News::Lost { .. })));
    set.stop(PATIENCE);
}

#[test]
fn a_tracker_that_returns_is_logged_in_and_told_everything_again() {
    let first = Fake::start(usual);
    let (set, news) = set_of(&[&first]);
    log_in(&set);
    let [group, file] = [GroupId::from_bytes([1; 16]), GroupId::from_bytes([2; 16])];
    let info_hash = |n| InfoHash::from_bytes([n; 20]);
    set.announce([
        (group, info_hash(1), DownloadState::Seeding),
        (file, info_hash(2), DownloadState::Leeching),
    ]);
    set.announce([(file, info_hash(2), DownloadState::Stopped)]);
    wait_for("both announces came", || {
        first.asked().iter().filter(|r| matches!(r, Request::Announce { .. })).count() >= 2
    });
    let address = first.kill();
    let again = Fake::start_at(address, network_key(), Terms::default(), usual);
    let announced = || {
        again.asked().iter().any(|request| match request {
            Request::Announce { entries } => {
                entries.len() == 1 && entries[0].info_hash == info_hash(1)
            }
            _ => false,
        })
    };
    wait_for("what is offered is announced again", announced);
    assert!(matches!(set.call(&change(1), Need::Session), Ok(Reply::Done(_))));
    assert!(news.try_iter().filter(|item| matches!(item, News::Joined { .. })).count() >= 2);
    set.stop(PATIENCE);
}

#[test]
fn a_tracker_that_forgot_the_session_is_told_again() {
    let forgetful = Mutex::new(true);
    let fake = Fake::start(move |request| match request {
        Request::CreateGroup { .. } if std::mem::take(&mut *forgetful.lock()) => {
            refuse(Refusal::LoginFirst)
        }
        other => usual(other),
    });
    let (set, _news) = set_of(&[&fake]);
    log_in(&set);
    assert!(matches!(set.call(&change(1), Need::Session), Ok(Reply::Done(_))));
    set.stop(PATIENCE);
}

#[test]
fn a_tracker_that_knows_the_account_late_is_asked_again_long_before_the_next_ping() {
    let refusals = Mutex::new(2);
    let (first, late) = (
        Fake::start(usual),
        Fake::start(move |request| match request {
            // Were it the nearest, the password would be shown to it; then another takes it.
            Request::Login { .. } => refuse(Refusal::Busy),
            Request::Resume { .. } if *refusals.lock() > 0 => {
                *refusals.lock() -= 1;
                refuse(Refusal::Busy)
            }
            other => usual(other),
        }),
    );
    let (set, _news) = set_of(&[&first, &late]);
    log_in(&set);
    let started = Instant::now();
    wait_for("it is asked a third time", || {
        late.count(|request| matches!(request, Request::Resume { .. })) >= 3
    });
    assert!(started.elapsed() < Duration::from_secs(10), "it had to wait for a ping");
    first.kill();
    assert!(matches!(set.call(&change(1), Need::Session), Ok(Reply::Done(_))));
    set.stop(PATIENCE);
}

#[test]
fn without_any_tracker_the_error_says_so_soon() {
    let fake = Fake::start(usual);
    let (set, _news) = set_of(&[&fake]);
    log_in(&set);
    fake.kill();
    wait_for("the tracker is gone", || !set.is_reachable());
    let started = Instant::now();
    assert!(matches!(set.call(&change(1), Need::Session), Err(ClientError::NoTracker)));
    assert!(started.elapsed() < Duration::from_secs(9));
    assert!(set.views()[0].error.is_some());
    set.stop(PATIENCE);
}

#[test]
fn a_logout_is_heard_and_ends_the_session() {
    let fake = Fake::start(usual);
    let (set, _news) = set_of(&[&fake]);
    log_in(&set);
    set.logout();
    assert!(matches!(fake.asked().last(), Some(Request::Logout)));
    assert!(matches!(
        set.call(&change(1), Need::Session),
        Err(ClientError::Refused(Refusal::LoginFirst))
    ));
    log_in(&set);
    set.stop(PATIENCE);
}

#[test]
fn an_interrupt_ends_the_calls_that_somebody_waits_for() {
    let silent =
        Fake::start(|request| if is_change(request) { Act::Silence } else { usual(request) });
    let (set, _news) = set_of(&[&silent]);
    log_in(&set);
    let calls = [set.clone(), set.patient()]
        .map(|set| std::thread::spawn(move || set.call(&change(1), Need::Session)));
    wait_for("both were asked", || {
        silent.asked().iter().filter(|request| is_change(request)).count() == 2
    });
    set.interrupt();
    let [interrupted, patient] = calls;
    assert!(matches!(interrupted.join().unwrap(), Err(ClientError::Interrupted)));
    assert!(!patient.is_finished());
    silent.kill();
    // One that waits for a connection is ended too.
    wait_for("the tracker is gone", || !set.is_reachable());
    let waits = std::thread::spawn({
        let set = set.clone();
        move || set.call(&change(2), Need::Session)
    });
    wait_for("it is ended", || {
        set.interrupt();
        waits.is_finished()
    });
    assert!(matches!(waits.join().unwrap(), Err(ClientError::Interrupted)));
    assert!(
        matches!(patient.join().unwrap(), Err(ClientError::NoTracker)),
        "what nobody waits for is not interrupted"
    );
    set.stop(PATIENCE);
}

#[test]
fn a_login_behind_a_logout_is_not_ended_by_the_answer_to_an_earlier_one() {
    let (release, held) = unbounded::<()>();
    let slow = Fake::start(move |request| {
        if matches!(request, Request::Login { .. }) {
            held.recv_timeout(PATIENCE).unwrap();
        }
        usual(request)
    });
    let (set, _news) = set_of(&[&slow]);
    let login =
        |set: &TrackerSet| set.login("nik".parse().unwrap(), Password::new("pw".into()).unwrap());
    let interrupted = std::thread::spawn({
        let set = set.clone();
        move || login(&set)
    });
    let logins = || slow.count(is_login);
    wait_for("it was asked", || logins() == 1);
    set.interrupt();
    assert!(matches!(interrupted.join().unwrap(), Err(ClientError::Interrupted)));
    let again = std::thread::spawn({
        let set = set.clone();
        move || login(&set)
    });
    (0..2).for_each(|_| release.send(()).unwrap());
    assert_eq!(again.join().unwrap().unwrap().user, user());
    assert!(matches!(set.call(&change(1), Need::Session), Ok(Reply::Done(_))));
    let order: Vec<bool> = slow
        .asked()
        .iter()
        .filter_map(|request| match request {
            Request::Login { .. } => Some(true),
            Request::Logout => Some(false),
            _ => None,
        })
        .collect();
    assert_eq!(order, [true, false, true], "the later login is undone");
    set.stop(PATIENCE);
}
