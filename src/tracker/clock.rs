//! The time the core gives to the replica: the wall clock, made fit for measuring.
//!
//! **Invariant:** readings never fall, and between two calls they move on, so that a time-out
//! always runs out. After the wall clock was set back they go at half speed until it has caught up.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A clock that was started once and is read by one thread.
#[derive(Debug)]
pub(crate) struct Clock {
    last: Instant,
    /// Nanoseconds since the Unix epoch, as last told.
    told: u128,
    /// Added to the wall clock; tests make a tracker's clock wrong with it.
    offset_ms: i64,
}

impl Clock {
    /// Starts at the wall clock's reading.
    pub(crate) fn new(offset_ms: i64) -> Self {
        Self { last: Instant::now(), told: wall(offset_ms).as_nanos(), offset_ms }
    }

    /// Milliseconds since the Unix epoch, for the replica.
    pub(crate) fn now_ms(&mut self) -> u64 {
        let (now, wall) = (Instant::now(), wall(self.offset_ms));
        self.advance(now.duration_since(self.last), wall);
        self.last = now;
        u64::try_from(self.told / 1_000_000).unwrap_or(u64::MAX)
    }

    fn advance(&mut self, elapsed: Duration, wall: Duration) {
        self.told = wall.as_nanos().max(self.told + elapsed.as_nanos() / 2);
    }
}

/// The wall clock as it is: milliseconds since the Unix epoch, for comparing with another
/// tracker's.
pub(crate) fn wall_ms(offset_ms: i64) -> u64 {
    u64::try_from(wall(offset_ms).as_millis()).unwrap_or(u64::MAX)
}

fn wall(offset_ms: i64) -> Duration {
    let real = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let offset = Duration::from_millis(offset_ms.unsigned_abs());
    if offset_ms < 0 { real.saturating_sub(offset) } else { real + offset }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_set_back_goes_slower_but_on() {
        let mut clock = Clock { last: Instant::now(), told: 0, offset_ms: 0 };
        let second = Duration::from_secs(1);
        clock.advance(second, 100 * second);
        assert_eq!(clock.told, 100 * second.as_nanos());
        clock.advance(second, 90 * second);
        assert_eq!(clock.told, 100 * second.as_nanos() + second.as_nanos() / 2);
        clock.advance(30 * second, 120 * second);
        assert_eq!(clock.told, 120 * second.as_nanos());
        assert!(Clock::new(0).now_ms() > 1_600_000_000_000);
        assert!(wall_ms(-90_000) < wall_ms(0) && wall_ms(90_000) > wall_ms(0));
    }
}
