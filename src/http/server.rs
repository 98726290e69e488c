//! Accepts connections and serves each on a thread of its own.
//!
//! **Invariant:** the server serves at most [`CONNECTIONS_MAX`] connections. When all are in use, a
//! new connection closes the one whose last authorized request is longest ago. If all are serving
//! authorized requests, the new one gets status 503. A panic in a handler ends its connection only.
//! [`Server::stop`] answers requests under way within its time-out and joins all threads.

use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use log::{debug, warn};
use parking_lot::Mutex;

use super::request::{NoRequest, Request};
use super::wire::Wire;
use super::{CONNECTIONS_MAX, HEAD_TIMEOUT, IDLE_TIMEOUT, Responder, Socket};
use crate::net::{Stop, Threads};

/// Pause of the accept loop after an error.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(100);
/// Time for writing status 503 to a connection over the limit.
const SHED_TIMEOUT: Duration = Duration::from_millis(10);
/// Time for the sender of a bad request to read the response.
const LINGER: Duration = Duration::from_millis(500);
/// Maximum number of bytes discarded meanwhile.
const LINGER_LEN_MAX: usize = 1 << 20;

/// Answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request, on the connection's thread, which it may block.
    ///
    /// # Errors
    /// The socket's: the connection is closed.
    fn handle(&self, request: &mut Request<'_>, responder: Responder<'_>) -> io::Result<()>;
}

impl<H: Handler> Handler for Arc<H> {
    fn handle(&self, request: &mut Request<'_>, responder: Responder<'_>) -> io::Result<()> {
        (**self).handle(request, responder)
    }
}

/// A source of connections.
pub trait Acceptor: Send + Sync + 'static {
    /// Waits for the next connection.
    ///
    /// # Errors
    /// The system's. The server pauses and tries again.
    fn accept(&self) -> io::Result<Arc<dyn Socket>>;

    /// Makes [`Acceptor::accept`] return.
    fn wake(&self);
}

/// A running server. Dropping it stops it.
pub struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    acceptor: Box<dyn Acceptor>,
    handler: Box<dyn Handler>,
    stop: Stop,
    threads: Threads,
    connections: Mutex<Connections>,
    name: &'static str,
}

#[derive(Default)]
struct Connections {
    next_key: u64,
    /// Counts the times that a connection began to wait for a request.
    waits: u64,
    open: HashMap<u64, Open>,
}

struct Open {
    socket: Arc<dyn Socket>,
    /// When it began to wait for a request, as a number that grows; `None` while it answers one
    /// whose sender has shown a right.
    yields_since: Option<u64>,
    /// The head of its next request is not there yet.
    awaits_head: bool,
}

impl Server {
    /// Starts serving. The names of the threads begin with `name`.
    ///
    /// # Errors
    /// The system's, if it has no room for a thread.
    pub fn start(
        name: &'static str,
        acceptor: impl Acceptor,
        handler: impl Handler,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            acceptor: Box::new(acceptor),
            handler: Box::new(handler),
            stop: Stop::new(),
            threads: Threads::new(),
            connections: Mutex::default(),
            name,
        });
        let of_thread = shared.clone();
        shared.threads.spawn(format!("{name} accept"), move || of_thread.accept_all())?;
        Ok(Self { shared })
    }

    /// Stops accepting, finishes requests under way, and joins the threads. After `timeout` it closes
    /// the remaining connections. Returns the names of threads that still run. Calling it again does
    /// nothing.
    ///
    /// # Blocking
    /// For at most `timeout` plus one second.
    pub fn stop(&self, timeout: Duration) -> Vec<String> {
        let shared = &self.shared;
        shared.stop.set();
        shared.acceptor.wake();
        {
            let connections = shared.connections.lock();
            connections
                .open
                .values()
                .filter(|open| open.awaits_head)
                .for_each(|open| open.socket.end_reading());
        }
        if shared.threads.join(timeout).is_empty() {
            return Vec::new();
        }
        shared.connections.lock().open.values().for_each(|open| open.socket.close());
        shared.threads.join(Duration::from_secs(1))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop(Duration::from_secs(1));
    }
}

impl Shared {
    fn accept_all(self: &Arc<Self>) {
        while !self.stop.is_set() {
            match self.acceptor.accept() {
                Ok(socket) if self.stop.is_set() => socket.close(),
                Ok(socket) => self.take(socket),
                Err(_) if self.stop.is_set() => return,
                Err(error) => {
                    debug!("{}: cannot accept a connection: {error}", self.name);
                    self.stop.wait(SHORTAGE_PAUSE);
                }
            }
        }
    }

    fn take(self: &Arc<Self>, socket: Arc<dyn Socket>) {
        let Some(guard) = self.register(socket.clone()) else {
            let text = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            // A client that does not read sees the end of the connection.
            let _ = socket.send_all(text, SHED_TIMEOUT);
            return socket.close();
        };
        let shared = self.clone();
        let work = move || {
            shared.serve(guard.key, &guard.socket);
        };
        if let Err(error) = self.threads.spawn(format!("{} connection", self.name), work) {
            warn!("{}: no thread for a connection: {error}", self.name);
        }
    }

    fn register(self: &Arc<Self>, socket: Arc<dyn Socket>) -> Option<Registered> {
        let mut connections = self.connections.lock();
        if connections.open.len() >= CONNECTIONS_MAX {
            let yielding = connections.open.iter().filter(|(_, open)| open.yields_since.is_some());
            let (key, _) = yielding.min_by_key(|(_, open)| open.yields_since)?;
            let key = *key;
            // Its thread sees the end of the connection.
            connections.open.remove(&key)?.socket.close();
        }
        connections.next_key += 1;
        connections.waits += 1;
        let (key, since) = (connections.next_key, connections.waits);
        let open = Open { socket: socket.clone(), yields_since: Some(since), awaits_head: true };
        connections.open.insert(key, open);
        Some(Registered { shared: self.clone(), key, socket })
    }

    /// Marks a connection as one that waits for a request; false if the server stops, or if the
    /// connection has given way to another.
    fn begin_waiting(&self, key: u64) -> bool {
        let mut connections = self.connections.lock();
        connections.waits += 1;
        let since = connections.waits;
        let Some(open) = connections.open.get_mut(&key) else { return false };
        (open.yields_since, open.awaits_head) = (Some(since), true);
        // Under the lock: either `stop` sees the mark, or this thread sees the stop.
        !self.stop.is_set()
    }

    /// Changes what is noted of a connection, unless it has given way to another.
    fn note(&self, key: u64, change: impl FnOnce(&mut Open)) {
        if let Some(open) = self.connections.lock().open.get_mut(&key) {
            change(open);
        }
    }

    /// Serves one connection.
    fn serve(&self, key: u64, socket: &Arc<dyn Socket>) {
        let mut wire = Wire::new(socket.clone());
        let mut patience = HEAD_TIMEOUT;
        loop {
            let next = match self.wait_for_request(key, &mut wire, patience) {
                Ok(()) => Request::read(&mut wire),
                Err(error) => Err(error),
            };
            match next {
                Ok(mut request) => {
                    self.note(key, |open| open.awaits_head = false);
                    let again = self.answer(key, &mut request, socket);
                    let is_read = request.is_read;
                    if !is_read.get() {
                        discard(&mut wire, &self.stop);
                        return;
                    }
                    if !again {
                        return;
                    }
                }
                Err(NoRequest::Bad(status)) => {
                    refuse(&mut wire, status, &self.stop);
                    return;
                }
                Err(NoRequest::End | NoRequest::Lost) => return,
            }
            patience = IDLE_TIMEOUT;
        }
    }

    /// Waits for the first byte of a request.
    fn wait_for_request(
        &self,
        key: u64,
        wire: &mut Wire,
        patience: Duration,
    ) -> Result<(), NoRequest> {
        if !self.begin_waiting(key) {
            return Err(NoRequest::End);
        }
        // An idle time-out is a normal end.
        if wire.buffer.is_empty() && !matches!(wire.read_within(patience), Ok(1..)) {
            return Err(NoRequest::End);
        }
        Ok(())
    }

    /// Answers one request; tells whether the connection is reused.
    fn answer(&self, key: u64, request: &mut Request<'_>, socket: &Arc<dyn Socket>) -> bool {
        let hold = || self.note(key, |open| open.yields_since = None);
        let mut keeps_alive = request.keeps_alive;
        let mut has_answered = false;
        let is_head = request.method == http::Method::HEAD;
        let (takes_chunks, is_read) = (request.takes_chunks, request.is_read.clone());
        let responder = Responder {
            socket,
            stop: &self.stop,
            hold: &hold,
            keeps_alive: &mut keeps_alive,
            is_head,
            takes_chunks,
            is_read: is_read.clone(),
            has_answered: &mut has_answered,
            headers: HeaderMap::new(),
        };
        let mut handled = self.handler.handle(request, responder);
        if handled.is_ok() && !has_answered {
            let responder = Responder {
                socket,
                stop: &self.stop,
                hold: &hold,
                keeps_alive: &mut keeps_alive,
                is_head,
                takes_chunks,
                is_read,
                has_answered: &mut has_answered,
                headers: HeaderMap::new(),
            };
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            handled = responder.send(status, "text/plain", b"no answer\n");
        }
        handled.is_ok() && keeps_alive && !self.stop.is_set()
    }
}

/// Refuses a bad request.
fn refuse(wire: &mut Wire, status: StatusCode, stop: &Stop) {
    let (mut keeps_alive, mut has_answered) = (false, false);
    let socket = wire.socket.clone();
    let responder = Responder {
        socket: &socket,
        stop,
        hold: &|| {},
        keeps_alive: &mut keeps_alive,
        is_head: false,
        takes_chunks: true,
        is_read: Rc::default(),
        has_answered: &mut has_answered,
        headers: HeaderMap::new(),
    };
    let text = format!("{status}\n");
    if responder.send(status, "text/plain", text.as_bytes()).is_ok() {
        discard(wire, stop);
    }
}

/// Discards input for a while: closing a socket with unread input would discard the response.
fn discard(wire: &mut Wire, stop: &Stop) {
    let deadline = std::time::Instant::now() + LINGER;
    let mut dropped = 0;
    while dropped < LINGER_LEN_MAX && !stop.is_set() {
        wire.buffer.clear();
        match wire.read_more(deadline) {
            Ok(count @ 1..) => dropped += count,
            _ => return,
        }
    }
}

/// A registered connection; dropping it closes and unregisters the connection.
struct Registered {
    shared: Arc<Shared>,
    key: u64,
    socket: Arc<dyn Socket>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.socket.close();
        self.shared.connections.lock().open.remove(&self.key);
    }
}
