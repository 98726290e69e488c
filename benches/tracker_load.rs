//! What one real tracker carries: idle clients by the thousand, changes that are durable before
//! they are acknowledged, and full handshakes. Every connection is TLS 1.3, and every client a
//! device with a key of its own.
//!
//! ```text
//! cargo bench --bench tracker_load [-- --clients 5000 --accounts 100 --seconds 5 --dir DIR]
//! cargo bench --bench tracker_load -- --fill 600
//! ```
//!
//! The clients are connections of this process that speak the tracker protocol, so that what is
//! measured is the tracker alone.

#[path = "tracker_load/changes.rs"]
mod changes;
#[path = "tracker_load/fill.rs"]
mod fill;
#[path = "tracker_load/handshakes.rs"]
mod handshakes;
#[path = "tracker_load/idle.rs"]
mod idle;
#[path = "tracker_load/session.rs"]
mod session;
#[path = "../examples/support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use support::{Binaries, Network, Result};

/// Measures a tracker under load.
#[derive(Parser)]
struct Options {
    /// Clients that are logged in and idle.
    #[arg(long, default_value_t = 5_000)]
    clients: usize,
    /// Accounts that they are logged in to: making one costs a password hash, as each log-in does.
    #[arg(long, default_value_t = 100)]
    accounts: usize,
    /// Clients that change the directory all the time.
    #[arg(long, default_value_t = 64)]
    writers: usize,
    /// How long they do.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Instead of all that: fills the network for so many seconds, as one address with many
    /// accounts can.
    #[arg(long, value_name = "SECONDS")]
    fill: Option<u64>,
    /// Where the trackers' stores are; default: the system's temporary directory.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if !options.bench {
        println!("measures nothing unless run by: cargo bench --bench tracker_load");
        return ExitCode::SUCCESS;
    }
    support::run("tracker_load", options.dir.as_deref(), |dir| run(dir, &options))
}

fn run(dir: &Path, options: &Options) -> Result<()> {
    let binaries = Binaries::given(env!("CARGO_BIN_EXE_tracker"), env!("CARGO_BIN_EXE_client"));
    let time = Duration::from_secs(options.seconds);
    println!("stores in {}", dir.display());
    if let Some(seconds) = options.fill {
        let network = start(&binaries, dir, "fill", 2)?;
        fill::measure(&network, &dir.join("fill"), Duration::from_secs(seconds))?;
        return network.stop();
    }
    let mut syncs = vec![changes::fsync_rate(dir, time)?];
    for trackers in [1, 2] {
        let network = start(&binaries, dir, &format!("changes-{trackers}"), trackers)?;
        let rate = changes::measure(&network, options.writers, time)?;
        println!(
            "durable changes, {} clients, {trackers} tracker(s)           {rate:>8.0} a second",
            options.writers
        );
        network.stop()?;
        syncs.push(changes::fsync_rate(dir, time)?);
    }
    let syncs: Vec<_> = syncs.iter().map(|rate| format!("{rate:>8.0}")).collect();
    println!("4 KiB written and synced, before, between, after   {} a second", syncs.join(""));
    let network = start(&binaries, dir, "handshakes", 1)?;
    handshakes::measure(&network, time)?;
    network.stop()?;
    let network = start(&binaries, dir, "idle", 1)?;
    idle::measure(&network, options.clients, options.accounts)?;
    network.stop()
}

/// Starts trackers whose stores nothing has been written to.
fn start(binaries: &Binaries, dir: &Path, name: &str, trackers: usize) -> Result<Network> {
    let dir = dir.join(name);
    std::fs::create_dir(&dir)?;
    Network::start(binaries, &dir, trackers)
}
