//! What the engine asks of the client, for the user of one session.
//!
//! **Invariant:** nobody is given a file but devices that show a good ticket of a group in which
//! this device takes part in its swarm, and that have not left that swarm themselves.

use std::path::Path;
use std::sync::{Arc, Weak};

use log::debug;

use super::ClientEvent;
use super::background::Errand;
use super::begin::is_intact;
use super::core::Inner;
use super::trackers::uptime;
use crate::store::{DownloadRow, OwnPart, Progress, ShareRow, ShareState};
use crate::swarm::{EngineEvent, Host, LocalCopy, Proof, SeedSpec};
use crate::types::{Bitfield, DeviceId, FileFacts, GroupId, InfoHash, InodeId, Ticket, UserId};
use crate::wire::metainfo::Metainfo;

/// The host of one session's engine.
pub(crate) struct SessionHost {
    inner: Weak<Inner>,
    user: UserId,
}

impl SessionHost {
    pub(crate) fn new(inner: &Arc<Inner>, user: UserId) -> Self {
        Self { inner: Arc::downgrade(inner), user }
    }
}

impl Host for SessionHost {
    fn ticket_for(&self, info_hash: InfoHash, device: DeviceId) -> Option<Ticket> {
        let inner = self.inner.upgrade()?;
        let (mut groups, mut sources): (Vec<GroupId>, Vec<GroupId>) = {
            let library = inner.library.lock();
            (library.groups_of(info_hash), library.sources_of(info_hash).collect())
        };
        {
            let book = inner.book.lock();
            groups.retain(|group| book.takes_part(info_hash, device, *group));
            sources.retain(|group| book.takes_part(info_hash, device, *group));
        }
        // Whoever is met in a group where both give and take is not linked through one where we
        // only take.
        let groups = if groups.is_empty() { sources } else { groups };
        // Of several any will do: rather one that is at hand.
        let now_ms = inner.trackers.clock_ms();
        let at_hand = {
            let tickets = inner.tickets.lock();
            groups.iter().find_map(|group| tickets.own(*group, now_ms))
        };
        at_hand.or_else(|| groups.into_iter().find_map(|group| inner.own_ticket(group)))
    }

    fn own_ticket(&self, group: GroupId) -> Option<Ticket> {
        self.inner.upgrade()?.own_ticket(group)
    }

    fn check_ticket(&self, ticket: &Ticket, device: DeviceId) -> Option<Proof> {
        let inner = self.inner.upgrade()?;
        // While the session is being ended nobody is let in.
        inner.library.lock().user().filter(|user| user.user == self.user)?;
        let (keys, now_ms) = (inner.network.keys(), inner.trackers.clock_ms());
        inner.tickets.lock().check(ticket, device, &keys, now_ms)
    }

    fn is_offered(&self, info_hash: InfoHash, group: GroupId, device: DeviceId) -> bool {
        let Some(inner) = self.inner.upgrade() else { return false };
        let has_left = inner.withdrawn.lock().has_left(&(info_hash, device, group), uptime());
        !has_left && inner.library.lock().is_offered(info_hash, group)
    }

    fn serves(&self, info_hash: InfoHash, group: GroupId) -> bool {
        self.inner.upgrade().is_some_and(|inner| inner.library.lock().serves(info_hash, group))
    }

    fn opened(&self, info_hash: InfoHash, target: &Path, part: InodeId) {
        let Some(inner) = self.inner.upgrade() else { return };
        {
            let mut library = inner.library.lock();
            let Some(row) = library.download(info_hash).map(|download| &mut download.row) else {
                return;
            };
            let own = Some(OwnPart::File(part));
            // Another of this content may have taken its place.
            if row.target != target || std::mem::replace(&mut row.part, own) == own {
                return;
            }
        }
        let stored = inner.store.set_part(self.user, info_hash, part);
        inner.note_store_error(stored);
    }

    fn copies(&self, facts: &FileFacts) -> Vec<LocalCopy> {
        let Some(inner) = self.inner.upgrade() else { return Vec::new() };
        let library = inner.library.lock();
        let ours = library.user().is_some_and(|user| user.user == self.user);
        if ours { library.copies_of(facts) } else { Vec::new() }
    }

    fn journal(&self, info_hash: InfoHash, verified: &Bitfield) {
        let Some(inner) = self.inner.upgrade() else { return };
        let stored = inner.store.journal(self.user, info_hash, verified);
        inner.note_store_error(stored);
        if let Some(download) = inner.library.lock().download(info_hash) {
            download.row.verified = Some(verified.clone());
        }
    }

    fn metainfo(&self, _info_hash: InfoHash, metainfo: &Arc<Metainfo>) {
        let Some(inner) = self.inner.upgrade() else { return };
        // After a crash the pieces that no journal vouches for are checked with it. Of a file of
        // one piece there is none to check: it is durable with whatever is written next.
        let stored = match metainfo.geometry().piece_count() {
            0 | 1 => inner.store.put_metainfo_soon(metainfo),
            _ => inner.store.put_metainfo(metainfo),
        };
        inner.note_store_error(stored);
    }

    fn event(&self, event: EngineEvent) {
        let Some(inner) = self.inner.upgrade() else { return };
        match event {
            EngineEvent::Started { info_hash } => debug!("{info_hash}: download under way"),
            EngineEvent::Completed { info_hash, seed } => {
                inner.completed(self.user, info_hash, &seed)
            }
            EngineEvent::Failed { info_hash, reason } => {
                inner.halted(self.user, info_hash, Progress::Failed(reason))
            }
            EngineEvent::Paused { info_hash, reason } => {
                inner.halted(self.user, info_hash, Progress::Paused(Some(reason)))
            }
            EngineEvent::FileChanged { info_hash, path } => inner.file_changed(info_hash, &path),
        }
    }
}

impl Inner {
    /// A download is complete: it becomes a share, first here, then in the directory.
    fn completed(&self, user: UserId, info_hash: InfoHash, seed: &SeedSpec) {
        let row = {
            let mut library = self.library.lock();
            let Some(download) = library.download(info_hash) else { return };
            download.row.progress = Progress::Complete;
            download.row.clone()
        };
        self.left_queue(info_hash);
        self.leave_sources(info_hash);
        let share = self.share_of(&row, seed);
        let stored = self.store.complete(user, &seed.metainfo, share.as_ref());
        self.note_store_error(stored);
        if let Some(share) = share {
            self.library.lock().put_share(share, true);
        }
        self.share_later(row.group, info_hash);
    }

    /// Notes that a file which came from the group is offered; one that is offered from elsewhere
    /// already stays so.
    pub(crate) fn keep_share(&self, row: &DownloadRow, seed: &SeedSpec) {
        let Some(share) = self.share_of(row, seed) else { return };
        let stored = self.store.put_share(&share);
        self.note_store_error(stored);
        self.library.lock().put_share(share, true);
    }

    /// The share that a file which came from the group becomes; none if it is offered from
    /// elsewhere already. Announced as seeding once the directory knows; until then as what it was.
    fn share_of(&self, row: &DownloadRow, seed: &SeedSpec) -> Option<ShareRow> {
        let info_hash = row.facts.info_hash;
        let before = self
            .library
            .lock()
            .share(row.group, info_hash)
            .filter(|share| share.offered)
            .map(|share| share.row.clone());
        if before.is_some_and(|before| is_intact(&before)) {
            return None;
        }
        Some(ShareRow {
            user: row.user,
            group: row.group,
            group_label: row.group_label.clone(),
            label: row.label.clone(),
            facts: row.facts.clone(),
            path: seed.path.clone(),
            stamp: seed.stamp,
            state: ShareState::Pending,
        })
    }

    /// Has the directory told of a file that is here now; then the download counts as complete.
    pub(crate) fn share_later(&self, group: GroupId, info_hash: InfoHash) {
        if !self.send_errand(Errand::Share(group, info_hash)) {
            self.settle(info_hash);
        }
    }

    /// A download has stopped by itself.
    fn halted(&self, user: UserId, info_hash: InfoHash, progress: Progress) {
        let group = {
            let mut library = self.library.lock();
            let Some(download) = library.download(info_hash) else { return };
            if matches!(download.row.progress, Progress::Complete) {
                return;
            }
            download.row.progress = progress.clone();
            // Should it have been set going again before this was heard.
            download.steer();
            download.row.group
        };
        self.free_slot(info_hash);
        let stored = self.store.set_progress(user, info_hash, &progress);
        self.note_store_error(stored);
        self.announce([(group, info_hash)]);
        self.tell_end(info_hash);
    }

    /// A shared file is not what it was: it is offered no more, in any group.
    fn file_changed(&self, info_hash: InfoHash, path: &std::path::Path) {
        let withdrawn: Vec<ShareRow> = {
            let mut library = self.library.lock();
            let shares = library
                .shares
                .values_mut()
                .filter(|share| share.row.facts.info_hash == info_hash && share.offered);
            shares
                .map(|share| {
                    share.offered = false;
                    share.row.clone()
                })
                .collect()
        };
        self.announce(withdrawn.iter().map(|row| (row.group, info_hash)));
        for row in withdrawn {
            self.bus.tell(&ClientEvent::ShareNotOffered {
                group: row.group_label,
                group_id: row.group,
                file: row.label,
                id: info_hash,
                path: path.to_owned(),
                reason: "it is not the file that was shared any more; upload it again to share it as it is now".into(),
            });
        }
    }
}
