//! The commands about downloads: starting, controlling and listing them.
//!
//! **Invariant:** a destination is checked on its disk's own thread, so a disk that hangs delays
//! only its own command, and for a moment only. A `.part` counts as a download's own only once the
//! store has which file it is, as it was made for the download, or as the engine has reported.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::error::ClientError;
use super::handle::DownloadHandle;
use super::place::{check_place, has_part, is_there, missing, move_part, remove_part, target_path};
use super::runtime::{Pending, Runtime, compare, is_intact};
use super::session::input::{Answer, Begin, Command, StaleShares};
use super::session::refusals::{state, taken};
use super::session::status::DownloadStatus;
use super::start::Client;
use crate::store::{DownloadRow, OwnPart, Progress, ShareRow};
use crate::swarm::{make_part, remove_new_part};
use crate::types::{
    FileEntry, FileFacts, GroupEntry, InfoHash, InodeId, Refusal, UserId, VerifiedPieces,
};

impl Client {
    /// Starts a download in the background; it waits if all slots are taken. If `destination` is a
    /// directory, the file goes into it under its name; anything else is the new file's path. An
    /// existing file with the same content counts as downloaded.
    ///
    /// # Errors
    /// [`Refusal::NotMember`], [`Refusal::NoSuchFile`]; [`ClientError::Path`] and
    /// [`ClientError::DownloadState`] when the destination cannot be used, exists with other
    /// content, or has no room.
    ///
    /// # Blocking
    /// For the trackers' answers, and while an existing file is compared.
    pub fn download_file(
        &self,
        group: &str,
        file: &str,
        destination: &Path,
    ) -> Result<DownloadHandle, ClientError> {
        self.download_file_with(group, file, destination, &mut |_, _| true)
    }

    /// As [`Client::download_file`]. `progress` is called during the comparison with an existing
    /// file, and returns false to cancel.
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
        self.begin_download(group, file, (destination, false), progress)?.wait()
    }

    /// As [`Client::download_file_with`], for callers that begin several downloads and wait for
    /// them together: these share their wait for the disk. In a directory, `is_safe` has the file
    /// saved under a name that every file system takes.
    pub(crate) fn begin_download(
        &self,
        group: &str,
        file: &str,
        (destination, is_safe): (&Path, bool),
        progress: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<Beginning, ClientError> {
        let inner = &self.inner;
        let user = inner.need_user()?.user;
        let resolved = inner.resolve(group, None, Some(file))?;
        if !resolved.group.part.is_member() {
            return Err(Refusal::NotMember.into());
        }
        let entry = resolved.file.ok_or(Refusal::NoSuchFile)?;
        let absolute = std::path::absolute(destination)
            .map_err(|e| ClientError::path(destination, e.to_string()))?;
        let (destination, wanted) = (destination.to_owned(), entry.clone());
        let (target, is_there) = inner.disks.within(&absolute, move || {
            target_path(&destination, &wanted, is_safe).map(|target| {
                let there = is_there(&target);
                (target, there)
            })
        })??;
        if let Some(beginning) = inner.going_on(&entry, &target, is_there)? {
            return Ok(beginning);
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let row = new_row(user, &resolved.group, &entry, target, now.as_millis() as u64);
        inner.begin_row(row, is_there, progress)
    }

    /// The running and waiting downloads.
    pub(crate) fn running_downloads(&self) -> Vec<DownloadStatus> {
        self.inner.statuses(|download| download.is_unfinished(), |status| status)
    }

    /// Downloads in memory: those that are not complete, and those that ended in this session.
    pub(crate) fn session_downloads<T>(&self, each: impl FnMut(DownloadStatus) -> T) -> Vec<T> {
        self.inner.statuses(|_| true, each)
    }

    /// Downloads in memory that run, wait in the queue, or have ended or paused for a reason in
    /// this session.
    pub(crate) fn noted_downloads(&self) -> Vec<DownloadStatus> {
        self.inner.statuses(
            |download| download.is_unfinished() || download.ended.is_some(),
            |status| status,
        )
    }

    /// Every download of the user, in the order of requests. Does not ask a tracker.
    ///
    /// # Errors
    /// [`Refusal::LoginFirst`].
    pub fn show_downloads(&self) -> Result<Vec<DownloadStatus>, ClientError> {
        self.inner.all_statuses()
    }

    /// The download of that name. Does not ask a tracker.
    ///
    /// # Errors
    /// [`ClientError::NoSuchDownload`], [`Refusal::LoginFirst`].
    pub fn download(&self, group: &str, file: &str) -> Result<DownloadHandle, ClientError> {
        let user = self.inner.need_user()?.user;
        let view = self.inner.view();
        if let Some(download) = view.library.find(group, file) {
            return Ok(DownloadHandle::new(&self.inner, download.row.clone()));
        }
        // Complete downloads may be in the store only.
        let row = self.inner.store.complete_download(user, group, file)?;
        let row = row.ok_or_else(|| ClientError::NoSuchDownload {
            group: group.into(),
            file: file.into(),
        })?;
        Ok(DownloadHandle::new(&self.inner, Arc::new(row)))
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
}

/// A download that is being begun.
pub(crate) struct Beginning {
    handle: DownloadHandle,
    pending: Option<Pending>,
    /// A failed download of the same content whose `.part` was moved, and where it was moved to.
    moved: Option<(Arc<DownloadRow>, PathBuf)>,
    /// A failed download whose `.part` is at another place, to be removed.
    left: Option<Arc<DownloadRow>>,
    /// The `.part` that was made for it.
    made: Option<InodeId>,
}

impl Beginning {
    /// A download that continues already.
    fn going_on(handle: DownloadHandle) -> Self {
        Self { handle, pending: None, moved: None, left: None, made: None }
    }

    /// The download's row.
    pub(crate) fn row(&self) -> &DownloadRow {
        self.handle.row()
    }

    /// Waits until the store and the engine have it, or only the store if it waits for a slot.
    ///
    /// # Errors
    /// [`ClientError::Store`], [`ClientError::DownloadState`]; then the earlier state is restored.
    pub(crate) fn wait(self) -> Result<DownloadHandle, ClientError> {
        let Self { handle, pending, moved, left, made } = self;
        let Some(pending) = pending else { return Ok(handle) };
        let disks = &handle.runtime().disks;
        match pending.wait() {
            Ok(_) => {
                if let Some(left) = left {
                    let target = left.target.clone();
                    disks.run(&target, move || remove_part(&left));
                }
                Ok(handle)
            }
            Err(error) => {
                if let Some((failed, target)) = moved {
                    let old = failed.target.clone();
                    disks.run(&old, move || put_part_back(&failed, &target));
                }
                if let Some(made) = made {
                    let row = handle.row().clone();
                    let target = row.target.clone();
                    let remove = move || remove_new_part(&target, row.facts.info_hash, made);
                    disks.run(&handle.row().target, remove);
                }
                Err(error)
            }
        }
    }
}

impl Runtime {
    /// The unfinished download of this content, resumed if necessary; refused if its target is
    /// another. `None` if there is none that can continue to `target`.
    fn going_on(
        self: &Arc<Self>,
        entry: &FileEntry,
        target: &Path,
        is_there: bool,
    ) -> Result<Option<Beginning>, ClientError> {
        let view = self.view();
        let Some(download) = view.library.download(entry.facts.info_hash) else { return Ok(None) };
        let row = download.row.clone();
        match &row.progress {
            Progress::Complete | Progress::Cancelled => return Ok(None),
            // A download that failed in a group which the user has left cannot continue there.
            Progress::Failed(_) if row.target != target || row.group != entry.group || is_there => {
                return Ok(None);
            }
            _ if row.target != target => return Err(taken(&row)),
            Progress::Running => {}
            Progress::Paused(_) | Progress::Failed(_) => {
                DownloadHandle::new(self, row.clone()).resume()?;
            }
        }
        Ok(Some(Beginning::going_on(DownloadHandle::new(self, row))))
    }

    /// Begins a download. It replaces one of the same content that is complete or has failed, and
    /// continues from a failed one's data. An existing file is compared: if it has the content, it
    /// becomes a share; any other file is left alone.
    pub(crate) fn begin_row(
        self: &Arc<Self>,
        row: DownloadRow,
        is_there: bool,
        progress: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<Beginning, ClientError> {
        let info_hash = row.facts.info_hash;
        // Complete downloads may be in the store only.
        let before = match self.view().library.download(info_hash) {
            Some(_) => None,
            None => self.store.download(row.user, info_hash)?,
        };
        let claimed = self.ask(Command::Claim(Box::new(row.clone())))?;
        let (failed, other_version) = match claimed {
            Answer::Claimed { failed, other_version } => (failed, other_version),
            Answer::Running(row) => {
                return Ok(Beginning::going_on(DownloadHandle::new(self, row)));
            }
            Answer::Done | Answer::Ticket(_) => return Err(ClientError::Stopping),
        };
        let replaced = Replaced { before, failed, other_version };
        let begun = self.begin_claimed(row, is_there, replaced, progress);
        if begun.is_err() {
            self.ask(Command::Unclaim(info_hash))?;
        }
        begun
    }

    fn begin_claimed(
        self: &Arc<Self>,
        row: DownloadRow,
        is_there: bool,
        replaced: Replaced,
        progress: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<Beginning, ClientError> {
        let Replaced { before, failed, other_version } = replaced;
        let info_hash = row.facts.info_hash;
        // A failed download of another version to the same path is cancelled, and its data removed.
        if let Some(other) = other_version {
            self.ask(Command::Cancel(other))?;
        }
        let stale = self.stale_shares(info_hash)?;
        if is_there {
            let seed = compare(&row, progress)?;
            let handle = DownloadHandle::new(self, Arc::new(row.clone()));
            let pending = self.ask_soon(Command::Adopt(Box::new(row), Box::new(seed), stale));
            return Ok(Beginning { pending: Some(pending), ..Beginning::going_on(handle) });
        }
        let (target, wanted) = (row.target.clone(), row.clone());
        let taken_from = target.clone();
        // One that waits has no `.part` yet.
        let begins_now = self.view().library.queue.has_free_slot();
        let take = move || take_part(&wanted, failed, begins_now);
        let put_back = move |late: Result<PartOf, ClientError>| {
            let Ok(PartOf { source, made, .. }) = late else { return };
            if let Some(failed) = source {
                put_part_back(&failed, &taken_from);
            }
            if let Some(made) = made {
                remove_new_part(&taken_from, info_hash, made);
            }
        };
        let part = self.disks.within_or(&target, take, put_back)??;
        let mut row = row;
        if let Some(source) = &part.source {
            (row.verified, row.part) = (journal_for(&row.facts, source), source.part);
        } else {
            row.part = part.made.map(OwnPart::File);
        }
        let moved = part.source.clone().filter(|source| source.target != row.target);
        let moved = moved.map(|source| (source, row.target.clone()));
        let handle = DownloadHandle::new(self, Arc::new(row.clone()));
        let pending = Some(self.ask_soon(Command::Begin(Box::new(Begin { row, before, stale }))));
        Ok(Beginning { handle, pending, moved, left: part.left, made: part.made })
    }

    /// Groups in which this content is offered although the file is gone or has changed.
    fn stale_shares(&self, info_hash: InfoHash) -> Result<StaleShares, ClientError> {
        let view = self.view();
        let offered: Vec<Arc<ShareRow>> = view
            .library
            .shares_of(info_hash)
            .filter(|share| share.offered)
            .map(|share| share.row.clone())
            .collect();
        let mut stale = Vec::new();
        for row in offered {
            let (path, group) = (row.path.clone(), row.group);
            // If its disk does not answer, it cannot be offered either.
            let is_intact = self.disks.within(&path, move || is_intact(&row)).unwrap_or(false);
            if !is_intact {
                stale.push(group);
            }
        }
        Ok(stale)
    }
}

/// The journal of a failed download, for one that goes on from its data: what was verified by other
/// facts is hashed again.
fn journal_for(facts: &FileFacts, source: &DownloadRow) -> Option<VerifiedPieces> {
    let is_verified = (source.facts.sha1, source.facts.chain) == (facts.sha1, facts.chain);
    let verified = source.verified.as_ref()?;
    let count = verified.pieces.count();
    Some(if is_verified { verified.clone() } else { VerifiedPieces::none(count) })
}

/// The downloads that a new one replaces.
struct Replaced {
    /// A complete download of the content that is in the store only.
    before: Option<DownloadRow>,
    /// A failed download of the content.
    failed: Option<Arc<DownloadRow>>,
    /// A failed download of another version to the same path.
    other_version: Option<InfoHash>,
}

/// The data that a new download continues from.
struct PartOf {
    /// A failed download whose `.part` is at the new one's place now.
    source: Option<Arc<DownloadRow>>,
    /// A failed download whose `.part` stays elsewhere.
    left: Option<Arc<DownloadRow>>,
    /// The `.part` that was made for the new one.
    made: Option<InodeId>,
}

/// Checks a new download's target path, and moves a failed one's `.part` there. If there is none
/// and the new one `begins_now`, makes its `.part`: its first row says which file that is.
fn take_part(
    row: &DownloadRow,
    failed: Option<Arc<DownloadRow>>,
    begins_now: bool,
) -> Result<PartOf, ClientError> {
    let is_in_place =
        failed.as_ref().is_some_and(|failed| failed.target == row.target && has_part(failed));
    if !is_in_place {
        check_place(&row.target, row.facts.info_hash)?;
    }
    let Some(failed) = failed else {
        let made = begins_now.then(|| make_part(&row.target, row.facts.info_hash)).flatten();
        return Ok(PartOf { source: None, left: None, made });
    };
    if is_in_place || move_part(&failed, &row.target) {
        let now = DownloadRow { target: row.target.clone(), ..(*failed).clone() };
        if let Some(reason) = missing(&now) {
            return Err(state(&format!("{reason} cancel_download gives it up")));
        }
        return Ok(PartOf { source: Some(failed), left: None, made: None });
    }
    let is_elsewhere = failed.target != row.target;
    Ok(PartOf { source: None, left: is_elsewhere.then_some(failed), made: None })
}

/// Moves a failed download's `.part` back to its own place.
fn put_part_back(failed: &DownloadRow, from: &Path) {
    if failed.target != from {
        let moved = DownloadRow { target: from.to_owned(), ..failed.clone() };
        move_part(&moved, &failed.target);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Progress;
    use crate::types::{ChainHash, GroupId, InfoHash, PieceIndex, Sha1Digest, UserId};

    #[test]
    fn a_journal_counts_for_the_same_facts_only() {
        let geometry = crate::types::Geometry::for_file(2 << 20).unwrap();
        let facts = FileFacts {
            info_hash: InfoHash::from_bytes([1; 20]),
            name: "big".parse().unwrap(),
            len: geometry.len(),
            piece_len: geometry.piece_len(),
            sha1: Sha1Digest::from_bytes([2; 20]),
            chain: None,
        };
        let first: PieceIndex = geometry.index(0).unwrap();
        let mut verified = VerifiedPieces::none(4);
        verified.pieces.insert(first);
        let source = DownloadRow {
            user: UserId::from_bytes([1; 16]),
            group: GroupId::from_bytes([2; 16]),
            group_label: "lab".parse().unwrap(),
            label: "big".parse().unwrap(),
            facts: facts.clone(),
            target: "/big".into(),
            progress: Progress::Running,
            verified: Some(verified.clone()),
            part: None,
            begun_ms: 0,
        };
        assert_eq!(journal_for(&facts, &source), Some(verified));
        let listed = FileFacts { chain: Some(ChainHash::from_bytes([3; 20])), ..facts.clone() };
        let other = FileFacts { sha1: Sha1Digest::from_bytes([4; 20]), ..facts.clone() };
        for facts in [listed, other] {
            assert_eq!(journal_for(&facts, &source), Some(VerifiedPieces::none(4)));
        }
        let unknown = DownloadRow { verified: None, ..source };
        assert_eq!(journal_for(&facts, &unknown), None);
    }
}
