//! What has been written and is not in the tables yet: rows, and entries of the indexes.
//!
//! **Invariant:** after each commit the journal's records, one after the other, make up what is
//! here. So a commit writes a few pages in a row, and many commits share the pages of the tables,
//! which they would write at random.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use crate::directory::{Entry, end_of, stored_key};
use crate::types::Row;

/// Rows and entries by key.
#[derive(Debug, Default)]
pub(in crate::store) struct Memtable {
    rows: Layer<(u64, Row)>,
    entries: Layer<Vec<u8>>,
}

/// Values by key, over those of the tables.
#[derive(Debug)]
struct Layer<T> {
    items: Vec<Item<T>>,
    /// Where each key's item is: most looks are for one key, and comparing keys in a tree was a
    /// quarter of the core's time.
    places: HashMap<Arc<[u8]>, usize>,
    /// The same in the order of the keys.
    ordered: BTreeMap<OrderedKey, usize>,
    /// Where items are that were written since the last record of the journal.
    fresh: Vec<usize>,
    /// Counts what is written, so that rows keep their order.
    written: u64,
}

/// Something written.
#[derive(Debug)]
struct Item<T> {
    key: Arc<[u8]>,
    /// Without a value, one that is to be deleted.
    value: Option<T>,
    /// No record has it yet.
    is_fresh: bool,
    /// Its place among all that was written.
    order: u64,
}

/// A key with its first bytes at hand: most comparisons look at no more.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct OrderedKey {
    first: [u8; 40],
    key: Arc<[u8]>,
}

impl OrderedKey {
    fn new(key: Arc<[u8]>) -> Self {
        let mut first = [0; 40];
        let len = key.len().min(first.len());
        first[..len].copy_from_slice(&key[..len]);
        Self { first, key }
    }
}

/// A range of keys.
type Range<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

impl<T> Default for Layer<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            places: HashMap::new(),
            ordered: BTreeMap::new(),
            fresh: Vec::new(),
            written: 0,
        }
    }
}

impl<T> Layer<T> {
    fn get(&self, key: &[u8]) -> Option<Option<&T>> {
        self.places.get(key).map(|&place| self.items[place].value.as_ref())
    }

    fn set(&mut self, key: &[u8], value: Option<T>) {
        self.written += 1;
        let order = self.written;
        if let Some(&place) = self.places.get(key) {
            let item = &mut self.items[place];
            if !std::mem::replace(&mut item.is_fresh, true) {
                self.fresh.push(place);
            }
            (item.value, item.order) = (value, order);
        } else {
            let (key, place): (Arc<[u8]>, _) = (key.into(), self.items.len());
            self.fresh.push(place);
            self.places.insert(key.clone(), place);
            self.ordered.insert(OrderedKey::new(key.clone()), place);
            self.items.push(Item { key, value, is_fresh: true, order });
        }
    }

    /// Hands out what no record has yet, in the order in which it was written.
    fn take_fresh(&mut self, mut take: impl FnMut(&[u8], Option<&T>)) {
        let mut fresh = std::mem::take(&mut self.fresh);
        fresh.sort_unstable_by_key(|&place| self.items[place].order);
        for place in fresh {
            let item = &mut self.items[place];
            item.is_fresh = false;
            take(&item.key, item.value.as_ref());
        }
    }

    fn range(&self, (from, to): Range<'_>) -> impl DoubleEndedIterator<Item = &Item<T>> {
        let ordered = |key: &[u8]| OrderedKey::new(key.into());
        let range = self.ordered.range((from.map(ordered), to.map(ordered)));
        range.map(|(_, &place)| &self.items[place])
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
        if self.items.is_empty() || self.range((from, to)).next().is_none() {
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
            let waiting = self.range(within);
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
    pub(in crate::store) fn len(&self) -> usize {
        self.rows.items.len() + self.entries.items.len()
    }

    /// Tells whether the journal has all of it.
    pub(in crate::store) fn is_journaled(&self) -> bool {
        self.rows.fresh.is_empty() && self.entries.fresh.is_empty()
    }

    /// The row with that stored key: `None` if nothing has been written there, and no row if it has
    /// been deleted.
    pub(in crate::store) fn row(&self, key: &[u8]) -> Option<Option<&Row>> {
        self.rows.get(key).map(|row| row.map(|(_, row)| row))
    }

    /// Writes a row.
    pub(in crate::store) fn put_row(&mut self, sequence: u64, row: &Row) {
        self.rows.set(&stored_key(&row.content.key()), Some((sequence, row.clone())));
    }

    /// Deletes a row.
    pub(in crate::store) fn delete_row(&mut self, key: &[u8]) {
        self.rows.set(key, None);
    }

    /// Returns the first `limit` rows whose key begins with `prefix` and lies behind `after`, as
    /// [`Memtable::page`] does entries.
    pub(in crate::store) fn rows(
        &self,
        range: Range<'_>,
        limit: usize,
        read: impl FnMut(Range<'_>, usize) -> Vec<(Vec<u8>, Row)>,
    ) -> Vec<(Vec<u8>, Row)> {
        self.rows.page(range, false, limit, read, |(_, row)| row.clone())
    }

    /// The entry as it has been written: `None` if it has not been, and no value if it has been
    /// deleted.
    pub(in crate::store) fn entry(&self, key: &[u8]) -> Option<Option<&Vec<u8>>> {
        self.entries.get(key)
    }

    /// Writes an entry.
    pub(in crate::store) fn set_entry(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.entries.set(key, value.map(<[u8]>::to_vec));
    }

    /// Returns the first `limit` entries of a range, or the last ones in reverse order: those of
    /// the tables, which `read` reads some at a time, as they are seen through those that wait.
    pub(in crate::store) fn page(
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
    pub(in crate::store) fn take_fresh(
        &mut self,
        row: impl FnMut(&[u8], Option<&(u64, Row)>),
        mut entry: impl FnMut(&[u8], Option<&[u8]>),
    ) {
        self.rows.take_fresh(row);
        self.entries.take_fresh(|key, value| entry(key, value.map(Vec::as_slice)));
    }

    /// All rows with their keys, in the order in which they were written. Those without a row are
    /// to be deleted.
    pub(in crate::store) fn all_rows(&self) -> impl Iterator<Item = (&[u8], Option<&(u64, Row)>)> {
        let mut rows: Vec<_> = self.rows.items.iter().collect();
        rows.sort_unstable_by_key(|item| item.order);
        rows.into_iter().map(|item| (&*item.key, item.value.as_ref()))
    }

    /// All entries in the order of their keys, which the database's trees take best. Those without
    /// a value are to be deleted.
    pub(in crate::store) fn all_entries(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let items = self.entries.ordered.values().map(|&place| &self.entries.items[place]);
        items.map(|item| (&*item.key, item.value.as_deref()))
    }
}

/// The range of the keys that begin with `prefix` and lie behind `after`, as its ends.
pub(in crate::store) fn prefixed(
    prefix: &[u8],
    after: Option<&[u8]>,
) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let from = after.map_or(Bound::Included(prefix), Bound::Excluded);
    (from.map(<[u8]>::to_vec), end_of(prefix))
}

/// Fills a page from two lists, each in the order that `is_before` tells; of two items with one
/// key, the waiting one counts.
fn merge<'a, T: 'a, V>(
    page: &mut Vec<(Vec<u8>, V)>,
    limit: usize,
    stored: Vec<(Vec<u8>, V)>,
    waiting: impl Iterator<Item = &'a Item<T>>,
    is_before: impl Fn(&[u8], &[u8]) -> bool,
    value_of: impl Fn(&T) -> V,
) {
    let (mut stored, mut waiting) = (stored.into_iter().peekable(), waiting.peekable());
    while page.len() < limit {
        let is_stored = match (stored.peek(), waiting.peek()) {
            (None, None) => return,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some((one, _)), Some(other)) => is_before(one, &other.key),
        };
        if is_stored {
            page.extend(stored.next());
        } else if let Some(item) = waiting.next() {
            drop(stored.next_if(|(other, _)| **other == *item.key));
            page.extend(item.value.as_ref().map(|value| (item.key.to_vec(), value_of(value))));
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
            // Keys that differ in their first bytes, and behind those.
            let key_of = |key: u8| [vec![key / 10], vec![7; 50], vec![key]].concat();
            let memtable = |of: &BTreeMap<u8, Option<u8>>| {
                let mut memtable = Memtable::default();
                of.iter().for_each(|(&key, value)| memtable.set_entry(&key_of(key), value.as_ref().map(std::slice::from_ref)));
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
                let all = of.range(from..to).map(|(&key, &value)| (key_of(key), vec![value]));
                if backwards { all.rev().take(limit).collect() } else { all.take(limit).collect() }
            };
            let (low, high) = (key_of(from), key_of(to));
            let range = (Bound::Included(&low[..]), Bound::Excluded(&high[..]));
            let read = |range: Range<'_>, limit: usize| -> Vec<Entry> {
                let entries: BTreeMap<Vec<u8>, Vec<u8>> = stored.iter().map(|(&key, &value)| (key_of(key), vec![value])).collect();
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
        assert_eq!(
            (memtable.len(), memtable.entry(&[1]), memtable.entry(&[3])),
            (2, Some(None), None)
        );
    }
}
