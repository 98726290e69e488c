//! The control socket in a client's data directory: its server, and the client that attaches.
//!
//! **Invariant:** only the owner of the data directory can connect. An attached program can do what
//! the client's interface offers. A command ends when its caller disconnects.
//!
//! The socket speaks HTTP/1.1: `POST /api/v1/command`, `GET /api/v1/snapshot`, `GET /api/v1/events`,
//! and the content of files (see `docs/JSON.md`). Threads: those of [`crate::http`], and "control watch".

mod answer;
mod content;
mod notify;
mod remote;
mod routes;
mod socket;
#[cfg(test)]
mod tests;
mod watch;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use self::routes::Routes;
use self::socket::ControlSocket;
use self::watch::Watch;
use super::api::Api;
use crate::http::Server;

pub(crate) use notify::{State, notify};
pub(crate) use remote::{Remote, find};

/// Time for responses under way at the end.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Serves the control socket of a client.
pub(crate) struct Service {
    server: Server,
    watch: Arc<Watch>,
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
        let watch = Watch::start()?;
        let routes = Routes::new(api, watch.clone());
        let server = Server::start("control", socket, routes)?;
        Ok(Self { server, watch, data_dir: data_dir.to_owned() })
    }

    /// Ends the commands of attached programs and removes the socket. Calling it again does nothing.
    ///
    /// # Blocking
    /// For some seconds at most.
    pub(crate) fn stop(&self) {
        // First, so that no further program attaches.
        socket::remove(&self.data_dir);
        self.watch.stop();
        self.server.stop(STOP_TIMEOUT);
    }
}
