//! The twin of each fuzz target in the ordinary tests: random bytes, and seeds that were changed at
//! random. And what fuzzing has found.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::seeds::{mutate, seeds};
use super::{TARGETS, Target};

fn directory(kind: &str, target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(kind).join(target)
}

fn find(name: &str) -> Target {
    TARGETS.iter().find(|(target, _)| *target == name).unwrap().1
}

/// Runs a target with its seeds, with changed seeds, and with noise.
fn check(name: &str, cases: u32) {
    let (target, seeds) = (find(name), seeds(name));
    seeds.iter().for_each(|(_, bytes)| target(bytes));
    let mutated = vec(any::<u8>(), 1..40).prop_map(move |tape| mutate(&seeds, &tape));
    let inputs = prop_oneof![3 => mutated, 1 => vec(any::<u8>(), 0..600)];
    let config =
        Config { cases, failure_persistence: None, max_shrink_iters: 2_000, ..Config::default() };
    let ran = TestRunner::new(config).run(&inputs, |bytes| {
        target(&bytes);
        Ok(())
    });
    ran.unwrap_or_else(|failure| {
        panic!("{failure}\nput these bytes into {}", directory("regressions", name).display())
    });
}

macro_rules! twins {
    ($($name:ident $cases:literal)*) => {
        $(#[test]
        fn $name() {
            check(stringify!($name), $cases);
        })*

        #[test]
        fn every_target_has_a_twin_and_is_built() {
            let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
            let manifest = directory("Cargo.toml", "");
            // The package that is published leaves the targets out.
            let Ok(manifest) = fs::read_to_string(manifest) else { return };
            let built: Vec<&str> = manifest.lines().filter_map(|line| line.strip_prefix("path = \"fuzz_targets/")).collect();
            assert_eq!(built, names.iter().map(|name| format!("{name}.rs\"")).collect::<Vec<_>>());
        }
    };
}
twins! {
    bitfields 400
    certificates 60
    choker 150
    command_lines 300
    download 200
    extensions 150
    http_messages 200
    invitation_links 400
    lan_datagrams 400
    link_session 100
    metainfo 300
    metainfo_fetch 200
    names 400
    peer_messages 200
    relay_hello 400
    replica 150
    replication_frames 400
    router_answers 400
    statements 100
    tls_handshake 60
    tls_records 100
    tracker_frames 400
    tracker_info 400
    tracker_session 100
}

/// The seeds in the repository are those that the code makes; `POSSE_WRITE_SEEDS=1` writes them.
/// Those whose names begin with `captured-` were taken from running programs.
#[test]
fn the_seeds_are_up_to_date() {
    if !Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").is_dir() {
        return;
    }
    for (name, _) in TARGETS {
        let (directory, seeds) = (directory("seeds", name), seeds(name));
        if std::env::var_os("POSSE_WRITE_SEEDS").is_some() {
            fs::create_dir_all(&directory).unwrap();
            let made = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap());
            let made =
                made.filter(|entry| !entry.file_name().to_string_lossy().starts_with("captured-"));
            made.for_each(|entry| fs::remove_file(entry.path()).unwrap());
            seeds.iter().for_each(|(file, bytes)| fs::write(directory.join(file), bytes).unwrap());
        }
        let is_made = |name: &str| !name.starts_with("captured-");
        let files = fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let count = files.filter(|name| is_made(name)).count();
        assert_eq!(count, seeds.len(), "{name}: run this test with POSSE_WRITE_SEEDS=1");
        for (file, bytes) in seeds {
            let is_same = fs::read(directory.join(&file)).unwrap() == bytes;
            assert!(is_same, "{name}/{file} has changed: run this test with POSSE_WRITE_SEEDS=1");
        }
    }
}

/// Everything that fuzzing has found stays found.
#[test]
fn no_bug_comes_back() {
    for (name, target) in TARGETS {
        for entry in fs::read_dir(directory("regressions", name)).into_iter().flatten() {
            let path = entry.unwrap().path();
            println!("{}", path.display());
            target(&fs::read(&path).unwrap());
        }
    }
}
