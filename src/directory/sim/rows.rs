//! The rows of a simulated tracker: in maps, or in a database as the program has them.

use std::ops::Bound;

use tempfile::TempDir;

use crate::directory::{Entry, MemoryRows, Rows, RowsMut};
use crate::store::RowStore;
use crate::types::{Row, RowKey, StoreId, Transaction};

/// Where the rows of all trackers of a simulation are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Backend {
    Memory,
    Sqlite,
}

/// The rows of one tracker from one start to its end.
#[derive(Debug)]
pub(super) enum SimRows {
    Memory(MemoryRows),
    /// There is a store but for the moment in which it is opened again.
    Sqlite(Box<(Option<RowStore>, TempDir)>),
}

impl SimRows {
    pub(super) fn new(backend: Backend, id: StoreId) -> Self {
        match backend {
            Backend::Memory => Self::Memory(MemoryRows::default()),
            Backend::Sqlite => {
                let dir = tempfile::tempdir().unwrap();
                Self::Sqlite(Box::new((Some(RowStore::open(dir.path(), id).unwrap()), dir)))
            }
        }
    }

    /// Ends the transaction, as the driver does when what was handed out is to be durable. Now and
    /// then what waits goes to the tables, at once or meanwhile, or the store is opened again as
    /// after `kill -9`.
    pub(super) fn commit(&mut self, transactions: &[Transaction]) {
        let Self::Sqlite(store) = self else { return };
        let open = store.0.as_mut().unwrap();
        open.commit(transactions).unwrap();
        match transactions.last().map_or(0, |last| last.sequence) % 8 {
            1 | 5 => open.begin_flush(),
            3 => open.flush().unwrap(),
            6 => {
                store.0 = None;
                let id = StoreId::from_bytes(rand::random());
                store.0 = Some(RowStore::open(store.1.path(), id).unwrap());
            }
            _ => {}
        }
    }

    fn reading(&self) -> &dyn Rows {
        match self {
            Self::Memory(rows) => rows,
            Self::Sqlite(store) => store.0.as_ref().unwrap(),
        }
    }

    fn writing(&mut self) -> &mut dyn RowsMut {
        match self {
            Self::Memory(rows) => rows,
            Self::Sqlite(store) => store.0.as_mut().unwrap(),
        }
    }
}

/// The exhaustive simulations copy whole networks; their rows are in memory.
impl Clone for SimRows {
    fn clone(&self) -> Self {
        match self {
            Self::Memory(rows) => Self::Memory(rows.clone()),
            Self::Sqlite(_) => unreachable!("a database is not copied"),
        }
    }
}

impl Rows for SimRows {
    fn get(&self, key: &RowKey) -> Option<Row> {
        self.reading().get(key)
    }

    fn rows(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Vec<Row> {
        self.reading().rows(prefix, after, limit)
    }

    fn entry(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.reading().entry(key)
    }

    fn entries(
        &self,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        backwards: bool,
        limit: usize,
    ) -> Vec<Entry> {
        self.reading().entries(range, backwards, limit)
    }
}

impl RowsMut for SimRows {
    fn put(&mut self, sequence: u64, row: &Row) {
        self.writing().put(sequence, row);
    }

    fn delete(&mut self, key: &RowKey) {
        self.writing().delete(key);
    }

    fn set_entry(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.writing().set_entry(key, value);
    }
}
