//! Durable changes a second, and the machine's own rate of syncing a small write.

use std::fs::File;
use std::io::{Seek, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use posse::types::{Effect, FileFacts, InfoHash, Sha1Digest, Success};
use posse::wire::tracker::{Reply, Request};

use crate::session::{Session, request_id};
use crate::support::network::PATIENCE;
use crate::support::{Network, Result, check_interrupt};

/// Bytes written before each sync: one page of the database.
const PAGE_LEN: usize = 4096;

/// Returns how often a second a page can be overwritten and synced in `dir`.
pub(crate) fn fsync_rate(dir: &Path, time: Duration) -> Result<f64> {
    let path = dir.join("fsync.bin");
    let mut file = File::create(&path)?;
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < time {
        check_interrupt()?;
        file.rewind()?;
        file.write_all(&[count as u8; PAGE_LEN])?;
        file.sync_data()?;
        count += 1;
    }
    let rate = f64::from(count) / start.elapsed().as_secs_f64();
    std::fs::remove_file(path)?;
    Ok(rate)
}

/// Returns how many changes a second `writers` clients of tracker 1 get acknowledged, each making
/// one after the other.
pub(crate) fn measure(network: &Network, writers: usize, time: Duration) -> Result<f64> {
    let mut sessions =
        (0..writers).map(|number| open(network, number)).collect::<Result<Vec<_>>>()?;
    wait_until_safe_everywhere(&mut sessions[0])?;
    let start = Instant::now();
    let deadline = start + time;
    let counts = thread::scope(|scope| {
        let write = |(number, session)| scope.spawn(move || write(session, number, deadline));
        let threads: Vec<_> = sessions.iter_mut().enumerate().map(write).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| "a writer panicked")?)
            .collect::<Result<Vec<u64>>>()
    })?;
    Ok(counts.iter().sum::<u64>() as f64 / start.elapsed().as_secs_f64())
}

/// Waits until every tracker of the network has to acknowledge before a change counts.
fn wait_until_safe_everywhere(session: &mut Session) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match session.ask(Request::ListTrackers)? {
            Reply::Trackers { degraded: false, .. } => return Ok(()),
            Reply::Trackers { .. } if Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(50))
            }
            other => return Err(format!("the trackers do not come together: {other:?}").into()),
        }
        check_interrupt()?;
    }
}

fn open(network: &Network, number: usize) -> Result<Session> {
    check_interrupt()?;
    let mut session = Session::open(network.port(1))?;
    session.create_user(&format!("writer-{number}"))?;
    session.login(&format!("writer-{number}"))?;
    Ok(session)
}

/// Shares files in a group of its own until the deadline; returns how many.
fn write(session: &mut Session, number: usize, deadline: Instant) -> Result<u64> {
    let name = format!("group-{number}").parse()?;
    let group = match session.ask(Request::CreateGroup { request: request_id(), name })? {
        Reply::Done(Success { effect: Effect::Group(group), .. }) => group,
        other => return Err(format!("create_group: {other:?}").into()),
    };
    let mut count = 0;
    while Instant::now() < deadline {
        let file = facts(number, count);
        match session.ask(Request::ShareFile { request: request_id(), group, file })? {
            Reply::Done(_) => count += 1,
            other => return Err(format!("share: {other:?}").into()),
        }
    }
    Ok(count)
}

fn facts(number: usize, count: u64) -> FileFacts {
    let mut hash = [number as u8; InfoHash::LEN];
    hash[..8].copy_from_slice(&count.to_be_bytes());
    FileFacts {
        info_hash: InfoHash::from_bytes(hash),
        name: format!("file-{number}-{count}.bin").parse().expect("a plain name"),
        len: 1 << 30,
        piece_len: 512 << 10,
        sha1: Sha1Digest::from_bytes([7; Sha1Digest::LEN]),
        chain: None,
    }
}
