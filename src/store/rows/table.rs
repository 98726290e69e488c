//! Rows and entries as the directory asks for them, over any connection.

use std::cell::RefCell;
use std::ops::Bound;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::super::database::StoreError;
use super::{damaged, read_body};
use crate::directory::{Entry, end_of, stored_key};
use crate::types::{Row, RowKey};

/// Runs what may fail. The first failure is kept, and after it nothing is run.
pub(super) fn or_failure<T: Default>(kept: &RefCell<Option<StoreError>>, run: impl FnOnce() -> Result<T, StoreError>) -> T {
    if kept.borrow().is_some() {
        return T::default();
    }
    run().unwrap_or_else(|failure| {
        *kept.borrow_mut() = Some(failure);
        T::default()
    })
}

/// Reads the row with that key.
pub(super) fn get(path: &Path, connection: &Connection, key: &RowKey) -> Result<Option<Row>, StoreError> {
    let wrap = |source| StoreError::of(path, source);
    let mut statement = connection.prepare_cached("SELECT body FROM rows WHERE key = ?1").map_err(wrap)?;
    let mut found = statement.query([stored_key(key)]).map_err(wrap)?;
    let Some(columns) = found.next().map_err(wrap)? else { return Ok(None) };
    let row = read_body(path, columns)?;
    if row.content.key() == *key { Ok(Some(row)) } else { Err(damaged(path, "a row is stored in another's place")) }
}

/// Reads rows whose stored key begins with `prefix`, behind `after`, in order.
pub(super) fn rows(
    path: &Path,
    connection: &Connection,
    prefix: &[u8],
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Vec<Row>, StoreError> {
    let wrap = |source| StoreError::of(path, source);
    let from = after.map_or(Bound::Included(prefix), Bound::Excluded);
    let end = end_of(prefix);
    let (sql, from, to) = ranged("SELECT body, key FROM rows", (from, end.as_ref().map(Vec::as_slice)), false);
    let mut statement = connection.prepare_cached(&sql).map_err(wrap)?;
    let mut found = statement.query(params![from, to, limit_of(limit)]).map_err(wrap)?;
    let mut rows = Vec::new();
    while let Some(columns) = found.next().map_err(wrap)? {
        let row = read_body(path, columns)?;
        let key = columns.get_ref(1).map_err(wrap)?.as_blob();
        if key.ok() != Some(&stored_key(&row.content.key())) {
            return Err(damaged(path, "a row is stored in another's place"));
        }
        rows.push(row);
    }
    Ok(rows)
}

/// Reads the value of an entry.
pub(super) fn entry(path: &Path, connection: &Connection, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
    let wrap = |source| StoreError::of(path, source);
    let mut statement = connection.prepare_cached("SELECT value FROM entries WHERE key = ?1").map_err(wrap)?;
    statement.query_row([key], |columns| columns.get(0)).optional().map_err(wrap)
}

/// Reads entries of a range.
pub(super) fn entries(
    path: &Path,
    connection: &Connection,
    range: (Bound<&[u8]>, Bound<&[u8]>),
    backwards: bool,
    limit: usize,
) -> Result<Vec<Entry>, StoreError> {
    let wrap = |source| StoreError::of(path, source);
    let (sql, from, to) = ranged("SELECT key, value FROM entries", range, backwards);
    let mut statement = connection.prepare_cached(&sql).map_err(wrap)?;
    let read = |columns: &rusqlite::Row<'_>| Ok((columns.get(0)?, columns.get(1)?));
    let found = statement.query_map(params![from, to, limit_of(limit)], read).map_err(wrap)?;
    found.collect::<rusqlite::Result<_>>().map_err(wrap)
}

/// A statement over a range of keys, and its ends. An empty blob is before all others.
fn ranged<'a>(select: &str, range: (Bound<&'a [u8]>, Bound<&'a [u8]>), backwards: bool) -> (String, &'a [u8], Option<&'a [u8]>) {
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
    (format!("{select} WHERE key {from_sign} ?1 AND {to_condition} ORDER BY key {order} LIMIT ?3"), from, to)
}

fn limit_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
