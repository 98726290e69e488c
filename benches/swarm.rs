//! How close a swarm of the real programs comes to what its uplinks allow, each client in a network
//! namespace of its own.
//!
//! ```text
//! cargo bench --bench swarm [-- eight eight-large thirty-two mixed churn crowd --runs 3 --dir DIR --trace --log LEVEL]
//! ```
//!
//! Needs Linux, root, and `ip` and `tc` of iproute2; without them it says so and ends. The swarms
//! are in `scenario.rs`, how nodes and their uplinks are made in `lab.rs`, what counts as time in
//! `run.rs`. All files are in memory (`/dev/shm`) unless told otherwise: the disks of nine machines
//! are nine, and here they would be one.
//!
//! Printed are the time until the last leecher is complete, the fluid bound, their ratio and its
//! bar; how many copies of the file the seeder sent; what was sent in vain; the CPU time of all
//! clients; and the share of time in which uplinks were idle in each third of the run.

#[path = "swarm/lab.rs"]
mod lab;
#[path = "swarm/run.rs"]
mod run;
#[path = "swarm/scenario.rs"]
mod scenario;
#[path = "../examples/support/mod.rs"]
mod support;
#[path = "swarm/uplink.rs"]
mod uplink;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use lab::Lab;
use run::Outcome;
use scenario::Scenario;
use support::show::median;
use support::{Binaries, Result, content};

/// Where the files are unless told otherwise.
const MEMORY: &str = "/dev/shm";

/// Measures swarms of clients whose uplinks are capped.
#[derive(Parser)]
struct Options {
    /// Which swarms; all if none is named.
    #[arg(value_parser = Scenario::NAMES)]
    scenarios: Vec<String>,
    /// How often each is run.
    #[arg(long, default_value_t = 1)]
    runs: usize,
    /// Length of the file in MiB, instead of the scenario's own.
    #[arg(long)]
    mib: Option<u64>,
    /// Where the files are; default: /dev/shm if it is there, else the system's temporary
    /// directory.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Show when each leecher was complete, and how busy the uplinks were each half second.
    #[arg(long)]
    trace: bool,
    /// What the clients log.
    #[arg(long, default_value = "warn")]
    log: String,
    /// Another client program, to compare with.
    #[arg(long)]
    client: Option<String>,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
    /// The process inside the switch: samples so many ports.
    #[arg(long, hide = true)]
    sample: Option<usize>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if let Some(count) = options.sample {
        return uplink::sample(count);
    }
    if !options.bench {
        println!("measures nothing unless run by: cargo bench --bench swarm");
        return ExitCode::SUCCESS;
    }
    if let Some(missing) = Lab::missing() {
        println!("swarms are not measured: {missing}");
        return ExitCode::SUCCESS;
    }
    let memory = Some(PathBuf::from(MEMORY)).filter(|dir| dir.is_dir());
    let dir = options.dir.clone().or(memory);
    support::run("swarm", dir.as_deref(), |dir| run_all(dir, &options))
}

fn run_all(dir: &Path, options: &Options) -> Result<()> {
    let client = options.client.as_deref().unwrap_or(env!("CARGO_BIN_EXE_client"));
    let binaries = Binaries::given(env!("CARGO_BIN_EXE_tracker"), client);
    let names: Vec<&str> = match options.scenarios.as_slice() {
        [] => Scenario::NAMES.to_vec(),
        some => some.iter().map(String::as_str).collect(),
    };
    for mut scenario in names.into_iter().filter_map(Scenario::named) {
        scenario.len = options.mib.map_or(scenario.len, |mib| mib << 20);
        let file = dir.join("source.bin");
        content::make(&file, scenario.len)?;
        println!(
            "\n{}: {} leechers, {} MiB, bound {:.2} s",
            scenario.name,
            scenario.all().len(),
            scenario.len >> 20,
            scenario.bound()
        );
        let mut ratios = Vec::new();
        for number in 1..=options.runs {
            let run_dir = dir.join(format!("{}-{number}", scenario.name));
            std::fs::create_dir(&run_dir)?;
            let outcome = run::run(&scenario, &binaries, &file, &run_dir, &options.log)?;
            ratios.push(report(&scenario, &outcome, options.trace));
            std::fs::remove_dir_all(&run_dir)?;
        }
        let bar = scenario.bar.map_or("to complete".to_owned(), |bar| format!("{bar:.2}"));
        println!("  median ratio {:.3}, bar: {bar}", median(ratios));
    }
    Ok(())
}

/// Prints a run; returns its ratio.
fn report(scenario: &Scenario, outcome: &Outcome, trace: bool) -> f64 {
    let (time, bound) = (outcome.time().as_secs_f64(), scenario.bound());
    let wasted = outcome
        .wasted
        .map_or("unknown".to_owned(), |bytes| format!("{:.2} MB", bytes as f64 / 1e6));
    println!(
        "  {time:.2} s, {:.3} of the bound; the seeder sent {:.3} copies; {wasted} sent in vain; {:.1} s of CPU",
        time / bound,
        outcome.seeder_sent as f64 / scenario.len as f64,
        outcome.cpu.as_secs_f64()
    );
    let caps = scenario.all();
    let idle = |node: usize, rate| outcome.samples.idle(node, rate, outcome.start, outcome.end());
    let leechers: Vec<[f64; 3]> =
        caps.iter().enumerate().map(|(leecher, &rate)| idle(leecher + 1, rate)).collect();
    let mean = [0, 1, 2]
        .map(|part| leechers.iter().map(|idle| idle[part]).sum::<f64>() / leechers.len() as f64);
    println!(
        "  idle in thirds: the seeder {}, leechers on average {}",
        percent(idle(0, scenario.seeder)),
        percent(mean)
    );
    if trace {
        show_trace(scenario, outcome);
    }
    time / bound
}

fn percent(parts: [f64; 3]) -> String {
    parts.map(|part| format!("{:.1} %", part * 100.0)).join(" / ")
}

/// Prints when each leecher was complete, and how much of the uplinks was used in each half second.
fn show_trace(scenario: &Scenario, outcome: &Outcome) {
    let mut seconds: Vec<f64> =
        outcome.complete.iter().map(|at| at.duration_since(outcome.start).as_secs_f64()).collect();
    seconds.sort_by(f64::total_cmp);
    println!(
        "  complete after {}",
        seconds.iter().map(|at| format!("{at:.2}")).collect::<Vec<_>>().join(" ")
    );
    let step = Duration::from_millis(500);
    let mut from = outcome.start;
    while from < outcome.end() {
        let used = |node, rate| {
            let idle = outcome.samples.idle(node, rate, from, from + step);
            100.0 - idle.iter().sum::<f64>() / 3.0 * 100.0
        };
        let leechers = scenario
            .all()
            .iter()
            .enumerate()
            .map(|(leecher, &rate)| format!("{:3.0}", used(leecher + 1, rate)))
            .collect::<Vec<_>>();
        println!(
            "  {:5.1} s  {:3.0} | {}",
            from.duration_since(outcome.start).as_secs_f64(),
            used(0, scenario.seeder),
            leechers.join(" ")
        );
        from += step;
    }
}
