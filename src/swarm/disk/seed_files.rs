//! The shared files that are open: few of many, the least recently used closed first.
//!
//! **Invariant:** a shared file is opened read-only, and bytes are served only of the very file
//! that was hashed, unchanged: the open file is compared at each read, never the path.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::OFlags;

use crate::swarm::api::SeedSpec;
use crate::swarm::disk::file_systems::FileSystems;
use crate::types::{FileStamp, InfoHash};

/// Says why a shared file cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SeedError {
    /// It is gone, or not what was hashed: stop offering it.
    #[error("it is not the file that was shared")]
    Changed,
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
    open: HashMap<InfoHash, (Arc<File>, u64)>,
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
        let file = self.get(info_hash, spec)?;
        check(&file, spec)?;
        match file.read_exact_at(bytes, offset) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Err(SeedError::Changed),
            other => Ok(other?),
        }
    }

    pub(crate) fn close(&self, info_hash: InfoHash) {
        self.state.lock().open.remove(&info_hash);
    }

    #[cfg(test)]
    pub(crate) fn open_count(&self) -> usize {
        self.state.lock().open.len()
    }

    fn get(&self, info_hash: InfoHash, spec: &SeedSpec) -> Result<Arc<File>, SeedError> {
        {
            let mut state = self.state.lock();
            state.uses += 1;
            let now = state.uses;
            if let Some((file, used)) = state.open.get_mut(&info_hash) {
                *used = now;
                return Ok(file.clone());
            }
        }
        let file = Arc::new(open(spec)?);
        let mut state = self.state.lock();
        while state.open.len() >= self.open_max {
            let Some(oldest) =
                state.open.iter().min_by_key(|(_, (_, used))| *used).map(|(key, _)| *key)
            else {
                break;
            };
            state.open.remove(&oldest);
        }
        let now = state.uses;
        state.open.insert(info_hash, (file.clone(), now));
        Ok(file)
    }
}

fn open(spec: &SeedSpec) -> Result<File, SeedError> {
    match open_plain(&spec.path) {
        // Another file is not kept open either.
        Ok((file, stamp)) if stamp == spec.stamp => Ok(file),
        Ok(_) => Err(SeedError::Changed),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) => {
            Err(SeedError::Changed)
        }
        Err(e) => Err(e.into()),
    }
}

fn check(file: &File, spec: &SeedSpec) -> Result<(), SeedError> {
    let facts = file.metadata()?;
    let same = facts.is_file() && facts.nlink() > 0 && FileStamp::new(&facts) == spec.stamp;
    if same { Ok(()) } else { Err(SeedError::Changed) }
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
