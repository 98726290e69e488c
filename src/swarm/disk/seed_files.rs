//! The shared files that are open: few of many, the least recently used closed first, and those
//! that were not read for some seconds, so that their disk can be unmounted and a deleted file's
//! space is given back.
//!
//! **Invariant:** a shared file is opened read-only, and bytes are served only of the very file
//! that was hashed, unchanged: the open file is compared at each read, never the path.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::fs::OFlags;

use crate::swarm::api::SeedSpec;
use crate::swarm::disk::file_systems::{FileSystems, numbers_anew};
use crate::types::{FileStamp, InfoHash};

/// A shared file that was not read for so long is closed.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// Says why a shared file cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SeedError {
    /// It is not what was hashed: stop offering it.
    #[error("it is not the file that was shared")]
    Changed,
    /// It is not there: stop offering it until it is back.
    #[error("it is not there")]
    Gone,
    /// It cannot be read now.
    #[error(transparent)]
    Io(#[from] io::Error),
}

pub(crate) struct SeedFiles {
    open_max: usize,
    file_systems: Arc<FileSystems>,
    state: Mutex<OpenFiles>,
}

#[derive(Default)]
struct OpenFiles {
    uses: u64,
    open: HashMap<InfoHash, OpenFile>,
    /// File systems on which a thread closes files now.
    closing: BTreeSet<u64>,
}

/// A file as it looked when it was opened.
#[derive(Clone)]
struct OpenFile {
    file: Arc<File>,
    stamp: FileStamp,
    used: u64,
    used_at: Instant,
}

/// Files of one file system to be dropped, which may block; then [`SeedFiles::closed`] is to be
/// told.
pub(crate) struct IdleFiles {
    pub(crate) device: u64,
    pub(crate) files: Vec<Arc<File>>,
}

impl SeedFiles {
    pub(crate) fn new(open_max: usize, file_systems: &Arc<FileSystems>) -> Self {
        let (open_max, file_systems) = (open_max.max(1), file_systems.clone());
        Self { open_max, file_systems, state: Mutex::default() }
    }

    /// Reads from a shared file, after looking whether it is still the one that was hashed.
    pub(crate) fn read(
        &self,
        info_hash: InfoHash,
        spec: &SeedSpec,
        bytes: &mut [u8],
        offset: u64,
    ) -> Result<(), SeedError> {
        let _operation = self.file_systems.begin(spec.stamp.dev);
        let open = self.get(info_hash, spec)?;
        open.check(&spec.path)?;
        match open.file.read_exact_at(bytes, offset) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Err(SeedError::Changed),
            other => Ok(other?),
        }
    }

    pub(crate) fn close(&self, info_hash: InfoHash) {
        let closed = self.state.lock().open.remove(&info_hash);
        // Not under the lock: it may block.
        drop(closed);
    }

    /// Takes the files that were not read for long, by file system. One on which files are being
    /// closed already is left alone: it may hang.
    pub(crate) fn take_idle(&self) -> Vec<IdleFiles> {
        let mut state = self.state.lock();
        let OpenFiles { open, closing, .. } = &mut *state;
        let mut idle: BTreeMap<u64, Vec<Arc<File>>> = BTreeMap::new();
        open.retain(|_, open| {
            let device = open.stamp.dev;
            let stays = open.used_at.elapsed() < IDLE_MAX || closing.contains(&device);
            if !stays {
                idle.entry(device).or_default().push(open.file.clone());
            }
            stays
        });
        closing.extend(idle.keys());
        idle.into_iter().map(|(device, files)| IdleFiles { device, files }).collect()
    }

    /// Notes that no files of this file system are being closed any more.
    pub(crate) fn closed(&self, device: u64) {
        self.state.lock().closing.remove(&device);
    }

    #[cfg(test)]
    pub(crate) fn open_count(&self) -> usize {
        self.state.lock().open.len()
    }

    fn get(&self, info_hash: InfoHash, spec: &SeedSpec) -> Result<OpenFile, SeedError> {
        {
            let mut state = self.state.lock();
            state.uses += 1;
            let now = state.uses;
            if let Some(open) = state.open.get_mut(&info_hash) {
                (open.used, open.used_at) = (now, Instant::now());
                return Ok(open.clone());
            }
        }
        let (file, stamp) = open(spec)?;
        let mut state = self.state.lock();
        let mut closed = Vec::new();
        while state.open.len() >= self.open_max {
            let Some(oldest) = state.open.iter().min_by_key(|(_, open)| open.used) else { break };
            let oldest = *oldest.0;
            closed.extend(state.open.remove(&oldest));
        }
        let (file, used) = (Arc::new(file), state.uses);
        let open = OpenFile { file, stamp, used, used_at: Instant::now() };
        state.open.insert(info_hash, open.clone());
        drop(state);
        drop(closed);
        Ok(open)
    }
}

impl OpenFile {
    fn check(&self, path: &Path) -> Result<(), SeedError> {
        let facts = self.file.metadata()?;
        match facts.is_file() && FileStamp::new(&facts) == self.stamp {
            true if facts.nlink() > 0 => Ok(()),
            true if path.symlink_metadata().is_err() => Err(SeedError::Gone),
            _ => Err(SeedError::Changed),
        }
    }
}

fn open(spec: &SeedSpec) -> Result<(File, FileStamp), SeedError> {
    match open_plain(&spec.path) {
        Ok((file, stamp)) if is_same(&spec.path, &stamp, &spec.stamp) => Ok((file, stamp)),
        // Another file is not kept open either.
        Ok(_) => Err(SeedError::Changed),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err(SeedError::Gone),
        Err(e) if e.kind() == io::ErrorKind::InvalidInput => Err(SeedError::Changed),
        Err(e) => Err(e.into()),
    }
}

/// Tells whether the file that is at the path now is the one that was noted earlier. Where files
/// have no lasting number, its path, length and time decide.
pub(crate) fn is_same(path: &Path, there: &FileStamp, noted: &FileStamp) -> bool {
    there.is_same_file(noted) || there.is_alike(noted) && numbers_anew(path)
}

/// Opens a plain file for reading, without following a link in the last component and without
/// waiting for the other end of a pipe.
///
/// # Errors
/// The system's; [`io::ErrorKind::InvalidInput`] for a link, directory, pipe or device.
pub(crate) fn open_plain(path: &Path) -> io::Result<(File, FileStamp)> {
    // Asked first: opening alone may do something to a device.
    stamp_of(path)?;
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|e| match e
        .raw_os_error()
    {
        Some(number) if number == rustix::io::Errno::LOOP.raw_os_error() => not_plain(),
        _ => e,
    })?;
    let facts = file.metadata()?;
    if facts.is_file() { Ok((file, FileStamp::new(&facts))) } else { Err(not_plain()) }
}

/// Looks at a plain file; a link in the last component is not followed.
///
/// # Errors
/// The system's; [`io::ErrorKind::InvalidInput`] for a link, directory, pipe or device.
pub(crate) fn stamp_of(path: &Path) -> io::Result<FileStamp> {
    let facts = path.symlink_metadata()?;
    if facts.is_file() { Ok(FileStamp::new(&facts)) } else { Err(not_plain()) }
}

fn not_plain() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is not a plain file")
}
