//! A download of what is on this disk already, beside `cp` and the two digests that it cannot do
//! without.
//!
//! ```text
//! cargo bench --bench local [-- MiB [DIR [RUNS]]]
//! ```
//!
//! Ours: the engine with one file that has the content under another name, from the start of the
//! download until it is complete, durable and under its name; with its metainfo known, as after
//! sharing the same file in another group, and unknown, as when it was shared under another name.
//! The floor: `cp`, `fsync`, and then the SHA-1 of the pieces and that of the whole, on a thread
//! each. `cp` may make a reflink where the file system can, as we may. The files are removed at the
//! end.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use posse::net::{DeviceSecurity, Transport};
use posse::swarm::{
    DownloadSpec, Engine, EngineConfig, EngineEvent, Host, LocalCopy, Proof, TransferId,
    TransferState, hash_file, hash_file_as,
};
use posse::trust::KeyPair;
use posse::types::{DeviceId, FileFacts, GroupId, InfoHash, Ticket, VerifiedPieces};
use posse::wire::metainfo::Metainfo;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// What the floor's time is to be of ours, at least.
const BAR: f64 = 0.9;
const PATIENCE: Duration = Duration::from_secs(600);

fn main() -> Outcome<()> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(place) = arguments.iter().position(|argument| argument == "--bench") else {
        println!("measures nothing unless run by: cargo bench --bench local");
        return Ok(());
    };
    arguments.remove(place);
    let mib: u64 = arguments.first().map_or(Ok(1024), |text| text.parse())?;
    let directory = arguments.get(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let runs: usize = arguments.get(2).map_or(Ok(5), |text| text.parse())?;
    let directory = directory.join(format!("posse-bench-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let outcome = compare(&directory, mib, runs);
    std::fs::remove_dir_all(&directory)?;
    outcome
}

fn compare(directory: &Path, mib: u64, runs: usize) -> Outcome<()> {
    let source = directory.join("source.bin");
    make_file(&source, mib)?;
    let copy =
        LocalCopy { path: source.clone(), stamp: hash_file(&source, &mut |_| true)?.seed.stamp };
    let hashed = hash_file_as(&source, "wanted.bin".parse()?, &mut |_| true)?;
    let (facts, metainfo) = (hashed.facts(), hashed.seed.metainfo);
    let (mut floors, mut known, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    for run in 1..=runs {
        floors.push(floor(&source, directory)?);
        known.push(ours(&facts, Some(metainfo.clone()), &copy, directory)?);
        unknown.push(ours(&facts, None, &copy, directory)?);
        let last = |times: &[Duration]| times.last().map_or(0.0, |time| rate(mib, *time));
        let [floor, known, unknown] = [&floors, &known, &unknown].map(|times| last(times));
        println!(
            "run {run}: cp and two SHA-1 {floor:.0} MB/s; ours {known:.0} MB/s, with the metainfo to be made {unknown:.0} MB/s"
        );
    }
    let [floor, known, unknown] = [floors, known, unknown].map(|times| rate(mib, median(times)));
    println!("median of {runs}: cp and two SHA-1 {floor:.0} MB/s");
    println!("ours {known:.0} MB/s: {:.2} of that (bar {BAR})", known / floor);
    println!(
        "ours, with the metainfo to be made {unknown:.0} MB/s: {:.2} of that",
        unknown / floor
    );
    Ok(())
}

/// The time of `cp`, `fsync`, and both digests of the copy.
fn floor(source: &Path, directory: &Path) -> Outcome<Duration> {
    let copy = directory.join("cp.bin");
    let started = Instant::now();
    if !Command::new("cp").arg(source).arg(&copy).status()?.success() {
        return Err("cp failed".into());
    }
    std::fs::File::open(&copy)?.sync_all()?;
    hash_file(&copy, &mut |_| true)?;
    let took = started.elapsed();
    std::fs::remove_file(copy)?;
    Ok(took)
}

/// The time of a download that has the content at hand, on an engine of its own.
fn ours(
    facts: &FileFacts,
    metainfo: Option<Arc<Metainfo>>,
    copy: &LocalCopy,
    directory: &Path,
) -> Outcome<Duration> {
    let transport = Transport::Tls(DeviceSecurity::new(&KeyPair::generate()?)?);
    let engine = Engine::start(EngineConfig::new(transport), Arc::new(Alone(copy.clone())))?;
    let target = directory.join("wanted.bin");
    let started = Instant::now();
    let spec = DownloadSpec {
        id: TransferId(1),
        facts: facts.clone(),
        target: target.clone(),
        part: None,
        metainfo,
        chain: None,
        verified: None,
        paused: false,
    };
    let transfer = engine.download(spec)?;
    let status = transfer.wait(PATIENCE);
    let took = started.elapsed();
    engine.stop(PATIENCE);
    if status.state != TransferState::Complete || status.received != 0 {
        return Err(format!("{status:?}").into());
    }
    std::fs::remove_file(target)?;
    Ok(took)
}

/// A host that knows nobody, and one file.
struct Alone(LocalCopy);

impl Host for Alone {
    fn ticket_for(&self, _: InfoHash, _: DeviceId) -> Option<Ticket> {
        None
    }
    fn own_ticket(&self, _: GroupId) -> Option<Ticket> {
        None
    }
    fn check_ticket(&self, _: &Ticket, _: DeviceId) -> Option<Proof> {
        None
    }
    fn is_offered(&self, _: InfoHash, _: GroupId, _: DeviceId) -> bool {
        false
    }
    fn copies(&self, _: &FileFacts) -> Vec<LocalCopy> {
        vec![self.0.clone()]
    }
    fn journal(&self, _: TransferId, _: InfoHash, _: &VerifiedPieces) {}
    fn metainfo(&self, _: InfoHash, _: &Arc<Metainfo>) {}
    fn event(&self, _: EngineEvent) {}
}

/// Bytes of which no two pieces are alike.
fn make_file(path: &Path, mib: u64) -> Outcome<()> {
    use std::io::Write;
    let mut file = std::io::BufWriter::with_capacity(1 << 20, std::fs::File::create(path)?);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..(mib << 20) / 8 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        file.write_all(&state.to_le_bytes())?;
    }
    file.into_inner()?.sync_all()?;
    Ok(())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// Megabytes a second, a megabyte being a million bytes.
fn rate(mib: u64, took: Duration) -> f64 {
    (mib << 20) as f64 / 1e6 / took.as_secs_f64().max(1e-9)
}
