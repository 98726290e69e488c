//! A large directory in PostgreSQL: what it takes on the disk, and what one tracker answers from it.
//!
//! It goes there as an operator takes it there: a tracker's store in SQLite, then
//! `tracker admin import`. So the disk has to hold both for a while.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use posse::types::{DownloadState, FileOrder, GroupId, InfoHash, StoreId};
use posse::wire::tracker::{AnnounceEntry, Reply, Request};

use crate::load::{Load, machine};
use crate::postgres::Cluster;
use crate::rows::{self, BIG_GROUP, Sizes, facts, group, user_name};
use crate::session::{Session, request_id};
use crate::support::{Binaries, Network, Result, check_interrupt};
use crate::world::{World, merge_all};
use crate::{Options, all_at_once};

const MIB: f64 = 1_048_576.0;

/// Fills a database, and measures one tracker on it.
pub(crate) fn measure(dir: &Path, options: &Options) -> Result<()> {
    let sizes = Sizes { users: options.users, groups: options.users / 10, files: options.files };
    println!(
        "{} users, {} groups, {} files, of which {} are in one group; {}",
        sizes.users,
        sizes.groups,
        sizes.files,
        sizes.files / 10,
        machine()
    );
    let binaries = Binaries::given(env!("CARGO_BIN_EXE_tracker"), env!("CARGO_BIN_EXE_client"));
    let mut cluster = Cluster::make(&[]);
    cluster.start_server();
    fill(&dir.join("sqlite"), &binaries, &cluster, sizes)?;
    let network = Network::start_with(&binaries, dir, 1, &["--store", &cluster.url()])?;
    ask(&network, &cluster, sizes, options)?;
    network.stop()?;
    println!("{}", machine());
    Ok(())
}

fn fill(dir: &Path, binaries: &Binaries, cluster: &Cluster, sizes: Sizes) -> Result<()> {
    let begun = Instant::now();
    let mut world = World::open(dir)?;
    let other = StoreId::from_bytes([9; 16]);
    world.link(other)?;
    let count = merge_all(&mut world, rows::all(sizes, 0), other)?;
    world.now_ms += world.replica.sequence();
    world.lift_quotas(0)?;
    drop(world);
    let seconds = begun.elapsed().as_secs_f64();
    println!("rows {count}: in SQLite after {seconds:.0} s, {:.0} MiB", size(dir)? as f64 / MIB);
    check_interrupt()?;
    let begun = Instant::now();
    let mut import = Command::new(&binaries.tracker);
    import.args(["admin", "--data-dir"]).arg(dir).args(["import", &cluster.url()]);
    let output = import.output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!("`tracker admin import`: {seconds:.0} s, {:.0} rows a second", count as f64 / seconds);
    std::fs::remove_dir_all(dir)?;
    cluster.sql("VACUUM ANALYZE");
    let tables = cluster.sql(
        "SELECT relname || ' ' || n_live_tup || ' rows, ' || pg_table_size(relid) / 1048576
            || ' MiB, its keys ' || pg_indexes_size(relid) / 1048576 || ' MiB'
         FROM pg_stat_user_tables WHERE n_live_tup > 100 ORDER BY relname",
    );
    let database = cluster.sql("SELECT pg_database_size('postgres')").parse::<f64>()?;
    let bytes = database / count as f64;
    println!("size of the database: {:.0} MiB, {bytes:.0} bytes a row\n{tables}", database / MIB);
    Ok(())
}

/// What a client asks for.
fn ask(network: &Network, cluster: &Cluster, sizes: Sizes, options: &Options) -> Result<()> {
    let port = network.port(1);
    let big = sizes.files / 10;
    let random = |below: u64| rand::random::<u64>() % below.max(1);
    let mut session = Session::open(port)?;
    session.login(&user_name(0))?;
    for (words, order) in
        [("name", FileOrder::Name), ("size", FileOrder::Size), ("date", FileOrder::Date)]
    {
        let mut len = 0;
        let times = median(51, || {
            let after = facts(random(big)).name.as_str().parse()?;
            len = len.max(list(&mut session, Some(after), None, order)?);
            Ok(())
        })?;
        println!("a page of {len} of {big} files, by {words}: {times:.1} ms");
    }
    let search = median(3, || {
        let pattern = format!("*{}*", big / 2 + random(big / 2)).parse()?;
        let found = list(&mut session, None, Some(pattern), FileOrder::Name)?;
        if found == 0 { Err("nothing found".into()) } else { Ok(()) }
    })?;
    println!("a search through these: {search:.0} ms");
    let login = median(51, || log_in(port, random(sizes.users)).map(Session::close))?;
    println!("a login, with the connection and the password's hash: {login:.1} ms");

    // Each writer is the owner of a group of its own.
    let mut writers = Vec::new();
    for number in 1..=options.writers as u64 {
        let per_group = (sizes.users / sizes.groups).max(1);
        writers.push((number, log_in(port, number * per_group)?));
    }
    // Files that are not there yet.
    let last = AtomicU64::new(2 * sizes.files);
    let change = |number: u64, session: &mut Session| {
        let file = facts(last.fetch_add(1, Ordering::Relaxed));
        let request = request_id();
        match session.ask(Request::ShareFile { request, group: group(number), file })? {
            Reply::Done(_) => Ok(()),
            other => Err(format!("share: {other:?}").into()),
        }
    };
    let find = |number: u64, session: &mut Session| {
        let file = facts(sizes.first_of(number) + random(sizes.in_others()));
        find_peers(session, group(number), file.info_hash)
    };
    let (number, first) = &mut writers[0];
    println!("find-peers, alone: {:.2} ms", median(201, || find(*number, first))?);
    println!("a change, alone: {:.2} ms", median(201, || change(*number, first))?);
    let time = Duration::from_secs(options.seconds);
    let tracker = network.tracker(1);
    let measure = |what: &str, run: &mut dyn FnMut() -> Result<f64>| -> Result<()> {
        let trackers = [tracker];
        let load = Load::begin(&trackers, cluster);
        let rate = run()?;
        println!("{what:<12} {rate:>8.0} a second   {}", load.per_action(rate));
        Ok(())
    };
    measure("pages", &mut || {
        let mut members: Vec<_> = (0..options.writers.min(32) as u64)
            .map(|number| log_in(port, number % (sizes.users / sizes.groups)))
            .collect::<Result<_>>()?;
        all_at_once(&mut members, time, |session| {
            let after = facts(random(big)).name.as_str().parse()?;
            list(session, Some(after), None, FileOrder::Name).map(drop)
        })
    })?;
    measure("find-peers", &mut || {
        all_at_once(&mut writers, time, |(n, session)| find(*n, session))
    })?;
    measure("changes", &mut || {
        all_at_once(&mut writers, time, |(n, session)| change(*n, session))
    })?;
    measure("logins", &mut || {
        all_at_once(&mut writers, time, |_| log_in(port, random(sizes.users)).map(Session::close))
    })?;
    let memory = tracker.usage().memory_peak as f64 / MIB;
    println!("the tracker's memory at its peak: {memory:.0} MiB");
    Ok(())
}

fn log_in(port: u16, number: u64) -> Result<Session> {
    let mut session = Session::open(port)?;
    session.login(&user_name(number))?;
    Ok(session)
}

/// Lists files of the big group; returns how many came.
fn list(
    session: &mut Session,
    after: Option<posse::types::Label>,
    pattern: Option<posse::types::Pattern>,
    order: FileOrder,
) -> Result<usize> {
    match session.ask(Request::ListFiles { group: BIG_GROUP, after, pattern, order })? {
        Reply::Files { entries, .. } => Ok(entries.len()),
        other => Err(format!("list_files: {other:?}").into()),
    }
}

/// Asks who else is in the swarm of a file.
pub(crate) fn find_peers(session: &mut Session, group: GroupId, info_hash: InfoHash) -> Result<()> {
    let entry = AnnounceEntry { info_hash, group, state: DownloadState::Leeching };
    match session.ask(Request::Announce { entries: vec![entry] })? {
        Reply::Peers(_) => Ok(()),
        other => Err(format!("announce: {other:?}").into()),
    }
}

/// The median time of several runs, in milliseconds.
fn median(count: usize, mut run: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut times = Vec::new();
    for _ in 0..count {
        let begun = Instant::now();
        run()?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    Ok(times[count / 2].as_secs_f64() * 1000.0)
}

/// Bytes of a store's files.
fn size(dir: &Path) -> Result<u64> {
    let mut len = 0;
    for entry in std::fs::read_dir(dir)? {
        len += entry?.metadata()?.len();
    }
    Ok(len)
}
