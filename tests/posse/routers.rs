//! Routers forward the port of a client behind them, if they can be asked to, while it is there.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Asked, ClientProcess, Content, Home, Outside, World, eventually, sha1_of};

/// How long a client's end takes: a second for its router, and one on a machine that does other
/// things too.
const END_MAX: Duration = Duration::from_secs(3);

/// What `addresses` says of each way in which a router was asked.
fn routers(client: &mut ClientProcess) -> Vec<Value> {
    let said = client.object("addresses");
    said["routers"].as_array().unwrap_or_else(|| panic!("{said}")).clone()
}

/// Waits until a router forwards to the client; returns the protocol and the address.
fn is_mapped(client: &mut ClientProcess) -> (String, SocketAddr) {
    eventually("a router forwards", || {
        routers(client).iter().find_map(|one| {
            let external = one["external"].as_str()?.parse().unwrap();
            Some((one["protocol"].as_str().unwrap().to_owned(), external))
        })
    })
}

/// Has bob download a file of nik's, and prints how long it took until something was there.
fn downloads(row: &str, nik: &mut ClientProcess, bob: &mut ClientProcess, content: &Content) {
    nik.ok(&format!("upload_file {} lab", content.name), &[]);
    let begun = Instant::now();
    bob.ok(&format!("download_file lab {}", content.name), &[]);
    eventually("something is there", || (bob.bytes_done(&content.name) > 0).then_some(()));
    eprintln!("{row}: the first bytes were there after {:?}", begun.elapsed());
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path(&content.name)), content.sha1());
}

/// A network with nik and bob, and a file of nik's.
fn world(seed: u64) -> (World, Content) {
    let world = World::with_options(1, &["--listen", "0.0.0.0"]);
    world.group("lab", &["nik", "bob", "eve"]);
    let content = Content::new("a.bin", 1 << 20, seed);
    world.put("nik", &content);
    (world, content)
}

#[test]
fn one_behind_a_router_dials_one_who_is_not() {
    let Some(street) = Outside::build() else { return };
    let (world, content) = world(901);
    let home = Home::build(street.segment(), 0);
    let info = street.info(&world);
    let mut nik = street.client(&world.home("nik"), &info);
    let mut bob = home.client(&world.home("bob"), &info, &[]);
    nik.login("nik");
    bob.login("bob");
    downloads("behind a router, from outside", &mut nik, &mut bob, &content);
    // Nothing that could be asked answers.
    let tried = eventually("it has tried all", || {
        let tried = routers(&mut bob);
        (tried.len() == 3 && tried.iter().all(|one| one["error"].is_string())).then_some(tried)
    });
    assert!(tried.iter().all(|one| one["router"] == home.gateway().to_string()), "{tried:?}");
}

#[test]
fn a_sharer_who_cannot_be_reached_is_told_what_the_router_said() {
    let Some(street) = Outside::build() else { return };
    let (world, content) = world(910);
    let home = Home::build(street.segment(), 0);
    let info = street.info(&world);
    let mut nik = home.client(&world.home("nik"), &info, &[]);
    nik.login("nik");
    nik.ok(&format!("upload_file {} lab", content.name), &[]);
    home.let_nothing_out_to(&street);
    let mut others = ["bob", "eve"].map(|user| {
        let mut client = street.client(&world.home(user), &info);
        client.login(user);
        client.ok(&format!("download_file lab {}", content.name), &[]);
        client
    });
    let closed = format!("the router {} forwards nothing by PCP", home.gateway());
    eventually("he is told", || {
        let why = nik.object(&format!("why lab {}", content.name)).to_string();
        (why.contains("2 members could not connect") && why.contains(&closed)).then_some(())
    });
    assert_eq!(others[0].bytes_done(&content.name), 0);
}

#[test]
fn one_behind_a_carrier_dials_one_who_is_not() {
    let Some(street) = Outside::build() else { return };
    let (world, content) = world(902);
    let carrier = Home::carrier(street.segment(), 0);
    let mut home = Home::build(carrier.inside(), 0);
    home.can_be_asked(Asked::Pcp);
    let info = street.info(&world);
    let mut nik = street.client(&world.home("nik"), &info);
    let mut bob = home.client(&world.home("bob"), &info, &[]);
    nik.login("nik");
    bob.login("bob");
    downloads("behind two routers, from outside", &mut nik, &mut bob, &content);
    // This router does not forward at an address of the carrier.
    let tried = eventually("it has tried all", || {
        let tried = routers(&mut bob);
        (tried.len() == 3 && tried.iter().all(|one| one["error"].is_string())).then_some(tried)
    });
    assert!(tried[0]["error"].as_str().unwrap().starts_with("the router refuses"), "{tried:?}");
}

#[test]
fn without_a_router_in_between_it_is_as_fast_as_it_gets() {
    let Some(street) = Outside::build() else { return };
    let (world, content) = world(903);
    let info = street.info(&world);
    let mut nik = street.client(&world.home("nik"), &info);
    let mut bob = world.client("bob");
    nik.login("nik");
    bob.login("bob");
    downloads("no router", &mut nik, &mut bob, &content);
}

/// Two members behind routers of their own, one of which can be asked.
fn meet_by(how: Asked, protocol: &str, seed: u64) {
    let Some(street) = Outside::build() else { return };
    let (world, content) = world(seed);
    let mut of_nik = Home::build(street.segment(), 0);
    // Nobody can connect to bob, so it is he who does.
    let of_bob = Home::build(street.segment(), 1);
    of_nik.can_be_asked(how);
    let info = street.info(&world);
    let mut nik = of_nik.client(&world.home("nik"), &info, &[]);
    let mut bob = of_bob.client(&world.home("bob"), &info, &["--no-port-mapping"]);
    assert_eq!(of_nik.forwarded(), 0, "not before the login");
    nik.login("nik");
    bob.login("bob");
    let (by, external) = is_mapped(&mut nik);
    assert_eq!((by.as_str(), external.ip()), (protocol, of_nik.outside()));
    let offered = nik.object("addresses")["offered"].to_string();
    assert!(offered.contains(&external.to_string()), "{offered}");
    assert!(street.can_connect(external));
    downloads(&format!("behind routers, {protocol}"), &mut nik, &mut bob, &content);
    // The mapping ends with the session, and with the client.
    nik.ok("logout", &[]);
    eventually("it is taken back", || (of_nik.forwarded() == 0).then_some(()));
    nik.login("nik");
    is_mapped(&mut nik);
    assert_eq!(of_nik.forwarded(), 1);
    nik.finish();
    assert_eq!(of_nik.forwarded(), 0);
}

#[test]
fn two_behind_routers_meet_by_pcp() {
    meet_by(Asked::Pcp, "pcp", 904);
}

#[test]
fn two_behind_routers_meet_by_nat_pmp() {
    meet_by(Asked::NatPmp, "nat-pmp", 905);
}

#[test]
fn two_behind_routers_meet_by_upnp() {
    meet_by(Asked::Upnp, "upnp", 906);
}

#[test]
fn another_device_that_answers_first_is_not_taken_for_the_router() {
    let Some(street) = Outside::build() else { return };
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("SKIPPED: there is no `python3` here to make another device with");
        return;
    }
    let (world, _) = world(911);
    let mut home = Home::build(street.segment(), 0);
    home.can_be_asked(Asked::Upnp);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/posse/fixtures/impostor.py");
    let impostor = home.run("python3", &[script]);
    impostor.wait_out("that it is ready", |line| (line == "ready").then_some(()));
    let mut nik = home.client(&world.home("nik"), &street.info(&world), &[]);
    nik.login("nik");
    let (by, external) = is_mapped(&mut nik);
    assert_eq!((by.as_str(), external.ip()), ("upnp", home.outside()));
    let asked = impostor.said().out;
    assert!(asked.iter().any(|line| line == "GET /scpd"), "it answered first: {asked:?}");
    assert!(asked.iter().all(|line| !line.starts_with("POST")), "{asked:?}");
}

#[test]
fn a_router_that_has_started_anew_is_asked_anew() {
    let Some(street) = Outside::build() else { return };
    let (world, _) = world(907);
    let mut home = Home::build(street.segment(), 0);
    home.can_be_asked(Asked::Pcp);
    let info = street.info(&world);
    let mut nik = home.client(&world.home("nik"), &info, &[]);
    nik.login("nik");
    let (_, external) = is_mapped(&mut nik);
    home.restart(Asked::Pcp);
    assert_eq!(home.forwarded(), 0);
    eventually("it forwards again", || (home.forwarded() == 1).then_some(()));
    assert_eq!(is_mapped(&mut nik).1, external, "at the same address");
    // Killed, the client takes nothing back; started again, it renews what it had.
    nik.process().kill9();
    assert_eq!(home.forwarded(), 1);
    let mut nik = home.client_at(&world.home("nik"), &info, nik.address.port());
    nik.login("nik");
    assert_eq!(is_mapped(&mut nik), ("pcp".into(), external), "not refused as another's");
    nik.finish();
    assert_eq!(home.forwarded(), 0);
}

#[test]
fn a_router_that_falls_silent_holds_up_no_end() {
    for how in [Asked::Pcp, Asked::Upnp] {
        let Some(street) = Outside::build() else { return };
        let (world, _) = world(912);
        let mut home = Home::build(street.segment(), 0);
        home.can_be_asked(how);
        let mut nik = home.client(&world.home("nik"), &street.info(&world), &[]);
        nik.login("nik");
        is_mapped(&mut nik);
        home.fall_silent();
        let begun = Instant::now();
        nik.finish();
        let took = begun.elapsed();
        eprintln!("{how:?}: the end took {took:?}");
        assert!(took < END_MAX, "{took:?}");
        // It ends with its lifetime.
        assert_eq!(home.forwarded(), 1);
    }
}

#[test]
fn nothing_is_mapped_if_the_user_says_so() {
    let Some(street) = Outside::build() else { return };
    let (world, content) = world(908);
    world.put("bob", &content);
    let mut home = Home::build(street.segment(), 0);
    home.can_be_asked(Asked::Pcp);
    let info = street.info(&world);
    let options = ["--no-port-mapping", "--no-interface-addresses"];
    let mut nik = home.client(&world.home("nik"), &info, &options);
    let mut bob = street.client(&world.home("bob"), &info);
    nik.login("nik");
    bob.login("bob");
    downloads("behind a router, from outside", &mut bob, &mut nik, &content);
    let said = nik.object("addresses");
    assert_eq!((&said["routers"], &said["offered"]), (&Value::from([0; 0]), &Value::from([0; 0])));
    assert!(said["no_mapping"].as_str().unwrap().contains("--no-port-mapping"), "{said}");
    assert_eq!(home.forwarded(), 0);
}

#[test]
fn a_firewall_for_ipv6_lets_the_port_in() {
    let Some(street) = Outside::build() else { return };
    let (world, _) = world(909);
    let mut home = Home::build(street.segment(), 0);
    if let Err(why) = street.add_ipv6(&home) {
        eprintln!("SKIPPED: there is no IPv6 here: {why}");
        return;
    }
    home.can_be_asked(Asked::Pcp);
    let mut nik = home.client(&world.home("nik"), &street.info(&world), &[]);
    let own = SocketAddr::new("2a0f:2::10".parse().unwrap(), nik.address.port());
    assert!(!street.can_connect(own));
    nik.login("nik");
    eventually("the firewall lets it in", || street.can_connect(own).then_some(()));
    let said = routers(&mut nik);
    let is_let_in = |one: &Value| one["external"] == own.to_string() && one["protocol"] == "pcp";
    assert!(said.iter().any(is_let_in), "{said:?}");
    nik.finish();
    assert!(!street.can_connect(own));
}
