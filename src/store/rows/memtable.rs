//! What has been written and is not in the tables yet: rows, and entries of the indexes.
//!
//! **Invariant:** after each commit the journal's records, one after the other, make up what is
//! here. So a commit writes a few pages in a row, and many commits share the pages of the tables,
//! which they would write at random.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::directory::{Entry, end_of, stored_key};
use crate::types::Row;

/// Rows and entries by key.
#[derive(Debug, Default)]
pub(super) struct Memtable {
    rows: Layer<(u64, Row)>,
    entries: Layer<Vec<u8>>,
}

/// Values by key, over those of the tables.
#[derive(Debug)]
struct Layer<T> {
    /// Without a value, one that is to be deleted.
    items: BTreeMap<Vec<u8>, Item<T>>,
    /// Keys written since the last record of the journal.
    fresh: Vec<Vec<u8>>,
    /// Counts what is written, so that rows keep their order.
    written: u64,
}

/// Something written.
#[derive(Debug)]
struct Item<T> {
    value: Option<T>,
    /// No record has it yet.
    is_fresh: bool,
    /// Its place among all that was written.
    order: u64,
}

/// A range of keys.
type Range<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

impl<T> Default for Layer<T> {
    fn default() -> Self {
        Self { items: BTreeMap::new(), fresh: Vec::new(), written: 0 }
    }
}

impl<T> Layer<T> {
    fn get(&self, key: &[u8]) -> Option<Option<&T>> {
        self.items.get(key).map(|item| item.value.as_ref())
    }

    fn set(&mut self, key: &[u8], value: Option<T>) {
        self.written += 1;
        let order = self.written;
        if let Some(item) = self.items.get_mut(key) {
            if !std::mem::replace(&mut item.is_fresh, true) {
                self.fresh.push(key.to_vec());
            }
            (item.value, item.order) = (value, order);
        } else {
            self.fresh.push(key.to_vec());
            self.items.insert(key.to_vec(), Item { value, is_fresh: true, order });
        }
    }

    /// Takes the keys of what no record has yet, in the order in which these were written.
    fn take_fresh(&mut self) -> Vec<Vec<u8>> {
        let mut fresh = std::mem::take(&mut self.fresh);
        let mut order_of = |key: &Vec<u8>| {
            self.items.get_mut(key).map_or(0, |item| {
                item.is_fresh = false;
                item.order
            })
        };
        let mut ordered: Vec<(u64, Vec<u8>)> =
            fresh.drain(..).map(|key| (order_of(&key), key)).collect();
        ordered.sort_unstable_by_key(|(order, _)| *order);
        ordered.into_iter().map(|(_, key)| key).collect()
    }

    /// Returns the first `limit` items of a range, or the last ones in reverse order: those of the
    /// tables, which `read` reads some at a time, as they are seen through those that wait.
    fn page<V>(
        &self,
        (from, to): Range<'_>,
        backwards: bool,
        limit: usize,
        mut read: impl FnMut(Range<'_>, usize) -> Vec<(Vec<u8>, V)>,
        value_of: impl Fn(&T) -> V,
    ) -> Vec<(Vec<u8>, V)> {
        if self.items.range::<[u8], _>((from, to)).next().is_none() {
            return read((from, to), limit);
        }
        let (mut from, mut to) = (from.map(<[u8]>::to_vec), to.map(<[u8]>::to_vec));
        let mut page = Vec::new();
        loop {
            let range = (from.as_ref().map(Vec::as_slice), to.as_ref().map(Vec::as_slice));
            let stored = read(range, limit);
            // Up to there, the tables have no more than these.
            let end = stored.last().filter(|_| stored.len() == limit).map(|(key, _)| key.clone());
            let within = match &end {
                Some(end) if backwards => (Bound::Included(end.as_slice()), range.1),
                Some(end) => (range.0, Bound::Included(end.as_slice())),
                None => range,
            };
            let waiting = self.items.range::<[u8], _>(within);
            if backwards {
                merge(&mut page, limit, stored, waiting.rev(), |one, other| one > other, &value_of);
            } else {
                merge(&mut page, limit, stored, waiting, |one, other| one < other, &value_of);
            }
            let Some(end) = end.filter(|_| page.len() < limit) else { return page };
            if backwards {
                to = Bound::Excluded(end);
            } else {
                from = Bound::Excluded(end);
            }
        }
    }
}

impl Memtable {
    /// Number of rows and entries.
    pub(super) fn len(&self) -> usize {
        self.rows.items.len() + self.entries.items.len()
    }

    /// Tells whether the journal has all of it.
    pub(super) fn is_journaled(&self) -> bool {
        self.rows.fresh.is_empty() && self.entries.fresh.is_empty()
    }

    /// The row with that stored key: `None` if nothing has been written there, and no row if it has
    /// been deleted.
    pub(super) fn row(&self, key: &[u8]) -> Option<Option<&Row>> {
        self.rows.get(key).map(|row| row.map(|(_, row)| row))
    }

    /// Writes a row.
    pub(super) fn put_row(&mut self, sequence: u64, row: &Row) {
        self.rows.set(&stored_key(&row.content.key()), Some((sequence, row.clone())));
    }

    /// Deletes a row.
    pub(super) fn delete_row(&mut self, key: &[u8]) {
        self.rows.set(key, None);
    }

    /// Returns the first `limit` rows whose key begins with `prefix` and lies behind `after`, as
    /// [`Memtable::page`] does entries.
    pub(super) fn rows(
        &self,
        range: Range<'_>,
        limit: usize,
        read: impl FnMut(Range<'_>, usize) -> Vec<(Vec<u8>, Row)>,
    ) -> Vec<(Vec<u8>, Row)> {
        self.rows.page(range, false, limit, read, |(_, row)| row.clone())
    }

    /// The entry as it has been written: `None` if it has not been, and no value if it has been
    /// deleted.
    pub(super) fn entry(&self, key: &[u8]) -> Option<Option<&Vec<u8>>> {
        self.entries.get(key)
    }

    /// Writes an entry.
    pub(super) fn set_entry(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.entries.set(key, value.map(<[u8]>::to_vec));
    }

    /// Returns the first `limit` entries of a range, or the last ones in reverse order: those of
    /// the tables, which `read` reads some at a time, as they are seen through those that wait.
    pub(super) fn page(
        &self,
        range: Range<'_>,
        backwards: bool,
        limit: usize,
        read: impl FnMut(Range<'_>, usize) -> Vec<Entry>,
    ) -> Vec<Entry> {
        self.entries.page(range, backwards, limit, read, Vec::clone)
    }

    /// Hands out the rows, and the keys of those to be deleted, that no record has yet, in the order
    /// in which they were written; then the entries. From then on a record has them.
    pub(super) fn take_fresh(
        &mut self,
        mut row: impl FnMut(&[u8], Option<&(u64, Row)>),
        mut entry: impl FnMut(&[u8], Option<&[u8]>),
    ) {
        for key in self.rows.take_fresh() {
            row(&key, self.rows.get(&key).flatten());
        }
        for key in self.entries.take_fresh() {
            entry(&key, self.entries.get(&key).flatten().map(Vec::as_slice));
        }
    }

    /// All rows with their keys, in the order in which they were written. Those without a row are
    /// to be deleted.
    pub(super) fn all_rows(&self) -> impl Iterator<Item = (&[u8], Option<&(u64, Row)>)> {
        let mut rows: Vec<_> = self.rows.items.iter().collect();
        rows.sort_unstable_by_key(|(_, item)| item.order);
        rows.into_iter().map(|(key, item)| (key.as_slice(), item.value.as_ref()))
    }

    /// All entries in the order of their keys, which the database's trees take best. Those without
    /// a value are to be deleted.
    pub(super) fn all_entries(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.entries.items.iter().map(|(key, item)| (key.as_slice(), item.value.as_deref()))
    }
}

/// The range of the keys that begin with `prefix` and lie behind `after`, as its ends.
pub(super) fn prefixed(prefix: &[u8], after: Option<&[u8]>) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let from = after.map_or(Bound::Included(prefix), Bound::Excluded);
    (from.map(<[u8]>::to_vec), end_of(prefix))
}

/// Fills a page from two lists, each in the order that `is_before` tells; of two items with one
/// key, the waiting one counts.
fn merge<'a, T: 'a, V>(
    page: &mut Vec<(Vec<u8>, V)>,
    limit: usize,
    stored: Vec<(Vec<u8>, V)>,
    waiting: impl Iterator<Item = (&'a Vec<u8>, &'a Item<T>)>,
    is_before: impl Fn(&[u8], &[u8]) -> bool,
    value_of: impl Fn(&T) -> V,
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
        } else if let Some((key, item)) = waiting.next() {
            drop(stored.next_if(|(other, _)| other == key));
            page.extend(item.value.as_ref().map(|value| (key.clone(), value_of(value))));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What is seen through what waits is what would be there once it had been written; rows
        /// and entries are looked at alike.
        #[test]
        fn what_waits_is_seen_as_if_it_were_stored(
            stored in proptest::collection::btree_map(0u8..30, 0u8..3, 0..20),
            frozen in proptest::collection::btree_map(0u8..30, proptest::option::of(3u8..6), 0..20),
            waiting in proptest::collection::btree_map(0u8..30, proptest::option::of(6u8..9), 0..20),
            (from, to, backwards, limit) in (0u8..30, 0u8..30, any::<bool>(), 1usize..8),
        ) {
            let memtable = |of: &BTreeMap<u8, Option<u8>>| {
                let mut memtable = Memtable::default();
                of.iter().for_each(|(&key, value)| memtable.set_entry(&[key], value.as_ref().map(std::slice::from_ref)));
                memtable
            };
            let mut after = stored.clone();
            for (&key, &value) in frozen.iter().chain(&waiting) {
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
            let read = |range: Range<'_>, limit: usize| -> Vec<Entry> {
                let entries: BTreeMap<Vec<u8>, Vec<u8>> = stored.iter().map(|(&key, &value)| (vec![key], vec![value])).collect();
                let found = entries.range::<[u8], _>(range).map(|(key, value)| (key.clone(), value.clone()));
                if backwards { found.rev().take(limit).collect() } else { found.take(limit).collect() }
            };
            let (frozen, waiting) = (memtable(&frozen), memtable(&waiting));
            let seen = waiting.page(range, backwards, limit, |range, limit| {
                frozen.page(range, backwards, limit, read)
            });
            prop_assert_eq!(seen, page(&after, limit));
        }
    }

    #[test]
    fn a_record_has_the_last_write_of_each_key_once() {
        let mut memtable = Memtable::default();
        let taken = |memtable: &mut Memtable| {
            let mut fresh = Vec::new();
            memtable.take_fresh(|_, _| (), |key, value| fresh.push((key[0], value.map(|v| v[0]))));
            fresh
        };
        memtable.set_entry(&[1], Some(&[1]));
        memtable.set_entry(&[2], Some(&[1]));
        memtable.set_entry(&[1], None);
        assert!(!memtable.is_journaled());
        assert_eq!(taken(&mut memtable), [(2, Some(1)), (1, None)]);
        assert!(memtable.is_journaled());
        assert_eq!(taken(&mut memtable), []);
        memtable.set_entry(&[2], Some(&[3]));
        assert_eq!(taken(&mut memtable), [(2, Some(3))]);
        assert_eq!((memtable.len(), memtable.entry(&[1]), memtable.entry(&[3])), (2, Some(None), None));
    }
}
