//! The TLS state of one connection, between encrypted bytes that were received and those to be sent.
//!
//! **Invariant:** no IO. Whoever holds the lock around it encrypts or decrypts, and lets go; bytes that were received wait in here, so that
//! any reader of the connection goes on where the last one stopped.

use std::io::{self, BufRead, Read, Write};

/// Bytes received at a time, at first; doubled whenever as many came.
const INPUT_LEN_MIN: usize = 4 << 10;
/// Bytes received at a time, at most.
const INPUT_LEN_MAX: usize = 128 << 10;

/// TLS between its handshake and its end.
#[derive(Debug)]
pub(super) struct TlsStream {
    tls: rustls::Connection,
    input: Input,
    /// The other end has said farewell.
    closed: bool,
}

/// Encrypted bytes: received, and not yet decrypted.
#[derive(Debug, Default)]
pub(super) struct Input {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// The last time as much came as there was room for.
    grow: bool,
}

/// What came of an attempt to read.
#[derive(Debug)]
pub(super) enum Received {
    /// So many bytes.
    Bytes(usize),
    /// The end.
    Closed,
    /// More has to be received first: into this, which is to be put back.
    More(Input),
}

impl TlsStream {
    pub(super) fn new(mut tls: rustls::Connection) -> Self {
        tls.set_buffer_limit(None);
        Self { tls, input: Input::default(), closed: false }
    }

    /// Tells whether something may be read without receiving more. If not, what is not needed until more comes is given back.
    pub(super) fn has_input(&mut self) -> bool {
        let decrypted = self.tls.reader().fill_buf().is_ok_and(|bytes| !bytes.is_empty());
        if !self.input.is_empty() || self.closed || decrypted {
            return true;
        }
        self.input = Input::default();
        false
    }

    /// Decrypts into `buffer` what has been received, as far as there is room.
    ///
    /// # Errors
    /// `InvalidData` when a byte was altered, replayed or left out: the connection is of no more use.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        let mut filled = 0;
        loop {
            match self.tls.reader().read(&mut buffer[filled..]) {
                Ok(0) => self.closed = true,
                Ok(len) => filled += len,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
            if filled == buffer.len() || (filled > 0 && self.input.is_empty()) {
                return Ok(Received::Bytes(filled));
            }
            if self.closed {
                return Ok(if filled > 0 { Received::Bytes(filled) } else { Received::Closed });
            }
            if self.input.is_empty() {
                return Ok(Received::More(std::mem::take(&mut self.input)));
            }
            self.decrypt()?;
        }
    }

    fn decrypt(&mut self) -> io::Result<()> {
        let taken = self.tls.read_tls(&mut &self.input.bytes[self.input.start..self.input.end])?;
        self.input.start += taken;
        if taken == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let state = self.tls.process_new_packets().map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
        self.closed |= state.peer_has_closed() && state.plaintext_bytes_to_read() == 0;
        Ok(())
    }

    /// Takes back what [`Received::More`] lent, with as many more bytes as were received.
    pub(super) fn put_back(&mut self, mut input: Input, received: io::Result<usize>) -> io::Result<usize> {
        let room = input.bytes.len() - input.end;
        if let Ok(len) = received {
            input.end += len;
            input.grow = len == room;
        }
        self.input = input;
        received
    }

    /// Encrypts `bytes` onto the end of `out`, behind what the handshake or a new key has to say.
    ///
    /// # Errors
    /// When the connection has ended.
    pub(super) fn write(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        self.tls.writer().write_all(bytes)?;
        while self.tls.wants_write() {
            self.tls.write_tls(out)?;
        }
        Ok(())
    }
}

impl Input {
    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Room for what comes next.
    pub(super) fn room(&mut self) -> &mut [u8] {
        debug_assert!(self.is_empty(), "what is there is decrypted first");
        (self.start, self.end) = (0, 0);
        let len = match self.bytes.len() {
            0 => INPUT_LEN_MIN,
            len if self.grow => (2 * len).min(INPUT_LEN_MAX),
            len => len,
        };
        self.bytes.resize(len, 0);
        &mut self.bytes
    }
}
