//! Announces to every tracker which files this device seeds and leeches.
//!
//! **Invariant:** the map in the set's state is authoritative. A tracker with a confirmed session
//! has received all of it and every change since, or receives the rest after it has answered the
//! current announce.
//!
//! A tracker limits how often a user changes a swarm. It delays an announce that comes too soon,
//! and with it every later request. So there is one announce of changes at a time for each tracker,
//! and a change that is undone meanwhile is not announced.

use super::TrackerSet;
use super::state::{Pending, SetState};
use crate::types::limits::ANNOUNCE_ENTRIES_MAX;
use crate::types::{DownloadState, GroupId, InfoHash};
use crate::wire::tracker::{AnnounceEntry, Request};

impl TrackerSet {
    /// Announces the state of files to every tracker, now or when its session is confirmed. Does
    /// not block.
    pub(crate) fn announce(
        &self,
        entries: impl IntoIterator<Item = (GroupId, InfoHash, DownloadState)>,
    ) {
        let mut state = self.shared.state.lock();
        let mut changes = Vec::new();
        for (group, info_hash, now) in entries {
            let before = match now {
                DownloadState::Stopped => state.announced.remove(&(group, info_hash)),
                _ => state.announced.insert((group, info_hash), now),
            };
            if before.unwrap_or(DownloadState::Stopped) != now {
                changes.push((group, info_hash));
            }
        }
        for index in 0..state.links.len() {
            if let Some(live) = state.links[index].live.as_mut() {
                live.unannounced.extend(&changes);
            }
            state.announce_changes(index);
        }
    }

    /// Sends every tracker whose session stands a request whose answer does not matter. Does not
    /// block; a tracker whose queue is full is left out.
    pub(crate) fn send_all(&self, request: &Request) {
        let mut state = self.shared.state.lock();
        let Some(session) = state.session.clone() else { return };
        for link in state.links.iter_mut().filter(|link| link.is_ready(Some(&session))) {
            if let Some(live) = &mut link.live {
                live.send(request.clone(), Pending::Ignored);
            }
        }
    }
}

impl SetState {
    /// Sends one tracker the changes since the last announce, if it has answered that and its
    /// session is confirmed.
    pub(super) fn announce_changes(&mut self, index: usize) {
        let link = &self.links[index];
        let is_ready = self.session.as_ref().is_some_and(|session| link.is_ready(Some(session)));
        let Some(live) = self.links[index].live.as_mut() else { return };
        if !is_ready || live.announces > 0 || live.unannounced.is_empty() {
            return;
        }
        let changed = std::mem::take(&mut live.unannounced);
        let entry = |key: &(GroupId, InfoHash)| {
            let state = self.announced.get(key).copied().unwrap_or(DownloadState::Stopped);
            AnnounceEntry { group: key.0, info_hash: key.1, state }
        };
        let changes: Vec<AnnounceEntry> = changed.iter().map(entry).collect();
        self.announce_to(index, &changes);
    }

    /// Sends one tracker everything.
    pub(super) fn announce_all(&mut self, index: usize) {
        let entry = |(&(group, info_hash), &state): (&(GroupId, InfoHash), &DownloadState)| {
            AnnounceEntry { group, info_hash, state }
        };
        let all: Vec<AnnounceEntry> = self.announced.iter().map(entry).collect();
        if let Some(live) = self.links[index].live.as_mut() {
            live.unannounced.clear();
        }
        self.announce_to(index, &all);
    }

    /// Queues announces. Closes a connection whose queue is full: the tracker would have an
    /// incomplete list.
    fn announce_to(&mut self, index: usize, entries: &[AnnounceEntry]) {
        let Some(live) = self.links[index].live.as_mut() else { return };
        let sent = entries.chunks(ANNOUNCE_ENTRIES_MAX).all(|part| {
            live.announces += 1;
            live.send(Request::Announce { entries: part.to_vec() }, Pending::Announce)
        });
        if !sent {
            live.connection.close();
        }
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::unbounded;

    use super::*;
    use crate::client::trackers::Need;
    use crate::client::trackers::tests::*;
    use crate::wire::tracker::Reply;

    fn is_announce(request: &Request) -> bool {
        matches!(request, Request::Announce { entries } if !entries.is_empty())
    }

    #[test]
    fn what_changes_while_a_tracker_has_not_answered_is_one_announce() {
        let (release, held) = unbounded::<()>();
        let fake = Fake::start(move |request| {
            if is_announce(request) {
                held.recv_timeout(PATIENCE).unwrap();
            }
            usual(request)
        });
        let (set, _news) = set_of(&[&fake]);
        log_in(&set);
        let (group, info_hash) = (GroupId::from_bytes([1; 16]), InfoHash::from_bytes([1; 20]));
        for _ in 0..60 {
            set.announce([(group, info_hash, DownloadState::Leeching)]);
            set.announce([(group, info_hash, DownloadState::Stopped)]);
        }
        set.announce([(group, info_hash, DownloadState::Seeding)]);
        (0..2).for_each(|_| release.send(()).unwrap());
        wait_for("the last state is announced", || {
            fake.asked().iter().any(|request| match request {
                Request::Announce { entries } => {
                    entries.iter().any(|entry| entry.state == DownloadState::Seeding)
                }
                _ => false,
            })
        });
        assert_eq!(fake.count(is_announce), 2);
        assert!(matches!(set.call(&change(1), Need::Session), Ok(Reply::Done(_))));
        set.stop(PATIENCE);
    }
}
