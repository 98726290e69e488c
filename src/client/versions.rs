//! Versions of a file in a group: one takes the place of another, or a file is removed.
//!
//! **Invariant:** a file that its group has no more is not offered there, and a download of it that
//! nothing can complete has failed with the reason. The user is told of it once, and not of what
//! this device did.

use std::collections::HashMap;

use super::core::Inner;
use super::groups::is_member;
use super::trackers::{Need, RemovedFile};
use super::{Client, ClientError, ClientEvent};
use crate::store::{DownloadRow, Progress, ShareRow, ShareState};
use crate::types::{FileFacts, FileId, GroupId, InfoHash, Label, Refusal};
use crate::wire::tracker::{Reply, Request};

/// Removals of this device that are remembered; beyond it the user is told of some.
const OWN_REMOVALS_MAX: usize = 4_096;

/// Files that this device has removed from groups, replaced there, or stopped sharing, in this
/// session. Noted before the request: a tracker that was not asked may tell of the change first.
#[derive(Debug, Default)]
pub(crate) struct OwnRemovals(HashMap<(GroupId, InfoHash), FileId>);

impl OwnRemovals {
    /// This device is about to remove a file, or to stop sharing it.
    pub(crate) fn note(&mut self, group: GroupId, facts: &FileFacts) {
        if self.0.len() >= OWN_REMOVALS_MAX {
            self.0.clear();
        }
        self.0.insert((group, facts.info_hash), facts.id());
    }

    /// The file is offered again, or was not removed.
    pub(crate) fn forget(&mut self, group: GroupId, info_hash: InfoHash) {
        self.0.remove(&(group, info_hash));
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Tells whether the end of the file's share is this device's doing.
    pub(crate) fn has(&self, group: GroupId, info_hash: InfoHash) -> bool {
        self.0.contains_key(&(group, info_hash))
    }

    fn get(&self, group: GroupId, info_hash: InfoHash) -> Option<FileId> {
        self.0.get(&(group, info_hash)).copied()
    }
}

impl Client {
    /// Removes a file from a group: all offers of it end, whoever made them. Its first sharer or
    /// the group's owner may. Nothing on any disk is removed.
    ///
    /// # Errors
    /// [`Refusal::NoSuchFile`], [`Refusal::NotMember`], [`Refusal::NotSharer`].
    pub fn remove_file(&self, group: &str, file: &str) -> Result<(), ClientError> {
        let inner = &self.inner;
        let resolved = inner.resolve(group, None, Some(file))?;
        if !is_member(resolved.group.part) {
            return Err(Refusal::NotMember.into());
        }
        let (group, facts) =
            (resolved.group.group, resolved.file.ok_or(Refusal::NoSuchFile)?.facts);
        let (request, file) = (inner.trackers.request_stamp(), facts.id());
        inner.own_removals.lock().note(group, &facts);
        if let Err(error) = self.done(&Request::RemoveFile { request, group, file }, Need::Session)
        {
            inner.own_removals.lock().forget(group, facts.info_hash);
            return Err(error);
        }
        inner.end_version(group, &facts);
        inner.end_downloads_of(group, facts.id(), facts.info_hash, "it was removed from the group");
        Ok(())
    }
}

impl Inner {
    /// A tracker tells that a group has a file no more. Every tracker does.
    pub(crate) fn file_removed(&self, removed: &RemovedFile) {
        let RemovedFile { group, file, info_hash, label, replaced_by } = removed;
        let reason = match replaced_by {
            Some(newer) => {
                let known = self.library.lock().group_label(*group).map(|label| label.to_string());
                let name = known.unwrap_or_else(|| self.group_name(*group));
                let words = shell_words::join(["download_file", &name, newer.as_str()]);
                format!("a newer version has taken its place; `{words}` fetches that")
            }
            None => "it was removed from the group".to_owned(),
        };
        let own = self.own_removals.lock().get(*group, *info_hash);
        let share = self
            .library
            .lock()
            .share(*group, *info_hash)
            .map(|share| (share.row.clone(), share.offered));
        // The same content may be there under other facts: that is another file.
        let is_it = |row: &ShareRow| row.state != ShareState::Stopped && row.facts.id() == *file;
        if let Some((row, was_offered)) = share.filter(|(row, _)| is_it(row)) {
            self.stop_offering(*group, *info_hash);
            if was_offered && own != Some(*file) {
                self.bus.tell(&ClientEvent::ShareNotOffered {
                    group: row.group_label,
                    group_id: *group,
                    file: label.clone(),
                    id: *info_hash,
                    path: row.path,
                    reason: reason.clone(),
                });
            }
        }
        self.end_downloads_of(*group, *file, *info_hash, &reason);
    }

    /// Offers a version no more which this device has removed or replaced.
    pub(crate) fn end_version(&self, group: GroupId, facts: &FileFacts) {
        let is_known = {
            let mut library = self.library.lock();
            library.share(group, facts.info_hash).is_some_and(|share| share.row.facts == *facts)
        };
        if is_known {
            self.stop_offering(group, facts.info_hash);
        }
    }

    /// A group has a file no more: its download fails, unless it goes on from another group.
    fn end_downloads_of(&self, group: GroupId, file: FileId, info_hash: InfoHash, reason: &str) {
        let ended = {
            let mut library = self.library.lock();
            let has_other_source = library.sources.of(info_hash).next().is_some();
            let user = library.user().map(|user| user.user);
            let is_it = |row: &DownloadRow| row.group == group && row.facts.id() == file;
            let download = library
                .download(info_hash)
                .filter(|download| is_it(&download.row) && !has_other_source);
            let unfinished = download
                .filter(|d| matches!(d.row.progress, Progress::Running | Progress::Paused(_)));
            user.zip(unfinished).map(|(user, download)| {
                download.row.progress = Progress::Failed(reason.to_owned());
                download.steer();
                (user, download.row.progress.clone())
            })
        };
        let Some((user, progress)) = ended else { return };
        self.free_slot(info_hash);
        let stored = self.store.set_progress(user, info_hash, &progress);
        self.note_store_error(stored);
        self.withdraw(group, info_hash);
        self.tell_end(info_hash);
    }

    /// A failed download of another version of the file to the same place makes room for this one,
    /// with what it has fetched.
    pub(crate) fn drop_other_version(
        self: &std::sync::Arc<Self>,
        row: &DownloadRow,
    ) -> Result<(), ClientError> {
        let other = {
            let library = self.library.lock();
            let is_other = |of: &&DownloadRow| {
                let same_name = of.group == row.group
                    && of.facts.name == row.facts.name
                    && of.target == row.target;
                same_name
                    && of.facts.info_hash != row.facts.info_hash
                    && matches!(of.progress, Progress::Failed(_))
            };
            library.downloads.at(&row.target).map(|download| &download.row).find(is_other).cloned()
        };
        other.map_or(Ok(()), |other| self.handle(&other).cancel())
    }

    /// Asks how the directory lists a file that was just shared: it has to be what was sent.
    /// Returns the name under which it is shown.
    pub(crate) fn listed_as_sent(
        &self,
        group: GroupId,
        facts: &FileFacts,
    ) -> Result<Option<Label>, ClientError> {
        match self.trackers.call(&Request::FindFile { group, file: facts.id() }, Need::Session) {
            Ok(Reply::File(entry)) if entry.group == group && entry.facts == *facts => {
                Ok(Some(entry.label))
            }
            Ok(_) => Err(ClientError::ListedOtherwise(facts.name.clone())),
            Err(error) => {
                // The change is acknowledged, and that holds; the tracker that was asked now may
                // not have heard of it.
                log::debug!(
                    "{} is shared, and no tracker tells how it is listed: {error}",
                    facts.name
                );
                Ok(None)
            }
        }
    }

    /// Another file has the name: the error says who may replace it.
    pub(crate) fn name_taken(&self, group: &str) -> ClientError {
        match self.group(group) {
            Ok(entry) => ClientError::FileNameTaken { owner: entry.owner },
            Err(_) => Refusal::FileNameTaken.into(),
        }
    }
}
