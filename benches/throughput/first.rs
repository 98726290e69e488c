//! How long a user waits for the first piece: from `download_file` being typed until one is
//! verified, in a swarm that does nothing else.
//!
//! It is seen from outside: nothing but verified pieces is ever written, so the first has come when
//! the `.part` has data.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::network::PATIENCE;
use crate::support::{Member, Network, Result, content};

/// Files fetched, one after the other.
const FILES: usize = 5;
/// Bytes in each.
const LEN: u64 = 16 << 20;
/// How often the `.part` is looked at.
const POLL: Duration = Duration::from_micros(300);

/// Measures the time to the first piece of several files, which one client shares and another
/// fetches.
pub(crate) fn pieces(network: &Network, group: &str) -> Result<Vec<Duration>> {
    let mut sender = Member::start(network, &format!("{group}-seeder"))?;
    sender.ask(&["create_group", group])?;
    let mut receiver = Member::start(network, &format!("{group}-leecher"))?;
    receiver.enter(&mut sender, group)?;
    let mut times = Vec::new();
    for number in 1..=FILES {
        let name = format!("{group}-{number}.bin");
        let file = network.dir().join(&name);
        content::make(&file, LEN)?;
        sender.upload(&file, group)?;
        // A person types a moment later; what sharing set going has come to rest.
        thread::sleep(Duration::from_millis(200));
        times.push(first(&mut receiver, group, &name)?);
        receiver.wait_complete()?;
        std::fs::remove_file(receiver.path_of(&name))?;
        std::fs::remove_file(file)?;
    }
    receiver.leave()?;
    sender.leave()?;
    Ok(times)
}

fn first(receiver: &mut Member, group: &str, name: &str) -> Result<Duration> {
    let (target, part) = (receiver.path_of(name), receiver.path_of(&format!("{name}.part")));
    // The command returns when the download has begun; the first piece may be there before, so
    // another thread watches.
    thread::scope(|scope| {
        let watch = scope.spawn(move || watch(&target, &part));
        let start = receiver.download(group, name)?;
        let seen = watch.join().map_err(|_| "the watching thread panicked")?;
        Ok(seen.ok_or("no piece came")?.duration_since(start))
    })
}

fn watch(target: &Path, part: &Path) -> Option<Instant> {
    let has_data = |path: &Path| path.metadata().is_ok_and(|facts| facts.blocks() > 0);
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if has_data(part) || has_data(target) {
            return Some(Instant::now());
        }
        thread::sleep(POLL);
    }
    None
}
