//! Who bears which name: names wished for on one side, the labels under which they are shown on the other.
//!
//! The earliest bearer of a name, by (time, key), is shown under the name itself, the next as `name~2`, and so on. Where something
//! is really called `name~2`, that name is its own, and the numbers of the bearers of `name` skip it.
//!
//! **Invariant:** every bearer has exactly one label, no two have the same, and the labels depend on the set of bearers alone, not
//! on the order in which they came.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::types::{Label, Stamp};

/// One bearer of a name.
#[derive(Debug, Clone)]
struct Bearer<K> {
    at: Stamp,
    key: K,
    ordinal: usize,
}

/// An index from names to their bearers and back. Lookups take logarithmic time; a change costs as much as there are bearers of
/// that one name, which is one unless trackers were apart.
#[derive(Debug, Clone)]
pub(super) struct NameIndex<K> {
    /// In order of (at, key); never empty.
    bearers: BTreeMap<Box<str>, Vec<Bearer<K>>>,
    labels: BTreeMap<Label, K>,
}

impl<K> Default for NameIndex<K> {
    fn default() -> Self {
        Self { bearers: BTreeMap::new(), labels: BTreeMap::new() }
    }
}

impl<K: Copy + Ord> NameIndex<K> {
    /// Number of bearers of any name.
    pub(super) fn len(&self) -> usize {
        self.labels.len()
    }

    /// Adds a bearer, which must not bear the name yet.
    pub(super) fn insert(&mut self, name: &str, at: Stamp, key: K) {
        let bearers = self.bearers.entry(name.into()).or_default();
        let is_first = bearers.is_empty();
        let place = bearers.partition_point(|b| (b.at, b.key) < (at, key));
        bearers.insert(place, Bearer { at, key, ordinal: 0 });
        if is_first {
            self.relabel_stem(name);
        }
        self.relabel(name);
    }

    /// Removes a bearer; nothing happens if it does not bear the name.
    pub(super) fn remove(&mut self, name: &str, key: K) {
        let Some(bearers) = self.bearers.get_mut(name) else { return };
        let Some(place) = bearers.iter().position(|b| b.key == key) else { return };
        let ordinal = bearers.remove(place).ordinal;
        let is_last = bearers.is_empty();
        self.labels.remove(&Label::new(name, ordinal));
        if is_last {
            self.bearers.remove(name);
            self.relabel_stem(name);
        } else {
            self.relabel(name);
        }
    }

    /// Finds a bearer by label.
    pub(super) fn find(&self, text: &str) -> Option<K> {
        self.labels.get(&text.parse().ok()?).copied()
    }

    /// Returns the bearers of a name, first the one that is shown under it.
    pub(super) fn bearers_of(&self, name: &str) -> impl Iterator<Item = K> + '_ {
        self.bearers.get(name).into_iter().flatten().map(|b| b.key)
    }

    /// Returns the label of a bearer whose name the caller knows.
    pub(super) fn label(&self, name: &str, key: K) -> Option<Label> {
        let bearer = self.bearers.get(name)?.iter().find(|b| b.key == key)?;
        Some(Label::new(name, bearer.ordinal))
    }

    /// Returns all bearers behind a label, in order of their labels.
    pub(super) fn after(&self, label: Option<&Label>) -> impl Iterator<Item = (&Label, K)> + '_ {
        let from = label.map_or(Bound::Unbounded, |label| Bound::Excluded(label.clone()));
        self.labels.range((from, Bound::Unbounded)).map(|(label, &key)| (label, key))
    }

    /// Gives the bearers of `stem` their labels anew, if `name` reads like one of those (`stem~2`).
    fn relabel_stem(&mut self, name: &str) {
        if let Some((stem, number)) = name.rsplit_once('~')
            && number.parse::<usize>().is_ok_and(|n| n >= 2 && n.to_string() == number)
        {
            self.relabel(stem);
        }
    }

    fn relabel(&mut self, name: &str) {
        let Some((name, mut bearers)) = self.bearers.remove_entry(name) else { return };
        for bearer in bearers.iter().filter(|b| b.ordinal > 0) {
            self.labels.remove(&Label::new(&name, bearer.ordinal));
        }
        let mut ordinal = 0;
        for bearer in &mut bearers {
            ordinal += 1;
            while ordinal > 1 && self.bearers.contains_key(Label::new(&name, ordinal).as_str()) {
                ordinal += 1;
            }
            bearer.ordinal = ordinal;
            self.labels.insert(Label::new(&name, ordinal), bearer.key);
        }
        self.bearers.insert(name, bearers);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(index: &NameIndex<u8>) -> Vec<(String, u8)> {
        index.after(None).map(|(label, key)| (label.to_string(), key)).collect()
    }

    fn lines(expected: &[(&str, u8)]) -> Vec<(String, u8)> {
        expected.iter().map(|&(label, key)| (label.to_owned(), key)).collect()
    }

    fn at(ms: u64) -> Stamp {
        Stamp::new(ms, 0)
    }

    #[test]
    fn the_earliest_bearer_keeps_the_name() {
        let mut index = NameIndex::default();
        index.insert("nik", at(5), 1);
        index.insert("nik", at(3), 2);
        index.insert("nik", at(5), 0);
        assert_eq!(shown(&index), lines(&[("nik", 2), ("nik~2", 0), ("nik~3", 1)]));
        assert_eq!(index.label("nik", 1).unwrap().as_str(), "nik~3");
        assert_eq!(index.bearers_of("nik").collect::<Vec<_>>(), [2, 0, 1]);
        index.remove("nik", 2);
        assert_eq!(shown(&index), lines(&[("nik", 0), ("nik~2", 1)]));
    }

    #[test]
    fn a_real_name_wins_over_a_number() {
        let mut index = NameIndex::default();
        index.insert("a", at(1), 1);
        index.insert("a", at(2), 2);
        index.insert("a~2", at(9), 3);
        assert_eq!(shown(&index), lines(&[("a", 1), ("a~2", 3), ("a~3", 2)]));
        index.insert("a~2", at(8), 4);
        assert_eq!(shown(&index), lines(&[("a", 1), ("a~2", 4), ("a~2~2", 3), ("a~3", 2)]));
        index.remove("a~2", 3);
        index.remove("a~2", 4);
        assert_eq!(shown(&index), lines(&[("a", 1), ("a~2", 2)]));
        assert_eq!(index.find("a~2"), Some(2));
        assert_eq!(index.find("a~02"), None);
        assert_eq!(index.find("a~1"), None);
    }

    proptest! {
        /// Labels depend on the set of bearers alone, each bearer has one, and lookups agree both ways.
        #[test]
        fn labels_do_not_depend_on_history(
            bearers in proptest::collection::btree_map(0u8..12, (0usize..4, 0u64..4), 0..12),
            gone in proptest::collection::vec((20u8..30, 0usize..4, 0u64..4), 0..8),
        ) {
            let names = ["a", "a~2", "a~2~2", "a~3"];
            let mut one = NameIndex::default();
            bearers.iter().for_each(|(&key, &(name, ms))| one.insert(names[name], at(ms), key));
            let mut other = NameIndex::default();
            let gone: BTreeMap<u8, (usize, u64)> = gone.into_iter().map(|(key, name, ms)| (key, (name, ms))).collect();
            gone.iter().for_each(|(&key, &(name, ms))| other.insert(names[name], at(ms), key));
            bearers.iter().rev().for_each(|(&key, &(name, ms))| other.insert(names[name], at(ms), key));
            gone.iter().for_each(|(&key, &(name, _))| other.remove(names[name], key));
            prop_assert_eq!(shown(&one), shown(&other));
            prop_assert_eq!(one.len(), bearers.len());
            for (&key, &(name, _)) in &bearers {
                let label = one.label(names[name], key).unwrap();
                prop_assert_eq!(one.find(label.as_str()), Some(key));
            }
        }
    }
}
