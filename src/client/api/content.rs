//! The content of a file, read from any place while it comes.

use crate::net::Stop;
use crate::types::{FileName, Sha1Digest};

use super::ApiError;

/// A file that is open for reading. Dropping it ends the preference of the pieces in front of the
/// reader.
pub trait Content: Send {
    /// The file's name, without characters that change the direction of text.
    fn name(&self) -> FileName;

    /// Its length in bytes.
    fn len(&self) -> u64;

    /// Tells whether it has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The SHA-1 of the whole.
    fn sha1(&self) -> Sha1Digest;

    /// The media type that the end of the name suggests.
    fn media_type(&self) -> String {
        mime_guess::from_path(self.name().as_str()).first_or_octet_stream().to_string()
    }

    /// Reads verified bytes from `offset`: what is there, at least one byte unless the file ends
    /// there. Returns their number. Setting `stop` ends the call with
    /// [`ErrorCode::Interrupted`](super::ErrorCode::Interrupted).
    ///
    /// # Errors
    /// All are final: the download was cancelled or has failed, the share was stopped, the user is
    /// no longer in the group, or the disk cannot be read.
    ///
    /// # Blocking
    /// Until the bytes have come, which may be never, and while the disk reads.
    fn read_at(&mut self, bytes: &mut [u8], offset: u64, stop: &Stop) -> Result<usize, ApiError>;
}
