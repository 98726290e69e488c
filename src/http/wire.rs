//! Bytes that have come and were not used yet, and how more are read.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::Socket;
use super::chunks::Framing;

/// Bytes read at a time.
const READ_LEN: usize = 8 << 10;

/// One end of a connection. What has come may hold a password, and is wiped at the end.
pub(super) struct Wire {
    pub(super) socket: Arc<dyn Socket>,
    pub(super) buffer: Zeroizing<Vec<u8>>,
}

impl Wire {
    pub(super) fn new(socket: Arc<dyn Socket>) -> Self {
        Self { socket, buffer: Zeroizing::default() }
    }

    /// Reads more; 0 at the end of the stream.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] at the deadline, and the socket's.
    pub(super) fn read_more(&mut self, deadline: Instant) -> io::Result<usize> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.read_within(left)
    }

    /// The same within a time.
    ///
    /// # Errors
    /// Those of [`Wire::read_more`].
    pub(super) fn read_within(&mut self, timeout: Duration) -> io::Result<usize> {
        let mut part = Zeroizing::new([0; READ_LEN]);
        let count = self.socket.receive(&mut part[..], timeout)?;
        self.buffer.extend_from_slice(&part[..count]);
        Ok(count)
    }

    /// Drops what was used.
    pub(super) fn consume(&mut self, count: usize) {
        self.buffer.drain(..count);
    }

    /// Where the head ends, as far as can be told by its blank line.
    pub(super) fn has_blank_line(&self, from: usize) -> bool {
        let new = &self.buffer[from.saturating_sub(3)..];
        new.windows(2).any(|two| two == b"\n\n") || new.windows(3).any(|three| three == b"\n\r\n")
    }

    /// Moves what there is of a body to `body`.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] if where it ends cannot be told.
    pub(super) fn take_body(
        &mut self,
        framing: &mut Framing,
        body: &mut Vec<u8>,
        max: usize,
    ) -> io::Result<()> {
        let taken = framing
            .take(&self.buffer, body, max)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        self.consume(taken);
        Ok(())
    }
}
