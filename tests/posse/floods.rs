//! Floods: wrong passwords, slow handshakes and accounts by the thousand. Honest people are served
//! all the while, and what the flood came to is printed: `cargo test --test posse -- floods::
//! --nocapture`.
//!
//! A flood stops when what it was to disturb is done, or after [`CUT_OFF`]; how much of it was sent
//! by then is among what is printed.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use posse::types::{Effect, Refusal, Success, limits};
use posse::wire::frame::to_frame;
use posse::wire::tracker::{FromClient, FromTracker, Reply, Request};
use socket2::{Domain, Socket, Type};

use crate::harness::{
    ClientProcess, Content, RawClient, World, device, password, request_id, sha1_of,
};

/// How long a flood lasts at most.
const CUT_OFF: Duration = Duration::from_secs(15);
/// How long an honest login may take in the midst of a flood, on a busy machine.
const LOGIN_MAX: Duration = Duration::from_secs(5);

/// Another machine, as far as loopback has any; `[127, 0, 0, 1]` is where honest people are.
fn elsewhere(network: u8, number: usize) -> [u8; 4] {
    [127, network, (number / 200) as u8, (number % 200 + 1) as u8]
}

/// What came of a flood of wrong passwords.
#[derive(Debug, Default)]
struct Guesses {
    sent: AtomicUsize,
    /// Of those, such whose password was looked at.
    judged: AtomicUsize,
    /// Refused without a look.
    refused: AtomicUsize,
}

impl Guesses {
    /// Sends wrong passwords for an account over one connection, as fast as it takes them, until
    /// told to stop.
    fn guess(
        &self,
        tracker: SocketAddr,
        from: [u8; 4],
        account: &str,
        count: usize,
        stop: &AtomicBool,
    ) -> std::io::Result<()> {
        let mut session = RawClient::connect(tracker, &device().at(from), 1)?;
        session.stream.set_patience(Duration::from_millis(200));
        let frames = |number: usize| {
            let request = Request::Login {
                name: account.parse().expect("a name"),
                password: password(&format!("guess {number}")),
            };
            to_frame(&FromClient { number: number as u32 + 1, request })
        };
        // All at once: nobody who guesses waits for an answer.
        for number in 0..count {
            session.send_bytes(&frames(number))?;
            self.sent.fetch_add(1, Ordering::Relaxed);
        }
        while !stop.load(Ordering::Relaxed) {
            let reply = match session.receive() {
                Ok(FromTracker::Reply { reply, .. }) => reply,
                Ok(_) => continue,
                Err(e) if e.kind() == ErrorKind::TimedOut => continue,
                Err(e) => return Err(e),
            };
            let counter = match reply {
                Reply::Refused(Refusal::WrongPassword) => &self.judged,
                Reply::Refused(_) => &self.refused,
                other => panic!("a guess was answered by {other:?}"),
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// How long a login takes; none if it is refused.
fn time_of_login(client: &mut ClientProcess, user: &str) -> Option<Duration> {
    let start = Instant::now();
    let object = client.object(&format!("login {user} pw-{user}"));
    (object["ok"] == true).then(|| start.elapsed())
}

fn shown(time: Option<Duration>) -> String {
    time.map_or("refused".to_owned(), |time| format!("{} ms", time.as_millis()))
}

/// 10,000 wrong passwords for nik's account from 50 connections, and who gets in meanwhile.
fn wrong_passwords(what: &str, from: impl Fn(usize) -> [u8; 4] + Sync) {
    const CONNECTIONS: usize = 50;
    const EACH: usize = 200;
    let world = World::new(1);
    world.group("lab", &["nik", "bob"]);
    let tracker = world.tracker(1);
    // Nik has been logged in on this device before; bob comes with a new one.
    let (mut nik, mut bob, mut new) =
        (world.client("nik"), world.client("bob"), world.client("nik2"));
    let quiet = time_of_login(&mut nik, "nik");
    nik.ok("logout", &[]);
    let (guesses, stop) = (Guesses::default(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let start = Instant::now();
        for number in 0..CONNECTIONS {
            let (guesses, stop, from) = (&guesses, &stop, &from);
            scope.spawn(move || {
                // A tracker may hang up on whoever guesses; that is its right.
                let _ = guesses.guess(tracker, from(number), "nik", EACH, stop);
            });
        }
        while guesses.judged.load(Ordering::Relaxed) < CONNECTIONS / 5 && start.elapsed() < CUT_OFF
        {
            std::thread::sleep(Duration::from_millis(10));
        }
        let known: Vec<_> = (0..3)
            .map(|_| {
                let time = time_of_login(&mut nik, "nik");
                nik.ok("logout", &[]);
                time
            })
            .collect();
        let other = time_of_login(&mut bob, "bob");
        let during = start.elapsed();
        // What the flood is let through at when nobody interferes.
        let (before, since) = (guesses.judged.load(Ordering::Relaxed), Instant::now());
        std::thread::sleep(Duration::from_secs(3).min(CUT_OFF.saturating_sub(start.elapsed())));
        let rate = (guesses.judged.load(Ordering::Relaxed) - before) as f64
            / since.elapsed().as_secs_f64();
        new.process().send("login nik pw-nik");
        stop.store(true, Ordering::Relaxed);
        println!(
            "wrong passwords {what}: login of the user they are for, on a device known before: {} (quiet: {}); of another user on a new \
             device: {}; {} attempts sent from {CONNECTIONS} connections, {} judged and {} turned away in {:.1} s; judged at {rate:.1}/s",
            known.iter().map(|time| shown(*time)).collect::<Vec<_>>().join(", "),
            shown(quiet),
            shown(other),
            guesses.sent.load(Ordering::Relaxed),
            guesses.judged.load(Ordering::Relaxed),
            guesses.refused.load(Ordering::Relaxed),
            during.as_secs_f64()
        );
        for time in known.into_iter().chain([other]) {
            assert!(
                time.is_some_and(|time| time < LOGIN_MAX),
                "an honest login in the flood: {}",
                shown(time)
            );
        }
        assert!(rate < 40.0, "{rate:.1} guesses a second are let through");
        // And a new device of that user, once the flood is over.
        let start = Instant::now();
        let answer = new.object_of("login");
        println!(
            "wrong passwords {what}: login on a new device of that user, as the flood ends: {} ms, {answer}",
            start.elapsed().as_millis()
        );
    });
}

#[test]
fn wrong_passwords_from_elsewhere_keep_nobody_out() {
    wrong_passwords("from 50 other addresses", |number| elsewhere(90, number));
}

#[test]
fn wrong_passwords_from_ones_own_address_keep_nobody_out() {
    wrong_passwords("from the user's own address", |_| [127, 0, 0, 1]);
}

/// The first bytes of a handshake of TLS, as a client of ours says them.
fn client_hello(dial: impl FnOnce(SocketAddr) + Send) -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || dial(address));
        let (mut stream, _) = listener.accept().unwrap();
        let mut hello = vec![0; 4096];
        let len = stream.read(&mut hello).unwrap();
        hello.truncate(len);
        hello
    })
}

fn dial_from(ip: [u8; 4], to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(IpAddr::from(ip), 0).into())?;
    socket.connect_timeout(&to.into(), Duration::from_secs(2))?;
    let stream = TcpStream::from(socket);
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// One slow handshake.
struct Slow {
    stream: TcpStream,
    /// What it drips.
    rest: std::vec::IntoIter<u8>,
}

impl Slow {
    /// By turns: silent; dripping the first bytes of TLS; having said them, and silent then.
    fn begin(number: usize, from: [u8; 4], to: SocketAddr, hello: &[u8]) -> std::io::Result<Self> {
        let mut stream = dial_from(from, to)?;
        let rest = match number % 3 {
            0 => Vec::new(),
            1 => hello.to_vec(),
            _ => {
                stream.write_all(hello)?;
                Vec::new()
            }
        };
        Ok(Self { stream, rest: rest.into_iter() })
    }

    /// Drips a byte, if it is one that drips; false if the other end has hung up.
    fn go_on(&mut self) -> bool {
        loop {
            match self.stream.read(&mut [0; 4096]) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return false,
            }
        }
        self.rest.next().is_none_or(|byte| self.stream.write_all(&[byte]).is_ok())
    }
}

/// Keeps `count` slow handshakes going until told to stop: those that were ended are begun anew,
/// 200 a second. Returns how many were begun in all, and how many stood at the end.
fn slow_handshakes(
    count: usize,
    to: SocketAddr,
    from: &dyn Fn(usize) -> [u8; 4],
    hello: &[u8],
    full: &AtomicBool,
    stop: &AtomicBool,
) -> (usize, usize) {
    const BATCH: usize = 20;
    let begin = |number: usize| Slow::begin(number, from(number), to, hello).ok();
    let mut crowd: Vec<Option<Slow>> = (0..count).map(begin).collect();
    let mut begun = count;
    full.store(true, Ordering::Relaxed);
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(100));
        let mut budget = BATCH;
        for (number, slow) in crowd.iter_mut().enumerate() {
            if slow.as_mut().is_some_and(|slow| !slow.go_on()) {
                *slow = None;
            }
            if slow.is_none() && budget > 0 {
                (budget, begun) = (budget - 1, begun + 1);
                *slow = begin(number);
            }
        }
    }
    (begun, crowd.into_iter().flatten().filter_map(|mut slow| slow.go_on().then_some(())).count())
}

/// Ends a flood also when a test fails in the middle of it.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// 2,000 slow handshakes at the tracker and as many at a seeder, while somebody logs in and
/// downloads.
fn slow_flood(what: &str, from: impl Fn(usize) -> [u8; 4] + Sync) {
    const COUNT: usize = 2_000;
    let world = World::new(1);
    world.group("lab", &["nik", "bob"]);
    let content = Content::new("big.bin", 8 << 20, 121);
    world.put("nik", &content);
    let (mut nik, mut bob) = (world.client("nik"), world.client("bob"));
    nik.login("nik");
    nik.ok("upload_file big.bin lab", &[]);
    let (tracker, seeder) = (world.tracker(1), nik.address);
    let whose = nik.device();
    let hellos = [
        client_hello(|to| drop(device().dial_tracker(to))),
        client_hello(move |to| drop(device().dial(to, whose))),
    ];
    let (full, stop) = ([AtomicBool::new(false), AtomicBool::new(false)], AtomicBool::new(false));
    std::thread::scope(|scope| {
        let _stop_too_if_it_fails = SetOnDrop(&stop);
        let start = Instant::now();
        let floods: Vec<_> = [tracker, seeder]
            .into_iter()
            .zip(&hellos)
            .zip(&full)
            .map(|((to, hello), full)| {
                let (from, stop) = (&from, &stop);
                scope.spawn(move || slow_handshakes(COUNT, to, from, hello, full, stop))
            })
            .collect();
        while !full.iter().all(|full| full.load(Ordering::Relaxed)) && start.elapsed() < CUT_OFF {
            std::thread::sleep(Duration::from_millis(10));
        }
        let begun = start.elapsed();
        let login = time_of_login(&mut bob, "bob");
        let fetch = Instant::now();
        bob.ok("download_file lab big.bin", &[]);
        bob.wait_downloads();
        let fetched = fetch.elapsed();
        let new = Instant::now();
        RawClient::enter(tracker, "carl");
        let new = new.elapsed();
        stop.store(true, Ordering::Relaxed);
        let stood: Vec<_> =
            floods.into_iter().map(|flood| flood.join().expect("a flood ends well")).collect();
        println!(
            "slow handshakes {what}: {COUNT} each begun within {} ms; at the tracker {} in all, {} stood at the end; at the client {} and \
             {}; meanwhile a login took {}, a download of 8 MiB {} ms, a new account and its login {} ms",
            begun.as_millis(),
            stood[0].0,
            stood[0].1,
            stood[1].0,
            stood[1].1,
            shown(login),
            fetched.as_millis(),
            new.as_millis()
        );
        assert_eq!(sha1_of(&bob.path("big.bin")), content.sha1());
        assert!(login.is_some_and(|time| time < LOGIN_MAX), "{}", shown(login));
        assert!(
            fetched < CUT_OFF && new < LOGIN_MAX,
            "the download took {fetched:?}, the new account {new:?}"
        );
    });
}

#[test]
fn slow_handshakes_from_elsewhere_keep_nobody_out() {
    slow_flood("from 100 other addresses", |number| elsewhere(91, number / 20));
}

#[test]
fn slow_handshakes_from_ones_own_address_keep_nobody_out() {
    slow_flood("from the users' own address", |_| [127, 0, 0, 1]);
}

#[test]
fn one_address_makes_a_bounded_number_of_accounts() {
    const WANTED: usize = 1_000;
    let mut world = World::new(1);
    let tracker = world.tracker(1);
    let start = Instant::now();
    let (made, refused, cut_off) =
        (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (made, refused, cut_off) = (&made, &refused, &cut_off);
            scope.spawn(move || {
                let mut session =
                    RawClient::connect(tracker, &device().at([127, 92, 0, 1]), 1).unwrap();
                for number in 0..WANTED / 4 {
                    let name = format!("a{thread}-{number}").parse().unwrap();
                    let create = Request::CreateUser {
                        request: request_id(),
                        name,
                        password: password("pw"),
                    };
                    match session.ask(create).unwrap() {
                        Reply::Done(Success { effect: Effect::User(_), .. }) => {
                            made.fetch_add(1, Ordering::Relaxed)
                        }
                        Reply::Refused(_) => refused.fetch_add(1, Ordering::Relaxed),
                        other => panic!("an account: {other:?}"),
                    };
                    if start.elapsed() > CUT_OFF {
                        cut_off.store(true, Ordering::Relaxed);
                        break;
                    }
                }
            });
        }
    });
    let (took, made, refused) = (start.elapsed(), made.into_inner(), refused.into_inner());
    println!(
        "{WANTED} accounts from one address: {made} made, {refused} refused, in {:.1} s",
        took.as_secs_f64()
    );
    // A slow machine does not come to the bound in the time that the flood has.
    assert!(made <= 200, "the default is 200 an hour, and {made} were made");
    if !cut_off.into_inner() {
        assert_eq!((made, refused), (200, WANTED - 200), "the default is 200 an hour");
    }
    // Elsewhere it is as it was, and who has an account here logs in.
    RawClient::enter(tracker, "nik");
    let mut one = RawClient::connect(tracker, &device().at([127, 92, 0, 1]), 1).unwrap();
    one.login_with("a0-0", "pw").unwrap();
    assert_eq!(world.trackers[0].status().0["users"], (made + 1).to_string());
}

#[test]
fn requests_of_a_mebibyte_that_never_end_take_bounded_memory_and_keep_nobody_out() {
    const ACCOUNTS: usize = 30;
    const SESSIONS: usize = 16;
    let mut world = World::new(1);
    let tracker = world.tracker(1);
    let mut bob = world.client("bob");
    bob.enter("bob");
    bob.ok("create_group lab", &[]);
    let address = [127, 94, 0, 1];
    let mut sessions = Vec::new();
    for account in 0..ACCOUNTS {
        let (first, name) = (device().at(address), format!("a{account}"));
        let mut session = RawClient::connect(tracker, &first, 1).unwrap();
        session.create_user(&name);
        session.login(&name).unwrap();
        sessions.push(session);
        for _ in 1..SESSIONS {
            let mut session = RawClient::connect(tracker, &device().at(address), 1).unwrap();
            session.login(&name).unwrap();
            sessions.push(session);
        }
    }
    let process = world.trackers[0].process();
    let before = process.proc_status("VmRSS");
    let begun = [
        &(limits::TRACKER_REQUEST_LEN_MAX as u32).to_be_bytes()[..],
        &vec![0; limits::TRACKER_REQUEST_LEN_MAX - 1],
    ]
    .concat();
    // Some give way while they still send.
    let sent =
        sessions.iter_mut().filter_map(|session| session.stream.write_all(&begun).ok()).count();
    let mut slowest = Duration::ZERO;
    for _ in 0..10 {
        let start = Instant::now();
        bob.ok("list_groups", &[]);
        slowest = slowest.max(start.elapsed());
    }
    bob.ok("logout", &[]);
    let login = time_of_login(&mut bob, "bob");
    let peak = process.proc_status("VmHWM");
    println!(
        "{} sessions of one address with a request of 1 MiB that never ends, {sent} of them sent: {before} kB before, {peak} kB at the \
         peak; a listing took {} ms at most, a login {}",
        sessions.len(),
        slowest.as_millis(),
        shown(login)
    );
    assert!(peak < before + (128 << 10), "{peak} kB at the peak, {before} kB before");
    assert!(slowest < LOGIN_MAX && login.is_some_and(|time| time < LOGIN_MAX));
}

#[test]
fn the_operator_says_how_much_may_be_made() {
    let options =
        ["--accounts-per-hour", "5", "--groups-per-hour", "3", "--requests-per-hour", "2"];
    let world = World::with_options(1, &options);
    let (mut nik, mut bob) = (world.plain("nik"), world.plain("bob"));
    nik.enter("nik");
    bob.enter("bob");
    for number in 0..3 {
        nik.ok(&format!("create_group g{number}"), &["*"]);
    }
    nik.refused("create_group g3", "");
    bob.ok("create_group b0", &["*"]);
    // What comes to nothing does not count.
    bob.refused("join_group nowhere", "");
    bob.ok("join_group g0", &["*"]);
    bob.ok("join_group g1", &["*"]);
    bob.refused("join_group g2", "");
    bob.refused("create_user nik pw", "");
    for number in 0..3 {
        bob.ok(&format!("create_user u{number} pw"), &["*"]);
    }
    bob.refused("create_user u3 pw", "");
}
