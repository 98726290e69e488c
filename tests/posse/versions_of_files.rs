//! Versions of files, and what is renamed, removed, deleted, found and sorted.

use serde_json::Value;

use crate::harness::{
    Behaviour, Content, EvilPeer, Finished, RawClient, World, eventually, sha1_of,
};

/// The result object of a command in a script that answers in JSON.
#[track_caller]
fn result(finished: &Finished, command: &str) -> Value {
    let objects = finished
        .out
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"));
    let found = objects.into_iter().find(|object| object["command"] == command);
    found.unwrap_or_else(|| panic!("no {command} in {finished:#?}"))
}

#[test]
fn a_file_that_an_earlier_version_listed_is_joined_and_not_listed_twice() {
    let world = World::new(1);
    world.group("lab", &["nik", "bob"]);
    let content = Content::new("a.bin", 3 << 20, 39);
    let mut bob = RawClient::enter(world.tracker(1), "bob");
    let lab = bob.group("lab").group;
    // Without the hash of its chaining values.
    bob.share(lab, content.facts());
    world.put("nik", &content);
    let mut nik = world.client("nik");
    nik.login("nik");
    nik.ok("upload_file a.bin lab", &[]);
    let listed = nik.object("list_files lab");
    assert_eq!(listed["files"].as_array().map(Vec::len), Some(1), "{listed}");
    assert_eq!(listed["files"][0]["file"], "a.bin", "{listed}");
    assert_eq!(listed["files"][0]["sharer_count"], 2, "{listed}");
}

#[test]
fn the_nightly_script_of_the_readme_works_every_night() {
    let world = World::new(2);
    world.group("lab", &["eve", "nik", "bob"]);
    let lines = ["login nik pw-nik", "upload_file nightly.tar lab", "seed 0.1"];
    let mut last = None;
    for night in 0..3 {
        let content = Content::new("nightly.tar", 700_000 + night, 40 + night as u64);
        world.put("nik", &content);
        let done = world.script("nik", &["--json", "--on-error", "stop"], &lines);
        assert_eq!(done.status, Some(0), "{done:#?}");
        let upload = result(&done, "upload_file");
        assert_eq!(
            (&upload["ok"], upload["sha1"].as_str()),
            (&true.into(), Some(content.sha1().as_str()))
        );
        assert_eq!(upload["replaces_ms"].is_null(), night == 0, "{upload}");
        last = Some(content);
    }
    let last = last.unwrap();
    let mut bob = world.client("bob");
    bob.login("bob");
    let listed = bob.object("list_files lab");
    let files = listed["files"].as_array().unwrap();
    assert_eq!(
        (files.len(), files[0]["sha1"].as_str()),
        (1, Some(last.sha1().as_str())),
        "{listed}"
    );
    let mut nik = world.client("nik");
    nik.login("nik");
    assert_eq!(
        nik.object("show_uploads")["uploads"].as_array().map(Vec::len),
        Some(1),
        "an old version is offered still"
    );
    bob.ok("download_file lab nightly.tar", &[]);
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("nightly.tar")), last.sha1());
}

#[test]
fn a_version_is_replaced_by_its_first_sharer_or_the_owner_and_by_nobody_else() {
    let world = World::new(1);
    world.group("lab", &["nik", "bob", "eve"]);
    let contents = [("bob", 51), ("eve", 52), ("nik", 53)]
        .map(|(who, seed)| (who, Content::new("notes.txt", 1_000, seed)));
    contents.iter().for_each(|(who, content)| drop(world.put(who, content)));
    let [mut bob, mut eve] = ["bob", "eve"].map(|who| {
        let mut client = world.client(who);
        client.login(who);
        client
    });
    bob.ok("upload_file notes.txt lab", &[]);
    eve.refused("upload_file notes.txt lab", "another file of that name is in the group");
    let refused = eve.object("upload_file notes.txt lab");
    assert!(
        refused["error"].as_str().unwrap().contains("(nik)") && refused["code"] == "refused",
        "{refused}"
    );
    let mut nik = world.plain("nik");
    nik.login("nik");
    let (_, owners) = &contents[2];
    let said = format!(
        "sharing notes.txt in lab\t1000 bytes\tsha1 {}\treplaces the version of 20* UTC",
        owners.sha1()
    );
    nik.ok("upload_file notes.txt lab", &[&said]);
    eventually("bob's share has ended", || {
        (bob.object("show_uploads")["uploads"].as_array().map(Vec::len) == Some(0)).then_some(())
    });
    let told = |line: &str| line.contains("\"share_not_offered\"").then(|| line.to_owned());
    let event = bob.process().wait_out("that its share has ended", told);
    assert!(event.contains("download_file lab notes.txt"), "{event}");
    // The file is the owner's from now on.
    bob.refused("upload_file notes.txt lab", "another file of that name");
    eve.refused("remove_file lab notes.txt --yes", "first sharer");
}

#[test]
fn a_download_of_a_replaced_version_says_so_and_the_newer_one_takes_its_place() {
    let world = World::new(1);
    world.group("lab", &["nik", "bob"]);
    let (old, new) = (Content::new("big.bin", 4 << 20, 61), Content::new("big.bin", 3 << 20, 62));
    let seeder = EvilPeer::start(world.tracker(1), "nik", "lab", &old, Behaviour::Honest);
    seeder.allow_bytes(1 << 20);
    let mut bob = world.client("bob");
    bob.login("bob");
    bob.ok("download_file lab big.bin", &[]);
    eventually("some of it is there", || (bob.bytes_done("big.bin") > 0).then_some(()));
    world.put("nik", &new);
    let mut nik = world.client("nik");
    nik.login("nik");
    assert!(nik.object("upload_file big.bin lab")["replaces_ms"].is_u64());
    eventually("it has failed", || (bob.download("big.bin")["state"] == "failed").then_some(()));
    let reason = bob.download("big.bin")["reason"].as_str().unwrap().to_owned();
    assert!(
        reason.contains("newer version") && reason.contains("download_file lab big.bin"),
        "{reason}"
    );
    bob.ok("download_file lab big.bin", &[]);
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("big.bin")), new.sha1());
    assert!(!bob.path("big.bin.part").exists());
}

#[test]
fn files_are_found_sorted_and_counted() {
    let world = World::new(1);
    world.group("lab", &["nik", "bob"]);
    world.group("club", &["bob"]);
    let mut nik = world.client("nik");
    nik.login("nik");
    for (name, len, seed) in [("b.bin", 3_000, 1), ("a.bin", 1_000, 2), ("c.txt", 2_000, 3)] {
        world.put("nik", &Content::new(name, len, seed));
        nik.ok(&format!("upload_file {name} lab"), &[]);
    }
    let names = |object: &Value| -> Vec<String> {
        object["files"]
            .as_array()
            .unwrap()
            .iter()
            .map(|file| file["file"].as_str().unwrap().to_owned())
            .collect()
    };
    for (command, wanted, more) in [
        ("list_files lab", &["a.bin", "b.bin", "c.txt"][..], false),
        ("list_files lab --sort size", &["b.bin", "c.txt", "a.bin"], false),
        ("list_files lab --sort=date", &["c.txt", "a.bin", "b.bin"], false),
        ("list_files lab *.BIN", &["a.bin", "b.bin"], false),
        ("list_files lab --limit 2 --sort name", &["a.bin", "b.bin"], true),
        ("list_files lab nothing", &[], false),
        ("find .bin", &["a.bin", "b.bin"], false),
        ("find *.bin --limit 1", &["a.bin"], true),
    ] {
        let object = nik.object(command);
        assert_eq!(
            (names(&object), &object["more"], &object["ok"]),
            (wanted.iter().map(|n| (*n).to_owned()).collect(), &more.into(), &true.into()),
            "{command}"
        );
    }
    assert_eq!(nik.object("find c.txt")["files"][0]["group"], "lab");
    assert_eq!(nik.object("list_groups cl*")["groups"].as_array().map(Vec::len), Some(1));
    nik.refused("list_files lab --sort colour", "name, size or date");
    nik.refused("list_files lab --limit few", "--limit 20");
    nik.refused("find", "usage: find");
}

#[test]
fn what_is_renamed_removed_or_deleted_is_so_for_everybody_and_scripts_say_yes() {
    let mut world = World::new(2);
    world.group("lab", &["nik", "bob"]);
    world.put("nik", &Content::new("a.bin", 1_000, 71));
    let [mut nik, mut bob] = ["nik", "bob"].map(|who| {
        let mut client = world.plain(who);
        client.login(who);
        client
    });
    bob.ok("list_my_groups", &["lab\tmember\t2 members"]);
    nik.ok("upload_file a.bin lab", &["sharing a.bin in lab\t*"]);
    for command in ["remove_file lab a.bin", "delete_group lab", "delete_account"] {
        nik.refused(command, "--yes");
    }
    bob.refused("remove_file lab a.bin --yes", "first sharer");
    bob.refused("rename_group lab club", "only the owner");
    bob.refused("delete_group lab --yes", "only the owner");
    nik.ok("rename_group lab club", &["lab is now called club"]);
    nik.ok("remove_file --yes club a.bin", &["removed a.bin from club"]);
    world.wait_synced();
    bob.ok("list_files club", &["no files"]);
    nik.ok("show_uploads", &["no uploads"]);
    nik.refused("remove_file club a.bin --yes", "no such file");
    nik.ok("delete_group club --yes", &["deleted club"]);
    world.wait_synced();
    bob.ok("list_my_groups", &["no groups"]);
    bob.ok("delete_account --yes", &["deleted the account bob"]);
    world.wait_synced();
    bob.refused("login bob pw-bob", "wrong user name or password");
    bob.refused("whoami", "log in first");
}
