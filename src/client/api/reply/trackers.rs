//! The trackers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::types::Fingerprint;

/// The state of a tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum TrackerState {
    /// Up and caught up.
    #[serde(rename = "up")]
    Up,
    /// Connected, but not caught up.
    #[serde(rename = "catching up")]
    CatchingUp,
    /// Not connected to the other trackers.
    #[serde(rename = "down")]
    Down,
    /// Away for longer than the retention time.
    #[serde(rename = "must resync")]
    MustResync,
}

/// The role of a tracker for this client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrackerRole {
    /// Receives commands first.
    Primary,
    /// Connected, and next when the primary fails.
    Standby,
    /// Not connected, since others are enough: it is when one of them fails.
    Spare,
    /// Not connected to this client.
    Down,
}

/// One tracker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tracker {
    /// Line in the tracker file, from 1.
    pub number: u32,
    /// `host:port`.
    pub address: String,
    /// The state.
    pub state: TrackerState,
    /// The role.
    pub role: TrackerRole,
    /// Number of changes that it lacks and the primary has.
    pub lag: u64,
    /// Why this client cannot reach it or does not trust it.
    pub error: Option<String>,
}

/// All trackers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Trackers {
    /// In the order of the file.
    pub trackers: Vec<Tracker>,
    /// Changes are currently not safe on every tracker.
    pub degraded: bool,
    /// Numbers of the trackers on which changes are safe.
    pub safe_on: Vec<u32>,
    /// The trusted network.
    pub network: Option<Fingerprint>,
}
