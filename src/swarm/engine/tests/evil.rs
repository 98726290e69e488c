//! Peers that are not ours, or not honest: each proves its device and its membership, and then
//! speaks the peer wire by hand.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::harness::*;
use super::raw::*;
use crate::net::{Incoming, Transport};
use crate::swarm::SeedSpec;
use crate::swarm::disk::part_file::SystemDisk;
use crate::types::{Bitfield, DeviceId, FileFacts};
use crate::wire::peer::{
    ExtendedHandshake, Handshake, MetadataMessage, PeerId, PeerMessage, read_message,
};

/// A peer that answers every link with what `serve` does; it never speaks first.
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    pub(super) device: DeviceId,
    links: Arc<AtomicU32>,
    _thread: JoinHandle<()>,
}

impl Peer {
    pub(super) fn start(
        number: u8,
        facts: &FileFacts,
        serve: impl Fn(&mut Stream) -> Option<()> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, links) = (listener.local_addr().unwrap(), Arc::new(AtomicU32::new(0)));
        let transport = Transport::Tls(device());
        let (device, info_hash, counts) = (transport.device(), facts.info_hash, links.clone());
        let thread = std::thread::spawn(move || {
            while let Ok((socket, _)) = listener.accept() {
                let Ok((connection, _)) =
                    transport.accept(Incoming::new(socket).unwrap(), PATIENCE)
                else {
                    continue;
                };
                let mut stream = raw(connection);
                let Some(shown) = hear_ticket(&mut stream) else { continue };
                show(&mut stream, &ticket(shown.claims.group, user(number), device, PATIENCE));
                if Handshake::read(&mut stream).is_err() {
                    continue;
                }
                counts.fetch_add(1, Ordering::SeqCst);
                let _ = stream
                    .get_mut()
                    .write_all(&Handshake::new(info_hash, PeerId::of_device(device)).encode());
                let _ = serve(&mut stream);
            }
        });
        Self { address, device, links, _thread: thread }
    }
}

/// Serves a whole file, each block changed by `alter`.
pub(super) fn seed(
    stream: &mut Stream,
    data: &[u8],
    piece_len: usize,
    alter: impl Fn(u32, &mut Vec<u8>),
) -> Option<()> {
    loop {
        match read_message(stream).ok()? {
            PeerMessage::Interested => say(stream, &PeerMessage::Unchoke)?,
            PeerMessage::Request { piece, begin, len } => {
                let start = piece as usize * piece_len + begin as usize;
                let mut data = data[start..start + len as usize].to_vec();
                alter(piece, &mut data);
                say(stream, &PeerMessage::Piece { piece, begin, data })?;
            }
            _ => {}
        }
    }
}

pub(super) fn fetch_from(
    leecher: &Station,
    facts: &FileFacts,
    known: &SeedSpec,
    peers: &[&Peer],
) -> crate::swarm::Transfer {
    let mut spec = leecher.spec(facts);
    (spec.metainfo, spec.chain) = (Some(known.metainfo.clone()), known.chain.clone());
    let transfer = leecher.engine.download(spec).unwrap();
    leecher.engine.add_peers(facts.info_hash, peers.iter().map(|peer| (peer.device, peer.address)));
    transfer
}

pub(super) fn hashed(station: &Station, name: &str, data: &[u8]) -> (FileFacts, SeedSpec) {
    std::fs::write(station.path(name), data).unwrap();
    let hashed = crate::swarm::hash_file(&station.path(name), &mut |_| true).unwrap();
    (facts(&hashed), hashed.seed)
}

#[test]
fn who_sends_corrupt_pieces_is_banned_and_the_download_finishes() {
    let (seeder, leecher) = (Station::start(1), Station::start(2));
    let data = noise(16 << 20, 1);
    let (facts, known) = hashed(&seeder, "poisoned", &data);
    let bytes = data.clone();
    let evil = Peer::start(66, &facts, move |stream| {
        introduce(stream, None)?;
        say(stream, &PeerMessage::HaveAll)?;
        seed(stream, &bytes, 512 << 10, |_, data| data[0] ^= 1)
    });
    let transfer = fetch_from(&leecher, &facts, &known, &[&evil]);
    eventually("the evil peer is banned", || transfer.why().banned == [evil.device]);
    assert!(transfer.why().corrupt >= 2);
    seeder.share("poisoned", &data);
    leecher
        .engine
        .add_peers(facts.info_hash, [(evil.device, evil.address), (seeder.device, seeder.address)]);
    leecher.assert_complete(&transfer, &data);
}

/// A device is made for nothing: whoever comes back with ever new ones is known by their user.
#[test]
fn a_user_whose_devices_send_corrupt_pieces_is_banned_with_all_of_them() {
    let (seeder, leecher) = (Station::start(1), Station::start(2));
    let data = noise(8 << 20, 4);
    let (facts, known) = hashed(&seeder, "poisoned", &data);
    let of_user = |spoils: bool| {
        let bytes = data.clone();
        Peer::start(66, &facts, move |stream| {
            introduce(stream, None)?;
            say(stream, &PeerMessage::HaveAll)?;
            seed(stream, &bytes, 512 << 10, |_, data| data[0] ^= u8::from(spoils))
        })
    };
    let evil: Vec<Peer> = (0..4).map(|_| of_user(true)).collect();
    let transfer = fetch_from(&leecher, &facts, &known, &evil.iter().collect::<Vec<_>>());
    eventually("all of them are banned", || transfer.why().banned.len() == evil.len());
    let (honest, have) = (of_user(false), transfer.why().have);
    leecher.engine.add_peers(facts.info_hash, [(honest.device, honest.address)]);
    eventually("the next is not linked", || {
        transfer.why().unreachable.iter().any(|peer| peer.device == honest.device)
    });
    assert_eq!(transfer.why().have, have);
    seeder.share("poisoned", &data);
    leecher.engine.add_peers(facts.info_hash, [(seeder.device, seeder.address)]);
    leecher.assert_complete(&transfer, &data);
}

#[test]
fn a_peer_that_says_nothing_of_large_blocks_is_asked_small_ones() {
    let (maker, leecher) = (Station::start(1), Station::start(2));
    let data = noise(3_000_000, 2);
    let (facts, known) = hashed(&maker, "small", &data);
    let (bytes, longest) = (data.clone(), Arc::new(AtomicU32::new(0)));
    let seen = longest.clone();
    let peer = Peer::start(50, &facts, move |stream| {
        say_extensions(stream, &ExtendedHandshake::default())?;
        say(stream, &PeerMessage::Bitfield(Bitfield::full(6).as_bytes().to_vec()))?;
        seed(stream, &bytes, 512 << 10, |_, data| {
            seen.fetch_max(data.len() as u32, Ordering::SeqCst);
        })
    });
    let transfer = fetch_from(&leecher, &facts, &known, &[&peer]);
    leecher.assert_complete(&transfer, &data);
    assert_eq!(longest.load(Ordering::SeqCst), 16 << 10);
}

/// Says something impossible after the handshakes.
fn offends(what: &str, offence: impl Fn(&mut Stream) -> Option<()> + Send + 'static) {
    let (seeder, leecher) = (Station::start(1), Station::start(2));
    let data = noise(2 << 20, 3);
    let (facts, known) = hashed(&seeder, "offended", &data);
    let (closed, ended) = crossbeam_channel::bounded(16);
    let evil = Peer::start(66, &facts, move |stream| {
        introduce(stream, None)?;
        let said = offence(stream);
        // The other end closes the link; whatever it still says is read away.
        let end = std::io::copy(stream, &mut std::io::sink());
        let _ = closed.try_send((said, end.is_ok()));
        None
    });
    let transfer = fetch_from(&leecher, &facts, &known, &[&evil]);
    assert!(ended.recv_timeout(PATIENCE).is_ok(), "{what}: the link was not closed");
    seeder.share("offended", &data);
    leecher.engine.add_peers(facts.info_hash, [(seeder.device, seeder.address)]);
    leecher.assert_complete(&transfer, &data);
    assert!(evil.links.load(Ordering::SeqCst) > 0);
}

#[test]
fn impossible_messages_end_the_link_and_nothing_else() {
    offends("bitfield too long", |stream| say(stream, &PeerMessage::Bitfield(vec![0xff; 9])));
    offends("spare bits", |stream| say(stream, &PeerMessage::Bitfield(vec![0xff])));
    offends("have beyond the end", |stream| say(stream, &PeerMessage::Have(4)));
    offends("two bitfields", |stream| {
        say(stream, &PeerMessage::HaveNone)?;
        say(stream, &PeerMessage::HaveAll)
    });
    offends("oversized message", |stream| stream.get_mut().write_all(&[0xff; 64]).ok());
    offends("a block beyond the piece", |stream| {
        say(stream, &PeerMessage::Piece { piece: 0, begin: 512 << 10, data: vec![0; 16 << 10] })
    });
    offends("extension garbage", |stream| {
        say(stream, &PeerMessage::Extended { id: 0, payload: b"d1:".to_vec() })
    });
}

#[test]
fn blocks_that_nobody_asked_for_change_nothing() {
    let (seeder, leecher) = (Station::start(1), Station::start(2));
    let data = noise(4 << 20, 4);
    let (facts, known) = hashed(&seeder, "unasked", &data);
    let bytes = data.clone();
    let pushy = Peer::start(66, &facts, move |stream| {
        introduce(stream, None)?;
        for piece in 0..8 {
            say(stream, &PeerMessage::Piece { piece, begin: 0, data: vec![0; 512 << 10] })?;
        }
        say(stream, &PeerMessage::HaveAll)?;
        seed(stream, &bytes, 512 << 10, |_, _| {})
    });
    let transfer = fetch_from(&leecher, &facts, &known, &[&pushy]);
    leecher.assert_complete(&transfer, &data);
    assert_eq!(transfer.why().corrupt, 0);
}

#[test]
fn false_metainfo_is_not_believed() {
    let (seeder, leecher) = (Station::start(1), Station::start(2));
    let data = noise(2 << 20, 5);
    let (facts, known) = hashed(&seeder, "described", &data);
    let size = known.metainfo.to_bytes().len() as u64;
    let liar = Peer::start(66, &facts, move |stream| {
        introduce(stream, Some(size))?;
        loop {
            let PeerMessage::Extended { payload, .. } = read_message(stream).ok()? else {
                continue;
            };
            if let Ok(MetadataMessage::Request { part }) = MetadataMessage::decode(&payload) {
                let lie =
                    MetadataMessage::Data { part, total: size, bytes: vec![b'x'; size as usize] };
                say(stream, &PeerMessage::Extended { id: 1, payload: lie.encode() })?;
            }
        }
    });
    let transfer = leecher.engine.download(leecher.spec(&facts)).unwrap();
    leecher.engine.add_peers(facts.info_hash, [(liar.device, liar.address)]);
    eventually("the liar is banned", || transfer.why().banned == [liar.device]);
    seeder.share("described", &data);
    leecher.engine.add_peers(facts.info_hash, [(seeder.device, seeder.address)]);
    leecher.assert_complete(&transfer, &data);
}

#[test]
fn a_seeder_rejects_what_it_does_not_serve() {
    let seeder = Station::start_with(1, Arc::new(SystemDisk), |config| config.upload_slots = 1);
    let data = noise(1 << 20, 6);
    let facts = seeder.share("served", &data);
    // Whoever dials a seeder gets a free slot without asking.
    let first = enter(&seeder, &device(), 76, &facts);
    let mut stream = enter(&seeder, &device(), 77, &facts);
    let request = |piece, begin, len| PeerMessage::Request { piece, begin, len };
    let reject = |piece, begin, len| PeerMessage::Reject { piece, begin, len };
    let mut ask = |message: &PeerMessage| {
        say(&mut stream, message).unwrap();
        loop {
            let answer = read_message(&mut stream).unwrap();
            if matches!(
                answer,
                PeerMessage::Reject { .. } | PeerMessage::Piece { .. } | PeerMessage::Unchoke
            ) {
                return answer;
            }
        }
    };
    assert_eq!(ask(&request(0, 0, 16 << 10)), reject(0, 0, 16 << 10), "choked");
    drop(first);
    assert_eq!(ask(&PeerMessage::Interested), PeerMessage::Unchoke);
    for (piece, begin, len) in
        [(2, 0, 1), (0, 512 << 10, 1), (0, 1, 512 << 10), (0, 0, 0), (u32::MAX, u32::MAX, u32::MAX)]
    {
        assert_eq!(ask(&request(piece, begin, len)), reject(piece, begin, len));
    }
    let want =
        PeerMessage::Piece { piece: 1, begin: 7, data: data[(512 << 10) + 7..][..100].to_vec() };
    assert_eq!(ask(&request(1, 7, 100)), want);
}

#[test]
fn a_silent_peer_does_not_hold_up_a_download() {
    let (seeder, leecher) = (Station::start(1), Station::start(2));
    let data = noise(8 << 20, 7);
    let facts = seeder.share("unhurried", &data);
    let silent = Peer::start(66, &facts, |stream| {
        introduce(stream, None)?;
        say(stream, &PeerMessage::HaveAll)?;
        say(stream, &PeerMessage::Unchoke)?;
        std::io::copy(stream, &mut std::io::sink()).ok().map(drop)
    });
    let transfer = leecher.fetch(&facts, &[&seeder]);
    leecher.engine.add_peers(facts.info_hash, [(silent.device, silent.address)]);
    leecher.assert_complete(&transfer, &data);
    assert!(leecher.engine.stop(Duration::from_secs(20)).is_empty());
}

#[test]
fn who_sends_the_same_block_for_ever_is_cut_off() {
    let (maker, leecher) = (Station::start(1), Station::start(2));
    let data = noise(4 << 20, 8);
    let (facts, known) = hashed(&maker, "repeated", &data);
    let (closed, ended) = crossbeam_channel::bounded(16);
    let bytes = data.clone();
    let evil = Peer::start(66, &facts, move |stream| {
        introduce(stream, None)?;
        say(stream, &PeerMessage::HaveAll)?;
        say(stream, &PeerMessage::Unchoke)?;
        let (piece, begin, len) = loop {
            if let PeerMessage::Request { piece, begin, len } = read_message(stream).ok()? {
                break (piece, begin, len);
            }
        };
        let start = piece as usize * (512 << 10) + begin as usize;
        let block =
            PeerMessage::Piece { piece, begin, data: bytes[start..start + len as usize].to_vec() }
                .to_bytes();
        while stream.get_mut().write_all(&block).is_ok() {}
        closed.try_send(()).ok()
    });
    let transfer = fetch_from(&leecher, &facts, &known, &[&evil]);
    assert!(ended.recv_timeout(PATIENCE).is_ok(), "the link was not closed");
    maker.share("repeated", &data);
    leecher.engine.add_peers(facts.info_hash, [(maker.device, maker.address)]);
    leecher.assert_complete(&transfer, &data);
}

#[test]
fn leechers_that_linked_before_it_was_complete_are_suggested_pieces() {
    let (maker, middle) = (Station::start(1), Station::start(2));
    let data = noise(16 << 20, 9);
    let (facts, known) = hashed(&maker, "spread", &data);
    let transfer = fetch_from(&middle, &facts, &known, &[]);
    transfer
        .wait_until(PATIENCE, |status| status.state == crate::swarm::TransferState::Downloading);
    let mut leechers: Vec<Stream> = [77, 78]
        .map(|number| {
            let mut stream = enter(&middle, &device(), number, &facts);
            say(&mut stream, &PeerMessage::HaveNone).unwrap();
            say(&mut stream, &PeerMessage::Interested).unwrap();
            while read_message(&mut stream).unwrap() != PeerMessage::Unchoke {}
            stream
        })
        .into();
    maker.share("spread", &data);
    middle.engine.add_peers(facts.info_hash, [(maker.device, maker.address)]);
    middle.assert_complete(&transfer, &data);
    let suggested = |stream: &mut Stream| {
        let mut pieces = Vec::new();
        while pieces.len() < 4 {
            if let PeerMessage::Suggest(piece) = read_message(stream).unwrap() {
                pieces.push(piece);
            }
        }
        pieces
    };
    let (first, second) = leechers.split_at_mut(1);
    let (first, second) = (suggested(&mut first[0]), suggested(&mut second[0]));
    assert!(first.iter().all(|piece| !second.contains(piece)), "{first:?} {second:?}");
}
