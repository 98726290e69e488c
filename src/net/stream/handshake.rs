//! The handshake, which is rustls's alone, up to the keys that the records behind it are encrypted
//! with.
//!
//! **Invariant:** nothing of what comes behind the handshake is shown to rustls, and no keys leave
//! it before the handshake is over.

use std::io;
use std::ops::Deref;

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use rustls::{CommonState, Error};

use super::keys::Secrets;
use super::{Input, Output, TlsStream, invalid};

/// Bytes of most of what a handshake has to say.
const ANSWER_LEN: usize = 1 << 10;

/// One end's handshake.
pub(in crate::net) enum Handshake {
    /// Of the end that dialled.
    Client(Box<UnbufferedClientConnection>),
    /// Of the end that accepted.
    Server(Box<UnbufferedServerConnection>),
}

/// How far a handshake has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::net) enum Progress {
    /// More has to be received, once what there is to be sent has been.
    Receive,
    /// It is over once what there is to be sent has been.
    Done,
    /// The other end has said farewell.
    Closed,
}

enum Step {
    Made,
    Blocked,
    Closed,
}

impl Handshake {
    /// Goes on with what has been received, and appends what is to be sent to `output`.
    ///
    /// # Errors
    /// Whatever is wrong with what was received: [`Handshake::refuse`] tells the other end.
    pub(in crate::net) fn advance(
        &mut self,
        input: &mut Input,
        output: &mut Output,
    ) -> Result<Progress, Error> {
        loop {
            match self.step(input, output)? {
                Step::Made => {}
                Step::Closed => return Ok(Progress::Closed),
                Step::Blocked if !self.is_handshaking() => return Ok(Progress::Done),
                Step::Blocked if input.offer()? => {}
                Step::Blocked => return Ok(Progress::Receive),
            }
        }
    }

    /// Appends what the other end is to be told about an error. What rustls keeps of a message
    /// refers to the bytes it came in.
    pub(in crate::net) fn refuse(&mut self, input: &mut Input, output: &mut Output) {
        let _ = self.step(input, output);
    }

    fn step(&mut self, input: &mut Input, output: &mut Output) -> Result<Step, Error> {
        let offered = input.offered();
        let (discard, step) = match self {
            Self::Client(tls) => carry_out(tls.process_tls_records(offered), output),
            Self::Server(tls) => carry_out(tls.process_tls_records(offered), output),
        };
        input.done(discard);
        step
    }

    /// Goes over to records, behind a handshake that is done.
    ///
    /// # Errors
    /// When it is not.
    pub(in crate::net) fn into_stream(self, input: Input) -> io::Result<TlsStream> {
        let (secrets, traffic) = match self {
            Self::Client(tls) => {
                let inner = *tls;
                let (traffic, kernel) =
                    inner.dangerous_into_kernel_connection().map_err(invalid)?;
                (Secrets::Client(kernel), traffic)
            }
            Self::Server(tls) => {
                let inner = *tls;
                let (traffic, kernel) =
                    inner.dangerous_into_kernel_connection().map_err(invalid)?;
                (Secrets::Server(kernel), traffic)
            }
        };
        TlsStream::new(secrets, traffic, input).map_err(invalid)
    }
}

impl Deref for Handshake {
    type Target = CommonState;

    fn deref(&self) -> &CommonState {
        match self {
            Self::Client(tls) => tls,
            Self::Server(tls) => tls,
        }
    }
}

/// Does what rustls asks for; returns the bytes of input that are done with.
fn carry_out<D>(
    status: UnbufferedStatus<'_, '_, D>,
    output: &mut Output,
) -> (usize, Result<Step, Error>) {
    let UnbufferedStatus { discard, state } = status;
    let step = state.and_then(|state| match state {
        ConnectionState::EncodeTlsData(mut data) => {
            let encoded = match data.encode(output.room(ANSWER_LEN)) {
                Err(EncodeError::InsufficientSize(more)) => {
                    data.encode(output.room(more.required_size))
                }
                other => other,
            };
            output.filled(encoded.map_err(|e| Error::General(e.to_string()))?);
            Ok(Step::Made)
        }
        ConnectionState::TransmitTlsData(data) => {
            // It is in the output, which is sent in order.
            data.done();
            Ok(Step::Made)
        }
        ConnectionState::WriteTraffic(_) | ConnectionState::BlockedHandshake => Ok(Step::Blocked),
        ConnectionState::PeerClosed | ConnectionState::Closed => Ok(Step::Closed),
        _ => Err(Error::General("data before the end of the handshake".to_owned())),
    });
    (discard, step)
}
