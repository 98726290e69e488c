//! A disk without room: a download is refused before it starts, or paused with the reason, and
//! nothing that was fetched is lost; a tracker acknowledges nothing that it cannot store.

use std::path::{Path, PathBuf};
use std::process::Command;

use posse::types::Change;
use posse::wire::tracker::Reply;

use crate::harness::{
    Content, RawClient, TrackerProcess, World, eventually, free_port, request_id, sha1_of,
};

/// A small file system in memory, gone with this value.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one; none, with a reason printed, where that is not permitted.
    fn mount(at: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "posse-test"]).arg(at);
        let output = mount.output().expect("mount can be started");
        if !output.status.success() {
            eprintln!(
                "SKIPPED: no small disk can be mounted here: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
            return None;
        }
        Some(Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a client that is being killed may still hold a file open.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

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
    bob.refused(&format!("download_file lab big.bin {}", disk.0.display()), "room");
    assert_eq!(
        std::fs::read_dir(&disk.0).unwrap().count(),
        0,
        "a refused download leaves nothing behind"
    );
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
    bob.ok(&format!("download_file lab big.bin {}", disk.0.display()), &[]);
    gate.wait_passed(3 << 20);
    eventually("something is there", || (bob.bytes_done("big.bin") >= 1 << 20).then_some(()));
    fill(&disk.0.join("filler"));
    gate.lift();
    let paused = eventually("it has paused", || {
        Some(bob.download("big.bin")).filter(|d| d["state"] == "paused")
    });
    let reason = paused.to_string().to_lowercase();
    assert!(["space", "full", "room"].iter().any(|word| reason.contains(word)), "{reason}");
    let kept = bob.bytes_done("big.bin");
    assert!(kept >= 1 << 20, "what was fetched is kept");
    assert!(!disk.0.join("big.bin").exists());
    // The rest of the client lives on.
    bob.ok("list_files lab", &[]);
    std::fs::remove_file(disk.0.join("filler")).unwrap();
    bob.ok("resume_download lab big.bin", &[]);
    bob.wait_downloads();
    assert_eq!(sha1_of(&disk.0.join("big.bin")), content.sha1());
    drop(bob);
}

#[test]
fn a_tracker_without_room_acknowledges_nothing_that_is_not_stored() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(&dir.path().join("disk"), "2m") else { return };
    let info = dir.path().join("info.txt");
    std::fs::write(&info, format!("127.0.0.1:{}\n", free_port())).unwrap();
    let (data, key) = (disk.0.join("data"), dir.path().join("network.key"));
    let mut tracker = TrackerProcess::start(&info, 1, &data, &key, &["--groups-per-hour", "0"]);
    let mut nik = RawClient::enter(tracker.address, "nik");
    fill(&disk.0.join("filler"));
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
    std::fs::remove_file(disk.0.join("filler")).unwrap();
    tracker.restart();
    let groups = RawClient::enter(tracker.address, "nik").group_names();
    assert!(
        acked.iter().all(|name| groups.contains(name)),
        "of {acked:?} only {groups:?} are left"
    );
    drop(tracker);
}

/// Writes until nothing more fits.
fn fill(path: &Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(path).unwrap();
    for chunk in [64 << 10, 4096] {
        while file.write_all(&vec![1; chunk]).is_ok() {}
    }
}
