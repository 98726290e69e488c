//! What goes over the way: a plain stream, and a download from a seeder in a process of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use posse::swarm::{DownloadSpec, Hashed, TransferId, TransferState, TransferStatus, hash_file};
use posse::trust::KeyPair;

use crate::engine::{self, Outcome, PATIENCE, peer};
use crate::proxy::{self, Way};

/// Bytes moved by one call.
const CHUNK_LEN: usize = 256 << 10;

/// Moments of a download, from its beginning.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fetched {
    /// The first piece is verified.
    pub(crate) first: Duration,
    /// The last is.
    pub(crate) last: Duration,
    /// The file has its name.
    pub(crate) complete: Duration,
}

/// A process that seeds a file made for it; ends when dropped.
pub(crate) struct Seeder {
    child: Child,
    address: String,
    hashed: Hashed,
    key: PathBuf,
}

impl Seeder {
    /// Makes a file and seeds it.
    pub(crate) fn start(directory: &Path, len: u64) -> Outcome<Self> {
        let (source, key) = (directory.join("source.bin"), directory.join("network.key"));
        make_file(&source, len)?;
        // Made before two programs could want to at once.
        KeyPair::load_or_make(&key)?;
        let words = [&key.display().to_string(), &source.display().to_string()];
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["engine-seed", "tls"])
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let mut address = String::new();
        BufReader::new(child.stdout.as_mut().ok_or("no output")?).read_line(&mut address)?;
        Ok(Self {
            child,
            address: address.trim().to_owned(),
            hashed: hash_file(&source, &mut |_| true)?,
            key,
        })
    }

    /// Downloads the file over the way with an engine of its own, and removes the copy.
    pub(crate) fn fetch(&self, way: Way, target: &Path) -> Outcome<Fetched> {
        let (engine, _) = engine::start("tls", &self.key, |host| Arc::new(host))?;
        let (device, address) = peer(&self.address)?;
        let address = proxy::start(way, address)?;
        let metainfo = &self.hashed.seed.metainfo;
        let facts = self.hashed.facts();
        let spec = DownloadSpec {
            id: TransferId(1),
            facts,
            target: target.to_owned(),
            metainfo: None,
            chain: None,
            part: None,
            verified: None,
            paused: false,
        };
        let started = Instant::now();
        let transfer = engine.download(spec)?;
        engine.add_peers(metainfo.info_hash(), [(device, address)]);
        let when = |done: fn(&TransferStatus) -> bool| {
            transfer.wait_until(PATIENCE, |status| done(status) || status.state.has_ended());
            started.elapsed()
        };
        let first = when(|status| status.bytes_done > 0);
        let last = when(|status| status.bytes_done == status.len);
        let complete = when(|_| false);
        if transfer.status().state != TransferState::Complete {
            return Err(format!("{:?}", transfer.why()).into());
        }
        engine.stop(Duration::from_secs(5));
        std::fs::remove_file(target)?;
        Ok(Fetched { first, last, complete })
    }
}

impl Drop for Seeder {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Moves as many bytes by a plain stream: from its dialling and asking until the last byte is
/// there.
pub(crate) fn plain(way: Way, len: u64) -> Outcome<Duration> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = proxy::start(way, listener.local_addr()?)?;
    let sender = std::thread::spawn(move || -> std::io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        stream.read_exact(&mut [0])?;
        let chunk = vec![0xa5; CHUNK_LEN];
        (0..len.div_ceil(CHUNK_LEN as u64)).try_for_each(|_| stream.write_all(&chunk))
    });
    let started = Instant::now();
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(&[0])?;
    let (mut received, mut buffer) = (0, vec![0; CHUNK_LEN]);
    while received < len {
        match stream.read(&mut buffer)? {
            0 => return Err("the stream ended before its last byte".into()),
            count => received += count as u64,
        }
    }
    let took = started.elapsed();
    sender.join().map_err(|_| "the sender of the plain stream panicked")??;
    Ok(took)
}

fn make_file(path: &Path, len: u64) -> Outcome<()> {
    let mut file = std::fs::File::create(path)?;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut chunk = vec![0; CHUNK_LEN];
    for _ in 0..len / CHUNK_LEN as u64 {
        for word in chunk.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        file.write_all(&chunk)?;
    }
    Ok(())
}
