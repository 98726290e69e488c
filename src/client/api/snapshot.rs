//! Everything that a front end shows, at one moment.

use serde::{Deserialize, Serialize};

use super::{Account, Download, Limits};
use crate::types::{DeviceId, Fingerprint, Label, UserId};

/// A client at one moment. Listings that may be long are not in it: groups, files, shares, and
/// downloads that are complete.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// [`VERSION`](super::VERSION).
    pub api: u32,
    /// The version of the program.
    pub version: String,
    /// It holds at least what updates up to this revision have told.
    pub revision: u64,
    /// Where links are taken.
    pub address: String,
    /// The device's id.
    pub device: DeviceId,
    /// The data directory.
    pub data_dir: String,
    /// The network that is trusted.
    pub network: Option<Fingerprint>,
    /// Who is logged in.
    pub account: Option<Account>,
    /// The last session ended by itself, and nobody has logged in since.
    pub session_ended: Option<SessionEnded>,
    /// Downloads that are not complete, in the order they were asked for.
    pub downloads: Vec<Download>,
    /// The number of the last end of a download.
    pub last_end: u64,
    /// The limits.
    pub limits: Limits,
    /// What to tell about the start: others cannot reach this device, and what to type instead.
    #[serde(default)]
    pub warning: Option<String>,
}

/// The end of a session that nobody here asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionEnded {
    /// Whose session, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Label>,
    /// Their id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// Why, in words.
    pub reason: String,
    /// Why: `password_changed`, `disabled`, `key_replaced`, `expired`.
    pub code: String,
    /// Downloads that were running.
    #[serde(default)]
    pub unfinished: usize,
}
