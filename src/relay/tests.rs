//! The relay over real sockets.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::bounds::NEWCOMERS_PER_SOURCE_MAX;
use super::{Relay, RelayBounds, RelayRefusal};
use crate::types::{DeviceId, GroupId, Rate, RelayMeeting, RelayParty, RelaySecret, UserId};
use crate::wire::relay::RelayHello;

const PATIENCE: Duration = Duration::from_secs(20);

fn start(bounds: RelayBounds) -> Relay {
    Relay::start("127.0.0.1:0".parse().unwrap(), bounds).unwrap()
}

fn meeting(number: u8, first: u8, second: u8) -> RelayMeeting {
    let party = |user: u8, end: u8| RelayParty {
        user: UserId::from_bytes([user; 16]),
        device: DeviceId::from_bytes([user; 32]),
        secret: RelaySecret::from_bytes([number ^ end; 32]),
    };
    RelayMeeting {
        group: GroupId::from_bytes([1; 16]),
        first: party(first, 0),
        second: party(second, 0x80),
    }
}

fn connect(relay: &Relay) -> TcpStream {
    let stream = TcpStream::connect(relay.local_addr()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn show(relay: &Relay, secret: &RelaySecret) -> TcpStream {
    let mut stream = connect(relay);
    stream.write_all(&RelayHello { secret: secret.clone() }.encode()).unwrap();
    stream
}

fn meet(relay: &Relay, meeting: &RelayMeeting) -> [TcpStream; 2] {
    relay.introduce(meeting.clone()).unwrap();
    meeting.parties().map(|party| show(relay, &party.secret))
}

/// Tells whether the relay has closed it without a word.
fn is_closed(mut stream: &TcpStream) -> bool {
    match stream.read(&mut [0; 1]) {
        Ok(len) => len == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn bytes_pass_in_both_directions_in_order_and_so_does_the_end() {
    let relay = start(RelayBounds::default());
    let told = meeting(1, 1, 2);
    relay.introduce(told.clone()).unwrap();
    // What comes right behind the hello, before the other end is there, is the other end's.
    let mut first = show(&relay, &told.first.secret);
    first.write_all(b"early").unwrap();
    let mut second = show(&relay, &told.second.secret);
    let mut early = [0; 5];
    second.read_exact(&mut early).unwrap();
    assert_eq!(&early, b"early");
    let sent: Vec<u8> = (0..5_000_000u32).map(|n| (n % 251) as u8).collect();
    let (here, there) = (sent.clone(), sent.clone());
    let mut half = first.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        half.write_all(&here).unwrap();
        half.shutdown(Shutdown::Write).unwrap();
    });
    let mut half = second.try_clone().unwrap();
    let other = std::thread::spawn(move || {
        half.write_all(&there).unwrap();
        half.shutdown(Shutdown::Write).unwrap();
    });
    let (mut came, mut back) = (Vec::new(), Vec::new());
    second.read_to_end(&mut came).unwrap();
    first.read_to_end(&mut back).unwrap();
    writer.join().unwrap();
    other.join().unwrap();
    assert!(came == sent && back == sent);
    wait_for("the pair is forgotten", || relay.stats().sessions == 0);
    let stats = relay.stats();
    assert_eq!((stats.sessions_total, stats.bytes_total), (1, 10_000_005));
}

#[test]
fn a_stranger_is_not_heard_and_a_secret_counts_once() {
    let relay = start(RelayBounds::default());
    let told = meeting(1, 1, 2);
    let ends = meet(&relay, &told);
    wait_for("they meet", || relay.stats().sessions == 1);
    for secret in [&told.first.secret, &told.second.secret, &RelaySecret::from_bytes([9; 32])] {
        assert!(is_closed(&show(&relay, secret)), "it was taken");
    }
    let mut other = connect(&relay);
    other.write_all(b"GET / HTTP/1.1\r\nHost: relay.example\r\n\r\n").unwrap();
    assert!(is_closed(&other));
    assert_eq!(relay.stats().strangers_total, 3);
    drop(ends);
    wait_for("they part", || relay.stats().sessions == 0);
}

#[test]
fn those_who_say_nothing_give_way_to_those_who_do() {
    let relay = start(RelayBounds::default());
    let silent: Vec<TcpStream> =
        (0..4 * NEWCOMERS_PER_SOURCE_MAX).map(|_| connect(&relay)).collect();
    let told = meeting(1, 1, 2);
    let [mut first, mut second] = meet(&relay, &told);
    first.write_all(b"x").unwrap();
    let mut came = [0; 1];
    second.read_exact(&mut came).unwrap();
    assert!(is_closed(&silent[0]), "the oldest were closed");
    drop(silent);
}

#[test]
fn a_receiver_that_stands_still_holds_up_its_sender_alone() {
    let relay = start(RelayBounds::default());
    let [mut first, second] = meet(&relay, &meeting(1, 1, 2));
    first.set_nonblocking(true).unwrap();
    let (bytes, mut sent) = (vec![7; 1 << 20], 0usize);
    let mut still = Instant::now();
    while still.elapsed() < Duration::from_millis(300) {
        match first.write(&bytes) {
            Ok(len) => (sent, still) = (sent + len, Instant::now()),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }
    let [mut other, mut another] = meet(&relay, &meeting(2, 3, 4));
    other.write_all(b"quick").unwrap();
    let mut came = [0; 5];
    another.read_exact(&mut came).unwrap();
    // It goes on where it was.
    first.shutdown(Shutdown::Write).unwrap();
    let (mut second, mut rest) = (second, Vec::new());
    second.read_to_end(&mut rest).unwrap();
    assert!(rest.len() == sent && rest.iter().all(|byte| *byte == 7));
}

#[test]
fn a_pair_keeps_to_its_rate_and_its_bytes() {
    let bounds = RelayBounds {
        pair_rate: Rate::new(1_000_000).ok(),
        pair_bytes: 1_500_000,
        ..RelayBounds::default()
    };
    let relay = start(bounds);
    let [mut first, mut second] = meet(&relay, &meeting(1, 1, 2));
    let begun = Instant::now();
    let writer = std::thread::spawn(move || {
        // The pair ends before all is sent.
        let _ = first.write_all(&vec![1; 8_000_000]);
        first
    });
    let mut came = Vec::new();
    let _ = second.read_to_end(&mut came);
    let took = begun.elapsed();
    assert!(came.len() >= 1_400_000 && came.len() < 4_000_000, "{} bytes", came.len());
    assert!(came.len() as f64 <= 1_000_000.0 * (took.as_secs_f64() + 0.3), "{took:?}");
    drop(writer.join().unwrap());
}

#[test]
fn what_may_not_go_on_is_ended() {
    let relay = start(RelayBounds { sessions_per_pair: 1, ..RelayBounds::default() });
    let (told, other) = (meeting(1, 1, 2), meeting(2, 3, 4));
    let [first, second] = meet(&relay, &told);
    let [mut third, mut fourth] = meet(&relay, &other);
    wait_for("they meet", || relay.stats().sessions == 2);
    assert_eq!(relay.introduce(meeting(3, 1, 2)), Err(RelayRefusal::DeviceFull));
    relay.end_if(|meeting| meeting.first.user == told.first.user);
    assert!(is_closed(&first) && is_closed(&second));
    third.write_all(b"x").unwrap();
    fourth.read_exact(&mut [0; 1]).unwrap();
    assert_eq!(relay.meetings(), [other]);
    assert!(relay.stop(PATIENCE).is_empty());
    assert!(is_closed(&third) && is_closed(&fourth));
}

#[test]
fn an_idle_pair_ends() {
    let relay = start(RelayBounds { idle: Duration::from_millis(200), ..RelayBounds::default() });
    let [first, second] = meet(&relay, &meeting(1, 1, 2));
    assert!(is_closed(&first) && is_closed(&second));
    wait_for("it is forgotten", || relay.stats().sessions == 0);
}
