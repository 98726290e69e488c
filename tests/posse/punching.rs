//! Members behind routers that let nobody in connect to each other at one moment.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use posse::net::{Listener, Stop};
use posse::types::{DownloadState, PunchSecret, Refusal};
use posse::wire::tracker::{Event, FromTracker, Reply, Request};

use crate::harness::{
    ClientProcess, Content, RawClient, Router, Street, World, device, eventually, sha1_of,
};

const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

fn world() -> World {
    let world = World::with_options(1, &["--listen", "0.0.0.0"]);
    world.group("lab", &["nik", "bob", "eve"]);
    world
}

fn seed(client: &mut ClientProcess, user: &str, content: &Content) {
    client.login(user);
    client.ok(&format!("upload_file {} lab", content.name), &[]);
}

/// Begins a download; returns how long it took until the first bytes were here.
fn fetch(client: &mut ClientProcess, content: &Content) -> Duration {
    let begun = Instant::now();
    client.ok(&format!("download_file lab {}", content.name), &[]);
    let has_some = |client: &mut ClientProcess| client.bytes_done(&content.name) > 0;
    eventually("something has come", || has_some(client).then_some(()));
    begun.elapsed()
}

fn why(client: &mut ClientProcess, file: &str) -> String {
    client.object(&format!("why lab {file}")).to_string()
}

/// The users at the other ends of links that were punched, or were not.
fn linked(client: &mut ClientProcess, file: &str, punched: bool) -> Vec<String> {
    let said = client.object(&format!("show_peers lab {file}"));
    let peers = said["peers"].as_array().unwrap_or_else(|| panic!("{said}")).iter();
    let mut users: Vec<String> = peers
        .filter(|peer| peer["punched"] == punched)
        .map(|peer| peer["user"].as_str().unwrap_or("?").to_owned())
        .collect();
    users.sort();
    users
}

#[test]
fn homes_without_a_mapping_meet_through_holes() {
    let Some(street) = Street::build(&[Router::EndpointIndependent; 3]) else { return };
    let world = world();
    let info = street.info(&world);
    let [far, near, small] = [("far.bin", 24, 901), ("near.bin", 24, 902), ("small.bin", 1, 903)]
        .map(|(name, mib, seed)| Content::new(name, mib << 20, seed));
    for user in ["nik", "eve"] {
        world.put(user, &far);
    }
    world.put("nik", &small);
    let mut nik = street.client(0, &world.home("nik"), &info);
    let mut eve = street.client(1, &world.home("eve"), &info);
    let mut bob = street.client(2, &world.home("bob"), &info);
    for (client, user) in [(&mut nik, "nik"), (&mut eve, "eve")] {
        seed(client, user, &far);
        client.ok("limits upload 2MiB/s", &[]);
    }
    bob.login("bob");
    let punched = fetch(&mut bob, &far);
    eventually("both are linked", || {
        (linked(&mut bob, "far.bin", true) == ["eve", "nik"]).then_some(())
    });
    let said = bob.object("show_downloads");
    assert_eq!(said["downloads"][0]["punched"], 2, "{said}");
    eventually("nik is linked with bob", || {
        (linked(&mut nik, "far.bin", true) == ["bob"]).then_some(())
    });
    // Another file takes a link of its own, between the same two devices.
    nik.ok("upload_file small.bin lab", &[]);
    let again = fetch(&mut bob, &small);
    assert_eq!(linked(&mut bob, "far.bin", true).len(), 2, "the others are there still");
    for client in [&mut nik, &mut eve] {
        client.ok("limits upload off", &[]);
    }
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("far.bin")), far.sha1());
    assert_eq!(sha1_of(&bob.path("small.bin")), small.sha1());
    // Somebody whom any address reaches, to compare with.
    world.put("mia", &near);
    let mut mia = ClientProcess::start(&world.home("mia"), ANY, &info, true);
    mia.login("eve");
    mia.ok("upload_file near.bin lab", &[]);
    let direct = fetch(&mut bob, &near);
    bob.wait_downloads();
    println!(
        "first bytes: through a hole after {punched:?}, of another file after {again:?}, \
         of a direct link after {direct:?}"
    );
    assert!(punched < Duration::from_secs(5), "{punched:?}");
}

#[test]
fn many_files_of_one_home_take_a_hole_each() {
    let Some(street) = Street::build(&[Router::EndpointIndependent; 2]) else { return };
    let world = world();
    let info = street.info(&world);
    let mut nik = street.client(0, &world.home("nik"), &info);
    let mut bob = street.client(1, &world.home("bob"), &info);
    nik.login("nik");
    bob.login("bob");
    let files: Vec<Content> =
        (0..20).map(|n| Content::new(&format!("{n}.bin"), 200_000, 910 + n)).collect();
    for content in &files {
        world.put("nik", content);
        nik.ok(&format!("upload_file {} lab", content.name), &[]);
    }
    let begun = Instant::now();
    for content in &files {
        bob.ok(&format!("download_file lab {}", content.name), &[]);
    }
    bob.wait_downloads();
    println!("{} files after {:?}", files.len(), begun.elapsed());
    for content in &files {
        assert_eq!(sha1_of(&bob.path(&content.name)), content.sha1());
    }
}

#[test]
fn symmetric_routers_make_it_fail_and_cost_nothing_else() {
    let Some(street) = Street::build(&[Router::Symmetric; 2]) else { return };
    let world = world();
    let info = street.info(&world);
    let content = Content::new("a.bin", 8 << 20, 903);
    world.put("nik", &content);
    world.put("eve", &content);
    street.count_dials(1, world.tracker(1));
    let mut nik = street.client(0, &world.home("nik"), &info);
    let mut bob = street.client(1, &world.home("bob"), &info);
    seed(&mut nik, "nik", &content);
    bob.login("bob");
    let begun = Instant::now();
    bob.ok("download_file lab a.bin", &[]);
    let mut slowest = Duration::ZERO;
    eventually("it was tried", || {
        let asked = Instant::now();
        let has_failed = why(&mut bob, "a.bin").contains("hole punching was tried and failed");
        slowest = slowest.max(asked.elapsed());
        has_failed.then_some(())
    });
    let (took, dials) = (begun.elapsed(), street.dials(1));
    println!("failed after {took:?} and {dials} dials; the slowest answer took {slowest:?}");
    assert!(took < Duration::from_secs(8), "{took:?}");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    // Twice at the address that the tracker sees, and four tries.
    assert!(dials <= 8, "{dials} dials");
    assert!(linked(&mut bob, "a.bin", true).is_empty());
    // Another member is fetched from as if nothing had been tried. The reason stays.
    let mut eve = ClientProcess::start(&world.home("eve"), ANY, &info, true);
    seed(&mut eve, "eve", &content);
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("a.bin")), content.sha1());
}

#[test]
fn who_can_be_reached_fetches_from_behind_any_router() {
    // Nobody dials bob: he alone wants something.
    for router in [Router::EndpointIndependent, Router::Symmetric] {
        let Some(street) = Street::build(&[router]) else { return };
        let world = world();
        let info = street.info(&world);
        let content = Content::new("a.bin", 8 << 20, 904);
        world.put("nik", &content);
        let mut nik = street.client(0, &world.home("nik"), &info);
        seed(&mut nik, "nik", &content);
        let mut bob = ClientProcess::start(&world.home("bob"), ANY, &info, true);
        bob.login("bob");
        println!("{router:?}: first bytes after {:?}", fetch(&mut bob, &content));
        bob.wait_downloads();
        assert_eq!(sha1_of(&bob.path("a.bin")), content.sha1());
    }
}

/// The secret of the punch that begins next.
fn begun(client: &mut RawClient) -> PunchSecret {
    loop {
        let heard = client.heard.drain(..).find_map(|event| match event {
            Event::PunchBegun { secret, is_asker: true, .. } => Some(secret),
            _ => None,
        });
        if let Some(secret) = heard {
            return secret;
        }
        if let FromTracker::Event(event) = client.receive().unwrap() {
            client.heard.push(event);
        }
    }
}

#[test]
fn a_member_has_others_connect_to_itself_alone_and_a_few_times() {
    let Some(street) = Street::build(&[Router::EndpointIndependent]) else { return };
    let world = world();
    let info = street.info(&world);
    let tracker = SocketAddr::new(street.here(), world.tracker(1).port());
    let content = Content::new("a.bin", 1 << 20, 905);
    world.put("nik", &content);
    street.count_dials(0, world.tracker(1));
    let mut nik = street.client(0, &world.home("nik"), &info);
    seed(&mut nik, "nik", &content);
    let info_hash = content.facts().info_hash;
    // Eve's own port, on which she says nothing to whoever comes.
    let listener = std::sync::Arc::new(Listener::bind(ANY).unwrap());
    listener.share_port().unwrap();
    let own = device();
    let mut eve = RawClient::connect(tracker, &own, listener.local_addr().port()).unwrap();
    eve.login("eve").unwrap();
    let group = eve.group("lab").group;
    let peers = eve.announce(group, info_hash, DownloadState::Leeching);
    let nik_device = peers[0].device;
    let ask = |client: &mut RawClient| {
        client.ask(Request::Punch { group, info_hash, device: nik_device }).unwrap()
    };
    // Who is not in the group gets the answer that says nothing.
    let mut stranger = RawClient::enter(tracker, "mallory");
    assert_eq!(ask(&mut stranger), Reply::Refused(Refusal::NoSuchDevice));
    let (stop, (sender, came)) = (Stop::new(), crossbeam_channel::unbounded());
    let accepting = std::thread::spawn({
        let (listener, stop) = (listener.clone(), stop.clone());
        move || listener.run(&stop, |incoming| sender.send(incoming).unwrap())
    });
    assert_eq!(ask(&mut eve), Reply::Pong);
    let secret = begun(&mut eve);
    assert_eq!(ask(&mut eve), Reply::Refused(Refusal::Busy), "it waits for her port");
    // Another device's word does not count, wherever it comes from.
    let (from, thief) = (SocketAddr::new(street.here(), 0), device());
    let mut stolen = thief.probe(tracker, from, secret).unwrap();
    let mut byte = [0];
    assert_eq!(std::io::Read::read(&mut stolen, &mut byte).unwrap_or(0), 0, "it is closed");
    assert!(came.is_empty() && street.dials(0) == 0);
    // Her own does, for the port that she has shown.
    let _probe = own.probe(tracker, listener.local_addr(), secret).unwrap();
    let incoming = came.recv_timeout(Duration::from_secs(10)).expect("nik connects");
    assert_eq!(incoming.peer_addr().ip(), street.outside(0));
    let dials = street.dials(0);
    assert!(dials <= 4, "{dials} dials");
    stop.set();
    listener.wake();
    accepting.join().unwrap();
    assert_eq!(nik.object("whoami")["ok"], true, "he goes on");
}
