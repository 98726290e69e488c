//! A torrent, and its fields as Transmission names them.

use std::path::Path;

use serde_json::{Value, json};

use crate::client::api::{Download, DownloadState, Upload};

/// Transmission's numbers for states.
const STOPPED: u8 = 0;
const QUEUED: u8 = 3;
const DOWNLOADING: u8 = 4;
const SEEDING: u8 = 6;
/// Something is wrong on this machine.
const LOCAL_ERROR: u8 = 3;
/// An estimate that is not known.
const ETA_UNKNOWN: i64 = -2;
/// There is nothing to estimate.
const ETA_NONE: i64 = -1;

/// An unfinished download or a share.
#[derive(Debug, Clone, Default)]
pub(super) struct Torrent {
    pub(super) id: i64,
    pub(super) group: String,
    pub(super) file: String,
    /// The info hash in hexadecimal digits.
    pub(super) hash: String,
    /// `None` for a share.
    pub(super) state: Option<DownloadState>,
    pub(super) reason: Option<String>,
    pub(super) path: String,
    pub(super) size: u64,
    pub(super) done: u64,
    pub(super) sent: u64,
    pub(super) received_per_second: u64,
    pub(super) sent_per_second: u64,
    pub(super) peers: u32,
    pub(super) seconds_left: Option<u64>,
    pub(super) place: Option<usize>,
    /// Bytes per second.
    pub(super) limit: Option<u64>,
    /// It is active, or has changed lately.
    pub(super) is_recent: bool,
}

impl Torrent {
    pub(super) fn of_download(download: Download, id: i64) -> Self {
        Self {
            id,
            group: download.group.to_string(),
            file: download.file.to_string(),
            hash: download.info_hash.to_string(),
            state: Some(download.state),
            reason: download.reason,
            path: download.path,
            size: download.size,
            done: download.bytes_done,
            sent: download.bytes_sent,
            received_per_second: download.bytes_per_second,
            sent_per_second: download.sent_per_second,
            peers: download.peers,
            seconds_left: download.seconds_left,
            place: download.place,
            limit: download.limit.map(|limit| limit.get()),
            ..Self::default()
        }
    }

    pub(super) fn of_share(upload: Upload, id: i64) -> Self {
        Self {
            id,
            group: upload.group.to_string(),
            file: upload.file.to_string(),
            hash: upload.info_hash.to_string(),
            path: upload.path,
            size: upload.size,
            done: upload.size,
            sent: upload.bytes_sent,
            sent_per_second: upload.sent_per_second,
            peers: upload.peers,
            ..Self::default()
        }
    }

    /// The names of its group and itself, for commands.
    pub(super) fn names(&self) -> (String, String) {
        (self.group.clone(), self.file.clone())
    }

    fn status(&self) -> u8 {
        match self.state {
            Some(DownloadState::Running) => DOWNLOADING,
            Some(DownloadState::Queued) => QUEUED,
            Some(DownloadState::Paused | DownloadState::Failed) => STOPPED,
            Some(DownloadState::Complete) | None => SEEDING,
        }
    }

    /// What is wrong: a reason for which it has paused itself, or has failed.
    fn error(&self) -> Option<&str> {
        match (self.state, &self.reason) {
            (Some(DownloadState::Paused | DownloadState::Failed), Some(reason)) => Some(reason),
            (Some(DownloadState::Failed), None) => Some("it has failed"),
            _ => None,
        }
    }

    fn eta(&self) -> i64 {
        match (self.state, self.seconds_left) {
            (None, _) => ETA_NONE,
            (_, Some(seconds)) => i64::try_from(seconds).unwrap_or(i64::MAX),
            (_, None) => ETA_UNKNOWN,
        }
    }

    /// The value of a field; `None` for a field that is not known.
    pub(super) fn field(&self, name: &str) -> Option<Value> {
        let left = self.size.saturating_sub(self.done);
        let ratio = |part: u64| if self.size == 0 { 1.0 } else { part as f64 / self.size as f64 };
        let is_running = self.state == Some(DownloadState::Running);
        Some(match name {
            "id" => json!(self.id),
            "name" => json!(self.file),
            "hashString" => json!(self.hash),
            "labels" => json!([self.group]),
            "status" => json!(self.status()),
            "error" => json!(if self.error().is_some() { LOCAL_ERROR } else { 0 }),
            "errorString" => json!(self.error().unwrap_or_default()),
            "downloadDir" => {
                json!(Path::new(&self.path).parent().map(Path::to_string_lossy).unwrap_or_default())
            }
            "totalSize" | "sizeWhenDone" => json!(self.size),
            "haveValid" => json!(self.done),
            "leftUntilDone" => json!(left),
            "percentDone" => json!(ratio(self.done)),
            "downloadedEver" => json!(if self.state.is_some() { self.done } else { 0 }),
            "uploadedEver" => json!(self.sent),
            "uploadRatio" => json!(ratio(self.sent)),
            "rateDownload" => json!(self.received_per_second),
            "rateUpload" => json!(self.sent_per_second),
            "eta" => json!(self.eta()),
            "etaIdle" => json!(ETA_NONE),
            "peersConnected" => json!(self.peers),
            "peersSendingToUs" => json!(if is_running { self.peers } else { 0 }),
            "peersGettingFromUs" => json!(if self.state.is_none() { self.peers } else { 0 }),
            "queuePosition" => json!(self.place.map_or(0, |place| place.saturating_sub(1))),
            "downloadLimited" => json!(self.limit.is_some()),
            "downloadLimit" => json!(self.limit.unwrap_or(0) / 1000),
            "isStalled" => json!(is_running && self.received_per_second == 0),
            "isFinished" | "uploadLimited" => json!(false),
            "isPrivate" | "honorsSessionLimits" => json!(true),
            "metadataPercentComplete" => json!(1),
            "seedRatioMode" => json!(2),
            "haveUnchecked"
            | "recheckProgress"
            | "bandwidthPriority"
            | "seedRatioLimit"
            | "uploadLimit"
            | "webseedsSendingToUs"
            | "activityDate"
            | "addedDate"
            | "dateCreated"
            | "doneDate"
            | "startDate" => json!(0),
            "comment" | "creator" | "torrentFile" => json!(""),
            "files" => {
                json!([{ "name": self.file, "length": self.size, "bytesCompleted": self.done }])
            }
            "fileStats" => {
                json!([{ "bytesCompleted": self.done, "wanted": true, "priority": 0 }])
            }
            "priorities" => json!([0]),
            "wanted" => json!([true]),
            "peers" | "trackers" | "trackerStats" | "webseeds" => json!([]),
            _ => return None,
        })
    }
}

/// Tells whether a field is known.
pub(super) fn is_known(name: &str) -> bool {
    Torrent::default().field(name).is_some()
}
