//! Answers as JSON.

use std::borrow::Cow;
use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use crate::client::api::{ApiError, ErrorCode};
use crate::http::{BodyError, BodyStream, Responder, StatusCode};

const JSON: &str = "application/json";
/// Bytes of a long answer that are written at once, so that a chunk with its framing is one write.
const PART_LEN: usize = 60 << 10;

/// The body of an error.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Failure<'a> {
    /// What went wrong.
    pub(crate) error: Cow<'a, ApiError>,
}

/// Sends a value.
pub(crate) fn answer(
    responder: Responder<'_>,
    status: StatusCode,
    value: &impl Serialize,
) -> io::Result<()> {
    let mut body = serde_json::to_vec(value)?;
    body.push(b'\n');
    responder.send(status, JSON, &body)
}

/// Sends a value that may be long: in parts, which the client reads while the rest is written. One
/// that fits one part is sent with its length.
///
/// # Errors
/// The socket's, if the connection is lost.
pub(crate) fn answer_long(responder: Responder<'_>, value: &impl Serialize) -> io::Result<()> {
    let held = Vec::with_capacity(PART_LEN);
    let mut body = LongBody { responder: Some(responder), stream: None, held };
    serde_json::to_writer(&mut body, value)?;
    body.write_all(b"\n")?;
    body.finish()
}

/// A body that becomes a stream when it is longer than one part.
struct LongBody<'a> {
    /// Until the stream begins.
    responder: Option<Responder<'a>>,
    stream: Option<BodyStream<'a>>,
    held: Vec<u8>,
}

impl LongBody<'_> {
    fn finish(mut self) -> io::Result<()> {
        if let Some(responder) = self.responder {
            return responder.send(StatusCode::OK, JSON, &self.held);
        }
        let mut stream = self.stream.take().ok_or(io::ErrorKind::NotConnected)?;
        stream.write(&self.held)?;
        stream.finish()
    }
}

impl Write for LongBody<'_> {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        if self.held.len() == PART_LEN {
            if let Some(responder) = self.responder.take() {
                self.stream = Some(responder.stream(StatusCode::OK, JSON)?);
            }
            let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
            stream.write(&self.held)?;
            self.held.clear();
        }
        let taken = part.len().min(PART_LEN - self.held.len());
        self.held.extend_from_slice(&part[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sends an error, with the status that fits.
pub(crate) fn fail(responder: Responder<'_>, error: &ApiError) -> io::Result<()> {
    answer(responder, status_of(error.code), &Failure { error: Cow::Borrowed(error) })
}

/// Sends a refusal of the request itself.
pub(crate) fn refuse(responder: Responder<'_>, status: StatusCode, text: &str) -> io::Result<()> {
    answer(responder, status, &Failure { error: Cow::Owned(ApiError::bad_argument(text)) })
}

/// Sends the refusal of a body.
///
/// # Errors
/// The socket's, if the connection is lost.
pub(crate) fn refuse_body(responder: Responder<'_>, error: BodyError) -> io::Result<()> {
    match error {
        BodyError::Refused(status) => {
            refuse(responder, status, &format!("the body is refused: {status}"))
        }
        BodyError::Lost(error) => Err(error),
    }
}

/// The HTTP status of an error.
pub(super) fn status_of(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::BadArgument | ErrorCode::Path | ErrorCode::Unsupported => {
            StatusCode::BAD_REQUEST
        }
        ErrorCode::NoToken => StatusCode::UNAUTHORIZED,
        ErrorCode::NotAllowed => StatusCode::FORBIDDEN,
        ErrorCode::NoSuchDownload | ErrorCode::NotHere => StatusCode::NOT_FOUND,
        ErrorCode::NoTracker
        | ErrorCode::NoAnswer
        | ErrorCode::WrongNetwork
        | ErrorCode::UntrustedTracker
        | ErrorCode::Crowded
        | ErrorCode::ClientGone => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::CONFLICT,
    }
}
