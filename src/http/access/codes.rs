//! One-time codes, by which a browser gets its token.
//!
//! **Invariant:** a code opens one time, within [`CODE_LIFETIME`]. Codes are in memory alone.

use std::io;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{SecretHash, hash, secret};

/// Time within which a code has to be used.
pub const CODE_LIFETIME: Duration = Duration::from_secs(10 * 60);
/// Codes that may wait to be used; a further one replaces the oldest.
const CODES_MAX: usize = 16;

/// One code.
#[derive(Debug)]
struct Code {
    hash: SecretHash,
    made: Instant,
    /// When the token that it opens ends at the latest.
    until_ms: Option<u64>,
}

/// The codes that wait to be used.
#[derive(Debug, Default)]
pub struct Codes(Mutex<Vec<Code>>);

impl Codes {
    /// Makes a code. The token for it ends at `until_ms` at the latest.
    ///
    /// # Errors
    /// The system's, if it gives no random numbers.
    pub fn make(&self, until_ms: Option<u64>, now: Instant) -> io::Result<String> {
        let code = secret::<16>()?;
        let mut codes = self.0.lock();
        codes.retain(|code| now.duration_since(code.made) < CODE_LIFETIME);
        if codes.len() >= CODES_MAX {
            codes.remove(0);
        }
        codes.push(Code { hash: hash(&code), made: now, until_ms });
        Ok(code)
    }

    /// Uses up a code; returns when its token ends at the latest. `None` if there is no such code,
    /// or its time is over.
    pub fn take(&self, code: &str, now: Instant) -> Option<Option<u64>> {
        let (hash, mut codes) = (hash(code), self.0.lock());
        let at = codes.iter().position(|code| code.hash == hash)?;
        let code = codes.remove(at);
        (now.duration_since(code.made) < CODE_LIFETIME).then_some(code.until_ms)
    }
}
