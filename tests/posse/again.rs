//! Downloads that are asked for again: elsewhere, after a failure, after the file has gone, after a
//! kill at the worst moment.

use crate::harness::{Behaviour, Content, EvilPeer, World, eventually, sha1_of};

const PIECES: u64 = 8;

fn world(seed: u64) -> (World, Content, EvilPeer) {
    let world = World::new(1);
    world.group("lab", &["nik", "bob"]);
    let content = Content::new("big.bin", (PIECES << 19) as usize, seed);
    let seeder = EvilPeer::start(world.tracker(1), "nik", "lab", &content, Behaviour::Honest);
    (world, content, seeder)
}

#[test]
fn a_place_that_cannot_be_is_refused_at_once() {
    let (world, _content, _seeder) = world(71);
    let mut bob = world.plain("bob");
    bob.login("bob");
    bob.refused("download_file lab big.bin out/", "no such directory");
    bob.refused("download_file lab big.bin big.bin/", "no such directory");
    assert!(!bob.path("out.part").exists() && !bob.path("big.bin.part").exists());
    // Somebody's file where the data would go is neither taken nor removed, also not by what might
    // follow.
    std::fs::write(bob.path("big.bin.part"), "somebody's").unwrap();
    bob.refused("download_file lab big.bin", "big.bin.part: it exists");
    bob.refused("cancel_download lab big.bin", "no such download");
    bob.ok("show_downloads", &["no downloads"]);
    assert_eq!(std::fs::read(bob.path("big.bin.part")).unwrap(), b"somebody's");
}

#[test]
fn two_files_are_never_downloaded_to_one_place() {
    let (world, content, seeder) = world(72);
    let other = Content::new("other.bin", 600_000, 73);
    let _other = EvilPeer::start(world.tracker(1), "nik", "lab", &other, Behaviour::Honest);
    seeder.allow_bytes(1 << 19);
    let mut bob = world.client("bob");
    bob.login("bob");
    bob.ok("download_file lab big.bin here.bin", &[]);
    bob.refused(
        "download_file lab other.bin here.bin",
        "big.bin in lab is being downloaded to that place",
    );
    bob.refused("download_file lab big.bin there.bin", "being downloaded to");
    bob.ok("download_file lab other.bin there.bin", &[]);
    seeder.lift();
    bob.wait_downloads();
    assert_eq!(
        (sha1_of(&bob.path("here.bin")), sha1_of(&bob.path("there.bin"))),
        (content.sha1(), other.sha1())
    );
}

#[test]
fn a_failed_download_goes_on_elsewhere_with_what_it_has() {
    let (world, content, seeder) = world(74);
    seeder.allow_bytes((PIECES - 1) << 19);
    let mut bob = world.client("bob");
    bob.login("bob");
    bob.ok("download_file lab big.bin", &[]);
    eventually("most of it is there", || {
        (bob.bytes_done("big.bin") >= (PIECES - 2) << 19).then_some(())
    });
    std::fs::write(bob.path("big.bin"), "in the way").unwrap();
    seeder.lift();
    eventually("it has failed", || (bob.download("big.bin")["state"] == "failed").then_some(()));
    seeder.forget();
    bob.refused("download_file lab big.bin", "other content");
    bob.ok("download_file lab big.bin elsewhere.bin", &[]);
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("elsewhere.bin")), content.sha1());
    assert_eq!(std::fs::read(bob.path("big.bin")).unwrap(), b"in the way");
    assert!(!bob.path("big.bin.part").exists(), "what was fetched first is left lying about");
    assert!(seeder.requests().is_empty(), "what was there was fetched again");
}

#[test]
fn a_file_that_is_here_is_copied_and_one_that_has_gone_is_fetched_again() {
    let (world, content, seeder) = world(75);
    let mut bob = world.client("bob");
    bob.login("bob");
    bob.ok("download_file lab big.bin", &[]);
    bob.wait_downloads();
    seeder.forget();
    bob.ok("download_file lab big.bin copy.bin", &[]);
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("copy.bin")), content.sha1());
    assert!(seeder.requests().is_empty(), "a copy was fetched from others");
    let uploads = bob.object("show_uploads");
    assert_eq!(uploads["uploads"][0]["path"], bob.path("big.bin").to_str().unwrap(), "{uploads}");
    // Both are gone: it is fetched again, and then served from where it is now.
    for gone in ["big.bin", "copy.bin"] {
        std::fs::remove_file(bob.path(gone)).unwrap();
    }
    bob.ok("download_file lab big.bin new.bin", &[]);
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("new.bin")), content.sha1());
    let uploads = bob.object("show_uploads");
    assert_eq!(uploads["uploads"][0]["path"], bob.path("new.bin").to_str().unwrap(), "{uploads}");
    drop(seeder);
    let mut nik = world.client("nik");
    nik.login("nik");
    nik.ok("download_file lab big.bin", &[]);
    nik.wait_downloads();
    assert_eq!(sha1_of(&nik.path("big.bin")), content.sha1());
}

#[test]
fn a_client_killed_between_the_name_and_the_note_finds_the_file_complete() {
    let (world, content, seeder) = world(76);
    let mut bob = world.client("bob");
    bob.login("bob");
    bob.ok("download_file lab big.bin", &[]);
    bob.wait_downloads();
    // What a kill leaves before anything was noted; then after the share was, but not that the
    // download is complete.
    for before in [
        "UPDATE download SET state = 0; DELETE FROM share;",
        "UPDATE download SET state = 0; UPDATE share SET state = 2;",
    ] {
        bob.process().kill9();
        seeder.forget();
        let store = rusqlite::Connection::open(bob.path(".posse/device.sqlite")).unwrap();
        store.execute_batch(before).unwrap();
        drop(store);
        bob = world.client("bob");
        bob.login("bob");
        bob.wait_downloads();
        assert_eq!(bob.download("big.bin")["state"], "complete");
        assert_eq!(
            bob.object("show_uploads")["uploads"].as_array().map(Vec::len),
            Some(1),
            "it is shared on"
        );
        assert_eq!(sha1_of(&bob.path("big.bin")), content.sha1());
        assert!(seeder.requests().is_empty(), "what is there was fetched again");
    }
    // Another file has taken the name meanwhile: that is said, and the file is left alone.
    bob.process().kill9();
    std::fs::write(bob.path("big.bin"), "another").unwrap();
    let store = rusqlite::Connection::open(bob.path(".posse/device.sqlite")).unwrap();
    store.execute_batch("UPDATE download SET state = 0; DELETE FROM share;").unwrap();
    drop(store);
    bob = world.client("bob");
    bob.login("bob");
    eventually("it has failed", || (bob.download("big.bin")["state"] == "failed").then_some(()));
    assert_eq!(std::fs::read(bob.path("big.bin")).unwrap(), b"another");
}
