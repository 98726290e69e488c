//! How long a download that lacks one piece takes after its client was killed.
//!
//! ```text
//! cargo bench --bench resume [-- GIB [DIR [RUNS]]]
//! ```
//!
//! Engines over loopback, encrypted. A process of its own takes all pieces but one from a damaged
//! copy on this disk, and is killed (SIGKILL) once its journal lists them. Measured is what comes
//! then: from the start of the download in another engine, which has that journal, until the file
//! is complete, durable and under its name. The file has 8 GiB unless told otherwise, and is there
//! three times meanwhile; the files are removed at the end.

#[path = "transfer/engine.rs"]
#[allow(dead_code, reason = "shared with the benches that start processes")]
mod engine;

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use posse::swarm::{
    DownloadSpec, Engine, EngineEvent, Hashed, Host, LocalCopy, Proof, TransferId, TransferState,
    hash_file,
};
use posse::types::{
    Bitfield, DeviceId, FileFacts, FileStamp, GroupId, InfoHash, InodeId, PartStamp, Ticket,
    VerifiedPieces,
};
use posse::wire::metainfo::Metainfo;

use engine::{Anybody, Outcome, PATIENCE, peer, start, used};

/// How long it may take.
const BAR: Duration = Duration::from_millis(500);
/// The word that makes this program the process that is killed.
const FETCH: &str = "resume-fetch";

fn main() -> Outcome<()> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, directory] = arguments.as_slice()
        && word == FETCH
    {
        return fetch(Path::new(directory));
    }
    let Some(place) = arguments.iter().position(|argument| argument == "--bench") else {
        println!("measures nothing unless run by: cargo bench --bench resume");
        return Ok(());
    };
    arguments.remove(place);
    let gib: u64 = arguments.first().map_or(Ok(8), |text| text.parse())?;
    let directory = arguments.get(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let runs: usize = arguments.get(2).map_or(Ok(3), |text| text.parse())?;
    let directory = directory.join(format!("posse-bench-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let outcome = measure(&directory, gib << 30, runs);
    std::fs::remove_dir_all(&directory)?;
    outcome
}

fn measure(dir: &Path, len: u64, runs: usize) -> Outcome<()> {
    let source = dir.join("big.bin");
    make_file(&source, len)?;
    std::fs::copy(&source, dir.join("damaged.bin"))?;
    let damaged = File::options().write(true).open(dir.join("damaged.bin"))?;
    damaged.write_all_at(b"damaged", len / 2)?;
    damaged.sync_all()?;
    let hashed = hash_file(&source, &mut |_| true)?;
    std::fs::create_dir_all(dir.join("target"))?;
    let mut times = Vec::new();
    for run in 1..=runs {
        let (took, cpu, received) = resume(dir, &hashed)?;
        println!(
            "run {run}: complete {:.0} ms after the start, {cpu:.2} CPU seconds of both engines, \
             {received} bytes received",
            took.as_secs_f64() * 1e3
        );
        times.push(took);
    }
    times.sort_unstable();
    let median = times[times.len() / 2].as_secs_f64() * 1e3;
    println!("median of {runs}: {median:.0} ms (bar {} ms)", BAR.as_millis());
    Ok(())
}

/// Has another process fetch all pieces but one and kills it, then goes on here.
fn resume(dir: &Path, hashed: &Hashed) -> Outcome<(Duration, f64, u64)> {
    let mut child = Command::new(std::env::current_exe()?)
        .args([FETCH.as_ref(), dir.as_os_str()])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
    let count = hashed.seed.metainfo.geometry().piece_count();
    let (mut part, mut verified) = (None, None);
    while let Some(line) = lines.next().transpose()? {
        match line.split(' ').collect::<Vec<_>>().as_slice() {
            ["part", dev, inode, born] => {
                let (dev, inode) = (dev.parse()?, inode.parse()?);
                part = Some(InodeId { dev, inode, born_ns: born.parse().ok() });
            }
            ["journal", changed, bits] => {
                let bytes: Result<Vec<u8>, _> = (0..bits.len() / 2)
                    .map(|at| u8::from_str_radix(&bits[at * 2..][..2], 16))
                    .collect();
                let bits = Bitfield::from_bytes(bytes?, count)?;
                if bits.ones() == count - 1 {
                    let (changed_ns, is_final) = (changed.parse()?, false);
                    let part = Some(PartStamp { changed_ns, is_final });
                    verified = Some(VerifiedPieces { pieces: bits, part });
                    break;
                }
            }
            _ => return Err(format!("the fetching process says {line:?}").into()),
        }
    }
    child.kill()?;
    child.wait()?;
    if verified.is_none() {
        return Err("the fetching process ended before it had all pieces but one".into());
    }
    let key = dir.join("network.key");
    let (seeder, address) = start("tls", &key, |host| Arc::new(host))?;
    seeder.seed(hashed.seed.clone())?;
    let (engine, _) = start("tls", &key, |host| Arc::new(host))?;
    let (facts, target) = (hashed.facts(), dir.join("target/big.bin"));
    let (metainfo, chain) = (Some(hashed.seed.metainfo.clone()), hashed.seed.chain.clone());
    let (before, started, info_hash) = (used(), Instant::now(), facts.info_hash);
    let spec = DownloadSpec {
        id: TransferId(1),
        facts,
        target: target.clone(),
        metainfo,
        chain,
        part,
        verified,
        paused: false,
    };
    let transfer = engine.download(spec)?;
    engine.add_peers(info_hash, [peer(&address)?]);
    let status = transfer.wait(PATIENCE);
    let (took, cpu) = (started.elapsed(), used().cpu - before.cpu);
    engine.stop(PATIENCE);
    seeder.stop(PATIENCE);
    if status.state != TransferState::Complete {
        return Err(format!("{status:?}").into());
    }
    std::fs::remove_file(target)?;
    Ok((took, cpu, status.received))
}

/// The process that is killed: takes what the damaged copy has, and tells its journal.
fn fetch(dir: &Path) -> Outcome<()> {
    let hashed = hash_file(&dir.join("big.bin"), &mut |_| true)?;
    let path = dir.join("damaged.bin");
    let copy = LocalCopy { stamp: FileStamp::new(&std::fs::metadata(&path)?), path };
    let host = |inner| Arc::new(Killed { inner, copy }) as Arc<dyn Host>;
    let (engine, _): (Arc<Engine>, _) = start("tls", &dir.join("network.key"), host)?;
    let transfer = engine.download(DownloadSpec {
        id: TransferId(1),
        facts: hashed.facts(),
        target: dir.join("target/big.bin"),
        metainfo: Some(hashed.seed.metainfo),
        chain: hashed.seed.chain,
        part: None,
        verified: None,
        paused: false,
    })?;
    transfer.wait(PATIENCE);
    Ok(())
}

/// A host that knows a copy of the file, and prints what it is to keep.
struct Killed {
    inner: Anybody,
    copy: LocalCopy,
}

impl Host for Killed {
    fn ticket_for(&self, info_hash: InfoHash, device: DeviceId) -> Option<Ticket> {
        self.inner.ticket_for(info_hash, device)
    }
    fn own_ticket(&self, group: GroupId) -> Option<Ticket> {
        self.inner.own_ticket(group)
    }
    fn check_ticket(&self, ticket: &Ticket, device: DeviceId) -> Option<Proof> {
        self.inner.check_ticket(ticket, device)
    }
    fn is_offered(&self, _: InfoHash, _: GroupId, _: DeviceId) -> bool {
        true
    }
    fn opened(&self, _: TransferId, _: InfoHash, part: InodeId) -> Result<(), String> {
        let born = part.born_ns.map_or_else(|| "-".to_owned(), |born| born.to_string());
        println!("part {} {} {born}", part.dev, part.inode);
        Ok(())
    }
    fn copies(&self, _: &FileFacts) -> Vec<LocalCopy> {
        vec![self.copy.clone()]
    }
    fn journal(&self, _: TransferId, _: InfoHash, verified: &VerifiedPieces) {
        let bytes = verified.pieces.as_bytes();
        let bits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        if let Some(part) = verified.part {
            println!("journal {} {bits}", part.changed_ns);
        }
    }
    fn metainfo(&self, _: InfoHash, _: &Arc<Metainfo>) {}
    fn event(&self, _: EngineEvent) {}
}

/// Random bytes: no two pieces are alike, and none is a hole.
fn make_file(path: &Path, len: u64) -> Outcome<()> {
    let (mut file, mut random) = (File::create(path)?, SmallRng::seed_from_u64(len));
    let (mut chunk, mut left) = (vec![0; 1 << 20], len);
    while left > 0 {
        let part = &mut chunk[..left.min(1 << 20) as usize];
        random.fill_bytes(part);
        file.write_all(part)?;
        left -= part.len() as u64;
    }
    file.sync_all()?;
    Ok(())
}
