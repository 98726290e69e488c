//! Who is present at the other trackers, where trackers share a database: what changes here is
//! noted for them, and what they note is told to the sessions here.
//!
//! **Invariant:** what is told of a device elsewhere is what would be told if it were here, up to
//! some tenths of a second later. A device that is in the swarm here too is not spoken of twice.

use std::collections::BTreeSet;

use rand::seq::IteratorRandom;

use super::candidates::as_told;
use super::{Presence, SessionKey, SwarmKey};
use crate::store::{Counts, PresenceChanges, Present, PresentAt};
use crate::types::limits::PEERS_PER_ANSWER_MAX;
use crate::types::{DeviceId, DownloadState, PeerEntry, UserId};
use crate::wire::tracker::{Event, Reply};

/// Changes that the other trackers are told at once: so it takes no longer than a part of a second.
const CHANGES_AT_ONCE: usize = 4_000;

/// What the other trackers have not been told yet. Nothing is noted while there are none.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    is_shared: bool,
    changed: PresenceChanges,
    /// Sessions that leech there since the directory allows it, and have not been told who is there.
    unnamed: Vec<(SessionKey, SwarmKey)>,
}

impl Presence {
    /// Says that other trackers are to be told who is present here.
    pub(crate) fn share(&mut self) {
        self.elsewhere.is_shared = true;
    }

    /// Notes that a device has another part in a swarm.
    pub(super) fn note_elsewhere(
        &mut self,
        key: SessionKey,
        swarm: SwarmKey,
        state: DownloadState,
        is_withdrawn: bool,
    ) {
        if !self.elsewhere.is_shared {
            return;
        }
        let Some(peer) = self.peer_entry(key, swarm, state, true) else { return };
        self.elsewhere.changed.insert(at_of(&peer), Present::Peer { peer, is_withdrawn });
    }

    /// Notes that a user is logged in on a device, or is not any more.
    pub(super) fn note_online(&mut self, user: UserId, device: DeviceId, is_online: bool) {
        if self.elsewhere.is_shared {
            self.elsewhere
                .changed
                .insert(PresentAt::User(user, device), Present::User { is_online });
        }
    }

    /// Notes that a session is to be told who is in a swarm elsewhere.
    pub(super) fn note_unnamed(&mut self, key: SessionKey, swarm: SwarmKey) {
        if self.elsewhere.is_shared {
            self.elsewhere.unnamed.push((key, swarm));
        }
    }

    /// Takes some of what the other trackers are to be told.
    pub(crate) fn take_changed(&mut self) -> PresenceChanges {
        let behind = self.elsewhere.changed.keys().nth(CHANGES_AT_ONCE).copied();
        let rest = behind.map(|key| self.elsewhere.changed.split_off(&key)).unwrap_or_default();
        std::mem::replace(&mut self.elsewhere.changed, rest)
    }

    /// They could not be told that; what has changed since counts.
    pub(crate) fn put_back(&mut self, mut changed: PresenceChanges) {
        changed.append(&mut self.elsewhere.changed);
        self.elsewhere.changed = changed;
    }

    /// Takes the sessions that are to be told who is in a swarm elsewhere.
    pub(crate) fn take_unnamed(&mut self) -> Vec<(SessionKey, SwarmKey)> {
        std::mem::take(&mut self.elsewhere.unnamed)
    }

    /// Those that have stopped at another tracker, and somebody here would hear of it: they may go on
    /// at a third one.
    pub(crate) fn stopped_elsewhere(&self, news: &[Present]) -> Vec<PresentAt> {
        let stopped = |present: &Present| match present {
            Present::Peer { peer, is_withdrawn: false }
                if peer.state == DownloadState::Stopped
                    && self.swarms.contains_key(&(peer.info_hash, peer.group)) =>
            {
                Some(at_of(peer))
            }
            _ => None,
        };
        news.iter().filter_map(stopped).collect()
    }

    /// A device's part in a swarm has changed at another tracker: tells those whom it concerns.
    pub(crate) fn hear_elsewhere(&self, present: &Present) {
        let Present::Peer { peer, is_withdrawn } = present else { return };
        let swarm_key = (peer.info_hash, peer.group);
        let Some(swarm) = self.swarms.get(&swarm_key) else { return };
        if self.is_in_swarm(peer, swarm_key) {
            return;
        }
        let leeches = |state| state == DownloadState::Leeching;
        // What it did before is not known: it may have leeched.
        let hears_all = leeches(peer.state) || peer.state == DownloadState::Stopped;
        let concerns = |(key, state): &(&SessionKey, &DownloadState)| {
            (hears_all || leeches(**state)) && !self.is_device(**key, peer.device)
        };
        let listeners = swarm.iter().filter(concerns).map(|(key, _)| *key);
        let listeners = match is_withdrawn {
            true => listeners.collect(),
            false => listeners.sample(&mut rand::rng(), PEERS_PER_ANSWER_MAX),
        };
        for key in &listeners {
            let told = as_told(peer.clone(), self.is_local(*key));
            self.push(&[*key], Event::Peer(told));
        }
        if *is_withdrawn {
            let (group, info_hash) = (peer.group, peer.info_hash);
            let (user, device) = (peer.user, peer.device);
            self.push(&listeners, Event::Withdrawn { group, info_hash, user, device });
        }
    }

    /// The swarms in which a session leeches, of these.
    pub(crate) fn leeches_in(
        &self,
        key: SessionKey,
        swarms: impl Iterator<Item = SwarmKey>,
    ) -> Vec<SwarmKey> {
        let Some(session) = self.sessions.get(&key) else { return Vec::new() };
        let leeches = |swarm: &SwarmKey| {
            let entry = session.entries.get(swarm);
            entry.is_some_and(|entry| entry.active && entry.state == DownloadState::Leeching)
        };
        swarms.filter(leeches).collect()
    }

    /// What a session is told of devices that were found elsewhere.
    pub(crate) fn told_elsewhere(&self, key: SessionKey, found: Vec<PeerEntry>) -> Vec<PeerEntry> {
        let is_news = |peer: &PeerEntry| {
            !self.is_device(key, peer.device)
                && !self.is_in_swarm(peer, (peer.info_hash, peer.group))
        };
        let is_local = self.is_local(key);
        let mut told: Vec<PeerEntry> =
            found.into_iter().filter(is_news).map(|peer| as_told(peer, is_local)).collect();
        // It may be at several trackers.
        let id = |peer: &PeerEntry| (peer.info_hash, peer.group, peer.device, peer.user);
        told.sort_by_key(id);
        told.dedup_by_key(|peer| id(peer));
        told
    }

    /// Tells a session of devices that were found elsewhere.
    pub(crate) fn tell_elsewhere(&self, key: SessionKey, found: Vec<PeerEntry>) {
        for peer in self.told_elsewhere(key, found) {
            self.push(&[key], Event::Peer(peer));
        }
    }

    /// Tells whether a device takes part in a swarm here, with that user.
    fn is_in_swarm(&self, peer: &PeerEntry, swarm: SwarmKey) -> bool {
        let (Some(keys), Some(swarm)) = (self.devices.get(&peer.device), self.swarms.get(&swarm))
        else {
            return false;
        };
        keys.iter().any(|key| swarm.contains_key(key) && self.user_of(*key) == Some(peer.user))
    }

    fn is_device(&self, key: SessionKey, device: DeviceId) -> bool {
        self.sessions.get(&key).is_some_and(|session| session.visitor.device == device)
    }
}

fn at_of(peer: &PeerEntry) -> PresentAt {
    let swarm = (peer.info_hash, peer.group);
    PresentAt::Swarm { swarm, user: peer.user, device: peer.device }
}

/// Tells whether a device that is said to have stopped is in this set.
pub(crate) fn goes_on(present: &Present, still_there: &BTreeSet<PresentAt>) -> bool {
    matches!(present, Present::Peer { peer, is_withdrawn: false }
        if peer.state == DownloadState::Stopped && still_there.contains(&at_of(peer)))
}

/// Fills in who is present elsewhere, where that is more than is here: the devices here may be among
/// those counted.
pub(crate) fn with_counts(counts: &Counts, mut reply: Reply) -> Reply {
    let files = match &mut reply {
        Reply::Members { entries, .. } => {
            let is_online = |user| counts.users.contains_key(&user);
            entries.iter_mut().for_each(|entry| entry.online |= is_online(entry.user.user));
            return reply;
        }
        Reply::Files { entries, .. } => entries.as_mut_slice(),
        Reply::File(entry) => std::slice::from_mut(entry),
        Reply::Resolved(resolved) => resolved.file.as_mut_slice(),
        _ => return reply,
    };
    for entry in files {
        let found = counts.seeders.get(&(entry.facts.info_hash, entry.group)).copied();
        entry.online = entry.online.max(found.unwrap_or(0));
    }
    reply
}
