//! What is kept of the order and the limits of downloads: only where they are not what they would
//! be anyway.

use rusqlite::{Connection, params};

use super::{DeviceStore, Result, execute};
use crate::types::{InfoHash, Rate, UserId};

/// What came with limits and the queue of downloads. Those of before stand in the order in which
/// they were asked for.
pub(super) const SCHEMA: &str = "
    CREATE TABLE queued (
        user BLOB NOT NULL, info_hash BLOB NOT NULL, place INTEGER, rate INTEGER,
        PRIMARY KEY (user, info_hash)) WITHOUT ROWID;
    CREATE TRIGGER download_removed AFTER DELETE ON download BEGIN
        DELETE FROM queued WHERE user = OLD.user AND info_hash = OLD.info_hash;
    END;
";

/// A download that was moved in the queue, or has a limit of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueuedRow {
    /// The content.
    pub info_hash: InfoHash,
    /// Its place, if it is not when it was asked for, in milliseconds since 1970: the least is
    /// first.
    pub place: Option<i64>,
    /// Its own limit.
    pub limit: Option<Rate>,
}

impl DeviceStore {
    /// What is kept of the user's downloads.
    ///
    /// # Errors
    /// SQLite's.
    pub fn queued(&self, user: UserId) -> Result<Vec<QueuedRow>> {
        let sql = "SELECT info_hash, place, rate FROM queued WHERE user = ?1 ORDER BY info_hash";
        let row = |row: &rusqlite::Row<'_>| {
            let rate: Option<i64> = row.get("rate")?;
            // A rate that cannot be one limits nothing.
            let limit = rate.and_then(|rate| Rate::new(u64::try_from(rate).ok()?).ok());
            Ok(QueuedRow {
                info_hash: InfoHash::from_bytes(row.get("info_hash")?),
                place: row.get("place")?,
                limit,
            })
        };
        self.with(|c| c.prepare_cached(sql)?.query_map([user.as_bytes()], row)?.collect())
    }
}

/// Keeps a download's place and limit; with neither, nothing is kept.
pub(super) fn put(connection: &Connection, user: UserId, row: &QueuedRow) -> rusqlite::Result<()> {
    let QueuedRow { info_hash, place, limit } = row;
    if place.is_none() && limit.is_none() {
        let sql = "DELETE FROM queued WHERE user = ?1 AND info_hash = ?2";
        return execute(connection, sql, params![user.as_bytes(), info_hash.as_bytes()]);
    }
    let rate = limit.map(|limit| i64::try_from(limit.get()).unwrap_or(i64::MAX));
    let sql = "INSERT OR REPLACE INTO queued VALUES (?1, ?2, ?3, ?4)";
    execute(connection, sql, params![user.as_bytes(), info_hash.as_bytes(), place, rate])
}
