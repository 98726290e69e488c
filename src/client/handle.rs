//! A handle on one download: to look at it, wait for it, steer it, and be called when it ends.
//!
//! **Invariant:** a handle holds no state of its own; what it says is what the session's library
//! says at that moment.
//!
//! [`DownloadHandle::wait`] blocks its caller; the others ask no tracker and return after a few
//! system calls at most.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ClientError;
use super::core::Inner;
use super::library::{DownloadPhase, DownloadStatus};
use super::place::remove_part;
use crate::store::{DownloadRow, Progress};
use crate::types::{GroupId, InfoHash, Label};

/// A handle on one download; clones are the same download. It outlives neither the session nor the
/// client: afterwards the download shows as paused.
#[derive(Clone)]
pub struct DownloadHandle {
    inner: Arc<Inner>,
    info_hash: InfoHash,
    /// What it was called, for messages after the session.
    group: Label,
    group_id: GroupId,
    file: Label,
    target: PathBuf,
    len: u64,
}

impl DownloadHandle {
    /// Where the download stands now.
    pub fn status(&self) -> DownloadStatus {
        let known = self.inner.library.lock().status(self.info_hash);
        known.unwrap_or_else(|| DownloadStatus {
            group: self.group.clone(),
            group_id: self.group_id,
            file: self.file.clone(),
            id: self.info_hash,
            ended: None,
            phase: DownloadPhase::Paused(Some("cancelled, or the session has ended".into())),
            bytes_done: 0,
            len: self.len,
            bytes_per_second: 0,
            peers: 0,
            limit: None,
            path: self.target.clone(),
        })
    }

    /// Waits until the file is there and returns its path.
    ///
    /// # Errors
    /// [`ClientError::DownloadFailed`] if it failed, was cancelled or is paused,
    /// [`ClientError::TimedOut`].
    ///
    /// # Blocking
    /// For at most `timeout`, or as long as it takes.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<PathBuf, ClientError> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let mut library = self.inner.library.lock();
        loop {
            match library.download(self.info_hash).map(|download| download.status().phase) {
                Some(DownloadPhase::Complete) => return Ok(self.target.clone()),
                Some(DownloadPhase::Failed(reason)) => {
                    return Err(ClientError::DownloadFailed(reason));
                }
                Some(DownloadPhase::Paused(reason)) => {
                    let reason = reason
                        .map_or_else(|| "paused".into(), |reason| format!("paused: {reason}"));
                    return Err(ClientError::DownloadFailed(reason));
                }
                None => {
                    return Err(ClientError::DownloadFailed(
                        "cancelled, or the session has ended".into(),
                    ));
                }
                Some(DownloadPhase::Running | DownloadPhase::Queued(_)) => {}
            }
            match deadline {
                None => self.inner.changed.wait(&mut library),
                Some(deadline) => {
                    if self.inner.changed.wait_until(&mut library, deadline).timed_out() {
                        return Err(ClientError::TimedOut);
                    }
                }
            }
        }
    }

    /// Has `callback` called once when the download is complete or has failed; at once if it is so
    /// already. It runs on a thread of the client's and must not block for long.
    pub fn on_end(&self, callback: impl FnOnce(&DownloadStatus) + Send + 'static) {
        let status = {
            let mut library = self.inner.library.lock();
            let Some(download) = library.download(self.info_hash) else { return };
            let status = download.status();
            if !status.has_ended() {
                download.callbacks.push(Box::new(callback));
                return;
            }
            status
        };
        callback(&status);
    }

    /// Stops fetching and serving until resumed; what is there is kept.
    ///
    /// # Errors
    /// [`ClientError::DownloadState`] unless it is running.
    pub fn pause(&self) -> Result<(), ClientError> {
        let guard = self.inner.coming_and_going.lock();
        let row = {
            let mut library = self.inner.library.lock();
            let download = library.download(self.info_hash).ok_or_else(|| self.gone())?;
            match download.status().phase {
                DownloadPhase::Queued(_) => {}
                DownloadPhase::Running if download.row.progress == Progress::Running => {}
                DownloadPhase::Running | DownloadPhase::Complete => {
                    return Err(state("the download is complete already"));
                }
                DownloadPhase::Paused(_) => return Err(state("the download is paused already")),
                DownloadPhase::Failed(_) => {
                    return Err(state("the download has failed; resume_download tries again"));
                }
            }
            download.row.progress = Progress::Paused(None);
            download.queued = false;
            download.steer();
            let row = download.row.clone();
            library.queue.leave(self.info_hash);
            row
        };
        self.inner.mind_slots();
        self.inner.store.set_progress(row.user, self.info_hash, &row.progress)?;
        drop(guard);
        self.inner.announce([(row.group, self.info_hash)]);
        self.inner.changed.notify_all();
        Ok(())
    }

    /// Goes on after a pause, or tries again after a failure: at once, or when there is room for
    /// it.
    ///
    /// # Errors
    /// [`ClientError::DownloadState`] if it is running or complete, or cannot be begun again.
    pub fn resume(&self) -> Result<(), ClientError> {
        let (row, is_live) = {
            let mut library = self.inner.library.lock();
            let place = library.queue.place_of(self.info_hash).unwrap_or(1);
            let download = library.download(self.info_hash).ok_or_else(|| self.gone())?;
            match download.status().phase {
                DownloadPhase::Paused(_) | DownloadPhase::Failed(_) => {}
                DownloadPhase::Running => return Err(state("the download is running already")),
                DownloadPhase::Queued(_) => return Err(waits_already(place)),
                DownloadPhase::Complete => return Err(state("the download is complete already")),
            }
            (download.row.clone(), download.is_live())
        };
        if !is_live {
            let begun = self
                .inner
                .begin(DownloadRow { progress: Progress::Running, ..row.clone() })
                .map(drop);
            self.inner.announce([(row.group, self.info_hash)]);
            begun?;
            return Ok(self.inner.store.flush()?);
        }
        let guard = self.inner.coming_and_going.lock();
        // Noted first: the engine may end it again before this returns.
        self.inner.set_progress(&row, Progress::Running)?;
        self.inner.take_slot(&row);
        drop(guard);
        self.inner.announce([(row.group, self.info_hash)]);
        Ok(())
    }

    /// Gives the download up and removes what was fetched; a complete one stays.
    ///
    /// # Errors
    /// [`ClientError::DownloadState`] if it is complete.
    pub fn cancel(&self) -> Result<(), ClientError> {
        let _guard = self.inner.coming_and_going.lock();
        let download = {
            let mut library = self.inner.library.lock();
            if library
                .download(self.info_hash)
                .is_some_and(|download| download.row.progress == Progress::Complete)
            {
                return Err(state(
                    "the download is complete; the file stays, stop_share stops offering it",
                ));
            }
            library.queue.forget(self.info_hash);
            library.take_download(self.info_hash).ok_or_else(|| self.gone())?
        };
        self.inner.mind_slots();
        match &download.transfer {
            Some(transfer) if transfer.cancel() => {}
            // The engine holds it no more: what it left is ours to remove.
            _ => remove_part(&download.row),
        }
        self.inner.store.remove_download(download.row.user, self.info_hash)?;
        self.inner.withdraw(download.row.group, self.info_hash);
        self.inner.changed.notify_all();
        Ok(())
    }

    fn gone(&self) -> ClientError {
        ClientError::NoSuchDownload { group: self.group.to_string(), file: self.file.to_string() }
    }
}

/// Says in what state a download cannot do what was asked.
pub(crate) fn state(text: &str) -> ClientError {
    ClientError::DownloadState(text.into())
}

fn waits_already(place: usize) -> ClientError {
    state(&format!(
        "the download waits for others to end, at place {place} of the queue; prioritize lets it go first"
    ))
}

impl Inner {
    /// A handle on the download of that row.
    pub(crate) fn handle(self: &Arc<Self>, row: &DownloadRow) -> DownloadHandle {
        DownloadHandle {
            inner: self.clone(),
            info_hash: row.facts.info_hash,
            group: row.group_label.clone(),
            group_id: row.group,
            file: row.label.clone(),
            target: row.target.clone(),
            len: row.facts.len,
        }
    }
}
