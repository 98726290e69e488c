//! `GET snapshot`, and `GET events`: server-sent events.

use std::io;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, select};
use serde::Deserialize;

use super::Routes;
use super::answer::{answer_long, fail};
use super::caller::Caller;
use crate::client::api::{Event, Update};
use crate::http::{BodyStream, Method, Request, Responder, StatusCode, server_sent_event};

/// Interval between comments in an idle stream of events, by which both ends notice a lost peer.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Interval at which a stream looks whether its caller still may read it.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

impl Routes {
    pub(super) fn snapshot(&self, responder: Responder<'_>) -> io::Result<()> {
        match self.api.snapshot() {
            Ok(snapshot) => answer_long(responder, &snapshot),
            Err(error) => fail(responder, &error),
        }
    }

    pub(super) fn events(
        &self,
        request: &Request<'_>,
        responder: Responder<'_>,
        caller: &dyn Caller,
    ) -> io::Result<()> {
        let moving = request.parameter("moving") != Some("0");
        // In this order, so that no update is missed.
        let begun =
            self.api.subscribe(moving).and_then(|updates| Ok((updates, self.api.snapshot()?)));
        let (updates, snapshot) = match begun {
            Ok(begun) => begun,
            Err(error) => return fail(responder, &error),
        };
        let (stop, socket) = (responder.stop(), responder.socket());
        let mut stream = responder.stream(StatusCode::OK, "text/event-stream")?;
        if request.method == Method::HEAD {
            return stream.finish();
        }
        let revision = snapshot.revision;
        let first = Event::Snapshot { snapshot: Box::new(snapshot) };
        send_update(&mut stream, &Update { revision, event: first })?;
        let mut told = Instant::now();
        loop {
            let update = select! {
                recv(updates) -> update => update.map_err(|_| RecvTimeoutError::Disconnected),
                recv(stop.channel()) -> _ => return stream.finish(),
                default(CHECK_INTERVAL) => Err(RecvTimeoutError::Timeout),
            };
            if !caller.is_valid() {
                return stream.finish();
            }
            match update {
                Ok(update) => send_update(&mut stream, &update)?,
                Err(RecvTimeoutError::Disconnected) => return stream.finish(),
                Err(RecvTimeoutError::Timeout) if socket.is_gone() => return Ok(()),
                Err(RecvTimeoutError::Timeout) if told.elapsed() < HEARTBEAT => continue,
                Err(RecvTimeoutError::Timeout) => stream.write(b":\n\n")?,
            }
            told = Instant::now();
        }
    }
}

fn send_update(stream: &mut BodyStream<'_>, update: &Update) -> io::Result<()> {
    let text = serde_json::to_string(update)?;
    let Named { event } = serde_json::from_str(&text)?;
    stream.write(server_sent_event(update.revision, event, &text).as_bytes())
}

/// The name of an event; the rest is passed over.
#[derive(Deserialize)]
struct Named<'a> {
    event: &'a str,
}
