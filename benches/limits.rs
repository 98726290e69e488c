//! How near limits come to what they say, how fairly they are divided, and what they cost.
//!
//! ```text
//! cargo bench --bench limits [-- SECONDS [DIR [rates|downloads|peers|cost]...]]
//! ```
//!
//! Engines alone, in one process over loopback, encrypted. Each rate is measured for `SECONDS` (6
//! unless told otherwise), once with the limit at the sender and once at the receiver, and beside
//! it the fastest second and the fastest five seconds there were. Then a limit is shared: by four
//! downloads of one receiver, and by eight receivers of one sender, who know nothing of each other.
//! The last part moves a file without a limit, and under one that is never reached, in turns: the
//! difference is what being limited costs; without a limit nothing but a flag is looked at.

#[path = "transfer/engine.rs"]
#[allow(dead_code, reason = "shared with the benches that start processes")]
mod engine;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use posse::swarm::{
    DownloadSpec, Engine, Hashed, Limits, Transfer, TransferId, TransferState, hash_file,
};
use posse::types::Rate;

use engine::{Outcome, PATIENCE, peer, start, used};

/// Limits that are measured, in bytes a second.
const RATES: [u64; 3] = [1_000_000, 10_000_000, 100_000_000];
/// The limit that is shared.
const SHARED: u64 = 20_000_000;
/// Bytes moved to see what a limit costs, and how often.
const COST_LEN: u64 = 512 << 20;
const COST_RUNS: usize = 5;
/// How often it is looked how much has come.
const LOOK: Duration = Duration::from_millis(50);
/// How far from the limit the rate may be over the whole time.
const BAR: f64 = 0.05;
/// What the least of those that share has to have of the mean.
const BAR_SHARE: f64 = 0.25;

fn main() -> Outcome<()> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let asked = arguments
        .iter()
        .position(|argument| argument == "--bench")
        .map(|place| arguments.remove(place))
        .is_some();
    if !asked {
        println!("measures nothing unless run by: cargo bench --bench limits");
        return Ok(());
    }
    let seconds: u64 = arguments.first().map_or(Ok(6), |text| text.parse())?;
    let directory = arguments
        .get(1)
        .map_or_else(std::env::temp_dir, PathBuf::from)
        .join(format!("posse-bench-{}", std::process::id()));
    let parts = arguments.get(2..).filter(|parts| !parts.is_empty());
    let wanted = |part: &str| parts.is_none_or(|parts| parts.iter().any(|wanted| wanted == part));
    std::fs::create_dir_all(&directory)?;
    let time = Duration::from_secs(seconds.max(1));
    let measured = (|| {
        if wanted("rates") {
            rates(&directory, time)?;
        }
        if wanted("downloads") {
            shared_by_downloads(&directory, time)?;
        }
        if wanted("peers") {
            shared_by_peers(&directory, time)?;
        }
        if wanted("cost") {
            cost(&directory)?;
        }
        Ok(())
    })();
    std::fs::remove_dir_all(&directory)?;
    measured
}

/// An engine with its address.
struct Station {
    engine: Arc<Engine>,
    address: String,
}

impl Station {
    fn start(dir: &Path) -> Outcome<Self> {
        let (engine, address) = start("tls", &dir.join("network.key"), |host| Arc::new(host))?;
        Ok(Self { engine, address })
    }

    /// Begins to fetch a file from one other.
    fn fetch(&self, hashed: &Hashed, from: &Station, target: PathBuf) -> Outcome<Transfer> {
        let facts = hashed.facts();
        let info_hash = facts.info_hash;
        let spec = DownloadSpec {
            id: TransferId(1),
            facts,
            target,
            metainfo: None,
            chain: None,
            part: None,
            verified: None,
            paused: false,
        };
        let transfer = self.engine.download(spec)?;
        self.engine.add_peers(info_hash, [peer(&from.address)?]);
        Ok(transfer)
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        self.engine.stop(Duration::from_secs(10));
    }
}

/// Makes a file of that length with random content: a receiver does not write zeros.
fn source(dir: &Path, name: &str, len: u64) -> Outcome<Hashed> {
    let path = dir.join(name);
    let mut file = File::create(&path)?;
    let mut random = SmallRng::seed_from_u64(
        name.bytes().fold(len, |seed, byte| seed.rotate_left(8) ^ u64::from(byte)),
    );
    let (mut chunk, mut left) = (vec![0; 1 << 20], len);
    while left > 0 {
        let part = &mut chunk[..left.min(1 << 20) as usize];
        random.fill_bytes(part);
        file.write_all(part)?;
        left -= part.len() as u64;
    }
    Ok(hash_file(&path, &mut |_| true)?)
}

/// What had come by when.
type Course = Vec<(Duration, u64)>;

/// Looks at downloads for some time, or until one is complete; the first look is when anything has
/// come.
fn watch(transfers: &[Transfer], time: Duration) -> Vec<Course> {
    let received =
        || transfers.iter().map(|transfer| transfer.status().received).collect::<Vec<u64>>();
    while received().contains(&0) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let begun = Instant::now();
    let mut courses = vec![Course::new(); transfers.len()];
    while begun.elapsed() < time
        && transfers.iter().all(|transfer| !transfer.status().state.has_ended())
    {
        let now = begun.elapsed();
        courses.iter_mut().zip(received()).for_each(|(course, bytes)| course.push((now, bytes)));
        std::thread::sleep(LOOK);
    }
    courses
}

/// Bytes a second over the whole of it.
fn rate_of(course: &Course) -> f64 {
    let (Some(first), Some(last)) = (course.first(), course.last()) else { return 0.0 };
    (last.1 - first.1) as f64 / (last.0 - first.0).as_secs_f64()
}

/// Bytes a second over the best window of that length.
fn fastest(course: &Course, window: Duration) -> f64 {
    let end = |at: usize| course[at..].iter().find(|(time, _)| *time >= course[at].0 + window);
    let rate = |at: usize| {
        end(at).map(|end| (end.1 - course[at].1) as f64 / (end.0 - course[at].0).as_secs_f64())
    };
    (0..course.len()).filter_map(rate).fold(0.0, f64::max)
}

fn only_upload(rate: u64) -> Outcome<Limits> {
    Ok(Limits { upload: Some(Rate::new(rate)?), download: None })
}

fn only_download(rate: u64) -> Outcome<Limits> {
    Ok(Limits { upload: None, download: Some(Rate::new(rate)?) })
}

fn rates(dir: &Path, time: Duration) -> Outcome<()> {
    println!(
        "one sender, one receiver, {} s each; MB/s, and of the limit. Bar: within {:.0} %",
        time.as_secs(),
        BAR * 100.0
    );
    println!("limit\tat\trate\tof it\tbest 1 s\tbest 5 s\tCPU of a core");
    for rate in RATES {
        for (at, limits) in [("sender", only_upload(rate)?), ("receiver", only_download(rate)?)] {
            let hashed = source(dir, "rates.bin", rate * (time.as_secs() + 4))?;
            let (sender, receiver) = (Station::start(dir)?, Station::start(dir)?);
            sender.engine.seed(hashed.seed.clone())?;
            let limited = if at == "sender" { &sender } else { &receiver };
            limited.engine.set_limits(limits);
            let before = used().cpu;
            let transfer = receiver.fetch(&hashed, &sender, dir.join("copy.bin"))?;
            let course =
                watch(std::slice::from_ref(&transfer), time + Duration::from_millis(500)).remove(0);
            let cpu = (used().cpu - before) / time.as_secs_f64();
            transfer.cancel();
            let got = rate_of(&course);
            let verdict = if (got / rate as f64 - 1.0).abs() <= BAR { "" } else { "\tmissed" };
            let [second, five] =
                [1, 5].map(|seconds| fastest(&course, Duration::from_secs(seconds)) / rate as f64);
            let mb = |bytes: f64| bytes / 1e6;
            println!(
                "{}\t{at}\t{:.2}\t{:.3}\t{second:.3}\t{five:.3}\t{:.0} %{verdict}",
                mb(rate as f64),
                mb(got),
                got / rate as f64,
                cpu * 100.0
            );
        }
    }
    Ok(())
}

/// Prints how a limit was divided.
fn print_shares(what: &str, courses: &[Course]) {
    let rates: Vec<f64> = courses.iter().map(rate_of).collect();
    let (sum, mean) = (rates.iter().sum::<f64>(), rates.iter().sum::<f64>() / rates.len() as f64);
    let [least, most] =
        [f64::min, f64::max].map(|of| rates.iter().copied().reduce(of).unwrap_or_default());
    println!(
        "{what}: {:.2} MB/s together, {:.3} of the limit; each {}; the least {:.3} of the mean, the most {:.3}. Bar: the least at least {BAR_SHARE}",
        sum / 1e6,
        sum / SHARED as f64,
        rates.iter().map(|rate| format!("{:.2}", rate / 1e6)).collect::<Vec<_>>().join(" "),
        least / mean,
        most / mean
    );
}

fn shared_by_downloads(dir: &Path, time: Duration) -> Outcome<()> {
    let (sender, receiver) = (Station::start(dir)?, Station::start(dir)?);
    receiver.engine.set_limits(only_download(SHARED)?);
    let mut transfers = Vec::new();
    for number in 0..4 {
        let hashed =
            source(dir, &format!("shared-{number}.bin"), SHARED * (time.as_secs() + 4) / 4)?;
        sender.engine.seed(hashed.seed.clone())?;
        transfers.push(receiver.fetch(&hashed, &sender, dir.join(format!("copy-{number}.bin")))?);
    }
    print_shares("4 downloads that share 20 MB/s", &watch(&transfers, time));
    transfers.iter().for_each(|transfer| _ = transfer.cancel());
    Ok(())
}

fn shared_by_peers(dir: &Path, time: Duration) -> Outcome<()> {
    let sender = Station::start(dir)?;
    sender.engine.set_limits(only_upload(SHARED)?);
    let hashed = source(dir, "peers.bin", SHARED * (time.as_secs() + 4) / 8)?;
    sender.engine.seed(hashed.seed.clone())?;
    let receivers = (0..8).map(|_| Station::start(dir)).collect::<Outcome<Vec<_>>>()?;
    let begin = |(number, receiver): (usize, &Station)| {
        receiver.fetch(&hashed, &sender, dir.join(format!("peer-{number}.bin")))
    };
    let transfers = receivers.iter().enumerate().map(begin).collect::<Outcome<Vec<_>>>()?;
    print_shares("8 receivers that share a sender's 20 MB/s", &watch(&transfers, time));
    transfers.iter().for_each(|transfer| _ = transfer.cancel());
    Ok(())
}

/// Moves a file once; the time and the CPU seconds it took.
fn once(dir: &Path, hashed: &Hashed, limits: Limits) -> Outcome<(f64, f64)> {
    let (sender, receiver) = (Station::start(dir)?, Station::start(dir)?);
    sender.engine.seed(hashed.seed.clone())?;
    sender.engine.set_limits(limits);
    receiver.engine.set_limits(limits);
    let target = dir.join("cost-copy.bin");
    let (before, begun) = (used().cpu, Instant::now());
    let transfer = receiver.fetch(hashed, &sender, target.clone())?;
    let status = transfer.wait(PATIENCE);
    let took = (begun.elapsed().as_secs_f64(), used().cpu - before);
    if status.state != TransferState::Complete {
        return Err(format!("{:?}", transfer.why()).into());
    }
    std::fs::remove_file(target)?;
    Ok(took)
}

fn cost(dir: &Path) -> Outcome<()> {
    let hashed = source(dir, "cost.bin", COST_LEN)?;
    let huge = Some(Rate::new(100_000_000_000)?);
    let mut taken = [Vec::new(), Vec::new()];
    for _ in 0..COST_RUNS {
        taken[0].push(once(dir, &hashed, Limits::default())?);
        taken[1].push(once(dir, &hashed, Limits { upload: huge, download: huge })?);
    }
    let median = |runs: &[(f64, f64)], of: fn(&(f64, f64)) -> f64| {
        let mut values: Vec<f64> = runs.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let [none, far] =
        taken.each_ref().map(|runs| (median(runs, |run| run.0), median(runs, |run| run.1)));
    let rate = |seconds: f64| COST_LEN as f64 / seconds / 1e6;
    println!(
        "512 MiB, median of {COST_RUNS}: without limits {:.0} MB/s and {:.2} CPU s; under limits of 100 GB/s {:.0} MB/s and {:.2} CPU s, {:.3} of it",
        rate(none.0),
        none.1,
        rate(far.0),
        far.1,
        far.1 / none.1
    );
    Ok(())
}
