//! Other programs and other file systems at a download's destination: what gets the final name is
//! what was verified.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use crate::harness::{Content, FuseDisk, PATIENCE, SmallDisk, World, eventually, sha1_of};

#[test]
fn what_another_program_writes_into_a_part_is_fetched_again() {
    let (world, content, _nik, gate, mut bob) = World::half_fetched(1, 9 << 20);
    eventually("half of it is there", || (bob.bytes_done("big.bin") >= 6 << 20).then_some(()));
    let part = bob.path("big.bin.part");
    // One that closes the file, and one that keeps it open.
    let theirs = File::options().write(true).open(&part).unwrap();
    theirs.write_all_at(&[0xaa; 100_000], 3_000_000).unwrap();
    drop(theirs);
    gate.allow(14 << 20);
    eventually("more of it is there", || (bob.bytes_done("big.bin") >= 8 << 20).then_some(()));
    let theirs = File::options().write(true).open(&part).unwrap();
    theirs.write_all_at(&[0xbb; 100_000], 1_000_000).unwrap();
    gate.lift();
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("big.bin")), content.sha1());
    drop(theirs);
    // It is served on as it is: nobody is banned for it.
    let mut nik = world.client("nik2");
    nik.login("nik");
    nik.ok("download_file lab big.bin", &[]);
    nik.wait_downloads();
    assert_eq!(sha1_of(&nik.path("big.bin")), content.sha1());
}

#[test]
fn a_part_that_another_program_cut_short_is_made_whole_again() {
    let (_world, content, _nik, gate, mut bob) = World::half_fetched(1, 9 << 20);
    eventually("half of it is there", || (bob.bytes_done("big.bin") >= 6 << 20).then_some(()));
    File::options().write(true).open(bob.path("big.bin.part")).unwrap().set_len(2 << 20).unwrap();
    gate.lift();
    bob.wait_downloads();
    assert_eq!(sha1_of(&bob.path("big.bin")), content.sha1());
}

#[test]
fn a_disk_that_does_not_say_how_much_room_it_has_is_not_full() {
    let world = World::new(1);
    // Without a bound it reports no blocks at all.
    let Some(disk) = SmallDisk::mount(&world.path().join("disk"), "0") else { return };
    let room = rustix::fs::statvfs(disk.path()).unwrap();
    assert_eq!((room.f_blocks, room.f_bavail), (0, 0), "this file system knows its room");
    world.group("lab", &["nik", "bob"]);
    let content = Content::new("big.bin", 2 << 20, 301);
    world.put("nik", &content);
    let mut nik = world.client("nik");
    nik.login("nik");
    nik.ok("upload_file big.bin lab", &[]);
    let mut bob = world.client("bob");
    bob.login("bob");
    bob.ok(&format!("download_file lab big.bin {}", disk.path().display()), &[]);
    bob.wait_downloads();
    assert_eq!(sha1_of(&disk.path().join("big.bin")), content.sha1());
}

#[test]
fn a_file_system_that_cannot_rename_without_replacing_gets_the_file_all_the_same() {
    let world = World::new(1);
    let Some(disk) = FuseDisk::mount(&world.path().join("disk")) else { return };
    let refuses = {
        let path = |name: &str| disk.path().join(name);
        std::fs::write(path("probe"), "").unwrap();
        let flags = rustix::fs::RenameFlags::NOREPLACE;
        let cwd = rustix::fs::CWD;
        let renamed = rustix::fs::renameat_with(cwd, path("probe"), cwd, path("renamed"), flags);
        std::fs::remove_file(path(if renamed.is_ok() { "renamed" } else { "probe" })).unwrap();
        renamed.is_err()
    };
    assert!(refuses, "this file system can, so this shows nothing");
    world.group("lab", &["nik", "bob", "eve"]);
    let content = Content::new("big.bin", 2 << 20, 302);
    world.put("nik", &content);
    let mut nik = world.client("nik");
    nik.login("nik");
    nik.ok("upload_file big.bin lab", &[]);
    let mut bob = world.client("bob");
    bob.login("bob");
    bob.ok(&format!("download_file lab big.bin {}", disk.path().display()), &[]);
    bob.wait_downloads();
    let names: Vec<_> =
        std::fs::read_dir(disk.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["big.bin"]);
    assert_eq!(sha1_of(&disk.path().join("big.bin")), content.sha1());
    let told = bob.process().wait_said(PATIENCE, |said| {
        said.err.iter().any(|line| line.contains("cannot rename without replacing")).then_some(())
    });
    assert!(told.is_some(), "it does not say what the file system lacks");
    // It is served from there.
    nik.process().kill9();
    let mut eve = world.client("eve");
    eve.login("eve");
    eve.ok("download_file lab big.bin", &[]);
    eve.wait_downloads();
    assert_eq!(sha1_of(&eve.path("big.bin")), content.sha1());
}

#[test]
fn a_download_goes_on_although_its_file_has_another_number_since_it_was_mounted() {
    let mut world = World::new(1);
    let Some(disk) = FuseDisk::mount(&world.path().join("disk")) else { return };
    world.group("lab", &["nik", "bob"]);
    let content = Content::new("big.bin", 8 << 20, 304);
    world.put("nik", &content);
    let (mut nik, gate) = world.gated("nik");
    nik.login("nik");
    nik.ok("upload_file big.bin lab", &[]);
    let mut bob = world.client("bob");
    bob.login("bob");
    gate.allow(5 << 20);
    bob.ok(&format!("download_file lab big.bin {}", disk.path().display()), &[]);
    eventually("much of it is there", || (bob.bytes_done("big.bin") >= 3 << 20).then_some(()));
    let before = bob.bytes_done("big.bin");
    bob.process().kill9();
    drop(disk);
    let Some(disk) = FuseDisk::mount(&world.path().join("disk")) else { return };
    let mut bob = world.client("bob");
    bob.login("bob");
    eventually("it goes on where it was", || (bob.bytes_done("big.bin") >= before).then_some(()));
    gate.lift();
    bob.wait_downloads();
    assert_eq!(sha1_of(&disk.path().join("big.bin")), content.sha1());
}
