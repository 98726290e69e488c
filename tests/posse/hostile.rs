//! Strangers on the ports: garbage, slowness, greed and idleness end their own connections and nothing else.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use posse::types::limits::{HANDSHAKE_TIMEOUT, PEER_MESSAGE_LEN_MAX, TRACKER_FRAME_LEN_MAX, TRACKER_FRAME_LEN_MAX_BEFORE_LOGIN};
use posse::types::{DownloadState, InfoHash};
use posse::wire::frame::to_frame;
use posse::wire::peer::{ExtendedHandshake, Handshake, PeerId, PeerMessage, read_message};
use posse::wire::replication::ReplicaHello;
use posse::wire::tracker::{ClientHello, Hello};
use socket2::{Domain, Socket, Type};

use crate::harness::{ClientProcess, Content, PATIENCE, RawClient, World, device, eventually, sha1_of};

/// Dials from another address of the loopback network, as another machine would.
fn dial_from(ip: [u8; 4], to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(IpAddr::from(ip), 0).into())?;
    socket.connect_timeout(&to.into(), Duration::from_secs(10))?;
    Ok(socket.into())
}

/// Waits for the other end to close, and returns after how long.
#[track_caller]
fn wait_closed(stream: &mut TcpStream) -> Duration {
    let start = Instant::now();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut sink = Vec::new();
    match stream.read_to_end(&mut sink) {
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => panic!("never closed"),
        _ => start.elapsed(),
    }
}

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
            let mut stream = TcpStream::connect(port).unwrap();
            // It may be closed before all of it is taken.
            let _ = stream.write_all(frame);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            wait_closed(&mut stream);
        }
    }
    service.check();
}

#[test]
fn oversized_first_frames_are_closed_at_once() {
    let mut service = Service::new();
    let tracker = service.world.tracker(1);
    for len in [u32::MAX, TRACKER_FRAME_LEN_MAX as u32, TRACKER_FRAME_LEN_MAX_BEFORE_LOGIN as u32 + 1] {
        let mut stream = TcpStream::connect(tracker).unwrap();
        stream.write_all(&len.to_be_bytes()).unwrap();
        assert!(wait_closed(&mut stream) < HANDSHAKE_TIMEOUT / 2, "a promise of {len} bytes was waited for");
    }
    // Before login the smaller limit holds for later frames, too.
    let mut session = RawClient::connect(tracker, device(), 1).unwrap();
    session.send_bytes(&(TRACKER_FRAME_LEN_MAX_BEFORE_LOGIN as u32 + 1).to_be_bytes()).unwrap();
    assert!(wait_closed(&mut session.stream) < HANDSHAKE_TIMEOUT / 2);
    // A stranger's handshake is followed by nothing that the seeder would allocate for.
    let mut stream = TcpStream::connect(service.nik.address).unwrap();
    let info_hash = service.content.facts().info_hash;
    stream.write_all(&Handshake::new(info_hash, PeerId::of_device(device())).encode()).unwrap();
    let _ = stream.write_all(&(PEER_MESSAGE_LEN_MAX as u32 + 1).to_be_bytes());
    wait_closed(&mut stream);
    let memory = service.world.trackers[0].process().proc_status("VmHWM");
    assert!(memory < 200 << 10, "the tracker took {memory} kB");
    service.check();
}

#[test]
fn slow_first_frames_are_closed_after_their_deadline() {
    let mut service = Service::new();
    let hello = to_frame(&Hello::Client(ClientHello { device: device(), port: 1 }));
    let shake = Handshake::new(service.content.facts().info_hash, PeerId::of_device(device())).encode();
    let [seeder, tracker] = service.ports();
    std::thread::scope(|scope| {
        for (port, bytes) in [(tracker, &hello[..]), (seeder, &shake[..])] {
            // Nothing at all; half of it; and a byte now and then, which must not buy more time.
            scope.spawn(move || {
                let mut silent = TcpStream::connect(port).unwrap();
                assert!(wait_closed(&mut silent) < HANDSHAKE_TIMEOUT * 2);
            });
            scope.spawn(move || {
                let mut half = TcpStream::connect(port).unwrap();
                half.write_all(&bytes[..bytes.len() / 2]).unwrap();
                assert!(wait_closed(&mut half) < HANDSHAKE_TIMEOUT * 2);
            });
            scope.spawn(move || {
                let mut slow = TcpStream::connect(port).unwrap();
                let start = Instant::now();
                let dripped = bytes[..bytes.len() - 1].iter().take_while(|byte| {
                    std::thread::sleep(HANDSHAKE_TIMEOUT / 20);
                    slow.write_all(&[**byte]).is_ok()
                });
                dripped.count();
                wait_closed(&mut slow);
                assert!(start.elapsed() < HANDSHAKE_TIMEOUT * 3, "dripping bytes bought time");
            });
        }
        service.check();
    });
}

#[test]
fn service_goes_on_beside_500_idle_connections() {
    let mut service = Service::new();
    let [seeder, tracker] = service.ports();
    // Ten machines with 50 each: below the limit for one address. Some said hello, and nothing more.
    let hello = to_frame(&Hello::Client(ClientHello { device: device(), port: 1 }));
    let mut idle: Vec<TcpStream> = Vec::new();
    for number in 0..500u32 {
        let ip = [127, 77, (number / 50) as u8, 1];
        let mut stream = dial_from(ip, tracker).unwrap();
        if number % 2 == 0 {
            stream.write_all(&hello).unwrap();
        }
        idle.push(stream);
        // A client sheds what is too much for it: a connection may end at once.
        idle.extend(dial_from(ip, seeder));
    }
    service.check();
    drop(idle);
    service.check();
}

#[test]
fn one_address_cannot_take_all_places_before_login() {
    let mut service = Service::new();
    let tracker = service.world.tracker(1);
    let greedy: Vec<TcpStream> = (0..200).map(|_| dial_from([127, 78, 0, 1], tracker).unwrap()).collect();
    let mut closed = 0;
    for mut stream in greedy {
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        // A word of refusal may come before the end.
        let end = stream.read_to_end(&mut Vec::new());
        closed += usize::from(!end.is_err_and(|e| matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)));
    }
    assert!(closed >= 100, "only {closed} of 200 were shed");
    service.check();
}

#[test]
fn a_stranger_with_the_info_hash_gets_nothing_from_a_seeder() {
    let mut service = Service::new();
    let info_hash = service.content.facts().info_hash;
    for (hash, peer) in [
        (info_hash, PeerId::of_device(device())),
        (info_hash, PeerId::from_bytes(*b"-TR4000-abcdefghijkl")),
        (InfoHash::from_bytes([7; 20]), PeerId::of_device(device())),
    ] {
        let mut stream = TcpStream::connect(service.nik.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&Handshake::new(hash, peer).encode()).unwrap();
        let wants = [PeerMessage::HaveNone, PeerMessage::Interested, PeerMessage::Request { piece: 0, begin: 0, len: 16 << 10 }];
        for message in wants {
            let _ = stream.write_all(&message.to_bytes());
        }
        let mut got = Vec::new();
        let _ = stream.read_to_end(&mut got);
        assert!(got.len() < 16 << 10, "a stranger was given {} bytes", got.len());
    }
    service.check();
}

#[test]
fn requests_that_no_file_can_answer_are_rejected_and_hurt_nobody() {
    let mut service = Service::new();
    let info_hash = service.content.facts().info_hash;
    // A member's second device, so the seeder talks to it.
    let device = device();
    let mut session = RawClient::connect(service.world.tracker(1), device, 1).unwrap();
    session.login("bob").unwrap();
    let group = session.group("lab").group;
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
        let stream = TcpStream::connect(service.nik.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut writer = &stream;
        writer.write_all(&Handshake::new(info_hash, PeerId::of_device(device)).encode()).unwrap();
        let hello = ExtendedHandshake { device: Some(device), ..ExtendedHandshake::default() };
        let hello = PeerMessage::Extended { id: 0, payload: hello.encode() };
        for message in [hello, PeerMessage::HaveNone, PeerMessage::Interested] {
            writer.write_all(&message.to_bytes()).unwrap();
        }
        let mut reader = std::io::BufReader::new(&stream);
        Handshake::read(&mut reader).expect("the seeder shakes hands with a member");
        // Either answer will do: a rejection, or the end of the link. Never data.
        let mut asked = false;
        loop {
            match read_message(&mut reader) {
                Ok(PeerMessage::Unchoke) => {
                    asked = true;
                    writer.write_all(&PeerMessage::Request { piece, begin, len }.to_bytes()).unwrap();
                }
                Ok(PeerMessage::Reject { .. }) => break,
                Ok(PeerMessage::Piece { .. }) => panic!("({piece}, {begin}, {len}) was answered with data"),
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
        network: "00".repeat(20).parse().unwrap(),
        number: 2,
        origin: posse::types::OriginId::from_bytes([9; 16]),
        clock_ms: std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64,
    };
    let mut stream = TcpStream::connect(world.tracker(1)).unwrap();
    stream.write_all(&to_frame(&Hello::Replica(hello))).unwrap();
    wait_closed(&mut stream);
    assert_eq!(world.trackers[0].status().directory(), digest);
    eventually("it serves on", || RawClient::connect(world.tracker(1), device(), 1).ok());
}
