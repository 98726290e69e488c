//! Files arrive whole, from whoever has them, whatever happens to those who send them; and what is
//! shared is only ever read.

use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use posse::types::limits::PIECE_LEN;

use crate::harness::{Behaviour, Content, EvilPeer, RawClient, World, eventually, sha1_of};

const PIECE: usize = PIECE_LEN as usize;
const MIB: u64 = 1 << 20;

#[test]
fn files_of_every_size_arrive_and_what_is_shared_stays_as_it_is() {
    let world = World::new(1);
    world.group("lab", &["nik", "bob"]);
    let (mut nik, mut bob) = (world.client("nik"), world.client("bob"));
    nik.login("nik");
    bob.login("bob");
    let sizes = [0, 1, 16 << 10, PIECE - 1, PIECE, PIECE + 1, 8 * PIECE, 9 * PIECE + 7];
    let contents: Vec<Content> = sizes
        .iter()
        .enumerate()
        .map(|(i, &len)| Content::new(&format!("f{len}.bin"), len, i as u64 + 1))
        .collect();
    let facts = |path: &std::path::Path| {
        let meta = std::fs::metadata(path).unwrap();
        (meta.len(), meta.mtime(), meta.mtime_nsec(), meta.mode(), meta.ino(), sha1_of(path))
    };
    let mut before = Vec::new();
    for content in &contents {
        let path = world.put("nik", content);
        before.push((facts(&path), path));
        nik.ok(&format!("upload_file {} lab", content.name), &[]);
    }
    for content in &contents {
        bob.ok(&format!("download_file lab {}", content.name), &[]);
    }
    bob.wait_downloads();
    for content in &contents {
        assert_eq!(
            std::fs::read(bob.path(&content.name)).unwrap(),
            content.bytes,
            "{}",
            content.name
        );
    }
    for command in [
        "stop_share lab f1.bin",
        "upload_file f1.bin lab",
        "logout",
        "login nik pw-nik",
        "download_file lab f1.bin",
    ] {
        nik.ok(command, &[]);
    }
    nik.wait_downloads();
    nik.finish();
    for (facts_before, path) in before {
        assert_eq!(facts(&path), facts_before, "{} was touched", path.display());
    }
}

#[test]
fn a_seeder_killed_during_a_download_is_made_up_for_by_another() {
    let mut world = World::new(1);
    world.group("lab", &["nik", "ann", "bob"]);
    let content = Content::new("big.bin", 32 << 20, 31);
    let (mut nik, nik_gate) = world.gated("nik");
    let (mut ann, ann_gate) = world.gated("ann");
    let mut bob = world.client("bob");
    for (client, user) in [(&mut nik, "nik"), (&mut ann, "ann")] {
        world.put(user, &content);
        client.login(user);
        client.ok("upload_file big.bin lab", &[]);
    }
    bob.login("bob");
    [&nik_gate, &ann_gate].iter().for_each(|gate| gate.allow(6 * MIB));
    bob.ok("download_file lab big.bin", &[]);
    nik_gate.wait_passed(6 * MIB);
    ann_gate.wait_passed(6 * MIB);
    assert!(!bob.path("big.bin").exists(), "a part is not shown under the final name");
    nik.process().kill9();
    ann_gate.lift();
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("big.bin")), content.sha1());
}

#[test]
fn without_any_seeder_a_download_waits_says_why_and_goes_on_when_one_returns() {
    let (world, content, mut nik, _gate, mut bob) = World::half_fetched(1, 8 * MIB);
    nik.process().kill9();
    eventually("it says that nobody offers the rest", || {
        let why = bob.object("why lab big.bin").to_string();
        (why.contains("nobody") && why.contains("nik")).then_some(())
    });
    bob.refused("wait 0", "");
    assert!(!bob.path("big.bin").exists());
    let mut nik = world.client("nik");
    nik.login("nik");
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("big.bin")), content.sha1());
}

#[test]
fn pieces_are_offered_on_before_the_file_is_complete() {
    let mut world = World::new(1);
    world.group("lab", &["nik", "bob", "eve"]);
    let content = Content::new("big.bin", 16 << 20, 33);
    world.put("nik", &content);
    let (mut nik, gate) = world.gated("nik");
    let (mut bob, mut eve) = (world.client("bob"), world.client("eve"));
    nik.login("nik");
    nik.ok("upload_file big.bin lab", &[]);
    bob.login("bob");
    eve.login("eve");
    gate.allow(8 * MIB);
    bob.ok("download_file lab big.bin", &[]);
    gate.wait_passed(8 * MIB);
    // The seeder says nothing more: whatever eve gets, she gets from bob, who is not done.
    eve.ok("download_file lab big.bin", &[]);
    eventually("eve has got something from bob", || {
        (eve.bytes_done("big.bin") >= MIB).then_some(())
    });
    assert!(bob.bytes_done("big.bin") < content.bytes.len() as u64);
    gate.lift();
    for client in [&mut bob, &mut eve] {
        client.wait_downloads();
        assert_eq!(sha1_of(&client.path("big.bin")), content.sha1());
    }
}

#[test]
fn a_running_download_does_not_notice_that_every_tracker_is_gone() {
    let (mut world, content, _nik, gate, mut bob) = World::half_fetched(2, 4 * MIB);
    world.trackers.iter_mut().for_each(|tracker| tracker.kill9());
    bob.refused("list_groups", "tracker");
    gate.lift();
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("big.bin")), content.sha1());
    world.trackers.iter_mut().for_each(|tracker| tracker.restart());
    eventually("the client has found a tracker again", || {
        (bob.object("list_groups")["ok"] == true).then_some(())
    });
}

#[test]
fn destinations_are_directories_new_names_or_the_same_file() {
    let world = World::new(1);
    world.group("lab", &["nik", "bob"]);
    let content = Content::new("a.bin", 700_000, 35);
    world.put("nik", &content);
    let (mut nik, mut bob) = (world.client("nik"), world.plain("bob"));
    nik.login("nik");
    nik.ok("upload_file a.bin lab", &[]);
    bob.login("bob");
    let home = world.home("bob");
    std::fs::create_dir(home.join("dir")).unwrap();
    std::fs::write(home.join("mine.bin"), "mine").unwrap();
    bob.refused("download_file lab a.bin mine.bin", "exist");
    bob.refused("download_file lab a.bin no/such/dir/a.bin", "no/such/dir");
    bob.refused("download_file lab a.bin /proc/a.bin", "");
    assert_eq!(std::fs::read(home.join("mine.bin")).unwrap(), b"mine");
    for (destination, path) in [("dir", "dir/a.bin"), ("'other name'", "other name"), ("", "a.bin")]
    {
        let path = home.join(path);
        bob.ok(
            &format!("download_file lab a.bin {destination}"),
            &[&format!("downloading a.bin from lab to {}", path.display())],
        );
        bob.wait_downloads();
        assert_eq!(sha1_of(&path), content.sha1());
    }
    // What is there already is found to be the file, and left alone.
    let before = std::fs::metadata(home.join("a.bin")).unwrap().modified().unwrap();
    bob.ok("download_file lab a.bin", &["downloading a.bin from lab to *"]);
    bob.wait_downloads();
    assert_eq!(std::fs::metadata(home.join("a.bin")).unwrap().modified().unwrap(), before);
}

#[test]
fn a_file_that_changed_is_no_longer_offered_and_says_so() {
    let world = World::new(1);
    world.group("lab", &["nik", "bob"]);
    let contents = [
        Content::new("a.bin", 900_000, 36),
        Content::new("b.bin", 900_000, 37),
        Content::new("c.bin", 1000, 38),
    ];
    let mut nik = world.client("nik");
    nik.login("nik");
    for content in &contents {
        world.put("nik", content);
        nik.ok(&format!("upload_file {} lab", content.name), &[]);
    }
    nik.process().kill9();
    // One grew, one keeps its length, one is untouched.
    Content::new("a.bin", 900_001, 39).write(&nik.path("a.bin"));
    Content::new("b.bin", 900_000, 40).write(&nik.path("b.bin"));
    let mut nik = world.client("nik");
    nik.login("nik");
    let mut bob = world.client("bob");
    bob.login("bob");
    for content in &contents {
        bob.ok(&format!("download_file lab {}", content.name), &[]);
    }
    eventually("the untouched one is there", || bob.path("c.bin").exists().then_some(()));
    for file in ["a.bin", "b.bin"] {
        nik.process().wait_out("that it is not offered", |line| {
            let object: serde_json::Value = serde_json::from_str(line).unwrap();
            (object["event"] == "share_not_offered" && object["file"] == file).then_some(())
        });
    }
    assert!(!bob.path("a.bin").exists() && !bob.path("b.bin").exists());
    bob.refused("wait 1", "");
    // Sharing it again offers the new content, under the name that nobody offers any more.
    nik.ok("stop_share lab a.bin", &[]);
    nik.ok("upload_file a.bin lab", &[]);
}

#[test]
fn shares_come_back_after_kill_9_and_a_new_login() {
    let world = World::new(1);
    world.group("lab", &["nik", "bob"]);
    let content = Content::new("a.bin", 900_000, 41);
    world.put("nik", &content);
    let mut nik = world.client("nik");
    nik.login("nik");
    nik.ok("upload_file a.bin lab", &[]);
    nik.process().kill9();
    let mut nik = world.client("nik");
    nik.login("nik");
    let fetched = world.script(
        "bob",
        &["-c", "login bob pw-bob", "-c", "download_file lab a.bin", "-c", "wait 60"],
        &[],
    );
    assert_eq!(fetched.status, Some(0), "{fetched:#?}");
    assert_eq!(sha1_of(&world.home("bob").join("a.bin")), content.sha1());
}

#[test]
fn a_member_who_is_removed_gets_and_gives_nothing_more() {
    let mut world = World::new(1);
    world.group("lab", &["nik", "bob", "eve"]);
    let content = Content::new("big.bin", 16 << 20, 42);
    world.put("bob", &content);
    let (mut bob, gate) = world.gated("bob");
    bob.login("bob");
    bob.ok("upload_file big.bin lab", &[]);
    let (mut nik, mut eve) = (world.client("nik"), world.client("eve"));
    nik.login("nik");
    eve.login("eve");
    gate.allow(4 * MIB);
    eve.ok("download_file lab big.bin", &[]);
    gate.wait_passed(4 * MIB);
    nik.ok("remove_member lab eve", &[]);
    // The seeder hears of it and ends the link: nothing more comes out than was under way.
    eventually("eve's download has ended or waits", || {
        let shown = eve.object("show_downloads").to_string();
        (!shown.contains("\"running\"")).then_some(())
    });
    gate.lift();
    eve.refused("list_files lab", "not a member");
    eve.refused("wait 2", "");
    assert!(!eve.path("big.bin").exists());
    // The sharer goes too: what they shared is gone from the list.
    nik.ok("remove_member lab bob", &[]);
    let mut session = RawClient::enter(world.tracker(1), "nik");
    let group = session.group("lab").group;
    assert!(session.files(group).is_empty());
    eventually("bob offers it no longer", || {
        (bob.object("show_uploads")["uploads"].as_array().map(Vec::len) == Some(0)).then_some(())
    });
}

#[test]
fn many_members_at_once_all_get_the_file() {
    let world = World::new(2);
    let users = ["nik", "u1", "u2", "u3", "u4", "u5"];
    world.group("lab", &users);
    let content = Content::new("big.bin", 12 << 20, 43);
    world.put("nik", &content);
    let mut nik = world.client("nik");
    nik.login("nik");
    nik.ok("upload_file big.bin lab", &[]);
    let mut leechers: Vec<_> =
        users[1..].iter().map(|user| (world.spawn(user, &[]), user)).collect();
    for (process, user) in &mut leechers {
        process.send(&format!("login {user} pw-{user}\ndownload_file lab big.bin\nwait 100"));
    }
    for (process, user) in leechers {
        let done = process.finish(Duration::from_secs(120));
        assert_eq!(done.status, Some(0), "{user}: {done:#?}");
        assert_eq!(sha1_of(&world.home(user).join("big.bin")), content.sha1());
    }
}

#[test]
fn a_file_of_131_072_pieces_starts_soon_and_costs_little() {
    let world = World::new(1);
    world.group("lab", &["nik", "bob"]);
    let content = Content::zeros("vast.bin", 131_072, 16 << 10);
    let seeder = EvilPeer::start(world.tracker(1), "nik", "lab", &content, Behaviour::Honest);
    let mut bob = world.client("bob");
    bob.login("bob");
    seeder.allow_bytes(32 * MIB);
    bob.ok("download_file lab vast.bin", &[]);
    // The list of its pieces alone has 2.5 MiB, and comes in 161 parts.
    eventually("2,048 pieces are verified", || {
        (bob.bytes_done("vast.bin") == 32 * MIB).then_some(())
    });
    let peak = bob.process().proc_status("VmHWM");
    assert!(peak < 100 << 10, "{peak} kB at the peak");
    bob.ok("cancel_download lab vast.bin", &[]);
    assert!(!bob.path("vast.bin").exists());
}

#[test]
fn two_users_of_one_device_do_not_offer_each_others_files() {
    let world = World::new(1);
    world.group("lab", &["nik", "ann", "bob"]);
    let contents = [Content::new("niks.bin", 600_000, 44), Content::new("anns.bin", 600_000, 45)];
    contents.iter().for_each(|content| drop(world.put("device", content)));
    let mut device = world.client("device");
    let mut bob = world.client("bob");
    bob.login("bob");
    for (user, file) in [("nik", "niks.bin"), ("ann", "anns.bin")] {
        device.login(user);
        device.ok(&format!("upload_file {file} lab"), &[]);
        device.ok("logout", &[]);
    }
    device.login("ann");
    assert_eq!(device.object("show_uploads")["uploads"].as_array().map(Vec::len), Some(1));
    for content in &contents {
        bob.ok(&format!("download_file lab {}", content.name), &[]);
    }
    eventually("ann's file is there", || bob.path("anns.bin").exists().then_some(()));
    assert!(!bob.path("niks.bin").exists());
    assert_eq!(bob.bytes_done("niks.bin"), 0);
    device.ok("logout", &[]);
    device.login("nik");
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("niks.bin")), contents[0].sha1());
}

#[test]
fn a_file_shared_in_two_groups_stays_in_one_when_the_other_is_left() {
    let world = World::new(1);
    world.group("lab", &["ann", "nik", "bob"]);
    world.group("club", &["ann", "nik", "eve"]);
    let content = Content::new("a.bin", 600_000, 46);
    world.put("nik", &content);
    let (mut nik, mut bob, mut eve) =
        (world.client("nik"), world.client("bob"), world.client("eve"));
    nik.login("nik");
    bob.login("bob");
    eve.login("eve");
    nik.ok("upload_file a.bin lab", &[]);
    nik.ok("upload_file a.bin club", &[]);
    nik.ok("leave_group lab", &[]);
    bob.refused("download_file lab a.bin", "no such file");
    eve.ok("download_file club a.bin", &[]);
    eve.wait_downloads();
    assert_eq!(sha1_of(&eve.path("a.bin")), content.sha1());
    nik.ok("stop_share club a.bin", &[]);
    assert_eq!(nik.object("show_uploads")["uploads"].as_array().map(Vec::len), Some(0));
}

#[test]
fn what_a_seeder_says_it_sent_is_what_a_leecher_got() {
    let world = World::new(1);
    world.group("lab", &["nik", "bob"]);
    let content = Content::new("a.bin", 9 << 20, 47);
    world.put("nik", &content);
    let (mut nik, mut bob) = (world.client("nik"), world.client("bob"));
    nik.login("nik");
    nik.ok("upload_file a.bin lab", &[]);
    bob.login("bob");
    bob.ok("download_file lab a.bin", &[]);
    bob.wait_downloads();
    assert_eq!(
        nik.object("show_uploads")["uploads"][0]["bytes_sent"],
        content.bytes.len(),
        "one seeder sends every byte once"
    );
}
