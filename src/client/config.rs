//! What a client needs to know to start.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::types::{Fingerprint, TrackerInfo};

/// Where a client listens, which trackers it knows, and where it keeps its state.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Address on which links from other clients are taken; port 0 takes any free one.
    pub listen: SocketAddr,
    /// The trackers of the network.
    pub trackers: TrackerInfo,
    /// Directory of the device's state: identity, shares, downloads. One client at a time uses it.
    pub data_dir: PathBuf,
    /// The fingerprint of the network's key, if the user names it: before what `trackers` says, and what was remembered.
    pub network: Option<Fingerprint>,
    /// Workers that fetch, hash and write; `None` takes twice the number of cores, at least 4.
    pub threads: Option<usize>,
}

impl ClientConfig {
    /// Takes the defaults for an address: its state goes below the platform's data directory.
    pub fn new(listen: SocketAddr, trackers: TrackerInfo) -> Self {
        Self { listen, trackers, data_dir: default_data_dir(listen), network: None, threads: None }
    }
}

/// Below the platform's data directory, one for each listening address; in the working directory where there is none.
pub fn default_data_dir(listen: SocketAddr) -> PathBuf {
    let base =
        directories::ProjectDirs::from("", "", "posse").map_or_else(|| PathBuf::from(".posse"), |d| d.data_dir().to_owned());
    let ip = listen.ip().to_string().replace(':', "_");
    base.join(format!("client-{ip}-{}", listen.port()))
}
