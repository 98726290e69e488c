//! What the page of a client costs, measured on the real programs.
//!
//! ```text
//! cargo bench --bench page [-- snapshot | events | stream | idle] [--dir DIR] [--files 10000]
//!                          [--mib 512] [--runs 3] [--seconds 30]
//! ```
//!
//! `snapshot`: a client with as many unfinished downloads answers `GET /api/v1/snapshot`. `events`: a
//! download while 32 pages read the client's events, beside one while none does. `stream`: a download
//! that is read through the page while it comes, beside one that is not. `idle`: a service that is
//! logged in and has a page open. Without a part, all four.
//!
//! Each part prints its figure, its bar and the ratio. The pages of `events` are threads of this
//! program, so on a small machine they take processors from the programs, as browsers on it would.

#[path = "page/events.rs"]
mod events;
#[path = "page/http.rs"]
mod http;
#[path = "page/idle.rs"]
mod idle;
#[path = "page/snapshot.rs"]
mod snapshot;
#[path = "../examples/support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use http::Page;
use support::{Binaries, Member, Network, Process, Result};

/// Measures what the page costs.
#[derive(Parser)]
struct Options {
    /// `snapshot`, `events`, `stream` or `idle`; default: all.
    part: Option<String>,
    /// Where the files are; default: the system's temporary directory.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Unfinished downloads.
    #[arg(long, default_value_t = 10_000)]
    files: usize,
    /// Length of the file that is moved, in MiB.
    #[arg(long, default_value_t = 512)]
    mib: u64,
    /// How often each is measured.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// How long the idle service is watched.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if !options.bench {
        println!("measures nothing unless run by: cargo bench --bench page");
        return ExitCode::SUCCESS;
    }
    support::run("page", options.dir.as_deref(), |dir| run(dir, &options))
}

fn run(dir: &Path, options: &Options) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!("{}, {cores} cores, files in {}", processor(), dir.display());
    let binaries = Binaries::given(env!("CARGO_BIN_EXE_tracker"), env!("CARGO_BIN_EXE_client"));
    type Part = fn(&Network, &Options) -> Result<()>;
    let parts: [(&str, Part); 4] = [
        ("snapshot", snapshot::run),
        ("events", events::run),
        ("stream", events::run_stream),
        ("idle", idle::run),
    ];
    let wanted = options.part.as_deref();
    if let Some(other) = wanted.filter(|part| !parts.iter().any(|(name, _)| name == part)) {
        return Err(format!("there is no part {other}").into());
    }
    for (name, part) in parts.into_iter().filter(|(name, _)| wanted.is_none_or(|w| w == *name)) {
        println!("\n{name}");
        let own = dir.join(name);
        std::fs::create_dir(&own)?;
        let network = Network::start(&binaries, &own, 2)?;
        part(&network, options)?;
        network.stop()?;
        std::fs::remove_dir_all(own)?;
    }
    Ok(())
}

/// The name of the processor.
fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    name.unwrap_or("an unknown processor").to_owned()
}

/// Starts a client with a page for a new account.
fn member(network: &Network, user: &str) -> Result<(Member, Page)> {
    let dir = network.dir().join(format!("files-{user}"));
    std::fs::create_dir_all(&dir)?;
    let data_dir = format!("client-{user}");
    let page = ["--page", "127.0.0.1:0"];
    let arguments =
        [&["127.0.0.1:0", network.info(), "--data-dir", &data_dir, "--json"], &page[..]].concat();
    let process = Process::start(&data_dir, &network.binaries().client, &arguments, network.dir())?;
    let mut member = Member::begin(process, user, dir)?;
    let token = member.ask(&["create_token", "bench", "--rights", "manage"])?;
    let url = member.ask(&["page"])?;
    let page = Page::new(
        url["url"].as_str().ok_or("there is no page")?,
        token["token"].as_str().ok_or("there is no token")?,
    )?;
    Ok((member, page))
}
