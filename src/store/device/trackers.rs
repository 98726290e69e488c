//! What is kept of the trackers: those that others told of, which key takes the place of the
//! network's, and the time of this device's last request.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{DeviceStore, Result};
use crate::types::{Fingerprint, PublicKey, Stamp};

/// What came with trackers that are added while the network runs.
pub(super) const SCHEMA: &str = "
    CREATE TABLE tracker (network BLOB NOT NULL, place INTEGER NOT NULL, address TEXT NOT NULL, PRIMARY KEY (network, place)) WITHOUT ROWID;
    CREATE TABLE request (only INTEGER PRIMARY KEY CHECK (only = 1), stamp INTEGER NOT NULL);
";

/// What came with the replacement of a network's key. A key has one successor; a row is added when
/// the key that is trusted has signed it, so there are as many as the operator has replaced keys.
pub(super) const SCHEMA_KEYS: &str = "
    CREATE TABLE successor (old BLOB PRIMARY KEY, new BLOB NOT NULL, ended INTEGER NOT NULL) WITHOUT ROWID;
";

/// The key that takes, or has taken, the place of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SuccessorRow {
    /// The key before.
    pub old: Fingerprint,
    /// The key after.
    pub new: PublicKey,
    /// The one before counts no more.
    pub has_ended: bool,
}

/// What a store says of its network; a table that is not there says nothing.
pub(super) fn look(
    connection: &Connection,
) -> (Option<Fingerprint>, Vec<SuccessorRow>, Vec<String>) {
    let network = connection
        .query_row("SELECT fingerprint FROM network", [], |row| row.get(0))
        .map(Fingerprint::from_bytes)
        .ok();
    let successors = successors_in(connection).unwrap_or_default();
    let told = "SELECT address FROM tracker ORDER BY place";
    let trackers = connection.prepare(told).and_then(|mut statement| {
        statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()
    });
    (network, successors, trackers.unwrap_or_default())
}

fn successors_in(connection: &Connection) -> rusqlite::Result<Vec<SuccessorRow>> {
    let row = |row: &rusqlite::Row<'_>| {
        let (old, new) = (Fingerprint::from_bytes(row.get(0)?), PublicKey::from_bytes(row.get(1)?));
        Ok(SuccessorRow { old, new, has_ended: row.get(2)? })
    };
    let sql = "SELECT old, new, ended FROM successor";
    connection.prepare_cached(sql)?.query_map([], row)?.collect()
}

impl DeviceStore {
    /// The keys that took the place of others, or are to do so.
    ///
    /// # Errors
    /// SQLite's.
    pub fn successors(&self) -> Result<Vec<SuccessorRow>> {
        self.with(successors_in)
    }

    /// Keeps which key takes another's place. If the other counts no more, the network and its
    /// trackers are those of the new one from now on.
    ///
    /// # Errors
    /// SQLite's.
    pub fn set_successor(&self, successor: &SuccessorRow) -> Result<()> {
        let SuccessorRow { old, new, has_ended } = successor;
        self.write(|connection| {
            let sql = "INSERT OR REPLACE INTO successor (old, new, ended) VALUES (?1, ?2, ?3)";
            connection.execute(sql, params![old.as_bytes(), new.as_bytes(), has_ended])?;
            if *has_ended {
                let after = new.fingerprint();
                // A key that has come back has no successor.
                connection.execute(
                    "DELETE FROM successor WHERE old = ?1 AND ended",
                    [after.as_bytes()],
                )?;
                let both = params![after.as_bytes(), old.as_bytes()];
                connection
                    .execute("UPDATE network SET fingerprint = ?1 WHERE fingerprint = ?2", both)?;
                connection.execute(
                    "UPDATE OR REPLACE tracker SET network = ?1 WHERE network = ?2",
                    both,
                )?;
            }
            Ok(())
        })
    }

    /// No key takes this one's place any more.
    ///
    /// # Errors
    /// SQLite's.
    pub fn remove_successor(&self, old: Fingerprint) -> Result<()> {
        self.write(|c| {
            c.execute("DELETE FROM successor WHERE old = ?1", [old.as_bytes()]).map(drop)
        })
    }

    /// The addresses of the network's trackers, as trackers told them last.
    ///
    /// # Errors
    /// SQLite's.
    pub fn trackers(&self, network: Fingerprint) -> Result<Vec<String>> {
        let sql = "SELECT address FROM tracker WHERE network = ?1 ORDER BY place";
        self.with(|c| {
            c.prepare_cached(sql)?.query_map([network.as_bytes()], |row| row.get(0))?.collect()
        })
    }

    /// The time of the last request.
    ///
    /// # Errors
    /// SQLite's.
    pub fn last_request(&self) -> Result<Option<Stamp>> {
        let stamp = self.with(|c| {
            c.query_row("SELECT stamp FROM request", [], |row| row.get::<_, i64>(0)).optional()
        })?;
        Ok(stamp.map(|stamp| Stamp::from_u64(stamp as u64)))
    }
}

/// Keeps the addresses of the network's trackers, and those of no other network.
pub(super) fn set_trackers(
    connection: &Connection,
    network: Fingerprint,
    addresses: &[String],
) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM tracker", [])?;
    let mut insert = connection.prepare_cached("INSERT INTO tracker VALUES (?1, ?2, ?3)")?;
    for (place, address) in (0_i64..).zip(addresses) {
        insert.execute(params![network.as_bytes(), place, address])?;
    }
    Ok(())
}

/// Keeps the time of the last request.
pub(super) fn set_last_request(connection: &Connection, stamp: Stamp) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO request (only, stamp) VALUES (1, ?1)";
    super::execute(connection, sql, params![stamp.as_u64() as i64])
}

#[cfg(test)]
mod tests {
    use super::super::Write;
    use super::*;

    #[test]
    fn what_is_known_of_trackers_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let [one, other] = [1, 2].map(|byte| Fingerprint::from_bytes([byte; 32]));
        let stamp = Stamp::from_u64(u64::MAX - 1);
        {
            let store = DeviceStore::open(dir.path()).unwrap();
            assert!(
                store.trackers(one).unwrap().is_empty() && store.last_request().unwrap().is_none()
            );
            let addresses = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
            let first = Write::Trackers(one, addresses(&["a:1", "b:2"]));
            let then = Write::Trackers(one, addresses(&["c:3", "a:1"]));
            store.apply(&[first, then, Write::LastRequest(stamp)]).unwrap();
        }
        let store = DeviceStore::open(dir.path()).unwrap();
        assert_eq!(store.trackers(one).unwrap(), ["c:3", "a:1"]);
        assert_eq!(store.last_request().unwrap(), Some(stamp));
        assert!(store.trackers(other).unwrap().is_empty());
    }

    #[test]
    fn the_key_that_takes_another_ones_place_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let new = PublicKey::from_bytes([2; 32]);
        let (old, after) = (Fingerprint::from_bytes([1; 32]), new.fingerprint());
        let begun = SuccessorRow { old, new, has_ended: false };
        {
            let store = DeviceStore::open(dir.path()).unwrap();
            store.set_network(old).unwrap();
            store.apply(&[Write::Trackers(old, vec!["a:1".into()])]).unwrap();
            store.set_successor(&begun).unwrap();
            assert_eq!(store.network().unwrap(), Some(old));
        }
        let store = DeviceStore::open(dir.path()).unwrap();
        assert_eq!(store.successors().unwrap(), [begun]);
        store.set_successor(&SuccessorRow { has_ended: true, ..begun }).unwrap();
        assert_eq!(
            (store.network().unwrap(), store.trackers(after).unwrap()),
            (Some(after), vec!["a:1".to_owned()])
        );
        let back =
            SuccessorRow { old: after, new: PublicKey::from_bytes([3; 32]), has_ended: true };
        store.set_successor(&back).unwrap();
        let again = SuccessorRow { old: back.new.fingerprint(), new, has_ended: true };
        store.set_successor(&again).unwrap();
        assert_eq!(store.network().unwrap(), Some(after));
        assert!(
            !store.successors().unwrap().contains(&back),
            "no key follows itself round a circle"
        );
        [old, again.old].iter().for_each(|old| store.remove_successor(*old).unwrap());
        assert!(store.successors().unwrap().is_empty());
    }
}
