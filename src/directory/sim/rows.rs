//! The rows of a simulated tracker: in maps, or in a database as the program has them.

use std::ops::Bound;

use tempfile::TempDir;

use crate::directory::{Entry, MemoryRows, Rows, RowsMut};
use crate::store::RowStore;
#[cfg(feature = "postgres")]
use crate::store::{Committed, EngineAddress, SqlStore, cluster::Cluster};
use crate::types::{Row, RowKey, StoreId, Transaction};

/// Where the rows of all trackers of a simulation are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Backend {
    Memory,
    Sqlite,
    #[cfg(feature = "postgres")]
    Postgres,
}

/// The rows of one tracker from one start to its end.
#[derive(Debug)]
pub(super) enum SimRows {
    Memory(MemoryRows),
    /// There is a store but for the moment in which it is opened again.
    Sqlite(Box<(Option<RowStore>, TempDir)>),
    /// In a transaction always; with the URL.
    #[cfg(feature = "postgres")]
    Postgres(Box<(SqlStore, String)>),
}

#[cfg(feature = "postgres")]
thread_local! {
    /// One cluster for all simulations of a test, which has a thread of its own; each tracker has a
    /// place there.
    static CLUSTER: (Cluster, std::cell::Cell<u32>) = (Cluster::start(), Default::default());
}

#[cfg(feature = "postgres")]
fn open_postgres(url: &str, id: StoreId) -> SqlStore {
    let mut store = SqlStore::open(EngineAddress::parse(url).unwrap(), id, 1).unwrap();
    store.begin().unwrap();
    store
}

impl SimRows {
    pub(super) fn new(backend: Backend, id: StoreId) -> Self {
        match backend {
            Backend::Memory => Self::Memory(MemoryRows::default()),
            Backend::Sqlite => {
                let dir = tempfile::tempdir().unwrap();
                Self::Sqlite(Box::new((Some(RowStore::open(dir.path(), id).unwrap()), dir)))
            }
            #[cfg(feature = "postgres")]
            Backend::Postgres => {
                let url = CLUSTER.with(|(cluster, count)| {
                    count.set(count.get() + 1);
                    cluster.url_of(&format!("tracker_{}", count.get()))
                });
                Self::Postgres(Box::new((open_postgres(&url, id), url)))
            }
        }
    }

    /// Ends the transaction, as the driver does when what was handed out is to be durable. Now and
    /// then what waits goes to the tables, at once or meanwhile, or the store is opened again as
    /// after `kill -9`.
    pub(super) fn commit(&mut self, transactions: &[Transaction]) {
        #[cfg(feature = "postgres")]
        if let Self::Postgres(store) = self {
            assert_eq!(store.0.commit(transactions).unwrap(), Committed::Stored);
            if transactions.last().is_some_and(|last| last.sequence % 8 == 6) {
                store.0 = open_postgres(&store.1, StoreId::from_bytes(rand::random()));
            } else {
                store.0.begin().unwrap();
            }
        }
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
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => &store.0,
        }
    }

    fn writing(&mut self) -> &mut dyn RowsMut {
        match self {
            Self::Memory(rows) => rows,
            Self::Sqlite(store) => store.0.as_mut().unwrap(),
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => &mut store.0,
        }
    }
}

/// The exhaustive simulations copy whole networks; their rows are in memory.
impl Clone for SimRows {
    fn clone(&self) -> Self {
        match self {
            Self::Memory(rows) => Self::Memory(rows.clone()),
            _ => unreachable!("a database is not copied"),
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
