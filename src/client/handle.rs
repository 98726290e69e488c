//! A handle on one download: to read its status, wait for it, control it, and be called when it
//! ends.
//!
//! **Invariant:** a handle holds no state of its own; it reports the session's current state.
//!
//! [`DownloadHandle::wait`] blocks its caller. The other methods ask no tracker; they wait for the
//! store, and for a moment for the download's disk.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::ClientError;
use super::place::missing;
use super::runtime::Runtime;
use super::session::input::Command;
use super::session::refusals::{complete_already, complete_stays, state};
use super::session::status::{DownloadPhase, DownloadStatus};
use crate::store::{DownloadRow, Progress};

/// A handle on one download; clones are the same download. It is of use while the session and the
/// client last; afterwards the download shows as paused.
#[derive(Clone)]
pub struct DownloadHandle {
    inner: Arc<Runtime>,
    /// The row when the handle was made.
    row: Arc<DownloadRow>,
}

impl DownloadHandle {
    pub(crate) fn new(inner: &Arc<Runtime>, row: Arc<DownloadRow>) -> Self {
        Self { inner: inner.clone(), row }
    }

    /// The download's current status.
    pub fn status(&self) -> DownloadStatus {
        let info_hash = self.row.facts.info_hash;
        let known = self.inner.status(info_hash).or_else(|| self.inner.earlier_status(info_hash));
        known.unwrap_or_else(|| {
            let status = DownloadStatus::of_row(&self.row);
            match self.row.progress {
                Progress::Complete => status,
                _ => {
                    let reason = Some("cancelled, or the session has ended".into());
                    DownloadStatus { phase: DownloadPhase::Paused(reason), ..status }
                }
            }
        })
    }

    /// Waits until the file is complete, and returns its path.
    ///
    /// # Errors
    /// [`ClientError::DownloadFailed`] if it failed, was cancelled or is paused,
    /// [`ClientError::TimedOut`].
    ///
    /// # Blocking
    /// For at most `timeout`, or as long as it takes.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<PathBuf, ClientError> {
        let until = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            let seen = self.inner.view();
            match self.status().phase {
                DownloadPhase::Complete => return Ok(self.row.target.clone()),
                DownloadPhase::Failed(reason) => {
                    return Err(ClientError::DownloadFailed(reason));
                }
                DownloadPhase::Paused(reason) => {
                    let reason = reason
                        .map_or_else(|| "paused".into(), |reason| format!("paused: {reason}"));
                    return Err(ClientError::DownloadFailed(reason));
                }
                DownloadPhase::Running | DownloadPhase::Queued(_) => {}
            }
            if !self.inner.wait_for_change(&seen, until) {
                return Err(ClientError::TimedOut);
            }
        }
    }

    /// Calls `callback` once when the download is complete or has failed; at once if it has
    /// already. It runs on a thread of the client and must not block for long.
    pub fn on_end(&self, callback: impl FnOnce(&DownloadStatus) + Send + 'static) {
        self.inner.on_end(self.row.facts.info_hash, Box::new(callback));
    }

    /// Stops fetching and serving until resumed; fetched data is kept.
    ///
    /// # Errors
    /// [`ClientError::DownloadState`] unless it is running; [`ClientError::Store`], and then it
    /// continues.
    pub fn pause(&self) -> Result<(), ClientError> {
        self.command(Command::Pause(self.row.facts.info_hash), complete_already)
    }

    /// Resumes a paused download, or retries a failed one: at once, or when a slot is free.
    ///
    /// # Errors
    /// [`ClientError::DownloadState`] if it is running or complete, or cannot be begun again.
    pub fn resume(&self) -> Result<(), ClientError> {
        let info_hash = self.row.facts.info_hash;
        let view = self.inner.view();
        let row = view.library.download(info_hash).map(|download| download.row.clone());
        let is_halted = |row: &Arc<DownloadRow>| {
            matches!(row.progress, Progress::Paused(_) | Progress::Failed(_))
        };
        if let Some(row) = row.filter(is_halted) {
            let target = row.target.clone();
            if let Some(reason) = self.inner.disks.within(&target, move || missing(&row))? {
                return Err(state(&format!("{reason} cancel_download gives it up")));
            }
        }
        self.command(Command::Resume(info_hash), complete_already)
    }

    /// Cancels the download and removes its fetched data; the file of a complete one stays.
    ///
    /// # Errors
    /// [`ClientError::DownloadState`] if it is complete.
    pub fn cancel(&self) -> Result<(), ClientError> {
        self.command(Command::Cancel(self.row.facts.info_hash), complete_stays)
    }

    /// Sends a command to the session. The session does not have complete downloads of earlier
    /// sessions.
    pub(crate) fn command(
        &self,
        command: Command,
        complete: fn() -> ClientError,
    ) -> Result<(), ClientError> {
        match self.inner.ask(command) {
            Err(ClientError::NoSuchDownload { .. }) if self.row.progress == Progress::Complete => {
                Err(complete())
            }
            Err(ClientError::NoSuchDownload { .. }) => Err(ClientError::NoSuchDownload {
                group: self.row.group_label.to_string(),
                file: self.row.label.to_string(),
            }),
            other => other.map(drop),
        }
    }

    pub(crate) fn row(&self) -> &Arc<DownloadRow> {
        &self.row
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.inner
    }
}
