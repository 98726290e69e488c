//! Gives slots to waiting downloads, and takes them from stalled or displaced ones.
//!
//! **Invariant:** the engine has every download with a slot, or is about to have it. It does not
//! have a waiting download, or has shelved it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::Session;
use super::input::{Effect, Now, Order, TransferId};
use super::library::{Download, Work};
use crate::store::Progress;
use crate::swarm::{Pulse, TransferState};
use crate::types::InfoHash;

/// Interval at which the engine is asked for progress while downloads wait.
const LOOK: Duration = Duration::from_secs(1);
/// The same while none waits: an event of the engine may have been lost.
const LOOK_ANYWAY: Duration = Duration::from_secs(5);
/// A download that receives nothing for this time gives its slot up.
const STALLED_AFTER: Duration = Duration::from_secs(30);

/// When each download last received something, and its byte count then.
#[derive(Debug, Default)]
pub(super) struct Watch {
    moved: LastMoved,
    /// Downloads that have ended in the engine according to one report, but not in the session.
    ended: HashSet<TransferId>,
    /// Downloads whose disk is slow to let the engine begin.
    pub(super) late: HashSet<TransferId>,
}

impl Session {
    /// Gives free slots to waiting downloads.
    pub(super) fn fill_slots(&mut self, now: Now) {
        while let Some(info_hash) = self.library.queue.next() {
            let is_to_run = |download: &&mut Download| download.row.progress == Progress::Running;
            match self.library.download_mut(info_hash).filter(is_to_run) {
                Some(download) => {
                    download.queued = false;
                    let group = download.row.group;
                    self.go(info_hash, None, now);
                    self.announce([(group, info_hash)], now);
                    self.emit(Effect::Changed(info_hash));
                }
                None => self.library.queue.leave(info_hash),
            }
        }
    }

    /// Has running downloads wait; their data is kept.
    pub(super) fn displace(&mut self, files: impl IntoIterator<Item = InfoHash>, now: Now) {
        for info_hash in files {
            if self.library.queue.place_of(info_hash).is_none() {
                continue;
            }
            let Some(download) = self.library.download_mut(info_hash) else { continue };
            download.queued = true;
            let group = download.row.group;
            self.steer(info_hash);
            self.announce([(group, info_hash)], now);
            self.emit(Effect::Changed(info_hash));
        }
    }

    /// Asks the engine for the progress of the running downloads.
    pub(super) fn ask_for_pulses(&mut self, now: Now) {
        self.pulses_at = now.up + if self.library.queue.is_full() { LOOK } else { LOOK_ANYWAY };
        self.displace_late(now);
        let library = &self.library;
        let live = |info_hash: InfoHash| match library.download(info_hash)?.work {
            Work::Live(id) => Some((info_hash, id)),
            _ => None,
        };
        let running: Vec<(InfoHash, TransferId)> =
            library.queue.running().into_iter().filter_map(live).collect();
        let is_watched = |watched: &InfoHash| running.iter().any(|(file, _)| file == watched);
        self.watch.moved.retain(|watched, _| is_watched(watched));
        self.watch.ended.retain(|watched| running.iter().any(|(_, id)| id == watched));
        self.emit(Effect::Engine(Order::Pulses(running)));
    }

    /// Downloads whose disk does not let the engine begin give their slots up while others wait.
    fn displace_late(&mut self, now: Now) {
        if self.watch.late.is_empty() {
            return;
        }
        let late = std::mem::take(&mut self.watch.late);
        for info_hash in self.library.queue.running() {
            let Some(Work::Beginning(id)) = self.library.download(info_hash).map(|d| d.work) else {
                continue;
            };
            if !late.contains(&id) {
                continue;
            }
            self.watch.late.insert(id);
            if self.library.queue.is_full()
                && let Some((back, _)) = self.library.queue.stalled(info_hash)
            {
                self.library.touch_queued(back);
                self.displace([back], now);
            }
        }
    }

    /// Stalled downloads give their slots up while others wait. A download that has ended in the
    /// engine according to two reports has ended here, too: its event was lost.
    pub(super) fn take_pulses(&mut self, pulses: &[(InfoHash, TransferId, Pulse)], now: Now) {
        for (info_hash, id, pulse) in pulses {
            self.note_lost_end(*info_hash, *id, &pulse.state, now);
        }
        if !self.library.queue.is_full() {
            return self.watch.moved.clear();
        }
        let mut displaced = Vec::new();
        for (info_hash, id, pulse) in pulses {
            let download = self.library.of_transfer(*info_hash, *id);
            let Some(is_let_run) = download.map(Download::is_let_run) else { continue };
            match signs_of(&mut self.watch.moved, *info_hash, pulse, now.up) {
                Signs::Moves => displaced.extend(self.library.queue.moves(*info_hash)),
                // It may have been paused since.
                Signs::Stalled if is_let_run => {
                    if let Some((back, _)) = self.library.queue.stalled(*info_hash) {
                        self.library.touch_queued(back);
                        displaced.push(back);
                    }
                }
                Signs::Waits | Signs::Stalled => {}
            }
        }
        self.displace(displaced, now);
    }

    fn note_lost_end(
        &mut self,
        info_hash: InfoHash,
        id: TransferId,
        state: &TransferState,
        now: Now,
    ) {
        let runs = |download: &Download| download.is_let_run() && download.work == Work::Live(id);
        let is_running = self.library.of_transfer(info_hash, id).is_some_and(runs);
        let has_ended = matches!(
            state,
            TransferState::Complete | TransferState::Failed(_) | TransferState::Paused(Some(_))
        );
        if !is_running || !has_ended {
            self.watch.ended.remove(&id);
        } else if !self.watch.ended.insert(id) {
            self.watch.ended.remove(&id);
            match state {
                TransferState::Failed(reason) => {
                    self.halt(info_hash, Progress::Failed(reason.clone()), now);
                }
                TransferState::Paused(Some(reason)) => {
                    self.halt(info_hash, Progress::Paused(Some(reason.clone())), now);
                }
                _ => self.look_again(info_hash, id),
            }
        }
    }
}

type LastMoved = HashMap<InfoHash, (u64, Duration)>;

/// What one progress report says about a download.
#[derive(Debug, PartialEq, Eq)]
enum Signs {
    /// It receives data, or is busy otherwise.
    Moves,
    /// It receives nothing: not for long yet, or because a rate limit of ours holds its requests
    /// back.
    Waits,
    /// It has received nothing for long, or the engine has stopped it and the event was lost.
    Stalled,
}

fn signs_of(watch: &mut LastMoved, info_hash: InfoHash, pulse: &Pulse, now: Duration) -> Signs {
    let (came, since) = *watch.entry(info_hash).or_insert((pulse.came, now));
    match pulse.state {
        TransferState::Paused(_) | TransferState::Failed(_) => return Signs::Stalled,
        TransferState::Metainfo | TransferState::Downloading if pulse.came == came => {}
        _ => {
            watch.insert(info_hash, (pulse.came, now));
            return Signs::Moves;
        }
    }
    if pulse.is_held_back {
        watch.insert(info_hash, (came, now));
    } else if now.saturating_sub(since) >= STALLED_AFTER {
        return Signs::Stalled;
    }
    Signs::Waits
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: InfoHash = InfoHash::from_bytes([1; 20]);

    #[test]
    fn a_download_that_a_limit_holds_back_is_not_stalled() {
        let mut watch = LastMoved::new();
        let mut look = |state: &TransferState, came, held_back, seconds| {
            signs_of(
                &mut watch,
                FILE,
                &Pulse { state: state.clone(), came, is_held_back: held_back },
                Duration::from_secs(seconds),
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
