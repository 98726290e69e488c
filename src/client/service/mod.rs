//! The control socket in a client's data directory: its server, and the client that attaches.
//!
//! **Invariant:** only the owner of the data directory can connect. An attached program can do what
//! the client's interface offers. A command ends when its caller disconnects.
//!
//! The socket speaks HTTP/1.1: `POST /api/v1/command`, `GET /api/v1/snapshot`, `GET /api/v1/events`,
//! and the content of files (see `docs/JSON.md`). Threads: those of [`crate::http`], and "control watch".

mod notify;
mod remote;
mod socket;
#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use self::socket::ControlSocket;
use super::api::Api;
use super::routes::answer::refuse;
use super::routes::{Owner, ROOT, Routes, openapi};
use crate::http::openapi::Guard;
use crate::http::{Handler, Request, Responder, Server, StatusCode};

pub(crate) use notify::{State, notify};
pub(crate) use remote::{Remote, find};

/// Time for responses under way at the end.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Serves the owner of the data directory: nobody else can connect.
struct ToOwner(Routes);

impl Handler for ToOwner {
    fn handle(&self, request: &mut Request<'_>, responder: Responder<'_>) -> io::Result<()> {
        responder.hold_connection();
        match request.path().strip_prefix(ROOT).map(str::to_owned) {
            Some(path) => self.0.handle(&path, request, responder, &Owner),
            None => refuse(
                responder,
                StatusCode::NOT_FOUND,
                "no such route; docs/JSON.md lists the routes",
            ),
        }
    }
}

/// The OpenAPI document of the control socket.
fn describe() -> String {
    let text = "The control socket of a Posse client, a Unix socket that only the owner of the data \
                directory can open: no token is needed.";
    openapi::begin(text, Guard::Owner).finish().to_string()
}

/// Serves the control socket of a client.
pub(crate) struct Service {
    server: Server,
    routes: Arc<ToOwner>,
    data_dir: std::path::PathBuf,
}

impl Service {
    /// Starts serving. The caller holds the lock of the data directory, so an existing socket is
    /// stale and is replaced.
    ///
    /// # Errors
    /// The system's. A file that is not a socket is an error, too.
    pub(crate) fn start(api: Arc<dyn Api>, data_dir: &Path) -> io::Result<Self> {
        let socket = ControlSocket::bind(data_dir)?;
        let routes = Arc::new(ToOwner(Routes::start(api, describe)?));
        let server = Server::start("control", socket, routes.clone())?;
        Ok(Self { server, routes, data_dir: data_dir.to_owned() })
    }

    /// Ends the commands of attached programs and removes the socket. Calling it again does nothing.
    ///
    /// # Blocking
    /// For some seconds at most.
    pub(crate) fn stop(&self) {
        // First, so that no further program attaches.
        socket::remove(&self.data_dir);
        self.routes.0.stop();
        self.server.stop(STOP_TIMEOUT);
    }
}
