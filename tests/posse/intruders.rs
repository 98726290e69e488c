//! Who does not belong: false trackers, trackers of another network, borrowed tokens and tickets,
//! expired ones, strangers who know the address and the info hash. Each gets nothing, and nobody
//! else notices; the same right after a failover.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, SystemTime};

use posse::net::{Incoming, TrackerSecurity};
use posse::trust::KeyPair;
use posse::types::{
    DeviceId, GroupId, InfoHash, Refusal, SessionToken, Ticket, TicketClaims, UserId,
};
use posse::wire::Wire;
use posse::wire::frame::to_frame;
use posse::wire::peer::{Handshake, PeerId};
use posse::wire::tracker::{Reply, Request};

use crate::harness::{
    ClientProcess, Content, Device, RawClient, RawLink, World, any_port, device, eventually,
};

const TIMEOUT: Duration = Duration::from_secs(30);

fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64
}

/// A false tracker: it has a key, but not the network's. Counts who shakes its hand to the end.
struct FalseTracker {
    address: SocketAddr,
    dialled: crossbeam_channel::Receiver<bool>,
    key: KeyPair,
}

impl FalseTracker {
    fn start(address: SocketAddr) -> Self {
        let key = KeyPair::generate().unwrap();
        let security = TrackerSecurity::new(&key).unwrap();
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, dialled) = crossbeam_channel::unbounded();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let made =
                    Incoming::new(stream).and_then(|incoming| security.accept(incoming, TIMEOUT));
                if sender.send(made.is_ok()).is_err() {
                    return;
                }
            }
        });
        Self { address, dialled, key }
    }

    /// Waits until it was dialled some times; nobody may have taken it for a tracker.
    #[track_caller]
    fn assert_shunned(&self) {
        for _ in 0..3 {
            assert!(
                !self.dialled.recv_timeout(TIMEOUT).expect("it is dialled"),
                "somebody trusts the false tracker"
            );
        }
    }
}

#[test]
fn a_false_tracker_is_told_nothing_and_named() {
    let world = World::of_unnamed_network(1);
    let mut nik = world.client("nik");
    // Who logs in is told of the true tracker's address, and remembers it.
    nik.ok("create_user nik pw-nik", &[]);
    let home = nik.home.clone();
    drop(nik);
    // Without a line that names the network the client goes by what it remembers.
    let fake = FalseTracker::start(any_port());
    let info = world.path().join("false.txt");
    std::fs::write(&info, format!("{}\n", fake.address)).unwrap();
    let mut nik = ClientProcess::start(&home, any_port(), &info, true);
    nik.refused("login nik pw-nik", &fake.key.fingerprint().to_string());
    fake.assert_shunned();
    let said = nik.process().said().err.join("\n");
    let real = KeyPair::load(&world.network_key()).unwrap().fingerprint();
    for part in [real.to_string(), fake.key.fingerprint().to_string(), "tracker_info.txt".into()] {
        assert!(said.contains(&part), "{part} is not named in {said}");
    }
    drop(nik);
    // The user accepts the other network: then it is a tracker like any other, and the first one is
    // false.
    std::fs::write(&info, format!("network {}\n{}\n", fake.key.fingerprint(), fake.address))
        .unwrap();
    let mut nik = ClientProcess::start(&home, any_port(), &info, true);
    eventually("the tracker that was accepted is trusted", || {
        fake.dialled.recv_timeout(TIMEOUT).unwrap().then_some(())
    });
    nik.object("trackers");
    drop(nik);
    let plain = home.join("plain.txt");
    std::fs::write(&plain, format!("{}\n", world.tracker(1))).unwrap();
    let mut nik = ClientProcess::start(&home, any_port(), &plain, true);
    nik.refused("login nik pw-nik", &real.to_string());
}

#[test]
fn a_false_tracker_beside_a_true_one_changes_nothing() {
    let world = World::new(1);
    let fake = FalseTracker::start(any_port());
    let info = world.path().join("both.txt");
    let text = std::fs::read_to_string(&world.info).unwrap();
    std::fs::write(&info, format!("{text}{}\n", fake.address)).unwrap();
    let mut nik = ClientProcess::start(&world.home("nik"), any_port(), &info, true);
    nik.enter("nik");
    nik.ok("create_group lab", &[]);
    fake.assert_shunned();
}

#[test]
fn a_tracker_of_another_network_is_no_peer() {
    let mut world = World::of_unnamed_network(2);
    world.group("lab", &["nik"]);
    world.wait_synced();
    let mut nik = world.client("nik");
    nik.login("nik");
    let home = nik.home.clone();
    drop(nik);
    // The second tracker loses disk and key, and comes back with a key of its own.
    world.trackers[1].wipe();
    let other = world.path().join("other.key");
    let before = world.trackers[0].status().directory().to_owned();
    world.trackers[1].restart_with_key(&other);
    let said = |process: &mut crate::harness::Process, text: &str| {
        let found = process.wait_said(TIMEOUT, |said| {
            said.err.iter().any(|line| line.contains(text)).then_some(())
        });
        assert!(found.is_some(), "nobody said {text}");
    };
    let [real, found] = [world.network_key(), other]
        .map(|path| KeyPair::load(&path).unwrap().fingerprint().to_string());
    said(world.trackers[0].process(), &found);
    said(world.trackers[1].process(), &real);
    assert!(world.trackers[0].status().is_degraded() && world.trackers[1].status().is_degraded());
    assert_ne!(world.trackers[1].status().directory(), before, "it learnt the directory");
    // As primary: the only one left is not trusted by a client that knows the network.
    world.trackers[0].kill9();
    let mut nik = ClientProcess::start(&home, any_port(), &world.info, true);
    nik.refused("login nik pw-nik", &found);
}

/// What a seeder with a file of a group looks like to somebody who would like to have it.
struct Target {
    address: SocketAddr,
    device: DeviceId,
    group: GroupId,
    user: UserId,
    info_hash: InfoHash,
}

/// nik seeds in "lab", where bob is too; eve has an account, and a group of her own.
fn target(world: &World) -> (ClientProcess, Target) {
    let content = Content::new("plans.bin", 1 << 20, 3);
    world.put("nik", &content);
    let mut nik = world.client("nik");
    nik.login("nik");
    assert_eq!(nik.object("upload_file plans.bin lab")["ok"], true);
    let device = KeyPair::load(&nik.path(".posse/device.key")).unwrap().device();
    let mut raw = RawClient::enter(world.tracker(world.trackers.len()), "nik");
    let group = raw.group("lab").group;
    let Reply::User(user) = raw.ask(Request::WhoAmI).unwrap() else { panic!() };
    let info_hash = content.facts().info_hash;
    let target = Target { address: nik.address, device, group, user: user.user, info_hash };
    (nik, target)
}

/// Dials the seeder as a device, sends what is given, and returns all that comes back.
fn visit(target: &Target, device: &Device, words: &[u8]) -> Vec<u8> {
    let mut stream =
        device.dial(target.address, target.device).expect("any device may shake hands");
    stream.set_patience(TIMEOUT);
    // The seeder may close before everything is written.
    let _ = stream.write_all(words);
    let mut heard = Vec::new();
    if let Err(e) = stream.read_to_end(&mut heard) {
        assert_ne!(e.kind(), std::io::ErrorKind::TimedOut, "the seeder keeps the connection");
    }
    heard
}

/// A device's words on a link: a ticket, and who it is for which file.
fn opening(ticket: &Ticket, device: DeviceId, info_hash: InfoHash) -> Vec<u8> {
    let mut words = to_frame(ticket);
    words.extend(Handshake::new(info_hash, PeerId::of_device(device)).encode());
    words
}

/// A session at a tracker with a device key of its own.
fn session(world: &World, user: &str) -> RawClient {
    RawClient::enter(world.tracker(world.trackers.len()), user)
}

/// Every stranger tries; none hears a byte.
fn strangers_get_nothing(world: &World, target: &Target) {
    let network = KeyPair::load(&world.network_key()).unwrap();
    let nobody = device();
    let claims = |device, issued_ms, expires_ms| TicketClaims {
        group: target.group,
        user: target.user,
        device,
        issued_ms,
        expires_ms,
    };
    let (now, minute) = (now_ms(), 60_000);
    let (other_network, thief) = (KeyPair::generate().unwrap(), device());
    let (mut bob, mut eve) = (session(world, "bob"), session(world, "eve"));
    let bobs = bob.ticket(target.group).expect("bob is a member");
    assert_eq!(eve.ticket(target.group), None, "eve is not a member of lab");
    let eves_group = eve.create_group(&format!("eves-{}", &eve.device.id.to_string()[..8]));
    let eves = eve.ticket(eves_group).expect("eve is a member of her own group");
    let good = claims(nobody.id, now, now + minute);
    let foreign = other_network.sign_ticket(good);
    let forged = Ticket { claims: good, signature: bobs.signature };
    let expired = network.sign_ticket(claims(nobody.id, now - 2 * minute, now - minute));
    let attempts: Vec<(&str, &Device, Vec<u8>)> = vec![
        (
            "the handshake of BitTorrent",
            &nobody,
            Handshake::new(target.info_hash, PeerId::of_device(nobody.id)).encode().into(),
        ),
        ("nothing but noise", &nobody, vec![0xa5; 4096]),
        (
            "a ticket that another network signed",
            &nobody,
            opening(&foreign, nobody.id, target.info_hash),
        ),
        (
            "a ticket with somebody else's signature",
            &nobody,
            opening(&forged, nobody.id, target.info_hash),
        ),
        ("an expired ticket", &nobody, opening(&expired, nobody.id, target.info_hash)),
        ("another device's ticket", &thief, opening(&bobs, thief.id, target.info_hash)),
        (
            "another device's ticket, and its name",
            &thief,
            opening(&bobs, bob.device.id, target.info_hash),
        ),
        (
            "a ticket of a group in which the seeder is not",
            &eve.device,
            opening(&eves, eve.device.id, target.info_hash),
        ),
    ];
    for (what, device, words) in attempts {
        let heard = visit(target, device, &words);
        assert!(heard.is_empty(), "{what} brought {} bytes", heard.len());
    }
    // A plain client of BitTorrent does not even come to speak.
    let mut plain = TcpStream::connect(target.address).unwrap();
    let _ =
        plain.write_all(&Handshake::new(target.info_hash, PeerId::of_device(nobody.id)).encode());
    plain.set_read_timeout(Some(TIMEOUT)).unwrap();
    let mut heard = Vec::new();
    let _ = plain.read_to_end(&mut heard);
    assert!(
        heard.len() < 16 && !heard.windows(4).any(|window| window == b"BitT"),
        "a TLS alert is all there is: {heard:?}"
    );
    // And bob's own device does.
    let mut link = RawLink::dial(&bob.device, target.address, target.device).unwrap();
    let shown = link.show(&bobs).expect("the seeder shows its ticket to a member");
    assert!(
        network.network().signed_ticket(&shown)
            && shown.claims.group == target.group
            && shown.claims.device == target.device
    );
    link.shake_hands(target.info_hash).expect("and has the file");
}

/// A token is of use to one device alone, and only to the trackers of its network.
fn borrowed_tokens_are_refused(world: &mut World) {
    let mut bob = session(world, "bob");
    let token = bob.token.take().expect("bob is logged in");
    for tracker in
        world.trackers.iter_mut().filter_map(|tracker| tracker.is_up().then_some(tracker.address))
    {
        let resume = |device: &Device, token: &SessionToken| {
            let mut raw = RawClient::connect(tracker, device, 1).unwrap();
            let reply = raw.ask(Request::Resume { token: token.clone() }).unwrap();
            (reply, raw)
        };
        let (reply, mut raw) = resume(&device(), &token);
        assert_eq!(reply, Reply::Refused(Refusal::SessionOver));
        assert_eq!(raw.ask(Request::WhoAmI).unwrap(), Reply::Refused(Refusal::LoginFirst));
        // An altered one no key has signed that counts here, and it is of no use; the true one is
        // good for its own device, on every tracker.
        let mut altered = token.to_bytes();
        altered[3] ^= 1;
        let altered = SessionToken::from_bytes(&altered).unwrap();
        let (reply, mut raw) = resume(&bob.device, &altered);
        assert_eq!(reply, Reply::Refused(Refusal::Busy));
        assert_eq!(raw.ask(Request::WhoAmI).unwrap(), Reply::Refused(Refusal::LoginFirst));
        assert!(matches!(resume(&bob.device, &token).0, Reply::LoggedIn { .. }));
    }
}

#[test]
fn strangers_and_thieves_get_nothing() {
    let mut world = World::new(2);
    world.group("lab", &["nik", "bob"]);
    world.wait_synced();
    let (mut nik, target) = target(&world);
    strangers_get_nothing(&world, &target);
    borrowed_tokens_are_refused(&mut world);
    // Right after a failover it is the same.
    world.trackers[0].kill9();
    strangers_get_nothing(&world, &target);
    borrowed_tokens_are_refused(&mut world);
    nik.ok("whoami", &[]);
}
