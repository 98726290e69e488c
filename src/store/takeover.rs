//! Takes the store of the time before rows over, once: its operations become rows.
//!
//! **Invariant:** the file `directory.sqlite` appears complete and on the disk, or not at all, and
//! the old store keeps every byte. A start that was killed half way begins again. Two trackers with
//! the same operations get the same rows, in whatever order the operations had arrived.
//!
//! Two passes, neither of which holds more than one operation in memory; SQLite's caches take 200
//! MB. The first one notes the order of the operations, and what later operations decide about
//! earlier ones (see [`convert`]), in a scratch database. The second one writes the rows in the
//! order of their versions, so that the last write of a row stays. Update sequences follow the
//! order in which the operations had arrived here.
//!
//! The rows of trackers whose operations differed when they were taken over may differ for good in
//! what such later operations decide: trackers are to have caught up with each other before they
//! are updated.

mod convert;
mod operation;

use std::fs;
use std::io;
use std::path::Path;

use rusqlite::Connection;

use self::convert::{note, write};
use self::operation::Operation;
use super::database::{DatabaseKind, StoreError, keep_private, open_database};
use super::files::{
    check_free, failed, free_bytes, len, remove, remove_sidecars, sync_directory_of, with_suffix,
};
use super::rows::meta::{self, put_meta, put_number};
use super::rows::{self, OLD_FILE as FILE, PEERS_MAX, Peer, damaged, put_peer};
use crate::types::{Stamp, StoreId, limits};

/// Behind the old store's name once it has been taken over.
const TAKEN_OVER: &str = ".taken-over";
/// Name of the new store until it is complete.
const NEW_FILE: &str = "directory.sqlite.new";
/// Name of the scratch database.
const SCRATCH_FILE: &str = "directory.sqlite.scratch";
/// "PsTr", as the old program had it.
const KIND: DatabaseKind = DatabaseKind {
    name: "store of a Posse tracker",
    application_id: 0x5073_5472,
    migrations: &["CREATE TABLE store (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
         CREATE TABLE operations (
             place INTEGER PRIMARY KEY,
             origin BLOB NOT NULL,
             sequence INTEGER NOT NULL,
             version INTEGER NOT NULL,
             body BLOB NOT NULL,
             UNIQUE (origin, sequence)
         ) STRICT;"],
};
/// The only version of the encoding of operations that there ever was.
const ENCODING: u32 = 1;
/// Milliseconds for which a client asks again: older requests are not taken over.
const REQUESTS_MS: u64 = 24 * 3600 * 1000;
/// Operations between two lines in the log.
const LOG_EVERY: u64 = 250_000;

/// Takes the old store in `directory` over, if there is one and no new one yet.
pub(super) fn take_over(directory: &Path) -> Result<(), StoreError> {
    let is_needed = len(&directory.join(rows::FILE))? == 0 && len(&directory.join(FILE))? > 0;
    if is_needed {
        take_over_with(directory, free_bytes(directory), &mut |_| Ok(()))
    } else {
        Ok(())
    }
}

/// Renames the old store, which `directory.sqlite` was made from. Does nothing if that has been
/// done.
pub(super) fn put_away(directory: &Path) -> Result<(), StoreError> {
    let old = directory.join(FILE);
    if len(&old)? == 0 {
        return Ok(());
    }
    let mut kept = with_suffix(&old, TAKEN_OVER);
    let mut number = 2;
    while kept.symlink_metadata().is_ok() {
        kept = with_suffix(&old, &format!("{TAKEN_OVER}-{number}"));
        number += 1;
    }
    // What SQLite could not move from its log into the file, on a full disk, goes with the file.
    let (old_log, kept_log) = (with_suffix(&old, "-wal"), with_suffix(&kept, "-wal"));
    if len(&old_log)? > 0 {
        fs::rename(&old_log, &kept_log).map_err(failed(&old_log))?;
    }
    fs::rename(&old, &kept).map_err(failed(&old))?;
    sync_directory_of(&kept)?;
    log::info!("the store of the earlier version is kept as {}", kept.display());
    Ok(())
}

/// Tells the operator of an old store beside a new one that was not made from it: an earlier
/// version of this program ran here in between.
pub(super) fn warn_of_unused(directory: &Path) -> Result<(), StoreError> {
    let old = directory.join(FILE);
    if len(&old)? > 0 {
        let path = old.display();
        log::warn!("{path} is of an earlier version of this program and is not used; move it away");
    }
    Ok(())
}

/// Takes the old store over. `tick` hears how many operations have been read, in both passes, and
/// may end it.
fn take_over_with(
    directory: &Path,
    free: Option<u64>,
    tick: &mut dyn FnMut(u64) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let [old, new, scratch] = [FILE, NEW_FILE, SCRATCH_FILE].map(|name| directory.join(name));
    let clear = || {
        [&new, &scratch].into_iter().try_for_each(|path| remove(path).and(remove_sidecars(path)))
    };
    clear()?;
    check_room(directory, &old, free)?;
    let built = build(&old, &new, &scratch, tick);
    if built.is_err() {
        // A disk that is full is not to stay so. The error that is known already is the one to
        // tell.
        let _ = clear();
        return built;
    }
    remove(&scratch)?;
    fs::File::open(&new).and_then(|file| file.sync_all()).map_err(failed(&new))?;
    let to = directory.join(rows::FILE);
    remove_sidecars(&to)?;
    fs::rename(&new, &to).map_err(failed(&to))?;
    sync_directory_of(&to)
}

/// Refuses to begin what would fill the disk.
fn check_room(directory: &Path, old: &Path, free: Option<u64>) -> Result<(), StoreError> {
    let old_len = len(old)? + len(&with_suffix(old, "-wal"))?;
    let need = old_len.saturating_mul(ROOM_PERCENT) / 100;
    check_free(directory, free, need, &format!("taking over {}", old.display()))
}

/// Room for the rows and the scratch database, in hundredths of the old store. Measured with
/// 500,000 operations, most of which share files: 210.
const ROOM_PERCENT: u64 = 250;

/// Makes the new store at `new`.
fn build(
    old_path: &Path,
    new: &Path,
    scratch: &Path,
    tick: &mut dyn FnMut(u64) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let wrap = |source| StoreError::of(new, source);
    let old = open_database(old_path, KIND)?;
    let count: i64 = old
        .query_row("SELECT count(*) FROM operations", [], |row| row.get(0))
        .map_err(|source| StoreError::of(old_path, source))?;
    log::info!("taking over {} with {count} operations", old_path.display());
    let new = open_database(new, rows::KIND)?;
    keep_private(scratch);
    let name =
        scratch.to_str().ok_or_else(|| failed(scratch)(io::ErrorKind::InvalidInput.into()))?;
    new.execute("ATTACH ?1 AS scratch", [name]).map_err(wrap)?;
    // Both files are thrown away if this ends early, so SQLite need not keep them whole meanwhile.
    new.execute_batch(
        "PRAGMA main.journal_mode = DELETE; PRAGMA main.journal_mode = OFF;
         PRAGMA main.synchronous = OFF;
         PRAGMA scratch.journal_mode = OFF; PRAGMA scratch.synchronous = OFF;
         PRAGMA main.cache_size = -131072; PRAGMA scratch.cache_size = -65536;
         BEGIN;
         CREATE TABLE scratch.operations (
             version BLOB PRIMARY KEY, place INTEGER NOT NULL, sequence INTEGER NOT NULL
         ) STRICT, WITHOUT ROWID;
         CREATE TABLE scratch.latest (
             register INTEGER NOT NULL, key BLOB NOT NULL,
             version BLOB NOT NULL, value BLOB NOT NULL,
             PRIMARY KEY (register, key)
         ) STRICT, WITHOUT ROWID;",
    )
    .map_err(wrap)?;
    let mut work =
        Work { old: Old { path: old_path, connection: &old }, new: &new, tick, ticks: 0 };
    let first = work.note_order().and_then(|noted| work.write_rows(noted));
    let (sequence, origins) = first?;
    let finish = || {
        for (rank, &(store, complete)) in origins.iter().rev().enumerate() {
            put_peer(&new, store, &Peer { checkpoint: 0, complete, touched: rank as u64 + 1 })?;
        }
        put_number(&new, meta::SEQUENCE, sequence)?;
        put_meta(&new, meta::TAKEOVER, b"")?;
        new.execute_batch("COMMIT; DETACH scratch")
    };
    finish().map_err(wrap)?;
    new.close().map_err(|(_, source)| wrap(source))
}

/// The old store.
struct Old<'a> {
    path: &'a Path,
    connection: &'a Connection,
}

/// A takeover on its way.
struct Work<'a> {
    old: Old<'a>,
    new: &'a Connection,
    tick: &'a mut dyn FnMut(u64) -> Result<(), StoreError>,
    ticks: u64,
}

/// What the first pass found.
#[derive(Debug, Default)]
struct Noted {
    /// The last update sequence given out.
    sequence: u64,
    /// The largest stamp.
    newest: Stamp,
}

impl Work<'_> {
    /// First pass: notes the order of the operations, and what `Latest` names.
    fn note_order(&mut self) -> Result<Noted, StoreError> {
        let mut noted = Noted::default();
        let wrap = |source| StoreError::of(self.old.path, source);
        let sql = "SELECT body, origin, sequence, version, place FROM operations ORDER BY place";
        let mut statement = self.old.connection.prepare(sql).map_err(wrap)?;
        let mut found = statement.query([]).map_err(wrap)?;
        while let Some(columns) = found.next().map_err(wrap)? {
            let operation = self.old.decode(columns)?;
            let place: i64 = columns.get(4).map_err(wrap)?;
            let slots = 1 + operation.writes.len();
            note(self.new, &operation, place, noted.sequence + 1).map_err(wrap)?;
            noted.sequence += slots.div_ceil(limits::ROWS_PER_REQUEST_MAX) as u64;
            noted.newest = noted.newest.max(operation.stamp);
            self.ticks += 1;
            (self.tick)(self.ticks)?;
            log_progress("read", self.ticks);
        }
        Ok(noted)
    }

    /// Second pass: writes the rows. Returns the last update sequence, and how far each origin is
    /// known, the one heard of last first.
    fn write_rows(&mut self, noted: Noted) -> Result<(u64, Vec<(StoreId, u64)>), StoreError> {
        let wrap = |source| StoreError::of(self.old.path, source);
        let origins = self.old.origins()?;
        let sql = "SELECT place, sequence FROM scratch.operations ORDER BY version";
        let mut statement = self.new.prepare(sql).map_err(wrap)?;
        let mut found = statement.query([]).map_err(wrap)?;
        let sql = "SELECT body, origin, sequence, version FROM operations WHERE place = ?1";
        let mut look_up = self.old.connection.prepare(sql).map_err(wrap)?;
        let mut written = 0;
        while let Some(columns) = found.next().map_err(wrap)? {
            let (place, sequence): (i64, i64) =
                (columns.get(0).map_err(wrap)?, columns.get(1).map_err(wrap)?);
            let mut looked_up = look_up.query([place]).map_err(wrap)?;
            let columns = looked_up.next().map_err(wrap)?;
            let columns = columns.ok_or_else(|| damaged(self.old.path, "an operation has gone"))?;
            let operation = self.old.decode(columns)?;
            let keep_request =
                operation.stamp.ms().saturating_add(REQUESTS_MS) >= noted.newest.ms();
            write(self.new, &operation, sequence as u64, keep_request).map_err(wrap)?;
            self.ticks += 1;
            (self.tick)(self.ticks)?;
            written += 1;
            log_progress("written", written);
        }
        Ok((noted.sequence, origins))
    }
}

fn log_progress(what: &str, count: u64) {
    if count.is_multiple_of(LOG_EVERY) {
        log::info!("{what}: {count} operations");
    }
}

impl Old<'_> {
    /// Decodes an operation from body, origin, sequence and version.
    fn decode(&self, columns: &rusqlite::Row<'_>) -> Result<Operation, StoreError> {
        let wrap = |source| StoreError::of(self.path, source);
        let (origin, sequence): ([u8; 16], i64) =
            (columns.get(1).map_err(wrap)?, columns.get(2).map_err(wrap)?);
        let version: u32 = columns.get(3).map_err(wrap)?;
        if version > ENCODING {
            return Err(StoreError::Newer {
                path: self.path.to_owned(),
                found: version,
                known: ENCODING,
            });
        }
        let body =
            columns.get_ref(0).map_err(wrap)?.as_blob().map_err(|e| damaged(self.path, e))?;
        let operation = Operation::from_bytes(body);
        let operation = operation
            .map_err(|e| damaged(self.path, format!("operation {sequence} cannot be read: {e}")))?;
        if operation.origin.as_bytes() != &origin || operation.sequence as i64 != sequence {
            return Err(damaged(
                self.path,
                format!("operation {sequence} is stored in another's place"),
            ));
        }
        Ok(operation)
    }

    /// Tells how far each origin is known, the one heard of last first, and that nothing is
    /// missing.
    fn origins(&self) -> Result<Vec<(StoreId, u64)>, StoreError> {
        let wrap = |source| StoreError::of(self.path, source);
        let sql = "SELECT origin, max(sequence), count(*), min(sequence) FROM operations
            GROUP BY origin ORDER BY max(place) DESC";
        let mut statement = self.connection.prepare(sql).map_err(wrap)?;
        let mut found = statement.query([]).map_err(wrap)?;
        let mut origins = Vec::new();
        while let Some(columns) = found.next().map_err(wrap)? {
            let origin = StoreId::from_bytes(columns.get(0).map_err(wrap)?);
            let number = |column| columns.get::<_, i64>(column).map_err(wrap);
            let (last, count, first) = (number(1)?, number(2)?, number(3)?);
            if first != 1 || last != count {
                return Err(damaged(
                    self.path,
                    format!("operations of origin {origin} are missing"),
                ));
            }
            if origins.len() < PEERS_MAX {
                origins.push((origin, last as u64));
            }
        }
        Ok(origins)
    }
}

#[cfg(test)]
mod tests;
