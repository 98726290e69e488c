//! The chaining values of shared and downloaded files.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{DeviceStore, Result, execute};
use crate::types::{ChainingValues, FileFacts, InfoHash};

/// What came with chaining values. A journal of before vouches for no piece by them, also where the
/// facts name them: what is there is hashed again.
pub(super) const SCHEMA: &str = "
    CREATE TABLE chain (
        info_hash BLOB NOT NULL, hash BLOB NOT NULL, bytes BLOB NOT NULL,
        PRIMARY KEY (info_hash, hash)) WITHOUT ROWID;
    UPDATE download SET verified = zeroblob(length(verified))
        WHERE chain IS NOT NULL AND verified IS NOT NULL AND state <> 3;
";

impl DeviceStore {
    /// Keeps the chaining values of a content.
    ///
    /// # Errors
    /// SQLite's.
    pub fn put_chain(&self, info_hash: InfoHash, values: &ChainingValues) -> Result<()> {
        self.write(|connection| put(connection, info_hash, values))
    }

    /// The chaining values that the facts name, if they were kept and are whole.
    ///
    /// # Errors
    /// SQLite's.
    pub fn chain_of(&self, facts: &FileFacts) -> Result<Option<Arc<ChainingValues>>> {
        let Some(hash) = &facts.chain else { return Ok(None) };
        let sql = "SELECT bytes FROM chain WHERE info_hash = ?1 AND hash = ?2";
        let key = params![facts.info_hash.as_bytes(), hash.as_bytes()];
        let bytes: Option<Vec<u8>> =
            self.with(|c| c.prepare_cached(sql)?.query_row(key, |row| row.get(0)).optional())?;
        let values = bytes.and_then(|bytes| ChainingValues::from_bytes(&bytes));
        Ok(values.filter(|values| values.hash() == *hash).map(Arc::new))
    }
}

/// Keeps the chaining values of a content; of a file of one piece there are none.
pub(super) fn put(
    connection: &Connection,
    info_hash: InfoHash,
    values: &ChainingValues,
) -> rusqlite::Result<()> {
    if values.values().is_empty() {
        return Ok(());
    }
    execute(
        connection,
        "INSERT OR IGNORE INTO chain VALUES (?1, ?2, ?3)",
        params![info_hash.as_bytes(), values.hash().as_bytes(), values.as_bytes()],
    )
}
