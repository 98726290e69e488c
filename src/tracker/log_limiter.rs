//! Keeps what strangers do again and again from filling the log: said at once, then at growing
//! intervals with a count.
//!
//! **Invariant:** of one kind and one source at most one line a minute is written, and at most
//! [`KEYS_MAX`] are remembered.
//!
//! Called on the threads of connections; locks for a look-up and does not block.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Time between a line and the next of the same key; the last one repeats.
const INTERVALS: [Duration; 5] = [
    Duration::from_secs(60),
    Duration::from_secs(600),
    Duration::from_secs(3600),
    Duration::from_secs(6 * 3600),
    Duration::from_secs(24 * 3600),
];
/// A key that has not come for so long is forgotten: the next time it is news.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(48 * 3600);
/// Keys remembered. Beyond it the one that has not come for longest is forgotten.
const KEYS_MAX: usize = 1024;

/// Decides which of many like events the log tells of. A key says what is alike: the kind, and who
/// did it.
#[derive(Debug)]
pub(crate) struct LogLimiter<K> {
    keys: Mutex<HashMap<K, Told>>,
}

/// What was told of one key.
#[derive(Debug)]
struct Told {
    /// When the next line is due.
    next: Instant,
    /// Lines written so far.
    lines: usize,
    /// Events since the last line.
    left_out: u64,
    /// The last event.
    seen: Instant,
}

impl<K> Default for LogLimiter<K> {
    fn default() -> Self {
        Self { keys: Mutex::default() }
    }
}

impl<K: Hash + Eq + Clone> LogLimiter<K> {
    /// Counts an event. If a line is to be written, returns how many like it were left out since
    /// the last one.
    pub(crate) fn admit(&self, key: K, now: Instant) -> Option<LeftOut> {
        let mut keys = self.keys.lock();
        if let Some(told) = keys.get_mut(&key) {
            let quiet = now.saturating_duration_since(told.seen);
            told.seen = now;
            if quiet < FORGOTTEN_AFTER {
                return told.count(now);
            }
        } else if keys.len() >= KEYS_MAX {
            forget_one(&mut keys);
        }
        keys.insert(key, Told { next: now + INTERVALS[0], lines: 1, left_out: 0, seen: now });
        Some(LeftOut(0))
    }

    /// Keys remembered.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.keys.lock().len()
    }
}

impl Told {
    fn count(&mut self, now: Instant) -> Option<LeftOut> {
        if now < self.next {
            self.left_out += 1;
            return None;
        }
        self.next = now + INTERVALS[self.lines.min(INTERVALS.len() - 1)];
        self.lines += 1;
        Some(LeftOut(std::mem::take(&mut self.left_out)))
    }
}

fn forget_one<K: Hash + Eq + Clone>(keys: &mut HashMap<K, Told>) {
    let oldest = keys.iter().min_by_key(|(_, told)| told.seen).map(|(key, _)| key.clone());
    oldest.map(|key| keys.remove(&key));
}

/// Events left out of the log. Written behind a line, it says so; of none it says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LeftOut(u64);

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            1 => f.write_str(" (once more since this was last said)"),
            times => write!(f, " ({times} more times since this was last said)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_first_is_said_at_once_and_then_fewer_and_fewer() {
        let (limiter, start) = (LogLimiter::default(), Instant::now());
        // Every four seconds, for three days.
        let said: Vec<(u64, LeftOut)> = (0..3 * 24 * 900)
            .filter_map(|step| {
                Some((4 * step, limiter.admit("peer", start + 4 * step as u32 * SECOND)?))
            })
            .collect();
        let at: Vec<u64> = said.iter().map(|(second, _)| *second).collect();
        assert_eq!(at[..6], [0, 60, 660, 4260, 25860, 112_260]);
        assert_eq!(at.len(), 7, "then once a day");
        assert_eq!(said[1].1.to_string(), " (14 more times since this was last said)");
        assert_eq!(said[0].1.to_string(), "");
        let told = said.len() as u64 + said.iter().map(|(_, left_out)| left_out.0).sum::<u64>();
        assert!(told <= 3 * 24 * 900, "nothing is counted twice");
    }

    #[test]
    fn kinds_and_sources_are_counted_apart_and_forgotten_when_quiet() {
        let (limiter, start) = (LogLimiter::default(), Instant::now());
        assert_eq!(limiter.admit((1, "a"), start), Some(LeftOut(0)));
        assert_eq!(limiter.admit((1, "b"), start), Some(LeftOut(0)));
        assert_eq!(limiter.admit((2, "a"), start), Some(LeftOut(0)));
        assert_eq!(limiter.admit((1, "a"), start + SECOND), None);
        assert_eq!(
            limiter.admit((1, "a"), start + 61 * SECOND).unwrap().to_string(),
            " (once more since this was last said)"
        );
        assert_eq!(
            limiter.admit((1, "a"), start + SECOND * 62 + FORGOTTEN_AFTER),
            Some(LeftOut(0))
        );
    }

    #[test]
    fn memory_is_bounded_and_the_one_quiet_for_longest_makes_room() {
        let (limiter, start) = (LogLimiter::default(), Instant::now());
        for key in 0..3 * KEYS_MAX {
            let now = start + Duration::from_millis(key as u64);
            assert!(limiter.admit(key, now).is_some());
            // The first one comes again and again, and stays known.
            assert_eq!(limiter.admit(0, now), None);
            assert!(limiter.count() <= KEYS_MAX);
        }
    }
}
