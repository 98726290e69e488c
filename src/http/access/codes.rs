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

/// The codes that wait to be used.
#[derive(Debug, Default)]
pub struct Codes(Mutex<Vec<(SecretHash, Instant)>>);

impl Codes {
    /// Makes a code.
    ///
    /// # Errors
    /// The system's, if it gives no random numbers.
    pub fn make(&self, now: Instant) -> io::Result<String> {
        let code = secret::<16>()?;
        let mut codes = self.0.lock();
        codes.retain(|(_, made)| now.duration_since(*made) < CODE_LIFETIME);
        if codes.len() >= CODES_MAX {
            codes.remove(0);
        }
        codes.push((hash(&code), now));
        Ok(code)
    }

    /// Uses up a code; false if there is no such code, or its time is over.
    pub fn take(&self, code: &str, now: Instant) -> bool {
        let (hash, mut codes) = (hash(code), self.0.lock());
        let Some(at) = codes.iter().position(|(of, _)| *of == hash) else { return false };
        let (_, made) = codes.remove(at);
        now.duration_since(made) < CODE_LIFETIME
    }
}
