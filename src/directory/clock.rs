//! A stopwatch that a jumping wall clock cannot harm. It does not read the time; it is passed in.

/// Counts elapsed milliseconds out of wall clock readings for time-outs.
///
/// A wall clock that is set back counts as no time at all, one that is set forward as one step at
/// most: neither makes a healthy link late or keeps a dead one alive for long.
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
    fn the_stopwatch_survives_jumps() {
        let mut watch = Stopwatch::default();
        assert_eq!(
            [5_000, 5_100, 90, 190, 9_000_000, 9_000_100].map(|ms| watch.advance(ms)),
            [0, 100, 100, 200, 700, 800]
        );
    }
}
