//! Puts a backup into the empty data directory of a tracker that does not run.
//!
//! **Invariant:** data that is there stays: a directory with a store, or one in use, is refused.

use std::path::Path;

use super::AdminError;
use crate::store::{self, DirectoryLock};

/// Puts the backup `file` into `directory`, which is made if need be.
///
/// # Errors
/// [`AdminError::Failed`], in words.
///
/// # Blocking
/// On the disk.
pub(super) fn restore(file: &Path, directory: &Path) -> Result<(), AdminError> {
    let failed = |error| AdminError::Failed(format!("{error}"));
    let _lock = DirectoryLock::take(directory).map_err(failed)?;
    store::restore(file, directory).map_err(failed)
}
