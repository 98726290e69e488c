//! Copies of a store: made while it is in use, and put back.
//!
//! **Invariant:** a file with the name of a copy is complete and on the disk, and no file was there
//! before. A copy that is put back never uses an update sequence twice, since the next start takes
//! a new store id.

use std::io;
use std::path::Path;

use rusqlite::{Connection, ErrorCode};

use super::super::database::{StoreError, check_kind, keep_private, open_read_only};
use super::super::files::{
    failed, put_in_place, refuse_existing, remove, remove_sidecars, with_suffix,
};
use super::meta::check_encoding;
use super::{FILE, KIND, OLD_FILE, damaged, journal};

/// Puts a copy made by [`super::RowReader::backup`] into the data directory `directory`, which the
/// caller has locked and which has no store.
///
/// # Errors
/// [`StoreError::Foreign`], [`StoreError::Newer`] and [`StoreError::Damaged`] for a file that is no
/// copy that this program can use, [`StoreError::Io`] if the directory has a store or cannot be
/// written.
///
/// # Blocking
/// On the disk, for as long as it takes to read the copy twice and to write it.
pub fn restore(file: &Path, directory: &Path) -> Result<(), StoreError> {
    let to = directory.join(FILE);
    refuse_existing(&to)?;
    refuse_existing(&directory.join(OLD_FILE))?;
    let connection = open_read_only(file)?;
    if check_kind(file, KIND, &connection)? {
        return Err(StoreError::Foreign { path: file.to_owned(), kind: KIND.name });
    }
    check_encoding(file, &connection)?;
    let found = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    let found = found.map_err(|source| StoreError::of(file, source))?;
    if found != "ok" {
        return Err(damaged(file, found));
    }
    remove_sidecars(&to)?;
    // What a store that was here before had in its journal is not of this one.
    journal::remove_files(directory)?;
    copy(&connection, file, &to)
}

/// Copies the database at `path` to the file `to`, under a name of its own until it is complete.
pub(super) fn copy(connection: &Connection, path: &Path, to: &Path) -> Result<(), StoreError> {
    refuse_existing(to)?;
    let partial = with_suffix(to, ".partial");
    remove(&partial)?;
    let copied = write_copy(connection, path, &partial).and_then(|()| put_in_place(&partial, to));
    if copied.is_err() {
        // The error that is known already is the one to tell.
        let _ = remove(&partial);
    }
    copied
}

fn write_copy(connection: &Connection, path: &Path, partial: &Path) -> Result<(), StoreError> {
    let invalid =
        || failed(partial)(io::Error::new(io::ErrorKind::InvalidInput, "the name is not UTF-8"));
    let name = partial.to_str().ok_or_else(invalid)?;
    keep_private(partial);
    let copied = connection.execute("VACUUM INTO ?1", [name]);
    copied.map(drop).map_err(|source| match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::of(path, source),
        _ => StoreError::of(partial, source),
    })
}
