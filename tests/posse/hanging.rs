//! A mount or a peer that hangs: commands that need it say so soon, everything else goes on, and
//! the client can always be ended.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{
    ClientProcess, Content, FuseDisk, Gate, Process, World, eventually, sha1_of, until,
};

/// How long a command may take: two seconds, on a machine that does other things too.
const SOON: Duration = Duration::from_secs(5);
/// How long a client may take to end.
const ENDS_WITHIN: Duration = Duration::from_secs(15);

/// Carries out a command and returns its result, which must come soon.
#[track_caller]
fn ask(client: &mut ClientProcess, command: &str) -> Value {
    client.object_within(command, SOON)
}

/// A member who shares a file on a disk of its own, and whose client was killed; `None` without FUSE.
fn share_on_disk(seed: u64) -> Option<(World, FuseDisk)> {
    let world = World::new(1);
    let disk = FuseDisk::mount(&world.path().join("disk"))?;
    world.group("lab", &["nik"]);
    Content::new("slow.bin", 1 << 20, seed).write(&disk.path().join("slow.bin"));
    let mut nik = world.client("nik");
    nik.login("nik");
    nik.ok(&format!("upload_file {}/slow.bin lab", disk.path().display()), &[]);
    nik.process().kill9();
    Some((world, disk))
}

/// A command that needs the mount: it fails, and the error names the mount or a path on it.
#[track_caller]
fn hangs(client: &mut ClientProcess, command: &str, mount: &Path) {
    let result = ask(client, command);
    assert_eq!(result["ok"], false, "{command}: {result}");
    let error = result["error"].as_str().unwrap();
    assert!(error.contains("does not answer"), "{command} failed with {error:?}");
    assert!(error.contains(mount.to_str().unwrap()), "{command} failed with {error:?}");
}

/// Waits for the share that is not offered, and why.
#[track_caller]
fn wait_not_offered(client: &mut ClientProcess, path: &Path) {
    let event = client.process().wait_said(SOON, |said| {
        said.out.iter().find(|line| line.contains("share_not_offered")).cloned()
    });
    let event: Value = serde_json::from_str(&event.expect("a share is not offered")).unwrap();
    assert_eq!(event["path"], path.to_str().unwrap());
    assert!(event["reason"].as_str().unwrap().contains("does not answer"), "{event}");
}

fn uploads(client: &mut ClientProcess) -> Vec<String> {
    let result = ask(client, "show_uploads");
    let uploads = result["uploads"].as_array().unwrap();
    uploads.iter().map(|upload| upload["file"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_login_goes_on_without_the_share_that_hangs() {
    let world = World::new(1);
    let Some(disk) = FuseDisk::mount(&world.path().join("disk")) else { return };
    world.group("lab", &["nik", "bob"]);
    let (slow, plain) =
        (Content::new("slow.bin", 1 << 20, 991), Content::new("plain.bin", 1 << 20, 992));
    slow.write(&disk.path().join("slow.bin"));
    world.put("nik", &plain);
    let mut nik = world.client("nik");
    nik.login("nik");
    nik.ok(&format!("upload_file {}/slow.bin lab", disk.path().display()), &[]);
    nik.ok("upload_file plain.bin lab", &[]);
    nik.process().kill9();
    let mut bob = world.client("bob");
    bob.login("bob");
    nik = world.client("nik");
    let hanging = disk.hang();
    assert_eq!(ask(&mut nik, "login nik pw-nik")["ok"], true);
    wait_not_offered(&mut nik, &disk.path().join("slow.bin"));
    assert_eq!(uploads(&mut nik), ["plain.bin"]);
    bob.ok("download_file lab plain.bin", &[]);
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("plain.bin")), plain.sha1());
    for command in ["logout", "login nik pw-nik", "stop_share lab slow.bin", "whoami"] {
        assert_eq!(ask(&mut nik, command)["ok"], true, "{command}");
    }
    // Again, as what was stopped is not waited for any more.
    hangs(&mut nik, &format!("upload_file {}/slow.bin lab", disk.path().display()), disk.path());
    drop(hanging);
    eventually("it can be shared again", || {
        let said = nik.object(&format!("upload_file {}/slow.bin lab", disk.path().display()));
        (said["ok"] == true).then_some(())
    });
    bob.ok("download_file lab slow.bin", &[]);
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("slow.bin")), slow.sha1());
}

#[test]
fn a_share_is_offered_once_its_mount_answers_again() {
    let Some((world, disk)) = share_on_disk(993) else { return };
    let mut nik = world.client("nik");
    let hanging = disk.hang();
    assert_eq!(ask(&mut nik, "login nik pw-nik")["ok"], true);
    assert_eq!(uploads(&mut nik), [""; 0]);
    drop(hanging);
    eventually("it is offered", || (uploads(&mut nik) == ["slow.bin"]).then_some(()));
}

/// A world in which bob fetches one file to a mount and one to a plain directory, and no more comes
/// of either until the gate lets it through.
fn fetching(
    disk: &FuseDisk,
    world: &mut World,
) -> (ClientProcess, Gate, ClientProcess, [Content; 3]) {
    world.group("lab", &["nik", "bob"]);
    let contents = [("slow.bin", 994), ("plain.bin", 995), ("third.bin", 996)]
        .map(|(name, seed)| Content::new(name, 8 << 20, seed));
    let (mut nik, gate) = world.gated("nik");
    nik.login("nik");
    for content in &contents {
        world.put("nik", content);
        nik.ok(&format!("upload_file {} lab", content.name), &[]);
    }
    let mut bob = world.client("bob");
    bob.login("bob");
    gate.allow(5 << 20);
    bob.ok(&format!("download_file lab slow.bin {}", disk.path().display()), &[]);
    eventually("much of it is there", || (bob.bytes_done("slow.bin") >= 3 << 20).then_some(()));
    bob.ok("download_file lab plain.bin", &[]);
    (nik, gate, bob, contents)
}

#[test]
fn commands_about_a_mount_that_hangs_are_answered() {
    let mut world = World::new(1);
    let Some(disk) = FuseDisk::mount(&world.path().join("disk")) else { return };
    let (_nik, gate, mut bob, _contents) = fetching(&disk, &mut world);
    let at = disk.path().display();
    let hanging = disk.hang();
    gate.lift();
    hangs(&mut bob, &format!("download_file lab third.bin {at}"), disk.path());
    for upload in [format!("upload_file {at}/a.bin lab"), format!("upload_file lab {at}/a.bin")] {
        hangs(&mut bob, &upload, disk.path());
    }
    for command in
        ["show_downloads", "show_uploads", "why lab slow.bin", "limits", "list_files lab", "whoami"]
    {
        assert_eq!(ask(&mut bob, command)["ok"], true, "{command}");
    }
    // One that waits for the mount can be steered, or the answer says why not.
    for command in ["prioritize", "pause_download", "resume_download", "cancel_download"] {
        let result = ask(&mut bob, &format!("{command} lab slow.bin"));
        if result["ok"] == false {
            let error = result["error"].as_str().unwrap();
            assert!(error.contains(&at.to_string()), "{command} failed with {error:?}");
        }
    }
    drop(hanging);
}

#[test]
fn a_bare_word_in_a_directory_that_hangs_is_answered() {
    let world = World::new(1);
    let Some(disk) = FuseDisk::mount(&world.path().join("disk")) else { return };
    world.group("lab", &["nik"]);
    Content::new("slow.bin", 1000, 999).write(&disk.path().join("slow.bin"));
    let mut command = world.command("nik", &["--json"]);
    command.current_dir(disk.path());
    let mut nik = Process::spawn("nik", &mut command);
    nik.send("login nik pw-nik");
    nik.wait_out("that it is logged in", |line| line.contains("\"login\"").then_some(()));
    let hanging = disk.hang();
    nik.send("upload_file slow.bin lab");
    let told = nik.wait_said(SOON, |said| {
        said.out.iter().find(|line| line.contains("\"upload_file\"")).cloned()
    });
    let told = told.expect("it is answered");
    assert!(told.contains("does not answer") && told.contains("slow.bin"), "{told}");
    drop(hanging);
}

#[test]
fn others_downloads_go_on_while_a_mount_hangs() {
    let mut world = World::new(1);
    let Some(disk) = FuseDisk::mount(&world.path().join("disk")) else { return };
    let (_nik, gate, mut bob, contents) = fetching(&disk, &mut world);
    let hanging = disk.hang();
    gate.lift();
    eventually("the other one is complete", || {
        (bob.download("plain.bin")["state"] == "complete").then_some(())
    });
    bob.ok("download_file lab third.bin", &[]);
    eventually("one that began since is complete, too", || {
        (bob.download("third.bin")["state"] == "complete").then_some(())
    });
    drop(hanging);
    bob.wait_downloads();
    let places = [disk.path(), &bob.home, &bob.home];
    for (content, place) in contents.iter().zip(places) {
        assert_eq!(sha1_of(&place.join(&content.name)), content.sha1());
    }
}

#[test]
fn a_copy_on_a_mount_that_hangs_holds_up_no_download_of_its_content() {
    let world = World::new(1);
    let Some(disk) = FuseDisk::mount(&world.path().join("disk")) else { return };
    world.group("lab", &["nik", "bob"]);
    world.group("own", &["bob"]);
    let content = Content::new("big.bin", 4 << 20, 997);
    content.write(&disk.path().join("here.bin"));
    world.put("nik", &content);
    let (mut nik, mut bob) = (world.client("nik"), world.client("bob"));
    nik.login("nik");
    nik.ok("upload_file big.bin lab", &[]);
    bob.login("bob");
    bob.ok(&format!("upload_file {}/here.bin own", disk.path().display()), &[]);
    let hanging = disk.hang();
    bob.ok("download_file lab big.bin", &[]);
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("big.bin")), content.sha1());
    drop(hanging);
}

#[test]
fn why_names_the_mount_that_hangs_and_others_journals_are_written() {
    let mut world = World::new(1);
    let Some(disk) = FuseDisk::mount(&world.path().join("disk")) else { return };
    let (_nik, gate, mut bob, contents) = fetching(&disk, &mut world);
    let hanging = disk.hang();
    // The first asks for 5 MiB at most, so the other gets some of it, and not all it needs.
    gate.allow(13 << 20);
    eventually("part of the other one is there", || {
        (bob.bytes_done("plain.bin") >= 1 << 20).then_some(())
    });
    eventually("why names the mount", || says_that_it_hangs(&mut bob, "why lab slow.bin", &disk));
    // By now the journal of the other one has been written, though a sync of the first hangs.
    let before = bob.bytes_done("plain.bin");
    // A thread that waits for the mount keeps the process until the mount answers.
    bob.process().signal(Signal::KILL);
    drop(hanging);
    bob.process().kill9();
    let mut bob = world.client("bob");
    bob.login("bob");
    eventually("it goes on where it was", || (bob.bytes_done("plain.bin") >= before).then_some(()));
    gate.lift();
    bob.wait_downloads();
    assert_eq!(sha1_of(&disk.path().join("slow.bin")), contents[0].sha1());
}

fn says_that_it_hangs(client: &mut ClientProcess, command: &str, disk: &FuseDisk) -> Option<()> {
    let said = ask(client, command).to_string();
    let mount = disk.path().to_str().unwrap();
    (said.contains("does not answer") && said.contains(mount)).then_some(())
}

#[test]
fn a_share_on_a_mount_that_hangs_rejects_requests_and_is_served_again_later() {
    let world = World::new(1);
    let Some(disk) = FuseDisk::mount(&world.path().join("disk")) else { return };
    world.group("lab", &["nik", "bob", "eve"]);
    let content = Content::new("slow.bin", 8 << 20, 997);
    content.write(&disk.path().join("slow.bin"));
    let mut nik = world.client("nik");
    nik.login("nik");
    nik.ok(&format!("upload_file {}/slow.bin lab", disk.path().display()), &[]);
    let hanging = disk.hang();
    let mut bob = world.client("bob");
    bob.login("bob");
    bob.ok("download_file lab slow.bin", &[]);
    eventually("why names the mount", || says_that_it_hangs(&mut nik, "why lab slow.bin", &disk));
    assert_eq!(uploads(&mut nik), ["slow.bin"], "it is offered nevertheless");
    drop(hanging);
    bob.wait_downloads();
    // It was not taken for changed meanwhile.
    let mut eve = world.client("eve");
    eve.login("eve");
    bob.process().kill9();
    eve.ok("download_file lab slow.bin", &[]);
    eve.wait_downloads();
    assert_eq!(sha1_of(&eve.home.join("slow.bin")), content.sha1());
}

#[test]
fn a_session_ends_while_a_mount_hangs() {
    let mut world = World::new(1);
    let Some(disk) = FuseDisk::mount(&world.path().join("disk")) else { return };
    let (_nik, gate, mut bob, contents) = fetching(&disk, &mut world);
    let hanging = disk.hang();
    gate.lift();
    stands_still(&mut bob);
    assert_eq!(ask(&mut bob, "logout")["ok"], true);
    assert_eq!(ask(&mut bob, "login bob pw-bob")["ok"], true);
    drop(hanging);
    bob.wait_downloads();
    assert_eq!(sha1_of(&disk.path().join("slow.bin")), contents[0].sha1());
}

/// Waits until the download waits for its mount: nothing of it has arrived for a while.
fn stands_still(client: &mut ClientProcess) {
    eventually("it stands still", || {
        (client.download("slow.bin")["bytes_per_second"] == 0).then_some(())
    });
}

#[test]
fn a_download_that_is_cancelled_on_a_mount_that_hangs_leaves_nothing() {
    let mut world = World::new(1);
    let Some(disk) = FuseDisk::mount(&world.path().join("disk")) else { return };
    let (_nik, gate, mut bob, _contents) = fetching(&disk, &mut world);
    let hanging = disk.hang();
    let result = ask(&mut bob, "cancel_download lab slow.bin");
    println!("{result}");
    drop(hanging);
    let known = |bob: &mut ClientProcess| {
        let result = bob.object("show_downloads");
        let downloads = result["downloads"].as_array().unwrap();
        downloads.iter().any(|download| download["file"] == "slow.bin")
    };
    if result["ok"] == true {
        assert!(!known(&mut bob));
    } else {
        eventually("it can be cancelled", || {
            let result = bob.object("cancel_download lab slow.bin");
            (result["ok"] == true || result["code"] == "no_such_download").then_some(())
        });
    }
    eventually("nothing is left of it", || {
        (std::fs::read_dir(disk.path()).unwrap().count() == 0).then_some(())
    });
    gate.lift();
    bob.wait_downloads();
}

#[test]
fn a_client_ends_while_a_mount_hangs() {
    for signal in [Signal::INT, Signal::TERM] {
        let mut world = World::new(1);
        let Some(disk) = FuseDisk::mount(&world.path().join("disk")) else { return };
        let (_nik, gate, mut bob, contents) = fetching(&disk, &mut world);
        let hanging = disk.hang();
        gate.lift();
        stands_still(&mut bob);
        let begun = Instant::now();
        bob.process().signal(signal);
        wait_ended(&mut bob);
        println!("{signal:?}: ended after {:?}", begun.elapsed());
        // Nothing that the next one needs is held any more.
        let mut again = world.client("bob");
        assert_eq!(ask(&mut again, "login bob pw-bob")["ok"], true);
        drop(again);
        drop(hanging);
        let mut bob = world.client("bob");
        bob.login("bob");
        assert_eq!(bob.download("slow.bin")["state"], "running");
        bob.wait_downloads();
        assert_eq!(sha1_of(&disk.path().join("slow.bin")), contents[0].sha1());
    }
}

/// Waits until the program has ended. The kernel keeps a thread that closes a file on a mount that
/// hangs, so the process cannot be waited for before the mount answers.
#[track_caller]
fn wait_ended(client: &mut ClientProcess) {
    let path = format!("/proc/{}/stat", client.process().id());
    let is_over = || {
        let stat = std::fs::read_to_string(&path).unwrap();
        let state = stat.rsplit(')').next().unwrap().trim_start().chars().next();
        matches!(state, Some('Z' | 'X')).then_some(())
    };
    assert!(until(ENDS_WITHIN, is_over).is_some(), "it did not end within {ENDS_WITHIN:?}");
}

#[test]
fn a_login_that_waits_for_a_mount_can_be_interrupted() {
    let Some((world, disk)) = share_on_disk(997) else { return };
    for signal in [Signal::INT, Signal::TERM] {
        let mut nik = world.client("nik");
        let hanging = disk.hang();
        nik.process().send("login nik pw-nik");
        nik.process().signal(signal);
        nik.process().wait_exit(ENDS_WITHIN);
        drop(hanging);
    }
}

#[test]
fn a_peer_that_is_silent_in_the_handshake_holds_up_no_logout() {
    let mut world = World::new(1);
    world.group("lab", &["nik", "bob"]);
    world.put("nik", &Content::new("big.bin", 1 << 20, 998));
    let (mut nik, gate) = world.gated("nik");
    nik.login("nik");
    nik.ok("upload_file big.bin lab", &[]);
    gate.allow(1);
    let mut bob = world.client("bob");
    bob.login("bob");
    bob.ok("download_file lab big.bin", &[]);
    // One byte of the answer has come, and no more does.
    gate.wait_passed(1);
    let begun = Instant::now();
    assert_eq!(ask(&mut bob, "logout")["ok"], true);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    let said = bob.finish();
    assert!(!said.err.iter().any(|line| line.contains("still running")), "{said:?}");
}
