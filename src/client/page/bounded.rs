//! The holder of a token, and where that holder may read and write.

use std::path::PathBuf;

use crate::client::routes::Caller;
use crate::http::access::Rights;
use crate::http::page::Holder;

/// The holder of a token, and where that holder may read and write.
pub(super) struct Bounded<'a> {
    pub(super) holder: &'a Holder,
    pub(super) directories: &'a [PathBuf],
}

impl Caller for Bounded<'_> {
    fn rights(&self) -> Rights {
        self.holder.rights()
    }

    fn is_valid(&self) -> bool {
        self.holder.is_valid()
    }

    fn expires_ms(&self) -> Option<u64> {
        self.holder.expires_ms()
    }

    fn directories(&self) -> Option<&[PathBuf]> {
        Some(self.directories)
    }
}
