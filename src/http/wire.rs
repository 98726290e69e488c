//! The read buffer of a connection.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::Socket;
use super::chunks::Framing;

/// Bytes read at a time.
const READ_LEN: usize = 8 << 10;

/// A connection with its read buffer, which may hold a password and is wiped when dropped.
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

    /// Reads more within `timeout`.
    ///
    /// # Errors
    /// Those of [`Wire::read_more`].
    pub(super) fn read_within(&mut self, timeout: Duration) -> io::Result<usize> {
        let mut part = Zeroizing::new([0; READ_LEN]);
        let count = self.socket.receive(&mut part[..], timeout)?;
        self.buffer.extend_from_slice(&part[..count]);
        Ok(count)
    }

    /// Removes consumed bytes.
    pub(super) fn consume(&mut self, count: usize) {
        self.buffer.drain(..count);
    }

    /// Removes empty lines in front of a request, as RFC 9112, section 2.2, asks of servers; tells
    /// whether there were any.
    pub(super) fn skip_empty_lines(&mut self) -> bool {
        let mut rest = &self.buffer[..];
        while let Some(after) = rest.strip_prefix(b"\n").or_else(|| rest.strip_prefix(b"\r\n")) {
            rest = after;
        }
        let count = self.buffer.len() - rest.len();
        self.consume(count);
        count > 0
    }

    /// Tells whether a blank line, the end of a head, lies at `from` or later.
    pub(super) fn has_blank_line(&self, from: usize) -> bool {
        let new = &self.buffer[from.saturating_sub(3)..];
        new.windows(2).any(|two| two == b"\n\n") || new.windows(3).any(|three| three == b"\n\r\n")
    }

    /// Moves buffered bytes of a body to `body`.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] if the body's end is ambiguous.
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
