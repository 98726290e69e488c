//! The tracker's operations and the name of its store.
//!
//! **Invariant:** the rows, in the order of their row ids, are the order in which the operations were applied, so that loading them
//! continues each origin; what one call stored is there whole or not at all.
//!
//! Owned by the tracker's core thread. A replicator that has much to send reads through an [`OperationReader`] of its own, which
//! sees only what is committed. What lies in a row is the wire encoding, with the version of that encoding beside it.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};

use super::database::{DatabaseKind, StoreError, open_database};
use crate::types::{Operation, OriginId};
use crate::wire::Wire;

/// Name of the database in a tracker's data directory.
const FILE: &str = "tracker.sqlite";
/// "PsTr": tells a tracker's store from any other database.
const KIND: DatabaseKind = DatabaseKind {
    name: "store of a Posse tracker",
    application_id: 0x5073_5472,
    migrations: &["CREATE TABLE store (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
         CREATE TABLE operations (
             place INTEGER PRIMARY KEY,
             origin BLOB NOT NULL,
             sequence INTEGER NOT NULL,
             version INTEGER NOT NULL,
             body BLOB NOT NULL,
             UNIQUE (origin, sequence)
         ) STRICT;"],
};

/// Version of the encoding of an operation. It is not that of the protocol, whose later versions say the same operations in the same bytes.
const ENCODING: u16 = 1;

/// A tracker's store, open for writing.
#[derive(Debug)]
pub struct OperationStore {
    path: PathBuf,
    connection: Connection,
    origin: OriginId,
}

impl OperationStore {
    /// Opens the store in `directory`, or makes an empty one whose origin is `fresh`.
    ///
    /// # Errors
    /// Every [`StoreError`] but `InUse`: locking the directory is the caller's business.
    pub fn open(directory: &Path, fresh: OriginId) -> Result<Self, StoreError> {
        let path = directory.join(FILE);
        let connection = open_database(&path, KIND)?;
        let wrap = |source| StoreError::of(&path, source);
        connection.execute("INSERT OR IGNORE INTO store VALUES ('origin', ?1)", [fresh.as_bytes()]).map_err(wrap)?;
        let origin = connection.query_row("SELECT value FROM store WHERE key = 'origin'", [], |row| row.get(0));
        let origin = OriginId::from_bytes(origin.map_err(wrap)?);
        Ok(Self { path, connection, origin })
    }

    /// The store's name: the origin of the operations recorded here from now on.
    pub fn origin(&self) -> OriginId {
        self.origin
    }

    /// Hands every operation to `take`, in the order in which they were stored, one at a time.
    ///
    /// # Errors
    /// A row that is no operation, and what `take` says is wrong, are [`StoreError::Damaged`].
    pub fn load<E: ToString>(&self, mut take: impl FnMut(Operation) -> Result<(), E>) -> Result<u64, StoreError> {
        let wrap = |source| StoreError::of(&self.path, source);
        let mut statement =
            self.connection.prepare("SELECT origin, sequence, version, body FROM operations ORDER BY place").map_err(wrap)?;
        let mut rows = statement.query([]).map_err(wrap)?;
        let mut count = 0;
        while let Some(row) = rows.next().map_err(wrap)? {
            let operation = read_row(&self.path, row)?;
            take(operation).map_err(|e| StoreError::Damaged { path: self.path.clone(), why: e.to_string() })?;
            count += 1;
        }
        Ok(count)
    }

    /// Stores operations, in order, and the store's new origin if there is one, in one transaction. When this returns, they are
    /// on the disk.
    ///
    /// # Errors
    /// [`StoreError::Database`] if the disk is full or fails: nothing is stored then.
    pub fn append(&mut self, operations: &[Operation], origin: Option<OriginId>) -> Result<(), StoreError> {
        let stored = append(&mut self.connection, operations, origin);
        stored.map_err(|source| StoreError::of(&self.path, source))?;
        self.origin = origin.unwrap_or(self.origin);
        Ok(())
    }

    /// Opens a second, reading connection, for another thread.
    ///
    /// # Errors
    /// [`StoreError::Database`] if the system has no room for it.
    pub fn reader(path: &Path) -> Result<OperationReader, StoreError> {
        let path = path.join(FILE);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags).map_err(|source| StoreError::of(&path, source))?;
        Ok(OperationReader { path, connection })
    }
}

/// Reads a tracker's operations beside its writer.
#[derive(Debug)]
pub struct OperationReader {
    path: PathBuf,
    connection: Connection,
}

impl OperationReader {
    /// Hands the operations `first..=last` of one origin to `take`, in order, one at a time, until it says false; returns how many
    /// were handed out.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if one is missing or unreadable, [`StoreError::Database`] if the disk fails.
    pub fn read(
        &self,
        (origin, first, last): (OriginId, u64, u64),
        mut take: impl FnMut(Operation) -> bool,
    ) -> Result<u64, StoreError> {
        let wrap = |source| StoreError::of(&self.path, source);
        let sql = "SELECT origin, sequence, version, body FROM operations WHERE origin = ?1 AND sequence BETWEEN ?2 AND ?3
                   ORDER BY sequence";
        let mut statement = self.connection.prepare_cached(sql).map_err(wrap)?;
        let mut rows = statement.query(params![origin.as_bytes(), first as i64, last as i64]).map_err(wrap)?;
        let mut count = 0;
        while let Some(row) = rows.next().map_err(wrap)? {
            let operation = read_row(&self.path, row)?;
            if operation.sequence != first + count {
                break;
            }
            count += 1;
            if !take(operation) {
                return Ok(count);
            }
        }
        if first + count <= last {
            let why = format!("operation {} of origin {origin} is missing", first + count);
            return Err(StoreError::Damaged { path: self.path.clone(), why });
        }
        Ok(count)
    }
}

fn append(connection: &mut Connection, operations: &[Operation], origin: Option<OriginId>) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if let Some(origin) = origin {
        transaction.execute("UPDATE store SET value = ?1 WHERE key = 'origin'", [origin.as_bytes()])?;
    }
    {
        let sql = "INSERT INTO operations (origin, sequence, version, body) VALUES (?1, ?2, ?3, ?4)";
        let mut insert = transaction.prepare_cached(sql)?;
        let mut body = Vec::new();
        for operation in operations {
            body.clear();
            operation.encode(&mut body);
            insert.execute(params![operation.origin.as_bytes(), operation.sequence as i64, ENCODING, body])?;
        }
    }
    transaction.commit()
}

fn read_row(path: &Path, row: &rusqlite::Row<'_>) -> Result<Operation, StoreError> {
    let damaged = |why: String| StoreError::Damaged { path: path.to_owned(), why };
    let wrap = |source| StoreError::of(path, source);
    let (origin, sequence): ([u8; 16], i64) = (row.get(0).map_err(wrap)?, row.get(1).map_err(wrap)?);
    let version: u16 = row.get(2).map_err(wrap)?;
    if version != ENCODING {
        return Err(damaged(format!("operation {sequence} is encoded in version {version}, which this program does not know")));
    }
    let body = row.get_ref(3).map_err(wrap)?.as_blob().map_err(|e| damaged(e.to_string()))?;
    let operation = Operation::from_bytes(body).map_err(|e| damaged(format!("operation {sequence}: {e}")))?;
    if operation.origin.as_bytes() != &origin || operation.sequence as i64 != sequence {
        return Err(damaged(format!("operation {sequence} is stored in another's place")));
    }
    Ok(operation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Effect, RequestId, Stamp, UserId};

    fn operation(origin: u8, sequence: u64) -> Operation {
        let origin = OriginId::from_bytes([origin; 16]);
        let (request, actor) = (RequestId::from_bytes([1; 16]), UserId::NOBODY);
        Operation { origin, sequence, stamp: Stamp::new(sequence, 0), request, actor, effect: Effect::Done, writes: Vec::new() }
    }

    fn open(dir: &tempfile::TempDir) -> OperationStore {
        OperationStore::open(dir.path(), OriginId::from_bytes([9; 16])).unwrap()
    }

    fn loaded(store: &OperationStore) -> Vec<(u8, u64)> {
        let mut all = Vec::new();
        let count = store.load(|op| {
            all.push((op.origin.as_bytes()[0], op.sequence));
            Ok::<(), String>(())
        });
        let count = count.unwrap();
        assert_eq!(count, all.len() as u64);
        all
    }

    #[test]
    fn what_was_appended_is_there_in_order_and_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(&dir);
        store.append(&[operation(2, 1), operation(1, 1), operation(2, 2)], None).unwrap();
        assert!(store.append(&[operation(2, 3), operation(1, 1)], None).is_err(), "stored whole or not at all");
        drop(store);
        let mut store = OperationStore::open(dir.path(), OriginId::from_bytes([8; 16])).unwrap();
        assert_eq!(store.origin(), OriginId::from_bytes([9; 16]), "the origin is the store's, not the process's");
        assert_eq!(loaded(&store), [(2, 1), (1, 1), (2, 2)]);
        store.append(&[operation(7, 1)], Some(OriginId::from_bytes([7; 16]))).unwrap();
        assert_eq!(store.origin(), OriginId::from_bytes([7; 16]));
        assert_eq!(open(&dir).origin(), OriginId::from_bytes([7; 16]));
    }

    #[test]
    fn a_reader_sees_what_is_committed_and_misses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(&dir);
        let reader = OperationStore::reader(dir.path()).unwrap();
        store.append(&(1..=5).map(|n| operation(3, n)).collect::<Vec<_>>(), None).unwrap();
        let range = |first, last| (OriginId::from_bytes([3; 16]), first, last);
        let mut got = Vec::new();
        assert_eq!(reader.read(range(2, 5), |op| (got.push(op.sequence), got.len() < 3).1).unwrap(), 3);
        assert_eq!(got, [2, 3, 4]);
        assert!(matches!(reader.read(range(5, 6), |_| true), Err(StoreError::Damaged { .. })));
    }

    #[test]
    fn damage_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(&dir);
        store.append(&[operation(1, 1)], None).unwrap();
        let refuse = |_| Err("no");
        assert!(matches!(store.load(refuse), Err(StoreError::Damaged { .. })));
        store.connection.execute("UPDATE operations SET body = x'00'", []).unwrap();
        assert!(matches!(store.load(|_| Ok::<(), String>(())), Err(StoreError::Damaged { .. })));
        store.connection.execute("UPDATE operations SET version = 9", []).unwrap();
        assert!(store.load(|_| Ok::<(), String>(())).unwrap_err().to_string().contains("version 9"));
    }
}
