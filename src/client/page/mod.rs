//! The page: the client's interface in a browser, over TCP.
//!
//! **Invariant:** who holds a token reads and writes in the directories alone that the user allows.
//!
//! Threads: those of [`crate::http`], and "control watch" of the routes.

mod bounded;
mod links;
mod metrics;
mod openapi;
mod routes;
#[cfg(test)]
mod tests;
mod transmission;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use include_dir::{Dir, include_dir};

use self::routes::OverTcp;
use super::api::Api;
use crate::http::access::Access;
use crate::http::page::{PageConfig, PageError, PageServer};

/// Where the page listens if nobody says so, with a service.
pub(crate) const DEFAULT_ADDRESS: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8480);

/// The page's files.
static FILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/src/client/page/assets");

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
    directories: &[PathBuf],
) -> Result<PageServer, PageError> {
    let directory = |path: &PathBuf| {
        path.canonicalize().map_err(|source| PageError::Directory { path: path.clone(), source })
    };
    let directories = directories.iter().map(directory).collect::<Result<_, _>>()?;
    let system = |source| PageError::System { address: config.listen, source };
    let routes = OverTcp::start(api, access.clone(), directories).map_err(system)?;
    PageServer::start(config, access, &FILES, Arc::new(routes))
}
