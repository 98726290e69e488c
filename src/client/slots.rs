//! Downloads that wait for others to end: who is let in, and who has to make room.
//!
//! **Invariant:** a download that has a slot is with the engine, or about to be; one that waits is
//! not, or is shelved there.
//!
//! What the engine is to do is decided and said under the library's lock
//! ([`Download::steer`](super::library::Download::steer)).
//!
//! Whoever ends a download frees its slot ([`Inner::free_slot`]) and goes on; the thread "queue" is
//! woken by that and lets the next ones in, one by one. While any wait it also looks once a second
//! for those that bring nothing.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, at, never, select};
use log::{info, warn};

use super::core::Inner;
use super::queue::{Kept, Queue};
use crate::net::Stop;
use crate::store::{DownloadRow, Progress};
use crate::swarm::{Pulse, Transfer, TransferState};
use crate::types::{InfoHash, UserId};

/// How often running downloads are looked at while others wait.
const LOOK: Duration = Duration::from_secs(1);
/// Time in which a download brings nothing, after which it gives its slot up.
const STALLED_AFTER: Duration = Duration::from_secs(30);

/// When each download was last seen to bring something, and what its pulse was then.
type Watch = HashMap<InfoHash, (u64, Instant)>;

/// Lets downloads in as slots become free, until the client stops. Runs on the thread "queue".
pub(crate) fn mind_queue(inner: &Weak<Inner>, slots: &Receiver<()>, stop: &Stop) {
    let (mut watch, mut next_look) = (Watch::new(), Instant::now());
    loop {
        let Some(strong) = inner.upgrade() else { return };
        strong.fill_slots();
        let is_full = strong.library.lock().queue.is_full();
        if !is_full {
            watch.clear();
        } else if Instant::now() >= next_look {
            next_look = Instant::now() + LOOK;
            if strong.look_for_stalled(&mut watch) {
                continue;
            }
        }
        drop(strong);
        select! {
            recv(slots) -> _ => {}
            recv(stop.channel()) -> _ => return,
            recv(if is_full { at(next_look) } else { never() }) -> _ => {}
        }
    }
}

impl Inner {
    /// The queue of a session that begins, with what was kept of it; it lets nobody in yet.
    pub(crate) fn closed_queue(&self, user: UserId, downloads_max: usize) -> Queue {
        let kept = self.store.queued(user).unwrap_or_else(|error| {
            warn!("the order of the downloads is lost: {error}");
            Vec::new()
        });
        let kept = kept
            .into_iter()
            .map(|row| (row.info_hash, Kept { place: row.place, limit: row.limit }));
        Queue::new(downloads_max, kept)
    }

    /// A download is to run: it does from now on, if the engine holds it, or waits. True: it has a
    /// slot. One that was paused or cancelled meanwhile does not even wait.
    pub(crate) fn take_slot(&self, row: &DownloadRow) -> bool {
        let info_hash = row.facts.info_hash;
        let has_slot = {
            let library = &mut *self.library.lock();
            let Some(download) = library
                .downloads
                .get_mut(info_hash)
                .filter(|d| d.row.progress == Progress::Running)
            else {
                return false;
            };
            let has_slot = library.queue.enter(info_hash, row.begun_ms);
            download.queued = !has_slot;
            download.steer();
            download.starting = has_slot && !download.is_live();
            has_slot
        };
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
        while let Some((row, goes_on)) = self.let_in() {
            let info_hash = row.facts.info_hash;
            match if goes_on { Ok(()) } else { self.start(&row) } {
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

    /// Gives a free slot to the next download; returns it, and whether the engine held it and goes
    /// on with it, or is about to begin it.
    fn let_in(&self) -> Option<(DownloadRow, bool)> {
        let mut library = self.library.lock();
        loop {
            let info_hash = library.queue.next()?;
            match library
                .download(info_hash)
                .filter(|download| download.row.progress == Progress::Running)
            {
                Some(download) => {
                    download.queued = false;
                    download.steer();
                    let goes_on =
                        download.is_live() || std::mem::replace(&mut download.starting, true);
                    return Some((download.row.clone(), goes_on));
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
                    download.steer();
                    (download.row.group, download.row.label.clone())
                })
            };
            let Some((group, label)) = displaced else { continue };
            info!("{label} waits for others to end");
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
        let stored =
            self.store.put_queued(user, &crate::store::QueuedRow { info_hash, place, limit });
        self.note_store_error(stored);
    }

    /// Finds downloads that bring nothing while others wait: they give their slots up. True: a slot
    /// may be free now.
    fn look_for_stalled(&self, watch: &mut Watch) -> bool {
        let now = Instant::now();
        let running: Vec<(InfoHash, Transfer)> = {
            let library = &mut *self.library.lock();
            let running = library.queue.running();
            let held = |info_hash| {
                library.download(info_hash).and_then(|d| d.transfer.clone()).map(|t| (info_hash, t))
            };
            running.into_iter().filter_map(held).collect()
        };
        watch.retain(|watched, _| running.iter().any(|(info_hash, _)| info_hash == watched));
        let (mut sent_back, mut displaced, mut gave_up) = (Vec::new(), Vec::new(), false);
        for (info_hash, transfer) in running {
            let signs = signs_of(watch, info_hash, &transfer.pulse(), now);
            let mut library = self.library.lock();
            match signs {
                Signs::Moves => displaced.extend(library.queue.moves(info_hash)),
                Signs::Waits => {}
                // It may have been paused since.
                Signs::Stalled
                    if library
                        .download(info_hash)
                        .is_some_and(|download| download.is_let_run()) =>
                {
                    gave_up |= library.queue.has_slot(info_hash);
                    sent_back.extend(library.queue.stalled(info_hash).map(|(back, _)| back));
                }
                Signs::Stalled => {}
            }
        }
        sent_back.iter().for_each(|info_hash| self.keep_queued(*info_hash));
        displaced.extend(sent_back);
        if !displaced.is_empty() {
            self.displace(displaced);
        }
        gave_up
    }
}

/// What a look at a running download tells.
#[derive(Debug, PartialEq, Eq)]
enum Signs {
    /// Something comes, or it has something else to do.
    Moves,
    /// Nothing comes; yet, or because a limit of ours holds its requests back.
    Waits,
    /// Nothing comes for long, or the engine has stopped it without a word.
    Stalled,
}

fn signs_of(watch: &mut Watch, info_hash: InfoHash, pulse: &Pulse, now: Instant) -> Signs {
    let (came, since) = *watch.entry(info_hash).or_insert((pulse.came, now));
    match pulse.state {
        TransferState::Paused(_) | TransferState::Failed(_) => return Signs::Stalled,
        TransferState::Metainfo | TransferState::Downloading if pulse.came == came => {}
        _ => {
            watch.insert(info_hash, (pulse.came, now));
            return Signs::Moves;
        }
    }
    if pulse.held_back {
        watch.insert(info_hash, (came, now));
    } else if now.duration_since(since) >= STALLED_AFTER {
        return Signs::Stalled;
    }
    Signs::Waits
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: InfoHash = InfoHash::from_bytes([1; 20]);

    #[test]
    fn what_a_limit_holds_back_is_not_stalled() {
        let (mut watch, start) = (Watch::new(), Instant::now());
        let mut look = |state: &TransferState, came, held_back, seconds| {
            signs_of(
                &mut watch,
                FILE,
                &Pulse { state: state.clone(), came, held_back },
                start + Duration::from_secs(seconds),
            )
        };
        let downloading = TransferState::Downloading;
        assert_eq!(look(&downloading, 0, false, 0), Signs::Waits);
        assert_eq!(look(&downloading, 0, false, 29), Signs::Waits);
        assert_eq!(look(&downloading, 0, true, 31), Signs::Waits, "it may not ask");
        assert_eq!(look(&downloading, 0, false, 60), Signs::Waits);
        assert_eq!(look(&downloading, 0, false, 61), Signs::Stalled);
        assert_eq!(look(&downloading, 1, false, 62), Signs::Moves);
        assert_eq!(look(&downloading, 1, false, 91), Signs::Waits);
        assert_eq!(
            look(&TransferState::Checking, 1, false, 95),
            Signs::Moves,
            "it reads what is there"
        );
        assert_eq!(look(&TransferState::Metainfo, 1, false, 124), Signs::Waits);
        assert_eq!(
            look(&TransferState::Paused(None), 1, false, 125),
            Signs::Stalled,
            "nobody here has paused it"
        );
    }
}
