//! How soon and how fast a file comes.

use std::fmt;
use std::time::{Duration, Instant};

use super::{ClientProcess, eventually};

/// What a download was like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// From the beginning to the first bytes.
    pub(crate) first: Duration,
    /// From the beginning to the last ones.
    pub(crate) last: Duration,
    len: u64,
}

impl Pace {
    /// Waits for a file of that length, which somebody began to fetch at that time.
    pub(crate) fn of(client: &mut ClientProcess, file: &str, len: usize, began: Instant) -> Self {
        let len = len as u64;
        eventually("it moves", || (client.bytes_done(file) > 0).then_some(()));
        let first = began.elapsed();
        eventually("it is there", || (client.bytes_done(file) == len).then_some(()));
        Self { first, last: began.elapsed(), len }
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.first.as_secs_f64(), self.last.as_secs_f64());
        let rate = self.len as f64 / 1e6 / (last - first).max(0.001);
        write!(f, "first bytes after {first:.2} s, all after {last:.2} s, {rate:.0} MB/s")
    }
}
