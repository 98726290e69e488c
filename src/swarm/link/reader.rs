//! The reading end of a link: messages, and the data of blocks.
//!
//! **Invariant:** a peer may be silent for long, but a message that has begun must be there within
//! the message timeout; and nothing is read any more of a link that was closed.
//!
//! Runs on the link's own thread and blocks on the connection.

use std::io::{self, BufRead as _, BufReader, Read as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Link;
use super::handshake::LinkError;
use crate::net::Reader;
use crate::wire::peer::{Header, PeerError, read_header, skip};

/// Silence between two messages: a keep-alive comes every two minutes (BEP 3).
const SILENCE_MAX: Duration = Duration::from_secs(150);
/// How often the arrival of a slow block is reported.
const ARRIVING_INTERVAL: Duration = Duration::from_millis(500);

pub(crate) struct LinkReader {
    link: Arc<Link>,
    stream: BufReader<Reader>,
    message_timeout: Duration,
}

impl LinkReader {
    pub(crate) fn new(
        link: Arc<Link>,
        stream: BufReader<Reader>,
        message_timeout: Duration,
    ) -> Self {
        Self { link, stream, message_timeout }
    }

    /// Waits for the next message; `None` once the link is closed at either end.
    pub(crate) fn next_header(&mut self) -> Result<Option<Header>, LinkError> {
        if self.stream.buffer().is_empty() {
            self.stream.get_mut().set_deadline(Some(Instant::now() + SILENCE_MAX));
            self.stream.fill_buf()?;
        }
        // What came before the link was closed is of no use any more.
        if self.link.is_closed() {
            return Ok(None);
        }
        let now = Instant::now();
        self.link.note_heard(now);
        self.stream.get_mut().set_deadline(Some(now + self.message_timeout));
        match read_header(&mut self.stream) {
            Ok(header) => Ok(Some(header)),
            Err(PeerError::Closed) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Reads a block's data; calls `arriving` now and then while it comes slowly, with the bytes that
    /// have come.
    pub(crate) fn read_block(
        &mut self,
        mut rest: &mut [u8],
        arriving: impl Fn(u32),
    ) -> Result<(), LinkError> {
        let (mut reported, len) = (None, rest.len());
        while !rest.is_empty() {
            match self.stream.read(rest) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(_) if self.link.is_closed() => {
                    return Err(io::Error::from(io::ErrorKind::ConnectionAborted).into());
                }
                Ok(len) => rest = &mut rest[len..],
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
            let now = Instant::now();
            self.link.note_heard(now);
            if now.duration_since(*reported.get_or_insert(now)) > ARRIVING_INTERVAL {
                reported = Some(now);
                arriving((len - rest.len()) as u32);
            }
        }
        Ok(())
    }

    pub(crate) fn skip_block(&mut self, len: u32) -> Result<(), LinkError> {
        Ok(skip(&mut self.stream, len)?)
    }
}
