//! As which user this device stays logged in.

use rusqlite::{OptionalExtension as _, params};

use super::{DeviceStore, Result, parsed};
use crate::types::{Label, Stamp, UserId};

/// What came with devices that log in by their key. A device stays as one user at most.
pub(super) const SCHEMA: &str = "
    CREATE TABLE staying (
        only INTEGER PRIMARY KEY CHECK (only = 1),
        user BLOB NOT NULL, label TEXT NOT NULL, since INTEGER NOT NULL);
";

/// The user as whom this device logs in by its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StayingRow {
    /// The user.
    pub user: UserId,
    /// The user's name when last seen.
    pub label: Label,
    /// The stamp of the request by which the user said so.
    pub since: Stamp,
}

impl DeviceStore {
    /// The user as whom this device stays logged in.
    ///
    /// # Errors
    /// SQLite's.
    pub fn staying(&self) -> Result<Option<StayingRow>> {
        let row = |row: &rusqlite::Row<'_>| {
            Ok(StayingRow {
                user: UserId::from_bytes(row.get("user")?),
                label: parsed(row, "label")?,
                since: Stamp::from_u64(row.get::<_, i64>("since")? as u64),
            })
        };
        self.with(|c| c.query_row("SELECT user, label, since FROM staying", [], row).optional())
    }

    /// Keeps as whom this device stays logged in, instead of anybody before.
    ///
    /// # Errors
    /// SQLite's.
    pub fn set_staying(&self, row: Option<&StayingRow>) -> Result<()> {
        let Some(StayingRow { user, label, since }) = row else {
            return self.execute("DELETE FROM staying", []);
        };
        self.execute(
            "INSERT OR REPLACE INTO staying (only, user, label, since) VALUES (1, ?1, ?2, ?3)",
            params![user.as_bytes(), label.as_str(), since.as_u64() as i64],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_stays_as_one_user_until_that_ends() {
        let dir = tempfile::tempdir().unwrap();
        let row = |number: u8| StayingRow {
            user: UserId::from_bytes([number; 16]),
            label: "nik~2".parse().unwrap(),
            since: Stamp::from_u64(u64::MAX - 1),
        };
        {
            let store = DeviceStore::open(dir.path()).unwrap();
            assert_eq!(store.staying().unwrap(), None);
            store.set_staying(Some(&row(1))).unwrap();
            store.set_staying(Some(&row(2))).unwrap();
        }
        let store = DeviceStore::open(dir.path()).unwrap();
        assert_eq!(store.staying().unwrap(), Some(row(2)));
        store.set_staying(None).unwrap();
        assert_eq!(store.staying().unwrap(), None);
    }
}
