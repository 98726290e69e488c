//! A queue in which those of one kind wait for each other, and the kinds take turns; and one of
//! lanes that take turns, in each of which the kinds do.
//!
//! **Invariant:** between two turns of a kind that waits, every other kind that waits has at most
//! one, and so with lanes.
//!
//! Pure. Taking a turn costs nothing that grows with the number who wait; leaving the queue costs a
//! look at all kinds that wait.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// Those who wait, by kinds.
#[derive(Debug)]
pub(crate) struct Turns<K, T> {
    waiting: HashMap<K, VecDeque<T>>,
    /// The kinds that wait, each once, the one whose turn is next first.
    order: VecDeque<K>,
}

impl<K, T> Default for Turns<K, T> {
    fn default() -> Self {
        Self { waiting: HashMap::new(), order: VecDeque::new() }
    }
}

impl<K: Copy + Eq + Hash, T> Turns<K, T> {
    /// Has one wait; false if `max` of its kind do.
    pub(crate) fn push(&mut self, kind: K, max: usize, one: T) -> bool {
        let count = self.waiting.get(&kind).map_or(0, VecDeque::len);
        if count >= max {
            return false;
        }
        if count == 0 {
            self.order.push_back(kind);
        }
        self.waiting.entry(kind).or_default().push_back(one);
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

    /// Tells whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

/// Those who wait, by lanes, and in each by kinds.
#[derive(Debug)]
pub(crate) struct Lanes<L, K, T> {
    lanes: HashMap<L, Turns<K, T>>,
    /// The lanes in which somebody waits, each once, the one whose turn is next first.
    order: VecDeque<L>,
}

impl<L, K, T> Default for Lanes<L, K, T> {
    fn default() -> Self {
        Self { lanes: HashMap::new(), order: VecDeque::new() }
    }
}

impl<L: Copy + Eq + Hash, K: Copy + Eq + Hash, T> Lanes<L, K, T> {
    /// Has one wait; false if `max` of its kind do in its lane.
    pub(crate) fn push(&mut self, lane: L, kind: K, max: usize, one: T) -> bool {
        let turns = self.lanes.entry(lane).or_default();
        let was_empty = turns.is_empty();
        let waits = turns.push(kind, max, one);
        match (was_empty, waits) {
            (true, true) => self.order.push_back(lane),
            (true, false) => _ = self.lanes.remove(&lane),
            (false, _) => {}
        }
        waits
    }

    /// Takes the next one out.
    pub(crate) fn next(&mut self) -> Option<T> {
        let lane = self.order.pop_front()?;
        let turns = self.lanes.get_mut(&lane)?;
        let one = turns.next();
        if turns.is_empty() {
            self.lanes.remove(&lane);
        } else {
            self.order.push_back(lane);
        }
        one
    }

    /// Takes out those of a kind in a lane that no longer wait; tells whether there were any.
    pub(crate) fn leave(&mut self, lane: L, kind: K, leaves: impl Fn(&T) -> bool) -> bool {
        let Some(turns) = self.lanes.get_mut(&lane) else { return false };
        let left = turns.leave(kind, leaves);
        if turns.is_empty() {
            self.lanes.remove(&lane);
            self.order.retain(|other| *other != lane);
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn kinds_take_turns() {
        let mut turns = Turns::default();
        for one in ["a1", "a2", "a3", "b1", "c1", "b2"] {
            assert!(turns.push(one.as_bytes()[0], 3, one));
        }
        assert!(!turns.push(b'a', 3, "a4"), "three of a kind are the most");
        assert!(turns.leave(b'c', |one| *one == "c1") && !turns.leave(b'c', |_| true));
        assert!(turns.push(b'd', 3, "d1"));
        let order: Vec<_> = std::iter::from_fn(|| turns.next()).collect();
        assert_eq!(order, ["a1", "b1", "d1", "a2", "b2", "a3"]);
        assert!(turns.waiting.is_empty() && turns.order.is_empty());
    }

    #[test]
    fn lanes_take_turns_and_the_kinds_in_them() {
        let mut lanes = Lanes::default();
        let push = |lanes: &mut Lanes<_, _, _>, one: &'static str| {
            lanes.push(one.as_bytes()[0], one.as_bytes()[1], 2, one)
        };
        for one in ["Aa1", "Aa2", "Ab1", "Ba1", "Ac1", "Ca1"] {
            assert!(push(&mut lanes, one));
        }
        assert!(!push(&mut lanes, "Aa3") && push(&mut lanes, "Ba2") && push(&mut lanes, "Bb1"));
        assert!(lanes.leave(b'C', b'a', |_| true) && !lanes.leave(b'C', b'a', |_| true));
        assert!(lanes.leave(b'A', b'c', |_| true) && !lanes.leave(b'A', b'b', |_| false));
        assert!(!lanes.push(b'D', b'a', 0, "none") && !lanes.lanes.contains_key(&b'D'));
        let order: Vec<_> = std::iter::from_fn(|| lanes.next()).collect();
        assert_eq!(order, ["Aa1", "Ba1", "Ab1", "Bb1", "Aa2", "Ba2"]);
        assert!(lanes.lanes.is_empty() && lanes.order.is_empty());
    }

    proptest! {
        /// Whoever waits is served once, and while a kind waits no other is served twice before it.
        #[test]
        fn nobody_is_passed_over(steps in proptest::collection::vec((0_u8..5, any::<bool>()), 0..200)) {
            let (mut turns, mut number, mut passed) = (Turns::default(), 0, HashMap::<(u8, u8), u32>::new());
            let mut left = 0;
            for (kind, push) in steps {
                if push {
                    number += 1;
                    left += usize::from(turns.push(kind, 4, (kind, number)));
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
