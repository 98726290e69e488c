//! The caller of a request: who holds its token, and what that holder may do.

use std::path::PathBuf;
use std::sync::Arc;

use crate::client::routes::Caller;
use crate::http::access::{Access, Rights, TokenEntry};
use crate::http::{Request, header};

/// The holder of a token.
pub(super) struct Holder {
    access: Arc<Access>,
    entry: TokenEntry,
    directories: Arc<[PathBuf]>,
}

impl Holder {
    /// The holder of the token that a request shows.
    ///
    /// # Blocking
    /// Once a day on the disk.
    pub(super) fn of(
        request: &Request<'_>,
        access: &Arc<Access>,
        directories: &Arc<[PathBuf]>,
    ) -> Option<Self> {
        let mut values = request.headers.get_all(header::AUTHORIZATION).iter();
        let (value, None) = (values.next()?, values.next()) else { return None };
        let (scheme, secret) = value.to_str().ok()?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let entry = access.tokens.authorize(secret.trim())?;
        Some(Self { access: access.clone(), entry, directories: directories.clone() })
    }

    /// The holder of a token that is known by its id.
    pub(super) fn of_id(
        token_id: &str,
        access: &Arc<Access>,
        directories: &Arc<[PathBuf]>,
    ) -> Option<Self> {
        let entry = access.tokens.list().into_iter().find(|entry| entry.token_id == token_id)?;
        Some(Self { access: access.clone(), entry, directories: directories.clone() })
    }

    /// The token's id.
    pub(super) fn token_id(&self) -> &str {
        &self.entry.token_id
    }
}

impl Caller for Holder {
    fn rights(&self) -> Rights {
        self.entry.rights
    }

    fn is_valid(&self) -> bool {
        self.access.tokens.is_valid(&self.entry.token_id)
    }

    fn directories(&self) -> Option<&[PathBuf]> {
        Some(&self.directories)
    }
}
