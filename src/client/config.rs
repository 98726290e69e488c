//! What a client needs to know to start.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::swarm::Limits;
use crate::types::{Fingerprint, TrackerInfo};

/// Downloads that run at a time unless the user says otherwise: enough that one which waits for
/// others does not hold up the rest and that many small files keep the links busy, few enough that
/// each gets what it needs of the buffers and the first are soon complete.
pub const DOWNLOADS_MAX: usize = 8;

/// Where a client listens, which trackers it knows, and where it keeps its state.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Address on which links from other clients are taken; port 0 takes any free one.
    pub listen: SocketAddr,
    /// The trackers of the network.
    pub trackers: TrackerInfo,
    /// Directory of the device's state: identity, shares, downloads. One client at a time uses it.
    pub data_dir: PathBuf,
    /// The fingerprint of the network's key, if the user names it: before what `trackers` says, and
    /// what was remembered.
    pub network: Option<Fingerprint>,
    /// Workers that fetch, hash and write; `None` takes twice the number of cores, at least 4.
    pub threads: Option<usize>,
    /// What may be sent and received a second, until the user says otherwise.
    pub limits: Limits,
    /// Downloads that run at a time; 0 for any number.
    pub downloads_max: usize,
}

impl ClientConfig {
    /// Takes the defaults for an address: its state goes below the platform's data directory.
    pub fn new(listen: SocketAddr, trackers: TrackerInfo) -> Self {
        Self {
            listen,
            trackers,
            data_dir: default_data_dir(listen),
            network: None,
            threads: None,
            limits: Limits::default(),
            downloads_max: DOWNLOADS_MAX,
        }
    }
}

/// Below the platform's data directory, one for each listening address; in the working directory
/// where there is none.
pub fn default_data_dir(listen: SocketAddr) -> PathBuf {
    let base = directories::ProjectDirs::from("", "", "posse")
        .map_or_else(|| PathBuf::from(".posse"), |d| d.data_dir().to_owned());
    let ip = listen.ip().to_string().replace(':', "_");
    base.join(format!("client-{ip}-{}", listen.port()))
}
