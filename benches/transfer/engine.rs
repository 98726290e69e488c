//! The engine alone, in processes of its own: seeders, a leecher, no tracker and no client. The
//! program starts itself again for each.
//!
//! The tickets are those of a network whose key lies in the program's own directory. Two
//! transports: TLS, which is what Posse speaks, and bytes in clear, which exists for this
//! comparison.

use std::io::{self, BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use posse::net::{DeviceSecurity, Listener, Stop, Transport};
use posse::swarm::{
    DownloadSpec, Engine, EngineConfig, EngineEvent, Hashed, Host, Proof, TransferId,
    TransferState, hash_file,
};
use posse::trust::KeyPair;
use posse::types::{
    DeviceId, FileFacts, GroupId, InfoHash, Ticket, TicketClaims, UserId, VerifiedPieces,
};
use posse::wire::metainfo::Metainfo;

pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3600);
const GROUP: GroupId = GroupId::from_bytes([1; 16]);
const USER: UserId = UserId::from_bytes([2; 16]);
const TICKET_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// How engines are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// In clear.
    Plain,
    /// As it is.
    Tls,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Tls => "tls",
        }
    }
}

/// What one process used.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Used {
    /// CPU seconds, user and system.
    pub(crate) cpu: f64,
    /// The most memory it ever had resident, in bytes.
    pub(crate) memory_peak: u64,
}

/// One transfer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Transferred {
    /// From the beginning of the download to the file under its name.
    pub(crate) time: Duration,
    pub(crate) receiver: Used,
    /// CPU time of all senders, the peak of the largest.
    pub(crate) sender: Used,
}

/// Moves a hashed file once between processes made for it, and removes the copy.
fn transfer(kind: Kind, seeders: usize, hashed: &Hashed, dir: &Path) -> Outcome<Transferred> {
    let (source, target) = (hashed.seed.path.display().to_string(), dir.join("engine-copy.bin"));
    let key = dir.join("engine-network.key").display().to_string();
    // Made before two programs could want to at once.
    KeyPair::load_or_make(Path::new(&key))?;
    let mut senders = Vec::new();
    for _ in 0..seeders {
        senders.push(Engines::start(&["engine-seed", kind.word(), &key, &source])?);
    }
    let geometry = hashed.seed.metainfo.geometry();
    let (info_hash, name) = (
        hashed.seed.metainfo.info_hash().to_string(),
        hashed.seed.metainfo.name().as_str().to_owned(),
    );
    let numbers = [geometry.len().to_string(), geometry.piece_len().to_string()];
    let (text, sha1) = (target.display().to_string(), hashed.sha1.to_string());
    let chain = hashed.facts().chain.map_or_else(String::new, |chain| chain.to_string());
    let mut words = vec![
        "engine-leech",
        kind.word(),
        &key,
        &text,
        &info_hash,
        &name,
        &numbers[0],
        &numbers[1],
        &sha1,
        &chain,
    ];
    words.extend(senders.iter().map(|sender| sender.first.as_str()));
    let receiver = Engines::start(&words)?;
    let time = Duration::from_micros(
        receiver.first.parse().map_err(|_| format!("the receiver says: {}", receiver.first))?,
    );
    let receiver = receiver.end()?;
    let mut sender = Used::default();
    for used in senders.into_iter().map(Engines::end) {
        let used = used?;
        sender = Used {
            cpu: sender.cpu + used.cpu,
            memory_peak: sender.memory_peak.max(used.memory_peak),
        };
    }
    std::fs::remove_file(&target)?;
    Ok(Transferred { time, receiver, sender })
}

/// Moves it both ways, in clear first or encrypted first: whichever comes first may find the
/// machine in another state.
pub(crate) fn transfer_both(
    number: usize,
    seeders: usize,
    hashed: &Hashed,
    dir: &Path,
) -> Outcome<[Transferred; 2]> {
    match number % 2 {
        0 => {
            let tls = transfer(Kind::Tls, seeders, hashed, dir)?;
            Ok([transfer(Kind::Plain, seeders, hashed, dir)?, tls])
        }
        _ => Ok([
            transfer(Kind::Plain, seeders, hashed, dir)?,
            transfer(Kind::Tls, seeders, hashed, dir)?,
        ]),
    }
}

/// Another process of this program: says one line, and what it used when its input ends.
struct Engines {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    first: String,
}

impl Engines {
    fn start(words: &[&str]) -> Outcome<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().ok_or("no input")?;
        let mut output = BufReader::new(child.stdout.take().ok_or("no output")?);
        let mut first = String::new();
        output.read_line(&mut first)?;
        Ok(Self { child, input, output, first: first.trim().to_owned() })
    }

    fn end(mut self) -> Outcome<Used> {
        drop(self.input);
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        self.child.wait()?;
        let (cpu, peak) = line
            .trim()
            .split_once(' ')
            .ok_or("a process of the engine ended without its report")?;
        Ok(Used { cpu: cpu.parse()?, memory_peak: peak.parse()? })
    }
}

/// Plays the part of one of the processes, if the arguments say so.
pub(crate) fn play(arguments: &[String]) -> Option<Outcome<()>> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["engine-seed", kind, key, source] => Some(seed(kind, Path::new(key), Path::new(source))),
        [
            "engine-leech",
            kind,
            key,
            target,
            info_hash,
            name,
            len,
            piece_len,
            sha1,
            chain,
            seeders @ ..,
        ] => {
            let facts = || {
                Ok(FileFacts {
                    info_hash: info_hash.parse()?,
                    name: name.parse()?,
                    len: len.parse()?,
                    piece_len: piece_len.parse()?,
                    sha1: sha1.parse()?,
                    chain: chain.parse().ok(),
                })
            };
            Some(
                facts().and_then(|facts| {
                    leech(kind, Path::new(key), Path::new(target), facts, seeders)
                }),
            )
        }
        _ => None,
    }
}

/// Starts an engine with a listener; its key, or its id in clear, is new.
pub(crate) fn start(
    kind: &str,
    network: &Path,
    host: impl FnOnce(Anybody) -> Arc<dyn Host>,
) -> Outcome<(Arc<Engine>, String)> {
    let key = KeyPair::generate()?;
    let device = key.device();
    let transport = match kind {
        "plain" => Transport::Plain(device),
        _ => Transport::Tls(DeviceSecurity::new(&key)?),
    };
    let network = KeyPair::load_or_make(network)?.0;
    let engine = Engine::start(EngineConfig::new(transport), host(Anybody { network, device }))?;
    let listener = Listener::bind("127.0.0.1:0".parse()?)?;
    let address = format!("{device}@{}", listener.local_addr());
    let accepts = engine.clone();
    std::thread::spawn(move || listener.run(&Stop::new(), |incoming| accepts.accept(incoming)));
    Ok((engine, address))
}

/// Takes a seeder's address apart.
pub(crate) fn peer(text: &str) -> Outcome<(DeviceId, SocketAddr)> {
    let (device, address) = text.split_once('@').ok_or("that is no seeder")?;
    Ok((device.parse()?, address.parse()?))
}

fn seed(kind: &str, network: &Path, source: &Path) -> Outcome<()> {
    let hashed = hash_file(source, &mut |_| true)?;
    let (engine, address) = start(kind, network, |host| Arc::new(host))?;
    engine.seed(hashed.seed)?;
    let before = used();
    println!("{address}");
    io::stdin().read_to_end(&mut Vec::new())?;
    let after = used();
    println!("{} {}", after.cpu - before.cpu, after.memory_peak);
    Ok(())
}

fn leech(
    kind: &str,
    network: &Path,
    target: &Path,
    facts: FileFacts,
    seeders: &[&str],
) -> Outcome<()> {
    let (engine, _) = start(kind, network, |host| Arc::new(host))?;
    let peers = seeders.iter().map(|text| peer(text)).collect::<Outcome<Vec<_>>>()?;
    let (before, started, info_hash) = (used(), Instant::now(), facts.info_hash);
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
    let transfer = engine.download(spec)?;
    engine.add_peers(info_hash, peers);
    let status = transfer.wait(PATIENCE);
    let took = started.elapsed();
    if status.state != TransferState::Complete {
        return Err(format!("{:?}", transfer.why()).into());
    }
    println!("{}", took.as_micros());
    let after = used();
    println!("{} {}", after.cpu - before.cpu, after.memory_peak);
    Ok(())
}

/// A host to whom everybody is a member of the one group there is.
pub(crate) struct Anybody {
    network: KeyPair,
    device: DeviceId,
}

impl Host for Anybody {
    fn ticket_for(&self, _: InfoHash, _: DeviceId) -> Option<Ticket> {
        self.own_ticket(GROUP)
    }

    fn own_ticket(&self, group: GroupId) -> Option<Ticket> {
        let issued_ms = now_ms();
        let expires_ms = issued_ms + TICKET_LIFETIME.as_millis() as u64;
        Some(self.network.sign_ticket(TicketClaims {
            group,
            user: USER,
            device: self.device,
            issued_ms,
            expires_ms,
        }))
    }

    fn check_ticket(&self, ticket: &Ticket, device: DeviceId) -> Option<Proof> {
        let claims = &ticket.claims;
        let good = claims.device == device && self.network.network().signed_ticket(ticket);
        let expires =
            Instant::now() + Duration::from_millis(claims.expires_ms.saturating_sub(now_ms()));
        let TicketClaims { group, user, issued_ms, expires_ms, .. } = *claims;
        let key = self.network.network().into();
        good.then_some(Proof { group, user, issued_ms, expires_ms, expires, key })
    }

    fn is_offered(&self, _: InfoHash, _: GroupId, _: DeviceId) -> bool {
        true
    }

    fn journal(&self, _: TransferId, _: InfoHash, _: &VerifiedPieces) {}
    fn metainfo(&self, _: InfoHash, _: &Arc<Metainfo>) {}
    fn event(&self, _: EngineEvent) {}
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

/// What this process has used so far; zeros where the system does not tell.
pub(crate) fn used() -> Used {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| {
        line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse::<u64>().ok()
    });
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks = |field: usize| {
        stat.rsplit(')')
            .next()
            .and_then(|rest| rest.split_whitespace().nth(field)?.parse::<f64>().ok())
    };
    let cpu = (ticks(11).unwrap_or_default() + ticks(12).unwrap_or_default()) / 100.0;
    Used { cpu, memory_peak: peak.unwrap_or_default() * 1024 }
}
