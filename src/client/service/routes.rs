//! The routes of the control socket.
//!
//! **Invariant:** when a caller disconnects, its own command is interrupted, and no other.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::select;
use serde_json::json;

use super::answer::{answer, fail, refuse};
use super::content;
use super::watch::Watch;
use crate::client::api::{Api, ApiError, Command, ErrorCode, Event, Update};
use crate::http::{BodyStream, Handler, Method, Request, Responder, StatusCode, server_sent_event};

/// The prefix of all routes.
pub(super) const ROOT: &str = "/api/v1/";
/// One JSON value a line.
pub(super) const LINES: &str = "application/x-ndjson";
/// Interval between comments in an idle stream of events, by which both ends notice a lost peer.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The routes of one client.
pub(super) struct Routes {
    api: Arc<dyn Api>,
    watch: Arc<Watch>,
}

impl Routes {
    pub(super) fn new(api: Arc<dyn Api>, watch: Arc<Watch>) -> Self {
        Self { api, watch }
    }
}

impl Handler for Routes {
    fn handle(&self, request: Request, responder: Responder<'_>) -> io::Result<()> {
        let is_read = request.method == Method::GET || request.method == Method::HEAD;
        let path = request.path().strip_prefix(ROOT);
        if let Some(names) = path.and_then(content::names_in) {
            return match is_read {
                true => content::answer(&*self.api, &self.watch, &request, names, responder),
                false => wrong_method(responder),
            };
        }
        match path {
            Some("command") if request.method == Method::POST => self.command(&request, responder),
            Some("snapshot") if is_read => match self.api.snapshot() {
                Ok(snapshot) => answer(responder, StatusCode::OK, &json!(snapshot)),
                Err(error) => fail(responder, &error),
            },
            Some("events") if request.method == Method::GET => {
                self.events(request.parameter("moving") != Some("0"), responder)
            }
            Some("command" | "snapshot" | "events") => wrong_method(responder),
            _ => {
                let text = "no such route; docs/JSON.md lists the routes";
                refuse(responder, StatusCode::NOT_FOUND, text)
            }
        }
    }
}

fn wrong_method(responder: Responder<'_>) -> io::Result<()> {
    let text = "this route needs another method";
    refuse(responder, StatusCode::METHOD_NOT_ALLOWED, text)
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

impl Routes {
    fn command(&self, request: &Request, responder: Responder<'_>) -> io::Result<()> {
        let command = match parse(&request.body) {
            Ok(command) => command,
            Err(error) => return fail(responder, &error),
        };
        let caller = self.watch.caller(responder.socket());
        let mut told = Told::Nothing(responder, request.accepts(LINES));
        let done = self.api.call(command, &caller.stop, &mut |progress| {
            told.line(&json!({ "progress": progress }))
        });
        match (told, done) {
            (Told::Lost(error), _) => Err(error),
            (Told::Nothing(responder, _), Ok(reply)) => {
                answer(responder, StatusCode::OK, &json!(reply))
            }
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

    fn events(&self, moving: bool, responder: Responder<'_>) -> io::Result<()> {
        // In this order, so that no update is missed.
        let begun =
            self.api.subscribe(moving).and_then(|updates| Ok((updates, self.api.snapshot()?)));
        let (updates, snapshot) = match begun {
            Ok(begun) => begun,
            Err(error) => return fail(responder, &error),
        };
        let stop = responder.stop();
        let mut stream = responder.stream(StatusCode::OK, "text/event-stream")?;
        let revision = snapshot.revision;
        let first = Event::Snapshot { snapshot: Box::new(snapshot) };
        send_update(&mut stream, &Update { revision, event: first })?;
        loop {
            select! {
                recv(updates) -> update => match update {
                    Ok(update) => send_update(&mut stream, &update)?,
                    Err(_) => return stream.finish(),
                },
                recv(stop.channel()) -> _ => return stream.finish(),
                default(HEARTBEAT) => stream.write(b":\n\n")?,
            }
        }
    }
}

fn send_update(stream: &mut BodyStream<'_>, update: &Update) -> io::Result<()> {
    let value = json!(update);
    let name = value["event"].as_str().unwrap_or_default();
    stream.write(server_sent_event(update.revision, name, &value.to_string()).as_bytes())
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
