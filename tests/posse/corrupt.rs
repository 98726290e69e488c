//! Peers that send what is not the file: it never shows under its name, and an honest peer makes up
//! for them.

use std::time::{Duration, Instant};

use posse::types::FileFacts;
use posse::wire::tracker::Request;

use crate::harness::{
    Behaviour, Content, EvilPeer, RawClient, World, eventually, request_id, sha1_of,
};

fn start(world: &World, user: &str, content: &Content, behaviour: Behaviour) -> EvilPeer {
    EvilPeer::start(world.tracker(1), user, "lab", content, behaviour)
}

#[test]
fn corrupt_pieces_are_never_taken_and_their_sender_is_banned() {
    let world = World::new(1);
    world.group("lab", &["nik", "bob", "eve"]);
    let content = Content::new("big.bin", 6 << 20, 61);
    let evil = start(&world, "eve", &content, Behaviour::Corrupt);
    let mut bob = world.client("bob");
    bob.login("bob");
    bob.ok("download_file lab big.bin", &[]);
    eventually("the download knows that a peer was banned", || {
        bob.object("why lab big.bin").to_string().contains("banned").then_some(())
    });
    assert_eq!(bob.bytes_done("big.bin"), 0, "a corrupt piece was counted");
    assert!(!bob.path("big.bin").exists());
    let links = evil.links();
    let honest = start(&world, "nik", &content, Behaviour::Honest);
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("big.bin")), content.sha1());
    assert!(honest.sent() >= content.bytes.len() as u64);
    assert_eq!(evil.links(), links, "the banned peer was dialled again");
}

#[test]
fn corrupt_and_honest_seeders_together_make_a_whole_file() {
    let world = World::new(1);
    world.group("lab", &["nik", "bob", "eve"]);
    let content = Content::new("big.bin", 6 << 20, 62);
    let _peers = [("nik", Behaviour::Honest), ("eve", Behaviour::Corrupt)]
        .map(|(u, b)| start(&world, u, &content, b));
    let mut bob = world.client("bob");
    bob.login("bob");
    bob.ok("download_file lab big.bin", &[]);
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("big.bin")), content.sha1());
}

#[test]
fn peers_that_fall_silent_or_die_in_the_middle_of_a_block_are_made_up_for() {
    for (number, behaviour) in
        [Behaviour::Silent, Behaviour::Mute, Behaviour::Dies(3), Behaviour::ShortBitfield]
            .into_iter()
            .enumerate()
    {
        let world = World::new(1);
        world.group("lab", &["nik", "bob", "eve"]);
        let content = Content::new("big.bin", 9 * (512 << 10) + 1, 63 + number as u64);
        let evil = start(&world, "eve", &content, behaviour);
        let mut bob = world.client("bob");
        bob.login("bob");
        bob.ok("download_file lab big.bin", &[]);
        eventually("the bad peer was linked to", || (evil.links() > 0).then_some(()));
        let _honest = start(&world, "nik", &content, Behaviour::Honest);
        bob.wait_downloads();
        assert_eq!(sha1_of(&bob.path("big.bin")), content.sha1(), "{behaviour:?}");
    }
}

#[test]
fn a_peer_that_drips_costs_next_to_no_time_beside_an_honest_one() {
    let world = World::new(1);
    world.group("lab", &["nik", "bob", "eve"]);
    let content = Content::new("big.bin", 32 << 20, 70);
    let facts = content.proven_facts();
    let evil =
        EvilPeer::start_as(world.tracker(1), "eve", "lab", &content, &facts, Behaviour::Drips);
    world.put("nik", &content);
    let mut nik = world.client("nik");
    nik.login("nik");
    nik.ok("limits upload 6MiB/s", &[]);
    nik.ok("upload_file big.bin lab", &[]);
    let mut bob = world.client("bob");
    bob.login("bob");
    let begun = Instant::now();
    bob.ok("download_file lab big.bin", &[]);
    bob.wait_downloads();
    let took = begun.elapsed();
    println!("{took:?}; the dripping peer was asked for {} blocks", evil.requests().len());
    assert!(!evil.requests().is_empty(), "it was never asked, so this shows nothing");
    // The honest one alone needs 5.3 seconds.
    assert!(took < Duration::from_secs(10), "it took {took:?}");
    assert_eq!(sha1_of(&bob.path("big.bin")), content.sha1());
}

#[test]
fn a_false_whole_file_digest_fails_the_download_and_never_names_the_file() {
    let world = World::new(1);
    world.group("lab", &["nik", "bob"]);
    let content = Content::new("big.bin", 2 << 20, 67);
    let mut facts = content.facts();
    facts.sha1 = Content::new("x", 10, 1).facts().sha1;
    let _peer =
        EvilPeer::start_as(world.tracker(1), "nik", "lab", &content, &facts, Behaviour::Honest);
    let mut bob = world.plain("bob");
    bob.login("bob");
    bob.ok("download_file lab big.bin", &["downloading *"]);
    eventually("it has failed", || {
        bob.line("show_downloads").starts_with("[F] [lab] big.bin\t").then_some(())
    });
    assert!(!bob.path("big.bin").exists());
    // It may be tried again, and comes to the same end as long as the directory says something else
    // than the peers.
    bob.ok("resume_download lab big.bin", &["resumed big.bin in lab"]);
    eventually("it has failed again", || {
        bob.line("show_downloads").starts_with("[F] [lab] big.bin\t").then_some(())
    });
    assert!(!bob.path("big.bin").exists());
    bob.ok("cancel_download lab big.bin", &["cancelled big.bin in lab"]);
}

#[test]
fn false_metainfo_is_not_believed() {
    let world = World::new(1);
    world.group("lab", &["nik", "bob", "eve"]);
    let content = Content::new("big.bin", 2 << 20, 68);
    let evil = start(&world, "eve", &content, Behaviour::FalseInfo);
    let mut bob = world.client("bob");
    bob.login("bob");
    bob.ok("download_file lab big.bin", &[]);
    eventually("the false one was asked", || (evil.links() > 0).then_some(()));
    let _honest = start(&world, "nik", &content, Behaviour::Honest);
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("big.bin")), content.sha1());
}

#[test]
fn a_false_listing_of_an_honest_file_spoils_nothing() {
    let world = World::new(1);
    world.group("lab", &["nik", "bob", "eve"]);
    let mut eve = RawClient::enter(world.tracker(1), "eve");
    let group = eve.group("lab").group;
    let (mut nik, mut bob) = (world.client("nik"), world.client("bob"));
    nik.login("nik");
    bob.login("bob");
    type Lie = fn(&mut FileFacts);
    let lies: [(&str, Lie); 4] = [
        ("sha1.bin", |facts| facts.sha1 = Content::new("x", 10, 1).facts().sha1),
        ("len.bin", |facts| facts.len -= 1),
        ("piece_len.bin", |facts| facts.piece_len *= 2),
        ("name.bin", |facts| facts.name = "other.bin".parse().unwrap()),
    ];
    for (seed, (name, lie)) in lies.into_iter().enumerate() {
        let content = Content::new(name, 3 << 20, 70 + seed as u64);
        let mut facts = content.facts();
        lie(&mut facts);
        eve.share(group, facts.clone());
        std::fs::write(bob.path(name), &content.bytes).unwrap();
        if facts.name.as_str() == name {
            // The lie has the name: the owner, who is named, makes room for the truth.
            bob.refused(
                &format!("upload_file {name} lab"),
                "another file of that name is in the group",
            );
            nik.ok(&format!("remove_file lab {name} --yes"), &[]);
        }
        let shared = bob.object(&format!("upload_file {name} lab"));
        assert_eq!(
            shared["sha1"].as_str(),
            Some(content.sha1().to_string().as_str()),
            "{name}: {shared}"
        );
        nik.ok(&format!("download_file lab {name}"), &[]);
        nik.wait_downloads();
        assert_eq!(sha1_of(&nik.path(name)), content.sha1(), "{name}");
        // Who lists the lie again does not touch what is there.
        let again =
            eve.ask(Request::ShareFile { request: request_id(), group, file: facts }).unwrap();
        nik.ok(&format!("stop_share lab {name}"), &[]);
        std::fs::remove_file(nik.path(name)).unwrap();
        nik.ok(&format!("download_file lab {name}"), &[]);
        nik.wait_downloads();
        assert_eq!(sha1_of(&nik.path(name)), content.sha1(), "{name}, after {again:?}");
    }
}
