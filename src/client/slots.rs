//! Downloads that wait for others to end: who is let in, and who has to make room.
//!
//! **Invariant:** a download that has a slot is with the engine, or about to be; one that waits is not, or is shelved there.
//!
//! Whoever ends a download frees its slot ([`Inner::free_slot`]) and goes on; the thread "queue" is woken by that and lets the next ones in, one by
//! one. While any wait it also looks once a second for those that bring nothing.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, after, never, select};
use log::{info, warn};

use super::core::Inner;
use super::queue::{Kept, Queue};
use crate::net::Stop;
use crate::store::{DownloadRow, Progress};
use crate::swarm::{Transfer, TransferState};
use crate::types::{InfoHash, UserId};

/// How often running downloads are looked at while others wait.
const LOOK: Duration = Duration::from_secs(1);
/// Time in which a download brings nothing, after which it gives its slot up.
const STALLED_AFTER: Duration = Duration::from_secs(30);

/// When each download was last seen to bring something, and how much it had brought.
type Watch = HashMap<InfoHash, (u64, Instant)>;

/// Lets downloads in as slots become free, until the client stops. Runs on the thread "queue".
pub(crate) fn mind_queue(inner: &Weak<Inner>, slots: &Receiver<()>, stop: &Stop) {
    let mut watch = Watch::new();
    loop {
        let Some(strong) = inner.upgrade() else { return };
        strong.fill_slots();
        let is_full = strong.library.lock().queue.is_full();
        if is_full {
            strong.look_for_stalled(&mut watch);
        } else {
            watch.clear();
        }
        drop(strong);
        select! {
            recv(slots) -> _ => {}
            recv(stop.channel()) -> _ => return,
            recv(if is_full { after(LOOK) } else { never() }) -> _ => {}
        }
    }
}

impl Inner {
    /// The queue of a session that begins, with what was kept of it; it lets nobody in yet.
    pub(crate) fn closed_queue(&self, user: UserId) -> Queue {
        let kept = self.store.queued(user).unwrap_or_else(|error| {
            warn!("the order of the downloads is lost: {error}");
            Vec::new()
        });
        let kept = kept.into_iter().map(|row| (row.info_hash, Kept { place: row.place, limit: row.limit }));
        Queue::new(self.limits.lock().downloads_max, kept)
    }

    /// Notes that a download is to run. True: it may at once.
    pub(crate) fn take_slot(&self, row: &DownloadRow) -> bool {
        let info_hash = row.facts.info_hash;
        let mut library = self.library.lock();
        let has_slot = library.queue.enter(info_hash, row.begun_ms);
        if let Some(download) = library.download(info_hash) {
            download.queued = !has_slot;
        }
        drop(library);
        if !has_slot {
            // It may only stand behind others for which there is room.
            self.mind_slots();
        }
        has_slot
    }

    /// A download has ended, or is paused: the next may be let in.
    pub(crate) fn free_slot(&self, info_hash: InfoHash) {
        {
            let mut library = self.library.lock();
            library.queue.leave(info_hash);
            if let Some(download) = library.download(info_hash) {
                download.queued = false;
            }
        }
        self.mind_slots();
    }

    /// A download is complete: nothing is kept of its part in the queue.
    pub(crate) fn left_queue(&self, info_hash: InfoHash) {
        let kept = {
            let mut library = self.library.lock();
            let kept = library.queue.kept(info_hash);
            library.queue.forget(info_hash);
            kept
        };
        if kept.is_some() {
            self.keep_queued(info_hash);
        }
        self.mind_slots();
    }

    /// Has the thread look at the queue.
    pub(crate) fn mind_slots(&self) {
        // If a token is there, it is about to look.
        let _ = self.slots.try_send(());
    }

    /// Lets downloads in as long as there are both free slots and some that wait.
    pub(crate) fn fill_slots(self: &Arc<Self>) {
        while let Some((row, transfer)) = self.let_in() {
            let info_hash = row.facts.info_hash;
            let begun = match transfer {
                Some(transfer) => {
                    transfer.resume();
                    Ok(())
                }
                None => self.start(&row),
            };
            match begun {
                Ok(()) => _ = self.changed.notify_all(),
                // The session is over: it goes on with the next.
                Err(_) if self.engine().is_none() => return,
                Err(error) => {
                    warn!("{}: {error}", row.label);
                    self.free_slot(info_hash);
                    let noted = self.set_progress(&row, Progress::Failed(error.to_string()));
                    self.note_error(noted);
                    self.tell_end(info_hash);
                }
            }
            self.announce([(row.group, info_hash)]);
        }
    }

    /// Gives a free slot to the next download; returns it, with what the engine holds of it.
    fn let_in(&self) -> Option<(DownloadRow, Option<Transfer>)> {
        let mut library = self.library.lock();
        loop {
            let info_hash = library.queue.next()?;
            match library.download(info_hash).filter(|download| download.row.progress == Progress::Running) {
                Some(download) => {
                    download.queued = false;
                    let live = download.is_live();
                    return Some((download.row.clone(), download.transfer.clone().filter(|_| live)));
                }
                // It is about to be taken out.
                None => library.queue.leave(info_hash),
            }
        }
    }

    /// Has downloads wait that were running; what they have fetched is kept.
    pub(crate) fn displace(&self, files: impl IntoIterator<Item = InfoHash>) {
        for info_hash in files {
            let displaced = {
                let mut library = self.library.lock();
                let waits = library.queue.place_of(info_hash).is_some();
                library.download(info_hash).filter(|_| waits).map(|download| {
                    download.queued = true;
                    (download.row.group, download.row.label.clone(), download.transfer.clone())
                })
            };
            let Some((group, label, transfer)) = displaced else { continue };
            info!("{label} waits for others to end");
            if let Some(transfer) = transfer {
                transfer.shelve();
            }
            self.announce([(group, info_hash)]);
        }
        self.mind_slots();
    }

    /// Writes down what is kept of a download's part in the queue.
    pub(crate) fn keep_queued(&self, info_hash: InfoHash) {
        let (user, kept) = {
            let library = self.library.lock();
            let Some(user) = library.user().map(|user| user.user) else { return };
            (user, library.queue.kept(info_hash))
        };
        let (place, limit) = kept.map_or((None, None), |kept| (kept.place, kept.limit));
        let stored = self.store.put_queued(user, &crate::store::QueuedRow { info_hash, place, limit });
        self.note_store_error(stored);
    }

    /// Finds downloads that bring nothing while others wait: they give their slots up.
    fn look_for_stalled(&self, watch: &mut Watch) {
        let now = Instant::now();
        let running: Vec<(InfoHash, Transfer)> = {
            let library = &mut *self.library.lock();
            let running = library.queue.running();
            let held = |info_hash| library.download(info_hash).and_then(|d| d.transfer.clone()).map(|t| (info_hash, t));
            running.into_iter().filter_map(held).collect()
        };
        watch.retain(|watched, _| running.iter().any(|(info_hash, _)| info_hash == watched));
        let mut back = Vec::new();
        for (info_hash, transfer) in running {
            let status = transfer.status();
            let waits = matches!(status.state, TransferState::Metainfo | TransferState::Downloading);
            let (brought, since) = *watch.entry(info_hash).or_insert((status.received, now));
            if !waits || status.received != brought {
                watch.insert(info_hash, (status.received, now));
                self.library.lock().queue.moves(info_hash);
            } else if now.duration_since(since) >= STALLED_AFTER {
                back.extend(self.library.lock().queue.stalled(info_hash).map(|(back, _)| back));
            }
        }
        back.iter().for_each(|info_hash| self.keep_queued(*info_hash));
        self.displace(back);
    }
}
