//! Stores of the version before encryption: today's programs open them, and go on where that one
//! stopped.
//!
//! The stores are in `fixtures/v1`, whose README says what is in them.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::harness::{Content, RawClient, World, eventually, sha1_of};

const PIECE: usize = 512 << 10;
/// Pieces of half.bin that bob had.
const HAD: usize = 11;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/posse/fixtures/v1").join(name)
}

/// Puts an old store where a program looks for it.
fn place(name: &str, dir: &Path, file: &str) -> PathBuf {
    std::fs::create_dir_all(dir).unwrap();
    let path = dir.join(file);
    // Not copied: its rights are to be those of a file made by the program.
    std::fs::write(&path, std::fs::read(fixture(name)).unwrap()).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// Puts a client's old store into its home, and writes into it that what is there is what was
/// shared and downloaded.
fn place_client(world: &World, name: &str) {
    let home = world.home(name);
    let path = place(&format!("{name}.sqlite"), &home.join(".posse"), "device.sqlite");
    let store = Connection::open(path).unwrap();
    let old: Vec<(Vec<u8>, String)> = {
        let mut rows = store.prepare("SELECT path, name FROM share").unwrap();
        let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    };
    for (old, file) in old {
        let path = home.join(file);
        let facts = path.metadata().unwrap();
        let modified_ns = facts.mtime() * 1_000_000_000 + facts.mtime_nsec();
        let values = rusqlite::params![
            old,
            path.as_os_str().as_bytes(),
            modified_ns,
            facts.dev() as i64,
            facts.ino() as i64
        ];
        let sql =
            "UPDATE share SET path = ?2, modified_ns = ?3, dev = ?4, inode = ?5 WHERE path = ?1";
        assert!(store.execute(sql, values).unwrap() > 0);
    }
    let home = home.as_os_str().as_bytes();
    let sql = "UPDATE download SET target = CAST(CAST(?1 AS TEXT) || '/' || name AS BLOB)";
    store.execute(sql, [home]).unwrap();
}

/// A network whose first tracker has an old store and whose second has none, and homes of clients
/// with old stores.
fn old_world() -> (World, [Content; 3]) {
    let world = World::prepared(2, |dir| {
        drop(place("tracker.sqlite", &dir.join("tracker1"), "tracker.sqlite"))
    });
    let [done, half, notes] =
        [("done.bin", 300_000, 201), ("half.bin", 32 * PIECE, 202), ("notes.txt", 1_000, 203)]
            .map(|(n, l, s)| Content::new(n, l, s));
    for (name, content) in [("nik", &done), ("nik", &half), ("bob", &done), ("bob", &notes)] {
        world.put(name, content);
    }
    std::fs::write(world.home("bob").join("half.bin.part"), &half.bytes[..HAD * PIECE]).unwrap();
    ["nik", "bob"].iter().for_each(|name| place_client(&world, name));
    (world, [done, half, notes])
}

fn offered(client: &mut crate::harness::ClientProcess) -> Vec<String> {
    let object = client.object("show_uploads");
    let uploads = object["uploads"].as_array().unwrap().iter();
    let mut names: Vec<_> =
        uploads.map(|upload| upload["file"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

#[test]
fn an_old_network_goes_on_where_it_stopped() {
    let (mut world, [done, half, _]) = old_world();
    // What the old tracker knew, a new one has been told.
    let status = world.trackers[1].status();
    assert_eq!(
        (status.0["users"].as_str(), status.0["groups"].as_str(), status.0["files"].as_str()),
        ("3", "2", "3")
    );
    let (mut nik, mut bob) = (world.client("nik"), world.client("bob"));
    nik.refused("login nik pw-bob", "wrong user name or password");
    nik.login("nik");
    assert_eq!(offered(&mut nik), ["done.bin", "half.bin"], "shares are offered again");
    assert_eq!(
        nik.object("list_requests lab")["requests"].as_array().map(Vec::len),
        Some(1),
        "eve still asks"
    );
    bob.login("bob");
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("half.bin")), half.sha1());
    assert_eq!(offered(&mut bob), ["done.bin", "half.bin", "notes.txt"]);
    let uploads = nik.object("show_uploads");
    let sent: u64 = uploads["uploads"]
        .as_array()
        .unwrap()
        .iter()
        .map(|upload| upload["bytes_sent"].as_u64().unwrap())
        .sum();
    assert!(
        sent <= ((32 - HAD + 2) * PIECE) as u64,
        "{sent} bytes were fetched, though {HAD} pieces were there"
    );
    // Somebody new gets what only the old stores offer.
    nik.ok("accept_request lab eve", &[]);
    let mut eve = world.client("eve");
    eve.login("eve");
    eve.ok("download_file lab done.bin", &[]);
    eve.wait_downloads();
    assert_eq!(sha1_of(&eve.path("done.bin")), done.sha1());
}

#[test]
fn an_old_store_opens_again_after_it_was_opened() {
    let (mut world, _) = old_world();
    let mut devices = Vec::new();
    for round in 0..2 {
        let mut nik = world.client("nik");
        nik.login("nik");
        assert_eq!(offered(&mut nik), ["done.bin", "half.bin"], "round {round}");
        let key = nik.path(".posse/device.key").metadata().unwrap();
        assert_eq!(key.permissions().mode() & 0o777, 0o600);
        devices.push(nik.device());
        nik.process().kill9();
        world.trackers.iter_mut().for_each(|tracker| tracker.restart());
        world.wait_synced();
    }
    assert_eq!(devices[0], devices[1], "a device keeps its key");
    let mut bob = RawClient::enter(world.tracker(1), "bob");
    let mut groups = bob.group_names();
    groups.sort();
    assert_eq!(groups, ["lab", "solo"]);
    let solo = bob.group("solo").group;
    eventually("the tracker knows bob's share", || (bob.files(solo).len() == 1).then_some(()));
}
