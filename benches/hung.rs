//! What a download on a disk that hangs costs the others.
//!
//! ```text
//! cargo bench --bench hung [-- MIB [DIR [RUNS]]]
//! ```
//!
//! Two engines in one process over loopback, encrypted. Forty-nine downloads of `MIB` each (24
//! unless told otherwise) from one seeder, from the start of the first until all are complete: alone,
//! and beside a fiftieth whose file system hangs. That is a FUSE file system (`bindfs`) whose daemon
//! is stopped once that download has begun to write. It needs the permission to mount. The files are
//! removed at the end.

#[path = "transfer/engine.rs"]
#[allow(dead_code, reason = "shared with the benches that start processes")]
mod engine;

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rustix::process::{Pid, Signal, kill_process};

use posse::swarm::{DownloadSpec, Engine, Hashed, Transfer, TransferId, TransferState, hash_file};
use posse::types::Rate;

use engine::{Outcome, PATIENCE, peer, start};

/// Downloads that are measured.
const OTHERS: usize = 49;
/// What their time beside the hung disk may be of their time alone.
const BAR: f64 = 1.05;
/// Bytes a second of the download that is to hang: it is not to end before.
const SLOW: u64 = 1_000_000;

fn main() -> Outcome<()> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(place) = arguments.iter().position(|argument| argument == "--bench") else {
        println!("measures nothing unless run by: cargo bench --bench hung");
        return Ok(());
    };
    arguments.remove(place);
    let mib: u64 = arguments.first().map_or(Ok(24), |text| text.parse())?;
    let directory = arguments.get(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let runs: usize = arguments.get(2).map_or(Ok(5), |text| text.parse())?;
    let directory = directory.join(format!("posse-bench-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let outcome = measure(&directory, mib << 20, runs);
    std::fs::remove_dir_all(&directory)?;
    outcome
}

fn measure(dir: &Path, len: u64, runs: usize) -> Outcome<()> {
    let mut files = Vec::new();
    for number in 0..=OTHERS {
        let path = dir.join(format!("file-{number}.bin"));
        make_file(&path, number as u64, len)?;
        files.push(hash_file(&path, &mut |_| true)?);
    }
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for run in 1..=runs {
        // Each goes first as often as the other.
        let order = if run % 2 == 0 { [true, false] } else { [false, true] };
        for hangs in order {
            let took = fetch_all(dir, &files, hangs)?;
            if hangs { &mut beside } else { &mut alone }.push(took);
        }
        let last = |times: &[Duration]| times.last().map_or(0.0, Duration::as_secs_f64);
        println!(
            "run {run}: alone {:.2} s, beside the hung disk {:.2} s",
            last(&alone),
            last(&beside)
        );
    }
    let [alone, beside] = [alone, beside].map(median);
    println!("median of {runs}: alone {alone:.2} s, beside the hung disk {beside:.2} s");
    println!("{:.3} of the time alone (bar {BAR})", beside / alone);
    Ok(())
}

/// The time in which all but the last file are fetched, while the last one's disk hangs or not.
fn fetch_all(dir: &Path, files: &[Hashed], hangs: bool) -> Outcome<Duration> {
    let key = dir.join("network.key");
    let (seeder, address) = start("tls", &key, |host| Arc::new(host))?;
    files.iter().try_for_each(|file| seeder.seed(file.seed.clone()))?;
    let (engine, _) = start("tls", &key, |host| Arc::new(host))?;
    let target = dir.join("target");
    std::fs::create_dir_all(&target)?;
    let (last, others) = files.split_last().ok_or("no files")?;
    let hung = if hangs { Some(Mount::new(&dir.join("mount"))?) } else { None };
    if let Some(mount) = &hung {
        let transfer = begin(&engine, &address, last, &mount.at)?;
        transfer.set_limit(Some(Rate::new(SLOW)?));
        transfer.wait_until(PATIENCE, |status| status.bytes_done > 0);
        mount.signal(Signal::STOP)?;
    }
    let started = Instant::now();
    let transfers: Vec<Transfer> = others
        .iter()
        .map(|file| begin(&engine, &address, file, &target))
        .collect::<Outcome<_>>()?;
    for transfer in &transfers {
        let status = transfer.wait(PATIENCE);
        if status.state != TransferState::Complete {
            return Err(format!("{status:?}").into());
        }
    }
    let took = started.elapsed();
    if let Some(mount) = &hung {
        mount.signal(Signal::CONT)?;
    }
    engine.stop(PATIENCE);
    seeder.stop(PATIENCE);
    drop(hung);
    std::fs::remove_dir_all(target)?;
    Ok(took)
}

fn begin(engine: &Engine, address: &str, file: &Hashed, dir: &Path) -> Outcome<Transfer> {
    let facts = file.facts();
    let info_hash = facts.info_hash;
    let transfer = engine.download(DownloadSpec {
        id: TransferId(1),
        target: dir.join(facts.name.as_str()),
        facts,
        metainfo: None,
        chain: None,
        part: None,
        verified: None,
        paused: false,
    })?;
    engine.add_peers(info_hash, [peer(address)?]);
    Ok(transfer)
}

/// A FUSE file system over a directory; unmounted when dropped.
struct Mount {
    at: PathBuf,
    daemon: Child,
}

impl Mount {
    fn new(at: &Path) -> Outcome<Self> {
        let below = at.with_extension("below");
        std::fs::create_dir_all(at)?;
        std::fs::create_dir_all(&below)?;
        let daemon = Command::new("bindfs").arg("-f").arg(&below).arg(at).spawn()?;
        let mut mount = Self { at: at.to_owned(), daemon };
        while !std::fs::read_to_string("/proc/self/mountinfo")?.contains(&*at.to_string_lossy()) {
            if mount.daemon.try_wait()?.is_some() {
                return Err("bindfs mounts nothing here".into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(mount)
    }

    fn signal(&self, signal: Signal) -> Outcome<()> {
        let pid = Pid::from_raw(i32::try_from(self.daemon.id())?).ok_or("no process")?;
        Ok(kill_process(pid, signal)?)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = self.signal(Signal::CONT);
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
        let _ = (self.daemon.kill(), self.daemon.wait());
        // The next run begins the file anew.
        let _ = std::fs::remove_dir_all(self.at.with_extension("below"));
    }
}

fn make_file(path: &Path, seed: u64, len: u64) -> Outcome<()> {
    let (mut file, mut random) = (File::create(path)?, SmallRng::seed_from_u64(seed));
    let mut bytes = vec![0; usize::try_from(len)?];
    random.fill_bytes(&mut bytes);
    file.write_all(&bytes)?;
    Ok(())
}

/// In seconds.
fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64()
}
