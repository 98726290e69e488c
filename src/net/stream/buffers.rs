//! The buffers of one TLS connection: what was received, and what is to be sent.
//!
//! **Invariant:** bytes leave a buffer in the order in which they came, once; what a buffer keeps
//! beyond them is bounded, and nothing of it was ever decrypted data.

use std::ops::Range;

use rustls::{Error, InvalidMessage};
use zeroize::Zeroize;

/// Bytes received at a time, at first; doubled whenever as many came.
const INPUT_LEN_MIN: usize = 4 << 10;
/// Bytes received at a time, at most: with the data of a piece they stay in the second level of
/// cache.
const INPUT_LEN_MAX: usize = 128 << 10;
/// So many times in a row a quarter of the room was more than came; then half of it is given back.
const SMALL_MAX: u32 = 16;
/// Bytes before the body of a record: type, version, and the body's length in the last two.
pub(super) const HEADER_LEN: usize = 5;
/// A record's header, and its body as it came.
pub(super) type Record<'a> = (&'a [u8; HEADER_LEN], &'a mut [u8]);
/// Bytes of the body of a record, at most (RFC 8446, section 5.2).
const BODY_LEN_MAX: usize = (16 << 10) + 256;

/// Types of record (RFC 8446, section 5.1).
const CHANGE_CIPHER: u8 = 20;
pub(super) const ALERT: u8 = 21;
pub(super) const HANDSHAKE: u8 = 22;
pub(super) const DATA: u8 = 23;

/// What was received: data that was decrypted and not read, and behind it what has not been
/// decrypted.
#[derive(Debug, Default)]
pub(in crate::net) struct Input {
    bytes: Vec<u8>,
    /// Decrypted where it was received, because the reader had no room for it.
    plain: Range<usize>,
    start: usize,
    end: usize,
    /// The last time as much came as there was room for.
    grow: bool,
    /// How often in a row little has come.
    small: u32,
    /// How far the records reach that the handshake may look at.
    offered: usize,
    /// Whether a record was offered.
    greeted: bool,
    /// Whether an encrypted one was.
    encrypted: bool,
}

/// Encrypted bytes to be sent. What it had room for once it keeps, until [`Output::shrink`].
#[derive(Debug, Default)]
pub(in crate::net) struct Output {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Input {
    /// The records that the handshake may look at, which are decrypted in place.
    pub(super) fn offered(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.offered]
    }

    /// Offers the handshake one record more; false if none has come whole. So what comes behind the
    /// handshake is not looked at by it.
    ///
    /// # Errors
    /// When the next record begins as none does, which is no more than its header; but rustls does
    /// not look at all of it, and a byte that was altered has to end the connection wherever it is.
    pub(super) fn offer(&mut self) -> Result<bool, Error> {
        let Some(&[kind, major, minor, high, low]) =
            self.bytes[self.offered..self.end].first_chunk()
        else {
            return Ok(false);
        };
        let is_known = match (self.greeted, self.encrypted) {
            // A hello, of which the client's names an old version, or the refusal of one.
            (false, _) => matches!(kind, HANDSHAKE | ALERT) && major == 3 && matches!(minor, 1 | 3),
            // Another hello, where the server asked for it; rustls knows whether it did.
            (true, false) => {
                matches!(kind, DATA | CHANGE_CIPHER | HANDSHAKE | ALERT) && (major, minor) == (3, 3)
            }
            (true, true) => matches!(kind, DATA | CHANGE_CIPHER) && (major, minor) == (3, 3),
        };
        if !is_known {
            return Err(InvalidMessage::InvalidContentType.into());
        }
        let len = HEADER_LEN + body_len(high, low)?;
        let is_whole = self.end - self.offered >= len;
        if is_whole {
            self.greeted = true;
            self.encrypted |= kind == DATA;
            self.offered += len;
        }
        Ok(is_whole)
    }

    /// The next record of those behind the handshake, if it has come whole: its header and its
    /// body.
    ///
    /// # Errors
    /// When it begins as none does.
    pub(super) fn record(&mut self) -> Result<Option<Record<'_>>, Error> {
        let there = &mut self.bytes[self.start..self.end];
        let Some((header, rest)) = there.split_first_chunk_mut() else { return Ok(None) };
        let [DATA, 3, 3, high, low] = *header else {
            return Err(InvalidMessage::InvalidContentType.into());
        };
        let len = body_len(high, low)?;
        Ok(rest.get_mut(..len).map(|body| (&*header, body)))
    }

    /// Notes how many bytes of what waits are done with.
    pub(super) fn done(&mut self, len: usize) {
        self.start += len;
    }

    /// Notes that a record of `len` bytes was decrypted in place, into so many of data.
    pub(super) fn decrypted(&mut self, len: usize, data_len: usize) {
        let from = self.start + HEADER_LEN;
        self.plain = from..from + data_len;
        self.start += len;
    }

    /// Moves what fits of what was decrypted in place, and leaves none of it here.
    pub(super) fn take(&mut self, buffer: &mut [u8]) -> usize {
        let len = buffer.len().min(self.plain.len());
        let taken = &mut self.bytes[self.plain.start..self.plain.start + len];
        buffer[..len].copy_from_slice(taken);
        taken.fill(0);
        self.plain.start += len;
        len
    }

    /// Tells whether data waits that was decrypted in place.
    pub(super) fn has_plain(&self) -> bool {
        !self.plain.is_empty()
    }

    /// Receives from `bytes` as much as there is room for, and leaves the rest there.
    #[cfg(any(test, fuzzing))]
    pub(in crate::net) fn receive_from(&mut self, bytes: &mut &[u8]) {
        let room = self.room();
        let (now, later) = bytes.split_at(room.len().min(bytes.len()));
        room[..now.len()].copy_from_slice(now);
        self.received(now.len());
        *bytes = later;
    }

    /// Room for what comes next, behind what waits. All that was decrypted has been read.
    pub(in crate::net) fn room(&mut self) -> &mut [u8] {
        self.move_to_front();
        let len = match self.bytes.len() {
            len if self.grow || len == self.end => (2 * len).clamp(INPUT_LEN_MIN, INPUT_LEN_MAX),
            len if self.small >= SMALL_MAX && self.end < len / 4 => (len / 2).max(INPUT_LEN_MIN),
            len => len,
        };
        self.bytes.resize(len, 0);
        if self.small >= SMALL_MAX {
            self.small = 0;
            self.bytes.shrink_to(len);
        }
        &mut self.bytes[self.end..]
    }

    /// Notes how many bytes have come.
    pub(in crate::net) fn received(&mut self, len: usize) {
        self.grow = len == self.bytes.len() - self.end;
        self.small = if len < self.bytes.len() / 4 { self.small + 1 } else { 0 };
        self.end += len;
    }

    fn move_to_front(&mut self) {
        self.bytes.copy_within(self.start..self.end, 0);
        self.offered = self.offered.saturating_sub(self.start);
        (self.plain, self.start, self.end) = (0..0, 0, self.end - self.start);
    }

    /// Gives back what is not needed for what waits. All that was decrypted has been read.
    pub(in crate::net) fn shrink(&mut self) {
        self.move_to_front();
        self.bytes.truncate(self.end);
        self.bytes.shrink_to_fit();
        self.grow = false;
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.bytes[self.plain.clone()].zeroize();
    }
}

fn body_len(high: u8, low: u8) -> Result<usize, Error> {
    match usize::from(u16::from_be_bytes([high, low])) {
        len if len <= BODY_LEN_MAX => Ok(len),
        _ => Err(Error::PeerSentOversizedRecord),
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

    /// Notes how many bytes of the room were filled.
    pub(super) fn filled(&mut self, len: usize) {
        self.end += len;
    }

    /// Room for `len` bytes behind what waits, and perhaps more.
    pub(super) fn room(&mut self, len: usize) -> &mut [u8] {
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
