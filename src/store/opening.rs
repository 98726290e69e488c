//! Opens a tracker's store, whatever version of this program wrote it.

use std::path::Path;

use super::StoreError;
use super::rows::RowStore;
use super::takeover::{put_away, take_over, warn_of_unused};
use crate::types::StoreId;

impl RowStore {
    /// Opens the store in `directory`, or makes one, and takes the id `fresh` for this start. A
    /// store of the time before rows is taken over first.
    ///
    /// # Errors
    /// Every [`StoreError`] but `InUse`: locking the directory is the caller's business.
    ///
    /// # Blocking
    /// On the disk.
    pub fn open(directory: &Path, fresh: StoreId) -> Result<Self, StoreError> {
        take_over(directory)?;
        Self::open_rows(directory, fresh, |is_taken_over| {
            if is_taken_over { put_away(directory) } else { warn_of_unused(directory) }
        })
    }
}
