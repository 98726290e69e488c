//! What trackers know outlives them: killed together, wiped, or brought back from an old copy of
//! the disk.

use std::path::Path;

use crate::harness::{Content, RawClient, World, eventually, sha1_of};

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy_dir(&entry.path(), &to.join(entry.file_name()));
        } else if kind.is_file() {
            // Anything else is a control socket.
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[test]
fn accounts_groups_and_shares_are_there_after_both_trackers_were_killed() {
    let mut world = World::new(2);
    world.group("lab", &["nik", "bob"]);
    let content = Content::new("big.bin", 2 << 20, 21);
    world.put("nik", &content);
    let mut nik = world.client("nik");
    nik.login("nik");
    nik.ok("upload_file big.bin lab", &[]);
    world.trackers.iter_mut().for_each(|tracker| tracker.kill9());
    world.trackers.iter_mut().for_each(|tracker| tracker.restart());
    world.wait_synced();
    let mut bob = world.plain("bob");
    bob.login("bob");
    bob.ok("list_members lab", &["nik\towner\t*", "bob\tmember\tonline"]);
    // The seeder's session comes back by itself, and with it what it seeds.
    eventually("the seeder is back", || {
        let mut session = RawClient::enter(world.tracker(1), "bob");
        let group = session.group("lab").group;
        let request = posse::wire::tracker::Request::ListFiles {
            group,
            after: None,
            pattern: None,
            order: posse::types::FileOrder::Name,
        };
        let posse::wire::tracker::Reply::Files { entries, .. } = session.ask(request).unwrap()
        else {
            panic!()
        };
        (entries.len() == 1 && entries[0].online == 1).then_some(())
    });
    bob.ok("download_file lab big.bin", &["downloading big.bin from lab to *"]);
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("big.bin")), content.sha1());
    nik.ok("whoami", &[]);
}

#[test]
fn a_wiped_tracker_comes_back_whole() {
    let mut world = World::new(2);
    world.group("lab", &["nik", "bob"]);
    let before = world.trackers[1].status();
    world.trackers[0].wipe();
    world.trackers[0].restart();
    world.wait_synced();
    assert_eq!(world.trackers[0].status().directory(), before.directory());
    // It stands alone, and takes new writes, which the other gets.
    world.trackers[1].kill9();
    let mut nik = RawClient::enter(world.tracker(1), "nik");
    nik.create_group("more");
    world.trackers[1].restart();
    world.wait_synced();
    assert_eq!(RawClient::enter(world.tracker(2), "nik").group_names(), ["lab", "more"]);
}

#[test]
fn a_tracker_brought_back_from_an_old_copy_of_its_disk_loses_nothing() {
    let mut world = World::new(2);
    world.group("old", &["nik"]);
    world.wait_synced();
    let data = world.trackers[0].data_dir().to_owned();
    let copy = world.path().join("backup");
    world.trackers[0].kill9();
    copy_dir(&data, &copy);
    world.trackers[0].restart();
    world.group("new", &["bob"]);
    world.wait_synced();
    let digest = world.trackers[1].status().directory().to_owned();
    world.trackers[0].wipe();
    copy_dir(&copy, &data);
    world.trackers[0].restart();
    world.group("newest", &["eve"]);
    world.wait_synced();
    assert_ne!(world.trackers[0].status().directory(), digest, "the newest group is in");
    for side in [1, 2] {
        let mut names = RawClient::enter(world.tracker(side), "nik").group_names();
        names.sort();
        assert_eq!(names, ["new", "newest", "old"]);
    }
}

#[test]
fn three_trackers_converge_though_one_was_away() {
    let mut world = World::new(3);
    world.trackers[2].kill9();
    world.group("lab", &["nik", "bob"]);
    // The one that heard it first goes away as the third returns: the second passes it on.
    world.trackers[0].kill9();
    world.trackers[2].restart();
    eventually("the third knows what the first wrote", || {
        let digests = [1, 2].map(|i| world.trackers[i].status().directory().to_owned());
        (digests[0] == digests[1]).then_some(())
    });
    assert_eq!(RawClient::enter(world.tracker(3), "nik").group_names(), ["lab"]);
}
