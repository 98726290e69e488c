//! How fast the real programs move a file over loopback, beside what this machine can do at all.
//!
//! ```text
//! cargo bench --bench throughput [-- --runs 3 --mib 1024 --dir DIR]
//! ```
//!
//! Each run measures, one after the other: the floor (two processes that do nothing but send, receive, hash once and write), a
//! download from one seeder, and a download from two. Every figure is the median of the runs. A download's time runs from
//! `download_file` being typed until the client says that it is complete: verified twice, synced and renamed.
//!
//! The programs encrypt everything. What that costs is seen from the engine alone: each run moves the file by it in clear and encrypted,
//! one right after the other, from one seeder and from two.
//!
//! A download ends with the file on the disk, so the floor is measured without and with that. Where the disk is slow beside the
//! processor (`--dir /dev/shm` takes it out), the first says what the disk costs, the second what Posse does.

#[path = "transfer/engine.rs"]
mod engine;
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

use engine::Transferred;
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
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(played) = engine::play(&arguments) {
        return played.inspect_err(|e| eprintln!("{e}")).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
    }
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
    report_encryption(&runs, len);
    Ok(())
}

fn report(runs: &[Run], len: u64) {
    let middle = |value: fn(&Run) -> f64| median(runs.iter().map(value).collect());
    let (sha1, upload) =
        (middle(|run| run.sha1_rate), rate(len, Duration::from_secs_f64(middle(|run| run.upload.as_secs_f64()))));
    println!("\nSHA-1, one core          {sha1:.0} MB/s");
    let cpu = middle(|run| run.upload_cpu.as_secs_f64());
    println!(
        "upload_file              {upload:.0} MB/s, {:.2} of one core's SHA-1 (bar: 0.80), {cpu:.2} s of CPU\n",
        upload / sha1
    );
    let header = ["", "MB/s", "of floor", "of synced", "CPU s receiving", "CPU s sending", "peak receiving", "peak sending"];
    let floors = [speed(runs, len, |run| &run.floor), speed(runs, len, |run| &run.floor_synced)];
    let rows = [
        header.map(str::to_owned).to_vec(),
        row("floor: receive, hash, write", runs, len, floors, |run| &run.floor),
        row("floor, and sync", runs, len, floors, |run| &run.floor_synced),
        row("download, one seeder", runs, len, floors, |run| &run.one),
        row("download, two seeders", runs, len, floors, |run| &run.two),
    ];
    table(&rows);
    println!("\nbars: one seeder at least 0.50 of the floor, each side's peak under 100 MiB");
}

/// What encryption costs: the engine in clear and encrypted, pair by pair.
fn report_encryption(runs: &[Run], len: u64) {
    println!("\nthe engine alone");
    let header = ["", "MB/s", "CPU s receiving", "CPU s sending", "peak receiving", "peak sending", "TLS/in clear", "of CPU"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for (seeders, name) in ["one seeder", "two seeders"].into_iter().enumerate() {
        for (tls, transport) in ["in clear", "TLS"].into_iter().enumerate() {
            let middle =
                |value: &dyn Fn(&Transferred) -> f64| median(runs.iter().map(|run| value(&run.engines[seeders][tls])).collect());
            let ratio = |value: &dyn Fn(&Transferred) -> f64| {
                median(runs.iter().map(|run| value(&run.engines[seeders][0]) / value(&run.engines[seeders][1])).collect())
            };
            let mib = |bytes: f64| format!("{:.0} MiB", bytes / f64::from(1 << 20));
            let (time, cpu) = (
                |sample: &Transferred| sample.time.as_secs_f64(),
                |sample: &Transferred| sample.receiver.cpu + sample.sender.cpu,
            );
            let pair = |value| if tls == 1 { format!("{value:.2}") } else { String::new() };
            rows.push(vec![
                format!("{name}, {transport}"),
                format!("{:.0}", rate(len, Duration::from_secs_f64(middle(&time)))),
                format!("{:.2}", middle(&|sample| sample.receiver.cpu)),
                format!("{:.2}", middle(&|sample| sample.sender.cpu)),
                mib(middle(&|sample| sample.receiver.memory_peak as f64)),
                mib(middle(&|sample| sample.sender.memory_peak as f64)),
                pair(ratio(&time)),
                pair(ratio(&cpu)),
            ]);
        }
    }
    table(&rows);
    println!("\nbar: TLS at least 0.80 of what it is in clear");
}

fn speed(runs: &[Run], len: u64, sample: fn(&Run) -> &Sample) -> f64 {
    median(runs.iter().map(|run| rate(len, sample(run).time)).collect())
}

fn row(name: &str, runs: &[Run], len: u64, floors: [f64; 2], sample: fn(&Run) -> &Sample) -> Vec<String> {
    let middle = |value: fn(&Sample) -> f64| median(runs.iter().map(|run| value(sample(run))).collect());
    let mib = |bytes: f64| format!("{:.0} MiB", bytes / f64::from(1 << 20));
    let speed = speed(runs, len, sample);
    vec![
        name.to_owned(),
        format!("{speed:.0}"),
        format!("{:.2}", speed / floors[0]),
        format!("{:.2}", speed / floors[1]),
        format!("{:.2}", middle(|sample| sample.receiver.cpu.as_secs_f64())),
        format!("{:.2}", middle(|sample| sample.sender.cpu.as_secs_f64())),
        mib(middle(|sample| sample.receiver.memory_peak as f64)),
        mib(middle(|sample| sample.sender.memory_peak as f64)),
    ]
}
