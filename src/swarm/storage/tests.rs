use std::os::unix::fs::symlink;

use super::*;
use crate::swarm::api::SeedSpec;
use crate::swarm::files::{OpenFiles, SeedError};
use crate::types::{Geometry, Sha1Digest};
use crate::wire::metainfo::Metainfo;

const HASH: InfoHash = InfoHash::from_bytes([0xab; 20]);

fn open(target: &Path, ours: bool) -> Result<PartFile, StorageError> {
    PartFile::open(target, HASH, 1000, ours, Arc::new(SystemDisk))
}

#[test]
fn the_name_of_a_part_always_fits() {
    let name = |target: &str| part_path(Path::new(target), HASH).file_name().unwrap().to_str().unwrap().to_owned();
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
fn few_shared_files_are_open_and_a_changed_one_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let files = OpenFiles::new(3);
    let spec = |number: u8| {
        let path = directory.path().join(number.to_string());
        fs::write(&path, [number; 100]).unwrap();
        let geometry = Geometry::for_file(100).unwrap();
        let pieces = vec![Sha1Digest::from_bytes([0; 20])];
        let metainfo = Arc::new(Metainfo::new("x".parse().unwrap(), geometry, pieces).unwrap());
        let stamp = FileStamp::new(&fs::metadata(&path).unwrap());
        SeedSpec { metainfo, path, stamp }
    };
    let specs: Vec<SeedSpec> = (0..20).map(spec).collect();
    let read = |number: u8| {
        let mut bytes = [0; 10];
        files.read(InfoHash::from_bytes([number; 20]), &specs[usize::from(number)], &mut bytes, 90).map(|()| bytes[9])
    };
    for number in (0..20).chain(0..20) {
        assert_eq!(read(number).unwrap(), number);
        assert!(files.open_count() <= 3);
    }
    fs::write(&specs[19].path, [1; 101]).unwrap();
    assert!(matches!(read(19), Err(SeedError::Changed)), "longer");
    fs::remove_file(&specs[18].path).unwrap();
    assert!(matches!(read(18), Err(SeedError::Changed)), "removed while open");
    fs::remove_file(&specs[3].path).unwrap();
    fs::create_dir(&specs[3].path).unwrap();
    assert!(matches!(read(3), Err(SeedError::Changed)), "a directory now");
}
