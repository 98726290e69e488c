//! The network's time: by the trackers' clocks, extrapolated with a clock of this machine that is
//! never set and never stops.
//!
//! **Invariant:** while two trackers agree, one whose clock is wrong changes nothing. Trackers that
//! replicate are at most [`CLOCK_AHEAD_MAX`] apart, so clocks within such a span agree. The span
//! with the most clocks counts.
//!
//! Clocks of disconnected trackers count, too: otherwise the loss of a tracker would leave the time
//! to a wrong one. Of two spans with as many clocks, the one with more connected trackers counts,
//! then the one nearer to this machine's own clock: in a network of two trackers that disagree
//! nothing else can decide.
//!
//! [`uptime`] and [`own_ms`] ask the system, which does not block; [`common_ms`] is pure.

use std::cmp::Reverse;
use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

use crate::types::limits::CLOCK_AHEAD_MAX;

/// Counts while the machine sleeps.
#[cfg(any(target_os = "linux", target_os = "android"))]
const CLOCK: ClockId = ClockId::Boottime;
/// Counts while the machine sleeps, if the system allows that.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const CLOCK: ClockId = ClockId::Monotonic;

/// Time since some moment before this program started. It counts while the machine sleeps, unlike
/// [`std::time::Instant`].
pub(crate) fn uptime() -> Duration {
    let now = clock_gettime(CLOCK);
    Duration::new(
        u64::try_from(now.tv_sec).unwrap_or_default(),
        u32::try_from(now.tv_nsec).unwrap_or_default(),
    )
}

/// This machine's own clock, in milliseconds since the Unix epoch; it may be wrong.
pub(super) fn own_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since_epoch.as_millis() as u64
}

/// A tracker's clock: the time of its last message, plus the time since then. So a wrong clock here
/// does no harm.
#[derive(Debug, Clone, Copy)]
pub(super) struct TrackerClock {
    told_ms: u64,
    at: Duration,
}

impl TrackerClock {
    /// A tracker has sent its time.
    pub(super) fn told(told_ms: u64) -> Self {
        Self { told_ms, at: uptime() }
    }

    pub(super) fn now_ms(self) -> u64 {
        self.at(uptime())
    }

    fn at(self, uptime: Duration) -> u64 {
        self.told_ms.saturating_add(uptime.saturating_sub(self.at).as_millis() as u64)
    }
}

/// The network's time from the trackers' clocks, each with whether its tracker is connected: the
/// earliest of the largest group that agrees. `own_ms` if there is no clock.
pub(super) fn common_ms(clocks: &[(u64, bool)], own_ms: u64) -> u64 {
    let rank = |earliest: u64| {
        let span = earliest..=earliest.saturating_add(CLOCK_AHEAD_MAX.as_millis() as u64);
        let within = || clocks.iter().filter(|(ms, _)| span.contains(ms));
        (
            within().count(),
            within().filter(|(_, connected)| *connected).count(),
            Reverse(earliest.abs_diff(own_ms)),
        )
    };
    clocks.iter().map(|(ms, _)| *ms).max_by_key(|ms| rank(*ms)).unwrap_or(own_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;
    const NOW: u64 = 1_000 * HOUR;

    #[test]
    fn a_clock_goes_on_while_the_machine_sleeps() {
        let clock = TrackerClock { told_ms: NOW, at: Duration::from_secs(5) };
        let slept = Duration::from_secs(8 * 3600);
        assert_eq!(
            (clock.at(Duration::from_secs(5) + slept), clock.at(Duration::ZERO)),
            (NOW + 8 * HOUR, NOW)
        );
        let before = uptime();
        assert!(uptime() >= before && TrackerClock::told(NOW).now_ms() >= NOW);
    }

    #[test]
    fn of_clocks_that_belong_together_the_earliest_counts() {
        assert_eq!(
            common_ms(&[(NOW + 50_000, true), (NOW, true), (NOW + 60_000, true)], NOW + HOUR),
            NOW
        );
        assert_eq!(common_ms(&[], NOW), NOW, "none was ever told");
        assert_eq!(common_ms(&[(NOW + HOUR, true)], NOW), NOW + HOUR, "ours does not matter");
    }

    #[test]
    fn one_that_is_wrong_is_left_out() {
        for wrong in [NOW - HOUR, NOW + 2 * HOUR, NOW + 24 * HOUR] {
            let mut clocks = [(NOW, true), (wrong, true), (NOW + 1_000, true)];
            for _ in 0..3 {
                clocks.rotate_left(1);
                assert_eq!(common_ms(&clocks, NOW + 10 * HOUR), NOW);
            }
            assert_eq!(
                common_ms(&[(NOW, false), (wrong, true), (NOW + 1_000, false)], wrong),
                NOW,
                "also when the others are away"
            );
        }
    }

    #[test]
    fn of_two_that_disagree_the_connected_one_counts_then_the_likelier_one() {
        assert_eq!(common_ms(&[(NOW, true), (NOW + HOUR, false)], NOW + HOUR), NOW);
        assert_eq!(common_ms(&[(NOW, true), (NOW + HOUR, true)], NOW + HOUR), NOW + HOUR);
        assert_eq!(common_ms(&[(NOW, true), (NOW + HOUR, true)], NOW - HOUR), NOW);
    }
}
