//! Limits, and the order of downloads: on the command line and as commands, across restarts, and at
//! the socket.

use std::time::{Duration, Instant};

use crate::harness::{ClientProcess, Content, Gate, World, eventually, sha1_of};

const MIB: u64 = 1 << 20;

/// A world in which nik seeds files to bob through a gate; bob runs so many downloads at a time.
fn queue_of(
    names: &[&str],
    len: usize,
    max: &str,
) -> (World, Vec<Content>, ClientProcess, Gate, ClientProcess) {
    let mut world = World::new(1);
    world.group("lab", &["nik", "bob"]);
    let contents: Vec<Content> =
        names.iter().enumerate().map(|(i, name)| Content::new(name, len, 700 + i as u64)).collect();
    let (mut nik, gate) = world.gated("nik");
    nik.login("nik");
    for content in &contents {
        world.put("nik", content);
        nik.ok(&format!("upload_file {} lab", content.name), &[]);
    }
    let mut bob = world.client_with("bob", &["--max-downloads", max]);
    bob.login("bob");
    (world, contents, nik, gate, bob)
}

/// The names of the downloads in the order in which they run, then in which they wait.
fn order(client: &mut ClientProcess) -> (Vec<String>, Vec<String>) {
    let object = client.object("show_downloads");
    let all = object["downloads"].as_array().unwrap();
    let named = |download: &serde_json::Value| download["file"].as_str().unwrap().to_owned();
    let running = all.iter().filter(|d| d["state"] == "running").map(named).collect();
    let mut waiting: Vec<_> = all
        .iter()
        .filter(|d| d["state"] == "queued")
        .map(|d| (d["place"].as_u64().unwrap(), named(d)))
        .collect();
    waiting.sort();
    assert!(
        waiting.iter().enumerate().all(|(i, (place, _))| *place == i as u64 + 1),
        "{waiting:?}"
    );
    (running, waiting.into_iter().map(|(_, name)| name).collect())
}

#[track_caller]
fn expect(client: &mut ClientProcess, running: &[&str], waiting: &[&str]) {
    eventually("the downloads are in that order", || {
        let (runs, waits) = order(client);
        (runs == running && waits == waiting).then_some(())
    });
}

fn assert_all_complete(client: &mut ClientProcess, contents: &[Content]) {
    client.wait_downloads();
    for content in contents {
        assert_eq!(sha1_of(&client.path(&content.name)), content.sha1(), "{}", content.name);
    }
}

#[test]
fn limits_are_shown_set_and_nonsense_is_refused() {
    let world = World::new(1);
    let mut nik = world.client_with(
        "nik",
        &["--upload-limit", "5M", "--download-limit", "1.5MB", "--max-downloads", "3"],
    );
    let shown = nik.object("limits");
    assert_eq!(
        (&shown["upload"], &shown["download"], &shown["downloads"]),
        (&5_000_000.into(), &1_500_000.into(), &3.into())
    );
    assert_eq!(nik.object("limits upload off")["upload"], serde_json::Value::Null);
    assert_eq!(nik.object("limits download 2MiB/s")["download"], 2 * MIB);
    assert_eq!(nik.object("limits downloads 0")["downloads"], serde_json::Value::Null);
    nik.refused("limits upload fast", "is no rate");
    nik.refused("limits upload 3K", "the least is 10K");
    nik.refused("limits downloads -1", "is not a number of downloads");
    nik.refused("limits speed 5M", "limits upload 5M");
    nik.refused("limits upload", "limits upload 5M");
    nik.refused("limit_download lab x 1M", "log in first");
    nik.enter("nik");
    nik.refused("limit_download lab x 1M", "no such download");
    nik.refused("prioritize lab x", "no such download");
    assert_eq!(nik.object("limits")["download"], 2 * MIB, "a login changes no limit");
    let mut plain = world.plain("ann");
    plain.ok("limits", &["upload\toff", "download\toff", "downloads\t8 at a time"]);
    plain.ok(
        "limits download 500K",
        &["upload\toff", "download\t500.0 kB/s", "downloads\t8 at a time"],
    );
    let wrong = world.spawn("eve", &["--upload-limit", "1"]).finish(Duration::from_secs(30));
    assert_eq!(wrong.status, Some(2), "{wrong:?}");
}

#[test]
fn downloads_wait_for_each_other_in_an_order_that_can_be_changed_and_survives() {
    let (world, contents, _nik, gate, mut bob) = queue_of(&["a", "b", "c", "d"], 4 << 20, "1");
    gate.allow(MIB);
    for content in &contents {
        bob.ok(&format!("download_file lab {}", content.name), &[]);
    }
    expect(&mut bob, &["a"], &["b", "c", "d"]);
    bob.refused("resume_download lab c", "place 2");
    bob.ok("prioritize lab d", &[]);
    expect(&mut bob, &["d"], &["a", "b", "c"]);
    assert!(bob.object("why lab b").to_string().contains("place 2 of the queue"));
    bob.ok("limit_download lab c 10M", &[]);
    // Another that may run is the next; with room for fewer the last that was let in waits again.
    bob.ok("limits downloads 2", &[]);
    expect(&mut bob, &["a", "d"], &["b", "c"]);
    bob.ok("limits downloads 1", &[]);
    expect(&mut bob, &["d"], &["a", "b", "c"]);
    // One that is paused makes room, and goes back to its place.
    bob.ok("pause_download lab d", &[]);
    expect(&mut bob, &["a"], &["b", "c"]);
    bob.refused("prioritize lab d", "resume_download");
    bob.ok("resume_download lab d", &[]);
    expect(&mut bob, &["a"], &["d", "b", "c"]);
    bob.process().kill9();
    let mut bob = world.client_with("bob", &["--max-downloads", "1"]);
    bob.login("bob");
    expect(&mut bob, &["d"], &["a", "b", "c"]);
    assert_eq!(bob.download("c")["limit"], 10_000_000, "its own limit is kept");
    bob.ok("logout", &[]);
    bob.login("bob");
    expect(&mut bob, &["d"], &["a", "b", "c"]);
    bob.ok("cancel_download lab b", &[]);
    expect(&mut bob, &["d"], &["a", "c"]);
    bob.ok("download_file lab b", &[]);
    expect(&mut bob, &["d"], &["a", "c", "b"]);
    gate.lift();
    assert_all_complete(&mut bob, &contents);
    assert_eq!(bob.object("limits")["limited"], serde_json::json!([]));
}

#[test]
fn one_that_fails_or_cannot_begin_does_not_hold_up_the_others() {
    let (_world, contents, _nik, gate, mut bob) = queue_of(&["a", "b", "c"], 2 << 20, "1");
    gate.allow(MIB);
    for content in &contents {
        bob.ok(&format!("download_file lab {}", content.name), &[]);
    }
    // Somebody else's file comes to stand where the second is to be, before it begins.
    std::fs::write(bob.path("b"), "something else").unwrap();
    gate.lift();
    let ended = bob.object("wait 60");
    assert_eq!(ended["code"], "download_failed", "{ended}");
    assert_eq!(bob.download("b")["state"], "failed");
    assert_eq!(std::fs::read(bob.path("b")).unwrap(), b"something else");
    for content in [&contents[0], &contents[2]] {
        assert_eq!(sha1_of(&bob.path(&content.name)), content.sha1());
    }
    std::fs::remove_file(bob.path("b")).unwrap();
    bob.ok("resume_download lab b", &[]);
    assert_all_complete(&mut bob, &contents);
}

/// Half a minute is what a download has to bring something while others wait; the test takes as
/// long.
#[test]
fn one_that_nobody_has_gives_its_slot_up_and_goes_on_when_somebody_has_it() {
    let world = World::new(1);
    world.group("lab", &["nik", "ann", "bob"]);
    let contents = [Content::new("a", 2 << 20, 741), Content::new("b", 2 << 20, 742)];
    let (mut nik, mut ann) = (world.client("nik"), world.client("ann"));
    for (client, user, content) in
        [(&mut nik, "nik", &contents[0]), (&mut ann, "ann", &contents[1])]
    {
        world.put(user, content);
        client.login(user);
        client.ok(&format!("upload_file {} lab", content.name), &[]);
    }
    nik.process().kill9();
    let mut bob = world.client_with("bob", &["--max-downloads", "1"]);
    bob.login("bob");
    bob.ok("download_file lab a", &[]);
    bob.ok("download_file lab b", &[]);
    expect(&mut bob, &["a"], &["b"]);
    eventually("the other one is let in and arrives", || {
        (bob.download("b")["state"] == "complete").then_some(())
    });
    assert_eq!(order(&mut bob).0, ["a"], "it goes on trying");
    let mut nik = world.client("nik");
    nik.login("nik");
    assert_all_complete(&mut bob, &contents);
}

#[test]
fn many_small_files_go_through_a_narrow_queue_without_a_pause() {
    let names: Vec<String> = (0..60).map(|n| format!("f{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (_world, contents, _nik, _gate, mut bob) = queue_of(&names, 20 << 10, "2");
    for name in &names {
        bob.ok(&format!("download_file lab {name}"), &[]);
    }
    assert_all_complete(&mut bob, &contents);
    bob.finish();
}

#[test]
fn a_script_waits_for_those_that_wait() {
    let (world, contents, _nik, _gate, bob) = queue_of(&["a", "b", "c"], 1 << 20, "1");
    bob.finish();
    let lines =
        ["login bob pw-bob", "download_file lab a", "download_file lab b", "download_file lab c"];
    let finished = world.script("bob", &["--max-downloads", "1"], &lines);
    assert_eq!(finished.status, Some(0), "{finished:?}");
    for content in &contents {
        assert_eq!(sha1_of(&world.home("bob").join(&content.name)), content.sha1());
    }
}

/// At the socket: after `pause_download` has returned, within a second nothing comes any more.
#[test]
fn paused_means_that_nothing_comes() {
    let (_world, contents, _nik, gate, mut bob) = queue_of(&["a"], 16 << 20, "0");
    bob.ok("limits download 2M", &[]);
    bob.ok("download_file lab a", &[]);
    gate.wait_passed(2 * MIB);
    bob.ok("pause_download lab a", &[]);
    let paused = Instant::now();
    // What is not to happen cannot be waited for: a second for what is under way, then none may
    // come.
    while paused.elapsed() < Duration::from_secs(1) {
        std::thread::park_timeout(Duration::from_millis(50));
    }
    let passed = gate.passed();
    while paused.elapsed() < Duration::from_millis(1800) {
        std::thread::park_timeout(Duration::from_millis(50));
    }
    assert_eq!(gate.passed(), passed, "bytes come though it is paused");
    assert!(passed < 16 * MIB, "it was over before");
    bob.ok("limits download off", &[]);
    bob.ok("resume_download lab a", &[]);
    assert_all_complete(&mut bob, &contents);
}

/// A limit holds over the whole way, from one client to another, whichever end has it.
#[test]
fn a_limit_is_kept_between_clients() {
    let (_world, contents, mut nik, gate, mut bob) = queue_of(&["a", "b"], 4 << 20, "0");
    nik.ok("limits upload 4M", &[]);
    let begun = Instant::now();
    bob.ok("download_file lab a", &[]);
    bob.wait_downloads();
    let took = begun.elapsed().as_secs_f64();
    assert!(took >= (4.0 * MIB as f64 - 900_000.0) / 4e6, "4 MiB at 4 MB/s took {took} s");
    nik.ok("limits upload off", &[]);
    let before = gate.passed();
    bob.ok("limits download 3M", &[]);
    let begun = Instant::now();
    bob.ok("download_file lab b", &[]);
    bob.wait_downloads();
    let (took, passed) = (begun.elapsed().as_secs_f64(), gate.passed() - before);
    assert!(passed as f64 <= took * 3e6 + 3_000_000.0, "{passed} bytes in {took} s");
    assert_all_complete(&mut bob, &contents);
}
