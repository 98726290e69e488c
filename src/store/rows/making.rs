//! Makes the entries of the indexes where they are missing, or of another version.

use std::path::Path;

use super::super::database::StoreError;
use super::super::files::{check_free, free_bytes, len};
use super::RowStore;
use super::meta::{self, put_meta, read_meta};

/// How far the entries of the indexes are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entries {
    /// All.
    All,
    /// Those of rows up to that stored key; of none if it is empty.
    Behind(Vec<u8>),
}

/// Room for the entries of the indexes, in hundredths of the rows.
const ENTRIES_PERCENT: u64 = 150;

impl RowStore {
    /// Tells how far the entries of the indexes are there, in that version. Those of another
    /// version are deleted. [`RowStore::pause_entries`] and [`RowStore::end_entries`] follow,
    /// unless all are there.
    ///
    /// # Errors
    /// [`StoreError::Database`] if the disk is full or fails.
    pub fn begin_entries(&mut self, version: u32) -> Result<Entries, StoreError> {
        let version = version.to_be_bytes();
        if read_meta(&self.tables.path, &self.tables.connection, meta::ENTRIES)?
            .is_some_and(|found| found == version)
        {
            return Ok(Entries::All);
        }
        let begun = read_meta(&self.tables.path, &self.tables.connection, meta::ENTRIES_BEGUN)?;
        if let Some(through) = begun.as_deref().and_then(|begun| begun.strip_prefix(&version)) {
            return Ok(Entries::Behind(through.to_vec()));
        }
        self.check_room_for_entries()?;
        self.flush()?;
        self.write_now(|connection| {
            connection.execute("DELETE FROM meta WHERE key = ?1", [meta::ENTRIES])?;
            connection.execute("DELETE FROM entries", []).map(drop)
        })?;
        self.lately_entries.get_mut().clear();
        Ok(Entries::Behind(Vec::new()))
    }

    fn check_room_for_entries(&self) -> Result<(), StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM entries)";
        let found = self.tables.connection.query_row(sql, [], |columns| columns.get(0));
        // Those of another version are there: they make room.
        if found.map_err(|source| self.tables.wrap(source))? {
            return Ok(());
        }
        let directory = self.tables.path.parent().unwrap_or(Path::new("."));
        let need = len(&self.tables.path)?.saturating_mul(ENTRIES_PERCENT) / 100;
        check_free(directory, free_bytes(directory), need, "making the indexes of the directory")
    }

    /// Commits the entries that have been made so far: those of rows up to that stored key.
    ///
    /// # Errors
    /// As [`RowStore::flush`].
    pub fn pause_entries(&mut self, version: u32, through: &[u8]) -> Result<(), StoreError> {
        let begun = [&version.to_be_bytes(), through].concat();
        self.write_now(move |connection| put_meta(connection, meta::ENTRIES_BEGUN, &begun))
    }

    /// The entries are complete.
    ///
    /// # Errors
    /// As [`RowStore::flush`].
    pub fn end_entries(&mut self, version: u32) -> Result<(), StoreError> {
        self.write_now(move |connection| {
            connection.execute("DELETE FROM meta WHERE key = ?1", [meta::ENTRIES_BEGUN])?;
            put_meta(connection, meta::ENTRIES, &version.to_be_bytes())
        })
    }
}
