//! TLS 1.3 of one connection, used in both directions at once (RFC 8446).
//!
//! **Invariant:** no IO, and no lock is held while a socket is waited for. Records leave in the
//! order in which rustls encrypted them. After an error, or after `close_notify` was written, no
//! data is read or written.
//!
//! Handshake, records and alerts are rustls's ([`endpoint`]). Its connection is one object for both
//! directions, so a lock guards it; a reader or a writer holds it for the time it takes to decrypt
//! or encrypt 128 KiB. A reader borrows the receive buffer, fills it without the lock, and gives it
//! back. Writers take a second lock ([`TlsStream::lock_sending`]) first and hold it until their
//! records are sent: it orders them.
//!
//! Called by the threads that read from and write to the connection.

mod buffers;
mod endpoint;

use std::io;
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};
use rustls::Error;

use self::buffers::Unread;
pub(super) use self::buffers::{ReceiveBuffer, SendBuffer};
use self::endpoint::Record;
pub(super) use self::endpoint::{Endpoint, Progress};

/// TLS from the end of its handshake on.
#[derive(Debug)]
pub(super) struct TlsStream {
    records: Mutex<Records>,
    sending: Mutex<Sending>,
}

/// What both directions share.
struct Records {
    endpoint: Endpoint,
    /// Empty while it is lent.
    input: ReceiveBuffer,
    unread: Unread,
    /// An alert that rustls wrote while it read; it is sent as the last record.
    alert: SendBuffer,
    end: Option<End>,
}

/// Why no more records are read.
#[derive(Debug, Clone)]
enum End {
    /// The other end has sent `close_notify`; this end may go on writing.
    PeerClosed,
    /// This end has written `close_notify`.
    Closed,
    /// Something was wrong with what was received.
    Failed(Error),
}

/// The sending direction, locked for as long as its records are being sent.
#[derive(Debug)]
pub(super) struct Sending {
    /// Records to be sent.
    pub(super) output: SendBuffer,
    /// The last record was written, or sending has failed.
    ended: bool,
}

/// The outcome of a read.
#[derive(Debug)]
pub(super) enum Received {
    /// So many bytes were read.
    Bytes(usize),
    /// The stream has ended.
    Closed,
    /// More has to be received first, into this buffer, which then has to be given back.
    More(ReceiveBuffer),
}

impl TlsStream {
    /// Goes on where the handshake has ended; `input` holds what was received behind it.
    pub(super) fn new(endpoint: Endpoint, input: ReceiveBuffer) -> Self {
        let records = Records {
            endpoint,
            input,
            unread: Unread::default(),
            alert: SendBuffer::default(),
            end: None,
        };
        let sending = Sending { output: SendBuffer::default(), ended: false };
        Self { records: Mutex::new(records), sending: Mutex::new(sending) }
    }

    /// Tells whether data, the end or an error can be read without receiving more. If not, memory
    /// that is not needed until then is freed.
    pub(super) fn has_input(&self) -> bool {
        self.records.lock().has_input()
    }

    /// Lends the buffer to receive into, which then has to be given back.
    pub(super) fn lend(&self) -> ReceiveBuffer {
        std::mem::take(&mut self.records.lock().input)
    }

    /// Takes back the buffer that [`Received::More`] or [`TlsStream::lend`] lent.
    pub(super) fn give_back(&self, input: ReceiveBuffer) {
        self.records.lock().input = input;
    }

    /// Takes back a lent buffer, and decrypts what was received into `buffer` as far as there is
    /// room.
    ///
    /// # Errors
    /// `InvalidData` when a byte was altered, replayed or left out: the connection is of no more
    /// use.
    pub(super) fn read(
        &self,
        lent: Option<ReceiveBuffer>,
        buffer: &mut [u8],
    ) -> io::Result<Received> {
        let mut records = self.records.lock();
        if let Some(input) = lent {
            records.input = input;
        }
        records.read(buffer)
    }

    /// Locks the sending direction; `None` if another thread sends until `deadline`.
    pub(super) fn lock_sending(&self, deadline: Instant) -> Option<MutexGuard<'_, Sending>> {
        self.sending.try_lock_until(deadline)
    }

    /// Locks the sending direction, unless another thread sends.
    pub(super) fn try_lock_sending(&self) -> Option<MutexGuard<'_, Sending>> {
        self.sending.try_lock()
    }

    /// Encrypts `message` behind the records that wait to be sent.
    ///
    /// # Errors
    /// When the connection has ended; an alert that says why may wait to be sent then.
    pub(super) fn write(&self, message: &[u8], sending: &mut Sending) -> io::Result<()> {
        if sending.ended {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let mut records = self.records.lock();
        if let Some(End::Failed(_)) = records.end {
            records.close(sending);
            return Err(io::ErrorKind::NotConnected.into());
        }
        records.endpoint.write(message, &mut sending.output).map_err(|e| {
            sending.ended = true;
            invalid(e)
        })
    }

    /// Writes the last record behind those that wait to be sent: an alert that says what was wrong,
    /// or `close_notify`.
    pub(super) fn close(&self, sending: &mut Sending) {
        if !sending.ended {
            self.records.lock().close(sending);
        }
    }

    /// Writes a key update behind the records that wait to be sent.
    #[cfg(any(test, fuzzing))]
    pub(super) fn update_key(&self, sending: &mut Sending) {
        let mut records = self.records.lock();
        records.endpoint.update_key(&mut sending.output).expect("the handshake is over");
    }
}

impl Records {
    fn has_input(&mut self) -> bool {
        while self.unread.is_empty() && self.end.is_none() {
            if self.read_record(&mut []).is_none() {
                self.input.shrink();
                return false;
            }
        }
        true
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        let mut filled = self.unread.take(buffer);
        while filled < buffer.len() && self.end.is_none() {
            match self.read_record(&mut buffer[filled..]) {
                Some(len) => filled += len,
                None => break,
            }
        }
        match &self.end {
            // Data in front of a bad record is genuine.
            _ if filled > 0 => Ok(Received::Bytes(filled)),
            None => Ok(Received::More(std::mem::take(&mut self.input))),
            Some(End::PeerClosed | End::Closed) => Ok(Received::Closed),
            Some(End::Failed(error)) => Err(invalid(error.clone())),
        }
    }

    /// Reads the next record, if it has come whole; returns how much data of it is in `room`. The
    /// rest of the data is kept.
    fn read_record(&mut self, room: &mut [u8]) -> Option<usize> {
        let (mut filled, unread) = (0, &mut self.unread);
        let record = self.endpoint.read_record(&mut self.input, &mut self.alert, &mut |data| {
            let (now, later) = data.split_at(data.len().min(room.len() - filled));
            room[filled..filled + now.len()].copy_from_slice(now);
            filled += now.len();
            unread.put(later);
        });
        match record {
            Ok(Record::Read) => {}
            Ok(Record::Missing) => return None,
            Ok(Record::Closed) => self.end = Some(End::PeerClosed),
            Err(e) => self.end = Some(End::Failed(e)),
        }
        Some(filled)
    }

    fn close(&mut self, sending: &mut Sending) {
        sending.ended = true;
        if let Some(End::Failed(_)) = self.end {
            sending.output.append(&mut self.alert);
            return;
        }
        // Keys that can encrypt nothing more leave it unsaid.
        let _ = self.endpoint.close(&mut sending.output);
        self.end = Some(End::Closed);
    }
}

impl Sending {
    /// Ends the direction because sending has failed: a record may have been sent in part.
    pub(super) fn fail(&mut self) {
        self.ended = true;
        self.output = SendBuffer::default();
    }
}

impl std::fmt::Debug for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Records({:?})", self.end)
    }
}

pub(super) fn invalid(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests;
