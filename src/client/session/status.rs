//! The status of downloads, as shown to users.

use std::path::PathBuf;
use std::time::Duration;

use super::library::{Download, Library};
use crate::store::{DownloadRow, Progress};
use crate::swarm::TransferStatus;
use crate::types::{GroupId, InfoHash, Label, Rate};

/// The phase of a download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DownloadPhase {
    /// It runs, or waits for members who have the missing pieces.
    Running,
    /// It waits for a slot, at that place of the queue, from 1.
    Queued(usize),
    /// Paused by the user (`None`) or for a reason.
    Paused(Option<String>),
    /// It has failed, with the reason.
    Failed(String),
    /// The file is complete and verified.
    Complete,
}

/// The status of a download.
#[derive(Debug, Clone, PartialEq)]
pub struct DownloadStatus {
    /// The content.
    pub id: InfoHash,
    /// The group.
    pub group_id: GroupId,
    /// The group's name as shown.
    pub group: Label,
    /// The file's name as shown.
    pub file: Label,
    /// Its phase.
    pub phase: DownloadPhase,
    /// The number of its last end, or pause by itself, among all of this process; from 1. `None` if
    /// it has not ended since it was begun or resumed here.
    pub ended: Option<u64>,
    /// Bytes verified and written.
    pub bytes_done: u64,
    /// Length of the file in bytes.
    pub len: u64,
    /// Bytes per second received recently.
    pub bytes_per_second: u64,
    /// Bytes sent to others since login.
    pub sent: u64,
    /// Bytes per second sent to others in the last 2 s.
    pub sent_per_second: u64,
    /// Links to other members for this file.
    pub peers: u32,
    /// Of these, links on a network that both devices are on.
    pub lan: u32,
    /// Of these, links for which a hole was punched.
    pub punched: u32,
    /// Of these, links through a relay.
    pub relayed: u32,
    /// Its own rate limit.
    pub limit: Option<Rate>,
    /// The path of the file.
    pub path: PathBuf,
}

impl DownloadStatus {
    /// Tells whether it is complete or failed.
    pub fn has_ended(&self) -> bool {
        matches!(self.phase, DownloadPhase::Complete | DownloadPhase::Failed(_))
    }

    /// Tells whether it runs or waits in the queue.
    pub fn is_unfinished(&self) -> bool {
        matches!(self.phase, DownloadPhase::Running | DownloadPhase::Queued(_))
    }

    /// Completed part of the file, from 0 to 1.
    pub fn fraction(&self) -> f64 {
        if self.len == 0 {
            f64::from(u8::from(self.phase == DownloadPhase::Complete))
        } else {
            self.bytes_done as f64 / self.len as f64
        }
    }

    /// Time left at the present rate. `None` if nothing arrives, or if it would exceed a day.
    pub fn time_left(&self) -> Option<Duration> {
        const TIME_LEFT_MAX: Duration = Duration::from_secs(86_400);
        let left = self.len.saturating_sub(self.bytes_done);
        let is_running = self.bytes_per_second > 0 && self.phase == DownloadPhase::Running;
        let time = is_running.then(|| Duration::from_secs(left.div_ceil(self.bytes_per_second)));
        time.filter(|time| *time <= TIME_LEFT_MAX)
    }

    /// The status of a complete download of an earlier session.
    pub(crate) fn of_row(row: &DownloadRow) -> Self {
        Self {
            id: row.facts.info_hash,
            group_id: row.group,
            group: row.group_label.clone(),
            file: row.label.clone(),
            phase: phase(&row.progress),
            ended: None,
            bytes_done: if row.progress == Progress::Complete {
                row.facts.len
            } else {
                journalled(row)
            },
            len: row.facts.len,
            bytes_per_second: 0,
            sent: 0,
            sent_per_second: 0,
            peers: 0,
            lan: 0,
            punched: 0,
            relayed: 0,
            limit: None,
            path: row.target.clone(),
        }
    }
}

fn phase(progress: &Progress) -> DownloadPhase {
    match progress {
        Progress::Running => DownloadPhase::Running,
        Progress::Complete => DownloadPhase::Complete,
        Progress::Paused(reason) => DownloadPhase::Paused(reason.clone()),
        Progress::Failed(reason) => DownloadPhase::Failed(reason.clone()),
        Progress::Cancelled => DownloadPhase::Failed("cancelled".into()),
    }
}

fn journalled(row: &DownloadRow) -> u64 {
    let (facts, verified) = (&row.facts, row.verified.as_ref());
    let bytes = verified
        .map_or(0, |verified| u64::from(verified.pieces.ones()) * u64::from(facts.piece_len));
    bytes.min(facts.len)
}

impl Library {
    /// A download's status; `live` are the engine's figures, `place` is its place in the queue.
    pub(crate) fn status(
        &self,
        download: &Download,
        live: Option<&TransferStatus>,
        place: Option<usize>,
    ) -> DownloadStatus {
        let row = &*download.row;
        let phase = match &row.progress {
            Progress::Running if download.queued => DownloadPhase::Queued(place.unwrap_or(1)),
            Progress::Complete if !download.settled => DownloadPhase::Running,
            progress => phase(progress),
        };
        let is_there = row.progress == Progress::Complete;
        let done = live.map_or_else(|| journalled(row), |live| live.bytes_done);
        let running = live.filter(|_| phase == DownloadPhase::Running);
        DownloadStatus {
            bytes_done: if is_there { row.facts.len } else { done },
            bytes_per_second: running.map_or(0, |live| live.bytes_per_second),
            sent: live.map_or(0, |live| live.sent),
            sent_per_second: live.map_or(0, |live| live.sent_per_second),
            peers: running.map_or(0, |live| live.peers),
            lan: running.map_or(0, |live| live.lan),
            punched: running.map_or(0, |live| live.punched),
            relayed: running.map_or(0, |live| live.relayed),
            limit: self.queue.limit(row.facts.info_hash),
            ended: download.ended,
            phase,
            ..DownloadStatus::of_row(row)
        }
    }
}
