//! The store as the directory sees it: rows, and entries of indexes, both in the order of their
//! keys' bytes.
//!
//! The same rules run over rows in memory ([`MemoryRows`], for tests and simulators) and in a
//! database. These methods return no errors. A store that cannot read keeps the error and answers
//! as if nothing were there; the driver asks the store for that error before it lets anything out.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use crate::types::{Row, RowKey};
use crate::wire::row::{KEY_ROOM, encode_key, kind};

/// An entry of an index: key and value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// Rows and entries, for reading.
pub trait Rows {
    /// Returns the row with that key.
    fn get(&self, key: &RowKey) -> Option<Row>;

    /// Returns at most `limit` rows whose stored key begins with `prefix` and lies behind `after`,
    /// in order. A stored key is the kind, then the key's bytes.
    fn rows(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Vec<Row>;

    /// Returns the value of an entry.
    fn entry(&self, key: &[u8]) -> Option<Vec<u8>>;

    /// Returns at most `limit` entries in a range, in order, or the last ones in reverse order.
    fn entries(
        &self,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        backwards: bool,
        limit: usize,
    ) -> Vec<Entry>;
}

impl<R: Rows + ?Sized> Rows for &R {
    fn get(&self, key: &RowKey) -> Option<Row> {
        (**self).get(key)
    }

    fn rows(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Vec<Row> {
        (**self).rows(prefix, after, limit)
    }

    fn entry(&self, key: &[u8]) -> Option<Vec<u8>> {
        (**self).entry(key)
    }

    fn entries(
        &self,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        backwards: bool,
        limit: usize,
    ) -> Vec<Entry> {
        (**self).entries(range, backwards, limit)
    }
}

/// Rows and entries, for writing: in one transaction, which the driver ends.
pub trait RowsMut: Rows {
    /// Writes a row in place of another of the same key. It gets this update sequence.
    fn put(&mut self, sequence: u64, row: &Row);

    /// Deletes a row.
    fn delete(&mut self, key: &RowKey);

    /// Writes an entry, or deletes it.
    fn set_entry(&mut self, key: &[u8], value: Option<&[u8]>);
}

/// The key under which a row is stored: its kind, then its key's bytes.
pub fn stored_key(key: &RowKey) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(KEY_ROOM);
    bytes.push(kind(key));
    encode_key(key, &mut bytes);
    bytes
}

/// The end of the keys that begin with `prefix`, which is not among them.
pub fn end_of(prefix: &[u8]) -> Bound<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Bound::Excluded(end);
        }
    }
    Bound::Unbounded
}

/// Rows in memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryRows {
    rows: BTreeMap<Vec<u8>, Row>,
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
}

#[cfg(test)]
impl MemoryRows {
    /// All entries of the indexes.
    pub(super) fn all_entries(&self) -> &BTreeMap<Vec<u8>, Vec<u8>> {
        &self.entries
    }

    pub(super) fn without_entries(self) -> Self {
        Self { rows: self.rows, entries: BTreeMap::new() }
    }
}

impl Rows for MemoryRows {
    fn get(&self, key: &RowKey) -> Option<Row> {
        self.rows.get(&stored_key(key)).cloned()
    }

    fn rows(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Vec<Row> {
        let from = after.map_or(Bound::Included(prefix), Bound::Excluded);
        let found = self.rows.range::<[u8], _>((from, Bound::Unbounded));
        found
            .take_while(|(key, _)| key.starts_with(prefix))
            .take(limit)
            .map(|(_, row)| row.clone())
            .collect()
    }

    fn entry(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.entries.get(key).cloned()
    }

    fn entries(
        &self,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        backwards: bool,
        limit: usize,
    ) -> Vec<Entry> {
        let found =
            self.entries.range::<[u8], _>(range).map(|(key, value)| (key.clone(), value.clone()));
        if backwards { found.rev().take(limit).collect() } else { found.take(limit).collect() }
    }
}

impl RowsMut for MemoryRows {
    fn put(&mut self, _sequence: u64, row: &Row) {
        self.rows.insert(stored_key(&row.content.key()), row.clone());
    }

    fn delete(&mut self, key: &RowKey) {
        self.rows.remove(&stored_key(key));
    }

    fn set_entry(&mut self, key: &[u8], value: Option<&[u8]>) {
        match value {
            Some(value) => drop(self.entries.insert(key.to_vec(), value.to_vec())),
            None => drop(self.entries.remove(key)),
        }
    }
}

/// Entries read at first, then more at a time: most who look want one, some want all.
const FIRST_CHUNK: usize = 4;
/// Entries read at once at most.
const CHUNK_MAX: usize = 512;

/// The entries of a range one after the other, read in chunks.
#[derive(Debug)]
pub(super) struct Scan<'a, R> {
    rows: &'a R,
    range: (Bound<Vec<u8>>, Bound<Vec<u8>>),
    backwards: bool,
    read: VecDeque<Entry>,
    chunk: usize,
    is_done: bool,
}

impl<'a, R: Rows> Scan<'a, R> {
    /// The entries that begin with `prefix`.
    pub(super) fn prefix(rows: &'a R, prefix: &[u8]) -> Self {
        Self::range(rows, Bound::Included(prefix.to_vec()), end_of(prefix))
    }

    /// Those that begin with `prefix` and lie behind `after`.
    pub(super) fn after(rows: &'a R, prefix: &[u8], after: Vec<u8>) -> Self {
        Self::range(rows, Bound::Excluded(after), end_of(prefix))
    }

    /// Those of a range.
    pub(super) fn range(rows: &'a R, from: Bound<Vec<u8>>, to: Bound<Vec<u8>>) -> Self {
        Self {
            rows,
            range: (from, to),
            backwards: false,
            read: VecDeque::new(),
            chunk: FIRST_CHUNK,
            is_done: false,
        }
    }

    /// The last one first.
    pub(super) fn backwards(self) -> Self {
        Self { backwards: true, ..self }
    }
}

impl<R: Rows> Iterator for Scan<'_, R> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        if self.read.is_empty() && !self.is_done {
            let range = (
                self.range.0.as_ref().map(Vec::as_slice),
                self.range.1.as_ref().map(Vec::as_slice),
            );
            self.read = self.rows.entries(range, self.backwards, self.chunk).into();
            self.is_done = self.read.len() < self.chunk;
            self.chunk = CHUNK_MAX.min(self.chunk * 4);
            if let Some((last, _)) = self.read.back() {
                let bound = if self.backwards { &mut self.range.1 } else { &mut self.range.0 };
                *bound = Bound::Excluded(last.clone());
            }
        }
        self.read.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_reads_all_of_a_range_in_either_direction_and_nothing_else() {
        let mut rows = MemoryRows::default();
        for number in 0..2000u32 {
            rows.set_entry(&[&[7], &number.to_be_bytes()[..]].concat(), Some(b"x"));
        }
        rows.set_entry(&[6, 255], Some(b""));
        rows.set_entry(&[8], Some(b""));
        let number = |(key, _): Entry| u32::from_be_bytes(key[1..].try_into().unwrap());
        let all: Vec<u32> = Scan::prefix(&rows, &[7]).map(number).collect();
        assert!(all.iter().copied().eq(0..2000));
        let back: Vec<u32> = Scan::prefix(&rows, &[7]).backwards().map(number).collect();
        assert!(back.iter().copied().eq((0..2000).rev()));
        let behind: Vec<u32> =
            Scan::after(&rows, &[7], [&[7], &1990u32.to_be_bytes()[..]].concat())
                .map(number)
                .collect();
        assert!(behind.iter().copied().eq(1991..2000));
        assert_eq!(end_of(&[1, 255, 255]), Bound::Excluded(vec![2]));
        assert_eq!(end_of(&[255]), Bound::Unbounded);
    }
}
