//! What this device does with files, told to every tracker.
//!
//! **Invariant:** the map in the set's state is the truth; a tracker whose session stands has been
//! sent all of it, and every change since, in order.

use super::TrackerSet;
use super::state::{Pending, SetState};
use crate::types::limits::ANNOUNCE_ENTRIES_MAX;
use crate::types::{DownloadState, GroupId, InfoHash};
use crate::wire::tracker::{AnnounceEntry, Request};

impl TrackerSet {
    /// Tells every tracker, now or when its session stands, what this device does with files. Does
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
                changes.push(AnnounceEntry { group, info_hash, state: now });
            }
        }
        for index in 0..state.links.len() {
            let session = state.session.clone();
            if session.is_some_and(|session| state.links[index].is_ready(Some(&session))) {
                state.announce_to(index, &changes);
            }
        }
    }
}

impl SetState {
    /// Sends one tracker everything.
    pub(super) fn announce_all(&mut self, index: usize) {
        let entry = |(&(group, info_hash), &state): (&(GroupId, InfoHash), &DownloadState)| {
            AnnounceEntry { group, info_hash, state }
        };
        let all: Vec<AnnounceEntry> = self.announced.iter().map(entry).collect();
        self.announce_to(index, &all);
    }

    /// Queues announces; a connection whose queue is full is ended, as the tracker would be left
    /// with half the truth.
    fn announce_to(&mut self, index: usize, entries: &[AnnounceEntry]) {
        let Some(live) = self.links[index].live.as_mut() else { return };
        let sent = entries
            .chunks(ANNOUNCE_ENTRIES_MAX)
            .all(|part| live.send(Request::Announce { entries: part.to_vec() }, Pending::Announce));
        if !sent {
            live.connection.close();
        }
    }
}
