//! When the addresses of a device are dialled again that is linked through a relay.
//!
//! **Invariant:** the pauses double from [`DIRECT_MIN`] to [`DIRECT_MAX`], and up to a quarter less
//! at random, so that the two devices do not dial in step. A change of addresses begins them anew.
//!
//! Pure: the time and the randomness are arguments.

use std::time::Duration;

/// First and longest pause.
const DIRECT_MIN: Duration = Duration::from_secs(30);
const DIRECT_MAX: Duration = Duration::from_secs(300);

/// The schedule of one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DirectAgain {
    at: Duration,
    /// Pauses so far.
    count: u32,
}

impl DirectAgain {
    /// The device is linked through a relay now. `random` is from 0 to 1, here and below.
    pub(super) fn relayed(now: Duration, random: f64) -> Self {
        let mut again = Self::at_once();
        again.put_off(now, random);
        again
    }

    /// The device's addresses have changed, or this machine's.
    pub(super) fn at_once() -> Self {
        Self { at: Duration::ZERO, count: 0 }
    }

    /// No direct link came about: the next pause begins.
    pub(super) fn put_off(&mut self, from: Duration, random: f64) {
        let base = DIRECT_MIN.saturating_mul(1 << self.count.min(16)).min(DIRECT_MAX);
        self.at = from + base.mul_f64(0.75 + random / 4.0);
        self.count = self.count.saturating_add(1);
    }

    pub(super) fn is_due(&self, now: Duration) -> bool {
        self.at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// How many seconds after `now` it is due.
    fn pause(again: DirectAgain, now: Duration) -> u32 {
        (0..).find(|seconds| again.is_due(now + *seconds * SECOND)).unwrap()
    }

    #[test]
    fn the_pauses_double_from_thirty_seconds_to_five_minutes() {
        let mut now = 100 * SECOND;
        let mut again = DirectAgain::relayed(now, 1.0);
        for expected in [30, 60, 120, 240, 300, 300, 300] {
            assert_eq!(pause(again, now), expected);
            assert!(!again.is_due(now + (expected - 1) * SECOND));
            now += expected * SECOND;
            again.put_off(now, 1.0);
        }
        (0..100).for_each(|_| again.put_off(now, 1.0));
        assert_eq!(pause(again, now), 300);
    }

    #[test]
    fn chance_takes_at_most_a_quarter() {
        for (random, expected) in [(0.0, 23), (0.5, 27), (1.0, 30)] {
            assert_eq!(pause(DirectAgain::relayed(SECOND, random), SECOND), expected);
        }
    }

    #[test]
    fn a_change_of_addresses_ends_the_pause_and_begins_them_anew() {
        let now = 100 * SECOND;
        let mut again = DirectAgain::relayed(now, 1.0);
        (0..5).for_each(|_| again.put_off(now, 1.0));
        assert_eq!(pause(again, now), 300);
        again = DirectAgain::at_once();
        assert!(again.is_due(now));
        again.put_off(now, 1.0);
        assert_eq!(pause(again, now), 30);
    }
}
