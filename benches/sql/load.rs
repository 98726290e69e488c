//! What trackers and the database's processes use of the processors, and what these are.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::postgres::Cluster;
use crate::support::{Process, Usage};

/// Processor time since a moment.
pub(crate) struct Load<'a> {
    trackers: &'a [&'a Process],
    cluster: &'a Cluster,
    since: Instant,
    of_trackers: Duration,
    of_engine: BTreeMap<String, Duration>,
}

impl<'a> Load<'a> {
    /// Notes what was used so far.
    pub(crate) fn begin(trackers: &'a [&'a Process], cluster: &'a Cluster) -> Self {
        let of_trackers = trackers.iter().map(|tracker| tracker.usage().cpu).sum();
        let of_engine = of_engine(cluster);
        Self { trackers, cluster, since: Instant::now(), of_trackers, of_engine }
    }

    /// Processors that the trackers and the database kept busy since then.
    pub(crate) fn busy(&self) -> (f64, f64) {
        let seconds = self.since.elapsed().as_secs_f64();
        let now: Duration = self.trackers.iter().map(|tracker| tracker.usage().cpu).sum();
        let trackers = now.saturating_sub(self.of_trackers);
        // A process that has begun since counts whole, one that has ended not at all.
        let engine: Duration = of_engine(self.cluster)
            .into_iter()
            .map(|(pid, cpu)| {
                cpu.saturating_sub(self.of_engine.get(&pid).copied().unwrap_or_default())
            })
            .sum();
        (trackers.as_secs_f64() / seconds, engine.as_secs_f64() / seconds)
    }

    /// What one of the actions cost that were done at that rate since then.
    pub(crate) fn per_action(&self, rate: f64) -> String {
        let (trackers, engine) = self.busy();
        format!(
            "processor time of each: tracker {:.3} ms, PostgreSQL {:.3} ms",
            trackers / rate * 1000.0,
            engine / rate * 1000.0
        )
    }
}

fn of_engine(cluster: &Cluster) -> BTreeMap<String, Duration> {
    let processes = cluster.processes().into_iter();
    processes.map(|pid| (pid.clone(), Usage::of(&pid).cpu)).collect()
}

/// The processors, and what others do with them.
pub(crate) fn machine() -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.and_then(|rest| rest.split_once(": ")).map_or("?", |(_, model)| model);
    let count = std::thread::available_parallelism().map_or(0, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').take(3).collect::<Vec<_>>().join(" ");
    format!("{count} processors, {model}; load {load}")
}
