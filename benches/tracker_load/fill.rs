//! One address fills the network: many accounts that share files with the longest names, until the
//! quotas refuse more. What it takes of a tracker's memory and disk, and whether an owner is served
//! meanwhile.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use posse::types::{Effect, FileFacts, GroupId, InfoHash, Refusal, Sha1Digest};
use posse::wire::tracker::{Reply, Request};

use crate::session::{Session, request_id};
use crate::support::show::mib;
use crate::support::{Network, Result, check_interrupt};

/// Accounts of the attacker.
const ACCOUNTS: usize = 24;
/// Bytes in a file's name.
const NAME_LEN: usize = 255;
/// How often the owner asks for something.
const OWNER_INTERVAL: Duration = Duration::from_millis(500);

/// Fills the network for that long, and prints what came of it.
pub(crate) fn measure(network: &Network, dir: &Path, time: Duration) -> Result<()> {
    let mut owner = enter(network, "owner")?;
    let mut attackers = (0..ACCOUNTS)
        .map(|number| enter(network, &format!("attacker-{number}")))
        .collect::<Result<Vec<_>>>()?;
    let before = network.tracker(1).usage();
    let (deadline, over, shared, refused) =
        (Instant::now() + time, AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let mut waits = thread::scope(|scope| {
        let threads: Vec<_> = attackers
            .iter_mut()
            .enumerate()
            .map(|(number, session)| {
                let (shared, refused) = (&shared, &refused);
                scope.spawn(move || {
                    attack(session, number, deadline, shared, refused).map_err(|e| e.to_string())
                })
            })
            .collect();
        let waits = scope.spawn(|| serve_owner(&mut owner, &over).map_err(|e| e.to_string()));
        for thread in threads {
            thread.join().map_err(|_| "an attacker panicked")??;
        }
        over.store(true, Ordering::Relaxed);
        Result::Ok(waits.join().map_err(|_| "the owner panicked")??)
    })?;
    waits.sort_unstable();
    let of = |part: usize| {
        waits
            .get((waits.len() * part / 100).min(waits.len().saturating_sub(1)))
            .copied()
            .unwrap_or_default()
    };
    let usage = network.tracker(1).usage();
    println!(
        "files shared by {ACCOUNTS} accounts of one address         {:>8} in {} s",
        shared.into_inner(),
        time.as_secs()
    );
    println!("requests refused for a quota                       {:>8}", refused.into_inner());
    println!("tracker's memory before                            {:>12}", mib(before.memory));
    println!(
        "tracker's memory at its peak                       {:>12}   (bar: 1 GiB)",
        mib(usage.memory_peak)
    );
    println!(
        "disk of one tracker                                {:>12}",
        mib(size_of(&dir.join("tracker-1")))
    );
    println!(
        "an owner's answers, p50, p99, max                  {:?} {:?} {:?} of {}",
        of(50),
        of(99),
        of(100),
        waits.len()
    );
    Ok(())
}

fn enter(network: &Network, name: &str) -> Result<Session> {
    check_interrupt()?;
    let mut session = Session::open(network.port(1))?;
    session.create_user(name)?;
    session.login(name)?;
    Ok(session)
}

/// Makes groups and shares files until the time is over.
fn attack(
    session: &mut Session,
    number: usize,
    deadline: Instant,
    shared: &AtomicU64,
    refused: &AtomicU64,
) -> Result<()> {
    let (mut group, mut count) = (None, 0u64);
    while Instant::now() < deadline {
        count += 1;
        let reply = match group {
            Some(group) => session.ask(Request::ShareFile {
                request: request_id(),
                group,
                file: facts(number, count),
            })?,
            None => session.ask(Request::CreateGroup {
                request: request_id(),
                name: format!("g-{number}-{count}").parse()?,
            })?,
        };
        match reply {
            Reply::Done(success) => match success.effect {
                Effect::Group(made) => group = Some(made),
                _ => _ = shared.fetch_add(1, Ordering::Relaxed),
            },
            Reply::Refused(
                Refusal::Quota(_)
                | Refusal::NetworkFull
                | Refusal::TooMany
                | Refusal::TooManyShares,
            ) => {
                refused.fetch_add(1, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(20));
            }
            other => return Err(format!("an attacker was answered by {other:?}").into()),
        }
    }
    Ok(())
}

/// An owner who was there before makes a group and looks at it; returns how long each answer took.
fn serve_owner(session: &mut Session, over: &AtomicBool) -> Result<Vec<Duration>> {
    let group: GroupId =
        match session.ask(Request::CreateGroup { request: request_id(), name: "own".parse()? })? {
            Reply::Done(success) => match success.effect {
                Effect::Group(group) => group,
                other => return Err(format!("a group: {other:?}").into()),
            },
            other => return Err(format!("a group: {other:?}").into()),
        };
    let mut waits = Vec::new();
    while !over.load(Ordering::Relaxed) {
        check_interrupt()?;
        let start = Instant::now();
        match session.ask(Request::ListMembers { group, after: None })? {
            Reply::Members { .. } => waits.push(start.elapsed()),
            other => return Err(format!("the owner was answered by {other:?}").into()),
        }
        thread::sleep(OWNER_INTERVAL);
    }
    Ok(waits)
}

fn facts(number: usize, count: u64) -> FileFacts {
    let mut hash = [number as u8; InfoHash::LEN];
    hash[..8].copy_from_slice(&count.to_be_bytes());
    let name = format!("{number:03}-{count:0>width$}", width = NAME_LEN - 4);
    FileFacts {
        info_hash: InfoHash::from_bytes(hash),
        name: name.parse().expect("a file name of the longest kind"),
        len: 1 << 30,
        piece_len: 512 << 10,
        sha1: Sha1Digest::from_bytes([7; Sha1Digest::LEN]),
        chain: None,
    }
}

fn size_of(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|facts| facts.len()).sum()
}
