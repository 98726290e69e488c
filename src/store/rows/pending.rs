//! Entries that have been written and wait for the end of the transaction.
//!
//! A change writes some of them several times over, and all of them in no order. Here each is kept once,
//! and they go to the database in the order of their keys, which its trees take best.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::directory::Entry;

/// Entries by key; without a value, one that is to be deleted.
#[derive(Debug, Default)]
pub(super) struct Pending(BTreeMap<Vec<u8>, Option<Vec<u8>>>);

impl Pending {
    /// The entry as it has been written; `None` if it has not been.
    pub(super) fn get(&self, key: &[u8]) -> Option<&Option<Vec<u8>>> {
        self.0.get(key)
    }

    /// Writes an entry.
    pub(super) fn set(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.0.insert(key.to_vec(), value.map(<[u8]>::to_vec));
    }

    /// How many there are in a range.
    pub(super) fn count(&self, range: (Bound<&[u8]>, Bound<&[u8]>)) -> usize {
        self.0.range::<[u8], _>(range).count()
    }

    /// Puts entries of the database, the first `asked` of a range, together with those that wait.
    pub(super) fn merge(
        &self,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        backwards: bool,
        limit: usize,
        (stored, asked): (Vec<Entry>, usize),
    ) -> Vec<Entry> {
        // Beyond the last one that was read, the database may have more.
        let end = if stored.len() < asked { None } else { stored.last().map(|(key, _)| key.clone()) };
        let is_within = |key: &[u8]| end.as_ref().is_none_or(|end| if backwards { key >= &end[..] } else { key <= &end[..] });
        let mut merged: BTreeMap<Vec<u8>, Option<Vec<u8>>> = stored.into_iter().map(|(key, value)| (key, Some(value))).collect();
        let waiting = self.0.range::<[u8], _>(range).filter(|(key, _)| is_within(key));
        merged.extend(waiting.map(|(key, value)| (key.clone(), value.clone())));
        let entries = merged.into_iter().filter_map(|(key, value)| Some((key, value?)));
        if backwards { entries.rev().take(limit).collect() } else { entries.take(limit).collect() }
    }

    /// Takes all of them out, in order.
    pub(super) fn take(&mut self) -> BTreeMap<Vec<u8>, Option<Vec<u8>>> {
        std::mem::take(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What is seen through what waits is what would be there once it had been written.
        #[test]
        fn waiting_entries_are_seen_as_if_they_were_stored(
            stored in proptest::collection::btree_map(0u8..30, 0u8..3, 0..20),
            waiting in proptest::collection::btree_map(0u8..30, proptest::option::of(3u8..6), 0..20),
            (from, to, backwards, limit) in (0u8..30, 0u8..30, any::<bool>(), 1usize..8),
        ) {
            let mut pending = Pending::default();
            waiting.iter().for_each(|(&key, value)| pending.set(&[key], value.as_ref().map(std::slice::from_ref)));
            let mut after = stored.clone();
            for (&key, &value) in &waiting {
                match value {
                    Some(value) => drop(after.insert(key, value)),
                    None => drop(after.remove(&key)),
                }
            }
            let (from, to) = (from.min(to), from.max(to));
            let page = |of: &BTreeMap<u8, u8>, limit: usize| -> Vec<Entry> {
                let all = of.range(from..to).map(|(&key, &value)| (vec![key], vec![value]));
                if backwards { all.rev().take(limit).collect() } else { all.take(limit).collect() }
            };
            let (low, high) = ([from], [to]);
            let range = (Bound::Included(&low[..]), Bound::Excluded(&high[..]));
            let asked = limit + pending.count(range);
            let seen = pending.merge(range, backwards, limit, (page(&stored, asked), asked));
            prop_assert_eq!(seen, page(&after, limit));
        }
    }
}
