//! The interface of a client in another process, over its control socket.
//!
//! **Invariant:** every failure of the socket is one error, [`ErrorCode::ClientGone`], with a
//! one-line message. An interrupted call closes its connection, which interrupts the command in the
//! other process.
//!
//! Each command uses its own connection, so that commands can wait at the same time. The thread
//! "attached events" of a subscription ends with its channel or its connection.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use serde::de::DeserializeOwned;
use serde_json::Value;
use zeroize::Zeroizing;

use super::socket::{Found, look};
use crate::client::api::{
    self, Api, ApiError, Command, Content, ErrorCode, OnProgress, Reply, Snapshot, Update,
};
use crate::client::routes::{LINES, ROOT};
use crate::http::{Response, Socket, StatusCode, send};
use crate::net::{Stop, Threads};

/// Interval between checks of the caller's stop.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Time for a running client to answer.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for an ending client to close its socket.
const END_TIMEOUT: Duration = Duration::from_secs(3);
/// Maximum length of a line: a snapshot with many downloads.
const LINE_LEN_MAX: usize = 64 << 20;
/// Queued updates; further ones stay in the other process.
const QUEUE_LEN: usize = 64;
/// Silence after which the other process counts as gone.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// A client in another process.
pub(crate) struct Remote {
    data_dir: PathBuf,
    threads: Threads,
}

/// Finds the running client of a data directory; `None` if no client runs.
///
/// # Errors
/// A one-line message, if the socket is not usable.
///
/// # Blocking
/// For at most [`SNAPSHOT_TIMEOUT`].
pub(crate) fn find(data_dir: &Path) -> Result<Option<Remote>, ApiError> {
    let failed = |text: String| ApiError::new(ErrorCode::Failed, text);
    let dir = data_dir.display();
    match look(data_dir) {
        Ok(Found::NoClient) => return Ok(None),
        Ok(Found::AnotherUser) => {
            return Err(failed(format!(
                "{dir} is another user's; start this program as that user, or give another --data-dir"
            )));
        }
        Ok(Found::Connected(_)) => {}
        Err(error) => {
            return Err(failed(format!(
                "a client runs with {dir}, and does not answer: {error}; stop it, or give another --data-dir"
            )));
        }
    }
    let remote = Remote { data_dir: data_dir.to_owned(), threads: Threads::new() };
    let deadline = Instant::now() + END_TIMEOUT;
    let snapshot = loop {
        match remote.get::<Value>("snapshot") {
            Err(error) if is_gone(&error) => {
                // The client has ended, or ends now; or it is another program.
                if matches!(look(data_dir), Ok(Found::NoClient)) {
                    return Ok(None);
                }
                if Instant::now() >= deadline {
                    break Err(error);
                }
                std::thread::sleep(LOOK_INTERVAL);
            }
            answer => break answer,
        }
    };
    match snapshot {
        Err(error) => Err(failed(format!(
            "the process that listens in {dir} is not a client that this program can attach to: {error}; stop it, or \
             give another --data-dir"
        ))),
        Ok(snapshot) => match snapshot["api"].as_u64() {
            Some(version) if version == u64::from(api::VERSION) => Ok(Some(remote)),
            Some(version) => Err(failed(format!(
                "the client that runs with {dir} speaks version {version} of the interface, and this program version {}; \
                 update the older one and start it again",
                api::VERSION
            ))),
            None => Err(failed(format!(
                "the process that listens in {dir} is not a client; stop it, or give another --data-dir"
            ))),
        },
    }
}

/// Tells whether an error means that the other process has ended.
fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{
        BrokenPipe, ConnectionRefused, ConnectionReset, NotConnected, NotFound, UnexpectedEof,
    };
    matches!(
        error.kind(),
        NotFound | ConnectionRefused | ConnectionReset | BrokenPipe | NotConnected | UnexpectedEof
    )
}

fn gone(error: &io::Error) -> ApiError {
    let text = if is_gone(error) {
        "the client that this program was attached to has ended; start it again".to_owned()
    } else {
        format!(
            "the client that this program is attached to does not answer: {error}; start it again"
        )
    };
    ApiError::new(ErrorCode::ClientGone, text)
}

fn crowded() -> io::Error {
    io::Error::other("too many programs are attached to it")
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl Remote {
    fn connect(&self) -> io::Result<Arc<dyn Socket>> {
        match look(&self.data_dir)? {
            Found::Connected(stream) => Ok(Arc::new(stream)),
            Found::NoClient => Err(io::ErrorKind::NotFound.into()),
            Found::AnotherUser => Err(io::ErrorKind::PermissionDenied.into()),
        }
    }

    /// Gets the JSON value of a route.
    fn get<T: DeserializeOwned>(&self, route: &str) -> io::Result<T> {
        let deadline = Instant::now() + SNAPSHOT_TIMEOUT;
        let goes_on = || Instant::now() < deadline;
        let target = format!("{ROOT}{route}");
        let response = send(self.connect()?, "GET", &target, "", b"", LOOK_INTERVAL, &goes_on);
        let mut response = response.map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => io::ErrorKind::TimedOut.into(),
            _ => error,
        })?;
        let body = response.read_all(LINE_LEN_MAX, SNAPSHOT_TIMEOUT)?;
        if body.is_empty() && response.status == StatusCode::SERVICE_UNAVAILABLE {
            return Err(crowded());
        }
        serde_json::from_slice(&body).map_err(invalid)
    }

    /// Sends a command and reads the response.
    fn ask(
        &self,
        command: &Command,
        stop: &Stop,
        progress: OnProgress<'_>,
    ) -> io::Result<Result<Reply, ApiError>> {
        let body = Zeroizing::new(serde_json::to_vec(command).map_err(invalid)?);
        let (target, goes_on) = (format!("{ROOT}command"), || !stop.is_set());
        let headers = format!("content-type: application/json\r\naccept: {LINES}\r\n");
        let socket = self.connect()?;
        let mut response = send(socket, "POST", &target, &headers, &body, LOOK_INTERVAL, &goes_on)?;
        let mut lines = Lines::default();
        loop {
            let Some(line) = lines.next(&mut response, LOOK_INTERVAL, &goes_on)? else {
                return Err(match response.status {
                    StatusCode::SERVICE_UNAVAILABLE => crowded(),
                    _ => io::ErrorKind::UnexpectedEof.into(),
                });
            };
            let mut value: Value = serde_json::from_str(&line).map_err(invalid)?;
            if let Some(at) = value.get_mut("progress") {
                let at = serde_json::from_value(at.take()).map_err(invalid)?;
                if !progress(at) {
                    response.socket().close();
                    return Err(io::ErrorKind::Interrupted.into());
                }
            } else if let Some(error) = value.get_mut("error") {
                return Ok(Err(serde_json::from_value(error.take()).map_err(invalid)?));
            } else {
                return Ok(Ok(serde_json::from_value(value).map_err(invalid)?));
            }
        }
    }
}

impl Api for Remote {
    fn call(
        &self,
        command: Command,
        stop: &Stop,
        progress: OnProgress<'_>,
    ) -> Result<Reply, ApiError> {
        match self.ask(&command, stop, progress) {
            Ok(answer) => answer,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                Err(ApiError::interrupted())
            }
            Err(error) => Err(gone(&error)),
        }
    }

    fn snapshot(&self) -> Result<Snapshot, ApiError> {
        self.get("snapshot").map_err(|error| gone(&error))
    }

    fn subscribe(&self, moving: bool) -> Result<Receiver<Update>, ApiError> {
        let open = || {
            let target = format!("{ROOT}events?moving={}", u8::from(moving));
            let deadline = Instant::now() + SNAPSHOT_TIMEOUT;
            let goes_on = || Instant::now() < deadline;
            let accept = "accept: text/event-stream\r\n";
            let mut response =
                send(self.connect()?, "GET", &target, accept, b"", LOOK_INTERVAL, &goes_on)?;
            let mut lines = Lines::default();
            // The first event is the snapshot: the subscription has begun.
            next_update(&mut lines, &mut response)?;
            let (sender, receiver) = bounded(QUEUE_LEN);
            let work = move || forward(lines, response, &sender);
            self.threads.spawn("attached events", work)?;
            Ok(receiver)
        };
        open().map_err(|error: io::Error| gone(&error))
    }

    fn open(&self, _: &str, _: &str) -> Result<Box<dyn Content>, ApiError> {
        let text = "an attached program does not read files; \
                    the control socket serves them, as docs/JSON.md says";
        Err(ApiError::new(ErrorCode::Unsupported, text))
    }
}

/// Forwards updates until the receiver or the connection ends.
fn forward(mut lines: Lines, mut response: Response, sender: &Sender<Update>) {
    while let Ok(Some(update)) = next_update(&mut lines, &mut response) {
        // Blocks on a slow receiver. Then the other process sends a snapshot instead.
        if sender.send(update).is_err() {
            return;
        }
    }
}

/// The next server-sent event; `None` at the end of the stream.
fn next_update(lines: &mut Lines, response: &mut Response) -> io::Result<Option<Update>> {
    loop {
        let silent_since = Instant::now();
        let goes_on = || silent_since.elapsed() < SILENCE_MAX;
        let Some(line) = lines.next(response, Duration::from_secs(1), &goes_on)? else {
            return Ok(None);
        };
        // Each event has one data line.
        if let Some(data) = line.strip_prefix("data:") {
            return serde_json::from_str(data).map(Some).map_err(invalid);
        }
    }
}

/// Splits a response into lines.
#[derive(Default)]
struct Lines {
    text: Vec<u8>,
    /// Number of bytes without a line end.
    looked: usize,
}

impl Lines {
    /// Reads the next line; `None` at the end.
    fn next(
        &mut self,
        response: &mut Response,
        interval: Duration,
        goes_on: &dyn Fn() -> bool,
    ) -> io::Result<Option<String>> {
        loop {
            if let Some(at) = self.text[self.looked..].iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.text.drain(..=self.looked + at).collect();
                self.looked = 0;
                let line = String::from_utf8(line).map_err(invalid)?;
                return Ok(Some(line.trim_end().to_owned()));
            }
            self.looked = self.text.len();
            if self.looked > LINE_LEN_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a line does not end"));
            }
            match response.read(&mut self.text, interval) {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    if !goes_on() {
                        response.socket().close();
                        return Err(io::ErrorKind::Interrupted.into());
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }
}
