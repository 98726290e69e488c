//! Peers that are not ours, or not honest: each is written by hand on the peer wire.

use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::harness::*;
use crate::types::{Bitfield, DeviceId, FileFacts};
use crate::wire::metainfo::Metainfo;
use crate::wire::peer::{ExtendedHandshake, Handshake, MetadataMessage, PeerId, PeerMessage, read_message};

type Stream = BufReader<TcpStream>;

/// A peer that answers every link with what `serve` does; it never speaks first.
struct Peer {
    address: SocketAddr,
    device: DeviceId,
    links: Arc<AtomicU32>,
    _thread: JoinHandle<()>,
}

impl Peer {
    fn start(number: u8, facts: &FileFacts, serve: impl Fn(&mut Stream) -> Option<()> + Send + 'static) -> Self {
        let device = DeviceId::from_bytes([number; 32]);
        Self::start_as(PeerId::of_device(device), device, facts, serve)
    }

    fn start_as(
        peer_id: PeerId,
        device: DeviceId,
        facts: &FileFacts,
        serve: impl Fn(&mut Stream) -> Option<()> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, links) = (listener.local_addr().unwrap(), Arc::new(AtomicU32::new(0)));
        let (info_hash, counts) = (facts.info_hash, links.clone());
        let thread = std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let mut stream = BufReader::new(stream);
                if Handshake::read(&mut stream).is_err() {
                    continue;
                }
                counts.fetch_add(1, Ordering::SeqCst);
                let _ = stream.get_mut().write_all(&Handshake::new(info_hash, peer_id).encode());
                let _ = serve(&mut stream);
            }
        });
        Self { address, device, links, _thread: thread }
    }
}

fn say(stream: &mut Stream, message: &PeerMessage) -> Option<()> {
    stream.get_mut().write_all(&message.to_bytes()).ok()
}

fn introduce(stream: &mut Stream, number: u8, metadata_size: Option<u64>) -> Option<()> {
    let told = ExtendedHandshake {
        metadata_id: Some(9),
        metadata_size,
        device: Some(DeviceId::from_bytes([number; 32])),
        block_len_max: Some(512 << 10),
        ..ExtendedHandshake::default()
    };
    say(stream, &PeerMessage::Extended { id: 0, payload: told.encode() })
}

/// Serves a whole file, each block changed by `alter`.
fn seed(stream: &mut Stream, data: &[u8], piece_len: usize, alter: impl Fn(u32, &mut Vec<u8>)) -> Option<()> {
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

fn fetch_from(leecher: &Station, facts: &FileFacts, metainfo: &Arc<Metainfo>, peers: &[&Peer]) -> crate::swarm::Transfer {
    let mut spec = leecher.spec(facts);
    spec.metainfo = Some(metainfo.clone());
    let transfer = leecher.engine.download(spec).unwrap();
    leecher.engine.add_peers(facts.info_hash, peers.iter().map(|peer| (peer.device, peer.address)));
    transfer
}

fn hashed(station: &Station, name: &str, data: &[u8]) -> (FileFacts, Arc<Metainfo>) {
    std::fs::write(station.path(name), data).unwrap();
    let hashed = crate::swarm::hash_file(&station.path(name), &mut |_| true).unwrap();
    (facts(&hashed), hashed.seed.metainfo)
}

#[test]
fn who_sends_corrupt_pieces_is_banned_and_the_download_finishes() {
    let (seeder, leecher) = (Station::start(1), Station::start(2));
    let data = noise(16 << 20, 1);
    let (facts, metainfo) = hashed(&seeder, "poisoned", &data);
    let bytes = data.clone();
    let evil = Peer::start(66, &facts, move |stream| {
        introduce(stream, 66, None)?;
        say(stream, &PeerMessage::HaveAll)?;
        seed(stream, &bytes, 512 << 10, |_, data| data[0] ^= 1)
    });
    let transfer = fetch_from(&leecher, &facts, &metainfo, &[&evil]);
    eventually("the evil peer is banned", || transfer.why().banned == [evil.device]);
    assert!(transfer.why().corrupt >= 2);
    seeder.share("poisoned", &data);
    leecher.engine.add_peers(facts.info_hash, [(evil.device, evil.address), (seeder.device, seeder.address)]);
    leecher.assert_complete(&transfer, &data);
}

#[test]
fn a_foreign_client_without_extensions_is_asked_small_blocks() {
    let (maker, leecher) = (Station::start(1), Station::start(2));
    let data = noise(3_000_000, 2);
    let (facts, metainfo) = hashed(&maker, "foreign", &data);
    let (bytes, longest) = (data.clone(), Arc::new(AtomicU32::new(0)));
    let seen = longest.clone();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = (DeviceId::from_bytes([50; 32]), listener.local_addr().unwrap());
    let info_hash = facts.info_hash;
    let serving = std::thread::spawn(move || {
        let mut stream = BufReader::new(listener.accept().unwrap().0);
        Handshake::read(&mut stream).unwrap();
        let plain = Handshake { reserved: [0; 8], info_hash, peer_id: PeerId::from_bytes(*b"-XX0001-abcdefghijkl") };
        stream.get_mut().write_all(&plain.encode()).unwrap();
        say(&mut stream, &PeerMessage::Bitfield(Bitfield::full(6).as_bytes().to_vec())).unwrap();
        seed(&mut stream, &bytes, 512 << 10, |_, data| {
            seen.fetch_max(data.len() as u32, Ordering::SeqCst);
        })
    });
    let transfer = fetch_from(&leecher, &facts, &metainfo, &[]);
    leecher.engine.add_peers(facts.info_hash, [peer]);
    leecher.assert_complete(&transfer, &data);
    assert_eq!(longest.load(Ordering::SeqCst), 16 << 10);
    leecher.engine.unseed(facts.info_hash);
    serving.join().unwrap();
}

/// Says something impossible after the handshakes.
fn offends(what: &str, offence: impl Fn(&mut Stream) -> Option<()> + Send + 'static) {
    let (seeder, leecher) = (Station::start(1), Station::start(2));
    let data = noise(2 << 20, 3);
    let (facts, metainfo) = hashed(&seeder, "offended", &data);
    let (closed, ended) = crossbeam_channel::bounded(16);
    let evil = Peer::start(66, &facts, move |stream| {
        introduce(stream, 66, None)?;
        let said = offence(stream);
        // The other end closes the link; whatever it still says is read away.
        let end = std::io::copy(stream, &mut std::io::sink());
        let _ = closed.try_send((said, end.is_ok()));
        None
    });
    let transfer = fetch_from(&leecher, &facts, &metainfo, &[&evil]);
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
    offends("extension garbage", |stream| say(stream, &PeerMessage::Extended { id: 0, payload: b"d1:".to_vec() }));
}

#[test]
fn blocks_that_nobody_asked_for_change_nothing() {
    let (seeder, leecher) = (Station::start(1), Station::start(2));
    let data = noise(4 << 20, 4);
    let (facts, metainfo) = hashed(&seeder, "unasked", &data);
    let bytes = data.clone();
    let pushy = Peer::start(66, &facts, move |stream| {
        introduce(stream, 66, None)?;
        for piece in 0..8 {
            say(stream, &PeerMessage::Piece { piece, begin: 0, data: vec![0; 512 << 10] })?;
        }
        say(stream, &PeerMessage::HaveAll)?;
        seed(stream, &bytes, 512 << 10, |_, _| {})
    });
    let transfer = fetch_from(&leecher, &facts, &metainfo, &[&pushy]);
    leecher.assert_complete(&transfer, &data);
    assert_eq!(transfer.why().corrupt, 0);
}

#[test]
fn false_metainfo_is_not_believed() {
    let (seeder, leecher) = (Station::start(1), Station::start(2));
    let data = noise(2 << 20, 5);
    let (facts, metainfo) = hashed(&seeder, "described", &data);
    let size = metainfo.to_bytes().len() as u64;
    let liar = Peer::start(66, &facts, move |stream| {
        introduce(stream, 66, Some(size))?;
        loop {
            let PeerMessage::Extended { payload, .. } = read_message(stream).ok()? else { continue };
            if let Ok(MetadataMessage::Request { part }) = MetadataMessage::decode(&payload) {
                let lie = MetadataMessage::Data { part, total: size, bytes: vec![b'x'; size as usize] };
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
    let seeder = Station::start(1);
    let data = noise(1 << 20, 6);
    let facts = seeder.share("served", &data);
    let mut stream = BufReader::new(TcpStream::connect(seeder.address).unwrap());
    stream.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
    let device = DeviceId::from_bytes([77; 32]);
    stream.get_mut().write_all(&Handshake::new(facts.info_hash, PeerId::of_device(device)).encode()).unwrap();
    introduce(&mut stream, 77, None).unwrap();
    assert_eq!(Handshake::read(&mut stream).unwrap().info_hash, facts.info_hash);
    let request = |piece, begin, len| PeerMessage::Request { piece, begin, len };
    let reject = |piece, begin, len| PeerMessage::Reject { piece, begin, len };
    let mut ask = |message: &PeerMessage| {
        say(&mut stream, message).unwrap();
        loop {
            let answer = read_message(&mut stream).unwrap();
            if matches!(answer, PeerMessage::Reject { .. } | PeerMessage::Piece { .. } | PeerMessage::Unchoke) {
                return answer;
            }
        }
    };
    assert_eq!(ask(&request(0, 0, 16 << 10)), reject(0, 0, 16 << 10), "choked");
    assert_eq!(ask(&PeerMessage::Interested), PeerMessage::Unchoke);
    for (piece, begin, len) in [(2, 0, 1), (0, 512 << 10, 1), (0, 1, 512 << 10), (0, 0, 0), (u32::MAX, u32::MAX, u32::MAX)] {
        assert_eq!(ask(&request(piece, begin, len)), reject(piece, begin, len));
    }
    let want = PeerMessage::Piece { piece: 1, begin: 7, data: data[(512 << 10) + 7..][..100].to_vec() };
    assert_eq!(ask(&request(1, 7, 100)), want);
}

#[test]
fn garbage_strangers_and_ourselves_get_no_answer() {
    let seeder = Station::start(1);
    let facts = seeder.share("quiet", b"quiet");
    let answer = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(seeder.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.write_all(bytes);
        let mut got = Vec::new();
        // A reset is an answer of no bytes too.
        let _ = stream.read_to_end(&mut got);
        got
    };
    let handshake = |info_hash, device| Handshake::new(info_hash, PeerId::of_device(DeviceId::from_bytes([device; 32]))).encode();
    assert!(answer(b"GET / HTTP/1.1\r\nHost: somewhere\r\n\r\n").is_empty());
    assert!(answer(&handshake(crate::types::InfoHash::from_bytes([9; 20]), 5)).is_empty(), "an unknown file");
    assert!(answer(&handshake(facts.info_hash, 1)).is_empty(), "ourselves");
    let foreign = Handshake { reserved: [0; 8], info_hash: facts.info_hash, peer_id: PeerId::from_bytes([b'f'; 20]) };
    assert!(answer(&foreign.encode()).is_empty(), "a foreign client where none is let in");
    eventually("the links are gone", || seeder.engine.link_count() == 0);
}

#[test]
fn a_silent_peer_does_not_hold_up_a_download() {
    let (seeder, leecher) = (Station::start(1), Station::start(2));
    let data = noise(8 << 20, 7);
    let facts = seeder.share("unhurried", &data);
    let silent = Peer::start(66, &facts, |stream| {
        introduce(stream, 66, None)?;
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
    let (facts, metainfo) = hashed(&maker, "repeated", &data);
    let (closed, ended) = crossbeam_channel::bounded(16);
    let bytes = data.clone();
    let evil = Peer::start(66, &facts, move |stream| {
        introduce(stream, 66, None)?;
        say(stream, &PeerMessage::HaveAll)?;
        say(stream, &PeerMessage::Unchoke)?;
        let (piece, begin, len) = loop {
            if let PeerMessage::Request { piece, begin, len } = read_message(stream).ok()? {
                break (piece, begin, len);
            }
        };
        let start = piece as usize * (512 << 10) + begin as usize;
        let block = PeerMessage::Piece { piece, begin, data: bytes[start..start + len as usize].to_vec() }.to_bytes();
        while stream.get_mut().write_all(&block).is_ok() {}
        closed.try_send(()).ok()
    });
    let transfer = fetch_from(&leecher, &facts, &metainfo, &[&evil]);
    assert!(ended.recv_timeout(PATIENCE).is_ok(), "the link was not closed");
    maker.share("repeated", &data);
    leecher.engine.add_peers(facts.info_hash, [(maker.device, maker.address)]);
    leecher.assert_complete(&transfer, &data);
}

#[test]
fn leechers_that_linked_before_it_was_complete_are_suggested_pieces() {
    let (maker, middle) = (Station::start(1), Station::start(2));
    let data = noise(16 << 20, 9);
    let (facts, metainfo) = hashed(&maker, "spread", &data);
    let transfer = fetch_from(&middle, &facts, &metainfo, &[]);
    transfer.wait_until(PATIENCE, |status| status.state == crate::swarm::TransferState::Downloading);
    let mut leechers: Vec<Stream> = [77, 78]
        .map(|number| {
            let mut stream = BufReader::new(TcpStream::connect(middle.address).unwrap());
            stream.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
            let peer_id = PeerId::of_device(DeviceId::from_bytes([number; 32]));
            stream.get_mut().write_all(&Handshake::new(facts.info_hash, peer_id).encode()).unwrap();
            introduce(&mut stream, number, None).unwrap();
            Handshake::read(&mut stream).unwrap();
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
