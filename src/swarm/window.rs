//! How far requests run ahead of data on one link: its measured rate times its measured delay, twice.
//!
//! **Invariant:** the target lies between the two bounds it is asked with, and without measurements it is the lower one.
//!
//! Twice, because a window of once the product only just keeps a link busy, and because a rate measured through a window that
//! is too small grows with it: the target doubles each round trip until the link is full, as TCP does. The delay is the
//! smallest seen between a request on an idle link and its first block: requests that wait in the peer's queue behind others
//! do not count as distance.

use std::time::Duration;

/// Shortest time over which a rate is taken: below it, one burst says nothing.
const SAMPLE_MIN: Duration = Duration::from_millis(50);

/// Bytes per second lately: a moving average whose past fades with a time constant.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    fade: f64,
    weighted: f64,
    since: Duration,
    last: Duration,
}

impl Rate {
    /// Makes a rate that begins at `now` and forgets over `fade`.
    pub(crate) fn new(now: Duration, fade: Duration) -> Self {
        Self { fade: fade.as_secs_f64(), weighted: 0.0, since: now, last: now }
    }

    /// Counts bytes.
    pub(crate) fn add(&mut self, now: Duration, bytes: u64) {
        self.weighted = self.faded(now) + bytes as f64;
        self.last = self.last.max(now);
    }

    /// Bytes per second at `now`.
    pub(crate) fn get(&self, now: Duration) -> f64 {
        let age = now.saturating_sub(self.since).as_secs_f64().max(0.1);
        // A young average has seen less than its time constant: divide by what it can have seen.
        self.faded(now) / (self.fade * (1.0 - (-age / self.fade).exp()))
    }

    fn faded(&self, now: Duration) -> f64 {
        self.weighted * (-now.saturating_sub(self.last).as_secs_f64() / self.fade).exp()
    }
}

/// What is measured of a link, and the window that follows from it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Window {
    delay: Option<Duration>,
    rate: Option<f64>,
    /// Start of the running sample and its bytes; none while nothing is asked for.
    sample: Option<(Duration, u64)>,
}

impl Window {
    /// Requests are sent; `idle` tells that none was waiting before.
    pub(crate) fn requested(&mut self, now: Duration, idle: bool) {
        if idle || self.sample.is_none() {
            self.sample = Some((now, 0));
        }
    }

    /// The link has nothing more to bring: the time until the next request says nothing about its rate.
    pub(crate) fn idle(&mut self) {
        self.sample = None;
    }

    /// Notes a round trip time.
    pub(crate) fn delay_seen(&mut self, delay: Duration) {
        self.delay = Some(self.delay.map_or(delay, |old| old.min(delay)));
    }

    /// Counts bytes of blocks.
    pub(crate) fn received(&mut self, now: Duration, bytes: u64) {
        let Some((start, sum)) = self.sample.as_mut() else { return };
        *sum += bytes;
        let span = now.saturating_sub(*start);
        if span < SAMPLE_MIN.max(self.delay.unwrap_or_default()) {
            return;
        }
        let seen = *sum as f64 / span.as_secs_f64();
        // Up at once, so that a window opens quickly; down slowly, so that one stall does not close it.
        self.rate = Some(match self.rate {
            Some(old) if seen < old => old * 0.8 + seen * 0.2,
            _ => seen,
        });
        self.sample = Some((now, 0));
    }

    /// Bytes per second while busy, if measured.
    pub(crate) fn rate(&self) -> Option<f64> {
        self.rate
    }

    /// Smallest delay, if measured.
    pub(crate) fn delay(&self) -> Option<Duration> {
        self.delay
    }

    /// Bytes that may be in flight, within the bounds.
    pub(crate) fn target(&self, min: u64, max: u64) -> u64 {
        let product = self.rate.unwrap_or(0.0) * self.delay.unwrap_or_default().as_secs_f64();
        ((2.0 * product) as u64).min(max).max(min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A link of 25 MB/s and 100 ms: the window opens from two pieces to the product and beyond, within a second.
    #[test]
    fn a_distant_link_is_filled() {
        let (mut window, piece) = (Window::default(), 512u64 << 10);
        window.delay_seen(100 * MS);
        let mut now = Duration::ZERO;
        window.requested(now, true);
        for _ in 0..10 {
            let target = window.target(2 * piece, 16 << 20);
            now += 100 * MS;
            window.received(now, target.min(2_500_000));
        }
        let target = window.target(2 * piece, 16 << 20);
        assert!((4_000_000..6_000_000).contains(&target), "{target}");
    }

    #[test]
    fn idle_time_does_not_lower_the_rate() {
        let mut window = Window::default();
        window.requested(Duration::ZERO, true);
        window.received(100 * MS, 1_000_000);
        window.idle();
        window.requested(9_000 * MS, true);
        window.received(9_100 * MS, 1_000_000);
        assert_eq!(window.rate().map(f64::round), Some(10_000_000.0));
    }

    #[test]
    fn rates_fade() {
        let mut rate = Rate::new(Duration::ZERO, 3_000 * MS);
        (1..=100).for_each(|i| rate.add(i * 100 * MS, 100_000));
        assert!((900_000.0..1_100_000.0).contains(&rate.get(10_000 * MS)), "{}", rate.get(10_000 * MS));
        assert!(rate.get(30_000 * MS) < 5_000.0);
    }
}
