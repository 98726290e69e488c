//! The hybrid logical clock that stamps operations, and a stopwatch that a jumping wall clock cannot harm.
//!
//! **Invariant:** every stamp handed out is above every stamp seen before.
//!
//! Source: Kulkarni et al., "Logical Physical Clocks" (2014). Neither clock reads the time; it is passed in.

use crate::types::Stamp;

/// A hybrid logical clock: follows the wall clock, and never behind a stamp seen.
#[derive(Debug, Clone, Default)]
pub(super) struct HybridClock {
    last: Stamp,
}

impl HybridClock {
    /// Returns the stamp for a write at `now_ms`, without using it up; `None` at the end of time.
    pub(super) fn peek(&self, now_ms: u64) -> Option<Stamp> {
        let wall = Stamp::new(now_ms, 0);
        if wall > self.last { Some(wall) } else { self.last.next() }
    }

    /// Moves the clock past a stamp that was used here or arrived.
    pub(super) fn observe(&mut self, stamp: Stamp) {
        self.last = self.last.max(stamp);
    }
}

/// Counts elapsed milliseconds out of wall clock readings for time-outs.
///
/// A wall clock that is set back counts as no time at all, one that is set forward as one step at most: neither makes a healthy
/// link late or keeps a dead one alive for long.
#[derive(Debug, Clone, Default)]
pub(super) struct Stopwatch {
    elapsed_ms: u64,
    last_ms: Option<u64>,
}

impl Stopwatch {
    /// The most that one step may add: several ticks, less than any time-out.
    const STEP_MS_MAX: u64 = 500;

    /// Takes a wall clock reading and returns the milliseconds elapsed since the first one.
    pub(super) fn advance(&mut self, now_ms: u64) -> u64 {
        let step = now_ms.saturating_sub(self.last_ms.unwrap_or(now_ms));
        self.elapsed_ms += step.min(Self::STEP_MS_MAX);
        self.last_ms = Some(now_ms);
        self.elapsed_ms
    }

    /// Milliseconds elapsed at the last reading.
    pub(super) fn elapsed_ms(&self) -> u64 {
        self.elapsed_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_rise_even_when_the_wall_clock_falls() {
        let mut clock = HybridClock::default();
        let mut last = Stamp::ZERO;
        for now_ms in [1000, 1000, 400, 1001, 1001, 5] {
            let stamp = clock.peek(now_ms).unwrap();
            assert!(stamp > last, "{stamp} after {last}");
            clock.observe(stamp);
            last = stamp;
        }
        assert_eq!(last, Stamp::new(1001, 2));
    }

    #[test]
    fn a_full_counter_moves_to_the_next_millisecond() {
        let mut clock = HybridClock::default();
        clock.observe(Stamp::new(7, u16::MAX));
        assert_eq!(clock.peek(7), Some(Stamp::new(8, 0)));
        clock.observe(Stamp::from_u64(u64::MAX));
        assert_eq!(clock.peek(7), None);
    }

    #[test]
    fn the_stopwatch_survives_jumps() {
        let mut watch = Stopwatch::default();
        assert_eq!([5_000, 5_100, 90, 190, 9_000_000, 9_000_100].map(|ms| watch.advance(ms)), [0, 100, 100, 200, 700, 800]);
    }
}
