//! Many files, many shares, many leechers: what grows with their number, measured on the real
//! programs.
//!
//! ```text
//! cargo bench --bench scale [-- small | start | leechers] [--dir DIR] [--files 10000] [--at-once 32]
//! ```
//!
//! `small`: files of 20 KiB are shared one after the other by a script, and fetched by another
//! member, two trackers running; all copies are compared at the end. `start`: a client with as many
//! shares and a hundred unfinished downloads is killed and started again, until it has served
//! somebody who was waiting for it; then it is watched while it has nothing to do. `leechers`: two
//! hundred of them at one seeder whose upload is limited (`--leechers`, `--limit` in MB/s,
//! `--seconds`). Without a part, all three. The file of 64 GiB is a part of `transfer`.
//!
//! Each part prints its figure, its bar and the ratio, and what the programs used. Everything is in
//! a directory of its own in DIR, or in the system's temporary one, which is removed at the end.

#[path = "scale/leechers.rs"]
mod leechers;
#[path = "scale/small.rs"]
mod small;
#[path = "scale/start.rs"]
mod start;
#[path = "../examples/support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use support::show::{mib, table};
use support::{Binaries, Result, Usage};

/// Measures what grows with the number of files and members.
#[derive(Parser)]
struct Options {
    /// `small`, `start` or `leechers`; default: all.
    part: Option<String>,
    /// Where the files are; default: the system's temporary directory.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Small files, and shares.
    #[arg(long, default_value_t = 10_000)]
    files: usize,
    /// Small files that are fetched at a time, as `limits downloads` sets it.
    #[arg(long, default_value_t = 32)]
    at_once: usize,
    /// Leechers at the one seeder.
    #[arg(long, default_value_t = 200)]
    leechers: usize,
    /// The seeder's upload limit in MB/s.
    #[arg(long, default_value_t = 20)]
    limit: u64,
    /// How long the leechers are watched.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(played) = leechers::play(&arguments) {
        return played
            .inspect_err(|e| eprintln!("{e}"))
            .map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
    }
    let options = Options::parse();
    if !options.bench {
        println!("measures nothing unless run by: cargo bench --bench scale");
        return ExitCode::SUCCESS;
    }
    support::run("scale", options.dir.as_deref(), |dir| run(dir, &options))
}

fn run(dir: &Path, options: &Options) -> Result<()> {
    let binaries = Binaries::given(env!("CARGO_BIN_EXE_tracker"), env!("CARGO_BIN_EXE_client"));
    let parts = match options.part.as_deref() {
        None => vec!["small", "start", "leechers"],
        Some(part) => vec![part],
    };
    for part in parts {
        let own = dir.join(part);
        std::fs::create_dir(&own)?;
        match part {
            "small" => small::run(&binaries, &own, options)?,
            "start" => start::run(&binaries, &own, options)?,
            "leechers" => leechers::run(&binaries, &own, options)?,
            other => return Err(format!("there is no part called {other}").into()),
        }
        std::fs::remove_dir_all(&own)?;
    }
    Ok(())
}

/// Prints what processes used for something.
fn show_used(rows: &[(&str, Usage)]) {
    let header = ["", "CPU s", "peak", "threads"].map(str::to_owned).to_vec();
    let row = |(name, used): &(&str, Usage)| {
        vec![
            (*name).to_owned(),
            format!("{:.2}", used.cpu.as_secs_f64()),
            mib(used.memory_peak),
            used.threads.to_string(),
        ]
    };
    table(&std::iter::once(header).chain(rows.iter().map(row)).collect::<Vec<_>>());
}
