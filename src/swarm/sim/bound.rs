//! How close a swarm comes to what its uploads allow.

use std::time::Duration;

use super::world::{Setup, World};
use super::{Replay, seeds};

/// 1 seeder, 8 leechers, 256 pieces, all uploads capped at 20 MB/s: close to the fluid bound until
/// the last is complete. Headers are not simulated; they take 4.5 % more.
#[test]
fn eight_leechers_come_close_to_the_fluid_bound() {
    for seed in seeds(5) {
        let _replay = Replay(seed);
        let report = World::run(Setup::equal(8, 20_000_000, seed));
        println!("8 leechers, seed {seed}: {report}");
        assert!(report.ratio <= 1.11, "{}", report.ratio);
        assert!(report.copies_at_first <= 1.03 && report.wasted < 0.01, "{report}");
    }
}

/// The same with 1,024 pieces: what begins and ends a swarm weighs less. `POSSE_SIM_LARGE=1` runs
/// it.
#[test]
fn a_larger_file_comes_closer() {
    if std::env::var_os("POSSE_SIM_LARGE").is_none() {
        return;
    }
    let report = World::run(Setup { pieces: 1_024, ..Setup::equal(8, 20_000_000, 1) });
    println!("8 leechers, 1,024 pieces: {report}");
    assert!(report.ratio <= 1.03, "{}", report.ratio);
}

/// For information: slower and mixed links, distance, no suggestions, peers that come late and go
/// early. Each must finish.
#[test]
fn other_swarms_finish() {
    let base = |leechers, upload| Setup { pieces: 128, ..Setup::equal(leechers, upload, 1) };
    let mixed: Vec<u64> = [20, 2, 5, 10, 20, 2, 5, 10, 20].map(|mb| mb * 1_000_000).to_vec();
    let second = Duration::from_secs(1);
    let replaced = Setup {
        joins: [[Duration::ZERO; 8].as_slice(), [2 * second; 4].as_slice()].concat(),
        leaves: (1..5).map(|node| (2 * second, node)).collect(),
        ..base(12, 20_000_000)
    };
    let swarms = [
        ("8 leechers at 2, 5, 10, 20 MB/s", Setup { upload: mixed, ..base(8, 1) }),
        ("8 leechers without suggestions", Setup { suggests: false, ..base(8, 20_000_000) }),
        (
            "8 leechers, 100 ms each way",
            Setup { latency: Duration::from_millis(100), ..base(8, 20_000_000) },
        ),
        ("8 leechers, half of them replaced", replaced),
        ("1 leecher", base(1, 20_000_000)),
    ];
    for (name, setup) in swarms {
        let report = World::run(setup);
        println!("{name}: {report}");
        assert!(report.ratio <= 3.0, "{}", report.ratio);
    }
}

/// 32 leechers at 5 MB/s: all uplinks have to be busy all the time. `POSSE_SIM_LARGE=1` runs 256
/// pieces instead of 32.
#[test]
fn thirty_two_leechers_keep_their_uplinks_busy() {
    let large = std::env::var_os("POSSE_SIM_LARGE").is_some();
    let (pieces, limit) = if large { (256, 1.19) } else { (32, 3.0) };
    for seed in seeds(1) {
        let _replay = Replay(seed);
        let report = World::run(Setup { pieces, ..Setup::equal(32, 5_000_000, seed) });
        println!("32 leechers, {pieces} pieces, seed {seed}: {report}");
        assert!(report.ratio <= limit, "{}", report.ratio);
    }
}
