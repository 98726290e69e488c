//! The file a download grows in: `<target>.part`, until it is complete and gets its name.
//!
//! **Invariant:** nothing that was there before is ever overwritten: a `.part` that is not ours is
//! refused unless it is empty, and the final name is given by a rename that fails if the name is
//! taken. A new `.part` stays empty until the host has noted that it is ours: a client killed
//! before finds an empty one, and takes it. Symbolic links are followed only on the way to the
//! directory, which is looked up once and kept open: both names are names in it.
//!
//! What others change in it meanwhile is noticed ([`watch`]), so that it can be read again.
//!
//! Every method does disk IO and may block; none is called under a lock.

mod watch;

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, SeekFrom};
use rustix::io::Errno;

use self::watch::Watch;
use crate::files::{Named, Naming, SystemNaming, rename};
use crate::swarm::api::EngineError;
use crate::swarm::disk::file_systems::{FileSystems, numbers_anew};
use crate::types::{FileStamp, InfoHash, InodeId, PartStamp, limits};

/// How a download's data is written and read; a trait so that tests can make disks fail.
pub(crate) trait Disk: Send + Sync {
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    fn read(&self, file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        file.read_exact_at(bytes, offset)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn naming(&self) -> &dyn Naming {
        &SystemNaming
    }
}

/// The disk as it is.
pub(crate) struct SystemDisk;

impl Disk for SystemDisk {}

/// The disk, and the file systems in use on it.
#[derive(Clone)]
pub(crate) struct Disks {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) file_systems: Arc<FileSystems>,
}

impl Disks {
    pub(crate) fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk, file_systems: Arc::default() }
    }
}

/// Says why a download's file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StorageError {
    #[error("{} exists and was not begun by this device; move it away or choose another name", .0.display())]
    Foreign(PathBuf),
    #[error("{} is {what}, and is left alone; move it away or choose another name", .path.display())]
    NotAFile { path: PathBuf, what: &'static str },
    #[error("{}", missing_part(.0))]
    Missing(PathBuf),
    #[error("{} is in use by another process", .0.display())]
    Locked(PathBuf),
    #[error("{} appeared meanwhile and is left alone; the data is in {}", .target.display(), .part.display())]
    TargetExists { target: PathBuf, part: PathBuf },
    #[error("the file system of {} refuses that name ({source}); fetch the file with --rename-safe, or name another path", .path.display())]
    NameRefused { path: PathBuf, source: io::Error },
    #[error("{} was replaced while it was being written", .0.display())]
    Replaced(PathBuf),
    #[error("{} was written to by another program", .0.display())]
    Touched(PathBuf),
    #[error("cannot write {}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// An open `.part`, locked against other processes.
pub(crate) struct PartFile {
    file: File,
    id: InodeId,
    /// There was nothing in it before.
    is_new: bool,
    /// It is the file that was known, not only one of that name and length.
    is_certain: bool,
    /// When it had been changed last before it was opened ([`PartStamp::changed_ns`]).
    changed_ns: i64,
    /// The directory of both names.
    directory: OwnedFd,
    part: PathBuf,
    target: PathBuf,
    len: u64,
    disks: Disks,
    /// One thread at a time syncs: the system reports a lost write once, and the thread that sees
    /// it tells the others by `lost`.
    syncing: Mutex<()>,
    /// Writes were lost.
    lost: AtomicBool,
    watch: Watch,
}

impl PartFile {
    /// Opens the `.part` of a download of `len` bytes, or makes it. An existing one is taken only
    /// if it is empty, or `ours` and the file that is `known`, if one is; nothing is done to any
    /// other, and one that is known is not made anew: it may be on a disk that is not mounted. It
    /// is to get its length by [`PartFile::allot`] once its id is noted.
    pub(crate) fn open(
        target: &Path,
        info_hash: InfoHash,
        len: u64,
        (ours, known): (bool, Option<InodeId>),
        disks: Disks,
    ) -> Result<Self, StorageError> {
        let part = part_path(target, info_hash);
        let failed = |source| StorageError::Io { path: part.clone(), source };
        let directory = open_directory(parent(target)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound if known.is_some() => StorageError::Missing(part.clone()),
            _ => failed(error),
        })?;
        let may_make = known.is_none();
        let file = open_part(disks.disk.naming(), &directory, &part, ours, may_make);
        let file = file.map_err(|error| match error {
            // The user knows the name without `.part`.
            StorageError::NameRefused { source, .. } => {
                StorageError::NameRefused { path: target.to_owned(), source }
            }
            other => other,
        })?;
        // Asked again once it is locked: another process may have begun to fill it.
        let look = || {
            let facts = file.metadata().map_err(failed)?;
            let (id, is_new) = (InodeId::new(&facts), is_empty(&facts));
            let is_certain = known.is_none_or(|known| id.is_same_file(&known));
            // Where a file's number does not last, its name and length have to do.
            let is_ours = is_certain || facts.len() == len && numbers_anew(parent(target));
            match is_new || ours && is_ours {
                true => Ok((id, is_new, is_certain, PartStamp::changed_ns(&facts))),
                false => Err(StorageError::Foreign(part.clone())),
            }
        };
        look()?;
        // A file system without locks has none to respect.
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)
            == Err(Errno::WOULDBLOCK)
        {
            return Err(StorageError::Locked(part));
        }
        let (id, is_new, is_certain, changed_ns) = look()?;
        let (syncing, lost) = (Mutex::new(()), AtomicBool::new(false));
        let watch = Watch::new(&file);
        Ok(Self {
            file,
            id,
            is_new,
            is_certain,
            changed_ns,
            directory,
            part,
            target: target.to_owned(),
            len,
            disks,
            syncing,
            lost,
            watch,
        })
    }

    pub(crate) fn id(&self) -> InodeId {
        self.id
    }

    /// Gives it the length of the whole: from now on it is refused to a client that does not know
    /// that it is ours.
    pub(crate) fn allot(&self) -> Result<(), StorageError> {
        let there = self.file.metadata().map(|facts| facts.len());
        let done = there.and_then(|there| if there == self.len { Ok(()) } else { self.set_len() });
        done.map_err(|source| StorageError::Io { path: self.part.clone(), source })
    }

    pub(crate) fn is_new(&self) -> bool {
        self.is_new
    }

    /// Tells whether it is the file that was known, and was as the download had left it when it was
    /// opened: else its pieces are to be hashed.
    pub(crate) fn is_as_left(&self, left: Option<PartStamp>) -> bool {
        self.is_certain && left.is_some_and(|left| left.fits(self.changed_ns))
    }

    /// Returns when we last changed it; `None` if another process may have changed it since, or the
    /// file system does not say. Asks for it as it is `final` after the last write. Never blocks.
    pub(crate) fn stamp(&self, is_final: bool) -> Option<PartStamp> {
        self.watch.stamp(is_final)
    }

    pub(crate) fn name(&self) -> String {
        self.part.display().to_string()
    }

    /// Writes a verified piece. Zeros are not written where there is a hole, so that a sparse file
    /// stays one.
    pub(crate) fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let _operation = self.disks.file_systems.begin(self.id.dev);
        let end = offset.saturating_add(bytes.len() as u64);
        let is_hole = || self.next_data(offset).is_none_or(|data| data >= end);
        match is_zeros(bytes) && is_hole() {
            true => Ok(()),
            false => self.write_data(bytes, offset),
        }
    }

    /// Writes a piece that may have been lost on its way to the disk, though it can still be read.
    pub(crate) fn write_again(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let _operation = self.disks.file_systems.begin(self.id.dev);
        self.write_data(bytes, offset)
    }

    fn write_data(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.watch.change(&self.file, || self.disks.disk.write(&self.file, bytes, offset))
    }

    fn set_len(&self) -> io::Result<()> {
        self.watch.change(&self.file, || self.file.set_len(self.len))
    }

    /// Tells whether another process may have changed what is in it.
    pub(crate) fn is_touched(&self) -> bool {
        let _operation = self.disks.file_systems.begin(self.id.dev);
        self.watch.is_touched(&self.file)
    }

    /// Tells whether another process is known to have written to it: nothing of it is to be served.
    pub(crate) fn is_written(&self) -> bool {
        self.watch.is_written()
    }

    /// Takes it as it is now for unchanged, and gives it its length again: what is in it is to be
    /// checked after this.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn accept_changes(&self) -> io::Result<()> {
        let _operation = self.disks.file_systems.begin(self.id.dev);
        self.watch.accept(&self.file);
        if self.file.metadata()?.len() == self.len { Ok(()) } else { self.set_len() }
    }

    pub(crate) fn read(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let _operation = self.disks.file_systems.begin(self.id.dev);
        self.disks.disk.read(&self.file, bytes, offset)
    }

    /// Has the file share the blocks of another of the same length, where the file system can: what
    /// was there is gone.
    ///
    /// # Errors
    /// The system's, on most file systems, and for another file system's file: nothing has changed
    /// then.
    pub(crate) fn clone_from(&self, source: &File) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        self.watch.change(&self.file, || rustix::fs::ioctl_ficlone(&self.file, source))?;
        #[cfg(not(target_os = "linux"))]
        return Err(io::Error::from(io::ErrorKind::Unsupported));
        // It may have been written to meanwhile, and be longer or shorter now.
        self.set_len()
    }

    /// Makes everything written durable. When that has failed once, it fails from then on: the
    /// system does not try again with what it could not write, and forgets that it could not. The
    /// file is to be opened anew, and what no earlier call made durable, written again.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let _one = self.syncing.lock();
        if self.has_lost() {
            return Err(io::Error::other("what was written earlier did not reach the disk"));
        }
        self.disks.disk.sync(&self.file).inspect_err(|_| self.lost.store(true, Ordering::Release))
    }

    pub(crate) fn has_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Offset of the first data at or after `offset`; `None` if only a hole follows.
    pub(crate) fn next_data(&self, offset: u64) -> Option<u64> {
        match rustix::fs::seek(&self.file, SeekFrom::Data(offset)) {
            Ok(data) => Some(data),
            Err(rustix::io::Errno::NXIO) => None,
            // The file system cannot tell: everything may be data.
            Err(_) => Some(offset),
        }
    }

    /// Makes it durable and gives it its final name.
    ///
    /// # Errors
    /// [`StorageError::Touched`] if another process may have changed it: it still has its name
    /// then, and is to be checked.
    pub(crate) fn finish(&self) -> Result<FileStamp, StorageError> {
        let failed = |source| StorageError::Io { path: self.part.clone(), source };
        self.sync().and_then(|()| self.file.sync_all()).map_err(failed)?;
        self.check_directory()?;
        self.check_ours(&self.part)?;
        let checked = FileStamp::new(&self.file.metadata().map_err(failed)?);
        if self.is_touched() || checked.len != self.len {
            return Err(StorageError::Touched(self.part.clone()));
        }
        let named = self.rename().map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => {
                StorageError::TargetExists { target: self.target.clone(), part: self.part.clone() }
            }
            _ => StorageError::Io { path: self.target.clone(), source: e },
        })?;
        if let Some(lacking) = named.lacking() {
            log::warn!("{}: its file system {lacking}", self.target.display());
        }
        // Between the check and the rename another file may have been put there; then that one has
        // the name.
        let stamp = self.stamp_of_target(named, &checked)?;
        // The data is durable and the name is given; whether the name survives a crash now is the
        // file system's word.
        let again = rustix::fs::openat(
            &self.directory,
            ".",
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        );
        let _ = again.and_then(rustix::fs::fsync);
        Ok(stamp)
    }

    pub(crate) fn remove(&self) -> io::Result<()> {
        match self.check_ours(&self.part) {
            Ok(()) => {
                Ok(rustix::fs::unlinkat(&self.directory, name_of(&self.part), AtFlags::empty())?)
            }
            Err(_) => Ok(()),
        }
    }

    fn rename(&self) -> io::Result<Named> {
        let calls = self.disks.disk.naming();
        rename(calls, &self.directory, name_of(&self.part), name_of(&self.target))
    }

    /// Returns how the file looks under its final name, with the length and time of when it was
    /// `checked`: one that was written to since is not served.
    fn stamp_of_target(
        &self,
        named: Named,
        checked: &FileStamp,
    ) -> Result<FileStamp, StorageError> {
        let replaced = || StorageError::Replaced(self.target.clone());
        let facts = fs::symlink_metadata(&self.target).map_err(|_| replaced())?;
        let (FileStamp { len, modified_ns, .. }, there) = (*checked, FileStamp::new(&facts));
        // Some file systems in user space number each name of a file.
        let is_ours = match named {
            Named::Linked => {
                facts.is_file() && (there.len, there.modified_ns) == (len, modified_ns)
            }
            Named::Renamed | Named::Replaced => self.check_ours(&self.target).is_ok(),
        };
        if !is_ours {
            return Err(replaced());
        }
        Ok(FileStamp { len, modified_ns, ..there })
    }

    /// Tells whether a path in the directory is the name of the file that we hold.
    fn check_ours(&self, path: &Path) -> Result<(), StorageError> {
        let held = rustix::fs::fstat(&self.file);
        let named = rustix::fs::statat(&self.directory, name_of(path), AtFlags::SYMLINK_NOFOLLOW);
        match (held, named) {
            (Ok(held), Ok(named)) if (held.st_dev, held.st_ino) == (named.st_dev, named.st_ino) => {
                Ok(())
            }
            _ => Err(StorageError::Replaced(path.to_owned())),
        }
    }

    /// Tells whether the path still leads to the directory that we hold: the file is to be where
    /// the user will look for it.
    fn check_directory(&self) -> Result<(), StorageError> {
        let path = parent(&self.target);
        match (rustix::fs::fstat(&self.directory), rustix::fs::stat(path)) {
            (Ok(held), Ok(named)) if (held.st_dev, held.st_ino) == (named.st_dev, named.st_ino) => {
                Ok(())
            }
            _ => Err(StorageError::Replaced(path.to_owned())),
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

/// Refuses what can be seen to fail at once: the name is taken, or there is no room for a file of
/// `len` bytes of which `lacking` will be written.
pub(crate) fn check_target(
    target: &Path,
    info_hash: InfoHash,
    len: u64,
    lacking: u64,
) -> Result<(), EngineError> {
    match fs::symlink_metadata(target) {
        Ok(_) => return Err(EngineError::TargetExists(target.to_owned())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        // What making the file fails with says more.
        Err(e) if is_refusal(Errno::from_io_error(&e)) => {}
        Err(source) => return Err(EngineError::Target { path: target.to_owned(), source }),
    }
    let part = part_path(target, info_hash);
    let there = fs::symlink_metadata(&part).map_or(0, |facts| facts.blocks() * 512);
    let need = len.saturating_sub(there).min(lacking);
    let room = rustix::fs::statvfs(parent(target))
        .map_err(|e| EngineError::Target { path: target.to_owned(), source: e.into() })?;
    let free = room.f_bavail.saturating_mul(room.f_frsize);
    match room.f_blocks {
        // It does not know its room, or takes no files at all.
        0 => try_making(&part)
            .map_err(|source| EngineError::Target { path: target.to_owned(), source }),
        _ if need > free => Err(EngineError::NoRoom { need, free }),
        _ => Ok(()),
    }
}

/// Makes an empty file and removes it, unless one is there.
fn try_making(path: &Path) -> io::Result<()> {
    match File::options().write(true).create_new(true).open(path) {
        Ok(_) => fs::remove_file(path),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) if is_refusal(Errno::from_io_error(&e)) => Ok(()),
        Err(e) => Err(e),
    }
}

/// Says that what a download has fetched is gone.
pub(crate) fn missing_part(part: &Path) -> String {
    format!("what was fetched is not there ({}); is the disk mounted?", part.display())
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    // A directory that may be written to and not read can be kept open all the same, where the
    // system has O_PATH.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let how = OFlags::PATH;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let how = OFlags::RDONLY;
    Ok(rustix::fs::open(path, how | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

pub(crate) fn is_empty(facts: &Metadata) -> bool {
    facts.is_file()
        && facts.len() == 0
        && facts.nlink() == 1
        && facts.uid() == rustix::process::geteuid().as_raw()
}

/// Opens the `.part` for reading and writing, or makes it: a plain file with no other name. Nothing
/// else is opened, or only to find out.
fn open_part(
    calls: &dyn Naming,
    directory: &OwnedFd,
    part: &Path,
    ours: bool,
    may_make: bool,
) -> Result<File, StorageError> {
    let failed = |errno: Errno| StorageError::Io { path: part.to_owned(), source: errno.into() };
    let name = name_of(part);
    let not_a_file = |what| Err(StorageError::NotAFile { path: part.to_owned(), what });
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(facts) => match kind(FileType::from_raw_mode(facts.st_mode)) {
            Some(what) => return not_a_file(what),
            None if !ours && facts.st_size > 0 => {
                return Err(StorageError::Foreign(part.to_owned()));
            }
            None => {}
        },
        // Some file systems refuse a name already when it is looked for.
        Err(errno) if errno == Errno::NOENT || is_refusal(Some(errno)) => {}
        Err(errno) => return Err(failed(errno)),
    }
    // Without following a link, and without waiting for the other end of a pipe: either may have
    // come since.
    let flags =
        OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let opened = match rustix::fs::openat(directory, name, flags, Mode::empty()) {
        Err(Errno::NOENT) if !may_make => return Err(StorageError::Missing(part.to_owned())),
        Err(Errno::NOENT) => calls.create(directory, name, flags | OFlags::CREATE | OFlags::EXCL),
        other => other,
    };
    let file = match opened {
        Ok(opened) => File::from(opened),
        Err(Errno::LOOP) => return not_a_file("a symbolic link"),
        Err(Errno::EXIST) => return Err(StorageError::Foreign(part.to_owned())),
        Err(errno) if is_refusal(Some(errno)) => {
            return Err(StorageError::NameRefused { path: part.to_owned(), source: errno.into() });
        }
        Err(errno) => return Err(failed(errno)),
    };
    let facts = rustix::fs::fstat(&file).map_err(failed)?;
    match kind(FileType::from_raw_mode(facts.st_mode)) {
        Some(what) => not_a_file(what),
        None if facts.st_nlink != 1 => not_a_file("a file that has another name, too"),
        None => Ok(file),
    }
}

/// Tells whether an error says that a file system does not take a name.
fn is_refusal(errno: Option<Errno>) -> bool {
    errno.is_some_and(|errno| [Errno::INVAL, Errno::NAMETOOLONG, Errno::ILSEQ].contains(&errno))
}

/// What a thing is in words, unless it is a plain file.
fn kind(of: FileType) -> Option<&'static str> {
    match of {
        FileType::RegularFile => None,
        FileType::Symlink => Some("a symbolic link"),
        FileType::Directory => Some("a directory"),
        FileType::Fifo => Some("a named pipe"),
        FileType::Socket => Some("a socket"),
        _ => Some("a device"),
    }
}

/// Tells whether all bytes are zero: each equals the one before it, which the system compares many
/// at a time.
fn is_zeros(bytes: &[u8]) -> bool {
    bytes.first().is_none_or(|first| *first == 0)
        && bytes.get(1..).is_none_or(|rest| *rest == bytes[..rest.len()])
}

fn name_of(path: &Path) -> &OsStr {
    path.file_name().unwrap_or_default()
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests;
