//! Who bears which name: names wished for on one side, the labels under which they are shown on the
//! other.
//!
//! The earliest bearer of a name, by (time, key), is shown under the name itself, the next as
//! `name~2`, and so on. Where something is really called `name~2`, that name is its own, and the
//! numbers of the bearers of `name` skip it.
//!
//! **Invariant:** every bearer has exactly one label, no two have the same, and the labels depend
//! on the set of bearers alone, not on the order in which they came.
//!
//! Two kinds of entries: `bearers, scope, name, 0, time, id` holds the number, `labels, scope,
//! label` the id. No name has a zero byte.

use std::marker::PhantomData;

use super::rows::{Rows, RowsMut, Scan};
use crate::types::{Label, Stamp};

/// An id as bytes whose order is its own.
pub(super) trait Id: Copy + Ord {
    /// Appends the bytes.
    fn push_to(self, key: &mut Vec<u8>);
    /// Reads them back.
    fn from_slice(bytes: &[u8]) -> Option<Self>;
}

macro_rules! ids {
    ($($id:ty),*) => {$(
        impl Id for $id {
            fn push_to(self, key: &mut Vec<u8>) {
                key.extend_from_slice(self.as_bytes());
            }

            fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self::from_bytes)
            }
        }
    )*};
}

ids!(crate::types::DeviceId, crate::types::UserId, crate::types::GroupId, crate::types::FileId);

/// One bearer of a name.
#[derive(Debug, Clone)]
struct Bearer<K> {
    at: Stamp,
    key: K,
    ordinal: u32,
}

/// An index from names to their bearers and back. A lookup reads one entry; a change reads as many
/// as there are bearers of that one name, which is one unless trackers were apart.
#[derive(Debug, Clone)]
pub(super) struct Names<K> {
    bearers: Vec<u8>,
    labels: Vec<u8>,
    of: PhantomData<K>,
}

impl<K: Id> Names<K> {
    /// The names in a scope, in entries with these tags.
    pub(super) fn new(bearers: u8, labels: u8, scope: &[u8]) -> Self {
        let key = |tag| [&[tag], scope].concat();
        Self { bearers: key(bearers), labels: key(labels), of: PhantomData }
    }

    /// Adds a bearer; nothing happens if it bears the name already.
    pub(super) fn insert(&self, rows: &mut impl RowsMut, name: &str, at: Stamp, key: K) {
        // The first bearer of a name has it for its label.
        let is_new = rows.entry(&self.label_key(&label(name, 1))).is_none();
        let mut bearers = if is_new { Vec::new() } else { self.read(rows, name) };
        let place = bearers.partition_point(|b| (b.at, b.key) < (at, key));
        if bearers.get(place).is_some_and(|b| (b.at, b.key) == (at, key)) {
            return;
        }
        let is_first = bearers.is_empty();
        bearers.insert(place, Bearer { at, key, ordinal: 0 });
        if is_first {
            // The name counts as borne from here on.
            rows.set_entry(&self.bearer_key(name, at, key), Some(&0u32.to_be_bytes()));
            self.relabel_stem(rows, name);
        }
        self.number(rows, name, bearers);
    }

    /// Removes a bearer; nothing happens if it does not bear the name.
    pub(super) fn remove(&self, rows: &mut impl RowsMut, name: &str, at: Stamp, key: K) {
        let mut bearers = self.read(rows, name);
        let Some(place) = bearers.iter().position(|b| (b.at, b.key) == (at, key)) else { return };
        let ordinal = bearers.remove(place).ordinal;
        rows.set_entry(&self.bearer_key(name, at, key), None);
        rows.set_entry(&self.label_key(&label(name, ordinal)), None);
        if bearers.is_empty() {
            self.relabel_stem(rows, name);
        } else {
            self.number(rows, name, bearers);
        }
    }

    /// Finds a bearer by label.
    pub(super) fn find(&self, rows: &impl Rows, text: &str) -> Option<K> {
        let label: Label = text.parse().ok()?;
        K::from_slice(&rows.entry(&self.label_key(&label))?)
    }

    /// Returns the bearers of a name, first the one that is shown under it.
    pub(super) fn bearers_of<'a>(
        &self,
        rows: &'a impl Rows,
        name: &str,
    ) -> impl Iterator<Item = K> + 'a {
        let prefix = self.name_key(name);
        let len = prefix.len() + 8;
        Scan::prefix(rows, &prefix).filter_map(move |(key, _)| K::from_slice(key.get(len..)?))
    }

    /// Returns the label of a bearer whose name and time the caller knows.
    pub(super) fn label(&self, rows: &impl Rows, name: &str, at: Stamp, key: K) -> Option<Label> {
        let ordinal = rows.entry(&self.bearer_key(name, at, key))?;
        Some(label(name, u32::from_be_bytes(ordinal.try_into().ok()?)))
    }

    /// Returns all bearers behind a label, in order of their labels.
    pub(super) fn after<'a, R: Rows>(
        &self,
        rows: &'a R,
        after: Option<&Label>,
    ) -> impl Iterator<Item = (Label, K)> + use<'a, R, K> {
        let scan = match after {
            Some(label) => Scan::after(rows, &self.labels, self.label_key(label)),
            None => Scan::prefix(rows, &self.labels),
        };
        let len = self.labels.len();
        scan.filter_map(move |(key, value)| {
            let label = std::str::from_utf8(key.get(len..)?).ok()?.parse().ok()?;
            Some((label, K::from_slice(&value)?))
        })
    }

    fn read(&self, rows: &impl Rows, name: &str) -> Vec<Bearer<K>> {
        let prefix = self.name_key(name);
        let bearer = |(key, value): (Vec<u8>, Vec<u8>)| {
            let (at, key) = key.get(prefix.len()..)?.split_first_chunk()?;
            let ordinal = u32::from_be_bytes(value.try_into().ok()?);
            Some(Bearer {
                at: Stamp::from_u64(u64::from_be_bytes(*at)),
                key: K::from_slice(key)?,
                ordinal,
            })
        };
        Scan::prefix(rows, &prefix).filter_map(bearer).collect()
    }

    fn is_borne(&self, rows: &impl Rows, name: &str) -> bool {
        Scan::prefix(rows, &self.name_key(name)).next().is_some()
    }

    /// Gives the bearers of `stem` their labels anew, if `name` reads like one of those (`stem~2`).
    fn relabel_stem(&self, rows: &mut impl RowsMut, name: &str) {
        if let Some((stem, number)) = name.rsplit_once('~')
            && number.parse::<usize>().is_ok_and(|n| n >= 2 && n.to_string() == number)
        {
            let bearers = self.read(rows, stem);
            self.number(rows, stem, bearers);
        }
    }

    /// Numbers the bearers of a name, in their order.
    fn number(&self, rows: &mut impl RowsMut, name: &str, bearers: Vec<Bearer<K>>) {
        let mut ordinal = 0;
        let mut changed = Vec::new();
        for bearer in bearers {
            ordinal += 1;
            while ordinal > 1 && self.is_borne(rows, label(name, ordinal).as_str()) {
                ordinal += 1;
            }
            if bearer.ordinal != ordinal {
                changed.push((bearer, ordinal));
            }
        }
        // First all that go: the label that one gives up is another's. A label of a number may be a
        // real name by now.
        for (bearer, _) in changed.iter().filter(|(bearer, _)| bearer.ordinal > 0) {
            let key = self.label_key(&label(name, bearer.ordinal));
            if rows.entry(&key).and_then(|id| K::from_slice(&id)) == Some(bearer.key) {
                rows.set_entry(&key, None);
            }
        }
        for (bearer, ordinal) in changed {
            let mut id = Vec::new();
            bearer.key.push_to(&mut id);
            rows.set_entry(&self.label_key(&label(name, ordinal)), Some(&id));
            rows.set_entry(
                &self.bearer_key(name, bearer.at, bearer.key),
                Some(&ordinal.to_be_bytes()),
            );
        }
    }

    fn name_key(&self, name: &str) -> Vec<u8> {
        [&self.bearers, name.as_bytes(), &[0]].concat()
    }

    fn bearer_key(&self, name: &str, at: Stamp, key: K) -> Vec<u8> {
        let mut bytes = self.name_key(name);
        bytes.extend_from_slice(&at.as_u64().to_be_bytes());
        key.push_to(&mut bytes);
        bytes
    }

    fn label_key(&self, label: &Label) -> Vec<u8> {
        [&self.labels, label.as_str().as_bytes()].concat()
    }
}

fn label(name: &str, ordinal: u32) -> Label {
    Label::new(name, ordinal as usize)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::rows::MemoryRows;
    use super::*;

    impl Id for u8 {
        fn push_to(self, key: &mut Vec<u8>) {
            key.push(self);
        }

        fn from_slice(bytes: &[u8]) -> Option<Self> {
            if let [byte] = bytes { Some(*byte) } else { None }
        }
    }

    /// Names of numbers, alone among all entries.
    struct NameIndex {
        names: Names<u8>,
        rows: MemoryRows,
    }

    impl Default for NameIndex {
        fn default() -> Self {
            Self { names: Names::new(1, 2, &[]), rows: MemoryRows::default() }
        }
    }

    impl NameIndex {
        fn insert(&mut self, name: &str, at: Stamp, key: u8) {
            self.names.insert(&mut self.rows, name, at, key);
        }

        fn remove(&mut self, name: &str, at: Stamp, key: u8) {
            self.names.remove(&mut self.rows, name, at, key);
        }

        fn find(&self, text: &str) -> Option<u8> {
            self.names.find(&self.rows, text)
        }
    }

    fn shown(index: &NameIndex) -> Vec<(String, u8)> {
        index.names.after(&index.rows, None).map(|(label, key)| (label.to_string(), key)).collect()
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
        assert_eq!(index.names.label(&index.rows, "nik", at(5), 1).unwrap().as_str(), "nik~3");
        assert_eq!(index.names.bearers_of(&index.rows, "nik").collect::<Vec<_>>(), [2, 0, 1]);
        index.remove("nik", at(3), 2);
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
        index.remove("a~2", at(9), 3);
        index.remove("a~2", at(8), 4);
        assert_eq!(shown(&index), lines(&[("a", 1), ("a~2", 2)]));
        assert_eq!(index.find("a~2"), Some(2));
        assert_eq!(index.find("a~02"), None);
        assert_eq!(index.find("a~1"), None);
    }

    proptest! {
        /// Labels depend on the set of bearers alone, each bearer has one, and lookups agree both
        /// ways.
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
            gone.iter().for_each(|(&key, &(name, ms))| other.remove(names[name], at(ms), key));
            prop_assert_eq!(one.rows.all_entries(), other.rows.all_entries());
            prop_assert_eq!(shown(&one).len(), bearers.len());
            for (&key, &(name, ms)) in &bearers {
                let label = one.names.label(&one.rows, names[name], at(ms), key).unwrap();
                prop_assert_eq!(one.find(label.as_str()), Some(key));
            }
        }
    }
}
