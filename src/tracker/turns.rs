//! A queue in which those of one kind wait for each other, and the kinds take turns.
//!
//! **Invariant:** between two turns of a kind that waits, every other kind that waits has at most one; none has more than
//! `per_kind_max` waiting.
//!
//! Pure. Taking a turn costs nothing that grows with the number who wait; leaving the queue costs a look at all kinds that wait.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// Those who wait.
#[derive(Debug)]
pub(crate) struct Turns<K, T> {
    per_kind_max: usize,
    waiting: HashMap<K, VecDeque<T>>,
    /// The kinds that wait, each once, the one whose turn is next first.
    order: VecDeque<K>,
}

impl<K: Copy + Eq + Hash, T> Turns<K, T> {
    /// Makes a queue for at most `per_kind_max` of any kind.
    pub(crate) fn new(per_kind_max: usize) -> Self {
        Self { per_kind_max, waiting: HashMap::new(), order: VecDeque::new() }
    }

    /// Has one wait; false if as many of its kind do as may.
    pub(crate) fn push(&mut self, kind: K, one: T) -> bool {
        let waiting = self.waiting.entry(kind).or_default();
        if waiting.len() >= self.per_kind_max {
            return false;
        }
        if waiting.is_empty() {
            self.order.push_back(kind);
        }
        waiting.push_back(one);
        true
    }

    /// Takes the next one out.
    pub(crate) fn next(&mut self) -> Option<T> {
        let kind = self.order.pop_front()?;
        let waiting = self.waiting.get_mut(&kind)?;
        let one = waiting.pop_front();
        if waiting.is_empty() {
            self.waiting.remove(&kind);
        } else {
            self.order.push_back(kind);
        }
        one
    }

    /// Takes out those of a kind that no longer wait; tells whether there were any.
    pub(crate) fn leave(&mut self, kind: K, leaves: impl Fn(&T) -> bool) -> bool {
        let Some(waiting) = self.waiting.get_mut(&kind) else { return false };
        let before = waiting.len();
        waiting.retain(|one| !leaves(one));
        let after = waiting.len();
        if after == 0 {
            self.waiting.remove(&kind);
            self.order.retain(|other| *other != kind);
        }
        after < before
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn kinds_take_turns() {
        let mut turns = Turns::new(3);
        for one in ["a1", "a2", "a3", "b1", "c1", "b2"] {
            assert!(turns.push(one.as_bytes()[0], one));
        }
        assert!(!turns.push(b'a', "a4"), "three of a kind are the most");
        assert!(turns.leave(b'c', |one| *one == "c1") && !turns.leave(b'c', |_| true));
        assert!(turns.push(b'd', "d1"));
        let order: Vec<_> = std::iter::from_fn(|| turns.next()).collect();
        assert_eq!(order, ["a1", "b1", "d1", "a2", "b2", "a3"]);
        assert!(turns.waiting.is_empty() && turns.order.is_empty());
    }

    proptest! {
        /// Whoever waits is served once, and while a kind waits no other is served twice before it.
        #[test]
        fn nobody_is_passed_over(steps in proptest::collection::vec((0_u8..5, any::<bool>()), 0..200)) {
            let (mut turns, mut number, mut passed) = (Turns::new(4), 0, HashMap::<(u8, u8), u32>::new());
            let mut left = 0;
            for (kind, push) in steps {
                if push {
                    number += 1;
                    left += usize::from(turns.push(kind, (kind, number)));
                } else if let Some((kind, _)) = turns.next() {
                    left -= 1;
                    passed.retain(|(waits, _), _| *waits != kind && turns.waiting.contains_key(waits));
                    for &waits in turns.waiting.keys().filter(|waits| **waits != kind) {
                        let count = passed.entry((waits, kind)).or_default();
                        *count += 1;
                        prop_assert!(*count <= 1, "{waits} was passed over by {kind}");
                    }
                }
                prop_assert_eq!(turns.waiting.values().map(VecDeque::len).sum::<usize>(), left);
                prop_assert_eq!(turns.waiting.len(), turns.order.len());
            }
        }
    }
}
