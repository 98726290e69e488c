//! Reads a tracker's rows beside their writer, on any thread.
//!
//! **Invariant:** one call sees the rows as they were at one moment; a row that is written again
//! during the call is handed out as it was, and again by a later call that reaches its new
//! sequence.

use std::path::{Path, PathBuf};

use rusqlite::params;

use super::super::database::{StoreError, open_read_only};
use super::table::Tables;
use super::{CLASS_REQUEST, bound, copy, read_body};
use crate::directory::Directory;
use crate::types::Row;

/// The reading connection of one thread.
#[derive(Debug)]
pub struct RowReader {
    tables: Tables,
}

/// Memory for pages of the database, in KiB.
const CACHE_KIB: i64 = 24 << 10;

impl RowReader {
    pub(super) fn open(path: PathBuf) -> Result<Self, StoreError> {
        let connection = open_read_only(&path)?;
        Ok(Self { tables: Tables::new(path, connection, CACHE_KIB)? })
    }

    /// Calls `look` with the directory as it is at one moment.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if something cannot be read, [`StoreError::Database`] if the disk
    /// fails.
    pub fn look<T>(&self, look: impl FnOnce(&Directory<&Tables>) -> T) -> Result<T, StoreError> {
        let snapshot = self
            .tables
            .connection
            .unchecked_transaction()
            .map_err(|source| self.tables.wrap(source))?;
        let seen = self.search(look);
        snapshot.finish().map_err(|source| self.tables.wrap(source))?;
        seen
    }

    /// Calls `look` with the directory, each part of which may be of another moment: the
    /// write-ahead log need not be kept while `look` works, so it may take long.
    ///
    /// # Errors
    /// Those of [`RowReader::look`].
    pub fn search<T>(&self, look: impl FnOnce(&Directory<&Tables>) -> T) -> Result<T, StoreError> {
        let seen = look(&Directory::new(&self.tables));
        self.tables.take_failure().map_or(Ok(seen), Err)
    }

    /// Hands the rows with `after` < sequence <= `through` to `take`, with their sequences and in
    /// that order, until it says false.
    ///
    /// The write-ahead log grows during the call, so `take` must not wait for the network.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if one cannot be read, [`StoreError::Database`] if the disk fails.
    pub fn read_after(
        &self,
        after: u64,
        through: u64,
        mut take: impl FnMut(u64, Row) -> bool,
    ) -> Result<(), StoreError> {
        let Tables { path, connection, .. } = &self.tables;
        let wrap = |source| StoreError::of(path, source);
        let mut statement = connection.prepare_cached(READ_AFTER).map_err(wrap)?;
        let mut found = statement.query(params![bound(after), bound(through)]).map_err(wrap)?;
        while let Some(columns) = found.next().map_err(wrap)? {
            let sequence: i64 = columns.get(1).map_err(wrap)?;
            if !take(sequence as u64, read_body(path, columns)?) {
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
        let Tables { path, connection, .. } = &self.tables;
        let wrap = |source| StoreError::of(path, source);
        let mut statement = connection.prepare_cached(REQUESTS).map_err(wrap)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let range = params![CLASS_REQUEST, bound(from_ms), bound(to_ms), limit];
        let mut found = statement.query(range).map_err(wrap)?;
        while let Some(columns) = found.next().map_err(wrap)? {
            if !take(read_body(path, columns)?) {
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
        copy::copy(&self.tables.connection, &self.tables.path, to)
    }
}

pub(super) const READ_AFTER: &str =
    "SELECT body, sequence FROM rows WHERE sequence > ?1 AND sequence <= ?2 ORDER BY sequence, id";
pub(super) const REQUESTS: &str = "SELECT body FROM rows
    WHERE class > 0 AND class = ?1 AND stamp_ms >= ?2 AND stamp_ms < ?3
    ORDER BY stamp_ms, id LIMIT ?4";
