//! Many devices that are online, as real clients are: what they cost the trackers and the database.
//!
//! Each device has one session, and does at the rates of a client: a ping every 15 s, tickets every
//! 5 min, and, every so often, an announce that asks for peers, and a change.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use posse::types::limits::{PING_INTERVAL, TICKET_LIFETIME};
use posse::types::{Effect, GroupId, InfoHash, Success};
use posse::wire::tracker::{Reply, Request};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::load::{Load, machine};
use crate::postgres::Cluster;
use crate::session::{Session, request_id};
use crate::support::{Binaries, Network, Result, check_interrupt};
use crate::{Options, facts, large};

/// Devices of one user: as many sessions as a tracker allows one.
const DEVICES_PER_USER: usize = 16;
/// How often a device announces, and asks for peers: as one that begins a download every ten
/// minutes, and says when it has it.
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(300);
/// How often a device changes the directory.
const CHANGE_INTERVAL: Duration = Duration::from_secs(3_600);
/// Threads that log in, and that speak for the devices.
const THREADS: usize = 32;
/// How long the devices are watched.
const WATCH: Duration = Duration::from_secs(60);

/// A device, and when it is to do what.
struct Device {
    session: Session,
    group: GroupId,
    user: usize,
    due: [Instant; 4],
}

/// How long the requests of one kind took.
type Times = Vec<Duration>;

const INTERVALS: [(&str, Duration); 4] = [
    ("pings", PING_INTERVAL),
    ("tickets", TICKET_LIFETIME.checked_div(2).expect("not by zero")),
    ("find-peers", ANNOUNCE_INTERVAL),
    ("changes", CHANGE_INTERVAL),
];

/// Has this many devices log in, and watches them.
pub(crate) fn measure(dir: &Path, options: &Options) -> Result<()> {
    let count = options.devices;
    raise_descriptors(count)?;
    println!("{count} devices, {} tracker(s); {}", options.trackers, machine());
    let binaries = Binaries::given(env!("CARGO_BIN_EXE_tracker"), env!("CARGO_BIN_EXE_client"));
    let mut cluster = Cluster::make(&[]);
    cluster.start_server();
    let network =
        Network::start_with(&binaries, dir, options.trackers, &["--store", &cluster.url()])?;
    let users = make_users(&network, count.div_ceil(DEVICES_PER_USER))?;
    watch("no device", &mut [], &network, &cluster)?;
    let begun = Instant::now();
    let mut devices = log_in(&network, &users, count)?;
    println!("logged in after {:.0} s", begun.elapsed().as_secs_f64());
    // Each has something due for the first time in its own moment.
    let now = Instant::now();
    for device in &mut devices {
        device.due = INTERVALS.map(|(_, every)| now + every.mul_f64(rand::random()));
    }
    watch(&format!("{count} devices"), &mut devices, &network, &cluster)?;
    println!("{}", machine());
    drop(devices);
    network.stop()
}

/// Makes users, each with a group and a file in it.
fn make_users(network: &Network, count: usize) -> Result<Vec<GroupId>> {
    let make = |number: usize| {
        let mut session = Session::open(network.port(1))?;
        session.create_user(&format!("user-{number}"))?;
        session.login(&format!("user-{number}"))?;
        let name = format!("group-{number}").parse()?;
        let reply = session.ask(Request::CreateGroup { request: request_id(), name })?;
        let Reply::Done(Success { effect: Effect::Group(group), .. }) = reply else {
            return Err(format!("create_group: {reply:?}").into());
        };
        share(&mut session, group, number, 0)?;
        session.close();
        Ok(group)
    };
    in_parallel(count, make)
}

/// Logs devices in with several threads; those that are in ping until the last one is.
fn log_in(network: &Network, users: &[GroupId], count: usize) -> Result<Vec<Device>> {
    let (next, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = || -> Result<Vec<Device>> {
        let (mut devices, mut pinged) = (Vec::<Device>::new(), Instant::now());
        let mut is_done = false;
        while ended.load(Ordering::Relaxed) < THREADS {
            check_interrupt()?;
            if pinged.elapsed() >= PING_INTERVAL {
                pinged = Instant::now();
                devices.iter_mut().try_for_each(|device| device.session.ping())?;
            }
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number < count {
                let user = number / DEVICES_PER_USER;
                let mut session = Session::open(network.port(number % network.count() + 1))?;
                session.login(&format!("user-{user}"))?;
                let due = [Instant::now(); 4];
                devices.push(Device { session, group: users[user], user, due });
            } else if is_done {
                thread::sleep(Duration::from_millis(10));
            } else {
                is_done = true;
                ended.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(devices)
    };
    // One that fails ends the others.
    let end = || work().inspect_err(|_| ended.store(THREADS, Ordering::Relaxed));
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(end)).collect();
        let parts = threads.into_iter().map(|thread| thread.join().map_err(|_| "a panic")?);
        Ok(parts.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    })
}

/// Makes things with several threads, in order.
fn in_parallel<T: Send>(count: usize, make: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    let mut made: Vec<(usize, T)> = thread::scope(|scope| {
        let work = || -> Result<Vec<(usize, T)>> {
            let mut made = Vec::new();
            loop {
                check_interrupt()?;
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return Ok(made);
                }
                made.push((number, make(number)?));
            }
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        let parts = threads.into_iter().map(|thread| thread.join().map_err(|_| "a panic")?);
        Ok::<_, crate::support::Failure>(
            parts.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect(),
        )
    })?;
    made.sort_unstable_by_key(|(number, _)| *number);
    Ok(made.into_iter().map(|(_, item)| item).collect())
}

/// Lets the devices do what they do for a while, and prints what that costs.
fn watch(what: &str, devices: &mut [Device], network: &Network, cluster: &Cluster) -> Result<()> {
    let trackers: Vec<_> = (1..=network.count()).map(|number| network.tracker(number)).collect();
    let load = Load::begin(&trackers, cluster);
    let until = Instant::now() + WATCH;
    let part_len = devices.len().div_ceil(THREADS).max(1);
    let parts: Vec<[Times; 4]> = thread::scope(|scope| {
        let threads: Vec<_> = devices
            .chunks_mut(part_len)
            .map(|part| scope.spawn(move || speak(part, until)))
            .collect();
        let parts = threads.into_iter().map(|thread| thread.join().map_err(|_| "a panic")?);
        parts.collect::<Result<Vec<_>>>()
    })?;
    thread::sleep(until.saturating_duration_since(Instant::now()));
    let (of_trackers, of_engine) = load.busy();
    let memory: u64 = trackers.iter().map(|tracker| tracker.usage().memory).sum();
    println!(
        "{what}: trackers {of_trackers:.4} processors, {} MiB; PostgreSQL {of_engine:.4} processors",
        memory >> 20
    );
    for (kind, (name, _)) in INTERVALS.iter().enumerate() {
        let mut times: Times = parts.iter().flat_map(|part| part[kind].iter().copied()).collect();
        times.sort_unstable();
        if let Some(last) = times.len().checked_sub(1) {
            println!(
                "  {name:<10} {:>7.1} a second, median {:>6.2} ms, p99 {:>7.2} ms",
                times.len() as f64 / WATCH.as_secs_f64(),
                times[last / 2].as_secs_f64() * 1000.0,
                times[last * 99 / 100].as_secs_f64() * 1000.0
            );
        }
    }
    Ok(())
}

/// Does what is due for these devices, until then.
fn speak(devices: &mut [Device], until: Instant) -> Result<[Times; 4]> {
    let mut times: [Times; 4] = Default::default();
    let mut count = 0;
    loop {
        check_interrupt()?;
        let now = Instant::now();
        if now >= until {
            return Ok(times);
        }
        for device in devices.iter_mut() {
            for kind in 0..INTERVALS.len() {
                if device.due[kind] > now {
                    continue;
                }
                device.due[kind] += INTERVALS[kind].1;
                count += 1;
                let begun = Instant::now();
                device.act(kind, count)?;
                times[kind].push(begun.elapsed());
            }
        }
        thread::sleep(Duration::from_millis(10));
    }
}

impl Device {
    fn act(&mut self, kind: usize, count: u64) -> Result<()> {
        match kind {
            0 => self.session.ping(),
            1 => match self.session.ask(Request::Tickets { groups: vec![self.group] })? {
                Reply::Tickets(tickets) if tickets.len() == 1 => Ok(()),
                other => Err(format!("tickets: {other:?}").into()),
            },
            2 => large::find_peers(&mut self.session, self.group, file(self.user, 0)),
            _ => share(
                &mut self.session,
                self.group,
                self.user,
                count << 32 | rand::random::<u64>() >> 32,
            ),
        }
    }
}

fn file(user: usize, number: u64) -> InfoHash {
    facts(user, number).info_hash
}

fn share(session: &mut Session, group: GroupId, user: usize, number: u64) -> Result<()> {
    let request = Request::ShareFile { request: request_id(), group, file: facts(user, number) };
    match session.ask(request)? {
        Reply::Done(_) => Ok(()),
        other => Err(format!("share: {other:?}").into()),
    }
}

/// Raises this process's own limit; the trackers raise theirs.
fn raise_descriptors(count: usize) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = count as u64 + 200;
    let current = limit.current.map(|now| now.max(wanted));
    Ok(setrlimit(Resource::Nofile, Rlimit { current, ..limit })?)
}
