//! A client whose data directory has no room: every command is answered soon, and what it answered
//! holds, also after a restart.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{
    ClientProcess, Content, Gate, PATIENCE, SmallDisk, World, eventually, sha1_of,
};

/// How long a command may take, on a machine that does other things too.
const SOON: Duration = Duration::from_secs(6);
/// Room of the data directory.
const ROOM: &str = "3m";
/// Length of each file.
const LEN: usize = 2 << 20;

/// Carries out a command and returns its result, which must come soon.
#[track_caller]
fn ask(client: &mut ClientProcess, command: &str) -> Value {
    client.object_within(command, SOON)
}

/// As [`ask`]; tells whether it was carried out. If not, the error says that there is no room.
#[track_caller]
fn is_done(client: &mut ClientProcess, command: &str) -> bool {
    let result = ask(client, command);
    let is_done = result["ok"] == true;
    if !is_done {
        let error = result["error"].as_str().unwrap();
        let says = ["full", "space", "room"].iter().any(|word| error.contains(word));
        assert!(says, "{command} failed with {error:?}");
        assert!(error.contains(".posse"), "{command} does not name the directory: {error:?}");
    }
    is_done
}

/// Withdraws a file, which the group's trackers carry out: an error says that this is not stored here.
fn is_withdrawn(client: &mut ClientProcess, command: &str) -> bool {
    if is_done(client, command) {
        return true;
    }
    let error = client.process().said().out.last().cloned().unwrap_or_default();
    error.contains("no more, but that cannot be stored")
}

/// Takes all room: from then on nothing is written, and the client answers so.
fn fill(client: &mut ClientProcess, disk: &SmallDisk) {
    let mut rate = 20_000;
    disk.fill();
    // What the store has of room within its files is used up by this.
    eventually("nothing is written any more", || {
        rate += 1_000;
        disk.fill();
        let said = client.object(&format!("limit_download lab run.bin {rate}"));
        (said["ok"] == false).then_some(())
    });
}

fn names(result: &Value, list: &str) -> Vec<String> {
    let entries = result[list].as_array().unwrap_or_else(|| panic!("no {list} in {result}"));
    entries.iter().map(|entry| entry["file"].as_str().unwrap().to_owned()).collect()
}

fn find(result: &Value, list: &str, file: &str) -> Option<Value> {
    result[list].as_array().unwrap().iter().find(|entry| entry["file"] == file).cloned()
}

/// A state of bob's client in which every command about files has something to do.
struct Stage {
    disk: SmallDisk,
    world: World,
}

impl Stage {
    fn new() -> Option<Self> {
        let world = World::new(1);
        let disk = SmallDisk::mount(&world.home("bob").join(".posse"), ROOM)?;
        world.group("lab", &["nik", "bob"]);
        world.group("gone", &["nik", "bob"]);
        world.group("own", &["bob", "nik"]);
        Some(Self { disk, world })
    }

    /// nik offers the files; bob fetches all but the first, of which nothing arrives yet.
    fn begin(
        &mut self,
        files: &[(&str, &str)],
    ) -> (Vec<Content>, ClientProcess, Gate, ClientProcess) {
        let contents: Vec<Content> =
            (0..).zip(files).map(|(seed, (_, name))| Content::new(name, LEN, 960 + seed)).collect();
        let (mut nik, gate) = self.world.gated("nik");
        nik.login("nik");
        gate.allow(0);
        let mut bob = self.world.client("bob");
        bob.login("bob");
        std::fs::create_dir_all(bob.path("down")).unwrap();
        for (content, (group, name)) in contents.iter().zip(files) {
            self.world.put("nik", content);
            nik.ok(&format!("upload_file {name} {group}"), &[]);
            if *name != "new.bin" {
                bob.ok(&format!("download_file {group} {name} down"), &[]);
            }
        }
        for (_, name) in files.iter().filter(|(_, name)| *name != "new.bin") {
            wait_begun(&bob, name);
        }
        (contents, nik, gate, bob)
    }
}

/// Waits until a download has made its `.part`, and the store has it: it gets its length behind
/// that.
fn wait_begun(client: &ClientProcess, name: &str) {
    let part = client.path(&format!("down/{name}.part"));
    let has_length = || part.metadata().is_ok_and(|facts| facts.len() == LEN as u64);
    eventually(&format!("{name} has begun"), || has_length().then_some(()));
}

/// How the client ends after its data directory was full.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    /// There is room again before it ends in order.
    InOrder,
    /// It is killed with no room left.
    Killed,
}

fn what_is_answered_holds(end: End) {
    let files = [
        ("lab", "new.bin"),
        ("lab", "run.bin"),
        ("lab", "pause.bin"),
        ("lab", "resume.bin"),
        ("lab", "cancel.bin"),
        ("lab", "first.bin"),
        ("gone", "gone.bin"),
    ];
    let Some(mut stage) = Stage::new() else { return };
    let (contents, nik, gate, mut bob) = stage.begin(&files);
    let world = &stage.world;
    for (name, seed) in
        [("mine.bin", 980), ("stop.bin", 981), ("remove.bin", 982), ("late.bin", 983)]
    {
        world.put("bob", &Content::new(name, LEN, seed));
        if name != "late.bin" {
            bob.ok(&format!("upload_file {name} own"), &[]);
        }
    }
    bob.ok("pause_download lab resume.bin", &[]);
    fill(&mut bob, &stage.disk);

    // What changes something on this device.
    let late = is_done(&mut bob, "upload_file late.bin own");
    let new = is_done(&mut bob, "download_file lab new.bin down");
    let paused = is_done(&mut bob, "pause_download lab pause.bin");
    let resumed = is_done(&mut bob, "resume_download lab resume.bin");
    let cancelled = is_done(&mut bob, "cancel_download lab cancel.bin");
    let _ = is_done(&mut bob, "prioritize lab first.bin");
    let _ = is_done(&mut bob, "limit_download lab run.bin off");
    assert!(!late && !new && !paused, "the data directory is not full");
    // What others hear of, too.
    let stopped = is_withdrawn(&mut bob, "stop_share own stop.bin");
    let removed = is_withdrawn(&mut bob, "remove_file own remove.bin --yes");
    let left = is_done(&mut bob, "leave_group gone");
    let renamed = is_done(&mut bob, "rename_group own ours");
    let own = if renamed { "ours" } else { "own" };
    // What needs nothing of this device's disk.
    for command in [
        "limits upload 5M",
        "limits download off",
        "limits downloads 9",
        "create_group new",
        "whoami",
        "devices",
        "list_my_groups",
        "show_downloads",
        "show_uploads",
        "why lab run.bin",
        "trackers",
    ] {
        assert_eq!(ask(&mut bob, command)["ok"], true, "{command}");
    }
    let _ = is_done(&mut bob, "notifications");
    let _ = is_done(&mut bob, "notifications --all");

    // It is so while there is no room ...
    let check = |bob: &mut ClientProcess, what: &str| {
        let downloads = bob.object("show_downloads");
        let uploads = bob.object("show_uploads");
        let listed = bob.object(&format!("list_files {own}"));
        let state = |file: &str| find(&downloads, "downloads", file).map(|d| d["state"].clone());
        let is_paused = |file: &str| state(file) == Some("paused".into());
        let offers = |file: &str| names(&uploads, "uploads").iter().any(|name| name == file);
        let lists = |file: &str| names(&listed, "files").iter().any(|name| name == file);
        assert_eq!(state("new.bin").is_some(), new, "{what}: new.bin in {downloads}");
        assert_eq!(is_paused("pause.bin"), paused, "{what}: pause.bin in {downloads}");
        assert_eq!(is_paused("resume.bin"), !resumed, "{what}: resume.bin in {downloads}");
        assert_eq!(state("cancel.bin").is_none(), cancelled, "{what}: cancel.bin in {downloads}");
        let is_gone = state("gone.bin").is_none_or(|state| state == "failed");
        assert_eq!(is_gone, left, "{what}: gone.bin in {downloads}");
        for (file, is_there) in [
            ("mine.bin", true),
            ("late.bin", late),
            ("stop.bin", !stopped),
            ("remove.bin", !removed),
        ] {
            // What the directory has withdrawn and could not be stored here is offered again, as the
            // answer says.
            let is_lost = what == "after kill -9" && !is_there && file != "late.bin";
            assert!(is_lost || offers(file) == is_there, "{what}: {file} in {uploads}");
            assert_eq!(lists(file), is_there, "{what}: {file} in {listed}");
        }
    };
    check(&mut bob, "without room");
    // ... and after it.
    match end {
        End::InOrder => {
            stage.disk.drain();
            bob.process().signal(Signal::TERM);
            // Commands have failed, so its exit status says nothing.
            bob.process().wait_exit(PATIENCE);
        }
        End::Killed => {
            bob.process().kill9();
            stage.disk.drain();
        }
    }
    let mut bob = world.client("bob");
    bob.login("bob");
    check(&mut bob, if end == End::Killed { "after kill -9" } else { "after a restart" });
    // What goes on is completed, and nothing else is.
    gate.lift();
    let waited = bob.object("wait 60");
    // The one of the group that was left fails at the login, if that could not be noted before.
    let failed = waited["code"] == "download_failed" && end == End::Killed;
    assert!(failed || waited["ok"] == true, "{waited}");
    for (content, is_there) in
        contents.iter().zip([new, true, !paused, resumed, !cancelled, true, !left])
    {
        let path = bob.path("down").join(&content.name);
        assert_eq!(path.exists(), is_there, "{}", content.name);
        if is_there {
            assert_eq!(sha1_of(&path), content.sha1());
        }
    }
    let parts = std::fs::read_dir(bob.path("down")).unwrap().map(|entry| entry.unwrap().path());
    let parts: Vec<_> = parts.filter(|path| is_part(path)).collect();
    let halted = usize::from(paused) + usize::from(!resumed) + usize::from(left);
    assert!(parts.len() <= halted, "{parts:?} of downloads that are not known any more");
    drop(nik);
}

/// Waits until the device has noticed so many times that it does not stay logged in any more.
fn wait_staying_ended(client: &mut ClientProcess, times: usize) {
    let ended = client.process().wait_said(PATIENCE, |said| {
        let told = said.out.iter().filter(|line| line.contains("\"staying_ended\""));
        (told.count() >= times).then_some(())
    });
    assert!(ended.is_some(), "it tries to log in by its key");
}

fn is_part(path: &Path) -> bool {
    path.to_string_lossy().ends_with(".part")
}

#[test]
fn what_is_answered_without_room_holds_after_a_restart() {
    what_is_answered_holds(End::InOrder);
}

#[test]
fn what_is_answered_without_room_holds_after_kill_9() {
    what_is_answered_holds(End::Killed);
}

#[test]
fn a_download_completes_without_room_for_its_state() {
    for end in [End::InOrder, End::Killed] {
        let Some(mut stage) = Stage::new() else { return };
        let (contents, _nik, gate, mut bob) = stage.begin(&[("lab", "run.bin")]);
        fill(&mut bob, &stage.disk);
        gate.lift();
        let begun = Instant::now();
        let waited = bob.object("wait 40");
        println!("{:?}: {waited}", begun.elapsed());
        assert_eq!(waited["ok"], true, "{waited}");
        let state = |bob: &mut ClientProcess| bob.download("run.bin")["state"].clone();
        assert_eq!(state(&mut bob), "complete");
        let path = bob.path("down/run.bin");
        assert_eq!(sha1_of(&path), contents[0].sha1());
        if end == End::InOrder {
            stage.disk.drain();
            bob.process().signal(Signal::TERM);
            // Commands have failed, so its exit status says nothing.
            bob.process().wait_exit(PATIENCE);
        } else {
            bob.process().kill9();
            stage.disk.drain();
        }
        bob = stage.world.client("bob");
        bob.login("bob");
        eventually("it is known to be complete", || (state(&mut bob) == "complete").then_some(()));
        assert_eq!(sha1_of(&path), contents[0].sha1());
        let uploads = bob.object("show_uploads");
        assert_eq!(names(&uploads, "uploads"), ["run.bin"]);
        // The directory hears of it, once there is room.
        eventually("bob is known to share it", || {
            let listed = bob.object("list_files lab");
            (listed["files"][0]["sharer_count"] == 2).then_some(())
        });
    }
}

#[test]
fn a_download_that_begins_without_room_goes_on_after_a_restart() {
    let Some(mut stage) = Stage::new() else { return };
    let (_contents, _nik, gate, mut bob) = stage.begin(&[("lab", "new.bin"), ("lab", "run.bin")]);
    bob.ok("limits downloads 1", &[]);
    bob.ok("download_file lab new.bin down", &[]);
    assert_eq!(bob.download("new.bin")["state"], "queued");
    fill(&mut bob, &stage.disk);
    // It begins now, and what it makes cannot be noted: it pauses and says so.
    bob.ok("limits downloads 2", &[]);
    eventually("new.bin has paused", || {
        (bob.download("new.bin")["state"] == "paused").then_some(())
    });
    let reason = bob.download("new.bin")["reason"].to_string();
    assert!(reason.contains("full"), "{reason}");
    bob.process().kill9();
    stage.disk.drain();
    let mut bob = stage.world.client("bob");
    bob.login("bob");
    assert_ne!(bob.download("new.bin")["state"], "failed", "{}", bob.download("new.bin"));
    gate.lift();
    bob.wait_downloads();
}

#[test]
fn sessions_begin_and_end_without_room() {
    let Some(mut stage) = Stage::new() else { return };
    let (_contents, _nik, _gate, mut bob) = stage.begin(&[("lab", "run.bin")]);
    fill(&mut bob, &stage.disk);
    assert_eq!(ask(&mut bob, "logout")["ok"], true);
    bob.refused("whoami", "log in first");
    let entered = is_done(&mut bob, "login bob pw-bob");
    assert_eq!(bob.object("whoami")["ok"], entered);
    let stays = is_done(&mut bob, "login bob pw-bob --stay");
    assert!(!stays, "it was written down without room");
    // The session was begun all the same, as the error says.
    assert_eq!(bob.object("whoami")["user"], "bob");
    assert_eq!(bob.object("show_downloads")["downloads"].as_array().map(Vec::len), Some(1));
    // What was answered holds: it does not stay.
    bob.process().kill9();
    stage.disk.drain();
    let mut bob = stage.world.client("bob");
    bob.refused("whoami", "log in first");
    assert_eq!(bob.object("login bob pw-bob --stay")["ok"], true);
    assert_eq!(bob.download("run.bin")["state"], "running");
    // The other way round: what ends staying is carried out by the trackers, so it holds, whatever
    // can be written here.
    fill(&mut bob, &stage.disk);
    let changed = is_done(&mut bob, "change_password pw-bob pw-other");
    assert!(changed);
    bob.process().kill9();
    stage.disk.drain();
    let mut bob = stage.world.client("bob");
    wait_staying_ended(&mut bob, 1);
    bob.refused("whoami", "log in first");
    assert_eq!(bob.object("login bob pw-other --stay")["ok"], true);
    fill(&mut bob, &stage.disk);
    let device = bob.device();
    assert!(is_done(&mut bob, &format!("forget_device {device}")));
    // That cannot be written down, and the device does not try to log in again in this run.
    bob.refused("whoami", "log in first");
    assert!(is_done(&mut bob, "login bob pw-other"));
    assert!(is_done(&mut bob, "delete_account --yes"));
    bob.refused("whoami", "log in first");
    bob.process().kill9();
    stage.disk.drain();
    let mut bob = stage.world.client("bob");
    wait_staying_ended(&mut bob, 1);
    bob.refused("whoami", "log in first");
    bob.refused("login bob pw-other", "wrong user name or password");
}

#[test]
fn a_client_starts_without_room_or_says_why_not() {
    let Some(mut stage) = Stage::new() else { return };
    let (_contents, _nik, _gate, mut bob) = stage.begin(&[("lab", "run.bin")]);
    fill(&mut bob, &stage.disk);
    bob.process().kill9();
    stage.disk.fill();
    let soon = |name: &str| {
        let begun = Instant::now();
        let script = stage.world.script(name, &["--json", "-c", "whoami"], &[]);
        assert!(begun.elapsed() < SOON, "{name}: {:?}", begun.elapsed());
        script
    };
    let script = soon("bob");
    println!("{script:?}");
    let is_started =
        script.status == Some(1) && script.out.iter().any(|l| l.contains("log in first"));
    let says = |text: &str| ["full", "space", "room"].iter().any(|word| text.contains(word));
    let is_refused =
        script.status == Some(2) && script.errors().len() == 1 && says(script.errors()[0]);
    assert!(is_started || is_refused, "{script:?}");
    // A first start makes a key and a store.
    let Some(none) = SmallDisk::mount(&stage.world.home("eve").join(".posse"), "64k") else {
        return;
    };
    none.fill();
    let script = soon("eve");
    println!("{script:?}");
    assert_eq!((script.status, script.errors().len()), (Some(2), 1), "{script:?}");
    assert!(says(script.errors()[0]), "{script:?}");
    none.drain();
    let script = soon("eve");
    println!("{script:?}");
}
