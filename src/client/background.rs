//! The client's two background threads: news from trackers, and errands to them.
//!
//! **Invariant:** the news thread never calls a tracker; the errands thread may, and nobody waits
//! for it while holding a lock.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, at, never, select, tick};
use log::{info, warn};

use super::ClientEvent;
use super::core::{Ended, Inner};
use super::network::{FirstMet, KeyChange};
use super::peers::PeerChange;
use super::trackers::{ClocksDiffer, Need, News, uptime};
use super::withdrawn::Part;
use crate::net::Stop;
use crate::store::{Progress, ShareRow, ShareState};
use crate::types::{DownloadState, GroupId, InfoHash, PeerEntry, Refusal};
use crate::wire::tracker::Request;

/// Time that a tracker which is back has to tell of everybody again: their clients come back to it
/// within some 10 s.
const EXPIRE_AFTER: Duration = Duration::from_secs(60);

/// Something that needs a tracker and nobody waits for.
#[derive(Debug)]
pub(crate) enum Errand {
    /// Tells the directory of a share that is pending: a completed download, or one that a crash
    /// interrupted.
    Share(GroupId, InfoHash),
    /// The directory has been told of this share: the store need not call it pending any more.
    Noted(Box<ShareRow>),
    /// Tickets may be due: wakes the thread, which looks after each errand.
    LookAfterTickets,
    /// The session is over, as its token is void: wakes the thread, which looks after each errand.
    EndSession,
}

/// Something to be done about a share in a group.
#[derive(Debug)]
pub(crate) enum ShareErrand {
    /// The directory is to be told of what is offered there then.
    Tell(GroupId, InfoHash),
    /// It has been told of this.
    Noted(Box<ShareRow>),
}

/// The way to the threads that do errands.
#[derive(Debug)]
pub(crate) struct Errands {
    pub(crate) errands: Sender<Errand>,
    pub(crate) shares: Sender<ShareErrand>,
}

impl Errands {
    /// Queues an errand; false if there is no room.
    pub(crate) fn send(&self, errand: Errand) -> bool {
        match errand {
            Errand::Share(group, info_hash) => {
                self.shares.try_send(ShareErrand::Tell(group, info_hash)).is_ok()
            }
            Errand::Noted(row) => self.shares.try_send(ShareErrand::Noted(row)).is_ok(),
            other => self.errands.try_send(other).is_ok(),
        }
    }
}

/// Tells whether a refusal is not the directory's word on what was asked: the same request may be
/// carried out later.
fn is_passing(refusal: Refusal) -> bool {
    let for_now = matches!(
        refusal,
        Refusal::LoginFirst
            | Refusal::SessionOver
            | Refusal::Busy
            | Refusal::TooMany
            | Refusal::Overtaken { .. }
    );
    for_now
        || matches!(
            refusal,
            Refusal::WrongTime { .. }
                | Refusal::MustChangePassword
                | Refusal::NetworkFull
                | Refusal::Quota(_)
        )
}

/// How often links are looked at for tickets that have expired while the machine slept.
const EXPIRED_EVERY: Duration = Duration::from_secs(15);

/// News looked at together: what ends links is gathered, as each end of links looks at every link.
const BATCH_LEN: usize = 1024;

/// Takes what trackers tell until they are stopped. Runs on the thread "news".
pub(crate) fn take_news(inner: &Weak<Inner>, news: &Receiver<News>, stop: &Stop) {
    // Trackers that are back, and when what they said before expires.
    let mut back: HashMap<usize, Instant> = HashMap::new();
    let expired = tick(EXPIRED_EVERY);
    loop {
        let due = back.iter().min_by_key(|(_, due)| **due).map(|(tracker, due)| (*tracker, *due));
        let item = select! {
            recv(news) -> item => item.map(Some),
            recv(due.map_or_else(never, |(_, due)| at(due))) -> _ => Ok(None),
            recv(expired) -> _ => {
                let Some(inner) = inner.upgrade() else { return };
                inner.end_expired();
                continue;
            }
            recv(stop.channel()) -> _ => return,
        };
        let Ok(item) = item else { return };
        let Some(inner) = inner.upgrade() else { return };
        if let (None, Some((tracker, _))) = (&item, due) {
            back.remove(&tracker);
            inner.expire_peers(tracker);
        }
        let batch: Vec<News> = item.into_iter().chain(news.try_iter().take(BATCH_LEN)).collect();
        inner.end_links_for(&batch);
        for item in batch {
            match item {
                News::Joined { tracker } => _ = back.insert(tracker, Instant::now() + EXPIRE_AFTER),
                News::Lost { tracker } => drop(back.remove(&tracker)),
                _ => {}
            }
            inner.take(item);
        }
    }
}

/// Tells the directory of shares until the client stops. Runs on each of the threads "sharer".
pub(crate) fn run_shares(inner: &Weak<Inner>, shares: &Receiver<ShareErrand>) {
    while let (Ok(errand), Some(inner)) = (shares.recv(), inner.upgrade()) {
        match errand {
            ShareErrand::Tell(group, info_hash) => inner.share_pending(group, info_hash),
            ShareErrand::Noted(row) => inner.share_noted(&row),
        }
    }
}

/// Runs errands until the client stops, and renews in between what is due. Runs on the thread
/// "errands".
pub(crate) fn run_errands(inner: &Weak<Inner>, errands: &Receiver<Errand>) {
    loop {
        let due = inner.upgrade().and_then(|inner| inner.renewal_due());
        let errand = select! {
            recv(errands) -> errand => errand.map(Some),
            recv(due.map_or_else(never, at)) -> _ => Ok(None),
        };
        let (Ok(errand), Some(inner)) = (errand, inner.upgrade()) else { return };
        match errand {
            Some(
                Errand::Share(..)
                | Errand::Noted(..)
                | Errand::EndSession
                | Errand::LookAfterTickets,
            )
            | None => {}
        }
        // Looked at each time: with a full queue nobody could leave an errand for it.
        if inner.trackers.is_over().is_some() {
            inner.end_session();
        }
        inner.renew();
    }
}

impl Inner {
    /// Takes one piece of news, but for what ends links alone.
    fn take(self: &Arc<Self>, item: News) {
        match item {
            News::Peers { tracker, peers } => self.take_peers(tracker, &peers),
            News::Joined { tracker } => {
                self.book.lock().lost(tracker);
                // It has told the time: the machine may have slept.
                self.end_expired();
                self.retry_pending();
                self.look_after_tickets();
            }
            News::Lost { tracker } => self.book.lock().lost(tracker),
            News::Removed(group) => self.end_membership(group, true),
            // Again, in the order in which things were said: an earlier word that the device is
            // there does not count any more.
            News::Withdrawn { group, info_hash, device } => {
                self.note_withdrawn([(info_hash, device, group)])
            }
            News::Void { .. } | News::DeviceVoid { .. } => {}
            News::FileRemoved(removed) => self.file_removed(&removed),
            News::Trackers(addresses) => self.remember_trackers(&addresses),
            News::ClocksDiffer(ClocksDiffer { trackers, difference }) => {
                self.bus.tell(&ClientEvent::ClocksDiffer { trackers, difference });
            }
            News::ShareStopped(group, info_hash) => self.share_stopped(group, info_hash),
            News::SessionOver(generation) => {
                if self.trackers.session().is_some_and(|session| session.generation == generation) {
                    // With a full queue the thread sees it behind the next errand.
                    self.send_errand(Errand::EndSession);
                }
            }
            News::Trusted(FirstMet { network, unwritten }) => {
                self.bus.tell(&ClientEvent::TrustedNetwork { network, before: None, unwritten });
            }
            News::KeyChanged(change) => self.key_changed(change),
            News::JoinRequested { group, label, user, since } => {
                self.join_requested(group, label, user, since);
            }
            News::JoinRejected { group, label, at } => self.join_rejected(group, label, at),
            News::Admitted(entry) => {
                self.group_names.lock().insert(entry.group, entry.label.clone());
                if self.announced.lock().insert(entry.group, true) != Some(true) {
                    self.bus.tell(&ClientEvent::Admitted { group: entry.label });
                }
            }
        }
    }

    /// Ends the links that rest on tickets which are void by now, or on a part in a swarm which has
    /// ended; before anything else is looked at.
    fn end_links_for(&self, news: &[News]) {
        let (mut voids, mut devices) = (Vec::new(), Vec::new());
        let mut withdrawn = HashSet::new();
        for item in news {
            match *item {
                News::Void { group, user, until_ms } => voids.push((group, user, until_ms)),
                News::DeviceVoid { user, device, until_ms } => {
                    devices.push((user, device, until_ms));
                }
                News::Withdrawn { group, info_hash, device } => {
                    _ = withdrawn.insert((info_hash, device, group))
                }
                _ => {}
            }
        }
        if !voids.is_empty() {
            self.void_tickets(&voids);
        }
        if !devices.is_empty() {
            self.void_devices(&devices);
        }
        if let Some(engine) = self.engine().filter(|_| !withdrawn.is_empty()) {
            // Noted first, so that a link which is being made meanwhile sees it.
            self.note_withdrawn(withdrawn.iter().copied());
            engine.end_links(|link| {
                withdrawn.contains(&(link.info_hash, link.device, link.proof.group))
            });
        }
    }

    fn note_withdrawn(&self, parts: impl IntoIterator<Item = Part>) {
        let (mut withdrawn, uptime) = (self.withdrawn.lock(), uptime());
        parts.into_iter().for_each(|part| withdrawn.note(part, uptime));
    }

    fn take_peers(self: &Arc<Self>, tracker: usize, peers: &[PeerEntry]) {
        {
            let mut withdrawn = self.withdrawn.lock();
            let here = peers.iter().filter(|peer| peer.state != DownloadState::Stopped);
            here.for_each(|peer| withdrawn.lists(&(peer.info_hash, peer.device, peer.group)));
        }
        let changes: Vec<PeerChange> = {
            let mut book = self.book.lock();
            peers.iter().filter_map(|peer| book.apply(tracker, peer)).collect()
        };
        let Some(engine) = self.engine() else { return };
        for change in changes {
            match change {
                PeerChange::Here(info_hash, device, address) => {
                    if device != self.security.device()
                        && self.library.lock().is_downloading(info_hash)
                    {
                        engine.add_peers(info_hash, [(device, address)]);
                    }
                }
                PeerChange::Gone(info_hash, device) => engine.remove_peer(info_hash, device),
            }
        }
    }

    /// Another key of the network counts than before. What rests on one that counts no more ends,
    /// and the session goes on with a token of one that does.
    fn key_changed(&self, change: KeyChange) {
        let KeyChange { stage, old, new } = change;
        let keys = self.network.keys();
        self.tickets.lock().keep_signed_by(&keys);
        if let Some(engine) = self.engine() {
            engine.end_links(|link| !keys.contains(&link.proof.key.into()));
        }
        self.trackers.renew_soon();
        self.look_after_tickets();
        self.bus.tell(&ClientEvent::NetworkKey { stage, old, new });
    }

    /// What a tracker said before it went away, and has not said again, counts no more.
    fn expire_peers(&self, tracker: usize) {
        let gone = self.book.lock().expire(tracker);
        let Some(engine) = self.engine() else { return };
        for change in gone {
            if let PeerChange::Gone(info_hash, device) = change {
                engine.remove_peer(info_hash, device);
            }
        }
    }

    /// The session's token is void: the session ends here too.
    fn end_session(&self) {
        let (Some(session), Some(reason)) = (self.trackers.session(), self.trackers.is_over())
        else {
            return;
        };
        // While it is begun or ended by a command there is nothing to end: whoever begins it looks
        // again.
        let unfinished = self
            .library
            .lock()
            .downloads
            .iter()
            .filter(|d| d.row.progress == Progress::Running)
            .count();
        // Noted first: whoever waits for a download finds it as soon as the session has gone.
        let before = self.ended.lock().replace(Ended { reason, unfinished });
        if self.leave_session() {
            info!("the session of {} has ended: {reason}", session.user.label);
            self.bus.tell(&ClientEvent::SessionEnded { user: session.user.label, reason });
            self.staying.wake();
        } else {
            *self.ended.lock() = before;
        }
    }

    /// The user stopped sharing a file from another device. Every tracker tells of it.
    fn share_stopped(&self, group: GroupId, info_hash: InfoHash) {
        let row = self
            .library
            .lock()
            .share(group, info_hash)
            .filter(|share| share.offered)
            .map(|share| share.row.clone());
        self.stop_offering(group, info_hash);
        let is_own = self.own_removals.lock().has(group, info_hash);
        if let Some(row) = row.filter(|_| !is_own) {
            self.bus.tell(&ClientEvent::ShareNotOffered {
                group: row.group_label,
                file: row.label,
                path: row.path,
                reason: "you stopped sharing it on another device; upload it again to share it from here".into(),
            });
        }
    }

    /// The user is out of a group: what is offered there ends, what is downloaded from there stops.
    /// Every tracker tells of it, and subscribers hear it once; not when the user left by choice.
    pub(crate) fn end_membership(&self, group: GroupId, announce: bool) {
        self.tickets.lock().drop_group(group);
        let (user, shares, downloads) = {
            let mut library = self.library.lock();
            let Some(user) = library.user().map(|user| user.user) else { return };
            let mut shares = Vec::new();
            for share in library.shares.values_mut().filter(|share| share.row.group == group) {
                share.row.state = ShareState::Stopped;
                if std::mem::take(&mut share.offered) {
                    shares.push(share.row.facts.info_hash);
                }
            }
            let mut downloads = Vec::new();
            for download in library.downloads.iter_mut().filter(|d| d.row.group == group) {
                if !matches!(download.row.progress, Progress::Complete | Progress::Failed(_)) {
                    download.row.progress =
                        Progress::Failed("you are no longer a member of the group".into());
                    download.steer();
                    downloads.push((download.info_hash(), download.row.progress.clone()));
                }
            }
            (user, shares, downloads)
        };
        if let Some(engine) = self.engine() {
            engine.end_links(|link| link.proof.group == group);
        }
        let stored = self.store.stop_shares(user, group);
        self.note_store_error(stored);
        for (info_hash, progress) in downloads {
            self.free_slot(info_hash);
            let stored = self.store.set_progress(user, info_hash, &progress);
            self.note_store_error(stored);
            self.withdraw(group, info_hash);
            self.tell_end(info_hash);
        }
        self.withdraw_all(group, shares);
        self.leave_source(group);
        let first = self.announced.lock().insert(group, false) != Some(false);
        let label = self
            .group_names
            .lock()
            .get(&group)
            .cloned()
            .or_else(|| self.library.lock().group_label(group));
        if let Some(label) = label.filter(|_| announce && first) {
            self.bus.tell(&ClientEvent::Removed { group: label });
        }
    }

    /// The user is about to leave every group by choice: subscribers do not hear of that.
    pub(crate) fn leaves_every_group(&self) {
        let mut groups: HashSet<GroupId> = self.group_names.lock().keys().copied().collect();
        {
            let library = self.library.lock();
            groups.extend(library.shares.keys().map(|(group, _)| *group));
            groups.extend(library.downloads.iter().map(|download| download.row.group));
        }
        self.announced.lock().extend(groups.into_iter().map(|group| (group, false)));
    }

    /// Ends this device's part in a file's swarm in one group; in others it goes on.
    pub(crate) fn withdraw(&self, group: GroupId, info_hash: InfoHash) {
        self.withdraw_all(group, [info_hash]);
    }

    /// The same for many files at once.
    fn withdraw_all(&self, group: GroupId, files: impl IntoIterator<Item = InfoHash>) {
        let files: HashSet<InfoHash> = files.into_iter().collect();
        self.announce(files.iter().map(|info_hash| (group, *info_hash)));
        let Some(engine) = self.engine() else { return };
        let still = self.library.lock().still_offered(&files);
        for info_hash in files.difference(&still) {
            engine.unseed(*info_hash);
        }
        engine.end_links(|link| link.proof.group == group && files.contains(&link.info_hash));
    }

    /// Tells the trackers what this device now does with files.
    pub(crate) fn announce(&self, files: impl IntoIterator<Item = (GroupId, InfoHash)>) {
        let parts: Vec<(GroupId, InfoHash, DownloadState)> = {
            let files = self.and_left_sources(files);
            let library = self.library.lock();
            files
                .into_iter()
                .map(|(group, info_hash)| (group, info_hash, library.part_in(group, info_hash)))
                .collect()
        };
        let takes_part = |(group, _, state): &(GroupId, InfoHash, DownloadState)| {
            (*state != DownloadState::Stopped).then_some(*group)
        };
        let groups: HashSet<GroupId> = parts.iter().filter_map(takes_part).collect();
        self.trackers.announce(parts);
        self.want_tickets(groups);
    }

    /// Tells the directory of a pending share.
    fn share_pending(self: &Arc<Self>, group: GroupId, info_hash: InfoHash) {
        let row = self.library.lock().share(group, info_hash).map(|share| share.row.clone());
        // Without a tracker the download need not wait to be called complete: one that returns is
        // told then.
        if let Some(row) =
            row.filter(|row| row.state == ShareState::Pending && self.trackers.is_reachable())
        {
            let request = self.trackers.request_stamp();
            self.own_removals.lock().forget(group, info_hash);
            let request = Request::ShareFile { request, group, file: row.facts.clone() };
            match self.trackers.patient().call(&request, Need::Session) {
                Ok(_) => {
                    let told = ShareRow { state: ShareState::Offered, ..row.clone() };
                    // It may have been stopped meanwhile, or another file may be offered in its
                    // place, of which is told next.
                    if let Some(share) =
                        self.library.lock().share(group, info_hash).filter(|share| share.row == row)
                    {
                        share.row = told.clone();
                        self.trackers.announce([(group, info_hash, DownloadState::Seeding)]);
                    }
                    self.settle(info_hash);
                    // Last, and nobody waits for it: a share that seems to be pending at the next
                    // start is told of once more.
                    self.share_noted(&told);
                }
                Err(super::ClientError::Refused(refusal)) if !is_passing(refusal) => {
                    info!("{} is not shared on in {}: {refusal}", row.label, row.group_label);
                    self.settle(info_hash);
                    self.stop_offering(group, info_hash);
                }
                Err(error) => {
                    warn!("{} is shared on as soon as a tracker answers: {error}", row.label)
                }
            }
        }
        self.settle(info_hash);
    }

    /// Has the store call a share offered of which the directory has been told, if it is that one
    /// still.
    fn share_noted(&self, row: &ShareRow) {
        let is_there = self
            .library
            .lock()
            .share(row.group, row.facts.info_hash)
            .is_some_and(|share| share.row == *row);
        if is_there {
            let stored = self.store.share_noted(row.user, row.group, row.facts.info_hash);
            self.note_store_error(stored);
        }
    }

    /// A tracker is there again: it is told of the shares that none could be told of.
    fn retry_pending(&self) {
        let library = self.library.lock();
        let pending = library
            .shares
            .values()
            .filter(|share| share.offered && share.row.state == ShareState::Pending);
        let pending: Vec<(GroupId, InfoHash)> =
            pending.map(|share| (share.row.group, share.row.facts.info_hash)).collect();
        drop(library);
        for (group, info_hash) in pending {
            self.send_errand(Errand::Share(group, info_hash));
        }
    }

    /// Keeps a share in the store, but offers it no more.
    pub(crate) fn stop_offering(&self, group: GroupId, info_hash: InfoHash) {
        let user = {
            let mut library = self.library.lock();
            let user = library.user().map(|user| user.user);
            if let Some(share) = library.share(group, info_hash) {
                share.offered = false;
                share.row.state = ShareState::Stopped;
            }
            user
        };
        // Links first, the disk may take its time.
        self.withdraw(group, info_hash);
        if let Some(user) = user {
            let stored = self.store.set_share_state(user, group, info_hash, ShareState::Stopped);
            self.note_store_error(stored);
        }
    }

    /// A completed download has been told to the directory, or not: now it counts as complete.
    pub(crate) fn settle(&self, info_hash: InfoHash) {
        let ended = {
            let mut library = self.library.lock();
            let download = library
                .download(info_hash)
                .filter(|d| d.row.progress == Progress::Complete && !d.settled);
            download.map(|download| download.settled = true).is_some()
        };
        if ended {
            self.tell_end(info_hash);
        }
    }

    /// Wakes whoever waits for a download, and tells subscribers where it ended.
    pub(crate) fn tell_end(&self, info_hash: InfoHash) {
        let (status, callbacks) = {
            let mut library = self.library.lock();
            let Some(download) = library.download(info_hash) else { return };
            let status = download.status();
            let callbacks = if status.has_ended() {
                std::mem::take(&mut download.callbacks)
            } else {
                Vec::new()
            };
            (status, callbacks)
        };
        self.changed.notify_all();
        if let Some(event) = super::downloads::to_event(&status) {
            self.bus.tell(&event);
        }
        callbacks.into_iter().for_each(|callback| callback(&status));
    }

    /// The device's state could not be written: the session goes on, the next start will know less.
    pub(crate) fn note_store_error(&self, result: Result<(), crate::store::StoreError>) {
        self.note_error(result.map_err(super::ClientError::from));
    }

    /// As [`Inner::note_store_error`], for what is more than the store's.
    pub(crate) fn note_error(&self, result: Result<(), super::ClientError>) {
        if let Err(error) = result {
            warn!("{error}");
        }
    }
}
