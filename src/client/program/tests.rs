//! Whole runs of the program against a scripted tracker: what is carried out, and with which exit
//! status it ends.

use super::*;
use crate::client::shell::EXIT_NO_TRACKER;
use crate::client::trackers::tests::{Fake, refuse, usual, wait_for};
use crate::trust::KeyPair;
use crate::types::Refusal;
use crate::wire::tracker::{Event, Request};

/// Runs the program against `tracker` (`ip port`) with these options; returns its exit status.
fn status(tracker: &str, options: &[&str]) -> Result<u8, StartError> {
    let dir = tempfile::tempdir().unwrap();
    let fixed = ["client", "--log", "off", "--data-dir", dir.path().to_str().unwrap()];
    let words =
        fixed.iter().chain(options).copied().chain(["127.0.0.1", "0"]).chain(tracker.split(':'));
    run(&Arguments::try_parse_from(words).unwrap())
}

fn fake() -> Fake {
    Fake::start(|request| match request {
        Request::CreateGroup { name, .. } if name.as_str() == "taken" => refuse(Refusal::NameTaken),
        other => usual(other),
    })
}

#[test]
fn the_status_tells_how_it_went() {
    let fake = fake();
    let tracker = fake.address.to_string();
    let status = |options: &[&str]| status(&tracker, options).unwrap();
    assert_eq!(
        status(&["-c", "create_user nik password", "-c", "login nik pw", "-c", "create_group lab"]),
        0
    );
    assert_eq!(status(&["-c", "login nik pw", "-c", "create_group taken"]), EXIT_FAILED);
    assert_eq!(status(&["-c", "whoami"]), EXIT_FAILED, "there is no session");
    assert_eq!(status(&["-c", "no_such_command"]), EXIT_FAILED);
    assert_eq!(status(&["-c", "# a comment", "-c", "  ", "-c", "wait 5", "-c", "sleep 0.01"]), 0);
}

#[test]
fn a_failure_stops_a_script_only_if_asked_to() {
    let fake = fake();
    let tracker = fake.address.to_string();
    let groups = || {
        fake.asked().iter().filter(|request| matches!(request, Request::CreateGroup { .. })).count()
    };
    let script = ["-c", "login nik pw", "-c", "create_group taken", "-c", "create_group lab"];
    assert_eq!(status(&tracker, &script).unwrap(), EXIT_FAILED);
    assert_eq!(groups(), 2);
    assert_eq!(
        status(&tracker, &[&["--on-error", "stop"][..], &script[..]].concat()).unwrap(),
        EXIT_FAILED
    );
    assert_eq!(groups(), 3);
    assert_eq!(
        status(&tracker, &["-c", "exit", "-c", "whoami"]).unwrap(),
        0,
        "nothing is done after exit"
    );
}

#[test]
fn scripts_come_from_files_too() {
    let fake = fake();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "# nik\nlogin nik pw\n\ncreate_group lab").unwrap();
    let path = file.path().to_str().unwrap();
    assert_eq!(status(&fake.address.to_string(), &["--script", path]).unwrap(), 0);
    assert!(fake.asked().iter().any(|request| matches!(request, Request::CreateGroup { .. })));
    assert!(status(&fake.address.to_string(), &["--script", "/nowhere/at/all"]).is_err());
}

#[test]
fn without_a_tracker_a_script_does_not_begin() {
    let address = fake().kill();
    assert_eq!(
        status(&address.to_string(), &["--wait-trackers", "0.2", "-c", "whoami"]).unwrap(),
        EXIT_NO_TRACKER
    );
}

#[test]
fn trackers_of_another_network_are_no_trackers() {
    let fake = fake();
    let other = KeyPair::generate().unwrap().fingerprint().to_string();
    let tracker = fake.address.to_string();
    let options = ["--wait-trackers", "1", "--network", &other, "-c", "whoami"];
    assert_eq!(status(&tracker, &options).unwrap(), EXIT_NO_TRACKER);
    assert!(fake.asked().is_empty());
    let own = fake.key.fingerprint().to_string();
    assert_eq!(
        status(&tracker, &["--network", &own, "-c", "create_user nik password"]).unwrap(),
        0
    );
}

#[test]
fn a_seeder_whose_session_is_over_does_not_sit_there_for_nothing() {
    let fake = fake();
    let tracker = fake.address.to_string();
    let seeds = std::thread::spawn(move || {
        status(&tracker, &["-c", "login nik pw", "-c", "seed", "-c", "logout"]).unwrap()
    });
    wait_for("it is logged in", || {
        fake.count(|request| matches!(request, Request::Login { .. })) == 1
    });
    fake.terms.lock().password_ms += 1;
    wait_for("it is over", || {
        fake.tell(&Event::SessionOver);
        std::thread::park_timeout(std::time::Duration::from_millis(20));
        seeds.is_finished()
    });
    assert_eq!(seeds.join().unwrap(), EXIT_FAILED);
}
