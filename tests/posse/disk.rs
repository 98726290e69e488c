//! A disk without room: a download is refused before it starts, or paused with the reason, and
//! nothing that was fetched is lost; a tracker acknowledges nothing that it cannot store.

use posse::types::Change;
use posse::wire::tracker::Reply;

use crate::harness::{
    Content, RawClient, SmallDisk, TrackerProcess, World, eventually, free_port, request_id,
    sha1_of,
};

#[test]
fn a_download_that_cannot_fit_is_refused() {
    let world = World::new(1);
    let Some(disk) = SmallDisk::mount(&world.path().join("disk"), "2m") else { return };
    world.group("lab", &["nik", "bob"]);
    world.put("nik", &Content::new("big.bin", 4 << 20, 71));
    let (mut nik, mut bob) = (world.client("nik"), world.client("bob"));
    nik.login("nik");
    nik.ok("upload_file big.bin lab", &[]);
    bob.login("bob");
    bob.refused(&format!("download_file lab big.bin {}", disk.path().display()), "room");
    eventually("a refused download leaves nothing behind", || {
        (std::fs::read_dir(disk.path()).unwrap().count() == 0).then_some(())
    });
    drop(bob);
}

#[test]
fn a_disk_that_fills_up_pauses_the_download_and_resume_goes_on() {
    let mut world = World::new(1);
    let Some(disk) = SmallDisk::mount(&world.path().join("disk"), "12m") else { return };
    world.group("lab", &["nik", "bob"]);
    let content = Content::new("big.bin", 8 << 20, 72);
    world.put("nik", &content);
    let (mut nik, gate) = world.gated("nik");
    let mut bob = world.client("bob");
    nik.login("nik");
    nik.ok("upload_file big.bin lab", &[]);
    bob.login("bob");
    gate.allow(3 << 20);
    bob.ok(&format!("download_file lab big.bin {}", disk.path().display()), &[]);
    gate.wait_passed(3 << 20);
    eventually("something is there", || (bob.bytes_done("big.bin") >= 1 << 20).then_some(()));
    disk.fill();
    gate.lift();
    let paused = eventually("it has paused", || {
        Some(bob.download("big.bin")).filter(|d| d["state"] == "paused")
    });
    let reason = paused.to_string().to_lowercase();
    assert!(["space", "full", "room"].iter().any(|word| reason.contains(word)), "{reason}");
    let kept = bob.bytes_done("big.bin");
    assert!(kept >= 1 << 20, "what was fetched is kept");
    assert!(!disk.path().join("big.bin").exists());
    // The rest of the client lives on.
    bob.ok("list_files lab", &[]);
    disk.drain();
    bob.ok("resume_download lab big.bin", &[]);
    bob.wait_downloads();
    assert_eq!(sha1_of(&disk.path().join("big.bin")), content.sha1());
    drop(bob);
}

#[test]
fn a_tracker_without_room_acknowledges_nothing_that_is_not_stored() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(&dir.path().join("disk"), "2m") else { return };
    let info = dir.path().join("info.txt");
    std::fs::write(&info, format!("127.0.0.1:{}\n", free_port())).unwrap();
    let (data, key) = (disk.path().join("data"), dir.path().join("network.key"));
    let mut tracker = TrackerProcess::start(&info, 1, &data, &key, &["--groups-per-hour", "0"]);
    let mut nik = RawClient::enter(tracker.address, "nik");
    disk.fill();
    let mut acked = Vec::new();
    let mut refused = false;
    for number in 0..5_000 {
        let change = Change::CreateGroup { name: format!("g{number}").parse().unwrap() };
        match nik.change(request_id(), &change) {
            Ok(Reply::Done(_)) => acked.push(format!("g{number}")),
            // Refused, or the tracker has gone: either is an honest answer.
            _ => {
                refused = true;
                break;
            }
        }
    }
    assert!(refused, "5,000 groups were stored on a disk without room");
    disk.drain();
    tracker.restart();
    let groups = RawClient::enter(tracker.address, "nik").group_names();
    assert!(
        acked.iter().all(|name| groups.contains(name)),
        "of {acked:?} only {groups:?} are left"
    );
    drop(tracker);
}
