//! How fast the real programs move a file over loopback, beside what this machine can do at all.
//!
//! ```text
//! cargo bench --bench throughput [-- --runs 3 --mib 1024 --dir DIR]
//! ```
//!
//! Each run measures, one after the other: two floors (two processes that do nothing but send,
//! receive, hash once and write, in clear and in encrypted records), a download from one seeder, a
//! download from two, a download that is read over HTTP while it comes, and the time to the first
//! piece of several small files. Every figure is the median of the runs. A download's time runs from `download_file` being typed until the client
//! says that it is complete: verified twice, synced and renamed; the floors' ends with the sync.
//! Everything the programs send is encrypted, and there are two trackers.
//!
//! `--dir /dev/shm` takes the disk out. What encryption costs the engine alone is seen by `cargo
//! bench --bench transfer`.

#[path = "throughput/first.rs"]
mod first;
#[path = "throughput/floor.rs"]
mod floor;
#[path = "throughput/measure.rs"]
mod measure;
#[path = "throughput/records.rs"]
mod records;
#[path = "throughput/stream.rs"]
mod stream;
#[path = "../examples/support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use measure::{Run, Sample};
use support::show::{median, mib, rate, table};
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
    /// In encrypted records.
    #[arg(long, hide = true)]
    encrypted: bool,
}

/// What a download from one seeder is to reach of the encrypted floor.
const BAR_ENCRYPTED: f64 = 0.70;
/// What two seeders are to reach of one.
const BAR_TWO: f64 = 1.05;
/// What a download that is read while it comes is to reach of one that is not.
const BAR_STREAM: f64 = 0.80;
/// What `upload_file` is to reach of one core's SHA-1.
const BAR_UPLOAD: f64 = 0.90;
/// Bytes of memory that either side may take.
const BAR_MEMORY: u64 = 32 << 20;
/// Milliseconds to the first piece.
const BAR_FIRST: f64 = 100.0;

fn main() -> ExitCode {
    let options = Options::parse();
    if let Some(file) = &options.send {
        return floor::sender(file, options.encrypted);
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
    println!(
        "{} MiB over loopback, median of {}, {cores} cores, files in {}",
        options.mib,
        options.runs,
        dir.display()
    );
    let mut runs = Vec::new();
    for number in 1..=options.runs {
        let network = Network::start(&binaries, dir, 2)?;
        runs.push(Run::measure(&network, &file, len, number)?);
        network.stop()?;
    }
    report(&runs, len);
    Ok(())
}

/// A row's name, and where its sample is.
type Row = (&'static str, fn(&Run) -> &Sample);

fn report(runs: &[Run], len: u64) {
    let middle = |value: &dyn Fn(&Run) -> f64| median(runs.iter().map(value).collect());
    let (plain, encrypted) =
        (speed(runs, len, |run| &run.plain), speed(runs, len, |run| &run.encrypted));
    let header = [
        "",
        "MB/s",
        "of bare",
        "of AES-GCM",
        "CPU s receiving",
        "CPU s sending",
        "together",
        "peak receiving",
        "peak sending",
    ];
    let samples: [Row; 5] = [
        ("bare loop, in clear", |run| &run.plain),
        ("bare loop, AES-GCM", |run| &run.encrypted),
        ("download, one seeder", |run| &run.one),
        ("download, two seeders", |run| &run.two),
        ("read while it comes", |run| &run.streamed),
    ];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    rows.extend(samples.map(|(name, sample)| row(name, runs, len, [plain, encrypted], sample)));
    println!();
    table(&rows);
    let (one, two) = (speed(runs, len, |run| &run.one), speed(runs, len, |run| &run.two));
    let streamed = speed(runs, len, |run| &run.streamed);
    let sha1 = middle(&|run| run.sha1_rate);
    let upload = rate(len, Duration::from_secs_f64(middle(&|run| run.upload.as_secs_f64())));
    let first = median(
        runs.iter().flat_map(|run| &run.first).map(|time| time.as_secs_f64() * 1e3).collect(),
    );
    let peak = runs
        .iter()
        .flat_map(|run| [&run.one, &run.two, &run.streamed])
        .map(|s| s.receiver.memory_peak.max(s.sender.memory_peak))
        .max();
    println!(
        "\none seeder               {:.2} of the bare AES-GCM loop (bar: {BAR_ENCRYPTED:.2})",
        one / encrypted
    );
    println!("two seeders              {:.2} of one (bar: {BAR_TWO:.2})", two / one);
    println!("read while it comes      {:.2} of one (bar: {BAR_STREAM:.2})", streamed / one);
    println!("peak memory              {} (bar: {})", mib(peak.unwrap_or(0)), mib(BAR_MEMORY));
    println!("first piece              after {first:.0} ms (bar: {BAR_FIRST:.0} ms)");
    println!(
        "upload_file              {upload:.0} MB/s, {:.2} of one core's SHA-1, {sha1:.0} MB/s (bar: {BAR_UPLOAD:.2}); {:.2} s of CPU",
        upload / sha1,
        middle(&|run| run.upload_cpu.as_secs_f64()),
    );
}

fn speed(runs: &[Run], len: u64, sample: fn(&Run) -> &Sample) -> f64 {
    median(runs.iter().map(|run| rate(len, sample(run).time)).collect())
}

fn row(
    name: &str,
    runs: &[Run],
    len: u64,
    floors: [f64; 2],
    sample: fn(&Run) -> &Sample,
) -> Vec<String> {
    let middle =
        |value: fn(&Sample) -> f64| median(runs.iter().map(|run| value(sample(run))).collect());
    let speed = speed(runs, len, sample);
    vec![
        name.to_owned(),
        format!("{speed:.0}"),
        format!("{:.2}", speed / floors[0]),
        format!("{:.2}", speed / floors[1]),
        format!("{:.2}", middle(|sample| sample.receiver.cpu.as_secs_f64())),
        format!("{:.2}", middle(|sample| sample.sender.cpu.as_secs_f64())),
        format!("{:.2}", middle(|sample| (sample.receiver.cpu + sample.sender.cpu).as_secs_f64())),
        mib(middle(|sample| sample.receiver.memory_peak as f64) as u64),
        mib(middle(|sample| sample.sender.memory_peak as f64) as u64),
    ]
}
