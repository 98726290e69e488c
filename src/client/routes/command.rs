//! `POST command`: carries out one command.

use std::io;

use serde_json::json;

use super::answer::{answer, fail, refuse_body};
use super::caller::{Caller, check};
use super::{LINES, Routes};
use crate::client::api::{ApiError, Command, ErrorCode};
use crate::http::{BodyStream, Request, Responder, StatusCode};

impl Routes {
    pub(super) fn command(
        &self,
        request: &mut Request<'_>,
        responder: Responder<'_>,
        caller: &dyn Caller,
    ) -> io::Result<()> {
        let body = match request.body() {
            Ok(body) => body,
            Err(error) => return refuse_body(responder, error),
        };
        let admitted = parse(&body).and_then(|mut command| {
            let is_bounded = command.path_mut().is_some() && caller.directories().is_some();
            let slot = self.paths.admit(is_bounded)?;
            Ok((check(caller, command, &self.paths)?, slot))
        });
        let (command, _slot) = match admitted {
            Ok(admitted) => admitted,
            Err(error) => return fail(responder, &error),
        };
        let watched = self.watch.caller(responder.socket(), caller.validity());
        let mut told = Told::Nothing(responder, request.accepts(LINES));
        let done = self.api.call(command, &watched.stop, &mut |progress| {
            told.line(&json!({ "progress": progress }))
        });
        match (told, done) {
            (Told::Lost(error), _) => Err(error),
            (Told::Nothing(responder, _), Ok(reply)) => answer(responder, StatusCode::OK, &reply),
            (Told::Nothing(responder, _), Err(error)) => fail(responder, &error),
            (Told::Lines(mut stream), done) => {
                let last = match done {
                    Ok(reply) => json!(reply),
                    Err(error) => json!({ "error": error }),
                };
                stream.write(format!("{last}\n").as_bytes())?;
                stream.finish()
            }
        }
    }
}

/// Parses a command. The error does not quote the input, which may hold a password.
fn parse(body: &[u8]) -> Result<Command, ApiError> {
    serde_json::from_slice(body).map_err(|error| {
        if error.to_string().starts_with("unknown variant") {
            let text =
                "this client does not know the command; it is older than the program that asked";
            return ApiError::new(ErrorCode::Unsupported, text);
        }
        let (line, column) = (error.line(), error.column());
        ApiError::bad_argument(format!(
            "the body is not a valid command: see line {line}, column {column}"
        ))
    })
}

/// The state of the response to a command.
enum Told<'a> {
    /// Nothing was sent; the flag tells whether the caller accepts progress lines.
    Nothing(Responder<'a>, bool),
    /// Progress lines were sent.
    Lines(BodyStream<'a>),
    /// The caller is gone.
    Lost(io::Error),
}

impl Told<'_> {
    /// Sends a progress line, if the caller accepts them; false if the caller is gone.
    fn line(&mut self, value: &serde_json::Value) -> bool {
        let line = format!("{value}\n");
        let before = std::mem::replace(self, Self::Lost(io::ErrorKind::BrokenPipe.into()));
        *self = match before {
            Self::Nothing(responder, false) => Self::Nothing(responder, false),
            Self::Nothing(responder, true) => {
                let begun = responder.stream(StatusCode::OK, LINES);
                match begun.and_then(|mut stream| stream.write(line.as_bytes()).map(|()| stream)) {
                    Ok(stream) => Self::Lines(stream),
                    Err(error) => Self::Lost(error),
                }
            }
            Self::Lines(mut stream) => match stream.write(line.as_bytes()) {
                Ok(()) => Self::Lines(stream),
                Err(error) => Self::Lost(error),
            },
            Self::Lost(error) => Self::Lost(error),
        };
        !matches!(self, Self::Lost(_))
    }
}
