//! The buffers of one TLS connection: records received, decrypted data not read yet, records to be
//! sent.
//!
//! **Invariant:** bytes leave a buffer in the order in which they came, once. Each buffer has a
//! bound and can be shrunk while the connection is idle. Records short enough to hold a password
//! are wiped once they have been decrypted.
//!
//! No IO; the owner of a buffer calls it on its own thread.

use rustls::{Error, InvalidMessage};
use zeroize::Zeroize;

/// Bytes received at a time, at first; doubled whenever the room was filled.
const RECEIVE_LEN_MIN: usize = 4 << 10;
/// Bytes received at a time, at most: with the data of a piece they stay in the second level of
/// cache.
const RECEIVE_LEN_MAX: usize = 128 << 10;
/// The room is halved after so many receives in a row that left three quarters of it unused.
const SMALL_MAX: u32 = 16;
/// Bytes of a record's header: type, version, and the body's length in the last two.
const HEADER_LEN: usize = 5;
/// Bytes of the body of a record, at most (RFC 8446, section 5.2).
const BODY_LEN_MAX: usize = (16 << 10) + 256;
/// Longer records and data hold no password, and are not wiped.
const SECRET_LEN_MAX: usize = 4 << 10;

/// Types of record (RFC 8446, section 5.1).
const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

/// Records as they were received. rustls decrypts them in place.
///
/// It is shown whole records only, one at a time. So a record that rustls does not discard is one
/// in which it keeps a part of a message.
#[derive(Debug, Default)]
pub(in crate::net) struct ReceiveBuffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// The end of the records that rustls has been shown.
    shown: usize,
    /// The last receive filled the room.
    grow: bool,
    /// Receives in a row that used little of the room.
    small: u32,
    /// Whether a record was shown.
    greeted: bool,
    /// Whether an encrypted record was shown.
    encrypted: bool,
}

/// Decrypted data that does not fit into the reader's buffer: the rest of one record.
#[derive(Debug, Default)]
pub(super) struct Unread {
    bytes: Vec<u8>,
    start: usize,
}

/// Encrypted records to be sent. The memory stays allocated until [`SendBuffer::shrink`].
#[derive(Debug, Default)]
pub(in crate::net) struct SendBuffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl ReceiveBuffer {
    /// The records that rustls has been shown and still needs.
    pub(super) fn shown(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.shown]
    }

    /// Shows one record more; false if none has come whole.
    ///
    /// # Errors
    /// When the header is none that may come now. rustls authenticates a fixed header in place of
    /// the one received, so an altered type or version is found here or not at all.
    pub(super) fn show_record(&mut self) -> Result<bool, Error> {
        let Some(&[kind, major, minor, high, low]) =
            self.bytes[self.shown..self.end].first_chunk::<HEADER_LEN>()
        else {
            return Ok(false);
        };
        let is_known = match (self.greeted, self.encrypted) {
            // A hello, of which the client's names an old version, or the refusal of one.
            (false, _) => matches!(kind, HANDSHAKE | ALERT) && major == 3 && matches!(minor, 1 | 3),
            // Another hello, where the server asked for it; rustls knows whether it did.
            (true, false) => {
                matches!(kind, APPLICATION_DATA | CHANGE_CIPHER_SPEC | HANDSHAKE | ALERT)
                    && (major, minor) == (3, 3)
            }
            (true, true) => {
                matches!(kind, APPLICATION_DATA | CHANGE_CIPHER_SPEC) && (major, minor) == (3, 3)
            }
        };
        if !is_known {
            return Err(InvalidMessage::InvalidContentType.into());
        }
        let body_len = usize::from(u16::from_be_bytes([high, low]));
        if body_len > BODY_LEN_MAX {
            return Err(Error::PeerSentOversizedRecord);
        }
        let is_whole = self.end - self.shown >= HEADER_LEN + body_len;
        if is_whole {
            self.greeted = true;
            self.encrypted |= kind == APPLICATION_DATA;
            self.shown += HEADER_LEN + body_len;
        }
        Ok(is_whole)
    }

    /// Drops the first `len` bytes: rustls is done with them.
    pub(super) fn discard(&mut self, len: usize) {
        wipe(&mut self.bytes[self.start..self.start + len]);
        self.start += len;
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

    /// Room for the next bytes, behind those that wait.
    pub(in crate::net) fn room(&mut self) -> &mut [u8] {
        self.move_to_front();
        let len = match self.bytes.len() {
            len if self.grow || len == self.end => {
                (2 * len).clamp(RECEIVE_LEN_MIN, RECEIVE_LEN_MAX)
            }
            len if self.small >= SMALL_MAX && self.end < len / 4 => (len / 2).max(RECEIVE_LEN_MIN),
            len => len,
        };
        self.bytes.resize(len, 0);
        if self.small >= SMALL_MAX {
            self.small = 0;
            self.bytes.shrink_to(len);
        }
        &mut self.bytes[self.end..]
    }

    /// Notes that the first `len` bytes of the room were filled.
    pub(in crate::net) fn received(&mut self, len: usize) {
        self.grow = len == self.bytes.len() - self.end;
        self.small = if len < self.bytes.len() / 4 { self.small + 1 } else { 0 };
        self.end += len;
    }

    fn move_to_front(&mut self) {
        self.bytes.copy_within(self.start..self.end, 0);
        self.shown = self.shown.saturating_sub(self.start);
        (self.start, self.end) = (0, self.end - self.start);
    }

    /// Frees the memory that the bytes that wait do not need.
    pub(in crate::net) fn shrink(&mut self) {
        self.move_to_front();
        self.bytes.truncate(self.end);
        self.bytes.shrink_to_fit();
        self.grow = false;
    }
}

impl Unread {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Appends `data`.
    pub(super) fn put(&mut self, data: &[u8]) {
        self.bytes.extend_from_slice(data);
    }

    /// Moves as much as fits into `buffer`; returns how much.
    pub(super) fn take(&mut self, buffer: &mut [u8]) -> usize {
        let rest = &self.bytes[self.start..];
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        self.start += len;
        if self.start == self.bytes.len() {
            // Memory is not kept for a connection that may be idle from now on.
            *self = Self::default();
        }
        len
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        wipe(&mut self.bytes);
    }
}

/// Wipes bytes that may hold a password. Wiping file data would cost a pass over all of it.
fn wipe(bytes: &mut [u8]) {
    if bytes.len() <= SECRET_LEN_MAX {
        bytes.zeroize();
    }
}

impl SendBuffer {
    /// The bytes to be sent.
    pub(in crate::net) fn waiting(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Notes that the first `len` bytes were sent.
    pub(in crate::net) fn sent(&mut self, len: usize) {
        self.start += len;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Room for `len` bytes behind those that wait, or more.
    pub(super) fn room(&mut self, len: usize) -> &mut [u8] {
        if self.bytes.len() < self.end + len {
            self.bytes.resize(self.end + len, 0);
        }
        &mut self.bytes[self.end..]
    }

    /// Notes that the first `len` bytes of the room were filled.
    pub(super) fn filled(&mut self, len: usize) {
        self.end += len;
    }

    /// Moves everything from `other` behind what waits here.
    pub(super) fn append(&mut self, other: &mut Self) {
        let len = other.waiting().len();
        if len > 0 {
            self.room(len)[..len].copy_from_slice(other.waiting());
            self.filled(len);
            *other = Self::default();
        }
    }

    /// Frees memory beyond `keep` bytes, unless something waits.
    pub(in crate::net) fn shrink(&mut self, keep: usize) {
        if self.start == self.end && self.bytes.len() > keep {
            *self = Self::default();
        }
    }
}
