//! Hole punches over loopback: whichever end's connection arrives first, and wherever, the one that
//! has asked is TLS's client, and the key decides.

use std::io::Read as _;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::harness::{Station, eventually, noise};
use crate::swarm::api::{MeetError, Meeting};

/// A port at which nothing listens.
fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn meeting(address: SocketAddr, from: SocketAddr, after: Duration) -> Meeting {
    Meeting { address, from, at: Instant::now() + after, kept: None }
}

/// A port of this machine, as others see it.
fn outside(port: SocketAddr) -> SocketAddr {
    SocketAddr::new([127, 0, 0, 1].into(), port.port())
}

/// Has the leecher meet the seeder, which is listed where nobody answers: each connects after its
/// time, the leecher to `expected` and the seeder from `from`.
fn meet(expected: Option<SocketAddr>, from: Option<SocketAddr>, after: [Duration; 2]) {
    let (seeder, leecher) = (Station::start(1), Station::start(2));
    let data = noise(600_000, 77);
    let facts = seeder.share("a.bin", &data);
    let (engine, device) = (seeder.engine.clone(), leecher.device);
    let (expected, from) = (expected.unwrap_or(seeder.address), from.unwrap_or(seeder.address));
    *leecher.host.meets.lock() = Some(Box::new(move |own| {
        let (engine, other) = (engine.clone(), meeting(outside(own), from, after[1]));
        // It ends within seconds.
        std::thread::spawn(move || engine.answer_punch(device, &other));
        Ok(meeting(expected, own, after[0]))
    }));
    let transfer = leecher.engine.download(leecher.spec(&facts)).unwrap();
    leecher.engine.add_peers(facts.info_hash, [(seeder.device, closed_port())]);
    leecher.assert_complete(&transfer, &data);
}

#[test]
fn a_connection_that_arrives_at_either_listener_is_the_punch() {
    let [soon, late] = [50, 600].map(Duration::from_millis);
    meet(None, None, [soon, late]);
    meet(None, None, [late, soon]);
    meet(None, None, [soon, soon]);
}

#[test]
fn one_that_comes_from_another_port_is_the_punch_too() {
    let soon = Duration::from_millis(50);
    let any = "127.0.0.1:0".parse().unwrap();
    meet(Some(closed_port()), Some(any), [soon, soon]);
}

#[test]
fn who_takes_part_says_nothing_first() {
    let seeder = Station::start(1);
    let bystander = TcpListener::bind("127.0.0.1:0").unwrap();
    let meeting = meeting(bystander.local_addr().unwrap(), seeder.address, Duration::ZERO);
    seeder.engine.answer_punch(super::harness::device().device(), &meeting);
    let (mut stream, peer) = bystander.accept().unwrap();
    assert_eq!(peer, seeder.address);
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(stream.read(&mut [0]).is_err(), "it waits for TLS's first message");
}

#[test]
fn somebody_else_who_answers_gets_tls_s_first_message_and_is_left_alone() {
    let (seeder, leecher) = (Station::start(1), Station::start(2));
    let facts = seeder.share("a.bin", &noise(1_000, 79));
    let bystander = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = bystander.local_addr().unwrap();
    let meetings = Arc::new(AtomicUsize::new(0));
    let counted = meetings.clone();
    *leecher.host.meets.lock() = Some(Box::new(move |own| {
        counted.fetch_add(1, Ordering::SeqCst);
        Ok(meeting(address, own, Duration::ZERO))
    }));
    let transfer = leecher.engine.download(leecher.spec(&facts)).unwrap();
    leecher.engine.add_peers(facts.info_hash, [(seeder.device, closed_port())]);
    let (mut stream, _) = bystander.accept().unwrap();
    let mut came = vec![0; 4096];
    let len = stream.read(&mut came).unwrap();
    let hello = usize::from(u16::from_be_bytes([came[3], came[4]]));
    assert_eq!((came[0], came[5], len), (22, 1, 5 + hello), "a ClientHello and no more");
    drop(stream);
    eventually("it says so", || {
        let failed = transfer.why().unreachable;
        failed.iter().any(|peer| peer.error.contains("hole punching was tried and failed"))
    });
    // However often it is listed as come anew.
    for _ in 0..3 {
        leecher.engine.remove_peer(facts.info_hash, seeder.device);
        leecher.engine.add_peers(facts.info_hash, [(seeder.device, closed_port())]);
        eventually("it was dialled", || !transfer.why().unreachable.is_empty());
    }
    assert_eq!(meetings.load(Ordering::SeqCst), 1);
    leecher.engine.networks_changed();
    eventually("it is tried again", || meetings.load(Ordering::SeqCst) == 2);
    assert!(transfer.cancel());
}

#[test]
fn where_no_tracker_can_help_nothing_is_said_of_it() {
    let (seeder, leecher) = (Station::start(1), Station::start(2));
    let facts = seeder.share("a.bin", &noise(1_000, 80));
    *leecher.host.meets.lock() = Some(Box::new(|_| Err(MeetError::Unable)));
    let transfer = leecher.engine.download(leecher.spec(&facts)).unwrap();
    leecher.engine.add_peers(facts.info_hash, [(seeder.device, closed_port())]);
    eventually("it has failed", || !transfer.why().unreachable.is_empty());
    assert!(!transfer.why().unreachable[0].error.contains("hole"));
    assert!(transfer.cancel());
}
