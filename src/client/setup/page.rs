//! How the page is served, among the arguments of the last start.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where the page listens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PageListen {
    /// At the usual address with a service, and nowhere without.
    #[default]
    Usual,
    /// Nowhere.
    Off,
    /// At this address.
    At(SocketAddr),
}

/// The page's options.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PageSetup {
    pub(crate) listen: PageListen,
    pub(crate) cert: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    /// Addresses at reverse proxies.
    pub(crate) origins: Vec<String>,
    /// Empty for the user's home directory.
    pub(crate) directories: Vec<PathBuf>,
}
