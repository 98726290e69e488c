//! Strangers, idlers and the greedy.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::super::quota::Kind;
use super::*;
use crate::net::Source;
use crate::tracker::core::View;
use crate::types::FileId;
use crate::types::limits::{
    ANNOUNCE_ENTRIES_MAX, TRACKER_CONNECTIONS_PER_ADDRESS_BEFORE_LOGIN,
    TRACKER_FRAME_LEN_MAX_BEFORE_LOGIN, TRACKER_REQUEST_LEN_MAX,
};
use crate::wire::tracker::{MAGIC, Unwelcome};
use crate::wire::version::VERSION_NEWEST as VERSION;

fn short(dir: &Path, change: impl FnOnce(&mut TrackerConfig)) -> Tracker {
    let mut config = config(TrackerInfo::parse("127.0.0.1:0").unwrap(), 1, dir);
    change(&mut config);
    Tracker::start(config).unwrap()
}

/// Sends bytes as a device that has made its handshake, and waits until the tracker has closed the
/// connection.
fn closed_after(tracker: &Tracker, bytes: &[u8]) -> Vec<u8> {
    let connection = dial(tracker.local_addr(), 200);
    // The tracker may close while this is still being written.
    let _ = connection.writer().write_all(bytes);
    let (mut reader, mut got) = (connection.reader(), Vec::new());
    reader.set_deadline(Some(Instant::now() + PATIENCE));
    match reader.read_to_end(&mut got) {
        Err(e) if e.kind() == std::io::ErrorKind::TimedOut => panic!("not closed after {bytes:?}"),
        _ => got,
    }
}

/// Sends bytes as somebody who speaks no TLS, and waits until the tracker has closed the
/// connection.
fn closed_after_plain(tracker: &Tracker, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(tracker.local_addr()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The tracker may close while this is still being written.
    let _ = stream.write_all(bytes);
    let mut got = Vec::new();
    match stream.read_to_end(&mut got) {
        Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
            panic!("not closed after {bytes:?}")
        }
        _ => got,
    }
}

#[test]
fn garbage_closes_its_own_connection_alone() {
    let dir = tempfile::tempdir().unwrap();
    let tracker = alone(dir.path());
    let (mut nik, _) = Guest::new(&tracker, "nik", 1);
    let hello = frame::to_frame(&Opening::new(Hello::Client(ClientHello { port: 80 })));
    let empty_request = [&hello[..], &[0, 0, 0, 0]].concat();
    let bad_request = [&hello[..], &[0, 0, 0, 5, 0, 0, 0, 1, 99]].concat();
    let huge_request =
        [&hello[..], &(TRACKER_FRAME_LEN_MAX_BEFORE_LOGIN as u32 + 1).to_be_bytes()].concat();
    let hostile: [&[u8]; 7] = [
        b"GET / HTTP/1.1\r\n\r\n",
        &[0, 0, 0, 0],
        &[0xff; 100],
        b"\0\0\0\x04nope",
        &empty_request,
        &bad_request,
        &huge_request,
    ];
    for bytes in hostile {
        closed_after(&tracker, bytes);
        closed_after_plain(&tracker, bytes);
        assert_eq!(nik.ask(Request::Ping), Reply::Pong);
    }
    wait_for("the strangers to be gone", || status(&tracker).connections == 1);
}

#[test]
fn another_version_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let tracker = alone(dir.path());
    let later = [
        &[0, 0, 0, 9][..],
        &MAGIC,
        &(VERSION + 1).to_be_bytes(),
        &(VERSION + 2).to_be_bytes(),
        &[0],
    ]
    .concat();
    let earlier = [&[0, 0, 0, 7][..], &MAGIC, &2u16.to_be_bytes(), &[0]].concat();
    for bytes in [later, earlier] {
        let got = closed_after(&tracker, &bytes);
        let answer: FromTracker = read_message(&mut &got[..], 100).unwrap();
        assert_eq!(answer, FromTracker::Unwelcome(Unwelcome::Version));
    }
}

#[test]
fn a_slow_first_frame_and_a_silent_session_are_closed_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let tracker = short(dir.path(), |config| {
        config.limits.handshake = Duration::from_millis(300);
        config.limits.idle = Duration::from_millis(700);
    });
    for bytes in [&[0][..], &[]] {
        closed_after(&tracker, bytes);
        closed_after_plain(&tracker, bytes);
    }
    let (mut nik, _) = Guest::new(&tracker, "nik", 1);
    assert!(nik.is_closed());
    wait_for("presence to end", || status(&tracker).sessions == 0);
    let (mut bob, _) = Guest::new(&tracker, "bob", 2);
    let until = Instant::now() + Duration::from_secs(2);
    while Instant::now() < until {
        assert_eq!(bob.ask(Request::Ping), Reply::Pong, "pings keep a session alive");
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

#[test]
fn strangers_make_room_and_clients_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let tracker = short(dir.path(), |config| config.limits.connections = 2);
    let (mut nik, _) = Guest::new(&tracker, "nik", 1);
    let mut late = Guest::connect(tracker.local_addr(), 3);
    let (_bob, _) = Guest::new(&tracker, "bob", 2);
    let login = Request::Login { name: "nik".parse().unwrap(), password: password("pw") };
    late.refused(login.clone(), Refusal::Busy);
    let hello = Opening::new(Hello::Client(ClientHello { port: 1 }));
    let got = closed_after(&tracker, &crate::wire::frame::to_frame(&hello));
    assert_eq!(
        read_message::<FromTracker>(&mut &got[..], 100).unwrap(),
        FromTracker::Unwelcome(Unwelcome::Full)
    );
    nik.ask(Request::Logout);
    assert!(
        matches!(late.ask(login), Reply::LoggedIn { .. }),
        "a logged-out connection leaves its place"
    );
    drop(nik);
}

#[test]
fn an_address_holds_a_bounded_share() {
    let dir = tempfile::tempdir().unwrap();
    let tracker = short(dir.path(), |config| config.limits.connections_per_address = 1);
    let (_nik, _) = Guest::new(&tracker, "nik", 1);
    let mut again = Guest::connect(tracker.local_addr(), 2);
    assert_eq!(again.log_in("nik", "pw"), Err(Refusal::Busy));
}

#[test]
fn slow_strangers_of_ones_own_address_keep_nobody_out() {
    let dir = tempfile::tempdir().unwrap();
    let tracker = alone(dir.path());
    let (mut nik, _) = Guest::new(&tracker, "nik", 1);
    let slow: Vec<TcpStream> =
        (0..500).map(|_| TcpStream::connect(tracker.local_addr()).unwrap()).collect();
    wait_for("all to be accepted", || {
        status(&tracker).connections == TRACKER_CONNECTIONS_PER_ADDRESS_BEFORE_LOGIN + 1
    });
    let mut second = Guest::again(&tracker, "nik", 2);
    assert_eq!((second.ask(Request::Ping), nik.ask(Request::Ping)), (Reply::Pong, Reply::Pong));
    drop(slow);
    wait_for("them to be gone", || status(&tracker).connections == 2);
}

#[test]
fn a_consumer_that_reads_nothing_is_disconnected_and_the_others_do_not_notice() {
    let dir = tempfile::tempdir().unwrap();
    let tracker = alone(dir.path());
    let (mut nik, _) = Guest::new(&tracker, "nik", 1);
    let (_bob, _) = Guest::new(&tracker, "bob", 2);
    // Bob never reads again, while very much is said to everybody.
    let deadline = Instant::now() + PATIENCE;
    let event = Event::ShareStopped {
        group: GroupId::from_bytes([1; 16]),
        info_hash: InfoHash::from_bytes([2; 20]),
    };
    while status(&tracker).sessions == 2 {
        let event = event.clone();
        let tell = move |view: &mut View<'_>| {
            (0..1000).for_each(|_| view.presence.broadcast(event.clone()))
        };
        tracker.shared.core.ask(tell).unwrap();
        assert_eq!(nik.heard().len(), 1000);
        assert!(Instant::now() < deadline, "nobody disconnected bob");
    }
    assert_eq!(nik.ask(Request::Ping), Reply::Pong);
}

#[test]
fn idle_sessions_are_cheap_and_end_with_the_tracker() {
    let dir = tempfile::tempdir().unwrap();
    let tracker = alone(dir.path());
    let names = ["a", "b", "c", "d", "e", "f", "g"];
    let _first: Vec<Guest> = names.iter().map(|name| Guest::new(&tracker, name, 0).0).collect();
    let guests: Vec<Guest> = (1..=100)
        .map(|device: u8| Guest::again(&tracker, names[usize::from(device % 7)], device))
        .collect();
    assert_eq!(status(&tracker).sessions, 107);
    tracker.stop().unwrap();
    for mut guest in guests {
        assert_eq!(guest.event(), Event::Closing);
        assert!(guest.is_closed());
    }
}

#[test]
fn a_user_and_a_device_have_a_bounded_number_of_sessions() {
    let dir = tempfile::tempdir().unwrap();
    let tracker = alone(dir.path());
    let (mut first, _) = Guest::new(&tracker, "nik", 0);
    let mut second = Guest::again(&tracker, "nik", 1);
    let others: Vec<Guest> = (2..=16).map(|device| Guest::again(&tracker, "nik", device)).collect();
    assert!(first.is_closed(), "the oldest of the user gives way");
    assert_eq!(second.ask(Request::Ping), Reply::Pong);
    assert_eq!(status(&tracker).sessions, 16);
    drop(others);
    wait_for("them to be gone", || status(&tracker).sessions == 1);
    // The same device, as one user after the other.
    let (mut eve, _) = Guest::new(&tracker, "eve", 9);
    let others: Vec<Guest> =
        (0..8).map(|number| Guest::new(&tracker, &format!("u{number}"), 9).0).collect();
    assert!(eve.is_closed(), "the oldest of the device gives way");
    assert_eq!((status(&tracker).sessions, others.len()), (9, 8));
}

#[test]
fn what_is_made_in_an_hour_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let tracker = short(dir.path(), |config| {
        config.limits.accounts_per_hour = 2;
        config.limits.groups_per_hour = 2;
        config.limits.requests_per_hour = 1;
    });
    let (mut nik, _) = Guest::new(&tracker, "nik", 1);
    let create = |request, name: &str| Request::CreateUser {
        request,
        name: name.parse().unwrap(),
        password: password("pw"),
    };
    nik.refused(create(request_id(), "nik"), Refusal::NameTaken);
    let request = request_id();
    let bob = nik.done(create(request, "bob"));
    nik.refused(create(request_id(), "eve"), Refusal::TooMany);
    assert_eq!(nik.done(create(request, "bob")), bob, "a retry is not another");
    let group = |request, name: &str| Request::CreateGroup { request, name: name.parse().unwrap() };
    nik.create_group("a");
    nik.refused(group(request_id(), "a"), Refusal::NameTaken);
    let request = request_id();
    let made = nik.done(group(request, "b"));
    nik.refused(group(request_id(), "c"), Refusal::TooMany);
    assert_eq!(nik.done(group(request, "b")), made);
    let mut bob = Guest::again(&tracker, "bob", 2);
    let Effect::Group(b) = made else { panic!("{made:?}") };
    let join = |request, group| Request::JoinGroup { request, group };
    bob.refused(join(request_id(), GroupId::from_bytes([9; 16])), Refusal::NoSuchGroup);
    let request = request_id();
    bob.done(join(request, b));
    bob.refused(join(request_id(), b), Refusal::TooMany);
    bob.done(join(request, b));
    bob.create_group("d");
}

#[test]
fn changes_of_any_kind_are_bounded_and_a_repeated_one_is_not_another() {
    let dir = tempfile::tempdir().unwrap();
    let tracker = short(dir.path(), |config| config.limits.groups_per_hour = 2);
    let (mut nik, user) = Guest::new(&tracker, "nik", 1);
    let request = request_id();
    let group = |request, name: &str| Request::CreateGroup { request, name: name.parse().unwrap() };
    let made = nik.done(group(request, "a"));
    (0..5).for_each(|_| assert_eq!(nik.done(group(request, "a")), made));
    nik.create_group("b");
    let Effect::Group(a) = made else { panic!("{made:?}") };
    let leave = Request::LeaveGroup { request: request_id(), group: a };
    let done = nik.done(leave.clone());
    // As if nik had made all changes that a user may make, and would in the next quarter of an
    // hour.
    let later = Duration::from_secs(1000);
    while let Some(charge) = tracker.shared.quota.take_at(later, Kind::Change(user)) {
        charge.spend();
    }
    nik.refused(
        Request::StopShare { request: request_id(), group: a, file: FileId::from_bytes([1; 20]) },
        Refusal::TooMany,
    );
    assert_eq!(nik.done(leave), done, "a retry is not another");
    let (mut bob, _) = Guest::new(&tracker, "bob", 2);
    let b = bob.create_group("c");
    bob.share(b, "f");
}

#[test]
fn a_repeated_request_costs_no_look_at_a_password_and_changes_none() {
    let dir = tempfile::tempdir().unwrap();
    let tracker = alone(dir.path());
    let (mut nik, _) = Guest::new(&tracker, "nik", 1);
    let (made, changed) = (request_id(), request_id());
    let create = |password_| Request::CreateUser {
        request: made,
        name: "bob".parse().unwrap(),
        password: password(password_),
    };
    let effect = nik.done(create("pw"));
    let change =
        |new| Request::ChangePassword { request: changed, old: password("pw"), new: password(new) };
    assert!(matches!(nik.ask(change("next")), Reply::Renewed(_)));
    // Nothing that needs a run of Argon2 would be answered now.
    let occupied = tracker.shared.hasher.occupy(Source::of(LOCALHOST));
    for other in ["pw", "other"] {
        assert_eq!(nik.done(create(other)), effect);
        assert!(matches!(nik.ask(change(other)), Reply::Renewed(_)));
    }
    drop(occupied);
    let mut other = Guest::connect(tracker.local_addr(), 2);
    for wrong in ["other", "Pw"] {
        assert_eq!(other.log_in("bob", wrong), Err(Refusal::WrongPassword));
        assert_eq!(other.log_in("nik", wrong), Err(Refusal::WrongPassword));
    }
    assert!(other.log_in("bob", "pw").is_ok() && other.log_in("nik", "next").is_ok());
}

#[test]
fn correct_logins_without_end_are_slowed_and_the_neighbours_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let tracker = alone(dir.path());
    let (mut nik, user) = Guest::new(&tracker, "nik", 1);
    let (mut eve, _) = Guest::new(&tracker, "eve", 2);
    let started = Instant::now();
    // One login is behind her, and was a newcomer's.
    for _ in 0..12 {
        assert!(eve.log_in("eve", "pw").is_ok());
    }
    assert!(started.elapsed() >= Duration::from_millis(1900), "{:?}", started.elapsed());
    let started = Instant::now();
    assert_eq!(nik.log_in("nik", "pw"), Ok(user));
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn guesses_are_slowed_and_the_owner_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let tracker = alone(dir.path());
    let (mut nik, user) = Guest::new(&tracker, "nik", 1);
    // Guessing without a pause uses up what the account has for strangers at this address.
    std::thread::scope(|scope| {
        for device in 10..20 {
            let mut guest = Guest::connect(tracker.local_addr(), device);
            scope.spawn(move || {
                (0..2).for_each(|_| {
                    assert_eq!(guest.log_in("nik", "guess"), Err(Refusal::WrongPassword))
                });
            });
        }
    });
    let mut stranger = Guest::connect(tracker.local_addr(), 9);
    let started = Instant::now();
    (0..2)
        .for_each(|_| assert_eq!(stranger.log_in("nobody", "guess"), Err(Refusal::WrongPassword)));
    let other = started.elapsed();
    (0..4).for_each(|_| assert_eq!(stranger.log_in("nik", "guess"), Err(Refusal::WrongPassword)));
    assert!(
        started.elapsed() >= Duration::from_millis(900),
        "two runs took {other:?}, and four guesses were not slowed"
    );
    assert_eq!(nik.log_in("nik", "pw"), Ok(user));
    let change = Request::ChangePassword {
        request: request_id(),
        old: password("guess"),
        new: password("x"),
    };
    nik.refused(change, Refusal::WrongOldPassword);
}

#[test]
fn a_request_has_a_bounded_length_and_the_longest_announce_fits() {
    let dir = tempfile::tempdir().unwrap();
    let tracker = alone(dir.path());
    let (mut nik, _) = Guest::new(&tracker, "nik", 1);
    let entry = |number: usize| AnnounceEntry {
        group: GroupId::from_bytes((number as u128).to_be_bytes()),
        info_hash: InfoHash::from_bytes([3; 20]),
        state: DownloadState::Seeding,
    };
    let entries = |count| Request::Announce { entries: (0..count).map(entry).collect() };
    nik.refused(entries(ANNOUNCE_ENTRIES_MAX), Refusal::NotMember);
    let (all, waiting) = tracker.shared.core.ask(|view| view.presence.sizes()).unwrap();
    assert!(
        all == waiting && all < ANNOUNCE_ENTRIES_MAX,
        "{all} entries are kept that nobody may have"
    );
    nik.ask(Request::Logout);
    assert_eq!(tracker.shared.core.ask(|view| view.presence.sizes()).unwrap(), (0, 0));
    nik.log_in("nik", "pw").unwrap();
    nik.connection.writer().write_all(&(TRACKER_REQUEST_LEN_MAX as u32 + 1).to_be_bytes()).unwrap();
    assert!(nik.is_closed());
}

#[test]
fn requests_that_stall_give_way_and_take_no_more_memory_than_they_may() {
    const TOTAL: usize = 4 << 20;
    let dir = tempfile::tempdir().unwrap();
    let tracker = short(dir.path(), |config| {
        (config.limits.unfinished, config.limits.unfinished_per_address) = (TOTAL, TOTAL);
    });
    let (mut nik, _) = Guest::new(&tracker, "nik", 1);
    let _others = [Guest::new(&tracker, "bob", 2), Guest::new(&tracker, "eve", 3)];
    let part = [&(TRACKER_REQUEST_LEN_MAX as u32).to_be_bytes()[..], &[0; 300 << 10]].concat();
    let mut stalled: Vec<Guest> = (10..34)
        .map(|device| Guest::again(&tracker, if device < 22 { "bob" } else { "eve" }, device))
        .collect();
    stalled.iter().for_each(|guest| guest.connection.writer().write_all(&part).unwrap());
    wait_for("the memory to be taken", || tracker.shared.unfinished.used() > TOTAL * 3 / 4);
    // What is small is not held up, and what is large takes the place of one that has stalled.
    assert_eq!(nik.ask(Request::Ping), Reply::Pong);
    let group = nik.create_group("lab");
    let entry = |number: u32| {
        let mut hash = [0; 20];
        hash[..4].copy_from_slice(&number.to_be_bytes());
        AnnounceEntry {
            group,
            info_hash: InfoHash::from_bytes(hash),
            state: DownloadState::Seeding,
        }
    };
    let entries = (0..ANNOUNCE_ENTRIES_MAX as u32).map(entry).collect();
    assert_ne!(nik.ask(Request::Announce { entries }), Reply::Refused(Refusal::LoginFirst));
    wait_for("the rest to be turned away or to take their places", || {
        tracker.shared.unfinished.used() <= TOTAL
    });
    let unfinished = tracker.shared.unfinished.clone();
    assert!(unfinished.peak() <= TOTAL, "{} bytes", unfinished.peak());
    assert!(stalled[0].is_closed(), "the first one to stall gives way first");
    drop(stalled);
    wait_for("the memory to be given back", || unfinished.used() == 0);
    assert_eq!(nik.ask(Request::Ping), Reply::Pong);
}
