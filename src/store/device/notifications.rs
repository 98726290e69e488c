//! What happened while nobody looked, as it is kept.
//!
//! **Invariant:** a user has [`KEPT_MAX`] rows at most: with each new one the oldest beyond them go.

use std::time::Duration;

use rusqlite::params;

use super::{DeviceStore, Result, execute};
use crate::types::UserId;

/// Rows kept of one user: some 200 KiB.
const KEPT_MAX: u32 = 1000;

/// What came with notifications.
pub(super) const SCHEMA: &str = "
    CREATE TABLE notification (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        user BLOB NOT NULL, at_ms INTEGER NOT NULL, kind INTEGER NOT NULL,
        grp TEXT NOT NULL, about TEXT NOT NULL, detail TEXT NOT NULL, seen INTEGER NOT NULL);
    CREATE INDEX notification_user ON notification (user, number);
";

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotificationRow {
    /// When, in milliseconds since 1970 on this machine's clock.
    pub at_ms: u64,
    /// What: a number that its reader knows.
    pub kind: i64,
    /// The group's name then; empty if it is about none.
    pub group: String,
    /// The user or file that it is about; empty if it is about none.
    pub about: String,
    /// A path or a reason.
    pub detail: String,
    /// It has been shown.
    pub is_seen: bool,
}

impl DeviceStore {
    /// Keeps events of a user, in one transaction.
    ///
    /// # Errors
    /// SQLite's; then none is kept.
    pub fn add_notifications(&self, user: UserId, rows: &[NotificationRow]) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        self.write(|connection| {
            rows.iter().try_for_each(|row| insert(connection, user, row))?;
            drop_oldest(connection, user)
        })
    }

    /// Keeps what happened to a user, unless it is kept with a time that differs by no more than
    /// that; tells whether it was not.
    ///
    /// # Errors
    /// SQLite's.
    pub fn add_notification_once(
        &self,
        user: UserId,
        row: &NotificationRow,
        within: Duration,
    ) -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM notification WHERE user = ?1 AND kind = ?2
            AND grp = ?3 AND about = ?4 AND abs(at_ms - ?5) <= ?6)";
        self.write(|connection| {
            let NotificationRow { at_ms, kind, group, about, .. } = row;
            let (at_ms, within_ms) = (*at_ms as i64, within.as_millis() as i64);
            let like = params![user.as_bytes(), kind, group, about, at_ms, within_ms];
            let is_kept: bool = connection.prepare_cached(sql)?.query_row(like, |r| r.get(0))?;
            if !is_kept {
                insert(connection, user, row)?;
                drop_oldest(connection, user)?;
            }
            Ok(!is_kept)
        })
    }

    /// What happened to a user, the oldest first: all that is kept, or what has not been shown.
    ///
    /// # Errors
    /// SQLite's.
    pub fn notifications(&self, user: UserId, all: bool) -> Result<Vec<NotificationRow>> {
        let sql = "SELECT * FROM notification WHERE user = ?1 AND (?2 OR NOT seen) ORDER BY number";
        let row = |row: &rusqlite::Row<'_>| {
            Ok(NotificationRow {
                at_ms: row.get::<_, i64>("at_ms")? as u64,
                kind: row.get("kind")?,
                group: row.get("grp")?,
                about: row.get("about")?,
                detail: row.get("detail")?,
                is_seen: row.get("seen")?,
            })
        };
        self.with(|c| {
            c.prepare_cached(sql)?.query_map(params![user.as_bytes(), all], row)?.collect()
        })
    }

    /// All that is kept of a user has been shown.
    ///
    /// # Errors
    /// SQLite's.
    pub fn notifications_seen(&self, user: UserId) -> Result<()> {
        self.execute(
            "UPDATE notification SET seen = 1 WHERE user = ?1 AND NOT seen",
            params![user.as_bytes()],
        )
    }
}

fn insert(
    connection: &rusqlite::Connection,
    user: UserId,
    row: &NotificationRow,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO notification (user, at_ms, kind, grp, about, detail, seen)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let NotificationRow { at_ms, kind, group, about, detail, is_seen } = row;
    connection.prepare_cached(sql)?.execute(params![
        user.as_bytes(),
        *at_ms as i64,
        kind,
        group,
        about,
        detail,
        is_seen
    ])?;
    Ok(())
}

/// Deletes the user's rows beyond [`KEPT_MAX`].
fn drop_oldest(connection: &rusqlite::Connection, user: UserId) -> rusqlite::Result<()> {
    // The number is a part of the text: SQLite prepares a statement with a bound OFFSET again each
    // time.
    let sql = format!(
        "DELETE FROM notification WHERE user = ?1 AND number <= (
            SELECT number FROM notification WHERE user = ?1
            ORDER BY number DESC LIMIT 1 OFFSET {KEPT_MAX})"
    );
    execute(connection, &sql, [user.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_of_each_user_are_kept_and_shown_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = DeviceStore::open(dir.path()).unwrap();
        let [nik, bob] = [1, 2].map(|byte| UserId::from_bytes([byte; 16]));
        let row = |at_ms: u64| NotificationRow {
            at_ms,
            kind: 1,
            group: "lab".into(),
            about: "bob".into(),
            detail: String::new(),
            is_seen: false,
        };
        store.add_notifications(bob, &[row(7)]).unwrap();
        let rows: Vec<_> = (0..u64::from(KEPT_MAX) + 5).map(row).collect();
        store.add_notifications(nik, &rows).unwrap();
        let kept = store.notifications(nik, false).unwrap();
        assert_eq!((kept.len(), &kept[0]), (KEPT_MAX as usize, &row(5)));
        store.notifications_seen(nik).unwrap();
        assert!(store.notifications(nik, false).unwrap().is_empty());
        let all = store.notifications(nik, true).unwrap();
        assert!(all.len() == KEPT_MAX as usize && all.iter().all(|row| row.is_seen));
        assert_eq!(store.notifications(bob, false).unwrap(), [row(7)]);
    }
}
