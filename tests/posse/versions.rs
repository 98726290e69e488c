//! This version beside an invented later one, which has more fields, rows of another kind, events,
//! frames and requests that this one does not know: each pair of trackers with each pair of clients
//! goes through a life together.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::harness::{ClientProcess, Content, World, eventually, sha1_of};

/// A program of this version, or of the later one, which is built once.
fn program(name: &str, is_later: bool) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let this = Path::new(env!("CARGO_BIN_EXE_tracker"));
    let directory = this.parent().expect("a program is in a directory");
    if !is_later {
        return directory.join(name);
    }
    BUILT.get_or_init(|| {
        let target = directory.parent().expect("a profile's directory is in the target directory");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args([
            "build",
            "--locked",
            "--features",
            "later-version",
        ]);
        cargo
            .args(["--example", "later_tracker", "--example", "later_client", "--target-dir"])
            .arg(target);
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        let built = cargo.output().expect("cargo can be run");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        directory.join("examples")
    });
    directory.join("examples").join(format!("later_{name}"))
}

fn client(world: &World, name: &str, is_later: bool) -> ClientProcess {
    ClientProcess::start_program(&program("client", is_later), &world.home(name), &world.info)
}

/// Accounts, a group, a file, its download; then tracker 1 dies, and what is changed meanwhile it
/// has when it is back.
fn live(world: &mut World, number: usize, nik_is_later: bool, bob_is_later: bool) {
    let [nik_name, bob_name, group] = ["nik", "bob", "lab"].map(|name| format!("{name}{number}"));
    let content = Content::new("a.bin", 1_200_000, 300 + number as u64);
    world.put(&nik_name, &content);
    let (mut nik, mut bob) =
        (client(world, &nik_name, nik_is_later), client(world, &bob_name, bob_is_later));
    nik.enter(&nik_name);
    bob.enter(&bob_name);
    nik.ok(&format!("create_group {group}"), &[]);
    bob.ok(&format!("join_group {group}"), &[]);
    nik.ok(&format!("accept_request {group} {bob_name}"), &[]);
    nik.ok(&format!("upload_file a.bin {group}"), &[]);
    bob.ok(&format!("download_file {group} a.bin"), &[]);
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("a.bin")), content.sha1());
    // By invitation, too.
    nik.ok(&format!("create_group {group}-c"), &[]);
    let invited = nik.object(&format!("invite {group}-c"));
    bob.ok(&format!("join {}", invited["link"].as_str().unwrap()), &[]);
    let members = nik.object(&format!("list_members {group}-c"));
    assert_eq!(members["members"][1]["invited_by"], *nik_name, "{members}");
    nik.ok(&format!("delete_group {group}-c --yes"), &[]);
    world.trackers[0].kill9();
    nik.ok(&format!("rename_group {group} {group}-b"), &[]);
    bob.ok(&format!("leave_group {group}-b"), &[]);
    world.trackers[0].restart();
    world.wait_synced();
    let mine = nik.object("list_my_groups");
    assert_eq!(mine["groups"][0]["group"], format!("{group}-b"), "{mine}");
    eventually("both clients have every tracker again", || {
        let all_up = |client: &mut ClientProcess| {
            let trackers = client.object("trackers");
            let mut all = trackers["trackers"].as_array().unwrap().iter();
            all.all(|tracker| tracker["state"] == "up" && tracker["role"] != "unreachable")
        };
        (all_up(&mut nik) && all_up(&mut bob)).then_some(())
    });
}

fn live_with(first_is_later: bool, second_is_later: bool) {
    let programs = [first_is_later, second_is_later].map(|is_later| program("tracker", is_later));
    let mut world = World::of_programs(&programs);
    for (number, clients) in
        [[false, false], [false, true], [true, false], [true, true]].into_iter().enumerate()
    {
        live(&mut world, number, clients[0], clients[1]);
    }
}

#[test]
fn two_trackers_of_this_version_serve_clients_of_both() {
    live_with(false, false);
}

#[test]
fn a_tracker_of_this_version_and_a_later_one_work_together() {
    live_with(false, true);
}

#[test]
fn a_later_tracker_and_one_of_this_version_work_together() {
    live_with(true, false);
}

#[test]
fn two_later_trackers_serve_clients_of_this_version() {
    live_with(true, true);
}
