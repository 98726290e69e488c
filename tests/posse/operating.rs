//! The procedures of docs/OPERATING.md, followed with real trackers and clients.

mod keys;

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::harness::{
    ClientProcess, Content, Finished, PATIENCE, Process, RawClient, TrackerProcess, World,
    eventually, free_port,
};

/// Runs `tracker admin` for the tracker with that data directory.
fn admin(data: &Path, arguments: &[&str]) -> Finished {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tracker"));
    command.arg("admin").arg("--data-dir").arg(data).args(arguments);
    Process::spawn("tracker admin", &mut command).finish(PATIENCE)
}

/// Runs a command that must be carried out; returns what it prints.
#[track_caller]
fn done(tracker: &TrackerProcess, arguments: &[&str]) -> Vec<String> {
    let finished = admin(tracker.data_dir(), arguments);
    assert_eq!(finished.status, Some(0), "{arguments:?}: {finished:?}");
    finished.out
}

/// Runs a command with `--json` that must be carried out; returns its objects but the last.
#[track_caller]
fn objects(tracker: &TrackerProcess, arguments: &[&str]) -> Vec<Value> {
    let lines = done(tracker, &[&["--json"], arguments].concat());
    let mut objects: Vec<Value> =
        lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects.pop(), Some(serde_json::json!({ "ok": true })));
    objects
}

/// Runs a command that must end with this status and these words.
#[track_caller]
fn refused(tracker: &TrackerProcess, arguments: &[&str], status: i32, words: &str) {
    let finished = admin(tracker.data_dir(), arguments);
    assert_eq!(finished.status, Some(status), "{arguments:?}: {finished:?}");
    assert!(finished.err.join("\n").contains(words), "{arguments:?}: {finished:?}");
}

/// Waits until a client has been told so many times that its session is over.
#[track_caller]
fn wait_sessions_ended(client: &mut ClientProcess, count: usize) {
    let is_end = |line: &&String| line.contains("\"event\":\"session_ended\"");
    let ended = client.process().wait_said(PATIENCE, |said| {
        (said.out.iter().filter(is_end).count() == count).then_some(())
    });
    assert!(ended.is_some(), "the session goes on");
}

#[test]
fn a_forgotten_password_is_reset_and_the_user_chooses_another() {
    let mut world = World::new(2);
    let mut nik = world.client("nik");
    nik.enter("nik");
    let answer = objects(&world.trackers[0], &["reset_password", "nik"]);
    let secret = answer[0]["password"].as_str().unwrap().to_owned();
    assert_eq!(secret.len(), 16);
    let said = world.trackers[0].process().said();
    assert!(
        !said.err.iter().chain(&said.out).any(|line| line.contains(&secret)),
        "a password is in the log"
    );
    wait_sessions_ended(&mut nik, 1);
    nik.refused("login nik pw-nik", "wrong");
    let login = nik.object(&format!("login nik {secret}"));
    assert_eq!(
        (&login["ok"], &login["must_change_password"]),
        (&true.into(), &true.into()),
        "{login}"
    );
    nik.refused("create_group lab", "choose your own");
    nik.ok(&format!("change_password {secret} fresh-pass"), &[]);
    nik.ok("create_group lab", &[]);
    nik.ok("logout", &[]);
    nik.ok("login nik fresh-pass", &[]);
    refused(&world.trackers[0], &["reset_password", "eve"], 1, "no such user: eve");
}

#[test]
fn accounts_are_disabled_enabled_and_deleted() {
    let world = World::new(2);
    let mut nik = world.client("nik");
    nik.enter("nik");
    done(&world.trackers[0], &["disable_user", "nik"]);
    wait_sessions_ended(&mut nik, 1);
    let said = nik.process().said().out;
    assert!(
        said.iter()
            .any(|line| line.contains("session_ended") && line.contains("\"code\":\"disabled\"")),
        "{said:?}"
    );
    nik.refused("login nik pw-nik", "disabled");
    let users = objects(&world.trackers[1], &["users", "n*"]);
    assert!(users.len() == 1 && users[0]["disabled"] == true, "{users:?}");
    done(&world.trackers[1], &["enable_user", "nik"]);
    nik.login("nik");
    refused(&world.trackers[0], &["delete_user", "nik"], 1, "--yes");
    done(&world.trackers[0], &["delete_user", "nik", "--yes"]);
    wait_sessions_ended(&mut nik, 2);
    nik.refused("login nik pw-nik", "wrong");
    assert_eq!(done(&world.trackers[1], &["users"]), Vec::<String>::new());
}

#[test]
fn groups_and_files_are_removed_and_the_console_takes_the_same_commands() {
    let mut world = World::new(1);
    let content = Content::new("notes.txt", 1000, 1);
    world.put("nik", &content);
    let mut nik = world.client("nik");
    nik.enter("nik");
    nik.ok("create_group lab", &[]);
    nik.ok("upload_file notes.txt lab", &[]);
    let sessions = done(&world.trackers[0], &["sessions"]);
    assert!(sessions.len() == 1 && sessions[0].starts_with("nik: device "), "{sessions:?}");
    let users = done(&world.trackers[0], &["users"]);
    assert_eq!(users, ["nik: groups 1, memberships 1, files 1, online"]);
    done(&world.trackers[0], &["remove_file", "lab", "notes.txt", "--yes"]);
    assert_eq!(nik.object("list_files lab")["files"], serde_json::json!([]));
    let console = world.trackers[0].process();
    console.send("delete_group lab");
    console.wait_out("that it has to be confirmed", |line| line.contains("--yes").then_some(()));
    console.send("delete_group lab --yes");
    console.wait_out("that it is done", |line| (line == "deleted group lab").then_some(()));
    nik.refused("list_files lab", "no such group");
}

#[test]
fn quotas_and_who_may_make_accounts_are_set_for_the_whole_network() {
    let mut world = World::new(2);
    let mut nik = world.client("nik");
    nik.enter("nik");
    done(&world.trackers[0], &["quota", "groups", "1"]);
    done(&world.trackers[0], &["accounts", "closed"]);
    world.wait_synced();
    assert_eq!(done(&world.trackers[1], &["quota", "groups"]), ["groups 1"]);
    nik.ok("create_group one", &[]);
    nik.refused("create_group two", "as many groups as one account may");
    nik.refused("create_user eve pw-eve", "takes no new accounts");
    done(&world.trackers[1], &["quota", "groups", "default"]);
    done(&world.trackers[1], &["accounts", "open"]);
    world.wait_synced();
    nik.ok("create_group two", &[]);
    nik.ok("create_user eve pw-eve", &[]);
    assert_eq!(done(&world.trackers[0], &["quota"]).len(), 6);
}

#[test]
fn the_audit_shows_who_did_what_when_and_from_where() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("audit.jsonl");
    let mut world = World::with_options(1, &["--audit", file.to_str().unwrap()]);
    let (mut nik, mut bob) = (world.client("nik"), world.client("bob"));
    nik.enter("nik");
    bob.enter("bob");
    nik.ok("create_group lab", &[]);
    bob.ok("join_group lab", &[]);
    nik.ok("accept_request lab bob", &[]);
    done(&world.trackers[0], &["disable_user", "bob"]);
    let device = nik.device().to_string();
    let entries = objects(&world.trackers[0], &["audit", "--since", "1h"]);
    let accepted = entries.iter().find(|entry| entry["command"] == "accept_request").unwrap();
    for (key, want) in [
        ("actor", "nik"),
        ("group", "lab"),
        ("user", "bob"),
        ("address", "127.0.0.1"),
        ("device", &device[..16]),
    ] {
        assert_eq!(accepted[key], want, "{key} in {accepted}");
    }
    assert!(accepted["time"].as_str().unwrap().ends_with('Z'));
    assert!(
        entries
            .iter()
            .any(|entry| entry["command"] == "disable_user" && entry["by_operator"] == true)
    );
    let of_bob = done(&world.trackers[0], &["audit", "--user", "bob", "--limit", "2"]);
    assert!(
        of_bob.len() == 2 && of_bob[1].contains("the operator: disable_user bob"),
        "{of_bob:?}"
    );
    assert_eq!(done(&world.trackers[0], &["audit", "--until", "1h"]).len(), 0);
    refused(&world.trackers[0], &["audit", "--since", "soon"], 2, "is no time");
    let text = eventually("the file has every change", || {
        let text = std::fs::read_to_string(&file).unwrap();
        (text.lines().count() == entries.len()).then_some(text)
    });
    assert!(text.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{text}");
    assert!(world.trackers[0].is_up());
}

#[test]
fn a_backup_made_while_clients_write_restores_the_whole_network() {
    let mut world = World::new(2);
    let backup = world.path().join("backup.sqlite");
    let file = backup.to_str().unwrap();
    let mut nik = RawClient::enter(world.tracker(1), "nik");
    for number in 0..20 {
        nik.create_group(&format!("before-{number}"));
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0.. {
                if stop.load(Ordering::Relaxed) || number == 150 {
                    break;
                }
                nik.create_group(&format!("during-{number}"));
            }
        });
        done(&world.trackers[0], &["backup", file]);
        stop.store(true, Ordering::Relaxed);
    });
    refused(&world.trackers[0], &["backup", file], 1, "exists");
    refused(&world.trackers[0], &["restore", file], 1, "in use");
    // The whole network is lost, but for the backup, the key and the file of trackers.
    world.trackers.iter_mut().for_each(TrackerProcess::wipe);
    let data = |number: usize| world.path().join(format!("tracker{number}"));
    let restored = admin(&data(1), &["restore", file]);
    assert_eq!(restored.status, Some(0), "{restored:?}");
    assert_eq!(admin(&data(1), &["restore", file]).status, Some(1), "there is data now");
    assert_eq!(admin(&data(1), &["status"]).status, Some(3), "no tracker runs there");
    let key = world.network_key();
    world.trackers = (1..=2)
        .map(|number| TrackerProcess::start(&world.info, number, &data(number), &key, &[]))
        .collect();
    world.wait_synced();
    let mut nik = RawClient::enter(world.tracker(2), "nik");
    let names = nik.group_names();
    assert!((0..20).all(|number| names.contains(&format!("before-{number}"))), "{names:?}");
    nik.create_group("after");
}

#[test]
fn a_third_tracker_joins_without_a_restart_and_those_before_it_leave() {
    let mut world = World::new(2);
    let mut nik = world.client("nik");
    nik.enter("nik");
    let address = format!("127.0.0.1:{}", free_port());
    let answer = objects(&world.trackers[0], &["add_tracker", &address]);
    assert_eq!(answer[0]["number"], 3);
    refused(&world.trackers[1], &["add_tracker", &address], 1, "already");
    let info = world.path().join("tracker_info_of_3.txt");
    std::fs::write(&info, answer[0]["tracker_info"].as_str().unwrap()).unwrap();
    let data = world.path().join("tracker3");
    let third = TrackerProcess::start(&info, 3, &data, &world.network_key(), &[]);
    world.trackers.push(third);
    world.wait_synced();
    assert!(world.trackers[0].status().0.contains_key("peer"));
    eventually("the client has a session at the third tracker", || {
        (done(&world.trackers[2], &["sessions"]).len() == 1).then_some(())
    });
    world.trackers[0].kill9();
    world.trackers[1].kill9();
    nik.ok("create_group later", &[]);
    refused(&world.trackers[2], &["remove_tracker", "3"], 1, "itself");
    done(&world.trackers[2], &["remove_tracker", "2"]);
    done(&world.trackers[2], &["remove_tracker", &world.tracker(1).to_string()]);
    assert!(!world.trackers[2].status().is_degraded());
    // Its number goes to the next one.
    let again =
        objects(&world.trackers[2], &["add_tracker", &format!("127.0.0.1:{}", free_port())]);
    assert_eq!(again[0]["number"], 1);
}

#[test]
fn two_trackers_that_are_added_at_the_same_moment_have_two_numbers() {
    let world = World::new(2);
    let addresses = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
    let numbers: Vec<u64> = std::thread::scope(|scope| {
        let add = |index: usize| {
            let (tracker, address) = (&world.trackers[index], &addresses[index]);
            scope.spawn(move || {
                objects(tracker, &["add_tracker", address])[0]["number"].as_u64().unwrap()
            })
        };
        [add(0), add(1)].map(|thread| thread.join().unwrap()).to_vec()
    });
    assert!(numbers.contains(&3) && numbers.contains(&4), "{numbers:?}");
    for (number, address) in numbers.iter().zip(&addresses) {
        for tracker in &world.trackers {
            let status = done(tracker, &["status"]);
            assert!(
                status.iter().any(|line| line.starts_with(&format!("peer {number} at {address}"))),
                "{status:?}"
            );
        }
    }
}

#[test]
fn a_removed_tracker_that_still_runs_is_refused_by_the_others_and_dropped_by_clients() {
    let mut world = World::new(3);
    let mut nik = world.client("nik");
    nik.enter("nik");
    let sessions = |world: &World| done(&world.trackers[2], &["sessions"]).len();
    eventually("the client has a session there", || (sessions(&world) == 1).then_some(()));
    done(&world.trackers[0], &["remove_tracker", "3"]);
    eventually("the client has left", || (sessions(&world) == 0).then_some(()));
    let trackers = nik.object("trackers");
    assert_eq!(trackers["trackers"].as_array().map(Vec::len), Some(2), "{trackers}");
    let told = |tracker: &mut TrackerProcess, words: &str| {
        let said = tracker.process().wait_said(PATIENCE, |said| {
            said.err.iter().any(|line| line.contains(words)).then_some(())
        });
        assert!(said.is_some(), "no word of {words:?}");
    };
    told(&mut world.trackers[2], "the operator has removed this tracker from the network");
    told(&mut world.trackers[0], "which the operator has removed; refused");
    nik.ok("create_group lab", &[]);
    assert!(!world.trackers[0].status().is_degraded());
    // Said again, it is one of them as before.
    let address = world.tracker(3).to_string();
    assert_eq!(objects(&world.trackers[1], &["add_tracker", &address])[0]["number"], 3);
    world.wait_synced();
    eventually("the client is back", || (sessions(&world) == 1).then_some(()));
}

#[test]
fn exit_statuses_tell_usage_from_refusals_and_from_no_tracker() {
    use std::os::unix::fs::PermissionsExt;
    let mut world = World::new(1);
    refused(&world.trackers[0], &["fly"], 2, "unknown command");
    refused(&world.trackers[0], &["disable_user"], 2, "usage: disable_user <user>");
    refused(&world.trackers[0], &["disable_user", "nobody"], 1, "no such user");
    let socket = world.trackers[0].data_dir().join("control.sock");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    // A tracker that was killed leaves its socket; the next start takes its place.
    world.trackers[0].kill9();
    refused(&world.trackers[0], &["status"], 3, "no tracker runs");
    world.trackers[0].restart();
    assert!(done(&world.trackers[0], &["status"]).iter().any(|line| line == "degraded no"));
}

#[test]
fn a_path_too_long_for_a_socket_leaves_the_tracker_running() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("d".repeat(120));
    let mut command = Command::new(env!("CARGO_BIN_EXE_tracker"));
    command
        .args(["127.0.0.1", "0", "--data-dir"])
        .arg(&data)
        .arg("--network-key")
        .arg(dir.path().join("network.key"));
    let mut process = Process::spawn("tracker", &mut command);
    process.wait_out("that it listens", |line| line.contains("listening on").then_some(()));
    process.send("users");
    process.send("status");
    process.wait_out("how it is", |line| (line == "degraded no").then_some(()));
    assert!(
        process
            .said()
            .err
            .iter()
            .any(|line| line.contains("no control socket") && line.contains("shorter"))
    );
    process.send("quit");
    assert_eq!(process.finish(PATIENCE).status, Some(0));
}

#[test]
fn what_is_no_request_is_refused_and_holds_up_no_operator() {
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::UnixStream;
    let world = World::new(1);
    let socket = world.trackers[0].data_dir().join("control.sock");
    let too_long = vec![b'x'; 200_000];
    for bytes in [
        &b"\n"[..],
        b"\xff\n",
        b"{\"version\":9,\"command\":\"status\"}\n",
        b"{\"version\":1}\n",
        &too_long,
    ] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        // The tracker may close before it has taken all.
        let _ = stream.write_all(bytes);
        let mut line = String::new();
        let _ = BufReader::new(&stream).read_line(&mut line);
        assert!(line.is_empty() || line.contains("not a request"), "{line}");
    }
    // Four that say nothing take all places, and lose them.
    let _idle: Vec<UnixStream> = (0..4).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    eventually("there is a place again", || {
        (admin(world.trackers[0].data_dir(), &["status"]).status == Some(0)).then_some(())
    });
}

#[test]
fn at_debug_the_log_has_a_line_a_request_and_no_secret() {
    let mut world = World::with_options(1, &["--log", "debug"]);
    let (mut nik, mut bob) = (world.client("nik"), world.client("bob"));
    nik.enter("nik");
    bob.enter("bob");
    nik.ok("create_group lab", &[]);
    nik.ok("change_password pw-nik pw-other-nik", &[]);
    bob.refused("list_files lab", "not a member");
    bob.ok("logout", &[]);
    bob.refused("login bob pw-of-nobody", "password");
    let log = world.trackers[0].process().wait_said(PATIENCE, |said| {
        let log = said.err.join("\n");
        log.contains("login bob: refused").then_some(log)
    });
    let log = log.expect("the failed login is there");
    for words in [
        ", nik: create_group lab: ok (",
        ", nik: change_password: ok (",
        ", bob: list_files, group lab: refused: ",
        ", bob: logout: ok (",
        ", nobody: login bob: refused: ",
    ] {
        assert!(log.contains(words), "no {words:?} in\n{log}");
    }
    assert!(!log.contains("pw-"), "a password is in\n{log}");
}
