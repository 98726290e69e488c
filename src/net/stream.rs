//! The TLS state of one connection, between encrypted bytes that were received and those to be sent.
//!
//! **Invariant:** no IO. Whoever holds the lock around it encrypts or decrypts, and lets go; bytes that were received wait in here, so that
//! any reader of the connection goes on where the last one stopped.
//!
//! It is rustls's unbuffered interface: records are decrypted where they were received, and encrypted to where they are sent from. The buffered
//! one moves every byte twice more, which costs three times as much as decrypting it.

mod buffers;

use std::io;
use std::ops::Deref;

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus};
use rustls::{CommonState, Error};

use self::buffers::Plain;
pub(super) use self::buffers::{Input, Output};

/// Bytes of data in a full record.
const RECORD_LEN: usize = 16 << 10;
/// Bytes of most of what the protocol itself has to say.
const ANSWER_LEN: usize = 1 << 10;
/// Bytes that encryption adds to a record, and more.
const RECORD_OVERHEAD: usize = 64;

/// One end's state, from before the handshake to the end.
pub(super) enum Tls {
    /// Of the end that dialled.
    Client(Box<UnbufferedClientConnection>),
    /// Of the end that accepted.
    Server(Box<UnbufferedServerConnection>),
}

/// TLS between its handshake and its end.
#[derive(Debug)]
pub(super) struct TlsStream {
    tls: Tls,
    input: Input,
    /// What was decrypted and has not been read.
    plain: Plain,
    /// What the protocol itself has to say, encrypted already: it goes before whatever is written next.
    answers: Output,
    /// The other end has said farewell.
    closed: bool,
    /// Something was wrong with what was received: what rustls keeps of it must not be looked at without the bytes it came in.
    broken: bool,
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

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// The next step.
    Step,
    /// More has to be received before anything.
    Receive,
    /// What there was to do is done; data may go both ways.
    Ready,
    /// The other end has said farewell.
    Closed,
}

impl Tls {
    /// Makes one step: takes from `input`, hands data to `take`, and appends what is to be sent to `output`, with `message` once that may be.
    ///
    /// # Errors
    /// Whatever is wrong with what was received. The next step then says so to the other end.
    pub(super) fn step(
        &mut self,
        input: &mut Input,
        output: &mut Output,
        message: &[u8],
        take: &mut dyn FnMut(&[u8]),
    ) -> Result<Next, Error> {
        let bytes = input.waiting();
        let (discard, next) = match self {
            Self::Client(tls) => carry_out(tls.process_tls_records(bytes), output, message, take),
            Self::Server(tls) => carry_out(tls.process_tls_records(bytes), output, message, take),
        };
        input.done(discard);
        next
    }
}

impl Deref for Tls {
    type Target = CommonState;

    fn deref(&self) -> &CommonState {
        match self {
            Self::Client(tls) => tls,
            Self::Server(tls) => tls,
        }
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

/// Does what rustls asks for; returns the bytes of input that are done with.
fn carry_out<D>(
    status: UnbufferedStatus<'_, '_, D>,
    output: &mut Output,
    message: &[u8],
    take: &mut dyn FnMut(&[u8]),
) -> (usize, Result<Next, Error>) {
    let UnbufferedStatus { mut discard, state } = status;
    let next = state.and_then(|state| match state {
        ConnectionState::ReadTraffic(mut traffic) => {
            while let Some(record) = traffic.next_record() {
                let record = record?;
                discard += record.discard;
                take(record.payload);
            }
            Ok(Next::Step)
        }
        ConnectionState::EncodeTlsData(mut data) => {
            let encoded = match data.encode(output.room(ANSWER_LEN)) {
                Err(EncodeError::InsufficientSize(more)) => data.encode(output.room(more.required_size)),
                other => other,
            };
            output.filled(encoded.map_err(|e| Error::General(e.to_string()))?);
            Ok(Next::Step)
        }
        ConnectionState::TransmitTlsData(data) => {
            // It is in the output, which is sent in order.
            data.done();
            Ok(Next::Step)
        }
        ConnectionState::WriteTraffic(_) if message.is_empty() => Ok(Next::Ready),
        ConnectionState::WriteTraffic(mut traffic) => {
            let len = message.len() + (message.len() / RECORD_LEN + 2) * RECORD_OVERHEAD;
            let encrypted = match traffic.encrypt(message, output.room(len)) {
                Err(EncryptError::InsufficientSize(InsufficientSizeError { required_size })) => {
                    traffic.encrypt(message, output.room(required_size))
                }
                other => other,
            };
            output.filled(encrypted.map_err(|e| Error::General(e.to_string()))?);
            Ok(Next::Ready)
        }
        ConnectionState::BlockedHandshake => Ok(Next::Receive),
        ConnectionState::PeerClosed | ConnectionState::Closed => Ok(Next::Closed),
        _ => Err(Error::General("data before the end of the handshake".to_owned())),
    });
    (discard, next)
}

impl TlsStream {
    /// Goes on where the handshake has ended; behind it came `plain`, and `input`, which is still encrypted.
    pub(super) fn new(tls: Tls, plain: Vec<u8>, input: Input) -> Self {
        Self { tls, input, plain: Plain::new(plain), answers: Output::default(), closed: false, broken: false }
    }

    /// Tells whether something may be read without receiving more. If not, what is not needed until more comes is given back.
    pub(super) fn has_input(&mut self) -> bool {
        if self.closed || !self.plain.is_empty() || self.input.has_record() {
            return true;
        }
        self.input.shrink();
        self.plain = Plain::default();
        false
    }

    /// Decrypts into `buffer` what has been received, as far as there is room.
    ///
    /// # Errors
    /// `InvalidData` when a byte was altered, replayed or left out: the connection is of no more use.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        if self.broken {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let read = self.decrypt(buffer);
        self.broken = read.is_err();
        read
    }

    fn decrypt(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        let mut filled = self.plain.take(buffer);
        loop {
            if filled == buffer.len() {
                return Ok(Received::Bytes(filled));
            }
            let plain = &mut self.plain;
            let mut take = |payload: &[u8]| {
                let direct = payload.len().min(buffer.len() - filled);
                buffer[filled..filled + direct].copy_from_slice(&payload[..direct]);
                filled += direct;
                plain.put(&payload[direct..]);
            };
            let next = match self.closed {
                true => Next::Closed,
                false => self.tls.step(&mut self.input, &mut self.answers, &[], &mut take).map_err(invalid)?,
            };
            self.closed |= next == Next::Closed;
            match next {
                Next::Step => {}
                _ if filled > 0 => return Ok(Received::Bytes(filled)),
                Next::Closed => return Ok(Received::Closed),
                // Only a part of a message of the protocol itself is kept after it was decrypted. Ours have a few bytes and come whole.
                _ if self.input.has_record() => {
                    return Err(invalid(Error::General("it sends half a message of TLS itself".to_owned())));
                }
                _ => return Ok(Received::More(std::mem::take(&mut self.input))),
            }
        }
    }

    /// Takes back what [`Received::More`] lent, with as many more bytes as were received.
    ///
    /// # Errors
    /// That of receiving, and `InvalidData` when what came is no TLS.
    pub(super) fn put_back(&mut self, mut input: Input, received: io::Result<usize>) -> io::Result<usize> {
        let taken = match received {
            Ok(len) => input.received(len).map(|()| len),
            Err(e) => {
                if e.kind() == io::ErrorKind::WouldBlock {
                    input.shrink();
                }
                Err(e)
            }
        };
        self.broken |= matches!(&taken, Err(e) if e.kind() == io::ErrorKind::InvalidData);
        self.input = input;
        taken
    }

    /// Encrypts `message` onto the end of `output`, behind what the handshake or a new key has to say.
    ///
    /// # Errors
    /// When the connection has ended.
    pub(super) fn write(&mut self, message: &[u8], output: &mut Output) -> io::Result<()> {
        if self.broken {
            return Err(io::ErrorKind::NotConnected.into());
        }
        // What was received is left to the reader, who may have it just now. It never holds a part of a message of the protocol itself.
        let (mut none, plain) = (Input::default(), &mut self.plain);
        if !self.answers.waiting().is_empty() {
            output.append(&std::mem::take(&mut self.answers));
        }
        loop {
            match self.tls.step(&mut none, output, message, &mut |payload| plain.put(payload)).map_err(invalid)? {
                Next::Ready => return Ok(()),
                Next::Closed => self.closed = true,
                Next::Step => {}
                Next::Receive => return Err(io::ErrorKind::NotConnected.into()),
            }
        }
    }
}

pub(super) fn invalid(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests;
