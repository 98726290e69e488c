//! Who may use an HTTP API over TCP: tokens, one-time codes, and the addresses of the page.
//!
//! **Invariant:** only hashes of tokens and codes are kept. A revoked or expired token opens nothing
//! from then on, and ends the responses that it has open.
//!
//! A program shows a link with a one-time code; the page trades the code for a token. Programs use
//! tokens that a user has created. Tokens are 256 random bits, so guessing one is hopeless and no
//! limit on attempts is needed.

mod codes;
mod origins;
#[cfg(test)]
mod tests;
mod tokens;

use std::io;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use data_encoding::HEXLOWER;
use rand::TryRng as _;
use rand::rngs::SysRng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use codes::{CODE_LIFETIME, Codes};
pub use origins::{OriginError, Origins};
pub use tokens::{
    NAME_LEN_MAX, NewToken, PAGE_TOKEN_DAYS, TOKENS_MAX, TokenEntry, TokenError, Tokens,
};

/// What the holder of a token may do.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Rights {
    /// Look, and change nothing.
    Read,
    /// Everything.
    Manage,
}

/// The tokens and codes of one program, and the address of its page.
#[derive(Debug)]
pub struct Access {
    /// The tokens.
    pub tokens: Tokens,
    /// The codes.
    pub codes: Codes,
    url: OnceLock<String>,
}

impl Access {
    /// Reads the tokens of a data directory.
    ///
    /// # Errors
    /// Those of [`Tokens::open`].
    pub fn open(data_dir: &Path) -> Result<Self, TokenError> {
        let tokens = Tokens::open(data_dir)?;
        Ok(Self { tokens, codes: Codes::default(), url: OnceLock::new() })
    }

    /// The data directory.
    pub fn data_dir(&self) -> &Path {
        self.tokens.data_dir()
    }

    /// Notes where the page is served.
    pub fn set_url(&self, url: String) {
        // It is served in one place.
        let _ = self.url.set(url);
    }

    /// Where the page is served, with a `/` at its end; `None` if it is not.
    pub fn url(&self) -> Option<&str> {
        self.url.get().map(String::as_str)
    }

    /// Makes a link that opens the page one time, within [`CODE_LIFETIME`]; `None` if no page is
    /// served. The token that it opens ends at `until_ms` at the latest. Browsers do not send what
    /// follows `#`.
    ///
    /// # Errors
    /// The system's, if it gives no random numbers.
    pub fn link(&self, until_ms: Option<u64>) -> io::Result<Option<String>> {
        let Some(url) = self.url() else { return Ok(None) };
        Ok(Some(format!("{url}#code={}", self.codes.make(until_ms, Instant::now())?)))
    }

    /// Trades a code for the token of a page; `None` if the code opens nothing.
    ///
    /// # Errors
    /// [`TokenError`].
    ///
    /// # Blocking
    /// On the disk.
    pub fn trade(&self, code: &str) -> Result<Option<NewToken>, TokenError> {
        match self.codes.take(code, Instant::now()) {
            Some(until_ms) => self.tokens.create_for_page(until_ms).map(Some),
            None => Ok(None),
        }
    }
}

/// The hash of a secret.
type SecretHash = [u8; 32];

fn hash(secret: &str) -> SecretHash {
    Sha256::digest(secret).into()
}

/// Random bytes as hexadecimal digits.
///
/// # Errors
/// The system's, if it gives no random numbers.
fn secret<const N: usize>() -> io::Result<String> {
    let mut bytes = [0; N];
    SysRng.try_fill_bytes(&mut bytes).map_err(io::Error::other)?;
    Ok(HEXLOWER.encode(&bytes))
}

/// A random text that nobody guesses.
///
/// # Errors
/// The system's, if it gives no random numbers.
pub fn random_text() -> io::Result<String> {
    secret::<24>()
}

/// Milliseconds since 1970.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
