//! The pause before a tracker is dialled again.

use std::time::{Duration, Instant};

/// Shortest pause between dials, and between logins, while something asks for the tracker.
pub(super) const NEEDED_AFTER: Duration = Duration::from_millis(250);

/// The pause before a dial.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pause {
    since: Instant,
    until: Instant,
}

impl Pause {
    pub(super) fn new(now: Instant, pause: Duration) -> Self {
        Self { since: now, until: now + pause }
    }

    /// When the dial is due.
    pub(super) fn until(&self) -> Instant {
        self.until
    }

    /// Makes the dial due as soon as [`NEEDED_AFTER`] allows; tells whether that is earlier.
    pub(super) fn cut_short(&mut self) -> bool {
        let soon = self.since + NEEDED_AFTER;
        let is_cut = soon < self.until;
        self.until = soon.min(self.until);
        is_cut
    }
}
