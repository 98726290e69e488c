//! Sample values for tests.

use crate::client::api::{Download, DownloadState};
use crate::types::{GroupId, InfoHash};

/// A running download with 436 of 1000 bytes.
pub(super) fn download() -> Download {
    Download {
        group: "lab".parse().unwrap(),
        group_id: GroupId::from_bytes([1; 16]),
        file: "big.bin".parse().unwrap(),
        info_hash: InfoHash::from_bytes([2; 20]),
        state: DownloadState::Running,
        reason: None,
        path: "/tmp/big.bin".into(),
        size: 1000,
        bytes_done: 436,
        bytes_sent: 0,
        sent_per_second: 0,
        bytes_per_second: 8,
        peers: 1,
        lan: 0,
        punched: 0,
        relayed: 0,
        seconds_left: Some(71),
        place: None,
        limit: None,
        ended: None,
    }
}
