//! What this device remembers of the trackers: the addresses that they told of, and the time of its
//! last request.
//!
//! **Invariant:** addresses count for the network that told of them, and for no other.
//!
//! Blocks on the disk.

use log::warn;

use super::core::Inner;
use crate::store::{DeviceStore, StoreError};
use crate::types::limits::TRACKERS_MAX;
use crate::types::{Fingerprint, Stamp, TrackerAddress};

/// What is remembered of the trackers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct TrackerMemory {
    /// `host:port` of each.
    pub(crate) addresses: Vec<String>,
    /// The largest time of a request.
    pub(crate) last_request: Stamp,
}

impl TrackerMemory {
    /// Reads what earlier runs left, for that network. Without it the client starts all the same,
    /// and knows less.
    pub(crate) fn load(store: &DeviceStore, network: Option<Fingerprint>) -> Self {
        let known = |what: Result<Self, StoreError>| {
            what.unwrap_or_else(|error| {
                warn!("what was remembered of the trackers cannot be read: {error}");
                Self::default()
            })
        };
        known(network.map_or(Ok(Self::default()), |network| {
            let addresses = store.trackers(network)?;
            // What is there was checked when it came; a disk may say something else.
            let addresses =
                addresses.into_iter().filter(|text| text.parse::<TrackerAddress>().is_ok());
            let last_request = store.last_request()?.unwrap_or_default();
            Ok(Self { addresses: addresses.take(TRACKERS_MAX).collect(), last_request })
        }))
    }
}

impl Inner {
    /// Trackers tell which trackers the network has.
    pub(crate) fn remember_trackers(&self, addresses: &[String]) {
        let Some(network) = self.network.expected() else { return };
        let stored = self.store.set_trackers(network, addresses);
        self.note_store_error(stored);
    }

    /// Notes the time of the last request, so that those of the next run are later. Durable with
    /// the next write.
    pub(crate) fn remember_request_time(&self) {
        if let Some(last) = self.trackers.last_request_time() {
            let stored = self.store.set_last_request_soon(last);
            self.note_store_error(stored);
        }
    }
}
