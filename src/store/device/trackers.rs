//! What is kept of the trackers: those that others told of, and the time of this device's last request.

use rusqlite::{OptionalExtension as _, params};

use super::{DeviceStore, Result};
use crate::types::{Fingerprint, Stamp};

/// What came with trackers that are added while the network runs.
pub(super) const SCHEMA: &str = "
    CREATE TABLE tracker (network BLOB NOT NULL, place INTEGER NOT NULL, address TEXT NOT NULL, PRIMARY KEY (network, place)) WITHOUT ROWID;
    CREATE TABLE request (only INTEGER PRIMARY KEY CHECK (only = 1), stamp INTEGER NOT NULL);
";

impl DeviceStore {
    /// The addresses of the network's trackers, as trackers told them last.
    ///
    /// # Errors
    /// SQLite's.
    pub fn trackers(&self, network: Fingerprint) -> Result<Vec<String>> {
        let sql = "SELECT address FROM tracker WHERE network = ?1 ORDER BY place";
        self.with(|c| c.prepare_cached(sql)?.query_map([network.as_bytes()], |row| row.get(0))?.collect())
    }

    /// Keeps the addresses of the network's trackers, and those of no other network.
    ///
    /// # Errors
    /// SQLite's.
    pub fn set_trackers(&self, network: Fingerprint, addresses: &[String]) -> Result<()> {
        self.write(|connection| {
            connection.execute("DELETE FROM tracker", [])?;
            let mut insert = connection.prepare_cached("INSERT INTO tracker VALUES (?1, ?2, ?3)")?;
            for (place, address) in (0_i64..).zip(addresses) {
                insert.execute(params![network.as_bytes(), place, address])?;
            }
            Ok(())
        })
    }

    /// The time of the last request.
    ///
    /// # Errors
    /// SQLite's.
    pub fn last_request(&self) -> Result<Option<Stamp>> {
        let stamp = self.with(|c| c.query_row("SELECT stamp FROM request", [], |row| row.get::<_, i64>(0)).optional())?;
        Ok(stamp.map(|stamp| Stamp::from_u64(stamp as u64)))
    }

    /// Keeps the time of the last request; durable with the next write or [`DeviceStore::flush`].
    ///
    /// # Errors
    /// SQLite's.
    pub fn set_last_request_soon(&self, stamp: Stamp) -> Result<()> {
        let sql = "INSERT OR REPLACE INTO request (only, stamp) VALUES (1, ?1)";
        self.write_soon(|connection| super::execute(connection, sql, params![stamp.as_u64() as i64]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_trackers_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let [one, other] = [1, 2].map(|byte| Fingerprint::from_bytes([byte; 32]));
        let stamp = Stamp::from_u64(u64::MAX - 1);
        {
            let store = DeviceStore::open(dir.path()).unwrap();
            assert!(store.trackers(one).unwrap().is_empty() && store.last_request().unwrap().is_none());
            store.set_trackers(one, &["a:1".into(), "b:2".into()]).unwrap();
            store.set_trackers(one, &["c:3".into(), "a:1".into()]).unwrap();
            store.set_last_request_soon(stamp).unwrap();
            store.flush().unwrap();
        }
        let store = DeviceStore::open(dir.path()).unwrap();
        assert_eq!(store.trackers(one).unwrap(), ["c:3", "a:1"]);
        assert_eq!(store.last_request().unwrap(), Some(stamp));
        assert!(store.trackers(other).unwrap().is_empty());
    }
}
