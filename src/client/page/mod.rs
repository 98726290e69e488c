//! The page: the client's interface in a browser, over TCP.
//!
//! **Invariant:** nothing but the page's own files is served without a token, and the address of a
//! request is checked before anything else. Elsewhere than on loopback the page is served over TLS
//! alone.
//!
//! Threads: those of [`crate::http`], and "control watch" of the routes.

mod guard;
mod headers;
mod links;
mod server;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use super::api::Api;
use crate::http::access::{Access, OriginError};
use crate::http::{CertificateError, Server};

/// Where the page listens if nobody says so, with a service.
pub(crate) const DEFAULT_ADDRESS: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8480);

/// How the page is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PageConfig {
    /// Where it listens; port 0 takes any free port.
    pub(crate) listen: SocketAddr,
    /// If the port is taken, any free port is as good.
    pub(crate) takes_any_port: bool,
    /// Certificates and key, as PEM files.
    pub(crate) tls: Option<(PathBuf, PathBuf)>,
    /// Addresses at reverse proxies.
    pub(crate) origins: Vec<String>,
    /// Directories that it may use.
    pub(crate) directories: Vec<PathBuf>,
}

/// Why the page cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PageError {
    /// The address is not loopback, and there is no certificate.
    #[error(
        "a page at {0} is open to the network, so it needs TLS: give --page-cert and --page-key, or listen on 127.0.0.1"
    )]
    NeedsTls(SocketAddr),
    /// A directory cannot be used.
    #[error("--page-directory {}: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The certificate cannot be used.
    #[error("the page's certificate: {0}")]
    Certificate(#[from] CertificateError),
    /// An address at a proxy cannot be one.
    #[error("--page-origin {0}")]
    Origin(#[from] OriginError),
    /// The system's.
    #[error(
        "cannot serve the page at {address}: {source}; choose another address with --page, or --page off"
    )]
    System {
        /// Where.
        address: SocketAddr,
        /// The reason.
        source: std::io::Error,
    },
}

/// A page that is served. Dropping it ends that.
pub(crate) struct Page {
    /// Where it listens, with the actual port.
    #[cfg_attr(not(test), expect(dead_code, reason = "the address is in the links"))]
    pub(crate) address: SocketAddr,
    server: Server,
    handler: Arc<server::Handler>,
}

impl Page {
    /// Serves the page of a client.
    ///
    /// # Errors
    /// [`PageError`].
    ///
    /// # Blocking
    /// On the file systems of the certificate and of the directories.
    pub(crate) fn start(
        api: Arc<dyn Api>,
        access: Arc<Access>,
        config: &PageConfig,
    ) -> Result<Self, PageError> {
        server::start(api, access, config)
    }

    /// Ends the commands and the connections of browsers. Calling it again does nothing.
    ///
    /// # Blocking
    /// For some seconds at most.
    pub(crate) fn stop(&self) {
        self.handler.stop();
        self.server.stop(server::STOP_TIMEOUT);
    }
}
