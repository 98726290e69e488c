//! Idle clients: how long their log-ins take, and what the tracker needs to hold them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::session::Session;
use crate::support::show::mib;
use crate::support::{Network, Result, check_interrupt};

/// Log-ins under way at once: enough for every core of the tracker, below its bound for one
/// address.
const LOGINS_AT_ONCE: usize = 32;
/// Sessions that a tracker allows one user.
const SESSIONS_PER_USER_MAX: usize = 16;
/// How often a session says that it is alive, as the real client does.
const PING_INTERVAL: Duration = Duration::from_secs(15);
/// How long the idle tracker's CPU time is watched.
const WATCH: Duration = Duration::from_secs(20);

/// Logs `clients` in, and prints what the tracker uses once nothing more happens.
pub(crate) fn measure(network: &Network, clients: usize, accounts: usize) -> Result<()> {
    raise_descriptors(clients)?;
    let accounts = accounts.max(clients.div_ceil(SESSIONS_PER_USER_MAX));
    let start = Instant::now();
    for account in 0..accounts {
        check_interrupt()?;
        Session::open(network.port(1))?.create_user(&user(account))?;
    }
    println!(
        "accounts made                                      {accounts:>8} in {:.1} s",
        start.elapsed().as_secs_f64()
    );
    let before = network.tracker(1).usage();
    let start = Instant::now();
    let mut sessions = login_all(network.port(1), clients, accounts)?;
    println!(
        "clients logged in                                  {:>8} in {:.1} s",
        sessions.len(),
        start.elapsed().as_secs_f64()
    );
    let (busy, start) = (network.tracker(1).usage(), Instant::now());
    let mut rounds = 0;
    while start.elapsed() < WATCH {
        ping_all(&mut sessions)?;
        rounds += 1;
        thread::sleep(PING_INTERVAL.min(WATCH.saturating_sub(start.elapsed())));
    }
    let idle = network.tracker(1).usage();
    println!("tracker's memory with no client                    {:>12}", mib(before.memory));
    println!(
        "tracker's memory with all, idle                    {:>12}   (bar: under 600 MiB)",
        mib(idle.memory)
    );
    println!("tracker's memory at its peak                       {:>12}", mib(idle.memory_peak));
    println!("tracker's threads                                  {:>8}", idle.threads);
    let (cpu, time) = (idle.since(busy).cpu.as_secs_f64(), start.elapsed().as_secs_f64());
    println!(
        "tracker's CPU time while idle                      {:>10.2} s in {time:.0} s, {rounds} pings a client",
        cpu
    );
    Ok(())
}

/// Logs clients in with several threads; each session pings until the last one is in.
fn login_all(port: u16, clients: usize, accounts: usize) -> Result<Vec<Session>> {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        let work = || -> Result<Vec<Session>> {
            let (mut sessions, mut pinged) = (Vec::new(), Instant::now());
            while next.load(Ordering::Relaxed) < clients {
                check_interrupt()?;
                if pinged.elapsed() >= PING_INTERVAL {
                    ping_all(&mut sessions)?;
                    pinged = Instant::now();
                }
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number < clients {
                    let mut session = Session::open(port)?;
                    session.login(&user(number % accounts))?;
                    sessions.push(session);
                }
            }
            Ok(sessions)
        };
        let threads: Vec<_> = (0..LOGINS_AT_ONCE).map(|_| scope.spawn(work)).collect();
        let sessions =
            threads.into_iter().map(|thread| thread.join().map_err(|_| "a log-in panicked")?);
        Ok(sessions.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    })
}

fn user(number: usize) -> String {
    format!("user-{number}")
}

fn ping_all(sessions: &mut [Session]) -> Result<()> {
    sessions.iter_mut().try_for_each(Session::ping)
}

/// Raises this process's own limit: the tracker's is the tracker's business, and it is running
/// already.
fn raise_descriptors(clients: usize) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = clients as u64 + 100;
    if limit.maximum.is_some_and(|maximum| maximum < wanted) {
        return Err(format!(
            "{wanted} file descriptors are needed; raise the limit (ulimit -Hn) or give --clients"
        )
        .into());
    }
    Ok(setrlimit(
        Resource::Nofile,
        Rlimit { current: limit.current.map(|now| now.max(wanted)), ..limit },
    )?)
}
