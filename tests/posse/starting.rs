//! How the programs are started and stopped: every form of the command lines, every way to get them
//! wrong, and the exit statuses.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use posse::trust::KeyPair;
use posse::types::Fingerprint;
use rustix::process::Signal;

use crate::harness::{Finished, PATIENCE, Process, World, free_port, set_home};

fn tracker(args: &[&str]) -> Process {
    Process::spawn("tracker", Command::new(env!("CARGO_BIN_EXE_tracker")).args(args))
}

fn client(args: &[&str]) -> Process {
    // What this machine's user has set up is none of the test's.
    let mut command = Command::new(env!("CARGO_BIN_EXE_client"));
    set_home(command.args(args), Path::new("/nobody's home"));
    Process::spawn("client", &mut command)
}

fn finish(process: Process) -> Finished {
    process.finish(PATIENCE)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("test paths are text")
}

/// Exit status 2, nothing on stdout, and one line that says what is wrong.
#[track_caller]
fn refuses(finished: &Finished, words: &str) {
    assert_eq!(finished.status, Some(2), "{finished:?}");
    assert!(finished.out.is_empty(), "{finished:?}");
    let errors = finished.errors();
    assert_eq!(errors.len(), 1, "one clear line is wanted: {finished:?}");
    assert!(errors[0].to_lowercase().contains(words), "{errors:?} does not say {words:?}");
}

#[test]
fn a_tracker_that_cannot_start_says_why_in_one_line_and_exits_2() {
    let dir = tempfile::tempdir().unwrap();
    let info = dir.path().join("info.txt");
    let data = dir.path().join("data");
    std::fs::write(&info, "127.0.0.1:0\n").unwrap();
    let bad = dir.path().join("bad.txt");
    std::fs::write(&bad, "127.0.0.1:0\nthis is no tracker at all\n").unwrap();
    let empty = dir.path().join("empty.txt");
    std::fs::write(&empty, "# nobody\n\n").unwrap();
    let start = |args: &[&str]| finish(tracker(&[args, &["--data-dir", text(&data)]].concat()));

    refuses(&start(&[text(&dir.path().join("absent.txt")), "1"]), "absent.txt");
    refuses(&start(&[text(&bad), "1"]), "line 2");
    refuses(&start(&[text(&empty), "1"]), "empty.txt");
    refuses(&start(&[text(&info), "2"]), "2");
    refuses(&start(&[text(&info), "0"]), "0");
    refuses(&start(&[text(dir.path()), "1"]), "");

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    refuses(&start(&["127.0.0.1", &port]), &port);
}

#[test]
fn a_client_that_cannot_start_says_why_in_one_line_and_exits_2() {
    let dir = tempfile::tempdir().unwrap();
    let info = dir.path().join("info.txt");
    let data = dir.path().join("data");
    std::fs::write(&info, format!("127.0.0.1:{}\n", free_port())).unwrap();
    let start = |args: &[&str]| finish(client(&[args, &["--data-dir", text(&data)]].concat()));

    refuses(&start(&["127.0.0.1:0", text(&dir.path().join("absent.txt"))]), "absent.txt");
    refuses(&start(&["nowhere at all", text(&info)]), "nowhere at all");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    refuses(&start(&[&address, text(&info)]), &address);
    refuses(
        &start(&["127.0.0.1:0", text(&info), "--script", text(&dir.path().join("absent.posse"))]),
        "absent.posse",
    );
}

#[test]
fn wrong_words_on_the_command_line_are_exit_status_2_and_help_and_version_0() {
    for args in
        [&[] as &[&str], &["only-one"], &["--no-such-option"], &["a", "b", "c", "d", "e", "f"]]
    {
        for finished in [finish(tracker(args)), finish(client(args))] {
            assert_eq!(finished.status, Some(2), "{args:?}: {finished:?}");
            assert!(!finished.err.is_empty() && finished.out.is_empty(), "{args:?}: {finished:?}");
        }
    }
    for args in [["--help"], ["--version"]] {
        for finished in [finish(tracker(&args)), finish(client(&args))] {
            assert_eq!(finished.status, Some(0), "{args:?}: {finished:?}");
            assert!(!finished.out.is_empty(), "{args:?}: {finished:?}");
        }
    }
}

#[test]
fn a_second_client_or_tracker_in_one_data_directory_is_refused() {
    let world = World::new(1);
    let _first = world.client("nik");
    let second = world.script("nik", &["--no-attach", "-c", "help"], &[]);
    refuses(&second, ".posse");

    let data = text(world.trackers[0].data_dir()).to_owned();
    refuses(&finish(tracker(&["127.0.0.1", "0", "--data-dir", &data])), "tracker1");
}

#[test]
fn no_tracker_in_reach_is_exit_status_3() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port().to_string();
    let data = dir.path().join("data");
    let finished = finish(client(&[
        "127.0.0.1",
        "0",
        "127.0.0.1",
        &port,
        "--data-dir",
        text(&data),
        "--wait-trackers",
        "0.5",
        "-c",
        "login nik pw",
    ]));
    assert_eq!(finished.status, Some(3), "{finished:?}");
    assert!(finished.errors().iter().any(|e| e.contains("tracker")), "{finished:?}");
}

#[test]
fn trackers_and_clients_start_from_addresses_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (tracker_data, client_data) = (dir.path().join("t"), dir.path().join("c"));
    let tracker = tracker(&["127.0.0.1", "0", "--data-dir", text(&tracker_data)]);
    let address = tracker.wait_out("that it listens", |l| {
        l.strip_prefix("tracker 1 listening on 127.0.0.1:").map(str::to_owned)
    });
    let options = [
        "--data-dir",
        text(&client_data),
        "-c",
        "create_user nik pass-word",
        "-c",
        "login nik pass-word",
        "-c",
        "whoami",
    ];
    let finished =
        finish(client(&[&["127.0.0.1", "0", "127.0.0.1", &address], &options[..]].concat()));
    assert_eq!(finished.status, Some(0), "{finished:?}");
    assert_eq!(finished.out[1..], ["created user nik", "logged in as nik", "nik"]);
    assert!(finished.out[0].starts_with("listening on 127.0.0.1:"), "{finished:?}");
}

#[test]
fn tracker_info_is_understood_in_every_form() {
    let dir = tempfile::tempdir().unwrap();
    let info = dir.path().join("info.txt");
    let ports = [free_port(), free_port(), free_port(), free_port()];
    let lines = format!(
        "# our trackers\n\n127.0.0.1:{}\n127.0.0.1 {}\n3 127.0.0.1 {}\n[::1]:{}\n",
        ports[0], ports[1], ports[2], ports[3]
    );
    std::fs::write(&info, lines).unwrap();
    let key = dir.path().join("network.key");
    for (index, port) in ports.iter().enumerate() {
        let number = (index + 1).to_string();
        let data = dir.path().join(&number);
        let host = if index == 3 { "[::1]" } else { "127.0.0.1" };
        let process = tracker(&[
            text(&info),
            &number,
            "--data-dir",
            text(&data),
            "--network-key",
            text(&key),
        ]);
        let line = process.wait_out("that it listens", |line| Some(line.to_owned()));
        assert_eq!(line, format!("tracker {number} listening on {host}:{port}"));
    }
}

/// What a tracker prints of its network.
fn fingerprint(tracker: &Process) -> String {
    tracker.wait_out("whose network it is", |line| line.strip_prefix("network ").map(str::to_owned))
}

#[test]
fn trackers_of_one_machine_share_the_key_that_the_first_start_makes() {
    let dir = tempfile::tempdir().unwrap();
    let info = dir.path().join("info.txt");
    std::fs::write(&info, format!("127.0.0.1:{}\n127.0.0.1:{}\n", free_port(), free_port()))
        .unwrap();
    let start = |number: &str, home: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tracker"));
        set_home(command.args([text(&info), number]), home);
        Process::spawn("tracker", &mut command)
    };
    let home = dir.path().join("home");
    // Both at once: one of them makes it.
    let trackers = ["1", "2"].map(|number| start(number, &home));
    let [first, second] = [&trackers[0], &trackers[1]].map(fingerprint);
    assert_eq!(first, second);
    assert!(first.parse::<Fingerprint>().is_ok(), "{first}");
    let key = home.join("data/posse/network.key");
    assert_eq!(key.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(KeyPair::load(&key).unwrap().fingerprint().to_string(), first);
    drop(trackers);
    assert_eq!(fingerprint(&start("1", &home)), first, "a later start uses the same");
    assert_ne!(
        fingerprint(&start("1", &dir.path().join("elsewhere"))),
        first,
        "another machine has another, until it is copied there"
    );
}

#[test]
fn a_network_key_that_will_not_do_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let [info, data, key] = ["info.txt", "data", "network.key"].map(|name| dir.path().join(name));
    let start = || {
        finish(tracker(&[text(&info), "1", "--data-dir", text(&data), "--network-key", text(&key)]))
    };
    std::fs::write(&info, "127.0.0.1:0\n").unwrap();
    std::fs::write(&key, "no key\n").unwrap();
    refuses(&start(), "chmod 600");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    refuses(&start(), "network.key");
    assert_eq!(std::fs::read(&key).unwrap(), b"no key\n");
    // Not the network that the file names: both are shown.
    std::fs::remove_file(&key).unwrap();
    let own = KeyPair::load_or_make(&key).unwrap().0.fingerprint().to_string();
    let other = KeyPair::generate().unwrap().fingerprint().to_string();
    std::fs::write(&info, format!("network {other}\n127.0.0.1:0\n")).unwrap();
    let finished = start();
    refuses(&finished, &own);
    refuses(&finished, &other);
    std::fs::write(&info, "network sha256:12\n127.0.0.1:0\n").unwrap();
    refuses(&start(), "line 1");
    std::fs::write(&info, format!("network {own}\nnetwork {own}\n127.0.0.1:0\n")).unwrap();
    refuses(&start(), "line 2");
}

#[test]
fn the_console_answers_and_stops_the_tracker() {
    for stop in ["quit", "exit"] {
        let mut world = World::new(1);
        world.trackers[0].status();
        let process = world.trackers[0].process();
        process.send("");
        process.send("help");
        process.wait_out("what the console knows", |line| line.contains("status").then_some(()));
        process.send("no such word");
        world.trackers[0].status();
        let process = world.trackers[0].process();
        process.send(stop);
        assert_eq!(process.wait_exit(PATIENCE).code(), Some(0));
    }
}

#[test]
fn a_closed_stdin_does_not_stop_a_tracker_and_signals_do() {
    for signal in [Signal::INT, Signal::TERM] {
        let mut world = World::new(1);
        let address = world.tracker(1);
        world.trackers[0].process().close_stdin();
        // Served after the end of stdin: a whole session fits in.
        crate::harness::RawClient::enter(address, "nik");
        let process = world.trackers[0].process();
        assert!(process.is_running());
        process.signal(signal);
        assert_eq!(process.wait_exit(Duration::from_secs(20)).code(), Some(0));
    }
}

#[test]
fn a_signal_stops_a_tracker_however_many_commands_wait_at_its_console() {
    let mut world = World::new(1);
    let process = world.trackers[0].process();
    // A full pipe of them.
    process.send_bytes(&b"status\n".repeat(9_000)).expect("it is running");
    process.signal(Signal::TERM);
    assert_eq!(process.wait_exit(PATIENCE).code(), Some(0));
}

#[test]
fn a_client_stops_in_order_on_signals() {
    for signal in [Signal::INT, Signal::TERM] {
        let world = World::new(1);
        let mut client = world.client("nik");
        client.enter("nik");
        client.process().send("seed");
        client.process().close_stdin();
        // One that arrives before the command has begun ends nothing; a second SIGTERM would be
        // taken for impatience.
        let process = client.process();
        process.wait_said(Duration::from_secs(1), |said| said.is_over().then_some(()));
        process.signal(signal);
        let status = process.wait_exit(Duration::from_secs(20));
        assert_eq!(status.code(), Some(0), "it did not end in order: {status:?}");
    }
}

#[test]
fn a_script_chooses_a_short_password_only_if_it_is_allowed_to() {
    let world = World::new(1);
    let (home, info) = (world.home("nik"), world.info.clone());
    let run = |options: &[&str], command: &str| {
        let fixed = ["127.0.0.1:0", text(&info), "--data-dir", text(&home)];
        let commands = ["-c", "login nik correct-horse", "-c", command];
        finish(client(&[&fixed, options, &commands[..]].concat()))
    };
    assert_eq!(run(&[], "create_user nik correct-horse").errors().len(), 1, "there is no nik yet");
    for command in ["create_user bob 1234567", "change_password correct-horse x"] {
        let refused = run(&[], command);
        assert_eq!(refused.status, Some(1), "{refused:?}");
        assert!(refused.errors()[0].contains("fewer than 8 characters"), "{refused:?}");
        assert!(!refused.errors()[0].contains("1234567"), "{refused:?}");
    }
    assert_eq!(run(&["--allow-short-passwords"], "create_user bob 1234567").status, Some(0));
}
