//! A direct link takes the place of a relayed one as soon as there can be one.

use std::time::{Duration, Instant};

use crate::harness::{Content, LocalNetwork, World, eventually, sha1_of};

/// Without a reason to hurry, addresses are dialled again this long after a relay was used.
const UNHURRIED: Duration = Duration::from_secs(22);

#[test]
fn a_relayed_pair_goes_over_to_a_direct_link_and_fetches_nothing_twice() {
    let Some(network) = LocalNetwork::build(2) else { return };
    let world = World::with_options(1, &["--listen", "0.0.0.0", "--relay=0.0.0.0:0"]);
    world.group("lab", &["nik", "bob"]);
    let info = network.info(&world);
    let content = Content::new("a.bin", 24 << 20, 911);
    world.put("nik", &content);
    let cut = network.cut(1, network.address(0), true);
    let mut nik = network.client(0, &world.home("nik"), &info, &["--no-lan"]);
    let mut bob = network.client(1, &world.home("bob"), &info, &["--no-lan"]);
    nik.login("nik");
    nik.ok("limits upload 1MiB/s", &[]);
    nik.ok("upload_file a.bin lab", &[]);
    bob.login("bob");
    bob.ok("download_file lab a.bin", &[]);
    eventually("it comes through the relay", || {
        let download = bob.download("a.bin");
        (download["relayed"] == 1 && download["bytes_done"].as_u64() > Some(1 << 20)).then_some(())
    });
    let relayed = Instant::now();
    network.heal(1, &cut);
    // That is what tells bob's client that it is worth a try.
    network.add_address(1);
    eventually("the link is direct", || {
        let download = bob.download("a.bin");
        (download["peers"] == 1 && download["lan"] == 1).then_some(())
    });
    let took = relayed.elapsed();
    println!("direct after {took:?}");
    assert!(took < UNHURRIED, "{took:?}");
    let said = bob.object("show_peers lab a.bin");
    let peer = &said["peers"][0];
    assert!(peer["relayed"] == false && peer["lan"] == true, "{said}");
    let size = content.bytes.len() as u64;
    assert!(bob.bytes_done("a.bin") < size, "it was over before");
    nik.ok("limits upload off", &[]);
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("a.bin")), content.sha1());
    let sent = nik.object("show_uploads")["uploads"][0]["bytes_sent"].as_u64().unwrap();
    assert!((size..size + (512 << 10)).contains(&sent), "{sent} bytes were sent of {size}");
}
