//! Shared files that are deleted, unmounted or cannot be read: the client says so, holds nothing open
//! for long, and offers them again when they are back.

use std::path::Path;

use crate::harness::{
    ClientProcess, Content, FuseDisk, ImageDisk, SmallDisk, World, any_port, eventually, sha1_of,
};

fn uploads(client: &mut ClientProcess) -> usize {
    client.object("show_uploads")["uploads"].as_array().unwrap().len()
}

fn why_says(client: &mut ClientProcess, words: &str) -> Option<()> {
    let why = client.object("why lab big.bin");
    why.to_string().contains(words).then_some(())
}

/// A member who shares a file on that disk, and another who has fetched it and is gone.
fn served_once(world: &World, disk: &Path, seed: u64) -> (Content, ClientProcess) {
    world.group("lab", &["nik", "bob", "eve"]);
    let content = Content::new("big.bin", 4 << 20, seed);
    content.write(&disk.join("big.bin"));
    let mut nik = world.client("nik");
    nik.login("nik");
    nik.ok(&format!("upload_file {}/big.bin lab", disk.display()), &[]);
    fetch(world, "bob", &content);
    (content, nik)
}

/// A member fetches the file from the other one who is there, and leaves.
#[track_caller]
fn fetch(world: &World, user: &str, content: &Content) {
    let mut client = world.client(user);
    client.login(user);
    client.ok("download_file lab big.bin", &[]);
    client.wait_downloads();
    assert_eq!(sha1_of(&client.path("big.bin")), content.sha1());
}

#[test]
fn a_share_whose_disk_was_unmounted_is_offered_again_when_it_is_back() {
    let world = World::new(1);
    let Some(disk) = ImageDisk::mount(&world.path().join("disk")) else { return };
    let (content, mut nik) = served_once(&world, disk.path(), 501);
    // Nothing of it is open any more some seconds after it was served.
    eventually("it can be unmounted", || disk.unmount().ok());
    eventually("it is not offered", || (uploads(&mut nik) == 0).then_some(()));
    eventually("why says so", || why_says(&mut nik, "is its disk mounted?"));
    // Another image takes the device's number.
    let Some(other) = ImageDisk::mount(&world.path().join("other")) else { return };
    disk.mount_again().unwrap();
    eventually("it is offered again", || (uploads(&mut nik) == 1).then_some(()));
    fetch(&world, "eve", &content);
    drop(other);
}

#[test]
fn a_share_on_a_file_system_in_user_space_is_offered_again_when_it_is_back() {
    let world = World::new(1);
    let Some(disk) = FuseDisk::mount(&world.path().join("disk")) else { return };
    let (content, mut nik) = served_once(&world, disk.path(), 502);
    drop(disk);
    eventually("it is not offered", || (uploads(&mut nik) == 0).then_some(()));
    let Some(disk) = FuseDisk::mount(&world.path().join("disk")) else { return };
    eventually("it is offered again", || (uploads(&mut nik) == 1).then_some(()));
    fetch(&world, "eve", &content);
    drop(disk);
}

#[test]
fn a_deleted_share_gives_its_room_back_and_is_not_offered() {
    let world = World::new(1);
    let Some(disk) = SmallDisk::mount(&world.path().join("disk"), "8M") else { return };
    let (_, mut nik) = served_once(&world, disk.path(), 503);
    std::fs::remove_file(disk.path().join("big.bin")).unwrap();
    eventually("it is not offered", || (uploads(&mut nik) == 0).then_some(()));
    eventually("its room is free", || {
        let room = rustix::fs::statvfs(disk.path()).unwrap();
        (room.f_bfree * room.f_frsize > 7 << 20).then_some(())
    });
}

#[test]
fn a_share_that_cannot_be_read_is_named() {
    let world = World::new(1);
    let Some(mut disk) = FuseDisk::mount(&world.path().join("disk")) else { return };
    let (_, mut nik) = served_once(&world, disk.path(), 504);
    disk.crash();
    eventually("why names the error", || why_says(&mut nik, "it cannot be read: Transport"));
}

#[test]
fn a_share_that_may_not_be_read_is_named() {
    let world = World::new(1);
    world.group("lab", &["nik", "bob"]);
    let content = Content::new("big.bin", 1 << 20, 505);
    let path = world.put("nik", &content);
    // Also for one who runs the tests as root.
    let without = "-dac_override,-dac_read_search";
    let wrapper = ["setpriv", "--bounding-set", without, "--inh-caps", without];
    let home = world.home("nik");
    let mut nik = ClientProcess::start_through(&wrapper, &home, any_port(), &world.info, &[]);
    nik.login("nik");
    nik.ok("upload_file big.bin lab", &[]);
    let rights = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o0);
    std::fs::set_permissions(&path, rights).unwrap();
    let mut bob = world.client("bob");
    bob.login("bob");
    bob.ok("download_file lab big.bin", &[]);
    eventually("why names the error", || {
        why_says(&mut nik, "it cannot be read: Permission denied")
    });
}
