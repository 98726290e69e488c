//! What a client says is so: of its own doing, of what moves, of what it offers, of where changes
//! are safe, and of which word is the group.

use std::net::{Ipv6Addr, TcpListener};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::{Content, PATIENCE, Process, World, eventually, set_home, sha1_of};

const MIB: u64 = 1 << 20;

#[test]
fn what_an_unfinished_download_offers_is_among_the_uploads() {
    let (_world, content, _nik, gate, mut bob) = World::half_fetched(1, 6 * MIB);
    let here = eventually("it is listed with what is here", || {
        bob.object("show_uploads")["uploads"][0]["bytes_here"].as_u64()
    });
    assert!(here > 0 && here < content.bytes.len() as u64, "{here}");
    gate.lift();
    bob.wait_downloads();
    let uploads = bob.object("show_uploads");
    assert_eq!(uploads["uploads"].as_array().map(Vec::len), Some(1));
    assert!(uploads["uploads"][0]["bytes_here"].is_null(), "{uploads}");
}

#[test]
fn nothing_is_said_to_move_when_nothing_came_for_two_seconds() {
    let (_world, _content, _nik, gate, mut bob) = World::half_fetched(1, 6 * MIB);
    let stopped = Instant::now();
    eventually("it is said that nothing arrives", || {
        let why = bob.object("why lab big.bin").to_string();
        why.contains("nothing has arrived lately").then_some(())
    });
    // An average that fades says for almost a minute that bytes come.
    assert!(stopped.elapsed() < Duration::from_secs(15), "{:?}", stopped.elapsed());
    assert_eq!(bob.download("big.bin")["bytes_per_second"], 0);
    gate.lift();
    bob.wait_downloads();
}

#[test]
fn quick_pauses_do_not_hold_up_other_commands() {
    let (_world, content, _nik, gate, mut bob) = World::half_fetched(1, 6 * MIB);
    for _ in 0..60 {
        bob.ok("pause_download lab big.bin", &[]);
        bob.ok("resume_download lab big.bin", &[]);
    }
    let started = Instant::now();
    bob.ok("list_my_groups", &[]);
    bob.ok("whoami", &[]);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    gate.lift();
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("big.bin")), content.sha1());
}

#[test]
fn what_this_device_does_is_no_news_to_it() {
    let world = World::new(2);
    world.group("lab", &["ann", "nik"]);
    let content = Content::new("a.bin", 100_000, 813);
    world.put("nik", &content);
    let mut nik = world.client("nik");
    nik.login("nik");
    for _ in 0..5 {
        nik.ok("upload_file a.bin lab", &[]);
        nik.ok("stop_share lab a.bin", &[]);
    }
    nik.ok("upload_file a.bin lab", &[]);
    nik.ok("leave_group lab", &[]);
    let finished = nik.finish();
    let false_news = finished
        .out
        .iter()
        .find(|line| ["share_not_offered", "\"removed\""].iter().any(|event| line.contains(event)));
    assert_eq!(false_news, None);
}

#[test]
fn of_three_trackers_it_is_told_on_which_changes_are_safe() {
    let mut world = World::new(3);
    let mut nik = world.client("nik");
    nik.enter("nik");
    assert_eq!(nik.object("trackers")["safe_on"], serde_json::json!([1, 2, 3]));
    world.trackers[1].kill9();
    eventually("changes are safe on two of three", || {
        let trackers = nik.object("trackers");
        let is_told =
            trackers["degraded"] == true && trackers["safe_on"] == serde_json::json!([1, 3]);
        is_told.then_some(())
    });
}

#[test]
fn the_group_decides_which_word_of_an_upload_is_the_path() {
    let world = World::new(1);
    world.group("lab", &["nik"]);
    world.group("club", &["nik"]);
    let mut nik = world.client("nik");
    nik.login("nik");
    for name in ["lab", "club", "a.bin"] {
        std::fs::write(nik.path(name), name).unwrap();
    }
    nik.refused("upload_file nofile lab", "there is no such file");
    nik.ok("upload_file lab a.bin", &[]);
    nik.refused("upload_file lab club", "`upload_file ./lab club`");
    nik.refused("upload_file lab club", "`upload_file ./club lab`");
    nik.ok("upload_file ./lab club", &[]);
    nik.refused("upload_file nofile a.bin", "neither word names a group");
}

#[test]
fn a_port_alone_and_every_address_are_understood() {
    let world = World::new(1);
    world.group("lab", &["nik", "bob"]);
    let content = Content::new("a.bin", 300_000, 814);
    world.put("nik", &content);
    let has_ipv6 = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok();
    let every = if has_ipv6 { "[::]:" } else { "0.0.0.0:" };
    for (form, shown) in [("0", every), ("[::]:0", every), ("0.0.0.0:0", "0.0.0.0:")] {
        let home = world.home("nik");
        let mut command = Command::new(env!("CARGO_BIN_EXE_client"));
        command.current_dir(&home).arg(form).arg(&world.info);
        command.arg("--data-dir").arg(home.join(".posse")).arg("--no-port-mapping");
        set_home(&mut command, &home);
        let mut nik = Process::spawn("client nik", &mut command);
        for line in ["login nik pw-nik", "upload_file a.bin lab", "seed 120"] {
            nik.send(line);
        }
        let listening = format!("listening on {shown}");
        nik.wait_out("that it listens", |line| line.starts_with(&listening).then_some(()));
        nik.wait_out("that it shares", |line| line.starts_with("sharing").then_some(()));
        let mut bob = world.client("bob");
        bob.login("bob");
        bob.ok("download_file lab a.bin", &[]);
        bob.wait_downloads();
        assert_eq!(sha1_of(&bob.path("a.bin")), content.sha1());
        std::fs::remove_file(bob.path("a.bin")).unwrap();
        bob.finish();
        nik.kill9();
    }
}

#[test]
fn who_listens_on_this_machine_alone_is_warned_if_the_trackers_are_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_client"));
    // An address that is for documents, and nobody's.
    command.args(["127.0.0.1", "0", "192.0.2.1", "5000", "-c", "whoami"]);
    set_home(command.current_dir(dir.path()), dir.path());
    let finished = Process::spawn("client", &mut command).finish(PATIENCE);
    let warned: Vec<&String> =
        finished.err.iter().filter(|line| line.starts_with("warning: ")).collect();
    assert_eq!(warned.len(), 1, "{:?}", finished);
    assert!(warned[0].contains("start the client with 0.0.0.0:0 instead of 127.0.0.1:0"));
}
