//! Members who cannot reach each other meet at a relay, and nobody else does.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use crate::harness::{ClientProcess, Content, House, World, eventually, sha1_of};

const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
/// Options of a tracker that relays for everybody who reaches it.
const RELAYS: [&str; 3] = ["--listen", "0.0.0.0", "--relay=0.0.0.0:0"];
/// Within this time after the command bytes come through the relay.
const RELAYED_WITHIN: Duration = Duration::from_secs(3);

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

fn two_houses_meet(symmetric: bool, seed: u64) {
    let Some(first) = House::build(1) else { return };
    let Some(second) = House::build(1) else { return };
    for house in [&first, &second] {
        if symmetric {
            house.make_symmetric();
        }
    }
    let world = World::with_options(1, &RELAYS);
    world.group("lab", &["nik", "bob"]);
    let content = Content::new("a.bin", 8 << 20, seed);
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
fn two_homes_without_mappings_meet_at_the_trackers_relay() {
    two_houses_meet(false, 901);
}

#[test]
fn two_homes_whose_routers_change_ports_meet_at_the_trackers_relay() {
    two_houses_meet(true, 902);
}
