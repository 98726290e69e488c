//! Shares: their acceptance by the directory, their end, and versions of a file.
//!
//! **Invariant:** a file that its group no longer has is not offered there, and a download of it
//! that no source can complete has failed with the reason. The user is told once, and not of this
//! device's own actions.

use std::path::Path;
use std::sync::Arc;

use super::input::{Answer, Effect, Ends, Now, Order, ReplyTo, Told};
use super::news::RemovedFile;
use super::{Answered, Session};
use crate::client::event::ClientEvent;
use crate::store::{Progress, ShareRow, ShareState};
use crate::types::{FileFacts, FileId, GroupId, InfoHash, Refusal};

/// Why a file is not offered.
pub(crate) const FILE_GONE: &str = "the file is not there now (is its disk mounted?); it is \
                                    offered again when it is back";
pub(crate) const FILE_CHANGED: &str =
    "it has changed since it was shared; upload it again to share it as it is now";

/// Maximum number of this device's removals that are kept; beyond it the user is told of some.
const OWN_REMOVALS_MAX: usize = 4_096;

impl Session {
    /// Writes a share to the store, before the directory is asked.
    pub(super) fn put_share(&mut self, row: &ShareRow) -> Answered {
        if self.need_user()?.user != row.user {
            return Err(Refusal::LoginFirst.into());
        }
        let before = self.library.share(row.group, row.facts.info_hash);
        let is_offered = before.is_some_and(|share| share.offered);
        self.library.put_share(row.clone(), is_offered);
        Ok(Some(Answer::Done))
    }

    /// The directory has accepted a share of the user: it is offered. The command does not wait for
    /// the store: a share that is pending at the next start is reported again.
    pub(super) fn share_taken(&mut self, reply: ReplyTo, row: &ShareRow, now: Now) -> Answered {
        let user = self.need_user()?.user;
        if user == row.user {
            let (group, info_hash) = (row.group, row.facts.info_hash);
            self.library.note_listed(row.clone(), true);
            self.reports.forget_bad_data((group, info_hash));
            // The engine may still serve another path.
            self.emit(Effect::Engine(Order::Reseed(info_hash)));
            self.announce([(group, info_hash)], now);
        }
        self.out.push_back(Effect::Reply(reply, Ok(Answer::Done)));
        Ok(None)
    }

    /// The directory has refused a share, or has not answered. In the second case it may have
    /// accepted it: the share is kept as stopped, and sharing it again costs nothing.
    pub(super) fn share_not_taken(
        &mut self,
        row: &ShareRow,
        before: Option<&ShareRow>,
        is_refused: bool,
    ) -> Answered {
        if self.library.owner != Some(row.user) {
            // Another session has begun. The directory is asked again at this user's next login.
            return Ok(Some(Answer::Done));
        }
        let (group, info_hash) = (row.group, row.facts.info_hash);
        let offered = self.library.share(group, info_hash).is_some_and(|share| share.offered);
        match before {
            Some(before) => self.library.put_share(before.clone(), offered),
            None if is_refused => self.library.remove_share(group, info_hash),
            None => self
                .library
                .put_share(ShareRow { state: ShareState::Stopped, ..row.clone() }, false),
        }
        Ok(Some(Answer::Done))
    }

    /// The directory's answer to the share of a completed download.
    pub(super) fn share_told(&mut self, row: &Arc<ShareRow>, told: Told, now: Now) {
        let key = (row.group, row.facts.info_hash);
        self.sharing.under_way.remove(&key);
        match told {
            Told::Taken => {
                // It may have been stopped meanwhile, or another file may have replaced it, in
                // which case the tracker reports that next.
                let share = self.library.share(key.0, key.1).filter(|share| share.row == *row);
                if let Some(offered) = share.map(|share| share.offered) {
                    self.library.note_listed((**row).clone(), offered);
                    self.announce([key], now);
                }
                self.settle(key.1);
            }
            Told::Refused(reason) => {
                log::info!("{} is not shared in {}: {reason}", row.label, row.group_label);
                self.settle(key.1);
                self.stop_offering(key.0, key.1, now);
            }
            Told::Nothing(reason) => {
                log::warn!("{} is shared as soon as a tracker answers: {reason}", row.label);
                self.settle(key.1);
            }
        }
    }

    /// A tracker has reconnected: the pending shares are reported to it.
    pub(super) fn share_pending(&mut self) {
        let pending = self
            .library
            .shares
            .iter()
            .filter(|(_, share)| share.offered && share.row.state == ShareState::Pending)
            .map(|(key, _)| *key)
            .filter(|key| !self.sharing.under_way.contains(key));
        self.sharing.due.extend(pending);
    }

    /// Keeps a share in the store, but no longer offers it.
    pub(super) fn stop_offering(&mut self, group: GroupId, info_hash: InfoHash, now: Now) {
        self.library.set_offered(group, info_hash, false);
        self.library.change_share((group, info_hash), |row| row.state = ShareState::Stopped);
        self.withdraw(group, [info_hash], now);
    }

    /// Ends this device's part in files' swarms in one group. Its parts in other groups stay.
    pub(super) fn withdraw(
        &mut self,
        group: GroupId,
        files: impl IntoIterator<Item = InfoHash>,
        now: Now,
    ) {
        let files: Vec<InfoHash> = files.into_iter().collect();
        if files.is_empty() {
            return;
        }
        let swarms = files.iter().map(|info_hash| (group, *info_hash)).collect();
        self.emit(Effect::Engine(Order::EndLinks(Ends::Swarms(swarms))));
        for info_hash in &files {
            if !self.library.is_offered_anywhere(*info_hash) {
                self.emit(Effect::Engine(Order::Unseed(*info_hash)));
            }
        }
        self.announce(files.into_iter().map(|info_hash| (group, info_hash)), now);
    }

    /// A shared file has changed or is gone: it is no longer offered, in any group.
    pub(super) fn file_changed(
        &mut self,
        info_hash: InfoHash,
        path: &Path,
        is_gone: bool,
        now: Now,
    ) {
        let rows: Vec<Arc<ShareRow>> = self
            .library
            .shares_of(info_hash)
            .filter(|share| share.offered && share.row.path == path)
            .map(|share| share.row.clone())
            .collect();
        let reason = if is_gone { FILE_GONE } else { FILE_CHANGED };
        for row in rows {
            self.share_is_away(&row, reason.to_owned(), now);
        }
    }

    /// This device is about to remove a file, or to stop sharing it: another tracker may report
    /// that first.
    pub(super) fn expect_removal(&mut self, group: GroupId, info_hash: InfoHash, file: FileId) {
        if self.known.removals.len() >= OWN_REMOVALS_MAX {
            self.known.removals.clear();
        }
        self.known.removals.insert((group, info_hash), file);
    }

    /// The user stopped sharing a file from another device. Every tracker reports it.
    pub(super) fn share_stopped(&mut self, group: GroupId, info_hash: InfoHash, now: Now) {
        let row = self
            .library
            .share(group, info_hash)
            .filter(|share| share.offered)
            .map(|share| share.row.clone());
        if self.library.share(group, info_hash).is_some() {
            self.stop_offering(group, info_hash, now);
        }
        let is_own = self.known.removals.contains_key(&(group, info_hash));
        if let Some(row) = row.filter(|_| !is_own) {
            self.tell_not_offered(
                &row,
                "you stopped sharing it on another device; upload it again to share it from here"
                    .into(),
            );
        }
    }

    /// A tracker reports that a group no longer has a file. Every tracker does.
    pub(super) fn file_removed(&mut self, removed: &RemovedFile, now: Now) {
        let RemovedFile { group, file, info_hash, label, replaced_by } = removed;
        let reason = match replaced_by {
            Some(newer) => {
                let name = self.library.group_label(*group).map(|label| label.to_string());
                let name = name.unwrap_or_else(|| format!("group {:.8}", group.to_string()));
                let words = shell_words::join(["download_file", &name, newer.as_str()]);
                format!("a newer version has taken its place; `{words}` fetches that")
            }
            None => "it was removed from the group".to_owned(),
        };
        // The same content with other facts is another file.
        let is_it = |row: &ShareRow| row.state != ShareState::Stopped && row.facts.id() == *file;
        let share = self
            .library
            .share(*group, *info_hash)
            .filter(|share| is_it(&share.row))
            .map(|share| (share.row.clone(), share.offered));
        if let Some((row, was_offered)) = share {
            self.stop_offering(*group, *info_hash, now);
            if was_offered && self.known.removals.get(&(*group, *info_hash)) != Some(file) {
                self.emit(Effect::Tell(ClientEvent::ShareNotOffered {
                    group: row.group_label.clone(),
                    group_id: *group,
                    file: label.clone(),
                    id: *info_hash,
                    path: row.path.clone(),
                    reason: reason.clone(),
                }));
            }
        }
        self.end_download_of(*group, *file, *info_hash, &reason, now);
    }

    /// Stops offering a version that this device has removed or replaced.
    pub(super) fn end_version(&mut self, group: GroupId, facts: &FileFacts, now: Now) {
        let share = self.library.share(group, facts.info_hash);
        if share.is_some_and(|share| share.row.facts == *facts) {
            self.stop_offering(group, facts.info_hash, now);
        }
    }

    /// A group no longer has a file: its download fails, unless it has another group as a source.
    pub(super) fn end_download_of(
        &mut self,
        group: GroupId,
        file: FileId,
        info_hash: InfoHash,
        reason: &str,
        now: Now,
    ) {
        if self.library.sources.of(info_hash).next().is_some() {
            return;
        }
        let Some(download) = self.library.download(info_hash) else { return };
        let is_unfinished =
            matches!(download.row.progress, Progress::Running | Progress::Paused(_));
        if download.row.group == group && download.row.facts.id() == file && is_unfinished {
            self.halt(info_hash, Progress::Failed(reason.to_owned()), now);
            self.withdraw(group, [info_hash], now);
        }
    }
}
