//! How long a reader waits in a swarm, and what that costs the swarm.

use std::time::Duration;

use super::world::{Report, Setup, World};
use super::{Replay, seeds};

/// Pieces that are read.
const READ: usize = 32;

/// Prints the waits for the first piece and for [`READ`] pieces, and returns them.
fn waits(name: &str, report: &Report) -> (f64, f64) {
    let waits = &report.waits[0];
    let (first, all) = (waits[0], waits[READ - 1]);
    println!("{name}: the first piece after {first:.3} s, {READ} after {all:.3} s; {report}");
    (first, all)
}

/// One of 8 leechers at 20 MB/s begins to read in the middle while the seeder still spreads the
/// file. What it waits for comes soon, the rest about when it would have come, and the swarm does
/// not take noticeably longer.
#[test]
fn a_reader_in_a_new_swarm_gets_what_it_waits_for_and_the_swarm_takes_no_longer() {
    for seed in seeds(1) {
        let _replay = Replay(seed);
        for begun in [1, 5] {
            let reads = vec![(Duration::from_secs(begun), 3, 128)];
            let read = Setup { reads, ..Setup::equal(8, 20_000_000, seed) };
            let plain = Setup { has_windows: false, ..read.clone() };
            let (without, with) = (World::run(plain), World::run(read));
            let name = format!("seed {seed}, after {begun} s");
            let before = waits(&format!("{name}, only waits"), &without).1;
            let (first, all) = waits(&name, &with);
            assert!(first <= 1.0 && all <= before + 0.5, "{first} s, {all} s of {before} s");
            let (with, without) = (with.seconds, without.seconds);
            assert!(with <= 1.06 * without, "{with} s, {without} s");
        }
    }
}

/// One comes when the others are complete, and reads in the middle: all serve it at once.
#[test]
fn a_reader_among_seeders_gets_its_pieces_at_the_rate_of_all() {
    let late = Duration::from_secs(9);
    let mut joins = vec![Duration::ZERO; 8];
    joins[7] = late;
    for seed in seeds(2) {
        let _replay = Replay(seed);
        let reads = vec![(late + Duration::from_millis(300), 8, 128)];
        let setup = Setup { joins: joins.clone(), reads, ..Setup::equal(8, 20_000_000, seed) };
        let bound = READ as f64 * f64::from(setup.piece_len) / (8.0 * 20e6);
        let plain = World::run(Setup { has_windows: false, ..setup.clone() });
        waits(&format!("seed {seed}, only waits"), &plain);
        let with = World::run(setup);
        let (first, all) = waits(&format!("seed {seed}, bound {bound:.3} s"), &with);
        assert!(first <= 0.15 && all <= 3.0 * bound, "{first} s, {all} s");
        assert!(with.seconds <= 1.03 * plain.seconds, "{} s, {} s", with.seconds, plain.seconds);
    }
}

/// A leecher with one fast link and seven slow ones: the pieces that it reads come over the fast
/// one.
#[test]
fn slow_links_do_not_hold_up_a_reader() {
    for seed in seeds(3) {
        let _replay = Replay(seed);
        let mut upload = vec![200_000; 9];
        upload[0] = 20_000_000;
        let plain = Setup { upload, suggests: false, ..Setup::equal(8, 1, seed) };
        // The others have something to give by then.
        let begun = Duration::from_secs(20);
        let read = Setup { reads: vec![(begun, 3, 200)], ..plain.clone() };
        let (without, with) = (World::run(plain), World::run(read));
        // The seeder serves all eight.
        let bound = READ as f64 * (512 << 10) as f64 / (20e6 / 8.0);
        let (first, all) = waits(&format!("seed {seed}, bound {bound:.3} s"), &with);
        assert!(first <= 2.0 && all <= 1.5 * bound, "{first} s, {all} s");
        assert!(
            with.seconds <= 1.05 * without.seconds,
            "{} s, {} s",
            with.seconds,
            without.seconds
        );
    }
}

/// Alone with a seeder: pieces come in the order of the file at the full rate.
#[test]
fn a_reader_alone_with_a_seeder_is_at_the_bound() {
    let setup = Setup {
        reads: vec![(Duration::from_millis(500), 1, 100)],
        suggests: false,
        ..Setup::equal(1, 20_000_000, 1)
    };
    let bound = READ as f64 * f64::from(setup.piece_len) / 20e6;
    let report = World::run(setup);
    let (first, all) = waits(&format!("bound {bound:.3} s"), &report);
    // Two pieces were under way before, and the ends of the file come early.
    assert!(first <= 0.2 && all <= 1.25 * bound, "{first} s, {all} s");
    assert!(report.ratio <= 1.05, "{}", report.ratio);
}
