//! How fast bytes go to each peer, for people to see.
//!
//! **Invariant:** a rate is that of the last [`WINDOW`]; nothing is told of a link on which nothing
//! moved, or that was not sampled, for so long.
//!
//! Pure. The timer samples the links' counters a few times a second, so that sending costs no more
//! than a counter.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::swarm::LinkKey;

/// The time that a rate is about.
const WINDOW: Duration = Duration::from_secs(2);
/// Samples kept of a link: some more than a timer takes in that time.
const SAMPLES_MAX: usize = 12;

/// The rates of the links of one file.
#[derive(Debug, Default)]
pub(crate) struct SendRates {
    links: BTreeMap<LinkKey, RateWindow>,
}

impl SendRates {
    /// Notes how many bytes went out on a link so far.
    pub(crate) fn sample(&mut self, now: Duration, link: LinkKey, total: u64) {
        self.links.entry(link).or_default().sample(now, total);
    }

    pub(crate) fn leave(&mut self, link: LinkKey) {
        self.links.remove(&link);
    }

    /// Bytes per second on a link.
    pub(crate) fn of(&self, now: Duration, link: LinkKey) -> u64 {
        self.links.get(&link).map_or(0, |window| window.get(now))
    }

    /// Bytes per second on all links.
    pub(crate) fn sum(&self, now: Duration) -> u64 {
        self.links.values().map(|window| window.get(now)).sum()
    }
}

/// A counter's values within the last [`WINDOW`], with their times.
#[derive(Debug, Default)]
struct RateWindow {
    samples: VecDeque<(Duration, u64)>,
}

impl RateWindow {
    fn sample(&mut self, now: Duration, total: u64) {
        while self.samples.len() >= SAMPLES_MAX
            || self.samples.front().is_some_and(|(at, _)| *at + WINDOW < now)
        {
            self.samples.pop_front();
        }
        self.samples.push_back((now, total));
    }

    fn get(&self, now: Duration) -> u64 {
        let is_recent = |(at, _): &&(Duration, u64)| *at + WINDOW >= now;
        let first = self.samples.iter().find(is_recent);
        let (Some((begin, before)), Some((end, after))) = (first, self.samples.back()) else {
            return 0;
        };
        let time = end.saturating_sub(*begin).as_secs_f64();
        let bytes = after.saturating_sub(*before);
        if time > 0.0 { (bytes as f64 / time) as u64 } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(250);

    #[test]
    fn a_rate_is_that_of_the_last_two_seconds() {
        let (mut rates, link, mut now) = (SendRates::default(), LinkKey(1), Duration::ZERO);
        assert_eq!(rates.of(now, link), 0);
        let mut total = 0;
        for step in 0..40 {
            rates.sample(now, link, total);
            assert!(rates.links[&link].samples.len() <= SAMPLES_MAX);
            if step > 1 {
                assert_eq!(rates.of(now, link), 1_000_000);
            }
            (now, total) = (now + TICK, total + 250_000);
        }
        // Slower by half: after 2 s nothing of before counts.
        for _ in 0..9 {
            rates.sample(now, link, total);
            (now, total) = (now + TICK, total + 125_000);
        }
        assert_eq!(rates.sum(now), 500_000);
    }

    #[test]
    fn nothing_is_claimed_when_nothing_moved_for_two_seconds() {
        let (mut rates, link, mut now) = (SendRates::default(), LinkKey(1), Duration::ZERO);
        rates.sample(now, link, 0);
        now += TICK;
        rates.sample(now, link, 1_000_000);
        assert!(rates.of(now, link) > 0);
        for _ in 0..8 {
            now += TICK;
            rates.sample(now, link, 1_000_000);
        }
        assert_eq!(rates.of(now, link), 0);
        // Nor when the timer did not come by.
        rates.sample(now + TICK, link, 2_000_000);
        assert!(rates.sum(now + TICK) > 0);
        assert_eq!(rates.sum(now + TICK + WINDOW + TICK), 0);
        rates.leave(link);
        assert_eq!(rates.sum(now + TICK), 0);
    }
}
