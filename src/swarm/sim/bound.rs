//! How close a swarm comes to what its uploads allow.

use std::time::Duration;

use super::world::{Setup, Sharing, World};
use super::{Replay, seeds};

/// 1 seeder, 8 leechers, 256 pieces, all uploads capped at 20 MB/s: at most 1.15 times the fluid bound until the last is complete.
#[test]
fn eight_leechers_come_close_to_the_fluid_bound() {
    for seed in seeds(5) {
        let _replay = Replay(seed);
        for sharing in [Sharing::InOrder, Sharing::AtOnce] {
            let report = World::run(Setup { sharing, ..Setup::equal(8, 20_000_000, seed) });
            println!("8 leechers, seed {seed}, {sharing:?}: {report}");
            assert!(report.ratio <= 1.15, "{}", report.ratio);
        }
    }
}

/// For information: more leechers, slower and mixed links, no suggestions.
#[test]
fn other_swarms_finish() {
    let base = |leechers, upload| Setup::equal(leechers, upload, 1);
    let mixed: Vec<u64> = [20, 2, 5, 10, 20, 2, 5, 10, 20].map(|mb| mb * 1_000_000).to_vec();
    let swarms = [
        ("32 leechers at 5 MB/s", base(32, 5_000_000)),
        ("8 leechers at 2, 5, 10, 20 MB/s", Setup { upload: mixed, ..base(8, 1) }),
        ("8 leechers without suggestions", Setup { suggests: false, ..base(8, 20_000_000) }),
        ("8 leechers, 100 ms each way", Setup { latency: Duration::from_millis(100), ..base(8, 20_000_000) }),
        ("1 leecher", base(1, 20_000_000)),
    ];
    for (name, setup) in swarms {
        for sharing in [Sharing::InOrder, Sharing::AtOnce] {
            let report = World::run(Setup { sharing, ..setup.clone() });
            println!("{name}, {sharing:?}: {report}");
            assert!(report.ratio <= 3.0, "{}", report.ratio);
        }
    }
}

#[test]
fn experiment() {
    for (leechers, upload, seeds) in [(8, 20_000_000, 0..4), (32, 5_000_000, 0..2)] {
        for sharing in [Sharing::InOrder, Sharing::AtOnce] {
            let reports: Vec<_> =
                seeds.clone().map(|seed| World::run(Setup { sharing, ..Setup::equal(leechers, upload, seed) })).collect();
            let mean = |f: &dyn Fn(&super::world::Report) -> f64| reports.iter().map(f).sum::<f64>() / reports.len() as f64;
            println!(
                "{leechers} {sharing:?}: ratio {:.3}, copies {:.3}, first {:.3}, wasted {:.2} %",
                mean(&|r| r.ratio),
                mean(&|r| r.seeder_copies),
                mean(&|r| r.copies_at_first),
                mean(&|r| r.wasted * 100.0)
            );
        }
    }
}
