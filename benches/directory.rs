//! What a large directory costs: disk, memory, start, questions, changes, filling an empty tracker,
//! and what is left of rows that were written again and again.
//!
//! ```text
//! cargo bench --bench directory [-- --users 1000000 --groups 100000 --files 10000000 --overwrites 0 --dir DIR]
//! ```
//!
//! A tenth of the files are in one group. Everything runs in this process over the tracker's own
//! store; what the network, TLS and password hashes cost is not in these figures. Starting, asking
//! and filling run in a process of their own each, so that the peak of its memory says what they
//! take. Figures are medians.

#[path = "directory/rows.rs"]
mod rows;
#[path = "../examples/support/mod.rs"]
mod support;
#[path = "directory/world.rs"]
mod world;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use posse::directory::{Asked, Ticket};
use posse::store::RowStore;
use posse::types::limits::RETENTION;
use posse::types::{Change, FileOrder, RequestId, RequestStamp, Stamp, StoreId};

use rows::{BIG_GROUP, Sizes, facts, group, user};
use support::Result;
use support::show::mib;
use world::{BATCH_LEN, World, merge_all};

/// A moment in the year 2026, in milliseconds.
const NOW_MS: u64 = 1_780_000_000_000;
/// Entries of a page.
const PAGE_LEN: usize = 100;

/// Measures a large directory.
#[derive(Parser)]
struct Options {
    /// Accounts, each in one group.
    #[arg(long, default_value_t = 10_000)]
    users: u64,
    /// Groups.
    #[arg(long, default_value_t = 1_000)]
    groups: u64,
    /// Files, each shared by one member.
    #[arg(long, default_value_t = 100_000)]
    files: u64,
    /// How often every row is written again, before its size is compared.
    #[arg(long, default_value_t = 10)]
    overwrites: u64,
    /// Where the stores are; default: the system's temporary directory.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Only that, in a process of its own.
    #[arg(long, hide = true)]
    part: Option<Part>,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Part {
    Make,
    Start,
    Ask,
    Fill,
    Change,
    Overwrite,
    Leave,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if let (Some(part), Some(dir)) = (options.part, &options.dir) {
        return match run_part(part, dir, &options) {
            Ok(()) => ExitCode::SUCCESS,
            Err(e) => {
                eprintln!("directory: {e}");
                ExitCode::FAILURE
            }
        };
    }
    if !options.bench {
        println!("measures nothing unless run by: cargo bench --bench directory");
        return ExitCode::SUCCESS;
    }
    support::run("directory", options.dir.as_deref(), |dir| run(dir, &options))
}

fn run(dir: &Path, options: &Options) -> Result<()> {
    let Options { users, groups, files, overwrites, .. } = options;
    println!(
        "{users} users, {groups} groups, {files} files, of which {} are in one group; in {}",
        files / 10,
        dir.display()
    );
    let parts = [
        Part::Make,
        Part::Start,
        Part::Ask,
        Part::Fill,
        Part::Change,
        Part::Overwrite,
        Part::Leave,
    ];
    for part in parts {
        if matches!(part, Part::Overwrite) && *overwrites == 0 {
            continue;
        }
        support::check_interrupt()?;
        let name =
            part.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        let status = Command::new(std::env::current_exe()?)
            .args(["--part", &name, "--dir"])
            .arg(dir)
            .args([
                "--users",
                &users.to_string(),
                "--groups",
                &groups.to_string(),
                "--files",
                &files.to_string(),
            ])
            .args(["--overwrites", &overwrites.to_string()])
            .status()?;
        if !status.success() {
            return Err(format!("{name}: {status}").into());
        }
    }
    Ok(())
}

fn run_part(part: Part, dir: &Path, options: &Options) -> Result<()> {
    let sizes = Sizes { users: options.users, groups: options.groups, files: options.files };
    let (main, empty) = (dir.join("main"), dir.join("empty"));
    match part {
        Part::Make => make(&main, sizes),
        Part::Start => start(&main),
        Part::Ask => ask(&main, sizes),
        Part::Fill => fill(&main, &empty),
        Part::Change => change(&main, sizes),
        Part::Overwrite => overwrite(&main, sizes, options.overwrites),
        Part::Leave => leave(&main, sizes),
    }
}

fn make(dir: &Path, sizes: Sizes) -> Result<()> {
    let begun = Instant::now();
    let mut world = World::open(dir)?;
    let other = StoreId::from_bytes([9; 16]);
    world.link(other)?;
    let count = merge_all(&mut world, rows::all(sizes, 0), other)?;
    drop(world);
    println!(
        "rows                                       {count:>12}   written in {:.0} s",
        begun.elapsed().as_secs_f64()
    );
    println!(
        "size on disk                               {:>12}   {:.0} bytes a row",
        mib(size(dir)?),
        size(dir)? as f64 / count as f64
    );
    Ok(())
}

fn start(dir: &Path) -> Result<()> {
    let times = times(5, |_| World::open(dir).map(drop))?;
    println!("start                                      {:>9.0} ms   (bar: 2,000 ms)", ms(times));
    Ok(())
}

fn ask(dir: &Path, sizes: Sizes) -> Result<()> {
    let world = World::open(dir)?;
    let reader = RowStore::reader(dir)?;
    let asking = user(0);
    let big = sizes.files / 10;
    let random = |below: u64| rand::random::<u64>() % below.max(1);
    let asked = reader.look(|directory| -> Result<()> {
        for (words, order) in
            [("name", FileOrder::Name), ("size", FileOrder::Size), ("date", FileOrder::Date)]
        {
            let times = times(51, |_| {
                let after = facts(random(big)).name.as_str().parse()?;
                let (page, _) = directory.files(BIG_GROUP, None, order, Some(&after), PAGE_LEN);
                if page.is_empty() { Err("an empty page".into()) } else { Ok(()) }
            })?;
            println!(
                "page of {PAGE_LEN} of {big:>9} files, by {words}      {:>9.2} ms   (bar: 10 ms)",
                ms(times)
            );
        }
        let pattern = format!("*{}*", big / 2).parse()?;
        let found = times(3, |_| {
            let (found, _) =
                directory.files(BIG_GROUP, Some(&pattern), FileOrder::Name, None, PAGE_LEN);
            if found.is_empty() { Err("nothing found".into()) } else { Ok(()) }
        })?;
        println!("search through all of these                {:>9.2} ms", ms(found));
        let times_groups = times(51, |_| {
            let after = format!("group-{}", random(sizes.groups)).parse()?;
            directory.groups(asking, None, Some(&after), PAGE_LEN);
            Ok(())
        })?;
        println!("page of {PAGE_LEN} groups                         {:>9.2} ms", ms(times_groups));
        let logins = times(201, |_| {
            let name = format!("user-{}", random(sizes.users));
            if directory.login_candidates(&name).len() == 1 {
                Ok(())
            } else {
                Err("no such user".into())
            }
        })?;
        println!("login, the password hash aside             {:>9.3} ms", ms(logins));
        Ok(())
    })?;
    asked?;
    drop(world);
    println!("memory after these, at its peak            {:>12}   (bar: 512 MiB)", mib(peak()?));
    Ok(())
}

fn fill(from: &Path, to: &Path) -> Result<()> {
    let begun = Instant::now();
    let source = World::open(from)?;
    let store = source.replica.lineage().store;
    let through = source.replica.sequence();
    let reader = RowStore::reader(from)?;
    let mut world = World::open(to)?;
    world.link(store)?;
    let (mut batch, mut last, mut failed) = (Vec::new(), 0, None);
    let mut count = 0;
    reader.read_after(0, through, |sequence, row| {
        if sequence != last && batch.len() >= BATCH_LEN {
            failed = world.merge(std::mem::take(&mut batch), last).err();
        }
        last = sequence;
        count += 1;
        batch.push(row);
        failed.is_none()
    })?;
    failed.map_or(Ok(()), Err)?;
    world.merge(batch, last)?;
    world.replica.store_mut().flush()?;
    let same = world.replica.directory().digest() == source.replica.directory().digest();
    if !same {
        return Err("the copies differ".into());
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "an empty tracker has all of it after       {seconds:>9.1} s    {:.0} rows a second",
        f64::from(count) / seconds
    );
    println!("memory while filling, at its peak          {:>12}", mib(peak()?));
    std::fs::remove_dir_all(to)?;
    Ok(())
}

/// Changes that 64 clients have asked for at once, of a group with many files.
fn change(dir: &Path, sizes: Sizes) -> Result<()> {
    let owner = user((sizes.users / sizes.groups).max(1));
    let mut world = World::open(dir)?;
    let mut next = 0u64;
    let begun = Instant::now();
    // Later than what an earlier run has left.
    world.now_ms += world.replica.sequence();
    next += world.lift_quotas(next)?;
    for _ in 0..200 {
        for _ in 0..64 {
            next += 1;
            let file = facts(u64::MAX / 2 + next);
            let id = RequestId::from_bytes(rand::random());
            let request = RequestStamp { id, at: Stamp::new(world.now_ms + next, 0) };
            let change = Change::ShareFile { group: group(1), file };
            let asked = Asked { actor: owner, request, change, note: String::new() };
            world.replica.submit(world.now_ms + next, Ticket(next), asked);
        }
        if let Some(refusal) = world.commit()?.first() {
            return Err(refusal.to_string().into());
        }
    }
    world.replica.store_mut().flush()?;
    println!(
        "durable changes, 64 at once                {:>9.0} a second",
        next as f64 / begun.elapsed().as_secs_f64()
    );
    Ok(())
}

fn overwrite(dir: &Path, sizes: Sizes, times: u64) -> Result<()> {
    let before = size(dir)?;
    let mut world = World::open(dir)?;
    for round in 1..=times {
        let other = StoreId::from_bytes([10 + round as u8; 16]);
        world.link(other)?;
        merge_all(&mut world, rows::all(sizes, round), other)?;
    }
    world.sweep(NOW_MS + 2 * RETENTION.as_millis() as u64)?;
    drop(world);
    let ratio = size(dir)? as f64 / before as f64;
    println!(
        "size after every row was written {times} times   {:>9.2} of once   (bar: 1.2)",
        ratio
    );
    Ok(())
}

/// A member who shares many files leaves: until the change is durable.
fn leave(dir: &Path, sizes: Sizes) -> Result<()> {
    let members = (sizes.users / sizes.groups).max(1);
    let shares = (sizes.files / 10).div_ceil(members);
    let mut world = World::open(dir)?;
    let now_ms = NOW_MS + 3 * RETENTION.as_millis() as u64;
    let request =
        RequestStamp { id: RequestId::from_bytes(rand::random()), at: Stamp::new(now_ms, 0) };
    let change = Change::LeaveGroup { group: BIG_GROUP };
    let begun = Instant::now();
    world.replica.submit(
        now_ms,
        Ticket(1),
        Asked { actor: user(0), request, change, note: String::new() },
    );
    if let Some(refusal) = world.commit()?.first() {
        return Err(refusal.to_string().into());
    }
    let time = begun.elapsed();
    println!("a member with {shares:>8} shares leaves        {:>9.0} ms", ms(time));
    Ok(())
}

/// The median time of several runs.
fn times(count: usize, mut run: impl FnMut(usize) -> Result<()>) -> Result<Duration> {
    let mut times = Vec::new();
    for index in 0..count {
        let begun = Instant::now();
        run(index)?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    Ok(times[count / 2])
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Bytes of a store's files.
fn size(dir: &Path) -> Result<u64> {
    let mut len = 0;
    for entry in std::fs::read_dir(dir)? {
        len += entry?.metadata()?.len();
    }
    Ok(len)
}

/// The peak of this process's resident memory.
fn peak() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .ok_or("no VmHWM in /proc/self/status")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}
