//! How often something may be done: virtual scheduling (GCRA), for many keys at once.
//!
//! Each key has a time up to which it is *spoken for*. Doing something once adds one interval to
//! it; it may be done when that time is no more than `burst - 1` intervals ahead. That is a token
//! bucket of `burst` tokens of which one comes back an interval, kept as one number.
//!
//! **Invariant:** over any time, a key is used at most `burst` times, and once an interval, uses
//! given back aside. At most `keys_max` keys are kept. When there are more, the one that would be
//! free again first is forgotten, and is free at once: so an attacker must spend on as many keys as
//! there is room for to win back one use of one of them.
//!
//! Pure: time is an argument, counted from a fixed moment, and never goes back. A call costs the
//! logarithm of the number of keys.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::time::Duration;

/// How often a key may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    burst: u32,
    interval: Duration,
}

impl Rate {
    /// `burst` at once, then `count` a second.
    pub(crate) const fn per_second(burst: u32, count: u32) -> Self {
        Self {
            burst,
            interval: Duration::from_secs(1).checked_div(count).expect("a rate is not zero"),
        }
    }

    /// `burst` at once, then `count` a minute.
    pub(crate) const fn per_minute(burst: u32, count: u32) -> Self {
        Self {
            burst,
            interval: Duration::from_secs(60).checked_div(count).expect("a rate is not zero"),
        }
    }

    /// `count` in an hour, all at once if wanted; `None` for 0.
    pub(crate) fn per_hour(count: u32) -> Option<Self> {
        Some(Self { burst: count, interval: Duration::from_secs(3600).checked_div(count)? })
    }

    /// How far ahead a key may be spoken for when it is used once more.
    fn slack(self) -> Duration {
        self.interval.saturating_mul(self.burst.saturating_sub(1))
    }
}

/// One use of a key, so that it can be given back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Use {
    /// The key was spoken for until then, with this use.
    until: Duration,
}

/// The keys in use.
#[derive(Debug)]
pub(crate) struct Paces<K> {
    keys_max: usize,
    until: HashMap<K, Duration>,
    by_time: BTreeSet<(Duration, K)>,
}

impl<K: Copy + Ord + Hash> Paces<K> {
    /// Makes room for `keys_max` keys, at least one.
    pub(crate) fn new(keys_max: usize) -> Self {
        Self { keys_max, until: HashMap::new(), by_time: BTreeSet::new() }
    }

    /// How long a key has to wait for its next use.
    pub(crate) fn wait(&self, now: Duration, key: K, rate: Rate) -> Duration {
        let until = self.until.get(&key).copied().unwrap_or_default();
        until.saturating_sub(now.saturating_add(rate.slack()))
    }

    /// Uses a key, whether now or after the wait.
    pub(crate) fn take(&mut self, now: Duration, key: K, rate: Rate) -> Use {
        while let Some(&(time, other)) = self.by_time.first()
            && time <= now
        {
            self.forget(other);
        }
        let until = self.forget(key).unwrap_or_default().max(now).saturating_add(rate.interval);
        if self.until.len() >= self.keys_max
            && let Some(&(_, other)) = self.by_time.first()
        {
            self.forget(other);
        }
        self.note(key, until);
        Use { until }
    }

    /// Gives a use back, as far as time has not done so already.
    pub(crate) fn give_back(&mut self, now: Duration, key: K, rate: Rate, used: Use) {
        let unused = used.until.saturating_sub(now).min(rate.interval);
        if unused.is_zero() {
            return;
        }
        if let Some(until) = self.forget(key) {
            self.note(key, until.saturating_sub(unused));
        }
    }

    fn note(&mut self, key: K, until: Duration) {
        self.until.insert(key, until);
        self.by_time.insert((until, key));
    }

    fn forget(&mut self, key: K) -> Option<Duration> {
        let until = self.until.remove(&key)?;
        self.by_time.remove(&(until, key));
        Some(until)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RATE: Rate = Rate::per_second(3, 2);

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn a_burst_is_free_and_the_rest_is_paced() {
        let mut paces = Paces::new(10);
        let mut waits = Vec::new();
        for _ in 0..6 {
            waits.push(paces.wait(ms(0), 'a', RATE));
            paces.take(ms(0), 'a', RATE);
        }
        assert_eq!(waits, [0, 0, 0, 500, 1000, 1500].map(ms));
        assert_eq!(paces.wait(ms(0), 'b', RATE), ms(0), "keys do not touch each other");
        assert_eq!(paces.wait(ms(1200), 'a', RATE), ms(800));
        paces.take(ms(10_000), 'a', RATE);
        assert_eq!(paces.wait(ms(10_000), 'a', RATE), ms(0), "a rested key has its burst again");
    }

    #[test]
    fn what_is_given_back_is_as_if_it_had_not_been() {
        let mut paces = Paces::new(10);
        let uses: Vec<Use> = (0..3).map(|_| paces.take(ms(0), 'a', RATE)).collect();
        assert_eq!(paces.wait(ms(0), 'a', RATE), ms(500));
        paces.give_back(ms(0), 'a', RATE, uses[2]);
        assert_eq!(paces.wait(ms(0), 'a', RATE), ms(0));
        // The first use has been worn off by time; giving it back must not pay for another.
        let before = paces.wait(ms(600), 'a', Rate { burst: 1, ..RATE });
        paces.give_back(ms(600), 'a', RATE, uses[0]);
        assert_eq!(paces.wait(ms(600), 'a', Rate { burst: 1, ..RATE }), before);
    }

    #[test]
    fn memory_is_bounded_and_what_is_nearly_free_goes_first() {
        let mut paces = Paces::new(3);
        paces.take(ms(0), 1, RATE);
        for key in [2, 2, 3, 3, 4, 4] {
            paces.take(ms(1), key, RATE);
        }
        assert_eq!((paces.until.len(), paces.by_time.len()), (3, 3));
        assert!(!paces.until.contains_key(&1));
        paces.take(ms(60_000), 9, RATE);
        assert_eq!(paces.until.len(), 1, "what is free again needs no memory");
        assert_eq!(Rate::per_hour(0), None);
    }

    proptest! {
        /// Uses made when they may be, and not given back, never exceed the burst and the rate, in
        /// any stretch of time. Those that are given back at once make no difference.
        #[test]
        fn no_stretch_of_time_has_too_many(steps in proptest::collection::vec((0_u64..700, any::<bool>()), 1..200)) {
            let (mut paces, mut now, mut times) = (Paces::new(4), ms(0), Vec::new());
            for (pause, kept) in steps {
                now += ms(pause);
                let at = now + paces.wait(now, 'a', RATE);
                let used = paces.take(now, 'a', RATE);
                if kept {
                    times.push(at);
                } else {
                    paces.give_back(now, 'a', RATE, used);
                }
            }
            prop_assert!(times.is_sorted(), "who came first may go first");
            for (first, &from) in times.iter().enumerate() {
                for (last, &to) in times.iter().enumerate().skip(first) {
                    let most = u128::from(RATE.burst) + (to - from).as_nanos() / RATE.interval.as_nanos();
                    prop_assert!((last - first + 1) as u128 <= most, "{} uses in {:?}", last - first + 1, to - from);
                }
            }
        }

        /// The index by time and the table hold the same, and never more than may be.
        #[test]
        fn the_index_agrees(steps in proptest::collection::vec((0_u64..300, 0_u8..12, any::<bool>()), 0..200)) {
            let (mut paces, mut now, mut uses) = (Paces::new(5), ms(0), Vec::new());
            for (pause, key, back) in steps {
                now += ms(pause);
                match uses.pop().filter(|_| back) {
                    Some((key, used)) => paces.give_back(now, key, RATE, used),
                    None => uses.push((key, paces.take(now, key, RATE))),
                }
                prop_assert!(paces.until.len() <= 5);
                let table: BTreeSet<_> = paces.until.iter().map(|(key, until)| (*until, *key)).collect();
                prop_assert_eq!(&table, &paces.by_time);
            }
        }
    }
}
