//! Errors as JSON.

use std::io;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::http::{Responder, StatusCode};

/// The body of an error.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Failure {
    /// What went wrong.
    error: Refusal,
}

/// An error.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Refusal {
    /// Its kind.
    code: Code,
    /// The sentence that people see.
    message: String,
}

/// The kind of an error, as `docs/JSON.md` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The request is not understood.
    BadArgument,
    /// The token may not do that.
    NotAllowed,
    /// The request shows no valid token.
    NoToken,
    /// The directory refuses it.
    Refused,
    /// No answer came in time.
    NoAnswer,
    /// Anything else.
    Failed,
}

/// Refuses a request with an error as JSON.
///
/// # Errors
/// The socket's.
pub fn refuse(
    responder: Responder<'_>,
    status: StatusCode,
    code: Code,
    text: &str,
) -> io::Result<()> {
    let failure = Failure { error: Refusal { code, message: text.to_owned() } };
    responder.send(status, "application/json", format!("{}\n", json!(failure)).as_bytes())
}
