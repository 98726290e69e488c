//! The engine alone: seeders and a leecher in processes of their own, over loopback, beside a bare
//! loop that receives, hashes and writes.
//!
//! ```text
//! cargo bench --bench transfer [-- MiB [SEEDERS [DIR [RUNS]]]]
//! cargo bench --bench transfer -- sparse [GiB [DIR]]
//! ```
//!
//! The second fetches a file that is nearly all holes, 64 GiB of it unless told otherwise: in
//! 131,072 pieces. Half way the leecher is killed, and another goes on from its journal. Both
//! copies stay sparse, so that it needs little room.
//!
//! No tracker and no client, so that what is seen is the engine's own; `throughput` measures the
//! real programs. Each run moves the file by the bare loop, in clear and encrypted, one after the
//! other. The process starts itself again for each part. The file is removed at the end.

#[path = "transfer/engine.rs"]
mod engine;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use posse::swarm::{DownloadSpec, EngineEvent, Host, Proof, TransferId, TransferState, hash_file};
use posse::types::{
    Bitfield, ChainingValues, DeviceId, FileFacts, GroupId, InfoHash, PartStamp, Ticket,
    VerifiedPieces,
};
use posse::wire::metainfo::Metainfo;
use sha1::{Digest, Sha1};

use engine::{Anybody, Outcome, Transferred, peer, transfer_both, used};

/// Bytes of data at each place of the sparse file that has any, and the number of these places.
const DATA_LEN: usize = 1 << 20;
const DATA_PLACES: u64 = 16;

fn main() -> Outcome<()> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let asked = arguments
        .iter()
        .position(|argument| argument == "--bench")
        .map(|place| arguments.remove(place))
        .is_some();
    if let Some(played) = engine::play(&arguments) {
        return played;
    }
    match arguments.first().map(String::as_str) {
        Some("leech-sparse") => leech_sparse(&arguments[1..]),
        Some("bare-send") => bare_send(Path::new(&arguments[1])),
        Some("bare-receive") => bare_receive(arguments[1].parse()?, Path::new(&arguments[2])),
        Some("sparse") if asked => sparse(&arguments[1..]),
        _ if asked => compare(&arguments),
        _ => {
            println!("measures nothing unless run by: cargo bench --bench transfer");
            Ok(())
        }
    }
}

fn compare(arguments: &[String]) -> Outcome<()> {
    let mib: u64 = arguments.first().map_or(Ok(1024), |text| text.parse())?;
    let seeders: usize = arguments.get(1).map_or(Ok(1), |text| text.parse())?;
    let directory = arguments
        .get(2)
        .map_or_else(std::env::temp_dir, PathBuf::from)
        .join(format!("posse-bench-{}", std::process::id()));
    let runs: usize = arguments.get(3).map_or(Ok(3), |text| text.parse())?;
    std::fs::create_dir_all(&directory)?;
    let outcome = compare_in(&directory, mib, seeders, runs);
    std::fs::remove_dir_all(&directory)?;
    outcome
}

fn compare_in(directory: &Path, mib: u64, seeders: usize, runs: usize) -> Outcome<()> {
    let source = directory.join("source.bin");
    make_file(&source, mib)?;
    let started = Instant::now();
    let hashed = hash_file(&source, &mut |_| true)?;
    println!("hash_file: {:.0} MB/s", rate(mib, started.elapsed()));
    let (mut ratios, mut cpu_ratios) = (Vec::new(), Vec::new());
    for run in 1..=runs {
        let (bare, cpu) = run_bare(&source, directory)?;
        println!("run {run}: bare loop {:.0} MB/s, {cpu:.2} CPU s", rate(mib, bare));
        let [plain, tls] = transfer_both(run, seeders, &hashed, directory)?;
        show("in clear", mib, bare, &plain);
        show("TLS", mib, bare, &tls);
        ratios.push(plain.time.as_secs_f64() / tls.time.as_secs_f64());
        cpu_ratios
            .push((plain.receiver.cpu + plain.sender.cpu) / (tls.receiver.cpu + tls.sender.cpu));
    }
    for (what, mut ratios) in [("time", ratios), ("CPU time", cpu_ratios)] {
        ratios.sort_by(f64::total_cmp);
        println!(
            "{seeders} seeder(s), {what}, TLS/in clear: median {:.2} of {ratios:.2?}",
            ratios[ratios.len() / 2]
        );
    }
    Ok(())
}

fn show(what: &str, mib: u64, bare: Duration, sample: &Transferred) {
    println!(
        "  {what:8} {:.0} MB/s, {:.2} of the bare loop; receiver {:.2} CPU s, {} MiB peak; sender {:.2} CPU s, {} MiB peak",
        rate(mib, sample.time),
        bare.as_secs_f64() / sample.time.as_secs_f64(),
        sample.receiver.cpu,
        sample.receiver.memory_peak >> 20,
        sample.sender.cpu,
        sample.sender.memory_peak >> 20,
    );
}

fn sparse(arguments: &[String]) -> Outcome<()> {
    let gib: u64 = arguments.first().map_or(Ok(64), |text| text.parse())?;
    let directory = arguments
        .get(1)
        .map_or_else(std::env::temp_dir, PathBuf::from)
        .join(format!("posse-bench-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let outcome = sparse_in(&directory, gib << 30);
    std::fs::remove_dir_all(&directory)?;
    outcome
}

fn sparse_in(directory: &Path, len: u64) -> Outcome<()> {
    let (source, target) = (directory.join("source.bin"), directory.join("copy.bin"));
    let file = std::fs::File::create_new(&source)?;
    file.set_len(len)?;
    for place in 0..DATA_PLACES {
        file.write_all_at(
            &vec![place as u8 + 1; DATA_LEN],
            (len - DATA_LEN as u64) / (DATA_PLACES - 1) * place,
        )?;
    }
    let started = Instant::now();
    let hashed = hash_file(&source, &mut |_| true)?;
    println!("hash_file: {:.0} MB/s", rate(len >> 20, started.elapsed()));
    std::fs::write(directory.join("metainfo"), hashed.seed.metainfo.to_bytes())?;
    let chain = hashed.seed.chain.as_ref().ok_or("it has no chaining values")?;
    std::fs::write(directory.join("chain"), chain.as_bytes())?;
    let key = directory.join("network.key").display().to_string();
    let (mut seeder, address) =
        start(&["engine-seed", "tls", &key, &source.display().to_string()])?;
    let (directory, sha1) = (directory.display().to_string(), hashed.sha1.to_string());
    let arguments = ["leech-sparse", &directory, &sha1, &address];
    let started = Instant::now();
    let (mut first, report) = start(&arguments)?;
    first.kill()?;
    first.wait()?;
    println!("killed after {:.1} s: {report}", started.elapsed().as_secs_f64());
    let again = Instant::now();
    let (mut second, report) = start(&arguments)?;
    println!("went on: {report}");
    let mut rest = String::new();
    second.stdout.take().ok_or("no output")?.read_to_string(&mut rest)?;
    let took = again.elapsed();
    if !second.wait()?.success() {
        return Err(format!("the second leecher failed: {rest}").into());
    }
    println!("complete after {:.1} s more: {}", took.as_secs_f64(), rest.trim());
    let on_disk = |path: &Path| {
        std::fs::metadata(path).map(|facts| std::os::unix::fs::MetadataExt::blocks(&facts) * 512)
    };
    println!(
        "bytes on disk: {} of the source, {} of the copy",
        on_disk(&source)?,
        on_disk(&target)?
    );
    drop(seeder.stdin.take());
    let mut rest = String::new();
    seeder.stdout.take().ok_or("no output")?.read_to_string(&mut rest)?;
    println!("seeder: CPU s, bytes at its peak: {}", rest.trim());
    seeder.wait()?;
    Ok(())
}

/// A host that keeps the journal in a file, as the client does in its store.
struct Journalled(Anybody, PathBuf);

impl Host for Journalled {
    fn ticket_for(&self, info_hash: InfoHash, device: DeviceId) -> Option<Ticket> {
        self.0.ticket_for(info_hash, device)
    }
    fn own_ticket(&self, group: GroupId) -> Option<Ticket> {
        self.0.own_ticket(group)
    }
    fn check_ticket(&self, ticket: &Ticket, device: DeviceId) -> Option<Proof> {
        self.0.check_ticket(ticket, device)
    }
    fn is_offered(&self, info_hash: InfoHash, group: GroupId, device: DeviceId) -> bool {
        self.0.is_offered(info_hash, group, device)
    }
    fn journal(&self, _: TransferId, _: InfoHash, verified: &VerifiedPieces) {
        let next = self.1.with_extension("next");
        let changed_ns = verified.part.map_or(0, |part| part.changed_ns);
        let bytes = [verified.pieces.as_bytes(), &changed_ns.to_be_bytes()].concat();
        let written = std::fs::write(&next, bytes).and_then(|()| std::fs::rename(&next, &self.1));
        assert!(written.is_ok(), "the journal cannot be written: {written:?}");
    }
    fn metainfo(&self, _: InfoHash, _: &Arc<Metainfo>) {}
    fn event(&self, _: EngineEvent) {}
}

/// Fetches the sparse file; says so when half of it is there, or when it goes on with more than
/// that.
fn leech_sparse(arguments: &[String]) -> Outcome<()> {
    let [directory, sha1, seeder] = arguments else { return Err("too few arguments".into()) };
    let directory = Path::new(directory);
    let metainfo = Arc::new(Metainfo::from_bytes(&std::fs::read(directory.join("metainfo"))?)?);
    let geometry = metainfo.geometry();
    let chain = ChainingValues::from_bytes(&std::fs::read(directory.join("chain"))?);
    let journal = directory.join("journal");
    let verified = std::fs::read(&journal).ok().and_then(|bytes| {
        let (pieces, changed_ns) = bytes.split_last_chunk()?;
        let pieces = Bitfield::from_bytes(pieces.to_vec(), geometry.piece_count()).ok()?;
        let changed_ns = i64::from_be_bytes(*changed_ns);
        let part = Some(PartStamp { changed_ns, is_final: false });
        Some(VerifiedPieces { pieces, part })
    });
    let vouched = verified.as_ref().map_or(0, |verified| verified.pieces.ones());
    let facts = FileFacts {
        info_hash: metainfo.info_hash(),
        name: metainfo.name().clone(),
        len: geometry.len(),
        piece_len: geometry.piece_len(),
        sha1: sha1.parse()?,
        chain: chain.as_ref().map(ChainingValues::hash),
    };
    let key = directory.join("network.key");
    let (engine, _) = engine::start("tls", &key, |host| Arc::new(Journalled(host, journal)))?;
    let started = Instant::now();
    let target = directory.join("copy.bin");
    let spec = DownloadSpec {
        id: TransferId(1),
        facts: facts.clone(),
        target,
        metainfo: Some(metainfo),
        chain: chain.map(Arc::new),
        part: None,
        verified,
        paused: false,
    };
    let transfer = engine.download(spec)?;
    engine.add_peers(facts.info_hash, [peer(seeder)?]);
    let patience = Duration::from_secs(3600);
    let checked = transfer.wait_until(patience, |status| status.state != TransferState::Checking);
    let checked_after = started.elapsed();
    let half = transfer.wait_until(patience, |status| {
        status.bytes_done > status.len / 2 || status.state.has_ended()
    });
    println!(
        "{vouched} pieces vouched for, {} there after {checked_after:.0?}, {} of {} bytes, {} MiB",
        checked.bytes_done / u64::from(geometry.piece_len()),
        half.bytes_done,
        half.len,
        used().memory_peak >> 20
    );
    let status = transfer.wait(patience);
    if status.state != TransferState::Complete {
        return Err(format!("{:?}", transfer.why()).into());
    }
    println!(
        "{} bytes received, {:.2} CPU s, {} MiB peak",
        status.received,
        used().cpu,
        used().memory_peak >> 20
    );
    Ok(())
}

/// Starts this program again with arguments; returns it with the first line it printed.
fn start(arguments: &[&str]) -> Outcome<(Child, String)> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = child.stdout.as_mut().ok_or("no output")?;
    let mut line = String::new();
    let mut byte = [0];
    while output.read(&mut byte)? == 1 && byte[0] != b'\n' {
        line.push(byte[0].into());
    }
    Ok((child, line))
}

fn run_bare(source: &Path, directory: &Path) -> Outcome<(Duration, f64)> {
    let (mut sender, address) = start(&["bare-send", &source.display().to_string()])?;
    let target = directory.join("bare.bin");
    let (mut receiver, report) = start(&["bare-receive", &address, &target.display().to_string()])?;
    receiver.wait()?;
    let mut cpu = String::new();
    BufReader::new(sender.stdout.take().ok_or("no output")?).read_line(&mut cpu)?;
    sender.wait()?;
    std::fs::remove_file(target)?;
    let (micros, cpu_receiver) = report.split_once(' ').ok_or("no report")?;
    Ok((
        Duration::from_micros(micros.parse()?),
        cpu.trim().parse::<f64>()? + cpu_receiver.parse::<f64>()?,
    ))
}

fn bare_send(path: &Path) -> Outcome<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    let (mut stream, _) = listener.accept()?;
    let file = std::fs::File::open(path)?;
    let (mut offset, mut buffer) = (0, vec![0; 256 << 10]);
    loop {
        match file.read_at(&mut buffer, offset)? {
            0 => break,
            len => stream.write_all(&buffer[..len])?,
        }
        offset += buffer.len() as u64;
    }
    println!("{}", used().cpu);
    Ok(())
}

fn bare_receive(address: SocketAddr, target: &Path) -> Outcome<()> {
    let mut stream = TcpStream::connect(address)?;
    let started = Instant::now();
    let mut file = std::fs::File::create_new(target)?;
    let mut buffer = vec![0; 512 << 10];
    loop {
        let mut len = 0;
        while len < buffer.len() {
            match stream.read(&mut buffer[len..])? {
                0 => break,
                read => len += read,
            }
        }
        if len == 0 {
            break;
        }
        std::hint::black_box(Sha1::digest(&buffer[..len]));
        file.write_all(&buffer[..len])?;
    }
    file.sync_all()?;
    println!("{} {}", started.elapsed().as_micros(), used().cpu);
    Ok(())
}

fn make_file(path: &Path, mib: u64) -> Outcome<()> {
    let mut file = std::fs::File::create_new(path)?;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut block = vec![0; 1 << 20];
    for _ in 0..mib {
        for word in block.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        file.write_all(&block)?;
    }
    file.sync_all()?;
    Ok(())
}

fn rate(mib: u64, took: Duration) -> f64 {
    (mib << 20) as f64 / 1e6 / took.as_secs_f64()
}
