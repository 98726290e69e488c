//! The file a download grows in: `<target>.part`, until it is complete and gets its name.
//!
//! **Invariant:** nothing that was there before is ever overwritten: a `.part` that is not ours is refused, and the final name is
//! given by a rename that fails if the name is taken.
//!
//! Every method does disk IO and may block; none is called under a lock.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rustix::fs::{CWD, FlockOperation, OFlags, RenameFlags, SeekFrom};

use super::api::EngineError;
use crate::types::{InfoHash, limits};

/// What may be written while a download runs; a seam where tests make disks fail.
pub(super) trait Disk: Send + Sync {
    /// Writes all of `bytes` at `offset`.
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    /// Makes written data durable.
    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }
}

/// The disk as it is.
pub(super) struct SystemDisk;

impl Disk for SystemDisk {}

/// Says why a download's file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum StorageError {
    #[error("{} exists and was not begun by this device; move it away or choose another name", .0.display())]
    Foreign(PathBuf),
    #[error("{} is not a plain file of its own", .0.display())]
    NotAFile(PathBuf),
    #[error("{} is in use by another process", .0.display())]
    Locked(PathBuf),
    #[error("{} appeared meanwhile and is left alone; the data is in {}", .target.display(), .part.display())]
    TargetExists { target: PathBuf, part: PathBuf },
    #[error("{} was replaced while it was being written", .0.display())]
    Replaced(PathBuf),
    #[error("{} was cut short while it was being written", .0.display())]
    Cut(PathBuf),
    #[error("cannot write {}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// An open `.part`, locked against other processes.
pub(super) struct PartFile {
    file: File,
    part: PathBuf,
    target: PathBuf,
    len: u64,
    disk: Arc<dyn Disk>,
    /// One at a time makes the data durable: the system tells of a lost write once, and whoever hears of it tells the others.
    syncing: Mutex<()>,
    /// Writes were lost.
    lost: AtomicBool,
}

impl PartFile {
    /// Opens the `.part` of a download of `len` bytes, or makes it. An existing one is taken only if it is `ours`.
    pub(super) fn open(
        target: &Path,
        info_hash: InfoHash,
        len: u64,
        ours: bool,
        disk: Arc<dyn Disk>,
    ) -> Result<Self, StorageError> {
        let part = part_path(target, info_hash);
        let failed = |source| StorageError::Io { path: part.clone(), source };
        let file = match open_plain(&part, false) {
            Ok(_) if !ours => return Err(StorageError::Foreign(part)),
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => open_plain(&part, true).map_err(failed)?,
            Err(e) if e.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
                return Err(StorageError::NotAFile(part));
            }
            Err(e) => return Err(failed(e)),
        };
        let facts = file.metadata().map_err(failed)?;
        if !facts.is_file() || facts.nlink() != 1 {
            return Err(StorageError::NotAFile(part));
        }
        // A file system without locks has none to respect.
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) == Err(rustix::io::Errno::WOULDBLOCK) {
            return Err(StorageError::Locked(part));
        }
        if facts.len() != len {
            file.set_len(len).map_err(failed)?;
        }
        let (syncing, lost) = (Mutex::new(()), AtomicBool::new(false));
        Ok(Self { file, part, target: target.to_owned(), len, disk, syncing, lost })
    }

    /// The `.part`'s name, for messages.
    pub(super) fn name(&self) -> String {
        self.part.display().to_string()
    }

    /// Writes a verified piece. Zeros are not written where there is a hole, so that a sparse file stays one.
    pub(super) fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let end = offset.saturating_add(bytes.len() as u64);
        let is_hole = || self.next_data(offset).is_none_or(|data| data >= end);
        if is_zeros(bytes) && is_hole() { Ok(()) } else { self.disk.write(&self.file, bytes, offset) }
    }

    /// Writes a piece that may have been lost on its way to the disk, though it can still be read.
    pub(super) fn write_again(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.disk.write(&self.file, bytes, offset)
    }

    /// Reads what was written.
    pub(super) fn read(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset)
    }

    /// Makes everything written durable. When that has failed once, it fails from then on: the system does not try again with what it
    /// could not write, and forgets that it could not. The file is to be opened anew, and what no earlier call made durable, written again.
    pub(super) fn sync(&self) -> io::Result<()> {
        let _one = self.syncing.lock();
        if self.has_lost() {
            return Err(io::Error::other("what was written earlier did not reach the disk"));
        }
        self.disk.sync(&self.file).inspect_err(|_| self.lost.store(true, Ordering::Release))
    }

    /// Tells whether a sync has failed.
    pub(super) fn has_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Offset of the first data at or after `offset`; `None` if only a hole follows.
    pub(super) fn next_data(&self, offset: u64) -> Option<u64> {
        match rustix::fs::seek(&self.file, SeekFrom::Data(offset)) {
            Ok(data) => Some(data),
            Err(rustix::io::Errno::NXIO) => None,
            // The file system cannot tell: everything may be data.
            Err(_) => Some(offset),
        }
    }

    /// Makes the data durable, then gives the file its name; returns the time of last modification.
    pub(super) fn finish(&self) -> Result<i64, StorageError> {
        let failed = |source| StorageError::Io { path: self.part.clone(), source };
        self.sync().and_then(|()| self.file.sync_all()).map_err(failed)?;
        self.check_ours()?;
        if self.file.metadata().map_err(failed)?.len() != self.len {
            return Err(StorageError::Cut(self.part.clone()));
        }
        self.rename().map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => StorageError::TargetExists { target: self.target.clone(), part: self.part.clone() },
            _ => StorageError::Io { path: self.target.clone(), source: e },
        })?;
        // The data is durable and the name is given; whether the name survives a crash now is the file system's word.
        let _ = File::open(parent(&self.target)).and_then(|directory| directory.sync_all());
        self.file.metadata().map(|facts| modified_ns(&facts)).map_err(failed)
    }

    /// Removes the `.part`, if it is still ours.
    pub(super) fn remove(&self) -> io::Result<()> {
        match self.check_ours() {
            Ok(()) => fs::remove_file(&self.part),
            Err(_) => Ok(()),
        }
    }

    fn rename(&self) -> io::Result<()> {
        use rustix::io::Errno;
        match rustix::fs::renameat_with(CWD, &self.part, CWD, &self.target, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                fs::hard_link(&self.part, &self.target)?;
                fs::remove_file(&self.part)
            }
            other => Ok(other?),
        }
    }

    fn check_ours(&self) -> Result<(), StorageError> {
        let identity = |facts: fs::Metadata| (facts.dev(), facts.ino());
        let (held, named) = (self.file.metadata().map(identity), fs::symlink_metadata(&self.part).map(identity));
        match (held, named) {
            (Ok(held), Ok(named)) if held == named => Ok(()),
            _ => Err(StorageError::Replaced(self.part.clone())),
        }
    }
}

/// The name under which the data of `target` is kept until it is complete.
pub fn part_path(target: &Path, info_hash: InfoHash) -> PathBuf {
    let name = target.file_name().unwrap_or_default();
    let mut part = OsString::from(name);
    part.push(".part");
    if part.len() > limits::FILE_NAME_LEN_MAX {
        let text = name.to_string_lossy();
        let mut cut = limits::FILE_NAME_LEN_MAX - 32;
        while !text.is_char_boundary(cut) {
            cut -= 1;
        }
        part = format!("{}.{:.16}.part", &text[..cut], info_hash.to_string()).into();
    }
    target.with_file_name(part)
}

/// Refuses what can be seen to fail at once: the name is taken, or there is no room for a file of `len` bytes of which `lacking` will be written.
pub(super) fn check_target(target: &Path, info_hash: InfoHash, len: u64, lacking: u64) -> Result<(), EngineError> {
    match fs::symlink_metadata(target) {
        Ok(_) => return Err(EngineError::TargetExists(target.to_owned())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(EngineError::Target { path: target.to_owned(), source }),
    }
    let there = fs::symlink_metadata(part_path(target, info_hash)).map_or(0, |facts| facts.blocks() * 512);
    let need = len.saturating_sub(there).min(lacking);
    let room =
        rustix::fs::statvfs(parent(target)).map_err(|e| EngineError::Target { path: target.to_owned(), source: e.into() })?;
    let free = room.f_bavail.saturating_mul(room.f_frsize);
    if need > free { Err(EngineError::NoRoom { need, free }) } else { Ok(()) }
}

/// Time of last modification in nanoseconds since 1970.
pub(super) fn modified_ns(facts: &fs::Metadata) -> i64 {
    facts.mtime().saturating_mul(1_000_000_000).saturating_add(facts.mtime_nsec())
}

/// Opens without following a link in the last component, and without waiting for the other end of a pipe.
fn open_plain(path: &Path, create: bool) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    OpenOptions::new().read(true).write(true).create_new(create).custom_flags(flags).open(path)
}

/// Tells whether all bytes are zero: each equals the one before it, which the system compares many at a time.
fn is_zeros(bytes: &[u8]) -> bool {
    bytes.first().is_none_or(|first| *first == 0) && bytes.get(1..).is_none_or(|rest| *rest == bytes[..rest.len()])
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests;
