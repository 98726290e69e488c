//! The page: the client's interface in a browser, over TCP.
//!
//! **Invariant:** the holder of a token can read and write only in the directories that the user
//! allows, except hidden files and a client's data directory.
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
use super::routes::Directories;
use crate::http::access::Access;
use crate::http::page::{PageConfig, PageError, PageServer};

/// Where the page listens if nobody says so, with a service.
pub(crate) const DEFAULT_ADDRESS: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8480);

/// The page's files.
static FILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/src/client/page/assets");

/// Serves the page of a client. Of `directories`, which it may use, those in `private` and the
/// client's data directory are out of its reach: they hold keys.
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
    private: &[PathBuf],
) -> Result<PageServer, PageError> {
    let directory = |path: &PathBuf| {
        path.canonicalize().map_err(|source| PageError::Directory { path: path.clone(), source })
    };
    let roots = directories.iter().map(directory).collect::<Result<_, _>>()?;
    // A directory that does not exist cannot contain symbolic links.
    let real = |dir: &PathBuf| dir.canonicalize().unwrap_or_else(|_| dir.clone());
    let data_dir = access.data_dir().to_owned();
    let private = private.iter().chain([&data_dir]).map(real).collect();
    let directories = Directories::new(roots, private);
    let system = |source| PageError::System { address: config.listen, source };
    let routes = OverTcp::start(api, access.clone(), directories).map_err(system)?;
    PageServer::start(config, access, &FILES, Arc::new(routes))
}
