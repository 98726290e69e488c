use std::os::unix::fs::symlink;

use super::*;
use crate::swarm::api::SeedSpec;
use crate::swarm::disk::seed_files::{SeedError, SeedFiles};
use crate::types::{Geometry, Sha1Digest};
use crate::wire::metainfo::Metainfo;

const HASH: InfoHash = InfoHash::from_bytes([0xab; 20]);

fn open(target: &Path, ours: bool) -> Result<PartFile, StorageError> {
    let part = PartFile::open(target, HASH, 1000, (ours, None), Disks::new(Arc::new(SystemDisk)))?;
    part.allot().map(|()| part)
}

#[test]
fn the_name_of_a_part_always_fits() {
    let name = |target: &str| {
        part_path(Path::new(target), HASH).file_name().unwrap().to_str().unwrap().to_owned()
    };
    assert_eq!(name("/x/data.bin"), "data.bin.part");
    for length in 245..=255 {
        let long = name(&format!("/x/{}", "a".repeat(length)));
        assert!(long.len() <= 255 && long.ends_with(".part"), "{long}");
    }
    assert!(name(&"é".repeat(127)).len() <= 255);
}

#[test]
fn a_part_is_ours_alone() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("file");
    let part = open(&target, false).unwrap();
    part.write(b"abc", 500).unwrap();
    assert!(matches!(open(&target, true), Err(StorageError::Locked(_))));
    drop(part);
    assert!(matches!(open(&target, false), Err(StorageError::Foreign(_))));
    let part = open(&target, true).unwrap();
    let mut bytes = [0; 3];
    part.read(&mut bytes, 500).unwrap();
    assert_eq!(&bytes, b"abc");
    assert!(part.next_data(0).is_some());
    part.finish().unwrap();
    assert_eq!(fs::metadata(&target).unwrap().len(), 1000);
    assert!(!part_path(&target, HASH).exists());
}

#[test]
fn a_part_that_is_not_the_one_that_was_made_is_not_touched() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("file");
    let (path, known) = (part_path(&target, HASH), open(&target, false).unwrap().id());
    let again = || {
        PartFile::open(&target, HASH, 1000, (true, Some(known)), Disks::new(Arc::new(SystemDisk)))
    };
    assert!(again().is_ok_and(|part| !part.is_new() && part.id() == known));
    fs::rename(&path, directory.path().join("kept")).unwrap();
    fs::write(&path, "somebody's").unwrap();
    assert!(matches!(again(), Err(StorageError::Foreign(_))));
    assert_eq!(fs::read(&path).unwrap(), b"somebody's", "it was cut or filled up");
    fs::remove_file(&path).unwrap();
    assert!(matches!(again(), Err(StorageError::Missing(_))), "its disk may not be mounted");
    assert!(!path.exists(), "it was made anew");
}

#[test]
fn an_empty_part_is_taken_and_one_that_is_in_use_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("file");
    let unnoted =
        || PartFile::open(&target, HASH, 1000, (false, None), Disks::new(Arc::new(SystemDisk)));
    let made = unnoted().unwrap();
    assert!(matches!(unnoted(), Err(StorageError::Locked(_))), "whoever made it is still there");
    let id = made.id();
    drop(made);
    // What is noted from then on is this file, even if another was before.
    let other = InodeId { inode: id.inode + 1, ..id };
    let again =
        PartFile::open(&target, HASH, 1000, (true, Some(other)), Disks::new(Arc::new(SystemDisk)))
            .unwrap();
    assert!(again.is_new() && again.id() == id);
    again.allot().unwrap();
    drop(again);
    assert!(
        matches!(unnoted(), Err(StorageError::Foreign(_))),
        "it is full of zeros, and somebody's"
    );
    assert!(!is_empty(&directory.path().metadata().unwrap()));
}

#[test]
fn a_name_that_is_taken_stays_as_it_is_even_as_a_dangling_link() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("file");
    let part = open(&target, false).unwrap();
    symlink("nowhere", &target).unwrap();
    assert!(matches!(part.finish(), Err(StorageError::TargetExists { .. })));
    assert!(matches!(check_target(&target, HASH, 1, 1), Err(EngineError::TargetExists(_))));
    assert_eq!(fs::read_link(&target).unwrap(), Path::new("nowhere"));
    fs::remove_file(&target).unwrap();
    fs::rename(part_path(&target, HASH), directory.path().join("moved")).unwrap();
    fs::write(part_path(&target, HASH), b"another").unwrap();
    assert!(matches!(part.finish(), Err(StorageError::Replaced(_))));
    part.remove().unwrap();
    assert!(part_path(&target, HASH).exists(), "somebody else's file was removed");
}

#[test]
fn only_a_plain_file_of_one_name_is_taken_for_a_part() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("file");
    let (part, victim) = (part_path(&target, HASH), directory.path().join("victim"));
    fs::write(&victim, "keep me").unwrap();
    let refused = |wanted: &str| {
        for ours in [false, true] {
            let Err(StorageError::NotAFile { what, .. }) = open(&target, ours) else {
                panic!("{wanted} was taken")
            };
            assert!(what.contains(wanted), "{what}");
        }
        fs::remove_file(&part).unwrap();
    };
    symlink(&victim, &part).unwrap();
    refused("symbolic link");
    symlink("dangling", &part).unwrap();
    refused("symbolic link");
    // Opened without care this would wait until somebody opens the other end.
    rustix::fs::mknodat(rustix::fs::CWD, &part, FileType::Fifo, Mode::from(0o600), 0).unwrap();
    refused("named pipe");
    let _listener = std::os::unix::net::UnixListener::bind(&part).unwrap();
    refused("socket");
    fs::hard_link(&victim, &part).unwrap();
    assert!(matches!(open(&target, true), Err(StorageError::NotAFile { .. })));
    assert_eq!(fs::read(&victim).unwrap(), b"keep me");
    assert!(!directory.path().join("dangling").exists());
}

#[test]
fn a_directory_that_was_replaced_meanwhile_gets_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let [out, moved, other] = ["out", "moved", "other"].map(|name| directory.path().join(name));
    fs::create_dir(&out).unwrap();
    fs::create_dir(&other).unwrap();
    let part = open(&out.join("file"), false).unwrap();
    fs::rename(&out, &moved).unwrap();
    symlink(&other, &out).unwrap();
    part.write(b"abc", 0).unwrap();
    assert!(matches!(part.finish(), Err(StorageError::Replaced(path)) if path == out));
    assert_eq!(fs::read_dir(&other).unwrap().count(), 0);
    part.remove().unwrap();
    assert_eq!(fs::read_dir(&moved).unwrap().count(), 0, "what is ours is removed where it is");
}

#[test]
fn a_part_has_the_rights_of_any_new_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let (target, usual) = (directory.path().join("file"), directory.path().join("usual"));
    fs::write(&usual, "").unwrap();
    open(&target, false).unwrap().finish().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&target), mode(&usual));
}

#[test]
fn another_file_in_the_place_of_a_shared_one_is_never_read() {
    let directory = tempfile::tempdir().unwrap();
    let [path, other] = ["shared", "other"].map(|name| directory.path().join(name));
    let time = std::time::SystemTime::UNIX_EPOCH;
    for (path, byte) in [(&path, b'a'), (&other, b'b')] {
        fs::write(path, [byte; 100]).unwrap();
        File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    }
    let seed = crate::swarm::hash_file(&path, &mut |_| true).unwrap().seed;
    let files = SeedFiles::new(3, &Arc::default());
    let read = || {
        let mut bytes = [0; 10];
        files.read(HASH, &seed, &mut bytes, 0).map(|()| bytes[0])
    };
    assert_eq!(read().unwrap(), b'a');
    // While it is open, the file that was shared is read, whatever has its name now; once closed,
    // it is not found there.
    let kept = directory.path().join("kept");
    fs::rename(&path, &kept).unwrap();
    fs::copy(&other, &path).unwrap();
    File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    assert_eq!(read().unwrap(), b'a');
    files.close(HASH);
    assert!(matches!(read(), Err(SeedError::Changed)), "another file of that length and time");
    for link in [&other, &kept] {
        fs::remove_file(&path).unwrap();
        symlink(link, &path).unwrap();
        assert!(matches!(read(), Err(SeedError::Changed)), "a link to {}", link.display());
    }
    fs::remove_file(&path).unwrap();
    fs::rename(&kept, &path).unwrap();
    assert_eq!(read().unwrap(), b'a', "it is back");
    fs::rename(&other, &path).unwrap();
    assert!(matches!(read(), Err(SeedError::Changed)), "replaced while it is open");
}

#[test]
fn few_shared_files_are_open_and_a_changed_one_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let files = SeedFiles::new(3, &Arc::default());
    let spec = |number: u8| {
        let path = directory.path().join(number.to_string());
        fs::write(&path, [number; 100]).unwrap();
        let geometry = Geometry::for_file(100).unwrap();
        let pieces = vec![Sha1Digest::from_bytes([0; 20])];
        let metainfo = Arc::new(Metainfo::new("x".parse().unwrap(), geometry, pieces).unwrap());
        let stamp = FileStamp::new(&fs::metadata(&path).unwrap());
        SeedSpec { metainfo, chain: None, path, stamp }
    };
    let specs: Vec<SeedSpec> = (0..20).map(spec).collect();
    let read = |number: u8| {
        let mut bytes = [0; 10];
        files
            .read(InfoHash::from_bytes([number; 20]), &specs[usize::from(number)], &mut bytes, 90)
            .map(|()| bytes[9])
    };
    for number in (0..20).chain(0..20) {
        assert_eq!(read(number).unwrap(), number);
        assert!(files.open_count() <= 3);
    }
    fs::write(&specs[19].path, [1; 101]).unwrap();
    assert!(matches!(read(19), Err(SeedError::Changed)), "longer");
    fs::remove_file(&specs[18].path).unwrap();
    assert!(matches!(read(18), Err(SeedError::Gone)), "removed while open");
    files.close(InfoHash::from_bytes([18; 20]));
    assert!(matches!(read(18), Err(SeedError::Gone)), "removed");
    fs::remove_file(&specs[3].path).unwrap();
    fs::create_dir(&specs[3].path).unwrap();
    assert!(matches!(read(3), Err(SeedError::Changed)), "a directory now");
}
