//! The shared files that are open: few of many, the least recently used closed first.
//!
//! **Invariant:** a shared file is opened read-only, and no byte of it is served once its length or time differs from what was hashed.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::OFlags;

use super::api::SeedSpec;
use super::storage::modified_ns;
use crate::types::InfoHash;

/// Says why a shared file cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum SeedError {
    /// It is gone, or not what was hashed: stop offering it.
    #[error("it is not the file that was shared")]
    Changed,
    /// It cannot be read now.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The open files.
pub(super) struct OpenFiles {
    open_max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    uses: u64,
    open: HashMap<InfoHash, (Arc<File>, u64)>,
}

impl OpenFiles {
    pub(super) fn new(open_max: usize) -> Self {
        Self { open_max: open_max.max(1), state: Mutex::default() }
    }

    /// Reads from a shared file, after looking whether it is still the one that was hashed.
    pub(super) fn read(&self, info_hash: InfoHash, spec: &SeedSpec, bytes: &mut [u8], offset: u64) -> Result<(), SeedError> {
        let file = self.get(info_hash, spec)?;
        check(&file, spec)?;
        match file.read_exact_at(bytes, offset) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Err(SeedError::Changed),
            other => Ok(other?),
        }
    }

    /// Closes a file that is offered no longer, or elsewhere now.
    pub(super) fn forget(&self, info_hash: InfoHash) {
        self.state.lock().open.remove(&info_hash);
    }

    #[cfg(test)]
    pub(super) fn open_count(&self) -> usize {
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
            let Some(oldest) = state.open.iter().min_by_key(|(_, (_, used))| *used).map(|(key, _)| *key) else { break };
            state.open.remove(&oldest);
        }
        let now = state.uses;
        state.open.insert(info_hash, (file.clone(), now));
        Ok(file)
    }
}

fn open(spec: &SeedSpec) -> Result<File, SeedError> {
    let flags = OFlags::NONBLOCK.bits() as i32;
    match OpenOptions::new().read(true).custom_flags(flags).open(&spec.path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err(SeedError::Changed),
        Err(e) => Err(e.into()),
        Ok(file) => Ok(file),
    }
}

fn check(file: &File, spec: &SeedSpec) -> Result<(), SeedError> {
    let facts = file.metadata()?;
    let same = facts.is_file() && facts.nlink() > 0 && facts.len() == spec.len && modified_ns(&facts) == spec.modified_ns;
    if same { Ok(()) } else { Err(SeedError::Changed) }
}
