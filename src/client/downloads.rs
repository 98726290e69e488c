//! Downloading files: starting, continuing and listing downloads.
//!
//! **Invariant:** a user has at most one download of a content; it is in the device store before the engine begins.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::core::Inner;
use super::groups::is_member;
use super::handle::{DownloadHandle, state};
use super::library::{Download, DownloadPhase, DownloadStatus};
use super::{Client, ClientError, ClientEvent};
use crate::store::{DownloadRow, Progress};
use crate::swarm::{DownloadSpec, EngineError, SeedSpec, hash_file, part_path};
use crate::types::{Bitfield, DownloadState, FileEntry, FileName, Geometry, GroupEntry, GroupId, InfoHash, Refusal, UserId};

impl Client {
    /// Starts a download in the background. A `destination` that is a directory gets the file under its name; anything else is
    /// the new file's path. A file that is there already with the same content counts as downloaded.
    ///
    /// # Errors
    /// [`Refusal::NotMember`], [`Refusal::NoSuchFile`]; [`ClientError::Path`] and [`ClientError::DownloadState`] when the
    /// destination cannot be used, exists with other content, or has no room.
    ///
    /// # Blocking
    /// While the trackers are asked, and while a file that is there already is compared.
    pub fn download_file(&self, group: &str, file: &str, destination: &Path) -> Result<DownloadHandle, ClientError> {
        self.download_file_with(group, file, destination, &mut |_, _| true)
    }

    /// As [`Client::download_file`]; `progress` is told of the comparison with a file that is there already, and returns false to
    /// cancel.
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
        let user = self.inner.need_user()?.user;
        let resolved = self.inner.resolve(group, None, Some(file))?;
        if !is_member(resolved.group.part) {
            return Err(Refusal::NotMember.into());
        }
        let entry = resolved.file.ok_or(Refusal::NoSuchFile)?;
        let target = target_path(destination, &entry)?;
        if let Some(handle) = self.inner.already_there(&entry, &target)? {
            return Ok(handle);
        }
        let row = new_row(user, &resolved.group, &entry, target);
        if row.target.symlink_metadata().is_ok() {
            return self.inner.adopt(row, progress);
        }
        self.inner.begin(row, true)
    }

    /// Every download of the session, in the order they were asked for. Does not ask a tracker.
    ///
    /// # Errors
    /// [`Refusal::LoginFirst`].
    pub fn show_downloads(&self) -> Result<Vec<DownloadStatus>, ClientError> {
        self.inner.need_user()?;
        Ok(self.inner.library.lock().downloads.iter().map(Download::status).collect())
    }

    /// The download of that name. Does not ask a tracker.
    ///
    /// # Errors
    /// [`ClientError::NoSuchDownload`], [`Refusal::LoginFirst`].
    pub fn download(&self, group: &str, file: &str) -> Result<DownloadHandle, ClientError> {
        self.inner.need_user()?;
        let missing = || ClientError::NoSuchDownload { group: group.into(), file: file.into() };
        let mut library = self.inner.library.lock();
        let row = library.find_download(group, file).map(|download| download.row.clone()).ok_or_else(missing)?;
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

    /// Downloads that ended in this session and were not returned by this method before.
    pub(crate) fn take_ended(&self) -> Vec<DownloadStatus> {
        let mut library = self.inner.library.lock();
        let ended = library.downloads.iter_mut().filter(|d| d.unreported && d.status().has_ended());
        ended
            .map(|download| {
                download.unreported = false;
                download.status()
            })
            .collect()
    }
}

/// The event that a download's new state is, if it is one.
pub(crate) fn to_event(status: &DownloadStatus) -> Option<ClientEvent> {
    let (group, file, path) = (status.group.clone(), status.file.clone(), status.path.clone());
    match &status.phase {
        DownloadPhase::Complete => Some(ClientEvent::DownloadComplete { group, file, path }),
        DownloadPhase::Failed(reason) => Some(ClientEvent::DownloadFailed { group, file, reason: reason.clone() }),
        DownloadPhase::Paused(Some(reason)) => Some(ClientEvent::DownloadPaused { group, file, reason: reason.clone() }),
        DownloadPhase::Paused(None) | DownloadPhase::Running => None,
    }
}

/// The file to be made: below a directory under its name, else the path itself.
fn target_path(destination: &Path, entry: &FileEntry) -> Result<PathBuf, ClientError> {
    let destination = std::path::absolute(destination).map_err(|e| ClientError::path(destination, e.to_string()))?;
    if destination.is_dir() {
        // The label tells two files of one name apart; where it is no file name, the name itself is.
        let label: Option<FileName> = entry.label.as_str().parse().ok();
        return Ok(destination.join(label.unwrap_or_else(|| entry.facts.name.clone()).as_str()));
    }
    match destination.parent() {
        Some(parent) if parent.is_dir() && destination.file_name().is_some() => Ok(destination),
        _ => Err(ClientError::path(destination, "there is no such directory; make it first")),
    }
}

fn new_row(user: UserId, group: &GroupEntry, entry: &FileEntry, target: PathBuf) -> DownloadRow {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    // A `.part` that is there before the download is somebody else's, and never becomes ours: the engine will refuse it.
    let is_free = part_path(&target, entry.facts.info_hash).symlink_metadata().is_err_and(|e| e.kind() == ErrorKind::NotFound);
    let pieces = Geometry::new(entry.facts.len, entry.facts.piece_len).map_or(0, |geometry| geometry.piece_count());
    DownloadRow {
        user,
        group: group.group,
        group_label: group.label.clone(),
        label: entry.label.clone(),
        facts: entry.facts.clone(),
        target,
        progress: Progress::Running,
        verified: is_free.then(|| Bitfield::empty(pieces)),
        begun_ms: now.as_millis() as u64,
    }
}

impl Inner {
    /// The download of this content that there is already, set going if need be.
    fn already_there(self: &Arc<Self>, entry: &FileEntry, target: &Path) -> Result<Option<DownloadHandle>, ClientError> {
        let row = self.library.lock().download(entry.facts.info_hash).map(|download| download.row.clone());
        let Some(row) = row.filter(|row| row.progress != Progress::Complete) else { return Ok(None) };
        if row.target != target {
            let place = row.target.display();
            return Err(state(&format!("this content is being downloaded to {place} already; cancel_download that one first")));
        }
        let handle = self.handle(&row);
        if row.progress != Progress::Running {
            handle.resume()?;
        }
        Ok(Some(handle))
    }

    /// Begins a download, or goes on with one.
    pub(crate) fn begin(self: &Arc<Self>, row: DownloadRow, is_new: bool) -> Result<DownloadHandle, ClientError> {
        let engine = self.need_engine()?;
        let info_hash = row.facts.info_hash;
        let metainfo = self.store.metainfo(info_hash)?.map(Arc::new);
        let verified = row.verified.clone().filter(|_| !is_new);
        self.store.put_download(&row)?;
        let callbacks =
            self.insert(Download { row: row.clone(), transfer: None, settled: false, unreported: true, callbacks: Vec::new() });
        let spec = DownloadSpec { facts: row.facts.clone(), target: row.target.clone(), metainfo, verified, paused: false };
        match engine.download(spec) {
            Ok(transfer) => {
                if let Some(download) = self.library.lock().download(info_hash) {
                    download.transfer = Some(transfer);
                    download.callbacks.extend(callbacks);
                }
                self.announce_leeching(row.group, info_hash);
                Ok(self.handle(&row))
            }
            Err(error) => {
                let reason = explain(&error);
                if is_new {
                    self.library.lock().downloads.retain(|download| download.info_hash() != info_hash);
                    self.store.remove_download(row.user, info_hash)?;
                } else {
                    self.set_progress(&row, Progress::Failed(reason.clone()))?;
                }
                Err(ClientError::DownloadState(reason))
            }
        }
    }

    /// A small file may be complete before this is called: then seeding was announced already.
    fn announce_leeching(&self, group: GroupId, info_hash: InfoHash) {
        if self.library.lock().is_downloading(info_hash) {
            self.trackers.announce([(group, info_hash, DownloadState::Leeching)]);
        }
    }

    /// Puts a download in the place of an earlier one of the same content; returns that one's callbacks.
    fn insert(&self, download: Download) -> Vec<super::library::Callback> {
        let mut library = self.library.lock();
        let callbacks = library.download(download.info_hash()).map(|old| std::mem::take(&mut old.callbacks));
        library.downloads.retain(|old| old.info_hash() != download.info_hash());
        library.downloads.push(download);
        callbacks.unwrap_or_default()
    }

    /// The destination exists: if it is the file itself, it is shared on; anything else is left alone.
    fn adopt(
        self: &Arc<Self>,
        mut row: DownloadRow,
        progress: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<DownloadHandle, ClientError> {
        let other = || ClientError::path(&row.target, "it exists with other content; name another destination");
        let len = std::fs::symlink_metadata(&row.target).ok().filter(|meta| meta.is_file()).map(|meta| meta.len());
        if len != Some(row.facts.len) {
            return Err(other());
        }
        let hashed = hash_file(&row.target, &mut |done| progress(done, row.facts.len));
        let hashed = match hashed {
            Ok(hashed) if hashed.sha1 == row.facts.sha1 => hashed,
            Err(crate::swarm::HashError::Cancelled) => return Err(ClientError::Interrupted),
            _ => return Err(other()),
        };
        // Under another name it has another info dictionary; the content is the same, so the group's one is made.
        let metainfo = crate::wire::metainfo::Metainfo::new(
            row.facts.name.clone(),
            hashed.seed.metainfo.geometry(),
            hashed.seed.metainfo.pieces().to_vec(),
        );
        let metainfo = metainfo.ok().filter(|m| m.info_hash() == row.facts.info_hash).ok_or_else(other)?;
        let seed = SeedSpec { metainfo: Arc::new(metainfo), ..hashed.seed };
        row.progress = Progress::Complete;
        self.store.put_download(&row)?;
        self.store.put_metainfo(&seed.metainfo)?;
        self.need_engine()?.seed(seed.clone()).map_err(|e| ClientError::BadArgument(e.to_string()))?;
        self.insert(Download { row: row.clone(), transfer: None, settled: false, unreported: true, callbacks: Vec::new() });
        self.share_on(&row, &seed);
        Ok(self.handle(&row))
    }

    /// Notes a new progress here and in the store.
    pub(crate) fn set_progress(&self, row: &DownloadRow, progress: Progress) -> Result<(), ClientError> {
        self.store.set_progress(row.user, row.facts.info_hash, &progress)?;
        if let Some(download) = self.library.lock().download(row.facts.info_hash) {
            download.unreported |= progress == Progress::Running;
            download.row.progress = progress;
        }
        self.changed.notify_all();
        Ok(())
    }

    /// Takes a download of an earlier session into this one, and goes on with it if it was running.
    pub(crate) fn restore_download(self: &Arc<Self>, row: DownloadRow, mine: Option<&HashSet<GroupId>>) {
        let settled = row.progress == Progress::Complete;
        let running = row.progress == Progress::Running;
        let (info_hash, group) = (row.facts.info_hash, row.group);
        self.insert(Download { row: row.clone(), transfer: None, settled, unreported: false, callbacks: Vec::new() });
        if !running {
            return;
        }
        let result = if mine.is_some_and(|mine| !mine.contains(&group)) {
            self.set_progress(&row, Progress::Failed("you are no longer a member of the group".into()))
        } else {
            self.begin(row, false).map(drop)
        };
        if let Err(error) = result {
            log::warn!("{error}");
            self.tell_end(info_hash);
        }
    }
}

/// What the engine will not do, in words that say what to do.
fn explain(error: &EngineError) -> String {
    match error {
        EngineError::TargetExists(_) => format!("{error}; name another destination"),
        EngineError::NoRoom { .. } => format!("{error}; make room or name another destination"),
        _ => error.to_string(),
    }
}
