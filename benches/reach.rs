//! How soon and how fast members reach each other, wherever they are, beside a direct link.
//!
//! ```text
//! cargo bench --bench reach [-- --runs 3 --mib 256 --move-mib 1024 --dir DIR [ROW...]]
//! ```
//!
//! The machines, routers and networks are those of the process tests: network namespaces, with
//! nftables and `miniupnpd`. For each row it fetches a file over a direct link through as many
//! routers that let everything pass, then in the row's network, in turns. Every measurement has a
//! tracker (which relays, without a limit) and clients of its own, and every figure is the median of
//! the runs. What this machine has no permission or no program for is skipped, and named.
//!
//! | column | meaning |
//! |---|---|
//! | way | `direct`, `mapped` (where a router forwards to), `punched`, `relayed`, or `lan` (found by multicast DNS) |
//! | first bytes | from `download_file` to the first verified piece |
//! | MB/s | from there to the last piece |

#[path = "../tests/posse/harness/mod.rs"]
#[allow(dead_code, unused_imports, clippy::unwrap_used, reason = "shared with the tests")]
mod harness;
#[path = "reach/line.rs"]
mod line;
#[path = "reach/measure.rs"]
mod measure;
#[path = "reach/rows.rs"]
mod rows;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use harness::Content;
use measure::{Fetched, fetch};
use rows::{ROWS, Row};

/// Where the files are unless told otherwise, so that no disk is measured.
const MEMORY: &str = "/dev/shm";
/// How long a download may stand still whose end moves, and a search on a local network take.
const SOON: Duration = Duration::from_secs(5);

/// Measures how members reach each other.
#[derive(Parser)]
struct Options {
    /// Parts of the names of rows; all if none is named.
    rows: Vec<String>,
    /// How often everything is measured.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    runs: u8,
    /// Length of the file in MiB.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(2..))]
    mib: u16,
    /// Length of the file in whose middle an end moves.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u16).range(16..))]
    move_mib: u16,
    /// Where the files are; default: /dev/shm if it is there, else the system's temporary directory.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    fn is_chosen(&self, name: &str) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|part| name.contains(part.as_str()))
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    if !options.bench {
        println!("measures nothing unless run by: cargo bench --bench reach");
        return ExitCode::SUCCESS;
    }
    let memory = Some(Path::new(MEMORY)).filter(|dir| dir.is_dir());
    if let Some(dir) = options.dir.as_deref().or(memory) {
        tempfile::env::override_temp_dir(dir).expect("nothing has asked for it before");
    }
    println!("{}, {} MiB, median of {}", machine(), options.mib, options.runs);
    let content = Content::new("a.bin", usize::from(options.mib) << 20, 1_301);
    println!("\n| A | B | way | first bytes, beside a direct link | MB/s, beside it | |");
    println!("|---|---|---|---|---|---|");
    let chosen = ROWS.iter().filter(|row| options.is_chosen(row.name));
    let mut is_good = chosen.fold(true, |is_good, row| is_good & run(row, &options, &content));
    is_good &= cut_off(&options, &content);
    drop(content);
    is_good &= moves(&options);
    println!("\n{}", machine());
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The processor, and how busy it is.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let processors = read("/proc/cpuinfo");
    let names = processors.lines().filter(|line| line.starts_with("model name"));
    let name = names.clone().next().and_then(|line| line.split(": ").nth(1)).unwrap_or("?");
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or("?");
    format!("{} x {name}, load {load}", names.count())
}

/// What came of measurements: in order, those that were skipped or failed left out.
struct Results<T> {
    done: Vec<T>,
    is_skipped: bool,
    failed: usize,
}

impl<T> Results<T> {
    fn new() -> Self {
        Self { done: Vec::new(), is_skipped: false, failed: 0 }
    }

    /// Measures once. What does not come about panics, as in the tests.
    fn add(&mut self, measure: impl FnOnce() -> Option<T>) {
        match catch_unwind(AssertUnwindSafe(measure)) {
            Ok(Some(result)) => self.done.push(result),
            Ok(None) => self.is_skipped = true,
            Err(_) => self.failed += 1,
        }
    }

    /// Says why there is no figure, or tells that all measurements came to an end.
    fn is_whole(&self, name: &str) -> bool {
        if self.failed > 0 {
            println!("| {name} | failed {} times | | | |", self.failed);
        } else if self.is_skipped {
            println!("| {name} | skipped | | | |");
        }
        self.failed == 0 && !self.is_skipped
    }
}

/// Measures one row; false if something is wrong or misses its bar.
fn run(row: &Row, options: &Options, content: &Content) -> bool {
    let (mut direct, mut here) = (Results::new(), Results::new());
    for _ in 0..options.runs {
        direct.add(|| rows::direct(row.between, content).map(|stage| fetch(stage, content)));
        here.add(|| (row.stage)(content).map(|stage| fetch(stage, content)));
        if direct.is_skipped || here.is_skipped {
            break;
        }
    }
    if !here.is_whole(row.name) || !direct.is_whole(row.name) {
        return here.failed + direct.failed == 0;
    }
    let ways = ways(&here.done);
    let is_right = here.done.iter().all(|one| one.ways.iter().all(|way| row.must.contains(way)));
    let is_soon = row.within.is_none_or(|bar| median(&here.done, first) <= bar.as_secs_f64());
    let verdict = match (is_right, row.within) {
        (false, _) => format!("**is to be {}**", row.must.join(" or ")),
        (true, Some(bar)) if !is_soon => format!("**misses {} s**", bar.as_secs()),
        (true, Some(bar)) => format!("within {} s", bar.as_secs()),
        (true, None) => String::new(),
    };
    println!("| {} | {ways} | {} | {verdict} |", row.name, beside(&here.done, &direct.done));
    is_right && is_soon
}

/// The cells of both figures.
fn beside(here: &[Fetched], direct: &[Fetched]) -> String {
    let [firsts, rates] = [first, rate].map(|of| (median(here, of), median(direct, of)));
    format!(
        "{:.0} ms, {:.0} ms ({}) | {:.0}, {:.0}: {:.2}",
        firsts.0 * 1e3,
        firsts.1 * 1e3,
        spread(here, first, 1e3),
        rates.0,
        rates.1,
        rates.0 / rates.1
    )
}

/// Members of one network whose trackers are all cut off.
fn cut_off(options: &Options, content: &Content) -> bool {
    let name = "trackers cut off, one LAN | at an address that none has heard of";
    if !options.is_chosen(name) {
        return true;
    }
    let (mut direct, mut met) = (Results::new(), Results::new());
    for _ in 0..options.runs {
        direct.add(|| rows::direct(1, content).map(|stage| fetch(stage, content)));
        met.add(|| measure::cut_off(content));
        if met.is_skipped {
            break;
        }
    }
    if !met.is_whole(name) || !direct.is_whole(name) {
        return met.failed + direct.failed == 0;
    }
    let found = median(&met.done, |met| met.found.as_secs_f64());
    let all = spread(&met.done, |met| met.found.as_secs_f64(), 1.0);
    let fetched: Vec<Fetched> = met.done.into_iter().map(|met| met.fetched).collect();
    let (is_soon, cells) = (found <= SOON.as_secs_f64(), beside(&fetched, &direct.done));
    let bar = if is_soon { "within 5 s" } else { "**misses 5 s**" };
    let ways = ways(&fetched);
    println!("| {name} | {ways} | {cells} | found after {found:.2} s ({all}), {bar} |");
    is_soon && ways == "lan"
}

/// One end moves to another network.
fn moves(options: &Options) -> bool {
    let rows =
        [("moves while it sends | public", true), ("public | moves while it receives", false)];
    let chosen = rows.into_iter().filter(|(name, _)| options.is_chosen(name)).collect::<Vec<_>>();
    if chosen.is_empty() {
        return true;
    }
    let content = Content::new("a.bin", usize::from(options.move_mib) << 20, 1_302);
    let mut is_good = true;
    for (name, is_seeder) in chosen {
        let mut moved = Results::new();
        for _ in 0..options.runs {
            moved.add(|| measure::moved(is_seeder, &content));
        }
        if !moved.is_whole(name) {
            is_good &= moved.failed == 0;
            continue;
        }
        let standstill = median(&moved.done, |moved| moved.standstill.as_secs_f64());
        let all = spread(&moved.done, |moved| moved.standstill.as_secs_f64(), 1.0);
        let twice = median(&moved.done, |moved| moved.twice as f64) / f64::from(1 << 20);
        let is_soon = standstill <= SOON.as_secs_f64();
        let bar = if is_soon { "within 5 s" } else { "**misses 5 s**" };
        println!(
            "| {name} | direct | | | goes on after {standstill:.2} s ({all}), {bar}; {twice:.1} MiB of \
             {} fetched twice |",
            options.move_mib
        );
        is_good &= is_soon;
    }
    is_good
}

fn first(fetched: &Fetched) -> f64 {
    fetched.first.as_secs_f64()
}

fn rate(fetched: &Fetched) -> f64 {
    fetched.rate
}

/// The ways of all measurements, in the order in which they were seen.
fn ways(all: &[Fetched]) -> String {
    let mut seen: Vec<&str> = Vec::new();
    for way in all.iter().flat_map(|one| &one.ways) {
        if !seen.contains(way) {
            seen.push(way);
        }
    }
    seen.join(", ")
}

fn sorted<T>(all: &[T], of: impl Fn(&T) -> f64) -> Vec<f64> {
    let mut values: Vec<f64> = all.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values
}

fn median<T>(all: &[T], of: impl Fn(&T) -> f64) -> f64 {
    sorted(all, of)[all.len() / 2]
}

/// The smallest and the largest.
fn spread<T>(all: &[T], of: impl Fn(&T) -> f64, factor: f64) -> String {
    let values = sorted(all, of);
    let digits = if factor == 1.0 { 2 } else { 0 };
    let [least, most] = [values[0], values[values.len() - 1]].map(|value| value * factor);
    format!("{least:.digits$} to {most:.digits$}")
}
