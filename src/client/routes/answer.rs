//! Answers as JSON.

use std::borrow::Cow;
use std::io::{self, BufWriter, Write, WriterPanicked};

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
    let mut body = BufWriter::with_capacity(PART_LEN, LongBody::Held(responder));
    serde_json::to_writer(&mut body, value)?;
    body.write_all(b"\n")?;
    let (parts, last) = body.into_parts();
    // Nothing has panicked while it was written.
    let last = last.unwrap_or_else(WriterPanicked::into_inner);
    match parts {
        LongBody::Held(responder) => responder.send(StatusCode::OK, JSON, &last),
        LongBody::Begun(mut stream) => {
            stream.write(&last)?;
            stream.finish()
        }
        LongBody::Lost => Err(io::ErrorKind::NotConnected.into()),
    }
}

/// A body that becomes a stream when it is longer than one part.
enum LongBody<'a> {
    Held(Responder<'a>),
    Begun(BodyStream<'a>),
    Lost,
}

impl Write for LongBody<'_> {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        *self = match std::mem::replace(self, Self::Lost) {
            Self::Held(responder) => Self::Begun(responder.stream(StatusCode::OK, JSON)?),
            other => other,
        };
        let Self::Begun(stream) = self else { return Err(io::ErrorKind::NotConnected.into()) };
        stream.write(part)?;
        Ok(part.len())
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
