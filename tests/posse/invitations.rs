//! Invitations: a link lets its bearer into a group, from an empty data directory to a download;
//! and what ends a link, ends it.

use std::path::{Path, PathBuf};
use std::process::Command;

use posse::wire::invitation_link::InvitationLink;
use serde_json::Value;

use crate::harness::{
    ClientProcess, Content, Finished, PATIENCE, Process, World, set_home, sha1_of,
};

/// Makes a link, with these options behind the group.
#[track_caller]
fn invite(client: &mut ClientProcess, what: &str) -> String {
    let made = client.object(&format!("invite {what}"));
    assert_eq!(made["ok"], true, "{made}");
    let link = made["link"].as_str().unwrap().to_owned();
    assert!(link.starts_with("posse:join/"), "{link}");
    link
}

/// The command line of `client join` of a device that has never been started.
fn join_command(home: &Path, arguments: &[&str]) -> Command {
    std::fs::create_dir_all(home).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_client"));
    command.current_dir(home).arg("join").args(arguments);
    command.args(["--allow-short-passwords", "--json", "--log", "debug"]);
    set_home(&mut command, home);
    command
}

/// Runs `client join` to its end with these lines on stdin.
#[track_caller]
fn join(home: &Path, arguments: &[&str], lines: &[&str]) -> Finished {
    let mut process = Process::spawn("client join", &mut join_command(home, arguments));
    let _ = process.send_bytes((lines.join("\n") + "\n").as_bytes());
    process.finish(PATIENCE)
}

/// The result objects of a client's commands.
fn results(finished: &Finished) -> Vec<Value> {
    let objects = finished.out.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    objects.filter(|object| object.get("command").is_some()).collect()
}

#[test]
fn a_newcomer_joins_by_a_link_and_downloads() {
    let mut world = World::new(2);
    let content = Content::new("a.bin", 3 << 20, 77);
    world.put("nik", &content);
    let mut nik = world.client("nik");
    nik.enter("nik");
    nik.ok("create_group lab", &[]);
    nik.ok("upload_file a.bin lab", &[]);
    let link = invite(&mut nik, "lab");
    world.wait_synced();
    let home = world.path().join("newcomer");
    let lines = [&link, "ann", "pw-ann", "download_file lab a.bin", "wait 60", "whoami"];
    let done = join(&home, &[], &lines);
    assert_eq!(done.status, Some(0), "{done:?}");
    let results = results(&done);
    assert_eq!((&results[0]["command"], &results[0]["group"]), (&"join".into(), &"lab".into()));
    assert_eq!(sha1_of(&home.join("a.bin")), content.sha1());
    let members = nik.object("list_members lab");
    assert_eq!(members["members"][1]["user"], "ann", "{members}");
    assert_eq!(members["members"][1]["invited_by"], "nik");
    let open = nik.object("invites");
    assert_eq!((&open["invites"][0]["used"], &open["invites"][0]["uses"]), (&1.into(), &1.into()));
    // The device is set up from then on.
    let mut again = Command::new(env!("CARGO_BIN_EXE_client"));
    again.current_dir(&home).args(["--json", "-c", "login ann pw-ann", "-c", "list_my_groups"]);
    set_home(&mut again, &home);
    let again = Process::spawn("client again", &mut again).finish(PATIENCE);
    assert!(again.out.iter().any(|line| line.contains("\"group\":\"lab\"")), "{again:?}");
    // No secret is in what was logged, nor on any disk.
    assert!(done.err.iter().all(|line| !line.contains(&link[11..])), "{:?}", done.err);
    let parsed = InvitationLink::parse(&link).unwrap();
    for tracker in &mut world.trackers {
        let said = tracker.process().said();
        assert!(said.err.iter().all(|line| !line.contains(&link[11..])));
    }
    for needle in [&parsed.secret.as_bytes()[..], &link.as_bytes()[11 + 64..]] {
        assert_eq!(files_with(world.path(), needle), Vec::<PathBuf>::new());
    }
}

/// The files below a directory that hold these bytes.
fn files_with(directory: &Path, needle: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_with(&path, needle));
        } else if let Ok(bytes) = std::fs::read(&path)
            && bytes.windows(needle.len()).any(|window| window == needle)
        {
            found.push(path);
        }
    }
    found
}
