//! What one relay carries on one core, and what that costs.
//!
//! ```text
//! cargo bench --bench relay [-- --seconds 5]
//! ```
//!
//! The relay runs in a process of its own, in its one thread. This process sends and receives plain
//! bytes over loopback: through 1 pair, 8 and 128. It prints what has come out a second, how much
//! of a core the relay took, what it would carry with a whole core, and its peak of memory.

use std::error::Error;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use posse::relay::{Relay, RelayBounds};
use posse::types::{DeviceId, GroupId, RelayMeeting, RelayParty, RelaySecret, UserId};
use posse::wire::relay::RelayHello;

/// What one relay has to carry on one core, in Gbit/s, and the most memory, in MiB.
const BARS: (f64, u64) = (2.0, 50);
/// Ticks of a processor's time in a second, on every Linux.
const TICKS: f64 = 100.0;

/// Measures a relay over loopback.
#[derive(Parser)]
struct Options {
    /// How long each measurement takes.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
    /// The relay's process: introduces so many pairs.
    #[arg(long, hide = true)]
    relay: Option<u32>,
}

fn meeting(number: u32) -> RelayMeeting {
    let party = |end: u32| {
        let number = (2 * number + end).to_be_bytes();
        let mut secret = [0; 32];
        secret[..4].copy_from_slice(&number);
        let mut user = [1; 16];
        user[..4].copy_from_slice(&number);
        let mut device = [1; 32];
        device[..4].copy_from_slice(&number);
        RelayParty {
            user: UserId::from_bytes(user),
            device: DeviceId::from_bytes(device),
            secret: RelaySecret::from_bytes(secret),
        }
    };
    RelayMeeting { group: GroupId::from_bytes([1; 16]), first: party(0), second: party(1) }
}

/// The relay's process: relays until its input ends.
fn relay(pairs: u32) -> Result<(), Box<dyn Error>> {
    let bounds =
        RelayBounds { rate: None, user_rate: None, user_day: None, ..RelayBounds::default() };
    let relay = Relay::start("127.0.0.1:0".parse()?, bounds)?;
    (0..pairs).try_for_each(|number| relay.introduce(meeting(number)))?;
    println!("{}", relay.local_addr());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Seconds of the processor that a process has used.
fn cpu_seconds(child: &Child) -> Result<f64, Box<dyn Error>> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id()))?;
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    Ok(ticks / TICKS)
}

/// The most memory that a process has had, in KiB.
fn peak_kib(child: &Child) -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    Ok(line.unwrap_or_default().trim().trim_end_matches(" kB").parse()?)
}

fn connect(address: SocketAddr, party: &RelayParty) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(&RelayHello { secret: party.secret.clone() }.encode())?;
    Ok(stream)
}

/// Sends through so many pairs; returns Gbit/s of a whole core of the relay, and its peak in MiB.
fn measure(pairs: u32, seconds: u64) -> Result<(f64, u64), Box<dyn Error>> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--relay", &pairs.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
    let address: SocketAddr = line.trim().parse()?;
    let (is_over, came) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut threads = Vec::new();
    for number in 0..pairs {
        let told = meeting(number);
        let (mut from, mut to) = (connect(address, &told.first)?, connect(address, &told.second)?);
        let over = is_over.clone();
        threads.push(std::thread::spawn(move || {
            let bytes = vec![7; 256 << 10];
            while !over.load(Ordering::Relaxed) && from.write_all(&bytes).is_ok() {}
        }));
        let came = came.clone();
        threads.push(std::thread::spawn(move || {
            let mut bytes = vec![0; 256 << 10];
            while let Ok(len @ 1..) = to.read(&mut bytes) {
                came.fetch_add(len as u64, Ordering::Relaxed);
            }
        }));
    }
    let (begun, before) = (Instant::now(), (came.load(Ordering::Relaxed), cpu_seconds(&child)?));
    std::thread::sleep(Duration::from_secs(seconds));
    let bits = (came.load(Ordering::Relaxed) - before.0) as f64 * 8.0;
    let (time, cpu) = (begun.elapsed().as_secs_f64(), cpu_seconds(&child)? - before.1);
    let peak = peak_kib(&child)? / 1024;
    is_over.store(true, Ordering::Relaxed);
    threads.into_iter().for_each(|thread| drop(thread.join()));
    drop(child.stdin.take());
    child.wait()?;
    let (rate, of_core) = (bits / time / 1e9, bits / cpu / 1e9);
    println!(
        "{pairs:>4} pairs: {rate:6.2} Gbit/s with {:.2} of a core; {of_core:6.2} Gbit/s with a \
         whole one; peak {peak} MiB",
        cpu / time
    );
    Ok((of_core, peak))
}

fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = match options.relay {
        Some(pairs) => relay(pairs).map(|()| true),
        None => [1, 8, 128].into_iter().try_fold(true, |are_met, pairs| {
            let (rate, peak) = measure(pairs, options.seconds)?;
            Ok(are_met && rate >= BARS.0 && peak < BARS.1)
        }),
    };
    match outcome {
        Ok(are_met) => {
            if options.relay.is_none() {
                let words = if are_met { "met" } else { "missed" };
                println!("bars ({} Gbit/s on a core, {} MiB): {words}", BARS.0, BARS.1);
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
