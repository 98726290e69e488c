//! Limits of so many bytes a second, and their fair division.
//!
//! **Invariant:** in any time `t` no more goes through a [`Bucket`] than `rate * t`, plus what it
//! saves up (a tenth of a second's worth), plus the one portion that overdraws it.
//!
//! What is sent is limited where blocks are written ([`send_queue`]), what is received when it is
//! asked for ([`request_queue`]), so that nothing fills buffers on the way and the windows of the
//! links stay honest. The locks and threads around both are in `link/limiter`.
//!
//! A bucket may be overdrawn by one portion and then gives nothing until it is full enough again:
//! so a portion need not fit into it, and the rate is right over time whatever their sizes.
//!
//! Pure: time is an argument.

pub(crate) mod request_queue;
pub(crate) mod send_queue;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::types::Rate;

/// Seconds' worth of bytes that are saved up while none are taken: a sender that is woken a little
/// late catches up.
const BURST: f64 = 0.1;
/// Flows remembered before those that are behind no other are forgotten.
const FLOWS_MAX: usize = 256;

/// Bytes that may go at a rate, or at will. Times are durations since any fixed start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    rate: Option<Rate>,
    /// Bytes that may go now; less than nothing after a portion that was larger.
    level: f64,
    at: Duration,
}

impl Bucket {
    pub(crate) fn new(rate: Option<Rate>) -> Self {
        Self { rate, level: 0.0, at: Duration::ZERO }
    }

    pub(crate) fn rate(&self) -> Option<Rate> {
        self.rate
    }

    fn level_at(&self, now: Duration) -> f64 {
        let rate = self.rate.map_or(0.0, |rate| rate.get() as f64);
        (self.level + now.saturating_sub(self.at).as_secs_f64() * rate).min(rate * BURST)
    }

    /// Changes the rate. What was overdrawn takes as long to fill as before, or at a higher rate as
    /// many bytes: a limit that is raised counts at once.
    pub(crate) fn set_rate(&mut self, now: Duration, rate: Option<Rate>) {
        let (before, level) = (self.rate, self.level_at(now));
        self.level = match (before, rate) {
            (Some(before), Some(after)) => {
                let scaled = level / before.get() as f64 * after.get() as f64;
                if level < 0.0 { scaled.max(level) } else { scaled }
            }
            _ => 0.0,
        };
        (self.rate, self.at) = (rate, self.at.max(now));
    }

    pub(crate) fn take(&mut self, now: Duration, bytes: u64) {
        if self.rate.is_some() {
            self.level = self.level_at(now) - bytes as f64;
            self.at = self.at.max(now);
        }
    }

    /// When the next portion may go: `now` or later.
    pub(crate) fn ready_at(&self, now: Duration) -> Duration {
        let Some(rate) = self.rate else { return now };
        let lacking = -self.level_at(now);
        // A byte more or less is a rounding error, and must not cause a wait of no time at all.
        if lacking < 1.0 { now } else { now + Duration::from_secs_f64(lacking / rate.get() as f64) }
    }
}

/// Start-time fair queueing: each flow has a tag, which grows with the bytes it is given; the least
/// is next. A flow that was away starts where the others are, so that none saves up turns, and what
/// one does not use goes to the others.
#[derive(Debug)]
pub(crate) struct Fair<K> {
    clock: u64,
    tags: BTreeMap<K, u64>,
}

impl<K: Ord + Copy> Fair<K> {
    pub(crate) fn new() -> Self {
        Self { clock: 0, tags: BTreeMap::new() }
    }

    pub(crate) fn tag(&self, flow: K) -> u64 {
        self.tags.get(&flow).map_or(self.clock, |tag| self.clock.max(*tag))
    }

    /// Counts bytes given to a flow; `least` is the least tag of the flows that could be next.
    pub(crate) fn gave(&mut self, flow: K, bytes: u64, least: u64) {
        let tag = self.tag(flow);
        self.clock = self.clock.max(least.min(tag));
        self.tags.insert(flow, tag + bytes);
        if self.tags.len() > FLOWS_MAX {
            self.tags.retain(|_, tag| *tag > self.clock);
        }
    }
}
