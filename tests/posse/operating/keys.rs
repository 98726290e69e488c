//! The network's key is replaced as docs/OPERATING.md says.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{admin, done, objects, refused};
use crate::harness::{ClientProcess, Content, PATIENCE, Process, TrackerProcess, World, any_port};

/// Waits until a client has been told of that stage.
#[track_caller]
fn wait_told(client: &mut ClientProcess, stage: &str) {
    let words = format!("\"stage\":\"{stage}\"");
    let is_it =
        |line: &&String| line.contains("\"event\":\"network_key\"") && line.contains(&words);
    let told = client.process().wait_said(PATIENCE, |said| said.out.iter().find(is_it).map(drop));
    assert!(told.is_some(), "the client is not told that the key's replacement has {stage}");
}

/// Shares a file of `from` in the group and fetches it at `to`.
#[track_caller]
fn transfer(world: &World, from: &mut ClientProcess, to: &mut ClientProcess, name: &str) {
    let content = Content::new(name, 3_000_000, name.len() as u64);
    world.put("nik", &content);
    from.ok(&format!("upload_file {name} lab"), &[]);
    to.ok(&format!("download_file lab {name}"), &[]);
    to.wait_downloads();
    assert_eq!(std::fs::read(to.path(name)).unwrap(), std::fs::read(from.path(name)).unwrap());
}

/// Copies a key's file to another machine, as `scp -p` does.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    std::fs::copy(from, to).unwrap();
}

/// Two trackers, each with the key's file in a directory of its own; returns the files.
fn on_two_machines() -> (World, [PathBuf; 2]) {
    let mut world = World::new(2);
    let files = [world.network_key(), world.path().join("machine2/network.key")];
    copy(&files[0], &files[1]);
    let (info, data) = (world.info.clone(), world.path().join("tracker2"));
    world.trackers[1].kill9();
    world.trackers[1] = TrackerProcess::start(&info, 2, &data, &files[1], &[]);
    world.wait_synced();
    (world, files)
}

fn next(file: &Path) -> PathBuf {
    file.with_extension("key.next")
}

#[test]
fn the_networks_key_is_replaced_while_clients_stay_connected() {
    let (mut world, files) = on_two_machines();
    let old_info = world.path().join("old_tracker_info.txt");
    std::fs::copy(&world.info, &old_info).unwrap();
    let (mut nik, mut bob, mut eve) =
        (world.client("nik"), world.client("bob"), world.client("eve"));
    [("nik", &mut nik), ("bob", &mut bob), ("eve", &mut eve)]
        .into_iter()
        .for_each(|(name, client)| client.enter(name));
    nik.ok("create_group lab", &[]);
    bob.ok("join_group lab", &[]);
    nik.ok("accept_request lab bob", &[]);
    assert_eq!(eve.finish().status, Some(0));

    refused(&world.trackers[0], &["rotate_key", "start"], 2, "usage: rotate_key");
    refused(&world.trackers[0], &["rotate_key", "begin"], 1, "`rotate_key make` makes one");
    refused(&world.trackers[0], &["rotate_key", "end"], 1, "--yes");
    refused(&world.trackers[0], &["rotate_key", "end", "--yes"], 1, "is not being replaced");
    refused(&world.trackers[0], &["rotate_key", "cancel"], 1, "is not being replaced");
    let made = objects(&world.trackers[0], &["rotate_key", "make"]);
    let new = made[0]["new"].as_str().unwrap().to_owned();
    assert_eq!(made[0]["file"], next(&files[0]).to_str().unwrap());
    assert_eq!(
        objects(&world.trackers[0], &["rotate_key", "make"])[0]["new"],
        new,
        "a key that is there stays"
    );

    // The new key is not on the second machine yet.
    done(&world.trackers[0], &["rotate_key", "begin"]);
    refused(&world.trackers[1], &["rotate_key", "begin"], 1, "already");
    wait_told(&mut nik, "begun");
    wait_told(&mut bob, "begun");
    transfer(&world, &mut nik, &mut bob, "one.bin");
    refused(&world.trackers[0], &["rotate_key", "end", "--yes"], 1, "trackers 2");
    // Now it is; the tracker is killed before it has looked.
    copy(&next(&files[0]), &next(&files[1]));
    world.trackers[1].restart();
    world.wait_synced();
    let shown = done(&world.trackers[1], &["rotate_key"]);
    for words in ["tracker 1 holds the new key", "tracker 2 holds the new key"] {
        assert!(shown.iter().any(|line| line == words), "{shown:?}");
    }
    world.wait_synced();
    transfer(&world, &mut nik, &mut bob, "two.bin");

    done(&world.trackers[1], &["rotate_key", "end", "--yes"]);
    wait_told(&mut nik, "ended");
    wait_told(&mut bob, "ended");
    nik.ok("create_group after", &[]);
    transfer(&world, &mut nik, &mut bob, "three.bin");
    world.wait_synced();
    for file in &files {
        std::fs::rename(next(file), file).unwrap();
    }
    let lines = std::fs::read_to_string(&world.info).unwrap();
    let lines: Vec<&str> = lines.lines().filter(|line| !line.starts_with("network")).collect();
    std::fs::write(&world.info, format!("network {new}\n{}\n", lines.join("\n"))).unwrap();
    for number in 0..2 {
        world.trackers[number].restart();
        world.wait_synced();
        nik.ok(&format!("create_group later-{number}"), &[]);
    }
    transfer(&world, &mut nik, &mut bob, "four.bin");
    for client in [&mut nik, &mut bob] {
        let said = client.process().said();
        assert!(!said.out.iter().any(|line| line.contains("session_ended")), "{said:?}");
    }

    // A client that was told knows the new key at its next start, whatever an old file says.
    assert_eq!(nik.finish().status, Some(0));
    let mut nik = ClientProcess::start(&world.home("nik"), any_port(), &old_info, true);
    nik.login("nik");
    // One that did not come by is told what to do.
    let mut eve = ClientProcess::start(&world.home("eve"), any_port(), &old_info, true);
    eve.process().send("login eve pw-eve");
    let finished = eve.finish();
    assert_ne!(finished.status, Some(0), "{finished:?}");
    let said = finished.out.iter().chain(&finished.err).any(|line| {
        line.contains(&format!("what answers belongs to the network {new}"))
            && line.contains("ask the operator for the new one")
    });
    assert!(said, "{finished:?}");
    let mut eve = world.client("eve");
    eve.login("eve");
    eve.ok("list_groups", &[]);
}

#[test]
fn a_tracker_that_was_away_hears_of_the_end_and_one_without_the_new_key_ends() {
    let (mut world, files) = on_two_machines();
    let old = world.path().join("old.key");
    copy(&files[0], &old);
    done(&world.trackers[0], &["rotate_key", "make"]);
    copy(&next(&files[0]), &next(&files[1]));
    done(&world.trackers[0], &["rotate_key", "begin"]);
    world.wait_synced();
    // It holds the new key, and is away when the old one ends.
    world.trackers[1].kill9();
    done(&world.trackers[0], &["rotate_key", "end", "--yes"]);
    world.trackers[1].restart();
    world.wait_synced();
    assert!(done(&world.trackers[1], &["rotate_key"]).iter().any(|line| line.ends_with(": ended")));
    // With the old key alone, and what the directory says, it does not start.
    world.trackers[1].kill9();
    let data = world.path().join("tracker2");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tracker"));
    command.arg(&world.info).args(["2", "--data-dir"]).arg(&data).arg("--network-key").arg(&old);
    let ended = Process::spawn("tracker with the old key", &mut command).finish(PATIENCE);
    assert_ne!(ended.status, Some(0));
    assert!(
        ended.err.iter().any(|line| line.contains("the network goes on under the key")),
        "{ended:?}"
    );
}

#[test]
fn a_replacement_is_cancelled_and_another_one_begun() {
    let (mut world, files) = on_two_machines();
    let mut nik = world.client("nik");
    nik.enter("nik");
    done(&world.trackers[0], &["rotate_key", "make"]);
    done(&world.trackers[0], &["rotate_key", "begin"]);
    wait_told(&mut nik, "begun");
    done(&world.trackers[1], &["rotate_key", "cancel"]);
    wait_told(&mut nik, "cancelled");
    std::fs::remove_file(next(&files[0])).unwrap();
    nik.ok("create_group lab", &[]);
    for number in 0..2 {
        world.trackers[number].restart();
        world.wait_synced();
        nik.ok(&format!("create_group lab-{number}"), &[]);
    }
    let second =
        objects(&world.trackers[1], &["rotate_key", "make"])[0]["new"].as_str().unwrap().to_owned();
    copy(&next(&files[1]), &next(&files[0]));
    done(&world.trackers[1], &["rotate_key", "begin"]);
    world.wait_synced();
    done(&world.trackers[1], &["rotate_key", "end", "--yes"]);
    wait_told(&mut nik, "ended");
    nik.ok("create_group with-the-new-key", &[]);
    assert!(nik.process().said().out.iter().any(|line| line.contains(&second)));
    assert_eq!(admin(world.trackers[0].data_dir(), &["rotate_key", "cancel"]).status, Some(1));
}
