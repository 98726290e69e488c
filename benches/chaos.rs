//! Checks what users were told under faults: real trackers and clients, each tracker in a network
//! namespace of its own.
//!
//! ```text
//! cargo bench --bench chaos [-- --seed N --seconds N --trackers 3|5 --clients N SCHEDULE ...]
//! cargo bench --bench chaos -- --list
//! ```
//!
//! A *schedule* is a list of faults that follows from its name and a seed. While it runs, clients
//! type commands as fast as they are answered, and every request is recorded: when it was asked,
//! when it was answered, and how. After the faults the trackers have to agree. Then each is read as
//! its users see it, and compared with what the history allows (`rules.rs`): of two acknowledged
//! changes of one thing, of which the second was asked after the first was answered, the second
//! stands.
//!
//! | column | meaning |
//! |---|---|
//! | acked | acknowledged changes |
//! | things | accounts, memberships, owners and shares that were changed, and are compared |
//! | wrong | things that acknowledged changes do not allow, or that were made twice: bar 0 |
//! | late | things that a change without an acknowledgement decides, given up before a later one |
//! | agree s | time from the end of faults and requests until the digests are equal: bar 5 s |
//! | stuck | requests over 5 s although their client had a working tracker all the time |
//!
//! All schedules take about three minutes without arguments. The exit status is 1 if anything is
//! wrong, or trackers do not agree in time. Needs Linux, root, `ip`, `nsenter` and `setpriv`;
//! without them it says so and ends with status 0. A schedule whose programs (`bindfs`,
//! `libfaketime`, `nft`, `tc`) are missing is skipped.

#[path = "chaos/board.rs"]
mod board;
#[path = "chaos/cluster.rs"]
mod cluster;
#[path = "chaos/disk.rs"]
mod disk;
#[path = "chaos/history.rs"]
mod history;
#[path = "chaos/impairment.rs"]
mod impairment;
#[path = "chaos/lab.rs"]
mod lab;
#[path = "chaos/reader.rs"]
mod reader;
#[path = "chaos/report.rs"]
mod report;
#[path = "chaos/rules.rs"]
mod rules;
#[path = "chaos/schedule.rs"]
mod schedule;
#[path = "../examples/support/mod.rs"]
mod support;
#[path = "chaos/user.rs"]
mod user;
#[path = "chaos/workload.rs"]
mod workload;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use rand::SeedableRng;
use rand::rngs::StdRng;

use cluster::Cluster;
use impairment::Impairments;
use lab::Lab;
use report::Outcomes;
use schedule::{SCHEDULES, Schedule};
use support::{Binaries, Result, check_interrupt};
use workload::Clients;

/// Seconds that each schedule lasts unless told otherwise: all together take three minutes.
const SECONDS: u64 = 6;
/// Where the data is unless told otherwise: the trackers' disks are several, and here they would be
/// one.
const MEMORY: &str = "/dev/shm";
/// Time for trackers to agree, after which they are read as they are.
const CONVERGENCE_LIMIT: Duration = Duration::from_secs(12);

/// Breaks trackers in every way while clients work, and checks what was acknowledged.
#[derive(Parser)]
struct Options {
    /// Which schedules; all if none is named.
    schedules: Vec<String>,
    /// Shows the schedules.
    #[arg(long)]
    list: bool,
    /// Where all choices come from; default: the time.
    #[arg(long)]
    seed: Option<u64>,
    /// How long each schedule lasts.
    #[arg(long, default_value_t = SECONDS)]
    seconds: u64,
    /// Number of trackers.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(2..=9))]
    trackers: u64,
    /// Number of clients.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(2..=40))]
    clients: u64,
    /// Where the data is; default: /dev/shm if it is there, else the system's temporary directory.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Other programs: a directory with `tracker` and `client`.
    #[arg(long)]
    binaries: Option<PathBuf>,
    /// Shows each fault as it happens.
    #[arg(long)]
    trace: bool,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if options.list {
        SCHEDULES.iter().for_each(|schedule| println!("{:22} {}", schedule.name, schedule.summary));
        return ExitCode::SUCCESS;
    }
    if !options.bench {
        println!("measures nothing unless run by: cargo bench --bench chaos");
        return ExitCode::SUCCESS;
    }
    if let Some(missing) = lab::missing() {
        println!("chaos: skipped: {missing}");
        return ExitCode::SUCCESS;
    }
    let mut is_bad = false;
    let memory = Some(PathBuf::from(MEMORY)).filter(|dir| dir.is_dir());
    let code = support::run("chaos", options.dir.clone().or(memory).as_deref(), |dir| {
        is_bad = run_all(dir, &options)?;
        Ok(())
    });
    if is_bad { ExitCode::FAILURE } else { code }
}

/// Runs the schedules; tells whether anything was wrong.
fn run_all(dir: &Path, options: &Options) -> Result<bool> {
    let find = |name: &String| {
        Schedule::named(name)
            .ok_or_else(|| format!("there is no schedule {name}; --list shows all"))
    };
    let chosen = match options.schedules.as_slice() {
        [] => SCHEDULES.iter().collect(),
        some => some.iter().map(find).collect::<std::result::Result<Vec<_>, _>>()?,
    };
    let binaries = match &options.binaries {
        Some(dir) => Binaries {
            tracker: dir.join("tracker").canonicalize()?,
            client: dir.join("client").canonicalize()?,
        },
        None => Binaries::given(env!("CARGO_BIN_EXE_tracker"), env!("CARGO_BIN_EXE_client")),
    };
    let seed = options.seed.unwrap_or_else(|| rand::random_range(0..1_000_000));
    let (trackers, clients, seconds) = (options.trackers, options.clients, options.seconds);
    println!(
        "seed {seed}, {trackers} trackers, {clients} clients, {seconds} s each, data in {}",
        dir.display()
    );
    let (mut all, mut failed) = (Vec::new(), Vec::new());
    for (number, schedule) in chosen.into_iter().enumerate() {
        let missing = lab::missing_tools(schedule.tools);
        if !missing.is_empty() {
            println!("{}: skipped: {} is not installed", schedule.name, missing.join(" and "));
            continue;
        }
        let dir = dir.join(format!("{number}-{}", schedule.name));
        std::fs::create_dir(&dir)?;
        match run(schedule, &binaries, &dir, seed, options) {
            Ok(outcomes) => {
                println!(
                    "{}: {} acknowledged, {} wrong",
                    outcomes.name,
                    outcomes.acknowledged(),
                    outcomes.wrong()
                );
                outcomes.show();
                all.push(outcomes);
            }
            Err(failure) => {
                check_interrupt()?;
                support::show_logs(&dir);
                println!("{}: failed: {failure}", schedule.name);
                failed.push(schedule.name);
            }
        }
        std::fs::remove_dir_all(&dir)?;
    }
    report::summary(&all);
    if !failed.is_empty() {
        println!("failed to run: {}", failed.join(", "));
    }
    Ok(!failed.is_empty() || all.iter().any(Outcomes::is_bad))
}

/// Runs one schedule.
fn run(
    schedule: &'static Schedule,
    binaries: &Binaries,
    dir: &Path,
    seed: u64,
    options: &Options,
) -> Result<Outcomes> {
    let (trackers, clients) = (options.trackers as usize, options.clients as usize);
    let mut watch = Watch { since: Instant::now(), is_shown: options.trace };
    let lab = Lab::new(trackers, clients + 1, schedule.small_buffers)?;
    let mut cluster = Cluster::start(binaries, dir, lab, trackers, schedule, options.seconds)?;
    let mut users = Clients::start(&cluster, binaries, dir, clients)?;
    let plan =
        schedule.plan(trackers, clients, options.seconds as f64, StdRng::seed_from_u64(seed));
    watch.lap("started");
    let start = Instant::now();
    let mut impairments = Impairments::new(start);
    let (history, healed) = users.work(seed, start, || {
        for step in &plan {
            rest_until(start + step.at)?;
            if options.trace {
                println!("  {:7.3} s  {:?}", start.elapsed().as_secs_f64(), step.action);
            }
            cluster.apply(&step.action, &mut impairments)?;
        }
        rest_until(start + Duration::from_secs(options.seconds))?;
        cluster.revive_all()?;
        Ok(Instant::now())
    })?;
    let last_answer = history
        .iter()
        .filter(|request| request.is_acknowledged())
        .map(|request| start + request.ended)
        .max();
    let quiet_since = last_answer.map_or(healed, |at| at.max(healed));
    watch.lap("worked");
    let agreed = cluster.converge(CONVERGENCE_LIMIT)?;
    let convergence = agreed.map(|at| at.saturating_duration_since(quiet_since));
    watch.lap("converged");
    let (observed, unread) = read_all(&cluster, binaries, dir, clients, &history)?;
    watch.lap("read");
    let findings = rules::judge(&history, &observed);
    watch.lap("judged");
    let stuck = Outcomes::find_stuck(&history, &impairments, trackers);
    let remarks = cluster.take_remarks();
    Ok(Outcomes { name: schedule.name, history, findings, convergence, stuck, remarks, unread })
}

/// Shows how long the parts of a schedule take.
struct Watch {
    since: Instant,
    is_shown: bool,
}

impl Watch {
    fn lap(&mut self, what: &str) {
        let took = std::mem::replace(&mut self.since, Instant::now()).elapsed();
        if self.is_shown {
            println!("  {what} in {:.2} s", took.as_secs_f64());
        }
    }
}

/// Reads every tracker as users see it; also says which could not be read.
fn read_all(
    cluster: &Cluster,
    binaries: &Binaries,
    dir: &Path,
    clients: usize,
    history: &[history::Request],
) -> Result<(Vec<history::Observed>, Vec<String>)> {
    let mut readers = reader::start_all(cluster, binaries, dir)?;
    let results: Vec<Result<history::Observed>> = thread::scope(|scope| {
        let read =
            |(index, user)| scope.spawn(move || reader::read(index + 1, user, clients, history));
        let threads: Vec<_> = readers.iter_mut().enumerate().map(read).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Result<_>>| {
            thread.join().map_err(|_| "a reader's thread panicked")?
        };
        threads.into_iter().map(join).collect()
    });
    let (mut observed, mut unread) = (Vec::new(), Vec::new());
    for (index, result) in results.into_iter().enumerate() {
        match result {
            Ok(one) => observed.push(one),
            Err(e) => unread.push(format!("tracker {} cannot be read: {e}", index + 1)),
        }
    }
    check_interrupt()?;
    Ok((observed, unread))
}

fn rest_until(moment: Instant) -> Result<()> {
    while let Some(left) =
        moment.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    {
        check_interrupt()?;
        thread::sleep(left.min(Duration::from_millis(50)));
    }
    Ok(())
}
