//! Opening a database and locking the directory that holds it.
//!
//! **Invariant:** an open database has the write-ahead log on, waits for the disk at each commit,
//! and has the newest schema this program knows; one with a newer schema, or of another kind, is
//! not touched.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use rustix::fs::{FlockOperation, flock};

/// Name of the file that is locked while a process uses the directory.
const LOCK_FILE: &str = "lock";
/// How long a statement waits for another connection of the same process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Says why a store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process uses the data directory.
    #[error("{} is in use by another process; stop it, or give another --data-dir", path.display())]
    InUse {
        /// The data directory.
        path: PathBuf,
    },
    /// The store was written by a later version of the program. It is not damaged, and nothing is
    /// to be moved away.
    #[error(
        "{} was made by a later version of Posse (format {found}; this one knows up to {known}): update this program, or give \
         another --data-dir; the data is not touched",
        path.display()
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// The version of its schema, or of what its rows hold.
        found: u32,
        /// The newest known here.
        known: u32,
    },
    /// The file is not a store of this kind.
    #[error("{} is not a {kind}; give another --data-dir", path.display())]
    Foreign {
        /// The database.
        path: PathBuf,
        /// What was expected.
        kind: &'static str,
    },
    /// The store's content is not what was written.
    #[error("{} is damaged ({why}); restore a copy, or move it away to start empty", path.display())]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The directory or file cannot be read or written.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// The directory or file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A database over PostgreSQL's wire cannot be reached, refuses, or holds something else.
    #[error("the database {database}: {why}")]
    Engine {
        /// Which.
        database: String,
        /// Its words, or ours.
        why: String,
    },
    /// The database failed: the disk is full or broken.
    #[error("{}: {source}", path.display())]
    Database {
        /// The database.
        path: PathBuf,
        /// SQLite's reason.
        #[source]
        source: rusqlite::Error,
    },
}

impl StoreError {
    /// Sorts an error of SQLite: damage is told from a disk that fails. A value of another type or
    /// length than the one that was written is damage, too.
    pub(crate) fn of(path: &Path, source: rusqlite::Error) -> Self {
        let is_damage = match &source {
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::InvalidColumnType(..) => true,
            other => matches!(
                other.sqlite_error_code(),
                Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt)
            ),
        };
        let path = path.to_owned();
        if is_damage {
            Self::Damaged { path, why: source.to_string() }
        } else {
            Self::Database { path, source }
        }
    }
}

/// What a database is for, and its schema's history.
#[derive(Debug, Clone, Copy)]
pub struct DatabaseKind {
    /// In words, for error messages.
    pub name: &'static str,
    /// SQLite's `application_id`: tells our files from any other.
    pub application_id: i32,
    /// Statements that lead from each schema version to the next; the first one starts from an
    /// empty file.
    pub migrations: &'static [&'static str],
}

/// Bytes of the write-ahead log that are kept when it is reset.
const WAL_LEN_MAX: i64 = 16 << 20;

/// Opens or makes a database and brings its schema up to date.
///
/// # Errors
/// Every [`StoreError`] but `InUse`.
///
/// # Blocking
/// On the disk.
pub fn open_database(path: &Path, kind: DatabaseKind) -> Result<Connection, StoreError> {
    let wrap = |source| StoreError::of(path, source);
    keep_private(path);
    let mut connection = Connection::open(path).map_err(wrap)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(wrap)?;
    check_kind(path, kind, &connection)?;
    connection.pragma_update(None, "journal_mode", "WAL").map_err(wrap)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(wrap)?;
    connection.pragma_update(None, "journal_size_limit", WAL_LEN_MAX).map_err(wrap)?;
    migrate(&mut connection, kind).map_err(wrap)?;
    Ok(connection)
}

/// Opens a second connection to a database, for reading only.
pub(super) fn open_read_only(path: &Path) -> Result<Connection, StoreError> {
    let wrap = |source| StoreError::of(path, source);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(wrap)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(wrap)?;
    Ok(connection)
}

/// Makes an empty file that only its owner may read, if there is none: the directory may be one
/// that others may enter. SQLite gives the files it puts beside a database the same rights.
pub(super) fn keep_private(path: &Path) {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    // A file that is there already is left as it is; what else is wrong, opening it will tell.
    let _ = options.open(path);
}

/// Checks what a database is for, and that this program knows its schema. Returns whether it is
/// empty.
pub(super) fn check_kind(
    path: &Path,
    kind: DatabaseKind,
    connection: &Connection,
) -> Result<bool, StoreError> {
    let wrap = |source| StoreError::of(path, source);
    let pragma =
        |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(wrap);
    let (application_id, found) = (pragma("application_id")?, pragma("user_version")?);
    let is_new = application_id == 0 && found == 0 && pragma("schema_version")? == 0;
    if !is_new && application_id != i64::from(kind.application_id) {
        return Err(StoreError::Foreign { path: path.to_owned(), kind: kind.name });
    }
    if found > kind.migrations.len() as i64 {
        let found = u32::try_from(found).unwrap_or(u32::MAX);
        return Err(StoreError::Newer {
            path: path.to_owned(),
            found,
            known: kind.migrations.len() as u32,
        });
    }
    Ok(is_new)
}

fn migrate(connection: &mut Connection, kind: DatabaseKind) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: u32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    for statements in kind.migrations.iter().skip(version as usize) {
        transaction.execute_batch(statements)?;
    }
    if (version as usize) < kind.migrations.len() {
        transaction.pragma_update(None, "application_id", kind.application_id)?;
        transaction.pragma_update(None, "user_version", kind.migrations.len() as u32)?;
    }
    transaction.commit()
}

/// Keeps other processes out of a data directory until dropped, or until the process ends in
/// whatever way.
#[derive(Debug)]
pub struct DirectoryLock {
    path: PathBuf,
    _file: File,
}

impl DirectoryLock {
    /// Makes the directory if need be, readable by its owner alone, and locks it.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if another process holds it, [`StoreError::Io`] if it cannot be made
    /// or written.
    pub fn take(path: &Path) -> Result<Self, StoreError> {
        let wrap = |source| StoreError::Io { path: path.to_owned(), source };
        make_private(path).map_err(wrap)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path.join(LOCK_FILE)).map_err(wrap)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(StoreError::InUse { path: path.to_owned() });
            }
            Err(errno) => return Err(wrap(errno.into())),
        }
        // For whoever wonders who holds it; nothing reads it, so a full disk does not matter here.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self { path: path.to_owned(), _file: file })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Makes a directory that only its owner may enter; one that exists is left as it is.
fn make_private(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: DatabaseKind = DatabaseKind {
        name: "test store",
        application_id: 77,
        migrations: &["CREATE TABLE t (x)"],
    };

    #[test]
    fn a_directory_is_used_once_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let lock = DirectoryLock::take(&path).unwrap();
        assert_eq!(lock.path(), path);
        assert!(matches!(DirectoryLock::take(&path), Err(StoreError::InUse { .. })));
        drop(lock);
        DirectoryLock::take(&path).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn others_on_the_machine_cannot_read_it_wherever_it_is() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let _lock = DirectoryLock::take(dir.path()).unwrap();
        let database = open_database(&dir.path().join("x.sqlite"), KIND).unwrap();
        database.execute("INSERT INTO t VALUES (1)", []).unwrap();
        let mut count = 0;
        for entry in fs::read_dir(dir.path()).unwrap().map(Result::unwrap) {
            assert_eq!(
                entry.metadata().unwrap().permissions().mode() & 0o077,
                0,
                "{:?}",
                entry.path()
            );
            count += 1;
        }
        assert!(count >= 3, "the lock, the database and its log");
    }

    #[test]
    fn schemas_are_brought_up_to_date_and_newer_ones_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.sqlite");
        open_database(&path, KIND).unwrap().execute("INSERT INTO t VALUES (1)", []).unwrap();
        let newer = DatabaseKind {
            migrations: &["CREATE TABLE t (x)", "ALTER TABLE t ADD COLUMN y"],
            ..KIND
        };
        let count: u32 = open_database(&path, newer)
            .unwrap()
            .query_row("SELECT count(y) + 1 FROM t", [], |row| row.get(0))
            .unwrap();
        assert_eq!(count, 1);
        let error = open_database(&path, KIND).unwrap_err();
        assert!(matches!(error, StoreError::Newer { found: 2, known: 1, .. }));
        let words = error.to_string();
        assert!(
            words.contains("made by a later version")
                && !words.contains("move")
                && !words.contains("damaged"),
            "{words}"
        );
        let other = DatabaseKind { application_id: 78, ..newer };
        assert!(matches!(open_database(&path, other), Err(StoreError::Foreign { .. })));
    }

    #[test]
    fn what_is_no_database_is_called_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.sqlite");
        fs::write(&path, vec![b'x'; 8192]).unwrap();
        assert!(matches!(open_database(&path, KIND), Err(StoreError::Damaged { .. })));
        assert!(matches!(open_database(dir.path(), KIND), Err(StoreError::Database { .. })));
    }
}
