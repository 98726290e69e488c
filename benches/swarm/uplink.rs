//! How busy each node's uplink was: the counters of the switch's ports, read ten times a second by
//! a process inside its namespace.
//!
//! **Invariant:** the sampler ends with its stdin, hence with whoever started it.
//!
//! The counters count a large packet of segmentation offload once, with one header, while the
//! bucket counts the headers of all its segments: what was counted is multiplied by [`HEADERS`].
//! What the figures show is where a link was idle, not how many bytes went over it.

use std::io::{BufRead, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::lab::{Lab, port};
use crate::support::{Process, Result};

/// Time between two samples.
const INTERVAL: Duration = Duration::from_millis(100);
/// Bytes of Ethernet, IP and TCP with its time stamps in a frame, and the data that they carry.
pub(crate) const HEADERS: f64 = 1514.0 / 1448.0;

/// Samples the ports of `count` nodes.
pub(crate) struct Sampler {
    process: Process,
}

/// Bytes that each node had sent at a moment.
struct Sample {
    at: Instant,
    bytes: Vec<u64>,
}

/// What was sampled.
pub(crate) struct Samples(Vec<Sample>);

impl Sampler {
    /// Begins.
    pub(crate) fn start(lab: &Lab, count: usize, dir: &Path) -> Result<Self> {
        let exe = std::env::current_exe()?;
        let exe = exe.to_str().ok_or("this executable's path is not UTF-8")?;
        let args = ["netns", "exec", &lab.switch(), exe, "--sample", &count.to_string()];
        Ok(Self { process: Process::start("sampler", Path::new("ip"), &args, dir)? })
    }

    /// Ends, and hands out what was seen.
    pub(crate) fn stop(mut self) -> Samples {
        let mut samples = Vec::new();
        while let Some((at, line)) = self.process.try_line() {
            samples.push(Sample {
                at,
                bytes: line.split(' ').filter_map(|number| number.parse().ok()).collect(),
            });
        }
        Samples(samples)
    }
}

impl Samples {
    /// The share of a time in which a node's uplink of `rate` bytes a second was not used, in each
    /// third between two moments.
    pub(crate) fn idle(&self, node: usize, rate: u64, from: Instant, to: Instant) -> [f64; 3] {
        let third = to.saturating_duration_since(from) / 3;
        [0, 1, 2].map(|part| {
            let (start, end) = (from + third * part, from + third * (part + 1));
            let sent = self.at(node, end) - self.at(node, start);
            (1.0 - sent * HEADERS / (rate as f64 * third.as_secs_f64())).max(0.0)
        })
    }

    /// Bytes that a node had sent at a moment, between two samples in proportion.
    fn at(&self, node: usize, when: Instant) -> f64 {
        let bytes = |sample: &Sample| sample.bytes.get(node).copied().unwrap_or(0) as f64;
        let next = self.0.partition_point(|sample| sample.at < when);
        match (next.checked_sub(1).and_then(|before| self.0.get(before)), self.0.get(next)) {
            (Some(before), Some(after)) => {
                let part = (when - before.at).as_secs_f64()
                    / (after.at - before.at).as_secs_f64().max(1e-9);
                bytes(before) + (bytes(after) - bytes(before)) * part
            }
            (Some(only), None) | (None, Some(only)) => bytes(only),
            (None, None) => 0.0,
        }
    }
}

/// The process inside the switch: prints the counters until its stdin ends.
pub(crate) fn sample(count: usize) -> ExitCode {
    std::thread::spawn(|| {
        let _ = std::io::stdin().lock().read_until(0, &mut Vec::new());
        std::process::exit(0);
    });
    let mut due = Instant::now();
    loop {
        let read = |node| {
            std::fs::read_to_string(format!("/sys/class/net/{}/statistics/rx_bytes", port(node)))
        };
        let counts: Vec<String> =
            (0..count).map(|node| read(node).unwrap_or("0".to_owned()).trim().to_owned()).collect();
        if writeln!(std::io::stdout(), "{}", counts.join(" ")).is_err() {
            return ExitCode::SUCCESS;
        }
        due += INTERVAL;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}
