//! `--service`, and programs that attach to a running client.

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{ClientProcess, Content, PATIENCE, Process, World, eventually, sha1_of};

/// A user other than the one who runs the tests.
const NOBODY: u32 = 65534;

/// Starts a client without a prompt and waits until it can be attached to.
fn service(world: &World, name: &str) -> Process {
    let service = world.spawn(name, &["--service", "--json"]);
    service.wait_out("that it listens", |line| line.contains("\"listening\"").then_some(()));
    service
}

/// Ends a service in order.
#[track_caller]
fn end(service: Process) {
    service.signal(Signal::TERM);
    let finished = service.finish(PATIENCE);
    assert_eq!(finished.status, Some(0), "{finished:?}");
}

#[test]
fn two_prompts_are_attached_to_one_service() {
    let world = World::new(1);
    let mut service = service(&world, "nik");
    let (mut one, mut other) = (world.client("nik"), world.client("nik"));
    assert_eq!(one.device(), other.device());
    assert_eq!(one.address, other.address, "both say where the service listens");
    one.enter("nik");
    assert_eq!(other.object("whoami")["user"], "nik");
    other.ok("create_group lab", &[]);
    let groups = one.object("list_my_groups");
    assert_eq!(groups["groups"][0]["group"], "lab");
    assert_eq!(groups["groups"][0]["group_id"].as_str().map(str::len), Some(32));
    one.refused("login nik pw-nik", "already logged in");
    // A plain one answers as the client itself would.
    let mut plain = world.plain("nik");
    plain.ok("whoami", &["nik"]);
    assert_eq!(plain.finish().status, Some(0));
    // When one leaves, the others and the session stay.
    one.ok("exit", &[]);
    assert_eq!(one.finish().status, Some(1), "a command of it failed");
    assert_eq!(other.object("whoami")["user"], "nik");
    assert!(service.is_running());
    other.ok("shutdown", &[]);
    assert_eq!(other.finish().status, Some(0));
    assert_eq!(service.wait_exit(PATIENCE).code(), Some(0));
    // The next start is a client of its own.
    let mut own = world.client("nik");
    own.refused("whoami", "log in first");
}

#[test]
fn files_are_those_of_the_attached_program_and_all_hear_of_what_happens() {
    let world = World::new(1);
    world.group("lab", &["nik", "bob"]);
    let content = Content::new("big.bin", 3 << 20, 5);
    world.put("nik", &content);
    let mut nik = world.client("nik");
    nik.login("nik");
    nik.ok("upload_file big.bin lab", &[]);
    let service = service(&world, "bob");
    let elsewhere = world.home("elsewhere");
    let attach = |lines: &[&str], args: &[&str]| {
        let mut command = world.command("bob", args);
        command.current_dir(&elsewhere);
        let mut process = Process::spawn("attached", &mut command);
        process.send_bytes((lines.join("\n") + "\n").as_bytes()).unwrap();
        process.finish(PATIENCE)
    };
    let mut watcher = world.client("bob");
    watcher.login("bob");
    let fetched = attach(&["download_file lab big.bin copy.bin", "wait 60"], &["--json"]);
    assert_eq!(fetched.status, Some(0), "{fetched:?}");
    assert_eq!(sha1_of(&elsewhere.join("copy.bin")), content.sha1());
    let is_complete = |line: &String| line.contains("download_complete");
    assert!(fetched.out.iter().any(is_complete), "{fetched:?}");
    eventually("the other one hears of it", || {
        watcher.process().said().out.iter().any(is_complete).then_some(())
    });
    let ended = watcher.object("wait 1");
    assert_eq!(ended["downloads"].as_array().map(Vec::len), Some(1), "{ended}");
    assert_eq!(ended["downloads"][0]["info_hash"].as_str().map(str::len), Some(40));
    // Ends before the attachment are not reported.
    let late = attach(&["wait 1"], &["--json"]);
    assert!(late.out.iter().any(|line| line.contains("\"downloads\":[]")), "{late:?}");
    // A path of the attached program, and a failure that is its exit status.
    let own = Content::new("own.bin", 1000, 6);
    own.write(&elsewhere.join("own.bin"));
    assert_eq!(attach(&["upload_file own.bin lab"], &[]).status, Some(0));
    assert_eq!(attach(&["upload_file big.bin lab"], &[]).status, Some(1));
    assert_eq!(attach(&[], &["-c", "whoami"]).out.last().map(String::as_str), Some("bob"));
    drop(watcher);
    end(service);
}

#[test]
fn an_interrupt_ends_what_one_waits_for_alone() {
    let (world, _content, _nik, gate, bob) = World::half_fetched(1, 4 << 20);
    // Any running client can be attached to.
    let (mut one, mut other) = (world.client("bob"), world.client("bob"));
    for client in [&mut one, &mut other] {
        client.ok("whoami", &[]);
        client.process().send("wait");
        // One that waits looks every second; one that reads commands sleeps.
        let switches =
            |client: &mut ClientProcess| client.process().proc_status("voluntary_ctxt_switches");
        let before = switches(client);
        eventually("it waits", || (switches(client) >= before + 10).then_some(()));
    }
    one.process().signal(Signal::INT);
    let finished = one.finish();
    assert_eq!(finished.status, Some(1), "{finished:?}");
    assert!(finished.out.iter().any(|line| line.contains("\"interrupted\"")), "{finished:?}");
    gate.allow(u64::MAX / 2);
    let object = other.object_of("wait");
    assert_eq!(object["ok"], true, "{object}");
    drop(bob);
}

#[test]
fn a_service_survives_its_terminal_and_what_it_leaves_behind_is_replaced() {
    let world = World::new(1);
    let mut first = service(&world, "nik");
    first.signal(Signal::HUP);
    first.close_stdin();
    let mut attached = world.client("nik");
    attached.enter("nik");
    let socket = world.home("nik").join(".posse/control.sock");
    assert_eq!(socket.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    first.kill9();
    // One line, and the exit status of a failure.
    eventually("it notices", || {
        let is_told = |line: &String| line.contains("has ended");
        attached.process().said().err.iter().any(is_told).then_some(())
    });
    let lost = attached.finish();
    assert_eq!(lost.status, Some(1), "{lost:?}");
    let told = lost.err.iter().filter(|line| line.contains("has ended")).count();
    assert_eq!(told, 1, "{lost:?}");
    assert!(socket.exists(), "kill -9 leaves it");
    let second = service(&world, "nik");
    let mut attached = world.client("nik");
    attached.login("nik");
    attached.ok("exit", &[]);
    assert_eq!(attached.finish().status, Some(0));
    end(second);
    assert!(!socket.exists());
}

#[test]
fn a_command_whose_client_dies_says_so_once() {
    let world = World::new(1);
    for (before, after) in [("sleep 60", ""), ("seed 60", ""), ("", "whoami")] {
        let mut service = service(&world, "nik");
        let mut plain = world.plain("nik");
        plain.ok("help whoami", &["*"]);
        plain.process().send(before);
        service.kill9();
        // It may have noticed already, and be gone.
        let _ = plain.process().send_bytes(format!("{after}\n").as_bytes());
        let lost = plain.finish();
        let errors: Vec<&String> = lost.err.iter().filter(|line| line.contains("error")).collect();
        let is_told = |line: &&String| line.contains("has ended; start it again");
        assert!(errors.len() == 1 && errors.iter().all(is_told), "{before}{after}: {lost:?}");
        assert_eq!(lost.status, Some(1), "{before}{after}: {lost:?}");
    }
}

#[test]
fn no_attach_refuses_a_running_client() {
    let world = World::new(1);
    let service = service(&world, "nik");
    for args in [&["--no-attach", "-c", "whoami"][..], &["--service"]] {
        let refused = world.script("nik", args, &[]);
        assert_eq!((refused.status, refused.errors().len()), (Some(2), 1), "{refused:?}");
        assert!(refused.errors()[0].contains("--no-attach"), "{refused:?}");
    }
    end(service);
    for args in [["--service", "-c", "whoami"], ["--service", "--script", "x"]] {
        assert_eq!(world.script("nik", &args, &[]).status, Some(2));
    }
}

#[test]
fn a_socket_of_another_program_is_reported_in_one_line() {
    let world = World::new(1);
    let data = world.home("nik").join(".posse");
    std::fs::create_dir(&data).unwrap();
    let listener = std::os::unix::net::UnixListener::bind(data.join("control.sock")).unwrap();
    let speaks = std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        for stream in listener.incoming().take(2) {
            let mut stream = stream.unwrap();
            // Nothing, if the client only looks whether somebody is there.
            let _ = stream.read(&mut [0; 4_096]);
            let _ = stream.write_all(b"220 ready\r\n\r\n");
        }
    });
    let refused = world.script("nik", &["-c", "whoami"], &[]);
    assert_eq!((refused.status, refused.errors().len()), (Some(2), 1), "{refused:?}");
    assert!(refused.errors()[0].contains("not a client"), "{refused:?}");
    speaks.join().unwrap();
}

/// The command line of a client whose data directory is in `home`, as that user.
fn as_user(world: &World, home: &Path, user: u32, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_client"));
    command.arg("127.0.0.1:0").arg(&world.info).arg("--data-dir").arg(home.join(".posse"));
    command.args(args).uid(user).gid(user).current_dir("/").env("HOME", home);
    command
}

#[test]
fn another_user_cannot_attach() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only the administrator can start a program as another user");
        return;
    }
    let world = World::new(1);
    std::fs::set_permissions(world.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let home = world.home("nik");
    let ours = service(&world, "nik");
    let refused = Process::spawn("other", &mut as_user(&world, &home, NOBODY, &["-c", "whoami"]));
    let refused = refused.finish(PATIENCE);
    assert_eq!((refused.status, refused.errors().len()), (Some(2), 1), "{refused:?}");
    assert!(refused.errors()[0].contains("another user"), "{refused:?}");
    end(ours);
    // The administrator does not send passwords to another user's socket either.
    let home = world.home("other");
    chown(&home, Some(NOBODY), Some(NOBODY)).unwrap();
    let theirs = Process::spawn(
        "service of nobody",
        &mut as_user(&world, &home, NOBODY, &["--service", "--json"]),
    );
    theirs.wait_out("that it listens", |line| line.contains("\"listening\"").then_some(()));
    let refused = world.script("other", &["-c", "whoami"], &[]);
    assert_eq!((refused.status, refused.errors().len()), (Some(2), 1), "{refused:?}");
    assert!(refused.errors()[0].contains("another user"), "{refused:?}");
    end(theirs);
}

#[test]
fn the_service_manager_is_told() {
    let world = World::new(1);
    let path = world.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let told = || {
        let mut text = [0; 1000];
        let len = manager.recv(&mut text).unwrap();
        String::from_utf8(text[..len].to_vec()).unwrap()
    };
    let mut command = world.command("nik", &["--service"]);
    command.env("NOTIFY_SOCKET", &path);
    let service = Process::spawn("service", &mut command);
    let ready = told();
    assert!(ready.starts_with("READY=1\n") && ready.contains("not logged in"), "{ready}");
    let mut attached = world.client("nik");
    attached.enter("nik");
    assert!(told().contains("STATUS=logged in as nik"));
    drop(attached);
    service.signal(Signal::TERM);
    assert!(told().starts_with("STOPPING=1\n"));
    assert_eq!(service.finish(PATIENCE).status, Some(0));
}

#[test]
fn a_service_waits_for_its_trackers_for_ever() {
    let mut world = World::new(1);
    world.trackers[0].kill9();
    let service = service(&world, "nik");
    let script = world.script("nik", &["--wait-trackers", "0.5", "-c", "whoami"], &[]);
    assert_eq!(script.status, Some(3), "{script:?}");
    world.trackers[0].restart();
    let script = world.script("nik", &["-c", "create_user nik pw-nik"], &[]);
    assert_eq!(script.status, Some(0), "{script:?}");
    end(service);
}

#[test]
fn other_programs_use_the_socket_too() {
    let world = World::new(1);
    let service = service(&world, "nik");
    let socket = world.home("nik").join(".posse/control.sock");
    let ask = |request: &str| {
        use std::io::{Read as _, Write as _};
        let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        serde_json::from_str::<Value>(body).unwrap()
    };
    let post = |body: &str| {
        ask(&format!(
            "POST /api/v1/command HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))
    };
    let snapshot = ask("GET /api/v1/snapshot HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    assert_eq!((&snapshot["api"], &snapshot["account"]), (&1.into(), &Value::Null));
    assert_eq!(post(r#"{"command":"wait_trackers","timeout_ms":10000}"#)["reply"], "done");
    let made = post(r#"{"command":"create_user","user":"nik","password":"pw-nik"}"#);
    assert_eq!(made["reply"], "done", "{made}");
    let account = post(r#"{"command":"login","user":"nik","password":"pw-nik"}"#);
    assert_eq!(account["value"]["user"], "nik", "{account}");
    let error = post(r#"{"command":"join_group","group":"nowhere"}"#);
    assert_eq!(error["error"]["code"], "refused", "{error}");
    assert_eq!(post(r#"{"command":"shutdown"}"#)["reply"], "done");
    assert_eq!(service.finish(PATIENCE).status, Some(0));
}
