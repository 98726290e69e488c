//! How a tracker relays, and what it says about that.
//!
//! Plain values.

use std::net::SocketAddr;

use crate::relay::{Relay, RelayBounds, RelayStats};

/// The port at which a tracker relays if its operator names none.
pub const RELAY_PORT: u16 = 7880;
/// How a tracker relays.
#[derive(Debug, Clone, Copy)]
pub struct RelayConfig {
    /// Where; port 0 takes any free one. `[::]` means every address of both families.
    /// `None`: at the tracker's own address, at [`RELAY_PORT`].
    pub address: Option<SocketAddr>,
    /// How much.
    pub bounds: RelayBounds,
}

/// What a tracker says about its relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayStatus {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it has done, and does.
    pub stats: RelayStats,
}

impl RelayStatus {
    pub(super) fn of(relay: &Relay) -> Self {
        Self { address: relay.local_addr(), stats: relay.stats() }
    }
}
