//! The engine: every file this device seeds or downloads, and every link to other clients.
//!
//! **Invariant:** a file is in the engine once, under its info hash, however many groups offer it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::api::{DownloadSpec, EngineConfig, EngineError, Host, SeedSpec, TransferStatus, UploadStats, Why};
use crate::net::Connection;
use crate::types::{DeviceId, InfoHash};

/// Moves files. Dropping it without [`Engine::stop`] leaves its threads to end by themselves.
pub struct Engine {}

#[allow(unused_variables, clippy::unused_self)]
impl Engine {
    /// Starts the pool and the engine's threads.
    ///
    /// # Errors
    /// [`EngineError::Threads`] if the system has no room for them.
    pub fn start(config: EngineConfig, host: Arc<dyn Host>) -> Result<Arc<Self>, EngineError> {
        Err(EngineError::Stopped)
    }

    /// Takes an inbound connection from the client's listener. Never blocks; sheds it when there are too many.
    pub fn accept(&self, connection: Connection) {}

    /// Offers a file, read only. Offering it again replaces the path.
    ///
    /// # Errors
    /// [`EngineError::Stopped`]. Whether the file is still the one that was hashed is seen when somebody asks for it.
    pub fn seed(&self, spec: SeedSpec) -> Result<(), EngineError> {
        Err(EngineError::Stopped)
    }

    /// Stops offering a file; a download of it goes on. False if it was not offered.
    pub fn unseed(&self, info_hash: InfoHash) -> bool {
        false
    }

    /// Begins or continues a download.
    ///
    /// # Errors
    /// What can be seen at once; what is found later ends the [`Transfer`] with its reason.
    ///
    /// # Blocking
    /// For a few system calls on the destination's file system.
    pub fn download(&self, spec: DownloadSpec) -> Result<Transfer, EngineError> {
        Err(EngineError::Stopped)
    }

    /// The download of this file, if there is or was one in this run.
    pub fn transfer(&self, info_hash: InfoHash) -> Option<Transfer> {
        None
    }

    /// Names devices that take part in a file's swarm: a download dials them now, and again whenever a link is lost.
    pub fn add_peers(&self, info_hash: InfoHash, peers: impl IntoIterator<Item = (DeviceId, SocketAddr)>) {}

    /// A device has left a file's swarm: it is not dialled again. A link that works stays.
    pub fn remove_peer(&self, info_hash: InfoHash, device: DeviceId) {}

    /// Closes the links of a file on which `keep` is false, and forgets these devices: they lost the right to it.
    pub fn retain_links(&self, info_hash: InfoHash, keep: impl Fn(DeviceId) -> bool) {}

    /// What is served to whom: one entry for every file offered.
    pub fn uploads(&self) -> Vec<UploadStats> {
        Vec::new()
    }

    /// Number of links that are up or being set up.
    pub fn link_count(&self) -> usize {
        0
    }

    /// Ends everything: unfinished downloads are made durable and written to the journal. Returns the names of threads that had not ended
    /// after `timeout`.
    ///
    /// # Blocking
    /// For at most `timeout`.
    pub fn stop(&self, timeout: Duration) -> Vec<String> {
        Vec::new()
    }
}

/// A handle on one download; clones are the same download.
#[derive(Clone)]
pub struct Transfer {}

#[allow(unused_variables, clippy::unused_self)]
impl Transfer {
    /// The file.
    pub fn info_hash(&self) -> InfoHash {
        InfoHash::from_bytes([0; 20])
    }

    /// Where the file will be, or is.
    pub fn target(&self) -> PathBuf {
        PathBuf::new()
    }

    /// Where the download stands.
    pub fn status(&self) -> TransferStatus {
        unimplemented!("the engine is being built")
    }

    /// Why it does not move.
    pub fn why(&self) -> Why {
        unimplemented!("the engine is being built")
    }

    /// Stops fetching and serving until [`Transfer::resume`]; keeps what is there. False if it has ended or is paused.
    pub fn pause(&self) -> bool {
        false
    }

    /// Goes on after a pause, or tries again after a failure. False if it is neither.
    pub fn resume(&self) -> bool {
        false
    }

    /// Gives the download up and removes its `.part`. False if it has ended.
    pub fn cancel(&self) -> bool {
        false
    }

    /// Waits until it is complete, failed or cancelled, or `timeout` has passed; returns the status then.
    ///
    /// # Blocking
    /// For at most `timeout`.
    pub fn wait(&self, timeout: Duration) -> TransferStatus {
        self.status()
    }
}
