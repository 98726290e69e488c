//! The buffers of one TLS connection: what was received, what is to be sent, what was decrypted and not yet read.
//!
//! **Invariant:** bytes leave a buffer in the order in which they came, once; and what a buffer keeps beyond them is bounded.

use std::io;

use rustls::InvalidMessage;

use super::invalid;

/// Bytes received at a time, at first; doubled whenever as many came.
const INPUT_LEN_MIN: usize = 4 << 10;
/// Bytes received at a time, at most: with the data of a piece they stay in the second level of cache.
const INPUT_LEN_MAX: usize = 128 << 10;
/// Bytes before the body of a record: type, version, and the body's length in the last two.
const RECORD_HEADER_LEN: usize = 5;
/// The types of record there are.
const RECORD_CHANGE_CIPHER: u8 = 20;
const RECORD_ALERT: u8 = 21;
const RECORD_HANDSHAKE: u8 = 22;
const RECORD_DATA: u8 = 23;

/// Encrypted bytes: received, and not yet decrypted.
#[derive(Debug, Default)]
pub(in crate::net) struct Input {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// The last time as much came as there was room for.
    grow: bool,
    /// Where the next header that was not looked at begins, which may be beyond the end.
    unseen: usize,
    /// Whether a header was looked at.
    greeted: bool,
}

/// Encrypted bytes to be sent. What it had room for once it keeps, until [`Output::shrink`].
#[derive(Debug, Default)]
pub(in crate::net) struct Output {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

/// Decrypted bytes.
#[derive(Debug, Default)]
pub(in crate::net) struct Plain {
    bytes: Vec<u8>,
    start: usize,
}

impl Input {
    /// What waits to be decrypted, which happens in place.
    pub(in crate::net) fn waiting(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    /// Notes how many bytes of it are done with.
    pub(in crate::net) fn done(&mut self, len: usize) {
        self.start += len;
    }

    /// Tells whether a whole record is there.
    pub(in crate::net) fn has_record(&self) -> bool {
        let there = &self.bytes[self.start..self.end];
        there.len() >= RECORD_HEADER_LEN
            && there.len() - RECORD_HEADER_LEN >= usize::from(u16::from_be_bytes([there[3], there[4]]))
    }

    /// Room for what comes next, behind what is there.
    pub(in crate::net) fn room(&mut self) -> &mut [u8] {
        self.move_to_front();
        let len = match self.bytes.len() {
            len if self.grow || len == self.end => (2 * len).clamp(INPUT_LEN_MIN, INPUT_LEN_MAX),
            len => len,
        };
        self.bytes.resize(len, 0);
        &mut self.bytes[self.end..]
    }

    /// Notes how many bytes have come.
    ///
    /// # Errors
    /// When a record among them begins as none does. That is no more than its header, but rustls does not look at all of it, and a byte that
    /// was altered has to end the connection wherever it is.
    pub(in crate::net) fn received(&mut self, len: usize) -> io::Result<()> {
        self.grow = len == self.bytes.len() - self.end;
        self.end += len;
        while self.unseen + RECORD_HEADER_LEN <= self.end {
            let [kind, major, minor, high, low] = self.bytes[self.unseen..self.unseen + RECORD_HEADER_LEN] else { break };
            let good = match std::mem::replace(&mut self.greeted, true) {
                // A hello, of which the client's names an old version, or the refusal of one.
                false => matches!(kind, RECORD_HANDSHAKE | RECORD_ALERT) && major == 3 && matches!(minor, 1 | 3),
                true => matches!(kind, RECORD_DATA | RECORD_CHANGE_CIPHER) && (major, minor) == (3, 3),
            };
            if !good {
                return Err(invalid(InvalidMessage::InvalidContentType.into()));
            }
            self.unseen += RECORD_HEADER_LEN + usize::from(u16::from_be_bytes([high, low]));
        }
        Ok(())
    }

    fn move_to_front(&mut self) {
        self.bytes.copy_within(self.start..self.end, 0);
        self.unseen -= self.start;
        (self.start, self.end) = (0, self.end - self.start);
    }

    /// Gives back what is not needed for what is there.
    pub(in crate::net) fn shrink(&mut self) {
        self.move_to_front();
        self.bytes.truncate(self.end);
        self.bytes.shrink_to_fit();
        self.grow = false;
    }
}

impl Output {
    /// What is to be sent.
    pub(in crate::net) fn waiting(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Notes how many bytes of it were sent.
    pub(in crate::net) fn sent(&mut self, len: usize) {
        self.start += len;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Takes what waits in another behind what waits here.
    pub(in crate::net) fn append(&mut self, other: &Self) {
        let bytes = other.waiting();
        self.room(bytes.len())[..bytes.len()].copy_from_slice(bytes);
        self.filled(bytes.len());
    }

    /// Notes how many bytes of the room were filled.
    pub(in crate::net) fn filled(&mut self, len: usize) {
        self.end += len;
    }

    /// Room for `len` bytes behind what waits.
    pub(in crate::net) fn room(&mut self, len: usize) -> &mut [u8] {
        if self.bytes.len() < self.end + len {
            self.bytes.resize(self.end + len, 0);
        }
        &mut self.bytes[self.end..]
    }

    /// Gives back what a large message needed, beyond `keep` bytes.
    pub(in crate::net) fn shrink(&mut self, keep: usize) {
        if self.start == self.end && self.bytes.len() > keep {
            *self = Self::default();
        }
    }
}

impl Plain {
    /// Takes bytes that were decrypted.
    pub(in crate::net) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, start: 0 }
    }

    /// Tells whether everything was read.
    pub(in crate::net) fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    /// Takes more.
    pub(in crate::net) fn put(&mut self, payload: &[u8]) {
        self.bytes.extend_from_slice(payload);
    }

    /// Moves what fits.
    pub(in crate::net) fn take(&mut self, buffer: &mut [u8]) -> usize {
        let len = buffer.len().min(self.bytes.len() - self.start);
        buffer[..len].copy_from_slice(&self.bytes[self.start..self.start + len]);
        self.start += len;
        if self.is_empty() {
            self.bytes.clear();
            self.start = 0;
        }
        len
    }
}
