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

    /// Returns the first `limit` entries of a range, or the last ones in reverse order: those of the
    /// database, which `read` reads some at a time, as they are seen through those that wait.
    pub(super) fn page(
        &self,
        (from, to): (Bound<&[u8]>, Bound<&[u8]>),
        backwards: bool,
        limit: usize,
        mut read: impl FnMut((Bound<&[u8]>, Bound<&[u8]>), usize) -> Vec<Entry>,
    ) -> Vec<Entry> {
        if self.0.range::<[u8], _>((from, to)).next().is_none() {
            return read((from, to), limit);
        }
        let (mut from, mut to) = (from.map(<[u8]>::to_vec), to.map(<[u8]>::to_vec));
        let mut page: Vec<Entry> = Vec::new();
        loop {
            let range = (from.as_ref().map(Vec::as_slice), to.as_ref().map(Vec::as_slice));
            let stored = read(range, limit);
            // Up to there, the database has no more than these.
            let end = stored.last().filter(|_| stored.len() == limit).map(|(key, _)| key.clone());
            let within = match &end {
                Some(end) if backwards => (Bound::Included(end.as_slice()), range.1),
                Some(end) => (range.0, Bound::Included(end.as_slice())),
                None => range,
            };
            let waiting = self.0.range::<[u8], _>(within);
            if backwards {
                merge(&mut page, limit, stored, waiting.rev(), |one, other| one > other);
            } else {
                merge(&mut page, limit, stored, waiting, |one, other| one < other);
            }
            let Some(end) = end.filter(|_| page.len() < limit) else { return page };
            if backwards {
                to = Bound::Excluded(end);
            } else {
                from = Bound::Excluded(end);
            }
        }
    }

    /// Takes all of them out, in order.
    pub(super) fn take(&mut self) -> BTreeMap<Vec<u8>, Option<Vec<u8>>> {
        std::mem::take(&mut self.0)
    }
}

/// Fills a page from two lists, each in the order that `is_before` tells; of two entries with one key, the
/// waiting one counts.
fn merge<'a>(
    page: &mut Vec<Entry>,
    limit: usize,
    stored: Vec<Entry>,
    waiting: impl Iterator<Item = (&'a Vec<u8>, &'a Option<Vec<u8>>)>,
    is_before: impl Fn(&[u8], &[u8]) -> bool,
) {
    let (mut stored, mut waiting) = (stored.into_iter().peekable(), waiting.peekable());
    while page.len() < limit {
        let is_stored = match (stored.peek(), waiting.peek()) {
            (None, None) => return,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some((one, _)), Some((other, _))) => is_before(one, other),
        };
        if is_stored {
            page.extend(stored.next());
        } else if let Some((key, value)) = waiting.next() {
            drop(stored.next_if(|(other, _)| other == key));
            page.extend(value.clone().map(|value| (key.clone(), value)));
        }
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
            let read = |range: (Bound<&[u8]>, Bound<&[u8]>), limit: usize| -> Vec<Entry> {
                let entries: BTreeMap<Vec<u8>, Vec<u8>> = stored.iter().map(|(&key, &value)| (vec![key], vec![value])).collect();
                let found = entries.range::<[u8], _>(range).map(|(key, value)| (key.clone(), value.clone()));
                if backwards { found.rev().take(limit).collect() } else { found.take(limit).collect() }
            };
            let seen = pending.page(range, backwards, limit, read);
            prop_assert_eq!(seen, page(&after, limit));
        }
    }
}
