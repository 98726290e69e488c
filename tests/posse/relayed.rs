//! Members who cannot reach each other meet at a relay, and nobody else does.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use posse::types::{Change, DeviceId, GroupId, Refusal, RelaySecret, UserId};
use posse::wire::frame::write_message;
use posse::wire::relay::RelayHello;
use posse::wire::tracker::{Event, FromClient, FromTracker, Reply, Request};

use crate::harness::{
    Cable, ClientProcess, Content, House, RawClient, World, device, eventually, request_id, sha1_of,
};

const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
/// Options of a tracker that relays for everybody who reaches it.
const RELAYS: [&str; 3] = ["--listen", "0.0.0.0", "--relay=0.0.0.0:0"];
/// Within this time after the command bytes come through the relay.
const RELAYED_WITHIN: Duration = Duration::from_secs(3);

/// Within this time a link has ended whose other end has vanished behind the relay; and within it
/// there is another one, once that end is back.
const ENDED_WITHIN: Duration = Duration::from_secs(20);

/// What `show_downloads` says of a file.
fn download(client: &mut ClientProcess, name: &str) -> serde_json::Value {
    let said = client.object("show_downloads");
    let all = said["downloads"].as_array().unwrap_or_else(|| panic!("{said}"));
    let of_name = all.iter().find(|one| one["file"] == name);
    of_name.unwrap_or_else(|| panic!("{said}")).clone()
}

/// Waits until bytes of the download have come over links that are all relayed; returns the time
/// since `began`.
fn is_relayed(client: &mut ClientProcess, name: &str, began: Instant) -> Duration {
    eventually("it is relayed", || {
        let of_file = download(client, name);
        (of_file["relayed"].as_u64() > Some(0)).then_some(())
    });
    began.elapsed()
}

#[test]
fn two_homes_whose_routers_change_ports_meet_at_the_trackers_relay() {
    let Some(first) = House::build(1) else { return };
    let Some(second) = House::build(1) else { return };
    for house in [&first, &second] {
        house.make_symmetric();
    }
    let world = World::with_options(1, &RELAYS);
    world.group("lab", &["nik", "bob"]);
    let content = Content::new("a.bin", 8 << 20, 902);
    world.put("nik", &content);
    let mut nik = first.client(0, &world.home("nik"), &first.router.info(&world));
    let mut bob = second.client(0, &world.home("bob"), &second.router.info(&world));
    nik.login("nik");
    nik.ok("limits upload 1MiB/s", &[]);
    nik.ok("upload_file a.bin lab", &[]);
    bob.login("bob");
    let began = Instant::now();
    bob.ok("download_file lab a.bin", &[]);
    let took = is_relayed(&mut bob, "a.bin", began);
    println!("relayed after {took:?}");
    assert!(took < RELAYED_WITHIN, "it was relayed after {took:?}");
    nik.ok("limits upload off", &[]);
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("a.bin")), content.sha1());
}

#[test]
fn a_relayed_link_whose_far_end_has_vanished_ends_soon_and_another_takes_its_place() {
    let Some(first) = House::build(1) else { return };
    let Some(second) = House::build(1) else { return };
    for house in [&first, &second] {
        house.make_symmetric();
    }
    let world = World::with_options(1, &RELAYS);
    world.group("lab", &["nik", "bob"]);
    let content = Content::new("a.bin", 48 << 20, 906);
    world.put("nik", &content);
    let mut nik = first.client(0, &world.home("nik"), &first.router.info(&world));
    let mut bob = second.client(0, &world.home("bob"), &second.router.info(&world));
    nik.login("nik");
    nik.ok("limits upload 1MiB/s", &[]);
    nik.ok("upload_file a.bin lab", &[]);
    bob.login("bob");
    bob.ok("download_file lab a.bin", &[]);
    is_relayed(&mut bob, "a.bin", Instant::now());
    eventually("it moves", || (bob.bytes_done("a.bin") >= 1 << 20).then_some(()));
    // Not a packet of it arrives any more: only the relay's system can find that out.
    first.router.plug(false);
    let began = Instant::now();
    eventually("the dead link ends", || (download(&mut bob, "a.bin")["peers"] == 0).then_some(()));
    let took = began.elapsed();
    println!("the dead link has ended after {took:?}");
    assert!(took < ENDED_WITHIN, "it ended after {took:?}");
    first.router.plug(true);
    let (before, began) = (bob.bytes_done("a.bin"), Instant::now());
    eventually("it goes on", || (bob.bytes_done("a.bin") >= before + (1 << 20)).then_some(()));
    let took = began.elapsed();
    println!("it went on {took:?} after the cable was back");
    assert!(took < ENDED_WITHIN, "it went on after {took:?}");
    nik.ok("limits upload off", &[]);
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("a.bin")), content.sha1());
}

#[test]
fn ipv6_alone_and_ipv4_alone_meet_at_a_relay_that_has_both() {
    let Some(six) = Cable::lay() else { return };
    let Some((here, _)) = six.add_ipv6() else { return };
    let Some(four) = Cable::lay() else { return };
    let world = World::with_options(1, &["--listen", "[::]", "--relay=[::]:0"]);
    world.group("lab", &["nik", "bob"]);
    let content = Content::new("a.bin", 4 << 20, 903);
    world.put("nik", &content);
    let info = six.info_at(&world, here);
    six.remove_ipv4();
    let mut nik = six.client(&world.home("nik"), ANY.ip(), &info);
    let mut bob = four.client(&world.home("bob"), ANY.ip(), &four.info(&world));
    nik.login("nik");
    nik.ok("limits upload 1MiB/s", &[]);
    nik.ok("upload_file a.bin lab", &[]);
    bob.login("bob");
    let began = Instant::now();
    bob.ok("download_file lab a.bin", &[]);
    let took = is_relayed(&mut bob, "a.bin", began);
    assert!(took < RELAYED_WITHIN, "it was relayed after {took:?}");
    let said = bob.object("why lab a.bin").to_string();
    assert!(said.contains("through a relay"), "{said}");
    let said = bob.object("show_peers lab a.bin");
    assert_eq!(said["peers"][0]["relayed"], true, "{said}");
    assert_eq!(bob.object("addresses")["relays"].as_array().map(Vec::len), Some(1));
    nik.ok("limits upload off", &[]);
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("a.bin")), content.sha1());
}

#[test]
fn a_willing_member_relays_where_no_tracker_does() {
    let Some(first) = House::build(1) else { return };
    let Some(second) = House::build(1) else { return };
    let world = World::with_options(1, &["--listen", "0.0.0.0"]);
    world.group("lab", &["nik", "bob", "eve"]);
    let content = Content::new("a.bin", 4 << 20, 904);
    world.put("nik", &content);
    let info = first.router.info(&world);
    let home = world.home("eve");
    let mut eve = ClientProcess::start_with(&home, ANY, &info, true, &["--relay"]);
    eve.login("eve");
    assert!(eve.object("addresses")["relaying"].is_string());
    let mut nik = first.client(0, &world.home("nik"), &info);
    let mut bob = second.client(0, &world.home("bob"), &second.router.info(&world));
    nik.login("nik");
    nik.ok("limits upload 1MiB/s", &[]);
    nik.ok("upload_file a.bin lab", &[]);
    bob.login("bob");
    let began = Instant::now();
    bob.ok("download_file lab a.bin", &[]);
    is_relayed(&mut bob, "a.bin", began);
    nik.ok("limits upload off", &[]);
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("a.bin")), content.sha1());
}

#[test]
fn who_wants_no_relay_has_none() {
    let Some(first) = House::build(1) else { return };
    let Some(second) = House::build(1) else { return };
    let world = World::with_options(1, &RELAYS);
    world.group("lab", &["nik", "bob"]);
    let content = Content::new("a.bin", 1 << 20, 905);
    world.put("nik", &content);
    let mut nik = first.client(0, &world.home("nik"), &first.router.info(&world));
    let options = ["--no-relays"];
    let mut bob = second.client_with(0, &world.home("bob"), &second.router.info(&world), &options);
    nik.login("nik");
    nik.ok("upload_file a.bin lab", &[]);
    bob.login("bob");
    bob.ok("download_file lab a.bin", &[]);
    eventually("it says why", || {
        let said = bob.object("why lab a.bin").to_string();
        said.contains("--no-relays").then_some(())
    });
    assert_eq!(download(&mut bob, "a.bin")["peers"], 0);
    // Nor is it met by others.
    let mut eve = RawClient::enter(world.tracker(1), "bob");
    let group = eve.group("lab").group;
    let device = bob.device();
    let refused = eve.ask(Request::AskRelay { group, device }).unwrap();
    assert_eq!(refused, Reply::Refused(Refusal::NoSuchDevice));
}

/// Reads what the tracker says until it has named a place, and answered if that is awaited.
fn told_place(client: &mut RawClient, mut is_answered: bool) -> (SocketAddr, RelaySecret) {
    let mut place = None;
    loop {
        match client.receive().unwrap() {
            FromTracker::Event(Event::Relayed { address, secret, .. }) => {
                place = Some((address, secret));
            }
            FromTracker::Reply { reply, .. } => {
                assert_eq!(reply, Reply::Pong);
                is_answered = true;
            }
            _ => {}
        }
        if let Some(place) = place.take_if(|_| is_answered) {
            return place;
        }
    }
}

fn user_of(client: &mut RawClient) -> UserId {
    match client.ask(Request::WhoAmI).unwrap() {
        Reply::User(entry) => entry.user,
        other => panic!("{other:?}"),
    }
}

fn accept_relayed(client: &mut RawClient) {
    let request = Request::RelayUse { accepts: true, relays_at: None };
    assert_eq!(client.ask(request).unwrap(), Reply::Pong);
}

fn ask_for(client: &mut RawClient, group: GroupId, device: DeviceId) -> Reply {
    client.ask(Request::AskRelay { group, device }).unwrap()
}

fn is_closed(mut stream: &TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    match stream.read(&mut [0; 1]) {
        Ok(len) => len == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn strangers_former_members_and_members_of_other_groups_are_refused() {
    let world = World::with_options(1, &["--relay=127.0.0.1:0"]);
    world.group("lab", &["nik", "bob"]);
    world.group("den", &["eve", "mia"]);
    let tracker = world.tracker(1);
    let [mut nik, mut bob, mut eve] =
        ["nik", "bob", "eve"].map(|name| RawClient::enter(tracker, name));
    let (lab, den) = (nik.group("lab").group, eve.group("den").group);
    let (of_nik, of_eve) = (nik.device.id, eve.device.id);
    let not_there = Reply::Refused(Refusal::NoSuchDevice);
    assert_eq!(ask_for(&mut bob, lab, of_nik), not_there, "it has not said that it takes any");
    [&mut nik, &mut bob, &mut eve].into_iter().for_each(accept_relayed);
    let mut stranger = RawClient::connect(tracker, &device(), 1).unwrap();
    let login_first = Reply::Refused(Refusal::LoginFirst);
    assert_eq!(ask_for(&mut stranger, lab, of_nik), login_first);
    let not_member = Reply::Refused(Refusal::NotMember);
    assert_eq!(ask_for(&mut eve, lab, of_nik), not_member);
    assert_eq!(ask_for(&mut eve, den, of_nik), not_there);
    assert_eq!(ask_for(&mut bob, lab, of_eve), not_there);
    let own = bob.device.id;
    assert_eq!(ask_for(&mut bob, lab, own), not_there, "itself");
    // The two who may meet do so.
    let request = Request::AskRelay { group: lab, device: of_nik };
    write_message(&mut bob.stream, &FromClient { number: 1_000, request }).unwrap();
    let (_, of_bob) = told_place(&mut bob, false);
    let (relay, secret) = told_place(&mut nik, true);
    assert!(relay.ip().is_unspecified());
    let relay = SocketAddr::new(tracker.ip(), relay.port());
    let show = |secret: &RelaySecret| {
        let mut stream = TcpStream::connect(relay).unwrap();
        stream.write_all(&RelayHello { secret: secret.clone() }.encode()).unwrap();
        stream
    };
    let mut end = show(&secret);
    assert!(is_closed(&show(&secret)), "it counts once");
    assert!(is_closed(&show(&RelaySecret::from_bytes([7; 32]))), "nobody has that one");
    let mut other = show(&of_bob);
    other.write_all(b"sealed").unwrap();
    let mut came = [0; 6];
    end.read_exact(&mut came).unwrap();
    assert_eq!(&came, b"sealed");
    // Who is removed is cut off, although a ticket of before would count for ten minutes.
    let user = user_of(&mut bob);
    nik.change(request_id(), &Change::RemoveMember { group: lab, user }).unwrap();
    assert!(is_closed(&end) && is_closed(&other));
    assert_eq!(ask_for(&mut bob, lab, of_nik), not_member);
}
