//! Names of files around a database, and how a complete file gets its name.
//!
//! **Invariant:** no file is ever replaced by [`put_in_place`].

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};

use super::StoreError;

/// Endings of the files that SQLite puts beside a database.
const SIDECARS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Wraps an error of the system.
pub(super) fn failed(path: &Path) -> impl Fn(io::Error) -> StoreError + '_ {
    move |source| StoreError::Io { path: path.to_owned(), source }
}

/// Appends to the last part of a path.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut text = OsString::from(path);
    text.push(suffix);
    text.into()
}

/// Removes a file, if it is there.
pub(super) fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed(path)(e)),
        _ => Ok(()),
    }
}

/// Removes what SQLite left beside a database that is not there: SQLite would take a stale log for
/// that of the next database of this name.
pub(super) fn remove_sidecars(path: &Path) -> Result<(), StoreError> {
    SIDECARS.iter().try_for_each(|suffix| remove(&with_suffix(path, suffix)))
}

/// Length of a file in bytes; 0 if it is not there.
pub(super) fn len(path: &Path) -> Result<u64, StoreError> {
    match fs::symlink_metadata(path) {
        Ok(facts) => Ok(facts.len()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(e) => Err(failed(path)(e)),
    }
}

/// Bytes free for this process, or `None` where the file system does not say.
pub(super) fn free_bytes(directory: &Path) -> Option<u64> {
    let room = rustix::fs::statvfs(directory).ok()?;
    (room.f_blocks > 0).then(|| room.f_bavail.saturating_mul(room.f_frsize))
}

/// Refuses to begin what would fill the disk. What is not known is not too little.
pub(super) fn check_free(
    directory: &Path,
    free: Option<u64>,
    need: u64,
    what: &str,
) -> Result<(), StoreError> {
    match free {
        Some(free) if free < need => {
            let [need, free] = [need, free].map(|bytes| bytes.div_ceil(1_000_000));
            let why = format!("{what} needs {need} MB, and {free} MB are free");
            Err(failed(directory)(io::Error::new(io::ErrorKind::StorageFull, why)))
        }
        _ => Ok(()),
    }
}

/// Says that a name is taken, if it is.
pub(super) fn refuse_existing(path: &Path) -> Result<(), StoreError> {
    match fs::symlink_metadata(path) {
        Ok(_) => Err(failed(path)(io::ErrorKind::AlreadyExists.into())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(failed(path)(e)),
    }
}

/// Gives a complete file its name and waits until both are on the disk. A file of that name stays.
pub(super) fn put_in_place(temporary: &Path, path: &Path) -> Result<(), StoreError> {
    File::open(temporary).and_then(|file| file.sync_all()).map_err(failed(temporary))?;
    match fs::hard_link(temporary, path) {
        Ok(()) => remove(temporary)?,
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Err(failed(path)(e)),
        // The file system has no hard links.
        Err(_) => rustix::fs::renameat_with(CWD, temporary, CWD, path, RenameFlags::NOREPLACE)
            .map_err(|e| failed(path)(e.into()))?,
    }
    sync_directory_of(path)
}

/// Waits until names in the directory that holds `path` are on the disk.
pub(super) fn sync_directory_of(path: &Path) -> Result<(), StoreError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed(directory))
}
