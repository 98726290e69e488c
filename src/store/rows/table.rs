//! Rows and entries in a database, for reading, as the directory asks for them.
//!
//! **Invariant:** after the first error nothing is read, until the owner takes the error.

use std::cell::RefCell;
use std::ops::Bound;
use std::path::PathBuf;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension as _, Params, params};

use super::super::database::StoreError;
use super::memtable::prefixed;
use super::{damaged, read_body};
use crate::directory::{Entry, Rows, stored_key};
use crate::types::{Row, RowKey};

/// Statements kept prepared.
const STATEMENTS_MAX: usize = 64;

/// The tables of one connection.
#[derive(Debug)]
pub struct Tables {
    pub(super) path: PathBuf,
    pub(super) connection: Connection,
    failure: RefCell<Option<StoreError>>,
}

impl Tables {
    /// Reads by a connection, which may take `cache_kib` KiB for pages.
    pub(super) fn new(
        path: PathBuf,
        connection: Connection,
        cache_kib: i64,
    ) -> Result<Self, StoreError> {
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        connection
            .pragma_update(None, "cache_size", -cache_kib)
            .map_err(|e| StoreError::of(&path, e))?;
        // SQLite would prepare a statement anew for each range of keys: it would look whether
        // another plan is better for these values.
        connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
            .map_err(|e| StoreError::of(&path, e))?;
        Ok(Self { path, connection, failure: RefCell::default() })
    }

    /// Tells whether something has failed.
    pub(super) fn has_failed(&self) -> bool {
        self.failure.borrow().is_some()
    }

    /// Notes an error, unless there has been one before.
    pub(super) fn fail(&self, error: StoreError) {
        self.failure.borrow_mut().get_or_insert(error);
    }

    /// Takes the first error. Reading goes on after that.
    pub(super) fn take_failure(&self) -> Option<StoreError> {
        self.failure.take()
    }

    /// Makes an error of SQLite's one of the store.
    pub(super) fn wrap(&self, source: rusqlite::Error) -> StoreError {
        StoreError::of(&self.path, source)
    }

    /// Reads unless something has failed; notes the error.
    fn read<T: Default>(&self, read: impl FnOnce() -> Result<T, StoreError>) -> T {
        if self.has_failed() {
            return T::default();
        }
        read().unwrap_or_else(|error| {
            self.fail(error);
            T::default()
        })
    }

    /// Returns the first `limit` rows in a range of stored keys, with these.
    pub(super) fn keyed_rows(
        &self,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        limit: usize,
    ) -> Vec<(Vec<u8>, Row)> {
        let (sql, from, to) = ranged("SELECT body, key FROM rows", range, false);
        self.read(|| self.read_rows(&sql, params![from, to, limit_of(limit)]))
    }

    /// Runs a statement whose first two columns are a row's body and its stored key.
    fn read_rows(&self, sql: &str, values: impl Params) -> Result<Vec<(Vec<u8>, Row)>, StoreError> {
        let wrap = |source| self.wrap(source);
        let mut statement = self.connection.prepare_cached(sql).map_err(wrap)?;
        let mut found = statement.query(values).map_err(wrap)?;
        let mut rows = Vec::new();
        while let Some(columns) = found.next().map_err(wrap)? {
            let row = read_body(&self.path, columns)?;
            let (stored, key) = (columns.get_ref(1).map_err(wrap)?, stored_key(&row.content.key()));
            if stored.as_blob().ok() != Some(&key) {
                return Err(damaged(&self.path, "a row is stored in another's place"));
            }
            rows.push((key, row));
        }
        Ok(rows)
    }
}

impl Rows for Tables {
    fn get(&self, key: &RowKey) -> Option<Row> {
        let sql = "SELECT body, key FROM rows WHERE key = ?1";
        self.read(|| self.read_rows(sql, [stored_key(key)])).pop().map(|(_, row)| row)
    }

    fn rows(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Vec<Row> {
        let (from, to) = prefixed(prefix, after);
        let range = (from.as_ref().map(Vec::as_slice), to.as_ref().map(Vec::as_slice));
        self.keyed_rows(range, limit).into_iter().map(|(_, row)| row).collect()
    }

    fn entry(&self, key: &[u8]) -> Option<Vec<u8>> {
        let look_up = || {
            let mut statement =
                self.connection.prepare_cached("SELECT value FROM entries WHERE key = ?1")?;
            statement.query_row([key], |columns| columns.get(0)).optional()
        };
        self.read(|| look_up().map_err(|source| self.wrap(source)))
    }

    fn entries(
        &self,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        backwards: bool,
        limit: usize,
    ) -> Vec<Entry> {
        let (sql, from, to) = ranged("SELECT key, value FROM entries", range, backwards);
        let look_up = || {
            let mut statement = self.connection.prepare_cached(&sql)?;
            let read = |columns: &rusqlite::Row<'_>| Ok((columns.get(0)?, columns.get(1)?));
            statement
                .query_map(params![from, to, limit_of(limit)], read)?
                .collect::<rusqlite::Result<_>>()
        };
        self.read(|| look_up().map_err(|source| self.wrap(source)))
    }
}

/// A statement over a range of keys, and its ends. An empty blob is before all others.
fn ranged<'a>(
    select: &str,
    range: (Bound<&'a [u8]>, Bound<&'a [u8]>),
    backwards: bool,
) -> (String, &'a [u8], Option<&'a [u8]>) {
    let (from_sign, from) = match range.0 {
        Bound::Included(from) => (">=", from),
        Bound::Excluded(from) => (">", from),
        Bound::Unbounded => (">=", &[][..]),
    };
    let (to_condition, to) = match range.1 {
        Bound::Included(to) => ("key <= ?2", Some(to)),
        Bound::Excluded(to) => ("key < ?2", Some(to)),
        Bound::Unbounded => ("?2 IS NULL", None),
    };
    let order = if backwards { "DESC" } else { "ASC" };
    (
        format!(
            "{select} WHERE key {from_sign} ?1 AND {to_condition} ORDER BY key {order} LIMIT ?3"
        ),
        from,
        to,
    )
}

fn limit_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
