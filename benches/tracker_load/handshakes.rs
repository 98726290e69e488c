//! Full TLS 1.3 handshakes a second: both ends on this machine, each with an Ed25519 key, nothing
//! resumed. Each ends with the tracker's welcome, which it says once it has checked the device's
//! key.

use std::thread;
use std::time::{Duration, Instant};

use crate::session::{Session, new_device};
use crate::support::{Network, Result, Usage, check_interrupt};

/// Handshakes under way at once: below the tracker's bound for strangers of one address.
const AT_ONCE: usize = 16;

/// Makes handshakes for that long, and prints how many, and what each costs either end.
pub(crate) fn measure(network: &Network, time: Duration) -> Result<()> {
    let (there, here, start) =
        (network.tracker(1).usage(), Usage::of_this_process(), Instant::now());
    let deadline = start + time;
    let count = thread::scope(|scope| {
        let threads: Vec<_> =
            (0..AT_ONCE).map(|_| scope.spawn(|| work(network.port(1), deadline))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| "a handshake panicked")?)
            .sum::<Result<u64>>()
    })?;
    let elapsed = start.elapsed().as_secs_f64();
    let each =
        |usage: Usage, before: Usage| usage.since(before).cpu.as_secs_f64() * 1e6 / count as f64;
    println!(
        "full handshakes, both ends on this machine         {:>8.0} a second",
        count as f64 / elapsed
    );
    println!(
        "CPU time of each, on the tracker's side            {:>8.0} us",
        each(network.tracker(1).usage(), there)
    );
    println!(
        "CPU time of each, on the client's side             {:>8.0} us",
        each(Usage::of_this_process(), here)
    );
    Ok(())
}

fn work(port: u16, deadline: Instant) -> Result<u64> {
    let (device, mut count) = (new_device()?, 0);
    while Instant::now() < deadline {
        check_interrupt()?;
        Session::open_as(port, &device)?.close();
        count += 1;
    }
    Ok(count)
}
