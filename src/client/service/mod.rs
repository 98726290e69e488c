//! A client that others use: the control socket in its data directory, and the other end of it.
//!
//! **Invariant:** only the owner of the data directory reaches the client. What is carried out for
//! somebody attached is what the client's interface allows, and ends with the one who asked.
//!
//! The socket speaks HTTP/1.1: `POST /api/v1/command`, `GET /api/v1/snapshot`, `GET /api/v1/events`
//! (see `docs/JSON.md`). Threads: those of [`crate::http`], and "control watch".

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

/// Time for answers under way at the end.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Serves the control socket of a client.
pub(crate) struct Service {
    server: Server,
    watch: Arc<Watch>,
    data_dir: std::path::PathBuf,
}

impl Service {
    /// Begins to serve. The caller holds the lock of the data directory: a socket that is there is
    /// left over, and is replaced.
    ///
    /// # Errors
    /// The system's; what is no socket is not replaced.
    pub(crate) fn start(api: Arc<dyn Api>, data_dir: &Path) -> io::Result<Self> {
        let socket = ControlSocket::bind(data_dir)?;
        let watch = Watch::start()?;
        let routes = Routes::new(api, watch.clone());
        let server = Server::start("control", socket, routes)?;
        Ok(Self { server, watch, data_dir: data_dir.to_owned() })
    }

    /// Ends what is carried out for others, and takes the socket away. Calling it again does
    /// nothing.
    ///
    /// # Blocking
    /// For some seconds at most.
    pub(crate) fn stop(&self) {
        // Nobody finds it from here on.
        socket::remove(&self.data_dir);
        self.watch.stop();
        self.server.stop(STOP_TIMEOUT);
    }
}
