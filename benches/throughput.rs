//! How fast the real programs move a file over loopback, beside what this machine can do at all.
//!
//! ```text
//! cargo bench --bench throughput [-- --runs 3 --mib 1024 --dir DIR]
//! ```
//!
//! Each run measures, one after the other: the floor (two processes that do nothing but send, receive, hash once and write), a
//! download from one seeder, and a download from two. Every figure is the median of the runs. A download's time runs from
//! `download_file` being typed until the client says that it is complete: verified twice, synced and renamed.

#[path = "throughput/floor.rs"]
mod floor;
#[path = "throughput/measure.rs"]
mod measure;
#[path = "../examples/support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use measure::{Run, Sample};
use support::show::{median, rate, table};
use support::{Binaries, Network, Result, content};

/// Measures downloads over loopback.
#[derive(Parser)]
struct Options {
    /// How often everything is measured.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Length of the file in MiB.
    #[arg(long, default_value_t = 1024)]
    mib: u64,
    /// Where the files are; default: the system's temporary directory.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
    /// The other process of the floor: sends this file.
    #[arg(long, hide = true)]
    send: Option<PathBuf>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if let Some(file) = &options.send {
        return floor::sender(file);
    }
    if !options.bench {
        println!("measures nothing unless run by: cargo bench --bench throughput");
        return ExitCode::SUCCESS;
    }
    support::run("throughput", options.dir.as_deref(), |dir| run(dir, &options))
}

fn run(dir: &Path, options: &Options) -> Result<()> {
    let binaries = Binaries::given(env!("CARGO_BIN_EXE_tracker"), env!("CARGO_BIN_EXE_client"));
    let len = options.mib << 20;
    let file = dir.join("source.bin");
    content::make(&file, len)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!("{} MiB over loopback, median of {}, {cores} cores, files in {}", options.mib, options.runs, dir.display());
    let mut runs = Vec::new();
    for number in 1..=options.runs {
        let network = Network::start(&binaries, dir, 1)?;
        runs.push(Run::measure(&network, &file, len, number)?);
        network.stop()?;
    }
    report(&runs, len);
    Ok(())
}

fn report(runs: &[Run], len: u64) {
    let middle = |value: &dyn Fn(&Run) -> f64| median(runs.iter().map(value).collect());
    let sha1 = middle(&|run| run.sha1_rate);
    let upload = middle(&|run| rate(len, run.upload));
    println!("\nSHA-1, one core          {sha1:.0} MB/s");
    println!("upload_file              {upload:.0} MB/s, {:.2} of one core's SHA-1 (bar: 0.80)\n", upload / sha1);
    let floor = middle(&|run| rate(len, run.floor.time));
    let floor_synced = middle(&|run| rate(len, run.floor_synced.time));
    let header = ["", "MB/s", "of floor", "of synced floor", "CPU s receiving", "CPU s sending", "peak receiving", "peak sending"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    let samples: [(&str, &dyn Fn(&Run) -> &Sample); 4] = [
        ("floor: receive, hash, write", &|run| &run.floor),
        ("floor, and sync", &|run| &run.floor_synced),
        ("download, one seeder", &|run| &run.one),
        ("download, two seeders", &|run| &run.two),
    ];
    for (name, sample) in samples {
        let figure = |value: &dyn Fn(&Sample) -> f64| middle(&|run| value(sample(run)));
        let speed = figure(&|sample| rate(len, sample.time));
        let seconds = |time: Duration| time.as_secs_f64();
        let mib = |bytes: f64| format!("{:.0} MiB", bytes / f64::from(1 << 20));
        rows.push(vec![
            name.to_owned(),
            format!("{speed:.0}"),
            format!("{:.2}", speed / floor),
            format!("{:.2}", speed / floor_synced),
            format!("{:.2}", figure(&|sample| seconds(sample.receiver.cpu))),
            format!("{:.2}", figure(&|sample| seconds(sample.sender.cpu))),
            mib(figure(&|sample| sample.receiver.memory_peak as f64)),
            mib(figure(&|sample| sample.sender.memory_peak as f64)),
        ]);
    }
    table(&rows);
    println!("\nbars: one seeder at least 0.50 of the floor, each side's peak under 100 MiB");
}
