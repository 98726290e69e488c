//! A session under faults: a store that fails and hangs, slow file systems, an engine whose events
//! arrive late, in any order or not at all, trackers that send any notification at any time, logins
//! and logouts in between. The invariants hold after each step. After the faults end, the session,
//! the store and the engine agree.
//!
//! `POSSE_SIM_SEEDS=10000 cargo test --release --lib session::sim` runs that many seeds;
//! `POSSE_SIM_SEED=n` replays one, and prints all of it with `POSSE_SIM_TRACE=1`.

mod scripts;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use self::world::World;
pub(super) use self::world::download_row;

/// Seeds of an ordinary test run.
const SEEDS: u64 = 300;
/// Steps under faults.
const STEPS: usize = 400;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn run(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        world.step();
        world.check();
    }
    world.heal();
}

#[test]
fn after_faults_the_session_the_store_and_the_engine_agree() {
    if let Some(seed) = number("POSSE_SIM_SEED") {
        return run(seed);
    }
    for seed in 0..number("POSSE_SIM_SEEDS").unwrap_or(SEEDS) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(seed))) {
            eprintln!("replay with POSSE_SIM_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
