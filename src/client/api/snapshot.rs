//! The state of a client.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Account, Download, Limits, SessionEnded, Traffic};
use crate::types::{DeviceId, Fingerprint};

/// The state of a client, without its long lists: groups, files, shares and complete downloads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Snapshot {
    /// [`VERSION`](super::VERSION).
    pub api: u32,
    /// The version of the program.
    pub version: String,
    /// The snapshot includes all updates up to this revision.
    pub revision: u64,
    /// Address on which the client accepts links.
    pub address: String,
    /// The device's id.
    pub device: DeviceId,
    /// The data directory.
    pub data_dir: String,
    /// The trusted network.
    pub network: Option<Fingerprint>,
    /// The session's account.
    pub account: Option<Account>,
    /// The end of the last session, if the session ended by itself.
    pub session_ended: Option<SessionEnded>,
    /// Downloads that are not complete, in the order in which they were requested.
    pub downloads: Vec<Download>,
    /// Sequence number of the last end of a download.
    pub last_end: u64,
    /// The limits.
    pub limits: Limits,
    /// What is moved, of all downloads and shares together.
    #[serde(default)]
    pub traffic: Traffic,
    /// Where the page is served, or `None`.
    #[serde(default)]
    pub page: Option<String>,
    /// A warning about the listening address, if other devices cannot reach it.
    #[serde(default)]
    pub warning: Option<String>,
}
