//! What a store says of itself: its id and those before it, how far it is, and what its rows are.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::super::database::StoreError;
use super::damaged;
use super::peers::Peers;
use crate::types::{Lineage, StoreId};

/// Version of the encoding of rows. A later version of this program may write another one.
const ENCODING_VERSION: u32 = 1;

/// The store id, then id and last sequence of each ancestor.
pub(in crate::store) const LINEAGE: &str = "lineage";
/// The last update sequence.
pub(in crate::store) const SEQUENCE: &str = "sequence";
/// The largest sequence of a tombstone that was deleted.
pub(in crate::store) const SWEPT: &str = "swept";
/// Number of the last record of the journal whose rows and entries are in the tables.
pub(in crate::store) const JOURNALED: &str = "journaled";
/// Version of the encoding of rows.
pub(in crate::store) const ENCODING: &str = "encoding";
/// Version of the entries of the indexes; absent until all of them are there.
pub(in crate::store) const ENTRIES: &str = "entries";
/// Version of the entries that are being made, and the stored key up to which they are.
pub(in crate::store) const ENTRIES_BEGUN: &str = "entries_begun";
/// The old store that these rows were made from still has its name.
pub(in crate::store) const TAKEOVER: &str = "takeover";

/// Writes down under which id this start writes.
pub(super) fn put_start(connection: &Connection, lineage: &Lineage) -> rusqlite::Result<()> {
    put_meta(connection, LINEAGE, &lineage_to_bytes(lineage))?;
    put_meta(connection, ENCODING, &ENCODING_VERSION.to_be_bytes())?;
    connection.execute("DELETE FROM meta WHERE key = ?1", [TAKEOVER]).map(drop)
}

/// Returns the lineage of the next start. An id under which nothing was written is left out, so
/// that a tracker that restarts again and again keeps its older ancestors. The version vector keeps
/// an ancestor that there is no more room for.
pub(super) fn succeed(
    mut before: Lineage,
    fresh: StoreId,
    last: u64,
    peers: &mut Peers,
) -> Lineage {
    if before.ancestors.first().is_some_and(|&(_, sequence)| sequence == last) {
        before.store = before.ancestors.remove(0).0;
    }
    let lineage = before.restarted(fresh, last);
    if let Some(&(store, sequence)) =
        before.ancestors.get(lineage.ancestors.len().saturating_sub(1))
    {
        peers.raise(store, 0, sequence);
    }
    lineage
}

fn lineage_to_bytes(lineage: &Lineage) -> Vec<u8> {
    let mut bytes = lineage.store.as_bytes().to_vec();
    for (store, last) in &lineage.ancestors {
        bytes.extend_from_slice(store.as_bytes());
        bytes.extend_from_slice(&last.to_be_bytes());
    }
    bytes
}

pub(super) fn lineage_from_bytes(bytes: &[u8]) -> Option<Lineage> {
    let (store, rest) = bytes.split_first_chunk()?;
    let (entries, []) = rest.as_chunks::<{ StoreId::LEN + 8 }>() else { return None };
    let ancestor = |entry: &[u8; StoreId::LEN + 8]| {
        let (store, last) = entry.split_first_chunk()?;
        Some((StoreId::from_bytes(*store), u64::from_be_bytes(last.try_into().ok()?)))
    };
    let ancestors = entries.iter().map(ancestor).collect::<Option<_>>()?;
    Some(Lineage { store: StoreId::from_bytes(*store), ancestors })
}

/// Refuses rows whose encoding only a later version of this program knows.
pub(in crate::store) fn check_encoding(
    path: &Path,
    connection: &Connection,
) -> Result<(), StoreError> {
    let Some(bytes) = read_meta(path, connection, ENCODING)? else { return Ok(()) };
    let bytes = bytes.try_into().map_err(|_| damaged(path, "bad version of the encoding"))?;
    match u32::from_be_bytes(bytes) {
        ENCODING_VERSION => Ok(()),
        found @ 0..ENCODING_VERSION => Err(damaged(path, format!("unknown encoding {found}"))),
        found => Err(StoreError::Newer { path: path.to_owned(), found, known: ENCODING_VERSION }),
    }
}

pub(in crate::store) fn put_meta(
    connection: &Connection,
    key: &str,
    value: &[u8],
) -> rusqlite::Result<()> {
    let sql =
        "INSERT INTO meta VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
    connection.prepare_cached(sql)?.execute(params![key, value]).map(drop)
}

pub(in crate::store) fn put_number(
    connection: &Connection,
    key: &str,
    number: u64,
) -> rusqlite::Result<()> {
    put_meta(connection, key, &number.to_be_bytes())
}

pub(super) fn read_meta(
    path: &Path,
    connection: &Connection,
    key: &str,
) -> Result<Option<Vec<u8>>, StoreError> {
    let found =
        connection.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0));
    found.optional().map_err(|source| StoreError::of(path, source))
}

/// Reads a number; one that is not there is 0.
pub(super) fn read_number(
    path: &Path,
    connection: &Connection,
    key: &str,
) -> Result<u64, StoreError> {
    let Some(bytes) = read_meta(path, connection, key)? else { return Ok(0) };
    let bytes = bytes.try_into().map_err(|_| damaged(path, format!("bad {key}")))?;
    Ok(u64::from_be_bytes(bytes))
}
