//! Takes the directory of a tracker that does not run into a database that trackers share, and
//! back.

use std::path::Path;

use super::AdminError;
use crate::store::{DirectoryLock, StorePlace};

/// Which way the directory goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// From the data directory into the database.
    Import,
    /// From the database into the data directory.
    Export,
}

/// Copies the directory. Returns what was done, in words, and how many rows there are.
///
/// # Errors
/// [`AdminError::Failed`], in words.
///
/// # Blocking
/// On the disk and the database, for as long as it takes.
pub(super) fn exchange(
    way: Way,
    directory: &Path,
    place: &StorePlace,
) -> Result<(String, u64), AdminError> {
    let failed = |error| AdminError::Failed(format!("{error}"));
    let _lock = DirectoryLock::take(directory).map_err(failed)?;
    let copied = match way {
        Way::Import => place.import_from(directory),
        Way::Export => place.export_to(directory),
    };
    let count = copied.map_err(failed)?;
    let (shown, from) = (place.to_string(), directory.display());
    let text = match way {
        Way::Import => format!(
            "{count} rows of {from} are in {shown}; start the trackers with --store, and keep {from} until they run"
        ),
        Way::Export => format!(
            "{count} rows of {shown} are in {from}; start one tracker with --data-dir {from}"
        ),
    };
    Ok((text, count))
}
