//! Failover against trackers that are scripted: real sockets, real frames, no directory.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::SystemTime;

use crossbeam_channel::{Receiver, bounded, unbounded};

use super::*;
use crate::client::ClientError;
use crate::net::{Connection, Incoming, Listener, TrackerSecurity, Visitor};
use crate::trust::KeyPair;
use crate::types::limits::TRACKER_FRAME_LEN_MAX;
use crate::types::{
    DownloadState, Effect, InfoHash, OriginId, Password, Refusal, RequestId, SessionToken, Stamp, Tag, Ticket, TicketClaims,
    TokenClaims, UserEntry, UserId,
};
use crate::wire::frame;
use crate::wire::tracker::{ClientHello, Event, FromClient, FromTracker, Hello, Reply, Request, Welcome};

/// Nothing here takes this long; a wait that does has failed.
const PATIENCE: Duration = Duration::from_secs(30);

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
}

impl Default for Terms {
    fn default() -> Self {
        Self { token_ms: 24 * 3_600_000, ticket_ms: 600_000, ahead_ms: 0, password_ms: 1 }
    }
}

impl Terms {
    pub(in crate::client) fn now_ms(&self) -> u64 {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        (now.as_millis() as u64).saturating_add_signed(self.ahead_ms)
    }

    pub(in crate::client) fn token(&self, key: &KeyPair, device: DeviceId) -> SessionToken {
        let password = Tag { stamp: Stamp::new(self.password_ms, 0), origin: OriginId::from_bytes([1; 16]) };
        let issued_ms = self.now_ms();
        key.sign_token(TokenClaims { user: user().user, device, password, issued_ms, expires_ms: issued_ms + self.token_ms })
    }

    pub(in crate::client) fn ticket(&self, key: &KeyPair, device: DeviceId, group: GroupId) -> Ticket {
        let issued_ms = self.now_ms();
        key.sign_ticket(TicketClaims { group, user: user().user, device, issued_ms, expires_ms: issued_ms + self.ticket_ms })
    }
}

/// A tracker that does as its script says, and notes what it was asked.
pub(in crate::client) struct Fake {
    pub(in crate::client) address: SocketAddr,
    pub(in crate::client) terms: Arc<Mutex<Terms>>,
    pub(in crate::client) key: Arc<KeyPair>,
    asked: Arc<Mutex<Vec<Request>>>,
    connections: Arc<Mutex<Vec<Connection>>>,
    listener: Arc<Listener>,
    stop: Stop,
    threads: Threads,
}

impl Fake {
    pub(in crate::client) fn start(script: impl Fn(&Request) -> Act + Send + Sync + 'static) -> Self {
        Self::start_of(network_key(), script)
    }

    /// One of another network.
    pub(in crate::client) fn start_of(key: Arc<KeyPair>, script: impl Fn(&Request) -> Act + Send + Sync + 'static) -> Self {
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
            connections: Arc::default(),
            listener,
            stop: Stop::new(),
            threads: Threads::new(),
        };
        let (script, security): (Script, _) = (Arc::new(script), TrackerSecurity::new(&fake.key).unwrap());
        let (asked, connections, listener) = (fake.asked.clone(), fake.connections.clone(), fake.listener.clone());
        let (terms, key) = (fake.terms.clone(), fake.key.clone());
        let (stop, threads) = (fake.stop.clone(), fake.threads.clone());
        let accept = move || {
            listener.run(&stop, |incoming| {
                let session = FakeSession {
                    asked: asked.clone(),
                    connections: connections.clone(),
                    script: script.clone(),
                    terms: terms.clone(),
                    key: key.clone(),
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
            frame::write_message(&mut connection.writer(), &FromTracker::Event(event.clone())).unwrap();
        }
    }

    pub(in crate::client) fn asked(&self) -> Vec<Request> {
        self.asked.lock().clone()
    }

    pub(in crate::client) fn count(&self, of: impl Fn(&Request) -> bool) -> usize {
        self.asked.lock().iter().filter(|request| of(request)).count()
    }
}

struct FakeSession {
    asked: Arc<Mutex<Vec<Request>>>,
    connections: Arc<Mutex<Vec<Connection>>>,
    script: Script,
    terms: Arc<Mutex<Terms>>,
    key: Arc<KeyPair>,
}

impl FakeSession {
    fn run(&self, incoming: Incoming, security: &TrackerSecurity) {
        let Ok((connection, Visitor::Device(device))) = security.accept(incoming, PATIENCE) else { return };
        let (mut reader, mut writer) = (connection.reader(), connection.writer());
        let mut say = |message: FromTracker| frame::write_message(&mut writer, &message).is_ok();
        let Ok(Hello::Client(ClientHello { port })) = frame::read_message(&mut reader, TRACKER_FRAME_LEN_MAX) else { return };
        let observed = SocketAddr::new(connection.peer_addr().ip(), port);
        let (origin, clock_ms) = (OriginId::from_bytes([1; 16]), self.terms.lock().now_ms());
        say(FromTracker::Welcome(Welcome { version: 2, number: 1, origin, observed, clock_ms }));
        self.connections.lock().push(connection.clone());
        while let Ok(FromClient { number, request }) = frame::read_message(&mut reader, TRACKER_FRAME_LEN_MAX) {
            self.asked.lock().push(request.clone());
            let goes_on = match (self.script)(&request) {
                Act::Usual => say(FromTracker::Reply { number, reply: self.usual(request, device) }),
                Act::Answer(reply) => say(FromTracker::Reply { number, reply: *reply }),
                Act::Silence => true,
                Act::Close => false,
            };
            if !goes_on {
                return connection.close();
            }
        }
    }

    fn usual(&self, request: Request, device: DeviceId) -> Reply {
        let terms = *self.terms.lock();
        match request {
            Request::Login { .. } => Reply::LoggedIn { user: user(), token: terms.token(&self.key, device) },
            Request::Resume { token } => {
                let good = token.claims.expires_ms > terms.now_ms() && token.claims.password.stamp.ms() >= terms.password_ms;
                match good && token.claims.device == device {
                    true => Reply::LoggedIn { user: user(), token: terms.token(&self.key, device) },
                    false => Reply::Refused(Refusal::SessionOver),
                }
            }
            Request::Renew => Reply::Renewed(terms.token(&self.key, device)),
            Request::ChangePassword { .. } => {
                let mut terms = self.terms.lock();
                terms.password_ms += 1;
                Reply::Renewed(terms.token(&self.key, device))
            }
            Request::Tickets { groups } => {
                Reply::Tickets(groups.into_iter().map(|group| terms.ticket(&self.key, device, group)).collect())
            }
            Request::Announce { .. } => Reply::Peers(Vec::new()),
            Request::Ping | Request::Logout => Reply::Pong,
            _ => Reply::Done(Effect::Done),
        }
    }
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

fn options(fakes: &[&Fake], expected: Option<Fingerprint>) -> SetOptions {
    SetOptions {
        addresses: fakes.iter().map(|fake| fake.address.to_string()).collect(),
        bind_ip: "127.0.0.1".parse().unwrap(),
        security: DeviceSecurity::new(&KeyPair::generate().unwrap()).unwrap(),
        network: Arc::new(Network::new(expected, |_| Ok(()))),
        port: 9,
    }
}

fn set_of(fakes: &[&Fake]) -> (TrackerSet, Receiver<News>) {
    let (news, receiver) = bounded(1024);
    let set = TrackerSet::start(options(fakes, None), news).unwrap();
    assert!(set.wait_for_any(PATIENCE));
    (set, receiver)
}

fn log_in(set: &TrackerSet) {
    assert_eq!(set.login("nik".parse().unwrap(), Password::new("pw".into()).unwrap()).unwrap(), user());
}

fn change(byte: u8) -> Request {
    Request::CreateGroup { request: RequestId::from_bytes([byte; 16]), name: "lab".parse().unwrap() }
}

fn is_change(request: &Request) -> bool {
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
    // Whichever is primary, in the end the one that lives has carried it out, once and under its id.
    assert!(matches!(set.call(&change(1), Need::Session), Ok(Reply::Done(_))));
    assert!(started.elapsed() < Duration::from_secs(9), "the next tracker was not asked at once");
    let copies: Vec<Request> = lives.asked().into_iter().filter(is_change).collect();
    assert_eq!(copies, [change(1)]);
    assert!(dies.asked().iter().filter(|request| is_change(request)).all(|request| *request == change(1)));
    set.stop(PATIENCE);
}

#[test]
fn a_silent_primary_is_passed_over_then_avoided() {
    let [silent, lives] = [
        Fake::start(|request| if matches!(request, Request::CreateGroup { .. }) { Act::Silence } else { usual(request) }),
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
    // The first carries the change out but is slow; the second has not heard of something yet and refuses.
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
    let refuses = Fake::start(|request| if is_change(request) { refuse(Refusal::NameTaken) } else { usual(request) });
    let (set, _news) = set_of(&[&refuses]);
    assert!(matches!(set.call(&change(1), Need::Session), Err(ClientError::Refused(Refusal::LoginFirst))));
    log_in(&set);
    assert!(matches!(set.call(&change(1), Need::Session), Err(ClientError::Refused(Refusal::NameTaken))));
    set.stop(PATIENCE);
}

#[test]
fn commands_wait_for_a_login_that_is_under_way_elsewhere() {
    let (release, held) = unbounded::<()>();
    let first = Fake::start(usual);
    let standby = Fake::start(move |request| {
        if is_login(request) {
            held.recv_timeout(PATIENCE).unwrap();
        }
        usual(request)
    });
    let (set, _news) = set_of(&[&first]);
    log_in(&set);
    drop((set, _news));
    let (set, _news) = set_of(&[&first, &standby]);
    // The login itself may be hedged to the standby; the first answers it.
    log_in(&set);
    wait_for("the standby was asked to log in", || standby.count(is_login) > 0);
    first.kill();
    let call = std::thread::spawn({
        let set = set.clone();
        move || set.call(&change(1), Need::Session)
    });
    wait_for("the dead tracker is gone", || set.views()[0].number.is_none());
    assert!(!standby.asked().iter().any(is_change), "it was asked before it had confirmed the user");
    (0..2).for_each(|_| release.send(()).unwrap());
    assert!(matches!(call.join().unwrap(), Ok(Reply::Done(_))));
    set.stop(PATIENCE);
}

#[test]
fn a_tracker_that_returns_is_logged_in_and_told_everything_again() {
    let first = Fake::start(usual);
    let (set, news) = set_of(&[&first]);
    log_in(&set);
    let [group, file] = [GroupId::from_bytes([1; 16]), GroupId::from_bytes([2; 16])];
    let info_hash = |n| InfoHash::from_bytes([n; 20]);
    set.announce([(group, info_hash(1), DownloadState::Seeding), (file, info_hash(2), DownloadState::Leeching)]);
    set.announce([(file, info_hash(2), DownloadState::Stopped)]);
    wait_for("both announces came", || first.asked().iter().filter(|r| matches!(r, Request::Announce { .. })).count() >= 2);
    let address = first.kill();
    let again = Fake::start_at(address, network_key(), Terms::default(), usual);
    let announced = || {
        again.asked().iter().any(|request| match request {
            Request::Announce { entries } => entries.len() == 1 && entries[0].info_hash == info_hash(1),
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
        Request::CreateGroup { .. } if std::mem::take(&mut *forgetful.lock()) => refuse(Refusal::LoginFirst),
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
    wait_for("it is asked a third time", || late.count(|request| matches!(request, Request::Resume { .. })) >= 3);
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
    assert!(matches!(set.call(&change(1), Need::Session), Err(ClientError::Refused(Refusal::LoginFirst))));
    log_in(&set);
    set.stop(PATIENCE);
}

#[test]
fn an_interrupt_ends_the_calls_that_somebody_waits_for() {
    let silent = Fake::start(|request| if is_change(request) { Act::Silence } else { usual(request) });
    let (set, _news) = set_of(&[&silent]);
    log_in(&set);
    let calls = [set.clone(), set.patient()].map(|set| std::thread::spawn(move || set.call(&change(1), Need::Session)));
    wait_for("both were asked", || silent.asked().iter().filter(|request| is_change(request)).count() == 2);
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
    assert!(matches!(patient.join().unwrap(), Err(ClientError::NoTracker)), "what nobody waits for is not interrupted");
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
    let login = |set: &TrackerSet| set.login("nik".parse().unwrap(), Password::new("pw".into()).unwrap());
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
    assert_eq!(again.join().unwrap().unwrap(), user());
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

fn change_password() -> Request {
    let [old, new] = ["pw", "new"].map(|text| Password::new(text.into()).unwrap());
    Request::ChangePassword { request: RequestId::from_bytes([9; 16]), old, new }
}

fn over(news: &Receiver<News>) -> bool {
    news.try_iter().any(|item| matches!(item, News::SessionOver(_)))
}

#[test]
fn the_password_is_shown_to_one_tracker_once_and_the_token_to_all() {
    let fakes = [Fake::start(usual), Fake::start(usual)];
    let (set, _news) = set_of(&[&fakes[0], &fakes[1]]);
    wait_for("both are connected", || set.views().iter().all(|view| view.number.is_some()));
    log_in(&set);
    let count = |of: fn(&Request) -> bool| fakes.iter().map(|fake| fake.count(of)).sum::<usize>();
    let password = |request: &Request| matches!(request, Request::Login { .. });
    wait_for("the other was shown the token", || count(is_resume) == 1);
    fakes.iter().for_each(Fake::cut);
    wait_for("both are shown the token after the cut", || count(is_resume) == 3);
    assert!(matches!(set.call(&change(1), Need::Session), Ok(Reply::Done(_))));
    assert_eq!(count(password), 1);
    set.stop(PATIENCE);
}

#[test]
fn a_session_whose_password_was_changed_elsewhere_is_over() {
    let fake = Fake::start(usual);
    let (set, news) = set_of(&[&fake]);
    log_in(&set);
    // A mere word is no end: the token is good.
    fake.tell(&Event::SessionOver);
    wait_for("it is shown the token again", || fake.count(is_resume) == 1);
    assert!(matches!(set.call(&change(1), Need::Session), Ok(Reply::Done(_))));
    assert!(!over(&news) && set.is_over().is_none());
    fake.terms.lock().password_ms += 1;
    fake.tell(&Event::SessionOver);
    wait_for("it is over", || set.is_over() == Some(SessionEnd::PasswordChanged));
    wait_for("it is told", || over(&news));
    let refused = set.call(&change(2), Need::Session);
    assert!(matches!(refused, Err(ClientError::SessionEnded(SessionEnd::PasswordChanged))), "{refused:?}");
    assert_eq!(set.renew_due(), None);
    set.logout();
    assert!(matches!(set.call(&change(3), Need::Session), Err(ClientError::Refused(Refusal::LoginFirst))));
    log_in(&set);
    assert!(matches!(set.call(&change(4), Need::Session), Ok(Reply::Done(_))));
    assert_eq!(fake.count(is_resume), 2, "a token that is void is not shown again");
    set.stop(PATIENCE);
}

#[test]
fn a_token_that_expired_while_all_trackers_were_away_ends_the_session_with_those_words() {
    let fake = Fake::start(usual);
    let (set, news) = set_of(&[&fake]);
    log_in(&set);
    let later = Terms { ahead_ms: 25 * 3_600_000, ..Terms::default() };
    let _again = Fake::start_at(fake.kill(), network_key(), later, usual);
    wait_for("it is over", || over(&news));
    assert_eq!(set.is_over(), Some(SessionEnd::Expired));
    set.stop(PATIENCE);
}

#[test]
fn a_change_of_the_password_that_another_tracker_hears_of_first_does_not_end_the_session_that_made_it() {
    let (release, held) = unbounded::<()>();
    let slow = Fake::start(move |request| {
        if matches!(request, Request::ChangePassword { .. }) {
            held.recv_timeout(PATIENCE).unwrap();
        }
        usual(request)
    });
    let other = Fake::start(usual);
    let options = options(&[&slow, &other], None);
    let other = other.kill();
    let (news_out, news) = bounded(1024);
    let set = TrackerSet::start(options, news_out).unwrap();
    assert!(set.wait_for_any(PATIENCE));
    log_in(&set);
    let asking = std::thread::spawn({
        let set = set.clone();
        move || {
            let _changing = set.changing_password();
            set.call(&change_password(), Need::Session)
        }
    });
    wait_for("it was asked", || slow.count(|r| matches!(r, Request::ChangePassword { .. })) == 1);
    // What the slow one has done reaches the other before its answer reaches us.
    let terms = Terms { password_ms: 2, ..Terms::default() };
    let other = Fake::start_at(other, network_key(), terms, usual);
    wait_for("the old token is refused", || other.count(is_resume) >= 1);
    release.send(()).unwrap();
    assert!(matches!(asking.join().unwrap(), Ok(Reply::Renewed(_))));
    slow.kill();
    assert!(matches!(set.call(&change(1), Need::Session), Ok(Reply::Done(_))), "the new token is good there");
    assert!(!over(&news) && set.is_over().is_none());
    set.stop(PATIENCE);
}

#[test]
fn a_change_of_the_password_whose_answer_was_lost_is_proven_by_the_new_one() {
    let done = Mutex::new(false);
    let fake = Arc::new(Mutex::new(None::<Arc<Mutex<Terms>>>));
    let terms = fake.clone();
    let dies = Fake::start(move |request| match request {
        Request::ChangePassword { .. } if !std::mem::replace(&mut *done.lock(), true) => {
            terms.lock().as_ref().unwrap().lock().password_ms += 1;
            Act::Close
        }
        other => usual(other),
    });
    *fake.lock() = Some(dies.terms.clone());
    let (set, news) = set_of(&[&dies]);
    log_in(&set);
    {
        let _changing = set.changing_password();
        let refused = set.call(&change_password(), Need::Session);
        assert!(matches!(refused, Err(ClientError::Refused(Refusal::SessionOver))), "{refused:?}");
        set.prove_again(Password::new("new".into()).unwrap()).unwrap();
    }
    assert!(matches!(set.call(&change(1), Need::Session), Ok(Reply::Done(_))));
    assert!(!over(&news));
    set.stop(PATIENCE);
}

#[test]
fn a_command_of_one_session_is_never_asked_for_the_next() {
    let silent = Fake::start(|request| if is_change(request) { Act::Silence } else { usual(request) });
    let (set, _news) = set_of(&[&silent]);
    log_in(&set);
    let call = std::thread::spawn({
        let set = set.clone();
        move || set.call(&change(1), Need::Session)
    });
    wait_for("it was asked", || silent.count(is_change) == 1);
    set.logout();
    log_in(&set);
    silent.cut();
    assert!(matches!(call.join().unwrap(), Err(ClientError::Refused(Refusal::LoginFirst))));
    assert_eq!(silent.count(is_change), 1);
    set.stop(PATIENCE);
}

#[test]
fn a_token_is_renewed_on_demand_and_not_replaced_by_one_that_ends_sooner() {
    let fake = Fake::start(usual);
    let (set, _news) = set_of(&[&fake]);
    log_in(&set);
    let half = Duration::from_secs(12 * 3600);
    let due = |set: &TrackerSet| set.renew_due().unwrap().saturating_duration_since(Instant::now());
    assert!(due(&set) <= half && due(&set) > half - PATIENCE);
    fake.terms.lock().token_ms = 3_600_000;
    set.renew();
    wait_for("it was asked", || fake.count(|request| matches!(request, Request::Renew)) == 1);
    assert!(due(&set) < half - PATIENCE, "no better one came: it is asked again soon");
    fake.terms.lock().token_ms = 48 * 3_600_000;
    set.renew();
    assert!(due(&set) > half + PATIENCE, "{:?}", due(&set));
    fake.kill();
    wait_for("the tracker is gone", || !set.is_reachable());
    let started = Instant::now();
    set.renew();
    assert!(started.elapsed() < Duration::from_secs(2), "nobody to ask, nothing to wait for");
    set.stop(PATIENCE);
}

#[test]
fn of_clocks_that_differ_the_earliest_of_the_connected_trackers_counts() {
    let ahead = |ahead_ms| Terms { ahead_ms, ..Terms::default() };
    let any = "127.0.0.1:0".parse().unwrap();
    let fast = Fake::start_at(any, network_key(), ahead(50_000), usual);
    let slow = Fake::start_at(any, network_key(), ahead(-3_600_000), usual);
    let (set, _news) = set_of(&[&fast, &slow]);
    wait_for("both are connected", || set.views().iter().all(|view| view.number.is_some()));
    let near = |ahead_ms| ahead(ahead_ms).now_ms().abs_diff(set.clock_ms()) < 20_000;
    assert!(near(-3_600_000));
    slow.kill();
    wait_for("it counts no more", || near(50_000));
    fast.kill();
    wait_for("all that were ever met count", || near(-3_600_000));
    set.stop(PATIENCE);
}

#[test]
fn a_tracker_of_another_network_is_named_with_the_way_to_accept_it() {
    let fake = Fake::start(usual);
    let other = KeyPair::generate().unwrap().fingerprint();
    let (news, _news) = bounded(1024);
    let set = TrackerSet::start(options(&[&fake], Some(other)), news).unwrap();
    wait_for("it is refused", || set.views()[0].error.is_some());
    let found = fake.key.fingerprint();
    assert_eq!(set.call(&change(1), Need::Tracker).unwrap_err().to_string(), set.why_unreachable().to_string());
    for text in [set.why_unreachable().to_string(), set.views()[0].error.clone().unwrap()] {
        assert!(text.contains(&other.to_string()) && text.contains(&format!("--network {found}")), "{text}");
        assert!(text.contains(&format!("`network {found}` into tracker_info.txt")) && !text.contains('\n'), "{text}");
    }
    assert!(fake.asked().is_empty(), "not a word was said to it");
    set.stop(PATIENCE);
}

#[test]
fn what_does_not_prove_to_be_a_tracker_is_said_so() {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let stop = Stop::new();
    let stopped = stop.clone();
    let babbler = std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            if stopped.is_set() {
                return;
            }
            let _ = stream.read(&mut [0; 64]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let (news, _news) = bounded(1024);
    let options = SetOptions { addresses: vec![address.clone()], ..options(&[], None) };
    let set = TrackerSet::start(options, news).unwrap();
    wait_for("it is refused", || set.views()[0].error.is_some());
    let why = set.why_unreachable();
    assert!(matches!(&why, ClientError::UntrustedTracker { address: at, .. } if *at == address), "{why}");
    set.stop(PATIENCE);
    stop.set();
    drop(std::net::TcpStream::connect(address));
    babbler.join().unwrap();
}
