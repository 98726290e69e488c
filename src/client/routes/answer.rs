//! Answers as JSON.

use std::borrow::Cow;
use std::io::{self, BufWriter, IntoInnerError, Write};

use schemars::JsonSchema;
use serde::Serialize;

use crate::client::api::{ApiError, ErrorCode};
use crate::http::{BodyError, Responder, StatusCode};

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

/// Sends a value that may be long, in parts: the client reads while the rest is written.
///
/// # Errors
/// The socket's, if the connection is lost.
pub(crate) fn answer_long(responder: Responder<'_>, value: &impl Serialize) -> io::Result<()> {
    let mut body = BufWriter::with_capacity(PART_LEN, responder.stream(StatusCode::OK, JSON)?);
    serde_json::to_writer(&mut body, value)?;
    body.write_all(b"\n")?;
    body.into_inner().map_err(IntoInnerError::into_error)?.finish()
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
