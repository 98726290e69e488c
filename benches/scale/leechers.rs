//! Hundreds of leechers at one seeder whose upload is limited: does it stay at its limit, and does
//! everybody get something?
//!
//! The seeder is the real client. The leechers are engines in one process, each with a key, a user
//! and an address of its own, and a ticket signed with the network's key, which lies in the
//! benchmark's directory. They know the seeder alone, so that all of what they get comes from it.

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use posse::net::{DeviceSecurity, Transport};
use posse::store::DeviceStore;
use posse::swarm::{
    DownloadSpec, Engine, EngineConfig, EngineEvent, Host, Proof, Transfer, TransferId, hash_file,
};
use posse::trust::KeyPair;
use posse::types::{
    ChainingValues, DeviceId, FileFacts, GroupId, InfoHash, Ticket, TicketClaims, UserId,
    VerifiedPieces,
};
use posse::wire::metainfo::Metainfo;

use crate::small::GROUP;
use crate::support::{Binaries, Member, Network, Process, Result, Usage, check_interrupt, content};
use crate::{Options, show_used};

/// Bytes in the file: nobody has all of it before the time is over.
const LEN: u64 = 1 << 30;
/// The least share of the mean that the slowest may have.
const BAR: f64 = 0.25;
/// The least share of the limit that is to be used, and the most.
const USED: (f64, f64) = (0.95, 1.05);
const TICKET_LIFETIME: Duration = Duration::from_secs(600);
const PATIENCE: Duration = Duration::from_secs(120);
/// Name of the network's key in the benchmark's directory.
const KEY: &str = "network.key";
/// The word by which the program plays the leechers.
const PART: &str = "leech-many";

/// Measures it once.
pub(crate) fn run(binaries: &Binaries, dir: &Path, options: &Options) -> Result<()> {
    let network = Network::start(binaries, dir, 1)?;
    let file = dir.join("large.bin");
    content::make(&file, LEN)?;
    let mut owner = Member::start(&network, "owner")?;
    owner.ask(&["create_group", GROUP])?;
    owner.upload(&file, GROUP)?;
    owner.leave()?;
    let path = file.canonicalize()?;
    let row = DeviceStore::open(&dir.join("client-owner"))?
        .shares_at(&path)?
        .pop()
        .ok_or("the share is not in the store")?;
    let limit = format!("{}M", options.limit);
    let (mut seeder, address) = seed(&network, &limit)?;
    let facts = &row.facts;
    let seed = hash_file(&path, &mut |_| true)?.seed;
    let chain = seed.chain.as_ref().ok_or("it has no chaining values")?;
    std::fs::write(dir.join("chain"), chain.as_bytes())?;
    std::fs::write(dir.join("metainfo"), seed.metainfo.to_bytes())?;
    let words = [
        options.leechers.to_string(),
        options.seconds.to_string(),
        row.group.to_string(),
        facts.sha1.to_string(),
        address,
    ];
    let dir_text = dir.to_str().ok_or("the path is not UTF-8")?;
    let arguments: Vec<&str> =
        [PART, dir_text].into_iter().chain(words.iter().map(String::as_str)).collect();
    let before = seeder.usage();
    let mut leechers = Process::start("leechers", &std::env::current_exe()?, &arguments, dir)?;
    let (_, line) =
        leechers.line(Instant::now() + PATIENCE + Duration::from_secs(options.seconds))?;
    let used = [("the seeder", seeder.usage().since(before)), ("all leechers", leechers.usage())];
    report(&line, options, &used)?;
    drop(leechers);
    seeder.kill()?;
    network.stop()
}

/// Starts the seeder's client again, with a limit; returns it with its device and address.
fn seed(network: &Network, limit: &str) -> Result<(Process, String)> {
    let login = "login owner 'correct horse'";
    let arguments = [
        "127.0.0.1:0",
        network.info(),
        "--data-dir",
        "client-owner",
        "--json",
        "--upload-limit",
        limit,
        "-c",
        login,
        "-c",
        "seed",
    ];
    let mut seeder =
        Process::start("seeder", &network.binaries().client, &arguments, network.dir())?;
    let mut address = String::new();
    loop {
        let object: serde_json::Value =
            serde_json::from_str(&seeder.line(Instant::now() + PATIENCE)?.1)?;
        if object["event"] == "listening" {
            let text = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
            address = format!("{}@{}", text("device"), text("address"));
        }
        if object["command"] == "login" && object["ok"] == true {
            return Ok((seeder, address));
        }
    }
}

/// Prints what the leechers say: the seconds, then what each has received.
fn report(line: &str, options: &Options, used: &[(&str, Usage)]) -> Result<()> {
    let numbers = line.split(' ').map(str::parse).collect::<std::result::Result<Vec<f64>, _>>()?;
    let (seconds, got) = numbers.split_first().ok_or("the leechers say nothing")?;
    let (total, slowest) =
        (got.iter().sum::<f64>(), got.iter().copied().fold(f64::INFINITY, f64::min));
    let (mean, limit) = (total / got.len() as f64, options.limit as f64 * 1e6);
    let (rate, share) = (total / seconds, slowest / mean);
    println!(
        "\n{} leechers at one seeder for {seconds:.1} s, limit {:.1} MB/s",
        got.len(),
        limit / 1e6
    );
    println!(
        "upload: {:.2} MB/s, {:.3} of the limit (bar: {} to {})",
        rate / 1e6,
        rate / limit,
        USED.0,
        USED.1
    );
    println!(
        "received: mean {:.2} MB, slowest {:.2} MB, fastest {:.2} MB; slowest of mean {share:.2} (bar: {BAR}, ratio {:.2})",
        mean / 1e6,
        slowest / 1e6,
        got.iter().copied().fold(0.0, f64::max) / 1e6,
        share / BAR
    );
    show_used(used);
    Ok(())
}

/// Plays the leechers, if the arguments say so.
pub(crate) fn play(arguments: &[String]) -> Option<Result<()>> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [PART, dir, count, seconds, group, sha1, seeder] => {
            Some(leech(Path::new(dir), (count, seconds), (group, sha1), seeder))
        }
        _ => None,
    }
}

fn leech(
    dir: &Path,
    (count, seconds): (&str, &str),
    (group, sha1): (&str, &str),
    seeder: &str,
) -> Result<()> {
    let (count, seconds): (u32, u64) = (count.parse()?, seconds.parse()?);
    let metainfo = Arc::new(Metainfo::from_bytes(&std::fs::read(dir.join("metainfo"))?)?);
    let chain = ChainingValues::from_bytes(&std::fs::read(dir.join("chain"))?).map(Arc::new);
    let geometry = metainfo.geometry();
    let facts = FileFacts {
        info_hash: metainfo.info_hash(),
        name: metainfo.name().clone(),
        len: geometry.len(),
        piece_len: geometry.piece_len(),
        sha1: sha1.parse()?,
        chain: chain.as_ref().map(|chain| chain.hash()),
    };
    let (device, address) = seeder.split_once('@').ok_or("that is no seeder")?;
    let (device, address): (DeviceId, SocketAddr) = (device.parse()?, address.parse()?);
    let network = Arc::new(KeyPair::load_or_make(&dir.join(KEY))?.0);
    let mut leechers = Vec::new();
    for number in 0..count {
        let engine = start(number, network.clone(), group.parse()?)?;
        let spec = DownloadSpec {
            id: TransferId(1),
            facts: facts.clone(),
            target: target(dir, number)?,
            metainfo: Some(metainfo.clone()),
            chain: chain.clone(),
            part: None,
            verified: None,
            paused: false,
        };
        leechers.push((engine.download(spec)?, engine));
    }
    let started = Instant::now();
    leechers.iter().for_each(|(_, engine)| engine.add_peers(facts.info_hash, [(device, address)]));
    while started.elapsed() < Duration::from_secs(seconds) {
        check_interrupt()?;
        std::thread::sleep(Duration::from_millis(10));
    }
    let received: Vec<u64> =
        leechers.iter().map(|(transfer, _): &(Transfer, _)| transfer.status().received).collect();
    let numbers: Vec<String> = received.iter().map(u64::to_string).collect();
    println!("{:.3} {}", started.elapsed().as_secs_f64(), numbers.join(" "));
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn target(dir: &Path, number: u32) -> Result<PathBuf> {
    let own = dir.join(format!("leecher-{number}"));
    std::fs::create_dir(&own)?;
    Ok(own.join("copy.bin"))
}

/// Starts an engine that dials from an address of its own: one address may have only half of a
/// client's links.
fn start(number: u32, network: Arc<KeyPair>, group: GroupId) -> Result<Arc<Engine>> {
    let key = KeyPair::generate()?;
    let mut config = EngineConfig::new(Transport::Tls(DeviceSecurity::new(&key)?));
    let [_, _, high, low] = (number + 256).to_be_bytes();
    (config.bind_ip, config.threads) = (Some(IpAddr::V4(Ipv4Addr::new(127, 0, high, low))), 1);
    let mut user = [9; 16];
    user[..4].copy_from_slice(&number.to_be_bytes());
    Ok(Engine::start(
        config,
        Arc::new(Leecher { network, group, user: UserId::from_bytes(user), device: key.device() }),
    )?)
}

/// A member by the network's own signature.
struct Leecher {
    network: Arc<KeyPair>,
    group: GroupId,
    user: UserId,
    device: DeviceId,
}

impl Host for Leecher {
    fn ticket_for(&self, _: InfoHash, _: DeviceId) -> Option<Ticket> {
        self.own_ticket(self.group)
    }

    fn own_ticket(&self, group: GroupId) -> Option<Ticket> {
        let issued_ms =
            SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        let expires_ms = issued_ms + TICKET_LIFETIME.as_millis() as u64;
        Some(self.network.sign_ticket(TicketClaims {
            group,
            user: self.user,
            device: self.device,
            issued_ms,
            expires_ms,
        }))
    }

    fn check_ticket(&self, ticket: &Ticket, device: DeviceId) -> Option<Proof> {
        let claims = &ticket.claims;
        let good = claims.device == device && self.network.network().signed_ticket(ticket);
        let TicketClaims { group, user, issued_ms, expires_ms, .. } = *claims;
        let (expires, key) = (Instant::now() + TICKET_LIFETIME, self.network.network().into());
        good.then_some(Proof { group, user, issued_ms, expires_ms, expires, key })
    }

    fn is_offered(&self, _: InfoHash, _: GroupId, _: DeviceId) -> bool {
        true
    }

    fn journal(&self, _: TransferId, _: InfoHash, _: &VerifiedPieces) {}
    fn metainfo(&self, _: InfoHash, _: &Arc<Metainfo>) {}
    fn event(&self, _: EngineEvent) {}
}
