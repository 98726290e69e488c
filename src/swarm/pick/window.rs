//! How far requests run ahead of data on one link: its measured rate times its measured delay,
//! twice.
//!
//! **Invariant:** the target lies between the two bounds it is asked with, and without measurements
//! it is the lower one.
//!
//! Twice, because a window of once the product only just keeps a link busy, and because a rate
//! measured through a window that is too small grows with it: the target doubles each round trip
//! until the link is full, as TCP does. The delay is the smallest seen between a request on an idle
//! link and its first block: requests that wait in the peer's queue behind others do not count as
//! distance. Until one was seen, a round trip of its opening stands for it.
//!
//! On an idle link the rate is taken from when the first block could have come at the earliest, by
//! that round trip. How fast the first blocks come tells what the link can do before the window has
//! let it, so that they open it at once.

use std::time::Duration;

/// Shortest time over which a rate is taken: below it, one burst says nothing.
const SAMPLE_MIN: Duration = Duration::from_millis(50);
/// The first rate of a link may be taken over less, from this many bytes on: a distant link that
/// waits for more than its first window loses a round trip.
const TRAIN_MIN: Duration = Duration::from_millis(10);
const TRAIN_LEN_MIN: u64 = 256 << 10;

/// Bytes per second lately: a moving average whose past fades with a time constant.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SpeedMeter {
    fade: f64,
    weighted: f64,
    since: Duration,
    last: Duration,
}

impl SpeedMeter {
    pub(crate) fn new(now: Duration, fade: Duration) -> Self {
        Self { fade: fade.as_secs_f64(), weighted: 0.0, since: now, last: now }
    }

    pub(crate) fn add(&mut self, now: Duration, bytes: u64) {
        self.weighted = self.faded(now) + bytes as f64;
        self.last = self.last.max(now);
    }

    pub(crate) fn get(&self, now: Duration) -> f64 {
        let age = now.saturating_sub(self.since).as_secs_f64().max(0.1);
        // A young average has seen less than its time constant: divide by what it can have seen.
        self.faded(now) / (self.fade * (1.0 - (-age / self.fade).exp()))
    }

    fn faded(&self, now: Duration) -> f64 {
        self.weighted * (-now.saturating_sub(self.last).as_secs_f64() / self.fade).exp()
    }
}

/// The measurements of a link, and the window that follows from them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Window {
    delay: Option<Duration>,
    /// What stands for the delay until one was seen.
    delay_guessed: Option<Duration>,
    rate: Option<f64>,
    sample: Sample,
}

/// The bytes over which a rate is taken.
#[derive(Debug, Clone, Copy, Default)]
enum Sample {
    /// Nothing is asked for.
    #[default]
    Idle,
    /// The first block has not come; when it was asked for.
    Awaited(Duration),
    /// Bytes since a time.
    Running(Duration, u64),
}

impl Window {
    /// Requests are sent; `idle` tells that none was waiting before.
    pub(crate) fn requested(&mut self, now: Duration, idle: bool) {
        if idle || matches!(self.sample, Sample::Idle) {
            self.sample = Sample::Awaited(now);
        }
    }

    /// The link has nothing more to bring: the time until the next request says nothing about its
    /// rate.
    pub(crate) fn idle(&mut self) {
        self.sample = Sample::Idle;
    }

    /// What was measured does not hold any more.
    pub(crate) fn forget_rate(&mut self) {
        (self.rate, self.sample) = (None, Sample::Idle);
    }

    pub(crate) fn delay_seen(&mut self, delay: Duration) {
        self.delay = Some(self.delay.map_or(delay, |old| old.min(delay)));
    }

    /// Notes a time that may be less than a round trip, or more.
    pub(crate) fn delay_guessed(&mut self, delay: Duration) {
        self.delay_guessed = Some(delay);
    }

    pub(crate) fn received(&mut self, now: Duration, bytes: u64) {
        let (start, sum) = match self.sample {
            Sample::Idle => return,
            // The way there and back says nothing about the rate. The time in the peer's queue
            // does: it is what the peer has for us. Only a round trip of its opening tells one from
            // the other; the delay of a block holds both.
            Sample::Awaited(asked) => match asked + self.delay_guessed.unwrap_or_default() {
                start if start < now => (start, bytes),
                // The bytes of this block passed before its end was seen.
                _ => (now, 0),
            },
            Sample::Running(start, sum) => (start, sum + bytes),
        };
        self.sample = Sample::Running(start, sum);
        let span = now.saturating_sub(start);
        let is_train = self.rate.is_none() && span >= TRAIN_MIN && sum >= TRAIN_LEN_MIN;
        if !is_train && span < SAMPLE_MIN.max(self.delay.unwrap_or_default()) {
            return;
        }
        let seen = sum as f64 / span.as_secs_f64();
        // Up at once, so that a window opens quickly; down slowly, so that one stall does not close
        // it.
        self.rate = Some(match self.rate {
            Some(old) if seen < old => old * 0.8 + seen * 0.2,
            _ => seen,
        });
        self.sample = Sample::Running(now, 0);
    }

    pub(crate) fn rate(&self) -> Option<f64> {
        self.rate
    }

    /// Smallest delay, if measured, or what stands for it.
    pub(crate) fn delay(&self) -> Option<Duration> {
        self.delay.or(self.delay_guessed)
    }

    /// Bytes that may be in flight, within the bounds.
    pub(crate) fn target(&self, min: u64, max: u64) -> u64 {
        let product = self.rate.unwrap_or(0.0) * self.delay().unwrap_or_default().as_secs_f64();
        ((2.0 * product) as u64).min(max).max(min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    const PIECE: u64 = 512 << 10;
    const BLOCK: u64 = 64 << 10;

    /// Downloads for a while over a link with this rate and round trip, whose requests go out as
    /// soon as the window has room for a piece; returns the bytes that came in each tenth of a
    /// second.
    fn simulate(window: &mut Window, rate: u64, round_trip: Duration, tenths: usize) -> Vec<u64> {
        let mut arrivals = std::collections::VecDeque::new();
        let (mut came, mut asked, mut got, mut free) = (vec![0; tenths], 0, 0, Duration::ZERO);
        let mut now = Duration::ZERO;
        while now < tenths as u32 * 100 * MS {
            while arrivals.front().is_some_and(|&at| at <= now) {
                arrivals.pop_front();
                if got == 0 {
                    window.delay_seen(now);
                }
                window.received(now, BLOCK);
                got += BLOCK;
                came[now.as_millis() as usize / 100] += BLOCK;
            }
            while asked - got + PIECE <= window.target(2 * PIECE, 16 << 20) {
                window.requested(now, asked == got);
                for _ in 0..PIECE / BLOCK {
                    free = free.max(now + round_trip)
                        + Duration::from_secs_f64(BLOCK as f64 / rate as f64);
                    arrivals.push_back(free);
                }
                asked += PIECE;
            }
            now += MS;
        }
        came
    }

    /// A link of 25 MB/s and 100 ms is full from the second round trip of data on, and stays so
    /// without a long queue.
    #[test]
    fn a_distant_link_is_filled() {
        let mut window = Window::default();
        window.delay_guessed(100 * MS);
        let came = simulate(&mut window, 25_000_000, 100 * MS, 40);
        let lacking: u64 = came[1..].iter().map(|bytes| 2_500_000u64.saturating_sub(*bytes)).sum();
        assert!(lacking <= 2_500_000, "{lacking} bytes could have come and did not: {came:?}");
        let target = window.target(2 * PIECE, 16 << 20);
        assert!((4_000_000..6_500_000).contains(&target), "{target}");
    }

    #[test]
    fn links_of_any_kind_are_filled() {
        for (rate, round_trip) in
            [(6_250_000, 500), (125_000_000, 20), (1_250_000, 300), (25_000_000, 20)]
        {
            let mut window = Window::default();
            window.delay_guessed(round_trip * MS);
            let came = simulate(&mut window, rate, round_trip * MS, 60);
            let late: u64 = came[30..].iter().sum();
            assert!(
                late as f64 >= rate as f64 * 3.0 * 0.97,
                "{rate} bytes/s, {round_trip} ms: {came:?}"
            );
        }
    }

    /// What connecting took is only a stand-in: it may be less than a round trip, and must not keep
    /// the window small.
    #[test]
    fn a_guessed_delay_gives_way_to_a_seen_one() {
        let mut window = Window::default();
        window.delay_guessed(30 * MS);
        assert_eq!(window.delay(), Some(30 * MS));
        window.delay_seen(100 * MS);
        window.delay_guessed(30 * MS);
        assert_eq!(window.delay(), Some(100 * MS));
    }

    #[test]
    fn idle_time_does_not_lower_the_rate() {
        let mut window = Window::default();
        for second in [0, 9] {
            let start = second * 1_000 * MS;
            window.requested(start, true);
            window.received(start, 100_000);
            window.received(start + 100 * MS, 1_000_000);
            window.idle();
        }
        assert_eq!(window.rate().map(f64::round), Some(10_000_000.0));
    }

    #[test]
    fn rates_fade() {
        let mut rate = SpeedMeter::new(Duration::ZERO, 3_000 * MS);
        (1..=100).for_each(|i| rate.add(i * 100 * MS, 100_000));
        assert!(
            (900_000.0..1_100_000.0).contains(&rate.get(10_000 * MS)),
            "{}",
            rate.get(10_000 * MS)
        );
        assert!(rate.get(30_000 * MS) < 5_000.0);
    }
}
