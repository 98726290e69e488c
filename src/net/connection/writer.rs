//! The writing half of a connection.
//!
//! **Invariant:** the lock of the sending direction is held from the encryption of a record until
//! it is sent or waits in the send buffer, so records leave in order. Readers never take it.
//!
//! Blocks on the socket and on other writers, on the thread that writes; the methods named `try_`
//! do not.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ConnectionInner;
use crate::net::socket::WRITE_TIMEOUT;
use crate::net::stream::{Sending, TlsStream};

/// Bytes a second that the other end has to take on average of a large write, once
/// [`WRITE_TIMEOUT`] is over.
const WRITE_RATE_MIN: u64 = 16 << 10;
/// Bytes encrypted at a time.
const WRITE_LEN: usize = 128 << 10;
/// A write of at most so many bytes frees the send buffer: the connection may be idle from now on.
const SMALL_LEN: usize = 8 << 10;

/// The writing half of a connection. A write that makes no progress for 30 s fails, and a large one
/// that goes at under 16 KiB/s.
#[derive(Debug)]
pub struct Writer {
    connection: Arc<ConnectionInner>,
}

impl Writer {
    pub(super) fn new(connection: Arc<ConnectionInner>) -> Self {
        Self { connection }
    }

    /// Writes what the connection takes at once; 0 if it takes nothing now. What was taken may
    /// still wait to be sent: see [`Writer::try_flush`].
    ///
    /// # Errors
    /// The system's.
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &self.connection.tls else {
            return self.connection.socket.try_send(bytes);
        };
        // Another thread is writing, and blocks perhaps.
        let Some(mut sending) = tls.try_lock_sending() else { return Ok(0) };
        if bytes.is_empty() || !self.connection.try_send_all(&mut sending)? {
            return Ok(0);
        }
        let taken = chunk(bytes);
        self.encrypt(tls, taken, &mut sending)?;
        self.try_empty(&mut sending)?;
        Ok(taken.len())
    }

    /// Sends the records that wait, as far as that goes without blocking; tells whether none waits
    /// any more.
    ///
    /// # Errors
    /// The system's.
    pub fn try_flush(&mut self) -> io::Result<bool> {
        match self.connection.tls.as_ref().map(TlsStream::try_lock_sending) {
            None => Ok(true),
            Some(Some(mut sending)) => self.try_empty(&mut sending),
            Some(None) => Ok(false),
        }
    }

    fn try_empty(&self, sending: &mut Sending) -> io::Result<bool> {
        let is_empty = self.connection.try_send_all(sending)?;
        sending.output.shrink(0);
        Ok(is_empty)
    }

    /// The deadline of a write of `len` bytes that was begun at `start`.
    pub fn deadline(start: Instant, len: usize) -> Instant {
        start + WRITE_TIMEOUT + Duration::from_secs(len as u64 / WRITE_RATE_MIN)
    }

    /// Writes all of `bytes`, as part of something that is to be written by `deadline`.
    ///
    /// # Errors
    /// `TimedOut` when the deadline has passed, or nothing was taken for 30 s; else the system's.
    ///
    /// # Blocking
    /// Until the system has taken them, and for 30 s beyond the deadline at most.
    pub fn write_all_by(&mut self, mut bytes: &[u8], deadline: Instant) -> io::Result<()> {
        let whole_len = bytes.len();
        while !bytes.is_empty() {
            if Instant::now() >= deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match self.write_by(bytes, whole_len, deadline) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => bytes = &bytes[len..],
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Writes some of `bytes`, the rest of a write of `whole_len`.
    fn write_by(&mut self, bytes: &[u8], whole_len: usize, deadline: Instant) -> io::Result<usize> {
        let socket = &self.connection.socket;
        let Some(tls) = &self.connection.tls else { return socket.send(bytes, deadline) };
        let Some(mut sending) = tls.lock_sending(deadline) else {
            return Err(io::ErrorKind::TimedOut.into());
        };
        self.send_all(&mut sending, deadline)?;
        let taken = chunk(bytes);
        self.encrypt(tls, taken, &mut sending)?;
        self.send_all(&mut sending, deadline)?;
        if whole_len <= SMALL_LEN {
            sending.output.shrink(0);
        }
        Ok(taken.len())
    }

    fn encrypt(&self, tls: &TlsStream, bytes: &[u8], sending: &mut Sending) -> io::Result<()> {
        tls.write(bytes, sending).inspect_err(|_| {
            // In place of the bytes an alert may wait to be sent.
            let _ = self.connection.try_send_all(sending);
        })
    }

    /// Sends everything. After an error nothing is sent any more.
    fn send_all(&self, sending: &mut Sending, deadline: Instant) -> io::Result<()> {
        let sent = self.connection.socket.send_all(&mut sending.output, deadline);
        sent.inspect_err(|_| sending.fail())
    }
}

/// The part of `bytes` that is encrypted next. A small rest comes along.
fn chunk(bytes: &[u8]) -> &[u8] {
    if bytes.len() < WRITE_LEN + SMALL_LEN { bytes } else { &bytes[..WRITE_LEN] }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_by(bytes, bytes.len(), Self::deadline(Instant::now(), bytes.len()))
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all_by(bytes, Self::deadline(Instant::now(), bytes.len()))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
