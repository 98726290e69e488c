//! The holder of a token: who makes a request to a page's API.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use zeroize::Zeroizing;

use crate::http::access::{Access, Rights, TokenEntry};
use crate::http::{Request, header};

/// Scheme and credentials of a request, if it has them once.
fn credentials<'a>(request: &'a Request<'_>) -> Option<(&'a str, &'a str)> {
    let mut values = request.headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    let (scheme, text) = value.to_str().ok()?.split_once(' ')?;
    Some((scheme, text.trim()))
}

/// The holder of a token.
#[derive(Clone)]
pub struct Holder {
    access: Arc<Access>,
    entry: TokenEntry,
}

impl Holder {
    /// The holder of the token that a request shows.
    ///
    /// # Blocking
    /// Once a day on the disk.
    pub(super) fn of(request: &Request<'_>, access: &Arc<Access>) -> Option<Self> {
        let (scheme, secret) = credentials(request)?;
        scheme.eq_ignore_ascii_case("bearer").then(|| Self::of_secret(secret, access))?
    }

    /// The same where programs are served that know user names and passwords alone (RFC 7617): the
    /// password is the token, and the name does not count.
    ///
    /// # Blocking
    /// Once a day on the disk.
    pub fn of_any_scheme(request: &Request<'_>, access: &Arc<Access>) -> Option<Self> {
        let (scheme, text) = credentials(request)?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return Self::of(request, access);
        }
        let pair = Zeroizing::new(BASE64_STANDARD.decode(text).ok()?);
        let (_, password) = std::str::from_utf8(&pair).ok()?.split_once(':')?;
        Self::of_secret(password, access)
    }

    fn of_secret(secret: &str, access: &Arc<Access>) -> Option<Self> {
        let entry = access.tokens.authorize(secret)?;
        Some(Self { access: access.clone(), entry })
    }

    /// The holder of a valid token that is known by its id.
    pub fn of_id(token_id: &str, access: &Arc<Access>) -> Option<Self> {
        let entry = access.tokens.list().into_iter().find(|entry| entry.token_id == token_id)?;
        Some(Self { access: access.clone(), entry })
    }

    /// The token's id.
    pub fn token_id(&self) -> &str {
        &self.entry.token_id
    }

    /// What the holder may do.
    pub fn rights(&self) -> Rights {
        self.entry.rights
    }

    /// When the token ends, in milliseconds since 1970.
    pub fn expires_ms(&self) -> Option<u64> {
        self.entry.expires_ms
    }

    /// Tells whether the token is still valid.
    pub fn is_valid(&self) -> bool {
        self.access.tokens.is_valid(&self.entry.token_id)
    }
}
