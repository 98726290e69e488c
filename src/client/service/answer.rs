//! Answers in JSON, and the HTTP statuses of errors.

use std::io;

use serde_json::json;

use crate::client::api::{ApiError, ErrorCode};
use crate::http::{Responder, StatusCode};

const JSON: &str = "application/json";

/// Answers with a JSON value.
pub(super) fn answer(
    responder: Responder<'_>,
    status: StatusCode,
    value: &serde_json::Value,
) -> io::Result<()> {
    responder.send(status, JSON, format!("{value}\n").as_bytes())
}

/// Answers with an error of the client.
pub(super) fn fail(responder: Responder<'_>, error: &ApiError) -> io::Result<()> {
    answer(responder, status_of(error.code), &json!({ "error": error }))
}

/// Answers that the request makes no sense.
pub(super) fn refuse(responder: Responder<'_>, status: StatusCode, text: &str) -> io::Result<()> {
    answer(responder, status, &json!({ "error": ApiError::bad_argument(text) }))
}

/// The HTTP status of an error.
fn status_of(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::BadArgument | ErrorCode::Path | ErrorCode::Unsupported => {
            StatusCode::BAD_REQUEST
        }
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
