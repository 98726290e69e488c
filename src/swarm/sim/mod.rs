//! Simulators of the swarm's pure half: one download under random faults, and whole swarms on
//! virtual time.
//!
//! Nothing here opens a socket or looks at a clock: a run is a function of its seed, and a failing
//! one prints it.
//!
//! - `POSSE_SIM_SEED=n` replays one seed; `POSSE_SIM_SEEDS=n` runs that many.

mod bound;
mod faults;
mod node;
mod readers;
mod world;

/// The seeds to run: the one asked for, or the first `default`.
fn seeds(default: u64) -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("POSSE_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("POSSE_SIM_SEEDS").unwrap_or(default),
    }
}

/// Prints the seed of a run that panics.
struct Replay(u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("replay this failure with POSSE_SIM_SEED={}", self.0);
        }
    }
}
