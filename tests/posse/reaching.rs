//! Members reach each other at any of their addresses, and nobody is sent elsewhere.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use posse::types::{Candidate, CandidateKind, DownloadState, Refusal};
use posse::wire::tracker::{Reply, Request};
use serde_json::Value;

use crate::harness::{
    Cable, ClientProcess, Content, House, Pace, RawClient, World, eventually, sha1_of,
};

const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
/// The same for both families.
const BOTH: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0);

/// How long a seeder that has moved is not reached: five seconds, on a machine that does other
/// things too.
const MOVED_MAX: Duration = Duration::from_secs(8);

fn share(nik: &mut ClientProcess, bob: &mut ClientProcess, content: &Content) {
    nik.login("nik");
    // Slow enough to be looked at.
    nik.ok("limits upload 1MiB/s", &[]);
    nik.ok(&format!("upload_file {} lab", content.name), &[]);
    bob.login("bob");
    bob.ok(&format!("download_file lab {}", content.name), &[]);
}

/// The addresses of one list in what `addresses` says.
fn listed(client: &mut ClientProcess, list: &str, field: &str) -> Vec<String> {
    let said: Value = client.object("addresses");
    let all = said[list].as_array().unwrap_or_else(|| panic!("{said}"));
    all.iter().map(|one| one[field].as_str().unwrap().to_owned()).collect()
}

/// Waits until somebody has dialled the client at that address, while a download runs.
fn is_reached_at(client: &mut ClientProcess, address: IpAddr) {
    let at = SocketAddr::new(address, client.address.port()).to_string();
    eventually("it is reached there", || {
        listed(client, "reached", "at").contains(&at).then_some(())
    });
}

#[test]
fn members_behind_one_router_meet_on_its_inside() {
    let Some(house) = House::build(2) else { return };
    let world = World::with_options(1, &["--listen", "0.0.0.0"]);
    world.group("lab", &["nik", "bob"]);
    let info = house.router.info(&world);
    let content = Content::new("a.bin", 8 << 20, 801);
    world.put("nik", &content);
    let mut nik = house.client(0, &world.home("nik"), &info);
    let mut bob = house.client(1, &world.home("bob"), &info);
    share(&mut nik, &mut bob, &content);
    is_reached_at(&mut nik, house.address(0));
    // The tracker sees both at the router's outside, where nobody answers.
    let outside = SocketAddr::new(house.router.there(), nik.address.port()).to_string();
    assert_eq!(listed(&mut nik, "observed", "address"), [outside]);
    for client in [&mut nik, &mut bob] {
        let said = client.object("show_peers lab a.bin");
        assert_eq!(said["peers"][0]["lan"], true, "{said}");
    }
    let said = bob.object("show_downloads");
    assert_eq!(said["downloads"][0]["lan"], 1, "{said}");
    nik.ok("limits upload off", &[]);
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("a.bin")), content.sha1());
}

#[test]
fn a_client_beside_the_tracker_is_reached_from_elsewhere() {
    let Some(cable) = Cable::lay() else { return };
    let world = World::with_options(1, &["--listen", "0.0.0.0"]);
    world.group("lab", &["nik", "bob"]);
    let content = Content::new("a.bin", 8 << 20, 802);
    world.put("nik", &content);
    // It has its session over loopback.
    let mut nik = ClientProcess::start(&world.home("nik"), ANY, &world.info, true);
    let mut bob = cable.client(&world.home("bob"), ANY.ip(), &cable.info(&world));
    share(&mut nik, &mut bob, &content);
    is_reached_at(&mut nik, cable.here());
    let why = bob.object("why lab a.bin").to_string();
    assert!(!why.contains("127.0.0.1"), "{why}");
    nik.ok("limits upload off", &[]);
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("a.bin")), content.sha1());
}

#[test]
fn a_machine_with_ipv6_alone_meets_one_with_both() {
    let Some(cable) = Cable::lay() else { return };
    let Some((here, there)) = cable.add_ipv6() else { return };
    let world = World::with_options(1, &["--listen", "[::]"]);
    world.group("lab", &["nik", "bob"]);
    let [first, second] =
        [("a.bin", 803), ("b.bin", 804)].map(|(name, seed)| Content::new(name, 3 << 20, seed));
    world.put("nik", &first);
    world.put("bob", &second);
    let info = cable.info_at(&world, here);
    cable.remove_ipv4();
    let every: IpAddr = Ipv6Addr::UNSPECIFIED.into();
    let any = SocketAddr::new(every, 0);
    let mut bob = ClientProcess::start(&world.home("bob"), any, &world.info, true);
    let mut nik = cable.client(&world.home("nik"), every, &info);
    share(&mut nik, &mut bob, &first);
    is_reached_at(&mut nik, there);
    nik.ok("limits upload off", &[]);
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("a.bin")), first.sha1());
    // The other way: the tracker sees bob at 127.0.0.1.
    bob.ok("upload_file b.bin lab", &[]);
    nik.ok("download_file lab b.bin", &[]);
    nik.wait_downloads();
    assert_eq!(sha1_of(&nik.path("b.bin")), second.sha1());
}

/// How soon and how fast a file comes from nik to bob, who has asked for nothing before.
fn pace(row: &str, nik: &mut ClientProcess, bob: &mut ClientProcess, content: &Content) -> Pace {
    nik.login("nik");
    nik.ok(&format!("upload_file {} lab", content.name), &[]);
    bob.login("bob");
    let began = Instant::now();
    bob.ok(&format!("download_file lab {}", content.name), &[]);
    let pace = Pace::of(bob, &content.name, content.bytes.len(), began);
    eprintln!("{row}: {pace}");
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path(&content.name)), content.sha1());
    pace
}

/// A world whose tracker listens everywhere, and a file of nik's.
fn far_world(listen: &str, seed: u64) -> (World, Content) {
    let world = World::with_options(1, &["--listen", listen]);
    world.group("lab", &["nik", "bob"]);
    let content = Content::new("a.bin", 32 << 20, seed);
    world.put("nik", &content);
    (world, content)
}

#[test]
fn members_who_meet_inside_or_over_ipv6_wait_no_longer_than_those_on_one_cable() {
    let Some(cable) = Cable::lay() else { return };
    let (world, content) = far_world("0.0.0.0", 807);
    let info = cable.info(&world);
    let mut nik = cable.client(&world.home("nik"), ANY.ip(), &info);
    let mut bob = ClientProcess::start(&world.home("bob"), ANY, &info, true);
    let direct = pace("one cable, IPv4", &mut nik, &mut bob, &content);
    drop((nik, bob));

    let Some(house) = House::build(2) else { return };
    let (world, content) = far_world("0.0.0.0", 808);
    let info = house.router.info(&world);
    let mut nik = house.client(0, &world.home("nik"), &info);
    let mut bob = house.client(1, &world.home("bob"), &info);
    let inside = pace("both behind one router", &mut nik, &mut bob, &content);
    drop((nik, bob));

    let Some(cable) = Cable::lay() else { return };
    let Some((here, _)) = cable.add_ipv6() else { return };
    let (world, content) = far_world("[::]", 809);
    let info = cable.info_at(&world, here);
    cable.remove_ipv4();
    let mut nik = cable.client(&world.home("nik"), BOTH.ip(), &info);
    let mut bob = ClientProcess::start(&world.home("bob"), BOTH, &world.info, true);
    let over_ipv6 = pace("IPv6 alone and both", &mut nik, &mut bob, &content);
    for (row, pace) in [("inside", inside), ("over IPv6", over_ipv6)] {
        assert!(pace.first < direct.first + Duration::from_secs(2), "{row}: {pace}");
    }
}

#[test]
fn what_the_user_advertises_is_offered_first() {
    let world = World::new(2);
    world.group("lab", &["nik"]);
    let options = ["--advertise", "203.0.113.9", "--advertise", "[2001:db8::9]:77"];
    let home = world.home("nik");
    let mut nik = ClientProcess::start_with(&home, ANY, &world.info, true, &options);
    nik.login("nik");
    let port = nik.address.port();
    let offered = listed(&mut nik, "offered", "address");
    assert_eq!(offered[..2], [format!("203.0.113.9:{port}"), "[2001:db8::9]:77".into()]);
    let kinds = listed(&mut nik, "offered", "kind");
    assert_eq!(kinds[..2], ["advertised", "advertised"]);
    assert!(kinds[2..].iter().all(|kind| kind == "interface"));
    assert!(offered.iter().all(|address| !address.starts_with("127.")), "{offered:?}");
    eventually("both trackers say where they see it", || {
        let seen = listed(&mut nik, "observed", "address");
        (seen == [format!("127.0.0.1:{port}"), format!("127.0.0.1:{port}")]).then_some(())
    });
}

#[test]
fn a_seeder_that_moves_is_dialled_where_it_is_within_seconds() {
    let Some(cable) = Cable::lay() else { return };
    let world = World::with_options(1, &["--listen", "0.0.0.0"]);
    world.group("lab", &["nik", "bob"]);
    let info = cable.info(&world);
    let content = Content::new("big.bin", 24 << 20, 805);
    world.put("nik", &content);
    let mut nik = cable.client(&world.home("nik"), ANY.ip(), &info);
    let mut bob = ClientProcess::start(&world.home("bob"), ANY, &info, true);
    share(&mut nik, &mut bob, &content);
    is_reached_at(&mut nik, cable.there());
    eventually("it moves", || (bob.bytes_done("big.bin") >= 2 << 20).then_some(()));
    let left = Instant::now();
    cable.change_address();
    is_reached_at(&mut nik, cable.there_now());
    let took = left.elapsed();
    println!("reached again after {took:?}");
    assert!(took < MOVED_MAX, "it was reached again after {took:?}");
    nik.ok("limits upload off", &[]);
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("big.bin")), content.sha1());
    // What was verified before is not fetched twice: at most what was on its way is.
    let sent = nik.object("show_uploads")["uploads"][0]["bytes_sent"].as_u64().unwrap();
    assert!(sent <= content.bytes.len() as u64 + (4 << 20), "{sent} bytes were sent");
}

/// Tells the tracker where eve's device is; false if she does so too often.
fn tell(eve: &mut RawClient, all: &[SocketAddr]) -> bool {
    let kind = CandidateKind::Interface;
    let candidates = all.iter().map(|address| Candidate { address: *address, kind }).collect();
    let reply = eve.ask(Request::Candidates { candidates }).unwrap();
    let is_busy = reply == Reply::Refused(Refusal::Busy);
    assert!(is_busy || reply == Reply::Pong, "{reply:?}");
    !is_busy
}

/// A third party's service: it answers each connection with a line, and keeps what came first.
fn bystander() -> (SocketAddr, Arc<Mutex<Vec<Vec<u8>>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, came) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<Vec<u8>>>>::default());
    let kept = came.clone();
    // It ends with the tests.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut bytes = vec![0; 4096];
            let len = stream.read(&mut bytes).unwrap_or(0);
            bytes.truncate(len);
            let _ = stream.write_all(b"220 mail.example ESMTP\r\n");
            let _ = stream.read_to_end(&mut bytes);
            kept.lock().unwrap().push(bytes);
        }
    });
    (address, came)
}

#[test]
fn a_member_who_names_a_third_party_costs_it_a_connection() {
    let world = World::new(1);
    world.group("lab", &["nik", "bob", "eve"]);
    let mut eve = RawClient::enter(world.tracker(1), "eve");
    let (group, facts) = (eve.group("lab").group, Content::new("a.bin", 1 << 20, 806).facts());
    let info_hash = facts.info_hash;
    eve.share(group, facts);
    let ((victim, came), (last, seen)) = (bystander(), bystander());
    assert!(tell(&mut eve, &[victim]));
    eve.announce(group, info_hash, DownloadState::Seeding);
    let mut bob = world.client("bob");
    bob.login("bob");
    bob.ok("download_file lab a.bin", &[]);
    let count = |came: &Mutex<Vec<Vec<u8>>>| came.lock().unwrap().len();
    let begun = Instant::now();
    eventually("it was dialled", || (count(&came) > 0).then_some(()));
    // Each change of eve's addresses is told to bob, and most are refused.
    let is_taken = |number: &u16| {
        let other = SocketAddr::new(victim.ip(), 1 + number);
        tell(&mut eve, &[victim, other])
    };
    let taken = (0..30).filter(is_taken).count();
    assert!((3..15).contains(&taken), "{taken}");
    eventually("the last is taken", || tell(&mut eve, &[victim, last]).then_some(()));
    eventually("he has heard of the last", || (count(&seen) > 0).then_some(()));
    // It finishes no handshake, so it is left alone for one second, then two, four, and so on.
    let (dials, seconds) = (count(&came), begun.elapsed().as_secs());
    assert!(dials <= 1 + (seconds + 1).ilog2() as usize, "{dials} dials in {seconds} s");
    for bytes in came.lock().unwrap().iter() {
        let len = usize::from(u16::from_be_bytes([bytes[3], bytes[4]]));
        assert_eq!((bytes[0], bytes[5]), (22, 1), "a ClientHello");
        // Behind it at most the alert that ends TLS.
        assert!(bytes.len() <= 5 + len + 7, "{} bytes came", bytes.len());
    }
}
