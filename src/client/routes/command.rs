//! `POST command`: carries out one command.

use std::io;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::answer::{answer, fail, refuse_body};
use super::caller::{Caller, check, resolve};
use super::paths::Slot;
use super::{LINES, Routes};
use crate::client::api::{ApiError, Command, ErrorCode, Reply};
use crate::http::{BodyStream, Request, Responder, Socket, StatusCode};

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
        let (command, _slot) = match parse(&body).and_then(|command| self.admit(command, caller)) {
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

impl Routes {
    /// Checks that a caller may carry out a command.
    fn admit(
        &self,
        mut command: Command,
        caller: &dyn Caller,
    ) -> Result<(Command, Option<Slot>), ApiError> {
        let is_bounded = command.path_mut().is_some() && caller.directories().is_some();
        let slot = self.paths.admit(is_bounded)?;
        Ok((check(caller, command, &self.paths)?, slot))
    }

    /// Carries out a command for another view of the interface, as [`Routes::handle`] would. It ends
    /// when the caller disconnects or loses its rights.
    ///
    /// # Errors
    /// The client's, and those of a caller that may not do that.
    ///
    /// # Blocking
    /// As long as the command takes.
    pub(crate) fn carry_out(
        &self,
        command: Command,
        caller: &dyn Caller,
        socket: Arc<dyn Socket>,
    ) -> Result<Reply, ApiError> {
        let (command, _slot) = self.admit(command, caller)?;
        let watched = self.watch.caller(socket, caller.validity());
        self.api.call(command, &watched.stop, &mut |_| true)
    }

    /// Looks at a path that the caller may use, without links.
    ///
    /// # Errors
    /// [`ErrorCode::NotAllowed`], [`ErrorCode::Path`], [`ErrorCode::Crowded`].
    ///
    /// # Blocking
    /// On the path's file system, for a moment.
    pub(crate) fn look<T: Send + 'static>(
        &self,
        path: &Path,
        caller: &dyn Caller,
        work: impl FnOnce(&Path) -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let (wanted, allowed) = (path.to_owned(), caller.directories().cloned());
        self.paths.look(path, move || resolve(&wanted, allowed.as_ref()).map(|real| work(&real)))?
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
