//! The body of a record of the journal: what one commit has written.
//!
//! | | |
//! |---|---|
//! | u64 | last update sequence |
//! | u64 | largest sequence of a tombstone that was deleted |
//! | u32 | number of other stores; each: 16 bytes id, u64 checkpoint, u64 complete, u64 touched: 0 for one that is forgotten |
//! | u32 | number of rows; each: u64 update sequence, u32 length, the row |
//! | u32 | number of entries; each: u32 length, key, u32 length, value; `u32::MAX` for one that is deleted |
//! | u32 | number of rows that are deleted; each: u32 length, stored key |
//!
//! The version of the record is that of the database's schema. A record of version 3 has rows and
//! entries alone.

use super::journal::HEADER_LEN;
use super::memtable::Memtable;
use super::peers::Peer;
use crate::types::{Row, StoreId};
use crate::wire::Wire;

/// In place of a value's length: there is none.
const DELETED: u32 = u32::MAX;

/// What a commit writes besides rows and entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// The last update sequence.
    pub(super) sequence: u64,
    /// The largest sequence of a tombstone that was deleted.
    pub(super) swept: u64,
    /// Other stores of which something has changed; `None` for one that is forgotten.
    pub(super) peers: Vec<(StoreId, Option<Peer>)>,
}

/// Makes a record, with room for its header, of what no record has yet.
pub(super) fn make(progress: &Progress, memtable: &mut Memtable) -> Vec<u8> {
    let mut record = vec![0; HEADER_LEN];
    put_number(&mut record, progress.sequence);
    put_number(&mut record, progress.swept);
    put_len(&mut record, progress.peers.len());
    for (store, peer) in &progress.peers {
        record.extend_from_slice(store.as_bytes());
        let Peer { checkpoint, complete, touched } = peer.unwrap_or_default();
        [checkpoint, complete, touched].iter().for_each(|&number| put_number(&mut record, number));
    }
    let (mut rows, mut deleted) = (Counted::default(), Counted::default());
    let mut entries = Counted::default();
    memtable.take_fresh(
        |key, row| match row {
            Some((sequence, row)) => rows.push(|record| {
                put_number(record, *sequence);
                let start = record.len();
                put_len(record, 0);
                row.encode(record);
                let len = record.len() - start - 4;
                record[start..start + 4].copy_from_slice(&bytes_of(len));
            }),
            None => deleted.push(|record| put_bytes(record, key)),
        },
        |key, value| {
            entries.push(|record| {
                put_bytes(record, key);
                match value {
                    Some(value) => put_bytes(record, value),
                    None => record.extend_from_slice(&DELETED.to_be_bytes()),
                }
            })
        },
    );
    for part in [rows, entries, deleted] {
        put_len(&mut record, part.count);
        record.extend_from_slice(&part.bytes);
    }
    record
}

/// Takes over what a record says; `None` if it cannot be read.
pub(super) fn replay(mut record: &[u8], memtable: &mut Memtable) -> Option<Progress> {
    let sequence = take_number(&mut record)?;
    let swept = take_number(&mut record)?;
    let mut peers = Vec::new();
    for _ in 0..take_len(&mut record)? {
        let (store, rest) = record.split_first_chunk()?;
        record = rest;
        let [checkpoint, complete, touched] = [(); 3].map(|()| take_number(&mut record));
        let peer = Peer { checkpoint: checkpoint?, complete: complete?, touched: touched? };
        peers.push((StoreId::from_bytes(*store), Some(peer).filter(|peer| peer.touched > 0)));
    }
    replay_rows(&mut record, memtable)?;
    for _ in 0..take_len(&mut record)? {
        memtable.delete_row(take_bytes(&mut record)?);
    }
    record.is_empty().then_some(Progress { sequence, swept, peers })
}

/// Takes over what a record of version 3 says; `None` if it cannot be read.
pub(super) fn replay_version_3(mut record: &[u8], memtable: &mut Memtable) -> Option<()> {
    replay_rows(&mut record, memtable)?;
    record.is_empty().then_some(())
}

fn replay_rows(record: &mut &[u8], memtable: &mut Memtable) -> Option<()> {
    for _ in 0..take_len(record)? {
        let sequence = take_number(record)?;
        let row = Row::from_bytes(take_bytes(record)?).ok()?;
        memtable.put_row(sequence, &row);
    }
    for _ in 0..take_len(record)? {
        let key = take_bytes(record)?;
        let is_deleted = record.first_chunk() == Some(&DELETED.to_be_bytes());
        let value =
            if is_deleted { take_len(record).map(|_| None)? } else { Some(take_bytes(record)?) };
        memtable.set_entry(key, value);
    }
    Some(())
}

/// Some parts of a record, one after the other, and how many they are.
#[derive(Default)]
struct Counted {
    count: usize,
    bytes: Vec<u8>,
}

impl Counted {
    fn push(&mut self, put: impl FnOnce(&mut Vec<u8>)) {
        self.count += 1;
        put(&mut self.bytes);
    }
}

fn bytes_of(len: usize) -> [u8; 4] {
    u32::try_from(len).expect("a record is far shorter").to_be_bytes()
}

fn put_number(record: &mut Vec<u8>, number: u64) {
    record.extend_from_slice(&number.to_be_bytes());
}

fn put_len(record: &mut Vec<u8>, len: usize) {
    record.extend_from_slice(&bytes_of(len));
}

fn put_bytes(record: &mut Vec<u8>, bytes: &[u8]) {
    put_len(record, bytes.len());
    record.extend_from_slice(bytes);
}

fn take_number(record: &mut &[u8]) -> Option<u64> {
    let (number, rest) = record.split_first_chunk()?;
    *record = rest;
    Some(u64::from_be_bytes(*number))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::stored_key;
    use crate::types::{Content, GroupId, Place, RequestId, RowKey, Stamp, UserId, Version};

    fn row(group: u8) -> Row {
        let content = Content::Owner(GroupId::from_bytes([group; 16]), UserId::NOBODY);
        let version = Version { stamp: Stamp::new(5, 0), request: RequestId::from_bytes([0; 16]) };
        let place = Place { store: StoreId::from_bytes([1; 16]), sequence: 1 };
        Row { content, version, place, extra: Box::default() }
    }

    /// Everything comes back; a record that was cut, anywhere, is refused.
    #[test]
    fn what_a_record_says_is_what_was_written() {
        let store = |id| StoreId::from_bytes([id; 16]);
        let peer = Peer { checkpoint: 1, complete: 2, touched: 3 };
        let progress = Progress {
            sequence: 9,
            swept: 4,
            peers: vec![(store(2), Some(peer)), (store(3), None)],
        };
        let mut memtable = Memtable::default();
        let gone = stored_key(&RowKey::Owner(GroupId::from_bytes([3; 16])));
        memtable.put_row(9, &row(2));
        memtable.put_row(8, &row(1));
        memtable.delete_row(&gone);
        memtable.set_entry(b"b", Some(b"value"));
        memtable.set_entry(b"a", None);
        let record = make(&progress, &mut memtable).split_off(HEADER_LEN);
        assert!(memtable.is_journaled());
        let mut again = Memtable::default();
        assert_eq!(replay(&record, &mut again), Some(progress));
        let all = |memtable: &Memtable| {
            let rows = memtable.all_rows().map(|(key, row)| (key.to_vec(), row.cloned()));
            let entries = memtable
                .all_entries()
                .map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec)));
            (rows.collect::<Vec<_>>(), entries.collect::<Vec<_>>())
        };
        let (rows, entries) = all(&again);
        assert_eq!(entries, all(&memtable).1);
        let written = |n| (stored_key(&row(n).content.key()), Some((7 + u64::from(n), row(n))));
        assert_eq!(rows, [written(2), written(1), (gone, None)]);
        for len in 0..record.len() {
            assert_eq!(replay(&record[..len], &mut Memtable::default()), None, "{len} bytes");
        }
    }
}
