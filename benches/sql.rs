//! What trackers carry whose directory is in a PostgreSQL that they share, beside one whose
//! directory is in SQLite: in the same run, on the same machine, with the same clients.
//!
//! ```text
//! cargo bench --features postgres --bench sql [-- --writers 64 --seconds 5 --fill 0]
//! cargo bench --features postgres --bench sql -- --files 1000000 --users 100000
//! cargo bench --features postgres --bench sql -- --devices 2500 --trackers 1
//! ```
//!
//! The database is one of the bench's own, in a temporary directory, with Debian's settings but for
//! the place of its socket: each commit is on the disk. Trackers, clients and database share the
//! machine's processors.

#[path = "sql/devices.rs"]
mod devices;
#[path = "sql/large.rs"]
mod large;
#[path = "sql/load.rs"]
mod load;
#[path = "../tests/posse/harness/postgres.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "shared with the tests")]
mod postgres;
#[path = "directory/rows.rs"]
#[allow(dead_code, reason = "shared with another bench")]
mod rows;
#[path = "tracker_load/session.rs"]
#[allow(dead_code, reason = "shared with another bench")]
mod session;
#[path = "../examples/support/mod.rs"]
mod support;
#[path = "directory/world.rs"]
#[allow(dead_code, reason = "shared with another bench")]
mod world;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use posse::store::StorePlace;
use posse::trust::KeyPair;
use posse::types::{Effect, FileFacts, InfoHash, Sha1Digest, Success, TrackerInfo};
use posse::wire::tracker::{Reply, Request};
use posse::{Tracker, TrackerConfig};

use self::postgres::Cluster;
use self::session::{Session, request_id};
use self::support::Result;

/// A moment in the year 2026, in milliseconds: when the rows of a large directory were written.
const NOW_MS: u64 = 1_780_000_000_000;

/// Measures trackers on PostgreSQL.
#[derive(Parser)]
struct Options {
    /// Clients that ask all the time.
    #[arg(long, default_value_t = 64)]
    writers: usize,
    /// How long each measurement takes.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Rows and entries that are in the tables before, in thousands of each.
    #[arg(long, default_value_t = 0)]
    fill: u32,
    /// Instead of all that: measures one tracker on a directory with so many files.
    #[arg(long, default_value_t = 0, requires = "users")]
    files: u64,
    /// Users of that directory; every ten of them have a group.
    #[arg(long, default_value_t = 0)]
    users: u64,
    /// Instead of all that: watches so many devices that are online.
    #[arg(long, default_value_t = 0)]
    devices: usize,
    /// Trackers at which they are.
    #[arg(long, default_value_t = 1)]
    trackers: usize,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if !options.bench {
        println!("measures nothing unless run by: cargo bench --features postgres --bench sql");
        return ExitCode::SUCCESS;
    }
    support::run("sql", None, |dir| run(dir, &options))
}

fn run(dir: &Path, options: &Options) -> Result<()> {
    if options.files > 0 {
        return large::measure(dir, options);
    }
    if options.devices > 0 {
        return devices::measure(dir, options);
    }
    measure("SQLite, 1 tracker", start(&dir.join("sqlite"), 1, None)?, options)?;
    for count in [1, 2, 3] {
        let mut cluster = Cluster::make(&[]);
        cluster.start_server();
        let place = StorePlace::from_argument(&cluster.url())?;
        drop(start(&dir.join(format!("first-{count}")), 1, Some(&place))?);
        if options.fill > 0 {
            let rows = options.fill * 1000;
            for table in ["posse_rows SELECT k, 0, n, k", "posse_entries SELECT k, k"] {
                cluster.sql(&format!(
                    "INSERT INTO {table} FROM (SELECT n, '\\xf0'::bytea || decode(md5(n::text), 'hex') AS k
                     FROM generate_series(1, {rows}) AS n) AS made"
                ));
            }
            cluster.sql("VACUUM ANALYZE");
        }
        let trackers = start(&dir.join(format!("postgres-{count}")), count, Some(&place))?;
        measure(&format!("PostgreSQL, {count} tracker(s)"), trackers, options)?;
    }
    Ok(())
}

/// Starts trackers in this process.
fn start(dir: &Path, count: usize, place: Option<&StorePlace>) -> Result<Vec<Tracker>> {
    let key = Arc::new(KeyPair::generate()?);
    let tracker = |number: usize| {
        let info = TrackerInfo::parse("127.0.0.1:0")?;
        let mut config = TrackerConfig::new(info, 1, dir.join(number.to_string()), key.clone());
        config.store = place.cloned();
        config.limits.accounts_per_hour = 0;
        config.limits.groups_per_hour = 0;
        config.limits.requests_per_hour = 0;
        Ok(Tracker::start(config)?)
    };
    (0..count).map(tracker).collect()
}

fn measure(what: &str, trackers: Vec<Tracker>, options: &Options) -> Result<()> {
    let time = Duration::from_secs(options.seconds);
    let port = |number: usize| trackers[number % trackers.len()].local_addr().port();
    let mut makers = Vec::new();
    for number in 0..options.writers {
        let mut session = Session::open(port(number))?;
        session.create_user(&format!("user-{number}"))?;
        session.login(&format!("user-{number}"))?;
        let name = format!("group-{number}").parse()?;
        match session.ask(Request::CreateGroup { request: request_id(), name })? {
            Reply::Done(Success { effect: Effect::Group(group), .. }) => {
                makers.push((number, session, group, (0u64, 0u64)));
            }
            other => return Err(format!("create_group: {other:?}").into()),
        }
    }
    let changes = all_at_once(&mut makers, time, |(number, session, group, (made, _))| {
        let (request, file) = (request_id(), facts(*number, *made));
        *made += 1;
        match session.ask(Request::ShareFile { request, group: *group, file })? {
            Reply::Done(_) => Ok(()),
            other => Err(format!("share: {other:?}").into()),
        }
    })?;
    let peers = all_at_once(&mut makers, time, |(number, session, group, (made, asked))| {
        *asked += 1;
        large::find_peers(session, *group, facts(*number, *asked % *made).info_hash)
    })?;
    let logins = all_at_once(&mut makers, time, |(number, ..)| {
        let mut session = Session::open(port(*number))?;
        session.login(&format!("user-{number}"))?;
        session.close();
        Ok(())
    })?;
    println!(
        "{what:<28} changes {changes:>7.0} a second   find-peers {peers:>7.0}   logins {logins:>5.0}"
    );
    trackers.into_iter().try_for_each(Tracker::stop)?;
    Ok(())
}

/// Has each of these do something again and again; returns how often a second they do in all.
fn all_at_once<T: Send>(
    items: &mut [T],
    time: Duration,
    act: impl Fn(&mut T) -> Result<()> + Sync,
) -> Result<f64> {
    let start = Instant::now();
    let count = thread::scope(|scope| {
        let act = &act;
        let threads: Vec<_> = items
            .iter_mut()
            .map(|item| {
                scope.spawn(move || {
                    let mut count = 0u64;
                    while start.elapsed() < time {
                        act(&mut *item)?;
                        count += 1;
                    }
                    Ok(count)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| "a client panicked")?)
            .sum::<Result<u64>>()
    })?;
    Ok(count as f64 / start.elapsed().as_secs_f64())
}

fn facts(number: usize, count: u64) -> FileFacts {
    let mut hash = [number as u8; InfoHash::LEN];
    hash[..8].copy_from_slice(&count.to_be_bytes());
    FileFacts {
        info_hash: InfoHash::from_bytes(hash),
        name: format!("file-{number}-{count}.bin").parse().expect("a plain name"),
        len: 1 << 30,
        piece_len: 512 << 10,
        sha1: Sha1Digest::from_bytes([7; Sha1Digest::LEN]),
        chain: None,
    }
}
