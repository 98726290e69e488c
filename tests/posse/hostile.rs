//! Strangers on the ports: garbage, slowness, greed and idleness end their own connections and
//! nothing else. What is sent in clear ends in TLS's handshake; so everything is sent once more
//! inside of TLS, which anybody may speak who makes a key.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use posse::types::limits::{
    HANDSHAKE_TIMEOUT, PEER_MESSAGE_LEN_MAX, TRACKER_FRAME_LEN_MAX,
    TRACKER_FRAME_LEN_MAX_BEFORE_LOGIN,
};
use posse::types::{DownloadState, InfoHash};
use posse::wire::frame::to_frame;
use posse::wire::peer::{Handshake, PeerId, PeerMessage};
use posse::wire::replication::ReplicaHello;
use posse::wire::tracker::{ClientHello, Hello, Opening};
use socket2::{Domain, Socket, Type};

use crate::harness::{
    ClientProcess, Content, PATIENCE, RawClient, RawLink, Secured, World, device, eventually,
    sha1_of,
};

/// Dials from another address of the loopback network, as another machine would.
fn dial_from(ip: [u8; 4], to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(IpAddr::from(ip), 0).into())?;
    socket.connect_timeout(&to.into(), Duration::from_secs(10))?;
    Ok(socket.into())
}

/// Waits for the other end to close, and returns after how long.
#[track_caller]
fn wait_closed(stream: &mut (impl Read + ?Sized)) -> Duration {
    let start = Instant::now();
    let mut sink = Vec::new();
    match stream.read_to_end(&mut sink) {
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            panic!("never closed")
        }
        _ => start.elapsed(),
    }
}

/// Dials in clear.
fn dial(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Bytes in both directions, encrypted or not.
trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// A tracker, a seeder and a member who downloads, to show that service goes on.
struct Service {
    nik: ClientProcess,
    bob: ClientProcess,
    content: Content,
    world: World,
    fetched: usize,
}

impl Service {
    fn new() -> Self {
        let world = World::new(1);
        world.group("lab", &["nik", "bob"]);
        let content = Content::new("a.bin", 700_000, 81);
        world.put("nik", &content);
        let (mut nik, mut bob) = (world.client("nik"), world.client("bob"));
        nik.login("nik");
        nik.ok("upload_file a.bin lab", &[]);
        bob.login("bob");
        Self { nik, bob, content, world, fetched: 0 }
    }

    /// The seeder's port and the tracker's.
    fn ports(&self) -> [SocketAddr; 2] {
        [self.nik.address, self.world.tracker(1)]
    }

    /// Makes the handshake of TLS as a device that nobody knows; true is for the tracker, false for
    /// the seeder.
    fn secured(&self, tracker: bool) -> Secured {
        match tracker {
            true => device().dial_tracker(self.world.tracker(1)).unwrap(),
            false => device().dial(self.nik.address, self.nik.device()).unwrap(),
        }
    }

    /// A member still gets the file, and a stranger an account.
    #[track_caller]
    fn check(&mut self) {
        self.fetched += 1;
        let name = format!("copy{}.bin", self.fetched);
        // Stopping the own share makes the copy come from the seeder.
        self.bob.object("stop_share lab a.bin");
        self.bob.ok(&format!("download_file lab a.bin {name}"), &[]);
        self.bob.wait_downloads();
        assert_eq!(sha1_of(&self.bob.path(&name)), self.content.sha1());
        RawClient::enter(self.world.tracker(1), &format!("stranger{}", self.fetched));
        assert!(self.nik.process().is_running() && self.world.trackers[0].process().is_running());
    }
}

#[test]
fn garbage_is_answered_by_closing() {
    let mut service = Service::new();
    let before = warnings(&mut service.world);
    let garbage = Content::new("garbage", 100_000, 82).bytes;
    let frames: [&[u8]; 8] = [
        &garbage,
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET_PIECE /etc/passwd 0\n",
        &[0; 68],
        &[0, 0, 0, 0],
        &[0, 0, 0, 7, b'P', b'S', b'S', b'E', 0, 1, 9],
        &[0, 0, 0, 7, b'P', b'S', b'S', b'E', 0xff, 0xff, 0],
        &[19; 100],
    ];
    for port in service.ports() {
        for frame in frames {
            let mut stream = dial(port);
            // It may be closed before all of it is taken.
            let _ = stream.write_all(frame);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            wait_closed(&mut stream);
        }
    }
    for tracker in [true, false] {
        for frame in frames {
            let mut stream = service.secured(tracker);
            let _ = stream.write_all(frame);
            wait_closed(&mut stream);
        }
    }
    service.check();
    let said = warnings(&mut service.world) - before;
    assert!(
        said <= 2 * frames.len(),
        "{said} lines in the log for {} connections",
        2 * frames.len()
    );
}

/// In the middle of a session that had begun well.
#[test]
fn one_frame_of_garbage_ends_a_session_with_one_line_in_the_log() {
    let mut service = Service::new();
    let mut session = RawClient::enter(service.world.tracker(1), "eve");
    let before = warnings(&mut service.world);
    session.stream.write_all(&[0, 0, 0, 5, 0, 0, 0, 9, 0xff]).unwrap();
    wait_closed(&mut session.stream);
    eventually("it is in the log", || (warnings(&mut service.world) > before).then_some(()));
    service.check();
    assert_eq!(warnings(&mut service.world), before + 1);
}

/// Warnings in the tracker's log so far.
fn warnings(world: &mut World) -> usize {
    world.trackers[0].process().said().err.iter().filter(|line| line.contains("WARN")).count()
}

#[test]
fn oversized_first_frames_are_closed_at_once() {
    let mut service = Service::new();
    let tracker = service.world.tracker(1);
    for len in
        [u32::MAX, TRACKER_FRAME_LEN_MAX as u32, TRACKER_FRAME_LEN_MAX_BEFORE_LOGIN as u32 + 1]
    {
        for mut stream in
            [Box::new(dial(tracker)) as Box<dyn Stream>, Box::new(service.secured(true))]
        {
            stream.write_all(&len.to_be_bytes()).unwrap();
            // In clear the first byte of a length may as well begin a record of TLS.
            let _ = stream.write_all(&[0xff; 16]);
            assert!(
                wait_closed(&mut *stream) < HANDSHAKE_TIMEOUT / 2,
                "a promise of {len} bytes was waited for"
            );
        }
    }
    // Before login the smaller limit holds for later frames, too.
    let mut session = RawClient::connect(tracker, &device(), 1).unwrap();
    session.send_bytes(&(TRACKER_FRAME_LEN_MAX_BEFORE_LOGIN as u32 + 1).to_be_bytes()).unwrap();
    assert!(wait_closed(&mut session.stream) < HANDSHAKE_TIMEOUT / 2);
    // A stranger's ticket has no length that the seeder would allocate for.
    let mut stream = service.secured(false);
    let _ = stream.write_all(&(PEER_MESSAGE_LEN_MAX as u32 + 1).to_be_bytes());
    assert!(wait_closed(&mut stream) < HANDSHAKE_TIMEOUT / 2);
    let memory = service.world.trackers[0].process().proc_status("VmHWM");
    assert!(memory < 200 << 10, "the tracker took {memory} kB");
    service.check();
}

#[test]
fn slow_first_frames_are_closed_after_their_deadline() {
    let mut service = Service::new();
    let hello = to_frame(&Opening::new(Hello::Client(ClientHello { port: 1 })));
    // As long as a ticket, which a stranger does not have.
    let ticket = [&120u32.to_be_bytes()[..], &[7; 120]].concat();
    // What every connection of TLS 1.3 begins with: a record that promises a ClientHello.
    let record = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[5; 100]].concat();
    let [seeder, tracker] = service.ports();
    let secured = |tracker: bool| Box::new(service.secured(tracker)) as Box<dyn Stream + Send>;
    let clear = |port| Box::new(dial(port)) as Box<dyn Stream + Send>;
    let mut crowd: Vec<(Box<dyn Stream + Send>, &[u8])> = Vec::new();
    for _ in 0..3 {
        crowd.extend([(clear(tracker), &record[..]), (clear(seeder), &record[..])]);
        crowd.extend([(secured(true), &hello[..]), (secured(false), &ticket[..])]);
    }
    std::thread::scope(|scope| {
        // Nothing at all; half of it; and a byte now and then, which must not buy more time.
        for (number, (mut stream, bytes)) in crowd.into_iter().enumerate() {
            scope.spawn(move || {
                let start = Instant::now();
                match number / 4 {
                    0 => {}
                    1 => stream.write_all(&bytes[..bytes.len() / 2]).unwrap(),
                    _ => {
                        let dripped = bytes[..bytes.len() - 1].iter().take_while(|byte| {
                            std::thread::sleep(HANDSHAKE_TIMEOUT / 20);
                            stream.write_all(&[**byte]).is_ok()
                                && start.elapsed() < HANDSHAKE_TIMEOUT * 3
                        });
                        dripped.count();
                    }
                }
                wait_closed(&mut *stream);
                assert!(
                    start.elapsed() < HANDSHAKE_TIMEOUT * 2,
                    "connection {number} lasted {:?}",
                    start.elapsed()
                );
            });
        }
        service.check();
    });
}

#[test]
fn service_goes_on_beside_500_idle_connections() {
    let mut service = Service::new();
    let [seeder, tracker] = service.ports();
    // Ten machines with 50 each: below the limit for one address. Some said hello, and nothing
    // more.
    let (mut idle, mut said_hello): (Vec<TcpStream>, Vec<RawClient>) = Default::default();
    for number in 0..500u32 {
        let ip = [127, 77, (number / 50) as u8, 1];
        match number % 2 {
            0 => said_hello.push(RawClient::connect(tracker, &device().at(ip), 1).unwrap()),
            _ => idle.push(dial_from(ip, tracker).unwrap()),
        }
        // A client sheds what is too much for it: a connection may end at once.
        idle.extend(dial_from(ip, seeder));
    }
    service.check();
    drop((idle, said_hello));
    service.check();
}

#[test]
fn one_address_cannot_take_all_places_before_login() {
    let mut service = Service::new();
    let tracker = service.world.tracker(1);
    let greedy: Vec<TcpStream> =
        (0..200).map(|_| dial_from([127, 78, 0, 1], tracker).unwrap()).collect();
    let mut closed = 0;
    for mut stream in greedy {
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        // A word of refusal may come before the end.
        let end = stream.read_to_end(&mut Vec::new());
        closed += usize::from(
            !end.is_err_and(|e| matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)),
        );
    }
    assert!(closed >= 100, "only {closed} of 200 were shed");
    service.check();
}

#[test]
fn a_stranger_with_the_info_hash_gets_nothing_from_a_seeder() {
    let mut service = Service::new();
    let info_hash = service.content.facts().info_hash;
    // A ticket that nobody signed, and one that was signed for another device.
    let mut bob = RawClient::enter(service.world.tracker(1), "bob");
    let group = bob.group("lab").group;
    let stolen = bob.ticket(group).unwrap();
    let mut forged = stolen;
    let stranger = device();
    forged.claims.device = stranger.id;
    for (hash, ticket) in [
        (info_hash, None),
        (InfoHash::from_bytes([7; 20]), None),
        (info_hash, Some(stolen)),
        (info_hash, Some(forged)),
        (InfoHash::from_bytes([7; 20]), Some(forged)),
    ] {
        let mut link = RawLink::dial(&stranger, service.nik.address, service.nik.device()).unwrap();
        let frame = ticket.map_or_else(Vec::new, |ticket| to_frame(&ticket));
        let shake = Handshake::new(hash, PeerId::of_device(stranger.id)).encode();
        let _ = link.send_bytes(&[&frame[..], &shake].concat());
        for message in [
            PeerMessage::HaveNone,
            PeerMessage::Interested,
            PeerMessage::Request { piece: 0, begin: 0, len: 16 << 10 },
        ] {
            let _ = link.send(&message);
        }
        let mut got = Vec::new();
        let _ = link.stream().read_to_end(&mut got);
        assert!(got.is_empty(), "a stranger was given {} bytes", got.len());
    }
    // In clear there is not even a key to be seen.
    let mut stream = dial(service.nik.address);
    stream.write_all(&Handshake::new(info_hash, PeerId::of_device(stranger.id)).encode()).unwrap();
    let mut got = Vec::new();
    let _ = stream.read_to_end(&mut got);
    assert!(got.len() < 32, "beyond the alert of TLS {} bytes were sent", got.len());
    service.check();
}

#[test]
fn requests_that_no_file_can_answer_are_rejected_and_hurt_nobody() {
    let mut service = Service::new();
    let info_hash = service.content.facts().info_hash;
    // A member's second device, so the seeder talks to it.
    let device = device();
    let mut session = RawClient::connect(service.world.tracker(1), &device, 1).unwrap();
    session.login("bob").unwrap();
    let group = session.group("lab").group;
    let ticket = session.ticket(group).unwrap();
    session.announce(group, info_hash, DownloadState::Leeching);
    let absurd = [
        (u32::MAX, 0, 16 << 10),
        (2, 0, 16 << 10),
        (0, u32::MAX, 16 << 10),
        (0, u32::MAX - 100, 200),
        (1, 0, 512 << 10),
        (0, 0, 0),
        (0, 0, u32::MAX),
        (0, 512 << 10, 1),
    ];
    for (piece, begin, len) in absurd {
        let peer = (service.nik.address, service.nik.device());
        let mut link = RawLink::open(&device, &ticket, peer, info_hash)
            .expect("the seeder shakes hands with a member");
        for message in [PeerMessage::HaveNone, PeerMessage::Interested] {
            link.send(&message).unwrap();
        }
        // Either answer will do: a rejection, or the end of the link. Never data.
        let mut asked = false;
        loop {
            match link.receive() {
                Ok(PeerMessage::Unchoke) => {
                    asked = true;
                    link.send(&PeerMessage::Request { piece, begin, len }).unwrap();
                }
                Ok(PeerMessage::Reject { .. }) => break,
                Ok(PeerMessage::Piece { .. }) => {
                    panic!("({piece}, {begin}, {len}) was answered with data")
                }
                Ok(_) => {}
                Err(_) => {
                    assert!(asked, "the seeder hung up on a member before any request");
                    break;
                }
            }
        }
    }
    service.check();
}

#[test]
fn replication_is_not_open_to_other_networks() {
    let mut world = World::new(1);
    world.group("lab", &["nik"]);
    let digest = world.trackers[0].status().directory().to_owned();
    let hello = ReplicaHello {
        number: 2,
        address: "127.0.0.1:2".parse().unwrap(),
        lineage: posse::types::Lineage::new(posse::types::StoreId::from_bytes([9; 16])),
        trackers: Vec::new(),
        clock_ms: std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_millis() as u64,
    };
    // The hello of a tracker, from what is none: with the key of a device, and in clear.
    let mut stream = device().dial_tracker(world.tracker(1)).unwrap();
    stream.write_all(&to_frame(&Opening::new(Hello::Replica(hello.clone())))).unwrap();
    wait_closed(&mut stream);
    let mut stream = dial(world.tracker(1));
    stream.write_all(&to_frame(&Opening::new(Hello::Replica(hello)))).unwrap();
    wait_closed(&mut stream);
    assert_eq!(world.trackers[0].status().directory(), digest);
    eventually("it serves on", || RawClient::connect(world.tracker(1), &device(), 1).ok());
}
