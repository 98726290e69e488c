//! Devices with several addresses, some of which are other programs'.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use socket2::{Domain, Socket, Type};

use super::super::candidates::Target;
use super::super::race::{AT_ONCE_MAX, DIALS_MAX, race};
use super::harness::{Station, eventually, noise};
use crate::types::{Candidate, CandidateKind};

/// What somebody else's program does with a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Silent,
    Closes,
    Answers,
}

/// A third party's port: counts connections, and keeps what comes on them.
struct Bystander {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    came: Arc<Mutex<Vec<Vec<u8>>>>,
    ended: Arc<AtomicUsize>,
}

impl Bystander {
    fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let bystander = Self {
            address: listener.local_addr().unwrap(),
            connections: Arc::default(),
            came: Arc::default(),
            ended: Arc::default(),
        };
        let (connections, came) = (bystander.connections.clone(), bystander.came.clone());
        let ended = bystander.ended.clone();
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                connections.fetch_add(1, Ordering::SeqCst);
                let (came, ended) = (came.clone(), ended.clone());
                std::thread::spawn(move || {
                    came.lock().push(serve(stream, manner));
                    ended.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        bystander
    }

    fn count(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Checks that nothing came but TLS's first message, whole or cut, and an alert behind it.
    fn assert_only_hellos(&self) {
        for bytes in self.came.lock().iter().filter(|bytes| !bytes.is_empty()) {
            assert_eq!(bytes[0], 22, "a handshake record");
            let len = usize::from(u16::from_be_bytes([bytes[3], bytes[4]]));
            assert_eq!(bytes[5], 1, "a ClientHello");
            let rest = &bytes[5 + len..];
            assert!(rest.is_empty() || (rest[0] == 21 && rest.len() == 7), "{rest:?}");
        }
    }
}

fn serve(mut stream: TcpStream, manner: Manner) -> Vec<u8> {
    let (mut came, mut room) = (Vec::new(), [0; 4096]);
    while let Ok(len @ 1..) = stream.read(&mut room) {
        came.extend_from_slice(&room[..len]);
        match manner {
            Manner::Silent => {}
            Manner::Closes => break,
            Manner::Answers => {
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
            }
        }
    }
    came
}

fn at(address: SocketAddr) -> Candidate {
    Candidate::new(address, CandidateKind::Interface)
}

/// A port at which nobody listens.
fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn the_device_itself_wins_the_race_against_strangers() {
    let (seeder, other, leecher) = (Station::start(1), Station::start(2), Station::start(3));
    let data = noise(300_000, 7);
    let facts = seeder.share("a.bin", &data);
    let bystanders = [Manner::Silent, Manner::Answers].map(Bystander::start);
    let candidates = vec![
        at(closed_port()),
        at(bystanders[0].address),
        at(other.address),
        at(bystanders[1].address),
        at(seeder.address),
    ];
    let began = Instant::now();
    let transfer = leecher.engine.download(leecher.spec(&facts)).unwrap();
    leecher.engine.add_peers(facts.info_hash, [(seeder.device, candidates.clone())]);
    leecher.assert_complete(&transfer, &data);
    // The silent one alone would have held it up for ten seconds.
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    eventually("the one that lost is closed", || {
        bystanders[0].ended.load(Ordering::SeqCst) == bystanders[0].count()
    });
    bystanders.iter().for_each(Bystander::assert_only_hellos);
    // The address that won is the first next time.
    let second = seeder.share("b.bin", &noise(1_000, 8));
    let before: usize = bystanders.iter().map(Bystander::count).sum();
    let transfer = leecher.engine.download(leecher.spec(&second)).unwrap();
    leecher.engine.add_peers(second.info_hash, [(seeder.device, candidates)]);
    leecher.assert_complete(&transfer, &noise(1_000, 8));
    assert_eq!(before, bystanders.iter().map(Bystander::count).sum::<usize>());
}

#[test]
fn who_names_a_third_party_costs_it_a_few_connections() {
    let leecher = Station::start(1);
    let liar = Station::start(2);
    let bystanders = [Manner::Answers, Manner::Closes].map(Bystander::start);
    let files: Vec<_> =
        (0..5u8).map(|n| liar.share(&format!("{n}.bin"), &noise(1_000, u64::from(n)))).collect();
    let candidates = || bystanders.iter().map(|one| at(one.address)).collect::<Vec<_>>();
    let downloads: Vec<_> =
        files.iter().map(|facts| leecher.engine.download(leecher.spec(facts)).unwrap()).collect();
    leecher.engine.add_peers(files[0].info_hash, [(liar.device, candidates())]);
    eventually("both were tried", || {
        let failed = downloads[0].why().unreachable;
        !failed.is_empty() && bystanders.iter().all(|one| one.count() > 0)
    });
    let before = bystanders.each_ref().map(Bystander::count);
    // It says again and again that it is there, for every file.
    let until = Instant::now() + Duration::from_millis(900);
    while Instant::now() < until {
        for facts in &files {
            leecher.engine.add_peers(facts.info_hash, [(liar.device, candidates())]);
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    assert_eq!(bystanders[0].count(), before[0], "another key answered there");
    // Dials for several files may begin at the same moment.
    let after = bystanders[1].count();
    assert!(after <= before[1] + 2 * files.len(), "{before:?}, {after}");
    bystanders.iter().for_each(Bystander::assert_only_hellos);
    assert!(downloads.iter().all(|download| download.cancel()));
}

#[test]
fn of_many_addresses_four_are_dialled_at_a_time() {
    let (leecher, device) = (Station::start(1), super::harness::device().device());
    let bystanders: Vec<_> = (0..6).map(|_| Bystander::start(Manner::Silent)).collect();
    let services = leecher.engine.torrents.services.clone();
    let targets = bystanders.iter().map(|one| Target::from(&at(one.address))).collect();
    let dialling =
        std::thread::spawn(move || race(&services, device, targets, None, false, || true).is_err());
    let count = || bystanders.iter().map(Bystander::count).sum::<usize>();
    eventually("four are dialled", || count() == AT_ONCE_MAX);
    // The next would have begun long ago.
    std::thread::park_timeout(Duration::from_secs(1));
    assert_eq!(count(), AT_ONCE_MAX);
    drop(leecher);
    assert!(dialling.join().unwrap());
    bystanders.iter().for_each(Bystander::assert_only_hellos);
}

#[test]
fn without_room_for_other_dials_the_addresses_are_tried_one_after_the_other() {
    let (seeder, other, leecher) = (Station::start(1), Station::start(2), Station::start(3));
    let services = &leecher.engine.torrents.services;
    services.dials.fetch_add(DIALS_MAX, Ordering::SeqCst);
    let addresses = [closed_port(), other.address, seeder.address];
    let targets = addresses.iter().map(|address| Target::from(&at(*address))).collect();
    let reached = race(services, seeder.device, targets, None, false, || true).unwrap();
    assert_eq!(reached.connection.peer_addr(), seeder.address);
    assert_eq!(services.dials.load(Ordering::SeqCst), DIALS_MAX, "no other thread helped");
    assert!(race(services, seeder.device, Vec::new(), None, false, || true).is_err());
}

#[test]
fn a_race_dials_no_further_when_nobody_wants_its_device_any_more() {
    let (leecher, device) = (Station::start(1), super::harness::device().device());
    let services = leecher.engine.torrents.services.clone();
    services.dials.fetch_add(DIALS_MAX, Ordering::SeqCst);
    let bystanders: Vec<_> = (0..6).map(|_| Bystander::start(Manner::Closes)).collect();
    let targets = bystanders.iter().map(|one| Target::from(&at(one.address))).collect();
    let counts: Vec<_> = bystanders.iter().map(|one| one.connections.clone()).collect();
    let count = move || counts.iter().map(|one| one.load(Ordering::SeqCst)).sum::<usize>();
    let is_wanted = {
        let count = count.clone();
        move || count() < 2
    };
    assert!(race(&services, device, targets, None, false, is_wanted).is_err());
    assert_eq!(count(), 2);
}

#[test]
fn a_race_without_helpers_ends_in_the_time_of_one_handshake() {
    let (leecher, device) = (Station::start(1), super::harness::device().device());
    let services = leecher.engine.torrents.services.clone();
    services.dials.fetch_add(DIALS_MAX, Ordering::SeqCst);
    let bystanders: Vec<_> = (0..3).map(|_| Bystander::start(Manner::Silent)).collect();
    let targets = bystanders.iter().map(|one| Target::from(&at(one.address))).collect();
    let began = Instant::now();
    assert!(race(&services, device, targets, None, false, || true).is_err());
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

#[test]
fn a_device_that_has_come_elsewhere_is_not_waited_for_where_it_was() {
    let (seeder, leecher) = (Station::start(1), Station::start(2));
    let data = noise(300_000, 9);
    let facts = seeder.share("a.bin", &data);
    // A port whose queue is full: the system drops what comes, as if no machine were there.
    let full = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    full.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    full.listen(0).unwrap();
    let was = full.local_addr().unwrap().as_socket().unwrap();
    let _queued: Vec<_> =
        std::iter::from_fn(|| TcpStream::connect_timeout(&was, Duration::from_millis(200)).ok())
            .collect();
    let transfer = leecher.engine.download(leecher.spec(&facts)).unwrap();
    leecher.engine.add_peers(facts.info_hash, [(seeder.device, vec![at(was)])]);
    let dials = || leecher.engine.torrents.services.dials.load(Ordering::SeqCst);
    eventually("it is dialled", || dials() == 1);
    let began = Instant::now();
    let found = Candidate::new(seeder.address, CandidateKind::Lan);
    leecher.engine.add_peers(facts.info_hash, [(seeder.device, vec![at(was), found])]);
    leecher.assert_complete(&transfer, &data);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}
