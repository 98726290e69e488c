//! Clients driven by pipes, script files and `-c`: whole jobs without a person, and the exit
//! statuses that tell how they went.

use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{
    Behaviour, Content, EvilPeer, Finished, PATIENCE, Process, World, matches, sha1_of,
};

/// Exit status 0 and exactly these lines on stdout, after the one about listening.
#[track_caller]
fn went_well(finished: &Finished, lines: &[&str]) {
    assert_eq!(finished.status, Some(0), "{finished:#?}");
    let got = &finished.out[1..];
    assert!(
        got.len() == lines.len() && lines.iter().zip(got).all(|(p, l)| matches(p, l)),
        "{got:#?} is not {lines:#?}"
    );
    assert!(finished.errors().is_empty(), "{finished:#?}");
}

#[test]
fn two_trackers_and_three_clients_by_scripts_on_stdin() {
    let world = World::new(2);
    let content = Content::new("big.bin", 5 << 20, 11);
    world.put("nik", &content);
    let made = world.script(
        "nik",
        &[],
        &["create_user nik pw", "login nik pw", "create_group lab", "upload_file big.bin lab"],
    );
    went_well(
        &made,
        &[
            "created user nik",
            "logged in as nik",
            "created group lab",
            "sharing big.bin in lab\t5242880 bytes\tsha1 *",
        ],
    );
    for who in ["bob", "eve"] {
        let (create, login) = (format!("create_user {who} pw"), format!("login {who} pw"));
        let asked = world.script(who, &[], &[&create, &login, "# we ask", "", "join_group lab"]);
        went_well(
            &asked,
            &[&format!("created user {who}"), &format!("logged in as {who}"), "asked to join lab"],
        );
    }
    let mut seeder = world.spawn("nik", &[]);
    seeder.send(
        "login nik pw\nlist_requests lab\naccept_request lab bob\naccept_request lab eve\nseed",
    );
    seeder.wait_out("that eve is in", |line| (line == "accepted eve into lab").then_some(()));
    assert_eq!(seeder.said().out[2..4], ["bob", "eve"], "requests come oldest first");
    let mut leechers: Vec<_> =
        ["bob", "eve"].iter().map(|who| (world.spawn(who, &[]), who)).collect();
    for (process, who) in &mut leechers {
        process.send(&format!(
            "login {who} pw\nlist_files lab\ndownload_file lab big.bin\nwait\nwhoami"
        ));
    }
    for (process, who) in leechers {
        let copy = world.home(who).join("big.bin");
        let done = process.finish(std::time::Duration::from_secs(120));
        let listed = format!("big.bin\t5242880\t{}\tnik\t1 online", content.sha1());
        let (going, complete) = (
            format!("downloading big.bin from lab to {}", copy.display()),
            format!("[C] [lab] big.bin\t{}", copy.display()),
        );
        // The other may be seen as one more seeder by then.
        assert!(done.out[2].starts_with(listed.split("\tnik").next().unwrap()), "{done:#?}");
        assert_eq!(done.status, Some(0), "{done:#?}");
        assert_eq!(
            [&done.out[1], &done.out[3], &done.out[4], &done.out[5]],
            [&format!("logged in as {who}"), &going, &complete, &(*who).to_owned()]
        );
        assert_eq!(sha1_of(&copy), content.sha1());
    }
}

#[test]
fn a_script_without_wait_finishes_its_downloads_before_it_ends() {
    let world = World::new(1);
    world.group("lab", &["nik", "bob"]);
    let content = Content::new("big.bin", 3 << 20, 12);
    world.put("nik", &content);
    let mut seeder = world.client("nik");
    seeder.login("nik");
    seeder.ok("upload_file big.bin lab", &[]);
    let done =
        world.script("bob", &["-c", "login bob pw-bob", "-c", "download_file lab big.bin"], &[]);
    assert_eq!(done.status, Some(0), "{done:#?}");
    assert_eq!(sha1_of(&world.home("bob").join("big.bin")), content.sha1());
}

#[test]
fn words_are_split_as_a_shell_splits_them() {
    let world = World::new(1);
    world.group("lab", &["nik"]);
    let content = Content::new("two words & 'quotes'.bin", 10, 13);
    world.put("nik", &content);
    let lines = [
        "  login   nik\t'pw-nik'  ",
        "# a comment",
        "   # another",
        "",
        "   ",
        "upload_file \"two words & 'quotes'.bin\" lab",
        "stop_share lab two\\ words\\ \\&\\ \\'quotes\\'.bin",
    ];
    let done = world.script("nik", &[], &lines);
    let name = &content.name;
    went_well(
        &done,
        &[
            "logged in as nik",
            &format!("sharing {name} in lab\t10 bytes\t*"),
            &format!("stopped sharing {name} in lab"),
        ],
    );
    // A line ending of another system, and a last line without one.
    let mut process = world.spawn("nik", &[]);
    process.send_bytes(b"login nik pw-nik\r\nwhoami").unwrap();
    went_well(&process.finish(crate::harness::PATIENCE), &["logged in as nik", "nik"]);
}

#[test]
fn a_failed_command_stops_a_script_or_not_as_told_and_is_exit_status_1() {
    let world = World::new(1);
    world.group("lab", &["nik"]);
    let lines = ["login nik pw-nik", "create_group lab", "whoami"];
    let goes_on = world.script("nik", &["--on-error", "continue"], &lines);
    assert_eq!(
        (goes_on.status, &goes_on.out[1..]),
        (Some(1), &["logged in as nik".to_owned(), "nik".to_owned()][..])
    );
    assert_eq!(goes_on.errors().len(), 1);
    let stops = world.script("nik", &["--on-error", "stop"], &lines);
    assert_eq!((stops.status, &stops.out[1..]), (Some(1), &["logged in as nik".to_owned()][..]));
    assert_eq!(stops.errors().len(), 1);
    let bad_option = world.script("nik", &["--on-error", "perhaps"], &[]);
    assert_eq!(bad_option.status, Some(2));
}

#[test]
fn script_files_and_commands_on_the_command_line() {
    let world = World::new(1);
    world.group("lab", &["nik"]);
    let script = world.path().join("job.posse");
    std::fs::write(&script, "# the job\nlogin nik pw-nik\nlist_my_groups\n").unwrap();
    let said = ["logged in as nik", "lab\towner\t1 member"];
    went_well(&world.script("nik", &["--script", script.to_str().unwrap()], &[]), &said);
    went_well(
        &world.script("nik", &["-c", "login nik pw-nik", "-c", "list_my_groups"], &[]),
        &said,
    );
    went_well(
        &world.script("nik", &["-c", "login nik pw-nik", "-c", "exit", "-c", "whoami"], &[]),
        &said[..1],
    );
    went_well(
        &world.script("nik", &["-c", "login nik pw-nik", "-c", "quit", "-c", "whoami"], &[]),
        &said[..1],
    );
}

#[test]
fn sleep_seed_and_wait_end_when_told() {
    let world = World::new(1);
    world.group("lab", &["nik", "bob"]);
    world.put("nik", &Content::new("a.bin", 1000, 14));
    // The only seeder goes away at the end of its script; a download of its file cannot end.
    let shared = world.script(
        "nik",
        &["-c", "login nik pw-nik", "-c", "upload_file a.bin lab", "-c", "seed 0", "-c", "sleep 0"],
        &[],
    );
    assert_eq!(shared.status, Some(0), "{shared:#?}");
    let commands = [
        "login bob pw-bob",
        "wait",
        "download_file lab a.bin",
        "wait 1",
        "cancel_download lab a.bin",
    ];
    let timed_out = world.script("bob", &["--on-error", "continue"], &commands);
    assert_eq!(timed_out.status, Some(1), "{timed_out:#?}");
    assert_eq!(timed_out.errors().len(), 1, "{timed_out:#?}");
    for bad in ["wait soon", "sleep long", "seed -1", "sleep"] {
        let wrong = world.script("bob", &["-c", bad], &[]);
        assert_eq!(wrong.status, Some(1), "{bad}: {wrong:#?}");
    }
}

#[test]
fn help_names_every_command() {
    let world = World::new(1);
    let help = world.script("nik", &["-c", "help"], &[]);
    assert_eq!(help.status, Some(0), "{help:#?}");
    let text = help.out.join("\n");
    for command in [
        "create_user",
        "login",
        "logout",
        "create_group",
        "join_group",
        "leave_group",
        "list_requests",
        "accept_request",
        "reject_request",
        "remove_member",
        "transfer_group",
        "list_groups",
        "list_my_groups",
        "list_members",
        "upload_file",
        "list_files",
        "download_file",
        "show_downloads",
        "pause_download",
        "resume_download",
        "cancel_download",
        "show_uploads",
        "why",
        "stop_share",
        "change_password",
        "whoami",
        "trackers",
        "wait",
        "seed",
        "sleep",
        "help",
        "exit",
        "quit",
    ] {
        assert!(text.contains(command), "help leaves out {command}");
        let one = world.script("nik", &["-c", &format!("help {command}")], &[]);
        assert_eq!(one.status, Some(0), "{one:#?}");
        assert!(one.out[1..].join("\n").contains(command), "{one:#?}");
    }
    assert_eq!(world.script("nik", &["-c", "help no_such"], &[]).status, Some(1));
}

#[test]
fn every_line_of_json_is_one_object() {
    let world = World::new(1);
    world.group("lab", &["nik"]);
    world.put("nik", &Content::new("a.bin", 1000, 15));
    let lines = [
        "login nik pw-nik",
        "whoami",
        "list_groups",
        "list_my_groups",
        "list_members lab",
        "list_requests lab",
        "upload_file a.bin lab",
        "list_files lab",
        "show_downloads",
        "show_uploads",
        "trackers",
        "no_such_command",
        "logout",
    ];
    let done = world.script("nik", &["--json", "--on-error", "continue"], &lines);
    assert_eq!(done.status, Some(1), "{done:#?}");
    let objects: Vec<serde_json::Value> =
        done.out.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects[0]["event"], "listening");
    let results: Vec<_> = objects.iter().filter(|o| o.get("command").is_some()).collect();
    assert_eq!(results.len(), lines.len(), "{results:#?}");
    for (line, result) in lines.iter().zip(&results) {
        assert_eq!(result["command"], line.split(' ').next().unwrap());
        assert_eq!(result["ok"], *line != "no_such_command");
    }
    assert!(results[11]["error"].is_string());
    assert_eq!(results[7]["files"].as_array().map(Vec::len), Some(1));
}

#[test]
fn trackers_shows_each_one_and_which_is_primary() {
    let mut world = World::new(2);
    let mut nik = world.plain("nik");
    nik.ok(
        "trackers",
        &["1\t127.0.0.1:*\tup\t*\tlag 0", "2\t127.0.0.1:*\tup\t*\tlag 0", "network sha256:*"],
    );
    world.trackers[1].kill9();
    crate::harness::eventually("the second is shown as down", || {
        let shown = world.script("bob", &["-c", "trackers"], &[]);
        let (failed, errors) = (shown.status == Some(1), shown.errors());
        let is_named = errors.iter().any(|line| matches("error: tracker 2 (*) is down*", line));
        let down = shown.out.iter().any(|l| matches("2\t127.0.0.1:*\tdown*", l));
        let primary = shown.out.iter().any(|l| matches("1\t127.0.0.1:*\tup\tprimary\tlag 0", l));
        (failed
            && is_named
            && down
            && primary
            && shown.out.iter().any(|l| l.starts_with("degraded: ")))
        .then_some(())
    });
    let json = world.script("bob", &["--json", "-c", "trackers"], &[]);
    let shown: serde_json::Value = serde_json::from_str(json.out.last().unwrap()).unwrap();
    assert_eq!(
        (json.status, &shown["ok"], &shown["code"]),
        (Some(1), &false.into(), &"degraded".into())
    );
    assert_eq!(shown["trackers"].as_array().map(Vec::len), Some(2), "{shown}");
}

#[test]
fn an_interrupt_ends_a_script_and_does_not_wait_for_its_downloads() {
    let world = World::new(1);
    world.group("lab", &["nik", "bob"]);
    let content = Content::new("big.bin", 3 << 20, 14);
    let seeder = EvilPeer::start(world.tracker(1), "nik", "lab", &content, Behaviour::Honest);
    seeder.allow_bytes(0);
    // Interrupted in a command, and before the end of a pipe that stays open.
    for last in ["wait\nlogout", "whoami"] {
        let mut process = world.spawn("bob", &[]);
        process.send(&format!("login bob pw-bob\ndownload_file lab big.bin\n{last}"));
        process.wait_out("that it downloads", |line| line.starts_with("downloading").then_some(()));
        if last == "whoami" {
            process.wait_out("who it is", |line| (line == "bob").then_some(()));
        }
        process.signal(Signal::INT);
        assert!(
            process.wait_exit(PATIENCE).code().is_some(),
            "the signal ended the process by itself"
        );
        assert!(!process.said().out.iter().any(|line| line == "logged out"), "the script went on");
    }
}

#[test]
fn a_download_that_paused_itself_long_ago_fails_no_script() {
    let world = World::new(1);
    world.group("lab", &["nik", "bob"]);
    let content = Content::new("big.bin", 3 << 20, 15);
    let seeder = EvilPeer::start(world.tracker(1), "nik", "lab", &content, Behaviour::Honest);
    seeder.allow_bytes(0);
    let mut bob = world.client("bob");
    bob.login("bob");
    bob.ok("download_file lab big.bin", &[]);
    bob.process().kill9();
    let store = rusqlite::Connection::open(bob.path(".posse/device.sqlite")).unwrap();
    store.execute_batch("UPDATE download SET state = 1, reason = 'the disk is full'").unwrap();
    drop(store);
    let done = world.script("bob", &[], &["login bob pw-bob", "wait", "show_downloads"]);
    went_well(&done, &["logged in as bob", "[P] [lab] big.bin\t0%\tpaused: the disk is full"]);
}

/// A world in which an honest member, who sends nothing yet, offers `big.bin` in `lab` to bob.
fn silent_seeder(seed: u64) -> (World, Content, EvilPeer) {
    let world = World::new(1);
    world.group("lab", &["nik", "bob"]);
    let content = Content::new("big.bin", 3 << 20, seed);
    let seeder = EvilPeer::start(world.tracker(1), "nik", "lab", &content, Behaviour::Honest);
    seeder.allow_bytes(0);
    (world, content, seeder)
}

/// When the process said a line with all of these parts on stdout.
#[track_caller]
fn said(process: &Process, parts: &[&str]) -> Instant {
    let fits = |line: &str| parts.iter().all(|part| line.contains(part));
    process.wait_out(&format!("{parts:?}"), |line| fits(line).then(Instant::now))
}

#[test]
fn wait_and_the_end_of_a_script_follow_the_last_end_at_once() {
    const LATE: Duration = Duration::from_millis(100);
    let (mut waits, mut ends) = (Vec::new(), Vec::new());
    // Several times, since the machine may be busy.
    for round in 0..3 {
        let (world, _, seeder) = silent_seeder(16);
        let mut bob = world.spawn("bob", &["--json"]);
        let wait = if round == 0 { "" } else { "wait" };
        bob.send(&format!("login bob pw-bob\ndownload_file lab big.bin\n{wait}"));
        bob.close_stdin();
        said(&bob, &["\"download_file\"", "\"ok\":true"]);
        seeder.wait_requests(1);
        // What was waited must not count as time that a look took.
        std::thread::sleep(Duration::from_millis(300));
        seeder.lift();
        let complete = said(&bob, &["download_complete"]);
        if !wait.is_empty() {
            waits.push(said(&bob, &["\"wait\"", "\"ok\":true"]) - complete);
        }
        assert!(bob.wait_exit(PATIENCE).success());
        ends.push(complete.elapsed());
    }
    // The harness looks for the end of a process every few milliseconds.
    let least = |late: &[Duration]| late.iter().min().copied().unwrap();
    assert!(least(&waits) < LATE, "{waits:?}");
    assert!(least(&ends) < LATE * 2, "{ends:?}");
}

#[test]
fn exit_and_quit_finish_the_downloads_of_a_script() {
    for word in ["exit", "quit"] {
        let (world, content, seeder) = silent_seeder(18);
        let mut bob = world.spawn("bob", &["--json"]);
        bob.send(&format!("login bob pw-bob\ndownload_file lab big.bin\n{word}\nwhoami"));
        said(&bob, &[&format!("{{\"command\":\"{word}\",\"ok\":true")]);
        seeder.wait_requests(1);
        seeder.lift();
        let done = bob.finish(PATIENCE);
        assert_eq!(done.status, Some(0), "{done:#?}");
        assert_eq!(sha1_of(&world.home("bob").join("big.bin")), content.sha1());
        assert!(!done.out.iter().any(|line| line.contains("whoami")), "{done:#?}");
    }
}

#[test]
fn exit_now_abandons_what_runs_and_says_so() {
    let (world, content, seeder) = silent_seeder(19);
    let commands = ["login bob pw-bob", "download_file lab big.bin", "exit --now", "whoami"];
    let plain = world.script("bob", &[], &commands);
    let text = "1 download is unfinished and goes on at the next login: big.bin in lab at 0%";
    assert_eq!((plain.status, plain.errors()), (Some(1), vec![&*format!("error: {text}")]));
    let json = world.script("bob", &["--json"], &[commands[0], "quit --now"]);
    let last: serde_json::Value = serde_json::from_str(json.out.last().unwrap()).unwrap();
    assert_eq!(
        (json.status, &last["ok"], &last["code"], &last["error"]),
        (Some(1), &false.into(), &"abandoned".into(), &text.into())
    );
    assert_eq!(last["downloads"][0]["file"], "big.bin");
    // It goes on, as was said; with nothing left there is nothing to abandon.
    seeder.lift();
    let done = world.script("bob", &[], &[commands[0], "wait", "exit --now"]);
    assert_eq!(done.status, Some(0), "{done:#?}");
    assert_eq!(sha1_of(&world.home("bob").join("big.bin")), content.sha1());
}

#[test]
fn the_end_of_a_script_waits_as_long_as_the_last_wait_allowed() {
    let (world, _, _seeder) = silent_seeder(20);
    let commands = ["login bob pw-bob", "download_file lab big.bin", "wait 0.3"];
    let done = world.script("bob", &[], &commands);
    assert_eq!(done.status, Some(1), "{done:#?}");
    let errors = done.errors();
    assert!(errors[0].contains("time ran out") && errors[1].contains("unfinished"), "{errors:?}");
    assert_eq!(errors.len(), 2, "{errors:?}");
}

#[test]
fn scripts_of_other_systems_are_taken() {
    let world = World::new(1);
    world.group("lab", &["nik"]);
    let script = world.path().join("job.posse");
    // As some editors write them: a byte order mark and other line ends.
    let bytes = b"\xef\xbb\xbflogin nik pw-nik\r\n\r\n# comment\r\nwhoami\r\n";
    std::fs::write(&script, bytes).unwrap();
    let (script, said) = (script.to_str().unwrap(), ["logged in as nik", "nik", "nik"]);
    went_well(&world.script("nik", &["--script", script], &[]), &said[..2]);
    went_well(&world.script("nik", &["--script", script, "-c", "whoami"], &[]), &said);
    let mut process = world.spawn("nik", &[]);
    process.send_bytes(bytes).unwrap();
    went_well(&process.finish(PATIENCE), &said[..2]);
}

#[test]
fn wait_lasts_no_longer_than_it_may() {
    let (world, _, _seeder) = silent_seeder(17);
    let small = Content::new("small.bin", 1 << 19, 21);
    let other = EvilPeer::start(world.tracker(1), "nik", "lab", &small, Behaviour::Honest);
    other.allow_bytes(0);
    let mut bob = world.spawn("bob", &["--json", "--on-error", "stop"]);
    bob.send("login bob pw-bob\ndownload_file lab big.bin\ndownload_file lab small.bin\nwait 2");
    let begun = said(&bob, &["\"download_file\"", "small.bin"]);
    // One ends meanwhile: what is rested behind that counts.
    other.wait_requests(1);
    std::thread::sleep(Duration::from_millis(500));
    other.lift();
    said(&bob, &["download_complete"]);
    let waited = said(&bob, &["\"wait\"", "\"timed_out\""]) - begun;
    assert!((1900..3500).contains(&waited.as_millis()), "{waited:?}");
}

/// Runs a client whose stdout is that.
#[track_caller]
fn run_into(world: &World, stdout: impl Into<Stdio>, args: &[&str]) -> (Option<i32>, String) {
    let mut command = world.command("nik", args);
    let Output { status, stderr, .. } =
        command.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped()).output().unwrap();
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let world = World::new(1);
    world.group("lab", &["nik"]);
    for format in [&[][..], &["--json"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let args = [format, &["-c", "login nik pw-nik", "-c", "create_group other"]].concat();
        let (status, said) = run_into(&world, full, &args);
        assert_eq!(status, Some(1), "{said}");
        assert!(said.contains("error: cannot write to standard output: No space left"), "{said}");
    }
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    assert_eq!(run_into(&world, full, &["--help"]).0, Some(1));
}

#[test]
fn a_closed_pipe_ends_a_script_unless_it_was_at_its_end() {
    let world = World::new(1);
    world.group("lab", &["nik"]);
    let closed = || std::io::pipe().unwrap().1;
    let (status, said) = run_into(&world, closed(), &["-c", "login nik pw-nik", "-c", "whoami"]);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("error: standard output is closed"), "{said}");
    // As of `| head -1`: what reads it has seen what it wanted.
    let script = world.path().join("job.posse");
    std::fs::write(&script, "# nothing is left to do\n\n").unwrap();
    let (status, said) = run_into(&world, closed(), &["--script", script.to_str().unwrap()]);
    assert_eq!(status, Some(0), "{said}");
    assert!(!said.contains("error"), "{said}");
}

#[test]
fn a_script_waits_for_its_first_tracker_as_long_as_it_is_told() {
    let mut world = World::new(1);
    world.group("lab", &["nik"]);
    world.trackers[0].kill9();
    // Nobody is there in time, or a signal ends the wait.
    let begun = Instant::now();
    let never = world.script("nik", &["--wait-trackers", "0.5", "-c", "whoami"], &[]);
    assert_eq!(never.status, Some(3), "{never:#?}");
    assert!((500..5000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    let options = ["--wait-trackers", "3600", "-c", "login nik pw-nik", "-c", "whoami"];
    let mut patient = world.spawn("nik", &options);
    said(&patient, &["listening on"]);
    patient.signal(Signal::TERM);
    assert_eq!(patient.wait_exit(Duration::from_secs(20)).code(), Some(3));
    // A tracker that comes late is in time.
    let patient = world.spawn("nik", &options);
    said(&patient, &["listening on"]);
    world.trackers[0].restart();
    went_well(&patient.finish(PATIENCE), &["logged in as nik", "nik"]);
    assert_eq!(world.script("nik", &["--wait-trackers", "soon"], &[]).status, Some(2));
}
