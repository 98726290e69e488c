//! The commands about downloads: starting, steering and listing them.
//!
//! **Invariant:** nothing here holds a lock while it asks a tracker or looks at a disk.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::groups::is_member;
use super::handle::DownloadHandle;
use super::library::{Download, DownloadPhase, DownloadStatus};
use super::place::{is_there, target_path};
use super::{Client, ClientError, ClientEvent};
use crate::store::{DownloadRow, Progress};
use crate::types::{FileEntry, GroupEntry, Refusal, UserId};

impl Client {
    /// Starts a download in the background, or has it wait while as many run as may. A
    /// `destination` that is a directory gets the file under its name; anything else is the new
    /// file's path. A file that is there already with the same content counts as downloaded.
    ///
    /// # Errors
    /// [`Refusal::NotMember`], [`Refusal::NoSuchFile`]; [`ClientError::Path`] and
    /// [`ClientError::DownloadState`] when the destination cannot be used, exists with other
    /// content, or has no room.
    ///
    /// # Blocking
    /// While the trackers are asked, and while a file that is there already is compared.
    pub fn download_file(
        &self,
        group: &str,
        file: &str,
        destination: &Path,
    ) -> Result<DownloadHandle, ClientError> {
        self.download_file_with(group, file, destination, &mut |_, _| true)
    }

    /// As [`Client::download_file`]; `progress` is told of the comparison with a file that is there
    /// already, and returns false to cancel.
    ///
    /// # Errors
    /// Those of [`Client::download_file`], and [`ClientError::Interrupted`].
    pub fn download_file_with(
        &self,
        group: &str,
        file: &str,
        destination: &Path,
        progress: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<DownloadHandle, ClientError> {
        let handle = self.download_file_soon(group, file, destination, progress)?;
        self.make_durable()?;
        Ok(handle)
    }

    /// Waits until downloads that were begun are sure to go on after a crash.
    ///
    /// # Errors
    /// [`ClientError::Store`].
    pub(crate) fn make_durable(&self) -> Result<(), ClientError> {
        Ok(self.inner.store.flush()?)
    }

    /// As [`Client::download_file_with`], for callers that begin several and then see to it that
    /// they are durable, all at once.
    pub(crate) fn download_file_soon(
        &self,
        group: &str,
        file: &str,
        destination: &Path,
        progress: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<DownloadHandle, ClientError> {
        let user = self.inner.need_user()?.user;
        let resolved = self.inner.resolve(group, None, Some(file))?;
        if !is_member(resolved.group.part) {
            return Err(Refusal::NotMember.into());
        }
        let entry = resolved.file.ok_or(Refusal::NoSuchFile)?;
        let target = target_path(destination, &entry)?;
        if let Some(handle) = self.inner.going_on(&entry, &target)? {
            return Ok(handle);
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let begun_ms = self.inner.library.lock().queue.stamp(now.as_millis() as u64);
        let row = new_row(user, &resolved.group, &entry, target, begun_ms);
        if is_there(&row.target) {
            self.inner.adopt(row, progress)
        } else {
            self.inner.begin_new(row)
        }
    }

    /// Those that run or wait.
    pub(crate) fn running_downloads(&self) -> Vec<DownloadStatus> {
        self.inner.library.lock().unfinished()
    }

    /// Every download of the session, in the order they were asked for. Does not ask a tracker.
    ///
    /// # Errors
    /// [`Refusal::LoginFirst`].
    pub fn show_downloads(&self) -> Result<Vec<DownloadStatus>, ClientError> {
        self.inner.need_user()?;
        Ok(self.inner.library.lock().statuses())
    }

    /// The download of that name. Does not ask a tracker.
    ///
    /// # Errors
    /// [`ClientError::NoSuchDownload`], [`Refusal::LoginFirst`].
    pub fn download(&self, group: &str, file: &str) -> Result<DownloadHandle, ClientError> {
        self.inner.need_user()?;
        let missing = || ClientError::NoSuchDownload { group: group.into(), file: file.into() };
        let mut library = self.inner.library.lock();
        let row = library
            .find_download(group, file)
            .map(|download| download.row.clone())
            .ok_or_else(missing)?;
        Ok(self.inner.handle(&row))
    }

    /// Pauses a download; see [`DownloadHandle::pause`].
    ///
    /// # Errors
    /// [`ClientError::NoSuchDownload`], [`ClientError::DownloadState`].
    pub fn pause_download(&self, group: &str, file: &str) -> Result<(), ClientError> {
        self.download(group, file)?.pause()
    }

    /// Resumes a download; see [`DownloadHandle::resume`].
    ///
    /// # Errors
    /// [`ClientError::NoSuchDownload`], [`ClientError::DownloadState`].
    pub fn resume_download(&self, group: &str, file: &str) -> Result<(), ClientError> {
        self.download(group, file)?.resume()
    }

    /// Cancels a download; see [`DownloadHandle::cancel`].
    ///
    /// # Errors
    /// [`ClientError::NoSuchDownload`], [`ClientError::DownloadState`].
    pub fn cancel_download(&self, group: &str, file: &str) -> Result<(), ClientError> {
        self.download(group, file)?.cancel()
    }

    /// The first download that has paused itself in this session.
    pub(crate) fn stuck(&self) -> Option<DownloadStatus> {
        let library = self.inner.library.lock();
        let is_stuck =
            |d: &&Download| d.is_of_session && matches!(d.row.progress, Progress::Paused(Some(_)));
        library.downloads.iter().find(is_stuck).map(Download::status)
    }

    /// Downloads that ended in this session behind the end of that number, and the number of the
    /// last end.
    pub(crate) fn ended_after(&self, after: u64) -> (Vec<DownloadStatus>, u64) {
        self.inner.library.lock().ended_after(after)
    }

    /// Tells whether any download runs or waits.
    pub(crate) fn has_unfinished(&self) -> bool {
        self.inner.library.lock().has_unfinished()
    }
}

/// The event that a download's new state is, if it is one.
pub(crate) fn to_event(status: &DownloadStatus) -> Option<ClientEvent> {
    let (group, file, path) = (status.group.clone(), status.file.clone(), status.path.clone());
    let (group_id, id) = (status.group_id, status.id);
    match &status.phase {
        DownloadPhase::Complete => {
            Some(ClientEvent::DownloadComplete { group, group_id, file, id, path })
        }
        DownloadPhase::Failed(reason) => {
            let reason = reason.clone();
            Some(ClientEvent::DownloadFailed { group, group_id, file, id, reason })
        }
        DownloadPhase::Paused(Some(reason)) => {
            let reason = reason.clone();
            Some(ClientEvent::DownloadPaused { group, group_id, file, id, reason })
        }
        DownloadPhase::Paused(None) | DownloadPhase::Running | DownloadPhase::Queued(_) => None,
    }
}

fn new_row(
    user: UserId,
    group: &GroupEntry,
    entry: &FileEntry,
    target: PathBuf,
    begun_ms: u64,
) -> DownloadRow {
    DownloadRow {
        user,
        group: group.group,
        group_label: group.label.clone(),
        label: entry.label.clone(),
        facts: entry.facts.clone(),
        target,
        progress: Progress::Running,
        verified: None,
        part: None,
        begun_ms,
    }
}
