//! A sharer learns what others cannot say to it: that its file is not what it was, and that nobody
//! reaches it.

use std::io::Write;
use std::path::Path;

use serde_json::Value;

use crate::harness::{ClientProcess, Content, PATIENCE, World, eventually, sha1_of};

/// Writes other bytes into a file, which keeps its length and its time.
fn change_in_place(path: &Path, content: &Content) {
    let before = std::fs::metadata(path).unwrap();
    let mut file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all(&content.bytes).unwrap();
    file.set_modified(before.modified().unwrap()).unwrap();
    assert_eq!(std::fs::metadata(path).unwrap().len(), before.len());
}

/// The events of that name so far.
fn events(client: &mut ClientProcess, event: &str) -> Vec<Value> {
    let words = format!("\"event\":\"{event}\"");
    let said = client.process().said().out;
    let lines = said.iter().filter(|line| line.contains(&words) && !line.contains("\"command\""));
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[track_caller]
fn wait_event(client: &mut ClientProcess, event: &str) -> Value {
    let words = format!("\"event\":\"{event}\"");
    let line = client
        .process()
        .wait_said(PATIENCE, |said| said.out.iter().find(|line| line.contains(&words)).cloned());
    serde_json::from_str(&line.unwrap_or_else(|| panic!("no event {event}"))).unwrap()
}

fn uploads(client: &mut ClientProcess) -> Vec<Value> {
    client.object("show_uploads")["uploads"].as_array().unwrap().clone()
}

#[test]
fn content_that_changed_under_the_same_time_is_read_again() {
    let world = World::new(1);
    world.group("lab", &["nik", "bob"]);
    world.group("pub", &["nik"]);
    let [old, new] = [71, 72].map(|seed| Content::new("box.hc", 900_000, seed));
    let path = world.put("nik", &old);
    let (mut nik, mut bob) = (world.client("nik"), world.client("bob"));
    nik.login("nik");
    bob.login("bob");
    nik.ok("upload_file box.hc lab", &[]);
    nik.ok("upload_file box.hc pub", &[]);
    change_in_place(&path, &new);
    let sha1 = |said: &Value| said["sha1"].as_str().unwrap().to_owned();
    let trusted = nik.object("upload_file box.hc lab --trust-stamp");
    assert_eq!(sha1(&trusted), old.sha1().to_string());
    let read = nik.object("upload_file box.hc lab");
    assert_eq!(sha1(&read), new.sha1().to_string(), "{read}");
    assert!(read["replaces_ms"].is_u64(), "{read}");
    // What the other group was offered is not there any more.
    let ended = wait_event(&mut nik, "share_not_offered");
    assert_eq!((&ended["group"], events(&mut nik, "share_not_offered").len()), (&"pub".into(), 1));
    let offered = uploads(&mut nik);
    assert_eq!((offered.len(), &offered[0]["group"]), (1, &"lab".into()));
    bob.ok("download_file lab box.hc", &[]);
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("box.hc")), new.sha1());
}

#[test]
fn who_is_banned_for_bad_data_is_told_by_how_many() {
    let world = World::new(2);
    world.group("lab", &["nik", "bob", "eve"]);
    let [old, new] = [73, 74].map(|seed| Content::new("box.hc", 3 << 20, seed));
    let path = world.put("nik", &old);
    let mut nik = world.client("nik");
    nik.login("nik");
    nik.ok("upload_file box.hc lab", &[]);
    assert!(nik.object("why lab box.hc")["lines"][0].as_str().unwrap().contains("is offered"));
    change_in_place(&path, &new);
    let mut bob = world.client("bob");
    bob.login("bob");
    bob.ok("download_file lab box.hc", &[]);
    let told = wait_event(&mut nik, "bad_data_reported");
    assert_eq!((&told["file"], &told["members"]), (&"box.hc".into(), &1.into()), "{told}");
    let why = nik.object("why lab box.hc").to_string();
    let words =
        "1 member says that what this device sends of box.hc is wrong; is the file changed?";
    assert!(why.contains(words), "{why}");
    let mut eve = world.client("eve");
    eve.login("eve");
    eve.ok("download_file lab box.hc", &[]);
    eventually("two members are counted", || {
        (uploads(&mut nik)[0]["bad_data_members"] == 2).then_some(())
    });
    // Two trackers have told of two members.
    assert_eq!(events(&mut nik, "bad_data_reported").len(), 1);
    eventually("it is written down", || {
        let kept = nik.object("notifications --all").to_string();
        (kept.matches("bad_data_reported").count() == 1).then_some(())
    });
    change_in_place(&path, &old);
    nik.ok("upload_file box.hc lab", &[]);
    assert_eq!(uploads(&mut nik)[0]["bad_data_members"], 0, "it is offered anew");
}

#[test]
fn a_sharer_that_nobody_reaches_is_told() {
    let mut world = World::new(2);
    world.group("lab", &["nik", "bob", "eve"]);
    world.put("nik", &Content::new("a.bin", 100_000, 75));
    let (mut nik, address) = world.hidden("nik");
    nik.login("nik");
    nik.ok("upload_file a.bin lab", &[]);
    let (mut bob, mut eve) = (world.client("bob"), world.client("eve"));
    for (client, user) in [(&mut bob, "bob"), (&mut eve, "eve")] {
        client.login(user);
        client.ok("download_file lab a.bin", &[]);
    }
    let told = wait_event(&mut nik, "unreachable");
    assert_eq!(
        (told["address"].as_str(), &told["members"]),
        (Some(address.to_string().as_str()), &2.into())
    );
    let words = format!("2 members could not connect to this device at {address}");
    let why = nik.object("why lab a.bin").to_string();
    assert!(why.contains(&words), "{why}");
    let offered = uploads(&mut nik);
    assert_eq!(offered[0]["unreachable"]["members"], 2, "{offered:?}");
    assert_eq!(events(&mut nik, "unreachable").len(), 1, "two trackers have told");
}
