//! The client's device state: trusted network, shares, downloads with the journal of their verified
//! pieces, and metainfos.
//!
//! **Invariant:** one process at a time uses a data directory; a share or download belongs to a
//! user, and nobody else's session sees it. The directory is the user's alone (0700), the database
//! too (0600).
//!
//! Every call blocks on the disk. A session's changes come as [`Write`]s, many in one transaction.
//! Reading does not wait for a write.

mod asked;
mod chains;
mod notifications;
mod queued;
mod staying;
mod trackers;
mod write;

use std::fs::OpenOptions;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, params};

pub use self::asked::AskedRow;
pub use self::notifications::NotificationRow;
pub use self::queued::QueuedRow;
pub use self::staying::StayingRow;
pub use self::trackers::SuccessorRow;
pub use self::write::Write;
use super::{DatabaseKind, DirectoryLock, StoreError, open_database};
use crate::types::{
    Bitfield, ChainHash, FileFacts, FileStamp, Fingerprint, GroupId, InfoHash, InodeId, Label,
    PartStamp, Sha1Digest, UserId, VerifiedPieces,
};
use crate::wire::metainfo::Metainfo;

/// Prepared statements that are kept: all that change something.
const STATEMENTS_MAX: usize = 48;
/// Name of the database in the data directory.
const DATABASE: &str = "device.sqlite";

/// The database's kind and its schema.
const KIND: DatabaseKind = DatabaseKind {
    name: "client's device state",
    application_id: 0x5053_4456,
    migrations: &[
        SCHEMA,
        SCHEMA_2,
        queued::SCHEMA,
        trackers::SCHEMA,
        SCHEMA_5,
        trackers::SCHEMA_KEYS,
        SCHEMA_7,
        staying::SCHEMA,
        notifications::SCHEMA,
        asked::SCHEMA,
        chains::SCHEMA,
        SCHEMA_12,
    ],
};

const SCHEMA: &str = "
    CREATE TABLE identity (device BLOB NOT NULL);
    CREATE TABLE metainfo (info_hash BLOB PRIMARY KEY, bytes BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE share (
        user BLOB NOT NULL, grp BLOB NOT NULL, info_hash BLOB NOT NULL,
        group_label TEXT NOT NULL, label TEXT NOT NULL,
        name TEXT NOT NULL, len INTEGER NOT NULL, piece_len INTEGER NOT NULL, sha1 BLOB NOT NULL,
        path BLOB NOT NULL, modified_ns INTEGER NOT NULL, dev INTEGER NOT NULL, inode INTEGER NOT NULL,
        state INTEGER NOT NULL,
        PRIMARY KEY (user, grp, info_hash)) WITHOUT ROWID;
    CREATE INDEX share_path ON share (path);
    CREATE TABLE download (
        user BLOB NOT NULL, info_hash BLOB NOT NULL, grp BLOB NOT NULL,
        group_label TEXT NOT NULL, label TEXT NOT NULL,
        name TEXT NOT NULL, len INTEGER NOT NULL, piece_len INTEGER NOT NULL, sha1 BLOB NOT NULL,
        target BLOB NOT NULL, state INTEGER NOT NULL, reason TEXT,
        verified BLOB, begun INTEGER NOT NULL,
        PRIMARY KEY (user, info_hash)) WITHOUT ROWID;
";

/// What came with encryption. A device is known by its key, in a file of its own, and remembers
/// which network it trusts. Shares of before have no time at which their file was made: it is taken
/// over at the next login, when all else fits. Of downloads it was not noted which file their
/// `.part` is: that of one with pieces is taken for it (inode 0).
const SCHEMA_2: &str = "
    DROP TABLE identity;
    CREATE TABLE network (only INTEGER PRIMARY KEY CHECK (only = 1), fingerprint BLOB NOT NULL);
    ALTER TABLE share ADD COLUMN born_ns INTEGER;
    ALTER TABLE download ADD COLUMN part_dev INTEGER;
    ALTER TABLE download ADD COLUMN part_inode INTEGER;
    ALTER TABLE download ADD COLUMN part_born_ns INTEGER;
    UPDATE download SET part_dev = 0, part_inode = 0 WHERE ltrim(hex(verified), '0') <> '';
";

/// What came with ids of files that commit to every fact. Files of before have no hash of chaining
/// values.
const SCHEMA_5: &str = "
    ALTER TABLE share ADD COLUMN chain BLOB;
    ALTER TABLE download ADD COLUMN chain BLOB;
";

/// What came with sessions that keep complete downloads in the store alone: they are found by name
/// there. From here on a download may be cancelled and still have its row (state 4).
const SCHEMA_7: &str = "
    CREATE INDEX download_label ON download (user, group_label, label);
";

/// What came with the time at which a download last changed its `.part`. The pieces of downloads of
/// before are hashed again, once.
const SCHEMA_12: &str = "
    ALTER TABLE download ADD COLUMN part_changed_ns INTEGER;
    ALTER TABLE download ADD COLUMN part_is_final INTEGER;
";

/// Whether a share is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShareState {
    /// Not offered; kept so that sharing the file again needs no hashing.
    Stopped,
    /// Offered whenever its user is logged in.
    Offered,
    /// To be offered as soon as a tracker has taken note of it.
    Pending,
}

/// A file that a user of this device shares, or shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareRow {
    /// Whose share.
    pub user: UserId,
    /// In which group.
    pub group: GroupId,
    /// The group's name when last seen.
    pub group_label: Label,
    /// The file's name in the group when last seen.
    pub label: Label,
    /// The content.
    pub facts: FileFacts,
    /// Where it is.
    pub path: PathBuf,
    /// How it looked when it was hashed.
    pub stamp: FileStamp,
    /// Whether it is offered.
    pub state: ShareState,
}

/// How far a download is, as far as the next start needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Goes on with the next session.
    Running,
    /// Paused: by the user (`None`), or for a reason.
    Paused(Option<String>),
    /// Failed, and why.
    Failed(String),
    /// The file is there, whole and checked.
    Complete,
    /// Given up; what was fetched is to be removed, and then the row.
    Cancelled,
}

/// Which file a download's `.part` is. Nothing is done to any other of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnPart {
    /// Whichever is there: an earlier version began it, and did not note more.
    Any,
    /// This one.
    File(InodeId),
}

impl OwnPart {
    /// Tells whether it is that file.
    pub fn is(&self, there: &InodeId) -> bool {
        match self {
            Self::Any => true,
            Self::File(own) => there.is_same_file(own),
        }
    }

    /// Which file it is, if that was noted.
    pub fn file(&self) -> Option<InodeId> {
        match self {
            Self::Any => None,
            Self::File(own) => Some(*own),
        }
    }
}

/// A file that a user of this device downloads, or downloaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownloadRow {
    /// Whose download.
    pub user: UserId,
    /// From which group.
    pub group: GroupId,
    /// The group's name when last seen.
    pub group_label: Label,
    /// The file's name in the group when last seen.
    pub label: Label,
    /// The content.
    pub facts: FileFacts,
    /// The file to be made.
    pub target: PathBuf,
    /// How far it is.
    pub progress: Progress,
    /// Pieces that are on disk for good; `None` before the first.
    pub verified: Option<VerifiedPieces>,
    /// What it has made of its own; `None` before it has.
    pub part: Option<OwnPart>,
    /// When it was asked for, in milliseconds since 1970: orders listings.
    pub begun_ms: u64,
}

/// The open database of one data directory.
#[derive(Debug)]
pub struct DeviceStore {
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
    path: PathBuf,
    /// Held, not read: the lock ends with the descriptor, however the process ends.
    _lock: DirectoryLock,
}

type Result<T> = std::result::Result<T, StoreError>;

/// Undoes a transaction that was not committed. Unlike rusqlite's, its statements are prepared
/// once.
struct Undo<'a>(&'a Connection);

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        if !self.0.is_autocommit()
            && let Err(error) = self.0.execute_batch("ROLLBACK")
        {
            log::warn!("a failed transaction was not undone: {error}");
        }
    }
}

/// Deletes what no share and no download needs any more.
const UNUSED: &str = "
    DELETE FROM metainfo WHERE info_hash NOT IN
        (SELECT info_hash FROM share UNION ALL SELECT info_hash FROM download);
    DELETE FROM chain WHERE info_hash NOT IN
        (SELECT info_hash FROM share UNION ALL SELECT info_hash FROM download);
";

impl DeviceStore {
    /// Opens the data directory, making it if it is not there.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if another process has it open; the others say what is wrong with it.
    pub fn open(dir: &Path) -> Result<Self> {
        let lock = DirectoryLock::take(dir)?;
        let path = dir.join(DATABASE);
        // SQLite makes its other files with the mode of this one.
        let made = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
        made.map_err(|source| StoreError::Io { path: path.clone(), source })?;
        let writer = open_database(&path, KIND)?;
        writer.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        check(&path, &writer)?;
        writer.execute_batch(UNUSED).map_err(|e| StoreError::of(&path, e))?;
        let reader = open_database(&path, KIND)?;
        Ok(Self { writer: Mutex::new(writer), reader: Mutex::new(reader), path, _lock: lock })
    }

    /// Tells whether a store is in a directory.
    pub fn is_in(dir: &Path) -> bool {
        dir.join(DATABASE).is_file()
    }

    /// Looks which network the store in a directory trusts, which keys took the place of others, and
    /// which trackers it was told of, without opening it for use: another process may have it open,
    /// and an earlier version may have made it, and has not noted all of that.
    ///
    /// # Errors
    /// SQLite's.
    pub fn look(dir: &Path) -> Result<(Option<Fingerprint>, Vec<SuccessorRow>, Vec<String>)> {
        let path = dir.join(DATABASE);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = Connection::open_with_flags(&path, flags);
        let connection = opened.map_err(|e| StoreError::of(&path, e))?;
        Ok(trackers::look(&connection))
    }

    /// Runs a query; names the database in errors.
    fn with<T>(&self, look: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        look(&self.reader.lock()).map_err(|e| StoreError::of(&self.path, e))
    }

    /// Changes something, all or nothing; names the database in errors.
    fn write<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        let connection = self.writer.lock();
        let change = || {
            execute(&connection, "BEGIN IMMEDIATE", [])?;
            let _undo = Undo(&connection);
            let result = work(&connection)?;
            execute(&connection, "COMMIT", [])?;
            Ok(result)
        };
        change().map_err(|e| StoreError::of(&self.path, e))
    }

    /// Looks up a row by its key. The writing connection knows the pages that it has written; the
    /// other one reads them again after each transaction.
    fn look_up<T>(&self, look: impl Fn(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        match self.writer.try_lock() {
            Some(connection) => look(&connection).map_err(|e| StoreError::of(&self.path, e)),
            None => self.with(look),
        }
    }

    /// The fingerprint of the network that this device trusts, if one was met or named.
    ///
    /// # Errors
    /// Those of the database.
    pub fn network(&self) -> Result<Option<Fingerprint>> {
        let found = self.with(|c| {
            c.query_row("SELECT fingerprint FROM network", [], |row| row.get::<_, [u8; 32]>(0))
                .optional()
        })?;
        Ok(found.map(Fingerprint::from_bytes))
    }

    /// Remembers the network that this device trusts.
    ///
    /// # Errors
    /// Those of the database.
    pub fn set_network(&self, fingerprint: Fingerprint) -> Result<()> {
        self.execute(
            "INSERT OR REPLACE INTO network (only, fingerprint) VALUES (1, ?1)",
            params![fingerprint.as_bytes()],
        )
    }

    fn execute(&self, sql: &str, params: impl rusqlite::Params) -> Result<()> {
        self.write(|c| execute(c, sql, params))
    }

    /// Every share of the user, offered or not, by group and file name.
    ///
    /// # Errors
    /// SQLite's.
    pub fn shares(&self, user: UserId) -> Result<Vec<ShareRow>> {
        let sql = "SELECT * FROM share WHERE user = ?1 ORDER BY group_label, label, info_hash";
        self.with(|c| c.prepare_cached(sql)?.query_map([user.as_bytes()], share_row)?.collect())
    }

    /// What is known about files at `path` from shares by whomever, offered or not.
    ///
    /// # Errors
    /// SQLite's.
    pub fn shares_at(&self, path: &Path) -> Result<Vec<ShareRow>> {
        let (sql, bytes) = ("SELECT * FROM share WHERE path = ?1", path.as_os_str().as_bytes());
        self.with(|c| c.prepare_cached(sql)?.query_map([bytes], share_row)?.collect())
    }

    /// Every download of the user, in the order they were asked for.
    ///
    /// # Errors
    /// SQLite's.
    pub fn downloads(&self, user: UserId) -> Result<Vec<DownloadRow>> {
        let sql = "SELECT * FROM download WHERE user = ?1 ORDER BY begun, info_hash";
        self.with(|c| c.prepare_cached(sql)?.query_map([user.as_bytes()], download_row)?.collect())
    }

    /// Those that are not complete.
    ///
    /// # Errors
    /// SQLite's.
    pub fn unfinished_downloads(&self, user: UserId) -> Result<Vec<DownloadRow>> {
        let sql = "SELECT * FROM download WHERE user = ?1 AND state <> 3 ORDER BY begun, info_hash";
        self.with(|c| c.prepare_cached(sql)?.query_map([user.as_bytes()], download_row)?.collect())
    }

    /// The user's download of that content.
    ///
    /// # Errors
    /// SQLite's.
    pub fn download(&self, user: UserId, info_hash: InfoHash) -> Result<Option<DownloadRow>> {
        let sql = "SELECT * FROM download WHERE user = ?1 AND info_hash = ?2";
        self.look_up(|c| {
            let params = params![user.as_bytes(), info_hash.as_bytes()];
            c.prepare_cached(sql)?.query_row(params, download_row).optional()
        })
    }

    /// The latest complete download of the user with these names.
    ///
    /// # Errors
    /// SQLite's.
    pub fn complete_download(
        &self,
        user: UserId,
        group_label: &str,
        label: &str,
    ) -> Result<Option<DownloadRow>> {
        let sql = "SELECT * FROM download WHERE user = ?1 AND state = 3 AND group_label = ?2
            AND label = ?3 ORDER BY begun DESC LIMIT 1";
        self.with(|c| {
            let params = params![user.as_bytes(), group_label, label];
            c.prepare_cached(sql)?.query_row(params, download_row).optional()
        })
    }

    /// Keeps a metainfo.
    ///
    /// # Errors
    /// SQLite's.
    pub fn put_metainfo(&self, metainfo: &Metainfo) -> Result<()> {
        self.write(|connection| put_metainfo(connection, metainfo))
    }

    /// Tells whether the metainfo of a file is known.
    ///
    /// # Errors
    /// SQLite's.
    pub fn has_metainfo(&self, facts: &FileFacts) -> Result<bool> {
        if Metainfo::of_small(facts).is_some() {
            return Ok(true);
        }
        let (sql, key) = (
            "SELECT EXISTS (SELECT 1 FROM metainfo WHERE info_hash = ?1)",
            [facts.info_hash.as_bytes()],
        );
        self.with(|c| c.prepare_cached(sql)?.query_row(key, |row| row.get(0)))
    }

    /// The metainfo of a file: that of a file of one piece follows from the facts, that of a longer
    /// one is there if it was kept and is whole.
    ///
    /// # Errors
    /// SQLite's.
    pub fn metainfo(&self, facts: &FileFacts) -> Result<Option<Metainfo>> {
        if let Some(metainfo) = Metainfo::of_small(facts) {
            return Ok(Some(metainfo));
        }
        let (sql, info_hash) = ("SELECT bytes FROM metainfo WHERE info_hash = ?1", facts.info_hash);
        let bytes: Option<Vec<u8>> = self.with(|c| {
            c.prepare_cached(sql)?.query_row([info_hash.as_bytes()], |row| row.get(0)).optional()
        })?;
        let metainfo = bytes.and_then(|bytes| Metainfo::from_bytes(&bytes).ok());
        Ok(metainfo.filter(|metainfo| metainfo.info_hash() == info_hash))
    }
}

fn check(path: &Path, connection: &Connection) -> Result<()> {
    let verdict: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|e| StoreError::of(path, e))?;
    if verdict == "ok" {
        Ok(())
    } else {
        Err(StoreError::Damaged { path: path.to_owned(), why: verdict })
    }
}

fn execute(
    connection: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute(params).map(drop)
}

/// Keeps a metainfo; that of a file of one piece follows from the facts.
fn put_metainfo(connection: &Connection, metainfo: &Metainfo) -> rusqlite::Result<()> {
    if metainfo.geometry().piece_count() <= 1 {
        return Ok(());
    }
    let (sql, bytes) = ("INSERT OR REPLACE INTO metainfo VALUES (?1, ?2)", metainfo.to_bytes());
    execute(connection, sql, params![metainfo.info_hash().as_bytes(), bytes])
}

/// Adds a download, or changes in its row what changes while it runs; no index holds that. Changes
/// nothing if the row is about another group, name, content or target.
const PUT_DOWNLOAD: &str = "
    INSERT INTO download
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18,
            ?19, ?20)
    ON CONFLICT DO UPDATE SET state = ?11, reason = ?12, verified = ?13, begun = ?14,
        part_dev = ?15, part_inode = ?16, part_born_ns = ?17, part_changed_ns = ?19,
        part_is_final = ?20
        WHERE (grp, group_label, label, name, len, piece_len, sha1, target, chain)
            IS (?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?18)";
const REPLACE_DOWNLOAD: &str = "INSERT OR REPLACE INTO download
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19,
        ?20)";

/// Adds a share, or changes its state and its file's stamp; no index holds these. Changes nothing if
/// the row is about another name, content or path.
const PUT_SHARE: &str = "
    INSERT INTO share
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)
    ON CONFLICT DO UPDATE SET modified_ns = ?11, dev = ?12, inode = ?13, state = ?14, born_ns = ?15
        WHERE (group_label, label, name, len, piece_len, sha1, path, chain)
            IS (?4, ?5, ?6, ?7, ?8, ?9, ?10, ?16)";
const REPLACE_SHARE: &str = "INSERT OR REPLACE INTO share
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)";

/// Adds or changes a row; replaces it if that changes nothing.
fn put(
    connection: &Connection,
    [change, replace]: [&str; 2],
    params: &[&dyn rusqlite::ToSql],
) -> rusqlite::Result<()> {
    if connection.prepare_cached(change)?.execute(params)? == 0 {
        execute(connection, replace, params)?;
    }
    Ok(())
}

fn put_download(connection: &Connection, row: &DownloadRow) -> rusqlite::Result<()> {
    let facts = &row.facts;
    let (state, reason) = progress(&row.progress);
    let (part_dev, part_inode, part_born_ns) = part_columns(row.part);
    let stamp = row.verified.as_ref().and_then(|verified| verified.part);
    put(
        connection,
        [PUT_DOWNLOAD, REPLACE_DOWNLOAD],
        params![
            row.user.as_bytes(),
            facts.info_hash.as_bytes(),
            row.group.as_bytes(),
            row.group_label.as_str(),
            row.label.as_str(),
            facts.name.as_str(),
            facts.len as i64,
            facts.piece_len,
            facts.sha1.as_bytes(),
            row.target.as_os_str().as_bytes(),
            state,
            reason,
            row.verified.as_ref().map(|verified| verified.pieces.as_bytes()),
            row.begun_ms as i64,
            part_dev,
            part_inode,
            part_born_ns,
            facts.chain.as_ref().map(ChainHash::as_bytes),
            stamp.map(|stamp| stamp.changed_ns),
            stamp.map(|stamp| stamp.is_final),
        ],
    )
}

fn put_share(connection: &Connection, row: &ShareRow) -> rusqlite::Result<()> {
    let facts = &row.facts;
    put(
        connection,
        [PUT_SHARE, REPLACE_SHARE],
        params![
            row.user.as_bytes(),
            row.group.as_bytes(),
            facts.info_hash.as_bytes(),
            row.group_label.as_str(),
            row.label.as_str(),
            facts.name.as_str(),
            facts.len as i64,
            facts.piece_len,
            facts.sha1.as_bytes(),
            row.path.as_os_str().as_bytes(),
            row.stamp.modified_ns,
            row.stamp.dev as i64,
            row.stamp.inode as i64,
            share_state(row.state),
            row.stamp.born_ns,
            facts.chain.as_ref().map(ChainHash::as_bytes),
        ],
    )
}

fn share_state(state: ShareState) -> i64 {
    match state {
        ShareState::Stopped => 0,
        ShareState::Offered => 1,
        ShareState::Pending => 2,
    }
}

/// A `.part` as its three columns: device, inode, time of making. No file has the number 0.
fn part_columns(part: Option<OwnPart>) -> (Option<i64>, Option<i64>, Option<i64>) {
    match part {
        None => (None, None, None),
        Some(OwnPart::Any) => (Some(0), Some(0), None),
        Some(OwnPart::File(id)) => (Some(id.dev as i64), Some(id.inode as i64), id.born_ns),
    }
}

fn part(row: &Row<'_>) -> rusqlite::Result<Option<OwnPart>> {
    let numbers =
        row.get::<_, Option<i64>>("part_dev")?.zip(row.get::<_, Option<i64>>("part_inode")?);
    let born_ns = row.get("part_born_ns")?;
    Ok(numbers.map(|(dev, inode)| match inode {
        0 => OwnPart::Any,
        _ => OwnPart::File(InodeId { dev: dev as u64, inode: inode as u64, born_ns }),
    }))
}

fn progress(progress: &Progress) -> (i64, Option<&str>) {
    match progress {
        Progress::Running => (0, None),
        Progress::Paused(reason) => (1, reason.as_deref()),
        Progress::Failed(reason) => (2, Some(reason)),
        Progress::Complete => (3, None),
        Progress::Cancelled => (4, None),
    }
}

/// Reads a value that its type has to accept.
fn parsed<T: std::str::FromStr>(row: &Row<'_>, column: &str) -> rusqlite::Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text: String = row.get(column)?;
    text.parse().map_err(|e| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(e))
    })
}

fn facts(row: &Row<'_>) -> rusqlite::Result<FileFacts> {
    Ok(FileFacts {
        info_hash: InfoHash::from_bytes(row.get("info_hash")?),
        name: parsed(row, "name")?,
        len: row.get::<_, i64>("len")? as u64,
        piece_len: row.get("piece_len")?,
        sha1: Sha1Digest::from_bytes(row.get("sha1")?),
        chain: row.get::<_, Option<_>>("chain")?.map(ChainHash::from_bytes),
    })
}

fn path(row: &Row<'_>, column: &str) -> rusqlite::Result<PathBuf> {
    row.get::<_, Vec<u8>>(column).map(|bytes| std::ffi::OsString::from_vec(bytes).into())
}

fn share_row(row: &Row<'_>) -> rusqlite::Result<ShareRow> {
    let facts = facts(row)?;
    let stamp = FileStamp {
        len: facts.len,
        modified_ns: row.get("modified_ns")?,
        dev: row.get::<_, i64>("dev")? as u64,
        inode: row.get::<_, i64>("inode")? as u64,
        born_ns: row.get("born_ns")?,
    };
    Ok(ShareRow {
        user: UserId::from_bytes(row.get("user")?),
        group: GroupId::from_bytes(row.get("grp")?),
        group_label: parsed(row, "group_label")?,
        label: parsed(row, "label")?,
        facts,
        path: path(row, "path")?,
        stamp,
        state: match row.get::<_, i64>("state")? {
            0 => ShareState::Stopped,
            1 => ShareState::Offered,
            _ => ShareState::Pending,
        },
    })
}

fn download_row(row: &Row<'_>) -> rusqlite::Result<DownloadRow> {
    let facts = facts(row)?;
    let reason: Option<String> = row.get("reason")?;
    let count = facts.piece_count();
    let verified: Option<Vec<u8>> = row.get("verified")?;
    let changed: Option<(i64, bool)> =
        row.get::<_, Option<_>>("part_changed_ns")?.zip(row.get("part_is_final")?);
    let stamp = changed.map(|(changed_ns, is_final)| PartStamp { changed_ns, is_final });
    Ok(DownloadRow {
        user: UserId::from_bytes(row.get("user")?),
        group: GroupId::from_bytes(row.get("grp")?),
        group_label: parsed(row, "group_label")?,
        label: parsed(row, "label")?,
        facts,
        target: path(row, "target")?,
        progress: match row.get::<_, i64>("state")? {
            0 => Progress::Running,
            1 => Progress::Paused(reason),
            2 => Progress::Failed(reason.unwrap_or_default()),
            4 => Progress::Cancelled,
            _ => Progress::Complete,
        },
        // A bitfield that does not fit vouches for nothing; the pieces are hashed again.
        verified: verified.map(|bytes| VerifiedPieces {
            pieces: Bitfield::from_bytes(bytes, count).unwrap_or_else(|_| Bitfield::empty(count)),
            part: stamp,
        }),
        part: part(row)?,
        begun_ms: row.get::<_, i64>("begun")? as u64,
    })
}

#[cfg(test)]
mod tests;
