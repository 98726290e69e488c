//! One endpoint of a TLS connection: rustls's unbuffered connection, driven record by record.
//!
//! **Invariant:** whenever a method returns without an error, rustls refers to no byte of the
//! receive buffer. So the buffer can be lent to a reader that waits for the socket, while a writer
//! goes on without it.
//!
//! rustls does everything about records: encryption, limits of keys, key updates, alerts. No IO;
//! the caller holds the connection's lock.

use std::ops::Deref;

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};
use rustls::{CommonState, Error};

use super::buffers::{ReceiveBuffer, SendBuffer};

/// The client or the server of a TLS connection.
pub(in crate::net) enum Endpoint {
    /// The end that dialled.
    Client(Box<UnbufferedClientConnection>),
    /// The end that accepted.
    Server(Box<UnbufferedServerConnection>),
}

/// How far a handshake has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::net) enum Progress {
    /// The send buffer has to be sent, then more has to be received.
    Receive,
    /// The handshake is over once the send buffer has been sent.
    Done,
    /// The other end has sent `close_notify`.
    Closed,
}

/// What the next record was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Record {
    /// Data, or a message of TLS itself, which has been carried out.
    Read,
    /// `close_notify`.
    Closed,
    /// It has not come whole.
    Missing,
}

/// What to do once rustls can send data.
#[derive(Clone, Copy)]
enum Purpose<'a> {
    Read,
    Write(&'a [u8]),
    Close,
    #[cfg(any(test, fuzzing))]
    UpdateKey,
}

/// What one state of rustls's connection asked for, and was given.
enum Step {
    /// A record of TLS itself was appended to the send buffer, or counted as sent.
    Encoded,
    /// Data was handed out.
    Data,
    /// Data can be sent; the purpose has been carried out.
    Ready,
    /// The handshake needs more bytes.
    Blocked,
    /// The other end has sent `close_notify`.
    Closed,
}

impl Endpoint {
    /// Goes on with the handshake, and appends records to `output`.
    ///
    /// # Errors
    /// When something was wrong with what was received. An alert for the other end is in `output`.
    pub(in crate::net) fn advance(
        &mut self,
        input: &mut ReceiveBuffer,
        output: &mut SendBuffer,
    ) -> Result<Progress, Error> {
        let progress = self.try_advance(input, output);
        if progress.is_err() {
            self.append_alert(input, output);
        }
        progress
    }

    fn try_advance(
        &mut self,
        input: &mut ReceiveBuffer,
        output: &mut SendBuffer,
    ) -> Result<Progress, Error> {
        loop {
            match self.step(input, output, Purpose::Read, &mut |_| {})? {
                Step::Encoded => {}
                Step::Closed => return Ok(Progress::Closed),
                Step::Data => return Err(Error::General("data in a handshake".to_owned())),
                Step::Ready | Step::Blocked if !self.is_handshaking() => return Ok(Progress::Done),
                Step::Ready | Step::Blocked if input.show_record()? => {}
                Step::Ready | Step::Blocked => return Ok(Progress::Receive),
            }
        }
    }

    /// Reads the next record behind the handshake: its data goes to `data`, records that rustls
    /// writes meanwhile to `output`.
    ///
    /// # Errors
    /// When something was wrong with the record. An alert for the other end is in `output`, and
    /// the endpoint is of no more use.
    pub(super) fn read_record(
        &mut self,
        input: &mut ReceiveBuffer,
        output: &mut SendBuffer,
        data: &mut dyn FnMut(&[u8]),
    ) -> Result<Record, Error> {
        let record = self.try_read_record(input, output, data);
        if record.is_err() {
            self.append_alert(input, output);
        }
        record
    }

    fn try_read_record(
        &mut self,
        input: &mut ReceiveBuffer,
        output: &mut SendBuffer,
        data: &mut dyn FnMut(&[u8]),
    ) -> Result<Record, Error> {
        if !input.show_record()? {
            return Ok(Record::Missing);
        }
        let record = loop {
            match self.step(input, output, Purpose::Read, data)? {
                Step::Encoded => {}
                Step::Data | Step::Ready => break Record::Read,
                Step::Closed => break Record::Closed,
                Step::Blocked => return Err(Error::HandshakeNotComplete),
            }
        };
        // rustls would keep half a message in the buffer, which is about to be lent.
        match input.shown().is_empty() {
            true => Ok(record),
            false => Err(Error::General("half a message of TLS in a record".to_owned())),
        }
    }

    /// Appends `message`, encrypted, to `output`; behind a key update if one is due.
    ///
    /// # Errors
    /// When rustls can encrypt nothing more.
    pub(super) fn write(&mut self, message: &[u8], output: &mut SendBuffer) -> Result<(), Error> {
        self.carry_out(Purpose::Write(message), output)
    }

    /// Appends `close_notify` to `output`.
    ///
    /// # Errors
    /// When rustls can encrypt nothing more.
    pub(super) fn close(&mut self, output: &mut SendBuffer) -> Result<(), Error> {
        self.carry_out(Purpose::Close, output)
    }

    /// Appends a key update to `output`.
    #[cfg(any(test, fuzzing))]
    pub(super) fn update_key(&mut self, output: &mut SendBuffer) -> Result<(), Error> {
        self.carry_out(Purpose::UpdateKey, output)?;
        self.carry_out(Purpose::Read, output)
    }

    fn carry_out(&mut self, purpose: Purpose<'_>, output: &mut SendBuffer) -> Result<(), Error> {
        loop {
            match self.step(&mut ReceiveBuffer::default(), output, purpose, &mut |_| {})? {
                Step::Encoded => {}
                Step::Ready => return Ok(()),
                Step::Data | Step::Blocked | Step::Closed => return Err(Error::EncryptError),
            }
        }
    }

    /// Appends what rustls tells the other end about an error. `input` is the buffer of the call
    /// that failed: rustls may refer to it.
    fn append_alert(&mut self, input: &mut ReceiveBuffer, output: &mut SendBuffer) {
        while self.wants_write() {
            if self.step(input, output, Purpose::Read, &mut |_| {}).is_err() {
                return;
            }
        }
    }

    fn step(
        &mut self,
        input: &mut ReceiveBuffer,
        output: &mut SendBuffer,
        purpose: Purpose<'_>,
        data: &mut dyn FnMut(&[u8]),
    ) -> Result<Step, Error> {
        let shown = input.shown();
        let (discard, step) = match self {
            Self::Client(tls) => handle(tls.process_tls_records(shown), output, purpose, data),
            Self::Server(tls) => handle(tls.process_tls_records(shown), output, purpose, data),
        };
        input.discard(discard);
        step
    }
}

impl Deref for Endpoint {
    type Target = CommonState;

    fn deref(&self) -> &CommonState {
        match self {
            Self::Client(tls) => tls,
            Self::Server(tls) => tls,
        }
    }
}

/// Gives rustls what its state asks for; returns how many bytes of input it is done with.
fn handle<D>(
    status: UnbufferedStatus<'_, '_, D>,
    output: &mut SendBuffer,
    purpose: Purpose<'_>,
    data: &mut dyn FnMut(&[u8]),
) -> (usize, Result<Step, Error>) {
    let UnbufferedStatus { mut discard, state } = status;
    let step = state.and_then(|state| match state {
        ConnectionState::EncodeTlsData(mut record) => {
            fill(output, |room| record.encode(room))?;
            Ok(Step::Encoded)
        }
        ConnectionState::TransmitTlsData(records) => {
            // They are in the send buffer, which is sent in order.
            records.done();
            Ok(Step::Encoded)
        }
        ConnectionState::ReadTraffic(mut records) => {
            while let Some(record) = records.next_record() {
                let record = record?;
                discard += record.discard;
                data(record.payload);
            }
            Ok(Step::Data)
        }
        ConnectionState::WriteTraffic(mut traffic) => {
            match purpose {
                Purpose::Read => {}
                Purpose::Write(message) => fill(output, |room| traffic.encrypt(message, room))?,
                Purpose::Close => fill(output, |room| traffic.queue_close_notify(room))?,
                #[cfg(any(test, fuzzing))]
                Purpose::UpdateKey => traffic.refresh_traffic_keys()?,
            }
            Ok(Step::Ready)
        }
        ConnectionState::BlockedHandshake => Ok(Step::Blocked),
        ConnectionState::PeerClosed | ConnectionState::Closed => Ok(Step::Closed),
        _ => Err(Error::General("early data".to_owned())),
    });
    (discard, step)
}

/// Has `encode` fill room in `output`, and makes more of it if there is not enough.
fn fill<E: Into<EncodingError>>(
    output: &mut SendBuffer,
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, E>,
) -> Result<(), Error> {
    let mut encoded = encode(output.room(0)).map_err(Into::into);
    if let Err(EncodingError::InsufficientSize(more)) = encoded {
        encoded = encode(output.room(more.required_size)).map_err(Into::into);
    }
    output.filled(encoded.map_err(|_| Error::EncryptError)?);
    Ok(())
}

/// What rustls's two errors of encoding have in common.
enum EncodingError {
    InsufficientSize(InsufficientSizeError),
    Other,
}

impl From<EncodeError> for EncodingError {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::InsufficientSize(more) => Self::InsufficientSize(more),
            EncodeError::AlreadyEncoded => Self::Other,
        }
    }
}

impl From<EncryptError> for EncodingError {
    fn from(error: EncryptError) -> Self {
        match error {
            EncryptError::InsufficientSize(more) => Self::InsufficientSize(more),
            EncryptError::EncryptExhausted => Self::Other,
        }
    }
}
