//! Hashes a file that is to be shared: every piece and the whole, in one pass.

use std::path::Path;

use super::api::{HashError, Hashed};

/// Hashes a file. `progress` is told the bytes done so far now and then, and returns false to cancel.
///
/// # Errors
/// See [`HashError`]: not a plain file, changed meanwhile, cancelled.
///
/// # Blocking
/// For as long as reading the file takes.
pub fn hash_file(path: &Path, progress: &mut dyn FnMut(u64) -> bool) -> Result<Hashed, HashError> {
    let _ = progress;
    Err(HashError::NotAFile(path.to_owned()))
}
