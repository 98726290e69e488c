//! Shares, downloads and their limits.

use std::net::SocketAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::account::SessionEnded;
use crate::client::api::ApiError;
use crate::types::{DeviceId, FileId, GroupId, InfoHash, Label, Rate, Sha1Digest};

/// A newly shared file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Shared {
    /// The group's name as shown.
    pub group: Label,
    /// The group's id.
    pub group_id: GroupId,
    /// The file's name.
    pub file: Label,
    /// The id: of the content and every fact about it.
    pub file_id: FileId,
    /// Length in bytes.
    pub size: u64,
    /// SHA-1 of the whole.
    pub sha1: Sha1Digest,
    /// The id of the content.
    pub info_hash: InfoHash,
    /// Time at which the replaced version was shared, if one was replaced.
    pub replaces_ms: Option<u64>,
}

/// A file that this device offers to a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Upload {
    /// The group's name as shown.
    pub group: Label,
    /// The group's id.
    pub group_id: GroupId,
    /// The file's name as shown.
    pub file: Label,
    /// The id of the content.
    pub info_hash: InfoHash,
    /// Path of the file.
    pub path: String,
    /// Length in bytes; 0 if the client is older than this field.
    #[serde(default)]
    pub size: u64,
    /// Bytes present, if the file is an unfinished download.
    pub bytes_here: Option<u64>,
    /// Links to other devices for this file.
    pub peers: u32,
    /// Bytes sent since login.
    pub bytes_sent: u64,
    /// Bytes per second sent in the last 2 seconds.
    #[serde(default)]
    pub sent_per_second: u64,
    /// Bytes sent by device.
    pub to: Vec<Device>,
    /// Members who say that what this device sends of the file is wrong.
    #[serde(default)]
    pub bad_data_members: u32,
    /// Members could not connect to this device lately.
    #[serde(default)]
    pub unreachable: Option<Unreachable>,
}

/// Members cannot connect to this device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unreachable {
    /// Where they dialled.
    pub address: SocketAddr,
    /// How many.
    pub members: u32,
}

/// A device that received data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Device {
    /// The id.
    pub device: DeviceId,
    /// Bytes sent since login.
    pub bytes_sent: u64,
}

/// The state of a download.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DownloadState {
    /// It is fetching, or waiting for peers that have the missing pieces.
    Running,
    /// It waits in the queue.
    Queued,
    /// Paused by the user, or for a reason.
    Paused,
    /// It cannot go on.
    Failed,
    /// The file is complete and verified.
    Complete,
}

/// A download.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Download {
    /// The group's name as shown.
    pub group: Label,
    /// The group's id.
    pub group_id: GroupId,
    /// The file's name as shown.
    pub file: Label,
    /// The id of the content. A client has at most one download with a given id.
    pub info_hash: InfoHash,
    /// The state.
    pub state: DownloadState,
    /// Why it is paused or failed, if the client knows.
    pub reason: Option<String>,
    /// Path of the complete file.
    pub path: String,
    /// Length in bytes.
    pub size: u64,
    /// Bytes verified and written.
    pub bytes_done: u64,
    /// Bytes per second received lately; 0 if nothing came for 2 seconds.
    pub bytes_per_second: u64,
    /// Bytes sent to others since login.
    #[serde(default)]
    pub bytes_sent: u64,
    /// Bytes per second sent to others in the last 2 seconds.
    #[serde(default)]
    pub sent_per_second: u64,
    /// Links to other devices for this file.
    pub peers: u32,
    /// Of these, links on a network that both devices are on.
    #[serde(default)]
    pub lan: u32,
    /// Of these, links for which both devices connected at one moment.
    #[serde(default)]
    pub punched: u32,
    /// Of these, links through a relay.
    #[serde(default)]
    pub relayed: u32,
    /// Estimated time left at the current rate; `None` above one day.
    pub seconds_left: Option<u64>,
    /// Place in the queue, from 1.
    pub place: Option<usize>,
    /// The download's own rate limit.
    pub limit: Option<Rate>,
    /// Sequence number of its end, if it ended in this session.
    #[serde(default)]
    pub ended: Option<u64>,
}

impl Download {
    /// Completed fraction, from 0 to 1.
    pub fn fraction(&self) -> f64 {
        if self.size == 0 {
            f64::from(u8::from(self.state == DownloadState::Complete))
        } else {
            self.bytes_done as f64 / self.size as f64
        }
    }

    /// Tells whether it runs or waits in the queue.
    pub fn is_unfinished(&self) -> bool {
        matches!(self.state, DownloadState::Running | DownloadState::Queued)
    }

    /// Estimated time left at the current rate; `None` above one day.
    pub fn time_left(&self) -> Option<Duration> {
        self.seconds_left.map(Duration::from_secs)
    }
}

/// The result of a download that was begun with `soon`: one of the two fields is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Begun {
    /// The id of the content.
    pub info_hash: InfoHash,
    /// The download.
    #[serde(default)]
    pub download: Option<Download>,
    /// Why it was not begun.
    #[serde(default)]
    pub error: Option<ApiError>,
}

/// Downloads that ended after a given end, for callers that wait for downloads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ends {
    /// The ended downloads.
    pub downloads: Vec<Download>,
    /// Sequence number of the last end: `after` of the next call.
    pub last: u64,
    /// Whether any download runs or waits in the queue.
    pub has_unfinished: bool,
    /// The first download of the session that has paused itself.
    pub stuck: Option<Download>,
    /// The end of the last session, if the session ended by itself.
    pub session_ended: Option<SessionEnded>,
}

/// The client's limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Limits {
    /// Upload rate in bytes per second.
    pub upload: Option<Rate>,
    /// Download rate in bytes per second.
    pub download: Option<Rate>,
    /// Number of downloads that run at a time.
    pub downloads: Option<usize>,
    /// Unfinished downloads with their own rate limits.
    pub limited: Vec<Limited>,
}

/// A download with its own rate limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Limited {
    /// The group's name as shown.
    pub group: Label,
    /// The group's id.
    pub group_id: GroupId,
    /// The file's name as shown.
    pub file: Label,
    /// The id of the content.
    pub info_hash: InfoHash,
    /// Bytes per second.
    pub limit: Rate,
}
