//! Reads a tracker's rows beside their writer, on any thread.
//!
//! **Invariant:** one call sees the rows as they were at one moment; a row that is written again
//! during the call is handed out as it was, and again by a later call that reaches its new
//! sequence.

use std::cell::RefCell;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, params};

use super::super::database::{StoreError, open_read_only};
use super::{CLASS_REQUEST, STATEMENTS_MAX, bound, copy, read_body, table};
use crate::directory::{Directory, Entry, Rows};
use crate::types::{Row, RowKey};

/// The reading connection of one thread.
#[derive(Debug)]
pub struct RowReader {
    path: PathBuf,
    connection: Connection,
    failure: RefCell<Option<StoreError>>,
}

/// Memory for pages of the database, in KiB.
const CACHE_KIB: i64 = 24 << 10;

impl RowReader {
    pub(super) fn open(path: PathBuf) -> Result<Self, StoreError> {
        let connection = open_read_only(&path)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        connection.pragma_update(None, "cache_size", -CACHE_KIB).map_err(|e| StoreError::of(&path, e))?;
        Ok(Self { path, connection, failure: RefCell::default() })
    }

    /// Has a directory looked at as it is at one moment.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if something cannot be read, [`StoreError::Database`] if the disk fails.
    pub fn look<T>(self, look: impl FnOnce(&Directory<Self>) -> T) -> Result<(Self, T), StoreError> {
        let begun = self.connection.execute_batch("BEGIN");
        begun.map_err(|source| StoreError::of(&self.path, source))?;
        let (reader, seen) = self.search(look)?;
        let ended = reader.connection.execute_batch("COMMIT");
        ended.map_err(|source| StoreError::of(&reader.path, source))?;
        Ok((reader, seen))
    }

    /// Has a directory looked at for longer than its writer is to wait: each part of it may be of another
    /// moment.
    ///
    /// # Errors
    /// Those of [`RowReader::look`].
    pub fn search<T>(self, look: impl FnOnce(&Directory<Self>) -> T) -> Result<(Self, T), StoreError> {
        let directory = Directory::new(self);
        let seen = look(&directory);
        let mut reader = directory.into_rows();
        match reader.failure.get_mut().take() {
            None => Ok((reader, seen)),
            Some(failure) => Err(failure),
        }
    }

    /// Hands the rows with `after` < sequence <= `through` to `take`, with their sequences and in
    /// that order, until it says false.
    ///
    /// The write-ahead log grows during the call, so `take` must not wait for the network.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if one cannot be read, [`StoreError::Database`] if the disk fails.
    pub fn read_after(&self, after: u64, through: u64, mut take: impl FnMut(u64, Row) -> bool) -> Result<(), StoreError> {
        let wrap = |source| StoreError::of(&self.path, source);
        let mut statement = self.connection.prepare_cached(READ_AFTER).map_err(wrap)?;
        let mut found = statement.query(params![bound(after), bound(through)]).map_err(wrap)?;
        while let Some(columns) = found.next().map_err(wrap)? {
            let sequence: i64 = columns.get(1).map_err(wrap)?;
            if !take(sequence as u64, read_body(&self.path, columns)?) {
                break;
            }
        }
        Ok(())
    }

    /// Hands at most `limit` requests with `from_ms` <= stamp < `to_ms` to `take`, in the order of
    /// their milliseconds, until it says false.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if one cannot be read, [`StoreError::Database`] if the disk fails.
    pub fn requests_between(
        &self,
        from_ms: u64,
        to_ms: u64,
        limit: usize,
        mut take: impl FnMut(Row) -> bool,
    ) -> Result<(), StoreError> {
        let wrap = |source| StoreError::of(&self.path, source);
        let mut statement = self.connection.prepare_cached(REQUESTS).map_err(wrap)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let range = params![CLASS_REQUEST, bound(from_ms), bound(to_ms), limit];
        let mut found = statement.query(range).map_err(wrap)?;
        while let Some(columns) = found.next().map_err(wrap)? {
            if !take(read_body(&self.path, columns)?) {
                break;
            }
        }
        Ok(())
    }

    /// Copies the store as it is at one moment to the file `to`, which only its owner may read,
    /// while the tracker goes on. The file appears once it is complete and on the disk.
    ///
    /// # Errors
    /// [`StoreError::Io`] if there is such a file or it cannot be made, [`StoreError::Database`] if
    /// the disk is full or fails.
    pub fn backup(&self, to: &Path) -> Result<(), StoreError> {
        copy::copy(&self.connection, &self.path, to)
    }
}

impl Rows for RowReader {
    fn get(&self, key: &RowKey) -> Option<Row> {
        table::or_failure(&self.failure, || table::get(&self.path, &self.connection, key))
    }

    fn rows(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Vec<Row> {
        table::or_failure(&self.failure, || table::rows(&self.path, &self.connection, prefix, after, limit))
    }

    fn entry(&self, key: &[u8]) -> Option<Vec<u8>> {
        table::or_failure(&self.failure, || table::entry(&self.path, &self.connection, key))
    }

    fn entries(&self, range: (Bound<&[u8]>, Bound<&[u8]>), backwards: bool, limit: usize) -> Vec<Entry> {
        table::or_failure(&self.failure, || table::entries(&self.path, &self.connection, range, backwards, limit))
    }
}

pub(super) const READ_AFTER: &str =
    "SELECT body, sequence FROM rows WHERE sequence > ?1 AND sequence <= ?2 ORDER BY sequence, id";
pub(super) const REQUESTS: &str = "SELECT body FROM rows
    WHERE class > 0 AND class = ?1 AND stamp_ms >= ?2 AND stamp_ms < ?3
    ORDER BY stamp_ms, id LIMIT ?4";
