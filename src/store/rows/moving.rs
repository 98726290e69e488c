//! Writes rows, entries and what goes with them into the tables.

use std::sync::Arc;

use rusqlite::{Connection, Statement, params};

use super::memtable::Memtable;
use super::meta::{self, put_number};
use super::peers::put_peers;
use super::record::Progress;
use super::{CLASS_EXPIRING, CLASS_KEPT, CLASS_REQUEST, CLASS_TOMBSTONE, bound};
use crate::directory::stored_key;
use crate::types::{Content, Row};
use crate::wire::Wire;

/// All that goes to the tables in one transaction: what the journal's records up to one of them
/// say.
#[derive(Debug)]
pub(super) struct Move {
    pub(super) memtable: Arc<Memtable>,
    pub(super) progress: Progress,
    /// Number of the last of these records.
    pub(super) through: u64,
}

impl Move {
    pub(super) fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        put_memtable(connection, &self.memtable)?;
        let Progress { sequence, swept, peers } = &self.progress;
        put_number(connection, meta::SEQUENCE, *sequence)?;
        put_number(connection, meta::SWEPT, *swept)?;
        put_number(connection, meta::JOURNALED, self.through)?;
        put_peers(connection, peers)
    }
}

fn put_memtable(connection: &Connection, memtable: &Memtable) -> rusqlite::Result<()> {
    let mut put = connection.prepare_cached(PUT_ROW)?;
    let mut delete = connection.prepare_cached("DELETE FROM rows WHERE key = ?1")?;
    for (key, row) in memtable.all_rows() {
        match row {
            Some((sequence, row)) => execute_put_row(&mut put, key, *sequence, row)?,
            None => delete.execute([key]).map(drop)?,
        }
    }
    let mut put =
        connection.prepare_cached("INSERT OR REPLACE INTO entries (key, value) VALUES (?1, ?2)")?;
    let mut delete = connection.prepare_cached("DELETE FROM entries WHERE key = ?1")?;
    for (key, value) in memtable.all_entries() {
        match value {
            Some(value) => put.execute(params![key, value])?,
            None => delete.execute([key])?,
        };
    }
    Ok(())
}

/// Writes one row, in place of another of the same key.
pub(in crate::store) fn put_row(
    connection: &Connection,
    sequence: u64,
    row: &Row,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(PUT_ROW)?;
    execute_put_row(&mut statement, &stored_key(&row.content.key()), sequence, row)
}

/// Writes a row.
const PUT_ROW: &str =
    "INSERT INTO rows (key, sequence, stamp_ms, class, body) VALUES (?1, ?2, ?3, ?4, ?5)
        ON CONFLICT (key) DO UPDATE SET sequence = excluded.sequence, stamp_ms = excluded.stamp_ms,
            class = excluded.class, body = excluded.body";

/// Runs [`PUT_ROW`], prepared.
fn execute_put_row(
    statement: &mut Statement<'_>,
    key: &[u8],
    sequence: u64,
    row: &Row,
) -> rusqlite::Result<()> {
    let class = match &row.content {
        Content::Request(..) => CLASS_REQUEST,
        content if content.is_expiring() => CLASS_EXPIRING,
        content if content.is_tombstone() => CLASS_TOMBSTONE,
        _ => CLASS_KEPT,
    };
    let values =
        params![key, sequence as i64, bound(row.version.stamp.ms()), class, row.to_bytes()];
    statement.execute(values).map(drop)
}
