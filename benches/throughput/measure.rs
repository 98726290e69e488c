//! One run: the floors, then downloads by the real client from one seeder and from two, then
//! several first pieces.

use std::path::Path;
use std::time::Duration;

use crate::support::{Member, Network, Result, Usage, content};
use crate::{first, floor, stream};

/// One transfer.
pub(crate) struct Sample {
    /// From the request to the verified file.
    pub(crate) time: Duration,
    /// What the receiving side used for it, and its peak.
    pub(crate) receiver: Usage,
    /// What the sending side used for it: CPU time of all senders, the peak of the largest.
    pub(crate) sender: Usage,
}

/// Everything measured in one run.
pub(crate) struct Run {
    /// MB of SHA-1 a second on one core.
    pub(crate) sha1_rate: f64,
    /// Time that `upload_file` took.
    pub(crate) upload: Duration,
    /// CPU time that it took.
    pub(crate) upload_cpu: Duration,
    /// The floor in clear.
    pub(crate) plain: Sample,
    /// The floor in encrypted records.
    pub(crate) encrypted: Sample,
    /// A download from one seeder.
    pub(crate) one: Sample,
    /// A download from two seeders.
    pub(crate) two: Sample,
    /// A download from one seeder, read over HTTP while it comes; its end is the last byte read.
    pub(crate) streamed: Sample,
    /// Times to the first piece.
    pub(crate) first: Vec<Duration>,
}

impl Run {
    /// Measures everything once; `number` keeps the names of this run apart from another's.
    pub(crate) fn measure(network: &Network, file: &Path, len: u64, number: usize) -> Result<Self> {
        let (dir, copy) = (network.dir(), network.dir().join("floor.bin"));
        let sha1_rate = floor::sha1_rate();
        if number == 1 {
            // Not counted: the first to fill the system's cache pays for memory that the others
            // find ready.
            floor::measure(file, &copy, false)?;
        }
        floor::settle(dir, len)?;
        let plain = floor::measure(file, &copy, false)?;
        floor::settle(dir, len)?;
        let encrypted = floor::measure(file, &copy, true)?;
        let (one, (upload, upload_cpu)) =
            download(network, file, len, &format!("one-{number}"), 1, false)?;
        let (two, _) = download(network, file, len, &format!("two-{number}"), 2, false)?;
        let (streamed, _) = download(network, file, len, &format!("read-{number}"), 1, true)?;
        let first = first::pieces(network, &format!("first-{number}"))?;
        println!(
            "run {number}: bare loop {:.0}, with AES-GCM {:.0}; one seeder {:.0}, two seeders {:.0}, read while it comes {:.0} MB/s; upload_file {:.2} of SHA-1; first piece after {:.0?} ms",
            mbs(len, &plain),
            mbs(len, &encrypted),
            mbs(len, &one),
            mbs(len, &two),
            mbs(len, &streamed),
            crate::support::show::rate(len, upload) / sha1_rate,
            first.iter().map(|time| time.as_secs_f64() * 1e3).collect::<Vec<_>>(),
        );
        Ok(Self { sha1_rate, upload, upload_cpu, plain, encrypted, one, two, streamed, first })
    }
}

fn mbs(len: u64, sample: &Sample) -> f64 {
    crate::support::show::rate(len, sample.time)
}

/// Downloads the file once, with clients started for this alone, and reads it meanwhile if told so;
/// also returns what the first
/// seeder's `upload_file` took: time, and CPU time.
fn download(
    network: &Network,
    file: &Path,
    len: u64,
    group: &str,
    seeders: usize,
    is_read: bool,
) -> Result<(Sample, (Duration, Duration))> {
    let mut owner = Member::start(network, &format!("{group}-seeder-1"))?;
    owner.ask(&["create_group", group])?;
    floor::settle(network.dir(), len)?;
    let before = owner.usage();
    let upload = (owner.upload(file, group)?, owner.usage().since(before).cpu);
    let mut senders = vec![owner];
    for number in 2..=seeders {
        let mut sender = Member::start(network, &format!("{group}-seeder-{number}"))?;
        sender.enter(&mut senders[0], group)?;
        sender.upload(file, group)?;
        senders.push(sender);
    }
    let mut receiver = Member::start(network, &format!("{group}-leecher"))?;
    receiver.enter(&mut senders[0], group)?;
    floor::settle(network.dir(), len)?;
    let socket = is_read.then(|| stream::socket_of(network, receiver.user()));
    let sample = transfer(&mut receiver, &senders, group, file, socket.as_deref())?;
    check(&receiver, file, len)?;
    receiver.leave()?;
    senders.into_iter().try_for_each(Member::leave)?;
    Ok((sample, upload))
}

fn transfer(
    receiver: &mut Member,
    senders: &[Member],
    group: &str,
    file: &Path,
    socket: Option<&Path>,
) -> Result<Sample> {
    let name =
        file.file_name().and_then(|name| name.to_str()).ok_or("the file's name is not UTF-8")?;
    let used = |receiver: &Member| {
        (receiver.usage(), senders.iter().map(Member::usage).collect::<Vec<_>>())
    };
    let (receiver_before, senders_before) = used(receiver);
    let start = receiver.download(group, name)?;
    let read = match socket {
        Some(socket) => stream::read(socket, group, name, file.metadata()?.len())?,
        None => start,
    };
    let time = receiver.wait_complete()?.max(read).duration_since(start);
    let (receiver_after, senders_after) = used(receiver);
    let mut sender = Usage::default();
    for (before, after) in senders_before.into_iter().zip(senders_after) {
        let used = after.since(before);
        sender = Usage {
            cpu: sender.cpu + used.cpu,
            memory_peak: sender.memory_peak.max(used.memory_peak),
            ..used
        };
    }
    Ok(Sample { time, receiver: receiver_after.since(receiver_before), sender })
}

/// The copy must be right, or its time means nothing; it makes room for the next one.
fn check(receiver: &Member, file: &Path, len: u64) -> Result<()> {
    let name =
        file.file_name().and_then(|name| name.to_str()).ok_or("the file's name is not UTF-8")?;
    let copy = receiver.path_of(name);
    if copy.metadata()?.len() != len || content::sha1_of(&copy)? != content::sha1_of(file)? {
        return Err(format!("{} is not a copy of the file", copy.display()).into());
    }
    Ok(std::fs::remove_file(copy)?)
}
