//! Where a client keeps its state when it is not told: one directory for a network, whatever address
//! is typed, which remembers how it was started.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Content, Finished, PATIENCE, Process, World, free_port, set_home};

/// A client of a user with that home, with these words on its command line.
fn client(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_client"));
    set_home(&mut command, home);
    command.current_dir(home).args(["--json", "--allow-short-passwords"]);
    command.arg("--no-port-mapping").args(args);
    command
}

fn run(home: &Path, args: &[&str]) -> Finished {
    Process::spawn("client", &mut client(home, args)).finish(PATIENCE)
}

#[track_caller]
fn done(home: &Path, args: &[&str]) -> Vec<String> {
    let finished = run(home, args);
    assert_eq!(finished.status, Some(0), "{args:?}: {finished:?}");
    finished.out
}

fn has(lines: &[String], text: &str) -> bool {
    lines.iter().any(|line| line.contains(text))
}

/// The default data directories of the user, by name.
fn directories(home: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(home.join("data/posse")).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_client_goes_on_without_a_word_and_whatever_address_is_typed() {
    let world = World::new(1);
    world.group("lab", &["nik"]);
    let (home, info) = (world.home("nik"), text(&world.info).to_owned());
    world.put("nik", &Content::new("a.bin", 300_000, 921));
    let first = format!("127.0.0.1:{}", free_port());
    let upload = ["-c", "login nik pw-nik --stay", "-c", "upload_file a.bin lab"];
    done(&home, &[&[&*first, &*info], &upload[..]].concat());
    let names = directories(&home);
    assert!(names.len() == 1 && names[0].starts_with("network-"), "{names:?}");
    // Nothing is given, and the file of the trackers is gone: all is remembered.
    std::fs::remove_file(&world.info).unwrap();
    let out = done(&home, &["-c", "whoami", "-c", "show_uploads"]);
    assert!(has(&out, &format!("\"address\":\"{first}\"")), "{out:?}");
    assert!(has(&out, "\"user\":\"nik\"") && has(&out, "a.bin"), "{out:?}");
    // Another address, alone or with the trackers: the same store.
    let port = free_port().to_string();
    let out = done(&home, &[&port, "-c", "show_uploads"]);
    assert!(has(&out, &format!("[::]:{port}")) && has(&out, "a.bin"), "{out:?}");
    let tracker = world.tracker(1);
    let (ip, tracker_port) = (tracker.ip().to_string(), tracker.port().to_string());
    let four = ["127.0.0.1", "0", &ip, &tracker_port, "-c", "show_uploads"];
    assert!(has(&done(&home, &four), "a.bin"));
    assert_eq!(directories(&home), names);
}

#[test]
fn a_second_client_has_a_profile_and_another_network_a_directory() {
    let world = World::new(1);
    let (home, info) = (world.home("nik"), text(&world.info).to_owned());
    let mut running =
        Process::spawn("client", &mut client(&home, &["127.0.0.1:0", &info, "-c", "seed"]));
    running.wait_out("that it listens", |line| line.contains("listening").then_some(()));
    let refused = run(&home, &["127.0.0.1:0", &info, "--no-attach", "-c", "trackers"]);
    assert_eq!(refused.status, Some(2), "{refused:?}");
    assert!(refused.err[0].contains("--profile NAME"), "{refused:?}");
    done(&home, &["127.0.0.1:0", &info, "--profile", "bob", "-c", "trackers"]);
    done(&home, &["--profile", "bob", "-c", "trackers"]);
    running.kill9();
    let other = World::new(1);
    done(&home, &["127.0.0.1:0", text(&other.info), "-c", "trackers"]);
    let names = directories(&home);
    let of = |prefix: &str| names.iter().filter(|name| name.starts_with(prefix)).count();
    assert_eq!((of("network-"), of("profile-")), (2, 1), "{names:?}");
    // Now nothing says which network is meant.
    let refused = run(&home, &["-c", "trackers"]);
    assert_eq!(refused.status, Some(2), "{refused:?}");
    assert!(refused.err[0].contains("several data directories"), "{refused:?}");
    done(&home, &["127.0.0.1:0", &info, "-c", "trackers"]);
}

#[test]
fn the_store_of_an_earlier_version_is_found_under_any_address() {
    let world = World::new(1);
    world.group("lab", &["nik"]);
    let (home, info) = (world.home("nik"), text(&world.info).to_owned());
    world.put("nik", &Content::new("a.bin", 300_000, 922));
    let earlier: PathBuf = home.join("data/posse/client-127.0.0.1-36001");
    let upload = ["-c", "login nik pw-nik", "-c", "upload_file a.bin lab"];
    done(&home, &[&["127.0.0.1:0", &*info, "--data-dir", text(&earlier)], &upload[..]].concat());
    std::fs::remove_file(earlier.join("setup.json")).unwrap();
    for address in ["127.0.0.1:36001", "0.0.0.0:36001", "127.0.0.1:0"] {
        let out = done(&home, &[address, &info, "-c", "login nik pw-nik", "-c", "show_uploads"]);
        assert!(has(&out, "\"file\":\"a.bin\""), "{address}: {out:?}");
    }
    assert_eq!(directories(&home), ["client-127.0.0.1-36001"]);
    done(&home, &["-c", "trackers"]);
}
