//! Members behind routers that let nobody in connect to each other at one moment.

use std::time::{Duration, Instant};

use crate::harness::{ClientProcess, Content, Router, Street, World, eventually, sha1_of};

fn share(nik: &mut ClientProcess, bob: &mut ClientProcess, content: &Content) {
    nik.login("nik");
    nik.ok(&format!("upload_file {} lab", content.name), &[]);
    bob.login("bob");
    bob.ok(&format!("download_file lab {}", content.name), &[]);
}

/// How long it takes until the first bytes of a download are here.
fn first_bytes(client: &mut ClientProcess, file: &str) -> Duration {
    let begun = Instant::now();
    eventually("something has come", || (client.bytes_done(file) > 0).then_some(()));
    begun.elapsed()
}

#[test]
fn two_homes_without_a_mapping_meet_through_holes() {
    let Some(street) = Street::build(&[Router::EndpointIndependent; 2]) else { return };
    let world = World::with_options(1, &["--listen", "0.0.0.0"]);
    world.group("lab", &["nik", "bob"]);
    let info = street.info(&world);
    let content = Content::new("a.bin", 8 << 20, 901);
    world.put("nik", &content);
    let mut nik = street.client(0, &world.home("nik"), &info);
    let mut bob = street.client(1, &world.home("bob"), &info);
    share(&mut nik, &mut bob, &content);
    let punched = first_bytes(&mut bob, "a.bin");
    println!("first bytes through a hole after {punched:?}");
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("a.bin")), content.sha1());
}
