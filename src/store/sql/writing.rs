//! The statements that write: few for a turn, whatever it has changed.
//!
//! **Invariant:** rows and entries go to the tables in the order of their keys, so that two
//! trackers that write the same ones wait for each other and do not lock each other out.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Binary, SmallInt};

use super::super::rows::memtable::Memtable;
use super::schema::{posse_entries, posse_rows};
use crate::types::{Content, Row};
use crate::wire::Wire as _;

/// Rows or entries in one statement: bounds its length.
const BATCH_MAX: usize = 1_000;

/// `class` of a row, as in SQLite: kept until it is written again, says that something is not
/// there, a request, or expires.
pub(super) const CLASS_KEPT: i16 = 0;
pub(super) const CLASS_TOMBSTONE: i16 = 1;
pub(super) const CLASS_REQUEST: i16 = 2;
pub(super) const CLASS_EXPIRING: i16 = 3;

const PUT_ROWS: &str = "INSERT INTO posse_rows (key, class, stamp_ms, body)
    SELECT * FROM unnest($1, $2, $3, $4)
    ON CONFLICT (key) DO UPDATE SET class = excluded.class, stamp_ms = excluded.stamp_ms,
        body = excluded.body";
const PUT_ENTRIES: &str = "INSERT INTO posse_entries (key, value) SELECT * FROM unnest($1, $2)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value";

/// Writes everything that has been written since the transaction began.
pub(super) fn put_memtable(connection: &mut PgConnection, memtable: &Memtable) -> QueryResult<()> {
    let mut rows: Vec<_> = memtable.all_rows().collect();
    rows.sort_unstable_by_key(|(key, _)| *key);
    let put = rows.iter().filter_map(|(_, row)| row.map(|(_, row)| row));
    put_rows(connection, put)?;
    let gone: Vec<&[u8]> =
        rows.iter().filter(|(_, row)| row.is_none()).map(|(key, _)| *key).collect();
    for keys in gone.chunks(BATCH_MAX) {
        diesel::delete(posse_rows::table.filter(posse_rows::key.eq_any(keys)))
            .execute(connection)?;
    }
    let entries: Vec<(&[u8], Option<&[u8]>)> = memtable.all_entries().collect();
    let put = entries.iter().filter_map(|(key, value)| Some((*key, (*value)?)));
    put_entries(connection, put)?;
    let gone: Vec<&[u8]> =
        entries.iter().filter(|(_, value)| value.is_none()).map(|(key, _)| *key).collect();
    for keys in gone.chunks(BATCH_MAX) {
        diesel::delete(posse_entries::table.filter(posse_entries::key.eq_any(keys)))
            .execute(connection)?;
    }
    Ok(())
}

/// Writes rows in place of those with their keys.
pub(super) fn put_rows<'a>(
    connection: &mut PgConnection,
    rows: impl Iterator<Item = &'a Row>,
) -> QueryResult<()> {
    let (mut keys, mut classes, mut stamps, mut bodies) = (vec![], vec![], vec![], vec![]);
    let mut rows = rows.peekable();
    while let Some(row) = rows.next() {
        keys.push(crate::directory::stored_key(&row.content.key()));
        classes.push(class_of(&row.content));
        stamps.push(i64::try_from(row.version.stamp.ms()).unwrap_or(i64::MAX));
        bodies.push(row.to_bytes());
        if keys.len() == BATCH_MAX || rows.peek().is_none() {
            sql_query(PUT_ROWS)
                .bind::<Array<Binary>, _>(std::mem::take(&mut keys))
                .bind::<Array<SmallInt>, _>(std::mem::take(&mut classes))
                .bind::<Array<BigInt>, _>(std::mem::take(&mut stamps))
                .bind::<Array<Binary>, _>(std::mem::take(&mut bodies))
                .execute(connection)?;
        }
    }
    Ok(())
}

/// Writes entries in place of those with their keys.
pub(super) fn put_entries<'a>(
    connection: &mut PgConnection,
    entries: impl Iterator<Item = (&'a [u8], &'a [u8])>,
) -> QueryResult<()> {
    let (mut keys, mut values) = (vec![], vec![]);
    let mut entries = entries.peekable();
    while let Some((key, value)) = entries.next() {
        keys.push(key);
        values.push(value);
        if keys.len() == BATCH_MAX || entries.peek().is_none() {
            sql_query(PUT_ENTRIES)
                .bind::<Array<Binary>, _>(std::mem::take(&mut keys))
                .bind::<Array<Binary>, _>(std::mem::take(&mut values))
                .execute(connection)?;
        }
    }
    Ok(())
}

fn class_of(content: &Content) -> i16 {
    match content {
        Content::Request(..) => CLASS_REQUEST,
        content if content.is_expiring() => CLASS_EXPIRING,
        content if content.is_tombstone() => CLASS_TOMBSTONE,
        _ => CLASS_KEPT,
    }
}
