//! A download goes on where it was: after kill -9, after logout, after a pause.

use std::collections::BTreeSet;

use rustix::process::Signal;

use crate::harness::{Behaviour, Content, EvilPeer, PATIENCE, World, eventually, sha1_of};

const PIECES: usize = 32;

/// A world in which a peer of the test's own seeds 32 pieces to bob, one request a piece.
fn world_with_seeder(seed: u64) -> (World, Content, EvilPeer) {
    let world = World::new(1);
    world.group("lab", &["nik", "bob"]);
    let content = Content::new("big.bin", PIECES << 19, seed);
    let seeder = EvilPeer::start(world.tracker(1), "nik", "lab", &content, Behaviour::Honest);
    (world, content, seeder)
}

/// The pieces asked for, and how many bytes.
fn asked(seeder: &EvilPeer) -> (BTreeSet<u32>, u64) {
    let requests = seeder.requests();
    (requests.iter().map(|r| r.0).collect(), requests.iter().map(|r| u64::from(r.2)).sum())
}

#[test]
fn a_client_killed_half_way_fetches_only_what_it_does_not_have() {
    let (world, content, seeder) = world_with_seeder(51);
    let half = (PIECES as u64 / 2) << 19;
    let mut bob = world.client("bob");
    bob.login("bob");
    seeder.allow_bytes(half + (3 << 19));
    bob.ok("download_file lab big.bin", &[]);
    let done = eventually("half of it is there", || {
        Some(bob.bytes_done("big.bin")).filter(|done| *done >= half)
    });
    bob.process().kill9();
    assert!(!bob.path("big.bin").exists());
    seeder.forget();
    seeder.lift();
    let mut bob = world.client("bob");
    bob.login("bob");
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("big.bin")), content.sha1());
    let left = content.bytes.len() as u64 - done;
    let (pieces, bytes) = asked(&seeder);
    assert!(
        pieces.len() as u64 <= left >> 19,
        "{} pieces were fetched again where {} were missing",
        pieces.len(),
        left >> 19
    );
    // Endgame may ask twice for the last ones; there is one seeder here, so it has nobody to ask
    // twice.
    assert!(bytes <= left, "{bytes} bytes were asked for where {left} were missing");
}

#[test]
fn a_part_that_was_damaged_meanwhile_is_found_out() {
    let (world, content, seeder) = world_with_seeder(52);
    let half = (PIECES as u64 / 2) << 19;
    let mut bob = world.client("bob");
    bob.login("bob");
    seeder.allow_bytes(half);
    bob.ok("download_file lab big.bin", &[]);
    eventually("something is there", || (bob.bytes_done("big.bin") >= half / 2).then_some(()));
    bob.process().kill9();
    let part = part_of(&world, "bob");
    let len = std::fs::metadata(&part).unwrap().len();
    std::fs::write(&part, vec![0x55; len as usize]).unwrap();
    seeder.lift();
    let mut bob = world.client("bob");
    bob.login("bob");
    // Whichever way it notices, a file under the final name is the right one; a retry must get
    // there.
    let ended = bob.object("wait 60");
    if ended["ok"] != true {
        assert!(!bob.path("big.bin").exists(), "a damaged file was taken for complete");
        bob.ok("resume_download lab big.bin", &[]);
        bob.wait_downloads();
    }
    assert_eq!(sha1_of(&bob.path("big.bin")), content.sha1());
}

/// The journal lists pieces that passed the chaining values; only the file's time tells that they
/// are not there any more.
#[test]
fn a_part_that_was_written_to_after_a_client_ended_is_read_again() {
    let world = World::new(1);
    world.group("lab", &["nik", "bob"]);
    let content = Content::new("big.bin", PIECES << 19, 55);
    world.put("nik", &content);
    let (mut nik, mut bob) = (world.client("nik"), world.client("bob"));
    nik.login("nik");
    bob.login("bob");
    nik.ok("upload_file big.bin lab", &[]);
    nik.ok("limits upload 3MiB/s", &[]);
    bob.ok("download_file lab big.bin", &[]);
    eventually("something is there", || (bob.bytes_done("big.bin") >= 4 << 19).then_some(()));
    bob.process().signal(Signal::TERM);
    bob.process().wait_exit(PATIENCE);
    let part = part_of(&world, "bob");
    let len = std::fs::metadata(&part).unwrap().len();
    std::fs::write(&part, vec![0x55; len as usize]).unwrap();
    nik.ok("limits upload off", &[]);
    let mut bob = world.client("bob");
    bob.login("bob");
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("big.bin")), content.sha1());
    bob.finish();
}

#[test]
fn logout_pauses_and_login_goes_on() {
    let (world, content, seeder) = world_with_seeder(53);
    let mut bob = world.client("bob");
    bob.login("bob");
    seeder.allow_bytes(8 << 19);
    bob.ok("download_file lab big.bin", &[]);
    eventually("something is there", || (bob.bytes_done("big.bin") >= 4 << 19).then_some(()));
    bob.ok("logout", &[]);
    seeder.lift();
    assert!(!bob.path("big.bin").exists());
    bob.login("bob");
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("big.bin")), content.sha1());
    bob.finish();
}

#[test]
fn pause_stops_asking_and_resume_goes_on_also_after_a_restart() {
    let (world, content, seeder) = world_with_seeder(54);
    let mut bob = world.client("bob");
    bob.login("bob");
    seeder.allow_bytes(8 << 19);
    bob.ok("download_file lab big.bin", &[]);
    eventually("something is there", || (bob.bytes_done("big.bin") >= 4 << 19).then_some(()));
    bob.ok("pause_download lab big.bin", &[]);
    bob.process().kill9();
    seeder.lift();
    let mut bob = world.client("bob");
    bob.login("bob");
    seeder.forget();
    // Paused stays paused; what was asked to be paused does not start by itself.
    let shown = bob.object("show_downloads").to_string();
    assert!(shown.contains("\"paused\""), "{shown}");
    bob.ok("resume_download lab big.bin", &[]);
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("big.bin")), content.sha1());
}

#[test]
fn cancel_removes_the_part_and_a_new_download_starts_afresh() {
    let (world, content, seeder) = world_with_seeder(55);
    let mut bob = world.client("bob");
    bob.login("bob");
    seeder.allow_bytes(8 << 19);
    bob.ok("download_file lab big.bin", &[]);
    eventually("something is there", || (bob.bytes_done("big.bin") >= 4 << 19).then_some(()));
    bob.ok("cancel_download lab big.bin", &[]);
    bob.refused("resume_download lab big.bin", "no such download");
    let left: Vec<_> =
        std::fs::read_dir(&bob.home).unwrap().flatten().map(|e| e.file_name()).collect();
    assert_eq!(left, [".posse"], "a cancelled download leaves nothing behind");
    seeder.lift();
    bob.ok("download_file lab big.bin", &[]);
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("big.bin")), content.sha1());
}

#[test]
fn a_file_of_the_users_own_in_the_way_of_the_part_is_never_touched() {
    let (world, content, _seeder) = world_with_seeder(56);
    let mut bob = world.client("bob");
    bob.login("bob");
    let own = bob.path("big.bin.part");
    std::fs::write(&own, b"my own notes").unwrap();
    // Whatever is tried, also after a new login, which knows only what the store does.
    for _ in 0..2 {
        bob.refused("download_file lab big.bin", "was not begun by this download");
        bob.refused("resume_download lab big.bin", "no such download");
        bob.refused("cancel_download lab big.bin", "no such download");
        bob.ok("logout", &[]);
        bob.login("bob");
        assert_eq!(std::fs::read(&own).unwrap(), b"my own notes");
    }
    std::fs::remove_file(&own).unwrap();
    bob.ok("download_file lab big.bin", &[]);
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("big.bin")), content.sha1());
}

#[test]
fn an_empty_part_of_a_client_killed_too_early_is_in_nobodys_way() {
    let (world, content, seeder) = world_with_seeder(57);
    let mut bob = world.client("bob");
    bob.login("bob");
    // Killed after it made the file and before the download was noted,
    let part = bob.path("big.bin.part");
    std::fs::write(&part, "").unwrap();
    seeder.allow_bytes(3 << 19);
    bob.ok("download_file lab big.bin", &[]);
    eventually("something is there", || (bob.bytes_done("big.bin") > 0).then_some(()));
    bob.process().kill9();
    // and before it was noted which file it is: here the journal vouches for pieces of another.
    std::fs::remove_file(&part).unwrap();
    std::fs::write(&part, "").unwrap();
    seeder.lift();
    let mut bob = world.client("bob");
    bob.login("bob");
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("big.bin")), content.sha1());
}

/// The unfinished file in a client's home.
fn part_of(world: &World, name: &str) -> std::path::PathBuf {
    let mut parts = std::fs::read_dir(world.home(name)).unwrap().flatten().map(|e| e.path());
    parts.find(|p| p.is_file() && p.to_string_lossy().contains("part")).expect("there is a part")
}
