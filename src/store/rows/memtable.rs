//! What has been written and is not in the tables yet: rows, and entries of the indexes.
//!
//! **Invariant:** after each commit the journal's records, one after the other, make up what is
//! here. So a commit writes a few pages in a row, and many commits share the pages of the tables,
//! which they would write at random.
//!
//! | record | |
//! |---|---|
//! | u32 | number of rows; each: u64 update sequence, u32 length, the row |
//! | u32 | number of entries; each: u32 length, key, u32 length, value; `u32::MAX` for one that is deleted |
//!
//! The version of the record is that of the database's schema.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::directory::{Entry, end_of, stored_key};
use crate::types::Row;
use crate::wire::Wire;

/// In place of a value's length: there is none.
const DELETED: u32 = u32::MAX;

/// Rows and entries by key.
#[derive(Debug, Default)]
pub(super) struct Memtable {
    rows: BTreeMap<Vec<u8>, Waiting<(u64, Row)>>,
    /// Without a value, one that is to be deleted.
    entries: BTreeMap<Vec<u8>, Waiting<Option<Vec<u8>>>>,
    /// Keys written since the last record of the journal.
    fresh_rows: Vec<Vec<u8>>,
    fresh_entries: Vec<Vec<u8>>,
    /// Number of the next record.
    record: u64,
    /// Counts what is written, so that rows keep their order.
    written: u64,
}

/// All that has waited.
pub(super) struct Taken {
    /// Rows with their update sequences, in the order in which they were written.
    pub(super) rows: Vec<(u64, Row)>,
    /// Entries in the order of their keys, which the database's trees take best.
    pub(super) entries: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// Something written.
#[derive(Debug)]
struct Waiting<T> {
    value: T,
    /// The record that it goes into.
    record: u64,
    /// Its place among all that was written.
    order: u64,
}

impl Memtable {
    /// Number of rows and entries.
    pub(super) fn len(&self) -> usize {
        self.rows.len() + self.entries.len()
    }

    /// Number of those that no record has yet.
    pub(super) fn fresh_len(&self) -> usize {
        self.fresh_rows.len() + self.fresh_entries.len()
    }

    /// The row with that stored key, if it has been written.
    pub(super) fn row(&self, key: &[u8]) -> Option<&Row> {
        self.rows.get(key).map(|waiting| &waiting.value.1)
    }

    /// Writes a row.
    pub(super) fn put_row(&mut self, sequence: u64, row: &Row) {
        let key = stored_key(&row.content.key());
        self.written += 1;
        let waiting =
            Waiting { value: (sequence, row.clone()), record: self.record, order: self.written };
        let before = self.rows.insert(key.clone(), waiting);
        if before.is_none_or(|before| before.record < self.record) {
            self.fresh_rows.push(key);
        }
    }

    /// Takes a row out.
    pub(super) fn remove_row(&mut self, key: &[u8]) {
        self.rows.remove(key);
    }

    /// Returns the first `limit` rows whose key begins with `prefix` and lies behind `after`:
    /// `stored` are the first `limit` of those in the tables.
    pub(super) fn rows(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        stored: Vec<Row>,
    ) -> Vec<Row> {
        let from = after.map_or(Bound::Included(prefix), Bound::Excluded);
        let end = end_of(prefix);
        let range = (from, end.as_ref().map(Vec::as_slice));
        if self.rows.range::<[u8], _>(range).next().is_none() {
            return stored;
        }
        let last = stored
            .last()
            .filter(|_| stored.len() == limit)
            .map(|row| stored_key(&row.content.key()));
        let mut seen: BTreeMap<Vec<u8>, Row> =
            stored.into_iter().map(|row| (stored_key(&row.content.key()), row)).collect();
        let waiting = self.rows.range::<[u8], _>(range);
        let near = waiting
            .take_while(|(key, _)| last.as_ref().is_none_or(|last| *key <= last))
            .take(limit);
        seen.extend(near.map(|(key, waiting)| (key.clone(), waiting.value.1.clone())));
        seen.into_values().take(limit).collect()
    }

    /// The entry as it has been written; `None` if it has not been.
    pub(super) fn entry(&self, key: &[u8]) -> Option<&Option<Vec<u8>>> {
        self.entries.get(key).map(|waiting| &waiting.value)
    }

    /// Writes an entry.
    pub(super) fn set_entry(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.written += 1;
        let waiting =
            Waiting { value: value.map(<[u8]>::to_vec), record: self.record, order: self.written };
        let before = self.entries.insert(key.to_vec(), waiting);
        if before.is_none_or(|before| before.record < self.record) {
            self.fresh_entries.push(key.to_vec());
        }
    }

    /// Returns the first `limit` entries of a range, or the last ones in reverse order: those of
    /// the database, which `read` reads some at a time, as they are seen through those that wait.
    pub(super) fn page(
        &self,
        (from, to): (Bound<&[u8]>, Bound<&[u8]>),
        backwards: bool,
        limit: usize,
        mut read: impl FnMut((Bound<&[u8]>, Bound<&[u8]>), usize) -> Vec<Entry>,
    ) -> Vec<Entry> {
        if self.entries.range::<[u8], _>((from, to)).next().is_none() {
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
            let waiting = self.entries.range::<[u8], _>(within);
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

    /// Makes the record of what was written since the last one; `None` if that is nothing.
    pub(super) fn take_record(&mut self) -> Option<Vec<u8>> {
        self.record += 1;
        let (rows, entries) =
            (std::mem::take(&mut self.fresh_rows), std::mem::take(&mut self.fresh_entries));
        if rows.is_empty() && entries.is_empty() {
            return None;
        }
        let mut rows: Vec<&Waiting<(u64, Row)>> =
            rows.iter().filter_map(|key| self.rows.get(key)).collect();
        rows.sort_unstable_by_key(|waiting| waiting.order);
        let mut record = Vec::new();
        put_len(&mut record, rows.len());
        for Waiting { value: (sequence, row), .. } in rows {
            record.extend_from_slice(&sequence.to_be_bytes());
            let start = record.len();
            put_len(&mut record, 0);
            row.encode(&mut record);
            let len = u32::try_from(record.len() - start - 4).expect("a row is far shorter");
            record[start..start + 4].copy_from_slice(&len.to_be_bytes());
        }
        let entries: Vec<_> =
            entries.iter().filter_map(|key| Some((key, &self.entries.get(key)?.value))).collect();
        put_len(&mut record, entries.len());
        for (key, value) in entries {
            put_bytes(&mut record, key);
            match value {
                Some(value) => put_bytes(&mut record, value),
                None => record.extend_from_slice(&DELETED.to_be_bytes()),
            }
        }
        Some(record)
    }

    /// Takes over what a record says; `None` if it cannot be read.
    pub(super) fn replay(&mut self, mut record: &[u8]) -> Option<()> {
        for _ in 0..take_len(&mut record)? {
            let (sequence, rest) = record.split_first_chunk()?;
            record = rest;
            let row = Row::from_bytes(take_bytes(&mut record)?).ok()?;
            self.put_row(u64::from_be_bytes(*sequence), &row);
        }
        for _ in 0..take_len(&mut record)? {
            let key = take_bytes(&mut record)?;
            let is_deleted = record.first_chunk() == Some(&DELETED.to_be_bytes());
            let value = if is_deleted {
                take_len(&mut record).map(|_| None)?
            } else {
                Some(take_bytes(&mut record)?)
            };
            self.set_entry(key, value);
        }
        record.is_empty().then_some(())
    }

    /// Takes everything out.
    pub(super) fn take(&mut self) -> Taken {
        self.fresh_rows.clear();
        self.fresh_entries.clear();
        let mut rows: Vec<Waiting<(u64, Row)>> =
            std::mem::take(&mut self.rows).into_values().collect();
        rows.sort_unstable_by_key(|waiting| waiting.order);
        let entries = std::mem::take(&mut self.entries).into_iter();
        let entries = entries.map(|(key, waiting)| (key, waiting.value)).collect();
        Taken { rows: rows.into_iter().map(|waiting| waiting.value).collect(), entries }
    }
}

fn put_len(record: &mut Vec<u8>, len: usize) {
    let len = u32::try_from(len).expect("a record is far shorter");
    record.extend_from_slice(&len.to_be_bytes());
}

fn put_bytes(record: &mut Vec<u8>, bytes: &[u8]) {
    put_len(record, bytes.len());
    record.extend_from_slice(bytes);
}

fn take_len(record: &mut &[u8]) -> Option<u32> {
    let (len, rest) = record.split_first_chunk()?;
    *record = rest;
    Some(u32::from_be_bytes(*len))
}

fn take_bytes<'a>(record: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = take_len(record)?;
    let (bytes, rest) = record.split_at_checked(len as usize)?;
    *record = rest;
    Some(bytes)
}

/// Fills a page from two lists, each in the order that `is_before` tells; of two entries with one
/// key, the waiting one counts.
fn merge<'a>(
    page: &mut Vec<Entry>,
    limit: usize,
    stored: Vec<Entry>,
    waiting: impl Iterator<Item = (&'a Vec<u8>, &'a Waiting<Option<Vec<u8>>>)>,
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
            page.extend(value.value.clone().map(|value| (key.clone(), value)));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types::{
        Content, GroupId, Place, RequestId, RowKey, Stamp, StoreId, UserId, Version,
    };

    proptest! {
        /// Rows that wait are seen as if they were in the table.
        #[test]
        fn waiting_rows_are_seen_as_if_they_were_stored(
            stored in proptest::collection::btree_map(0u8..20, 1u64..3, 0..15),
            waiting in proptest::collection::btree_map(0u8..20, 3u64..6, 0..15),
            (after, limit) in (proptest::option::of(0u8..20), 1usize..8),
        ) {
            let row = |(group, ms): (&u8, &u64)| {
                let content = Content::Owner(GroupId::from_bytes([*group; 16]), UserId::NOBODY);
                let version = Version { stamp: Stamp::new(*ms, 0), request: RequestId::from_bytes([0; 16]) };
                let place = Place { store: StoreId::from_bytes([1; 16]), sequence: 1 };
                Row { content, version, place, extra: Box::default() }
            };
            let key = |group: u8| stored_key(&RowKey::Owner(GroupId::from_bytes([group; 16])));
            let mut memtable = Memtable::default();
            waiting.iter().for_each(|waiting| memtable.put_row(1, &row(waiting)));
            let page = |of: &BTreeMap<u8, u64>| -> Vec<Row> {
                of.iter().filter(|(group, _)| after.is_none_or(|after| **group > after)).map(row).take(limit).collect()
            };
            let all: BTreeMap<u8, u64> = stored.clone().into_iter().chain(waiting.clone()).collect();
            let after = after.map(key);
            let seen = memtable.rows(&key(0)[..1], after.as_deref(), limit, page(&stored));
            prop_assert_eq!(seen, page(&all));
            // A record says all of it again.
            let mut again = Memtable::default();
            prop_assert_eq!(memtable.take_record().map(|record| again.replay(&record).unwrap()).is_some(), !waiting.is_empty());
            prop_assert_eq!(again.rows(&key(0)[..1], None, 99, Vec::new()), waiting.iter().map(row).collect::<Vec<_>>());
        }

        /// What is seen through what waits is what would be there once it had been written.
        #[test]
        fn waiting_entries_are_seen_as_if_they_were_stored(
            stored in proptest::collection::btree_map(0u8..30, 0u8..3, 0..20),
            waiting in proptest::collection::btree_map(0u8..30, proptest::option::of(3u8..6), 0..20),
            (from, to, backwards, limit) in (0u8..30, 0u8..30, any::<bool>(), 1usize..8),
        ) {
            let mut memtable = Memtable::default();
            waiting.iter().for_each(|(&key, value)| memtable.set_entry(&[key], value.as_ref().map(std::slice::from_ref)));
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
            let seen = memtable.page(range, backwards, limit, read);
            prop_assert_eq!(seen, page(&after, limit));
        }
    }
}
