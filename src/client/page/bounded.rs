//! The holder of a token, and where that holder may read and write.

use std::sync::Arc;

use crate::client::routes::{Caller, Directories, Validity};
use crate::http::access::Rights;
use crate::http::page::Holder;

/// The holder of a token, and where that holder may read and write.
pub(super) struct Bounded<'a> {
    pub(super) holder: &'a Holder,
    pub(super) directories: &'a Directories,
}

impl Caller for Bounded<'_> {
    fn rights(&self) -> Rights {
        self.holder.rights()
    }

    fn validity(&self) -> Validity {
        let holder = self.holder.clone();
        Arc::new(move || holder.is_valid())
    }

    fn expires_ms(&self) -> Option<u64> {
        self.holder.expires_ms()
    }

    fn directories(&self) -> Option<&Directories> {
        Some(self.directories)
    }
}
