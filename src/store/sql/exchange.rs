//! Takes a directory from SQLite into a database over PostgreSQL's wire, and back, while no tracker
//! uses either.
//!
//! **Invariant:** memory does not grow with the directory. A database into which a directory was
//! taken halfway is not used: a mark says so, and the next import begins anew.

use std::ops::Bound;
use std::path::Path;

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;

use super::super::database::StoreError;
use super::super::rows::{Entries, RowStore};
use super::address::EngineAddress;
use super::connection::{Engine, Isolation, failed};
use super::schema::{self, posse_meta, posse_rows, posse_trackers};
use super::tables::SqlTables;
use super::writing::{put_entries, put_rows};
use crate::directory::{ENTRIES_VERSION, Rows as _, stored_key};
use crate::types::{Row, StoreId, Transaction};

/// Rows or entries that are carried over at a time.
const AT_ONCE: usize = 2_000;
/// The mark of an import that has begun.
const IMPORTING: &str = "importing";

/// Refuses a database into which a directory was taken halfway.
pub(super) fn check_whole(engine: &mut Engine, address: &EngineAddress) -> Result<(), StoreError> {
    let found = engine.read(is_importing);
    engine.end_reading();
    if found? {
        let why = "an import into it was begun and not ended: repeat `tracker import`".to_owned();
        return Err(failed(address, why));
    }
    Ok(())
}

fn is_importing(connection: &mut PgConnection) -> QueryResult<bool> {
    let found: Option<String> =
        posse_meta::table.find(IMPORTING).select(posse_meta::key).first(connection).optional()?;
    Ok(found.is_some())
}

/// Copies the directory of the tracker whose data directory is `from` into an empty database.
/// Returns how many rows there are.
///
/// # Errors
/// [`StoreError`]; the database is not used until an import has ended.
///
/// # Blocking
/// On the disk and the database, for as long as it takes.
pub(in crate::store) fn import(from: &Path, to: &EngineAddress) -> Result<u64, StoreError> {
    let mut store = RowStore::open(from, StoreId::from_bytes(rand::random()))?;
    if store.begin_entries(ENTRIES_VERSION)? != Entries::All {
        let why = "the indexes in the data directory are not complete: start its tracker once, and stop it";
        return Err(failed(to, why.to_owned()));
    }
    store.close()?;
    let mut engine = Engine::open(to.clone())?;
    schema::prepare(&mut engine, to, ENTRIES_VERSION)?;
    let used = engine.read(|connection| {
        let at_work = posse_trackers::table.filter(posse_trackers::beat.ge(0));
        let trackers: Vec<Vec<u8>> =
            at_work.select(posse_trackers::store).limit(1).load(connection)?;
        let rows: Vec<Vec<u8>> =
            posse_rows::table.select(posse_rows::key).limit(1).load(connection)?;
        Ok((!trackers.is_empty(), !rows.is_empty(), is_importing(connection)?))
    });
    engine.end_reading();
    let (is_in_use, has_rows, was_begun) = used?;
    if is_in_use || has_rows && !was_begun {
        let why = "it holds a directory already, or trackers use it: import needs an empty one";
        return Err(failed(to, why.to_owned()));
    }
    write(&mut engine, |connection| {
        diesel::insert_into(posse_meta::table)
            .values((posse_meta::key.eq(IMPORTING), posse_meta::value.eq(&[1u8][..])))
            .on_conflict_do_nothing()
            .execute(connection)?;
        connection.batch_execute("DELETE FROM posse_rows; DELETE FROM posse_entries")
    })?;
    let (mut count, mut after) = (0, Vec::new());
    loop {
        let rows =
            store.rows(&[], Some(&after).filter(|key| !key.is_empty()).map(Vec::as_slice), AT_ONCE);
        store.check()?;
        let Some(last) = rows.last() else { break };
        after = stored_key(&last.content.key());
        write(&mut engine, |connection| put_rows(connection, rows.iter()))?;
        count += rows.len() as u64;
    }
    let mut from = Bound::Unbounded;
    loop {
        let range = (from.as_ref().map(Vec::as_slice), Bound::Unbounded);
        let entries = store.entries(range, false, AT_ONCE);
        store.check()?;
        let pairs = entries.iter().map(|(key, value)| (&key[..], &value[..]));
        write(&mut engine, |connection| put_entries(connection, pairs))?;
        let Some((last, _)) = entries.into_iter().next_back() else { break };
        from = Bound::Excluded(last);
    }
    write(&mut engine, |connection| {
        diesel::delete(posse_meta::table.find(IMPORTING)).execute(connection).map(drop)
    })?;
    Ok(count)
}

/// Copies the directory in a database into the empty data directory `to`; its tracker makes the
/// indexes when it starts. Returns how many rows there are.
///
/// # Errors
/// [`StoreError`].
///
/// # Blocking
/// On the disk and the database, for as long as it takes.
pub(in crate::store) fn export(from: &EngineAddress, to: &Path) -> Result<u64, StoreError> {
    let mut engine = Engine::open(from.clone())?;
    schema::prepare(&mut engine, from, ENTRIES_VERSION)?;
    check_whole(&mut engine, from)?;
    let tables = SqlTables::new(engine);
    let mut store = RowStore::open(to, StoreId::from_bytes(rand::random()))?;
    if store.state().sequence > 0 {
        let why = format!("{} holds a directory already: export needs an empty one", to.display());
        return Err(failed(from, why));
    }
    let (mut count, mut sequence, mut after) = (0, 0, Vec::new());
    loop {
        let behind = Some(&after).filter(|key| !key.is_empty()).map(Vec::as_slice);
        let rows: Vec<Row> = tables.rows(&[], behind, AT_ONCE);
        tables.take_failure().map_or(Ok(()), Err)?;
        let Some(last) = rows.last() else { break };
        after = stored_key(&last.content.key());
        count += rows.len() as u64;
        sequence += 1;
        store.append(&[Transaction { sequence, rows, ..Transaction::default() }])?;
    }
    store.close()?;
    Ok(count)
}

/// Writes in a transaction of its own. A failure ends the import, which can be repeated.
fn write(
    engine: &mut Engine,
    write: impl FnOnce(&mut PgConnection) -> QueryResult<()>,
) -> Result<(), StoreError> {
    engine.alone(Isolation::Serializable, write)?.map_err(|error| engine.wrap(&error))
}
