//! The floor: two processes, one of which reads a file and sends it, while the other receives,
//! hashes once and writes; in clear, and in encrypted records ([`crate::records`]).
//!
//! No protocol, no pieces, one pass of SHA-1, one thread each: what a download would take if Posse
//! itself cost nothing on top.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use sha1::{Digest, Sha1};

use crate::measure::Sample;
use crate::records;
use crate::support::{Process, Result, Usage};

/// Bytes moved by one call on either side: a piece.
const CHUNK_LEN: usize = 512 << 10;

/// Returns how many MB of data in the cache one core hashes a second.
pub(crate) fn sha1_rate() -> f64 {
    let chunk = vec![0xa5; CHUNK_LEN];
    let (start, mut hasher, mut bytes) = (Instant::now(), Sha1::new(), 0);
    while start.elapsed() < Duration::from_secs(1) {
        hasher.update(std::hint::black_box(&chunk));
        bytes += CHUNK_LEN as u64;
    }
    std::hint::black_box(hasher.finalize());
    crate::support::show::rate(bytes, start.elapsed())
}

/// The sending process: prints its port, sends the file to each process that dials it, and reports
/// its CPU time and memory.
pub(crate) fn sender(file: &Path, encrypted: bool) -> ExitCode {
    let send = || -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        println!("{}", listener.local_addr()?.port());
        let (mut stream, _) = listener.accept()?;
        let mut file = File::open(file)?;
        match encrypted {
            true => records::send(&mut file, &mut stream)?,
            false => send_plain(&mut file, &mut stream)?,
        }
        drop(stream);
        // It stays, so that what it used can still be looked up.
        io::stdin().read_to_end(&mut Vec::new()).map(drop)
    };
    send().map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

fn send_plain(file: &mut File, stream: &mut TcpStream) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_LEN];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(()),
            len => stream.write_all(&chunk[..len])?,
        }
    }
}

/// Receives the file once, in this process, until it is on the disk.
pub(crate) fn measure(file: &Path, target: &Path, encrypted: bool) -> Result<Sample> {
    let dir = target.parent().ok_or("the target has no directory")?;
    let exe = std::env::current_exe()?;
    let path = file.to_str().ok_or("the file's path is not UTF-8")?;
    let arguments = ["--send", path, "--encrypted"];
    let mut sender =
        Process::start("floor-sender", &exe, &arguments[..if encrypted { 3 } else { 2 }], dir)?;
    let (_, port) = sender.line(Instant::now() + Duration::from_secs(10))?;
    let mut stream = TcpStream::connect(("127.0.0.1", port.trim().parse::<u16>()?))?;
    let (before, start) = (Usage::of_this_process(), Instant::now());
    let mut out = File::create(target)?;
    match encrypted {
        true => records::receive(&mut stream, &mut out)?,
        false => receive_plain(&mut stream, &mut out)?,
    }
    out.sync_data()?;
    let (time, after) = (start.elapsed(), Usage::of_this_process());
    let sample = Sample { time, receiver: after.since(before), sender: sender.usage() };
    let (copied, len) = (target.metadata()?.len(), file.metadata()?.len());
    std::fs::remove_file(target)?;
    if copied == len {
        Ok(sample)
    } else {
        Err(format!("the floor moved {copied} bytes of {len}").into())
    }
}

fn receive_plain(stream: &mut TcpStream, out: &mut File) -> io::Result<()> {
    let (mut hasher, mut chunk) = (Sha1::new(), vec![0; CHUNK_LEN]);
    loop {
        let mut len = 0;
        while len < CHUNK_LEN {
            match stream.read(&mut chunk[len..])? {
                0 => break,
                more => len += more,
            }
        }
        if len == 0 {
            break;
        }
        hasher.update(&chunk[..len]);
        out.write_all(&chunk[..len])?;
    }
    std::hint::black_box(hasher.finalize());
    Ok(())
}

/// Waits until the writes of earlier measurements are on the disk. Then has the system hold as much
/// memory as a copy of `len` bytes needs: a virtual machine may have given its free memory to the
/// host, and the first measurement would pay to get it back.
pub(crate) fn settle(dir: &Path, len: u64) -> io::Result<()> {
    rustix::fs::syncfs(File::open(dir)?)?;
    thread::sleep(Duration::from_millis(200));
    let path = dir.join("touched");
    io::copy(&mut io::repeat(0).take(len), &mut File::create(&path)?)?;
    std::fs::remove_file(path)
}
