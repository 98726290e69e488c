//! One link over a long way: how much of what a plain TCP stream gets through it a download gets.
//!
//! ```text
//! cargo bench --bench distance [-- --runs 3 --mib 128 --round-trip-ms 100 --mbits 200 --all --dir DIR]
//! ```
//!
//! The way is a relay of this program's ([`proxy`]) with a round trip time and a rate. Each run
//! measures, one after the other, a plain stream (one request, then the bytes until the last has
//! come, nothing done with them), and a download by the engine with TLS from the beginning, file
//! unknown but for what the trackers tell, until it is verified twice and complete. Every figure is
//! the median of the runs. `--all` measures a few other ways as well.

#[path = "transfer/engine.rs"]
#[allow(dead_code)]
mod engine;
#[path = "distance/fetch.rs"]
mod fetch;
#[path = "distance/proxy.rs"]
mod proxy;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;

use engine::Outcome;
use fetch::{Fetched, Seeder};
use proxy::Way;

/// What a download is to get of the plain stream's rate.
const BAR: f64 = 0.9;
/// Other ways: round trip in milliseconds, Mbit/s, and MiB that take some seconds through it.
const OTHERS: [(u64, f64, u64); 3] = [(20, 1000.0, 512), (500, 50.0, 64), (300, 5.0, 8)];

/// Measures downloads over a long way.
#[derive(Parser)]
struct Options {
    /// How often everything is measured.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Length of the file in MiB.
    #[arg(long, default_value_t = 128)]
    mib: u64,
    /// Time to the other end and back, in milliseconds.
    #[arg(long, default_value_t = 100)]
    round_trip_ms: u64,
    /// Rate of the way, in millions of bits a second.
    #[arg(long, default_value_t = 200.0)]
    mbits: f64,
    /// Measures other ways, too.
    #[arg(long)]
    all: bool,
    /// Where the files are; default: the system's temporary directory.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(played) = engine::play(&arguments) {
        return played;
    }
    let options = Options::parse();
    if !options.bench {
        println!("measures nothing unless run by: cargo bench --bench distance");
        return Ok(());
    }
    let directory = tempfile::Builder::new()
        .prefix("posse-distance-")
        .tempdir_in(options.dir.clone().unwrap_or_else(std::env::temp_dir))?;
    println!("median of {}, files in {}", options.runs, directory.path().display());
    measure(&options, directory.path(), (options.round_trip_ms, options.mbits, options.mib))?;
    if options.all {
        OTHERS.iter().try_for_each(|other| measure(&options, directory.path(), *other))?;
    }
    Ok(())
}

fn measure(
    options: &Options,
    directory: &Path,
    (round_trip_ms, mbits, mib): (u64, f64, u64),
) -> Outcome<()> {
    let way = Way { round_trip: Duration::from_millis(round_trip_ms), rate: mbits * 1e6 / 8.0 };
    let len = mib << 20;
    let seeder = Seeder::start(directory, len)?;
    let (mut plain, mut ours) = (Vec::new(), Vec::new());
    for run in 1..=options.runs {
        plain.push(fetch::plain(way, len)?);
        ours.push(seeder.fetch(way, &directory.join(format!("copy-{run}.bin")))?);
    }
    println!(
        "\n{round_trip_ms} ms, {mbits} Mbit/s, {mib} MiB: {:.1} MB on the way when it is full",
        way.product() / 1e6
    );
    let plain = middle(plain.iter().map(Duration::as_secs_f64));
    let took = middle(ours.iter().map(|fetched| fetched.complete.as_secs_f64()));
    println!("plain TCP stream  {plain:6.2} s  {:6.2} MB/s", len as f64 / 1e6 / plain);
    println!("download          {took:6.2} s  {:6.2} MB/s", len as f64 / 1e6 / took);
    println!("of the stream's rate: {:.3} (bar: {BAR})", plain / took);
    let seconds = |moment: fn(&Fetched) -> Duration| {
        middle(ours.iter().map(|fetched| moment(fetched).as_secs_f64()))
    };
    let (first, last) = (seconds(|fetched| fetched.first), seconds(|fetched| fetched.last));
    println!("first piece verified after {first:.2} s, last after {last:.2} s");
    Ok(())
}

fn middle(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
