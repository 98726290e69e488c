//! A page over TCP: its files, and an API for those who hold a token.
//!
//! **Invariant:** without a token only the page's own files, `/healthz` and `/readyz` are served.
//! The address of a request is checked before anything else. Elsewhere than on loopback the page is
//! served over TLS alone.
//!
//! The client and the tracker each have a page; [`PageRoutes`] is what differs.

mod describe;
mod headers;
mod holder;
mod refusal;
mod server;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

pub use describe::describe;
pub use holder::Holder;
pub use refusal::{Code, Failure, Refusal, refuse};
pub use server::PageServer;

use super::access::OriginError;
use super::{CertificateError, Request, Responder};

/// The prefix of the API's routes.
pub const API_ROOT: &str = "/api/v1/";

/// How a page is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageConfig {
    /// Where it listens; port 0 takes any free port.
    pub listen: SocketAddr,
    /// If the port is taken, any free port is as good.
    pub takes_any_port: bool,
    /// Certificates and key, as PEM files.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Addresses at reverse proxies.
    pub origins: Vec<String>,
}

/// What one program's page serves besides its files.
pub trait PageRoutes: Send + Sync + 'static {
    /// Answers a request to the API. `path` is the request's path below [`API_ROOT`].
    ///
    /// # Errors
    /// The socket's.
    fn api(
        &self,
        path: &str,
        request: &mut Request<'_>,
        responder: Responder<'_>,
        holder: &Holder,
    ) -> io::Result<()>;

    /// Answers a request to `/metrics` in OpenMetrics' text format.
    ///
    /// # Errors
    /// The socket's.
    fn metrics(&self, responder: Responder<'_>) -> io::Result<()>;

    /// Tells whether the program serves, for `/readyz`, at a cost that is small and bounded: no token
    /// is needed.
    ///
    /// # Errors
    /// Why it does not, in a line without names.
    fn ready(&self) -> Result<(), String>;

    /// Answers a request outside of the API, of any method, if its path is one of the program's own;
    /// else hands the responder back. It looks itself for what the request needs.
    ///
    /// # Errors
    /// The socket's.
    fn open<'a>(
        &self,
        path: &str,
        request: &mut Request<'_>,
        responder: Responder<'a>,
    ) -> io::Result<Option<Responder<'a>>> {
        let _ = (path, request);
        Ok(Some(responder))
    }

    /// Ends what runs for callers.
    fn stop(&self) {}
}

/// Why a page cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
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
        source: io::Error,
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
        source: io::Error,
    },
}
