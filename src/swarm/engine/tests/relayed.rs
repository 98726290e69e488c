//! Links through relays that do what they please.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::harness::{Station, eventually, noise};
use crate::swarm::{EngineEvent, Limits, RelayPlace, TransferState, Way};
use crate::types::{Candidate, CandidateKind, Rate, RelaySecret};
use crate::wire::relay::{RELAY_HELLO_LEN, RelayHello};

/// Where in the bytes to the leecher the relay does something.
const AT: usize = 700_000;
/// Bytes that it does it to.
const LEN: usize = 5_000;
/// Meetings in which it does: then it has had its fun.
const TIMES: u8 = 2;

/// What a relay does to the bytes that go to the leecher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Passes,
    Alters,
    Replays,
    Drops,
    Delays,
    /// Leads the leecher to another device.
    Diverts(SocketAddr),
}

/// A relay that keeps every byte.
struct Middle {
    address: SocketAddr,
    next: AtomicU8,
    kept: Arc<Mutex<Vec<Vec<u8>>>>,
    /// How often it did something.
    deeds: Arc<AtomicU32>,
}

impl Middle {
    fn start(manner: Manner) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (kept, deeds) = (Arc::default(), Arc::default());
        let middle = Arc::new(Self { address, next: AtomicU8::new(1), kept, deeds });
        let own = middle.clone();
        // It ends with the test's process.
        std::thread::spawn(move || {
            let mut waiting = HashMap::new();
            for mut stream in listener.incoming().flatten() {
                let mut hello = [0; RELAY_HELLO_LEN];
                stream.read_exact(&mut hello).unwrap();
                let secret = RelayHello::decode(&hello).unwrap().secret;
                let (number, end) = (secret.as_bytes()[0], secret.as_bytes()[1]);
                let Some(other) = waiting.remove(&number) else {
                    waiting.insert(number, stream);
                    continue;
                };
                let (leecher, mut seeder) =
                    if end == 0 { (stream, other) } else { (other, stream) };
                if let Manner::Diverts(address) = manner {
                    seeder = TcpStream::connect(address).unwrap();
                }
                let manner = if number <= TIMES { manner } else { Manner::Passes };
                own.pass((&leecher, &seeder), Manner::Passes);
                own.pass((&seeder, &leecher), manner);
            }
        });
        middle
    }

    /// Introduces the leecher to the seeder whenever it asks.
    fn introduce(self: &Arc<Self>, leecher: &Station, seeder: &Station) {
        let (middle, engine) = (self.clone(), Arc::downgrade(&seeder.engine));
        *leecher.host.relay.lock() = Some(Box::new(move |_| {
            let number = middle.next.fetch_add(1, Ordering::SeqCst);
            let place = |end: u8| {
                let mut secret = [0; RelaySecret::LEN];
                (secret[0], secret[1]) = (number, end);
                RelayPlace { address: middle.address, secret: RelaySecret::from_bytes(secret) }
            };
            engine.upgrade()?.accept_relayed(place(1));
            Some(place(0))
        }));
    }

    fn pass(&self, (from, to): (&TcpStream, &TcpStream), manner: Manner) {
        let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        let (kept, deeds) = (self.kept.clone(), self.deeds.clone());
        std::thread::spawn(move || {
            let (mut all, mut bytes, mut is_done) = (Vec::new(), vec![0; LEN], false);
            while let Ok(len @ 1..) = from.read(&mut bytes) {
                all.extend_from_slice(&bytes[..len]);
                let mut out = bytes[..len].to_vec();
                if all.len() >= AT && !is_done && manner != Manner::Passes {
                    is_done = manner != Manner::Delays;
                    deeds.fetch_add(1, Ordering::SeqCst);
                    match manner {
                        Manner::Alters => out[len / 2] ^= 1,
                        Manner::Replays => out.extend_from_slice(&bytes[..len]),
                        Manner::Drops => out.clear(),
                        Manner::Delays => std::thread::park_timeout(Duration::from_millis(5)),
                        Manner::Passes | Manner::Diverts(_) => {}
                    }
                }
                if to.write_all(&out).is_err() {
                    break;
                }
            }
            kept.lock().push(all);
            for stream in [&from, &to] {
                let _ = stream.shutdown(Shutdown::Both);
            }
        });
    }
}

/// An address of the seeder where nobody listens.
fn nowhere() -> Vec<Candidate> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    vec![Candidate::new(listener.local_addr().unwrap(), CandidateKind::Observed)]
}

#[test]
fn a_relay_that_keeps_everything_learns_nothing() {
    let (seeder, leecher) = (Station::start(1), Station::start(2));
    let middle = Middle::start(Manner::Passes);
    middle.introduce(&leecher, &seeder);
    let data = noise(3 << 20, 1);
    let facts = seeder.share("secret-name.bin", &data);
    let transfer = leecher.engine.download(leecher.spec(&facts)).unwrap();
    leecher.engine.add_peers(facts.info_hash, [(seeder.device, nowhere())]);
    eventually("it is linked", || {
        let links = leecher.engine.link_pictures(facts.info_hash);
        links.first().is_some_and(|link| link.way == Way::Relayed && link.address == middle.address)
            || transfer.status().state == TransferState::Complete
    });
    let status = leecher.assert_complete(&transfer, &data);
    assert_eq!((status.received, status.wasted), (data.len() as u64, 0));
    drop((seeder, leecher));
    eventually("both directions have ended", || middle.kept.lock().len() == 2);
    let kept = middle.kept.lock().concat();
    assert!(kept.len() > data.len());
    let has = |what: &[u8]| kept.windows(what.len()).any(|bytes| bytes == what);
    assert!(!has(b"secret-name") && !has(b"BitTorrent") && !has(facts.info_hash.as_bytes()));
    assert!((0..48).all(|n| !has(&data[n << 16..(n << 16) + 16])), "what passes is sealed");
}

#[test]
fn what_a_relay_does_to_the_bytes_ends_a_link_and_nothing_false_is_taken() {
    for manner in [Manner::Alters, Manner::Replays, Manner::Drops, Manner::Delays] {
        let (seeder, leecher) = (Station::start(1), Station::start(2));
        let middle = Middle::start(manner);
        middle.introduce(&leecher, &seeder);
        let data = noise(3 << 20, 2);
        let facts = seeder.share("a.bin", &data);
        let transfer = leecher.engine.download(leecher.spec(&facts)).unwrap();
        leecher.engine.add_peers(facts.info_hash, [(seeder.device, nowhere())]);
        leecher.assert_complete(&transfer, &data);
        assert!(middle.deeds.load(Ordering::SeqCst) > 0, "{manner:?}");
        // What a relay has done is not laid to the other device's charge.
        let is_banned = |event: &EngineEvent| matches!(event, EngineEvent::Banned { .. });
        assert!(!leecher.host.events.lock().iter().any(is_banned), "{manner:?}");
        assert_eq!(transfer.why().corrupt, 0, "{manner:?}");
    }
}

#[test]
fn a_relay_that_leads_to_another_device_leads_nowhere() {
    let (seeder, leecher, other) = (Station::start(1), Station::start(2), Station::start(3));
    let middle = Middle::start(Manner::Diverts(other.address));
    middle.introduce(&leecher, &seeder);
    let data = noise(1 << 20, 3);
    let facts = seeder.share("a.bin", &data);
    other.share("a.bin", &data);
    let transfer = leecher.engine.download(leecher.spec(&facts)).unwrap();
    leecher.engine.add_peers(facts.info_hash, [(seeder.device, nowhere())]);
    eventually("it is told", || transfer.why().unreachable.len() == 1);
    assert_eq!(other.host.checks.load(Ordering::SeqCst), 0, "it is shown no ticket");
    assert_eq!((transfer.status().received, transfer.why().links), (0, 0));
    assert!(transfer.cancel());
}

#[test]
fn a_direct_link_takes_over_and_nothing_is_fetched_twice() {
    let (seeder, leecher) = (Station::start(1), Station::start(2));
    let middle = Middle::start(Manner::Passes);
    middle.introduce(&leecher, &seeder);
    let limit = |rate: Option<u64>| Limits {
        upload: rate.map(|rate| Rate::new(rate).unwrap()),
        ..Limits::default()
    };
    seeder.engine.set_limits(limit(Some(2_000_000)));
    let data = noise(8 << 20, 4);
    let facts = seeder.share("a.bin", &data);
    let transfer = leecher.engine.download(leecher.spec(&facts)).unwrap();
    let mut candidates = nowhere();
    leecher.engine.add_peers(facts.info_hash, [(seeder.device, candidates.clone())]);
    eventually("it moves, relayed", || {
        let status = transfer.status();
        status.relayed == 1 && status.bytes_done >= 1 << 20
    });
    // A router maps a port now.
    candidates.push(Candidate::new(seeder.address, CandidateKind::Mapped));
    leecher.engine.add_peers(facts.info_hash, [(seeder.device, candidates)]);
    eventually("it is direct", || {
        let status = transfer.status();
        status.peers == 1 && status.relayed == 0
    });
    assert_ne!(transfer.status().state, TransferState::Complete);
    let at_takeover = transfer.status().bytes_done;
    assert!(at_takeover < data.len() as u64);
    seeder.engine.set_limits(limit(None));
    let status = leecher.assert_complete(&transfer, &data);
    assert_eq!((status.received, status.wasted), (data.len() as u64, 0));
    // The relay was not asked again.
    assert_eq!(middle.next.load(Ordering::SeqCst), 2);
}

#[test]
fn networks_that_change_have_a_relayed_device_dialled_at_once() {
    let (seeder, leecher) = (Station::start(1), Station::start(2));
    let middle = Middle::start(Manner::Passes);
    middle.introduce(&leecher, &seeder);
    seeder
        .engine
        .set_limits(Limits { upload: Some(Rate::new(500_000).unwrap()), ..Limits::default() });
    let data = noise(16 << 20, 5);
    let facts = seeder.share("a.bin", &data);
    // Something is in the way until the machine has moved.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let there = vec![Candidate::new(address, CandidateKind::Observed)];
    drop(listener);
    let transfer = leecher.engine.download(leecher.spec(&facts)).unwrap();
    leecher.engine.add_peers(facts.info_hash, [(seeder.device, there)]);
    eventually("it is relayed", || transfer.status().relayed == 1);
    let listener = TcpListener::bind(address).unwrap();
    let to = seeder.address;
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let far = TcpStream::connect(to).unwrap();
            for (mut from, mut to) in [
                (near.try_clone().unwrap(), far.try_clone().unwrap()),
                (far.try_clone().unwrap(), near.try_clone().unwrap()),
            ] {
                std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            }
        }
    });
    leecher.engine.networks_changed();
    eventually("it is direct", || {
        let status = transfer.status();
        status.peers == 1 && status.relayed == 0
    });
    assert!(transfer.cancel());
}
