//! The groups that a user has asked to join, as far as this device knows: so it can tell later what
//! became of that.
//!
//! **Invariant:** a user has [`ASKED_MAX`] rows at most.

use rusqlite::params;

use super::{DeviceStore, Result, parsed};
use crate::types::{GroupId, Label, UserId};

/// Requests of one user that are remembered; there is no room for more until some are answered.
const ASKED_MAX: u32 = 1000;

/// What came with answers that are told later.
pub(super) const SCHEMA: &str = "
    CREATE TABLE asked (
        user BLOB NOT NULL, grp BLOB NOT NULL, label TEXT NOT NULL, at_ms INTEGER NOT NULL,
        PRIMARY KEY (user, grp));
";

/// A request to join a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedRow {
    /// The group.
    pub group: GroupId,
    /// Its name then.
    pub label: Label,
    /// When, in milliseconds since 1970 on this machine's clock.
    pub at_ms: u64,
}

impl DeviceStore {
    /// Notes that a user has asked to join a group, and when; of several times the first stays.
    ///
    /// # Errors
    /// SQLite's.
    pub fn note_asked(
        &self,
        user: UserId,
        group: GroupId,
        label: &Label,
        at_ms: u64,
    ) -> Result<()> {
        self.execute(
            "INSERT OR IGNORE INTO asked (user, grp, label, at_ms) SELECT ?1, ?2, ?3, ?4
             WHERE (SELECT count(*) FROM asked WHERE user = ?1) < ?5",
            params![user.as_bytes(), group.as_bytes(), label.as_str(), at_ms as i64, ASKED_MAX],
        )
    }

    /// The request was answered, or withdrawn; tells whether it was noted.
    ///
    /// # Errors
    /// SQLite's.
    pub fn take_asked(&self, user: UserId, group: GroupId) -> Result<bool> {
        let sql = "DELETE FROM asked WHERE user = ?1 AND grp = ?2";
        self.write(|connection| {
            let keys = params![user.as_bytes(), group.as_bytes()];
            Ok(connection.prepare_cached(sql)?.execute(keys)? > 0)
        })
    }

    /// The groups that a user has asked to join.
    ///
    /// # Errors
    /// SQLite's.
    pub fn asked(&self, user: UserId) -> Result<Vec<AskedRow>> {
        let row = |row: &rusqlite::Row<'_>| {
            Ok(AskedRow {
                group: GroupId::from_bytes(row.get("grp")?),
                label: parsed(row, "label")?,
                at_ms: row.get::<_, i64>("at_ms")? as u64,
            })
        };
        let sql = "SELECT grp, label, at_ms FROM asked WHERE user = ?1";
        self.with(|c| c.prepare_cached(sql)?.query_map(params![user.as_bytes()], row)?.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_remembered_until_it_is_answered() {
        let dir = tempfile::tempdir().unwrap();
        let store = DeviceStore::open(dir.path()).unwrap();
        let [nik, bob] = [1, 2].map(|byte| UserId::from_bytes([byte; 16]));
        let (group, label) = (GroupId::from_bytes([3; 16]), Label::new("lab", 1));
        (5..7).for_each(|at| store.note_asked(nik, group, &label, at).unwrap());
        let row = AskedRow { group, label: label.clone(), at_ms: 5 };
        assert_eq!(store.asked(nik).unwrap(), [row]);
        assert!(store.asked(bob).unwrap().is_empty());
        assert!(store.take_asked(nik, group).unwrap() && !store.take_asked(nik, group).unwrap());
        for number in 0..ASKED_MAX + 5 {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&number.to_be_bytes());
            store.note_asked(nik, GroupId::from_bytes(bytes), &label, 7).unwrap();
        }
        assert_eq!(store.asked(nik).unwrap().len(), ASKED_MAX as usize);
    }
}
